/* SPDX-License-Identifier: Apache-2.0 */
/*
 * causeway demo: CUDA programs in a virtual machine that has no GPU, compared with the same
 * programs on the device directly. This file holds the options and the order of the steps.
 */
#include "cli/demo.h"

#include <argp.h>
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/log.h"

#define DEVICE_PROBE_SECONDS 20

/* In the order in which they are shown. */
static const char *const cuda_programs[] = { "vectoradd", "matmul",	 "reduction", "histogram",
					     "nbody",	  "cooperative", "managed",   "threads",
					     "printf",	  "features",	 "ipc",	      "errors" };
static const char *const driver_programs[] = { "driver_vectoradd", "driver_matmul",
					       "driver_reduction" };

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

static const struct argp_option options[] = {
	{ "kind", 'k', "KIND", 0, "kind of virtual machine: qemu (default) or uml", 0 },
	{ "driver", 'd', "LIBRARY", 0,
	  "the CUDA driver library to use; \"softgpu\" for the software GPU (default: the host's "
	  "GPU where it has one, else softgpu)",
	  0 },
	{ "file", 'f', "PATH[:GUESTPATH]", 0,
	  "a further file or folder that your program needs in the VM (may be repeated)", 0 },
	{ "verbose", 'v', NULL, 0, "show what the programs print", 0 },
	{ 0 },
};

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
	struct demo *demo = state->input;

	switch (key) {
	case 'k':
		if (strcmp(argument, "qemu") && strcmp(argument, "uml"))
			argp_error(state, "there is no kind of virtual machine \"%s\"", argument);
		demo->kind = argument;
		return 0;
	case 'd':
		demo->driver = argument;
		return 0;
	case 'f':
		if (demo->file_count == DEMO_FILES_MAX)
			argp_error(state, "more than %d files", DEMO_FILES_MAX);
		demo->files[demo->file_count++] = argument;
		return 0;
	case 'v':
		demo->verbose = true;
		return 0;
	case ARGP_KEY_ARGS:
		demo->user_program = state->argv + state->next;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp argp = {
	.options = options,
	.parser = parse_option,
	.args_doc = "[-- PROGRAM [ARGUMENT...]]",
	.doc = "Run CUDA programs in a virtual machine that has no GPU, and natively.\v"
	       "Without PROGRAM, Causeway's own test programs run and a table compares them. With "
	       "PROGRAM, that one runs, its output is shown, and its exit status from the virtual "
	       "machine is returned; 125 says that the demo itself failed.",
};

/* Whether the host has a driver with a device; asked in a child, which alone loads the driver. */
static bool host_has_device(void)
{
	int status;
	pid_t child = fork();

	if (child == 0) {
		void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
		int (*init)(unsigned int) = library ? dlsym(library, "cuInit") : NULL;
		int (*device_count)(int *) = library ? dlsym(library, "cuDeviceGetCount") : NULL;
		int count = 0;

		alarm(DEVICE_PROBE_SECONDS);
		_exit(!init || !device_count || init(0) || device_count(&count) || count < 1);
	}
	if (child < 0)
		return false;
	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			return false;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* Let programs that run natively find the driver in the folder of demo->driver_path. */
static void set_library_path(struct demo *demo)
{
	const char *before = getenv("LD_LIBRARY_PATH");
	int folder = (int)(strrchr(demo->driver_path, '/') - demo->driver_path);

	snprintf(demo->library_path, sizeof(demo->library_path), "%.*s%s%s", folder,
		 demo->driver_path, before && *before ? ":" : "", before ? before : "");
}

static int choose_driver(struct demo *demo, struct error *error)
{
	if (!demo->driver)
		demo->driver = host_has_device() ? "libcuda.so.1" : "softgpu";
	demo->device_text = "this host's GPU";
	if (!strcmp(demo->driver, "softgpu")) {
		demo->device_text = "the software GPU (the host's cores stand in for one)";
		snprintf(demo->driver_path, sizeof(demo->driver_path),
			 "%s/cuda/softgpu/libcuda.so.1", demo->paths.build);
	} else if (!strchr(demo->driver, '/')) {
		snprintf(demo->driver_path, sizeof(demo->driver_path), "%s", demo->driver);
		return 0;
	} else if (!realpath(demo->driver, demo->driver_path)) {
		return error_set(error, -errno, "%s: %s", demo->driver, strerror(errno));
	}
	set_library_path(demo);
	return 0;
}

static bool program_add(struct demo *demo, const char *name)
{
	struct demo_program *program = &demo->programs[demo->program_count];

	snprintf(program->path, sizeof(program->path), "%s/tests/programs/%s", demo->paths.build,
		 name);
	if (access(program->path, X_OK) < 0)
		return false;
	program->name = name;
	buffer_init(&program->natively.output, PROCESS_OUTPUT_BYTES_MAX);
	buffer_init(&program->from_guest.output, PROCESS_OUTPUT_BYTES_MAX);
	demo->program_count++;
	return true;
}

/* demo_prepare - everything that is decided before anything is started */
static int demo_prepare(struct demo *demo, struct error *error)
{
	int code = cli_paths_find(&demo->paths, error);

	if (code < 0)
		return code;
	code = choose_driver(demo, error);
	if (code < 0 || demo->user_program)
		return code;
	for (size_t i = 0; i < COUNT(cuda_programs); i++)
		program_add(demo, cuda_programs[i]);
	/* Without nvcc there are none of those; the driver-API ones need only a C compiler. */
	if (!demo->program_count)
		for (size_t i = 0; i < COUNT(driver_programs); i++)
			program_add(demo, driver_programs[i]);
	if (!demo->program_count)
		return error_set(error, -ENOENT, "there are no programs in %s/tests/programs",
				 demo->paths.build);
	return 0;
}

static int demo_run_ours(struct demo *demo, int *status, struct error *error)
{
	int code = demo_run_natively(demo, error);
	size_t failed;

	if (code == 0)
		code = demo_run_in_guest(demo, error);
	if (code < 0)
		return code;
	failed = demo_table_print(demo);
	*status = failed ? 1 : 0;
	return 0;
}

int cli_demo(int argc, char **argv)
{
	static struct demo demo = { .kind = "qemu" };
	struct error error = { 0 };
	int status = 0, code, failed_status;

	argp_parse(&argp, argc, argv, 0, NULL, &demo);
	failed_status = demo.user_program ? 125 : 1;
	code = demo_prepare(&demo, &error);
	if (code == 0)
		code = process_open();
	if (code == 0) {
		printf("Device: %s\n", demo.device_text);
		fflush(stdout);
		code = demo_services_start(&demo, &error);
	}
	if (code == 0)
		code = demo.user_program ? demo_run_user(&demo, &status, &error)
					 : demo_run_ours(&demo, &status, &error);
	if (code < 0 && code != -EINTR) {
		log_error("%s", error.text[0] ? error.text : strerror(-code));
		demo_services_explain(&demo);
	}
	demo_services_stop(&demo);
	for (size_t i = 0; i < demo.program_count; i++) {
		buffer_free(&demo.programs[i].natively.output);
		buffer_free(&demo.programs[i].from_guest.output);
	}
	if (code == -EINTR) {
		log_info("interrupted; everything is cleaned up");
		return 130;
	}
	return code < 0 ? failed_status : status;
}
