/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the testbed on the host and the agent in a guest say to each other.
 *
 * One byte stream in each direction (a virtio-serial port under QEMU, a serial line under
 * UML, TCP in Xen's guests).
 * Every frame is a header and at most GUEST_FRAME_PAYLOAD_MAX bytes. Commands are numbered by
 * the host; a number may be used again after its EXIT. Numbers are little-endian.
 *
 *	agent: HELLO                                 once, when the modules are loaded
 *	host:  RUN  STDIN* (empty STDIN: end)  SIGNAL*
 *	agent: STDOUT* STDERR* STDIN_TAKEN*  EXIT    EXIT is the last frame of a command
 *	agent: RECEIVED*                             at any time
 *	host:  STOP                                  the guest syncs and powers off
 *
 * Input has credit: at most GUEST_STDIN_WINDOW bytes may be under way that no STDIN_TAKEN has
 * reported yet, so that a command that does not read cannot hold up the others. The host's
 * stream as a whole has credit too, since a serial line loses its way when more comes than its
 * driver holds: the agent reports what it has read in RECEIVED, after GUEST_RECEIVED_STEP bytes
 * at the latest, and the host keeps the rest below what the kind of guest bears. The agent's
 * stream needs none: an agent that cannot write stops reading the pipes of its commands.
 */
#ifndef CAUSEWAY_PROTO_GUEST_AGENT_H
#define CAUSEWAY_PROTO_GUEST_AGENT_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#define GUEST_AGENT_VERSION	1
#define GUEST_FRAME_PAYLOAD_MAX 65536
#define GUEST_STDIN_WINDOW	65536
#define GUEST_RECEIVED_STEP	1024
#define GUEST_COMMANDS_MAX	64

enum guest_frame_type {
	GUEST_FRAME_HELLO = 1,	     /* struct guest_hello, then a sentence when setup failed */
	GUEST_FRAME_RUN = 2,	     /* struct guest_run, then its strings */
	GUEST_FRAME_STDIN = 3,	     /* bytes; none: end of the input */
	GUEST_FRAME_STDIN_TAKEN = 4, /* struct guest_taken */
	GUEST_FRAME_SIGNAL = 5,	     /* struct guest_signal: to the command's process group */
	GUEST_FRAME_STDOUT = 6,	     /* bytes */
	GUEST_FRAME_STDERR = 7,	     /* bytes */
	GUEST_FRAME_EXIT = 8,	     /* struct guest_exit */
	GUEST_FRAME_STOP = 9,	     /* no payload */
	GUEST_FRAME_RECEIVED = 10,   /* struct guest_received */
};

struct guest_frame {
	uint32_t command; /* 0 in HELLO and STOP */
	uint8_t type;
	uint8_t zero[3];
	uint32_t bytes; /* of payload behind this header */
};
static_assert(sizeof(struct guest_frame) == 12, "wire layout");
static_assert(offsetof(struct guest_frame, bytes) == 8, "wire layout");

/* The agent's first frame. */
struct guest_hello {
	uint32_t version;
};
static_assert(sizeof(struct guest_hello) == 4, "wire layout");

/* Behind it: the arguments, then the NAME=VALUE variables, each ended by a zero byte. */
struct guest_run {
	uint32_t arguments; /* at least 1 */
	uint32_t variables;
};
static_assert(sizeof(struct guest_run) == 8, "wire layout");

/* How many bytes of input a command has taken: its sender may send as many again. */
struct guest_taken {
	uint32_t bytes;
};
static_assert(sizeof(struct guest_taken) == 4, "wire layout");

struct guest_received {
	uint32_t bytes; /* since the last RECEIVED, headers included */
};
static_assert(sizeof(struct guest_received) == 4, "wire layout");

/* A signal for a command. */
struct guest_signal {
	uint32_t number;
};
static_assert(sizeof(struct guest_signal) == 4, "wire layout");

struct guest_exit {
	uint32_t status; /* 0-255, or 128 + signal; 126 and 127 as a shell has them */
};
static_assert(sizeof(struct guest_exit) == 4, "wire layout");

#endif
