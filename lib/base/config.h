/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The daemons' configuration file: libconfig's syntax, typed look-ups, and errors that name file,
 * line, setting, value and what was expected.
 *
 *	cuda = { socket = "/run/causeway/cuda.sock"; driver = "libcuda.so.1"; max_clients = 256; };
 *
 * A section is read by one call per setting, then config_check_unknown() refuses misspelt ones.
 */
#ifndef CAUSEWAY_LIB_BASE_CONFIG_H
#define CAUSEWAY_LIB_BASE_CONFIG_H

#include <libconfig.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/base/error.h"

struct config {
	config_t tree;
	const char *path; /* for messages; the caller's */
};

/**
 * config_load - read and parse the file
 * @path: kept as a pointer until config_close()
 *
 * Return: 0, or -errno (-EINVAL for a syntax error) with the sentence in @error. After success the
 * caller owes config_close().
 */
int config_load(struct config *config, const char *path, struct error *error);
void config_close(struct config *config);

/* config_section - the group of that dotted name, NULL where the file has none */
config_setting_t *config_section(struct config *config, const char *name);

/*
 * Typed look-ups inside a group. Each leaves *value alone and returns 0 where the setting is
 * absent (so *value holds the default), returns 1 where it was read, or -EINVAL with a sentence
 * where it has the wrong type or leaves [minimum, maximum]. Strings live as long as the config.
 */
int config_get_string(struct config *config, config_setting_t *group, const char *name,
		      const char **value, struct error *error);
int config_get_integer(struct config *config, config_setting_t *group, const char *name,
		       int64_t minimum, int64_t maximum, int64_t *value, struct error *error);
int config_get_boolean(struct config *config, config_setting_t *group, const char *name,
		       bool *value, struct error *error);

/* config_check_unknown - -EINVAL for the first setting of @group not in @known (NULL-ended) */
int config_check_unknown(struct config *config, config_setting_t *group, const char *const *known,
			 struct error *error);

#endif
