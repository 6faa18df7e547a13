/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration's list of tenants; see tenants.h for its form. */
#include "share/tenants.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/clean.h"
#include "share/policy.h"

#define CID_FIRST 3u /* below are the hypervisor, this host and the guest itself */
#define CID_LAST  0xfffffffeu

const struct tenant_settings tenant_settings_default = {
	.weight = 1,
	.devices = UINT32_MAX,
	.user = -1,
};

int tenant_bytes_parse(const char *text, uint64_t *bytes)
{
	static const char units[] = "KMGT";
	unsigned long long number;
	const char *unit;
	char *end;

	if (!isdigit((unsigned char)*text))
		return -EINVAL;
	errno = 0;
	number = strtoull(text, &end, 10);
	if (errno)
		return -EINVAL;
	*bytes = number;
	if (!*end)
		return 0;
	unit = strchr(units, *end);
	if (!unit || end[1] ||
	    __builtin_mul_overflow(number, 1ull << (10 * (unit - units + 1)), bytes))
		return -EINVAL;
	return 0;
}

/* refuse - a sentence about one setting; an element has the name of its list */
static int refuse(const struct config *config, const config_setting_t *setting,
		  const char *expected, struct error *error)
{
	const config_setting_t *named =
		config_setting_name(setting) ? setting : config_setting_parent(setting);

	return error_set(error, -EINVAL, "%s:%u: %s: expected %s", config->path,
			 config_setting_source_line(setting), config_setting_name(named), expected);
}

static int member_number(const struct config *config, const config_setting_t *element,
			 uint64_t minimum, uint64_t maximum, const char *expected, uint64_t *number,
			 struct error *error)
{
	long long value;

	if (config_setting_type(element) != CONFIG_TYPE_INT &&
	    config_setting_type(element) != CONFIG_TYPE_INT64)
		return refuse(config, element, expected, error);
	value = config_setting_get_int64(element);
	if (value < 0 || (uint64_t)value < minimum || (uint64_t)value > maximum)
		return refuse(config, element, expected, error);
	*number = (uint64_t)value;
	return 0;
}

static int member_cid(const struct config *config, const config_setting_t *element,
		      uint64_t *number, struct error *error)
{
	return member_number(config, element, CID_FIRST, CID_LAST,
			     "CIDs of guests, 3 to 4294967294", number, error);
}

int64_t tenant_user_find(const config_setting_t *setting)
{
	const struct passwd *user;
	long long number;

	if (config_setting_type(setting) == CONFIG_TYPE_STRING) {
		user = getpwnam(config_setting_get_string(setting));
		return user ? (int64_t)user->pw_uid : -1;
	}
	if (config_setting_type(setting) != CONFIG_TYPE_INT &&
	    config_setting_type(setting) != CONFIG_TYPE_INT64)
		return -1;
	number = config_setting_get_int64(setting);
	return number >= 0 && number < UINT32_MAX ? number : -1;
}

static int member_user(const struct config *config, const config_setting_t *element,
		       uint64_t *number, struct error *error)
{
	int64_t user = tenant_user_find(element);

	if (config_setting_type(element) != CONFIG_TYPE_STRING)
		return member_number(config, element, 0, UINT32_MAX - 1,
				     "names or numbers of users", number, error);
	if (user < 0)
		return error_set(error, -EINVAL,
				 "%s:%u: there is no user '%s': expected names or numbers of users",
				 config->path, config_setting_source_line(element),
				 config_setting_get_string(element));
	*number = (uint64_t)user;
	return 0;
}

int tenant_token_read(const char *path, struct tenant_token *token, struct error *error)
{
	char text[LINK_TOKEN_BYTES_MAX + 2];
	struct stat status;
	autoclose int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t bytes;

	if (fd < 0 || fstat(fd, &status) < 0)
		return error_set(error, -errno, "token file '%s': %s", path, strerror(errno));
	if (status.st_mode & 077)
		return error_set(error, -EACCES,
				 "token file '%s': others may read it (mode %03o); expected 0600",
				 path, status.st_mode & 0777);
	bytes = read(fd, text, sizeof(text));
	if (bytes < 0)
		return error_set(error, -errno, "token file '%s': %s", path, strerror(errno));
	if (bytes && text[bytes - 1] == '\n')
		bytes--;
	if (!bytes || bytes > LINK_TOKEN_BYTES_MAX || memchr(text, '\0', (size_t)bytes))
		return error_set(error, -EINVAL, "token file '%s': expected 1 to %d bytes of text",
				 path, LINK_TOKEN_BYTES_MAX);
	*token = (struct tenant_token){ 0 };
	memcpy(token->text, text, (size_t)bytes);
	return 0;
}

