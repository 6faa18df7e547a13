/* SPDX-License-Identifier: Apache-2.0 */
/*
 * causeway-card: the software coprocessor. The way of a program, hop by hop:
 *
 *	 1. client.c:card_connect              a client connects to port CARD_PORT of the card
 *	 2. acceptor.c:acceptor_serve          a worker for it, and the worker's socket to 5
 *	 3. worker.c:worker_prepare            frames (wire.c) until START
 *	 4. worker_files.c:worker_take_data    files into the sandbox's root
 *(sandbox.c:sandbox_open)
 *	 5. supervisor.c:supervisor_admit      policy.c decides when, and on which cores
 *	 6. worker_program.c:worker_start_program, sandbox.c:sandbox_start
 *	 7. init.c:init_run, init_execute      namespaces, root, limits, user, filter.c, execve()
 *	 8. worker_program.c:worker_carry      input and output until the end
 *	 9. supervisor.c:supervisor_on_worker  accounts; the next that waits
 *	    balance.c:balance_apply            whose cores changed meanwhile (policy_share.c)
 *
 * card.h names the processes. This file: options, control socket, signals.
 */
#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/io.h"
#include "lib/base/log.h"
#include "lib/control/server.h"
#include "scif/card/sandbox.h"
#include "scif/card/supervisor.h"

static void main_on_signal(evutil_socket_t number, short what, void *context)
{
	struct supervisor *supervisor = context;
	pid_t ended;

	(void)what;
	if (number == SIGCHLD) {
		while ((ended = waitpid(-1, NULL, WNOHANG)) > 0) {
			if (ended == supervisor->acceptor)
				supervisor->acceptor = 0;
		}
		return;
	}
	supervisor->stopping = true;
	if (supervisor->state == CARD_DOWN)
		event_base_loopbreak(supervisor->base);
	else
		supervisor_end_programs(supervisor, true);
}

static void main_on_control(evutil_socket_t listener, short what, void *context)
{
	struct supervisor *supervisor = context;
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	(void)what;
	if (fd >= 0)
		control_serve(supervisor->base, fd, supervisor_answer, supervisor);
}

/* The card's folder: of root alone, with a folder for libraries and a place for sandboxes. */
static int main_make_folders(const struct card_settings *settings, struct error *error)
{
	static const char *const folders[] = { "", "/lib", "/root" };
	char path[512];

	if (strlen(settings->folder) > 200)
		return error_set(error, -ENAMETOOLONG, "--folder=%s: too long", settings->folder);
	for (size_t i = 0; i < sizeof(folders) / sizeof(*folders); i++) {
		strcpy(path, settings->folder);
		strcat(path, folders[i]);
		if (mkdir(path, 0755) < 0 && errno != EEXIST)
			return error_set(error, -errno, "--folder=%s: %s", path, strerror(errno));
	}
	return 0;
}

/*
 * Programs of the card, each with a user of its node, use scifd's socket of the card: it is opened
 * to all. On the host its folder says who gets so far; in a sandbox it is there by itself.
 */
static int main_open_socket(const struct card_settings *settings, struct error *error)
{
	if (settings->socket && chmod(settings->socket, 0666) < 0)
		return error_set(error, -errno, "--socket=%s: %s", settings->socket,
				 strerror(errno));
	return 0;
}

static int main_loop(struct supervisor *supervisor, int control, struct error *error)
{
	static const int numbers[] = { SIGTERM, SIGINT, SIGCHLD };
	struct event *events[4];
	int status;

	for (int i = 0; i < 3; i++) {
		events[i] = evsignal_new(supervisor->base, numbers[i], main_on_signal, supervisor);
		event_add(events[i], NULL);
	}
	events[3] = event_new(supervisor->base, control, EV_READ | EV_PERSIST, main_on_control,
			      supervisor);
	event_add(events[3], NULL);
	status = supervisor_boot(supervisor, error);
	if (status == 0) {
		event_base_dispatch(supervisor->base);
		status = supervisor->status;
	}
	for (int i = 0; i < 4; i++)
		event_free(events[i]);
	if (supervisor->patience)
		event_free(supervisor->patience);
	if (supervisor->balance)
		event_free(supervisor->balance);
	return status;
}

int main(int argc, char **argv)
{
	static struct card_settings settings;
	static struct supervisor supervisor;
	struct error error = { 0 };
	int status, control = -1;

	log_open("causeway-card");
	status = card_settings_read(&settings, argc, argv, &error);
	if (status == 0 && geteuid() != 0)
		status = error_set(&error, -EPERM,
				   "only root can make sandboxes of users, namespaces and limits");
	if (status == 0 && settings.verbose)
		log_set_level(LOG_LEVEL_DEBUG);
	if (status == 0)
		status = main_make_folders(&settings, &error);
	if (status == 0)
		status = main_open_socket(&settings, &error);
	if (status == 0)
		control = status = io_unix_listen(settings.control, 0600, &error);
	if (status >= 0) {
		supervisor.settings = &settings;
		supervisor.since = (uint64_t)time(NULL);
		supervisor.base = event_base_new();
		TAILQ_INIT(&supervisor.clients);
		policy_init(&supervisor.policy, &settings);
		log_info("limits of programs: %s",
			 cgroup_prepare(&settings) ? "cgroup" : "affinity, nice, setrlimit");
		status = supervisor.base ? account_open(&supervisor, &error) : -ENOMEM;
		if (status == 0)
			status = main_loop(&supervisor, control, &error);
		account_close(&supervisor);
	}
	if (status < 0)
		log_error("%s", error.code ? error.text : "the card went down by itself");
	if (control >= 0) {
		close(control);
		unlink(settings.control);
	}
	return status < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
