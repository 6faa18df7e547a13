/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A ring in a guest program's own memory: the link of medium scif.
 *
 * The connection is the vsock one, with its identity, its wakes and its end. The ring lies in a
 * window of the program's SCIF endpoint, which the server maps, as it maps what the program places
 * later (link_shared_place, link_shared_map). So nothing that is said leaves the guest, and the
 * server's device copies from and to the guest's memory. In order:
 *
 *	client (in a VM)			server (on the host)
 *	greeting, over vsock			scif_open, a port of its own
 *						answer; struct link_scif_door: port, two words
 *	scif_connect to the host		scif_accept; its word: it is who answered
 *	its word: it is who greeted;
 *	the ring's offset			0 when the ring is mapped, or -errno
 *
 * The words tie the two connections together: the port alone could be anybody's. Who does not say
 * its word within a moment is left, by either side.
 *
 * libscif is loaded by name when it is first needed, as the client's half lives in other people's
 * processes. The writing side sleeps by the clock: there is no second descriptor to wake it.
 */
#include <dlfcn.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include "include/scif.h"
#include "lib/link/internal.h"

#define NODES_MAX 64
/* For one who may be a stranger. The client's is longer: the server may have others first. */
#define SERVER_MOMENT_MS 1500
#define CLIENT_MOMENT_MS 4000
#define PIECE_BYTES	 (4u << 20) /* scifd names at most 1365 runs of pages for one mapping */

/* The part of libscif that is used. */
static struct {
	pthread_once_t once;
	bool found;
	scif_epd_t (*open)(void);
	int (*close)(scif_epd_t epd);
	int (*bind)(scif_epd_t epd, uint16_t port);
	int (*listen)(scif_epd_t epd, int backlog);
	int (*connect)(scif_epd_t epd, struct scif_portID *peer);
	int (*accept)(scif_epd_t epd, struct scif_portID *peer, scif_epd_t *accepted, int flags);
	int (*send)(scif_epd_t epd, void *message, int bytes, int flags);
	int (*recv)(scif_epd_t epd, void *message, int bytes, int flags);
	off_t (*register_window)(scif_epd_t epd, void *address, size_t bytes, off_t offset,
				 int prot, int flags);
	int (*unregister)(scif_epd_t epd, off_t offset, size_t bytes);
	void *(*mmap)(void *address, size_t bytes, int prot, int flags, scif_epd_t epd,
		      off_t offset);
	int (*munmap)(void *address, size_t bytes);
	int (*get_nodes)(uint16_t *nodes, int count, uint16_t *self);
	int (*poll)(struct scif_pollepd *epds, unsigned int count, long timeout_ms);
} scif = { .once = PTHREAD_ONCE_INIT };

/* library_open - libscif by its name, or where it lies beside us in a build folder or a bundle */
static void *library_open(void)
{
	static const char beside[] = "/../../scif/lib/libscif.so.0";
	void *library = dlopen("libscif.so.0", RTLD_NOW | RTLD_LOCAL);
	char path[4096];
	Dl_info own;
	char *slash;

	if (library || !dladdr((void *)link_scif_open, &own) || !own.dli_fname ||
	    !realpath(own.dli_fname, path))
		return library;
	slash = strrchr(path, '/');
	if (!slash || (size_t)(slash - path) + sizeof(beside) > sizeof(path))
		return NULL;
	memcpy(slash, beside, sizeof(beside));
	return dlopen(path, RTLD_NOW | RTLD_LOCAL);
}

static void library_find(void)
{
	void *library = library_open();
	const struct {
		const char *name;
		void *place;
	} symbols[] = {
		{ "scif_open", &scif.open },	   { "scif_close", &scif.close },
		{ "scif_bind", &scif.bind },	   { "scif_listen", &scif.listen },
		{ "scif_connect", &scif.connect }, { "scif_accept", &scif.accept },
		{ "scif_send", &scif.send },	   { "scif_recv", &scif.recv },
		{ "scif_mmap", &scif.mmap },	   { "scif_register", &scif.register_window },
		{ "scif_poll", &scif.poll },	   { "scif_unregister", &scif.unregister },
		{ "scif_munmap", &scif.munmap },   { "scif_get_nodeIDs", &scif.get_nodes },
	};

	scif.found = library;
	for (size_t i = 0; library && i < sizeof(symbols) / sizeof(*symbols); i++) {
		void *symbol = dlsym(library, symbols[i].name);

		memcpy(symbols[i].place, &symbol, sizeof(symbol));
		scif.found = scif.found && symbol;
	}
}

