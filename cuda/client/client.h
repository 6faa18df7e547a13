/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The CUDA client inside libcuda.so.1: what its files share.
 *
 * One connection for the process. Locks, in the order in which they are taken:
 *
 *	start_lock   cuInit: connecting, once
 *	send_lock    the writing side of the link and the order of requests; sequence numbers
 *	wait_lock    the list of waiting calls and who reads the link (call.c)
 *	handle_lock  the tables of handles, and parents' lists of children (handle.c)
 *	range_lock   known addresses (memory.c)
 *	cache_lock   answers that are remembered (cache.c)
 *
 * The last three are leaves: nothing else is taken under them. No lock is held while a thread
 * waits for a reply or runs the program's code.
 */
#ifndef CAUSEWAY_CUDA_CLIENT_CLIENT_H
#define CAUSEWAY_CUDA_CLIENT_CLIENT_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "gen/cuda_client.h"
#include "gen/cuda_wire.h"
#include "lib/base/error.h"
#include "lib/link/link.h"

/*
 * The life of the client. client_state_set() alone assigns it, under start_lock or, for
 * CLIENT_LOST, from any state CLIENT_READY.
 */
enum client_state {
	CLIENT_NEW,    /* cuInit was not called; only look-ups work */
	CLIENT_FAILED, /* cuInit failed; a later cuInit tries again */
	CLIENT_READY,  /* connected; .link, .devices are valid and stay so */
	CLIENT_LOST,   /* the link failed: every call is CUDA_ERROR_DEVICE_UNAVAILABLE */
	CLIENT_FORKED, /* a forked child of a ready client: CUDA_ERROR_NOT_INITIALIZED for good */
};

struct client {
	int state; /* enum client_state, atomic */
	pthread_mutex_t start_lock;
	struct link *link;
	pthread_mutex_t send_lock;
	uint32_t sequence; /* under send_lock */
	int driver_version;
	int *look_up_version; /* entry.c's, which look-ups and the integrity check go by */
	unsigned int device_count;
	struct cuda_wire_device *devices; /* constant once ready */
};

/* The one of this process. */
extern struct client client;

/* client_enter - what a call meets first: CUDA_SUCCESS when the client is ready */
CUresult client_enter_slow(void);
static inline CUresult client_enter(void)
{
	if (__builtin_expect(__atomic_load_n(&client.state, __ATOMIC_ACQUIRE) == CLIENT_READY, 1))
		return CUDA_SUCCESS;
	return client_enter_slow();
}

/* client_fork_prepare - from now on a forked child finds the client CLIENT_FORKED */
void client_fork_prepare(void);

/* client_lost - the link failed; every waiting and later call ends */
void client_lost(int error);

