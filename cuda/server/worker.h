/* SPDX-License-Identifier: Apache-2.0 */
/*
 * causeway-cuda-worker: one process for one client process; what its files share.
 *
 *	worker_main.c     options, the driver, standard output, greeting and snapshot
 *	worker.c          threads: who reads; the gate; dispatch; late errors
 *	worker_reply.c    replies and device printf's text
 *	worker_table.c    handles by number; device ranges
 *	worker_context.c, worker_module.c, worker_launch.c, worker_memory.c, worker_copy.c,
 *	worker_shared.c, worker_host.c, worker_graph.c, worker_dot.c, worker_capture.c,
 *worker_texture.c, worker_virtual.c, worker_linker.c   the hand-written requests
 *
 * Locks: read_lock (who reads the link; worker.c), reply_lock (the writing side of the link;
 * worker_reply.c; never held in a call of the driver's, which may be waiting for a host function,
 * whose message wants it), table_lock (handles and ranges; worker_table.c, a leaf). A request's
 *turn (worker.c) is like a lock that is taken under read_lock. Order: read_lock, turn, reply_lock,
 *leaf.
 */
#ifndef CAUSEWAY_CUDA_SERVER_WORKER_H
#define CAUSEWAY_CUDA_SERVER_WORKER_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "gen/cuda_dispatch.h"
#include "gen/cuda_driver.h"
#include "gen/cuda_wire.h"
#include "lib/link/link.h"

enum worker_row_flags {
	WORKER_REPLY = 1,   /* has a reply */
	WORKER_CONTEXT = 2, /* needs a current context */
	WORKER_SETTLES = 4, /* brings late errors and device text */
	WORKER_WAITS = 8,   /* may wait for the device */
	WORKER_BULK = 16,   /* bulk may follow the request */
};

struct worker_options {
	uint64_t memory_limit; /* 0: none */
	uint64_t image_limit;
	const char *peer; /* for the log */
	/* The connection is of no use; may not return. Called once by the thread that saw it. */
	void (*ended)(int error);
};

/* The driver that this worker serves, after start. */
extern struct cuda_driver worker_driver;
/* WORKER_PUT - in a driver's table, @function in the place of @name, where the driver has that */
#define WORKER_PUT(driver, name, function)         \
	do {                                       \
		if ((driver)->name)                \
			(driver)->name = function; \
	} while (0)
extern struct link *worker_link;
/* worker_shared.c: the driver's cuStreamWriteValue32_v2, or NULL */
extern CUresult (*worker_write_value)(CUstream stream, CUdeviceptr address, uint32_t value,
				      unsigned int flags);
extern struct worker_options worker_options;

/* The reply's block and tail are composed here; as large as the wire allows. */
#define WORKER_PAYLOAD_BYTES (CUDA_WIRE_REPLY_BYTES_MAX - sizeof(struct cuda_wire_reply))

/*
 * A thread's request at work. The buffers are the thread's own and are used again.
 */
struct worker_call {
	struct cuda_wire_request request;
	unsigned char *payload; /* block and tail, copied from the link */
	size_t payload_bytes;
	size_t taken;	     /* of the payload, by worker_block() and worker_tail() */
	uint64_t bulk_left;  /* bytes of bulk still in the link, or in .bulk */
	unsigned char *bulk; /* all that was left, out of the link; NULL: it is still there */
	uint64_t bulk_taken; /* of .bulk */
	bool leading;	     /* this thread reads the link: it holds read_lock */
	bool in_turn;	     /* this thread's request has its turn, and no later one */
	bool broken;	     /* the request breaks the format: the connection ends */
	int link_error;	     /* the link failed under the request */
	unsigned char *reply;
	size_t reply_tail_bytes; /* behind the block */
};

/* Decoding, for generated and hand-written dispatch. */
bool worker_block(struct worker_call *call, void *block, size_t bytes);
/* worker_tail - the next @count elements of the tail, or NULL where there are fewer */
const void *worker_tail(struct worker_call *call, uint64_t count, size_t element_bytes);
const char *worker_tail_string(struct worker_call *call, uint32_t bytes);
bool worker_zero(const unsigned char *bytes, size_t count);
/* worker_broken - mark the request as breaking the format */
CUresult worker_broken(struct worker_call *call);
/* worker_link_failed - keep what the link said while the request's bulk was under way */
CUresult worker_link_failed(struct worker_call *call, int error);
void *worker_reply_block(struct worker_call *call);
/* worker_bulk_take - the next @bytes (<= .bulk_left) of the request's bulk to @to */
CUresult worker_bulk_take(struct worker_call *call, void *to, uint64_t bytes);
/* worker_bulk_buffer - what is left of the bulk out of the link, so that others may read there */
CUresult worker_bulk_buffer(struct worker_call *call);

