/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The undocumented table of functions that nvidia-smi wants beside the symbols.
 *
 * Without it nvidia-smi says that it belongs to another driver and ends. Its first word is its size
 * in bytes, and a size below what nvidia-smi knows of is a mismatch too, so the table is longer
 * than any seen. Every slot is callable and says NOT_SUPPORTED, which nvidia-smi takes for a fact
 * about the device that it leaves out; the log tells once of each slot that was called.
 */
#include <stdatomic.h>
#include <string.h>

#include "cuda/client/client.h"
#include "cuda/client/nvml/nvml.h"

#define SLOTS	   512u
#define UUID_BYTES 16u

NVML_EXPORT int nvmlInternalGetExportTable(const void **found, const void *uuid);

/* slot_refuse - what the function at @index answers; slot 0 is the size */
static int slot_refuse(unsigned int index)
{
	static atomic_uchar told[SLOTS];

	if (!atomic_exchange_explicit(&told[index], 1, memory_order_relaxed))
		client_log("NVML: slot %u of nvidia-smi's table is not offered", index + 1);
	return NVML_ERROR_NOT_SUPPORTED;
}

/* EACH(X) is X(0000) … X(0777): octal numbers, put together of their digits. */
/* clang-format off */
#define EACH_8(X, p) \
	X(p##0) X(p##1) X(p##2) X(p##3) X(p##4) X(p##5) X(p##6) X(p##7)
#define EACH_64(X, p) \
	EACH_8(X, p##0) EACH_8(X, p##1) EACH_8(X, p##2) EACH_8(X, p##3) \
	EACH_8(X, p##4) EACH_8(X, p##5) EACH_8(X, p##6) EACH_8(X, p##7)
#define EACH(X) \
	EACH_64(X, 00) EACH_64(X, 01) EACH_64(X, 02) EACH_64(X, 03) \
	EACH_64(X, 04) EACH_64(X, 05) EACH_64(X, 06) EACH_64(X, 07)
/* clang-format on */

#define FUNCTION(octal)                    \
	static int slot_##octal(void)      \
	{                                  \
		return slot_refuse(octal); \
	}
#define ENTRY(octal) [octal] = slot_##octal,

EACH(FUNCTION)

static const struct {
	uint64_t bytes;
	int (*functions[SLOTS])(void);
} table = { sizeof(table), { EACH(ENTRY) } };

/* nvmlInternalGetExportTable - what is not offered says so and leaves no table behind */
int nvmlInternalGetExportTable(const void **found, const void *uuid)
{
	static const uint8_t known[UUID_BYTES] = { 0xc4, 0xfe, 0x3e, 0x6c, 0xc9, 0x8f, 0x6c, 0x4e,
						   0xa3, 0x27, 0xee, 0x69, 0x6e, 0x12, 0xf7, 0xc4 };

	if (!found || !uuid)
		return NVML_ERROR_INVALID_ARGUMENT;
	*found = memcmp(uuid, known, sizeof(known)) ? NULL : &table;
	return *found ? NVML_SUCCESS : NVML_ERROR_NOT_FOUND;
}
