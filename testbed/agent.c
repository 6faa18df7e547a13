/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The agent: the first process of every guest of the testbed. It runs what the host asks for.
 *
 * The way of a command (proto/guest-agent.h has the frames):
 *   1. agent.c:agent_receive           bytes from the host, whole frames out of them
 *   2. agent_frame.c:agent_frame_next  the gate: nothing unchecked goes further
 *   3. agent.c:agent_handle            one switch over the kinds of frames
 *   4. agent.c:command_start           three pipes, fork, exec
 *   5. agent.c:command_feed            input, as far as the command reads
 *   6. agent.c:command_drain           output, as far as the channel takes it
 *   7. agent.c:command_finish          EXIT, when it is dead and its pipes are empty
 *
 * A command is in one of three states, by its fields:
 *   free      pid == 0
 *   running   pid > 0, !dead; its pipes may be closed early (descriptor -1)
 *   dead      pid > 0, dead; status is valid; what is left in its pipes still goes out, then EXIT.
 *             A child that it left behind and that holds the pipes is not waited for.
 *
 * One thread, one poll(). Nothing grows with what anybody sends: a stream of at most
 * RECEIVE_LIMIT bytes towards us, SEND_LIMIT from us, GUEST_STDIN_WINDOW of input per command.
 * When the host is gone, or is no host of ours, the guest powers off.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/reboot.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/error.h"
#include "lib/base/io.h"
#include "testbed/agent_frame.h"
#include "testbed/agent_setup.h"

#define CHUNK_BYTES   32768
#define RECEIVE_LIMIT (2 * (sizeof(struct guest_frame) + GUEST_FRAME_PAYLOAD_MAX))
#define SEND_LIMIT    (1024 * 1024)
/* Reading a pipe stops here, so that EXIT and STDIN_TAKEN always find room below SEND_LIMIT. */
#define SEND_FULL (SEND_LIMIT / 2)

#define HOME "/root"

struct command {
	uint32_t number; /* the host's */
	pid_t pid;
	bool dead;
	bool input_ended; /* the host has sent all of it */
	uint32_t status;
	int input_fd, output_fd, error_fd; /* our ends of its pipes, or -1 */
	struct buffer input;		   /* from the host, not yet taken by the command */
};

struct agent {
	int channel_fd, signal_fd;
	uint32_t unreported; /* bytes received since the last RECEIVED */
	struct buffer received, to_send;
	struct command commands[GUEST_COMMANDS_MAX];
};

/* guest_stop - power off; does not return */
static void guest_stop(void) __attribute__((noreturn));

static void guest_stop(void)
{
	sync();
	reboot(RB_POWER_OFF);
	for (;;)
		pause();
}

/* agent_send - queue a frame; there is always room for those that no pipe limits */
static void agent_send(struct agent *agent, uint32_t number, enum guest_frame_type type,
		       const void *payload, size_t bytes)
{
	if (agent_frame_append(&agent->to_send, number, type, payload, bytes) < 0) {
		fprintf(stderr, "guest agent: the host asks for more than it takes\n");
		guest_stop();
	}
}

static struct command *agent_command_find(struct agent *agent, uint32_t number)
{
	for (size_t i = 0; i < GUEST_COMMANDS_MAX; i++)
		if (agent->commands[i].pid && agent->commands[i].number == number)
			return &agent->commands[i];
	return NULL;
}

static struct command *agent_command_free(struct agent *agent)
{
	for (size_t i = 0; i < GUEST_COMMANDS_MAX; i++)
		if (!agent->commands[i].pid)
			return &agent->commands[i];
	return NULL;
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* command_refuse - the answer to a command that cannot be started */
static void command_refuse(struct agent *agent, uint32_t number, const char *reason)
{
	const struct guest_exit exit_frame = { .status = 126 };
	char text[256];
	int bytes = snprintf(text, sizeof(text), "guest agent: %s\n", reason);

	agent_send(agent, number, GUEST_FRAME_STDERR, text, (size_t)bytes);
	agent_send(agent, number, GUEST_FRAME_EXIT, &exit_frame, sizeof(exit_frame));
}

/* command_exec - the child's side of command_start(); does not return */
static void command_exec(struct agent_run *run, const int fds[3]) __attribute__((noreturn));

static void command_exec(struct agent_run *run, const int fds[3])
{
	static char *const standard[] = {
		"PATH=" HOME ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=" HOME,
		"USER=root",
	};
	sigset_t none;

	setsid();
	for (int i = 0; i < 3; i++)
		dup2(fds[i], i); /* all of them are above 2 and closed by exec */
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);

