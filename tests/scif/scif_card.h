/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the card test process (scif_card.c) does for whoever connects to it: one command at a time,
 * over the connection, each answered by a struct scif_card_answer.
 */
#ifndef CAUSEWAY_TESTS_SCIF_SCIF_CARD_H
#define CAUSEWAY_TESTS_SCIF_SCIF_CARD_H

#include <stdint.h>

#define SCIF_CARD_PORT 2050

enum scif_card_op {
	SCIF_CARD_ECHO = 1,   /* bytes follow the command; they come back instead of an answer */
	SCIF_CARD_REGISTER,   /* .bytes at .offset if not 0 (FIXED); value: the offset */
	SCIF_CARD_UNREGISTER, /* .offset, .bytes */
	SCIF_CARD_FILL,	      /* the window's memory from .offset on with the pattern of .value */
	SCIF_CARD_SUM,	      /* value: a sum over .bytes from .offset on */
	SCIF_CARD_AWAIT,      /* until the 64-bit word at .offset is .value; value: looks taken */
	SCIF_CARD_STORE,      /* .value into the 64-bit word at .offset */
	SCIF_CARD_READFROM,   /* .bytes: own window at .offset from ours at .value, synchronous */
	SCIF_CARD_WRITETO,
	SCIF_CARD_MAP_STORE, /* scif_mmap our window at .offset (a page), store .value there */
	SCIF_CARD_CONNECT,   /* to port .value of ours: sends 'c', value: the byte that answers */
	SCIF_CARD_CLOSE,     /* no answer */
};

struct scif_card_command {
	uint32_t op;
	uint32_t reserved;
	uint64_t offset, bytes, value;
};

struct scif_card_answer {
	int32_t error; /* errno, or 0 */
	uint32_t reserved;
	uint64_t value;
};

/* The pattern: each byte from its place and a seed, so that no two pages are alike. */
static inline unsigned char scif_card_pattern(uint64_t place, uint64_t seed)
{
	return (unsigned char)((place * 0x9e3779b97f4a7c15ull + seed) >> 56);
}

static inline uint64_t scif_card_sum(const unsigned char *bytes, uint64_t count)
{
	uint64_t sum = 0xcbf29ce484222325ull;

	for (uint64_t i = 0; i < count; i++)
		sum = (sum ^ bytes[i]) * 0x100000001b3ull;
	return sum;
}

#endif
