/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scifd: SCIF between virtual machines, the host and its cards.
 *
 * The way of a call of a guest program, hop by hop:
 *
 *	 1. vphi.ko puts a request's chain into a request queue
 *	 2. lib/vhost/wait.c:vhost_wait_events    the VM's loop sees it, or wakes up
 *	 3. guest_call.c:guest_decode             header, place of the reply, payload
 *	 4. call.c:call_check, call_run           the gate; one handler for each call
 *	 5. endpoint.c, ring.c, window.c, copy.c  states, bytes, memory
 *	 6. endpoint.c:endpoint_notify            a note to the peer's loop, or a wake-up of its
 *process
 *	 7. guest.c:guest_empty_inbox             the peer's loop tries its waiting calls again
 *	 8. guest_call.c:guest_finish             the reply; the chain goes back
 *
 * Of a process: scif/lib makes the call a message (local_call.c:local_receive), or moves the bytes
 * through the rings by itself. Large copies: copy.c:copy_work. Mappings: guest_map.c, local_call.c.
 *
 * Threads: one for each VM, one for all processes, the workers, and this one, which answers the
 * control socket and the metrics and waits for a signal to stop.
 */
#include <errno.h>
#include <event2/event.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/io.h"
#include "lib/base/log.h"
#include "lib/base/ready.h"
#include "lib/control/server.h"
#include "lib/metrics/exporter.h"
#include "lib/vhost/fault.h"
#include "scif/fabric/account.h"
#include "scif/fabric/device.h"
#include "scif/fabric/guest.h"
#include "scif/fabric/local.h"
#include "scif/fabric/status.h"

struct main_guest {
	struct guest *guest;
	pthread_t thread;
};

struct daemon {
	struct settings settings;
	struct fabric fabric;
	struct local *local;
	pthread_t local_thread;
	struct main_guest guests[SETTINGS_VMS_MAX + SETTINGS_CARDS_MAX];
	unsigned int created, started;
	bool local_started;
	sigset_t signals; /* to restore once the threads run: they inherit blocked ones */
	struct event_base *base;
	int control;
	struct exporter *exporter;
};

static void *main_serve_guest(void *argument)
{
	struct guest *guest = argument;
	char name[16];

	snprintf(name, sizeof(name), "vm-%s", guest->own->name);
	prctl(PR_SET_NAME, name);
	guest_run(guest);
	return NULL;
}

static void *main_serve_local(void *argument)
{
	prctl(PR_SET_NAME, "processes");
	local_run(argument);
	return NULL;
}

/* Each process's endpoint takes two descriptors. */
static void main_raise_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

/* What @vm may connect to: itself, and every card or what it names. */
static int main_set_visible(struct daemon *daemon, struct node *node, const struct settings_vm *vm,
			    struct error *error)
{
	char *names = vm->sees ? strdup(vm->sees) : NULL, *rest = names, *name;
	int status = 0;

	for (unsigned int i = 1; !vm->sees && i <= daemon->settings.card_count; i++)
		node->visible |= 1ull << i;
	while (status == 0 && (name = strsep(&rest, "+"))) {
		unsigned int i = 0;

		while (i < FABRIC_NODES_MAX && (!daemon->fabric.nodes[i] ||
						strcmp(daemon->fabric.nodes[i]->name, name) != 0))
			i++;
		if (i == FABRIC_NODES_MAX)
			status = error_set(error, -EINVAL, "VM '%s': sees=%s: there is no '%s'",
					   vm->name, vm->sees, name);
		else
			node->visible |= 1ull << i;
	}
	free(names);
	return status;
}

/* The card whose programs reach the ports of @vm, if it names one. */
static int main_set_hears(struct daemon *daemon, struct node *node, const struct settings_vm *vm,
			  struct error *error)
{
	for (unsigned int i = 0; vm->hears && i < daemon->settings.card_count; i++) {
		const struct settings_card *card = &daemon->settings.cards[i];

		if (card->device && strcmp(card->name, vm->hears) == 0)
			node->hears = daemon->fabric.nodes[1 + i];
	}
	if (vm->hears && !node->hears)
		return error_set(error, -EINVAL,
				 "VM '%s': hears=%s: expected the name of a card with device=",
				 vm->name, vm->hears);
	return 0;
}

static int main_create_guest(struct daemon *daemon, const struct settings_vm *vm,
			     unsigned int number, struct error *error)
{
	struct guest *guest = guest_create(&daemon->fabric, &daemon->settings, vm, number, error);

	if (!guest)
		return error->code;
	account_name(guest->node, &daemon->settings, vm);
	daemon->guests[daemon->created++].guest = guest;
	return 0;
}

/* A card that is a VM: everybody sees it under the card's number, and it sees everybody. */
static int main_create_card_vm(struct daemon *daemon, unsigned int index, struct error *error)
{
	const struct settings_card *card = &daemon->settings.cards[index];
	int status = main_create_guest(daemon, &card->vm, 1 + index, error);

	if (status == 0) {
		struct node *node = daemon->guests[daemon->created - 1].guest->node;

		node->card_vm = true;
		node->visible = UINT64_MAX;
		local_describe_card(node, card);
	}
	return status;
}

