/* SPDX-License-Identifier: Apache-2.0 */
/* The page that shows a daemon's report in a browser: page.html, made into C by embed.py. */
#ifndef CAUSEWAY_LIB_METRICS_PAGE_H
#define CAUSEWAY_LIB_METRICS_PAGE_H

#include <stddef.h>

/* page, page_bytes - the file; page_policy - its Content-Security-Policy */
extern const unsigned char page[];
extern const size_t page_bytes;
extern const char page_policy[];

#endif
