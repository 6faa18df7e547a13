/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration read anew: what changed is changed, the rest goes on undisturbed.
 *
 * The new settings are read and checked whole before anything happens. Then VMs are ended and
 * begun in an order in which names, cids and sockets never collide, and each step is noted; when
 * one fails, the noted ones are undone backwards. Groups, limits, services and rules are exchanged
 * at the end, under the lock; each VM's worker then ends the connections that they do not allow.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/clean.h"
#include "lib/base/log.h"
#include "vsock/switch/control.h"
#include "vsock/switch/vm.h"

/* What was done so far. */
struct reload {
	struct vsock_switch *sw;
	struct settings *fresh;
	struct settings_vm *ended[SETTINGS_VMS_MAX]; /* the old settings' */
	unsigned int ended_count;
	struct settings_vm *begun[SETTINGS_VMS_MAX]; /* the new settings' */
	unsigned int begun_count;
};

/* Whether nothing of a VM changes that needs a new beginning. */
static bool reload_is_same(const struct settings_vm *one, const struct settings_vm *other)
{
	return one->cid == other->cid && strcmp(one->socket, other->socket) == 0 &&
	       strcmp(one->host_socket, other->host_socket) == 0;
}

/* VMs that were added by command stay, unless the file now names them or takes what they have. */
static int reload_keep_added(const struct settings *old, struct settings *fresh,
			     struct error *error)
{
	for (unsigned int i = 0; i < old->vm_count; i++) {
		const struct settings_vm *vm = &old->vms[i];

		if (!vm->added || settings_find_vm(fresh, vm->name))
			continue;
		if (settings_put_vm(fresh, vm, error) < 0)
			return error_prefix(error, "VM '%s' was added by command", vm->name);
	}
	return 0;
}

/* Ends every VM that is gone or changed. */
static int reload_end(struct reload *reload, struct error *error)
{
	struct settings *old = reload->sw->settings;

	for (unsigned int i = 0; i < old->vm_count; i++) {
		struct settings_vm *vm = &old->vms[i];
		const struct settings_vm *now = settings_find_vm(reload->fresh, vm->name);
		int status;

		if (now && reload_is_same(vm, now))
			continue;
		status = switch_vm_remove(reload->sw, vm->name, error);
		if (status < 0)
			return status;
		reload->ended[reload->ended_count++] = vm;
	}
	return 0;
}

/* Begins every VM that is new or changed. */
static int reload_begin(struct reload *reload, struct error *error)
{
	struct settings *fresh = reload->fresh;

	for (unsigned int i = 0; i < fresh->vm_count; i++) {
		struct settings_vm *vm = &fresh->vms[i];
		const struct settings_vm *before = settings_find_vm(reload->sw->settings, vm->name);
		int status;

		if (before && reload_is_same(before, vm))
			continue;
		status = switch_vm_add(reload->sw, vm, error);
		if (status < 0)
			return status;
		reload->begun[reload->begun_count++] = vm;
	}
	return 0;
}

static void reload_undo(struct reload *reload)
{
	struct error error = { 0 };

	while (reload->begun_count)
		switch_vm_remove(reload->sw, reload->begun[--reload->begun_count]->name, NULL);
	while (reload->ended_count)
		if (switch_vm_add(reload->sw, reload->ended[--reload->ended_count], &error) < 0)
			log_error("cannot go back: %s", error.text);
}

/* Everything but VMs' beginnings and ends: from now on the new settings hold. */
static void reload_exchange(struct reload *reload)
{
	struct settings *old = reload->sw->settings, *fresh = reload->fresh, swapped;

	pthread_rwlock_wrlock(&reload->sw->rules_lock);
	swapped = *old;
	memcpy(old->vms, fresh->vms, sizeof(old->vms));
	memcpy(old->services, fresh->services, sizeof(old->services));
	memcpy(old->rules, fresh->rules, sizeof(old->rules));
	old->vm_count = fresh->vm_count;
	old->service_count = fresh->service_count;
	old->rule_count = fresh->rule_count;
	memcpy(fresh->vms, swapped.vms, sizeof(old->vms));
	memcpy(fresh->services, swapped.services, sizeof(old->services));
	fresh->vm_count = swapped.vm_count;
	fresh->service_count = swapped.service_count;
	pthread_rwlock_unlock(&reload->sw->rules_lock);
	switch_rules_changed(reload->sw);
	for (unsigned int i = 0; i < old->vm_count; i++) {
		struct vm *vm = switch_vm_get(reload->sw, old->vms[i].cid);

		if (!vm)
			continue;
		limiter_set(&vm->limiter, old->vms[i].limit_bytes_per_s);
		vm_put(vm);
	}
}

static bool reload_differs(const char *one, const char *other)
{
	return strcmp(one ? one : "", other ? other : "") != 0;
}

/* What only a restart changes is said, not done. */
static void reload_warn(const struct settings *old, const struct settings *fresh)
{
	const struct {
		const char *name;
		bool differs;
	} fixed[] = {
		{ "spin_us", old->spin_us != fresh->spin_us },
		{ "threads", old->threads != fresh->threads },
		{ "connections", old->connections != fresh->connections },
		{ "control", reload_differs(old->control, fresh->control) },
		{ "metrics", reload_differs(old->metrics, fresh->metrics) },
	};

	for (size_t i = 0; i < sizeof(fixed) / sizeof(*fixed); i++)
		if (fixed[i].differs)
			log_warning("%s has changed: it takes effect when the switch starts anew",
				    fixed[i].name);
}

int reload_settings(struct vsock_switch *sw, int argc, char **argv, struct error *error)
{
	autofree struct settings *fresh = calloc(1, sizeof(*fresh));
	autofree struct reload *reload = calloc(1, sizeof(*reload));
	int status;

	if (!fresh || !reload)
		return error_set(error, -ENOMEM, "out of memory");
	reload->sw = sw;
	reload->fresh = fresh;
	status = settings_read(fresh, argc, argv, error);
	if (status == 0)
		status = reload_keep_added(sw->settings, fresh, error);
	if (status == 0) {
		status = reload_end(reload, error);
		if (status == 0)
			status = reload_begin(reload, error);
		if (status < 0)
			reload_undo(reload);
	}
	if (status == 0) {
		reload_warn(sw->settings, fresh);
		log_info("configuration read anew: %u VM%s ended, %u begun, %u in all",
			 reload->ended_count, reload->ended_count == 1 ? "" : "s",
			 reload->begun_count, fresh->vm_count);
		reload_exchange(reload);
	}
	settings_free(fresh);
	return status;
}
