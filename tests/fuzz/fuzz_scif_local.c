/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hostile processes: any messages, with descriptors or without, on the sockets of host and card.
 *
 * The input is a list of steps of 32 bytes. Most make a message whose members are taken from small
 * sets, so that connections, windows, copies, mappings and joined sessions come into being; others
 * put raw bytes into it, send odd lengths, or close a socket. The processes are this one, so memory
 * that messages name is its own: a stretch of pages with a trap behind it that must stay as it is.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/io.h"
#include "lib/base/log.h"
#include "scif/fabric/local.h"
#include "tests/fuzz/scif_members.h"

#define STEP_BYTES    32
#define PAGE	      4096u
#define SESSIONS      4u /* half of them the host's, half the card's */
#define SCRATCH_PAGES 8u
#define SCRATCH_BYTES (SCRATCH_PAGES * PAGE)
#define TRAP_BYTE     0xa5

#define MUST(condition)           \
	do {                      \
		if (!(condition)) \
			abort();  \
	} while (0)

static struct settings settings;
static struct fabric fabric;
static struct local *local;
static char folder[64];
static unsigned char *scratch; /* and a page of trap behind it */
static struct process {
	int fd;
	uint64_t number, key; /* of the last HELLO's answer */
} processes[SESSIONS];
static uint64_t handle; /* the last that ACCEPTREQ gave */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void serve(void)
{
	for (unsigned int i = 0; i < 3 || atomic_load(&local->inbox.full); i++)
		local_turn(local, 0);
}

static void connect_one(unsigned int index)
{
	char path[96];

	snprintf(path, sizeof(path), "%s/%c", folder, index < SESSIONS / 2 ? 'h' : 'c');
	processes[index] = (struct process){ .fd = io_unix_connect_packets(path, NULL) };
	MUST(processes[index].fd >= 0);
	serve();
}

