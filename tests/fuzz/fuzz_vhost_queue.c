/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hostile driver: any contents of a virtqueue.
 *
 * The input becomes the descriptor table, an indirect table and the available ring. Every vector
 * that comes out must lie inside the guest's memory, and the sums must agree.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/vhost/queue.h"
#include "proto/virtio-ring.h"

#define QUEUE_SIZE	 16u
#define REGION_BYTES	 0x8000u
#define AVAILABLE_PLACE	 0x1000u
#define USED_PLACE	 0x2000u
#define INDIRECT_PLACE	 0x7ff0u /* lies across the two regions */
#define CHAINS_PER_INPUT 64

struct bench {
	struct vhost_memory memory;
	struct vhost_queue queue;
	unsigned char *guest[2];
	struct iovec vectors[VHOST_CHAIN_VECTORS_MAX];
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void bench_must(bool condition)
{
	if (!condition)
		abort();
}

static void bench_open(struct bench *bench)
{
	for (unsigned int i = 0; i < 2; i++) {
		struct vhost_user_memory_region place = { .guest_address = i * REGION_BYTES,
							  .bytes = REGION_BYTES,
							  .user_address = i * REGION_BYTES };
		int fd = memfd_create("guest", MFD_CLOEXEC);

		bench_must(fd >= 0 && ftruncate(fd, REGION_BYTES) == 0);
		bench_must(vhost_memory_add(&bench->memory, &place, fd, NULL) == 0);
		bench->guest[i] = bench->memory.regions[i].host;
		close(fd);
	}
}

/* Every part lies in one region of the guest, and they add up. */
static void bench_check(const struct bench *bench, const struct vhost_chain *chain)
{
	size_t sum = 0;

	for (unsigned int i = 0; i < chain->readable_count + chain->writable_count; i++) {
		const unsigned char *start = chain->vectors[i].iov_base;
		size_t length = chain->vectors[i].iov_len;
		bool inside = false;

		for (int region = 0; region < 2; region++)
			inside |= start >= bench->guest[region] &&
				  start + length <= bench->guest[region] + REGION_BYTES;
		bench_must(inside);
		sum += length;
	}
	bench_must(sum == chain->readable_bytes + chain->writable_bytes);
	bench_must(chain->head < QUEUE_SIZE);
}

/* The next @wanted bytes of the input, as far as it goes, to guest-physical @place. */
static void bench_fill(struct bench *bench, uint64_t place, size_t wanted, const uint8_t **data,
		       size_t *bytes)
{
	for (; wanted && *bytes; wanted--, place++, (*data)++, (*bytes)--)
		bench->guest[place / REGION_BYTES][place % REGION_BYTES] = **data;
}

static void bench_start(struct bench *bench, uint8_t choice)
{
	vhost_queue_init(&bench->queue, &bench->memory);
	bench->queue.size = QUEUE_SIZE;
	bench->queue.address.available = AVAILABLE_PLACE;
	bench->queue.address.used = USED_PLACE;
	bench->queue.event_index = choice & 1;
	bench->queue.indirect = choice & 2;
	bench_must(vhost_queue_resolve(&bench->queue) == 0);
	bench->queue.ready = true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	static struct bench bench;
	struct vhost_chain chain;
	uint8_t choice;

	if (!bench.guest[0])
		bench_open(&bench);
	if (bytes == 0)
		return 0;
	choice = *data++;
	bytes--;
	memset(bench.guest[0], 0, REGION_BYTES);
	memset(bench.guest[1], 0, REGION_BYTES);
	bench_fill(&bench, 0, QUEUE_SIZE * sizeof(struct virtio_ring_desc), &data, &bytes);
	bench_fill(&bench, AVAILABLE_PLACE, 6 + QUEUE_SIZE * 2, &data, &bytes);
	bench_fill(&bench, INDIRECT_PLACE, 256, &data, &bytes);
	bench_start(&bench, choice);
	for (int i = 0; i < CHAINS_PER_INPUT; i++) {
		unsigned int capacity = choice & 4 ? 3 : VHOST_CHAIN_VECTORS_MAX;
		int popped = vhost_queue_pop(&bench.queue, &chain, bench.vectors, capacity);

		if (popped <= 0)
			break;
		bench_check(&bench, &chain);
		vhost_queue_push(&bench.queue, chain.head, (uint32_t)chain.writable_bytes);
		vhost_queue_notify(&bench.queue);
		vhost_queue_want_kicks(&bench.queue, i & 1);
	}
	return 0;
}
