/* SPDX-License-Identifier: Apache-2.0 */
/*
 * causeway top: the same reports as `causeway status`, again and again, with counters as rates.
 *
 * On a terminal it fills the screen (ncurses) and takes keys: tables of a causeway-cudad
 * (top_view.c), or the text of all daemons. With --plain, or where standard output is no terminal
 * on which the cursor can be placed, it writes one block of text after another.
 */
#include <argp.h>
#include <curses.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <term.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/source.h"
#include "cli/top_view.h"
#include "lib/base/log.h"

#define TOP_TEXT_BYTES	 (64u << 20)
#define TOP_DELAY_MAX_S	 3600.0
#define TOP_SORT_MAX	 24
#define TOP_HELP	 "q quit  s sort  r reverse  d daemon  c columns  space pause  up, down scroll"
#define TOP_HELP_COLUMNS "up, down choose  space show or hide  c done  q quit"

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
	{ "plain", 'b', NULL, 0, "write text, one block a look, instead of filling the screen", 0 },
	{ "batch", 0, NULL, OPTION_ALIAS, NULL, 0 },
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

/* The screen, and what keys changed about it. */
struct top_screen {
	struct top_options *chosen;
	struct buffer text;
	struct view view;
	unsigned int daemon;	    /* which source is shown; those behind the last: all, as text */
	unsigned int cursor;	    /* the column that the chooser stands at */
	int skip, line_count, sort; /* sort: of the text */
	bool paused, choosing;
};

/* screen_source - the one that is shown as tables, or NULL: all are shown as text */
static const struct source *screen_source(const struct top_screen *screen)
{
	const struct sources *sources = &screen->chosen->sources;
	const struct source *source = &sources->list[screen->daemon];

	return screen->daemon < sources->count && source->report && view_fits(source) ? source
										      : NULL;
}

/* screen_next - the next daemon that can be shown alone, then all of them */
static void screen_next(struct top_screen *screen)
{
	const unsigned int count = screen->chosen->sources.count;

	screen->skip = 0;
	for (unsigned int i = 0; i <= count; i++) {
		screen->daemon = (screen->daemon + 1) % (count + 1);
		if (screen->daemon == count || screen_source(screen))
			return;
	}
}

/* screen_compose - what is to be seen, as lines whose first byte says how they look */
static void screen_compose(struct top_screen *screen)
{
	const struct source *source = screen_source(screen);
	struct buffer plain;
	char head[PATH_MAX + 32];

	screen->text.used = 0;
	if (source) {
		int bytes = snprintf(head, sizeof(head), "%c%s\n", VIEW_HEADING, source->path);

		buffer_append(&screen->text, head, (size_t)bytes);
		view_print(source, &screen->view, &screen->text);
		return;
	}
	buffer_init(&plain, TOP_TEXT_BYTES);
	top_compose(&screen->chosen->sources, screen->sort, &plain);
	for (size_t at = 0; at < plain.used;) {
		const char *line = (const char *)plain.data + at;
		const char *end = memchr(line, '\n', plain.used - at);
		size_t bytes = end ? (size_t)(end - line) + 1 : plain.used - at;

		buffer_append(&screen->text, " ", 1);
		buffer_append(&screen->text, line, bytes);
		at += bytes;
	}
	buffer_free(&plain);
}

/* screen_line - one line at the row, as wide as the screen is */
static void screen_line(int row, const char *line, int length)
{
	const chtype looks = *line == VIEW_HEADING  ? A_BOLD
			     : *line == VIEW_TITLES ? A_REVERSE
						    : A_NORMAL;

	attron(looks);
	mvaddnstr(row, 0, line + 1, length - 1 < COLS ? length - 1 : COLS);
	attroff(looks);
}

/* screen_choose - the list of columns, in place of what is below the first line */
static void screen_choose(const struct top_screen *screen)
{
	for (unsigned int i = 0; i < view_columns(); i++) {
		if (i == screen->cursor)
			attron(A_REVERSE);
		mvprintw((int)i + 1, 2, "[%c] %s", screen->view.hidden & 1u << i ? ' ' : 'x',
			 view_column(i));
		if (i == screen->cursor)
			attroff(A_REVERSE);
	}
}

/* screen_draw - the lines from .skip on, as many as the screen has */
static void screen_draw(struct top_screen *screen)
{
	const char *at = (const char *)screen->text.data, *end = at + screen->text.used;
	const char *help = screen->choosing ? TOP_HELP_COLUMNS : TOP_HELP;
	int line = 0;

	erase();
	if (screen->choosing) {
		screen_choose(screen);
	} else {
		for (; at < end; line++) {
			const char *stop = memchr(at, '\n', (size_t)(end - at));
			int length = (int)((stop ? stop : end) - at);

			if (line >= screen->skip && line - screen->skip < LINES - 1 && length)
				screen_line(line - screen->skip, at, length);
			at += length + 1;
		}
	}
	screen->line_count = line;
	attron(A_REVERSE);
	mvaddnstr(LINES - 1, 0, help, COLS);
	if (screen->paused)
		addstr("  PAUSED");
	attroff(A_REVERSE);
	refresh();
}

