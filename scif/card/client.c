/* SPDX-License-Identifier: Apache-2.0 */
/* A client's side of launching a program on a card; see client.h. */
#include "scif/card/client.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/clean.h"
#include "scif/card/wire.h"

/* Says what went wrong with the connection. */
static int card_lost(const struct card_connection *card, int status, struct error *error)
{
	if (status == -EPROTO)
		return error_set(error, status, "the daemon of card %u speaks another protocol",
				 card->node - 1);
	return error_set(error, status, "card %u is lost: %s", card->node - 1, strerror(-status));
}

static int card_send_frame(struct card_connection *card, uint32_t type, uint64_t value,
			   const void *payload, size_t bytes)
{
	int status;

	pthread_mutex_lock(&card->sending);
	status = wire_send(card->epd, type, value, payload, bytes);
	pthread_mutex_unlock(&card->sending);
	return status;
}

/* The next frame, which must be of @type; what the card refuses with, otherwise. */
static int card_expect(struct card_connection *card, uint32_t type, struct card_frame *frame,
		       char *payload, struct error *error)
{
	int status = wire_receive(card->epd, frame, payload);

	if (status == 0 && frame->type == CARD_REFUSED)
		return error_set(error,
				 frame->value && frame->value < 4096 ? -(int)frame->value : -EIO,
				 "card %u: %s", card->node - 1, payload);
	if (status == 0 && frame->type != type)
		status = -EPROTO;
	return status < 0 ? card_lost(card, status, error) : 0;
}

static int card_greet(struct card_connection *card, const struct card_hello *hello,
		      struct error *error)
{
	char payload[CARD_PAYLOAD_MAX + 1];
	struct card_frame frame;
	int status = wire_send(card->epd, CARD_HELLO, CARD_VERSION, hello, sizeof(*hello));

	/* Who refuses at once hangs up at once: its sentence is still there to be read. */
	if (status < 0 && status != -ECONNRESET)
		return card_lost(card, status, error);
	status = card_expect(card, CARD_WELCOME, &frame, payload, error);
	if (status < 0)
		return status;
	if (frame.value != CARD_VERSION || frame.bytes != sizeof(card->welcome))
		return card_lost(card, -EPROTO, error);
	memcpy(&card->welcome, payload, sizeof(card->welcome));
	card->welcome.family[sizeof(card->welcome.family) - 1] = 0;
	card->welcome.sku[sizeof(card->welcome.sku) - 1] = 0;
	return 0;
}

int card_connect(struct card_connection *card, uint16_t node, const struct card_hello *hello,
		 struct error *error)
{
	struct scif_portID peer = { node, CARD_PORT };
	int status;

	memset(card, 0, sizeof(*card));
	card->node = node;
	card->epd = scif_open();
	if (card->epd < 0)
		return error_set(error, -errno,
				 "no SCIF here: neither scifd's socket nor /dev/mic/scif: %s",
				 strerror(errno));
	pthread_mutex_init(&card->sending, NULL);
	pthread_cond_init(&card->credit_came, NULL);
	if (scif_connect(card->epd, &peer) < 0) {
		status = -errno;
		error_set(error, status,
			  status == -ENODEV	    ? "there is no card %u, or it is down"
			  : status == -ECONNREFUSED ? "card %u: causeway-card is not running there"
						    : "card %u cannot be reached",
			  node - 1);
	} else {
		status = card_greet(card, hello, error);
	}
	if (status < 0)
		card_close(card);
	return status;
}

void card_close(struct card_connection *card)
{
	if (card->epd >= 0)
		scif_close(card->epd);
	card->epd = -1;
}

