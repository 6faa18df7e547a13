/* SPDX-License-Identifier: Apache-2.0 */
/* Policy, accounts, the acceptor's life; see supervisor.h. */
#include "scif/card/supervisor.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/io.h"
#include "lib/base/log.h"
#include "lib/control/client.h"
#include "scif/card/sandbox.h"

#define SUPERVISOR_PATIENCE_US 500000

static void supervisor_send(struct client *client, const struct card_answer *answer)
{
	/* A worker that is gone is noticed by its event. */
	if (send(client->fd, answer, sizeof(*answer), MSG_NOSIGNAL) < 0)
		log_debug("worker of node %u: %s", client->node, strerror(errno));
}

static void supervisor_refuse(struct client *client, const struct error *error)
{
	struct card_answer answer = { .kind = CARD_ANSWER_REFUSE, .refusal = *error };

	client->supervisor->accounts[client->node].refused++;
	supervisor_send(client, &answer);
}

static void supervisor_grant(struct client *client)
{
	const struct card_settings *settings = client->supervisor->settings;
	const struct policy_program *program = &client->program;
	struct card_answer answer = {
		.kind = CARD_ANSWER_GRANT,
		.weight = settings->shares[program->node].weight,
		.cores = program->cores,
		.memory_bytes =
			program->memory_bytes ? program->memory_bytes : settings->memory_bytes,
		.number = client->number,
	};

	client->granted = true;
	account_begun(client);
	client->supervisor->accounts[program->node].programs++;
	balance_begin(client);
	supervisor_send(client, &answer);
}

/* Whoever may run now does, on the cores that are its now; so do those that ran before. */
static void supervisor_settle(struct supervisor *supervisor)
{
	struct client *client;

	while (policy_next(&supervisor->policy))
		continue;
	policy_balance(&supervisor->policy);
	TAILQ_FOREACH(client, &supervisor->clients, link)
	{
		if (!client->program.running || client->granted)
			continue;
		client->program.moved = false;
		supervisor_grant(client);
	}
	balance_apply(supervisor);
}

static void supervisor_admit(struct client *client, const struct card_ask *ask)
{
	struct supervisor *supervisor = client->supervisor;
	struct policy_program *program = &client->program;
	struct error error = { 0 };
	struct card_answer answer = { .kind = CARD_ANSWER_WAIT };
	int status;

	*program = (struct policy_program){ .node = client->node,
					    .cores_wanted = ask->hello.cores,
					    .memory_bytes = ask->hello.memory_bytes,
					    .owner = client };
	memcpy(client->name, ask->name, sizeof(client->name));
	client->name[CARD_NAME_MAX] = 0;
	client->number = ++supervisor->next_number;
	account_asked(client);
	status = policy_ask(&supervisor->policy, program, &error);
	client->asked = status == 0;
	supervisor_settle(supervisor);
	if (status == 0 && !program->running) {
		status = policy_check_queue(&supervisor->policy, &error);
		if (status < 0) {
			policy_leave(&supervisor->policy, program);
			client->asked = false;
		}
	}
	if (status < 0) {
		supervisor_refuse(client, &error);
	} else if (!program->running) {
		client->waited = true;
		answer.place = policy_place(&supervisor->policy, program);
		supervisor_send(client, &answer);
	}
}

static void supervisor_welcome(struct client *client)
{
	struct supervisor *supervisor = client->supervisor;
	const struct card_settings *settings = supervisor->settings;
	struct card_answer answer = { .kind = CARD_ANSWER_WELCOME };
	struct card_welcome *welcome = &answer.welcome;
	struct error error = { 0 };

	if (supervisor->client_count > CARD_CLIENTS_MAX) {
		error_set(&error, -EBUSY, "the card is full: %u clients are connected",
			  supervisor->client_count - 1);
		supervisor_refuse(client, &error);
		return;
	}
	welcome->client_node = client->node;
	welcome->cores = settings->core_count;
	welcome->threads_per_core = 1;
	welcome->programs = supervisor->policy.running_count;
	welcome->programs_max = settings->programs_max;
	welcome->memory_bytes = settings->memory_bytes;
	welcome->memory_free_bytes = settings->memory_bytes - supervisor->policy.reserved_bytes;
	snprintf(welcome->family, sizeof(welcome->family), "x200");
	snprintf(welcome->sku, sizeof(welcome->sku), "causeway");
	supervisor_send(client, &answer);
}

