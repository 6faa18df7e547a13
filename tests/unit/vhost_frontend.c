/* SPDX-License-Identifier: Apache-2.0 */
/* The VMM and driver of the tests; see vhost_frontend.h. Its own failures end the test. */
#include "tests/unit/vhost_frontend.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/io.h"

#define FRONTEND_RING_BYTES 0x4000u /* of memory for each queue: three parts of a page and more */

#define MUST(condition)                                                                         \
	do {                                                                                    \
		if (!(condition)) {                                                             \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
			abort();                                                                \
		}                                                                               \
	} while (0)

static uint64_t frontend_ring_address(unsigned int index)
{
	return 0x1000u + index * FRONTEND_RING_BYTES;
}

static void frontend_map(struct frontend *frontend, int region)
{
	int fd = memfd_create("guest", MFD_CLOEXEC);
	void *memory;

	MUST(fd >= 0);
	MUST(ftruncate(fd, FRONTEND_REGION_BYTES) == 0);
	memory = mmap(NULL, FRONTEND_REGION_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	MUST(memory != MAP_FAILED);
	frontend->memory_fds[region] = fd;
	frontend->memory[region] = memory;
}

static void frontend_open_queue(struct frontend *frontend, unsigned int index)
{
	struct frontend_queue *queue = &frontend->queues[index];
	unsigned char *at = frontend_at(frontend, frontend_ring_address(index));
	int pipe_fds[2];

	queue->descriptors = (void *)at;
	queue->available = (void *)(at + 0x1000);
	queue->used = (void *)(at + 0x2000);
	queue->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	MUST(queue->kick_fd >= 0);
	if (frontend->style == FRONTEND_UML) {
		MUST(pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK) == 0);
		queue->call_fd = pipe_fds[0];
		queue->call_write_fd = pipe_fds[1];
	} else {
		queue->call_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		queue->call_write_fd = dup(queue->call_fd);
	}
	MUST(queue->call_fd >= 0 && queue->call_write_fd >= 0);
}

void frontend_open(struct frontend *frontend, enum frontend_style style,
		   void (*serve)(void *context), void *context, int socket_fd)
{
	memset(frontend, 0, sizeof(*frontend));
	frontend->style = style;
	frontend->serve = serve;
	frontend->context = context;
	frontend->request_fd = -1;
	frontend->socket_fd = socket_fd;
	frontend_map(frontend, 0);
	frontend_map(frontend, 1);
	for (unsigned int i = 0; i < FRONTEND_QUEUES; i++)
		frontend_open_queue(frontend, i);
}

void frontend_close(struct frontend *frontend)
{
	close(frontend->socket_fd);
	if (frontend->request_fd >= 0)
		close(frontend->request_fd);
	for (int i = 0; i < 2; i++) {
		munmap(frontend->memory[i], FRONTEND_REGION_BYTES);
		close(frontend->memory_fds[i]);
	}
	for (unsigned int i = 0; i < FRONTEND_QUEUES; i++) {
		close(frontend->queues[i].kick_fd);
		close(frontend->queues[i].call_fd);
		close(frontend->queues[i].call_write_fd);
	}
	frontend->serve(frontend->context);
}

void frontend_send(struct frontend *frontend, uint32_t request, uint32_t flags, const void *payload,
		   uint32_t bytes, const int *fds, unsigned int fd_count)
{
	unsigned char message[sizeof(struct vhost_user_header) + sizeof(union vhost_user_payload)];
	struct vhost_user_header header = {
		.request = request,
		.flags = VHOST_USER_FLAG_VERSION | flags,
		.size = bytes,
	};

	MUST(bytes <= sizeof(union vhost_user_payload));
	memcpy(message, &header, sizeof(header));
	if (bytes)
		memcpy(message + sizeof(header), payload, bytes);
	/* A back-end that hung up is what some tests are about. */
	io_send_fds(frontend->socket_fd, message, sizeof(header) + bytes, fds, fd_count);
}

static int frontend_answer(struct frontend *frontend, uint32_t request,
			   union vhost_user_payload *answer)
{
	struct vhost_user_header header;

	frontend->awaits_answer = true;
	frontend->serve(frontend->context);
	frontend->awaits_answer = false;
	if (recv(frontend->socket_fd, &header, sizeof(header), MSG_DONTWAIT) != sizeof(header))
		return -1;
	MUST(header.request == request);
	MUST(header.flags == (VHOST_USER_FLAG_VERSION | VHOST_USER_FLAG_REPLY));
	MUST(header.size <= sizeof(*answer));
	if (header.size)
		MUST(recv(frontend->socket_fd, answer, header.size, MSG_DONTWAIT) ==
		     (ssize_t)header.size);
	return (int)header.size;
}

