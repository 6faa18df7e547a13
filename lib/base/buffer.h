/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A growable byte buffer with a bound: the one buffer type of the project.
 *
 * Bytes [0, used) are valid. It never grows past its limit: an append beyond it fails with
 * -ENOBUFS and changes nothing, so that no queue grows with what a peer sends.
 * Threads: none of it locks; the owner serialises.
 */
#ifndef CAUSEWAY_LIB_BASE_BUFFER_H
#define CAUSEWAY_LIB_BASE_BUFFER_H

#include <stddef.h>

struct buffer {
	unsigned char *data;
	size_t used;
	size_t capacity;
	size_t limit; /* bytes it may hold at most */
};

/* buffer_init - an empty buffer that may grow to @limit bytes; allocates nothing yet */
void buffer_init(struct buffer *buffer, size_t limit);

/* buffer_free - release the memory; the buffer may be used again with the same limit */
void buffer_free(struct buffer *buffer);

/**
 * buffer_reserve - make room for @bytes more bytes behind the used ones
 *
 * Return: where to write them (the caller adds to ->used what it wrote), or NULL with errno
 * ENOBUFS beyond the limit, ENOMEM without memory.
 */
void *buffer_reserve(struct buffer *buffer, size_t bytes);

/* buffer_append - copy @bytes bytes to the end; 0, -ENOBUFS or -ENOMEM */
int buffer_append(struct buffer *buffer, const void *data, size_t bytes);

/* buffer_format - the same with what printf() would make of it, without the NUL */
int buffer_format(struct buffer *buffer, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* buffer_consume - drop the first @bytes bytes; at most what is used */
void buffer_consume(struct buffer *buffer, size_t bytes);

#endif
