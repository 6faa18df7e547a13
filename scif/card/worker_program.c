/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A worker from START on: admission, the sandbox, then input and output until the end.
 *
 * Two threads once the program runs. worker_receive() takes the client's frames and blocks in
 * libscif, whose endpoints are no descriptors to poll; worker_carry() polls pipes and is the only
 * one that sends. Whatever ends the connection, or the supervisor's wish, becomes SIGKILL for the
 * init; from there on the end is the same as if the program had ended by itself.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "scif/card/binary.h"
#include "scif/card/wire.h"
#include "scif/card/worker.h"

#define PROGRAM_VARIABLES_OWN 12
/* Turns that a thread spins at a barrier before it sleeps, 0.1 ms: threads of one program may come
 * to share a core, and then the one that spins is what it waits for. The library's own number is
 * a hundred times that. */
#define PROGRAM_SPIN_COUNT "2000"
#define PROGRAM_TEXT_MAX   4096
#define PROGRAM_LOOK_MS	   100 /* between looks at the client while its program waits */

static uint64_t program_now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

/* Whether the client has gone, while nothing is expected from it. */
static bool program_is_deserted(struct worker *worker)
{
	struct scif_pollepd look = { .epd = worker->epd, .events = 0 };

	return scif_poll(&look, 1, 0) > 0 && look.revents & (SCIF_POLLHUP | SCIF_POLLERR);
}

/* Waits until the supervisor lets the program run; 0 or -errno with a sentence. */
static int program_admit(struct worker *worker, struct error *error)
{
	struct card_ask ask = { .kind = CARD_ASK_ADMISSION, .hello = worker->hello };
	struct pollfd answer = { .fd = worker->supervisor, .events = POLLIN };
	int status;

	memcpy(ask.name, worker->program, sizeof(ask.name));
	status = worker_ask(worker, &ask);
	while (status == 0) {
		int ready = poll(&answer, 1, PROGRAM_LOOK_MS);

		if (ready < 0 && errno != EINTR)
			return error_set(error, -errno, "poll: %s", strerror(errno));
		if (program_is_deserted(worker))
			return -ECONNRESET;
		if (ready <= 0)
			continue;
		status = worker_answer(worker, &worker->granted);
		if (status < 0)
			break;
		if (worker->granted.kind == CARD_ANSWER_GRANT)
			return 0;
		if (worker->granted.kind == CARD_ANSWER_REFUSE) {
			*error = worker->granted.refusal;
			return error->code;
		}
		status = wire_send(worker->epd, CARD_WAITING, worker->granted.place, NULL, 0);
	}
	return error_set(error, status, "the card is going down");
}

/* Where the card puts its own variables. */
struct program_text {
	char text[PROGRAM_TEXT_MAX];
	size_t used;
};

static char *program_print(struct program_text *own, const char *name, const char *value)
{
	char *at = own->text + own->used;

	own->used += (size_t)snprintf(at, sizeof(own->text) - own->used, "%s=%s", name, value) + 1;
	return at;
}

static bool program_has(char **variables, int count, const char *name)
{
	size_t length = strlen(name);

	for (int i = 0; i < count; i++) {
		if (strncmp(variables[i], name, length) == 0 && variables[i][length] == '=')
			return true;
	}
	return false;
}

