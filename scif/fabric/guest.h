/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One VM: its device, its endpoints by number, its waiting calls, and its loop.
 *
 * Threads: all of it is its loop's (guest_run), but for guest_stop() and the inbox. Calls are kept
 * with their chains; when the driver or the VMM goes, all is dropped before that is acknowledged:
 * first copies are ended (copy_abort_node), so nobody touches the guest's memory, then endpoints.
 *
 * A guest whose queues are stopped may be paused or gone; which, only its next start tells. Until
 * then nothing of its memory changes (copy_rest_node), and its calls stay as they are.
 *
 * Waiting calls whose peer is a process: while the loop spins it looks at the rings of the newest
 * GUEST_WATCHED of them; for the others, and while it sleeps, their rings ask the process for a
 * wake-up.
 */
#ifndef CAUSEWAY_SCIF_FABRIC_GUEST_H
#define CAUSEWAY_SCIF_FABRIC_GUEST_H

#include "lib/vhost/device.h"
#include "scif/fabric/fabric.h"
#include "scif/fabric/settings.h"

#define GUEST_WATCHED	       16u
#define GUEST_MAP_PIECES_MAX   32u
#define GUEST_CHAINS_PER_TURN  64u
#define GUEST_REPLY_PIECES_MAX 4u

struct guest;

/* A mapping of the other side's memory in the guest. */
struct guest_map {
	TAILQ_ENTRY(guest_map) link;
	enum {
		GUEST_MAP_OWN,	   /* pages of the guest itself: nothing is shown */
		GUEST_MAP_MAPPING, /* the VMM was asked for all pieces; ->call waits */
		GUEST_MAP_MAPPED,
		GUEST_MAP_UNMAPPING, /* the same again; ->call may be NULL */
		GUEST_MAP_CUT,	     /* hidden, its place kept until the driver unmaps it */
	} state;
	bool cut; /* to be, when the VMM has answered */
	struct window_map map;
	uint64_t shm_offset;
	struct map_piece pieces[GUEST_MAP_PIECES_MAX];
	unsigned int piece_count, answered, failed;
	bool shown[GUEST_MAP_PIECES_MAX];
	struct call *call;
};

TAILQ_HEAD(guest_map_list, guest_map);

struct guest {
	const struct settings *settings;
	const struct settings_vm *own;
	struct node *node;
	struct inbox inbox;
	struct vhost_wait wait;
	struct vhost_device_ops ops;
	struct vhost_device device;
	int stop_fd, listener;
	bool stopping;

	struct endpoint **slots; /* by number less one */
	uint32_t slot_count;
	struct call_list calls;	   /* waiting */
	struct call_list finished; /* over, while their queue rests */
	struct endpoint_list watch;
	struct endpoint_list events; /* with a poll event due */
	struct window_list released; /* with an event due */
	bool nodes_due;
	bool resting;		    /* no request queue runs: a paused guest, or none */
	struct guest_map_list maps; /* by shm_offset; own ones first */
	bool cuts_due;		    /* some are to be cut when the VMM has answered others */
	uint32_t next_map;

	struct iovec vectors[VHOST_CHAIN_VECTORS_MAX]; /* scratch of one chain */
};

/* guest_create - listener, device and node of a VM; NULL with a sentence */
struct guest *guest_create(struct fabric *fabric, const struct settings *settings,
			   const struct settings_vm *own, unsigned int number, struct error *error);
void guest_destroy(struct guest *guest);
/* guest_run - serve until guest_stop(); the thread's function */
void guest_run(struct guest *guest);
void guest_stop(struct guest *guest);
/* guest_turn - wait at most @timeout_ms, then serve what there is */
void guest_turn(struct guest *guest, int timeout_ms);
bool guest_is_pending(void *guest);

/* guest_call.c: chains and calls */

/* guest_serve - chains of the request queues, a bounded number */
void guest_serve(struct guest *guest);
/* guest_try - the endpoint's waiting calls and its armed poll again */
void guest_try(struct guest *guest, struct endpoint *endpoint);
/* guest_finish - answer a call and forget it */
void guest_finish(struct guest *guest, struct call *call);
/* guest_flush - answers that waited for a queue to come back */
void guest_flush(struct guest *guest);
/* guest_drop_all - everything the driver set up */
void guest_drop_all(struct guest *guest);
/* guest_watch_check - look at the rings of all that wait for processes */
void guest_watch_check(struct guest *guest);
bool guest_watch_changed(const struct endpoint *endpoint);

/* guest_map.c */
int guest_map(struct guest *guest, struct call *call);
int guest_unmap(struct guest *guest, struct call *call);
void guest_map_answered(struct guest *guest, struct guest_map *map, int status);
void guest_map_drop_all(struct guest *guest);
/* guest_map_cut_gone - hide what is shown of windows whose VM has a new driver, or none */
void guest_map_cut_gone(struct guest *guest);

/* guest_event.c */
void guest_send_events(struct guest *guest);
bool guest_has_events(const struct guest *guest);
void guest_event_poll(struct guest *guest, struct endpoint *endpoint, uint32_t mask);

#endif
