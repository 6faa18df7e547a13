/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a client, from its connection to the end of its worker.
 *
 *	IDENTIFYING	a connection from the switch owes its preamble, one over TCP its greeting
 *with the token, which is only looked at and left for the worker. `event` waits for bytes, `timer`
 *bounds the whole state. Unix and vsock connections skip it.
 *	REFUSED		the answer is sent; what still comes is dropped until the peer hangs up or
 *			`timer` ends it, so that no reset overtakes the answer.
 *	SERVED		a worker has the connection; `pid_event` tells of its end, and the
 *supervisor keeps a copy of the descriptor, of which it only ever asks whether it hung up. LEFT
 *the client is gone. Its worker notices by itself; `timer` kills it otherwise. ENDED
 *about to be freed. client_enter() alone assigns the state. IDENTIFYING and REFUSED together are
 *bounded by SUPERVISOR_PENDING_MAX, SERVED and LEFT by admission.
 *
 * Hang-ups are asked of an epoll set of our own inside libevent's, one-shot and for EPOLLRDHUP
 * alone: libevent 2.1 does not report an error on a descriptor of which only EV_CLOSED is wanted
 * and would turn in circles, and with EV_READ every message to a worker would wake the supervisor.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cuda/server/supervisor.h"
#include "lib/base/log.h"
#include "lib/link/link.h"

#define CLIENT_IDENTIFY_MS  5000
#define CLIENT_REFUSED_MS   1000
#define CLIENT_GRACE_MS	    500
#define CLIENT_HANGUP_BATCH 64

static void client_readable(evutil_socket_t fd, short what, void *argument);
static void client_timed_out(evutil_socket_t fd, short what, void *argument);

static bool client_is_pending(const struct client *client)
{
	return client->state == CLIENT_IDENTIFYING || client->state == CLIENT_REFUSED;
}

static bool client_has_worker(const struct client *client)
{
	return client->state == CLIENT_SERVED || client->state == CLIENT_LEFT;
}

static void client_enter(struct client *client, enum client_state state)
{
	static const unsigned int limits_ms[] = { [CLIENT_IDENTIFYING] = CLIENT_IDENTIFY_MS,
						  [CLIENT_REFUSED] = CLIENT_REFUSED_MS,
						  [CLIENT_LEFT] = CLIENT_GRACE_MS,
						  [CLIENT_ENDED] = 0 };
	struct supervisor *supervisor = client->supervisor;
	unsigned int limit_ms = limits_ms[state];
	const struct timeval limit = { limit_ms / 1000, limit_ms % 1000 * 1000 };

	supervisor->pending_count -= client_is_pending(client);
	supervisor->worker_count -= client_has_worker(client);
	client->state = state;
	supervisor->pending_count += client_is_pending(client);
	supervisor->worker_count += client_has_worker(client);
	if (limit_ms)
		evtimer_add(client->timer, &limit);
	else
		evtimer_del(client->timer);
	if (client_is_pending(client))
		event_add(client->event, NULL);
	else if (client->event)
		event_del(client->event);
}

static void client_close_fd(struct client *client)
{
	if (client->fd < 0)
		return;
	if (client->event)
		event_free(client->event);
	client->event = NULL;
	/* A child that has not executed its program yet may hold a copy: closing is not enough. */
	epoll_ctl(client->supervisor->hangup_epoll, EPOLL_CTL_DEL, client->fd, NULL);
	/* Also for copies that a worker's own children may hold. */
	shutdown(client->fd, SHUT_RDWR);
	close(client->fd);
	client->fd = -1;
}

static void client_free(struct client *client)
{
	client_enter(client, CLIENT_ENDED);
	TAILQ_REMOVE(&client->supervisor->clients, client, link);
	client_close_fd(client);
	event_free(client->timer);
	if (client->pid_event)
		event_free(client->pid_event);
	if (client->pidfd >= 0)
		close(client->pidfd);
	free(client);
}

static void client_refuse(struct client *client, int status, const char *text)
{
	log_info("refused %s: %s", client->identity.text, text);
	client->supervisor->refused_total++;
	link_refuse(client->fd, status, text);
	shutdown(client->fd, SHUT_WR);
	client_enter(client, CLIENT_REFUSED);
}

