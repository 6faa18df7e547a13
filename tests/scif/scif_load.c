/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Much of one thing, towards the card test process on node 1 (SCIF_CARD_NODE: another):
 *
 *	scif_load connect N        N connections one after another
 *	scif_load connections N    N at once, an echo over each; prints scifd's memory in KiB
 *	scif_load map N            scif_mmap and munmap of a window of the card, N times
 *	scif_load register N       scif_register and unregister, N times
 *	scif_load window BYTES     one window of that size, read and written at many places
 *	scif_load hold N           N windows; prints "holding", waits for a line, then says what a
 *	                           call answers
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "include/scif.h"
#include "tests/scif/scif_card.h"

#define PAGE  4096
#define BYTES (16 * PAGE)
#define BOTH  (SCIF_PROT_READ | SCIF_PROT_WRITE)

static void die(const char *what)
{
	printf("%s: %s\n", what, strerror(errno));
	exit(1);
}

static scif_epd_t dial(void)
{
	const char *node = getenv("SCIF_CARD_NODE");
	struct scif_portID to = { node ? (uint16_t)atoi(node) : 1, SCIF_CARD_PORT };
	scif_epd_t epd = scif_open();

	if (epd < 0)
		die("open");
	if (scif_connect(epd, &to) < 0)
		die("connect");
	return epd;
}

static uint64_t ask(scif_epd_t epd, uint32_t op, uint64_t offset, uint64_t bytes, uint64_t value)
{
	struct scif_card_command command = { op, 0, offset, bytes, value };
	struct scif_card_answer answer;

	if (scif_send(epd, &command, sizeof(command), SCIF_SEND_BLOCK) != (int)sizeof(command) ||
	    scif_recv(epd, &answer, sizeof(answer), SCIF_RECV_BLOCK) != (int)sizeof(answer))
		die("card");
	errno = answer.error;
	if (answer.error)
		die("card's answer");
	return answer.value;
}

static unsigned char *allocate(size_t bytes)
{
	void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (memory == MAP_FAILED)
		die("mmap");
	return memory;
}

static void echo(scif_epd_t epd, unsigned char byte)
{
	struct scif_card_command command = { SCIF_CARD_ECHO, 0, 0, 1, 0 };
	unsigned char back = (unsigned char)~byte;

	if (scif_send(epd, &command, sizeof(command), SCIF_SEND_BLOCK) != (int)sizeof(command) ||
	    scif_send(epd, &byte, 1, SCIF_SEND_BLOCK) != 1 ||
	    scif_recv(epd, &back, 1, SCIF_RECV_BLOCK) != 1 || back != byte)
		die("echo");
}

/* Resident memory of the process at the other end of the endpoint's socket. */
static long daemon_kib(scif_epd_t epd)
{
	struct ucred daemon = { 0 };
	socklen_t bytes = sizeof(daemon);
	char path[64], line[256];
	long kib = 0;
	FILE *file;

	if (getsockopt(epd, SOL_SOCKET, SO_PEERCRED, &daemon, &bytes) < 0)
		return 0;
	snprintf(path, sizeof(path), "/proc/%d/status", daemon.pid);
	file = fopen(path, "r");
	while (file && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "VmRSS: %ld", &kib) == 1)
			break;
	}
	if (file)
		fclose(file);
	return kib;
}

static void do_connections(unsigned long count)
{
	scif_epd_t *epds = calloc(count, sizeof(epds[0]));

	for (unsigned long i = 0; i < count; i++)
		epds[i] = dial();
	for (unsigned long i = 0; i < count; i++)
		echo(epds[i], (unsigned char)i);
	printf("resident %ld\n", daemon_kib(epds[0]));
	for (unsigned long i = 0; i < count; i++)
		scif_close(epds[i]);
	free(epds);
}

static void do_map(unsigned long count)
{
	scif_epd_t epd = dial();
	uint64_t offset = ask(epd, SCIF_CARD_REGISTER, 0, BYTES, 0);

	for (unsigned long i = 0; i < count; i++) {
		volatile unsigned char *seen =
			scif_mmap(NULL, BYTES, PROT_READ | PROT_WRITE, 0, epd, (off_t)offset);

		if (seen == SCIF_MMAP_FAILED)
			die("scif_mmap");
		seen[i % BYTES]++;
		if (scif_munmap((void *)seen, BYTES) < 0)
			die("scif_munmap");
	}
	scif_close(epd);
}

static void do_register(unsigned long count)
{
	scif_epd_t epd = dial();
	unsigned char *memory = allocate(BYTES);

	for (unsigned long i = 0; i < count; i++) {
		off_t offset = scif_register(epd, memory, BYTES, 0, BOTH, 0);

		if (offset == SCIF_REGISTER_FAILED || scif_unregister(epd, offset, BYTES) < 0)
			die("register");
	}
	scif_close(epd);
}

static void do_window(unsigned long bytes)
{
	scif_epd_t epd = dial();
	unsigned char *memory = allocate(bytes);
	uint64_t remote = ask(epd, SCIF_CARD_REGISTER, 0, PAGE, 0);
	off_t local = scif_register(epd, memory, bytes, 0, BOTH, 0);

	if (local == SCIF_REGISTER_FAILED)
		die("register");
	for (unsigned long at = 0; at < bytes; at += bytes / 64) {
		memory[at + 1] = (unsigned char)(at / (bytes / 64) + 1);
		if (scif_writeto(epd, local + (off_t)at, 2, (off_t)remote, SCIF_RMA_SYNC) < 0 ||
		    scif_readfrom(epd, local + (off_t)at + 2, 2, (off_t)remote, SCIF_RMA_SYNC) < 0)
			die("copy");
		if (memory[at + 3] != memory[at + 1]) {
			printf("wrong byte at %lu\n", at);
			exit(1);
		}
	}
	if (scif_unregister(epd, local, bytes) < 0)
		die("unregister");
	scif_close(epd);
}

static void do_hold(unsigned long count)
{
	scif_epd_t epd = dial();
	unsigned char *memory = allocate(BYTES);
	char line[16], byte;

	ask(epd, SCIF_CARD_REGISTER, 0, BYTES, 0);
	for (unsigned long i = 0; i < count; i++) {
		if (scif_register(epd, memory, BYTES, 0, BOTH, 0) == SCIF_REGISTER_FAILED)
			die("register");
	}
	puts("holding");
	fflush(stdout);
	if (!fgets(line, sizeof(line), stdin))
		exit(1);
	if (scif_recv(epd, &byte, 1, SCIF_RECV_BLOCK) < 0)
		printf("recv: %s\n", strerror(errno));
	scif_close(epd);
}

int main(int argc, char **argv)
{
	unsigned long count = argc == 3 ? strtoul(argv[2], NULL, 10) : 0;

	if (!count) {
		fputs("usage: scif_load WHAT COUNT\n", stderr);
		return 2;
	}
	if (strcmp(argv[1], "connect") == 0) {
		while (count--)
			scif_close(dial());
	} else if (strcmp(argv[1], "connections") == 0) {
		do_connections(count);
	} else if (strcmp(argv[1], "map") == 0) {
		do_map(count);
	} else if (strcmp(argv[1], "register") == 0) {
		do_register(count);
	} else if (strcmp(argv[1], "window") == 0) {
		do_window(count);
	} else if (strcmp(argv[1], "hold") == 0) {
		do_hold(count);
	} else {
		fprintf(stderr, "scif_load: unknown '%s'\n", argv[1]);
		return 2;
	}
	return 0;
}
