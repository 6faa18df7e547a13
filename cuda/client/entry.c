/* SPDX-License-Identifier: Apache-2.0 */
/* What a runtime meets first: look-ups, export tables, names of errors; all of it local. */
#include <stdlib.h>

#include "cuda/client/client.h"
#include "cuda/client/entries.h"
#include "lib/base/clean.h"
#include "gen/cuda_names.h"

static int entry_device_count(void)
{
	return client_enter() ? 0 : (int)client.device_count;
}

static int entry_device_identity(int device, struct front_device *identity)
{
	CUresult result = client_device_check(device);

	if (result)
		return result;
	memcpy(identity->uuid, client.devices[device].uuid, sizeof(identity->uuid));
	identity->pci_domain = client_device_attribute(device, CU_DEVICE_ATTRIBUTE_PCI_DOMAIN_ID);
	identity->pci_bus = client_device_attribute(device, CU_DEVICE_ATTRIBUTE_PCI_BUS_ID);
	identity->pci_device = client_device_attribute(device, CU_DEVICE_ATTRIBUTE_PCI_DEVICE_ID);
	return CUDA_SUCCESS;
}

static int entry_context_current(void **context)
{
	struct client_object *current = client_context_current();

	*context = current ? client_handle_pointer(current) : NULL;
	return CUDA_SUCCESS;
}

static int entry_context_id(void *context, uint64_t *id)
{
	struct client_object *object = client_object_of(KIND_context, context);

	if (!object)
		return CUDA_ERROR_INVALID_CONTEXT;
	*id = object->serial;
	return CUDA_SUCCESS;
}

static int entry_stream_id(void *context, void *stream, uint64_t *id)
{
	struct client_object *object = client_object_of(KIND_stream, stream);
	unsigned long long serial;
	CUresult result;

	if (!stream)
		return entry_context_id(context, id);
	if (object) {
		*id = object->serial;
		return CUDA_SUCCESS;
	}
	result = client_cuStreamGetId(stream, &serial); /* a default stream's constant */
	*id = serial;
	return result;
}

static int entry_primary_context(int device, void **context)
{
	return client_cuDevicePrimaryCtxRetain((CUcontext *)context, device);
}

static int entry_module_load(void **module, const void *image)
{
	return client_cuModuleLoadData((CUmodule *)module, image);
}

static int entry_module_functions(void *module, void (*each)(void *data, void *function),
				  void *data)
{
	unsigned int count = 0;
	CUfunction *functions;
	CUresult result = client_cuModuleGetFunctionCount(&count, module);

	functions = result ? NULL : calloc(count + 1, sizeof(*functions));
	if (!result && !functions)
		result = CUDA_ERROR_OUT_OF_MEMORY;
	if (!result)
		result = client_cuModuleEnumerateFunctions(functions, count, module);
	for (unsigned int i = 0; i < count && !result; i++)
		each(data, functions[i]);
	free(functions);
	return result;
}

static int entry_device_places(uint8_t **cluster, uint8_t **place)
{
	struct wire_device_places_request request = { { 0 } };
	struct wire_device_places_reply reply;
	struct client_call call = { .number = CALL_device_places,
				    .block = &request,
				    .block_bytes = sizeof(request),
				    .reply = &reply,
				    .reply_bytes = sizeof(reply),
				    .tail_capacity = 2 * client_list_bytes(CUDA_WIRE_LIST_MAX, 1) };
	autofree unsigned char *tail = NULL;
	struct client_list list;
	CUresult result = client_enter();

	*cluster = *place = NULL;
	if (!result)
		result = client_list_open(&call, &tail);
	if (!result)
		result = client_call_run(&call);
	if (result)
		return result;
	if (reply.bytes > CUDA_WIRE_LIST_MAX)
		return CUDA_ERROR_UNKNOWN;
	*cluster = malloc(reply.bytes + 1);
	*place = malloc(reply.bytes + 1);
	list = client_list_begin(&call, tail);
	result = *cluster && *place ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
	if (!result)
		result = client_list_take(&list, *cluster, reply.bytes, reply.bytes, 1);
	if (!result)
		result = client_list_take(&list, *place, reply.bytes, reply.bytes, 1);
	if (result) {
		free(*cluster);
		free(*place);
		*cluster = *place = NULL;
	}
	return result;
}

static void entry_unused_slot(const char *table)
{
	client_log("the program called a slot of the export table %s that is not implemented",
		   table);
}

static struct front_driver driver = {
	.entries = client_entries,
	.driver_version = CUDA_VERSION,
	.device_count = entry_device_count,
	.device_identity = entry_device_identity,
	.context_current = entry_context_current,
	.context_id = entry_context_id,
	.stream_id = entry_stream_id,
	.primary_context = entry_primary_context,
	.module_load_fatbin = entry_module_load,
	.module_functions = entry_module_functions,
	.device_places = entry_device_places,
	.unused_slot = entry_unused_slot,
};

__attribute__((constructor)) static void entry_open(void)
{
	driver.entry_count = client_entry_count;
	client.look_up_version = &driver.driver_version;
	front_open(&driver);
}

CUresult client_cuGetProcAddress_v2(const char *symbol, void **pfn, int cudaVersion,
				    cuuint64_t flags, CUdriverProcAddressQueryResult *symbolStatus)
{
	int status = 0;
	CUresult result = front_get_proc_address_v2(symbol, pfn, cudaVersion, flags, &status);

	if (status && symbol && *symbol)
		client_log("the program looked for %s of version %d, which is not offered", symbol,
			   cudaVersion);
	if (symbolStatus)
		*symbolStatus = (CUdriverProcAddressQueryResult)status;
	return result;
}

CUresult client_cuGetProcAddress(const char *symbol, void **pfn, int cudaVersion, cuuint64_t flags)
{
	return front_get_proc_address(symbol, pfn, cudaVersion, flags, NULL);
}

CUresult client_cuGetExportTable(const void **ppExportTable, const CUuuid *pExportTableId)
{
	int result = front_get_export_table(ppExportTable, pExportTableId);

	if (result == CUDA_ERROR_NOT_FOUND) {
		const unsigned char *id = (const unsigned char *)pExportTableId;

		client_log("the program asked for the export table %02x%02x%02x%02x-%02x%02x-"
			   "%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x, which is not offered",
			   id[0], id[1], id[2], id[3], id[4], id[5], id[6], id[7], id[8], id[9],
			   id[10], id[11], id[12], id[13], id[14], id[15]);
	}
	return result;
}

CUresult client_cuGetErrorName(CUresult error, const char **pStr)
{
	if (!pStr)
		return CUDA_ERROR_INVALID_VALUE;
	*pStr = cuda_result_name(error);
	return *pStr ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult client_cuGetErrorString(CUresult error, const char **pStr)
{
	if (!pStr)
		return CUDA_ERROR_INVALID_VALUE;
	*pStr = cuda_result_text(error);
	return *pStr ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
