/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What this worker's client has used, on the page that it shares with the supervisor
 * (proto/share-page.h). Without a page nothing is counted. Any thread may call.
 */
#ifndef CAUSEWAY_CUDA_SERVER_ACCOUNT_H
#define CAUSEWAY_CUDA_SERVER_ACCOUNT_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/share-page.h"

/**
 * account_open - map the page; before any thread starts
 * @page_fd: from the supervisor; owned from here on
 *
 * Return: 0 and *page, which stays for good, or -errno.
 */
int account_open(int page_fd, struct share_page **page);
bool account_opened(void);

/* account_call - one more request */
void account_call(void);
/* account_copy - the driver took a copy of @bytes */
void account_copy(enum share_copy way, uint64_t bytes);
/* account_memory - all that this process has allocated by now; the caller serialises */
void account_memory(uint64_t bytes);
/* account_overhead - of that, what contexts, modules and pools keep; the same caller */
void account_overhead(uint64_t bytes);

#endif
