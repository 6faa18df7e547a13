/* SPDX-License-Identifier: Apache-2.0 */
/*
 * front: the face that every libcuda.so.1 of Causeway shows a CUDA runtime, whatever is behind it
 * (the remoting client, or softgpu): cuGetProcAddress and its version rules, the undocumented
 * export tables, and context-local storage.
 *
 * None of it can be forwarded to a server: the tables hold addresses in the caller's process and
 * the caller's own state. Observed with CUDA 12 and 13 runtimes; see docs/architecture.md.
 *
 * Threads: everything here may be called from any thread; front_open() once before.
 */
#ifndef CAUSEWAY_CUDA_FRONT_FRONT_H
#define CAUSEWAY_CUDA_FRONT_FRONT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One device's identity, as INTEGRITY_CHECK hashes it; the attributes must answer the very same. */
struct front_device {
	uint8_t uuid[16];
	int32_t pci_domain;
	int32_t pci_bus;
	int32_t pci_device;
};

/*
 * One entry point under one name: cuGetProcAddress("cuMemAlloc", 3020) finds the row with the
 * highest version not above the one asked for. @legacy is what flags 0 and 1 get, @per_thread what
 * flag 2 (per-thread default stream) gets; NULL there means the same function.
 */
struct front_entry {
	const char *name; /* without suffix, as programs ask for it */
	int version;	  /* 1000 * major + 10 * minor of the CUDA that introduced it */
	void *legacy;
	void *per_thread;
};

/* What the driver behind the front provides. Results are CUresult values. */
struct front_driver {
	const struct front_entry *entries; /* sorted by name, then by version */
	size_t entry_count;
	int driver_version;	   /* 13000 for CUDA 13.0 */
	int (*device_count)(void); /* after initialisation */
	int (*device_identity)(int device, struct front_device *identity);
	int (*context_current)(void **context); /* NULL where none is current */
	int (*context_id)(void *context, uint64_t *id);
	/* The id of a stream, or of @context's default stream where @stream is NULL. */
	int (*stream_id)(void *context, void *stream, uint64_t *id);
	int (*primary_context)(int device, void **context); /* retains it */
	/* @image: a wrapper or a fat binary itself, as cuModuleLoadData takes it */
	int (*module_load_fatbin)(void **module, const void *image);
	/* May be NULL. @each is called with @data and every function of the module; 0 or a CUresult
	 */
	int (*module_functions)(void *module, void (*each)(void *data, void *function), void *data);
	/*
	 * May be NULL. Two new arrays for the current device, freed by the caller: for each pair of
	 * multiprocessors its cluster, and its place in there
	 */
	int (*device_places)(uint8_t **cluster, uint8_t **place);
	/* May be NULL. A program called a slot nobody is known to use; at most once per table. */
	void (*unused_slot)(const char *table);
};

/*
 * front_open - keep @driver, which must stay valid. Call it before the first cuGetProcAddress, so
 * from a constructor of the library; nothing of the driver is called in here.
 */
void front_open(const struct front_driver *driver);

/* Bodies of the exported functions of the same name; results are CUresult values. */
int front_get_proc_address(const char *symbol, void **function, int cuda_version, uint64_t flags,
			   int *status);
int front_get_proc_address_v2(const char *symbol, void **function, int cuda_version, uint64_t flags,
			      int *status);
int front_get_export_table(const void **table, const void *uuid);

/* front_result_text - CUDA's sentence for a CUresult, for cuGetErrorString; NULL for no such one */
const char *front_result_text(int result);

/* front_context_destroyed - run the destructors of that context's local storage and forget it */
void front_context_destroyed(void *context);

#endif
