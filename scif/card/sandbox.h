/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sandbox of one program on a card: what docs/architecture.md promises about namespaces, root,
 * user, seccomp, cores and memory.
 *
 * Life: sandbox_open() gives the calling process a mount namespace with an empty root; files are
 * put there; sandbox_start() starts the program under an init of its own; sandbox_end() ends it and
 * collects. The calling process must have one thread until sandbox_start() has returned, and needs
 * root. Everything in the sandbox ends with its init, and the init with the thread that started it.
 */
#ifndef CAUSEWAY_SCIF_CARD_SANDBOX_H
#define CAUSEWAY_SCIF_CARD_SANDBOX_H

#include <sys/resource.h>

#include "scif/card/card.h"

struct sandbox {
	const struct card_settings *settings;
	char root[256];
	uid_t uid;
	uint64_t number; /* of the program */
	pid_t init;
	int input;  /* to the program; non-blocking */
	int output; /* from it */
	int errors;
	int port;   /* what it writes to CAUSEWAY_CARD_FD */
	int status; /* an int as of waitpid() when the program has ended */
};

/* How the program is to be started. */
struct sandbox_start {
	char *const *arguments; /* the first names the program: a file in /home */
	char *const *variables;
	cpu_set_t cores;
	unsigned int weight;
	uint64_t memory_bytes;
	bool network; /* the card's, instead of none */
};

/* sandbox_open - the mount namespace and the root; 0 or -errno with a sentence */
int sandbox_open(struct sandbox *box, const struct card_settings *settings, uid_t uid,
		 struct error *error);

/**
 * sandbox_create_file - a new file in the sandbox
 * @folder: "home" or "home/lib"
 *
 * Return: a descriptor to write to, or -errno (-EEXIST).
 */
int sandbox_create_file(struct sandbox *box, const char *folder, const char *name);

/* sandbox_start - 0 once the program runs; -errno (that of execve() included) with a sentence */
int sandbox_start(struct sandbox *box, const struct sandbox_start *start, struct error *error);

/* sandbox_end - end what still runs, and reap; what all processes of the sandbox used */
void sandbox_end(struct sandbox *box, struct rusage *usage);

/* network.c: the card's network, which programs may ask for. */
/* network_start - causeway-scifnet in a namespace; its process, 0 without one; -errno */
pid_t network_start(struct card_settings *settings, struct error *error);
void network_stop(struct card_settings *settings, pid_t process);

/* filter.c: filter_load - refuse the calls that no program of a card needs; 0 or -errno */
int filter_load(bool may_choose_cores);

/* cgroup.c: a cgroup for each program, where the card has one to put them below. */
/* cgroup_prepare - whether @settings->cgroup can be used; makes it */
bool cgroup_prepare(const struct card_settings *settings);
/* cgroup_is_used - whether cgroup_prepare() said so, also before a fork */
bool cgroup_is_used(void);
int cgroup_enter(const struct card_settings *settings, uint64_t number, pid_t process,
		 const struct sandbox_start *start);
/* cgroup_move - a program's cores from now on; 0 or -errno */
int cgroup_move(const struct card_settings *settings, uint64_t number, const cpu_set_t *cores);
void cgroup_remove(const struct card_settings *settings, uint64_t number);

#endif