	clearenv();
	for (size_t i = 0; i < sizeof(standard) / sizeof(standard[0]); i++)
		putenv(standard[i]);
	for (char **variable = run->variables; *variable; variable++)
		putenv(*variable);
	if (chdir(HOME) < 0)
		perror(HOME);
	execvp(run->arguments[0], run->arguments);
	dprintf(2, "%s: %s\n", run->arguments[0], strerror(errno));
	_exit(errno == ENOENT ? 127 : 126);
}

/* command_pipes - three pipes; the child's ends in @theirs, ours in @ours */
static int command_pipes(int theirs[3], int ours[3])
{
	for (int i = 0; i < 3; i++) {
		int ends[2];

		if (pipe2(ends, O_CLOEXEC) < 0) {
			int code = -errno;

			while (i-- > 0) {
				close(theirs[i]);
				close(ours[i]);
			}
			return code;
		}
		theirs[i] = i == 0 ? ends[0] : ends[1];
		ours[i] = i == 0 ? ends[1] : ends[0];
		io_set_nonblock(ours[i], 1);
	}
	return 0;
}

/* command_start - from free to running, or refused; -EPROTO when no host would ask so */
static int command_start(struct agent *agent, const struct agent_frame *frame)
{
	static struct agent_run run; /* 16 KiB; one thread */
	uint32_t number = frame->header.command;
	struct command *command;
	int theirs[3], ours[3];
	pid_t pid;

	if (agent_run_parse(frame, &run) < 0 || agent_command_find(agent, number))
		return -EPROTO;
	command = agent_command_free(agent);
	if (!command) {
		command_refuse(agent, number, "too many commands at once");
		return 0;
	}
	if (command_pipes(theirs, ours) < 0) {
		command_refuse(agent, number, strerror(errno));
		return 0;
	}
	pid = fork();
	if (pid == 0)
		command_exec(&run, theirs);
	for (int i = 0; i < 3; i++) {
		close(theirs[i]);
		if (pid < 0)
			close(ours[i]);
	}
	if (pid < 0) {
		command_refuse(agent, number, strerror(errno));
		return 0;
	}
	*command = (struct command){ .number = number,
				     .pid = pid,
				     .input_fd = ours[0],
				     .output_fd = ours[1],
				     .error_fd = ours[2] };
	buffer_init(&command->input, GUEST_STDIN_WINDOW);
	return 0;
}

/* command_taken - give the host credit for @bytes of input, delivered or not */
static void command_taken(struct agent *agent, const struct command *command, size_t bytes)
{
	struct guest_taken taken = { .bytes = (uint32_t)bytes };

	if (bytes)
		agent_send(agent, command->number, GUEST_FRAME_STDIN_TAKEN, &taken, sizeof(taken));
}

/* command_input_drop - the command does not want more input */
static void command_input_drop(struct agent *agent, struct command *command)
{
	close_fd(&command->input_fd);
	command_taken(agent, command, command->input.used);
	buffer_free(&command->input);
}

/* command_feed - as much input as the pipe takes now, reported to the host */
static void command_feed(struct agent *agent, struct command *command)
{
	ssize_t bytes;

	if (command->input.used) {
		bytes = write(command->input_fd, command->input.data, command->input.used);
		if (bytes < 0) {
			if (errno != EAGAIN && errno != EINTR)
				command_input_drop(agent, command); /* EPIPE: it closed its input */
			return;
		}
		buffer_consume(&command->input, (size_t)bytes);
		command_taken(agent, command, (size_t)bytes);
	}
	if (command->input_ended && !command->input.used)
		command_input_drop(agent, command);
}

/* command_input - a STDIN frame; -EPROTO when the host overran its credit */
static int command_input(struct agent *agent, const struct agent_frame *frame)
{
	struct command *command = agent_command_find(agent, frame->header.command);

	if (!command)
		return 0; /* it ended while the frame was under way */
	if (command->input_ended)
		return -EPROTO;
	if (command->input_fd < 0) { /* it closed its input */
		command_taken(agent, command, frame->header.bytes);
		return 0;
	}
	if (frame->header.bytes == 0)
		command->input_ended = true;
	else if (buffer_append(&command->input, frame->payload, frame->header.bytes) < 0)
		return -EPROTO;
	command_feed(agent, command);
	return 0;
}

