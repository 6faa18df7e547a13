/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Engines: the cards. Engine i is node i+1. How many there are says /sys/class/mic, where a driver
 * shows it (in a VM); elsewhere the nodes that are online.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "scif/coi/export.h"
#include "scif/coi/host/host.h"

#define ENGINE_CARDS_MAX 16 /* nodes above are no cards */
#define ENGINE_VENDOR	 0x8086

static struct coiengine engines[ENGINE_CARDS_MAX];

bool engine_is(const struct coiengine *engine)
{
	for (unsigned int i = 0; i < ENGINE_CARDS_MAX; i++) {
		if (engine == &engines[i])
			return engine->node != 0;
	}
	return false;
}

/* Bit i: node i+1 is online. */
static uint32_t engines_online(void)
{
	uint16_t nodes[64], self = 0;
	uint32_t online = 0;
	int count = scif_get_nodeIDs(nodes, 64, &self);

	for (int i = 0; i < count && i < 64; i++) {
		if (nodes[i] != self && nodes[i] >= 1 && nodes[i] <= ENGINE_CARDS_MAX)
			online |= 1u << (nodes[i] - 1);
	}
	return online;
}

static uint32_t engines_count(void)
{
	uint32_t online = engines_online(), count = 0;
	char path[64];

	do {
		snprintf(path, sizeof(path), "/sys/class/mic/mic%u", count);
	} while (access(path, F_OK) == 0 && ++count < ENGINE_CARDS_MAX);
	/* A card that went away leaves those behind it their numbers. */
	while (count < ENGINE_CARDS_MAX && online >> count)
		count++;
	return count;
}

/* Whether a card is of that kind: those here run x86-64 programs, and say that they are of the
 * family that does. */
static bool engine_is_card(COI_ISA_TYPE isa)
{
	return isa == COI_ISA_MIC || isa == COI_ISA_KNC || isa == COI_ISA_KNF;
}

COI_EXPORT COIRESULT COIEngineGetCount(COI_ISA_TYPE in_ISA, uint32_t *out_pNumEngines)
{
	if (!out_pNumEngines)
		return COI_INVALID_POINTER;
	if (in_ISA == COI_ISA_x86_64)
		*out_pNumEngines = 1;
	else if (engine_is_card(in_ISA))
		*out_pNumEngines = engines_count();
	else
		return COI_DOES_NOT_EXIST;
	return COI_SUCCESS;
}

COI_EXPORT COIRESULT COIEngineGetHandle(COI_ISA_TYPE in_ISA, uint32_t in_EngineIndex,
					COIENGINE *out_pEngineHandle)
{
	if (!out_pEngineHandle)
		return COI_INVALID_POINTER;
	if (!engine_is_card(in_ISA)) /* the host runs no sinks */
		return in_ISA == COI_ISA_x86_64 ? COI_NOT_SUPPORTED : COI_DOES_NOT_EXIST;
	if (in_EngineIndex >= engines_count())
		return COI_OUT_OF_RANGE;
	if (!(engines_online() >> in_EngineIndex & 1))
		return COI_NOT_INITIALIZED;
	engines[in_EngineIndex].node = (uint16_t)(in_EngineIndex + 1);
	*out_pEngineHandle = &engines[in_EngineIndex];
	return COI_SUCCESS;
}

/* A number that the driver shows of the card; 0 where it does not. */
static unsigned long engine_shown(const struct coiengine *engine, const char *what)
{
	char path[96], text[64] = "";
	FILE *file;

	snprintf(path, sizeof(path), "/sys/class/mic/mic%u/%s", engine->node - 1u, what);
	file = fopen(path, "re");
	if (!file)
		return 0;
	if (!fgets(text, sizeof(text), file))
		text[0] = 0;
	fclose(file);
	return strtoul(text, NULL, 0);
}

COI_EXPORT COIRESULT COIEngineGetHostname(COIENGINE in_EngineHandle, char *out_Hostname)
{
	if (!engine_is(in_EngineHandle))
		return COI_INVALID_HANDLE;
	if (!out_Hostname)
		return COI_INVALID_POINTER;
	/* As in sysfs, and as cards are called (causeway-card --name). */
	sprintf(out_Hostname, "mic%u", in_EngineHandle->node - 1u);
	return COI_SUCCESS;
}

COI_EXPORT COIRESULT COIEngineGetInfo(COIENGINE in_EngineHandle, uint32_t in_EngineInfoSize,
				      COI_ENGINE_INFO *out_pEngineInfo)
{
	static const wchar_t version[] = L"Causeway";
	struct card_hello hello = { .mode = CARD_MODE_OFFLOAD };
	struct card_connection card;
	COI_ENGINE_INFO *info = out_pEngineInfo;
	struct error error;

	if (!info)
		return COI_INVALID_POINTER;
	if (!engine_is(in_EngineHandle))
		return COI_INVALID_HANDLE;
	if (in_EngineInfoSize != sizeof(*info))
		return COI_SIZE_MISMATCH;
	memset(info, 0, sizeof(*info));
	memcpy(info->DriverVersion, version, sizeof(version));
	info->ISA = COI_ISA_MIC;
	info->MiscFlags = COI_ENG_ECC_UNKNOWN;
	info->VendorId = ENGINE_VENDOR;
	info->DeviceId = (uint16_t)engine_shown(in_EngineHandle, "device/device");
	info->SubSystemId = (uint16_t)engine_shown(in_EngineHandle, "device/subsystem_device");
	if (card_connect(&card, in_EngineHandle->node, &hello, &error) < 0)
		return COI_SUCCESS; /* what cannot be asked is zero */
	info->NumCores = card.welcome.cores;
	info->NumThreads = card.welcome.cores * card.welcome.threads_per_core;
	info->PhysicalMemory = card.welcome.memory_bytes;
	info->PhysicalMemoryFree = card.welcome.memory_free_bytes;
	card_close(&card);
	return COI_SUCCESS;
}

COI_EXPORT COIRESULT COIEngineGetIndex(COI_ISA_TYPE *out_pType, uint32_t *out_pIndex)
{
	if (!out_pType || !out_pIndex)
		return COI_INVALID_POINTER;
	*out_pType = COI_ISA_x86_64;
	*out_pIndex = 0;
	return COI_SUCCESS;
}