int link_scif_open(struct error *error)
{
	pthread_once(&scif.once, library_find);
	return scif.found ? 0 : error_set(error, -EIO, "libscif.so.0 is not there");
}

void link_scif_close(struct link *link)
{
	if (link->scif.epd >= 0)
		scif.close(link->scif.epd);
	if (link->scif.listener >= 0)
		scif.close(link->scif.listener);
	if (link->scif.memory)
		munmap(link->scif.memory, link->scif.memory_bytes);
	link->scif.epd = link->scif.listener = -1;
}

/* moment_end - when to give up one who may be a stranger: before the deadline in any case */
static int64_t moment_end(int64_t moment_ms, int64_t deadline_ms)
{
	int64_t end_ms = link_now_ms() + moment_ms;

	return end_ms < deadline_ms ? end_ms : deadline_ms;
}

/* meet_wait - until the endpoint has what to read, somebody to accept (POLLIN), or is connected or
 * refused (POLLOUT); 0 or -errno */
static int meet_wait(int epd, short event, int64_t deadline_ms)
{
	for (;;) {
		struct scif_pollepd one = { .epd = epd, .events = event };
		int64_t left_ms = deadline_ms - link_now_ms();
		int ready;

		if (left_ms <= 0)
			return -ETIMEDOUT;
		ready = scif.poll(&one, 1, left_ms < 1000 ? (long)left_ms : 1000);
		if (ready > 0)
			return one.revents & event ? 0 : -EPIPE;
		if (ready < 0 && errno != EINTR)
			return -errno;
	}
}

/* meet_receive - exactly @bytes before the deadline */
static int meet_receive(int epd, void *data, int bytes, int64_t deadline_ms)
{
	char *at = data;

	while (bytes) {
		int got = meet_wait(epd, SCIF_POLLIN, deadline_ms);

		if (got < 0)
			return got;
		got = scif.recv(epd, at, bytes, 0);
		if (got < 0 && errno != EAGAIN && errno != EINTR)
			return -errno;
		if (got > 0) {
			at += got;
			bytes -= got;
		}
	}
	return 0;
}

static int meet_send(int epd, void *data, int bytes)
{
	return scif.send(epd, data, bytes, SCIF_SEND_BLOCK) == bytes ? 0 : -EPIPE;
}

/* ---- the server's side ---- */

/* window_map - @bytes of the client's window at @at, in pieces that any scattering of its pages
 * allows */
static int window_map(struct link *link, uint64_t offset, size_t bytes, unsigned char *at)
{
	for (size_t done = 0; done < bytes; done += PIECE_BYTES) {
		size_t some = bytes - done < PIECE_BYTES ? bytes - done : PIECE_BYTES;

		if (scif.mmap(at + done, some, SCIF_PROT_READ | SCIF_PROT_WRITE, SCIF_MAP_FIXED,
			      link->scif.epd, (off_t)(offset + done)) == SCIF_MMAP_FAILED) {
			int status = -errno;

			link_shared_unmap(link, at, done);
			return status;
		}
	}
	return 0;
}

void link_shared_unmap(struct link *link, void *at, size_t bytes)
{
	for (size_t done = 0; link->medium == LINK_SCIF && done < bytes; done += PIECE_BYTES)
		scif.munmap((unsigned char *)at + done,
			    bytes - done < PIECE_BYTES ? bytes - done : PIECE_BYTES);
	if (link->medium != LINK_SCIF)
		munmap(at, bytes);
}