/* command_drain - one chunk of one of its pipes, all of it when it is dead; closes it at its end */
static void command_drain(struct agent *agent, struct command *command, int *fd,
			  enum guest_frame_type type)
{
	static unsigned char chunk[CHUNK_BYTES];
	ssize_t bytes;

	while (*fd >= 0 && agent->to_send.used < SEND_FULL) {
		bytes = read(*fd, chunk, sizeof(chunk));
		if (bytes > 0)
			agent_send(agent, command->number, type, chunk, (size_t)bytes);
		else if (bytes == 0 || command->dead || errno != EAGAIN)
			close_fd(fd); /* a dead command's empty pipe has nothing to come */
		if (!command->dead)
			return;
	}
}

/* command_finish - from dead to free, once its pipes are empty */
static void command_finish(struct agent *agent, struct command *command)
{
	struct guest_exit exit_frame = { .status = command->status };

	if (!command->dead || command->output_fd >= 0 || command->error_fd >= 0)
		return;
	command_input_drop(agent, command);
	agent_send(agent, command->number, GUEST_FRAME_EXIT, &exit_frame, sizeof(exit_frame));
	command->pid = 0;
}

/* agent_reap - from running to dead, for every child that ended; adopted ones just vanish */
static void agent_reap(struct agent *agent)
{
	struct signalfd_siginfo ignored[8];
	int status;
	pid_t pid;

	while (read(agent->signal_fd, ignored, sizeof(ignored)) > 0)
		;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		for (size_t i = 0; i < GUEST_COMMANDS_MAX; i++) {
			struct command *command = &agent->commands[i];

			if (command->pid != pid || command->dead)
				continue;
			command->dead = true;
			command->status = WIFSIGNALED(status) ? 128u + (uint32_t)WTERMSIG(status)
							      : (uint32_t)WEXITSTATUS(status);
		}
	}
}

/* agent_signal - a SIGNAL frame, to the command and all it started in its session */
static int agent_signal(struct agent *agent, const struct agent_frame *frame)
{
	struct command *command = agent_command_find(agent, frame->header.command);
	uint32_t number;

	if (agent_number_parse(frame, &number) < 0 || number < 1 || number > (uint32_t)SIGRTMAX)
		return -EPROTO;
	/* Before its setsid() a young child has no group of its own yet. */
	if (command && !command->dead && kill(-command->pid, (int)number) < 0)
		kill(command->pid, (int)number);
	return 0;
}

static int agent_handle(struct agent *agent, const struct agent_frame *frame)
{
	switch (frame->header.type) {
	case GUEST_FRAME_RUN:
		return command_start(agent, frame);
	case GUEST_FRAME_STDIN:
		return command_input(agent, frame);
	case GUEST_FRAME_SIGNAL:
		return agent_signal(agent, frame);
	case GUEST_FRAME_STOP:
		guest_stop();
	default:
		return -EPROTO;
	}
}

/* agent_report - let the host send more */
static void agent_report(struct agent *agent, size_t bytes)
{
	struct guest_received received;

	agent->unreported += (uint32_t)bytes;
	if (agent->unreported < GUEST_RECEIVED_STEP)
		return;
	received.bytes = agent->unreported;
	agent->unreported = 0;
	agent_send(agent, 0, GUEST_FRAME_RECEIVED, &received, sizeof(received));
}

/* agent_receive - what the channel has; 0, or -errno when there is no host any more */
static int agent_receive(struct agent *agent)
{
	unsigned char *to = buffer_reserve(&agent->received, CHUNK_BYTES);
	struct agent_frame frame;
	ssize_t bytes;
	long taken;

	if (!to)
		return -errno;
	bytes = read(agent->channel_fd, to, CHUNK_BYTES);
	if (bytes <= 0)
		return bytes < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -EPIPE;
	agent->received.used += (size_t)bytes;
	agent_report(agent, (size_t)bytes);

	while ((taken = agent_frame_next(&agent->received, &frame)) > 0) {
		int code = agent_handle(agent, &frame);

		if (code < 0)
			return code;
		buffer_consume(&agent->received, (size_t)taken);
	}
	return (int)taken;
}

