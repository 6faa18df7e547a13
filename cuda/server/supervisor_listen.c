/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The entrances: a Unix socket for host programs, one for the switch, one for each tenant that has
 * one, AF_VSOCK, TCP, and the control socket. A wake-up accepts a bounded number of connections;
 * when descriptors run out the listeners rest for a moment instead of spinning.
 */
#include <errno.h>
#include <linux/vm_sockets.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cuda/server/supervisor.h"
#include "lib/base/clean.h"
#include "lib/base/io.h"
#include "lib/base/log.h"
#include "lib/base/ready.h"
#include "lib/metrics/exporter.h"

#define LISTEN_BACKLOG	512
#define LISTEN_BUDGET	64
#define LISTEN_REST_MS	100
#define LISTEN_NAME_MAX 256

static void listen_rest(struct supervisor *supervisor)
{
	const struct timeval rest = { .tv_usec = LISTEN_REST_MS * 1000 };
	const struct tenant_entrance *entrance;

	log_warning("cannot accept connections: %s", strerror(errno));
	for (size_t i = 0; i < supervisor->listener_count; i++)
		event_del(supervisor->listeners[i].event);
	TAILQ_FOREACH(entrance, &supervisor->tenant_entrances, link)
	event_del(entrance->listener.event);
	event_del(supervisor->control.event);
	event_add(supervisor->accept_again, &rest);
}

static void listen_resume(evutil_socket_t fd, short what, void *argument)
{
	struct supervisor *supervisor = argument;
	const struct tenant_entrance *entrance;

	(void)fd;
	(void)what;
	for (size_t i = 0; i < supervisor->listener_count; i++)
		event_add(supervisor->listeners[i].event, NULL);
	TAILQ_FOREACH(entrance, &supervisor->tenant_entrances, link)
	event_add(entrance->listener.event, NULL);
	event_add(supervisor->control.event, NULL);
}

static void listen_accept(evutil_socket_t listening_fd, short what, void *argument)
{
	struct listener *listener = argument;
	struct supervisor *supervisor = listener->supervisor;

	(void)what;
	for (int i = 0; i < LISTEN_BUDGET; i++) {
		int fd = accept4(listening_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM))
			return listen_rest(supervisor);
		if (fd < 0 && errno != ECONNABORTED && errno != EINTR)
			return;
		if (fd < 0)
			continue;
		if (listener == &supervisor->control)
			control_accept(supervisor, fd);
		else
			client_accept(listener, fd);
	}
}

/* Puts a listening descriptor, owned from now on, into the loop. */
static int listen_add(struct supervisor *supervisor, struct listener *listener, int fd)
{
	listener->supervisor = supervisor;
	listener->fd = fd;
	listener->event =
		event_new(supervisor->base, fd, EV_READ | EV_PERSIST, listen_accept, listener);
	if (!listener->event || event_add(listener->event, NULL) < 0)
		return -ENOMEM;
	return 0;
}

static int listen_unix(struct supervisor *supervisor, struct listener *listener, const char *path,
		       mode_t mode, struct error *error)
{
	int fd = io_unix_listen(path, mode, error);

	if (fd < 0)
		return fd;
	listener->path = path;
	guardian_add_socket(supervisor, listener);
	if (listen_add(supervisor, listener, fd) < 0)
		return error_set(error, -ENOMEM, "no memory for a listener");
	return 0;
}

static int listen_vsock(struct supervisor *supervisor, struct error *error)
{
	struct sockaddr_vm address = { .svm_family = AF_VSOCK,
				       .svm_cid = VMADDR_CID_ANY,
				       .svm_port = supervisor->options.vsock_port };
	struct listener *listener = &supervisor->listeners[supervisor->listener_count];
	autoclose int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    listen(fd, LISTEN_BACKLOG) < 0)
		return error_set(error, -errno, "vsock port %lld: %s",
				 (long long)supervisor->options.vsock_port, strerror(errno));
	listener->entrance = ENTRANCE_VSOCK;
	supervisor->listener_count++;
	return listen_add(supervisor, listener, steal_fd(&fd));
}

static int listen_tcp(struct supervisor *supervisor, struct error *error)
{
	static const struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE };
	struct listener *listener = &supervisor->listeners[supervisor->listener_count];
	const char *text = supervisor->options.tcp;
	const char *colon = strrchr(text, ':');
	char host[LISTEN_NAME_MAX] = "";
	struct addrinfo *found = NULL;
	autoclose int fd = -1;
	int status, one = 1;

	if (!colon || (size_t)(colon - text) >= sizeof(host))
		return error_set(error, -EINVAL, "tcp is '%s': expected HOST:PORT", text);
	memcpy(host, text, colon - text);
	status = getaddrinfo(*host ? host : NULL, colon + 1, &hints, &found);
	if (status)
		return error_set(error, -EINVAL, "tcp '%s': %s", text, gai_strerror(status));
	fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
	    bind(fd, found->ai_addr, found->ai_addrlen) < 0 || listen(fd, LISTEN_BACKLOG) < 0)
		status = error_set(error, -errno, "cannot listen on tcp '%s': %s", text,
				   strerror(errno));
	freeaddrinfo(found);
	if (status < 0)
		return status;
	listener->entrance = ENTRANCE_TCP;
	supervisor->listener_count++;
	return listen_add(supervisor, listener, steal_fd(&fd));
}

static int listen_entrance(struct supervisor *supervisor, enum entrance entrance, const char *path,
			   mode_t mode, struct error *error)
{
	struct listener *listener = &supervisor->listeners[supervisor->listener_count];

	listener->fd = -1;
	listener->entrance = entrance;
	supervisor->listener_count++;
	return listen_unix(supervisor, listener, path, mode, error);
}

