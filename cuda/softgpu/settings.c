/* SPDX-License-Identifier: Apache-2.0 */
/*
 * settings: what the environment makes of a softgpu device: SOFTGPU_DEVICES (1 to 16, default 1),
 * SOFTGPU_MEMORY_MIB (of each device; default half of the host's memory, at most 8 GiB),
 * SOFTGPU_CONTEXT_MIB (what a context takes of that, as GPUs' do; default 0), SOFTGPU_CODE_MIB
 * (what a kernel takes of it from its first launch on, as where drivers load code lazily; default
 * 0).
 */
#include "cuda/softgpu/settings.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/log.h"

#define MEMORY_DEFAULT_MAX (8ul << 30)

/* A number from the environment within [minimum, maximum]; *value stays where it is not set. */
static bool environment_number(const char *name, unsigned long minimum, unsigned long maximum,
			       unsigned long *value)
{
	const char *text = getenv(name);
	unsigned long number;
	char *end;

	if (!text || !*text)
		return true;
	number = strtoul(text, &end, 10);
	if (*end || end == text || number < minimum || number > maximum) {
		log_error("%s is \"%s\": expected a number from %lu to %lu", name, text, minimum,
			  maximum);
		return false;
	}
	*value = number;
	return true;
}

bool settings_read(struct settings *settings)
{
	size_t host_bytes = (size_t)sysconf(_SC_PHYS_PAGES) * (size_t)sysconf(_SC_PAGESIZE);
	unsigned long devices = 1, context_mib = 0, code_mib = 0;
	unsigned long memory_mib = host_bytes / 2 >> 20;

	if (memory_mib > MEMORY_DEFAULT_MAX >> 20)
		memory_mib = MEMORY_DEFAULT_MAX >> 20;
	if (!environment_number("SOFTGPU_DEVICES", 1, DEVICES_MAX, &devices) ||
	    !environment_number("SOFTGPU_MEMORY_MIB", 1, 1ul << 18, &memory_mib) ||
	    !environment_number("SOFTGPU_CONTEXT_MIB", 0, 1ul << 18, &context_mib) ||
	    !environment_number("SOFTGPU_CODE_MIB", 0, 1ul << 18, &code_mib))
		return false;
	settings->devices = (int)devices;
	settings->memory_bytes = memory_mib << 20;
	settings->context_bytes = context_mib << 20;
	settings->code_bytes = code_mib << 20;
	settings->processors = (int)sysconf(_SC_NPROCESSORS_ONLN);
	settings->remnants = getenv("SOFTGPU_REMNANTS");
	for (int i = 0; i < settings->devices; i++)
		settings->places[i] = i;
	return true;
}

void settings_see(struct settings *settings)
{
	const char *list = getenv("CUDA_VISIBLE_DEVICES");
	int all = settings->devices, seen = 0;
	char *end;

	if (!list)
		return;
	for (uint32_t taken = 0;; list = end + 1) {
		unsigned long place = strtoul(list, &end, 10);

		if (end == list || (*end && *end != ',') || place >= (unsigned long)all ||
		    taken & 1u << place)
			break;
		taken |= 1u << place;
		settings->places[seen++] = (int)place;
		if (!*end)
			break;
	}
	settings->devices = seen;
}

void settings_uuid(int place, uint8_t uuid[16])
{
	memcpy(uuid, "causewaysoftgpu", 15);
	uuid[15] = (uint8_t)place;
}
