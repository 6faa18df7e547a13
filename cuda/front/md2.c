/* SPDX-License-Identifier: Apache-2.0 */
/* md2: RFC 1319's digest and RFC 2104's HMAC over it. */
#include "cuda/front/md2.h"

#include <string.h>

/* RFC 1319, 3.2: a permutation of 0..255 drawn from the digits of pi. */
static const uint8_t substitution[256] = {
	41,  46,  67,  201, 162, 216, 124, 1,	61,  54,  84,  161, 236, 240, 6,   19,	98,  167,
	5,   243, 192, 199, 115, 140, 152, 147, 43,  217, 188, 76,  130, 202, 30,  155, 87,  60,
	253, 212, 224, 22,  103, 66,  111, 24,	138, 23,  229, 18,  190, 78,  196, 214, 218, 158,
	222, 73,  160, 251, 245, 142, 187, 47,	238, 122, 169, 104, 121, 145, 21,  178, 7,   63,
	148, 194, 16,  137, 11,	 34,  95,  33,	128, 127, 93,  154, 90,	 144, 50,  39,	53,  62,
	204, 231, 191, 247, 151, 3,   255, 25,	48,  179, 72,  165, 181, 209, 215, 94,	146, 42,
	172, 86,  170, 198, 79,	 184, 56,  210, 150, 164, 125, 182, 118, 252, 107, 226, 156, 116,
	4,   241, 69,  157, 112, 89,  100, 113, 135, 32,  134, 91,  207, 101, 230, 45,	168, 2,
	27,  96,  37,  173, 174, 176, 185, 246, 28,  70,  97,  105, 52,	 64,  126, 15,	85,  71,
	163, 35,  221, 81,  175, 58,  195, 92,	249, 206, 186, 197, 234, 38,  44,  83,	13,  110,
	133, 40,  132, 9,   211, 223, 205, 244, 65,  129, 77,  82,  106, 220, 55,  200, 108, 193,
	171, 250, 36,  225, 123, 8,   12,  189, 177, 74,  120, 136, 149, 139, 227, 99,	232, 109,
	233, 203, 213, 254, 59,	 0,   29,  57,	242, 239, 183, 14,  102, 88,  208, 228, 166, 119,
	114, 248, 235, 117, 75,	 10,  49,  68,	80,  180, 143, 237, 31,	 26,  219, 153, 141, 51,
	159, 17,  131, 20,
};

void md2_start(struct md2 *md2)
{
	memset(md2, 0, sizeof(*md2));
}

/* One block into checksum and state; RFC 1319, 3.2 and 3.4. */
static void md2_block(struct md2 *md2, const uint8_t block[MD2_BYTES])
{
	uint8_t last = md2->checksum[MD2_BYTES - 1];
	uint8_t mixed = 0;

	for (int i = 0; i < MD2_BYTES; i++) {
		last = md2->checksum[i] ^= substitution[block[i] ^ last];
		md2->state[MD2_BYTES + i] = block[i];
		md2->state[2 * MD2_BYTES + i] = block[i] ^ md2->state[i];
	}
	for (int round = 0; round < 18; round++) {
		for (size_t i = 0; i < sizeof(md2->state); i++)
			mixed = md2->state[i] ^= substitution[mixed];
		mixed = (uint8_t)(mixed + round);
	}
}

void md2_add(struct md2 *md2, const void *data, size_t bytes)
{
	const uint8_t *from = data;

	for (size_t i = 0; i < bytes; i++) {
		md2->pending[md2->pending_bytes++] = from[i];
		if (md2->pending_bytes == MD2_BYTES) {
			md2_block(md2, md2->pending);
			md2->pending_bytes = 0;
		}
	}
}

void md2_finish(struct md2 *md2, uint8_t digest[MD2_BYTES])
{
	uint8_t padding = (uint8_t)(MD2_BYTES - md2->pending_bytes);
	uint8_t checksum[MD2_BYTES];

	memset(md2->pending + md2->pending_bytes, padding, padding);
	md2_block(md2, md2->pending);
	memcpy(checksum, md2->checksum, MD2_BYTES);
	md2_block(md2, checksum);
	memcpy(digest, md2->state, MD2_BYTES);
}

static void hmac_add_pad(struct md2 *md2, const uint8_t key[MD2_BYTES], uint8_t pad)
{
	uint8_t block[MD2_BYTES];

	for (int i = 0; i < MD2_BYTES; i++)
		block[i] = key[i] ^ pad;
	md2_add(md2, block, MD2_BYTES);
}

void md2_hmac_start(struct md2_hmac *hmac, const uint8_t key[MD2_BYTES])
{
	memcpy(hmac->key, key, MD2_BYTES);
	md2_start(&hmac->inner);
	hmac_add_pad(&hmac->inner, key, 0x36);
}

void md2_hmac_finish(struct md2_hmac *hmac, uint8_t digest[MD2_BYTES])
{
	uint8_t inner[MD2_BYTES];
	struct md2 outer;

	md2_finish(&hmac->inner, inner);
	md2_start(&outer);
	hmac_add_pad(&outer, hmac->key, 0x5c);
	md2_add(&outer, inner, MD2_BYTES);
	md2_finish(&outer, digest);
}