/* Says once how a worker ended, loudly unless its client had simply gone. */
static void client_log_end(const struct client *client, const siginfo_t *end)
{
	char how[64] = "";

	if (client->killed)
		snprintf(how, sizeof(how), "did not end in time and was killed");
	else if (end->si_code != CLD_EXITED)
		snprintf(how, sizeof(how), "died of signal %d (%s)", end->si_status,
			 strsignal(end->si_status));
	else if (end->si_status)
		snprintf(how, sizeof(how), "exited with status %d", end->si_status);
	if (*how && !(client->supervisor->stopping && !client->killed))
		log_warning("client %llu (%s): worker %d %s", (unsigned long long)client->id,
			    client->identity.text, client->pid, how);
	else
		log_info("client %llu (%s) left", (unsigned long long)client->id,
			 client->identity.text);
}

static void client_worker_ended(evutil_socket_t fd, short what, void *argument)
{
	struct client *client = argument;
	siginfo_t end = { 0 };

	(void)fd;
	(void)what;
	/* Its process group cannot be another's before the worker is reaped. */
	kill(-client->pid, SIGKILL);
	if (waitid(P_PID, client->pid, &end, WEXITED) < 0)
		log_warning("worker %d: %s", client->pid, strerror(errno));
	guardian_remove_worker(client->supervisor, client);
	share_client_end(client);
	client_log_end(client, &end);
	client_free(client);
}

static void client_kill(struct client *client, int signal_number)
{
	syscall(SYS_pidfd_send_signal, client->pidfd, signal_number, NULL, 0);
}

static void client_hung_up(evutil_socket_t epoll_fd, short what, void *argument)
{
	struct epoll_event events[CLIENT_HANGUP_BATCH];
	int count = epoll_wait(epoll_fd, events, CLIENT_HANGUP_BATCH, 0);

	(void)what;
	(void)argument;
	for (int i = 0; i < count; i++) {
		struct client *client = events[i].data.ptr;

		client_enter(client, CLIENT_LEFT);
		client_close_fd(client);
	}
}

/* Starts the worker and from then on only watches: its pidfd, and the client's hang-up. */
static int client_serve(struct client *client, struct tenant *tenant)
{
	struct supervisor *supervisor = client->supervisor;
	struct epoll_event hangup = { .events = EPOLLRDHUP | EPOLLONESHOT, .data.ptr = client };

	int status = share_client_start(client, tenant);

	if (status < 0)
		return status;
	client->pid = spawn_worker(supervisor, client, &client->pidfd);
	if (client->pid < 0) {
		share_client_end(client);
		return client->pid;
	}
	client->pid_event =
		event_new(supervisor->base, client->pidfd, EV_READ, client_worker_ended, client);
	if (!client->pid_event || event_add(client->pid_event, NULL) < 0 ||
	    epoll_ctl(supervisor->hangup_epoll, EPOLL_CTL_ADD, client->fd, &hangup) < 0) {
		client_kill(client, SIGKILL);
		waitpid(client->pid, NULL, 0);
		share_client_end(client);
		return -ENOMEM;
	}
	guardian_add_worker(supervisor, client);
	supervisor->admitted_total++;
	client->since = time(NULL);
	client_enter(client, CLIENT_SERVED);
	accounts_start(supervisor);
	log_info("client %llu (%s): worker %d", (unsigned long long)client->id,
		 client->identity.text, client->pid);
	return 0;
}

static void client_admit(struct client *client)
{
	char text[LINK_ANSWER_TEXT_BYTES];
	struct tenant *tenant = NULL;
	int status = admission_decide(client->supervisor, &client->identity, &tenant, text,
				      sizeof(text));

	if (status < 0)
		return client_refuse(client, status, text);
	status = client_serve(client, tenant);
	if (status < 0) {
		client->pid = 0;
		snprintf(text, sizeof(text), "no worker: %s", strerror(-status));
		client_refuse(client, status, text);
	}
}

static void client_read_preamble(struct client *client)
{
	ssize_t got = recv(client->fd, client->preamble + client->preamble_used,
			   sizeof(client->preamble) - client->preamble_used, 0);

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got <= 0)
		return client_free(client);
	client->preamble_used += got;
	if (client->preamble_used < sizeof(client->preamble))
		return;
	if (admission_identify_guest(client->preamble, &client->identity) < 0)
		return client_refuse(client, -EACCES,
				     "no guest's identity in front of the greeting");
	client_admit(client);
}

/* Looks at a TCP greeting and leaves it in the socket for the worker. */
static void client_check_token(struct client *client)
{
	const struct tenant_token *token;
	struct link_greeting greeting;
	struct error error = { 0 };
	ssize_t got = recv(client->fd, &greeting, sizeof(greeting), MSG_PEEK);
	int status, one = 1;

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got <= 0)
		return client_free(client);
	/* SO_RCVLOWAT holds the event back until all has come, or no more will. */
	if (got < (ssize_t)sizeof(greeting))
		return client_refuse(client, -EPROTO, "the greeting is malformed");
	token = share_token(client->supervisor, &greeting, client->identity.tenant,
			    sizeof(client->identity.tenant));
	/* Nobody's is checked like the others: the rest of the greeting may be wrong as well. */
	status = link_greeting_check(&greeting, true,
				     token ? token->text : client->supervisor->options.token.text,
				     &error);
	if (!status && token)
		client->token = *token;
	if (status < 0)
		return client_refuse(client, status, error.text);
	setsockopt(client->fd, SOL_SOCKET, SO_RCVLOWAT, &one, sizeof(one));
	client_admit(client);
}

