/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `causeway tenant set`: what a tenant may have and who belongs to it, changed while it is at work.
 *
 * change_make() reads all of a change and checks it before anything is changed; what can still fail
 * then, a socket that is opened, comes first. Who belongs holds for connections that come from now
 * on, and so do the user of workers and the tenant's own socket. The file's next reading undoes it
 * all.
 *
 * Everything runs in the supervisor's one thread.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cuda/server/supervisor.h"
#include "share/policy.h"

/* change_read - one number of @changes, where it is there; 0 or -EINVAL with a sentence */
static int change_read(const json_t *changes, const char *name, json_int_t minimum,
		       json_int_t maximum, json_int_t *value, struct error *error)
{
	const json_t *change = json_object_get(changes, name);

	if (!change)
		return 0;
	if (!json_is_integer(change) || json_integer_value(change) < minimum ||
	    json_integer_value(change) > maximum)
		return error_set(error, -EINVAL, "%s: expected a number from %lld to %lld", name,
				 minimum, maximum);
	*value = json_integer_value(change);
	return 0;
}

/* numbers_read - a list of @changes, where it is there; *numbers is the caller's, also on failure
 */
static int numbers_read(const json_t *changes, const char *name, json_int_t minimum,
			json_int_t maximum, uint64_t **numbers, size_t *count, struct error *error)
{
	const json_t *list = json_object_get(changes, name), *number;
	size_t i;

	*numbers = NULL;
	*count = 0;
	if (!list)
		return 0;
	if (!json_is_array(list) || json_array_size(list) > TENANT_MEMBERS_MAX)
		return error_set(error, -EINVAL, "%s: expected a list of at most %u numbers", name,
				 TENANT_MEMBERS_MAX);
	*numbers = calloc(json_array_size(list) + 1, sizeof(**numbers));
	if (!*numbers)
		return error_set(error, -ENOMEM, "no memory");
	json_array_foreach(list, i, number)
	{
		if (!json_is_integer(number) || json_integer_value(number) < minimum ||
		    json_integer_value(number) > maximum)
			return error_set(error, -EINVAL, "%s: expected numbers from %lld to %lld",
					 name, minimum, maximum);
		(*numbers)[(*count)++] = (uint64_t)json_integer_value(number);
	}
	return 0;
}

/* members_free_of - 0 if none of them belongs to another tenant */
static int members_free_of(const struct tenants *tenants, const struct tenant_settings *own,
			   const char *what, const uint64_t *numbers, size_t count,
			   const struct tenant_settings *find(const struct tenants *, uint64_t),
			   struct error *error)
{
	for (size_t i = 0; i < count; i++) {
		const struct tenant_settings *other = find(tenants, numbers[i]);

		if (other && other != own)
			return error_set(error, -EEXIST, "%s %llu belongs to tenant '%s' already",
					 what, (unsigned long long)numbers[i], other->name);
	}
	return 0;
}

/* members_read - who shall belong; the lists of @wanted stay NULL where nothing is said of them */
static int members_read(const struct tenants *configured, const struct tenant_settings *own,
			const json_t *changes, struct tenant_settings *wanted, struct error *error)
{
	int status = numbers_read(changes, "cids", 3, 0xfffffffe, &wanted->cids, &wanted->cid_count,
				  error);

	if (!status)
		status = numbers_read(changes, "users", 0, UINT32_MAX - 1, &wanted->uids,
				      &wanted->uid_count, error);
	if (!status)
		status = members_free_of(configured, own, "CID", wanted->cids, wanted->cid_count,
					 tenants_find_cid, error);
	if (!status)
		status = members_free_of(configured, own, "user", wanted->uids, wanted->uid_count,
					 tenants_find_uid, error);
	return status;
}

/* tokens_read - the secrets in the files that a change names, none of them another tenant's */
static int tokens_read(const struct tenants *configured, const struct tenant_settings *own,
		       const json_t *changes, struct tenant_settings *wanted, struct error *error)
{
	const json_t *list = json_object_get(changes, "token_files"), *file;
	size_t i;

	if (!list)
		return 0;
	if (!json_is_array(list) || json_array_size(list) > TENANT_MEMBERS_MAX)
		return error_set(error, -EINVAL, "token_files: expected a list of at most %u files",
				 TENANT_MEMBERS_MAX);
	wanted->tokens = calloc(json_array_size(list) + 1, sizeof(*wanted->tokens));
	if (!wanted->tokens)
		return error_set(error, -ENOMEM, "no memory");
	json_array_foreach(list, i, file)
	{
		struct tenant_token *token = &wanted->tokens[wanted->token_count++];
		const struct tenant_settings *other;
		int status;

		if (!json_is_string(file) || *json_string_value(file) != '/')
			return error_set(error, -EINVAL, "token_files: expected paths from / on");
		status = tenant_token_read(json_string_value(file), token, error);
		if (status)
			return status;
		other = tenants_find_token(configured, token);
		if (other && other != own)
			return error_set(error, -EEXIST,
					 "the token in '%s' is one of tenant '%s' already",
					 json_string_value(file), other->name);
	}
	return 0;
}