static void listen_close_one(struct listener *listener)
{
	if (listener->event)
		event_free(listener->event);
	listener->event = NULL;
	if (listener->path)
		unlink(listener->path);
	listener->path = NULL;
	if (listener->fd > 0)
		close(listener->fd);
	listener->fd = -1;
}

/* The folder of a tenant's socket, which containers are given; others may not be there to make it.
 */
static void tenant_folder_make(const char *path)
{
	char folder[TENANT_PATH_BYTES];

	snprintf(folder, sizeof(folder), "%s", path);
	*strrchr(folder, '/') = 0;
	if (*folder && mkdir(folder, 0755) == 0)
		chmod(folder, 0755); /* whatever the umask */
}

static int tenant_listen(struct supervisor *supervisor, const struct tenant_settings *settings,
			 struct error *error)
{
	struct tenant_entrance *entrance = calloc(1, sizeof(*entrance));
	int status;

	if (!entrance)
		return error_set(error, -ENOMEM, "no memory for a listener");
	strcpy(entrance->name, settings->name);
	strcpy(entrance->path, settings->socket);
	entrance->listener = (struct listener){ .supervisor = supervisor,
						.fd = -1,
						.entrance = ENTRANCE_UNIX,
						.tenant = entrance->name };
	tenant_folder_make(entrance->path);
	/* Who may come is said by who reaches the folder: a container's users are any. */
	status = listen_unix(supervisor, &entrance->listener, entrance->path, 0666, error);
	if (status < 0) {
		listen_close_one(&entrance->listener);
		free(entrance);
		return status;
	}
	TAILQ_INSERT_TAIL(&supervisor->tenant_entrances, entrance, link);
	return 0;
}

static bool tenant_listens(const struct supervisor *supervisor,
			   const struct tenant_settings *settings)
{
	const struct tenant_entrance *entrance;

	TAILQ_FOREACH(entrance, &supervisor->tenant_entrances, link)
	{
		if (!strcmp(entrance->name, settings->name) &&
		    !strcmp(entrance->path, settings->socket))
			return true;
	}
	return false;
}

/* Closes the sockets that are not of these tenants. */
static void tenants_close_others(struct supervisor *supervisor, const struct tenants *tenants)
{
	struct tenant_entrance *entrance, *next;

	for (entrance = TAILQ_FIRST(&supervisor->tenant_entrances); entrance; entrance = next) {
		const struct tenant_settings *settings = tenants_find_name(tenants, entrance->name);

		next = TAILQ_NEXT(entrance, link);
		if (settings && !strcmp(settings->socket, entrance->path))
			continue;
		TAILQ_REMOVE(&supervisor->tenant_entrances, entrance, link);
		listen_close_one(&entrance->listener);
		free(entrance);
	}
}

int listen_tenants(struct supervisor *supervisor, const struct tenants *tenants,
		   const struct tenants *former, struct error *error)
{
	int status = 0;

	for (size_t i = 0; i < tenants->count && status >= 0; i++) {
		if (*tenants->list[i].socket && !tenant_listens(supervisor, &tenants->list[i]))
			status = tenant_listen(supervisor, &tenants->list[i], error);
	}
	tenants_close_others(supervisor, status < 0 ? former : tenants);
	return status;
}

/* listen_open - all entrances that are configured; says on which in the log */
int listen_open(struct supervisor *supervisor, struct error *error)
{
	const struct supervisor_options *options = &supervisor->options;
	int status;

	supervisor->control.fd = -1;
	supervisor->accept_again = evtimer_new(supervisor->base, listen_resume, supervisor);
	if (!supervisor->accept_again)
		return error_set(error, -ENOMEM, "no memory for a timer");
	status =
		listen_unix(supervisor, &supervisor->control, options->control_socket, 0600, error);
	if (status >= 0)
		status = listen_entrance(supervisor, ENTRANCE_UNIX, options->socket,
					 options->socket_mode, error);
	if (status >= 0 && options->switch_socket)
		status = listen_entrance(supervisor, ENTRANCE_SWITCH, options->switch_socket, 0600,
					 error);
	if (status >= 0 && options->vsock_port)
		status = listen_vsock(supervisor, error);
	if (status >= 0 && options->tcp)
		status = listen_tcp(supervisor, error);
	if (status >= 0 && options->metrics) {
		supervisor->exporter = exporter_open(supervisor->base, options->metrics,
						     control_report, supervisor, error);
		status = supervisor->exporter ? 0 : -EINVAL;
	}
	if (status < 0)
		return status;
	log_info("serving %s on %s%s%s%s%s%s", options->driver, options->socket,
		 options->switch_socket ? ", " : "",
		 options->switch_socket ? options->switch_socket : "",
		 options->vsock_port ? ", vsock" : "", options->tcp ? ", tcp " : "",
		 options->tcp ? options->tcp : "");
	ready_tell();
	return 0;
}

/* listen_close - no more connections; the socket files go first, so that nobody finds them */
void listen_close(struct supervisor *supervisor)
{
	for (size_t i = 0; i < supervisor->listener_count; i++)
		listen_close_one(&supervisor->listeners[i]);
	supervisor->listener_count = 0;
	tenants_close_others(supervisor, &(const struct tenants){ 0 });
	listen_close_one(&supervisor->control);
	exporter_close(supervisor->exporter);
	supervisor->exporter = NULL;
	if (supervisor->accept_again)
		event_free(supervisor->accept_again);
	supervisor->accept_again = NULL;
}
