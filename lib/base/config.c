/* SPDX-License-Identifier: Apache-2.0 */
/* libconfig with errors a person can act on; see config.h. */
#include "lib/base/config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

int config_load(struct config *config, const char *path, struct error *error)
{
	FILE *file = fopen(path, "re");
	int parsed;

	if (!file)
		return error_set(error, -errno, "cannot read '%s': %s", path, strerror(errno));
	config_init(&config->tree);
	config->path = path;
	parsed = config_read(&config->tree, file);
	fclose(file);
	if (parsed == CONFIG_FALSE) {
		error_set(error, -EINVAL, "%s:%d: %s", path, config_error_line(&config->tree),
			  config_error_text(&config->tree));
		config_close(config);
		return -EINVAL;
	}
	return 0;
}

void config_close(struct config *config)
{
	config_destroy(&config->tree);
}

config_setting_t *config_section(struct config *config, const char *name)
{
	return config_lookup(&config->tree, name);
}

/* The sentence for a value of the wrong kind. */
static int config_refuse(struct config *config, config_setting_t *setting, const char *expected,
			 struct error *error)
{
	return error_set(error, -EINVAL, "%s:%u: %s: expected %s", config->path,
			 config_setting_source_line(setting), config_setting_name(setting),
			 expected);
}

int config_get_string(struct config *config, config_setting_t *group, const char *name,
		      const char **value, struct error *error)
{
	config_setting_t *setting = config_setting_get_member(group, name);

	if (!setting)
		return 0;
	if (config_setting_type(setting) != CONFIG_TYPE_STRING)
		return config_refuse(config, setting, "a string in double quotes", error);
	*value = config_setting_get_string(setting);
	return 1;
}

int config_get_integer(struct config *config, config_setting_t *group, const char *name,
		       int64_t minimum, int64_t maximum, int64_t *value, struct error *error)
{
	config_setting_t *setting = config_setting_get_member(group, name);
	int64_t number;

	if (!setting)
		return 0;
	if (config_setting_type(setting) == CONFIG_TYPE_INT)
		number = config_setting_get_int(setting);
	else if (config_setting_type(setting) == CONFIG_TYPE_INT64)
		number = config_setting_get_int64(setting);
	else
		return config_refuse(config, setting, "a whole number", error);
	if (number < minimum || number > maximum)
		return error_set(error, -EINVAL,
				 "%s:%u: %s is %" PRId64 ": expected %" PRId64 " to %" PRId64,
				 config->path, config_setting_source_line(setting), name, number,
				 minimum, maximum);
	*value = number;
	return 1;
}

int config_get_boolean(struct config *config, config_setting_t *group, const char *name,
		       bool *value, struct error *error)
{
	config_setting_t *setting = config_setting_get_member(group, name);

	if (!setting)
		return 0;
	if (config_setting_type(setting) != CONFIG_TYPE_BOOL)
		return config_refuse(config, setting, "true or false", error);
	*value = config_setting_get_bool(setting);
	return 1;
}

int config_check_unknown(struct config *config, config_setting_t *group, const char *const *known,
			 struct error *error)
{
	for (int i = 0; i < config_setting_length(group); i++) {
		config_setting_t *setting = config_setting_get_elem(group, i);
		const char *name = config_setting_name(setting);
		bool found = false;

		for (int k = 0; name && known[k] && !found; k++)
			found = strcmp(name, known[k]) == 0;
		if (!found)
			return error_set(error, -EINVAL, "%s:%u: unknown setting '%s'",
					 config->path, config_setting_source_line(setting),
					 name ? name : "(unnamed)");
	}
	return 0;
}