static int member_device(const struct config *config, const config_setting_t *element,
			 uint64_t *number, struct error *error)
{
	return member_number(config, element, 0, TENANT_DEVICE_LAST, "numbers of devices, 0 to 15",
			     number, error);
}

/* members_read - the elements of a list or array; *numbers is the caller's, also after an error */
static int members_read(struct config *config, config_setting_t *group, const char *name,
			int (*read)(const struct config *, const config_setting_t *, uint64_t *,
				    struct error *),
			uint64_t **numbers, size_t *count, struct error *error)
{
	config_setting_t *setting = config_setting_get_member(group, name);
	int length, status = 0;

	if (!setting)
		return 0;
	if (!config_setting_is_array(setting) && !config_setting_is_list(setting))
		return refuse(config, setting, "a list, as in [1, 2] or (\"name\", 2)", error);
	length = config_setting_length(setting);
	if (length > (int)TENANT_MEMBERS_MAX)
		return refuse(config, setting, "at most 256 members", error);
	*numbers = calloc(length ? length : 1, sizeof(**numbers));
	if (!*numbers)
		return error_set(error, -ENOMEM, "no memory");
	for (int i = 0; i < length && !status; i++) {
		status = read(config, config_setting_get_elem(setting, i), &(*numbers)[*count],
			      error);
		*count += !status;
	}
	return status;
}

static int devices_read(struct config *config, config_setting_t *group,
			struct tenant_settings *tenant, struct error *error)
{
	uint64_t *numbers = NULL;
	size_t count = 0;
	int status = members_read(config, group, "devices", member_device, &numbers, &count, error);

	if (numbers && !status)
		tenant->devices = 0;
	for (size_t i = 0; i < count; i++)
		tenant->devices |= 1u << numbers[i];
	free(numbers);
	return status;
}

/* tokens_read - the secrets in the files of `token_files` */
static int tokens_read(struct config *config, config_setting_t *group,
		       struct tenant_settings *tenant, struct error *error)
{
	config_setting_t *list = config_setting_get_member(group, "token_files");
	int length = list ? config_setting_length(list) : 0, status = 0;

	if (!list)
		return 0;
	if (!config_setting_is_array(list) && !config_setting_is_list(list))
		return refuse(config, list, "a list of files, as in [\"/etc/red.token\"]", error);
	if (length > (int)TENANT_MEMBERS_MAX)
		return refuse(config, list, "at most 256 files", error);
	tenant->tokens = calloc(length ? (size_t)length : 1, sizeof(*tenant->tokens));
	if (!tenant->tokens)
		return error_set(error, -ENOMEM, "no memory");
	for (int i = 0; i < length && !status; i++) {
		const char *path = config_setting_get_string_elem(list, i);

		if (!path)
			return refuse(config, list, "names of files", error);
		status = tenant_token_read(path, &tenant->tokens[i], error);
		tenant->token_count += !status;
	}
	return status ? error_prefix(error, "%s:%u", config->path, config_setting_source_line(list))
		      : 0;
}

static int user_read(const struct config *config, config_setting_t *group,
		     struct tenant_settings *tenant, struct error *error)
{
	config_setting_t *setting = config_setting_get_member(group, "user");

	if (!setting)
		return 0;
	tenant->user = tenant_user_find(setting);
	return tenant->user < 0 ? refuse(config, setting, "the name or number of a user", error)
				: 0;
}

static int memory_read(struct config *config, config_setting_t *group,
		       struct tenant_settings *tenant, struct error *error)
{
	config_setting_t *setting = config_setting_get_member(group, "memory");
	int64_t number = 0;
	int status;

	if (setting && config_setting_type(setting) == CONFIG_TYPE_STRING) {
		if (tenant_bytes_parse(config_setting_get_string(setting), &tenant->memory_bytes))
			return refuse(config, setting,
				      "bytes, as in \"8G\", \"512M\" or 1073741824", error);
		return 0;
	}
	status = config_get_integer(config, group, "memory", 0, INT64_MAX, &number, error);
	tenant->memory_bytes = (uint64_t)number;
	return status < 0 ? status : 0;
}