static int main_create(struct daemon *daemon, struct error *error)
{
	struct settings *settings = &daemon->settings;
	int status = fabric_init(&daemon->fabric, settings->workers);

	if (status < 0)
		return error_set(error, status, "no workers: %s", strerror(-status));
	for (unsigned int i = 0; i < settings->card_count && !daemon->fabric.device_started; i++) {
		status = settings->cards[i].device ? device_start(&daemon->fabric) : 0;
		if (status < 0)
			return error_set(error, status, "card '%s': %s", settings->cards[i].name,
					 strerror(-status));
	}
	daemon->local = local_create(&daemon->fabric, settings, error);
	if (!daemon->local)
		return error->code;
	for (unsigned int i = 0; i < settings->vm_count && status == 0; i++)
		status = main_create_guest(daemon, &settings->vms[i], FABRIC_NODE_VM_FIRST + i,
					   error);
	for (unsigned int i = 0; i < settings->card_count && status == 0; i++) {
		if (settings->cards[i].vm.socket)
			status = main_create_card_vm(daemon, i, error);
	}
	for (unsigned int i = 0; i < settings->vm_count && status == 0; i++) {
		struct node *node = daemon->guests[i].guest->node;

		status = main_set_visible(daemon, node, &settings->vms[i], error);
		if (status == 0)
			status = main_set_hears(daemon, node, &settings->vms[i], error);
	}
	return status;
}

static int main_start(struct daemon *daemon)
{
	int status = pthread_create(&daemon->local_thread, NULL, main_serve_local, daemon->local);

	daemon->local_started = status == 0;
	while (status == 0 && daemon->started < daemon->created) {
		struct main_guest *guest = &daemon->guests[daemon->started];

		status = pthread_create(&guest->thread, NULL, main_serve_guest, guest->guest);
		if (status == 0)
			daemon->started++;
	}
	if (status)
		log_error("no thread: %s", strerror(status));
	return -status;
}

static void main_stop(struct daemon *daemon)
{
	for (unsigned int i = 0; i < daemon->started; i++)
		guest_stop(daemon->guests[i].guest);
	if (daemon->local_started)
		local_stop(daemon->local);
	for (unsigned int i = 0; i < daemon->started; i++)
		pthread_join(daemon->guests[i].thread, NULL);
	if (daemon->local_started)
		pthread_join(daemon->local_thread, NULL);
	while (daemon->created)
		guest_destroy(daemon->guests[--daemon->created].guest);
	if (daemon->local)
		local_destroy(daemon->local);
	device_stop(&daemon->fabric);
	fabric_destroy(&daemon->fabric);
}

static void main_on_signal(evutil_socket_t number, short what, void *context)
{
	struct daemon *daemon = context;

	(void)number;
	(void)what;
	event_base_loopbreak(daemon->base);
}

static void main_on_control(evutil_socket_t listener, short what, void *context)
{
	struct daemon *daemon = context;
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	(void)what;
	if (fd >= 0)
		control_serve(daemon->base, fd, status_handle, &daemon->fabric);
}

/* Serves until SIGTERM or SIGINT. */
static int main_loop(struct daemon *daemon, struct error *error)
{
	struct event *events[3] = {
		evsignal_new(daemon->base, SIGTERM, main_on_signal, daemon),
		evsignal_new(daemon->base, SIGINT, main_on_signal, daemon),
		NULL,
	};
	struct account *account = NULL;
	int status = 0;

	if (daemon->settings.control) {
		daemon->control = io_unix_listen(daemon->settings.control, 0600, error);
		if (daemon->control < 0)
			status = daemon->control;
		else
			events[2] = event_new(daemon->base, daemon->control, EV_READ | EV_PERSIST,
					      main_on_control, daemon);
	}
	for (unsigned int i = 0; i < 3; i++) {
		if (events[i])
			event_add(events[i], NULL);
	}
	if (status == 0 && daemon->settings.metrics) {
		daemon->exporter = exporter_open(daemon->base, daemon->settings.metrics,
						 status_report, &daemon->fabric, error);
		status = daemon->exporter ? 0 : -EINVAL;
	}
	if (status == 0)
		status = account_open(&account, daemon->base, &daemon->fabric, &daemon->settings,
				      error);
	if (status == 0)
		status = main_start(daemon);
	if (status == 0) {
		pthread_sigmask(SIG_SETMASK, &daemon->signals, NULL);
		log_info("serving %u VM%s and %u card%s", daemon->started,
			 daemon->started == 1 ? "" : "s", daemon->settings.card_count,
			 daemon->settings.card_count == 1 ? "" : "s");
		ready_tell();
		event_base_dispatch(daemon->base);
	}
	account_close(account);
	exporter_close(daemon->exporter);
	for (unsigned int i = 0; i < 3; i++) {
		if (events[i])
			event_free(events[i]);
	}
	return status;
}

int main(int argc, char **argv)
{
	static struct daemon daemon = { .control = -1 };
	struct error error = { 0 };
	sigset_t signals;
	int status;

	log_open("scifd");
	main_raise_limit();
	signal(SIGPIPE, SIG_IGN); /* pipes of User-Mode Linux */
	status = settings_read(&daemon.settings, argc, argv, &error);
	if (status == 0 && daemon.settings.verbose)
		log_set_level(LOG_LEVEL_DEBUG);
	if (status == 0)
		status = vhost_fault_install();
	/* Threads inherit the blocked signals: this one alone takes them. */
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	pthread_sigmask(SIG_BLOCK, &signals, &daemon.signals);
	if (status == 0) {
		daemon.base = event_base_new();
		status = daemon.base ? main_create(&daemon, &error) : -ENOMEM;
		if (status == 0)
			status = main_loop(&daemon, &error);
		main_stop(&daemon);
	}
	if (status < 0)
		log_error("%s", error.code ? error.text : strerror(-status));
	if (daemon.control >= 0) {
		close(daemon.control);
		unlink(daemon.settings.control);
	}
	if (daemon.base)
		event_base_free(daemon.base);
	settings_free(&daemon.settings);
	return status == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
