/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The daemons of the demo: causeway-cudad with the chosen driver, and causeway-switch with one
 * guest. Configuration, sockets and logs lie in one temporary folder that goes with them.
 */
#include "cli/demo.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/io.h"

#define READY_MS      10000
#define READY_STEP_MS 10
#define STOP_GRACE_MS 3000
#define LOG_LINES     10

static void path_in(const struct demo *demo, const char *name, char *path, size_t bytes)
{
	snprintf(path, bytes, "%s/%s", demo->folder, name);
}

void demo_services_guest_socket(const struct demo *demo, char *path, size_t bytes)
{
	path_in(demo, "guest.sock", path, bytes);
}

/* A daemon is ready when its socket file is there; its log says why, where that never happens. */
static int wait_ready(struct process *daemon, const char *socket_path, struct error *error)
{
	double deadline_ms = process_now_ms() + READY_MS;

	while (access(socket_path, F_OK) < 0) {
		int code = process_sleep(daemon, READY_STEP_MS);

		if (code < 0)
			return code;
		if (code)
			return error_set(error, -ECHILD, "%s ended at its start", daemon->name);
		if (process_now_ms() > deadline_ms)
			return error_set(error, -ETIMEDOUT, "%s is not ready after %d s",
					 daemon->name, READY_MS / 1000);
	}
	return 0;
}

static int daemon_start(struct demo *demo, struct process *daemon, char *const *arguments,
			const char *log, const char *ready_socket, struct error *error)
{
	char log_path[PATH_MAX], socket_path[PATH_MAX];
	struct process_setup setup = { .arguments = arguments,
				       .output = PROCESS_OUTPUT_FILE,
				       .file = log_path };
	int code;

	path_in(demo, log, log_path, sizeof(log_path));
	path_in(demo, ready_socket, socket_path, sizeof(socket_path));
	code = process_start(daemon, &setup, error);
	if (code < 0)
		return code;
	daemon->name = log;
	return wait_ready(daemon, socket_path, error);
}

static int cudad_start(struct demo *demo, struct error *error)
{
	char program[PATH_MAX], config[PATH_MAX];
	char *arguments[] = { program, "--config", config, NULL };
	FILE *file;

	snprintf(program, sizeof(program), "%s/cuda/server/causeway-cudad", demo->paths.build);
	path_in(demo, "cudad.conf", config, sizeof(config));
	file = fopen(config, "we");
	if (!file)
		return error_set(error, -errno, "cannot write %s: %s", config, strerror(errno));
	fprintf(file,
		"cuda = {\n"
		"\tsocket = \"%s/cuda.sock\";\n"
		"\tswitch_socket = \"%s/switch.sock\";\n"
		"\tdriver = \"%s\";\n"
		"};\n",
		demo->folder, demo->folder, demo->driver_path);
	if (fclose(file) != 0)
		return error_set(error, -errno, "cannot write %s: %s", config, strerror(errno));
	return daemon_start(demo, &demo->cudad, arguments, "causeway-cudad", "switch.sock", error);
}

static int switch_start(struct demo *demo, struct error *error)
{
	char program[PATH_MAX], vm[PATH_MAX], service[PATH_MAX];
	char *arguments[] = { program, "--vm", vm, "--service", service, NULL };

	snprintf(program, sizeof(program), "%s/vsock/switch/causeway-switch", demo->paths.build);
	snprintf(vm, sizeof(vm), "demo,cid=%d,socket=%s/guest.sock", DEMO_GUEST_CID, demo->folder);
	snprintf(service, sizeof(service), "%d=%s/switch.sock,identity", DEMO_VSOCK_PORT,
		 demo->folder);
	return daemon_start(demo, &demo->vsock_switch, arguments, "causeway-switch", "guest.sock",
			    error);
}

int demo_services_start(struct demo *demo, struct error *error)
{
	int code;

	/* Not below $TMPDIR: the path of a Unix socket may have 107 bytes only. */
	snprintf(demo->folder, sizeof(demo->folder), "/tmp/causeway-demo.XXXXXX");
	if (!mkdtemp(demo->folder)) {
		demo->folder[0] = 0;
		return error_set(error, -errno, "cannot make a folder in /tmp: %s",
				 strerror(errno));
	}
	code = cudad_start(demo, error);
	return code < 0 ? code : switch_start(demo, error);
}

static int remove_entry(const char *path, const struct stat *status, int kind, struct FTW *where)
{
	(void)status;
	(void)kind;
	(void)where;
	remove(path);
	return 0;
}

void demo_services_stop(struct demo *demo)
{
	process_stop(&demo->vsock_switch, STOP_GRACE_MS);
	process_stop(&demo->cudad, STOP_GRACE_MS);
	if (demo->folder[0])
		nftw(demo->folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
	demo->folder[0] = 0;
}

/* The last lines of one file, each behind a margin. */
static void show_tail(const char *path, const char *name)
{
	char lines[LOG_LINES][256];
	size_t count = 0;
	FILE *file = fopen(path, "re");

	if (!file)
		return;
	while (fgets(lines[count % LOG_LINES], sizeof(*lines), file))
		count++;
	fclose(file);
	if (count)
		fprintf(stderr, "The log of %s ends with:\n", name);
	for (size_t i = count > LOG_LINES ? count - LOG_LINES : 0; i < count; i++) {
		char *line = lines[i % LOG_LINES];

		fprintf(stderr, "  %.*s\n", (int)strcspn(line, "\n"), line);
	}
}

void demo_services_explain(const struct demo *demo)
{
	static const char *const logs[] = { "causeway-cudad", "causeway-switch" };
	char path[PATH_MAX];

	if (!demo->folder[0])
		return;
	for (size_t i = 0; i < sizeof(logs) / sizeof(*logs); i++) {
		path_in(demo, logs[i], path, sizeof(path));
		show_tail(path, logs[i]);
	}
}
