/* SPDX-License-Identifier: Apache-2.0 */
/* Creating processes: what goes to the card, in which order, and what may be wrong with it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "scif/coi/export.h"
#include "scif/coi/host/host.h"

/* What is asked for, as COIProcessCreateFromMemory has it. */
struct launch {
	const char *name; /* the file's own */
	const void *bytes;
	uint64_t count;
	char *arguments[CARD_STRINGS_MAX + 1];
	char *variables[CARD_STRINGS_MAX + 1];
	const char *path;
};

static const char *launch_base(const char *name)
{
	const char *slash = strrchr(name, '/');

	return slash ? slash + 1 : name;
}

static size_t launch_name_bytes(const char *variable)
{
	const char *equals = strchr(variable, '=');

	return equals ? (size_t)(equals - variable) : strlen(variable);
}

/* Adds a variable; one of the same name gives way. False where there is no room. */
static bool launch_variable(struct launch *launch, const char *variable)
{
	size_t bytes = launch_name_bytes(variable), i = 0;

	while (launch->variables[i] && (launch_name_bytes(launch->variables[i]) != bytes ||
					strncmp(launch->variables[i], variable, bytes) != 0))
		i++;
	if (i == CARD_STRINGS_MAX)
		return false;
	launch->variables[i] = (char *)variable;
	return true;
}

/* The caller's environment, but what tells this machine's loader and programs where things are. */
static bool launch_environment(struct launch *launch)
{
	static const char *const ours[] = {
		"LD_", "CAUSEWAY_", "SINK_", "PATH=", "HOME=", "TMPDIR="
	};

	for (char **variable = environ; *variable; variable++) {
		bool take = true;

		for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
			take = take && strncmp(*variable, ours[i], strlen(ours[i])) != 0;
		if (take && !launch_variable(launch, *variable))
			return false;
	}
	return true;
}

static COIRESULT launch_fill(struct launch *launch, int argc, const char **argv, bool inherit,
			     const char **additional)
{
	bool room = (unsigned int)argc + 1 < CARD_STRINGS_MAX;

	if (room) {
		launch->arguments[0] = (char *)launch->name;
		for (int i = 0; i < argc; i++)
			launch->arguments[i + 1] = (char *)argv[i];
	}
	room = room && (!inherit || launch_environment(launch));
	for (size_t i = 0; room && additional && additional[i]; i++)
		room = launch_variable(launch, additional[i]);
	return room ? COI_SUCCESS : COI_OUT_OF_RANGE;
}

/* Sends the program and what it needs. COI_MISSING_DEPENDENCY for what is neither here nor there.
 */
static COIRESULT launch_send(struct coiprocess *process, const struct launch *launch)
{
	struct image_list images = SLIST_HEAD_INITIALIZER(images);
	char *lacking[CARD_FILES_MAX];
	const char *names[CARD_FILES_MAX];
	size_t lacking_count = 0;
	struct image *image;
	struct error error;
	COIRESULT result = image_needs(launch->bytes, launch->count, launch->path, &images, lacking,
				       &lacking_count);
	int status = 0;

	for (size_t i = 0; i < lacking_count; i++)
		names[i] = lacking[i];
	if (result == COI_SUCCESS && lacking_count)
		status = card_need(&process->card, names, lacking_count, &error);
	for (size_t i = 0; i < lacking_count && result == COI_SUCCESS; i++) {
		if (names[i] && status == 0)
			result = COI_MISSING_DEPENDENCY;
	}
	if (result == COI_SUCCESS && status == 0)
		status = card_send_bytes(&process->card, CARD_FILE_PROGRAM, launch->bytes,
					 launch->count, launch->name, &error);
	SLIST_FOREACH(image, &images, link)
	{
		if (result == COI_SUCCESS && status == 0)
			status = card_send_bytes(&process->card, CARD_FILE_LIBRARY, image->bytes,
						 image->count, image->name, &error);
	}
	images_free(&images);
	for (size_t i = 0; i < lacking_count; i++)
		free(lacking[i]);
	return result == COI_SUCCESS ? result_of(status) : result;
}

/* From the card's word that the program runs to both connections. */
static COIRESULT launch_connect(struct coiprocess *process)
{
	struct coi_greeting greeting = { .role = COI_ROLE_CONTROL };
	COIRESULT result = process_port(process);
	int status;

	if (result != COI_SUCCESS)
		return result;
	status = process->control = process_connect(process, &greeting);
	greeting.role = COI_ROLE_DATA;
	if (status >= 0)
		status = process->data = process_connect(process, &greeting);
	return status < 0 ? result_of(status) : process_start(process);
}

