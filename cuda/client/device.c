/* SPDX-License-Identifier: Apache-2.0 */
/* Device queries: answered from the snapshot that was taken when the client connected. */
#include <stdio.h>
#include <stdlib.h>

#include "cuda/client/shared.h"

/*
 * What the device can do and this client cannot carry: a program must not try. Managed and mapped
 * host memory would need pages that both sides see; the rest needs calls that are not there.
 */
static const CUdevice_attribute device_not_offered[] = {
	CU_DEVICE_ATTRIBUTE_CAN_MAP_HOST_MEMORY,
	CU_DEVICE_ATTRIBUTE_MANAGED_MEMORY,
	CU_DEVICE_ATTRIBUTE_CONCURRENT_MANAGED_ACCESS,
	CU_DEVICE_ATTRIBUTE_PAGEABLE_MEMORY_ACCESS,
	CU_DEVICE_ATTRIBUTE_PAGEABLE_MEMORY_ACCESS_USES_HOST_PAGE_TABLES,
	CU_DEVICE_ATTRIBUTE_DIRECT_MANAGED_MEM_ACCESS_FROM_HOST,
	CU_DEVICE_ATTRIBUTE_HOST_NATIVE_ATOMIC_SUPPORTED,
	CU_DEVICE_ATTRIBUTE_CAN_USE_HOST_POINTER_FOR_REGISTERED_MEM,
	CU_DEVICE_ATTRIBUTE_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR_SUPPORTED,
	CU_DEVICE_ATTRIBUTE_HANDLE_TYPE_FABRIC_SUPPORTED,
	CU_DEVICE_ATTRIBUTE_GPU_DIRECT_RDMA_SUPPORTED,
	CU_DEVICE_ATTRIBUTE_GPU_DIRECT_RDMA_WITH_CUDA_VMM_SUPPORTED,
	CU_DEVICE_ATTRIBUTE_MEMPOOL_SUPPORTED_HANDLE_TYPES,
	CU_DEVICE_ATTRIBUTE_SPARSE_CUDA_ARRAY_SUPPORTED,
	CU_DEVICE_ATTRIBUTE_DEFERRED_MAPPING_CUDA_ARRAY_SUPPORTED,
	CU_DEVICE_ATTRIBUTE_MULTICAST_SUPPORTED,
	CU_DEVICE_ATTRIBUTE_UNIFIED_FUNCTION_POINTERS,
	CU_DEVICE_ATTRIBUTE_DMA_BUF_SUPPORTED,
	CU_DEVICE_ATTRIBUTE_HOST_NUMA_MEMORY_POOLS_SUPPORTED,
	CU_DEVICE_ATTRIBUTE_HOST_NUMA_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED,
	CU_DEVICE_ATTRIBUTE_HOST_NUMA_MULTINODE_IPC_SUPPORTED,
	CU_DEVICE_ATTRIBUTE_HOST_MEMORY_POOLS_SUPPORTED,
	CU_DEVICE_ATTRIBUTE_HOST_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED,
	CU_DEVICE_ATTRIBUTE_HOST_ALLOC_DMA_BUF_SUPPORTED,
	CU_DEVICE_ATTRIBUTE_READ_ONLY_HOST_REGISTER_SUPPORTED,
};

CUresult client_device_check(CUdevice device)
{
	CUresult result = client_enter();

	if (result)
		return result;
	return device >= 0 && (unsigned int)device < client.device_count
		       ? CUDA_SUCCESS
		       : CUDA_ERROR_INVALID_DEVICE;
}

int client_device_attribute(CUdevice device, CUdevice_attribute attribute)
{
	return client.devices[device].attributes[attribute];
}

/* device_maps_host - whether @attribute is about host memory that kernels see, and they do */
static bool device_maps_host(CUdevice_attribute attribute, CUdevice device)
{
	return (attribute == CU_DEVICE_ATTRIBUTE_CAN_MAP_HOST_MEMORY ||
		attribute == CU_DEVICE_ATTRIBUTE_CAN_USE_HOST_POINTER_FOR_REGISTERED_MEM) &&
	       client_shared_ready() &&
	       client_device_attribute(device,
				       CU_DEVICE_ATTRIBUTE_CAN_USE_HOST_POINTER_FOR_REGISTERED_MEM);
}

CUresult client_cuDeviceGetAttribute(int *pi, CUdevice_attribute attrib, CUdevice dev)
{
	CUresult result = client_device_check(dev);

	if (result)
		return result;
	if (!pi || attrib < 1 || (unsigned int)attrib >= CUDA_WIRE_DEVICE_ATTRIBUTES ||
	    !client.devices[dev].known[attrib])
		return CUDA_ERROR_INVALID_VALUE;
	*pi = client.devices[dev].attributes[attrib];
	for (size_t i = 0; i < sizeof(device_not_offered) / sizeof(device_not_offered[0]); i++)
		if (device_not_offered[i] == attrib && !device_maps_host(attrib, dev))
			*pi = 0;
	return CUDA_SUCCESS;
}