int card_need(struct card_connection *card, const char **names, size_t count, struct error *error)
{
	char payload[CARD_PAYLOAD_MAX + 1], *lacked[CARD_FILES_MAX];
	struct card_frame frame;
	size_t used = 0;
	int status, lacks;

	for (size_t i = 0; i < count; i++) {
		size_t length = strlen(names[i]) + 1;

		if (used + length > CARD_PAYLOAD_MAX)
			return error_set(error, -E2BIG, "too many libraries");
		memcpy(payload + used, names[i], length);
		used += length;
	}
	status = card_send_frame(card, CARD_NEED, 0, payload, used);
	if (status < 0)
		return card_lost(card, status, error);
	status = card_expect(card, CARD_LACKS, &frame, payload, error);
	if (status < 0)
		return status;
	lacks = wire_strings(payload, frame.bytes, lacked, CARD_FILES_MAX);
	if (lacks < 0)
		return card_lost(card, lacks, error);
	for (size_t i = 0; i < count; i++) {
		int j = 0;

		while (j < lacks && strcmp(lacked[j], names[i]) != 0)
			j++;
		if (j == lacks)
			names[i] = NULL;
	}
	return 0;
}

int card_send_bytes(struct card_connection *card, enum card_file_kind kind, const void *data,
		    size_t bytes, const char *name, struct error *error)
{
	char payload[CARD_PAYLOAD_MAX + 1];
	struct card_file file = { .kind = kind };
	struct card_frame frame;
	size_t length = strlen(name);
	int status;

	if (wire_name_check(name) < 0)
		return error_set(error, -EINVAL, "'%s' is no name for a file on a card", name);
	memcpy(payload, &file, sizeof(file));
	memcpy(payload + sizeof(file), name, length);
	status = card_send_frame(card, CARD_FILE, bytes, payload, sizeof(file) + length);
	for (size_t done = 0; status == 0 && done < bytes;) {
		size_t part = bytes - done;

		if (part > card->welcome.window_bytes)
			part = card->welcome.window_bytes;
		/* Who refused the file hangs up: then its sentence is read below. */
		if (scif_vwriteto(card->epd, (char *)data + done, part, (off_t)card->welcome.window,
				  SCIF_RMA_SYNC) < 0 &&
		    errno != ECONNRESET && errno != ENXIO)
			return card_lost(card, -errno, error);
		status = card_send_frame(card, CARD_DATA, part, NULL, 0);
		if (status < 0 && status != -ECONNRESET)
			break;
		status = card_expect(card, CARD_TAKEN, &frame, payload, error);
		if (status < 0)
			return status;
		done += part;
	}
	return status < 0 ? card_lost(card, status, error) : 0;
}

