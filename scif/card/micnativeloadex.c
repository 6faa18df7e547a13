/* SPDX-License-Identifier: Apache-2.0 */
/*
 * micnativeloadex: runs a program of this machine on a card, as Intel's tool of that name: it sends
 * the program and the libraries that it needs, carries its input and output, and ends with its
 * status.
 *
 *	1. loader_find           the libraries that the program needs, along SINK_LD_LIBRARY_PATH
 *	2. client.c:card_need    which of those that were not found the card has not either
 *	3. client.c:card_start   files, arguments, environment
 *	4. loader_follow         output here; input and signals by threads of their own
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/clean.h"
#include "lib/base/io.h"
#include "scif/card/client.h"
#include "scif/card/binary.h"

#define LOADER_FILE_MAX	  (1u << 30)
#define LOADER_TIMED_OUT  124
#define LOADER_PATIENCE_S 2 /* after a signal, before the remote program is killed */
#define LOADER_FILES_MAX  32
#define LOADER_NEEDED_MAX 128

struct library {
	char name[CARD_NAME_MAX + 1];
	char *path; /* NULL: not found here */
};

struct loader {
	const char *program;
	char full_path[PATH_MAX];
	unsigned int card;
	char *arguments[CARD_STRINGS_MAX + 2], *variables[CARD_STRINGS_MAX + 1];
	unsigned int argument_count, variable_count;
	unsigned int timeout_s;
	bool list, verbose, proxy, network;
	const char *files[LOADER_FILES_MAX]; /* that go along */
	unsigned int file_count;
	struct library libraries[CARD_FILES_MAX];
	unsigned int library_count;
	struct card_connection connection;
	_Atomic bool timed_out;
};

static const char usage[] =
	"\nUsage:\n micnativeloadex [ -h | -V ] AppName -l -t timeout -p -v -d coprocessor "
	"-a \"args\" -e \"environment\"\n"
	"  -a \"args\" An optional string of command line arguments to pass to\n"
	"            the remote app.\n"
	"  -d The (zero based) index of the coprocessor to run the app on.\n"
	"  -e \"environment\" An optional environment string to pass to the remote app.\n"
	"      Multiple environment variable may be specified using spaces as separators:\n"
	"        -e \"LD_LIBRARY_PATH=/lib64/ DEBUG=1\"\n"
	"  -h Print this help message\n"
	"  -l Do not execute the binary on the coprocessor. Instead, list the shared library\n"
	"     dependency information.\n"
	"  -p Disable console proxy.\n"
	"  -t Time to wait for the remote app to finish (in seconds). After the timeout\n"
	"     is reached the remote app will be terminated.\n"
	"  -v Enable verbose mode. Note that verbose output will be displayed if the remote app\n"
	"     terminates abnormally.\n"
	"  -V Show version and build information\n\n"
	"  --file PATH A file that goes along into the remote app's working folder; many times.\n"
	"  --network The remote app joins the card's network.\n\n"
	"Libraries are looked for along the environment variable SINK_LD_LIBRARY_PATH.\n";

/* Splits at blanks, which a backslash or quotes protect; false beyond @room. */
static bool loader_split(char *text, char **words, unsigned int *count, unsigned int room)
{
	char *from = text, *to = text, quote = 0;
	bool inside = false;

	for (; *from; from++) {
		char c = *from;

		if (!quote && (c == ' ' || c == '\t' || c == '\n')) {
			if (inside)
				*to++ = 0;
			inside = false;
			continue;
		}
		if (!inside) {
			if (*count == room)
				return false;
			words[(*count)++] = to;
			inside = true;
		}
		if (quote ? c == quote : c == '"' || c == '\'') {
			quote = quote ? 0 : c;
			continue;
		}
		if (c == '\\' && from[1] && quote != '\'')
			c = *++from;
		*to++ = c;
	}
	*to = 0;
	return true;
}

/* A whole file, mapped: what is not looked at is not read. NULL with a sentence. */
static void *loader_map(const char *path, size_t *bytes, struct error *error)
{
	autoclose int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat about;
	void *data;

	if (fd < 0 || fstat(fd, &about) < 0) {
		error_set(error, -errno, "%s: %s", path, strerror(errno));
		return NULL;
	}
	if (!S_ISREG(about.st_mode) || about.st_size == 0 || about.st_size > LOADER_FILE_MAX) {
		error_set(error, -ENOEXEC, "%s: expected a file of 1 to %u bytes", path,
			  LOADER_FILE_MAX);
		return NULL;
	}
	*bytes = (size_t)about.st_size;
	data = mmap(NULL, *bytes, PROT_READ, MAP_PRIVATE, fd, 0);
	if (data == MAP_FAILED) {
		error_set(error, -errno, "%s: %s", path, strerror(errno));
		return NULL;
	}
	return data;
}

