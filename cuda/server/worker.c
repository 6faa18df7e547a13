/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The worker's threads: who reads the link, the gate for requests, and late errors.
 *
 * Leader and followers. The thread that holds read_lock is the leader: it reads a request, which
 * gives it the next number, and executes it when that number is due, so that requests are executed
 * in the order in which they came. Before it enters a driver call that may wait for the device
 * (worker_step_aside) it gives up read_lock and ends its turn; a follower that waits for read_lock
 * becomes the leader, and one is started where there is none.
 *
 * A host function of the program that the device's stream calls has not returned before the client
 * says so, in a request. A leader in a driver call that executes in its turn could wait for that
 * very request; therefore, while host functions are outstanding, it gives up read_lock alone
 * (worker_step_back). The follower executes host_function_done at once. Anything else has to wait
 * for its number, and host_function_done may be behind it: so the follower gives up read_lock as
 * well, its bulk in memory, and the next one reads on. The client bounds how many requests can be
 * between the two (WORK_WHILE_OUTSTANDING of its callback.c, and one for each of its threads), and
 * what becomes of all these threads is that they end.
 *
 * A request without reply that fails leaves its result in `late`; the next call that settles
 * takes it. Errors that CUDA keeps for good come back from the driver itself.
 */
#include "cuda/server/account.h"
#include "cuda/server/turn.h"
#include "cuda/server/worker.h"

#include <errno.h>
#include <stdlib.h>

#define THREADS_MAX	 512u /* more than the requests that may have to wait for a host function */
#define THREADS_IDLE_MAX 8u   /* more than these end once they have nothing to do */
#define STACK_BYTES                                                                   \
	(8u << 20) /* a driver's compiler may run on it; untouched pages cost nothing \
		    */

struct cuda_driver worker_driver;
struct link *worker_link;
struct worker_options worker_options;

static pthread_mutex_t read_lock = PTHREAD_MUTEX_INITIALIZER;

/* Whose turn it is. .next is the leader's, under read_lock. */
static struct {
	uint64_t next;	      /* number of the next request */
	uint64_t now;	      /* that is due; atomic, written by who has its turn */
	unsigned int waiting; /* threads in order_enter(); atomic */
	pthread_mutex_t lock; /* order_lock: .changed alone */
	pthread_cond_t changed;
} order = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };

static unsigned int idle_threads; /* waiting for read_lock, or about to; atomic */
static unsigned int threads;	  /* started and not ended; under threads_lock */
static pthread_mutex_t threads_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t threads_ended = PTHREAD_COND_INITIALIZER;
static int late;	/* a CUresult; atomic */
static uint64_t issued; /* atomic */
static int ended;	/* atomic: the reason was reported */

/* The calling thread's current context in the driver; valid while .generation is the table's. */
static unsigned int context_generation; /* atomic: grows when a context ends */
static __thread struct {
	void *context;
	unsigned int generation;
} current;

bool worker_block(struct worker_call *call, void *block, size_t bytes)
{
	if (call->payload_bytes < bytes)
		return false;
	memcpy(block, call->payload, bytes);
	call->taken = bytes;
	return true;
}

const void *worker_tail(struct worker_call *call, uint64_t count, size_t element_bytes)
{
	const void *at = call->payload + call->taken;
	size_t left = call->payload_bytes - call->taken;
	size_t bytes;

	if (count > left / element_bytes)
		return NULL;
	bytes = ((size_t)count * element_bytes + 7) & ~(size_t)7;
	if (bytes > left)
		return NULL;
	call->taken += bytes;
	return at;
}

const char *worker_tail_string(struct worker_call *call, uint32_t bytes)
{
	const char *text;

	if (!bytes || bytes > CUDA_WIRE_STRING_BYTES_MAX)
		return NULL;
	text = worker_tail(call, bytes, 1);
	return text && strnlen(text, bytes) == bytes - 1 ? text : NULL;
}

bool worker_zero(const unsigned char *bytes, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (bytes[i])
			return false;
	return true;
}

