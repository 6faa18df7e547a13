/* SPDX-License-Identifier: Apache-2.0 */
/* The thread that serves VMs; see worker.h. */
#include "vsock/switch/worker.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "lib/base/log.h"
#include "lib/vhost/fault.h"
#include "vsock/switch/vm.h"

#define WORKER_EVENTS_PER_TURN 64
#define WORKER_STACK_BYTES     (256u << 10)

void worker_poke(struct worker *worker)
{
	static const uint64_t one = 1;

	if (__atomic_exchange_n(&worker->poked, true, __ATOMIC_SEQ_CST))
		return;
	if (__atomic_load_n(&worker->asleep, __ATOMIC_SEQ_CST) &&
	    write(worker->bell_fd, &one, sizeof(one)) < 0)
		log_error("a worker cannot be woken: %s", strerror(errno));
}

bool worker_has_work(struct worker *worker)
{
	if (__atomic_load_n(&worker->poked, __ATOMIC_SEQ_CST))
		return true;
	for (unsigned int i = 0; i < worker->vm_end; i++)
		if (worker->vms[i] && vm_is_pending(worker->vms[i]))
			return true;
	return false;
}

static bool worker_is_pending(void *context)
{
	return worker_has_work(context);
}

static void worker_arm(void *context, bool sleeping)
{
	struct worker *worker = context;

	__atomic_store_n(&worker->asleep, sleeping, __ATOMIC_SEQ_CST);
	for (unsigned int i = 0; i < worker->vm_end; i++) {
		struct vm *vm = worker->vms[i];

		if (!vm)
			continue;
		vm_arm(vm, sleeping);
		if (sleeping)
			counter_add(&vm->counters.sleeps, 1);
	}
}

static int worker_add(struct worker *worker, struct vm *vm, struct error *error)
{
	unsigned int slot = 0;
	int status;

	while (slot < SETTINGS_VMS_MAX && worker->vms[slot])
		slot++;
	if (slot == SETTINGS_VMS_MAX)
		return error_set(error, -ENOSPC, "more than %d VMs on one thread",
				 SETTINGS_VMS_MAX);
	status = vm_open(vm, worker, slot, error);
	if (status < 0)
		return status;
	worker->vms[slot] = vm;
	if (slot >= worker->vm_end)
		worker->vm_end = slot + 1;
	__atomic_store_n(&worker->vm_count, worker->vm_count + 1, __ATOMIC_RELAXED);
	return 0;
}

/* Events of this turn that are still to come find no VM in its slot. */
static void worker_remove(struct worker *worker, struct vm *vm)
{
	vm_close(vm);
	worker->vms[vm->slot] = NULL;
	while (worker->vm_end && !worker->vms[worker->vm_end - 1])
		worker->vm_end--;
	__atomic_store_n(&worker->vm_count, worker->vm_count - 1, __ATOMIC_RELAXED);
}

/* With command_lock, or without a thread. */
static void worker_obey(struct worker *worker)
{
	worker->command_status = 0;
	switch (worker->command) {
	case WORKER_NOTHING:
		return;
	case WORKER_ADD:
		worker->command_status = worker_add(worker, worker->subject, worker->command_error);
		break;
	case WORKER_REMOVE:
		worker_remove(worker, worker->subject);
		break;
	case WORKER_STOP:
		worker->stopping = true;
		break;
	}
	worker->command = WORKER_NOTHING;
}

static void worker_answer_poke(struct worker *worker)
{
	if (!__atomic_exchange_n(&worker->poked, false, __ATOMIC_SEQ_CST))
		return;
	pthread_mutex_lock(&worker->command_lock);
	if (worker->command != WORKER_NOTHING) {
		worker_obey(worker);
		pthread_cond_broadcast(&worker->command_done);
	}
	pthread_mutex_unlock(&worker->command_lock);
}

/* Callers are one at a time: switch.change_lock. */
static int worker_order(struct worker *worker, enum worker_command command, struct vm *vm,
			struct error *error)
{
	int status;

	pthread_mutex_lock(&worker->command_lock);
	worker->command = command;
	worker->subject = vm;
	worker->command_error = error;
	if (worker->has_thread)
		worker_poke(worker);
	else
		worker_obey(worker);
	while (worker->command != WORKER_NOTHING)
		pthread_cond_wait(&worker->command_done, &worker->command_lock);
	status = worker->command_status;
	pthread_mutex_unlock(&worker->command_lock);
	return status;
}