/* Where the library is along SINK_LD_LIBRARY_PATH; NULL when it is not there. */
static char *loader_locate(const char *name)
{
	const char *folder = getenv("SINK_LD_LIBRARY_PATH");

	while (folder && *folder) {
		size_t length = strcspn(folder, ":");
		char *path = NULL;

		if (length && asprintf(&path, "%.*s/%s", (int)length, folder, name) > 0 &&
		    access(path, R_OK) == 0)
			return path;
		free(path);
		folder += length + (folder[length] == ':');
	}
	return NULL;
}

/* Adds a library unless it is in the list; false when there is no room, or its name is none. */
static bool loader_add(struct loader *loader, const char *name)
{
	struct library *library = &loader->libraries[loader->library_count];

	for (unsigned int i = 0; i < loader->library_count; i++) {
		if (strcmp(loader->libraries[i].name, name) == 0)
			return true;
	}
	if (loader->library_count == CARD_FILES_MAX || strlen(name) > CARD_NAME_MAX)
		return false;
	strcpy(library->name, name);
	library->path = loader_locate(name);
	loader->library_count++;
	return true;
}

/* Adds what the file at @path needs. */
static int loader_add_needed(struct loader *loader, const char *path, bool program,
			     struct error *error)
{
	const char *names[LOADER_NEEDED_MAX], *runpath;
	size_t bytes;
	void *data = loader_map(path, &bytes, error);
	int count, status = 0;

	if (!data)
		return error->code;
	if (program && elf_check_program(data, bytes, error) < 0)
		status = error_prefix(error, "%s", path);
	count = status < 0 ? 0 : elf_needed(data, bytes, names, LOADER_NEEDED_MAX, &runpath);
	if (count < 0)
		status = error_set(error, count, "%s: its list of libraries is broken", path);
	for (int i = 0; i < count && status == 0; i++) {
		if (!loader_add(loader, names[i]))
			status = error_set(error, -E2BIG, "%s needs too many libraries", path);
	}
	munmap(data, bytes);
	return status;
}

/* The program's libraries, theirs, and so on. */
static int loader_find(struct loader *loader, struct error *error)
{
	int status;

	if (!realpath(loader->program, loader->full_path))
		return error_set(error, -errno, "%s: %s", loader->program, strerror(errno));
	status = loader_add_needed(loader, loader->full_path, true, error);
	for (unsigned int i = 0; status == 0 && i < loader->file_count; i++)
		status = loader_add_needed(loader, loader->files[i], false, error);
	for (unsigned int i = 0; status == 0 && i < loader->library_count; i++) {
		if (loader->libraries[i].path)
			status = loader_add_needed(loader, loader->libraries[i].path, false, error);
	}
	return status;
}

static void loader_list(const struct loader *loader)
{
	const char *folders = getenv("SINK_LD_LIBRARY_PATH");

	printf("\nDependency information for %s\n\n\tFull path was resolved as\n\t%s\n\n"
	       "\tBinary was built for Intel(R) 64 architecture\n\n"
	       "\tSINK_LD_LIBRARY_PATH = %s\n\n\tDependencies Found:\n",
	       loader->program, loader->full_path, folders ? folders : "");
	for (int found = 1; found >= 0; found--) {
		unsigned int count = 0;

		if (!found)
			printf("\n\tDependencies Not Found Locally (but may exist already on the "
			       "coprocessor):\n");
		for (unsigned int i = 0; i < loader->library_count; i++) {
			const struct library *library = &loader->libraries[i];

			if ((library->path != NULL) != found)
				continue;
			printf("\t\t%s\n", found ? library->path : library->name);
			count++;
		}
		if (!count)
			printf("\t\t(none)\n");
	}
}

