/* SPDX-License-Identifier: Apache-2.0 */
/* Which daemons are asked, and when; see source.h. source_print.c makes text of what they say. */
#include "cli/source.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"
#include "lib/base/log.h"
#include "lib/control/client.h"

#define ANSWER_BYTES (16u << 20)

/* Control sockets of the daemons, below /run or the user's own folder. */
static const char *const source_names[] = { "switch.control", "cuda.sock.control", "scif.control",
					    "mic0/control" };

static uint64_t source_clock_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

void source_default_path(const char *name, char path[PATH_MAX])
{
	const char *runtime = geteuid() ? getenv("XDG_RUNTIME_DIR") : NULL;

	snprintf(path, PATH_MAX, "%s/causeway/%s", runtime ? runtime : "/run", name);
}

int sources_add(struct sources *sources, const char *path, struct error *error)
{
	struct source *source = &sources->list[sources->count];

	if (sources->count == SOURCES_MAX)
		return error_set(error, -E2BIG, "more than %d control sockets", SOURCES_MAX);
	if (snprintf(source->path, sizeof(source->path), "%s", path) >= (int)sizeof(source->path))
		return error_set(error, -ENAMETOOLONG, "%s: too long", path);
	sources->named = true;
	sources->count++;
	return 0;
}

void sources_add_default(struct sources *sources)
{
	if (sources->named)
		return;
	for (size_t i = 0; i < sizeof(source_names) / sizeof(*source_names); i++)
		source_default_path(source_names[i], sources->list[sources->count++].path);
}

unsigned int sources_ask(struct sources *sources)
{
	unsigned int answered = 0;

	for (unsigned int i = 0; i < sources->count; i++) {
		struct source *source = &sources->list[i];

		json_decref(source->previous);
		source->previous = source->report;
		source->previous_ns = source->report_ns;
		source->report_ns = source_clock_ns();
		if (control_ask(source->path, json_pack("{s:s}", "command", "status"),
				&source->report, &source->error) == 0)
			answered++;
	}
	return answered;
}

void sources_free(struct sources *sources)
{
	for (unsigned int i = 0; i < sources->count; i++) {
		json_decref(sources->list[i].report);
		json_decref(sources->list[i].previous);
	}
}

/* answer_print - a report as tables; 0 or -errno */
static int answer_print(json_t *answer)
{
	struct source source = { .report = answer };
	struct buffer text;
	int status;

	buffer_init(&text, ANSWER_BYTES);
	status = source_print(&source, false, -1, &text);
	if (status == 0)
		printf("%.*s", (int)text.used, (const char *)text.data);
	buffer_free(&text);
	return status;
}

int source_request(const char *control, const char *name, json_t *request, bool print,
		   const struct error *wrong)
{
	struct error error = { 0 };
	json_t *answer = NULL;
	char path[PATH_MAX];
	int status;

	if (!request) {
		log_error("%s", wrong->text);
		return CLI_USAGE_STATUS;
	}
	source_default_path(name, path);
	status = control_ask(control ? control : path, request, &answer, &error);
	if (status == 0 && print)
		status = answer_print(answer);
	if (status < 0)
		log_error("%s", error.code ? error.text : strerror(-status));
	json_decref(answer);
	return status < 0 ? 1 : 0;
}