CUresult worker_broken(struct worker_call *call)
{
	call->broken = true;
	return CUDA_ERROR_INVALID_VALUE;
}

CUresult worker_link_failed(struct worker_call *call, int error)
{
	call->link_error = error;
	return CUDA_ERROR_UNKNOWN;
}

void *worker_reply_block(struct worker_call *call)
{
	return call->reply;
}

void worker_late(CUresult result)
{
	int none = CUDA_SUCCESS;

	__atomic_compare_exchange_n(&late, &none, result, false, __ATOMIC_ACQ_REL,
				    __ATOMIC_RELAXED);
}

CUresult worker_settle(CUresult result)
{
	if (result || !__atomic_load_n(&late, __ATOMIC_ACQUIRE))
		return result;
	return (CUresult)__atomic_exchange_n(&late, CUDA_SUCCESS, __ATOMIC_ACQ_REL);
}

uint64_t worker_issued(void)
{
	return __atomic_load_n(&issued, __ATOMIC_ACQUIRE);
}

void worker_context_gone(void *context)
{
	(void)context;
	__atomic_add_fetch(&context_generation, 1, __ATOMIC_ACQ_REL);
}

CUresult worker_enter_context(uint32_t number)
{
	unsigned int generation = __atomic_load_n(&context_generation, __ATOMIC_ACQUIRE);
	void *context;
	CUresult result = worker_handle_find(NULL, KIND_context, number, false, &context);

	if (result)
		return result;
	if (current.context == context && current.generation == generation)
		return CUDA_SUCCESS;
	if (!worker_driver.cuCtxSetCurrent)
		return CUDA_ERROR_NOT_SUPPORTED;
	result = worker_driver.cuCtxSetCurrent(context);
	if (result)
		return result;
	current.context = context;
	current.generation = generation;
	return CUDA_SUCCESS;
}

unsigned int worker_context_generation(void)
{
	return __atomic_load_n(&context_generation, __ATOMIC_ACQUIRE);
}

static void *worker_thread(void *unused);

/* worker_thread_start - one more thread that wants to lead; false: no more of them */
static bool worker_thread_start(void)
{
	pthread_attr_t attributes;
	pthread_t thread;
	bool started = false;

	if (pthread_attr_init(&attributes))
		return false;
	pthread_attr_setstacksize(&attributes, STACK_BYTES);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	pthread_mutex_lock(&threads_lock);
	if (threads < THREADS_MAX) {
		__atomic_add_fetch(&idle_threads, 1, __ATOMIC_ACQ_REL);
		started = !pthread_create(&thread, &attributes, worker_thread, NULL);
		if (started)
			threads++;
		else
			__atomic_sub_fetch(&idle_threads, 1, __ATOMIC_ACQ_REL);
	}
	pthread_mutex_unlock(&threads_lock);
	pthread_attr_destroy(&attributes);
	return started;
}

/* worker_stop_leading - give up read_lock if somebody can take it */
static bool worker_stop_leading(struct worker_call *call)
{
	if (!call->leading || (call->bulk_left && !call->bulk))
		return false;
	if (!__atomic_load_n(&idle_threads, __ATOMIC_ACQUIRE) && !worker_thread_start())
		return false;
	call->leading = false;
	pthread_mutex_unlock(&read_lock);
	return true;
}

static bool order_due(uint64_t number)
{
	return __atomic_load_n(&order.now, __ATOMIC_SEQ_CST) == number;
}

/* order_leave - the turn of this thread's request is over, the next one is due */
static void order_leave(struct worker_call *call)
{
	if (!call->in_turn)
		return;
	call->in_turn = false;
	__atomic_add_fetch(&order.now, 1, __ATOMIC_SEQ_CST);
	if (!__atomic_load_n(&order.waiting, __ATOMIC_SEQ_CST))
		return;
	pthread_mutex_lock(&order.lock);
	pthread_cond_broadcast(&order.changed);
	pthread_mutex_unlock(&order.lock);
}

