/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whose turn it is: tenants share one device by deficit round robin, within strict priority
 * classes.
 *
 * The unit decides and nothing else: no clock, no transport, no device. Its caller says who wants
 * the device, asks who is next, and reports the device time that a turn took. causeway-cudad drives
 * it with real turns, the simulator (share/simulate.h) with a recorded trace.
 *
 * One struct share_policy is one device. A tenant is one weight and one priority on it; a client
 * is one process of a tenant. A tenant's clients take turns among themselves in the order in which
 * they asked. All structures are the caller's and are linked, never copied or freed here.
 *
 * Threads: none of it locks; the caller serialises.
 */
#ifndef CAUSEWAY_SHARE_POLICY_H
#define CAUSEWAY_SHARE_POLICY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "lib/base/error.h"

#define SHARE_PRIORITIES 4u /* classes; 0 is served last */
#define SHARE_WEIGHT_MAX 1000u
#define SHARE_UNBOUNDED	 UINT64_MAX

enum share_kind {
	SHARE_ROUND_ROBIN,  /* deficit round robin: what causeway-cudad uses */
	SHARE_VIRTUAL_TIME, /* start-time fair queueing, for comparison */
	SHARE_FIRST_COME,   /* whoever asked first, for comparison */
};

struct share_settings {
	enum share_kind kind;
	uint64_t quantum_ns; /* device time a round for the smallest weight */
	uint64_t slice_ns;   /* longest turn, so that a newcomer gets in between */
};

extern const struct share_settings share_settings_default;

/* Where a tenant stands. share_tenant_enter() alone assigns it. */
enum share_place {
	SHARE_IDLE,    /* in no list; wants nothing, and has been passed by since it last did */
	SHARE_FRESH,   /* in .fresh: wants the device after it was idle; served first, once */
	SHARE_BACKLOG, /* in .backlog: wants the device, or has not been passed by yet */
};

struct share_client {
	TAILQ_ENTRY(share_client) link; /* in .waiting of its tenant, while .waits */
	struct share_tenant *tenant;
	uint64_t asked; /* rank among all that ever asked */
	bool waits;
};

TAILQ_HEAD(share_client_list, share_client);

struct share_tenant {
	TAILQ_ENTRY(share_tenant) link; /* of .fresh or .backlog of its class */
	struct share_client_list waiting;
	enum share_place place;
	bool served;	       /* had a turn since it was last passed by in the backlog */
	bool returned;	       /* has come back early for the rest of its last quantum */
	unsigned int weight;   /* 1 to SHARE_WEIGHT_MAX */
	unsigned int priority; /* below SHARE_PRIORITIES */
	int64_t deficit_ns;    /* what it may use; negative: what it used too much */
	uint64_t round;	       /* of its class, when it was last passed by or became idle */
	uint64_t passed;       /* the decision that last passed it by, */
	uint64_t given;	       /* and the one that last gave it quanta: */
	int64_t given_ns;      /* so much; see policy.c:pick_debtor() */
	uint64_t virtual_ns;   /* SHARE_VIRTUAL_TIME: device time over weight */
};

TAILQ_HEAD(share_tenant_list, share_tenant);

struct share_class {
	struct share_tenant_list fresh, backlog;
	uint64_t round;
	uint64_t virtual_ns; /* of the tenant served last */
};

struct share_policy {
	struct share_settings settings;
	struct share_class classes[SHARE_PRIORITIES];
	struct share_client *holder; /* who has the turn; NULL: the device is free */
	uint64_t budget_ns;	     /* of the holder while others wait */
	bool cut;		     /* somebody waits who goes before the holder */
	uint64_t asked;
	uint64_t decisions;
	unsigned int weights[SHARE_WEIGHT_MAX + 1]; /* how many tenants have that weight */
	unsigned int weight_least;		    /* of all tenants; 1 without any */
};

/* share_policy_open - a policy without tenants; @settings are copied */
void share_policy_open(struct share_policy *policy, const struct share_settings *settings);

/* share_kind_named - 0 and *kind, or -EINVAL: "round-robin", "virtual-time", "first-come" */
int share_kind_named(const char *name, enum share_kind *kind);

/* share_tenant_add - a tenant without clients; weight and priority are within their bounds */
void share_tenant_add(struct share_policy *policy, struct share_tenant *tenant, unsigned int weight,
		      unsigned int priority);
/* share_tenant_change - another weight or priority, at any time */
void share_tenant_change(struct share_policy *policy, struct share_tenant *tenant,
			 unsigned int weight, unsigned int priority);
/* share_tenant_remove - none of its clients may want or hold the device any more */
void share_tenant_remove(struct share_policy *policy, struct share_tenant *tenant);

/* share_client_open - a client of @tenant that wants nothing yet */
void share_client_open(struct share_client *client, struct share_tenant *tenant);
/* share_client_close - the client is gone, whatever it wanted or held; a held turn is over */
void share_client_close(struct share_policy *policy, struct share_client *client);

/* share_want - the client has work and no turn; asking again while it waits or holds is no change
 */
void share_want(struct share_policy *policy, struct share_client *client);

/* share_next - give the device to the next client; NULL while it is held, or when nobody waits */
struct share_client *share_next(struct share_policy *policy);

/* share_likely - who will probably be next after the holder, as things stand; NULL: nobody waits */
struct share_client *share_likely(const struct share_policy *policy);

/*
 * share_budget - device time that the holder may use in its turn, as things stand: SHARE_UNBOUNDED
 * while nobody else waits, 0 when somebody does who goes first: one of a higher class, or one who
 * was idle where the holder was not. It ends its turn once it has used that much; what is left to
 * it then it gets later.
 */
uint64_t share_budget(struct share_policy *policy);

/**
 * share_end - the holder's turn is over
 * @used_ns: device time of what was done while share_budget() was bounded; before that nobody went
 *	     without
 */
void share_end(struct share_policy *policy, uint64_t used_ns);

#endif