static COIRESULT launch_run(struct coiprocess *process, const struct launch *launch)
{
	struct card_hello hello = { .mode = CARD_MODE_OFFLOAD };
	struct error error;
	COIRESULT result;
	int status = card_connect(&process->card, process->engine->node, &hello, &error);

	if (status < 0)
		return result_of(status);
	process->launched = true;
	result = launch_send(process, launch);
	if (result == COI_SUCCESS)
		result = result_of(card_start(&process->card, launch->arguments, launch->variables,
					      NULL, &error));
	return result == COI_SUCCESS ? launch_connect(process) : result;
}

static COIRESULT launch_check(COIENGINE engine, const char *name, const void *bytes, uint64_t count,
			      int argc, const char **argv, const COIPROCESS *out)
{
	if (!out || !name || !bytes)
		return COI_INVALID_POINTER;
	if (!engine_is(engine))
		return COI_INVALID_HANDLE;
	if (argc < 0 || strlen(name) >= COI_MAX_FILE_NAME_LENGTH || count == 0)
		return COI_OUT_OF_RANGE;
	if (!argc != !argv)
		return COI_ARGUMENT_MISMATCH;
	return image_check(bytes, count);
}

COIRESULT image_origin(const char *file, uint64_t offset, uint64_t count)
{
	struct stat about;

	if (!file)
		return offset ? COI_ARGUMENT_MISMATCH : COI_SUCCESS;
	if (stat(file, &about) < 0)
		return COI_DOES_NOT_EXIST;
	if (!S_ISREG(about.st_mode) || about.st_size == 0)
		return COI_INVALID_FILE;
	return message_range(offset, count, (uint64_t)about.st_size) ? COI_SUCCESS
								     : COI_OUT_OF_RANGE;
}

COI_EXPORT COIRESULT COIProcessCreateFromMemory(
	COIENGINE in_Engine, const char *in_pBinaryName, const void *in_pBinaryBuffer,
	uint64_t in_BinaryBufferLength, int in_Argc, const char **in_ppArgv, uint8_t in_DupEnv,
	const char **in_ppAdditionalEnv, uint8_t in_ProxyActive, const char *in_Reserved,
	uint64_t in_InitialBufferSpace, const char *in_LibrarySearchPath,
	const char *in_FileOfOrigin, uint64_t in_FileOfOriginOffset, COIPROCESS *out_pProcess)
{
	COIRESULT result = launch_check(in_Engine, in_pBinaryName, in_pBinaryBuffer,
					in_BinaryBufferLength, in_Argc, in_ppArgv, out_pProcess);
	struct coiprocess *process;
	struct launch *launch;

	(void)in_Reserved;
	(void)in_InitialBufferSpace; /* buffers get their memory when they are created */
	if (result == COI_SUCCESS)
		result =
			image_origin(in_FileOfOrigin, in_FileOfOriginOffset, in_BinaryBufferLength);
	if (result != COI_SUCCESS)
		return result;
	launch = calloc(1, sizeof(*launch));
	process = launch ? process_new(in_Engine, in_ProxyActive) : NULL;
	if (!process) {
		free(launch);
		return COI_OUT_OF_MEMORY;
	}
	launch->name = launch_base(in_pBinaryName);
	launch->bytes = in_pBinaryBuffer;
	launch->count = in_BinaryBufferLength;
	launch->path = in_LibrarySearchPath ? in_LibrarySearchPath : getenv("SINK_LD_LIBRARY_PATH");
	result = launch_fill(launch, in_Argc, in_ppArgv, in_DupEnv, in_ppAdditionalEnv);
	if (result == COI_SUCCESS)
		result = launch_run(process, launch);
	free(launch);
	if (result != COI_SUCCESS) {
		process_free(process);
		return result;
	}
	*out_pProcess = process;
	return COI_SUCCESS;
}

COI_EXPORT COIRESULT COIProcessCreateFromFile(COIENGINE in_Engine, const char *in_pBinaryName,
					      int in_Argc, const char **in_ppArgv,
					      uint8_t in_DupEnv, const char **in_ppAdditionalEnv,
					      uint8_t in_ProxyActive, const char *in_Reserved,
					      uint64_t in_InitialBufferSpace,
					      const char *in_LibrarySearchPath,
					      COIPROCESS *out_pProcess)
{
	struct image image;
	COIRESULT result;

	if (!in_pBinaryName)
		return COI_INVALID_POINTER;
	result = image_open(in_pBinaryName, &image);
	if (result != COI_SUCCESS)
		return result;
	result = COIProcessCreateFromMemory(in_Engine, in_pBinaryName, image.bytes, image.count,
					    in_Argc, in_ppArgv, in_DupEnv, in_ppAdditionalEnv,
					    in_ProxyActive, in_Reserved, in_InitialBufferSpace,
					    in_LibrarySearchPath, in_pBinaryName, 0, out_pProcess);
	image_close(&image);
	return result;
}
