/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests and replies: the one way of every call that travels.
 *
 *	client_call_run     current context, remembered answers, then send and wait
 *	call_send           under send_lock: sequence number, block, tail, bulk, flush
 *	call_wait           under wait_lock: read the link, or sleep while another thread reads it
 *	client_call_read    the gate for everything that the worker sends
 *
 * send_lock orders all requests of the process. A call that waits is entered into the list of
 * waiting calls before its request leaves, so its reply always finds it.
 *
 * Of the threads that wait, one is the reader: reader.taken is set under wait_lock, and the
 * reader reads without the lock. It delivers replies to the calls they belong to and wakes their
 * threads; when its own reply is there, it lets another waiting thread become the reader. No
 * thread reads when none waits: the worker sends nothing then.
 *
 * A wait is in one of these states, all changes under wait_lock:
 *	WAIT_OPEN        in the list; its reply has not come
 *	WAIT_RECEIVING   the reader writes into its buffers; only the reader ends this state
 *	WAIT_DONE        .result is valid; out of the list
 *
 * When the link fails, open waits end at once, the one being received into ends when its reader
 * gives up.
 */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "cuda/client/callback.h"
#include "cuda/client/client.h"
#include "cuda/client/trace.h"

#define GIVE_WAY_YIELDS 100
#define PRINT_BYTES_MAX (16u << 20) /* device text kept for one call; more is cut */

enum wait_state { WAIT_OPEN, WAIT_RECEIVING, WAIT_DONE };

struct call_wait {
	struct client_call *call;
	struct call_wait *next;
	uint32_t sequence;
	enum wait_state state;
	CUresult result;
	pthread_cond_t done;
	size_t received; /* bytes of bulk so far */
	char *text;	 /* device printf's, to be written by the waiting thread */
	size_t text_bytes;
};

static struct {
	pthread_mutex_t lock; /* wait_lock */
	struct call_wait *first;
	bool taken; /* a thread reads the link */
} reader = { .lock = PTHREAD_MUTEX_INITIALIZER };

static size_t bulk_bytes(const struct client_bulk *bulk)
{
	return bulk->width_bytes * bulk->rows * bulk->slices;
}

/* bulk_flat - the same box with rows, then slices, joined where there are no gaps between them */
static struct client_bulk bulk_flat(const struct client_bulk *bulk)
{
	struct client_bulk flat = *bulk;

	if (flat.pitch == flat.width_bytes || flat.rows == 1) {
		flat.width_bytes *= flat.rows;
		flat.pitch = flat.slice_pitch;
		flat.rows = flat.slices;
		flat.slices = 1;
		if (flat.pitch == flat.width_bytes || flat.rows == 1) {
			flat.width_bytes *= flat.rows;
			flat.rows = 1;
		}
	}
	return flat;
}

/* bulk_move - bytes [@from, @from + @bytes) of the box through the link, row by row */
static int bulk_move(const struct client_bulk *bulk, size_t from, size_t bytes, bool send)
{
	struct client_bulk flat = bulk_flat(bulk);
	int error = 0;

	while (bytes && !error) {
		size_t row = from / flat.width_bytes, inside = from % flat.width_bytes;
		size_t run = flat.width_bytes - inside < bytes ? flat.width_bytes - inside : bytes;
		unsigned char *at = flat.at + row / flat.rows * flat.slice_pitch +
				    row % flat.rows * flat.pitch + inside;

		error = send ? link_write(client.link, at, run) : link_read(client.link, at, run);
		from += run;
		bytes -= run;
	}
	return error;
}

/* call_bytes - size of header, block and tail, or 0 where they are too large */
static size_t call_bytes(const struct client_call *call)
{
	size_t bytes = sizeof(struct cuda_wire_request) + call->block_bytes;

	for (unsigned int i = 0; i < call->piece_count; i++) {
		if (call->pieces[i].bytes > CUDA_WIRE_REQUEST_BYTES_MAX)
			return 0;
		bytes += cuda_wire_pad(call->pieces[i].bytes);
	}
	return bytes <= CUDA_WIRE_REQUEST_BYTES_MAX ? bytes : 0;
}

/* call_compose - header, block and tail into the link's own memory, which need not be aligned */
static void call_compose(unsigned char *at, const struct client_call *call, size_t bytes,
			 uint32_t context, uint32_t sequence)
{
	const struct cuda_wire_request request = {
		.bytes = (uint32_t)bytes,
		.call = call->number,
		.sequence = sequence,
		.context = context,
		.bulk_bytes = call->send ? bulk_bytes(call->send) : 0,
	};

	memcpy(at, &request, sizeof(request));
	at += sizeof(request);
	memcpy(at, call->block, call->block_bytes);
	at += call->block_bytes;
	for (unsigned int i = 0; i < call->piece_count; i++) {
		uint32_t used = call->pieces[i].bytes, padded = cuda_wire_pad(used);

		if (used)
			memcpy(at, call->pieces[i].data, used);
		memset(at + used, 0, padded - used);
		at += padded;
	}
}