static int name_read(struct config *config, config_setting_t *group, const struct tenants *tenants,
		     struct tenant_settings *tenant, struct error *error)
{
	const char *name = NULL;
	int status = config_get_string(config, group, "name", &name, error);

	if (status < 0)
		return status;
	if (!name || !*name || strlen(name) >= sizeof(tenant->name))
		return error_set(error, -EINVAL,
				 "%s:%u: name is '%s': expected 1 to 63 bytes, for each tenant",
				 config->path, config_setting_source_line(group), name ? name : "");
	if (tenants_find_name(tenants, name))
		return error_set(error, -EINVAL, "%s:%u: there are two tenants '%s'", config->path,
				 config_setting_source_line(group), name);
	strcpy(tenant->name, name);
	return 0;
}

int tenants_check_socket(const struct tenants *tenants, const struct tenant_settings *own,
			 const char *path, char socket[TENANT_PATH_BYTES], struct error *error)
{
	if (*path != '/' || strlen(path) >= TENANT_PATH_BYTES)
		return error_set(error, -EINVAL,
				 "socket is '%s': expected a path from / on, of at most 107 bytes",
				 path);
	for (size_t i = 0; i < tenants->count; i++) {
		if (&tenants->list[i] != own && !strcmp(tenants->list[i].socket, path))
			return error_set(error, -EINVAL,
					 "socket '%s' belongs to tenant '%s' already", path,
					 tenants->list[i].name);
	}
	strcpy(socket, path);
	return 0;
}

/* socket_read - the tenant's own entrance; no two have the same */
static int socket_read(struct config *config, config_setting_t *group,
		       const struct tenants *tenants, struct tenant_settings *tenant,
		       struct error *error)
{
	const char *path = NULL;
	int status = config_get_string(config, group, "socket", &path, error);

	if (status <= 0)
		return status;
	status = tenants_check_socket(tenants, NULL, path, tenant->socket, error);
	return status ? error_prefix(error, "%s:%u", config->path,
				     config_setting_source_line(group))
		      : 0;
}

static int numbers_read(struct config *config, config_setting_t *group,
			struct tenant_settings *tenant, struct error *error)
{
	const struct {
		const char *name;
		int64_t minimum, maximum;
		unsigned int *value;
	} numbers[] = {
		{ "weight", 1, SHARE_WEIGHT_MAX, &tenant->weight },
		{ "priority", 0, SHARE_PRIORITIES - 1, &tenant->priority },
		{ "clients", 0, TENANT_CLIENTS_MAX, &tenant->clients },
		{ "watchdog_ms", 0, INT32_MAX, &tenant->watchdog_ms },
	};

	for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++) {
		int64_t number = *numbers[i].value;
		int status = config_get_integer(config, group, numbers[i].name, numbers[i].minimum,
						numbers[i].maximum, &number, error);

		if (status < 0)
			return status;
		*numbers[i].value = (unsigned int)number;
	}
	return 0;
}

/* members_check - each identity belongs to one tenant alone */
static int members_check(const struct config *config, const config_setting_t *group,
			 const struct tenants *tenants, const struct tenant_settings *tenant,
			 struct error *error)
{
	const struct tenant_settings *other;

	for (size_t i = 0; i < tenant->cid_count; i++) {
		other = tenants_find_cid(tenants, tenant->cids[i]);
		if (other)
			return error_set(error, -EINVAL,
					 "%s:%u: CID %llu belongs to tenant '%s' already",
					 config->path, config_setting_source_line(group),
					 (unsigned long long)tenant->cids[i], other->name);
	}
	for (size_t i = 0; i < tenant->uid_count; i++) {
		other = tenants_find_uid(tenants, tenant->uids[i]);
		if (other)
			return error_set(error, -EINVAL,
					 "%s:%u: user %llu belongs to tenant '%s' already",
					 config->path, config_setting_source_line(group),
					 (unsigned long long)tenant->uids[i], other->name);
	}
	for (size_t i = 0; i < tenant->token_count; i++) {
		other = tenants_find_token(tenants, &tenant->tokens[i]);
		if (other)
			return error_set(error, -EINVAL,
					 "%s:%u: token %zu is one of tenant '%s' already",
					 config->path, config_setting_source_line(group), i + 1,
					 other->name);
	}
	return 0;
}