int card_send_file(struct card_connection *card, enum card_file_kind kind, const char *path,
		   const char *name, struct error *error)
{
	autoclose int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat about;
	void *data;
	int status;

	if (fd < 0 || fstat(fd, &about) < 0)
		return error_set(error, -errno, "%s: %s", path, strerror(errno));
	if (!S_ISREG(about.st_mode) || about.st_size == 0)
		return error_set(error, -ENOEXEC, "%s: expected a file that is not empty", path);
	/* Nothing here looks at it: a file that becomes shorter fails the copy, with EFAULT. */
	data = mmap(NULL, (size_t)about.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (data == MAP_FAILED)
		return error_set(error, -errno, "%s: %s", path, strerror(errno));
	status = card_send_bytes(card, kind, data, (size_t)about.st_size, name, error);
	munmap(data, (size_t)about.st_size);
	return status;
}

/* Puts the strings into @payload from @used on; the end, or -E2BIG. */
static ssize_t card_pack(char *payload, size_t used, char *const *strings, uint32_t *count)
{
	for (*count = 0; strings && strings[*count]; ++*count) {
		size_t length = strlen(strings[*count]) + 1;

		if (used + length > CARD_PAYLOAD_MAX || *count >= CARD_STRINGS_MAX)
			return -E2BIG;
		memcpy(payload + used, strings[*count], length);
		used += length;
	}
	return (ssize_t)used;
}

int card_start(struct card_connection *card, char *const *arguments, char *const *variables,
	       void (*waits)(uint64_t place), struct error *error)
{
	char payload[CARD_PAYLOAD_MAX + 1];
	struct card_start start = { 0, 0 };
	struct card_frame frame;
	ssize_t used = card_pack(payload, sizeof(start), arguments, &start.arguments);
	int status;

	if (used >= 0)
		used = card_pack(payload, (size_t)used, variables, &start.variables);
	if (used < 0)
		return error_set(error, -E2BIG,
				 "arguments and environment are longer than %u bytes",
				 CARD_PAYLOAD_MAX);
	memcpy(payload, &start, sizeof(start));
	status = card_send_frame(card, CARD_START, 0, payload, (size_t)used);
	if (status < 0 && status != -ECONNRESET)
		return card_lost(card, status, error);
	for (;;) {
		status = wire_receive(card->epd, &frame, payload);
		if (status < 0)
			return card_lost(card, status, error);
		if (frame.type == CARD_REFUSED)
			return error_set(
				error, frame.value && frame.value < 4096 ? -(int)frame.value : -EIO,
				"card %u: %s", card->node - 1, payload);
		if (frame.type == CARD_STARTED && frame.bytes == CARD_TOKEN_BYTES)
			break;
		if (frame.type != CARD_WAITING)
			return card_lost(card, -EPROTO, error);
		if (waits)
			waits(frame.value);
	}
	memcpy(card->token, payload, CARD_TOKEN_BYTES);
	card->process_id = frame.value;
	pthread_mutex_lock(&card->sending);
	card->credit = CARD_INPUT_CREDIT;
	pthread_mutex_unlock(&card->sending);
	return 0;
}

static void card_add_credit(struct card_connection *card, uint64_t bytes, bool ended)
{
	pthread_mutex_lock(&card->sending);
	card->credit += bytes;
	card->ended |= ended;
	pthread_cond_broadcast(&card->credit_came);
	pthread_mutex_unlock(&card->sending);
}

int card_next(struct card_connection *card, struct card_event *event, char *room,
	      struct error *error)
{
	struct card_frame frame;
	int status;

	for (;;) {
		status = wire_receive(card->epd, &frame, room);
		if (status == 0 && frame.type == CARD_EXITED &&
		    frame.bytes != sizeof(event->exited))
			status = -EPROTO;
		if (status < 0 || frame.type == CARD_EXITED)
			card_add_credit(card, 0, true);
		if (status < 0)
			return card_lost(card, status, error);
		if (frame.type != CARD_CREDIT)
			break;
		card_add_credit(card, frame.value, false);
	}
	event->type = frame.type;
	event->value = frame.value;
	event->data = room;
	event->bytes = frame.bytes;
	switch (frame.type) {
	case CARD_EXITED:
		memcpy(&event->exited, room, sizeof(event->exited));
		return 0;
	case CARD_OUTPUT:
	case CARD_ERRORS:
	case CARD_PORT_OPEN:
	case CARD_FLUSHED:
		return 0;
	case CARD_REFUSED:
		card_add_credit(card, 0, true);
		return error_set(error,
				 frame.value && frame.value < 4096 ? -(int)frame.value : -EIO,
				 "card %u: %s", card->node - 1, room);
	default:
		return card_lost(card, -EPROTO, error);
	}
}

int card_send_input(struct card_connection *card, const void *data, size_t bytes)
{
	const char *at = data;
	int status = 0;

	pthread_mutex_lock(&card->sending);
	while (bytes && status == 0) {
		size_t part = bytes < CARD_PAYLOAD_MAX ? bytes : CARD_PAYLOAD_MAX;

		if (card->ended)
			status = -EPIPE;
		else if (card->credit == 0)
			pthread_cond_wait(&card->credit_came, &card->sending);
		if (status < 0 || card->credit == 0)
			continue;
		if (part > card->credit)
			part = card->credit;
		status = wire_send(card->epd, CARD_INPUT, 0, at, part);
		card->credit -= part;
		at += part;
		bytes -= part;
	}
	pthread_mutex_unlock(&card->sending);
	return status;
}

int card_end_input(struct card_connection *card)
{
	return card_send_frame(card, CARD_INPUT_END, 0, NULL, 0);
}

int card_signal(struct card_connection *card, int number)
{
	return card_send_frame(card, CARD_SIGNAL, (uint64_t)number, NULL, 0);
}

int card_flush(struct card_connection *card, uint64_t number)
{
	return card_send_frame(card, CARD_FLUSH, number, NULL, 0);
}
