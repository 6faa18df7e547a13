/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A thread that serves VMs: one wait for all their descriptors and queues, then each of them.
 *
 * Other threads reach a worker in two ways: worker_poke() makes it look at its VMs' mail and is
 * cheap (a flag, and an event descriptor only when it sleeps); worker_serve() and worker_release()
 * hand it a VM or take one away, and return when it has done so.
 */
#ifndef CAUSEWAY_VSOCK_SWITCH_WORKER_H
#define CAUSEWAY_VSOCK_SWITCH_WORKER_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "lib/base/error.h"
#include "lib/vhost/queue.h"
#include "lib/vhost/wait.h"
#include "vsock/switch/deliver.h"
#include "vsock/switch/settings.h"

#define WORKER_CHAINS_MAX 32u /* buffers of a guest filled by one read */

struct vm;

/* What another thread asks of a worker, who answers when it is done. */
enum worker_command {
	WORKER_NOTHING,
	WORKER_ADD,
	WORKER_REMOVE,
	WORKER_STOP,
};

struct worker {
	struct vhost_wait wait;
	int bell_fd;
	bool poked, asleep; /* atomic */
	bool stopping;
	bool has_thread; /* false in tests, which turn it themselves */
	pthread_t thread;

	/* The command at hand; command_lock. */
	pthread_mutex_t command_lock;
	pthread_cond_t command_done;
	enum worker_command command;
	struct vm *subject;
	struct error *command_error;
	int command_status;

	struct vm *vms[SETTINGS_VMS_MAX]; /* by vm->slot; NULL where none is; the worker's own */
	unsigned int vm_end;		  /* all are below */
	unsigned int vm_count;		  /* atomic: also read to find the worker with the fewest */

	/* Scratch of one hop, never kept across calls. */
	struct vhost_chain chains[WORKER_CHAINS_MAX];
	struct iovec vectors[VHOST_CHAIN_VECTORS_MAX];
	struct iovec payload[VHOST_CHAIN_VECTORS_MAX]; /* of a delivery, while there is one */
	struct delivery delivery;
};

/* worker_create - without a thread until worker_start(); NULL with a sentence */
struct worker *worker_create(uint32_t spin_us, struct error *error);
int worker_start(struct worker *worker, const char *name, struct error *error);
/* worker_destroy - end its thread, if any; its VMs were released before */
void worker_destroy(struct worker *worker);

/* worker_serve - open @vm's sockets and serve it; 0 or -errno with a sentence */
int worker_serve(struct worker *worker, struct vm *vm, struct error *error);
/* worker_release - end @vm's connections and session and close its sockets */
void worker_release(struct worker *worker, struct vm *vm);

/* worker_poke - from any thread: look at the VMs' mail */
void worker_poke(struct worker *worker);

/* worker_has_work - a turn would find something to do in its VMs' queues or mail */
bool worker_has_work(struct worker *worker);

/* worker_turn - wait at most @timeout_ms, then serve what there is: one round of the thread */
void worker_turn(struct worker *worker, int timeout_ms);

#endif