static void tenant_free(struct tenant_settings *tenant)
{
	free(tenant->cids);
	free(tenant->uids);
	free(tenant->tokens);
}

/* tenant_read - one group; *tenant is the caller's to free, also after an error */
static int tenant_read(struct config *config, config_setting_t *group,
		       const struct tenants *tenants, struct tenant_settings *tenant,
		       struct error *error)
{
	static const char *const known[] = { "name",	    "cids",	   "users",   "weight",
					     "priority",    "memory",	   "clients", "devices",
					     "watchdog_ms", "token_files", "user",    "socket",
					     NULL };
	int status;

	*tenant = tenant_settings_default;
	if (!config_setting_is_group(group))
		return refuse(config, group, "a group, as in { name = \"red\"; weight = 2; }",
			      error);
	status = config_check_unknown(config, group, known, error);
	if (!status)
		status = name_read(config, group, tenants, tenant, error);
	if (!status)
		status = numbers_read(config, group, tenant, error);
	if (!status)
		status = memory_read(config, group, tenant, error);
	if (!status)
		status = devices_read(config, group, tenant, error);
	if (!status)
		status = socket_read(config, group, tenants, tenant, error);
	if (!status)
		status = members_read(config, group, "cids", member_cid, &tenant->cids,
				      &tenant->cid_count, error);
	if (!status)
		status = members_read(config, group, "users", member_user, &tenant->uids,
				      &tenant->uid_count, error);
	if (!status)
		status = tokens_read(config, group, tenant, error);
	if (!status)
		status = user_read(config, group, tenant, error);
	return status ? status : members_check(config, group, tenants, tenant, error);
}

int tenants_read(struct tenants *tenants, struct config *config, struct error *error)
{
	config_setting_t *list = config_section(config, "tenants");
	int length, status = 0;

	*tenants = (struct tenants){ 0 };
	if (!list)
		return 0;
	if (!config_setting_is_list(list))
		return refuse(config, list, "a list of groups, as in ( { name = \"red\"; } )",
			      error);
	length = config_setting_length(list);
	if (length > (int)TENANTS_MAX)
		return refuse(config, list, "at most 256 tenants", error);
	tenants->list = calloc(length ? length : 1, sizeof(*tenants->list));
	if (!tenants->list)
		return error_set(error, -ENOMEM, "no memory");
	for (int i = 0; i < length && !status; i++) {
		struct tenant_settings *tenant = &tenants->list[i];

		status = tenant_read(config, config_setting_get_elem(list, i), tenants, tenant,
				     error);
		if (status)
			tenant_free(tenant);
		else
			tenants->count++;
	}
	if (status)
		tenants_free(tenants);
	return status;
}

void tenants_free(struct tenants *tenants)
{
	for (size_t i = 0; i < tenants->count; i++)
		tenant_free(&tenants->list[i]);
	free(tenants->list);
	*tenants = (struct tenants){ 0 };
}

const struct tenant_settings *tenants_find_cid(const struct tenants *tenants, uint64_t cid)
{
	for (size_t i = 0; i < tenants->count; i++)
		for (size_t k = 0; k < tenants->list[i].cid_count; k++)
			if (tenants->list[i].cids[k] == cid)
				return &tenants->list[i];
	return NULL;
}

const struct tenant_settings *tenants_find_uid(const struct tenants *tenants, uint64_t uid)
{
	for (size_t i = 0; i < tenants->count; i++)
		for (size_t k = 0; k < tenants->list[i].uid_count; k++)
			if (tenants->list[i].uids[k] == uid)
				return &tenants->list[i];
	return NULL;
}

const struct tenant_settings *tenants_find_name(const struct tenants *tenants, const char *name)
{
	for (size_t i = 0; i < tenants->count; i++)
		if (!strcmp(tenants->list[i].name, name))
			return &tenants->list[i];
	return NULL;
}

const struct tenant_settings *tenants_find_token(const struct tenants *tenants,
						 const struct tenant_token *token)
{
	for (size_t i = 0; i < tenants->count; i++)
		for (size_t k = 0; k < tenants->list[i].token_count; k++)
			if (!memcmp(&tenants->list[i].tokens[k], token, sizeof(*token)))
				return &tenants->list[i];
	return NULL;
}