/* log.c: one line to the file named by CAUSEWAY_CUDA_LOG, if any */
void client_log(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* config.c */
struct client_config {
	char server[256];
	char token[65];
	struct link_options link; /* .token points into this structure */
};
int client_config_load(struct client_config *config, struct error *error);

/* Requests: call.c */
enum client_call_flags {
	CLIENT_NO_REPLY = 1,
	CLIENT_NO_CONTEXT = 2,
	CLIENT_CACHED = 4,
	CLIENT_UNCACHES = 8,
	CLIENT_MAKES = 16, /* begins a handle */
};

/* A box of bytes in the program's memory; one row for what is contiguous. */
struct client_bulk {
	unsigned char *at;
	size_t width_bytes;
	size_t pitch; /* from row to row */
	size_t rows;
	size_t slice_pitch; /* from slice to slice */
	size_t slices;
};

/* Bytes of the caller's that follow a request's block; read until the call is under way. */
struct client_piece {
	const void *data;
	uint32_t bytes;
};

#define CLIENT_PIECES_MAX 6

struct client_call {
	uint16_t number;
	uint16_t flags;
	uint32_t block_bytes;
	const void *block;
	struct client_piece pieces[CLIENT_PIECES_MAX]; /* the tail, each padded on the wire */
	unsigned int piece_count;
	const struct client_bulk *send; /* bulk behind the request, or NULL */
	uint32_t context;		/* 0: the calling thread's current one */
	/* What the reply may bring. */
	void *reply;
	uint32_t reply_bytes;
	void *tail;			   /* where the reply's tail goes */
	uint32_t tail_capacity;		   /* in: most bytes; a longer tail breaks the connection */
	uint32_t tail_bytes;		   /* out */
	const struct client_bulk *receive; /* where the reply's bulk goes, or NULL */
};

/* client_call_piece - one more piece, of at most CLIENT_PIECES_MAX */
static inline void client_call_piece(struct client_call *call, const void *data, size_t bytes)
{
	struct client_piece *piece = &call->pieces[call->piece_count++];

	piece->data = data;
	piece->bytes = bytes > UINT32_MAX ? UINT32_MAX : (uint32_t)bytes;
}

/**
 * client_call_run - send a request and, unless it has no reply, wait for the reply
 *
 * Return: the reply's result; CUDA_SUCCESS for a request without reply once it is issued;
 * CUDA_ERROR_INVALID_CONTEXT where the call needs a current context and there is none,
 * CUDA_ERROR_INVALID_VALUE for a tail that does not fit, CUDA_ERROR_DEVICE_UNAVAILABLE after the
 * link failed.
 */
CUresult client_call_run(struct client_call *call);

/* client_call_give_way - between the parts of a large copy: others who want to send go first */
void client_call_give_way(void);

/* client_call_read - read one message and deliver it; -errno means that the link is of no use */
int client_call_read(void);

/* cache.c: answers of calls marked `cached`, by context, call and argument block */
bool client_cache_find(const struct client_call *call, uint32_t context);
void client_cache_store(const struct client_call *call, uint32_t context);
void client_cache_clear(void);

/* Handles: handle.c */
struct client_function {
	struct cuda_wire_function facts;
	struct cuda_wire_parameter *parameters;
	char *name;
};

struct client_node;
struct client_graph;
struct client_link;

struct client_object {
	uint64_t serial; /* never the same twice */
	uint32_t number; /* also its place in the table */
	uint32_t parent; /* 0: none */
	uint32_t first_child, next_sibling, previous_sibling;
	uint8_t kind; /* enum cuda_wire_kind; KIND_none: free, atomic */
	union {
		struct {
			int device;
			unsigned int flags;
			unsigned int api_version;
			int priority_least, priority_greatest;
			bool primary;
			int broken; /* the error that CUDA keeps for good, or 0; atomic */
		} context;
		struct {
			unsigned int flags;
			int priority;
		} stream;
		struct {
			bool shared; /* another process may have it; atomic */
		} event;
		struct client_node *node;   /* what the program was shown of a node; graph.c */
		struct client_graph *graph; /* user objects of a graph or its executable */
		struct client_link *link;   /* of a linker; linker.c */
		struct client_function *function; /* kernels and functions */
		struct {
			int device;
			bool lasting; /* a device's own pool */
		} pool;
	};
};

/* client_handle_new - a handle under @parent (0: none); CUDA_ERROR_OUT_OF_MEMORY when all are taken
 */
CUresult client_handle_new(enum cuda_wire_kind kind, uint32_t parent, struct client_object **made);
/* client_handle_end - the handle and all its children are no more; NULL is fine */
void client_handle_end(struct client_object *object);
/* client_handle_object - the live object behind a handle of any kind, or NULL */
struct client_object *client_handle_object(const void *handle);
struct client_object *client_handle_at(uint32_t number);
/*
 * client_handle_adopt - the object with a number that a reply brought: known already, or one that
 * the worker chose, which now begins under @parent (or under its parent, where that is of @kind)
 */
CUresult client_handle_adopt(enum cuda_wire_kind kind, uint32_t number, uint32_t parent,
			     struct client_object **object);
void *client_handle_pointer(const struct client_object *object);
/* client_handle_child - a kernel or function under @parent with that name and kind, or NULL */
struct client_object *client_handle_child(struct client_object *parent, enum cuda_wire_kind kind,
					  const char *name);

/* client_object_of - the live object of @kind behind @handle, else NULL */
static inline struct client_object *client_object_of(enum cuda_wire_kind kind, const void *handle)
{
	struct client_object *object = client_handle_object(handle);

	return object && object->kind == kind ? object : NULL;
}

/* client_number_KIND - the number of a handle for the wire; @null: the NULL handle is 0 */
CUresult client_number_context(const void *handle, bool null, uint32_t *number);
CUresult client_number_module(const void *handle, bool null, uint32_t *number);
CUresult client_number_function(const void *handle, bool null, uint32_t *number);
CUresult client_number_library(const void *handle, bool null, uint32_t *number);
CUresult client_number_kernel(const void *handle, bool null, uint32_t *number);
CUresult client_number_event(const void *handle, bool null, uint32_t *number);
CUresult client_number_stream(const void *handle, bool null, uint32_t *number);
CUresult client_number_pool(const void *handle, bool null, uint32_t *number);
CUresult client_number_array(const void *handle, bool null, uint32_t *number);
CUresult client_number_mipmap(const void *handle, bool null, uint32_t *number);
CUresult client_number_graph(const void *handle, bool null, uint32_t *number);
CUresult client_number_node(const void *handle, bool null, uint32_t *number);
CUresult client_number_exec(const void *handle, bool null, uint32_t *number);
CUresult client_number_linker(const void *handle, bool null, uint32_t *number);

/* Lists: list.c */
struct client_list {
	const unsigned char *at;
	size_t bytes;
};
uint32_t client_list_bytes(uint64_t count, size_t element_bytes);
/* client_list_open - memory for the reply's tail, as long as call->tail_capacity says */
CUresult client_list_open(struct client_call *call, unsigned char **tail);
struct client_list client_list_begin(const struct client_call *call, const unsigned char *tail);
/* client_list_take - the next list of @count elements into @to, as far as there is room */
CUresult client_list_take(struct client_list *list, void *to, uint64_t room, uint64_t count,
			  size_t element_bytes);
CUresult client_list_handles(struct client_list *list, enum cuda_wire_kind kind, uint32_t parent,
			     void **to, uint64_t room, uint64_t count);
/* client_numbers - numbers of an array of handles; the caller frees them, also after an error */
CUresult client_numbers(enum cuda_wire_kind kind, const void *handles, uint64_t count,
			uint32_t **numbers);
CUresult client_numbers_node(const CUgraphNode *nodes, uint64_t count, uint32_t **numbers);

/* Threads and contexts: thread.c, context.c */
struct client_object *client_context_current(void); /* NULL: none */
uint32_t client_context_number(void);		    /* 0: none */
/* client_per_thread_begin - the NULL stream is the thread's own until _end(what this returned) */
bool client_per_thread_begin(void);
void client_per_thread_end(bool outer);

/* Of device.c: whether there is such a device; an attribute as the snapshot has it. */
CUresult client_device_check(CUdevice device);
int client_device_attribute(CUdevice device, CUdevice_attribute attribute);

/* Events: stream.c */
/* client_event_share - another process may have that event from now on */
CUresult client_event_share(CUevent event);
/* client_event_order - after a record of it: where others may have it, wait until it has been done
 */
CUresult client_event_order(CUevent event);

/* client_launch_finish - behind a launch in that stream: waits for it if the program wants that */
CUresult client_launch_finish(CUstream handle, uint32_t stream);

/* Functions: function.c */
struct client_object *client_function_object(CUfunction function);
/* client_function_facts - ask for the facts of a function that the worker named */
CUresult client_function_facts(struct client_object *object);
/* client_launch_gather - the program's parameters into @block with the kernel's layout; launch.c */
CUresult client_launch_gather(const struct client_function *function, void **parameters,
			      void **extra, unsigned char *block);
CUresult client_function_adopt(struct client_object *object, const char *name,
			       const struct cuda_wire_function *facts,
			       const struct cuda_wire_parameter *parameters);

/* Addresses: memory.c */
enum client_range_kind { CLIENT_RANGE_DEVICE, CLIENT_RANGE_GLOBAL, CLIENT_RANGE_HOST };
/* client_range_lookup - copy out what is known of @address; false: nothing */
struct range;
bool client_range_lookup(uint64_t address, struct range *range);
/* client_range_on_device - whether the worker can copy from and to it by its address */
bool client_range_on_device(const struct range *range);
/* client_range_check - CUDA_ERROR_INVALID_VALUE unless @bytes from @address are one device range's
 */
CUresult client_range_check(uint64_t address, unsigned __int128 bytes);
CUresult client_range_global(uint64_t address, uint64_t bytes, uint32_t module);
void client_range_forget(uint32_t owner);
/*
 * client_range_adopt - a block that the worker has; -EEXIST: its addresses are taken here
 * @freed: by cuMemFree; else the program ends it in another way (client_range_end)
 */
int client_range_adopt(uint64_t address, uint64_t bytes, uint32_t owner, bool freed);
/* client_range_end - forget the block that begins at @address */
CUresult client_range_end(uint64_t address);

/* Graphs: graph.c, capture.c */
/* client_node_release, client_link_release - what a handle that ends held; under handle_lock */
void client_node_release(struct client_node *node);
void client_link_release(struct client_link *link);
/* client_capture_possible - some stream of this process may be capturing */
bool client_capture_possible(void);
bool client_capture_active(CUstream stream);

#endif
