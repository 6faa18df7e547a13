/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs programs for the demo, natively and in a guest.
 *
 * In the guest one shell runs all programs in turn. It prints a mark before and after each, on a
 * line of its own; what lies between is the program's output, and the time between the marks, as
 * they arrive here, is the program's time from the VM.
 */
#include "cli/demo.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/clean.h"

#define NATIVE_LIMIT_MS	  120000
#define GUEST_LIMIT_MS	  600000 /* the first time, the guest's kernel is fetched within it */
#define STOP_GRACE_MS	  10000	 /* the testbed needs a moment to end its guest */
#define MARK		  "@causeway-demo "
#define LINE_BYTES_MAX	  4096
#define GUEST_CLIENT	  "/usr/lib/x86_64-linux-gnu/libcuda.so.1"
#define GUEST_ARGUMENTS	  (32 + 2 * (DEMO_PROGRAMS_MAX + DEMO_FILES_MAX))
#define TEXT_OF_(literal) #literal
#define TEXT_OF(literal)  TEXT_OF_(literal)

/* A programs' first line is "NAME: device DEVICE", its last one "NAME: PASSED". */
static void run_judge(struct demo_run *run, const char *name)
{
	char device_head[64], verdict[64];
	const char *text = (const char *)run->output.data, *line;
	size_t length;

	if (buffer_append(&run->output, "", 1) < 0)
		return;
	run->output.used--;
	text = (const char *)run->output.data;
	length = snprintf(device_head, sizeof(device_head), "%s: device ", name);
	line = strstr(text, device_head);
	if (line)
		snprintf(run->device, sizeof(run->device), "%.*s",
			 (int)strcspn(line + length, "\n"), line + length);
	length = snprintf(verdict, sizeof(verdict), "%s: PASSED\n", name);
	run->verified = run->status == 0 && run->output.used >= length &&
			!memcmp(text + run->output.used - length, verdict, length);
}

static void run_report(const struct demo *demo, const struct demo_run *run, const char *name,
		       const char *where)
{
	if (demo->verbose)
		printf("%.*s", (int)run->output.used, (const char *)run->output.data);
	printf("  %-16s %s: %s, %.2f s\n", name, where, run->verified ? "passed" : "FAILED",
	       run->milliseconds / 1e3);
	fflush(stdout);
}

static int run_one_natively(struct demo *demo, struct demo_program *program, struct error *error)
{
	/* Some programs fail on purpose; softgpu's remarks about that would only confuse. */
	const char *names[] = { "CAUSEWAY_LOG", demo->verbose ? "info" : "error",
				demo->library_path[0] ? "LD_LIBRARY_PATH" : NULL,
				demo->library_path, NULL };
	char *arguments[] = { program->path, NULL };
	struct process_setup setup = { .arguments = arguments,
				       .names = names,
				       .output = PROCESS_OUTPUT_PIPE };
	struct demo_run *run = &program->natively;
	double start_ms = process_now_ms();
	struct process process;
	char chunk[LINE_BYTES_MAX];
	ssize_t got;
	int code = process_start(&process, &setup, error);

	if (code < 0)
		return code;
	while ((got = process_read(&process, chunk, sizeof(chunk), start_ms + NATIVE_LIMIT_MS)) > 0)
		buffer_append(&run->output, chunk, got); /* what is beyond the limit is dropped */
	if (got == 0)
		got = process_sleep(&process, NATIVE_LIMIT_MS) < 0 ? -EINTR : 0;
	run->milliseconds = process_now_ms() - start_ms;
	run->status = process_stop(&process, 0);
	if (got == -ETIMEDOUT)
		return error_set(error, -ETIMEDOUT, "%s did not end within %d s", program->name,
				 NATIVE_LIMIT_MS / 1000);
	if (got < 0)
		return error_set(error, (int)got, "%s: %s", program->name, strerror(-(int)got));
	run->ended = true;
	run_judge(run, program->name);
	run_report(demo, run, program->name, "natively");
	return 0;
}

int demo_run_natively(struct demo *demo, struct error *error)
{
	int code = 0;

	printf("Natively, on the device directly:\n");
	fflush(stdout);
	for (size_t i = 0; i < demo->program_count && code == 0; i++)
		code = run_one_natively(demo, &demo->programs[i], error);
	return code;
}

