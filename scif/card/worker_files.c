/* SPDX-License-Identifier: Apache-2.0 */
/* What a client sends before its program runs: names of libraries, and files. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/io.h"
#include "scif/card/binary.h"
#include "scif/card/wire.h"
#include "scif/card/worker.h"

int worker_take_need(struct worker *worker, const struct card_frame *frame, struct error *error)
{
	char *names[CARD_FILES_MAX], lacked[CARD_PAYLOAD_MAX];
	int count = wire_strings(worker->payload, frame->bytes, names, CARD_FILES_MAX);
	size_t used = 0;

	if (count < 0)
		return error_set(error, count, "NEED: expected at most %u names", CARD_FILES_MAX);
	for (int i = 0; i < count; i++) {
		size_t length = strlen(names[i]) + 1;

		if (library_has(worker->settings, names[i]))
			continue;
		memcpy(lacked + used, names[i], length);
		used += length;
	}
	return wire_send(worker->epd, CARD_LACKS, 0, lacked, used);
}

int worker_take_file(struct worker *worker, const struct card_frame *frame, struct error *error)
{
	const char *name = worker->payload + sizeof(struct card_file);
	struct card_file file;

	if (frame->bytes <= sizeof(file) || worker->file >= 0)
		return error_set(error, -EPROTO, "FILE does not belong here");
	memcpy(&file, worker->payload, sizeof(file));
	if (file.kind > CARD_FILE_DATA || file.reserved ||
	    strlen(name) != frame->bytes - sizeof(file) || wire_name_check(name) < 0)
		return error_set(error, -EINVAL, "'%.*s' is no name for a file", (int)CARD_NAME_MAX,
				 name);
	if (file.kind == CARD_FILE_PROGRAM && worker->program[0])
		return error_set(error, -EINVAL, "a second program was sent");
	if (worker->files++ >= CARD_FILES_MAX)
		return error_set(error, -ENFILE, "more than %u files were sent", CARD_FILES_MAX);
	if (frame->value == 0 ||
	    frame->value > worker->settings->memory_bytes - worker->bytes_taken)
		return error_set(
			error, -EFBIG, "%s has %llu bytes; the card has room for 1 to %llu", name,
			(unsigned long long)frame->value,
			(unsigned long long)(worker->settings->memory_bytes - worker->bytes_taken));
	worker->file = sandbox_create_file(
		&worker->box, file.kind == CARD_FILE_LIBRARY ? "home/lib" : "home", name);
	if (worker->file < 0)
		return error_set(error, worker->file, "%s: %s", name, strerror(-worker->file));
	if (file.kind == CARD_FILE_PROGRAM)
		memcpy(worker->program, name, strlen(name) + 1);
	worker->file_left = frame->value;
	worker->file_taken = 0;
	return 0;
}

int worker_take_data(struct worker *worker, const struct card_frame *frame, struct error *error)
{
	int status;

	if (worker->file < 0 || frame->bytes || frame->value == 0 ||
	    frame->value > CARD_WINDOW_BYTES || frame->value > worker->file_left)
		return error_set(error, -EPROTO, "DATA does not belong here");
	status = io_write_full(worker->file, worker->window, frame->value);
	if (status < 0)
		return error_set(error, status, "the card's memory is full: %s", strerror(-status));
	worker->file_left -= frame->value;
	worker->file_taken += frame->value;
	worker->bytes_taken += frame->value;
	if (worker->file_left == 0) {
		close(worker->file);
		worker->file = -1;
	}
	return wire_send(worker->epd, CARD_TAKEN, worker->file_taken, NULL, 0);
}

int worker_take_strings(struct worker *worker, const struct card_frame *frame, char **strings,
			struct card_start *start, struct error *error)
{
	int count;

	if (frame->bytes < sizeof(*start) || worker->file >= 0)
		return error_set(error, -EPROTO, "START does not belong here");
	memcpy(start, worker->payload, sizeof(*start));
	count = wire_strings(worker->payload + sizeof(*start), frame->bytes - sizeof(*start),
			     strings, 2 * CARD_STRINGS_MAX);
	if (count < 0 || start->arguments < 1 || start->arguments > CARD_STRINGS_MAX ||
	    start->variables > CARD_STRINGS_MAX ||
	    (uint32_t)count != start->arguments + start->variables)
		return error_set(error, -EPROTO, "START: strings are missing");
	if (!worker->program[0])
		return error_set(error, -ENOEXEC, "no program was sent");
	return 0;
}
