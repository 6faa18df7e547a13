/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What libnvidia-ml.so.1 and its worker say over a link, and which functions travel.
 *
 *	client                                worker
 *	hello (proto/cuda-wire.h's)      ->
 *	                                 <-   welcome, device_count devices
 *	request, data                    ->
 *	                                 <-   reply, data
 *
 * The hello is a CUDA client's with another magic, so that one entrance serves both; the worker
 *then loads the monitoring library instead of the driver. A function travels by its name. Its
 *arguments follow from the row's shape, a letter for each in C's order:
 *
 *	d  a device			u  32 bits	x  64 bits
 *	o  a pointer to the row's next number of bytes
 *	v  a pointer to a structure whose first word has its size in the lower 24 bits
 *	s  a pointer to as many bytes as the next argument, n, says
 *	c  a pointer to a count; l behind it: a pointer to as many elements, or NULL
 *	a  a pointer to as many elements as the u before it says
 *
 * Whatever a pointer points to travels both ways, one behind the other, each padded to 8 bytes.
 */
#ifndef CAUSEWAY_PROTO_NVML_WIRE_H
#define CAUSEWAY_PROTO_NVML_WIRE_H

#include <assert.h>
#include <stdint.h>

#define NVML_WIRE_MAGIC	       0x4c4d4e43u /* "CNML" */
#define NVML_WIRE_VERSION      1u
#define NVML_WIRE_DEVICES_MAX  16u
#define NVML_WIRE_DATA_MAX     (48u << 10)
#define NVML_WIRE_ARGUMENTS    6u
#define NVML_WIRE_NAME_BYTES   64u
#define NVML_WIRE_ELEMENTS_MAX 1024u

struct nvml_wire_welcome {
	uint32_t magic;
	uint32_t version;
	int32_t result; /* nvmlReturn_t; no devices follow unless 0 */
	uint32_t device_count;
	char reason[128];
};
static_assert(sizeof(struct nvml_wire_welcome) == 144, "welcome");

/* What one device is called; texts end with a zero byte. */
struct nvml_wire_device {
	char uuid[96];
	char serial[32];
	char bus_id[32];
	char bus_id_legacy[16];
};
static_assert(sizeof(struct nvml_wire_device) == 176, "device");

struct nvml_wire_request {
	uint32_t data_bytes;
	uint32_t missing; /* bit n: argument n is a list without memory */
	char name[NVML_WIRE_NAME_BYTES];
	uint64_t arguments[NVML_WIRE_ARGUMENTS]; /* devices by index; 0 for pointers */
};
static_assert(sizeof(struct nvml_wire_request) == 120, "request");

struct nvml_wire_reply {
	uint32_t data_bytes; /* as in the request, or 0 with a result that leaves all untouched */
	int32_t result;
};
static_assert(sizeof(struct nvml_wire_reply) == 8, "reply");

/* NVML's results, as far as they are named here. */
enum nvml_result {
	NVML_SUCCESS = 0,
	NVML_ERROR_UNINITIALIZED = 1,
	NVML_ERROR_INVALID_ARGUMENT = 2,
	NVML_ERROR_NOT_SUPPORTED = 3,
	NVML_ERROR_NO_PERMISSION = 4,
	NVML_ERROR_NOT_FOUND = 6,
	NVML_ERROR_INSUFFICIENT_SIZE = 7,
	NVML_ERROR_DRIVER_NOT_LOADED = 9,
	NVML_ERROR_TIMEOUT = 10,
	NVML_ERROR_LIBRARY_NOT_FOUND = 12,
	NVML_ERROR_FUNCTION_NOT_FOUND = 13,
	NVML_ERROR_GPU_IS_LOST = 15,
	NVML_ERROR_MEMORY = 20,
	NVML_ERROR_ARGUMENT_VERSION_MISMATCH = 25,
	NVML_ERROR_UNKNOWN = 999,
};

/* What a tenant gets to see of an answer; the worker's monitor.c. */
enum nvml_view {
	NVML_WHOLE,	/* all of it */
	NVML_MEMORY,	/* total, free and used are the tenant's: 3 numbers */
	NVML_MEMORY_V2, /* the same behind a version: total, reserved, free, used */
};

/*
 * The tenant's own processes, whatever version of the question a program asks: a row of shape
 * "dcl", which is no function of NVML's.
 */
#define NVML_WIRE_PROCESSES "processes"

struct nvml_wire_process {
	uint32_t process; /* as the process calls itself */
	uint32_t reserved;
	uint64_t used_bytes;
	uint32_t gpu_instance, compute_instance; /* all ones: none */
};
static_assert(sizeof(struct nvml_wire_process) == 24, "nvmlProcessInfo_t");

/*
 * NVML_ROWS(ROW) is ROW(function, number of arguments, shape, bytes, bytes, bytes, bytes, view) for
 * each function that travels.
 */
#define NVML_ROWS(ROW)                                                                         \
	ROW(nvmlSystemGetDriverVersion, 2, "sn", 0, 0, 0, 0, NVML_WHOLE)                       \
	ROW(nvmlSystemGetNVMLVersion, 2, "sn", 0, 0, 0, 0, NVML_WHOLE)                         \
	ROW(nvmlSystemGetCudaDriverVersion, 1, "o", 4, 0, 0, 0, NVML_WHOLE)                    \
	ROW(nvmlSystemGetCudaDriverVersion_v2, 1, "o", 4, 0, 0, 0, NVML_WHOLE)                 \
	ROW(nvmlSystemGetConfComputeCapabilities, 1, "o", 8, 0, 0, 0, NVML_WHOLE)              \
	ROW(nvmlSystemGetConfComputeState, 1, "o", 12, 0, 0, 0, NVML_WHOLE)                    \
	ROW(nvmlSystemGetConfComputeGpusReadyState, 1, "o", 4, 0, 0, 0, NVML_WHOLE)            \
	ROW(nvmlSystemGetConfComputeSettings, 1, "v", 0, 0, 0, 0, NVML_WHOLE)                  \
	ROW(nvmlDeviceGetName, 3, "dsn", 0, 0, 0, 0, NVML_WHOLE)                               \
	ROW(nvmlDeviceGetUUID, 3, "dsn", 0, 0, 0, 0, NVML_WHOLE)                               \
	ROW(nvmlDeviceGetSerial, 3, "dsn", 0, 0, 0, 0, NVML_WHOLE)                             \
	ROW(nvmlDeviceGetBoardPartNumber, 3, "dsn", 0, 0, 0, 0, NVML_WHOLE)                    \
	ROW(nvmlDeviceGetVbiosVersion, 3, "dsn", 0, 0, 0, 0, NVML_WHOLE)                       \
	ROW(nvmlDeviceGetInforomVersion, 4, "dusn", 0, 0, 0, 0, NVML_WHOLE)                    \
	ROW(nvmlDeviceGetInforomImageVersion, 3, "dsn", 0, 0, 0, 0, NVML_WHOLE)                \
	ROW(nvmlDeviceGetGspFirmwareVersion, 2, "do", 64, 0, 0, 0, NVML_WHOLE)                 \
	ROW(nvmlDeviceGetGspFirmwareMode, 3, "doo", 4, 4, 0, 0, NVML_WHOLE)                    \
	ROW(nvmlDeviceGetBrand, 2, "do", 4, 0, 0, 0, NVML_WHOLE)                               \
	ROW(nvmlDeviceGetArchitecture, 2, "do", 4, 0, 0, 0, NVML_WHOLE)                        \
	ROW(nvmlDeviceGetBoardId, 2, "do", 4, 0, 0, 0, NVML_WHOLE)                             \
	ROW(nvmlDeviceGetModuleId, 2, "do", 4, 0, 0, 0, NVML_WHOLE)                            \
	ROW(nvmlDeviceGetMultiGpuBoard, 2, "do", 4, 0, 0, 0, NVML_WHOLE)                       \
	ROW(nvmlDeviceGetMinorNumber, 2, "do", 4, 0, 0, 0, NVML_WHOLE)                         \
	ROW(nvmlDeviceGetNumaNodeId, 2, "do", 4, 0, 0, 0, NVML_WHOLE)                          \
	ROW(nvmlDeviceGetInforomConfigurationChecksum, 2, "do", 4, 0, 0, 0, NVML_WHOLE)        \
	ROW(nvmlDeviceGetBridgeChipInfo, 2, "do", 1028, 0, 0, 0, NVML_WHOLE)                   \
	ROW(nvmlDeviceGetPciInfo, 2, "do", 52, 0, 0, 0, NVML_WHOLE)                            \
	ROW(nvmlDeviceGetPciInfo_v2, 2, "do", 52, 0, 0, 0, NVML_WHOLE)                         \
	ROW(nvmlDeviceGetPciInfo_v3, 2, "do", 68, 0, 0, 0, NVML_WHOLE)                         \
	ROW(nvmlDeviceGetPciInfoExt, 2, "dv", 0, 0, 0, 0, NVML_WHOLE)                          \
	ROW(nvmlDeviceGetMaxPcieLinkGeneration, 2, "do", 4, 0, 0, 0, NVML_WHOLE)               \
	ROW(nvmlDeviceGetGpuMaxPcieLinkGeneration, 2, "do", 4, 0, 0, 0, NVML_WHOLE)            \
	ROW(nvmlDeviceGetMaxPcieLinkWidth, 2, "do", 4, 0, 0, 0, NVML_WHOLE)                    \
	ROW(nvmlDeviceGetCurrPcieLinkGeneration, 2, "do", 4, 0, 0, 0, NVML_WHOLE)              \
	ROW(nvmlDeviceGetCurrPcieLinkWidth, 2, "do", 4, 0, 0, 0, NVML_WHOLE)                   \
	ROW(nvmlDeviceGetPcieSpeed, 2, "do", 4, 0, 0, 0, NVML_WHOLE)                           \
	ROW(nvmlDeviceGetPcieLinkMaxSpeed, 2, "do", 4, 0, 0, 0, NVML_WHOLE)                    \
	ROW(nvmlDeviceGetPcieThroughput, 3, "duo", 4, 0, 0, 0, NVML_WHOLE)                     \
	ROW(nvmlDeviceGetPcieReplayCounter, 2, "do", 4, 0, 0, 0, NVML_WHOLE)                   \
	ROW(nvmlDeviceGetClockInfo, 3, "duo", 4, 0, 0, 0, NVML_WHOLE)                          \
	ROW(nvmlDeviceGetMaxClockInfo, 3, "duo", 4, 0, 0, 0, NVML_WHOLE)                       \
	ROW(nvmlDeviceGetApplicationsClock, 3, "duo", 4, 0, 0, 0, NVML_WHOLE)                  \
	ROW(nvmlDeviceGetDefaultApplicationsClock, 3, "duo", 4, 0, 0, 0, NVML_WHOLE)           \
	ROW(nvmlDeviceGetMaxCustomerBoostClock, 3, "duo", 4, 0, 0, 0, NVML_WHOLE)              \
	ROW(nvmlDeviceGetClock, 4, "duuo", 4, 0, 0, 0, NVML_WHOLE)                             \
	ROW(nvmlDeviceGetSupportedMemoryClocks, 3, "dcl", 4, 0, 0, 0, NVML_WHOLE)              \
	ROW(nvmlDeviceGetSupportedGraphicsClocks, 4, "ducl", 4, 0, 0, 0, NVML_WHOLE)           \
	ROW(nvmlDeviceGetAutoBoostedClocksEnabled, 3, "doo", 4, 4, 0, 0, NVML_WHOLE)           \
	ROW(nvmlDeviceGetAdaptiveClockInfoStatus, 2, "do", 4, 0, 0, 0, NVML_WHOLE)             \
	ROW(nvmlDeviceGetGpcClkVfOffset, 2, "do", 4, 0, 0, 0, NVML_WHOLE)                      \
	ROW(nvmlDeviceGetMemClkVfOffset, 2, "do", 4, 0, 0, 0, NVML_WHOLE)                      \
	ROW(nvmlDeviceGetGpcClkMinMaxVfOffset, 3, "doo", 4, 4, 0, 0, NVML_WHOLE)               \
	ROW(nvmlDeviceGetMemClkMinMaxVfOffset, 3, "doo", 4, 4, 0, 0, NVML_WHOLE)               \
	ROW(nvmlDeviceGetMinMaxClockOfPState, 5, "duuoo", 4, 4, 0, 0, NVML_WHOLE)              \
	ROW(nvmlDeviceGetClockOffsets, 2, "dv", 0, 0, 0, 0, NVML_WHOLE)                        \
	ROW(nvmlDeviceGetPerformanceModes, 2, "dv", 0, 0, 0, 0, NVML_WHOLE)                    \
	ROW(nvmlDeviceGetCurrentClockFreqs, 2, "dv", 0, 0, 0, 0, NVML_WHOLE)                   \
	ROW(nvmlDeviceGetSupportedPerformanceStates, 3, "dsn", 0, 0, 0, 0, NVML_WHOLE)         \
	ROW(nvmlDeviceGetDynamicPstatesInfo, 2, "do", 132, 0, 0, 0, NVML_WHOLE)                \
	ROW(nvmlDeviceGetFanSpeed, 2, "do", 4, 0, 0, 0, NVML_WHOLE)                            \
	ROW(nvmlDeviceGetFanSpeed_v2, 3, "duo", 4, 0, 0, 0, NVML_WHOLE)                        \
	ROW(nvmlDeviceGetFanSpeedRPM, 2, "dv", 0, 0, 0, 0, NVML_WHOLE)                         \
	ROW(nvmlDeviceGetFanControlPolicy_v2, 3, "duo", 4, 0, 0, 0, NVML_WHOLE)                \
	ROW(nvmlDeviceGetTargetFanSpeed, 3, "duo", 4, 0, 0, 0, NVML_WHOLE)                     \
	ROW(nvmlDeviceGetMinMaxFanSpeed, 3, "doo", 4, 4, 0, 0, NVML_WHOLE)                     \
	ROW(nvmlDeviceGetNumFans, 2, "do", 4, 0, 0, 0, NVML_WHOLE)                             \
	ROW(nvmlDeviceGetCoolerInfo, 2, "dv", 0, 0, 0, 0, NVML_WHOLE)                          \
	ROW(nvmlDeviceGetTemperature, 3, "duo", 4, 0, 0, 0, NVML_WHOLE)                        \
	ROW(nvmlDeviceGetTemperatureV, 2, "dv", 0, 0, 0, 0, NVML_WHOLE)                        \
	ROW(nvmlDeviceGetTemperatureThreshold, 3, "duo", 4, 0, 0, 0, NVML_WHOLE)               \
	ROW(nvmlDeviceGetMarginTemperature, 2, "dv", 0, 0, 0, 0, NVML_WHOLE)                   \
	ROW(nvmlDeviceGetThermalSettings, 3, "duo", 64, 0, 0, 0, NVML_WHOLE)                   \
	ROW(nvmlDeviceGetPerformanceState, 2, "do", 4, 0, 0, 0, NVML_WHOLE)                    \
	ROW(nvmlDeviceGetPowerState, 2, "do", 4, 0, 0, 0, NVML_WHOLE)                          \
	ROW(nvmlDeviceGetCurrentClocksThrottleReasons, 2, "do", 8, 0, 0, 0, NVML_WHOLE)        \
	ROW(nvmlDeviceGetCurrentClocksEventReasons, 2, "do", 8, 0, 0, 0, NVML_WHOLE)           \
	ROW(nvmlDeviceGetSupportedClocksThrottleReasons, 2, "do", 8, 0, 0, 0, NVML_WHOLE)      \
	ROW(nvmlDeviceGetSupportedClocksEventReasons, 2, "do", 8, 0, 0, 0, NVML_WHOLE)         \
	ROW(nvmlDeviceGetPowerManagementMode, 2, "do", 4, 0, 0, 0, NVML_WHOLE)                 \
	ROW(nvmlDeviceGetPowerManagementLimit, 2, "do", 4, 0, 0, 0, NVML_WHOLE)                \
	ROW(nvmlDeviceGetPowerManagementLimitConstraints, 3, "doo", 4, 4, 0, 0, NVML_WHOLE)    \
	ROW(nvmlDeviceGetPowerManagementDefaultLimit, 2, "do", 4, 0, 0, 0, NVML_WHOLE)         \
	ROW(nvmlDeviceGetEnforcedPowerLimit, 2, "do", 4, 0, 0, 0, NVML_WHOLE)                  \
	ROW(nvmlDeviceGetPowerUsage, 2, "do", 4, 0, 0, 0, NVML_WHOLE)                          \
	ROW(nvmlDeviceGetPowerSource, 2, "do", 4, 0, 0, 0, NVML_WHOLE)                         \
	ROW(nvmlDeviceGetTotalEnergyConsumption, 2, "do", 8, 0, 0, 0, NVML_WHOLE)              \
	ROW(nvmlDeviceGetViolationStatus, 3, "duo", 16, 0, 0, 0, NVML_WHOLE)                   \
	ROW(nvmlDeviceGetGpuOperationMode, 3, "doo", 4, 4, 0, 0, NVML_WHOLE)                   \
	ROW(nvmlDeviceGetMemoryInfo, 2, "do", 24, 0, 0, 0, NVML_MEMORY)                        \
	ROW(nvmlDeviceGetMemoryInfo_v2, 2, "dv", 0, 0, 0, 0, NVML_MEMORY_V2)                   \
	ROW(nvmlDeviceGetBAR1MemoryInfo, 2, "do", 24, 0, 0, 0, NVML_WHOLE)                     \
	ROW(nvmlDeviceGetMemoryBusWidth, 2, "do", 4, 0, 0, 0, NVML_WHOLE)                      \
	ROW(nvmlDeviceGetNumGpuCores, 2, "do", 4, 0, 0, 0, NVML_WHOLE)                         \
	ROW(nvmlDeviceGetBusType, 2, "do", 4, 0, 0, 0, NVML_WHOLE)                             \
	ROW(nvmlDeviceGetIrqNum, 2, "do", 4, 0, 0, 0, NVML_WHOLE)                              \
	ROW(nvmlDeviceGetComputeMode, 2, "do", 4, 0, 0, 0, NVML_WHOLE)                         \
	ROW(nvmlDeviceGetCudaComputeCapability, 3, "doo", 4, 4, 0, 0, NVML_WHOLE)              \
	ROW(nvmlDeviceGetEccMode, 3, "doo", 4, 4, 0, 0, NVML_WHOLE)                            \
	ROW(nvmlDeviceGetDefaultEccMode, 2, "do", 4, 0, 0, 0, NVML_WHOLE)                      \
	ROW(nvmlDeviceGetTotalEccErrors, 4, "duuo", 8, 0, 0, 0, NVML_WHOLE)                    \
	ROW(nvmlDeviceGetDetailedEccErrors, 4, "duuo", 32, 0, 0, 0, NVML_WHOLE)                \
	ROW(nvmlDeviceGetMemoryErrorCounter, 5, "duuuo", 8, 0, 0, 0, NVML_WHOLE)               \
	ROW(nvmlDeviceGetSramEccErrorStatus, 2, "dv", 0, 0, 0, 0, NVML_WHOLE)                  \
	ROW(nvmlDeviceGetRetiredPages, 4, "ducl", 8, 0, 0, 0, NVML_WHOLE)                      \
	ROW(nvmlDeviceGetRetiredPagesPendingStatus, 2, "do", 4, 0, 0, 0, NVML_WHOLE)           \
	ROW(nvmlDeviceGetRemappedRows, 5, "doooo", 4, 4, 4, 4, NVML_WHOLE)                     \
	ROW(nvmlDeviceGetRowRemapperHistogram, 2, "do", 20, 0, 0, 0, NVML_WHOLE)               \
	ROW(nvmlDeviceGetRepairStatus, 2, "dv", 0, 0, 0, 0, NVML_WHOLE)                        \
	ROW(nvmlDeviceGetUtilizationRates, 2, "do", 8, 0, 0, 0, NVML_WHOLE)                    \
	ROW(nvmlDeviceGetEncoderUtilization, 3, "doo", 4, 4, 0, 0, NVML_WHOLE)                 \
	ROW(nvmlDeviceGetDecoderUtilization, 3, "doo", 4, 4, 0, 0, NVML_WHOLE)                 \
	ROW(nvmlDeviceGetJpgUtilization, 3, "doo", 4, 4, 0, 0, NVML_WHOLE)                     \
	ROW(nvmlDeviceGetOfaUtilization, 3, "doo", 4, 4, 0, 0, NVML_WHOLE)                     \
	ROW(nvmlDeviceGetEncoderCapacity, 3, "duo", 4, 0, 0, 0, NVML_WHOLE)                    \
	ROW(nvmlDeviceGetEncoderStats, 4, "dooo", 4, 4, 4, 0, NVML_WHOLE)                      \
	ROW(nvmlDeviceGetFBCStats, 2, "do", 12, 0, 0, 0, NVML_WHOLE)                           \
	ROW(nvmlDeviceGetSamples, 6, "duxocl", 4, 16, 0, 0, NVML_WHOLE)                        \
	ROW(nvmlDeviceGetFieldValues, 3, "dua", 40, 0, 0, 0, NVML_WHOLE)                       \
	ROW(nvmlDeviceGetDisplayMode, 2, "do", 4, 0, 0, 0, NVML_WHOLE)                         \
	ROW(nvmlDeviceGetDisplayActive, 2, "do", 4, 0, 0, 0, NVML_WHOLE)                       \
	ROW(nvmlDeviceGetPersistenceMode, 2, "do", 4, 0, 0, 0, NVML_WHOLE)                     \
	ROW(nvmlDeviceGetAccountingMode, 2, "do", 4, 0, 0, 0, NVML_WHOLE)                      \
	ROW(nvmlDeviceGetAccountingBufferSize, 2, "do", 4, 0, 0, 0, NVML_WHOLE)                \
	ROW(nvmlDeviceGetMigMode, 3, "doo", 4, 4, 0, 0, NVML_WHOLE)                            \
	ROW(nvmlDeviceGetMaxMigDeviceCount, 2, "do", 4, 0, 0, 0, NVML_WHOLE)                   \
	ROW(nvmlDeviceIsMigDeviceHandle, 2, "do", 4, 0, 0, 0, NVML_WHOLE)                      \
	ROW(nvmlDeviceGetVirtualizationMode, 2, "do", 4, 0, 0, 0, NVML_WHOLE)                  \
	ROW(nvmlDeviceGetHostVgpuMode, 2, "do", 4, 0, 0, 0, NVML_WHOLE)                        \
	ROW(nvmlDeviceGetAPIRestriction, 3, "duo", 4, 0, 0, 0, NVML_WHOLE)                     \
	ROW(nvmlDeviceGetCapabilities, 2, "dv", 0, 0, 0, 0, NVML_WHOLE)                        \
	ROW(nvmlDeviceGetPlatformInfo, 2, "dv", 0, 0, 0, 0, NVML_WHOLE)                        \
	ROW(nvmlDeviceGetAddressingMode, 2, "dv", 0, 0, 0, 0, NVML_WHOLE)                      \
	ROW(nvmlDeviceGetPdi, 2, "dv", 0, 0, 0, 0, NVML_WHOLE)                                 \
	ROW(nvmlDeviceGetConfComputeMemSizeInfo, 2, "do", 16, 0, 0, 0, NVML_WHOLE)             \
	ROW(nvmlDeviceGetConfComputeProtectedMemoryUsage, 2, "do", 24, 0, 0, 0, NVML_WHOLE)    \
	ROW(nvmlDeviceGetNvLinkState, 3, "duo", 4, 0, 0, 0, NVML_WHOLE)                        \
	ROW(nvmlDeviceGetNvLinkVersion, 3, "duo", 4, 0, 0, 0, NVML_WHOLE)                      \
	ROW(nvmlDeviceGetNvLinkCapability, 4, "duuo", 4, 0, 0, 0, NVML_WHOLE)                  \
	ROW(nvmlDeviceGetNvLinkErrorCounter, 4, "duuo", 8, 0, 0, 0, NVML_WHOLE)                \
	ROW(nvmlDeviceGetNvLinkRemoteDeviceType, 3, "duo", 4, 0, 0, 0, NVML_WHOLE)             \
	ROW(nvmlDeviceGetNvLinkRemotePciInfo_v2, 3, "duo", 68, 0, 0, 0, NVML_WHOLE)            \
	ROW(nvmlDeviceGetNvlinkSupportedBwModes, 2, "dv", 0, 0, 0, 0, NVML_WHOLE)              \
	ROW(nvmlDeviceGetNvlinkBwMode, 2, "dv", 0, 0, 0, 0, NVML_WHOLE)                        \
	ROW(nvmlDeviceGetGpuFabricInfoV, 2, "dv", 0, 0, 0, 0, NVML_WHOLE)                      \
	ROW(nvmlDeviceGetC2cModeInfoV, 2, "do", 4, 0, 0, 0, NVML_WHOLE)                        \
	ROW(nvmlDeviceGetDramEncryptionMode, 3, "dvv", 0, 0, 0, 0, NVML_WHOLE)                 \
	ROW(nvmlDeviceGetRemappedRows_v2, 2, "dv", 0, 0, 0, 0, NVML_WHOLE)                     \
	ROW(nvmlDeviceGetUnrepairableMemoryFlag_v1, 2, "do", 4, 0, 0, 0, NVML_WHOLE)           \
	ROW(nvmlDeviceWorkloadPowerProfileGetCurrentProfiles, 2, "dv", 0, 0, 0, 0, NVML_WHOLE) \
	ROW(nvmlDeviceWorkloadPowerProfileGetProfilesInfo, 2, "dv", 0, 0, 0, 0, NVML_WHOLE)    \
	ROW(nvmlDeviceGetNvLinkInfo, 2, "dv", 0, 0, 0, 0, NVML_WHOLE)                          \
	ROW(nvmlDeviceGetTopologyCommonAncestor, 3, "ddo", 4, 0, 0, 0, NVML_WHOLE)             \
	ROW(nvmlDeviceOnSameBoard, 3, "ddo", 4, 0, 0, 0, NVML_WHOLE)                           \
	ROW(nvmlDeviceGetP2PStatus, 4, "dduo", 4, 0, 0, 0, NVML_WHOLE)                         \
	ROW(nvmlDeviceGetCpuAffinity, 3, "dua", 8, 0, 0, 0, NVML_WHOLE)                        \
	ROW(nvmlDeviceGetMemoryAffinity, 4, "duau", 8, 0, 0, 0, NVML_WHOLE)                    \
	ROW(nvmlDeviceGetCpuAffinityWithinScope, 4, "duau", 8, 0, 0, 0, NVML_WHOLE)

#endif