/* What reads the guest's lines. */
struct guest_reader {
	struct demo *demo;
	struct demo_program *current; /* between its marks; else NULL */
	double start_ms;
};

static struct demo_program *program_find(struct demo *demo, const char *name)
{
	for (size_t i = 0; i < demo->program_count; i++)
		if (!strcmp(demo->programs[i].name, name))
			return &demo->programs[i];
	return NULL;
}

/* One line of the guest, with its newline unless the output ended without one. */
static void guest_line(struct guest_reader *reader, const char *line, size_t bytes)
{
	char text[LINE_BYTES_MAX + 1], word[8], name[64];
	struct demo_run *run;
	int status = -1, words;

	if (bytes < sizeof(MARK) || memcmp(line, MARK, sizeof(MARK) - 1)) {
		if (reader->current)
			buffer_append(&reader->current->from_guest.output, line, bytes);
		return;
	}
	snprintf(text, sizeof(text), "%.*s", (int)bytes, line);
	words = sscanf(text, MARK "%7s %63s %d", word, name, &status);
	if (words == 2 && !strcmp(word, "begin")) {
		reader->current = program_find(reader->demo, name);
		reader->start_ms = process_now_ms();
	} else if (words == 3 && !strcmp(word, "end") && reader->current) {
		run = &reader->current->from_guest;
		run->milliseconds = process_now_ms() - reader->start_ms;
		run->status = status;
		run->ended = true;
		run_judge(run, reader->current->name);
		run_report(reader->demo, run, reader->current->name, "from the VM");
		reader->current = NULL;
	}
}

/* Cut the stream into lines; a line longer than the buffer is handed on in pieces. */
static int guest_read(struct guest_reader *reader, struct process *guest)
{
	double deadline_ms = process_now_ms() + GUEST_LIMIT_MS;
	char held[LINE_BYTES_MAX];
	size_t used = 0;
	ssize_t got;

	while ((got = process_read(guest, held + used, sizeof(held) - used, deadline_ms)) > 0) {
		char *start = held, *end;

		used += got;
		while ((end = memchr(start, '\n', held + used - start))) {
			guest_line(reader, start, end + 1 - start);
			start = end + 1;
		}
		used = held + used - start;
		memmove(held, start, used);
		if (used == sizeof(held)) {
			guest_line(reader, held, used);
			used = 0;
		}
	}
	return (int)got;
}

/*
 * The command line of `testbed/guest run`. @arguments has room for GUEST_ARGUMENTS; @texts holds
 * what had to be put together.
 */
static void guest_arguments(struct demo *demo, char **arguments, size_t *count,
			    char texts[4][2 * PATH_MAX])
{
	size_t n = 0;

	snprintf(texts[0], sizeof(texts[0]), "%s/testbed/guest", demo->paths.source);
	snprintf(texts[1], sizeof(texts[1]), "%s/cuda/client/libcuda.so.1:" GUEST_CLIENT,
		 demo->paths.build);
	demo_services_guest_socket(demo, texts[2], sizeof(texts[2]));
	arguments[n++] = texts[0];
	arguments[n++] = "run";
	arguments[n++] = "--kind";
	arguments[n++] = (char *)demo->kind;
	arguments[n++] = "--vhost-user-vsock";
	arguments[n++] = texts[2];
	arguments[n++] = "--env";
	arguments[n++] = "CAUSEWAY_CUDA_SERVER=vsock:2:" TEXT_OF(DEMO_VSOCK_PORT);
	arguments[n++] = "--file";
	arguments[n++] = texts[1];
	for (size_t i = 0; i < demo->file_count; i++) {
		arguments[n++] = "--file";
		arguments[n++] = (char *)demo->files[i];
	}
	for (size_t i = 0; i < demo->program_count; i++) {
		arguments[n++] = "--file";
		arguments[n++] = demo->programs[i].path;
	}
	*count = n;
}

