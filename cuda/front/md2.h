/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MD2 (RFC 1319) and HMAC over it (RFC 2104): what the runtime's integrity check is made of.
 * Not for security: MD2 is broken. Threads: no state outside the arguments.
 */
#ifndef CAUSEWAY_CUDA_FRONT_MD2_H
#define CAUSEWAY_CUDA_FRONT_MD2_H

#include <stddef.h>
#include <stdint.h>

#define MD2_BYTES 16 /* of a digest, and of a block */

/* A digest in the making: begun by md2_start, fed by md2_add, taken by md2_finish. */
struct md2 {
	uint8_t state[3 * MD2_BYTES];
	uint8_t checksum[MD2_BYTES];
	uint8_t pending[MD2_BYTES];
	size_t pending_bytes;
};

/* Start, feed and finish a digest (RFC 1319). */
void md2_start(struct md2 *md2);
void md2_add(struct md2 *md2, const void *data, size_t bytes);
void md2_finish(struct md2 *md2, uint8_t digest[MD2_BYTES]);

/* HMAC with a key of exactly one block: start, md2_add() the message to ->inner, finish. */
struct md2_hmac {
	struct md2 inner;
	uint8_t key[MD2_BYTES];
};

/* Start and finish an HMAC (RFC 2104); fed by md2_add through its member. */
void md2_hmac_start(struct md2_hmac *hmac, const uint8_t key[MD2_BYTES]);
void md2_hmac_finish(struct md2_hmac *hmac, uint8_t digest[MD2_BYTES]);

#endif
