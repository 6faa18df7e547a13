/* SPDX-License-Identifier: Apache-2.0 */
/* Bare ping-pong; see bare.h. */
#include "bench/bare.h"

#include <signal.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/io.h"
#include "lib/link/internal.h"

/* Two slots on cache lines of their own, written in turn by two processes that only spin. */
struct bare_ring {
	alignas(128) _Atomic uint64_t there;
	char there_message[BARE_MESSAGE_BYTES];
	alignas(128) _Atomic uint64_t back;
	char back_message[BARE_MESSAGE_BYTES];
};

void bare_fail(const char *what, int status)
{
	fprintf(stderr, "%s: %s\n", what, strerror(-status));
	exit(1);
}

int bare_check(const char *what, int status)
{
	if (status < 0)
		bare_fail(what, status);
	return status;
}

double bare_now_us(void)
{
	return spin_clock_ns() / 1e3;
}

static void bare_socket_round(void *argument)
{
	char message[BARE_MESSAGE_BYTES] = { 0 };
	int fd = *(int *)argument;

	bare_check("bare write", io_write_full(fd, message, sizeof(message)));
	bare_check("bare read", io_read_full(fd, message, sizeof(message)));
}

static __attribute__((noreturn)) void bare_ring_answer(struct bare_ring *ring)
{
	char message[BARE_MESSAGE_BYTES];

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (uint64_t turn = 1;; turn++) {
		while (atomic_load_explicit(&ring->there, memory_order_acquire) != turn)
			spin_relax();
		memcpy(message, ring->there_message, sizeof(message));
		memcpy(ring->back_message, message, sizeof(message));
		atomic_store_explicit(&ring->back, turn, memory_order_release);
	}
}

static void bare_ring_round(void *argument)
{
	char message[BARE_MESSAGE_BYTES] = { 0 };
	struct bare_ring *ring = argument;
	uint64_t turn = atomic_load_explicit(&ring->there, memory_order_relaxed) + 1;

	memcpy(ring->there_message, message, sizeof(message));
	atomic_store_explicit(&ring->there, turn, memory_order_release);
	while (atomic_load_explicit(&ring->back, memory_order_acquire) != turn)
		spin_relax();
	memcpy(message, ring->back_message, sizeof(message));
}

void bare_open(struct bare *bare, const char *text)
{
	uint32_t magic = BARE_MAGIC;
	struct link_address address;
	struct error error = { 0 };

	*bare = (struct bare){ .fd = -1 };
	bare_check(text, link_address_parse(text, &address, &error));
	if (address.medium != LINK_RING) {
		bare->fd = bare_check(text,
				      link_address_connect(&address, link_now_ms() + 5000, &error));
		bare_check("magic", io_write_full(bare->fd, &magic, sizeof(magic)));
		return;
	}
	bare->ring = mmap(NULL, sizeof(*bare->ring), PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	bare->peer = fork();
	if (!bare->peer)
		bare_ring_answer(bare->ring);
	kill(bare->peer, SIGSTOP);
}

void bare_close(struct bare *bare)
{
	if (bare->fd >= 0)
		close(bare->fd);
	if (bare->peer) {
		kill(bare->peer, SIGKILL);
		waitpid(bare->peer, NULL, 0);
	}
}

static int compare_doubles(const void *one, const void *other)
{
	double a = *(const double *)one, b = *(const double *)other;

	return (a > b) - (a < b);
}

double bare_batch(void (*round)(void *), void *argument)
{
	static double times[BARE_BATCH];

	for (int i = 0; i < BARE_BATCH; i++) {
		double start = bare_now_us();

		round(argument);
		times[i] = bare_now_us() - start;
	}
	qsort(times, BARE_BATCH, sizeof(*times), compare_doubles);
	return times[BARE_BATCH / 2];
}

double bare_sample(struct bare *bare)
{
	double sample;

	if (!bare->peer)
		return bare_batch(bare_socket_round, &bare->fd);
	kill(bare->peer, SIGCONT);
	sample = bare_batch(bare_ring_round, bare->ring);
	kill(bare->peer, SIGSTOP);
	return sample;
}

void bare_print(const char *name, const double *samples, int count)
{
	printf("\"%s\": [", name);
	for (int i = 0; i < count; i++)
		printf("%s%.4g", i ? ", " : "", samples[i]);
	printf("]");
}