/* call_send - under send_lock; 0 or -errno of the link */
static int call_send(const struct client_call *call, size_t bytes, uint32_t context,
		     uint32_t sequence)
{
	void *at;
	int error = link_reserve(client.link, bytes, &at);

	if (error)
		return error;
	if (trace_counters) {
		trace_count(&trace_counters->requests, 1);
		trace_count(&trace_counters->bytes_out,
			    bytes + (call->send ? bulk_bytes(call->send) : 0));
	}
	call_compose(at, call, bytes, context, sequence);
	error = link_commit(client.link, bytes);
	if (!error && call->send)
		error = bulk_move(call->send, 0, bulk_bytes(call->send), true);
	return error ? error : link_flush(client.link);
}

static unsigned int send_waiting; /* threads that want send_lock; atomic */

static void send_lock(void)
{
	if (!pthread_mutex_trylock(&client.send_lock))
		return;
	__atomic_add_fetch(&send_waiting, 1, __ATOMIC_RELAXED);
	pthread_mutex_lock(&client.send_lock);
	__atomic_sub_fetch(&send_waiting, 1, __ATOMIC_RELAXED);
}

void client_call_give_way(void)
{
	for (int i = 0; i < GIVE_WAY_YIELDS && __atomic_load_n(&send_waiting, __ATOMIC_RELAXED);
	     i++)
		sched_yield();
}

/* call_post - a request without reply */
static CUresult call_post(const struct client_call *call, size_t bytes, uint32_t context)
{
	int error;

	send_lock();
	error = call_send(call, bytes, context, ++client.sequence);
	pthread_mutex_unlock(&client.send_lock);
	if (!error)
		return CUDA_SUCCESS;
	client_lost(error);
	return CUDA_ERROR_DEVICE_UNAVAILABLE;
}

/* wait_remove - out of the list, under wait_lock */
static void wait_remove(struct call_wait *wait)
{
	struct call_wait **at = &reader.first;

	while (*at && *at != wait)
		at = &(*at)->next;
	if (*at)
		*at = wait->next;
}

/* wait_end - the one place where a wait becomes WAIT_DONE, under wait_lock */
static void wait_end(struct call_wait *wait, CUresult result)
{
	wait_remove(wait);
	wait->result = result;
	wait->state = WAIT_DONE;
	pthread_cond_signal(&wait->done);
}

/* wait_hand_on - let a waiting thread become the reader, under wait_lock */
static void wait_hand_on(void)
{
	if (reader.taken)
		return;
	if (reader.first)
		pthread_cond_signal(&reader.first->done);
	else
		client_callback_wake();
}

static void call_wait(struct call_wait *wait)
{
	pthread_mutex_lock(&reader.lock);
	while (wait->state != WAIT_DONE) {
		if (reader.taken) {
			pthread_cond_wait(&wait->done, &reader.lock);
			continue;
		}
		reader.taken = true;
		while (wait->state != WAIT_DONE) {
			int error;

			pthread_mutex_unlock(&reader.lock);
			error = client_call_read();
			if (error)
				client_lost(error);
			pthread_mutex_lock(&reader.lock);
		}
		reader.taken = false;
	}
	wait_hand_on();
	pthread_mutex_unlock(&reader.lock);
}

int client_call_read_idle(bool (*wanted)(void))
{
	int error = 0;

	pthread_mutex_lock(&reader.lock);
	while (!wanted()) {
		if (reader.taken || reader.first) {
			client_callback_sleep(&reader.lock);
			continue;
		}
		reader.taken = true;
		pthread_mutex_unlock(&reader.lock);
		error = client_call_read();
		if (error)
			client_lost(error);
		pthread_mutex_lock(&reader.lock);
		reader.taken = false;
		wait_hand_on();
		if (error)
			break;
	}
	pthread_mutex_unlock(&reader.lock);
	return error;
}