/*
 * worker_step_aside - let another thread read the link and execute what it reads, before this one
 * waits for the device. Nothing of the request may be left in the link.
 */
void worker_step_aside(struct worker_call *call);
/*
 * worker_step_back - let another thread read the link while this one may wait inside its turn:
 * it takes note of host functions that have returned, and executes nothing else.
 */
void worker_step_back(struct worker_call *call);
/* worker_host_outstanding - whether a host function has been queued that has not returned */
bool worker_host_outstanding(void);
/* worker_late - keep a failure of a request without reply */
void worker_late(CUresult result);
/* worker_settle - the late error, once, where @result is CUDA_SUCCESS */
CUresult worker_settle(CUresult result);
/* worker_enter_context - make that context current in this thread */
CUresult worker_enter_context(uint32_t number);
void worker_context_gone(void *context);
/* worker_context_generation - another number after each end of a context */
unsigned int worker_context_generation(void);

/* worker_serve - read and execute until the link ends and all threads have; returns the reason */
int worker_serve(void);
/* worker_serve_one - one request with buffers of the caller's; for the fuzzer as well */
int worker_serve_one(struct worker_call *call);
int worker_call_open(struct worker_call *call);
void worker_call_close(struct worker_call *call);

/* worker_reply.c */
int worker_reply_send(struct worker_call *call, CUresult result);
void worker_reply_lock(void);
void worker_reply_unlock(void);
int worker_print_open(void);
void worker_print_send(uint32_t sequence);
int worker_host_function_send(uint64_t id);

/* worker_table.c */
bool worker_handle_free(struct worker_call *call, uint32_t number);
CUresult worker_handle_set(struct worker_call *call, enum cuda_wire_kind kind, uint32_t number,
			   void *real, uint32_t parent);
/* worker_handle_find - CUDA_ERROR_INVALID_HANDLE (_CONTEXT) unless @number is a live @kind */
CUresult worker_handle_find(struct worker_call *call, enum cuda_wire_kind kind, uint32_t number,
			    bool null, void *real_pointer);
/* worker_handle_end - the handle and all below it; returns what it owned */
void worker_handle_end(struct worker_call *call, uint32_t number);
/*
 * worker_handle_number - the number of one of the driver's handles; one that no number leads to
 * gets a number of the worker's under @parent (or under its parent, where that is of @kind)
 */
CUresult worker_handle_number(struct worker_call *call, enum cuda_wire_kind kind, void *real,
			      uint32_t parent, uint32_t *number);
/* worker_handle_known - the number of @real, or 0 */
uint32_t worker_handle_known(enum cuda_wire_kind kind, void *real);
/* worker_handles_find - an array of numbers as the driver's handles; the caller frees *real */
CUresult worker_handles_find(struct worker_call *call, enum cuda_wire_kind kind,
			     const void *numbers, uint64_t count, void ***real);
void worker_handle_own(uint32_t number, void *owned);
void *worker_handle_owned(uint32_t number);
void worker_table_close(void);

enum worker_range_kind {
	WORKER_RANGE_ALLOCATION,
	WORKER_RANGE_ASYNC, /* .serial is its pool */
	WORKER_RANGE_GLOBAL,
	WORKER_RANGE_HOST,     /* shared with the client; .serial is worker_range_host_mark()'s */
	WORKER_RANGE_RESERVED, /* addresses without memory of their own */
	WORKER_RANGE_FOREIGN,  /* memory of another process; .serial: openings beside the first */
	WORKER_RANGE_GRAPH,    /* a graph's, until it is freed or the driver gives it again */
};
/* worker_memory_charge - count memory that no range stands for; negative: it is given back */
void worker_memory_charge(int64_t bytes);
/* worker_overhead_charge - the same for what the driver takes without being asked */
void worker_overhead_charge(int64_t bytes);
CUresult worker_range_check(struct worker_call *call, uint64_t address, unsigned __int128 bytes);
CUresult worker_range_add(uint64_t address, uint64_t bytes, enum worker_range_kind kind,
			  uint32_t owner);
