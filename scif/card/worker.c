/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One client's connection: frames until START, then its program. The gate for what the client
 * sends is here and in worker_files.c; a client that breaks the protocol is told so and dropped.
 */
#include "scif/card/worker.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/log.h"
#include "scif/card/wire.h"

int worker_ask(struct worker *worker, const struct card_ask *ask)
{
	return send(worker->supervisor, ask, sizeof(*ask), MSG_NOSIGNAL) < 0 ? -errno : 0;
}

int worker_answer(struct worker *worker, struct card_answer *answer)
{
	ssize_t got;

	do
		got = recv(worker->supervisor, answer, sizeof(*answer), 0);
	while (got < 0 && errno == EINTR);
	return got == (ssize_t)sizeof(*answer) ? 0 : got < 0 ? -errno : -EPIPE;
}

/* The window that files come through; its offset or -errno. */
static off_t worker_open_window(struct worker *worker)
{
	off_t offset;

	worker->window = mmap(NULL, CARD_WINDOW_BYTES, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (worker->window == MAP_FAILED)
		return -errno;
	offset = scif_register(worker->epd, worker->window, CARD_WINDOW_BYTES, 0,
			       SCIF_PROT_READ | SCIF_PROT_WRITE, 0);
	return offset == SCIF_REGISTER_FAILED ? -errno : offset;
}

static int worker_welcome(struct worker *worker, const struct card_frame *frame,
			  struct error *error)
{
	const struct card_ask ask = { .kind = CARD_ASK_WELCOME, .process = getpid() };
	struct card_answer answer;
	off_t offset;
	int status;

	if (frame->type != CARD_HELLO || frame->bytes != sizeof(worker->hello))
		return error_set(error, -EPROTO, "expected HELLO first");
	if (frame->value != CARD_VERSION)
		return error_set(error, -EPROTO, "this card speaks version %d of the protocol",
				 CARD_VERSION);
	memcpy(&worker->hello, worker->payload, sizeof(worker->hello));
	if (worker->hello.mode > CARD_MODE_OFFLOAD || worker->hello.flags & ~CARD_FLAG_NETWORK ||
	    worker->hello.reserved)
		return error_set(error, -EPROTO, "HELLO asks for what this card does not know");
	status = worker_ask(worker, &ask);
	if (status == 0)
		status = worker_answer(worker, &answer);
	if (status < 0)
		return error_set(error, status, "the card is going down");
	if (answer.kind == CARD_ANSWER_REFUSE) {
		*error = answer.refusal;
		return error->code;
	}
	status = sandbox_open(&worker->box, worker->settings,
			      worker->settings->uid_base + worker->node, error);
	if (status < 0)
		return status;
	offset = worker_open_window(worker);
	if (offset < 0)
		return error_set(error, (int)offset, "no window: %s", strerror((int)-offset));
	answer.welcome.window = (uint64_t)offset;
	answer.welcome.window_bytes = CARD_WINDOW_BYTES;
	return wire_send(worker->epd, CARD_WELCOME, CARD_VERSION, &answer.welcome,
			 sizeof(answer.welcome));
}

/* Files until START; 0 when the program runs. */
static int worker_prepare(struct worker *worker, struct error *error)
{
	struct card_frame frame;
	int status = wire_receive(worker->epd, &frame, worker->payload);

	if (status == 0)
		status = worker_welcome(worker, &frame, error);
	while (status == 0) {
		status = wire_receive(worker->epd, &frame, worker->payload);
		if (status < 0)
			break;
		switch (frame.type) {
		case CARD_NEED:
			status = worker_take_need(worker, &frame, error);
			break;
		case CARD_FILE:
			status = worker_take_file(worker, &frame, error);
			break;
		case CARD_DATA:
			status = worker_take_data(worker, &frame, error);
			break;
		case CARD_START:
			return worker_start_program(worker, &frame, error);
		default:
			status = error_set(error, -EPROTO, "frame %u does not belong here",
					   frame.type);
		}
	}
	return status;
}

int worker_run(const struct card_settings *settings, scif_epd_t epd, unsigned int node,
	       int supervisor)
{
	static struct worker worker;
	struct error error = { 0 };
	int status = 0;

	worker = (struct worker){ .settings = settings,
				  .epd = epd,
				  .node = node,
				  .supervisor = supervisor,
				  .file = -1,
				  .window = MAP_FAILED,
				  .wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) };
	pthread_mutex_init(&worker.lock, NULL);
	if (node >= CARD_NODES_MAX)
		status = error_set(&error, -EINVAL, "no place for node %u", node);
	else if (worker.wake_fd < 0)
		status = error_set(&error, -errno, "no event: %s", strerror(errno));
	if (status == 0)
		status = worker_prepare(&worker, &error);
	if (status == 0) {
		worker_carry(&worker);
	} else if (error.code) {
		log_info("node %u: %s", node, error.text);
		wire_send(epd, CARD_REFUSED, (uint64_t)-error.code, error.text, strlen(error.text));
	}
	scif_close(epd);
	if (worker.window != MAP_FAILED)
		munmap(worker.window, CARD_WINDOW_BYTES);
	if (worker.file >= 0)
		close(worker.file);
	if (worker.wake_fd >= 0)
		close(worker.wake_fd);
	return status < 0;
}
