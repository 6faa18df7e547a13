/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The supervisor: policy, accounts, the acceptor's life, the control socket. One thread.
 *
 * State of the card (enum card_state): BOOTING until the acceptor says that it listens, ONLINE
 * until that ends, then DOWN; `causeway card restart` goes through all of them again.
 */
#ifndef CAUSEWAY_SCIF_CARD_SUPERVISOR_H
#define CAUSEWAY_SCIF_CARD_SUPERVISOR_H

#include <event2/event.h>
#include <jansson.h>

#include "scif/card/policy.h"

/* Whether somebody listens for clients. */
enum card_state { CARD_DOWN, CARD_BOOTING, CARD_ONLINE };

struct supervisor;

/* A worker, as the supervisor sees it. */
struct client {
	TAILQ_ENTRY(client) link;
	struct supervisor *supervisor;
	int fd;
	struct event *event;
	unsigned int node;
	bool asked;   /* its program is with the policy */
	bool counted; /* what the program used is in the accounts */
	bool ending;  /* it was asked to end */
	pid_t worker, process;
	uint64_t number;
	uint64_t asked_ns,
		written_us; /* account.c: when it asked; of its cores, what is in the journal */
	time_t since;
	bool waited;
	uint64_t used_us, busy_ms; /* balance.c: of its cores, and when it last used more */
	bool granted;		   /* it was told that it may run */
	char name[CARD_NAME_MAX + 1];
	struct policy_program program;
};

/* What a node has had of the card. */
struct account {
	uint64_t programs, refused;
	uint64_t cpu_us; /* of programs that have ended */
};

struct accounting; /* account.c */

struct supervisor {
	struct card_settings *settings;
	struct policy policy;
	TAILQ_HEAD(, client) clients;
	unsigned int client_count;
	struct account accounts[CARD_NODES_MAX];
	uint64_t next_number, since;
	enum card_state state;
	bool restarting, stopping, shutting_down;
	pid_t acceptor, network; /* 0: none */
	int acceptor_fd;
	int status; /* why the card went down, when it did so by itself */
	struct event_base *base;
	struct event *acceptor_event, *patience, *balance;
	struct accounting *accounting; /* NULL: there is no configuration file */
};

/* account.c: account_open - tenants and journal; 0 or -errno with a sentence, account_close in any
 * case */
int account_open(struct supervisor *supervisor, struct error *error);
void account_close(struct supervisor *supervisor);
/* account_client - a client of the node comes: whose it is, and what that may have */
void account_client(struct supervisor *supervisor, unsigned int node);
/* account_tenant - its name, "" where none is known */
const char *account_tenant(const struct supervisor *supervisor, unsigned int node);
/* account_asked, account_begun, account_used - a program asks, runs, has used so much by now */
void account_asked(struct client *client);
void account_begun(struct client *client);
void account_used(struct client *client, uint64_t cpu_us);

/* supervisor_boot - library folder, acceptor; 0 or -errno with a sentence */
int supervisor_boot(struct supervisor *supervisor, struct error *error);
/*
 * supervisor_end_programs - every worker is asked to end; those that have not done so a moment
 * later are killed, and with @shut_down the acceptor then, which ends the card.
 */
void supervisor_end_programs(struct supervisor *supervisor, bool shut_down);
/* supervisor_cpu_us - of a program that runs */
uint64_t supervisor_cpu_us(const struct client *client);

/* balance.c: balance_begin - a program that may run from now on */
void balance_begin(struct client *client);
/* balance_apply - programs go where policy_balance() has put them, if they are not there already */
void balance_apply(struct supervisor *supervisor);

/* processes.c: processes_cpu_us - what all processes below and with @init have used */
uint64_t processes_cpu_us(pid_t init);
/* processes_move - all their threads to these cores */
void processes_move(pid_t init, const cpu_set_t *cores);

/* report.c: supervisor_answer - a request of the control socket */
json_t *supervisor_answer(void *context, const char *command, const json_t *request);

#endif
