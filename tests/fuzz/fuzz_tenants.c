/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a configuration file's list of tenants. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "share/policy.h"
#include "share/tenants.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);
const char *__lsan_default_suppressions(void);

/* libconfig 1.5 forgets a string that it was reading when it meets a syntax error. */
const char *__lsan_default_suppressions(void)
{
	return "leak:libconfig.so\n";
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	int fd = memfd_create("tenants", 0);
	struct tenants tenants;
	struct config config;
	struct error error;
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (fd < 0 || write(fd, data, bytes) != (ssize_t)bytes)
		abort();
	if (!config_load(&config, path, &error)) {
		if (!tenants_read(&tenants, &config, &error)) {
			for (size_t i = 0; i < tenants.count; i++) {
				const struct tenant_settings *tenant = &tenants.list[i];

				if (!*tenant->name || !tenant->weight ||
				    tenant->weight > SHARE_WEIGHT_MAX ||
				    tenant->priority >= SHARE_PRIORITIES ||
				    (*tenant->socket && *tenant->socket != '/'))
					abort();
			}
			tenants_free(&tenants);
		}
		config_close(&config);
	}
	close(fd);
	return 0;
}