CUresult client_cuDeviceGet(CUdevice *device, int ordinal)
{
	CUresult result = client_device_check(ordinal);

	if (!device)
		return CUDA_ERROR_INVALID_VALUE;
	if (!result)
		*device = ordinal;
	return result;
}

CUresult client_cuDeviceGetCount(int *count)
{
	CUresult result = client_enter();

	if (result)
		return result;
	if (!count)
		return CUDA_ERROR_INVALID_VALUE;
	*count = (int)client.device_count;
	return CUDA_SUCCESS;
}

CUresult client_cuDeviceGetName(char *name, int len, CUdevice dev)
{
	CUresult result = client_device_check(dev);

	if (result)
		return result;
	if (!name || len <= 0)
		return CUDA_ERROR_INVALID_VALUE;
	snprintf(name, (size_t)len, "%s", client.devices[dev].name);
	return CUDA_SUCCESS;
}

CUresult client_cuDeviceGetUuid(CUuuid *uuid, CUdevice dev)
{
	CUresult result = client_device_check(dev);

	if (result)
		return result;
	if (!uuid)
		return CUDA_ERROR_INVALID_VALUE;
	memcpy(uuid->bytes, client.devices[dev].uuid, sizeof(uuid->bytes));
	return CUDA_SUCCESS;
}

CUresult client_cuDeviceGetUuid_v2(CUuuid *uuid, CUdevice dev)
{
	return client_cuDeviceGetUuid(uuid, dev);
}

CUresult client_cuDeviceTotalMem_v2(size_t *bytes, CUdevice dev)
{
	CUresult result = client_device_check(dev);

	if (result)
		return result;
	if (!bytes)
		return CUDA_ERROR_INVALID_VALUE;
	*bytes = client.devices[dev].total_bytes;
	return CUDA_SUCCESS;
}

CUresult client_cuDeviceGetPCIBusId(char *pciBusId, int len, CUdevice dev)
{
	CUresult result = client_device_check(dev);

	if (result)
		return result;
	if (!pciBusId || len <= (int)strlen(client.devices[dev].pci_bus_id))
		return CUDA_ERROR_INVALID_VALUE;
	strcpy(pciBusId, client.devices[dev].pci_bus_id);
	return CUDA_SUCCESS;
}

CUresult client_cuDeviceGetByPCIBusId(CUdevice *dev, const char *pciBusId)
{
	unsigned int domain, bus, device;
	CUresult result = client_enter();

	if (result)
		return result;
	if (!dev || !pciBusId)
		return CUDA_ERROR_INVALID_VALUE;
	if (sscanf(pciBusId, "%x:%x:%x", &domain, &bus, &device) != 3) {
		domain = 0;
		if (sscanf(pciBusId, "%x:%x", &bus, &device) != 2)
			return CUDA_ERROR_INVALID_VALUE;
	}
	for (unsigned int i = 0; i < client.device_count; i++) {
		const int32_t *attributes = client.devices[i].attributes;

		if (attributes[CU_DEVICE_ATTRIBUTE_PCI_DOMAIN_ID] == (int)domain &&
		    attributes[CU_DEVICE_ATTRIBUTE_PCI_BUS_ID] == (int)bus &&
		    attributes[CU_DEVICE_ATTRIBUTE_PCI_DEVICE_ID] == (int)device) {
			*dev = (CUdevice)i;
			return CUDA_SUCCESS;
		}
	}
	return CUDA_ERROR_INVALID_DEVICE;
}

CUresult client_cuDeviceComputeCapability(int *major, int *minor, CUdevice dev)
{
	CUresult result = client_device_check(dev);

	if (result)
		return result;
	if (!major || !minor)
		return CUDA_ERROR_INVALID_VALUE;
	*major = client_device_attribute(dev, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR);
	*minor = client_device_attribute(dev, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);
	return CUDA_SUCCESS;
}

CUresult client_cuDeviceGetProperties(CUdevprop *prop, CUdevice dev)
{
	const int32_t *attributes;
	CUresult result = client_device_check(dev);

	if (result)
		return result;
	if (!prop)
		return CUDA_ERROR_INVALID_VALUE;
	attributes = client.devices[dev].attributes;
	*prop = (CUdevprop){
		.maxThreadsPerBlock = attributes[CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK],
		.maxThreadsDim = { attributes[CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X],
				   attributes[CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y],
				   attributes[CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z] },
		.maxGridSize = { attributes[CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X],
				 attributes[CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y],
				 attributes[CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z] },
		.sharedMemPerBlock = attributes[CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK],
		.totalConstantMemory = attributes[CU_DEVICE_ATTRIBUTE_TOTAL_CONSTANT_MEMORY],
		.SIMDWidth = attributes[CU_DEVICE_ATTRIBUTE_WARP_SIZE],
		.memPitch = attributes[CU_DEVICE_ATTRIBUTE_MAX_PITCH],
		.regsPerBlock = attributes[CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_BLOCK],
		.clockRate = attributes[CU_DEVICE_ATTRIBUTE_CLOCK_RATE],
		.textureAlign = attributes[CU_DEVICE_ATTRIBUTE_TEXTURE_ALIGNMENT],
	};
	return CUDA_SUCCESS;
}