/* screen_sort - by the next column that is shown, in one direction or the other */
static void screen_sort(struct top_screen *screen, int step)
{
	unsigned int count = view_columns();

	if (!screen_source(screen)) {
		screen->sort = screen->sort + 1 < TOP_SORT_MAX ? screen->sort + 1 : -1;
		return;
	}
	for (unsigned int i = 0; i < count; i++) {
		screen->view.sort = (screen->view.sort + count + (unsigned int)step) % count;
		if (!(screen->view.hidden & 1u << screen->view.sort))
			return;
	}
}

static void screen_key_choosing(struct top_screen *screen, int key)
{
	if (key == KEY_UP && screen->cursor > 0)
		screen->cursor--;
	else if (key == KEY_DOWN && screen->cursor + 1 < view_columns())
		screen->cursor++;
	else if (key == ' ')
		screen->view.hidden ^= 1u << screen->cursor;
	else if (key == 'c' || key == '\n' || key == KEY_ENTER)
		screen->choosing = false;
}

/* screen_key - what one key does; false: the end */
static bool screen_key(struct top_screen *screen, int key)
{
	if (key == 'q')
		return false;
	if (screen->choosing) {
		screen_key_choosing(screen, key);
		return true;
	}
	if (key == 's' || key == 'S')
		screen_sort(screen, key == 's' ? 1 : -1);
	else if (key == 'r')
		screen->view.upwards = !screen->view.upwards;
	else if (key == 'd' || key == '\t')
		screen_next(screen);
	else if (key == 'c' && screen_source(screen))
		screen->choosing = true;
	else if (key == ' ')
		screen->paused = !screen->paused;
	else if (key == KEY_UP && screen->skip > 0)
		screen->skip--;
	else if (key == KEY_DOWN && screen->skip + 1 < screen->line_count)
		screen->skip++;
	return true;
}

/* screen_begin - a daemon that has tables, if there is one, ordered by who uses most */
static void screen_begin(struct top_screen *screen)
{
	screen->daemon = screen->chosen->sources.count;
	screen->sort = -1;
	screen_next(screen);
	for (unsigned int i = 0; i < view_columns(); i++)
		if (!strcmp(view_column(i), "share"))
			screen->view.sort = i;
}

static int top_screen(struct top_options *chosen)
{
	struct top_screen screen = { .chosen = chosen };
	struct timespec next, now;
	bool goes_on = true;
	long rounds = 0;

	buffer_init(&screen.text, TOP_TEXT_BYTES);
	initscr();
	cbreak();
	noecho();
	keypad(stdscr, TRUE);
	curs_set(0);
	clock_gettime(CLOCK_MONOTONIC, &next);
	while (goes_on) {
		long left_ms;

		clock_gettime(CLOCK_MONOTONIC, &now);
		left_ms =
			(next.tv_sec - now.tv_sec) * 1000 + (next.tv_nsec - now.tv_nsec) / 1000000;
		if (left_ms <= 0) {
			if (chosen->rounds && rounds == chosen->rounds)
				break;
			if (!screen.paused)
				sources_ask(&chosen->sources);
			if (rounds++ == 0)
				screen_begin(&screen);
			next = now;
			next.tv_sec += (time_t)chosen->delay_s;
			next.tv_nsec +=
				(long)((chosen->delay_s - (double)(time_t)chosen->delay_s) * 1e9);
			left_ms = (long)(chosen->delay_s * 1000);
		}
		screen_compose(&screen);
		screen_draw(&screen);
		timeout((int)left_ms);
		goes_on = screen_key(&screen, getch());
	}
	endwin();
	buffer_free(&screen.text);
	return 0;
}

/* top_can_draw - standard output is a terminal on which the cursor can be placed */
static bool top_can_draw(void)
{
	int error;
	char *place;

	if (!isatty(STDOUT_FILENO) || !isatty(STDIN_FILENO) ||
	    setupterm(NULL, STDOUT_FILENO, &error) != OK)
		return false;
	place = tigetstr("cup");
	return place && place != (char *)-1;
}

int cli_top(int argc, char **argv)
{
	static struct top_options chosen = { .delay_s = 1 };
	struct buffer text;
	int status;

	argp_parse(&argp, argc, argv, 0, NULL, &chosen);
	sources_add_default(&chosen.sources);
	buffer_init(&text, TOP_TEXT_BYTES);
	if (chosen.batch || !top_can_draw())
		status = top_batch(&chosen, &text);
	else
		status = top_screen(&chosen);
	buffer_free(&text);
	sources_free(&chosen.sources);
	return status;
}