int worker_serve(struct worker *worker, struct vm *vm, struct error *error)
{
	return worker_order(worker, WORKER_ADD, vm, error);
}

void worker_release(struct worker *worker, struct vm *vm)
{
	worker_order(worker, WORKER_REMOVE, vm, NULL);
}

static void worker_dispatch(struct worker *worker, const struct epoll_event *event)
{
	unsigned int slot = VM_TAG_SLOT(event->data.u64);
	uint64_t count;

	if (VM_TAG_KIND(event->data.u64) != VM_TAG_BELL) {
		if (worker->vms[slot])
			vm_woken(worker->vms[slot], event);
	} else if (read(worker->bell_fd, &count, sizeof(count)) < 0 && errno != EAGAIN) {
		log_error("a worker's bell: %s", strerror(errno));
	}
}

void worker_turn(struct worker *worker, int timeout_ms)
{
	const struct vhost_wait_work work = { worker_is_pending, worker_arm, worker };
	struct epoll_event events[WORKER_EVENTS_PER_TURN];
	int count;

	for (unsigned int i = 0; i < worker->vm_end; i++) {
		int next_ms = worker->vms[i] ? vm_next_ms(worker->vms[i]) : -1;

		if (next_ms >= 0 && (timeout_ms < 0 || next_ms < timeout_ms))
			timeout_ms = next_ms;
	}
	count = vhost_wait_events(&worker->wait, &work, events, WORKER_EVENTS_PER_TURN, timeout_ms);
	worker_answer_poke(worker);
	for (int i = 0; i < count; i++)
		worker_dispatch(worker, &events[i]);
	for (unsigned int i = 0; i < worker->vm_end; i++)
		if (worker->vms[i])
			vm_serve(worker->vms[i]);
}

static void *worker_run(void *argument)
{
	struct worker *worker = argument;

	vhost_wait_promptly();
	while (!worker->stopping)
		worker_turn(worker, -1);
	return NULL;
}

struct worker *worker_create(uint32_t spin_us, struct error *error)
{
	struct worker *worker = calloc(1, sizeof(*worker));
	int status;

	if (!worker) {
		error_set(error, -ENOMEM, "out of memory");
		return NULL;
	}
	pthread_mutex_init(&worker->command_lock, NULL);
	pthread_cond_init(&worker->command_done, NULL);
	worker->delivery.vectors = worker->payload;
	worker->bell_fd = -1;
	status = vhost_wait_init(&worker->wait, spin_us);
	worker->wait.spin.thrifty = true;
	if (status == 0) {
		worker->bell_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		status = worker->bell_fd < 0 ? -errno
					     : vhost_wait_add(&worker->wait, worker->bell_fd,
							      EPOLLIN, VM_TAG(VM_TAG_BELL, 0, 0));
	}
	if (status < 0) {
		error_set(error, status, "no descriptors for a thread: %s", strerror(-status));
		worker_destroy(worker);
		return NULL;
	}
	return worker;
}

/* Signals are the main thread's. */
int worker_start(struct worker *worker, const char *name, struct error *error)
{
	pthread_attr_t attributes;
	sigset_t all, before;
	char short_name[16];
	int status;

	sigfillset(&all);
	sigdelset(&all, SIGBUS);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, WORKER_STACK_BYTES);
	status = pthread_create(&worker->thread, &attributes, worker_run, worker);
	pthread_attr_destroy(&attributes);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (status)
		return error_set(error, -status, "no thread '%s': %s", name, strerror(status));
	worker->has_thread = true;
	snprintf(short_name, sizeof(short_name), "%s", name);
	pthread_setname_np(worker->thread, short_name);
	return 0;
}

void worker_destroy(struct worker *worker)
{
	if (worker->has_thread) {
		worker_order(worker, WORKER_STOP, NULL, NULL);
		pthread_join(worker->thread, NULL);
	}
	if (worker->bell_fd >= 0)
		close(worker->bell_fd);
	if (worker->wait.epoll_fd >= 0)
		vhost_wait_close(&worker->wait);
	pthread_cond_destroy(&worker->command_done);
	pthread_mutex_destroy(&worker->command_lock);
	free(worker);
}
