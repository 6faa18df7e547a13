/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a card's client may send: a worker's frames until START, with the connection, the sandbox
 * and the supervisor replaced by what is here. The input is the stream of frames.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/log.h"
#include "scif/card/worker.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static const uint8_t *stream;
static size_t stream_left;

int scif_recv(scif_epd_t epd, void *message, int bytes, int flags)
{
	(void)epd;
	(void)flags;
	if ((size_t)bytes > stream_left) {
		errno = ECONNRESET;
		return -1;
	}
	memcpy(message, stream, (size_t)bytes);
	stream += bytes;
	stream_left -= (size_t)bytes;
	return bytes;
}

int scif_send(scif_epd_t epd, void *message, int bytes, int flags)
{
	(void)epd;
	(void)message;
	(void)flags;
	return bytes;
}

off_t scif_register(scif_epd_t epd, void *address, size_t bytes, off_t offset, int prot, int flags)
{
	(void)epd;
	(void)prot;
	(void)flags;
	memset(address, 'x', bytes > 4096 ? 4096 : bytes);
	return offset;
}

int scif_close(scif_epd_t epd)
{
	return epd;
}

int sandbox_open(struct sandbox *box, const struct card_settings *settings, uid_t uid,
		 struct error *error)
{
	(void)error;
	*box = (struct sandbox){ .settings = settings, .uid = uid };
	return 0;
}

int sandbox_create_file(struct sandbox *box, const char *folder, const char *name)
{
	(void)box;
	/* The promise of the gate: a name that stays in its folder. */
	if (strchr(name, '/') || name[0] == '.' || !name[0] || strncmp(folder, "home", 4) != 0)
		abort();
	return open("/dev/null", O_WRONLY | O_CLOEXEC);
}

bool library_has(const struct card_settings *settings, const char *name)
{
	(void)settings;
	return strlen(name) % 2;
}

int worker_start_program(struct worker *worker, const struct card_frame *frame, struct error *error)
{
	static char *strings[2 * CARD_STRINGS_MAX];
	struct card_start start;

	if (worker_take_strings(worker, frame, strings, &start, error) == 0) {
		for (uint32_t i = 0; i < start.arguments + start.variables; i++) {
			if (strlen(strings[i]) > CARD_PAYLOAD_MAX)
				abort();
		}
	}
	return error_set(error, -ECANCELED, "as far as this goes");
}

void worker_carry(struct worker *worker)
{
	(void)worker;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	static struct card_settings settings = { .memory_bytes = 64 << 20, .network_fd = -1 };
	struct card_answer answer = { .kind = CARD_ANSWER_WELCOME };
	int pair[2];

	log_set_level(LOG_LEVEL_ERROR);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return 0;
	if (send(pair[1], &answer, sizeof(answer), 0) < 0)
		abort();
	stream = data;
	stream_left = bytes;
	worker_run(&settings, -1, 17, pair[0]);
	close(pair[0]);
	close(pair[1]);
	return 0;
}
