/* SPDX-License-Identifier: Apache-2.0 */
/*
 * causeway-cudad: admits CUDA clients and gives each a worker process of its own.
 *
 * It never loads a driver: a fault there ends one worker and nobody else. Hops of a client:
 *	1. supervisor_listen.c:listen_accept		a connection at one of the entrances
 *	2. supervisor_admission.c:admission_identify	who it is, from kernel, switch or network
 *	3. supervisor_client.c:client_readable		preamble or token, where one is due
 *	4. supervisor_admission.c:admission_decide	limits
 *	5. supervisor_spawn.c:spawn_worker		the connection becomes the worker's
 *descriptor
 *3
 *	6. supervisor_client.c:client_hung_up, client_worker_ended	whichever comes first
 * Beside them: supervisor_guardian.c cleans up if this process is killed, supervisor_control.c
 * tells `causeway status` who is there, supervisor_account.c what each used.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "cuda/server/supervisor.h"
#include "lib/base/clean.h"
#include "lib/base/log.h"
#include "proto/share-page.h"

/*
 * Descriptors 0 to 8 are never ours: a worker gets its connection, its token and what is shared
 * with it as 3 to 8, and nothing that it inherits may be overwritten on the way.
 */
static int main_reserve_descriptors(void)
{
	int fd;

	do {
		fd = open("/dev/null", O_RDWR);
		if (fd < 0)
			return -errno;
	} while (fd <= SHARE_FOLDER_FD);
	close(fd);
	for (fd = 3; fd <= SHARE_FOLDER_FD; fd++) {
		if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
			return -errno;
	}
	return 0;
}

static void main_raise_descriptor_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

static void main_on_stop(evutil_socket_t signal_number, short what, void *argument)
{
	struct supervisor *supervisor = argument;

	(void)what;
	if (supervisor->stopping)
		return;
	supervisor->stopping = true;
	log_info("%s: ending %zu workers", strsignal(signal_number), supervisor->worker_count);
	listen_close(supervisor);
	client_stop_all(supervisor);
}

static void main_on_reload(evutil_socket_t signal_number, short what, void *argument)
{
	struct error error = { 0 };

	(void)signal_number;
	(void)what;
	if (share_reload(argument, &error) < 0)
		log_error("%s; everything stays as it was", error.text);
	else
		log_info("tenants read again");
}

/* main_tell_isolation - what a worker that goes wrong could reach, where it is more than it should
 */
static void main_tell_isolation(const struct supervisor *supervisor)
{
	const char *lacks = sandbox_lacks();

	if (!supervisor->options.sandbox)
		log_warning("sandbox is off: a worker may do whatever its user may");
	else if (lacks)
		log_warning("not enforced: %s", lacks);
	if (supervisor->options.worker_users[0] < 0)
		log_info("tenants without a user of their own are served as user %u", geteuid());
}

static int main_open(struct supervisor *supervisor, struct error *error)
{
	int status;

	TAILQ_INIT(&supervisor->clients);
	TAILQ_INIT(&supervisor->tenant_entrances);
	supervisor->since = time(NULL);
	/* Before anything else exists, so that the guardian inherits nothing. */
	status = guardian_start(supervisor, error);
	if (status < 0)
		return status;
	supervisor->base = event_base_new();
	if (!supervisor->base)
		return error_set(error, -ENOMEM, "no event loop");
	status = guardian_watch(supervisor);
	if (status >= 0)
		status = client_watch(supervisor);
	if (status < 0)
		return error_set(error, status, "cannot set up the event loop: %s",
				 strerror(-status));
	status = share_open(supervisor, error);
	if (status >= 0)
		status = accounts_open(supervisor, error);
	if (status < 0)
		return status;
	if (supervisor->options.tcp && !*supervisor->options.token.text &&
	    !share_has_tokens(supervisor))
		return error_set(error, -EINVAL,
				 "TCP needs a token: give --token-file, or a tenant token_files");
	status = listen_open(supervisor, error);
	if (status)
		return status;
	if (supervisor->options.sandbox)
		folder_open(supervisor);
	main_tell_isolation(supervisor);
	return 0;
}

static int main_loop(struct supervisor *supervisor)
{
	static const int signals[] = { SIGTERM, SIGINT, SIGHUP };
	struct event *events[3];

	for (int i = 0; i < 3; i++) {
		events[i] = evsignal_new(supervisor->base, signals[i],
					 signals[i] == SIGHUP ? main_on_reload : main_on_stop,
					 supervisor);
		if (!events[i] || event_add(events[i], NULL) < 0)
			return -ENOMEM;
	}
	while (!supervisor->stopping || !TAILQ_EMPTY(&supervisor->clients)) {
		if (event_base_loop(supervisor->base, EVLOOP_ONCE) < 0)
			return -EIO;
	}
	for (int i = 0; i < 3; i++)
		event_free(events[i]);
	return 0;
}

int main(int argc, char **argv)
{
	static struct supervisor supervisor = { .guardian_fd = -1,
						.guardian_pidfd = -1,
						.folder_fd = -1 };
	struct error error = { 0 };
	int status;

	log_open("causeway-cudad");
	status = main_reserve_descriptors();
	if (status < 0) {
		log_error("/dev/null: %s", strerror(-status));
		return EXIT_FAILURE;
	}
	signal(SIGPIPE, SIG_IGN);
	/* Whoever started this may ignore it; then no child could be asked how it ended. */
	signal(SIGCHLD, SIG_DFL);
	main_raise_descriptor_limit();
	status = supervisor_options_read(&supervisor.options, argc, argv, &error);
	if (status >= 0)
		status = main_open(&supervisor, &error);
	if (status < 0) {
		log_error("%s", error.text);
		listen_close(&supervisor);
		guardian_stop(&supervisor);
		return EXIT_FAILURE;
	}
	status = main_loop(&supervisor);
	listen_close(&supervisor);
	client_unwatch(&supervisor);
	record_close(&supervisor);
	accounts_close(&supervisor);
	share_close(&supervisor);
	folder_close(&supervisor);
	guardian_stop(&supervisor);
	event_base_free(supervisor.base);
	return status < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