/*
 * order_enter - take the next number and wait until it is due; by the leader
 *
 * It is not due where the one before it stepped back. That one may wait for a host function, now or
 * once the requests between them are executed, and for what is behind this request in the link: so
 * this thread stops leading before it waits.
 */
static void order_enter(struct worker_call *call)
{
	uint64_t number = order.next++;

	call->in_turn = true;
	if (order_due(number))
		return;
	if (!worker_bulk_buffer(call))
		worker_stop_leading(call);
	__atomic_add_fetch(&order.waiting, 1, __ATOMIC_SEQ_CST);
	pthread_mutex_lock(&order.lock);
	while (!order_due(number))
		pthread_cond_wait(&order.changed, &order.lock);
	pthread_mutex_unlock(&order.lock);
	__atomic_sub_fetch(&order.waiting, 1, __ATOMIC_SEQ_CST);
}

void worker_step_aside(struct worker_call *call)
{
	if (worker_stop_leading(call) || !call->leading)
		order_leave(call);
}

void worker_step_back(struct worker_call *call)
{
	if (worker_host_outstanding())
		worker_stop_leading(call);
}

CUresult worker_bulk_take(struct worker_call *call, void *to, uint64_t bytes)
{
	int error = 0;

	if (call->bulk) {
		memcpy(to, call->bulk + call->bulk_taken, bytes);
		call->bulk_taken += bytes;
	} else {
		error = link_read(worker_link, to, bytes);
	}
	if (error)
		return worker_link_failed(call, error);
	call->bulk_left -= bytes;
	return CUDA_SUCCESS;
}

CUresult worker_bulk_buffer(struct worker_call *call)
{
	uint64_t bytes = call->bulk_left;
	unsigned char *memory;
	CUresult result;

	if (!bytes || call->bulk)
		return CUDA_SUCCESS;
	if (bytes > worker_options.image_limit)
		return CUDA_ERROR_OUT_OF_MEMORY;
	memory = malloc(bytes);
	if (!memory)
		return CUDA_ERROR_OUT_OF_MEMORY;
	result = worker_bulk_take(call, memory, bytes);
	if (result) {
		free(memory);
		return result;
	}
	call->bulk = memory;
	call->bulk_taken = 0;
	call->bulk_left = bytes;
	return CUDA_SUCCESS;
}

/* request_valid - the gate: what every request must obey, whatever it asks for */
static bool request_valid(const struct cuda_wire_request *request)
{
	if (request->bytes < sizeof(*request) || request->bytes > CUDA_WIRE_REQUEST_BYTES_MAX ||
	    request->bytes % 8 || request->flags)
		return false;
	if (request->call >= CALL_count || !worker_rows[request->call].dispatch)
		return false;
	return !request->bulk_bytes || (worker_rows[request->call].flags & WORKER_BULK);
}

/* request_read - one request into the thread's buffers; -errno ends the connection */
static int request_read(struct worker_call *call)
{
	const void *at;
	int error = link_peek(worker_link, sizeof(call->request), &at);

	if (error)
		return error;
	memcpy(&call->request, at, sizeof(call->request));
	if (!request_valid(&call->request))
		return -EPROTO;
	error = link_peek(worker_link, call->request.bytes, &at);
	if (error)
		return error;
	call->payload_bytes = call->request.bytes - sizeof(call->request);
	memcpy(call->payload, (const unsigned char *)at + sizeof(call->request),
	       call->payload_bytes);
	link_consume(worker_link, call->request.bytes);
	call->bulk_left = call->request.bulk_bytes;
	call->taken = 0;
	call->broken = false;
	call->link_error = 0;
	call->reply_tail_bytes = 0;
	return 0;
}