/* call_exchange - send and wait for the reply */
static CUresult call_exchange(struct client_call *call, size_t bytes, uint32_t context)
{
	struct call_wait wait = { .call = call, .done = PTHREAD_COND_INITIALIZER };
	int error;

	if (trace_counters)
		trace_count(&trace_counters->round_trips, 1);
	send_lock();
	wait.sequence = ++client.sequence;
	pthread_mutex_lock(&reader.lock);
	wait.next = reader.first;
	reader.first = &wait;
	pthread_mutex_unlock(&reader.lock);
	error = call_send(call, bytes, context, wait.sequence);
	pthread_mutex_unlock(&client.send_lock);
	if (error)
		client_lost(error);
	call_wait(&wait);
	if (wait.text) {
		fwrite(wait.text, 1, wait.text_bytes, stdout);
		free(wait.text);
	}
	return wait.result;
}

/* result_lasting - errors after which CUDA refuses everything in the context */
static bool result_lasting(CUresult result)
{
	switch (result) {
	case CUDA_ERROR_ECC_UNCORRECTABLE:
	case CUDA_ERROR_ILLEGAL_ADDRESS:
	case CUDA_ERROR_LAUNCH_TIMEOUT:
	case CUDA_ERROR_ASSERT:
	case CUDA_ERROR_HARDWARE_STACK_ERROR:
	case CUDA_ERROR_ILLEGAL_INSTRUCTION:
	case CUDA_ERROR_MISALIGNED_ADDRESS:
	case CUDA_ERROR_INVALID_ADDRESS_SPACE:
	case CUDA_ERROR_INVALID_PC:
	case CUDA_ERROR_LAUNCH_FAILED:
		return true;
	default:
		return false;
	}
}

CUresult client_call_run(struct client_call *call)
{
	struct client_object *current =
		call->context ? client_handle_at(call->context) : client_context_current();
	uint32_t context = current ? current->number : 0;
	size_t bytes = call_bytes(call);
	CUresult result;

	if (!context && !(call->flags & CLIENT_NO_CONTEXT))
		return CUDA_ERROR_INVALID_CONTEXT;
	if (!bytes)
		return CUDA_ERROR_INVALID_VALUE;
	if (call->flags & CLIENT_UNCACHES)
		client_cache_clear();
	if (call->flags & CLIENT_NO_REPLY) {
		/* The driver would refuse, and nobody would hear it; what ends a handle is still
		 * sent. */
		int broken =
			current ? __atomic_load_n(&current->context.broken, __ATOMIC_ACQUIRE) : 0;

		if (broken && (call->flags & CLIENT_MAKES))
			return (CUresult)broken;
		client_callback_throttle();
		result = call_post(call, bytes, context);
		return result ? result : (CUresult)broken;
	}
	if ((call->flags & CLIENT_CACHED) && client_cache_find(call, context))
		return CUDA_SUCCESS;
	result = call_exchange(call, bytes, context);
	if (current && result_lasting(result))
		__atomic_store_n(&current->context.broken, result, __ATOMIC_RELEASE);
	if (!result && (call->flags & CLIENT_CACHED))
		client_cache_store(call, context);
	return result;
}

void client_lost(int error)
{
	struct call_wait *wait, *next;
	int ready = CLIENT_READY;

	if (__atomic_compare_exchange_n(&client.state, &ready, CLIENT_LOST, false, __ATOMIC_ACQ_REL,
					__ATOMIC_ACQUIRE))
		client_log("the connection to the server is lost: %s", strerror(-error));
	link_shutdown(client.link);
	pthread_mutex_lock(&reader.lock);
	for (wait = reader.first; wait; wait = next) {
		next = wait->next;
		if (wait->state == WAIT_OPEN)
			wait_end(wait, CUDA_ERROR_DEVICE_UNAVAILABLE);
	}
	client_callback_wake();
	pthread_mutex_unlock(&reader.lock);
}

/* wait_claim - the open wait of that sequence number, now WAIT_RECEIVING; NULL: there is none */
static struct call_wait *wait_claim(uint32_t sequence)
{
	struct call_wait *wait;

	pthread_mutex_lock(&reader.lock);
	for (wait = reader.first; wait && wait->sequence != sequence; wait = wait->next)
		;
	if (wait)
		wait->state = WAIT_RECEIVING;
	pthread_mutex_unlock(&reader.lock);
	return wait;
}

/* wait_reopen - the reader is done with it for now */
static void wait_reopen(struct call_wait *wait)
{
	pthread_mutex_lock(&reader.lock);
	wait->state = WAIT_OPEN;
	pthread_mutex_unlock(&reader.lock);
}

static void wait_finish(struct call_wait *wait, CUresult result)
{
	pthread_mutex_lock(&reader.lock);
	wait_end(wait, result);
	pthread_mutex_unlock(&reader.lock);
}

