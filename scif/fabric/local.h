/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Host and card processes: one loop for all their sockets, each socket one endpoint.
 *
 * A session begins with its socket and ends with it. Its endpoint may end before (CLOSE), while
 * mappings that the process still has keep the session. Rings are moved by the processes
 * themselves; what comes here is short, or waits as a kept call.
 *
 * After a fork several processes have the socket. One takes its answers, each other one has a
 * session of its own that joined the first (->of); calls and mappings belong to the session on
 * which they came, the endpoint to the first.
 */
#ifndef CAUSEWAY_SCIF_FABRIC_LOCAL_H
#define CAUSEWAY_SCIF_FABRIC_LOCAL_H

#include "lib/vhost/wait.h"
#include "scif/fabric/fabric.h"
#include "scif/fabric/settings.h"

#define LOCAL_LISTENERS_MAX (1 + SETTINGS_CARDS_MAX)

/* A process's mapping of a window, held until it is undone. */
struct local_map {
	TAILQ_ENTRY(local_map) link;
	struct window_map map;
};

TAILQ_HEAD(local_map_list, local_map);

struct session {
	int fd;
	uint32_t slot;
	struct node *node;
	struct endpoint *endpoint; /* NULL before HELLO, after CLOSE, and of one that joined */
	struct session *of;	   /* the session that it joined, while that lasts */
	uint64_t key;		   /* for those that join */
	bool joined;		   /* some did */
	bool greeted;
	uid_t user;
	struct call_list calls;
	struct local_map_list maps;
	uint32_t next_map;
};

/* A socket through which processes join as @node. */
struct local_listener {
	int fd;
	const char *path;
	struct node *node;
};

/* All processes, and the one thread that serves them. */
struct local {
	struct fabric *fabric;
	struct inbox inbox;
	struct vhost_wait wait;
	struct local_listener listeners[LOCAL_LISTENERS_MAX];
	unsigned int listener_count;
	struct session **sessions;
	uint32_t session_room;
	int stop_fd;
	bool stopping;
};

/* local_create - nodes and sockets of the host and of software cards; NULL with a sentence */
struct local *local_create(struct fabric *fabric, const struct settings *settings,
			   struct error *error);
/* local_describe_card - what guests are told of the card */
void local_describe_card(struct node *node, const struct settings_card *card);
void local_destroy(struct local *local);
void local_run(struct local *local);
void local_stop(struct local *local);
void local_turn(struct local *local, int timeout_ms);

/* local_end - the session, its socket, and what it has */
void local_end(struct local *local, struct session *session);

/* local_call.c: a session's messages */

/* local_serve - those that came; false when the session is to end */
bool local_serve(struct local *local, struct session *session);
/* local_try - the endpoint's waiting calls again, of whatever session */
void local_try(struct endpoint *endpoint);
/* local_drop - all that the session has, but the socket */
void local_drop(struct session *session);

#endif