uint64_t supervisor_cpu_us(const struct client *client)
{
	return client->process > 0 && !client->counted ? processes_cpu_us(client->process) : 0;
}

static void supervisor_forget(struct client *client)
{
	struct supervisor *supervisor = client->supervisor;

	if (client->asked)
		policy_leave(&supervisor->policy, &client->program);
	cgroup_remove(supervisor->settings, client->number);
	TAILQ_REMOVE(&supervisor->clients, client, link);
	supervisor->client_count--;
	event_free(client->event);
	close(client->fd);
	free(client);
	supervisor_settle(supervisor);
}

static void supervisor_on_worker(evutil_socket_t fd, short what, void *context)
{
	struct client *client = context;
	struct card_ask ask;
	ssize_t got = recv(fd, &ask, sizeof(ask), MSG_DONTWAIT);

	(void)what;
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got != (ssize_t)sizeof(ask)) {
		supervisor_forget(client);
		return;
	}
	switch (ask.kind) {
	case CARD_ASK_WELCOME:
		client->worker = ask.process;
		supervisor_welcome(client);
		break;
	case CARD_ASK_ADMISSION:
		if (!client->asked)
			supervisor_admit(client, &ask);
		break;
	case CARD_TELL_STARTED:
		client->process = ask.process;
		balance_apply(client->supervisor); /* it may have been moved since it was granted */
		break;
	case CARD_TELL_ENDED:
		client->supervisor->accounts[client->node].cpu_us += ask.cpu_us;
		client->counted = true;
		account_used(client, ask.cpu_us);
		/* Until its worker has gone it holds memory, but no core that others could have. */
		client->program.idle = true;
		supervisor_settle(client->supervisor);
		break;
	}
}

static void supervisor_add(struct supervisor *supervisor, int fd, unsigned int node)
{
	struct client *client = calloc(1, sizeof(*client));

	if (client)
		client->event = event_new(supervisor->base, fd, EV_READ | EV_PERSIST,
					  supervisor_on_worker, client);
	if (!client || !client->event || node >= CARD_NODES_MAX) {
		log_error("no place for a worker of node %u", node);
		if (client && client->event)
			event_free(client->event);
		free(client);
		close(fd); /* which ends the worker */
		return;
	}
	client->supervisor = supervisor;
	client->fd = fd;
	client->node = node;
	account_client(supervisor, node);
	TAILQ_INSERT_TAIL(&supervisor->clients, client, link);
	supervisor->client_count++;
	event_add(client->event, NULL);
}

/* Tells scifd what the card is, so that guests see it; without scifd's socket nobody is told. */
static void supervisor_tell_scifd(struct supervisor *supervisor, const char *command)
{
	const struct card_settings *settings = supervisor->settings;
	struct error error = { 0 };
	json_t *answer;

	if (!settings->scifd)
		return;
	if (control_ask(settings->scifd,
			json_pack("{s:s, s:s, s:i, s:I}", "command", command, "name",
				  settings->name, "cores", (int)settings->core_count, "memory",
				  (json_int_t)settings->memory_bytes),
			&answer, &error) < 0)
		log_error("%s", error.text);
	else
		json_decref(answer);
}

static void supervisor_set_state(struct supervisor *supervisor, enum card_state state)
{
	static const char *const names[] = { "down", "booting", "online" };

	supervisor->state = state;
	log_info("card %s is %s", supervisor->settings->name, names[state]);
}

