/* SPDX-License-Identifier: Apache-2.0 */
/* Whole vhost-user messages from a non-blocking socket, and replies to it. */
#ifndef CAUSEWAY_LIB_VHOST_MESSAGE_H
#define CAUSEWAY_LIB_VHOST_MESSAGE_H

#include "lib/vhost/device.h"

/**
 * vhost_message_receive - go on receiving into @incoming
 *
 * Return: 1 when a message is complete; 0 when more has to come; -EPIPE at the end of the stream;
 * -EPROTO for a length or a number of descriptors that no message has; -errno of the socket.
 */
int vhost_message_receive(int socket_fd, struct vhost_incoming *incoming);

/* vhost_message_drop - close descriptors that nobody took, and start with the next message */
void vhost_message_drop(struct vhost_incoming *incoming);

/* vhost_message_take_fd - descriptor @index, now the caller's; -1 where none came */
int vhost_message_take_fd(struct vhost_incoming *incoming, unsigned int index);

/**
 * vhost_message_reply - answer @request with @bytes bytes of payload
 *
 * A front-end waits for its answers, so its buffer has room; -EAGAIN means that it does not.
 */
int vhost_message_reply(int socket_fd, uint32_t request, const union vhost_user_payload *payload,
			uint32_t bytes);

#endif
