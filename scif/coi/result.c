/* SPDX-License-Identifier: Apache-2.0 */
/* What both libraries tell alike: names of results, the clock, the processor. */
#include <cpuid.h>
#include <sched.h>
#include <time.h>
#include <unistd.h>

#include "include/intel-coi/common/COIPerf_common.h"
#include "include/intel-coi/common/COIResult_common.h"
#include "include/intel-coi/common/COISysInfo_common.h"
#include "scif/coi/export.h"

COI_EXPORT const char *COIResultGetName(COIRESULT in_ResultCode)
{
	static const char *const names[COI_NUM_RESULTS] = {
		"COI_SUCCESS",
		"COI_ERROR",
		"COI_NOT_INITIALIZED",
		"COI_ALREADY_INITIALIZED",
		"COI_ALREADY_EXISTS",
		"COI_DOES_NOT_EXIST",
		"COI_INVALID_POINTER",
		"COI_OUT_OF_RANGE",
		"COI_NOT_SUPPORTED",
		"COI_TIME_OUT_REACHED",
		"COI_MEMORY_OVERLAP",
		"COI_ARGUMENT_MISMATCH",
		"COI_SIZE_MISMATCH",
		"COI_OUT_OF_MEMORY",
		"COI_INVALID_HANDLE",
		"COI_RETRY",
		"COI_RESOURCE_EXHAUSTED",
		"COI_ALREADY_LOCKED",
		"COI_NOT_LOCKED",
		"COI_MISSING_DEPENDENCY",
		"COI_UNDEFINED_SYMBOL",
		"COI_PENDING",
		"COI_BINARY_AND_HARDWARE_MISMATCH",
		"COI_PROCESS_DIED",
		"COI_INVALID_FILE",
		"COI_EVENT_CANCELED",
		"COI_VERSION_MISMATCH",
		"COI_BAD_PORT",
		"COI_AUTHENTICATION_FAILURE",
		"COI_COMM_NOT_INITIALIZED",
		"COI_INCORRECT_FORMAT",
	};

	return (unsigned int)in_ResultCode < COI_NUM_RESULTS ? names[in_ResultCode] : "COI_ERROR";
}

COI_EXPORT uint64_t COIPerfGetCycleCounter(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC_RAW, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

COI_EXPORT uint64_t COIPerfGetCycleFrequency(void)
{
	return 1000000000u;
}

COI_EXPORT uint32_t COISysGetHardwareThreadCount(void)
{
	long count = sysconf(_SC_NPROCESSORS_ONLN);

	return count > 0 ? (uint32_t)count : 0;
}

COI_EXPORT uint32_t COISysGetCoreCount(void)
{
	return COISysGetHardwareThreadCount();
}

COI_EXPORT uint32_t COISysGetHardwareThreadIndex(void)
{
	int index = sched_getcpu();

	return index >= 0 ? (uint32_t)index : UINT32_MAX;
}

COI_EXPORT uint32_t COISysGetCoreIndex(void)
{
	return COISysGetHardwareThreadIndex();
}

/* x2APIC number, where the processor has one (leaf 11), else the eight bits of leaf 1. */
COI_EXPORT uint32_t COISysGetAPICID(void)
{
	unsigned int a, b, c, d;

	if (__get_cpuid_count(11, 0, &a, &b, &c, &d) && b)
		return d;
	return __get_cpuid(1, &a, &b, &c, &d) ? b >> 24 : UINT32_MAX;
}

/* How many hardware threads share a second-level cache; a power of two is reserved for them. */
static uint32_t sysinfo_l2_threads(void)
{
	unsigned int a, b, c, d;

	for (unsigned int i = 0; __get_cpuid_count(4, i, &a, &b, &c, &d) && a & 31; i++) {
		if ((a >> 5 & 7) == 2)
			return (a >> 14 & 4095) + 1;
	}
	return 1;
}

COI_EXPORT uint32_t COISysGetL2CacheCount(void)
{
	uint32_t beside = sysinfo_l2_threads();

	return (COISysGetHardwareThreadCount() + beside - 1) / beside;
}

COI_EXPORT uint32_t COISysGetL2CacheIndex(void)
{
	uint32_t thread = COISysGetHardwareThreadIndex();

	return thread == UINT32_MAX ? thread : thread / sysinfo_l2_threads();
}