/* Adds the card's variables behind the client's @count; room for PROGRAM_VARIABLES_OWN. */
static void program_environment(struct worker *worker, char **variables, int count,
				const unsigned char *token, struct program_text *own)
{
	static const char *const threads[] = { "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS" };
	bool sharing = worker->settings->policy == CARD_POLICY_SHARE;
	static char path[CARD_PAYLOAD_MAX + 64];
	char number[2 * CARD_TOKEN_BYTES + 1];
	int total = count;

	if (!program_has(variables, count, "PATH"))
		variables[total++] = program_print(own, "PATH", "/home");
	if (!program_has(variables, count, "HOME"))
		variables[total++] = program_print(own, "HOME", "/home");
	snprintf(number, sizeof(number), "%d", CPU_COUNT(&worker->granted.cores));
	for (int i = 0; i < 2; i++) {
		if (!program_has(variables, count, threads[i]))
			variables[total++] = program_print(own, threads[i], number);
	}
	if (sharing && !program_has(variables, count, "GOMP_SPINCOUNT") &&
	    !program_has(variables, count, "OMP_WAIT_POLICY"))
		variables[total++] = program_print(own, "GOMP_SPINCOUNT", PROGRAM_SPIN_COUNT);
	if (sharing && !program_has(variables, count, "OMP_NUM_THREADS"))
		variables[total++] = program_print(own, "CAUSEWAY_CARD_THREADS", "follow");
	snprintf(path, sizeof(path), "LD_LIBRARY_PATH=/home/lib");
	for (int i = 0; i < count; i++) {
		if (strncmp(variables[i], "LD_LIBRARY_PATH=", 16) != 0)
			continue;
		snprintf(path, sizeof(path), "LD_LIBRARY_PATH=/home/lib:%s", variables[i] + 16);
		variables[i] = variables[--total];
		break;
	}
	variables[total++] = path;
	if (worker->settings->socket)
		variables[total++] = program_print(own, "CAUSEWAY_SCIF_SOCKET", "/run/scif.sock");
	if (worker->hello.mode == CARD_MODE_OFFLOAD) {
		variables[total++] = program_print(own, "CAUSEWAY_CARD_FD", "3");
		snprintf(number, sizeof(number), "%u", worker->node);
		variables[total++] = program_print(own, "CAUSEWAY_CARD_CLIENT", number);
		for (unsigned int i = 0; i < CARD_TOKEN_BYTES; i++)
			snprintf(number + 2 * i, 3, "%02x", token[i]);
		variables[total++] = program_print(own, "CAUSEWAY_CARD_TOKEN", number);
	}
	variables[total] = NULL;
}

/* What was sent is a program for this card; 0 or -errno with a sentence. */
static int program_check(struct worker *worker, struct error *error)
{
	char path[512], start[512];
	ssize_t got;
	int fd, status;

	snprintf(path, sizeof(path), "%s/home/%s", worker->box.root, worker->program);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return error_set(error, -errno, "%s: %s", worker->program, strerror(errno));
	got = read(fd, start, sizeof(start));
	close(fd);
	status = elf_check_program(start, got > 0 ? (size_t)got : 0, error);
	return status < 0 ? error_prefix(error, "%s", worker->program) : 0;
}

int worker_start_program(struct worker *worker, const struct card_frame *frame, struct error *error)
{
	static char *strings[2 * CARD_STRINGS_MAX], *arguments[CARD_STRINGS_MAX + 1];
	static char *variables[CARD_STRINGS_MAX + PROGRAM_VARIABLES_OWN];
	static struct program_text own;
	struct sandbox_start how = { .arguments = arguments, .variables = variables };
	unsigned char token[CARD_TOKEN_BYTES];
	struct card_ask started = { .kind = CARD_TELL_STARTED };
	struct card_start start;
	int status = worker_take_strings(worker, frame, strings, &start, error);

	if (status == 0)
		status = program_check(worker, error);
	if (status == 0)
		status = program_admit(worker, error);
	if (status < 0)
		return status;
	if (getrandom(token, sizeof(token), 0) != (ssize_t)sizeof(token))
		return error_set(error, -EIO, "no random numbers");
	memcpy(arguments, strings, start.arguments * sizeof(strings[0]));
	arguments[0] = worker->program;
	memcpy(variables, strings + start.arguments, start.variables * sizeof(strings[0]));
	program_environment(worker, variables, (int)start.variables, token, &own);
	how.cores = worker->granted.cores;
	how.weight = worker->granted.weight;
	how.memory_bytes = worker->granted.memory_bytes;
	how.network = worker->hello.flags & CARD_FLAG_NETWORK;
	worker->box.number = worker->granted.number;
	status = sandbox_start(&worker->box, &how, error);
	if (status < 0)
		return status;
	worker->started_us = program_now_us();
	started.process = worker->box.init;
	worker_ask(worker, &started);
	wire_send(worker->epd, CARD_STARTED, (uint64_t)worker->box.init, token, sizeof(token));
	return 0;
}

static void program_wake(struct worker *worker)
{
	static const uint64_t one = 1;

	/* A counter that is full is a wake-up as well. */
	if (write(worker->wake_fd, &one, sizeof(one)) < 0)
		return;
}

