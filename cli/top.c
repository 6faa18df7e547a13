/* SPDX-License-Identifier: Apache-2.0 */
/*
 * causeway top: the same reports as `causeway status`, again and again, with counters as rates.
 *
 * On a terminal it fills the screen (ncurses) and takes keys; with --batch, or where standard
 * output is no terminal, it writes one block of text after another.
 */
#include <argp.h>
#include <curses.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/source.h"
#include "lib/base/log.h"

#define TOP_TEXT_BYTES	(64u << 20)
#define TOP_DELAY_MAX_S 3600.0
#define TOP_SORT_MAX	24
#define TOP_HELP	"q quit   s sort by the next column   space pause   up, down scroll"

struct top_options {
	struct sources sources;
	double delay_s;
	long rounds; /* 0: until it is ended */
	bool batch;
};

static const struct argp_option options[] = {
	{ "socket", 's', "PATH", 0, "as for causeway status", 0 },
	{ "delay", 'd', "SECONDS", 0, "between two looks (default: 1)", 0 },
	{ "rounds", 'n', "N", 0, "end after N looks", 0 },
	{ "batch", 'b', NULL, 0, "write text, one block a look, instead of filling the screen", 0 },
	{ 0 },
};

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
	struct top_options *chosen = state->input;
	struct error error = { 0 };
	char *end = NULL;

	switch (key) {
	case 's':
		if (sources_add(&chosen->sources, argument, &error) < 0)
			argp_error(state, "%s", error.text);
		return 0;
	case 'd':
		chosen->delay_s = strtod(argument, &end);
		if (end == argument || *end ||
		    !(chosen->delay_s >= 0.1 && chosen->delay_s <= TOP_DELAY_MAX_S))
			argp_error(state, "--delay is '%s': expected 0.1 to %.0f", argument,
				   TOP_DELAY_MAX_S);
		return 0;
	case 'n':
		chosen->rounds = strtol(argument, &end, 10);
		if (end == argument || *end || chosen->rounds < 1)
			argp_error(state, "--rounds is '%s': expected 1 or more", argument);
		return 0;
	case 'b':
		chosen->batch = true;
		return 0;
	case ARGP_KEY_ARG:
		argp_error(state, "unexpected argument \"%s\"", argument);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp argp = {
	.options = options,
	.parser = parse_option,
	.doc = "Show what the daemons of this host do, as it changes.",
};

/* All reports as one text. */
static void top_compose(const struct sources *sources, int sort, struct buffer *text)
{
	bool first = true;

	text->used = 0;
	for (unsigned int i = 0; i < sources->count; i++) {
		const struct source *source = &sources->list[i];

		if (!source->report && !sources->named && source->error.code == -ENOENT)
			continue;
		if (!first)
			buffer_append(text, "\n", 1);
		source_print(source, true, sort, text);
		first = false;
	}
	if (first)
		buffer_append(text, "no daemon of Causeway runs here\n", 32);
}

static int top_batch(struct top_options *chosen, struct buffer *text)
{
	unsigned int answered = 0;

	for (long round = 0; !chosen->rounds || round < chosen->rounds; round++) {
		if (round)
			usleep((useconds_t)(chosen->delay_s * 1e6));
		answered = sources_ask(&chosen->sources);
		top_compose(&chosen->sources, -1, text);
		printf("%s%.*s", round ? "\n" : "", (int)text->used, (const char *)text->data);
		if (fflush(stdout) != 0)
			return 1;
	}
	return answered ? 0 : 1;
}

/* The lines of @text from @skip on, as many as the screen has; how many lines there are. */
static int top_draw(const struct buffer *text, int skip)
{
	const char *at = (const char *)text->data, *end = at + text->used;
	int line = 0;

	erase();
	for (; at < end; line++) {
		const char *stop = memchr(at, '\n', (size_t)(end - at));
		int length = (int)((stop ? stop : end) - at);

		if (line >= skip && line - skip < LINES - 1)
			mvaddnstr(line - skip, 0, at, length < COLS ? length : COLS);
		at += length + 1;
	}
	attron(A_REVERSE);
	mvaddnstr(LINES - 1, 0, TOP_HELP, COLS);
	attroff(A_REVERSE);
	refresh();
	return line;
}

static int top_screen(struct top_options *chosen, struct buffer *text)
{
	int skip = 0, sort = -1, lines = 0, key;
	bool paused = false;
	long rounds = 0;

	initscr();
	cbreak();
	noecho();
	keypad(stdscr, TRUE);
	curs_set(0);
	timeout((int)(chosen->delay_s * 1000));
	do {
		if (!paused) {
			sources_ask(&chosen->sources);
			rounds++;
		}
		do {
			top_compose(&chosen->sources, sort, text);
			lines = top_draw(text, skip);
			key = getch();
			if (key == 's')
				sort = sort + 1 < TOP_SORT_MAX ? sort + 1 : -1;
			else if (key == ' ')
				paused = !paused;
			else if (key == KEY_UP && skip > 0)
				skip--;
			else if (key == KEY_DOWN && skip + 1 < lines)
				skip++;
		} while (key != ERR && key != 'q');
	} while (key != 'q' && (!chosen->rounds || rounds < chosen->rounds));
	endwin();
	return 0;
}

int cli_top(int argc, char **argv)
{
	static struct top_options chosen = { .delay_s = 1 };
	struct buffer text;
	int status;

	argp_parse(&argp, argc, argv, 0, NULL, &chosen);
	sources_add_default(&chosen.sources);
	buffer_init(&text, TOP_TEXT_BYTES);
	if (chosen.batch || !isatty(STDOUT_FILENO))
		status = top_batch(&chosen, &text);
	else
		status = top_screen(&chosen, &text);
	buffer_free(&text);
	sources_free(&chosen.sources);
	return status;
}
