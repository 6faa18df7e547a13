/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A worker for tests of causeway-cudad, with the command line of causeway-cuda-worker and no CUDA:
 * it adopts the connection and obeys one-letter commands.
 *
 *	e byte		answers with that byte
 *	i		answers with 256 bytes: its arguments, separated by blanks, zeros behind
 *	x byte		exits with that status
 *	k byte		kills itself with that signal
 *	h		hangs: no longer looks at the connection
 *	f		answers with 64 bytes: how many descriptors above 2 are open, and which
 */
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/link/link.h"

static void answer(struct link *link, const void *data, size_t bytes)
{
	if (link_write(link, data, bytes) < 0 || link_flush(link) < 0)
		exit(0);
}

static unsigned char next_byte(struct link *link)
{
	unsigned char byte;

	if (link_read(link, &byte, 1) < 0)
		exit(0);
	return byte;
}

/* Asks /proc, since descriptors that should not be there could be anything. */
static void answer_descriptors(struct link *link)
{
	unsigned char list[64] = { 0 };
	DIR *folder = opendir("/proc/self/fd");
	struct dirent *entry;

	while ((entry = readdir(folder)) && list[0] < sizeof(list) - 1) {
		int fd = atoi(entry->d_name);

		if (fd > 2 && fd != dirfd(folder))
			list[1 + list[0]++] = fd;
	}
	closedir(folder);
	answer(link, list, sizeof(list));
}

static void obey(struct link *link, char *const *arguments)
{
	unsigned char byte;
	char text[256];

	switch (next_byte(link)) {
	case 'e':
		byte = next_byte(link);
		answer(link, &byte, 1);
		break;
	case 'i':
		memset(text, 0, sizeof(text));
		for (int i = 1; arguments[i]; i++) {
			strncat(text, arguments[i], sizeof(text) - strlen(text) - 2);
			strcat(text, " ");
		}
		answer(link, text, sizeof(text));
		break;
	case 'x':
		exit(next_byte(link));
	case 'k':
		kill(getpid(), next_byte(link));
		break;
	case 'h':
		for (;;)
			pause();
	case 'f':
		answer_descriptors(link);
		break;
	}
}

int main(int argc, char **argv)
{
	struct link_options options = link_options_default;
	struct error error = { 0 };
	char token[65] = "";
	struct link *link;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--token-fd") == 0) {
			if (read(4, token, sizeof(token) - 1) <= 0)
				return 2;
			close(4);
			options.token = token;
		}
	}
	if (link_adopt(3, &options, &link, &error) < 0) {
		fprintf(stderr, "test worker: %s\n", error.text);
		return 0;
	}
	for (;;)
		obey(link, argv);
}
