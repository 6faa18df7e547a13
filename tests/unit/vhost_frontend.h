/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A VMM and its guest's driver, in the process of the test: drives a back-end over a socket pair
 * with real shared memory and real split virtqueues. Unit tests and fuzz targets stand on it.
 *
 * The guest's memory is two regions that follow each other in guest-physical space and lie in
 * different files, so that a buffer across FRONTEND_BORDER spans regions.
 */
#ifndef CAUSEWAY_TESTS_UNIT_VHOST_FRONTEND_H
#define CAUSEWAY_TESTS_UNIT_VHOST_FRONTEND_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/vhost-user.h"
#include "proto/virtio-ring.h"

#define FRONTEND_REGION_BYTES (1u << 20)
#define FRONTEND_BORDER	      FRONTEND_REGION_BYTES /* where the second region begins */
#define FRONTEND_USER_BASE    0x700000000000ull	    /* of the VMM's imagined address space */
#define FRONTEND_BUFFERS      0x20000u		    /* addresses below hold the rings */
#define FRONTEND_QUEUES	      3
#define FRONTEND_QUEUE_SIZE   128

enum frontend_style {
	FRONTEND_QEMU, /* rings by user address, event descriptors */
	FRONTEND_UML,  /* rings by guest-physical address, pipes, one region at full length */
};

struct frontend_queue {
	struct virtio_ring_desc *descriptors;
	struct virtio_ring_avail *available;
	struct virtio_ring_used *used;
	uint16_t next_descriptor; /* the table is handed out in a circle */
	uint16_t next_available, next_used;
	int kick_fd;
	int call_fd;	   /* to read interrupts from */
	int call_write_fd; /* what the back-end got, kept for closing */
};

struct frontend {
	enum frontend_style style;
	int socket_fd;	/* the VMM's end */
	int request_fd; /* to read what the back-end asks */
	int memory_fds[2];
	unsigned char *memory[2];
	struct frontend_queue queues[FRONTEND_QUEUES];
	/* Lets the back-end work until it has nothing more to do. */
	void (*serve)(void *context);
	void *context;
	bool awaits_answer; /* while serve() runs: a message is due on socket_fd */
};

/* frontend_open - memory and queues; @socket_fd is the VMM's end of the socket, owned from now */
void frontend_open(struct frontend *frontend, enum frontend_style style,
		   void (*serve)(void *context), void *context, int socket_fd);
/* frontend_close - the VMM is gone */
void frontend_close(struct frontend *frontend);

/* frontend_send - one message; the descriptors stay the caller's. Does not serve. */
void frontend_send(struct frontend *frontend, uint32_t request, uint32_t flags, const void *payload,
		   uint32_t bytes, const int *fds, unsigned int fd_count);

/* frontend_call - send, serve, and read the answer; its bytes, or -1 without one */
int frontend_call(struct frontend *frontend, uint32_t request, uint32_t flags, const void *payload,
		  uint32_t bytes, union vhost_user_payload *answer);

/* frontend_acknowledged - send with an acknowledgement asked for; its number, or -1 without one */
int64_t frontend_acknowledged(struct frontend *frontend, uint32_t request, const void *payload,
			      uint32_t bytes, const int *fds, unsigned int fd_count);

/* frontend_handshake - all of it up to enabled queues, with @features of the ring's added */
void frontend_handshake(struct frontend *frontend, uint64_t features);

/* The parts of it, for tests that deviate. */
void frontend_negotiate(struct frontend *frontend, uint64_t features);
void frontend_share_memory(struct frontend *frontend);
void frontend_start_queue(struct frontend *frontend, unsigned int index, uint16_t base);
uint16_t frontend_stop_queue(struct frontend *frontend, unsigned int index);

/* frontend_at - where guest-physical @address is mapped; a range must not cross the border */
void *frontend_at(struct frontend *frontend, uint64_t address);
/* Copies that may cross the border. */
void frontend_put(struct frontend *frontend, uint64_t address, const void *from, size_t bytes);
void frontend_get(struct frontend *frontend, uint64_t address, void *to, size_t bytes);

/* frontend_offer - one chain of @count parts (flags: only WRITE counts); its head */
uint16_t frontend_offer(struct frontend *frontend, unsigned int index,
			const struct virtio_ring_desc *parts, unsigned int count);
/* frontend_offer_head - make @head available as it is */
void frontend_offer_head(struct frontend *frontend, unsigned int index, uint16_t head);
void frontend_kick(struct frontend *frontend, unsigned int index);
/* frontend_used - the next returned chain; whether there is one */
bool frontend_used(struct frontend *frontend, unsigned int index, struct virtio_ring_used_elem *to);
/* frontend_interrupts - how often the back-end interrupted since the last look */
uint64_t frontend_interrupts(struct frontend *frontend, unsigned int index);
/* frontend_wants_kick - whether a driver would kick now, having added the last chain */
bool frontend_wants_kick(struct frontend *frontend, unsigned int index, bool event_index);

#endif
