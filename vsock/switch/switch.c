/* SPDX-License-Identifier: Apache-2.0 */
/* The registry of VMs; see switch.h for threads and locks. */
#include "vsock/switch/switch.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "vsock/switch/vm.h"

int switch_open(struct vsock_switch *sw, struct settings *settings, struct error *error)
{
	memset(sw, 0, sizeof(*sw));
	sw->settings = settings;
	pthread_mutex_init(&sw->change_lock, NULL);
	pthread_rwlock_init(&sw->vms_lock, NULL);
	pthread_rwlock_init(&sw->rules_lock, NULL);
	for (unsigned int i = 0; i < settings->threads; i++) {
		char name[16];
		int status;

		snprintf(name, sizeof(name), "vms-%u", i);
		sw->shared[i] = worker_create(settings->spin_us, error);
		if (!sw->shared[i])
			return error->code;
		status = worker_start(sw->shared[i], name, error);
		if (status < 0)
			return status;
	}
	return 0;
}

/* Takes the VM at @index out of the table and ends it; with change_lock. */
static void switch_vm_end(struct vsock_switch *sw, unsigned int index)
{
	struct vm *vm = sw->vms[index];
	struct worker *worker = vm->worker;

	pthread_rwlock_wrlock(&sw->vms_lock);
	sw->vms[index] = sw->vms[--sw->vm_count];
	pthread_rwlock_unlock(&sw->vms_lock);
	worker_release(worker, vm);
	if (sw->settings->threads == 0)
		worker_destroy(worker);
	vm_put(vm);
}

void switch_close(struct vsock_switch *sw)
{
	pthread_mutex_lock(&sw->change_lock);
	while (sw->vm_count)
		switch_vm_end(sw, sw->vm_count - 1);
	for (unsigned int i = 0; i < sw->settings->threads; i++)
		if (sw->shared[i])
			worker_destroy(sw->shared[i]);
	pthread_mutex_unlock(&sw->change_lock);
	pthread_mutex_destroy(&sw->change_lock);
	pthread_rwlock_destroy(&sw->vms_lock);
	pthread_rwlock_destroy(&sw->rules_lock);
}

/* The gate for a further VM; with change_lock. */
static int switch_vm_check(const struct vsock_switch *sw, const struct settings_vm *own,
			   struct error *error)
{
	if (sw->vm_count == SETTINGS_VMS_MAX)
		return error_set(error, -ENOSPC, "more than %d VMs", SETTINGS_VMS_MAX);
	for (unsigned int i = 0; i < sw->vm_count; i++) {
		const struct settings_vm *other = &sw->vms[i]->own;

		if (strcmp(other->name, own->name) == 0)
			return error_set(error, -EEXIST, "there is a VM '%s' already", own->name);
		if (other->cid == own->cid)
			return error_set(error, -EEXIST, "VM '%s' has cid %llu already",
					 other->name, (unsigned long long)own->cid);
		if (strcmp(other->socket, own->socket) == 0 ||
		    strcmp(other->host_socket, own->host_socket) == 0)
			return error_set(error, -EEXIST, "VM '%s' has the socket %s already",
					 other->name, own->socket);
	}
	return 0;
}

/* The thread for a further VM: one of its own, or the shared one with the fewest. */
static struct worker *switch_worker_for(struct vsock_switch *sw, const struct settings_vm *own,
					struct error *error)
{
	struct worker *worker = sw->shared[0];
	char name[16];

	for (unsigned int i = 1; i < sw->settings->threads; i++)
		if (__atomic_load_n(&sw->shared[i]->vm_count, __ATOMIC_RELAXED) <
		    __atomic_load_n(&worker->vm_count, __ATOMIC_RELAXED))
			worker = sw->shared[i];
	if (sw->settings->threads)
		return worker;
	worker = worker_create(sw->settings->spin_us, error);
	snprintf(name, sizeof(name), "vm-%.12s", own->name);
	if (worker && worker_start(worker, name, error) < 0) {
		worker_destroy(worker);
		worker = NULL;
	}
	return worker;
}

static int switch_vm_begin(struct vsock_switch *sw, const struct settings_vm *own,
			   struct error *error)
{
	struct worker *worker = switch_worker_for(sw, own, error);
	struct vm *vm;
	int status;

	if (!worker)
		return error->code;
	vm = vm_create(sw, own);
	status = vm ? worker_serve(worker, vm, error) : error_set(error, -ENOMEM, "out of memory");
	if (status < 0) {
		if (vm)
			vm_put(vm);
		if (sw->settings->threads == 0)
			worker_destroy(worker);
		return status;
	}
	pthread_rwlock_wrlock(&sw->vms_lock);
	sw->vms[sw->vm_count++] = vm;
	pthread_rwlock_unlock(&sw->vms_lock);
	return 0;
}

int switch_vm_add(struct vsock_switch *sw, const struct settings_vm *own, struct error *error)
{
	struct error unwanted = { 0 };
	int status;

	if (!error)
		error = &unwanted;
	pthread_mutex_lock(&sw->change_lock);
	status = switch_vm_check(sw, own, error);
	if (status == 0)
		status = switch_vm_begin(sw, own, error);
	pthread_mutex_unlock(&sw->change_lock);
	return status;
}

int switch_vm_remove(struct vsock_switch *sw, const char *name, struct error *error)
{
	int status = -ENOENT;

	pthread_mutex_lock(&sw->change_lock);
	for (unsigned int i = 0; i < sw->vm_count; i++) {
		if (strcmp(sw->vms[i]->own.name, name) != 0)
			continue;
		switch_vm_end(sw, i);
		status = 0;
		break;
	}
	pthread_mutex_unlock(&sw->change_lock);
	return status < 0 ? error_set(error, status, "there is no VM '%s'", name) : 0;
}

struct vm *switch_vm_get(struct vsock_switch *sw, uint64_t cid)
{
	struct vm *vm = NULL;

	pthread_rwlock_rdlock(&sw->vms_lock);
	for (unsigned int i = 0; i < sw->vm_count && !vm; i++)
		if (sw->vms[i]->own.cid == cid)
			vm = sw->vms[i];
	if (vm)
		vm_get(vm);
	pthread_rwlock_unlock(&sw->vms_lock);
	return vm;
}

void switch_vm_each(struct vsock_switch *sw, void (*visit)(struct vm *vm, void *context),
		    void *context)
{
	pthread_rwlock_rdlock(&sw->vms_lock);
	for (unsigned int i = 0; i < sw->vm_count; i++)
		visit(sw->vms[i], context);
	pthread_rwlock_unlock(&sw->vms_lock);
}

static void switch_tell_rules(struct vm *vm, void *context)
{
	(void)context;
	__atomic_store_n(&vm->rules_changed, true, __ATOMIC_RELEASE);
	worker_poke(vm->worker);
}

void switch_rules_changed(struct vsock_switch *sw)
{
	switch_vm_each(sw, switch_tell_rules, NULL);
}
