/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of softgpu's driver share; not for others.
 *
 * Locks, in the order in which they may be taken together:
 *	context_lock (context.c)   primary contexts, life and death of contexts
 *	module_lock (module.c)     libraries, modules, functions, kernels
 *	graph_lock (graph.c)       graphs, executables, captures
 *	stream_lock (stream.c)     queues, streams, events
 *	opened_lock (ipc.c)        memory of other processes
 *	virtual_lock (virtual.c)   reservations, memory without addresses, mappings
 *	memory_lock (memory.c)     allocations
 *	pool_lock (pool.c)         what pools count
 *	made_lock (ipc.c)          what other processes may open
 *	object locks (object.c)    leaves: the free lists of handles
 * No lock is held while a task runs or a program's callback is called.
 */
#ifndef CAUSEWAY_CUDA_SOFTGPU_DRIVER_H
#define CAUSEWAY_CUDA_SOFTGPU_DRIVER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cuda/softgpu/ipc.h"
#include "cuda/softgpu/ptx.h"
#include "cuda/softgpu/settings.h"
#include "gen/cuda_types.h"

#define DRIVER_VERSION	       SETTINGS_CUDA_VERSION
#define WARP_LANES	       32
#define BLOCK_THREADS_MAX      1024
#define PROCESSOR_THREADS_MAX  1024
#define PROCESSOR_BLOCKS_MAX   16
#define PROCESSOR_REGISTERS    65536
#define BLOCK_SHARED_BYTES     49152 /* without asking for more */
#define BLOCK_SHARED_BYTES_MAX 65536 /* opt-in, and all that a multiprocessor has */
#define PAGE_SHIFT	       12
#define PAGE_BYTES	       (1ul << PAGE_SHIFT)

/* ---- object.c: handles ---- */

/* What a handle can name. */
enum object_kind {
	OBJECT_CONTEXT,
	OBJECT_STREAM,
	OBJECT_EVENT,
	OBJECT_MODULE,
	OBJECT_LIBRARY,
	OBJECT_FUNCTION,
	OBJECT_KERNEL,
	OBJECT_POOL,
	OBJECT_GRAPH,
	OBJECT_NODE,
	OBJECT_EXEC,
	OBJECT_PHYSICAL,
	OBJECT_KINDS,
};

struct object {
	_Atomic uint32_t live; /* 1 between object_create() and object_destroy() */
	struct object *next_free;
};

/* object_create - zeroed but for the part that persists (stream, event); NULL without memory */
void *object_create(enum object_kind kind);
void object_destroy(enum object_kind kind, void *object);
/* object_valid - whether this is a live handle of that kind; safe for any value */
bool object_valid(enum object_kind kind, const void *handle);
/* object_next - the live object behind @after (NULL: the first); NULL at the end */
void *object_next(enum object_kind kind, const void *after);

/* ---- device.c ---- */

extern struct settings settings; /* written once by device_open() */

/* device_open - read SOFTGPU_* from the environment; CUresult */
CUresult device_open(void);
bool device_valid(CUdevice device);

/* ---- driver.c ---- */

/* driver_ready - NOT_INITIALIZED before cuInit and in a forked child */
CUresult driver_ready(void);
CUresult driver_result(int error); /* -errno of the parts below as CUresult */

/* ---- context.c ---- */

struct context {
	struct object object;
	uint64_t id;
	CUdevice device;
	bool primary;
	_Atomic bool active; /* false: a primary context that was released or reset */
	unsigned int flags;
	unsigned int references; /* of a primary context; protected by context_lock */
	_Atomic int failure;	 /* the sticky CUresult; 0 while all is well */
	_Atomic size_t limits[CU_LIMIT_MAX];
	CUfunc_cache cache_config;
	struct stream *streams; /* protected by stream_lock */
	struct stream *legacy;
	struct {
		pthread_mutex_t lock;
		char *text;
		size_t used;
	} print; /* device printf's text until the next synchronisation */
};

/* context_enter - the calling thread's context, healthy; else the CUresult a call must return */
CUresult context_enter(struct context **context);
/* context_primary_active - the device's primary context, NULL where it is not in use */
struct context *context_primary_active(CUdevice device);
/* context_fail - make @result sticky unless one is */
void context_fail(struct context *context, CUresult result);
/* context_print - device printf: keep text; print_context of a launch is the context */
void context_print(void *context, const char *text, size_t bytes);
void context_print_flush(struct context *context);

/* ---- stream.c: queues and their threads ---- */

#define STREAM_QUEUE_MAX 1024 /* tasks; a full queue holds the submitter back */

struct stream;

/* "After that work": reached when the stream's completed count is at least @count. */
struct point {
	struct stream *stream;
	uint64_t count;
};