static void begin(void)
{
	char text[96];

	log_set_level(LOG_LEVEL_ERROR);
	strcpy(folder, "/tmp/causeway-local-XXXXXX");
	MUST(mkdtemp(folder));
	settings_defaults(&settings);
	settings.spin_us = 0;
	snprintf(text, sizeof(text), "mic0,socket=%s/c", folder);
	MUST(settings_add_card(&settings, text, NULL) == 0);
	free(settings.socket);
	snprintf(text, sizeof(text), "%s/h", folder);
	settings.socket = strdup(text);
	MUST(settings.socket && fabric_init(&fabric, 1) == 0);
	local = local_create(&fabric, &settings, NULL);
	MUST(local);
	scratch = mmap(NULL, SCRATCH_BYTES + PAGE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	MUST(scratch != MAP_FAILED);
	memset(scratch + SCRATCH_BYTES, TRAP_BYTE, PAGE);
	for (unsigned int i = 0; i < SESSIONS; i++)
		connect_one(i);
}

static void end(void)
{
	for (unsigned int i = 0; i < SESSIONS; i++)
		close(processes[i].fd);
	serve();
	local_stop(local);
	local_run(local);
	local_destroy(local);
	fabric_destroy(&fabric);
	settings_free(&settings);
	memset(&settings, 0, sizeof(settings));
	for (unsigned int i = 0; i < PAGE; i++)
		MUST(scratch[SCRATCH_BYTES + i] == TRAP_BYTE);
	munmap(scratch, SCRATCH_BYTES + PAGE);
	rmdir(folder);
}

static void make_message(const uint8_t *step, struct scif_local_request *message)
{
	static const uint32_t own[] = { SCIF_LOCAL_HELLO, SCIF_LOCAL_ATTACH, SCIF_LOCAL_JOIN, 67 };
	struct scif_virtio_request *request = &message->request;
	const struct process *other = &processes[step[10] % SESSIONS];

	memset(message, 0, sizeof(*message));
	request->call = step[1] % 40 < 4 ? own[step[1] % 40] : step[1] % (SCIF_VIRTIO_CALLS + 1);
	request->flags = step[2] & 0x40 ? step[3] : step[2] % 2u ? step[3] & 0x1f : 0;
	request->tag = step[5] % 8;
	if (request->call == SCIF_LOCAL_HELLO || request->call == SCIF_LOCAL_JOIN)
		request->flags = step[3] % 8 != 0;
	fuzz_scif_members(step, request);
	if (request->call == SCIF_VIRTIO_CONNECT)
		request->connect.node = step[8] % 3;
	else if (request->call == SCIF_VIRTIO_ACCEPTREG)
		request->accept.handle = handle + (step[7] == 1);
	if (step[0] & 0x80)
		memcpy((unsigned char *)request + step[11] % 57, step + 20, 8);
	/* Never more of this process than is to be given away. */
	message->address = step[12] % 4 ? (uintptr_t)scratch : step[13] * 16u;
	if (request->call == SCIF_VIRTIO_REGISTER && request->window.bytes > SCRATCH_BYTES)
		request->window.bytes = SCRATCH_BYTES;
	if (request->call == SCIF_VIRTIO_VREADFROM && request->rma.bytes > SCRATCH_BYTES)
		request->rma.bytes = SCRATCH_BYTES;
	message->file_offset = step[14] % 4 ? 0 : fuzz_scif_offset(step[15]);
	if (request->call == SCIF_LOCAL_JOIN) {
		message->address = step[12] % 8 ? other->number : step[13];
		message->file_offset = other->key ^ (step[14] % 8 == 0);
	}
}

/* Takes the answers that came, and what they tell. */
static void take_answers(unsigned int index)
{
	for (;;) {
		struct {
			struct scif_local_reply reply;
			unsigned char payload[SCIF_LOCAL_PAYLOAD_BYTES];
		} answer;
		int fds[IO_FDS_MAX];
		size_t count = 0;

		if (io_receive_fds(processes[index].fd, &answer, sizeof(answer), fds, &count) <
		    (ssize_t)sizeof(answer.reply))
			return;
		while (count)
			close(fds[--count]);
		if (answer.reply.reply.status)
			continue;
		if (answer.reply.reply.value[2]) {
			processes[index].number = answer.reply.reply.value[1];
			processes[index].key = answer.reply.reply.value[2];
		} else if (answer.reply.reply.value[1]) {
			handle = answer.reply.reply.value[1];
		}
	}
}

/* A descriptor to go along: none, memory with seals, without, a socket. */
static int make_fd(uint8_t choice)
{
	int fd;

	if (choice % 8 > 3)
		return -1;
	if (choice % 8 == 3)
		return dup(processes[0].fd);
	fd = memfd_create("fuzz", MFD_CLOEXEC | (choice % 8 ? MFD_ALLOW_SEALING : 0));
	MUST(fd >= 0 && ftruncate(fd, (off_t)(choice >> 3 & 7) * PAGE) == 0);
	return fd;
}

static void step_message(unsigned int index, const uint8_t *step)
{
	struct scif_local_request message;
	size_t bytes = sizeof(message);
	int fd = make_fd(step[16]);

	make_message(step, &message);
	if (step[17] == 0)
		bytes = 1 + step[18] % sizeof(message);
	io_send_fds(processes[index].fd, &message, bytes, &fd, fd >= 0);
	if (fd >= 0)
		close(fd);
	serve();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	begin();
	for (; bytes >= STEP_BYTES; data += STEP_BYTES, bytes -= STEP_BYTES) {
		unsigned int index = data[0] % SESSIONS;

		if ((data[0] >> 2 & 15) == 0) {
			close(processes[index].fd);
			serve();
			connect_one(index);
			continue;
		}
		step_message(index, data);
		for (unsigned int i = 0; i < SESSIONS; i++) {
			io_set_nonblock(processes[i].fd, 1);
			take_answers(i);
		}
	}
	end();
	return 0;
}
