/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A link over two rings in shared memory (wire: proto/link.h).
 *
 * Memory: each ring is mapped twice, back to back, so that any span of up to ring_bytes is
 * contiguous whatever its offset. The writer of a ring alone stores `produced`, its reader alone
 * `consumed`; both count bytes since the start. Each side keeps its own index in private memory
 * and only ever stores it to the shared words. The other's index is loaded once per look and
 * refused when it makes the used bytes exceed the ring or run backwards: the link is dead then.
 *
 * Sleeping: who finds nothing to do spins (spin.h), then sets its *_sleeps word, looks once more,
 * and blocks in recv(): a reader on the connection, a writer on the second socket. Who has stored
 * an index looks at the other's word behind a full fence; the store, fence, load on both sides
 * make it impossible that both miss each other. Wakes are sent with MSG_DONTWAIT: a full socket
 * is full of wakes. A descriptor from the peer can therefore never block this side, and the same
 * recv() that waits for a wake returns 0 when the peer dies, and after shutdown().
 *
 * Over scif there is no second socket: a writer without room looks again every 50 us (ring_nap).
 *
 * Place: two that spin on one processor only wait for each other. A writer leaves a note where it
 * runs; the server's reading thread, when a wait has lasted long enough to yield and the note names
 * its own processor, moves itself to another. The client's threads belong to somebody else and
 * stay where they are.
 *
 * The writing thread alone touches `out` and writer_hung_up, the reading one `in` and
 * reader_hung_up. What the peer wrote before it died is still delivered.
 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/clean.h"
#include "lib/link/internal.h"

#define RING_TMPFS_MAGIC   0x01021994
#define RING_SEALS_NEEDED  (F_SEAL_SHRINK | F_SEAL_GROW)
#define RING_SEALS_REFUSED (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)
/* Large transfers move in chunks, so that the reader copies out what is still in the cache. */
#define RING_CHUNK_BYTES   (64u << 10)
#define RING_MOVE_EVERY_NS 1000000
#define RING_NAP_NS	   50000