/* One frame of the client while its program runs; false ends the connection. */
static bool program_take(struct worker *worker, const struct card_frame *frame)
{
	bool sound = true;

	pthread_mutex_lock(&worker->lock);
	switch (frame->type) {
	case CARD_INPUT:
		sound = !worker->input_ended &&
			frame->bytes <= sizeof(worker->input) - worker->input_used;
		if (sound) {
			memcpy(worker->input + worker->input_used, worker->payload, frame->bytes);
			worker->input_used += frame->bytes;
		}
		break;
	case CARD_INPUT_END:
		worker->input_ended = true;
		break;
	case CARD_SIGNAL:
		sound = frame->value >= 1 && frame->value < 32 && frame->value != SIGSTOP;
		if (sound && worker->box.init > 0)
			kill(worker->box.init, (int)frame->value);
		break;
	case CARD_FLUSH:
		if (frame->value > worker->flush)
			worker->flush = frame->value;
		break;
	default:
		sound = false;
	}
	pthread_mutex_unlock(&worker->lock);
	return sound;
}

/* The receiving thread: until the connection ends, or the client breaks the protocol. */
static void *program_receive(void *context)
{
	struct worker *worker = context;
	struct card_frame frame;

	while (wire_receive(worker->epd, &frame, worker->payload) == 0 &&
	       program_take(worker, &frame))
		program_wake(worker);
	pthread_mutex_lock(&worker->lock);
	worker->lost = true;
	pthread_mutex_unlock(&worker->lock);
	program_wake(worker);
	return NULL;
}

/* Moves input on to the program; gives the client credit for it. */
static void program_feed(struct worker *worker)
{
	ssize_t written = 0;
	bool ended;

	pthread_mutex_lock(&worker->lock);
	if (worker->box.input >= 0 && worker->input_used)
		written = write(worker->box.input, worker->input, worker->input_used);
	if (written < 0 && errno == EPIPE) /* the program closed it: what comes is let go */
		written = (ssize_t)worker->input_used;
	if (written > 0) {
		worker->input_used -= (size_t)written;
		memmove(worker->input, worker->input + written, worker->input_used);
	}
	ended = worker->input_ended && worker->input_used == 0;
	pthread_mutex_unlock(&worker->lock);
	if (ended && worker->box.input >= 0) {
		close(worker->box.input);
		worker->box.input = -1;
	}
	if (written > 0)
		wire_send(worker->epd, CARD_CREDIT, (uint64_t)written, NULL, 0);
}

