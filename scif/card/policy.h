/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which program runs when and on which cores of a card: no clock, no transport, no processes.
 *
 * A program is waiting, then running, then gone; policy_ask() enters it, policy_next() takes the
 * next one that may run now, policy_leave() ends it in either state. Those who wait are served in
 * order of arrival: the first may hold up others, and is itself held up by none that came later.
 *
 *	CARD_POLICY_SHARE  its node's part of the cores, by weight, as long as other nodes use
 *theirs CARD_POLICY_TIME   all of its node's cores, together with others CARD_POLICY_SPACE  as many
 *of its node's cores as it wants, alone on them CARD_POLICY_FIRST  all cores of its node, alone on
 *the card
 *
 * Under CARD_POLICY_SHARE cores change hands while programs run: policy_balance() says who has
 *which now, and is to be called after programs came or went, and after .idle was changed. A node
 *whose programs are all idle counts for nobody but itself: it keeps the part that it would have if
 *it were not, and the others divide the card as if it were not there.
 */
#ifndef CAUSEWAY_SCIF_CARD_POLICY_H
#define CAUSEWAY_SCIF_CARD_POLICY_H

#include <sys/queue.h>

#include "scif/card/card.h"

struct policy_program {
	TAILQ_ENTRY(policy_program) link;
	unsigned int node;
	unsigned int cores_wanted; /* at most, and under SPACE exactly; 0: what the card gives */
	uint64_t memory_bytes;	   /* reserved; 0: none */
	bool running;
	bool idle;	 /* the owner's word: it has used no core for a while */
	bool moved;	 /* policy_balance() changed .cores; the owner clears it */
	cpu_set_t cores; /* while running */
	void *owner;
};

TAILQ_HEAD(policy_list, policy_program);

struct policy {
	const struct card_settings *settings;
	struct policy_list waiting, running;
	unsigned int waiting_count, running_count;
	uint64_t reserved_bytes;
	cpu_set_t taken; /* CARD_POLICY_SPACE */
};

/* policy_init - nothing runs, nobody waits */
void policy_init(struct policy *policy, const struct card_settings *settings);

/**
 * policy_ask - enter a program, which then waits
 *
 * Return: 0; -EBUSY the node has as many as it may; -ENOMEM more memory than there is;
 * -EINVAL more cores than the node may have; each with a sentence.
 */
int policy_ask(struct policy *policy, struct policy_program *program, struct error *error);

/* policy_next - a program that was waiting and runs from now on, or NULL */
struct policy_program *policy_next(struct policy *policy);

/* policy_cores - that programs of a node may have */
cpu_set_t policy_cores(const struct policy *policy, unsigned int node);

/* policy_balance - the cores of all that run, anew (SHARE; otherwise nothing changes) */
void policy_balance(struct policy *policy);

/* policy_check_queue - -EBUSY with a sentence when more wait than may: the last must leave */
int policy_check_queue(const struct policy *policy, struct error *error);

/* policy_leave - a program that ran or waited is gone; others may begin now */
void policy_leave(struct policy *policy, struct policy_program *program);

/* policy_place - how many wait before this one */
unsigned int policy_place(const struct policy *policy, const struct policy_program *program);

#endif
