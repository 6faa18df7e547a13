/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The frame of the SCIF conformance program: one case for each sentence of what SCIF promises.
 *
 * A case makes what it needs, checks, and leaves nothing open; the first check that fails ends it.
 * Most connect two endpoints of this process over its own node. Those that need the other side's
 * node talk to a card test process (scif_card.c) there. What no call of the library shows
 * (cases_ioctl.c) is in the programs over plain ioctls alone.
 */
#ifndef CAUSEWAY_TESTS_SCIF_CONFORMANCE_H
#define CAUSEWAY_TESTS_SCIF_CONFORMANCE_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "include/scif.h"

#define PAGE	     4096
#define WINDOW_PAGES 8
#define WINDOW_BYTES (WINDOW_PAGES * PAGE)
#define BOTH	     (SCIF_PROT_READ | SCIF_PROT_WRITE)

struct pair {
	scif_epd_t listener, one, two; /* one connected, two accepted */
	uint16_t port;
	unsigned char *memory[2]; /* WINDOW_BYTES each, page-aligned, of one and of two */
	off_t window[2];	  /* where they are registered; -1: not */
};

struct test_case {
	const char *name;
	void (*run)(void);
	bool wants_card;
};

extern const struct test_case endpoint_cases[], stream_cases[], window_cases[], copy_cases[],
	card_cases[], fork_cases[], ioctl_cases[];

/* check_failed - note it and leave the case */
void check_failed(const char *file, int line, const char *what, long long got, long long wanted)
	__attribute__((noreturn));
/* check_skip - this case cannot be carried here, as documented; leaves it */
void check_skip(const char *why) __attribute__((noreturn));

#define CHECK(condition)                                                    \
	do {                                                                \
		if (!(condition))                                           \
			check_failed(__FILE__, __LINE__, #condition, 0, 1); \
	} while (0)
#define EQUAL(got, wanted)                                                                    \
	do {                                                                                  \
		long long got_ = (long long)(got), wanted_ = (long long)(wanted);             \
		if (got_ != wanted_)                                                          \
			check_failed(__FILE__, __LINE__, #got " is " #wanted, got_, wanted_); \
	} while (0)
/* The call fails with that errno. */
#define FAILS(call, code)                                                            \
	do {                                                                         \
		long long result_;                                                   \
		errno = 0;                                                           \
		result_ = (long long)(call);                                         \
		if (result_ != -1 || errno != (code))                                \
			check_failed(__FILE__, __LINE__, #call " fails with " #code, \
				     result_ == -1 ? errno : 0, (code));             \
	} while (0)

/* What a case opened or mapped is closed by the frame when it ends, however it does. */
scif_epd_t make_open(void);
scif_epd_t make_listener(int backlog, uint16_t *port);
/* make_pair - two endpoints of this node, connected; memory allocated, nothing registered */
void make_pair(struct pair *pair);
/* make_windows - register both memories, readable and writable */
void make_windows(struct pair *pair);
unsigned char *make_memory(size_t bytes);
scif_epd_t keep(scif_epd_t epd);
void forget(scif_epd_t epd);
uint16_t own_node(void);
/* make_thread - run @body; join_thread - its result; both with @argument's owner the case */
void make_thread(void *(*body)(void *), void *argument);
void *join_thread(void);
/* signal_thread - make sure it sits in its call, then interrupt it */
void signal_thread(void);
/* The card's node, connected to the card test process. */
scif_epd_t make_card(void);
/* card_address - where the card test process listens */
void card_address(struct scif_portID *to);
/* card_ask - one command; its answer's error, and *value where not NULL */
int card_ask(scif_epd_t epd, uint32_t op, uint64_t offset, uint64_t bytes, uint64_t value,
	     uint64_t *answer);
void set_nonblocking(scif_epd_t epd, bool on);
short poll_one(scif_epd_t epd, short events, long timeout_ms);

#endif