/* Sends what the card has not; -ENOENT for what nobody has. */
static int loader_send(struct loader *loader, struct error *error)
{
	const char *names[CARD_FILES_MAX];
	char *base = strrchr(loader->program, '/') ? strrchr(loader->program, '/') + 1
						   : (char *)loader->program;
	int status = 0;

	for (unsigned int i = 0; i < loader->library_count; i++)
		names[i] = loader->libraries[i].name;
	if (loader->library_count)
		status = card_need(&loader->connection, names, loader->library_count, error);
	for (unsigned int i = 0; i < loader->library_count && status == 0; i++) {
		const struct library *library = &loader->libraries[i];

		if (!names[i])
			continue;
		if (!library->path)
			return error_set(error, -ENOENT,
					 "%s needs %s, which is neither along SINK_LD_LIBRARY_PATH "
					 "nor on the card",
					 loader->program, library->name);
		if (loader->verbose)
			fprintf(stderr, "Sending %s\n", library->path);
		status = card_send_file(&loader->connection, CARD_FILE_LIBRARY, library->path,
					library->name, error);
	}
	for (unsigned int i = 0; i < loader->file_count && status == 0; i++) {
		const char *end = strrchr(loader->files[i], '/');

		status = card_send_file(&loader->connection, CARD_FILE_DATA, loader->files[i],
					end ? end + 1 : loader->files[i], error);
	}
	if (status == 0)
		status = card_send_file(&loader->connection, CARD_FILE_PROGRAM, loader->full_path,
					base, error);
	loader->arguments[0] = base;
	return status;
}

static void *loader_carry_input(void *context)
{
	struct loader *loader = context;
	char bytes[8192];
	ssize_t got;

	while ((got = read(STDIN_FILENO, bytes, sizeof(bytes))) > 0 ||
	       (got < 0 && errno == EINTR)) {
		if (got > 0 && card_send_input(&loader->connection, bytes, (size_t)got) < 0)
			return NULL;
	}
	card_end_input(&loader->connection);
	return NULL;
}

/* Signals for the remote program: the first is handed on, what comes LOADER_PATIENCE_S later, or a
 * second one, ends it. So does the time limit. */
static void *loader_watch(void *context)
{
	struct loader *loader = context;
	struct timespec limit = { loader->timeout_s, 0 };
	bool asked = false;
	sigset_t signals;

	sigemptyset(&signals);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGHUP);
	for (;;) {
		int number = limit.tv_sec ? sigtimedwait(&signals, NULL, &limit)
					  : sigwaitinfo(&signals, NULL);

		if (number < 0 && errno == EINTR)
			continue;
		if (number < 0 && !asked)
			loader->timed_out = true;
		card_signal(&loader->connection, number < 0 || asked ? SIGKILL : number);
		asked = true;
		limit.tv_sec = LOADER_PATIENCE_S;
	}
	return NULL;
}

static void loader_say_waiting(uint64_t place)
{
	fprintf(stderr, "The card is busy; %llu before this one.\n", (unsigned long long)place);
}

/* Until the remote program has ended; its status. */
static int loader_follow(struct loader *loader, struct error *error)
{
	char room[CARD_PAYLOAD_MAX + 1];
	struct card_event event;
	int status;

	do {
		status = card_next(&loader->connection, &event, room, error);
		if (status < 0)
			return status;
		if (loader->proxy && event.type == CARD_OUTPUT)
			status = io_write_full(STDOUT_FILENO, event.data, event.bytes);
		else if (loader->proxy && event.type == CARD_ERRORS)
			status = io_write_full(STDERR_FILENO, event.data, event.bytes);
		if (status < 0)
			return error_set(error, status, "cannot write its output: %s",
					 strerror(-status));
	} while (event.type != CARD_EXITED);
	if (loader->timed_out)
		fprintf(stderr,
			"The remote process did not end within %u seconds and was "
			"terminated.\n",
			loader->timeout_s);
	if (loader->verbose || event.exited.signal)
		fprintf(stderr, "Remote process returned: %u\nExit reason: %s%s\n",
			event.exited.status, event.exited.signal ? "SIGNAL - " : "SHUTDOWN OK",
			event.exited.signal ? strsignal((int)event.exited.signal) : "");
	if (loader->verbose)
		fprintf(stderr, "%.3f s, of which %.3f s of cores; at most %llu KiB\n",
			(double)event.exited.wall_us / 1e6,
			(double)(event.exited.user_us + event.exited.system_us) / 1e6,
			(unsigned long long)event.exited.memory_peak_bytes >> 10);
	if (loader->timed_out)
		return LOADER_TIMED_OUT;
	return (int)(event.exited.signal ? 128 + event.exited.signal : event.exited.status);
}