int demo_run_in_guest(struct demo *demo, struct error *error)
{
	static char texts[4][2 * PATH_MAX];
	char script[4096], *arguments[GUEST_ARGUMENTS];
	const char *names[] = { "CAUSEWAY_BUILD", demo->paths.build, NULL };
	struct process_setup setup = { .arguments = arguments,
				       .names = names,
				       .output = PROCESS_OUTPUT_PIPE };
	struct guest_reader reader = { .demo = demo };
	struct process guest;
	size_t count, used = 0, missing = 0;
	int code, status;

	printf("In a virtual machine without a GPU (%s):\n", demo->kind);
	fflush(stdout);
	guest_arguments(demo, arguments, &count, texts);
	used = snprintf(script, sizeof(script), "for p in");
	for (size_t i = 0; i < demo->program_count; i++)
		used += snprintf(script + used, sizeof(script) - used, " %s",
				 demo->programs[i].name);
	snprintf(script + used, sizeof(script) - used,
		 "; do echo \"" MARK "begin $p\"; ./$p; echo \"" MARK "end $p $?\"; done");
	arguments[count++] = "--";
	arguments[count++] = "sh";
	arguments[count++] = "-c";
	arguments[count++] = script;
	arguments[count] = NULL;
	code = process_start(&guest, &setup, error);
	if (code < 0)
		return code;
	code = guest_read(&reader, &guest);
	if (code == 0 && process_sleep(&guest, STOP_GRACE_MS) < 0)
		code = -EINTR;
	status = process_stop(&guest, STOP_GRACE_MS);
	if (code == -ETIMEDOUT)
		return error_set(error, code, "the virtual machine did not end within %d s",
				 GUEST_LIMIT_MS / 1000);
	if (code < 0)
		return error_set(error, code, "reading from the virtual machine: %s",
				 strerror(-code));
	for (size_t i = 0; i < demo->program_count; i++)
		missing += !demo->programs[i].from_guest.ended;
	if (missing)
		return error_set(error, -EIO,
				 "the virtual machine ended (status %d) with %zu programs not run",
				 status, missing);
	return 0;
}

/* One run of the user's program with everything it prints shown; its exit status, or -errno. */
static int user_run(char *const *arguments, const char *const *names, double *milliseconds,
		    struct error *error)
{
	struct process_setup setup = { .arguments = arguments,
				       .names = names,
				       .output = PROCESS_OUTPUT_SHARED,
				       .foreground = true };
	double start_ms = process_now_ms();
	struct process process;
	int code = process_start(&process, &setup, error);

	if (code == 0)
		code = process_sleep(&process, -1);
	*milliseconds = process_now_ms() - start_ms;
	if (code == 1)
		return process_stop(&process, 0);
	process_stop(&process, STOP_GRACE_MS);
	return code;
}

int demo_run_user(struct demo *demo, int *status, struct error *error)
{
	static char texts[4][2 * PATH_MAX];
	const char *native_names[] = { demo->library_path[0] ? "LD_LIBRARY_PATH" : NULL,
				       demo->library_path, NULL };
	const char *guest_names[] = { "CAUSEWAY_BUILD", demo->paths.build, NULL };
	autofree char **arguments = NULL;
	double native_ms, guest_ms;
	size_t count, own = 0;
	int native_status, code;
	char *slash;

	while (demo->user_program[own])
		own++;
	arguments = calloc(GUEST_ARGUMENTS + own + 4, sizeof(*arguments));
	if (!arguments)
		return -ENOMEM;
	printf("-- natively, on the device directly\n");
	fflush(stdout);
	native_status = user_run(demo->user_program, native_names, &native_ms, error);
	if (native_status < 0)
		return native_status;
	printf("-- in a virtual machine without a GPU (%s)\n", demo->kind);
	fflush(stdout);
	guest_arguments(demo, arguments, &count, texts);
	arguments[count++] = "--stdin";
	arguments[count++] = "--file";
	arguments[count++] = demo->user_program[0];
	arguments[count++] = "--";
	slash = strrchr(demo->user_program[0], '/');
	/* By its path, since a name could be one of the guest's own programs. */
	snprintf(texts[3], sizeof(texts[3]), "./%s", slash ? slash + 1 : demo->user_program[0]);
	arguments[count++] = texts[3];
	memcpy(arguments + count, demo->user_program + 1, own * sizeof(*arguments));
	code = user_run(arguments, guest_names, &guest_ms, error);
	if (code < 0)
		return code;
	*status = code;
	printf("-- natively: exit status %d after %.2f s; in the virtual machine: exit status %d, "
	       "%.2f s with its boot\n",
	       native_status, native_ms / 1e3, *status, guest_ms / 1e3);
	return 0;
}