int frontend_call(struct frontend *frontend, uint32_t request, uint32_t flags, const void *payload,
		  uint32_t bytes, union vhost_user_payload *answer)
{
	frontend_send(frontend, request, flags, payload, bytes, NULL, 0);
	return frontend_answer(frontend, request, answer);
}

int64_t frontend_acknowledged(struct frontend *frontend, uint32_t request, const void *payload,
			      uint32_t bytes, const int *fds, unsigned int fd_count)
{
	union vhost_user_payload answer;

	frontend_send(frontend, request, VHOST_USER_FLAG_NEED_REPLY, payload, bytes, fds, fd_count);
	if (frontend_answer(frontend, request, &answer) != sizeof(answer.number))
		return -1;
	return (int64_t)answer.number;
}

static void frontend_set_number(struct frontend *frontend, uint32_t request, uint64_t number)
{
	frontend_send(frontend, request, 0, &number, sizeof(number), NULL, 0);
}

void frontend_negotiate(struct frontend *frontend, uint64_t features)
{
	uint64_t wanted = VHOST_USER_PROTOCOL_F_REPLY_ACK | VHOST_USER_PROTOCOL_F_BACKEND_REQ |
			  VHOST_USER_PROTOCOL_F_CONFIG;
	union vhost_user_payload answer;
	int channel[2], taken;

	frontend_set_number(frontend, VHOST_USER_SET_OWNER, 0);
	taken = frontend_call(frontend, VHOST_USER_GET_FEATURES, 0, NULL, 0, &answer);
	MUST(taken == sizeof(uint64_t));
	MUST(answer.number & VHOST_USER_F_PROTOCOL_FEATURES);
	taken = frontend_call(frontend, VHOST_USER_GET_PROTOCOL_FEATURES, 0, NULL, 0, &answer);
	MUST(taken == sizeof(uint64_t) && (answer.number & wanted) == wanted);
	if (frontend->style == FRONTEND_QEMU)
		wanted = answer.number;
	if (frontend->style == FRONTEND_UML)
		MUST(frontend_acknowledged(frontend, VHOST_USER_SET_PROTOCOL_FEATURES, &wanted,
					   sizeof(wanted), NULL, 0) == 0);
	else
		frontend_set_number(frontend, VHOST_USER_SET_PROTOCOL_FEATURES, wanted);

	if (frontend->style == FRONTEND_UML)
		MUST(pipe2(channel, O_CLOEXEC | O_NONBLOCK) == 0);
	else
		MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, channel) == 0);
	frontend->request_fd = channel[0];
	frontend_send(frontend, VHOST_USER_SET_BACKEND_REQ_FD, 0, NULL, 0, &channel[1], 1);
	close(channel[1]);
	frontend_set_number(frontend, VHOST_USER_SET_FEATURES,
			    features | VIRTIO_F_VERSION_1 | VHOST_USER_F_PROTOCOL_FEATURES);
}

void frontend_share_memory(struct frontend *frontend)
{
	struct vhost_user_memory_table table = { .region_count = 2 };
	uint32_t bytes = 8 + 2 * sizeof(table.regions[0]);

	for (unsigned int i = 0; i < 2; i++) {
		table.regions[i].guest_address = (uint64_t)i * FRONTEND_REGION_BYTES;
		table.regions[i].bytes = FRONTEND_REGION_BYTES;
		table.regions[i].user_address =
			FRONTEND_USER_BASE + (uint64_t)i * 16 * FRONTEND_REGION_BYTES;
		if (frontend->style == FRONTEND_UML)
			table.regions[i].user_address = table.regions[i].guest_address;
	}
	if (frontend->style == FRONTEND_UML) {
		table.region_count = 1; /* and still 72 bytes */
		frontend_send(frontend, VHOST_USER_SET_MEM_TABLE, 0, &table, bytes,
			      frontend->memory_fds, 1);
	} else {
		frontend_send(frontend, VHOST_USER_SET_MEM_TABLE, 0, &table, bytes,
			      frontend->memory_fds, 2);
	}
}

