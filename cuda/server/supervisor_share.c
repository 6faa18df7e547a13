/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tenants at work: whose a client is, whose turn it is on each device, who used how much.
 *
 * A worker's kick (an eventfd) wakes share_kicked(), which reads its page (proto/share-page.h),
 * tells the policy (share/policy.h) of what ended and what is wanted, and writes the next grant. A
 * client alone on its device gets one grant without a bound, and nothing wakes any more.
 *
 * States of a turn, for each client and device:
 *	none		turn.sequence is not the policy's holder
 *	unbounded	granted, and told so; nobody else waits
 *	bounded		granted, and told a budget; from the moment that somebody else waits, what
 *the worker reports is charged turn_tell() alone moves a turn from one of the last two to the
 *other.
 *
 * Everything runs in the supervisor's one thread.
 */
#include <errno.h>
#include <linux/futex.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cuda/server/supervisor.h"
#include "lib/base/log.h"
#include "lib/link/link.h"
#include "lib/metrics/report.h"
#include "proto/share-page.h"
#include "share/policy.h"

#define COUNT(array) (sizeof(array) / sizeof(*(array)))
#define NS_PER_S     1e9
#define TENANTS_KEPT 1024u /* with those that are one identity and have no clients */
#define SEQUENCE_MAX (UINT32_MAX >> 2)
#define AWAIT_NS     400000 /* how long the end of a turn is looked for, */
#define SPIN_PROCESSORS \
	4 /* with so many processors; CAUSEWAY_SPIN_PROCESSORS says another number */

struct tenant {
	TAILQ_ENTRY(tenant) link;
	struct tenant_settings settings; /* without its members */
	bool configured;		 /* named in the file; else made for one identity */
	unsigned int clients;
	int64_t user; /* of the range of users; -1: none */
	struct share_tenant devices[SHARE_PAGE_DEVICES];
	struct share_memory *memory;
	int memory_fd;
	uint64_t *slots_used; /* a bit for each slot of the memory */
	struct folder folder;
	struct share_usage past; /* of clients that are gone */
};

TAILQ_HEAD(tenant_list, tenant);

/* A client's turn on one device. */
struct turn {
	struct share_client client;
	uint32_t sequence; /* of its last grant; 0: never had one */
	uint32_t awaited;  /* the sequence whose end was awaited */
	uint64_t told_ns;  /* the budget that it was told */
	uint64_t paid_ns;  /* so much of used_ns was charged */
	uint64_t used_ns;  /* as last read; never falls */
	uint64_t bound_ns; /* when the turn became a bounded one */
};

struct client_share {
	struct client *owner;
	struct turn turns[SHARE_PAGE_DEVICES];
	struct share_page *page;
	int page_fd, kick_fd;
	struct event *kick, *watchdog;
	unsigned int slot; /* in the tenant's memory */
};

struct share {
	struct share_policy policies[SHARE_PAGE_DEVICES];
	struct tenant_list tenants;
	size_t count; /* of .tenants */
	struct tenants configured;
	uint64_t past_ns[SHARE_PAGE_DEVICES]; /* device time of clients that are gone */
	uint64_t turns[SHARE_PAGE_DEVICES];   /* that were given */
};

static struct turn *turn_of(struct share_client *client)
{
	return (struct turn *)((char *)client - offsetof(struct turn, client));
}

static struct client_share *share_of(struct turn *turn, unsigned int device)
{
	return (struct client_share *)((char *)(turn - device) -
				       offsetof(struct client_share, turns));
}