/* One piece of a stream's work. The rest of the structure around it belongs to @run. */
struct task {
	struct task *next;
	CUresult (*run)(struct task *task);
	bool always; /* runs although its context has failed */
	uint64_t count;
	struct context *context;
	size_t wait_count;
	struct point *waits;
};

/* How a stream stands to the legacy default stream: it is that one, waits for it, or does not. */
enum stream_kind { STREAM_LEGACY, STREAM_BLOCKING, STREAM_NON_BLOCKING };

struct stream {
	struct object object;
	/* Persist while the slot is reused, so that a point never dangles. */
	uint64_t submitted;
	uint64_t completed;
	/* All below is cleared for each stream; protected by stream_lock where it changes. */
	struct context *context;
	struct stream *next; /* of the same context */
	enum stream_kind kind;
	unsigned int flags;
	int priority;
	uint64_t id;
	struct task *head;
	struct task **tail;
	unsigned int queued;
	bool running;  /* a thread is in the head task */
	bool threaded; /* its own thread lives */
	bool closing;  /* the handle is gone; the rest drains */
	pthread_cond_t work;
	/* capture.c's, under graph_lock; NULL: what comes here is run. */
	struct capture *capture;
	struct node **capture_on;
	size_t capture_on_count;
};

/* stream_resolve - the stream a handle means in the current context, its defaults included */
CUresult stream_resolve(CUstream handle, struct stream **stream);

/* stream_create - NULL without room for one more; its thread starts with its first task */
struct stream *stream_create(struct context *context, enum stream_kind kind, unsigned int flags,
			     int priority);

/**
 * stream_submit - queue a task; it and its waits are freed once it ran
 * @extra: a point to wait for besides the stream's own order, or NULL
 * @wait: return when it has run; the calling thread then runs what it can itself
 *
 * Return: CUDA_SUCCESS, OUT_OF_MEMORY (the task is freed), or with @wait the context's failure.
 */
CUresult stream_submit(struct stream *stream, struct task *task, const struct point *extra,
		       bool wait);
/* stream_idle - nothing queued here or in what the next task would have to wait for */
bool stream_idle(struct stream *stream);
/* stream_last - the point behind all that was submitted so far */
struct point stream_last(struct stream *stream);
bool point_reached(const struct point *point);
void point_wait(const struct point *point);
void context_drain(struct context *context);
void streams_drain_all(void);
/* streams_still - call @function at a moment when no task runs, and none begins meanwhile */
CUresult streams_still(CUresult (*function)(void *argument), void *argument);
void context_streams_close(struct context *context);
bool thread_in_callback(void);
/* host_call - a program's function, which must not call the driver */
void host_call(CUhostFn function, void *data);

/* ---- event.c ---- */

/* context_events_destroy - all events of a context that goes */
void context_events_destroy(struct context *context);
/* For object.c: sizes of what is private to event.c and pool.c. */
size_t event_bytes(void);
size_t event_persists(void);
size_t pool_bytes(void);

/* For object.c: sizes of what is private to the files of graphs. */
size_t graph_bytes(void);
size_t node_bytes(void);
size_t exec_bytes(void);

/* ---- memory.c ---- */

enum memory_kind {
	MEMORY_PAGEABLE, /* outside of all we know: the program's own */
	MEMORY_DEVICE,
	MEMORY_PINNED,	   /* host memory the driver allocated: kernels may use it */
	MEMORY_REGISTERED, /* the program's own, good for copies only */
	MEMORY_INVALID,	   /* inside our range, but not allocated, or past an end */
};

struct memory_block {
	uint64_t address;
	size_t bytes; /* as asked for */
	size_t pages; /* that it takes */
	enum memory_kind kind;
	CUdevice device;
	struct context *context; /* whose end frees it; NULL: none */
	CUmemoryPool pool;
	unsigned int host_flags;
	bool imported;		   /* another process's, see ipc.c */
	struct ipc_handle *shared; /* what it was exported as; NULL: it was not */
	uint64_t id;
};

CUresult memory_open(void);
/* memory_allocate - fills *block->address from its other fields; zeroed, page-aligned */
CUresult memory_allocate(struct memory_block *block);
/* memory_free - the allocation that starts at @address; INVALID_VALUE where none does */
CUresult memory_free(uint64_t address);
/* memory_find - the allocation or registration that holds @address */
bool memory_find(uint64_t address, struct memory_block *block);
/* memory_classify - what [address, address + bytes) is */
enum memory_kind memory_classify(uint64_t address, size_t bytes);
void memory_free_context(struct context *context);
size_t memory_used(CUdevice device);
/* softgpu_memory_used - of the device of that place; softgpu's libnvidia-ml.so.1 asks for it */
__attribute__((visibility("default"))) uint64_t softgpu_memory_used(int place);
CUresult memory_register(struct memory_block *block);
CUresult memory_unregister(uint64_t address);
const struct ptx_memory *memory_for_machine(CUdevice device);
/* memory_virtual - the addresses that cuMemAddressReserve gives from */
uint64_t memory_virtual(uint64_t *bytes);
/* memory_charge - count memory that no block of the device's region stands for; OUT_OF_MEMORY */
CUresult memory_charge(CUdevice device, size_t bytes);
void memory_discharge(CUdevice device, size_t bytes);
/* memory_export - move the allocation at @address to where other processes may open it; its handle
 */