/* socket_read - an entrance of its own, or "" for none */
static int socket_read(const struct tenants *configured, const struct tenant_settings *own,
		       const json_t *changes, struct tenant_settings *wanted, struct error *error)
{
	const json_t *path = json_object_get(changes, "socket");

	if (!path)
		return 0;
	if (!json_is_string(path))
		return error_set(error, -EINVAL, "socket: expected a path");
	if (!*json_string_value(path)) {
		*wanted->socket = '\0';
		return 0;
	}
	return tenants_check_socket(configured, own, json_string_value(path), wanted->socket,
				    error);
}

/* devices_change - which devices it may use; an empty list: all */
static int devices_change(const json_t *changes, uint32_t *devices, struct error *error)
{
	uint64_t *numbers;
	size_t count;
	int status =
		numbers_read(changes, "devices", 0, TENANT_DEVICE_LAST, &numbers, &count, error);

	if (!status && numbers)
		*devices = count ? 0 : UINT32_MAX;
	for (size_t i = 0; i < count && !status; i++)
		*devices |= 1u << numbers[i];
	free(numbers);
	return status;
}

/* simple_read - what is a number or a set of devices */
static int simple_read(const json_t *changes, struct tenant_settings *wanted, struct error *error)
{
	json_int_t weight = wanted->weight, priority = wanted->priority, user = wanted->user;
	json_int_t memory = (json_int_t)wanted->memory_bytes, clients = wanted->clients;
	json_int_t watchdog_ms = wanted->watchdog_ms;
	int status = change_read(changes, "weight", 1, SHARE_WEIGHT_MAX, &weight, error);

	if (!status)
		status =
			change_read(changes, "priority", 0, SHARE_PRIORITIES - 1, &priority, error);
	if (!status)
		status = change_read(changes, "memory", 0, INT64_MAX, &memory, error);
	if (!status)
		status = change_read(changes, "clients", 0, TENANT_CLIENTS_MAX, &clients, error);
	if (!status)
		status = change_read(changes, "watchdog_ms", 0, INT32_MAX, &watchdog_ms, error);
	if (!status)
		status = change_read(changes, "user", -1, UINT32_MAX - 1, &user, error);
	if (!status)
		status = devices_change(changes, &wanted->devices, error);
	if (status)
		return status;
	wanted->weight = (unsigned int)weight;
	wanted->priority = (unsigned int)priority;
	wanted->memory_bytes = (uint64_t)memory;
	wanted->clients = (unsigned int)clients;
	wanted->watchdog_ms = (unsigned int)watchdog_ms;
	wanted->user = user;
	return 0;
}

/* socket_open - the entrances as they are with @socket in the place of @own's; 0 or -errno */
static int socket_open(struct supervisor *supervisor, struct tenants *configured,
		       struct tenant_settings *own, const char *socket, struct error *error)
{
	struct tenants former = { .count = configured->count };
	int status;

	if (!strcmp(own->socket, socket))
		return 0;
	former.list = calloc(former.count, sizeof(*former.list));
	if (!former.list)
		return error_set(error, -ENOMEM, "no memory");
	memcpy(former.list, configured->list, former.count * sizeof(*former.list));
	strcpy(own->socket, socket);
	status = listen_tenants(supervisor, configured, &former, error);
	if (status < 0)
		strcpy(own->socket, former.list[own - configured->list].socket);
	free(former.list);
	return status < 0 ? status : 0;
}

/* members_take - the lists of @wanted that are there become @own's */
static void members_take(struct tenant_settings *own, struct tenant_settings *wanted)
{
	if (wanted->cids) {
		free(own->cids);
		own->cids = wanted->cids;
		own->cid_count = wanted->cid_count;
	}
	if (wanted->uids) {
		free(own->uids);
		own->uids = wanted->uids;
		own->uid_count = wanted->uid_count;
	}
	if (wanted->tokens) {
		free(own->tokens);
		own->tokens = wanted->tokens;
		own->token_count = wanted->token_count;
	}
	wanted->cids = wanted->uids = NULL;
	wanted->tokens = NULL;
}

/* of_the_file - what only a tenant of the file can have: members other than one identity */
static bool of_the_file(const json_t *changes)
{
	return json_object_get(changes, "cids") || json_object_get(changes, "users") ||
	       json_object_get(changes, "token_files") || json_object_get(changes, "socket");
}

int change_make(struct supervisor *supervisor, struct tenants *configured, const json_t *changes,
		struct tenant_settings *settings, struct error *error)
{
	struct tenant_settings *own = NULL, wanted = *settings;
	int status;

	for (size_t i = 0; i < configured->count; i++)
		if (!strcmp(configured->list[i].name, settings->name))
			own = &configured->list[i];
	if (!own && of_the_file(changes))
		return error_set(error, -ENOENT,
				 "tenant '%s' is one identity, and has no other members",
				 settings->name);
	status = simple_read(changes, &wanted, error);
	if (!status)
		status = members_read(configured, own, changes, &wanted, error);
	if (!status)
		status = tokens_read(configured, own, changes, &wanted, error);
	if (!status)
		status = socket_read(configured, own, changes, &wanted, error);
	if (!status && own)
		status = socket_open(supervisor, configured, own, wanted.socket, error);
	if (!status && own)
		members_take(own, &wanted);
	free(wanted.cids);
	free(wanted.uids);
	free(wanted.tokens);
	wanted.cids = wanted.uids = NULL;
	wanted.tokens = NULL;
	if (!status)
		*settings = wanted;
	return status;
}
