/* SPDX-License-Identifier: Apache-2.0 */
/* Growth by doubling, up to the limit. */
#include "lib/base/buffer.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BUFFER_FIRST_BYTES 256

void buffer_init(struct buffer *buffer, size_t limit)
{
	*buffer = (struct buffer){ .limit = limit };
}

void buffer_free(struct buffer *buffer)
{
	free(buffer->data);
	buffer_init(buffer, buffer->limit);
}

void *buffer_reserve(struct buffer *buffer, size_t bytes)
{
	size_t wanted, capacity = buffer->capacity;
	unsigned char *grown;

	if (bytes > buffer->limit - buffer->used) {
		errno = ENOBUFS;
		return NULL;
	}
	wanted = buffer->used + bytes;
	if (wanted <= capacity && buffer->data)
		return buffer->data + buffer->used;

	if (capacity < BUFFER_FIRST_BYTES)
		capacity = BUFFER_FIRST_BYTES;
	while (capacity < wanted) /* the limit is at least wanted */
		capacity = capacity > buffer->limit / 2 ? buffer->limit : capacity * 2;
	grown = realloc(buffer->data, capacity);
	if (!grown) {
		errno = ENOMEM;
		return NULL;
	}
	buffer->data = grown;
	buffer->capacity = capacity;
	return grown + buffer->used;
}

int buffer_append(struct buffer *buffer, const void *data, size_t bytes)
{
	void *at = buffer_reserve(buffer, bytes);

	if (!at)
		return -errno;
	if (bytes)
		memcpy(at, data, bytes);
	buffer->used += bytes;
	return 0;
}

int buffer_format(struct buffer *buffer, const char *format, ...)
{
	va_list arguments;
	char *text;
	int bytes, status;

	va_start(arguments, format);
	bytes = vasprintf(&text, format, arguments);
	va_end(arguments);
	if (bytes < 0)
		return -ENOMEM;
	status = buffer_append(buffer, text, (size_t)bytes);
	free(text);
	return status;
}

void buffer_consume(struct buffer *buffer, size_t bytes)
{
	if (bytes > buffer->used)
		bytes = buffer->used;
	buffer->used -= bytes;
	if (buffer->used)
		memmove(buffer->data, buffer->data + bytes, buffer->used);
}
