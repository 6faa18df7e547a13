/* SPDX-License-Identifier: Apache-2.0 */
/*
 * COI's types. Handles are opaque; events are values that a program may copy, keep, and send to the
 * sink in a run function's data. Layout, names and numbers are those of Intel's interface, so that
 * programs for it build and run with these headers.
 */
#ifndef CAUSEWAY_COI_TYPES_COMMON_H
#define CAUSEWAY_COI_TYPES_COMMON_H

#include <stdint.h>
#include <wchar.h>

/* Visibility, left to the libraries' own build. */
#define COIACCESSAPI
#define COIACCESSAPI2

/* Handles; what is behind them is the library's. */
typedef struct coiprocess *COIPROCESS;
typedef struct coipipeline *COIPIPELINE;
typedef struct coifunction *COIFUNCTION;
typedef struct coiengine *COIENGINE;
typedef struct coibuffer *COIBUFFER;
typedef struct coilibrary *COILIBRARY;
typedef struct coimapinst *COIMAPINSTANCE;

/* An event: copied and compared as a whole. */
struct coievent {
	uint64_t opaque[2];
};
typedef struct coievent COIEVENT;

/* A bit for each hardware thread of a card. */
typedef uint64_t COI_CPU_MASK[16];
typedef wchar_t coi_wchar_t;

#endif