/* request_execute - context, dispatch, late errors, text; the result for the reply */
static CUresult request_execute(struct worker_call *call, const struct worker_row *row)
{
	CUresult result = CUDA_SUCCESS;

	if (call->request.context)
		result = worker_enter_context(call->request.context);
	else if (row->flags & WORKER_CONTEXT)
		result = CUDA_ERROR_INVALID_CONTEXT;
	if (call->request.call != CALL_context_synchronize && call->request.call != CALL_ping)
		__atomic_add_fetch(&issued, 1, __ATOMIC_ACQ_REL);
	memset(call->reply, 0, row->reply_bytes);
	if (!result)
		result = row->dispatch(call);
	quota_leave();
	quota_change_end();
	if (row->flags & WORKER_SETTLES) {
		result = worker_settle(result);
		worker_print_send(call->request.sequence);
	}
	return result;
}

int worker_serve_one(struct worker_call *call)
{
	const struct worker_row *row;
	CUresult result;
	int error = request_read(call);

	if (error)
		return error;
	row = &worker_rows[call->request.call];
	account_call();
	if (call->request.call != CALL_host_function_done)
		order_enter(call);
	result = request_execute(call, row);
	error = call->broken ? -EPROTO : call->link_error;
	if (!error && call->bulk_left && !call->bulk)
		error = link_discard(worker_link, call->bulk_left);
	free(call->bulk);
	call->bulk = NULL;
	if (!error && !(row->flags & WORKER_REPLY) && result)
		worker_late(result);
	if (!error && (row->flags & WORKER_REPLY))
		error = worker_reply_send(call, result);
	order_leave(call);
	return error;
}

int worker_call_open(struct worker_call *call)
{
	*call = (struct worker_call){ 0 };
	call->payload = malloc(CUDA_WIRE_REQUEST_BYTES_MAX);
	call->reply = malloc(WORKER_PAYLOAD_BYTES);
	if (call->payload && call->reply)
		return 0;
	worker_call_close(call);
	return -ENOMEM;
}

void worker_call_close(struct worker_call *call)
{
	free(call->payload);
	free(call->reply);
	call->payload = NULL;
	call->reply = NULL;
}

/* idle_leave - no longer one of the idle threads, where more than THREADS_IDLE_MAX are; else false
 */
static bool idle_leave(void)
{
	unsigned int idle = __atomic_load_n(&idle_threads, __ATOMIC_ACQUIRE);

	while (idle > THREADS_IDLE_MAX)
		if (__atomic_compare_exchange_n(&idle_threads, &idle, idle - 1, false,
						__ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
			return true;
	return false;
}

/*
 * worker_lead - lead, step aside, follow, until the link ends; this thread counts as idle
 *
 * @spare: it may end, with 0, where others are idle.
 */
static int worker_lead(bool spare)
{
	struct worker_call call;
	int error = worker_call_open(&call);

	while (!error) {
		if (spare && idle_leave()) {
			worker_call_close(&call);
			return 0;
		}
		pthread_mutex_lock(&read_lock);
		__atomic_sub_fetch(&idle_threads, 1, __ATOMIC_ACQ_REL);
		call.leading = true;
		while (!error && call.leading)
			error = worker_serve_one(&call);
		__atomic_add_fetch(&idle_threads, 1, __ATOMIC_ACQ_REL);
		if (call.leading)
			pthread_mutex_unlock(&read_lock);
	}
	__atomic_sub_fetch(&idle_threads, 1, __ATOMIC_ACQ_REL);
	worker_call_close(&call);
	if (error && !__atomic_exchange_n(&ended, 1, __ATOMIC_ACQ_REL) && worker_options.ended)
		worker_options.ended(error);
	return error;
}

static void *worker_thread(void *unused)
{
	(void)unused;
	worker_lead(true);
	pthread_mutex_lock(&threads_lock);
	threads--;
	pthread_cond_signal(&threads_ended);
	pthread_mutex_unlock(&threads_lock);
	return NULL;
}

int worker_serve(void)
{
	int error;

	__atomic_add_fetch(&idle_threads, 1, __ATOMIC_ACQ_REL);
	error = worker_lead(false);
	pthread_mutex_lock(&threads_lock);
	while (threads)
		pthread_cond_wait(&threads_ended, &threads_lock);
	pthread_mutex_unlock(&threads_lock);
	return error;
}