/* Maps @ring_bytes at @offset twice, back to back; MAP_FAILED with errno. */
static void *ring_map_twice(int memory_fd, off_t offset, size_t ring_bytes)
{
	unsigned char *base = mmap(NULL, 2 * ring_bytes, PROT_NONE,
				   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (base == MAP_FAILED)
		return MAP_FAILED;
	for (int i = 0; i < 2; i++) {
		if (mmap(base + i * ring_bytes, ring_bytes, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_FIXED, memory_fd, offset) == MAP_FAILED) {
			int saved_errno = errno;

			munmap(base, 2 * ring_bytes);
			errno = saved_errno;
			return MAP_FAILED;
		}
	}
	return base;
}

/* Maps header and rings; @is_server says which ring is whose. */
static int ring_map(struct link_ring *ring, int memory_fd, bool is_server)
{
	struct link_ring_half *to_server = is_server ? &ring->in : &ring->out;
	struct link_ring_half *to_client = is_server ? &ring->out : &ring->in;
	void *header = mmap(NULL, LINK_RING_HEADER_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED,
			    memory_fd, 0);

	if (header == MAP_FAILED)
		return -errno;
	ring->header = header;
	to_server->words = &ring->header->to_server;
	to_client->words = &ring->header->to_client;
	to_server->base = ring_map_twice(memory_fd, LINK_RING_HEADER_BYTES, ring->ring_bytes);
	if (to_server->base == MAP_FAILED) {
		to_server->base = NULL;
		return -errno;
	}
	to_client->base = ring_map_twice(memory_fd, LINK_RING_HEADER_BYTES + ring->ring_bytes,
					 ring->ring_bytes);
	if (to_client->base == MAP_FAILED) {
		to_client->base = NULL;
		return -errno;
	}
	return 0;
}

/* ring_make_memory - a sealed memfd with header and rings, mapped; its descriptor or -errno */
static int ring_make_memory(struct link *link, size_t ring_bytes, struct error *error)
{
	autoclose int memory_fd = -1;
	int status;

	if (ring_bytes < LINK_RING_BYTES_MIN || ring_bytes > LINK_RING_BYTES_MAX ||
	    (ring_bytes & (ring_bytes - 1)))
		return error_set(error, -EINVAL,
				 "ring of %zu bytes: expected a power of two from %u to %u",
				 ring_bytes, LINK_RING_BYTES_MIN, LINK_RING_BYTES_MAX);
	link->ring.ring_bytes = ring_bytes;
	memory_fd = memfd_create("causeway-ring", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (memory_fd < 0 || ftruncate(memory_fd, LINK_RING_HEADER_BYTES + 2 * ring_bytes) < 0 ||
	    fcntl(memory_fd, F_ADD_SEALS, RING_SEALS_NEEDED | F_SEAL_SEAL) < 0)
		return error_set(error, -errno, "no shared memory for the ring: %s",
				 strerror(errno));
	status = ring_map(&link->ring, memory_fd, false);
	if (status < 0)
		return error_set(error, status, "cannot map the ring: %s", strerror(-status));
	return steal_fd(&memory_fd);
}

int ring_make_window(struct link *link, size_t ring_bytes, struct error *error)
{
	autoclose int memory_fd = ring_make_memory(link, ring_bytes, error);
	size_t bytes = LINK_RING_HEADER_BYTES + 2 * ring_bytes;
	void *at;

	if (memory_fd < 0)
		return memory_fd;
	at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, memory_fd, 0);
	if (at == MAP_FAILED)
		return error_set(error, -errno, "cannot map the ring: %s", strerror(errno));
	link->scif.memory = at;
	link->scif.memory_bytes = bytes;
	return 0;
}

int ring_make(struct link *link, size_t ring_bytes, int fds[LINK_RING_FDS], struct error *error)
{
	autoclose int memory_fd = ring_make_memory(link, ring_bytes, error);
	int pair[2];

	if (memory_fd < 0)
		return memory_fd;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return error_set(error, -errno, "no sockets for the ring: %s", strerror(errno));
	link->ring.room_fd = pair[0];
	fds[0] = steal_fd(&memory_fd);
	fds[1] = pair[1];
	return 0;
}

/* Refuses memory whose pages could vanish under this side, or that is not plain memory. */
int ring_check_memory(int memory_fd, uint64_t memory_bytes, const char *what, struct error *error)
{
	struct statfs filesystem;
	struct stat status;
	int seals = fcntl(memory_fd, F_GET_SEALS);

	if (seals < 0 || (seals & RING_SEALS_NEEDED) != RING_SEALS_NEEDED ||
	    (seals & RING_SEALS_REFUSED))
		return error_set(error, -EINVAL, "%s is not sealed against shrinking and growing",
				 what);
	if (fstat(memory_fd, &status) < 0 || (uint64_t)status.st_size != memory_bytes)
		return error_set(error, -EINVAL, "%s has %lld bytes, not %llu", what,
				 (long long)status.st_size, (unsigned long long)memory_bytes);
	/* Huge pages of hugetlbfs can be missing when they are first touched. */
	if (fstatfs(memory_fd, &filesystem) < 0 || filesystem.f_type != RING_TMPFS_MAGIC)
		return error_set(error, -EINVAL, "%s is not an ordinary memfd", what);
	return 0;
}

int ring_attach(struct link *link, const struct link_greeting *greeting,
		const int fds[LINK_RING_FDS], struct error *error)
{
	struct link_ring *ring = &link->ring;
	int type = 0, family = 0, status;
	socklen_t bytes = sizeof(int);

	status = ring_check_memory(fds[0], le64toh(greeting->memory_bytes), "the ring's memory",
				   error);
	if (status < 0)
		return status;
	if (getsockopt(fds[1], SOL_SOCKET, SO_TYPE, &type, &bytes) < 0 || type != SOCK_STREAM ||
	    getsockopt(fds[1], SOL_SOCKET, SO_DOMAIN, &family, &bytes) < 0 || family != AF_UNIX)
		return error_set(error, -EINVAL, "the ring's second descriptor is no Unix socket");
	ring->ring_bytes = le64toh(greeting->ring_bytes);
	status = ring_map(ring, fds[0], true);
	if (status < 0)
		return error_set(error, status == -ENOMEM ? -ENOMEM : -EINVAL,
				 "cannot map the ring: %s", strerror(-status));
	close(fds[0]);
	ring->room_fd = fds[1];
	ring->moves_away = true;
	return 0;
}

void ring_close(struct link *link)
{
	struct link_ring *ring = &link->ring;

	if (ring->out.base)
		munmap(ring->out.base, 2 * ring->ring_bytes);
	if (ring->in.base)
		munmap(ring->in.base, 2 * ring->ring_bytes);
	if (ring->header)
		munmap(ring->header, LINK_RING_HEADER_BYTES);
	if (ring->room_fd >= 0)
		close(ring->room_fd);
}

void ring_shutdown(struct link *link)
{
	shutdown(link->ring.room_fd, SHUT_RDWR);
}

/*
 * Wakes the other side if it sleeps: called behind the store of an index. Whoever clears the word
 * sends, so that a sleep costs one wake. Return: 0, or -errno where the sleeper died.
 */
static inline int ring_wake(struct link *link, _Atomic uint32_t *sleeps, int fd)
{
	atomic_thread_fence(memory_order_seq_cst);
	if (!atomic_load_explicit(sleeps, memory_order_relaxed) || !atomic_exchange(sleeps, 0))
		return 0;
	if (send(fd, "", 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 && errno != EAGAIN)
		return link_failure(link, errno);
	return 0;
}

/*
 * Sleeps until a wake; the caller has set its *_sleeps word and looked again.
 * Return: 0, or -EPIPE at the end of the socket.
 */
static int ring_sleep(int fd)
{
	char wakes[64];
	ssize_t got = recv(fd, wakes, sizeof(wakes), 0);

	if (got > 0 || (got < 0 && (errno == EINTR || errno == EAGAIN)))
		return 0;
	return -EPIPE;
}

/*
 * Sleeps a little, where no descriptor tells of room: the connection is only asked whether the peer
 * is alive, since what comes there wakes readers. Return: 0, or -EPIPE.
 */
static int ring_nap(int fd)
{
	static const struct timespec moment = { 0, RING_NAP_NS };
	char wake;

	nanosleep(&moment, NULL);
	return recv(fd, &wake, 1, MSG_PEEK | MSG_DONTWAIT) ? 0 : -EPIPE;
}

/* Bytes that the reading side may take, after a look at the peer's index; -EPROTO. */
static inline ssize_t ring_in_look(struct link_ring *ring)
{
	struct link_ring_half *in = &ring->in;
	uint64_t produced = atomic_load_explicit(&in->words->produced, memory_order_acquire);
	uint64_t available = produced - in->own_index;

	if (available > ring->ring_bytes || available < in->peer_index - in->own_index)
		return -EPROTO;
	in->peer_index = produced;
	return available;
}

/* Bytes that the writing side may fill, likewise. */
static inline ssize_t ring_out_look(struct link_ring *ring)
{
	struct link_ring_half *out = &ring->out;
	uint64_t consumed = atomic_load_explicit(&out->words->consumed, memory_order_acquire);
	uint64_t used = out->own_index - consumed;

	if (used > ring->ring_bytes || used > out->own_index - out->peer_index)
		return -EPROTO;
	out->peer_index = consumed;
	return ring->ring_bytes - used;
}

static inline size_t ring_in_known(const struct link_ring *ring)
{
	return ring->in.peer_index - ring->in.own_index;
}

static inline size_t ring_out_known(const struct link_ring *ring)
{
	return ring->ring_bytes - (ring->out.own_index - ring->out.peer_index);
}

/* Leaves the processor that the peer is on too, unless it is the only one or that was just done. */
static void ring_move_away(struct link_ring *ring)
{
	uint32_t peer =
		atomic_load_explicit(&ring->in.words->writer_processor, memory_order_relaxed);
	int own = sched_getcpu();
	uint64_t now_ns;
	cpu_set_t all, others;

	if (own < 0 || peer != (uint32_t)own + 1)
		return;
	now_ns = spin_clock_ns();
	if (now_ns - ring->moved_ns < RING_MOVE_EVERY_NS)
		return;
	ring->moved_ns = now_ns;
	if (sched_getaffinity(0, sizeof(all), &all) < 0)
		return;
	others = all;
	CPU_CLR(own, &others);
	/* Narrowing moves the thread, widening again leaves it where it is. */
	if (CPU_COUNT(&others) && sched_setaffinity(0, sizeof(others), &others) == 0)
		sched_setaffinity(0, sizeof(all), &all);
}

/* One waiting side: what to look at, where to sleep. */
struct ring_waiter {
	ssize_t (*look)(struct link_ring *ring);
	_Atomic uint32_t *sleeps;
	struct spin *spin;
	int fd;
	bool *hung_up;
	bool moves_away;
};

/* Waits until @look finds @bytes; 0, -EPROTO, -EPIPE or -ESHUTDOWN. */
static int ring_wait(struct link *link, const struct ring_waiter *waiter, size_t bytes)
{
	bool slept = false;
	ssize_t have;

	spin_begin(waiter->spin);
	for (;;) {
		have = waiter->look(&link->ring);
		if (have < 0 || (size_t)have >= bytes)
			break;
		if (atomic_load_explicit(&link->stopped, memory_order_relaxed))
			return -ESHUTDOWN;
		if (spin_again(waiter->spin, false)) {
			if (waiter->spin->yielded && waiter->moves_away)
				ring_move_away(&link->ring);
			continue;
		}
		slept = true;
		atomic_store(waiter->sleeps, 1);
		atomic_thread_fence(memory_order_seq_cst);
		have = waiter->look(&link->ring);
		if (have < 0 || (size_t)have >= bytes) {
			atomic_store(waiter->sleeps, 0);
			break;
		}
		if (*waiter->hung_up)
			return link_failure(link, 0);
		/* After the end of the socket: one more look at what the peer left behind. */
		*waiter->hung_up =
			(waiter->fd < 0 ? ring_nap(link->fd) : ring_sleep(waiter->fd)) < 0;
		atomic_store(waiter->sleeps, 0);
		/* Woken for less than is wanted: the rest is under way, so spin for it again. */
		waiter->spin->rounds = 1;
	}
	if (slept)
		spin_slept(waiter->spin);
	return have < 0 ? (int)have : 0;
}

static int ring_reader_wait(struct link *link, size_t bytes)
{
	const struct ring_waiter waiter = {
		.look = ring_in_look,
		.sleeps = &link->ring.in.words->reader_sleeps,
		.spin = &link->read_spin,
		.fd = link->fd,
		.hung_up = &link->ring.reader_hung_up,
		.moves_away = link->ring.moves_away,
	};

	return ring_wait(link, &waiter, bytes);
}

static int ring_writer_wait(struct link *link, size_t bytes)
{
	const struct ring_waiter waiter = {
		.look = ring_out_look,
		.sleeps = &link->ring.out.words->writer_sleeps,
		.spin = &link->write_spin,
		.fd = link->ring.room_fd,
		.hung_up = &link->ring.writer_hung_up,
	};

	int status;

	/* The reader makes room only while it is awake. */
	status = ring_flush(link);
	return status < 0 ? status : ring_wait(link, &waiter, bytes);
}

int ring_reserve(struct link *link, size_t bytes, void **at)
{
	struct link_ring *ring = &link->ring;

	if (ring_out_known(ring) < bytes) {
		int status = ring_writer_wait(link, bytes);

		if (status < 0)
			return status;
	}
	*at = ring->out.base + (ring->out.own_index & (ring->ring_bytes - 1));
	return 0;
}

/* ring_leave_note - where this side runs */
static inline void ring_leave_note(struct link_ring_half *out)
{
	uint32_t processor = (uint32_t)sched_getcpu() + 1;

	if (processor == out->processor)
		return;
	out->processor = processor;
	atomic_store_explicit(&out->words->writer_processor, processor, memory_order_relaxed);
}

int ring_commit(struct link *link, size_t bytes)
{
	struct link_ring_half *out = &link->ring.out;

	/* A guest's processors are none that the other side could leave. */
	if (link->medium == LINK_RING)
		ring_leave_note(out);
	out->own_index += bytes;
	atomic_store_explicit(&out->words->produced, out->own_index, memory_order_release);
	return 0;
}

int ring_flush(struct link *link)
{
	return ring_wake(link, &link->ring.out.words->reader_sleeps, link->fd);
}

int ring_write(struct link *link, const void *data, size_t bytes)
{
	const unsigned char *from = data;
	bool is_large = bytes > RING_CHUNK_BYTES;

	while (bytes) {
		size_t some = bytes < RING_CHUNK_BYTES ? bytes : RING_CHUNK_BYTES;
		void *at;
		int status = ring_reserve(link, some, &at);

		if (status < 0)
			return status;
		memcpy(at, from, some);
		ring_commit(link, some);
		status = is_large ? ring_flush(link) : 0;
		if (status < 0)
			return status;
		from += some;
		bytes -= some;
	}
	return 0;
}

int ring_peek(struct link *link, size_t bytes, const void **at)
{
	struct link_ring *ring = &link->ring;

	if (ring_in_known(ring) < bytes) {
		int status = ring_reader_wait(link, bytes);

		if (status < 0)
			return status;
	}
	*at = ring->in.base + (ring->in.own_index & (ring->ring_bytes - 1));
	return 0;
}

int ring_peek_some(struct link *link, const void **at, size_t *bytes)
{
	int status = ring_peek(link, 1, at);

	if (status < 0)
		return status;
	if (*bytes > ring_in_known(&link->ring))
		*bytes = ring_in_known(&link->ring);
	return 0;
}

ssize_t ring_readable(struct link *link)
{
	ssize_t available = ring_in_look(&link->ring);
	char wakes[64];
	ssize_t got;

	if (available || link->ring.reader_hung_up)
		return available ? available : -EPIPE;
	/* Nothing there: tell a quiet peer from a dead one. */
	got = recv(link->fd, wakes, sizeof(wakes), MSG_DONTWAIT);
	if (got > 0 || (got < 0 && (errno == EAGAIN || errno == EINTR)))
		return 0;
	link->ring.reader_hung_up = true;
	available = ring_in_look(&link->ring);
	return available ? available : link_failure(link, 0);
}

void ring_consume(struct link *link, size_t bytes)
{
	struct link_ring_half *in = &link->ring.in;

	in->own_index += bytes;
	atomic_store_explicit(&in->words->consumed, in->own_index, memory_order_release);
	/* A dead writer is found out by the next read. */
	ring_wake(link, &in->words->writer_sleeps, link->ring.room_fd);
}

int ring_read(struct link *link, void *to, size_t bytes)
{
	unsigned char *at = to;

	while (bytes) {
		size_t some = bytes < RING_CHUNK_BYTES ? bytes : RING_CHUNK_BYTES;
		const void *from;
		int status = ring_peek_some(link, &from, &some);

		if (status < 0)
			return status;
		memcpy(at, from, some);
		ring_consume(link, some);
		at += some;
		bytes -= some;
	}
	return 0;
}
