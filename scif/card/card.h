/* SPDX-License-Identifier: Apache-2.0 */
/*
 * causeway-card's own processes and what they say to each other. main.c lists the hops.
 *
 *	supervisor   policy, accounts, control socket; one thread, libevent
 *	acceptor     listens on the card's port; forks a worker for each connection
 *	worker       one client; its main thread, and one that receives once the program runs
 *	init         process 1 of the sandbox; then the program
 *
 * A worker has a socket of messages (SOCK_SEQPACKET) to the supervisor, whose other end the
 * acceptor hands over. Its end is the worker's end; the supervisor closing it asks the worker to
 * end the program and itself. Both are parts of one program, so a message is a plain structure.
 */
#ifndef CAUSEWAY_SCIF_CARD_CARD_H
#define CAUSEWAY_SCIF_CARD_CARD_H

#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "include/scif.h"
#include "lib/base/error.h"
#include "proto/card-launch.h"

#define CARD_CORES_MAX	   1024
#define CARD_NODES_MAX	   64
#define CARD_LIBRARIES_MAX 128
#define CARD_CLIENTS_MAX   1024

/* How programs share the card's cores (causeway-card(8)). */
enum card_policy {
	CARD_POLICY_SHARE,
	CARD_POLICY_TIME,
	CARD_POLICY_SPACE,
	CARD_POLICY_FIRST,
	CARD_POLICIES,
};

/* card_policy_names - as options and reports have them */
extern const char *const card_policy_names[CARD_POLICIES];

/* What a node (a VM, or the host) may have of the card. */
struct card_share {
	unsigned int weight;   /* 1 to 10000; 100 without --vm */
	bool weighed;	       /* --vm said the weight: a tenant's does not count */
	unsigned int programs; /* at once, and waiting; 0: no bound of its own */
	cpu_set_t cores;       /* within the card's; empty: all of them */
};

struct card_settings {
	const char *name;
	const char *socket; /* scifd's socket of this card; NULL: a driver */
	const char *scifd;  /* scifd's control socket, to tell it of the card's state; NULL: none */
	const char *control; /* where causeway card asks */
	const char *config;  /* the configuration file with tenants and accounting; NULL: none */
	const char *folder;  /* for the library folder and sandboxes */
	const char *cgroup;  /* a cgroup v2 below which programs get theirs; NULL: none */
	const char *libraries[CARD_LIBRARIES_MAX]; /* files of --library */
	unsigned int library_count;
	cpu_set_t cores; /* of the host */
	unsigned int core_count;
	uint64_t memory_bytes;
	enum card_policy policy;
	unsigned int programs_max, queue_max;
	uid_t uid_base;
	struct card_share shares[CARD_NODES_MAX];
	bool verbose;
	bool network;	/* run causeway-scifnet in a network namespace of the card's */
	int network_fd; /* that namespace, or -1 */
};

/* What a worker asks and tells. */
enum card_ask_kind {
	CARD_ASK_WELCOME = 1, /* .process: the worker; answered by CARD_ANSWER_WELCOME */
	CARD_ASK_ADMISSION,   /* .hello, .name; answered by _WAIT*, then _GRANT or _REFUSE */
	CARD_TELL_STARTED,    /* .process: the sandbox's init */
	CARD_TELL_ENDED,      /* .cpu_us: all that the program's processes used */
};

/* What a worker asks its supervisor, over their socket pair. */
struct card_ask {
	enum card_ask_kind kind;
	pid_t process;
	uint64_t cpu_us;
	struct card_hello hello;
	char name[CARD_NAME_MAX + 1];
};

/* What the supervisor answers. */
enum card_answer_kind {
	CARD_ANSWER_WELCOME = 1,
	CARD_ANSWER_WAIT,
	CARD_ANSWER_GRANT,
	CARD_ANSWER_REFUSE,
};

struct card_answer {
	enum card_answer_kind kind;
	unsigned int place;	     /* WAIT */
	unsigned int weight;	     /* GRANT */
	cpu_set_t cores;	     /* GRANT */
	uint64_t memory_bytes;	     /* GRANT */
	uint64_t number;	     /* GRANT: of the program, never used before */
	struct card_welcome welcome; /* WELCOME */
	struct error refusal;	     /* REFUSE */
};

/* acceptor.c: acceptor_run - listens and forks workers, for ever; only returns when it cannot */
int acceptor_run(const struct card_settings *settings, int supervisor, struct error *error);

/* worker.c: worker_run - serves the connection to its end; the process's exit status */
int worker_run(const struct card_settings *settings, scif_epd_t epd, unsigned int node,
	       int supervisor);

/* settings.c */
int card_settings_read(struct card_settings *settings, int argc, char **argv, struct error *error);
/* card_cores_parse - "0-3,7" into a set; 0 or -EINVAL */
int card_cores_parse(const char *text, cpu_set_t *cores);
/* card_share_parse - "17,weight=200,cores=0-1,programs=4"; 0 or -EINVAL with a sentence */
int card_share_parse(struct card_settings *settings, const char *text, struct error *error);

/* library.c */
/* library_fill - the card's library folder, anew; 0 or -errno with a sentence */
int library_fill(const struct card_settings *settings, struct error *error);
/* library_has - whether a file of that name is in it */
bool library_has(const struct card_settings *settings, const char *name);

#endif
