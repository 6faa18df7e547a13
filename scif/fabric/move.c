/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Long copies, past the caches.
 *
 * The C library does so by itself, but only where one call copies megabytes. A guest's window is a
 * list of pages, 4 KiB each where its kernel had no larger ones: each would be read into the cache
 * before it is overwritten, which costs a third of the memory's bandwidth. And the processor's own
 * prefetching ends with the page, so the page that comes next is asked for while this one is
 * copied.
 */
#include <string.h>

#include "scif/fabric/fabric.h"

#if defined(__x86_64__)
#include <emmintrin.h>

#define MOVE_LINE_BYTES 64u

/* Whole lines, to an aligned place; @ahead is where the reading goes on behind them. */
static void move_lines(unsigned char *to, const unsigned char *from, const unsigned char *ahead,
		       size_t bytes)
{
	for (size_t at = 0; at < bytes; at += MOVE_LINE_BYTES) {
		const __m128i *in = (const __m128i *)(from + at);
		__m128i *out = (__m128i *)(to + at);
		__m128i first = _mm_loadu_si128(in), second = _mm_loadu_si128(in + 1);
		__m128i third = _mm_loadu_si128(in + 2), fourth = _mm_loadu_si128(in + 3);

		_mm_prefetch((const char *)ahead + at, _MM_HINT_NTA);
		_mm_stream_si128(out, first);
		_mm_stream_si128(out + 1, second);
		_mm_stream_si128(out + 2, third);
		_mm_stream_si128(out + 3, fourth);
	}
}

void move_stream(unsigned char *to, const unsigned char *from, const unsigned char *ahead,
		 size_t bytes)
{
	size_t head = -(uintptr_t)to % MOVE_LINE_BYTES;

	if ((to < from + bytes && from < to + bytes) || bytes < head + MOVE_LINE_BYTES) {
		memmove(to, from, bytes);
		return;
	}
	memcpy(to, from, head);
	to += head;
	from += head;
	bytes -= head;
	while (bytes >= MOVE_LINE_BYTES) {
		size_t part = bytes - bytes % MOVE_LINE_BYTES;

		if (part > FABRIC_PAGE_BYTES)
			part = FABRIC_PAGE_BYTES;
		move_lines(to, from, part < bytes ? from + part : ahead, part);
		to += part;
		from += part;
		bytes -= part;
	}
	memcpy(to, from, bytes);
}

void move_settle(void)
{
	_mm_sfence();
}
#else
void move_stream(unsigned char *to, const unsigned char *from, const unsigned char *ahead,
		 size_t bytes)
{
	(void)ahead;
	memmove(to, from, bytes);
}

void move_settle(void)
{
	atomic_thread_fence(memory_order_seq_cst);
}
#endif
