/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Groups and rules in the configuration: which words stand for which part of a connection.
 *
 *	rules = ( { action = "allow"; from = "group:web"; to = "cid:5"; ports = "80-90"; }, ... );
 *
 * from and to: any, host, cid:N or group:NAME; ports: N, N-M, or absent for all.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/config.h"
#include "proto/virtio-vsock.h"
#include "vsock/switch/settings.h"

bool settings_group_is_valid(const char *name)
{
	size_t length = strlen(name);

	return length > 0 && length < SETTINGS_GROUP_BYTES && !strpbrk(name, " ,:\t\n\"");
}

int settings_vm_add_group(struct settings_vm *vm, const char *name, struct error *error)
{
	if (!settings_group_is_valid(name))
		return error_set(error, -EINVAL,
				 "VM '%s': group '%s': expected 1 to %d characters without space, "
				 "comma or colon",
				 vm->name, name, SETTINGS_GROUP_BYTES - 1);
	if (vm->group_count == SETTINGS_GROUPS_MAX)
		return error_set(error, -ENOSPC, "VM '%s': more than %d groups", vm->name,
				 SETTINGS_GROUPS_MAX);
	strcpy(vm->groups[vm->group_count++], name);
	return 0;
}

/* A number up to @most that ends where @end says it must; -EINVAL otherwise. */
static int rules_number(const char *text, char end, uint64_t most, uint64_t *number,
			const char **rest)
{
	char *stop;

	if (*text < '0' || *text > '9')
		return -EINVAL;
	errno = 0;
	*number = strtoull(text, &stop, 10);
	if (errno || *number > most || (*stop && *stop != end))
		return -EINVAL;
	*rest = stop;
	return 0;
}

static int rules_party(const char *text, struct settings_party *party)
{
	const char *rest;

	memset(party, 0, sizeof(*party));
	party->kind = SETTINGS_PARTY_CID;
	if (strcmp(text, "any") == 0) {
		party->kind = SETTINGS_PARTY_ANY;
	} else if (strcmp(text, "host") == 0) {
		party->cid = VIRTIO_VSOCK_CID_HOST;
	} else if (strncmp(text, "cid:", 4) == 0) {
		return rules_number(text + 4, '\0', UINT32_MAX - 1, &party->cid, &rest);
	} else if (strncmp(text, "group:", 6) == 0 && settings_group_is_valid(text + 6)) {
		party->kind = SETTINGS_PARTY_GROUP;
		strcpy(party->group, text + 6);
	} else {
		return -EINVAL;
	}
	return 0;
}

static int rules_ports(const char *text, struct settings_rule *rule)
{
	uint64_t first, last;
	const char *rest;

	if (rules_number(text, '-', UINT32_MAX, &first, &rest) < 0)
		return -EINVAL;
	last = first;
	if (*rest == '-' && rules_number(rest + 1, '\0', UINT32_MAX, &last, &rest) < 0)
		return -EINVAL;
	if (last < first)
		return -EINVAL;
	rule->port_first = (uint32_t)first;
	rule->port_last = (uint32_t)last;
	return 0;
}

/* The sentence for a value that makes no sense. */
static int rules_refuse(struct config *config, config_setting_t *group, const char *name,
			const char *value, const char *expected, struct error *error)
{
	config_setting_t *setting = config_setting_get_member(group, name);

	return error_set(error, -EINVAL, "%s:%u: %s is '%s': expected %s", config->path,
			 config_setting_source_line(setting ? setting : group), name,
			 value ? value : "", expected);
}

int settings_load_rule(struct settings *settings, struct config *config, config_setting_t *group,
		       struct error *error)
{
	static const char *const known[] = { "action", "from", "to", "ports", NULL };
	static const char party[] = "any, host, cid:N or group:NAME";
	struct settings_rule rule = { .port_last = UINT32_MAX };
	const char *action = NULL, *from = "any", *to = "any", *ports = NULL;

	if (config_get_string(config, group, "action", &action, error) < 0 ||
	    config_get_string(config, group, "from", &from, error) < 0 ||
	    config_get_string(config, group, "to", &to, error) < 0 ||
	    config_get_string(config, group, "ports", &ports, error) < 0 ||
	    config_check_unknown(config, group, known, error) < 0)
		return -EINVAL;
	if (!action || (strcmp(action, "allow") != 0 && strcmp(action, "deny") != 0))
		return rules_refuse(config, group, "action", action, "allow or deny", error);
	rule.allow = strcmp(action, "allow") == 0;
	if (rules_party(from, &rule.from) < 0)
		return rules_refuse(config, group, "from", from, party, error);
	if (rules_party(to, &rule.to) < 0)
		return rules_refuse(config, group, "to", to, party, error);
	if (ports && rules_ports(ports, &rule) < 0)
		return rules_refuse(config, group, "ports", ports, "\"N\" or \"N-M\", N up to M",
				    error);
	if (settings->rule_count == SETTINGS_RULES_MAX)
		return error_set(error, -ENOSPC, "%s: more than %d rules", config->path,
				 SETTINGS_RULES_MAX);
	settings->rules[settings->rule_count++] = rule;
	return 0;
}

int settings_load_groups(struct settings_vm *vm, struct config *config, config_setting_t *group,
			 struct error *error)
{
	config_setting_t *list = config_setting_get_member(group, "groups");
	int status = 0;

	if (!list)
		return 0;
	if (!config_setting_is_array(list) && !config_setting_is_list(list))
		return error_set(error, -EINVAL, "%s:%u: groups: expected [ \"NAME\", ... ]",
				 config->path, config_setting_source_line(list));
	for (int i = 0; i < config_setting_length(list) && status == 0; i++) {
		const char *name = config_setting_get_string_elem(list, i);

		if (!name)
			return error_set(error, -EINVAL,
					 "%s:%u: groups: expected names in double quotes",
					 config->path, config_setting_source_line(list));
		status = settings_vm_add_group(vm, name, error);
		if (status < 0)
			error_prefix(error, "%s:%u", config->path,
				     config_setting_source_line(list));
	}
	return status;
}