int link_scif_listen(struct link *link, struct link_scif_door *door, struct error *error)
{
	int status = link_scif_open(error), port;

	if (status < 0)
		return status;
	*door = (struct link_scif_door){ 0 };
	link->scif.listener = scif.open();
	if (link->scif.listener < 0)
		return error_set(error, -EIO, "the server has no scifd: %s", strerror(errno));
	port = scif.bind(link->scif.listener, 0);
	if (port < 0 || scif.listen(link->scif.listener, 4) < 0 ||
	    getrandom(door->server_word, sizeof(door->server_word), 0) < 0 ||
	    getrandom(door->client_word, sizeof(door->client_word), 0) < 0)
		return error_set(error, -EIO, "the server cannot listen on SCIF: %s",
				 strerror(errno));
	door->port = htole16((uint16_t)port);
	return 0;
}

/* server_map - header and rings out of the client's window */
static int server_map(struct link *link, uint64_t offset)
{
	struct link_ring *ring = &link->ring;
	const int access = SCIF_PROT_READ | SCIF_PROT_WRITE;
	struct link_ring_half *halves[] = { &ring->in, &ring->out };
	void *header =
		scif.mmap(NULL, LINK_RING_HEADER_BYTES, access, 0, link->scif.epd, (off_t)offset);

	if (header == SCIF_MMAP_FAILED)
		return -errno;
	ring->header = header;
	ring->in.words = &ring->header->to_server;
	ring->out.words = &ring->header->to_client;
	for (int i = 0; i < 2; i++) {
		uint64_t from = offset + LINK_RING_HEADER_BYTES + (uint64_t)i * ring->ring_bytes;
		unsigned char *base = mmap(NULL, 2 * ring->ring_bytes, PROT_NONE,
					   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

		if (base == MAP_FAILED)
			return -errno;
		halves[i]->base = base;
		for (int turn = 0; turn < 2; turn++) {
			int status = window_map(link, from, ring->ring_bytes,
						base + (size_t)turn * ring->ring_bytes);

			if (status < 0)
				return status;
		}
	}
	return 0;
}

/* server_greet - whether the one that connected is the client; 0 with the ring's offset */
static int server_greet(int epd, const struct link_scif_door *door, uint64_t *offset,
			int64_t deadline_ms)
{
	struct link_scif_door copy = *door;
	struct link_scif_knock knock;
	uint8_t difference = 0;
	int status = meet_send(epd, copy.server_word, sizeof(copy.server_word));

	if (!status)
		status = meet_receive(epd, &knock, sizeof(knock), deadline_ms);
	if (status)
		return status;
	for (size_t i = 0; i < sizeof(knock.client_word); i++)
		difference |= knock.client_word[i] ^ door->client_word[i];
	*offset = le64toh(knock.offset);
	return difference ? -EACCES : 0;
}

int link_scif_serve(struct link *link, const struct link_scif_door *door, int64_t deadline_ms,
		    struct error *error)
{
	int status;

	for (;;) {
		struct scif_portID peer;
		uint64_t offset = 0;
		int epd = -1;
		int32_t word;

		status = meet_wait(link->scif.listener, SCIF_POLLIN, deadline_ms);
		if (status < 0)
			return error_set(error, status, "the client did not come over SCIF: %s",
					 strerror(-status));
		if (scif.accept(link->scif.listener, &peer, &epd, 0) < 0)
			continue;
		status =
			server_greet(epd, door, &offset, moment_end(SERVER_MOMENT_MS, deadline_ms));
		if (status < 0) { /* somebody else; the client may still come */
			scif.close(epd);
			continue;
		}
		link->scif.epd = epd;
		status = offset > INT64_MAX ? -EINVAL : server_map(link, offset);
		word = (int32_t)htole32((uint32_t)status);
		meet_send(epd, &word, sizeof(word));
		scif.close(link->scif.listener);
		link->scif.listener = -1;
		return status < 0 ? error_set(error, status, "cannot map the client's ring: %s",
					      strerror(-status))
				  : 0;
	}
}

/* ---- the client's side ---- */

/* client_try - connect until @moment_ms: a stranger may never accept; 0 or -errno */
static int client_try(int epd, struct scif_portID *peer, int64_t moment_ms)
{
	int flags = fcntl(epd, F_GETFL);

	if (flags < 0 || fcntl(epd, F_SETFL, flags | O_NONBLOCK) < 0)
		return -errno;
	while (scif.connect(epd, peer) < 0) {
		int status =
			errno == EINPROGRESS ? meet_wait(epd, SCIF_POLLOUT, moment_ms) : -errno;

		if (status < 0)
			return status;
	}
	return fcntl(epd, F_SETFL, flags) < 0 ? -errno : 0;
}

/* client_connect - to the one node where the server's word comes from; its endpoint or -errno */
static int client_connect(const struct link_scif_door *door, int64_t deadline_ms)
{
	uint16_t nodes[NODES_MAX], self;
	int count = scif.get_nodes(nodes, NODES_MAX, &self);

	if (count < 0)
		return -errno;
	for (int i = 0; i < count && i < NODES_MAX; i++) {
		struct scif_portID peer = { nodes[i], le16toh(door->port) };
		uint8_t word[sizeof(door->server_word)];
		int64_t moment_ms = moment_end(CLIENT_MOMENT_MS, deadline_ms);
		int epd;

		if (nodes[i] == self)
			continue;
		epd = scif.open();
		if (epd < 0)
			return -errno;
		if (!client_try(epd, &peer, moment_ms) &&
		    !meet_receive(epd, word, sizeof(word), moment_ms) &&
		    !memcmp(word, door->server_word, sizeof(word)))
			return epd;
		scif.close(epd);
	}
	return -ECONNREFUSED;
}

int link_scif_meet(struct link *link, const struct link_scif_door *door, int64_t deadline_ms,
		   struct error *error)
{
	struct link_scif_knock knock;
	int32_t word = 0;
	off_t offset;
	int status;

	link->scif.epd = client_connect(door, deadline_ms);
	if (link->scif.epd < 0) {
		status = link->scif.epd;
		link->scif.epd = -1;
		return error_set(error, status,
				 "the server is at none of the nodes that this machine sees: %s",
				 strerror(-status));
	}
	offset = scif.register_window(link->scif.epd, link->scif.memory, link->scif.memory_bytes, 0,
				      SCIF_PROT_READ | SCIF_PROT_WRITE, 0);
	if (offset == SCIF_REGISTER_FAILED)
		return error_set(error, -errno, "no window for the ring: %s", strerror(errno));
	memcpy(knock.client_word, door->client_word, sizeof(knock.client_word));
	knock.offset = htole64((uint64_t)offset);
	status = meet_send(link->scif.epd, &knock, sizeof(knock));
	if (!status)
		status = meet_receive(link->scif.epd, &word, sizeof(word), deadline_ms);
	if (!status)
		status = (int32_t)le32toh((uint32_t)word);
	return status ? error_set(error, status < 0 ? status : -EPROTO,
				  "the server cannot map the ring: %s", strerror(-status))
		      : 0;
}

/* ---- both, later ---- */

int link_shared_place(struct link *link, void *at, size_t bytes, uint64_t *offset)
{
	off_t place;

	if (link->medium != LINK_SCIF)
		return -EOPNOTSUPP;
	place = scif.register_window(link->scif.epd, at, bytes, 0, SCIF_PROT_READ | SCIF_PROT_WRITE,
				     0);
	if (place == SCIF_REGISTER_FAILED)
		return -errno;
	*offset = (uint64_t)place;
	return 0;
}

void link_shared_remove(struct link *link, uint64_t offset, size_t bytes)
{
	if (link->medium == LINK_SCIF)
		scif.unregister(link->scif.epd, (off_t)offset, bytes);
}

int link_shared_map(struct link *link, uint64_t offset, size_t bytes, void *at)
{
	void *got = mmap(at, bytes, PROT_NONE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
	int status = 0;

	if (got != at) {
		status = got == MAP_FAILED && errno != EEXIST ? -errno : -EEXIST;
		if (got != MAP_FAILED)
			munmap(got, bytes); /* a kernel that does not know the flag */
		return status;
	}
	if (link->medium == LINK_SCIF)
		status = window_map(link, offset, bytes, at);
	else if (mmap(at, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, link->shared_fd,
		      (off_t)offset) == MAP_FAILED)
		status = -errno;
	if (status)
		munmap(at, bytes);
	return status;
}
