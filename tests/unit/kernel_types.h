/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel's names that vsock/argo/check.h uses, so that user space can drive it. */
#ifndef CAUSEWAY_TESTS_UNIT_KERNEL_TYPES_H
#define CAUSEWAY_TESTS_UNIT_KERNEL_TYPES_H

#include <assert.h>
#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define le32_to_cpu(value) le32toh(value)

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;

#endif
