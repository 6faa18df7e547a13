/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The counters that need no turns: requests, bytes, memory over time; see account.h. What the
 * device did is counted where turns are taken (turn.c).
 */
#include "cuda/server/account.h"

#include <errno.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static struct share_page *page;

bool account_opened(void)
{
	return page;
}

void account_call(void)
{
	if (page)
		__atomic_add_fetch(&page->calls, 1, __ATOMIC_RELAXED);
}

void account_copy(enum share_copy way, uint64_t bytes)
{
	if (page)
		__atomic_add_fetch(&page->copied_bytes[way], bytes, __ATOMIC_RELAXED);
}

void account_memory(uint64_t bytes)
{
	struct timespec now;
	uint64_t now_ms, past;

	if (!page)
		return;
	clock_gettime(CLOCK_MONOTONIC, &now);
	now_ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
	past = page->memory_byte_ms + page->memory_bytes * (now_ms - page->memory_since_ms);
	__atomic_store_n(&page->memory_byte_ms, past, __ATOMIC_RELAXED);
	__atomic_store_n(&page->memory_since_ms, now_ms, __ATOMIC_RELAXED);
	__atomic_store_n(&page->memory_bytes, bytes, __ATOMIC_RELEASE);
}

void account_overhead(uint64_t bytes)
{
	if (page)
		__atomic_store_n(&page->overhead_bytes, bytes, __ATOMIC_RELEASE);
}

int account_open(int page_fd, struct share_page **opened)
{
	void *at = mmap(NULL, sizeof(*page), PROT_READ | PROT_WRITE, MAP_SHARED, page_fd, 0);

	close(page_fd);
	if (at == MAP_FAILED)
		return -errno;
	*opened = at;
	if ((*opened)->magic != SHARE_PAGE_MAGIC || (*opened)->version != SHARE_PAGE_VERSION)
		return -EPROTO;
	page = at;
	return 0;
}