void frontend_start_queue(struct frontend *frontend, unsigned int index, uint16_t base)
{
	uint64_t ring = frontend_ring_address(index), number = index;
	struct frontend_queue *queue = &frontend->queues[index];
	struct vhost_user_vring_state state = { index, FRONTEND_QUEUE_SIZE };
	struct vhost_user_vring_address address = { .index = index };

	if (frontend->style == FRONTEND_QEMU)
		ring += FRONTEND_USER_BASE;
	address.descriptors = ring;
	address.available = ring + 0x1000;
	address.used = ring + 0x2000;
	frontend_send(frontend, VHOST_USER_SET_VRING_NUM, 0, &state, sizeof(state), NULL, 0);
	state.num = base;
	frontend_send(frontend, VHOST_USER_SET_VRING_BASE, 0, &state, sizeof(state), NULL, 0);
	frontend_send(frontend, VHOST_USER_SET_VRING_ADDR, 0, &address, sizeof(address), NULL, 0);
	frontend_send(frontend, VHOST_USER_SET_VRING_KICK, 0, &number, sizeof(number),
		      &queue->kick_fd, 1);
	frontend_send(frontend, VHOST_USER_SET_VRING_CALL, 0, &number, sizeof(number),
		      &queue->call_write_fd, 1);
	state.num = 1;
	frontend_send(frontend, VHOST_USER_SET_VRING_ENABLE, 0, &state, sizeof(state), NULL, 0);
	frontend->serve(frontend->context);
}

uint16_t frontend_stop_queue(struct frontend *frontend, unsigned int index)
{
	struct vhost_user_vring_state state = { .index = index };
	union vhost_user_payload answer;

	MUST(frontend_call(frontend, VHOST_USER_GET_VRING_BASE, 0, &state, sizeof(state),
			   &answer) == sizeof(state));
	return (uint16_t)answer.state.num;
}

void frontend_handshake(struct frontend *frontend, uint64_t features)
{
	frontend_negotiate(frontend, features);
	frontend_share_memory(frontend);
	for (unsigned int i = 0; i < FRONTEND_QUEUES; i++)
		frontend_start_queue(frontend, i, 0);
}

void *frontend_at(struct frontend *frontend, uint64_t address)
{
	return frontend->memory[address / FRONTEND_REGION_BYTES] + address % FRONTEND_REGION_BYTES;
}

void frontend_put(struct frontend *frontend, uint64_t address, const void *from, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		*(unsigned char *)frontend_at(frontend, address + i) =
			((const unsigned char *)from)[i];
}

void frontend_get(struct frontend *frontend, uint64_t address, void *to, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		((unsigned char *)to)[i] = *(unsigned char *)frontend_at(frontend, address + i);
}

void frontend_offer_head(struct frontend *frontend, unsigned int index, uint16_t head)
{
	struct frontend_queue *queue = &frontend->queues[index];

	queue->available->ring[queue->next_available % FRONTEND_QUEUE_SIZE] = head;
	queue->next_available++;
	__atomic_store_n(&queue->available->idx, queue->next_available, __ATOMIC_SEQ_CST);
}

uint16_t frontend_offer(struct frontend *frontend, unsigned int index,
			const struct virtio_ring_desc *parts, unsigned int count)
{
	struct frontend_queue *queue = &frontend->queues[index];
	uint16_t head = queue->next_descriptor % FRONTEND_QUEUE_SIZE;

	for (unsigned int i = 0; i < count; i++) {
		uint16_t at = queue->next_descriptor++ % FRONTEND_QUEUE_SIZE;

		queue->descriptors[at] = parts[i];
		queue->descriptors[at].flags &= (uint16_t)~VIRTIO_RING_DESC_F_NEXT;
		if (i + 1 < count)
			queue->descriptors[at].flags |= VIRTIO_RING_DESC_F_NEXT;
		queue->descriptors[at].next = queue->next_descriptor % FRONTEND_QUEUE_SIZE;
	}
	frontend_offer_head(frontend, index, head);
	return head;
}

void frontend_kick(struct frontend *frontend, unsigned int index)
{
	static const uint64_t one = 1;

	MUST(write(frontend->queues[index].kick_fd, &one, sizeof(one)) == sizeof(one));
	frontend->serve(frontend->context);
}

bool frontend_used(struct frontend *frontend, unsigned int index, struct virtio_ring_used_elem *to)
{
	struct frontend_queue *queue = &frontend->queues[index];

	if (__atomic_load_n(&queue->used->idx, __ATOMIC_ACQUIRE) == queue->next_used)
		return false;
	*to = queue->used->ring[queue->next_used++ % FRONTEND_QUEUE_SIZE];
	return true;
}

uint64_t frontend_interrupts(struct frontend *frontend, unsigned int index)
{
	uint64_t count = 0, one;

	while (read(frontend->queues[index].call_fd, &one, sizeof(one)) == sizeof(one))
		count += one;
	return count;
}

bool frontend_wants_kick(struct frontend *frontend, unsigned int index, bool event_index)
{
	struct frontend_queue *queue = &frontend->queues[index];
	uint16_t event;

	if (!event_index)
		return !(queue->used->flags & VIRTIO_RING_USED_F_NO_NOTIFY);
	memcpy(&event, &queue->used->ring[FRONTEND_QUEUE_SIZE], sizeof(event));
	return (uint16_t)(queue->next_available - event - 1) < 1;
}
