/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mixed random traffic over many connections, every byte checked at both ends: the soak.
 *
 *	vsock_soak serve PORT
 *	vsock_soak drive CID PORT CONNECTIONS SECONDS SEED
 *
 * The driver keeps CONNECTIONS sockets busy. On each it plays rounds: a struct soak_order, then
 * some bytes of a stream that the order's seed determines, while the server sends some of another
 * such stream back at the same time, and a struct soak_receipt when it has checked all that it got.
 * Sizes are spread over all magnitudes, writes are split at random, some rounds begin after a
 * pause. A round may be the connection's last: the driver closes its writing direction, or has the
 * server close, or cuts the connection in the middle. Then a new connection takes its place.
 *
 * A byte that is wrong, an end that nobody asked for, a receipt that is not right or a connection
 * that is refused ends the program with a sentence and status 1. The server alone cannot tell a
 * cut from a loss; the driver can, since it knows what it asked for.
 *
 * Stalls: how long a connection with work to do moved no byte, less the time for which this program
 * itself was not run (the guest's processor was elsewhere). The driver prints a line of JSON at its
 * end; so does the server, on SIGTERM.
 *
 * One thread, epoll. A connection of the driver is resting (until ->wake_ns), connecting, or at
 * work; one of the server waits for an order, or is at work.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/vm_sockets.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SOAK_MAGIC	     0x6b616f73u
#define SOAK_CONNECTIONS_MAX 1024
#define SOAK_CHUNK_BYTES     65536u
#define SOAK_EVENTS	     16
#define SOAK_TICK_MS	     100
#define SOAK_GAP_NS	     50000000u /* between two looks; more was not this program's time */
#define SOAK_CALLS_PER_TURN  4	       /* on one socket, before others get theirs */
#define SOAK_BACKLOG	     1024

enum soak_flags {
	SOAK_HALF_CLOSE = 1,   /* the driver closes its writing direction behind its bytes */
	SOAK_SERVER_CLOSE = 2, /* the server closes behind its receipt */
};

struct soak_order {
	uint32_t magic, flags;
	uint64_t seed;
	uint32_t send_bytes;   /* driver to server, behind this */
	uint32_t return_bytes; /* server to driver, before the receipt */
};

struct soak_receipt {
	uint32_t magic, received_bytes;
	uint64_t seed;
};

/* One direction of a round: a fixed head or tail and a stream. */
struct soak_way {
	uint32_t total, done;
};

enum soak_state { SOAK_FREE, SOAK_RESTING, SOAK_CONNECTING, SOAK_WORKING };

struct soak_connection {
	enum soak_state state;
	int fd;
	bool watches_writing;
	uint64_t wake_ns, progress_ns, lost_at_progress_ns;
	struct soak_order order;
	struct soak_receipt receipt;
	struct soak_way out, in; /* out: as the driver or the server sees it */
	uint32_t order_done;	 /* server: bytes of the order that came */
	uint32_t cut_at;	 /* driver: cut when so much went out; 0: never */
	bool shut, ends;	 /* driver: nothing more to send; the end must follow */
};

static struct {
	bool is_server;
	int epoll_fd, listener;
	struct sockaddr_vm peer;
	struct soak_connection connections[SOAK_CONNECTIONS_MAX];
	unsigned int count;
	uint64_t random;
	uint64_t now_ns, lost_ns, looked_ns;
	uint64_t bytes, rounds, opened, cuts, max_stall_ns, max_gap_ns;
	volatile sig_atomic_t stopped;
	unsigned char chunk[SOAK_CHUNK_BYTES], expected[SOAK_CHUNK_BYTES];
} soak;

static void __attribute__((noreturn, format(printf, 1, 2))) soak_fail(const char *format, ...)
{
	va_list arguments;

	printf("vsock_soak: ");
	va_start(arguments, format);
	vprintf(format, arguments);
	va_end(arguments);
	printf("\n");
	fflush(stdout);
	exit(1);
}

static uint64_t soak_clock_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static uint64_t soak_mix(uint64_t word)
{
	word = (word ^ word >> 30) * 0xbf58476d1ce4e5b9u;
	word = (word ^ word >> 27) * 0x94d049bb133111ebu;
	return word ^ word >> 31;
}

static uint32_t soak_random(uint32_t below)
{
	soak.random += 0x9e3779b97f4a7c15u;
	return (uint32_t)(soak_mix(soak.random) >> 32) % below;
}

/* Bytes @at and on of the stream of @seed. */
static void soak_fill(unsigned char *to, uint64_t seed, uint32_t at, uint32_t bytes)
{
	while (bytes) {
		uint64_t word = soak_mix(seed + (at / 8 + 1) * 0x9e3779b97f4a7c15u);
		uint32_t offset = at % 8, part = 8 - offset < bytes ? 8 - offset : bytes;

		memcpy(to, (unsigned char *)&word + offset, part);
		to += part;
		at += part;
		bytes -= part;
	}
}

static void soak_check(const struct soak_connection *connection, uint64_t seed, uint32_t at,
		       uint32_t bytes)
{
	soak_fill(soak.expected, seed, at, bytes);
	if (memcmp(soak.chunk, soak.expected, bytes) == 0)
		return;
	for (uint32_t i = 0; i < bytes; i++)
		if (soak.chunk[i] != soak.expected[i])
			soak_fail("connection %td: byte %u of %u is %02x, not %02x",
				  connection - soak.connections, at + i,
				  connection->order.send_bytes, soak.chunk[i], soak.expected[i]);
	abort();
}

/* Something moved on the connection: how long had nothing? */
static void soak_progress(struct soak_connection *connection)
{
	uint64_t lost = soak.lost_ns - connection->lost_at_progress_ns;
	uint64_t stall = soak.now_ns - connection->progress_ns;

	stall = stall > lost ? stall - lost : 0;
	if (stall > soak.max_stall_ns)
		soak.max_stall_ns = stall;
	connection->progress_ns = soak.now_ns;
	connection->lost_at_progress_ns = soak.lost_ns;
}

/* The time now; what lies between two looks beyond SOAK_GAP_NS was not ours. */
static void soak_look(void)
{
	uint64_t gap;

	soak.now_ns = soak_clock_ns();
	gap = soak.now_ns - soak.looked_ns;
	if (soak.looked_ns && gap > SOAK_GAP_NS)
		soak.lost_ns += gap - SOAK_GAP_NS;
	if (soak.looked_ns && gap > soak.max_gap_ns)
		soak.max_gap_ns = gap;
	soak.looked_ns = soak.now_ns;
}

static void soak_watch(struct soak_connection *connection, int operation, bool writing)
{
	struct epoll_event event = { .events = EPOLLIN | (writing ? EPOLLOUT : 0),
				     .data.u64 = (uint64_t)(connection - soak.connections) };

	if (operation == EPOLL_CTL_MOD && connection->watches_writing == writing)
		return;
	connection->watches_writing = writing;
	if (epoll_ctl(soak.epoll_fd, operation, connection->fd, &event) < 0)
		soak_fail("epoll: %s", strerror(errno));
}

static void soak_close(struct soak_connection *connection)
{
	close(connection->fd);
	connection->fd = -1;
	connection->state = soak.is_server ? SOAK_FREE : SOAK_RESTING;
	connection->wake_ns = soak.now_ns;
}

/* One write of the round's remaining bytes: head, stream, tail. False when nothing went. */
static bool soak_send(struct soak_connection *connection, const void *head, uint32_t head_bytes,
		      uint64_t seed, uint32_t stream_bytes, const void *tail, uint32_t limit)
{
	struct soak_way *out = &connection->out;
	uint32_t at = out->done, bytes;
	const void *from;
	ssize_t put;

	if (at < head_bytes) {
		from = (const unsigned char *)head + at;
		bytes = head_bytes - at;
	} else if (at < head_bytes + stream_bytes) {
		bytes = head_bytes + stream_bytes - at;
		bytes = bytes < limit ? bytes : limit;
		soak_fill(soak.chunk, seed, at - head_bytes, bytes);
		from = soak.chunk;
	} else {
		from = (const unsigned char *)tail + (at - head_bytes - stream_bytes);
		bytes = out->total - at;
	}
	put = send(connection->fd, from, bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (put < 0 && soak.is_server && (errno == EPIPE || errno == ECONNRESET)) {
		soak.cuts++; /* the driver has cut it, or was killed */
		soak_close(connection);
		return false;
	}
	if (put < 0 && errno != EAGAIN)
		soak_fail("connection %td: write: %s", connection - soak.connections,
			  strerror(errno));
	if (put <= 0)
		return false;
	out->done += (uint32_t)put;
	soak.bytes += (uint64_t)put;
	soak_progress(connection);
	return true;
}

/* A read of at most @bytes into soak.chunk; 0 at the end, -1 when there is nothing. */
static ssize_t soak_receive(struct soak_connection *connection, uint32_t bytes)
{
	ssize_t got = recv(connection->fd, soak.chunk, bytes, MSG_DONTWAIT);

	if (got < 0 && errno == EAGAIN)
		return -1;
	if (got < 0 && errno == ECONNRESET && (soak.is_server || connection->ends))
		got = 0;
	if (got < 0)
		soak_fail("connection %td: read: %s", connection - soak.connections,
			  strerror(errno));
	if (got > 0) {
		soak.bytes += (uint64_t)got;
		soak_progress(connection);
	}
	return got;
}

/* ---- the driver ---- */

/* All magnitudes are as likely; one in 256 is a large one. */
static uint32_t soak_size(void)
{
	uint32_t size = soak_random(1u << (1 + soak_random(17)));

	return soak_random(256) == 0 ? (1u << 20) : size;
}

static void soak_new_round(struct soak_connection *connection)
{
	struct soak_order *order = &connection->order;
	uint32_t kind = soak_random(100);

	soak.random++;
	*order = (struct soak_order){
		.magic = SOAK_MAGIC,
		.flags = kind < 8    ? SOAK_HALF_CLOSE
			 : kind < 16 ? SOAK_SERVER_CLOSE
				     : 0,
		.seed = soak_mix(soak.random),
		.send_bytes = soak_size(),
		.return_bytes = soak_size(),
	};
	connection->out = (struct soak_way){ .total = sizeof(*order) + order->send_bytes };
	connection->in =
		(struct soak_way){ .total = order->return_bytes + sizeof(struct soak_receipt) };
	connection->cut_at = kind >= 95 ? 1 + soak_random(connection->out.total) : 0;
	connection->shut = connection->ends = false;
	connection->state = SOAK_WORKING;
	connection->progress_ns = soak.now_ns;
	connection->lost_at_progress_ns = soak.lost_ns;
	soak_watch(connection, EPOLL_CTL_MOD, true);
}

static void soak_connect(struct soak_connection *connection)
{
	connection->fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (connection->fd < 0)
		soak_fail("socket: %s", strerror(errno));
	if (connect(connection->fd, (struct sockaddr *)&soak.peer, sizeof(soak.peer)) < 0 &&
	    errno != EINPROGRESS)
		soak_fail("connect: %s", strerror(errno));
	connection->state = SOAK_CONNECTING;
	connection->progress_ns = soak.now_ns;
	connection->lost_at_progress_ns = soak.lost_ns;
	soak_watch(connection, EPOLL_CTL_ADD, true);
}

static void soak_connected(struct soak_connection *connection)
{
	socklen_t bytes = sizeof(int);
	int failure = 0;

	getsockopt(connection->fd, SOL_SOCKET, SO_ERROR, &failure, &bytes);
	if (failure)
		soak_fail("connection %td: connect: %s", connection - soak.connections,
			  strerror(failure));
	soak_progress(connection);
	soak.opened++;
	soak_new_round(connection);
}

/* Reads and checks; returns whether something came. */
static bool soak_drive_in(struct soak_connection *connection)
{
	struct soak_way *in = &connection->in;
	uint32_t left = connection->order.return_bytes > in->done
				? connection->order.return_bytes - in->done
				: in->total - in->done;
	uint32_t tail = in->done < connection->order.return_bytes
				? 0
				: in->done - connection->order.return_bytes;
	ssize_t got = soak_receive(connection, left == 0		 ? 1
					       : left < SOAK_CHUNK_BYTES ? left
									 : SOAK_CHUNK_BYTES);

	if (got < 0)
		return false;
	if (got == 0) {
		if (!connection->ends || in->done < in->total)
			soak_fail("connection %td ended %u bytes early",
				  connection - soak.connections, in->total - in->done);
		soak_close(connection);
		return false;
	}
	if (left == 0)
		soak_fail("connection %td: bytes behind the end", connection - soak.connections);
	if (in->done < connection->order.return_bytes)
		soak_check(connection, ~connection->order.seed, in->done, (uint32_t)got);
	else
		memcpy((unsigned char *)&connection->receipt + tail, soak.chunk, (size_t)got);
	in->done += (uint32_t)got;
	return true;
}

/* Writes; returns whether something went. */
static bool soak_drive_out(struct soak_connection *connection)
{
	struct soak_way *out = &connection->out;
	uint32_t limit = soak_random(4) ? SOAK_CHUNK_BYTES : 1 + soak_random(64);

	if (out->done == out->total)
		return false;
	if (!soak_send(connection, &connection->order, sizeof(connection->order),
		       connection->order.seed, connection->order.send_bytes, NULL, limit))
		return false;
	if (connection->cut_at && out->done >= connection->cut_at) {
		soak.cuts++;
		soak_close(connection);
		return false;
	}
	if (out->done == out->total && (connection->order.flags & SOAK_HALF_CLOSE)) {
		shutdown(connection->fd, SHUT_WR);
		connection->shut = true;
	}
	return true;
}

/* After a round: the next, at once or after a pause, or the connection's end. */
static void soak_round_over(struct soak_connection *connection)
{
	const struct soak_receipt *receipt = &connection->receipt;

	if (receipt->magic != SOAK_MAGIC || receipt->seed != connection->order.seed ||
	    receipt->received_bytes != connection->order.send_bytes)
		soak_fail("connection %td: the receipt says %u bytes, %u were sent",
			  connection - soak.connections, receipt->received_bytes,
			  connection->order.send_bytes);
	soak.rounds++;
	if (connection->order.flags) {
		connection->ends = true; /* the server closes now, in either case */
		return;
	}
	if (soak_random(4)) {
		soak_new_round(connection);
		return;
	}
	connection->state = SOAK_RESTING;
	connection->wake_ns = soak.now_ns + 1000000ull * soak_random(50);
	soak_watch(connection, EPOLL_CTL_MOD, false);
}

static void soak_drive(struct soak_connection *connection)
{
	bool in = true, out = true;

	if (connection->state == SOAK_CONNECTING)
		soak_connected(connection);
	for (int i = 0; i < SOAK_CALLS_PER_TURN && (in || out); i++) {
		if (connection->state != SOAK_WORKING)
			return;
		out = out && soak_drive_out(connection);
		if (connection->state != SOAK_WORKING)
			return;
		in = in && soak_drive_in(connection);
		if (connection->state == SOAK_WORKING && !connection->ends &&
		    connection->in.done == connection->in.total &&
		    connection->out.done == connection->out.total)
			soak_round_over(connection);
	}
	if (connection->state == SOAK_WORKING)
		soak_watch(connection, EPOLL_CTL_MOD, connection->out.done < connection->out.total);
}

/* Wakes those that rest, and looks for stalls that still last. */
static void soak_tick(void)
{
	for (unsigned int i = 0; i < soak.count; i++) {
		struct soak_connection *connection = &soak.connections[i];

		if (connection->state == SOAK_RESTING && connection->wake_ns <= soak.now_ns) {
			if (connection->fd < 0)
				soak_connect(connection);
			else
				soak_new_round(connection);
		} else if (connection->state == SOAK_CONNECTING ||
			   connection->state == SOAK_WORKING) {
			uint64_t since = connection->progress_ns;
			uint64_t lost = connection->lost_at_progress_ns;

			soak_progress(connection); /* counts what has passed so far */
			connection->progress_ns = since;
			connection->lost_at_progress_ns = lost;
		}
	}
}

/* ---- the server ---- */

static void soak_accept(void)
{
	for (;;) {
		int fd = accept4(soak.listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		struct soak_connection *connection = NULL;

		if (fd < 0)
			return;
		for (unsigned int i = 0; i < SOAK_CONNECTIONS_MAX && !connection; i++)
			if (soak.connections[i].state == SOAK_FREE)
				connection = &soak.connections[i];
		if (!connection)
			soak_fail("more than %u connections", SOAK_CONNECTIONS_MAX);
		memset(connection, 0, sizeof(*connection));
		connection->state = SOAK_WORKING;
		connection->fd = fd;
		connection->progress_ns = soak.now_ns;
		soak.opened++;
		soak_watch(connection, EPOLL_CTL_ADD, false);
	}
}

/* The order, piece by piece; then the round begins. */
static void soak_serve_order(struct soak_connection *connection, const unsigned char *from,
			     uint32_t bytes)
{
	struct soak_order *order = &connection->order;

	memcpy((unsigned char *)order + connection->order_done, from, bytes);
	connection->order_done += bytes;
	if (connection->order_done < sizeof(*order))
		return;
	if (order->magic != SOAK_MAGIC)
		soak_fail("connection %td: an order that makes no sense",
			  connection - soak.connections);
	connection->in = (struct soak_way){ .total = order->send_bytes };
	connection->out =
		(struct soak_way){ .total = order->return_bytes + sizeof(struct soak_receipt) };
	connection->receipt = (struct soak_receipt){ .magic = SOAK_MAGIC,
						     .received_bytes = order->send_bytes,
						     .seed = order->seed };
}

static bool soak_serve_in(struct soak_connection *connection)
{
	struct soak_way *in = &connection->in;
	bool ordered = connection->order_done == sizeof(connection->order);
	uint32_t left = ordered ? in->total - in->done
				: (uint32_t)sizeof(connection->order) - connection->order_done;
	ssize_t got;

	if (left == 0)
		return false;
	got = soak_receive(connection, left < SOAK_CHUNK_BYTES ? left : SOAK_CHUNK_BYTES);
	if (got < 0)
		return false;
	if (got == 0) {
		if (ordered || connection->order_done)
			soak.cuts++;
		soak_close(connection);
		return false;
	}
	if (!ordered) {
		soak_serve_order(connection, soak.chunk, (uint32_t)got);
		return true;
	}
	soak_check(connection, connection->order.seed, in->done, (uint32_t)got);
	in->done += (uint32_t)got;
	return true;
}

/* The stream at any time; the receipt once everything has come. */
static bool soak_serve_out(struct soak_connection *connection)
{
	struct soak_way *out = &connection->out;

	if (connection->order_done < sizeof(connection->order) || out->done == out->total ||
	    (out->done >= connection->order.return_bytes &&
	     connection->in.done < connection->in.total))
		return false;
	return soak_send(connection, NULL, 0, ~connection->order.seed,
			 connection->order.return_bytes, &connection->receipt, SOAK_CHUNK_BYTES);
}

static void soak_serve(struct soak_connection *connection)
{
	bool in = true, out = true;

	for (int i = 0; i < SOAK_CALLS_PER_TURN && (in || out); i++) {
		in = soak_serve_in(connection);
		if (connection->state != SOAK_WORKING)
			return;
		out = soak_serve_out(connection);
		if (connection->state != SOAK_WORKING)
			return;
		if (connection->order_done < sizeof(connection->order) ||
		    connection->in.done < connection->in.total ||
		    connection->out.done < connection->out.total)
			continue;
		soak.rounds++;
		connection->order_done = 0;
		if (connection->order.flags) {
			soak_close(connection);
			return;
		}
	}
	/* Whether there is something that could be written now, if the socket took it. */
	soak_watch(connection, EPOLL_CTL_MOD,
		   connection->order_done == sizeof(connection->order) &&
			   connection->out.done < connection->out.total &&
			   (connection->out.done < connection->order.return_bytes ||
			    connection->in.done == connection->in.total));
}

/* ---- both ---- */

static void soak_on_signal(int number)
{
	(void)number;
	soak.stopped = 1;
}

static void soak_run(uint64_t end_ns)
{
	struct epoll_event events[SOAK_EVENTS];

	while (!soak.stopped && (!end_ns || soak.now_ns < end_ns)) {
		int count = epoll_wait(soak.epoll_fd, events, SOAK_EVENTS,
				       soak.is_server ? -1 : SOAK_TICK_MS / 10);

		if (soak.is_server)
			soak.looked_ns = 0; /* it may wait as long as it likes */
		soak_look();
		for (int i = 0; i < count; i++) {
			uint64_t index = events[i].data.u64;

			if (index == SOAK_CONNECTIONS_MAX)
				soak_accept();
			else if (soak.is_server && soak.connections[index].state == SOAK_WORKING)
				soak_serve(&soak.connections[index]);
			else if (!soak.is_server &&
				 soak.connections[index].state >= SOAK_CONNECTING)
				soak_drive(&soak.connections[index]);
		}
		if (!soak.is_server)
			soak_tick();
	}
}

static void soak_listen(uint32_t port)
{
	struct sockaddr_vm address = { .svm_family = AF_VSOCK,
				       .svm_cid = VMADDR_CID_ANY,
				       .svm_port = port };
	struct epoll_event event = { .events = EPOLLIN, .data.u64 = SOAK_CONNECTIONS_MAX };

	soak.listener = socket(AF_VSOCK, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (soak.listener < 0 ||
	    bind(soak.listener, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    listen(soak.listener, SOAK_BACKLOG) < 0 ||
	    epoll_ctl(soak.epoll_fd, EPOLL_CTL_ADD, soak.listener, &event) < 0)
		soak_fail("port %u: %s", port, strerror(errno));
	printf("listening\n");
	fflush(stdout);
}

static uint64_t soak_argument(const char *text)
{
	char *end;
	uint64_t number = strtoull(text, &end, 10);

	if (end == text || *end)
		soak_fail("'%s': expected a number", text);
	return number;
}

static void soak_report(void)
{
	printf("{\"rounds\": %" PRIu64 ", \"bytes\": %" PRIu64 ", \"opened\": %" PRIu64
	       ", \"cuts\": %" PRIu64 ", \"max_stall_ms\": %.1f, \"max_gap_ms\": %.1f}\n",
	       soak.rounds, soak.bytes, soak.opened, soak.cuts, (double)soak.max_stall_ns / 1e6,
	       (double)soak.max_gap_ns / 1e6);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	uint64_t end_ns = 0;

	signal(SIGTERM, soak_on_signal);
	signal(SIGPIPE, SIG_IGN);
	soak.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	for (unsigned int i = 0; i < SOAK_CONNECTIONS_MAX; i++)
		soak.connections[i].fd = -1;
	if (argc == 3 && strcmp(argv[1], "serve") == 0) {
		soak.is_server = true;
		soak_listen((uint32_t)soak_argument(argv[2]));
	} else if (argc == 7 && strcmp(argv[1], "drive") == 0) {
		soak.peer = (struct sockaddr_vm){ .svm_family = AF_VSOCK,
						  .svm_cid = (uint32_t)soak_argument(argv[2]),
						  .svm_port = (uint32_t)soak_argument(argv[3]) };
		soak.count = (unsigned int)soak_argument(argv[4]);
		soak.random = soak_argument(argv[6]);
		if (soak.count < 1 || soak.count > SOAK_CONNECTIONS_MAX)
			soak_fail("1 to %u connections", SOAK_CONNECTIONS_MAX);
		for (unsigned int i = 0; i < soak.count; i++)
			soak.connections[i].state = SOAK_RESTING;
		end_ns = soak_clock_ns() + soak_argument(argv[5]) * 1000000000u;
	} else {
		soak_fail("usage: serve PORT | drive CID PORT CONNECTIONS SECONDS SEED");
	}
	soak_run(end_ns);
	soak_report();
	return 0;
}