/* What came from the program at *@fd, as frames of @type; closes it at its end. */
static void program_forward(struct worker *worker, int *fd, uint32_t type)
{
	char bytes[CARD_PAYLOAD_MAX];
	ssize_t got = read(*fd, bytes, sizeof(bytes));

	if (got < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (got > 0) {
		wire_send(worker->epd, type, 0, bytes, (size_t)got);
		return;
	}
	close(*fd);
	*fd = -1;
}

/* The client wants to have all that was written by now: it goes, and a mark behind it. */
static void program_flush(struct worker *worker)
{
	struct sandbox *box = &worker->box;
	int output = 0, errors = 0;
	uint64_t number;

	pthread_mutex_lock(&worker->lock);
	number = worker->flush > worker->flushed ? worker->flush : 0;
	pthread_mutex_unlock(&worker->lock);
	if (!number)
		return;
	/* What comes meanwhile may wait: a program that never stops writing must not hold this up.
	 */
	if (box->output >= 0 && ioctl(box->output, FIONREAD, &output) < 0)
		output = 0;
	if (box->errors >= 0 && ioctl(box->errors, FIONREAD, &errors) < 0)
		errors = 0;
	for (; output > 0 && box->output >= 0; output -= (int)CARD_PAYLOAD_MAX)
		program_forward(worker, &box->output, CARD_OUTPUT);
	for (; errors > 0 && box->errors >= 0; errors -= (int)CARD_PAYLOAD_MAX)
		program_forward(worker, &box->errors, CARD_ERRORS);
	worker->flushed = number;
	wire_send(worker->epd, CARD_FLUSHED, number, NULL, 0);
}

static void program_take_port(struct worker *worker)
{
	unsigned char bytes[2];
	ssize_t got = read(worker->box.port, bytes, sizeof(bytes));

	if (got < 0 && errno == EINTR)
		return;
	if (got == (ssize_t)sizeof(bytes))
		wire_send(worker->epd, CARD_PORT_OPEN, bytes[0] | (unsigned int)bytes[1] << 8, NULL,
			  0);
	close(worker->box.port);
	worker->box.port = -1;
}

/* One look at everything; false when the program has ended and its output is sent. */
static bool program_turn(struct worker *worker, int *ended)
{
	struct sandbox *box = &worker->box;
	enum { WAKE, SUPERVISOR, INPUT, OUTPUT, ERRORS, PORT, STATUS, COUNT };
	struct pollfd look[COUNT] = {
		[WAKE] = { worker->wake_fd, POLLIN, 0 },
		[SUPERVISOR] = { worker->supervisor, POLLIN, 0 },
		[INPUT] = { -1, POLLOUT, 0 },
		[OUTPUT] = { box->output, POLLIN, 0 },
		[ERRORS] = { box->errors, POLLIN, 0 },
		[PORT] = { box->port, POLLIN, 0 },
		[STATUS] = { *ended < 0 ? box->status : -1, POLLIN, 0 },
	};
	uint64_t count;
	bool stop;

	pthread_mutex_lock(&worker->lock);
	if (worker->input_used || worker->input_ended)
		look[INPUT].fd = box->input;
	pthread_mutex_unlock(&worker->lock);
	if (poll(look, COUNT, -1) < 0)
		return errno == EINTR;
	if (look[WAKE].revents && read(worker->wake_fd, &count, sizeof(count)) < 0)
		count = 0;
	pthread_mutex_lock(&worker->lock);
	stop = worker->lost || look[SUPERVISOR].revents;
	pthread_mutex_unlock(&worker->lock);
	if (stop)
		return false;
	if (look[INPUT].revents)
		program_feed(worker);
	if (look[OUTPUT].revents)
		program_forward(worker, &box->output, CARD_OUTPUT);
	if (look[ERRORS].revents)
		program_forward(worker, &box->errors, CARD_ERRORS);
	if (look[PORT].revents)
		program_take_port(worker);
	program_flush(worker);
	if (look[STATUS].revents) {
		if (read(box->status, ended, sizeof(*ended)) != (ssize_t)sizeof(*ended))
			*ended = SIGKILL; /* the init was killed, and the program with it */
	}
	return *ended < 0 || box->output >= 0 || box->errors >= 0;
}

void worker_carry(struct worker *worker)
{
	struct card_ask told = { .kind = CARD_TELL_ENDED };
	struct card_exited exited = { 0 };
	struct rusage usage;
	pthread_t receiver;
	int ended = -1; /* as waitpid() has it */

	signal(SIGPIPE, SIG_IGN);
	if (pthread_create(&receiver, NULL, program_receive, worker) == 0) {
		while (program_turn(worker, &ended))
			continue;
	}
	pthread_mutex_lock(&worker->lock); /* no signal to a process that is somebody else's */
	sandbox_end(&worker->box, &usage);
	pthread_mutex_unlock(&worker->lock);
	if (ended < 0)
		ended = SIGKILL;
	exited.status = WIFEXITED(ended) ? (uint32_t)WEXITSTATUS(ended) : 0;
	exited.signal = WIFSIGNALED(ended) ? (uint32_t)WTERMSIG(ended) : 0;
	exited.user_us =
		(uint64_t)usage.ru_utime.tv_sec * 1000000 + (uint64_t)usage.ru_utime.tv_usec;
	exited.system_us =
		(uint64_t)usage.ru_stime.tv_sec * 1000000 + (uint64_t)usage.ru_stime.tv_usec;
	exited.wall_us = program_now_us() - worker->started_us;
	exited.memory_peak_bytes = (uint64_t)usage.ru_maxrss << 10;
	told.cpu_us = exited.user_us + exited.system_us;
	worker_ask(worker, &told);
	if (!worker->lost)
		wire_send(worker->epd, CARD_EXITED, 0, &exited, sizeof(exited));
}