/* agent_transmit - what the channel takes; 0, or -errno when there is no host any more */
static int agent_transmit(struct agent *agent)
{
	ssize_t bytes;

	if (!agent->to_send.used)
		return 0;
	bytes = write(agent->channel_fd, agent->to_send.data, agent->to_send.used);
	if (bytes < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	buffer_consume(&agent->to_send, (size_t)bytes);
	return 0;
}

/* agent_wait - sleep until something can be done; true when the channel has bytes */
static bool agent_wait(struct agent *agent)
{
	struct pollfd polls[2 + 3 * GUEST_COMMANDS_MAX];
	bool full = agent->to_send.used >= SEND_FULL;
	nfds_t count = 2;
	int timeout_ms = -1;

	polls[0] = (struct pollfd){ .fd = agent->channel_fd,
				    .events = POLLIN | (agent->to_send.used ? POLLOUT : 0) };
	polls[1] = (struct pollfd){ .fd = agent->signal_fd, .events = POLLIN };
	for (size_t i = 0; i < GUEST_COMMANDS_MAX; i++) {
		struct command *command = &agent->commands[i];

		if (!command->pid)
			continue;
		if (command->dead && !full)
			timeout_ms = 0; /* a pipe of it was left only because we were full */
		if (command->input_fd >= 0 && command->input.used)
			polls[count++] =
				(struct pollfd){ .fd = command->input_fd, .events = POLLOUT };
		if (command->output_fd >= 0 && !full)
			polls[count++] =
				(struct pollfd){ .fd = command->output_fd, .events = POLLIN };
		if (command->error_fd >= 0 && !full)
			polls[count++] =
				(struct pollfd){ .fd = command->error_fd, .events = POLLIN };
	}
	if (poll(polls, count, timeout_ms) < 0)
		return false;
	return polls[0].revents & (POLLIN | POLLHUP | POLLERR);
}

/* agent_serve - until there is no host any more; the reason as -errno */
static int agent_serve(struct agent *agent)
{
	int code = 0;

	while (!code) {
		if (agent_wait(agent))
			code = agent_receive(agent);
		agent_reap(agent);
		for (size_t i = 0; i < GUEST_COMMANDS_MAX; i++) {
			struct command *command = &agent->commands[i];

			if (!command->pid)
				continue;
			if (command->input_fd >= 0)
				command_feed(agent, command);
			command_drain(agent, command, &command->output_fd, GUEST_FRAME_STDOUT);
			command_drain(agent, command, &command->error_fd, GUEST_FRAME_STDERR);
			command_finish(agent, command);
		}
		if (!code)
			code = agent_transmit(agent);
	}
	return code;
}

/* agent_greet - HELLO, with the sentence when the setup failed */
static void agent_greet(struct agent *agent, const struct error *error)
{
	unsigned char payload[sizeof(struct guest_hello) + sizeof(error->text)];
	struct guest_hello hello = { .version = GUEST_AGENT_VERSION };
	size_t bytes = strlen(error->text);

	memcpy(payload, &hello, sizeof(hello));
	memcpy(payload + sizeof(hello), error->text, bytes);
	agent_send(agent, 0, GUEST_FRAME_HELLO, payload, sizeof(hello) + bytes);
}

int main(void)
{
	const char *path = getenv("causeway_channel"); /* from the kernel's command line */
	static struct agent agent;
	struct error error = { 0 };
	sigset_t signals;
	int code;

	if (getpid() != 1 || !path) {
		fprintf(stderr, "this is the first process of a test guest; see testbed/guest\n");
		return 2;
	}
	sigemptyset(&signals);
	sigaddset(&signals, SIGCHLD);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	signal(SIGPIPE, SIG_IGN);
	agent.signal_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
	buffer_init(&agent.received, RECEIVE_LIMIT);
	buffer_init(&agent.to_send, SEND_LIMIT);

	if (agent_setup_system(&error) == 0 && agent_setup_modules(&error) == 0)
		agent_setup_folders(&error);
	agent_greet(&agent, &error);
	agent.channel_fd = agent_setup_channel(path, &error);
	if (agent.channel_fd < 0) {
		fprintf(stderr, "guest agent: %s\n", error.text);
		guest_stop();
	}
	/* Blocking: a virtio-serial port reports a hang-up until the host has opened its end. */
	code = io_write_full(agent.channel_fd, agent.to_send.data, agent.to_send.used);
	buffer_consume(&agent.to_send, agent.to_send.used);
	io_set_nonblock(agent.channel_fd, 1);
	if (!code)
		code = agent_serve(&agent);
	fprintf(stderr, "guest agent: the host is gone: %s\n", strerror(-code));
	guest_stop();
}