CUresult memory_export(uint64_t address, struct ipc_handle *handle);
/* memory_map - memory may be used at virtual addresses from now on; memory_unmap: no longer */
CUresult memory_map(struct memory_block *block);
void memory_unmap(uint64_t address);

/* ---- virtual.c ---- */

size_t physical_bytes(void); /* for object.c */
/* virtual_import - map what another process exported, @bytes of it, at an address of its own */
CUresult virtual_import(int fd, uint64_t bytes, struct context *context, CUdevice device,
			uint64_t *address);
void virtual_import_end(uint64_t address);

/* ---- ipc.c ---- */

/* ipc_close_context - all that is open in a context that goes */
void ipc_close_context(const struct context *context);

/* ---- pool.c ---- */

/* pool_credit - an allocation of the pool was freed; how much of it the pool keeps */
size_t pool_credit(CUmemoryPool pool, size_t bytes);
/* pools_release - give back what pools of the device keep; false: they kept nothing */
bool pools_release(CUdevice device);

/* ---- module.c, library.c ---- */

struct image; /* image.c: what a program gave to load, kept for parsing */

struct module {
	struct object object;
	struct context *context; /* NULL: only for what a library says without a context */
	struct library *library; /* NULL: loaded by cuModuleLoad* */
	struct ptx_module *machine;
	struct module *next; /* of the same library */
};

struct function {
	struct object object;
	struct module *module;
	const struct ptx_kernel *machine;
	const struct ptx_kernel_facts *facts;
	_Atomic int dynamic_shared_max;
	_Atomic int carveout;
	atomic_bool charged;   /* its code has taken device memory */
	struct kernel *kernel; /* NULL: not found through a library */
};

struct library {
	struct object object;
	struct image *image;
	struct module *modules; /* one for each context; protected by module_lock */
	CUresult refused;	/* why its PTX cannot be parsed, once that is known */
};

struct kernel {
	struct object object;
	struct library *library;
	char *name;
	_Atomic int dynamic_shared_max; /* -1: as it is without being set */
	_Atomic int carveout;
	/* The function of the context it was last asked for in: the launch path's short cut. */
	_Atomic(struct function *) last;
};

/* context_modules_unload - all modules of a context that goes */
void context_modules_unload(struct context *context);
/* function_of - the function behind a CUfunction or CUkernel, of the current context */
CUresult function_of(CUfunction handle, struct context *context, struct function **function);
/* kernel_check - whether this is a CUkernel; else the result that says so */
CUresult kernel_check(const void *handle);
/* function_dynamic_shared_max - bytes a launch may ask for beside the static ones */
size_t function_dynamic_shared_max(const struct function *function);
/* function_attribute - what cuFuncGetAttribute answers */
CUresult function_attribute(const struct function *function, CUfunction_attribute attribute,
			    int *value);
/* attribute_value_valid - whether that attribute can be set to @value on a kernel of @facts */
CUresult attribute_value_valid(const struct ptx_kernel_facts *facts, CUfunction_attribute attribute,
			       int value);

/* The caller holds module_lock for all of these. */
CUresult module_create(struct context *context, const struct image *image, struct module **module,
		       struct error *error);
void module_destroy(struct module *module);
CUresult module_function(struct module *module, const char *name, struct function **function);
/* library_forget - the module of a library ends with its context */
void library_forget(struct module *module);
/* kernel_function - the function of a library's kernel in that context */
CUresult kernel_function(struct kernel *kernel, struct context *context,
			 struct function **function);

/* What the options of a load ask for; see image_options(). */
struct image_log {
	char *text;
	size_t bytes;
	void **written; /* where the number of bytes written goes */
};

/* image_options - find the error log among JIT options; the others change nothing here */
CUresult image_options(unsigned int count, const CUjit_option *options, void **values,
		       struct image_log *log);
/* image_report - a load failed: the sentence to the program's log and to standard error */
CUresult image_report(const struct image_log *log, CUresult result, const struct error *error);

/* Guards modules, libraries and functions. */
extern pthread_mutex_t module_lock;

/* ---- occupancy.c ---- */

/* occupancy_blocks - blocks of that size that one multiprocessor holds at a time */
int occupancy_blocks(const struct function *function, unsigned int threads, size_t dynamic_shared);

#endif