static void client_drain(struct client *client)
{
	char dropped[4096];
	ssize_t got = recv(client->fd, dropped, sizeof(dropped), 0);

	if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))
		client_free(client);
}

static void client_readable(evutil_socket_t fd, short what, void *argument)
{
	struct client *client = argument;

	(void)fd;
	(void)what;
	if (client->state == CLIENT_REFUSED)
		client_drain(client);
	else if (client->entrance == ENTRANCE_SWITCH)
		client_read_preamble(client);
	else
		client_check_token(client);
}

static void client_timed_out(evutil_socket_t fd, short what, void *argument)
{
	struct client *client = argument;

	(void)fd;
	(void)what;
	if (client->state == CLIENT_IDENTIFYING) {
		client_refuse(client, -EPROTO, "no greeting came in time");
	} else if (client->state == CLIENT_REFUSED) {
		client_free(client);
	} else {
		client->killed = true;
		client_kill(client, SIGKILL);
	}
}

/* A TCP peer whose machine vanished says nothing: ask now and then. */
static void client_prepare_tcp(int fd)
{
	static const int whole = sizeof(struct link_greeting), one = 1, idle_s = 10, every_s = 5,
			 tries = 3;

	setsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &whole, sizeof(whole));
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &every_s, sizeof(every_s));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &tries, sizeof(tries));
}

/**
 * client_accept - a new connection
 * @fd: non-blocking; owned from here on
 */
void client_accept(const struct listener *listener, int fd)
{
	struct supervisor *supervisor = listener->supervisor;
	enum entrance entrance = listener->entrance;
	struct client *client = calloc(1, sizeof(*client));

	if (client) {
		client->supervisor = supervisor;
		client->id = ++supervisor->last_id;
		client->entrance = entrance;
		client->fd = fd;
		client->pidfd = -1;
		client->state = CLIENT_ENDED;
		client->event = event_new(supervisor->base, fd, EV_READ | EV_PERSIST,
					  client_readable, client);
		client->timer = evtimer_new(supervisor->base, client_timed_out, client);
	}
	if (!client || !client->event || !client->timer ||
	    supervisor->pending_count >= SUPERVISOR_PENDING_MAX ||
	    admission_identify(listener, fd, &client->identity) < 0) {
		link_refuse(fd, -EBUSY, "too many connections at once");
		close(fd);
		if (client && client->event)
			event_free(client->event);
		if (client && client->timer)
			event_free(client->timer);
		free(client);
		return;
	}
	TAILQ_INSERT_TAIL(&supervisor->clients, client, link);
	if (entrance == ENTRANCE_UNIX || entrance == ENTRANCE_VSOCK)
		return client_admit(client);
	if (entrance == ENTRANCE_TCP)
		client_prepare_tcp(fd);
	client_enter(client, CLIENT_IDENTIFYING);
}

/* client_stop_all - drop who waits; workers end now, or are killed after the grace time */
void client_stop_all(struct supervisor *supervisor)
{
	struct client *client, *next;

	for (client = TAILQ_FIRST(&supervisor->clients); client; client = next) {
		next = TAILQ_NEXT(client, link);
		if (client_has_worker(client)) {
			client_kill(client, SIGTERM);
			client_enter(client, CLIENT_LEFT);
		} else {
			client_free(client);
		}
	}
}

/* client_watch - set up what tells of clients that hang up; 0 or -errno */
int client_watch(struct supervisor *supervisor)
{
	supervisor->hangup_epoll = epoll_create1(EPOLL_CLOEXEC);
	if (supervisor->hangup_epoll < 0)
		return -errno;
	supervisor->hangup_event = event_new(supervisor->base, supervisor->hangup_epoll,
					     EV_READ | EV_PERSIST, client_hung_up, supervisor);
	if (!supervisor->hangup_event || event_add(supervisor->hangup_event, NULL) < 0)
		return -ENOMEM;
	return 0;
}

/* client_unwatch - when no client is left */
void client_unwatch(struct supervisor *supervisor)
{
	event_free(supervisor->hangup_event);
	close(supervisor->hangup_epoll);
}