static void supervisor_on_acceptor(evutil_socket_t fd, short what, void *context)
{
	struct supervisor *supervisor = context;
	struct error error = { 0 };
	int fds[IO_FDS_MAX];
	size_t fd_count = 0;
	unsigned int node = 0;
	ssize_t got = io_receive_fds(fd, &node, sizeof(node), fds, &fd_count);

	(void)what;
	if (got == (ssize_t)sizeof(node) && fd_count == 0) {
		supervisor_set_state(supervisor, CARD_ONLINE);
		return;
	}
	if (got == (ssize_t)sizeof(node) && fd_count == 1) {
		supervisor_add(supervisor, fds[0], node);
		return;
	}
	/* Its end: asked for, or not. */
	event_free(supervisor->acceptor_event);
	supervisor->acceptor_event = NULL;
	close(fd);
	network_stop(supervisor->settings, supervisor->network);
	supervisor->network = 0;
	supervisor_set_state(supervisor, CARD_DOWN);
	supervisor_tell_scifd(supervisor, "card-down");
	if (supervisor->restarting && !supervisor->stopping) {
		supervisor->restarting = false;
		if (supervisor_boot(supervisor, &error) == 0)
			return;
		log_error("%s", error.text);
	}
	supervisor->status = supervisor->stopping ? 0 : -EIO;
	event_base_loopbreak(supervisor->base);
}

/* In the acceptor: nothing of the supervisor's but its end of the socket. */
static __attribute__((noreturn)) void supervisor_become_acceptor(struct supervisor *supervisor,
								 int fd)
{
	struct error error = { 0 };
	sigset_t none;

	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	prctl(PR_SET_NAME, "card-acceptor", 0, 0, 0);
	signal(SIGTERM, SIG_IGN); /* of the service's whole group: the supervisor's, too */
	signal(SIGINT, SIG_IGN);  /* of a terminal: the supervisor's */
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (supervisor->settings->socket)
		setenv("CAUSEWAY_SCIF_SOCKET", supervisor->settings->socket, 1);
	else
		unsetenv("CAUSEWAY_SCIF_SOCKET");
	acceptor_run(supervisor->settings, fd, &error);
	log_error("%s", error.text);
	_exit(1);
}

int supervisor_boot(struct supervisor *supervisor, struct error *error)
{
	int pair[2], status;

	supervisor_set_state(supervisor, CARD_BOOTING);
	status = library_fill(supervisor->settings, error);
	if (status < 0)
		return status;
	supervisor_tell_scifd(supervisor, "card-up");
	status = network_start(supervisor->settings, error);
	if (status < 0)
		return status;
	supervisor->network = status;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return error_set(error, -errno, "no socket: %s", strerror(errno));
	supervisor->acceptor = fork();
	if (supervisor->acceptor == 0) {
		close(pair[0]);
		supervisor_become_acceptor(supervisor, pair[1]);
	}
	close(pair[1]);
	supervisor->acceptor_fd = pair[0];
	supervisor->acceptor_event =
		supervisor->acceptor < 0
			? NULL
			: event_new(supervisor->base, pair[0], EV_READ | EV_PERSIST,
				    supervisor_on_acceptor, supervisor);
	if (!supervisor->acceptor_event) {
		close(pair[0]);
		return error_set(error, -ENOMEM, "no acceptor");
	}
	event_add(supervisor->acceptor_event, NULL);
	return 0;
}

/* What was asked to end has had its time. */
static void supervisor_lose_patience(evutil_socket_t fd, short what, void *context)
{
	struct supervisor *supervisor = context;
	struct client *client;

	(void)fd;
	(void)what;
	TAILQ_FOREACH(client, &supervisor->clients, link)
	{
		if (client->ending && client->worker > 0)
			kill(client->worker, SIGKILL);
	}
	if (supervisor->shutting_down && supervisor->acceptor > 0)
		kill(supervisor->acceptor, SIGKILL);
	supervisor->shutting_down = false;
}

void supervisor_end_programs(struct supervisor *supervisor, bool shut_down)
{
	static const struct timeval patience = { 0, SUPERVISOR_PATIENCE_US };
	struct client *client;

	/* Its worker kills the program, tells what it used, and ends. */
	TAILQ_FOREACH(client, &supervisor->clients, link)
	{
		client->ending = true;
		shutdown(client->fd, SHUT_WR);
	}
	supervisor->shutting_down |= shut_down;
	if (!supervisor->patience)
		supervisor->patience =
			evtimer_new(supervisor->base, supervisor_lose_patience, supervisor);
	if (supervisor->patience)
		evtimer_add(supervisor->patience, &patience);
	else
		supervisor_lose_patience(-1, 0, supervisor);
}