/* read_print - device text for a waiting call; without memory it is dropped */
static void read_print(struct call_wait *wait, const void *text, size_t bytes)
{
	char *longer;

	if (bytes > PRINT_BYTES_MAX - wait->text_bytes)
		return;
	longer = realloc(wait->text, wait->text_bytes + bytes);
	if (!longer)
		return;
	memcpy(longer + wait->text_bytes, text, bytes);
	wait->text = longer;
	wait->text_bytes += bytes;
}

/* read_payload - block and tail of a reply into the call's buffers */
static int read_payload(struct client_call *call, const unsigned char *payload, size_t bytes)
{
	if (bytes < call->reply_bytes || bytes - call->reply_bytes > call->tail_capacity)
		return -EPROTO;
	if (call->reply_bytes)
		memcpy(call->reply, payload, call->reply_bytes);
	call->tail_bytes = (uint32_t)(bytes - call->reply_bytes);
	if (call->tail_bytes)
		memcpy(call->tail, payload + call->reply_bytes, call->tail_bytes);
	return 0;
}

/* read_piece - the next bytes of a copy, straight to the program */
static int read_piece(struct call_wait *wait, const struct cuda_wire_reply *piece)
{
	const struct client_bulk *bulk = wait->call->receive;
	int error;

	link_consume(client.link, piece->bytes);
	if (!bulk || piece->bytes != sizeof(*piece) || !piece->bulk_bytes ||
	    piece->bulk_bytes > bulk_bytes(bulk) - wait->received)
		return -EPROTO;
	error = bulk_move(bulk, wait->received, piece->bulk_bytes, false);
	wait->received += piece->bulk_bytes;
	return error;
}

/* read_reply - the reply of @wait: buffers and result; a copy must be whole */
static int read_reply(struct call_wait *wait, const struct cuda_wire_reply *reply,
		      const unsigned char *payload, CUresult *result)
{
	const struct client_bulk *bulk = wait->call->receive;
	size_t bytes = reply->bytes - sizeof(*reply);
	int error = 0;

	*result = (CUresult)reply->result;
	if (!*result || bytes)
		error = read_payload(wait->call, payload, bytes);
	link_consume(client.link, reply->bytes);
	if (reply->bulk_bytes || (!*result && bulk && wait->received != bulk_bytes(bulk)))
		error = -EPROTO;
	return error;
}

/* read_message - what kind it is, for which call */
static int read_message(const struct cuda_wire_reply *reply, const unsigned char *payload)
{
	size_t bytes = reply->bytes - sizeof(*reply);
	struct call_wait *wait;
	CUresult result = CUDA_SUCCESS;
	uint64_t id;
	int error;

	if (reply->kind == CUDA_WIRE_HOST_FUNCTION) {
		if (bytes != sizeof(id) || reply->bulk_bytes)
			return -EPROTO;
		memcpy(&id, payload, sizeof(id));
		link_consume(client.link, reply->bytes);
		error = client_callback_arrived(id);
		pthread_mutex_lock(&reader.lock);
		client_callback_wake();
		pthread_mutex_unlock(&reader.lock);
		return error;
	}
	wait = wait_claim(reply->sequence);
	if (!wait)
		return -EPROTO;
	if (reply->kind == CUDA_WIRE_PRINT && !reply->bulk_bytes && bytes >= sizeof(uint64_t)) {
		memcpy(&id, payload, sizeof(id));
		error = id <= bytes - sizeof(id) ? 0 : -EPROTO;
		if (!error)
			read_print(wait, payload + sizeof(id), (size_t)id);
		link_consume(client.link, reply->bytes);
		wait_reopen(wait);
		return error;
	}
	if (reply->kind == CUDA_WIRE_PIECE) {
		error = read_piece(wait, reply);
		wait_reopen(wait);
		return error;
	}
	error = reply->kind == CUDA_WIRE_REPLY ? 0 : -EPROTO;
	if (!error)
		error = read_reply(wait, reply, payload, &result);
	wait_finish(wait, error ? CUDA_ERROR_DEVICE_UNAVAILABLE : result);
	return error;
}

int client_call_read(void)
{
	struct cuda_wire_reply reply;
	const void *at;
	int error = link_peek(client.link, sizeof(reply), &at);

	if (error)
		return error;
	memcpy(&reply, at, sizeof(reply));
	if (reply.bytes < sizeof(reply) || reply.bytes > CUDA_WIRE_REPLY_BYTES_MAX ||
	    reply.bytes % 8 || reply.reserved)
		return -EPROTO;
	error = link_peek(client.link, reply.bytes, &at);
	if (error)
		return error;
	if (trace_counters)
		trace_count(&trace_counters->bytes_in, reply.bytes + reply.bulk_bytes);
	return read_message(&reply, (const unsigned char *)at + sizeof(reply));
}
