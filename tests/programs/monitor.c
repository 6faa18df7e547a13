/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a monitor asks of libnvidia-ml.so.1, in nvidia-smi's order; prints what stays the same
 * between runs, so that a device's own answers and remoted ones can be compared.
 *
 * usage: monitor [watch]     watch: then memory and processes, once for each line of standard input
 */
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *library;

typedef int (*function)(uint64_t, uint64_t, uint64_t, uint64_t);

static int call(const char *name, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
	void *found = dlsym(library, name);

	return found ? ((function)found)(a, b, c, d) : 13;
}

#define P(pointer) ((uint64_t)(uintptr_t)(pointer))

static void show_text(const char *name, void *device)
{
	char text[128] = "";
	int result = device ? call(name, P(device), P(text), sizeof(text), 0)
			    : call(name, P(text), sizeof(text), 0, 0);

	printf("%s: %d \"%s\"\n", name, result, text);
}

static void show_number(const char *name, void *device)
{
	uint64_t number = 0;
	int result = call(name, P(device), P(&number), 0, 0);

	printf("%s: %d %llu\n", name, result, (unsigned long long)number);
}

static void show_two(const char *name, void *device)
{
	unsigned int one = 0, two = 0;
	int result = call(name, P(device), P(&one), P(&two), 0);

	printf("%s: %d %u %u\n", name, result, one, two);
}

/* show_answer - whether there is an answer, where it changes from moment to moment */
static void show_answer(const char *name, void *device, int with_kind)
{
	unsigned int numbers[16] = { 0 };
	int result = with_kind ? call(name, P(device), 0, P(numbers), 0)
			       : call(name, P(device), P(numbers), 0, 0);

	printf("%s: %d\n", name, result);
}

static void show_memory(void *device)
{
	uint64_t one[3] = { 0 }, two[5] = { 2u << 24 | 40 }, bad[5] = { 9u << 24 | 40 };
	int first = call("nvmlDeviceGetMemoryInfo", P(device), P(one), 0, 0);
	int second = call("nvmlDeviceGetMemoryInfo_v2", P(device), P(two), 0, 0);
	int third = call("nvmlDeviceGetMemoryInfo_v2", P(device), P(bad), 0, 0);

	printf("memory: %d total %llu, %d total %llu, of an unknown version %d\n", first,
	       (unsigned long long)one[0], second, (unsigned long long)two[1], third);
}

/* watch - memory in use, and processes, now */
static void watch(void *device)
{
	struct {
		uint32_t process;
		uint64_t used;
		uint32_t instances[2];
	} list[64];
	unsigned int count = 64;
	uint64_t memory[3] = { 0 };

	call("nvmlDeviceGetMemoryInfo", P(device), P(memory), 0, 0);
	call("nvmlDeviceGetComputeRunningProcesses_v3", P(device), P(&count), P(list), 0);
	printf("total %llu free %llu used %llu processes %u:", (unsigned long long)memory[0],
	       (unsigned long long)memory[1], (unsigned long long)memory[2], count);
	for (unsigned int i = 0; i < count && i < 64; i++)
		printf(" %u %llu", list[i].process, (unsigned long long)list[i].used);
	printf("\n");
	fflush(stdout);
}

static void show_device(unsigned int index)
{
	void *device = NULL, *again = NULL;
	char uuid[96] = "", pci[68] = "";
	unsigned int count = 0;
	int result = call("nvmlDeviceGetHandleByIndex_v2", index, P(&device), 0, 0);

	printf("device %u: %d\n", index, result);
	show_text("nvmlDeviceGetName", device);
	show_text("nvmlDeviceGetUUID", device);
	show_text("nvmlDeviceGetSerial", device);
	show_text("nvmlDeviceGetVbiosVersion", device);
	call("nvmlDeviceGetUUID", P(device), P(uuid), sizeof(uuid), 0);
	result = call("nvmlDeviceGetHandleByUUID", P(uuid), P(&again), 0, 0);
	printf("by uuid: %d %s\n", result, again == device ? "the same" : "another");
	result = call("nvmlDeviceGetPciInfo_v3", P(device), P(pci), 0, 0);
	printf("pci: %d %s %s\n", result, pci, pci + 36);
	result = call("nvmlDeviceGetHandleByPciBusId_v2", P(pci + 36), P(&again), 0, 0);
	printf("by place: %d %s\n", result, again == device ? "the same" : "another");
	result = call("nvmlDeviceGetHandleByUUID", P("GPU-none"), P(&again), 0, 0);
	printf("by no uuid: %d\n", result);
	show_number("nvmlDeviceGetIndex", device);
	show_number("nvmlDeviceGetMinorNumber", device);
	show_number("nvmlDeviceGetPersistenceMode", device);
	show_number("nvmlDeviceGetComputeMode", device);
	show_number("nvmlDeviceGetDisplayActive", device);
	show_two("nvmlDeviceGetCudaComputeCapability", device);
	show_two("nvmlDeviceGetMigMode", device);
	show_two("nvmlDeviceGetEccMode", device);
	show_memory(device);
	show_answer("nvmlDeviceGetUtilizationRates", device, 0);
	show_answer("nvmlDeviceGetTemperature", device, 1);
	show_answer("nvmlDeviceGetPowerUsage", device, 0);
	show_answer("nvmlDeviceGetEnforcedPowerLimit", device, 0);
	show_answer("nvmlDeviceGetFanSpeed", device, 0);
	show_answer("nvmlDeviceGetClockInfo", device, 1);
	show_answer("nvmlDeviceGetPerformanceState", device, 0);
	result = call("nvmlDeviceGetSupportedMemoryClocks", P(device), P(&count), 0, 0);
	printf("memory clocks: %d %u\n", result, count);
	printf("text without room: %d\n", call("nvmlDeviceGetName", P(device), P(uuid), 2, 0));
	printf("no device: %d\n", call("nvmlDeviceGetName", 0, P(uuid), sizeof(uuid), 0));
}

int main(int argc, char **argv)
{
	unsigned int count = 0;
	char line[16];
	void *device = NULL;
	int result;

	library = dlopen("libnvidia-ml.so.1", RTLD_NOW);
	if (!library) {
		printf("%s\n", dlerror());
		return 1;
	}
	result = call("nvmlInit_v2", 0, 0, 0, 0);
	printf("nvmlInit_v2: %d\n", result);
	fflush(stdout);
	if (result)
		return 1;
	call("nvmlDeviceGetCount_v2", P(&count), 0, 0, 0);
	call("nvmlDeviceGetHandleByIndex_v2", 0, P(&device), 0, 0);
	if (argc > 1 && !strcmp(argv[1], "watch")) {
		while (fgets(line, sizeof(line), stdin))
			watch(device);
		return call("nvmlShutdown", 0, 0, 0, 0);
	}
	show_text("nvmlSystemGetDriverVersion", NULL);
	show_text("nvmlSystemGetNVMLVersion", NULL);
	result = call("nvmlSystemGetCudaDriverVersion_v2", P(&result), 0, 0, 0);
	printf("CUDA's version: %d\ndevices: %u\n", result, count);
	for (unsigned int i = 0; i < count; i++)
		show_device(i);
	printf("nvmlShutdown: %d\n", call("nvmlShutdown", 0, 0, 0, 0));
	return 0;
}