/* worker_range_from_pool - the new WORKER_RANGE_ASYNC at @start is of @pool */
void worker_range_from_pool(uint64_t start, CUmemoryPool pool);
/* worker_range_take - forget the allocation at @address; CUDA_ERROR_INVALID_VALUE: there is none */
CUresult worker_range_take(uint64_t address, enum worker_range_kind *kind);
void worker_range_forget(uint32_t owner);
/* worker_range_host - copy out the shared range that holds @bytes from @address; false: none */
struct range;
bool worker_range_host(uint64_t address, uint64_t bytes, struct range *range);
void worker_range_host_mark(uint64_t start, uint64_t mark);
/* worker_range_foreign_again - count one more opening of memory that is open; false: it is not */
bool worker_range_foreign_again(uint64_t start);
/* worker_range_foreign_close - one opening less; the @last one makes the range forgotten */
CUresult worker_range_foreign_close(uint64_t start, bool *last);
/* worker_range_host_take - forget the shared range that starts at @start */
CUresult worker_range_host_take(uint64_t start, uint64_t *bytes);
/* worker_memory_admit - CUDA_ERROR_OUT_OF_MEMORY where @bytes more would pass the limit */
CUresult worker_memory_admit(uint64_t bytes);
uint64_t worker_memory_used(void);
/*
 * worker_memory_rest - what the driver may keep beside @bytes that were asked for: it hands out
 * parts of blocks. worker_memory_rests - beside all ranges; foreign ones count whole, since the
 * device may count them here.
 */
uint64_t worker_memory_rest(uint64_t bytes);
uint64_t worker_memory_rests(void);

/* worker_list.c: lists in a reply's tail, behind one another */
size_t worker_list_count(uint64_t wanted);
void *worker_list(struct worker_call *call, uint64_t count, size_t element_bytes);
CUresult worker_list_add(struct worker_call *call, const void *elements, uint64_t count,
			 size_t element_bytes);
/* worker_list_handles - @listed of the driver's handles as numbers, at most @room of them */
CUresult worker_list_handles(struct worker_call *call, enum cuda_wire_kind kind, uint32_t parent,
			     void **real, uint64_t listed, uint64_t room);

/* worker_host.c: a function of the client's that a graph's node calls each time it runs */
CUresult worker_host_lasting(uint64_t id, CUhostFn *function, void **data);
/* worker_host_id - the client's number of what worker_host_lasting() gave, or 0 */
uint64_t worker_host_id(CUhostFn function, void *data);

/* worker_copy.c: the wire's copy as the driver's structure; arrays by number, ranges checked */
CUresult worker_copy_decode(struct worker_call *call, const struct cuda_wire_copy *wire,
			    CUDA_MEMCPY3D *copy);
/* worker_piece_send - bytes of this process's as one message of a reply's bulk */
int worker_piece_send(struct worker_call *call, const void *data, uint64_t bytes);

/* worker_module.c: a request's bulk in memory that the caller frees, and plain options */
#define WORKER_OPTIONS_MAX 64u
struct worker_options_read {
	CUjit_option names[WORKER_OPTIONS_MAX + 2];
	void *values[WORKER_OPTIONS_MAX + 2];
	unsigned int count;
};
CUresult worker_bulk_read(struct worker_call *call, void **data, uint64_t *bytes);
CUresult worker_options_decode(struct worker_call *call, uint32_t count, uint32_t log_bytes,
			       struct worker_options_read *options);
void worker_options_reply(struct worker_call *call, uint32_t log_bytes);

/* worker_launch.c: the layout of a function's parameters; the arrays have the wire's bounds */
CUresult worker_parameters_get(void *function, bool kernel, struct cuda_wire_function *facts,
			       struct cuda_wire_parameter *parameters);
/* worker_launch_layout - the offsets of a function's parameters in a block of *bytes */
const uint32_t *worker_launch_layout(uint32_t number, uint32_t *count, uint32_t *bytes);

/*
 * worker_launch.c: worker_function_describe - compose a kernel's facts as the reply's tail, and
 * keep with its handle what a launch needs of them
 */
CUresult worker_function_describe(struct worker_call *call, uint32_t number, int device);

/* worker.c: how many requests that may have given the device work were executed so far */
uint64_t worker_issued(void);

/* worker_module.c: whether a kernel that was loaded may print, as far as its image tells */
bool worker_may_print(void);
/* worker_legacy_idle - nothing was issued but the calling request since _waited() */
bool worker_legacy_idle(const struct worker_call *call);
void worker_legacy_waited(const struct worker_call *call);
/* worker_context.c: wait for a stream, aside if it takes longer than a moment */
CUresult worker_stream_wait(struct worker_call *call, CUstream stream);

#endif
