/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The switch: which VMs there are, which thread serves each, and what other parts hang on to.
 *
 * VMs come and go at run time (switch_vm_add, switch_vm_remove). A VM is counted: the registry
 * holds one reference, each flow between guests one for each of its ends, and whoever looked it up
 * one more; the last vm_put() frees it. A VM that was removed is ->gone: it takes no more packets,
 * its sockets are closed, its flows have been told to end.
 *
 * Threads: each VM is served by one worker (worker.h). By default a worker serves one VM and comes
 * and goes with it; with settings->threads that many workers share all VMs.
 *
 * Locks, in the order in which they may be taken; a thread never holds two of the same kind:
 *
 *	switch.change_lock	switch_vm_add and _remove, one at a time
 *	switch.vms_lock		the registry's table
 *	switch.rules_lock	settings->services and the policy: written when the configuration is
 *				read anew, read at each new connection
 *	vm.lock			a VM's memory and receive queue (vm.h)
 *	vm.flows_lock		a VM's tables of connections and flows
 *	vm.mail_lock		what other threads left for a VM's thread
 *
 * Hooks for policy, counters, capture and bandwidth: policy.h, counters.h, capture.h, limiter.h.
 */
#ifndef CAUSEWAY_VSOCK_SWITCH_SWITCH_H
#define CAUSEWAY_VSOCK_SWITCH_SWITCH_H

#include <pthread.h>
#include <stdint.h>

#include "lib/base/error.h"
#include "vsock/switch/settings.h"

struct vm;
struct worker;

struct vsock_switch {
	struct settings *settings; /* outlives the switch; see rules_lock */
	pthread_mutex_t change_lock;
	pthread_rwlock_t vms_lock;
	struct vm *vms[SETTINGS_VMS_MAX]; /* the first vm_count of them */
	unsigned int vm_count;
	pthread_rwlock_t rules_lock;
	struct worker *shared[SETTINGS_THREADS_MAX]; /* the first settings->threads of them */
};

/**
 * switch_open - an empty switch; its shared workers, if any, run
 *
 * Return: 0 or -errno with a sentence. switch_close() undoes it in any case.
 */
int switch_open(struct vsock_switch *sw, struct settings *settings, struct error *error);

/* switch_close - remove all VMs (their guests get resets), end the workers; threads are joined */
void switch_close(struct vsock_switch *sw);

/**
 * switch_vm_add - serve a further VM from now on
 * @own: copied
 *
 * From any thread but a worker. Return: 0, -EEXIST when name, cid or socket is in use, -ENOSPC, or
 * -errno with a sentence.
 */
int switch_vm_add(struct vsock_switch *sw, const struct settings_vm *own, struct error *error);

/**
 * switch_vm_remove - end its connections, detach its VMM, remove its sockets
 *
 * From any thread but a worker; returns when its thread is done with it. Return: 0 or -ENOENT.
 */
int switch_vm_remove(struct vsock_switch *sw, const char *name, struct error *error);

/* switch_rules_changed - from any thread: connections that would not be allowed any more end soon
 */
void switch_rules_changed(struct vsock_switch *sw);

/* switch_vm_get - the VM with that cid, with a reference that vm_put() gives back; or NULL */
struct vm *switch_vm_get(struct vsock_switch *sw, uint64_t cid);

/* switch_vm_each - call @visit for every VM, which stays while it runs; it must not add or remove
 */
void switch_vm_each(struct vsock_switch *sw, void (*visit)(struct vm *vm, void *context),
		    void *context);

#endif