/* The exit status of the remote program, or -errno with a sentence. */
static int loader_run(struct loader *loader, struct error *error)
{
	const struct card_hello hello = { .mode = CARD_MODE_NATIVE,
					  .flags = loader->network ? CARD_FLAG_NETWORK : 0 };
	sigset_t signals;
	pthread_t thread;
	int status = card_connect(&loader->connection, (uint16_t)(loader->card + 1), &hello, error);

	if (status < 0)
		return status;
	status = loader_send(loader, error);
	if (status == 0)
		status = card_start(&loader->connection, loader->arguments, loader->variables,
				    loader_say_waiting, error);
	if (status == 0) {
		/* From now on signals are the remote program's. */
		sigfillset(&signals);
		pthread_sigmask(SIG_BLOCK, &signals, NULL);
		if (pthread_create(&thread, NULL, loader_watch, loader) != 0 ||
		    (loader->proxy &&
		     pthread_create(&thread, NULL, loader_carry_input, loader) != 0))
			status = error_set(error, -EAGAIN, "no threads");
		if (!loader->proxy)
			card_end_input(&loader->connection);
	}
	return status < 0 ? status : loader_follow(loader, error);
}

static void loader_usage(void)
{
	fputs(usage, stderr);
	exit(1);
}

/* A number of at most 6 digits, or the program ends with a sentence. */
static unsigned int loader_number(char option, const char *text)
{
	char *end;
	unsigned long number = strtoul(text, &end, 10);

	if (*text < '0' || *text > '9' || *end || number > 999999) {
		fprintf(stderr, "micnativeloadex: -%c %s: expected a number\n", option, text);
		loader_usage();
	}
	return (unsigned int)number;
}

static void loader_options(struct loader *loader, int argc, char **argv)
{
	static const struct option longer[] = { { "file", required_argument, NULL, 'F' },
						{ "network", no_argument, NULL, 'N' },
						{ NULL, 0, NULL, 0 } };
	bool sound = true;
	int option;

	loader->proxy = true;
	loader->argument_count = 1;
	while ((option = getopt_long(argc, argv, "a:d:e:hlpt:vV", longer, NULL)) != -1) {
		switch (option) {
		case 'a':
			sound = loader_split(optarg, loader->arguments, &loader->argument_count,
					     CARD_STRINGS_MAX);
			break;
		case 'e':
			sound = loader_split(optarg, loader->variables, &loader->variable_count,
					     CARD_STRINGS_MAX);
			break;
		case 'd':
			loader->card = loader_number('d', optarg);
			break;
		case 't':
			loader->timeout_s = loader_number('t', optarg);
			break;
		case 'F':
			sound = loader->file_count < LOADER_FILES_MAX;
			if (sound)
				loader->files[loader->file_count++] = optarg;
			break;
		case 'N':
			loader->network = true;
			break;
		case 'l':
			loader->list = true;
			break;
		case 'p':
			loader->proxy = false;
			break;
		case 'v':
			loader->verbose = true;
			break;
		case 'V':
			printf("micnativeloadex %s\n", CAUSEWAY_VERSION);
			exit(0);
		case 'h':
			fputs(usage, stdout);
			exit(0);
		default:
			loader_usage();
		}
		if (!sound) {
			fprintf(stderr, "micnativeloadex: -%c: more than %u words\n", option,
				CARD_STRINGS_MAX);
			exit(1);
		}
	}
	for (unsigned int i = 0; i < loader->variable_count; i++) {
		if (!strchr(loader->variables[i], '=')) {
			fprintf(stderr, "micnativeloadex: -e: '%s': expected NAME=VALUE\n",
				loader->variables[i]);
			exit(1);
		}
	}
	if (optind != argc - 1) {
		fprintf(stderr, "micnativeloadex: expected one program\n");
		loader_usage();
	}
	loader->program = argv[optind];
}

int main(int argc, char **argv)
{
	static struct loader loader;
	struct error error = { 0 };
	int status;

	loader_options(&loader, argc, argv);
	status = loader_find(&loader, &error);
	if (status == 0 && loader.list) {
		loader_list(&loader);
		return 0;
	}
	if (status == 0)
		status = loader_run(&loader, &error);
	if (status < 0) {
		fprintf(stderr, "micnativeloadex: %s\n", error.text);
		return 1;
	}
	return status;
}