static uint64_t load(const uint64_t *word)
{
	return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

/* turn_used - device time of all that the worker reported */
static uint64_t turn_used(struct client_share *share, unsigned int device)
{
	struct turn *turn = &share->turns[device];
	uint64_t used = load(&share->page->devices[device].used_ns);

	if (used > turn->used_ns)
		turn->used_ns = used;
	return turn->used_ns;
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* page_ring - wake who waits for something in the page */
static void page_ring(struct share_page_device *page)
{
	__atomic_add_fetch(&page->bell, 1, __ATOMIC_ACQ_REL);
	syscall(SYS_futex, &page->bell, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

/* turn_forgive - what was used so far is not charged: nobody went without */
static void turn_forgive(struct client_share *share, unsigned int device)
{
	share->turns[device].paid_ns = turn_used(share, device);
	share->turns[device].bound_ns = now_ns();
}

/* turn_charge - what a bounded turn owes: all that was used and not charged yet */
static uint64_t turn_charge(struct client_share *share, unsigned int device)
{
	struct turn *turn = &share->turns[device];
	uint64_t owed = turn_used(share, device) - turn->paid_ns;

	turn->paid_ns += owed;
	return owed;
}

/* turn_tell - the grant and its bound into the page, and wake who waits for it */
static void turn_tell(struct client_share *share, unsigned int device, uint64_t budget_ns)
{
	struct share_page_device *page = &share->page->devices[device];
	struct turn *turn = &share->turns[device];
	uint32_t kind = budget_ns == SHARE_UNBOUNDED ? SHARE_GRANT_UNBOUNDED : SHARE_GRANT_BOUNDED;

	if (turn->told_ns == SHARE_UNBOUNDED && budget_ns != SHARE_UNBOUNDED)
		turn_forgive(share, device);
	turn->told_ns = budget_ns;
	__atomic_store_n(&page->budget_ns, budget_ns, __ATOMIC_RELEASE);
	__atomic_store_n(&page->grant, turn->sequence << 2 | kind, __ATOMIC_RELEASE);
	page_ring(page);
}

/* watchdog_set - a tenant with a limit may not keep others waiting for longer */
static void watchdog_set(struct client_share *share, bool bounded)
{
	unsigned int limit_ms = share->owner->tenant->settings.watchdog_ms;
	const struct timeval limit = { limit_ms / 1000, limit_ms % 1000 * 1000 };

	if (bounded && limit_ms)
		evtimer_add(share->watchdog, &limit);
	else
		evtimer_del(share->watchdog);
}

static void watchdog_bite(evutil_socket_t fd, short what, void *argument)
{
	struct client_share *share = argument;
	struct client *client = share->owner;

	(void)fd;
	(void)what;
	log_warning(
		"client %llu (%s) of tenant '%s' kept the device for more than %u ms while others "
		"waited: its worker is killed",
		(unsigned long long)client->id, client->identity.text,
		client->tenant->settings.name, client->tenant->settings.watchdog_ms);
	client->killed = true;
	syscall(SYS_pidfd_send_signal, client->pidfd, SIGKILL, NULL, 0);
}

/* device_schedule - begin a turn where the device is free; tell the holder what it may use now */
static void device_schedule(struct supervisor *supervisor, unsigned int device)
{
	struct share_policy *policy = &supervisor->share->policies[device];
	struct share_client *next = share_next(policy);
	struct client_share *share;
	struct turn *turn;
	uint64_t budget_ns;

	if (!policy->holder)
		return;
	turn = turn_of(policy->holder);
	share = share_of(turn, device);
	budget_ns = share_budget(policy);
	if (next) {
		supervisor->share->turns[device]++;
		turn->sequence = turn->sequence % SEQUENCE_MAX + 1;
		turn->told_ns = budget_ns;
		turn->bound_ns = now_ns();
	} else if (budget_ns == turn->told_ns) {
		return;
	}
	watchdog_set(share, budget_ns != SHARE_UNBOUNDED);
	turn_tell(share, device, budget_ns);
}

/*
 * device_await - the holder's turn is about to end: wake who is likely to be next, and look for the
 * end for a moment instead of sleeping. An end that does not come in that time comes as a kick.
 */
static void device_await(struct client_share *share, const struct share_policy *policy,
			 unsigned int device)
{
	const struct share_page_device *page = &share->page->devices[device];
	struct share_client *likely = share_likely(policy);
	struct share_page_device *next;
	uint64_t until;

	if (!likely || !share->page->spins)
		return;
	next = &share_of(turn_of(likely), device)->page->devices[device];
	__atomic_store_n(&next->prepared, next->prepared + 1, __ATOMIC_RELEASE);
	page_ring(next);
	for (until = now_ns() + AWAIT_NS; now_ns() < until;) {
		if (__atomic_load_n(&page->ended, __ATOMIC_ACQUIRE) ==
		    share->turns[device].sequence)
			return;
		__builtin_ia32_pause();
	}
}

/* device_read - what the worker says of one device, to the policy */
static void device_read(struct client_share *share, struct share_policy *policy,
			unsigned int device)
{
	struct share_page_device *page = &share->page->devices[device];
	struct turn *turn = &share->turns[device];
	uint32_t ended;

	if (policy->holder == &turn->client && turn->told_ns != SHARE_UNBOUNDED &&
	    __atomic_load_n(&page->ending, __ATOMIC_ACQUIRE) == turn->sequence &&
	    turn->awaited != turn->sequence) {
		turn->awaited = turn->sequence;
		device_await(share, policy, device);
	}
	ended = __atomic_load_n(&page->ended, __ATOMIC_ACQUIRE);
	if (policy->holder == &turn->client && ended == turn->sequence) {
		watchdog_set(share, false);
		if (turn->told_ns == SHARE_UNBOUNDED) {
			turn_forgive(share, device);
			share_end(policy, 0);
		} else {
			share_end(policy, turn_charge(share, device));
		}
	}
	if (__atomic_load_n(&page->want, __ATOMIC_ACQUIRE))
		share_want(policy, &turn->client);
}

static void share_kicked(evutil_socket_t fd, short what, void *argument)
{
	struct client_share *share = argument;
	struct supervisor *supervisor = share->owner->supervisor;
	uint64_t kicks;

	(void)what;
	if (read(fd, &kicks, sizeof(kicks)) < 0)
		return;
	for (unsigned int i = 0; i < SHARE_PAGE_DEVICES; i++) {
		device_read(share, &supervisor->share->policies[i], i);
		device_schedule(supervisor, i);
	}
}

/* memory_open - the page that a tenant's workers share; 0 or -errno */
static int memory_open(struct tenant *tenant)
{
	pthread_mutexattr_t attributes;
	int status;

	static_assert(sizeof(pthread_mutex_t) <= sizeof(tenant->memory->lock), "it fits");
	tenant->memory_fd = memfd_create("causeway-share-memory", MFD_CLOEXEC);
	if (tenant->memory_fd < 0 || ftruncate(tenant->memory_fd, sizeof(*tenant->memory)) < 0)
		return -errno;
	tenant->memory = mmap(NULL, sizeof(*tenant->memory), PROT_READ | PROT_WRITE, MAP_SHARED,
			      tenant->memory_fd, 0);
	if (tenant->memory == MAP_FAILED) {
		tenant->memory = NULL;
		return -errno;
	}
	tenant->slots_used = calloc(SHARE_MEMORY_SLOTS / 64, sizeof(uint64_t));
	if (!tenant->slots_used)
		return -ENOMEM;
	tenant->memory->magic = SHARE_PAGE_MAGIC;
	tenant->memory->version = SHARE_PAGE_VERSION;
	tenant->memory->limit_bytes = tenant->settings.memory_bytes;
	status = pthread_mutexattr_init(&attributes);
	if (status)
		return -status;
	pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
	status = pthread_mutex_init((pthread_mutex_t *)tenant->memory->lock, &attributes);
	pthread_mutexattr_destroy(&attributes);
	return -status;
}

/* memory_close - while it has no clients a tenant needs none */
static void memory_close(struct tenant *tenant)
{
	if (tenant->memory)
		munmap(tenant->memory, sizeof(*tenant->memory));
	if (tenant->memory_fd >= 0)
		close(tenant->memory_fd);
	free(tenant->slots_used);
	folder_unmake(&tenant->folder);
	tenant->memory = NULL;
	tenant->memory_fd = -1;
	tenant->slots_used = NULL;
}

static void tenant_free(struct share *share, struct tenant *tenant)
{
	for (unsigned int i = 0; i < SHARE_PAGE_DEVICES; i++)
		share_tenant_remove(&share->policies[i], &tenant->devices[i]);
	memory_close(tenant);
	TAILQ_REMOVE(&share->tenants, tenant, link);
	share->count--;
	free(tenant);
}

/* tenant_settle - take over settings, at any time */
static void tenant_settle(struct share *share, struct tenant *tenant,
			  const struct tenant_settings *settings, const char *name)
{
	tenant->settings = *settings;
	tenant->settings.cids = tenant->settings.uids = NULL;
	tenant->settings.tokens = NULL;
	tenant->settings.cid_count = tenant->settings.uid_count = 0;
	tenant->settings.token_count = 0;
	if (name != tenant->settings.name)
		snprintf(tenant->settings.name, sizeof(tenant->settings.name), "%s", name);
	if (tenant->memory)
		__atomic_store_n(&tenant->memory->limit_bytes, settings->memory_bytes,
				 __ATOMIC_RELEASE);
	for (unsigned int i = 0; i < SHARE_PAGE_DEVICES; i++)
		share_tenant_change(&share->policies[i], &tenant->devices[i], settings->weight,
				    settings->priority);
}

static struct tenant *tenant_new(struct share *share, const struct tenant_settings *settings,
				 const char *name)
{
	struct tenant *tenant = calloc(1, sizeof(*tenant));

	if (!tenant)
		return NULL;
	tenant->memory_fd = tenant->folder.fd = -1;
	tenant->user = -1;
	TAILQ_INSERT_TAIL(&share->tenants, tenant, link);
	share->count++;
	for (unsigned int i = 0; i < SHARE_PAGE_DEVICES; i++)
		share_tenant_add(&share->policies[i], &tenant->devices[i], settings->weight,
				 settings->priority);
	tenant_settle(share, tenant, settings, name);
	return tenant;
}

static struct tenant *tenant_find(struct share *share, const char *name, bool configured)
{
	struct tenant *tenant;

	TAILQ_FOREACH(tenant, &share->tenants, link)
	{
		if (tenant->configured == configured && !strcmp(tenant->settings.name, name))
			return tenant;
	}
	return NULL;
}

/* The name of a tenant that is one identity: whatever of it stays the same between connections. */
static void identity_name(const struct identity *identity, char *name, size_t bytes)
{
	if (identity->kind == IDENTITY_ADDRESS)
		snprintf(name, bytes, "tcp %.59s", identity->address);
	else
		snprintf(name, bytes, "%s %llu", identity->kind == IDENTITY_CID ? "cid" : "uid",
			 (unsigned long long)identity->number);
}

const char *tenant_name(const struct tenant *tenant)
{
	return tenant->settings.name;
}

const struct tenant_settings *tenant_settings(const struct tenant *tenant)
{
	return &tenant->settings;
}

/* tenants_trim - before another identity becomes a tenant: of very many the oldest without clients
 */
static void tenants_trim(struct share *share)
{
	struct tenant *tenant;

	if (share->count < TENANTS_KEPT)
		return;
	TAILQ_FOREACH(tenant, &share->tenants, link)
	{
		if (!tenant->configured && !tenant->clients) {
			tenant_free(share, tenant);
			return;
		}
	}
}

const struct tenant_token *share_token(const struct supervisor *supervisor,
				       const struct link_greeting *greeting, char *tenant,
				       size_t tenant_bytes)
{
	const struct tenants *all = &supervisor->share->configured;
	const struct tenant_token *found = NULL;

	*tenant = '\0';
	if (link_greeting_token_is(greeting, supervisor->options.token.text))
		found = &supervisor->options.token;
	for (size_t i = 0; i < all->count; i++) {
		for (size_t k = 0; k < all->list[i].token_count; k++) {
			if (!link_greeting_token_is(greeting, all->list[i].tokens[k].text))
				continue;
			found = &all->list[i].tokens[k];
			snprintf(tenant, tenant_bytes, "%s", all->list[i].name);
		}
	}
	return found;
}

bool share_has_tokens(const struct supervisor *supervisor)
{
	const struct tenants *all = &supervisor->share->configured;

	for (size_t i = 0; i < all->count; i++)
		if (all->list[i].token_count)
			return true;
	return false;
}

/* user_taken - a tenant's workers run as it */
static bool user_taken(const struct share *share, int64_t user)
{
	const struct tenant *tenant;

	TAILQ_FOREACH(tenant, &share->tenants, link)
	{
		if (tenant->user == user || tenant->settings.user == user)
			return true;
	}
	return false;
}

/* user_choose - of the range, where the file names none for this tenant; 0, or -EBUSY */
static int user_choose(const struct supervisor *supervisor, struct tenant *tenant)
{
	const int64_t *users = supervisor->options.worker_users;

	if (users[0] < 0 || tenant->user >= 0 || tenant->settings.user >= 0)
		return 0;
	for (int64_t user = users[0]; user <= users[1]; user++) {
		if (!user_taken(supervisor->share, user)) {
			tenant->user = user;
			return 0;
		}
	}
	return -EBUSY;
}

bool share_client_user(const struct client *client, uid_t *user)
{
	const struct tenant *tenant = client->tenant;
	int64_t number = tenant->settings.user >= 0 ? tenant->settings.user : tenant->user;

	*user = (uid_t)number;
	return number >= 0;
}

int share_admit(struct supervisor *supervisor, const struct identity *identity,
		struct tenant **tenant, char *text, size_t text_bytes)
{
	struct share *share = supervisor->share;
	const struct tenant_settings *settings = NULL;
	char name[TENANT_NAME_BYTES];

	if (*identity->tenant)
		settings = tenants_find_name(&share->configured, identity->tenant);
	else if (identity->kind == IDENTITY_CID)
		settings = tenants_find_cid(&share->configured, identity->number);
	else if (identity->kind == IDENTITY_UID)
		settings = tenants_find_uid(&share->configured, identity->number);
	if (*identity->tenant && !settings) {
		snprintf(text, text_bytes, "there is no tenant '%s' any more", identity->tenant);
		return -EACCES;
	}
	if (settings) {
		*tenant = tenant_find(share, settings->name, true);
	} else {
		identity_name(identity, name, sizeof(name));
		*tenant = tenant_find(share, name, false);
		if (!*tenant) {
			tenants_trim(share);
			*tenant = tenant_new(share, &tenant_settings_default, name);
		}
	}
	if (!*tenant) {
		snprintf(text, text_bytes, "no memory for another tenant");
		return -ENOMEM;
	}
	if (user_choose(supervisor, *tenant)) {
		snprintf(text, text_bytes, "every user of worker_users has a tenant");
		return -EBUSY;
	}
	if ((*tenant)->settings.clients && (*tenant)->clients >= (*tenant)->settings.clients) {
		snprintf(text, text_bytes, "%u of %u clients of tenant '%s' connected",
			 (*tenant)->clients, (*tenant)->settings.clients, (*tenant)->settings.name);
		return -EBUSY;
	}
	return 0;
}

/* slot_take - a free place in the tenant's memory; -ENOSPC */
static int slot_take(struct tenant *tenant, unsigned int *slot)
{
	for (unsigned int i = 0; i < SHARE_MEMORY_SLOTS / 64; i++) {
		if (!~tenant->slots_used[i])
			continue;
		*slot = 64 * i + (unsigned int)__builtin_ctzll(~tenant->slots_used[i]);
		tenant->slots_used[i] |= 1ull << *slot % 64;
		return 0;
	}
	return -ENOSPC;
}

static void slot_free(struct tenant *tenant, unsigned int slot)
{
	tenant->slots_used[slot / 64] &= ~(1ull << slot % 64);
	__atomic_store_n(&tenant->memory->processes[slot].process, 0, __ATOMIC_RELEASE);
	__atomic_store_n(&tenant->memory->processes[slot].devices, 0, __ATOMIC_RELEASE);
	__atomic_store_n(&tenant->memory->used_bytes[slot], 0, __ATOMIC_RELEASE);
}

/* turns_spin - whether the next turn is awaited without sleeping: who sleeps is slow to wake */
static bool turns_spin(void)
{
	const char *text = getenv("CAUSEWAY_SPIN_PROCESSORS");

	return sysconf(_SC_NPROCESSORS_ONLN) >= (text ? atol(text) : SPIN_PROCESSORS);
}

/* page_open - the client's page and kick; 0 or -errno */
static int page_open(struct client_share *share)
{
	share->page_fd = memfd_create("causeway-share-page", MFD_CLOEXEC);
	if (share->page_fd < 0 || ftruncate(share->page_fd, sizeof(*share->page)) < 0)
		return -errno;
	share->page = mmap(NULL, sizeof(*share->page), PROT_READ | PROT_WRITE, MAP_SHARED,
			   share->page_fd, 0);
	if (share->page == MAP_FAILED) {
		share->page = NULL;
		return -errno;
	}
	share->page->magic = SHARE_PAGE_MAGIC;
	share->page->version = SHARE_PAGE_VERSION;
	share->page->spins = turns_spin();
	share->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return share->kick_fd < 0 ? -errno : 0;
}

static void client_share_free(struct client_share *share)
{
	if (share->kick)
		event_free(share->kick);
	if (share->watchdog)
		event_free(share->watchdog);
	if (share->page)
		munmap(share->page, sizeof(*share->page));
	if (share->page_fd >= 0)
		close(share->page_fd);
	if (share->kick_fd >= 0)
		close(share->kick_fd);
	free(share);
}

int share_client_start(struct client *client, struct tenant *tenant)
{
	struct supervisor *supervisor = client->supervisor;
	struct client_share *share = calloc(1, sizeof(*share));
	int status = 0;

	if (!share)
		return -ENOMEM;
	share->owner = client;
	share->page_fd = share->kick_fd = -1;
	if (!tenant->memory) {
		status = memory_open(tenant);
		folder_make(supervisor, &tenant->folder);
	}
	if (!status)
		status = page_open(share);
	if (!status) {
		share->kick = event_new(supervisor->base, share->kick_fd, EV_READ | EV_PERSIST,
					share_kicked, share);
		share->watchdog = evtimer_new(supervisor->base, watchdog_bite, share);
		if (!share->kick || !share->watchdog || event_add(share->kick, NULL) < 0)
			status = -ENOMEM;
	}
	if (!status)
		status = slot_take(tenant, &share->slot);
	if (status) {
		client_share_free(share);
		if (!tenant->clients)
			memory_close(tenant);
		return status;
	}
	for (unsigned int i = 0; i < SHARE_PAGE_DEVICES; i++)
		share_client_open(&share->turns[i].client, &tenant->devices[i]);
	client->share = share;
	client->tenant = tenant;
	tenant->clients++;
	record_client_start(client);
	return 0;
}

void share_client_descriptors(const struct client *client, int descriptors[4], unsigned int *slot)
{
	descriptors[0] = client->share->page_fd;
	descriptors[1] = client->share->kick_fd;
	descriptors[2] = client->tenant->memory_fd;
	descriptors[3] = client->tenant->folder.fd;
	*slot = client->share->slot;
}

void share_client_usage(const struct client *client, struct share_usage *usage)
{
	const struct client_share *share = client->share;
	uint64_t now_ms = now_ns() / 1000000, since_ms;

	*usage = (struct share_usage){
		.memory_bytes = load(&share->page->memory_bytes),
		.overhead_bytes = load(&share->page->overhead_bytes),
		.memory_byte_ms = load(&share->page->memory_byte_ms),
		.calls = load(&share->page->calls),
	};
	for (unsigned int i = 0; i < SHARE_COPIES; i++)
		usage->copied_bytes[i] = load(&share->page->copied_bytes[i]);
	since_ms = load(&share->page->memory_since_ms);
	if (since_ms < now_ms)
		usage->memory_byte_ms += usage->memory_bytes * (now_ms - since_ms);
	for (unsigned int i = 0; i < SHARE_PAGE_DEVICES; i++) {
		const struct share_page_device *page = &share->page->devices[i];

		usage->device_ns += load(&page->used_ns);
		usage->launches += load(&page->launches);
		usage->waits += load(&page->waits);
		usage->waited_ns += load(&page->waited_ns);
	}
}

static void usage_add(struct share_usage *sum, const struct share_usage *usage)
{
	sum->device_ns += usage->device_ns;
	sum->launches += usage->launches;
	sum->calls += usage->calls;
	for (unsigned int i = 0; i < SHARE_COPIES; i++)
		sum->copied_bytes[i] += usage->copied_bytes[i];
	sum->waits += usage->waits;
	sum->waited_ns += usage->waited_ns;
	sum->memory_bytes += usage->memory_bytes;
	sum->overhead_bytes += usage->overhead_bytes;
	sum->memory_byte_ms += usage->memory_byte_ms;
}

/*
 * turn_of_the_dead - what to charge for a turn whose worker ended in it: work that never ended was
 * never measured, so it is at least the time for which others went without
 */
static uint64_t turn_of_the_dead(struct client_share *share, unsigned int device)
{
	uint64_t kept_ns = now_ns() - share->turns[device].bound_ns;
	uint64_t used_ns = turn_charge(share, device);

	return used_ns > kept_ns ? used_ns : kept_ns;
}

void share_client_end(struct client *client)
{
	struct supervisor *supervisor = client->supervisor;
	struct client_share *share = client->share;
	struct tenant *tenant = client->tenant;
	struct share_usage usage;

	if (!share)
		return;
	share_client_usage(client, &usage);
	accounts_write(client, &usage);
	record_client_end(client);
	usage.memory_bytes = usage.overhead_bytes = 0;
	usage_add(&tenant->past, &usage);
	client->share = NULL;
	for (unsigned int i = 0; i < SHARE_PAGE_DEVICES; i++) {
		struct share_policy *policy = &supervisor->share->policies[i];
		struct turn *turn = &share->turns[i];

		if (policy->holder == &turn->client && turn->told_ns != SHARE_UNBOUNDED)
			share_end(policy, turn_of_the_dead(share, i));
		supervisor->share->past_ns[i] += turn_used(share, i);
		share_client_close(policy, &turn->client);
	}
	slot_free(tenant, share->slot);
	client_share_free(share);
	if (!--tenant->clients)
		memory_close(tenant);
	for (unsigned int i = 0; i < SHARE_PAGE_DEVICES; i++)
		device_schedule(supervisor, i);
}

int share_reload(struct supervisor *supervisor, struct error *error)
{
	struct share *share = supervisor->share;
	struct tenants fresh = { 0 };
	struct tenant *tenant;
	struct config config;
	int status;

	if (supervisor->options.config_path) {
		status = config_load(&config, supervisor->options.config_path, error);
		if (status)
			return status;
		status = tenants_read(&fresh, &config, error);
		config_close(&config);
		if (status)
			return status;
	}
	status = listen_tenants(supervisor, &fresh, &share->configured, error);
	if (status < 0) {
		tenants_free(&fresh);
		return status;
	}
	/* Clients keep the tenant under which they came; one that is named no more stays as it was.
	 */
	for (size_t i = 0; i < fresh.count; i++) {
		tenant = tenant_find(share, fresh.list[i].name, true);
		if (tenant) {
			tenant_settle(share, tenant, &fresh.list[i], fresh.list[i].name);
			continue;
		}
		tenant = tenant_new(share, &fresh.list[i], fresh.list[i].name);
		if (!tenant) {
			tenants_free(&fresh);
			return error_set(error, -ENOMEM, "no memory for tenant '%s'",
					 fresh.list[i].name);
		}
		tenant->configured = true;
	}
	tenants_free(&share->configured);
	share->configured = fresh;
	for (unsigned int i = 0; i < SHARE_PAGE_DEVICES; i++)
		device_schedule(supervisor, i);
	return 0;
}

int share_change(struct supervisor *supervisor, const char *name, const json_t *changes,
		 struct error *error)
{
	struct share *share = supervisor->share;
	struct tenant *tenant = tenant_find(share, name, true);
	struct tenant_settings settings;
	int status;

	if (!tenant)
		tenant = tenant_find(share, name, false);
	if (!tenant)
		return error_set(error, -ENOENT, "there is no tenant '%s'", name);
	settings = tenant->settings;
	status = change_make(supervisor, &share->configured, changes, &settings, error);
	if (status)
		return status;
	tenant_settle(share, tenant, &settings, name);
	for (unsigned int i = 0; i < SHARE_PAGE_DEVICES; i++)
		device_schedule(supervisor, i);
	return 0;
}

int share_open(struct supervisor *supervisor, struct error *error)
{
	struct share *share = calloc(1, sizeof(*share));

	if (!share)
		return error_set(error, -ENOMEM, "no memory");
	TAILQ_INIT(&share->tenants);
	for (unsigned int i = 0; i < SHARE_PAGE_DEVICES; i++)
		share_policy_open(&share->policies[i], &share_settings_default);
	supervisor->share = share;
	return share_reload(supervisor, error);
}

void share_close(struct supervisor *supervisor)
{
	struct share *share = supervisor->share;

	if (!share)
		return;
	while (!TAILQ_EMPTY(&share->tenants))
		tenant_free(share, TAILQ_FIRST(&share->tenants));
	tenants_free(&share->configured);
	free(share);
	supervisor->share = NULL;
}

static const struct report_column tenant_columns[] = {
	{ "tenant", REPORT_LABEL, "", "its name" },
	{ "weight", REPORT_GAUGE, "", "its weight among tenants of its priority" },
	{ "priority", REPORT_GAUGE, "", "its class; higher ones are served first" },
	{ "clients", REPORT_GAUGE, "", "its clients" },
	{ "client_limit", REPORT_GAUGE, "", "most of them at once; 0: any" },
	{ "memory_limit", REPORT_GAUGE, "bytes", "device memory that it may have; 0: any" },
	ACCOUNTS_COLUMNS,
};

static const struct report_column device_columns[] = {
	{ "device", REPORT_LABEL, "", "its number" },
	{ "holder", REPORT_TEXT, "", "the tenant whose turn it is" },
	{ "queue", REPORT_GAUGE, "", "clients that wait for a turn" },
	{ "used", REPORT_COUNTER, "seconds", "device time of all clients" },
	{ "turns", REPORT_COUNTER, "", "turns that were given" },
};

/* members_text - "3, 4", cut where it is very long */
static void members_text(const uint64_t *numbers, size_t count, char *text, size_t bytes)
{
	size_t used = 0;

	*text = '\0';
	for (size_t i = 0; i < count && used + 24 < bytes; i++)
		used += (size_t)snprintf(text + used, bytes - used, "%s%llu", i ? "," : "",
					 (unsigned long long)numbers[i]);
	if (used + 24 >= bytes)
		snprintf(text + used, bytes - used, ",...");
}

static void devices_text(uint32_t devices, char *text, size_t bytes)
{
	uint64_t numbers[TENANT_DEVICE_LAST + 1];
	size_t count = 0;

	for (unsigned int i = 0; i <= TENANT_DEVICE_LAST; i++)
		if (devices & 1u << i)
			numbers[count++] = i;
	if (!~devices)
		snprintf(text, bytes, "all");
	else
		members_text(numbers, count, text, bytes);
}

void share_settings_report(const struct supervisor *supervisor, json_t *report)
{
	static const struct report_column columns[] = {
		{ "tenant", REPORT_LABEL, "", "its name" },
		{ "cids", REPORT_TEXT, "", "guests that belong to it" },
		{ "users", REPORT_TEXT, "", "users of this host that do" },
		{ "weight", REPORT_GAUGE, "", "its weight among tenants of its priority" },
		{ "priority", REPORT_GAUGE, "", "its class; higher ones are served first" },
		{ "memory", REPORT_GAUGE, "bytes", "device memory that it may have; 0: any" },
		{ "clients", REPORT_GAUGE, "", "most of them at once; 0: any" },
		{ "devices", REPORT_TEXT, "", "that it may use" },
		{ "watchdog_ms", REPORT_GAUGE, "", "longest time that a turn may be overdue" },
		{ "socket", REPORT_TEXT, "", "an entrance of its own" },
		{ "tokens", REPORT_GAUGE, "", "that clients over TCP may show" },
		{ "runs_as", REPORT_TEXT, "", "the user of its workers" },
	};
	json_t *rows = report_add_table(report, "settings", false, columns, COUNT(columns));
	const struct share *share = supervisor->share;
	char cids[512], uids[512], devices[64], user[24];
	const struct tenant *tenant;

	TAILQ_FOREACH(tenant, &share->tenants, link)
	{
		const struct tenant_settings *settings = &tenant->settings, *members = NULL;

		if (tenant->configured)
			members = tenants_find_name(&share->configured, settings->name);
		members_text(members ? members->cids : NULL, members ? members->cid_count : 0, cids,
			     sizeof(cids));
		members_text(members ? members->uids : NULL, members ? members->uid_count : 0, uids,
			     sizeof(uids));
		devices_text(settings->devices, devices, sizeof(devices));
		snprintf(user, sizeof(user), "%lld", (long long)settings->user);
		if (settings->user < 0)
			*user = '\0';
		json_array_append_new(
			rows,
			json_pack("[s, s, s, I, I, I, I, s, I, s, I, s]", settings->name, cids,
				  uids, (json_int_t)settings->weight,
				  (json_int_t)settings->priority,
				  (json_int_t)settings->memory_bytes, (json_int_t)settings->clients,
				  devices, (json_int_t)settings->watchdog_ms, settings->socket,
				  (json_int_t)(members ? members->token_count : 0), user));
	}
}

/* client_waits - on how many devices it waits for a turn */
static unsigned int client_waits(const struct client *client)
{
	unsigned int count = 0;

	for (unsigned int i = 0; i < SHARE_PAGE_DEVICES; i++)
		count += client->share->turns[i].client.waits;
	return count;
}

struct share_page *share_client_page(const struct client *client)
{
	return client->share ? client->share->page : NULL;
}

bool share_client_waits(const struct client *client)
{
	return client->share && client_waits(client);
}

static void device_report(const struct supervisor *supervisor, json_t *report)
{
	json_t *rows =
		report_add_table(report, "device", true, device_columns, COUNT(device_columns));
	const struct share *share = supervisor->share;

	for (unsigned int i = 0; i < SHARE_PAGE_DEVICES; i++) {
		const struct share_client *holder = share->policies[i].holder;
		uint64_t used_ns = share->past_ns[i];
		const struct client *client;
		json_int_t queue = 0;

		TAILQ_FOREACH(client, &supervisor->clients, link)
		{
			if (!client->share)
				continue;
			used_ns += load(&client->share->page->devices[i].used_ns);
			queue += client->share->turns[i].client.waits;
		}
		/* How many there are is not known here: the first, and those that were used. */
		if (i && !used_ns && !holder)
			continue;
		json_array_append_new(
			rows,
			json_pack(
				"[i, s, I, f, I]", (int)i,
				holder ? tenant_name(
						 share_of(turn_of((struct share_client *)holder), i)
							 ->owner->tenant)
				       : "",
				queue, used_ns / NS_PER_S, (json_int_t)share->turns[i]));
	}
}

void share_report(const struct supervisor *supervisor, json_t *report)
{
	json_t *rows =
		report_add_table(report, "tenant", true, tenant_columns, COUNT(tenant_columns));
	const struct tenant *tenant;

	TAILQ_FOREACH(tenant, &supervisor->share->tenants, link)
	{
		const struct tenant_settings *settings = &tenant->settings;
		struct share_usage sum = tenant->past, usage;
		const struct client *client;
		json_int_t queue = 0;
		json_t *row;

		TAILQ_FOREACH(client, &supervisor->clients, link)
		{
			if (!client->share || client->tenant != tenant)
				continue;
			share_client_usage(client, &usage);
			usage_add(&sum, &usage);
			queue += share_client_waits(client);
		}
		row = json_pack("[s, I, I, I, I, I]", settings->name, (json_int_t)settings->weight,
				(json_int_t)settings->priority, (json_int_t)tenant->clients,
				(json_int_t)settings->clients, (json_int_t)settings->memory_bytes);
		accounts_append(row, &sum, queue);
		json_array_append_new(rows, row);
	}
	device_report(supervisor, report);
}
