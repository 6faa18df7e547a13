/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who may connect to whom; see policy.h.
 *
 * The first rule that fits decides. Where none does, the host may connect to guests and guests to
 * the host, and guests to each other when they have a group in common; a VM that names no group is
 * in the group "default".
 */
#include "vsock/switch/policy.h"

#include <string.h>

#include "proto/virtio-vsock.h"

static const struct settings_vm *policy_find(const struct settings *settings, uint64_t cid)
{
	for (unsigned int i = 0; i < settings->vm_count; i++)
		if (settings->vms[i].cid == cid)
			return &settings->vms[i];
	return NULL;
}

static bool policy_is_in(const struct settings_vm *vm, const char *group)
{
	for (unsigned int i = 0; i < vm->group_count; i++)
		if (strcmp(vm->groups[i], group) == 0)
			return true;
	return vm->group_count == 0 && strcmp(group, SETTINGS_GROUP_DEFAULT) == 0;
}

static bool policy_fits(const struct settings *settings, const struct settings_party *party,
			uint64_t cid)
{
	const struct settings_vm *vm;

	switch (party->kind) {
	case SETTINGS_PARTY_ANY:
		return true;
	case SETTINGS_PARTY_CID:
		return party->cid == cid;
	case SETTINGS_PARTY_GROUP:
		vm = policy_find(settings, cid);
		return vm && policy_is_in(vm, party->group);
	}
	return false;
}

static bool policy_share_group(const struct settings_vm *one, const struct settings_vm *other)
{
	if (one->group_count == 0)
		return policy_is_in(other, SETTINGS_GROUP_DEFAULT);
	for (unsigned int i = 0; i < one->group_count; i++)
		if (policy_is_in(other, one->groups[i]))
			return true;
	return false;
}

bool policy_allows(const struct settings *settings, uint64_t source, uint64_t destination,
		   uint32_t port)
{
	const struct settings_vm *from, *to;

	for (unsigned int i = 0; i < settings->rule_count; i++) {
		const struct settings_rule *rule = &settings->rules[i];

		if (port >= rule->port_first && port <= rule->port_last &&
		    policy_fits(settings, &rule->from, source) &&
		    policy_fits(settings, &rule->to, destination))
			return rule->allow;
	}
	if (source == VIRTIO_VSOCK_CID_HOST || destination == VIRTIO_VSOCK_CID_HOST)
		return true;
	from = policy_find(settings, source);
	to = policy_find(settings, destination);
	return from && to && policy_share_group(from, to);
}
