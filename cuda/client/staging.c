/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copies of pageable memory, pipelined through pinned memory that the worker has too.
 *
 * A copy is cut into chunks. Each thread that works on it owns two slots of pinned memory and takes
 * the next chunk, whichever it is: their order does not matter, all are in one stream. Towards the
 * device it fills a slot and sends a request (copy_staged); from the device it sends the request
 * for its next chunk, then empties the slot of the one before. Behind each chunk the device itself
 * writes the slot's number of use into a word beside it, so nobody has to answer. When the word
 * does not come, the stream is asked what is wrong.
 *
 * Threads: the caller works, and helpers where there are processors for them. One copy each way
 * goes on at a time; a second one waits (way.lock). The helpers serve one copy at a time; a copy
 * that finds them busy goes without. helper_lock protects .job, .generation and .working.
 */
#include "cuda/client/shared.h"
#include "lib/base/spin.h"

#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define THREADS_MAX	   4u
#define SLOTS		   (2u * THREADS_MAX)
#define SLOT_BYTES	   (1u << 20)
#define CHUNK_BYTES_MIN	   (64u << 10)
#define HELPED_BYTES_MIN   (2u << 20) /* below, waking a helper takes longer than it helps */
#define FLAG_STRIDE	   16u	      /* words from flag to flag: a cache line each */
#define SPINS_BEFORE_YIELD 4000u
#define ASK_AFTER_NS	   20000000u

struct way {
	pthread_mutex_t lock;
	unsigned char *slots; /* of SLOT_BYTES, two a thread, then the flags; NULL: not yet */
	uint32_t *flags;      /* written by the device, FLAG_STRIDE apart */
	uint32_t uses[SLOTS]; /* what a slot's flag will be; its owner's */
};

struct job {
	struct way *way;
	bool to_device;
	unsigned char *host;
	uint64_t device;
	uint64_t bytes, chunk_bytes, chunks;
	uint32_t stream, context;
	uint64_t next; /* chunk; atomic */
	int result;    /* CUresult, the first failure; atomic */
};

static struct way to_device = { .lock = PTHREAD_MUTEX_INITIALIZER };
static struct way from_device = { .lock = PTHREAD_MUTEX_INITIALIZER };

static struct {
	pthread_mutex_t lock;
	pthread_cond_t wanted, ended;
	struct job *job; /* NULL: free */
	uint64_t generation;
	unsigned int working, started;
	bool tried;
} helper = { .lock = PTHREAD_MUTEX_INITIALIZER,
	     .wanted = PTHREAD_COND_INITIALIZER,
	     .ended = PTHREAD_COND_INITIALIZER };

static uint64_t clock_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void job_fail(struct job *job, CUresult result)
{
	int none = CUDA_SUCCESS;

	__atomic_compare_exchange_n(&job->result, &none, (int)result, false, __ATOMIC_ACQ_REL,
				    __ATOMIC_ACQUIRE);
}

static bool job_failed(struct job *job)
{
	return __atomic_load_n(&job->result, __ATOMIC_ACQUIRE) != CUDA_SUCCESS;
}

/* job_ask - the device is late: what does the stream say? */
static void job_ask(struct job *job)
{
	struct wire_stream_synchronize_request request = { .stream = job->stream };
	struct client_call call = { .number = CALL_stream_synchronize,
				    .context = job->context,
				    .block = &request,
				    .block_bytes = sizeof(request) };
	CUresult result = client_call_run(&call);

	if (result)
		job_fail(job, result);
}

/* slot_wait - until the device is done with the slot's last use; false: the copy has failed */
static bool slot_wait(struct job *job, unsigned int slot)
{
	const uint32_t *flag = &job->way->flags[slot * FLAG_STRIDE];
	uint64_t ask_ns = 0;

	for (uint32_t spins = 0; __atomic_load_n(flag, __ATOMIC_ACQUIRE) != job->way->uses[slot];
	     spins++) {
		if (spins < SPINS_BEFORE_YIELD) {
			spin_relax();
			continue;
		}
		if (job_failed(job))
			return false;
		sched_yield();
		if (!ask_ns)
			ask_ns = clock_ns() + ASK_AFTER_NS;
		if (clock_ns() < ask_ns)
			continue;
		job_ask(job);
		/* Everything in the stream is done, so the word must be there. */
		if (__atomic_load_n(flag, __ATOMIC_ACQUIRE) != job->way->uses[slot])
			job_fail(job, CUDA_ERROR_UNKNOWN);
	}
	return true;
}

/*
 * chunk_move - memcpy() past the caches, which a chunk would only go through
 *
 * What is written is not read first then, which the plain copy of a chunk spends a third of its
 * time on; a guest's program, alone with its copy, is bound by just that.
 */
static void chunk_move(unsigned char *to, const unsigned char *from, size_t bytes)
{
#ifdef __SSE2__
	size_t head = -(uintptr_t)to % 64;

	if (head > bytes)
		head = bytes;
	memcpy(to, from, head);
	to += head;
	from += head;
	bytes -= head;
	for (; bytes >= 64; bytes -= 64, to += 64, from += 64) {
		__m128i a = _mm_loadu_si128((const __m128i *)(const void *)from);
		__m128i b = _mm_loadu_si128((const __m128i *)(const void *)(from + 16));
		__m128i c = _mm_loadu_si128((const __m128i *)(const void *)(from + 32));
		__m128i d = _mm_loadu_si128((const __m128i *)(const void *)(from + 48));

		_mm_stream_si128((__m128i *)(void *)to, a);
		_mm_stream_si128((__m128i *)(void *)(to + 16), b);
		_mm_stream_si128((__m128i *)(void *)(to + 32), c);
		_mm_stream_si128((__m128i *)(void *)(to + 48), d);
	}
	_mm_sfence(); /* such writes obey no other order */
#endif
	memcpy(to, from, bytes);
}

/* chunk_take - the next chunk; false: there is none, or the copy has failed */
static bool chunk_take(struct job *job, uint64_t *offset, uint64_t *bytes)
{
	uint64_t chunk = __atomic_fetch_add(&job->next, 1, __ATOMIC_RELAXED);

	if (chunk >= job->chunks || job_failed(job))
		return false;
	*offset = chunk * job->chunk_bytes;
	*bytes = job->bytes - *offset < job->chunk_bytes ? job->bytes - *offset : job->chunk_bytes;
	return true;
}

/* slot_send - the request that moves a chunk between slot and device */
static void slot_send(struct job *job, unsigned int slot, uint64_t offset, uint64_t bytes)
{
	uint64_t at = (uintptr_t)job->way->slots + (uint64_t)slot * SLOT_BYTES;
	uint64_t device = job->device + offset;
	struct wire_copy_staged_request request = {
		.to = job->to_device ? device : at,
		.from = job->to_device ? at : device,
		.bytes = bytes,
		.flag = (uintptr_t)&job->way->flags[slot * FLAG_STRIDE],
		.value = ++job->way->uses[slot],
		.stream = job->stream,
	};
	struct client_call call = { .number = CALL_copy_staged,
				    .flags = CLIENT_NO_REPLY,
				    .context = job->context,
				    .block = &request,
				    .block_bytes = sizeof(request) };
	CUresult result = client_call_run(&call);

	if (result)
		job_fail(job, result);
}

static void job_fill(struct job *job, unsigned int thread)
{
	unsigned int slot = 2 * thread;
	uint64_t offset, bytes;

	for (; chunk_take(job, &offset, &bytes); slot ^= 1) {
		if (!slot_wait(job, slot))
			return;
		chunk_move(job->way->slots + (size_t)slot * SLOT_BYTES, job->host + offset, bytes);
		slot_send(job, slot, offset, bytes);
	}
}

static void job_empty(struct job *job, unsigned int thread)
{
	unsigned int slot = 2 * thread;
	uint64_t offset, bytes, next_offset, next_bytes;
	bool more = chunk_take(job, &offset, &bytes);

	if (more)
		slot_send(job, slot, offset, bytes);
	while (more) {
		more = chunk_take(job, &next_offset, &next_bytes);
		if (more)
			slot_send(job, slot ^ 1, next_offset, next_bytes);
		if (!slot_wait(job, slot))
			return;
		chunk_move(job->host + offset, job->way->slots + (size_t)slot * SLOT_BYTES, bytes);
		slot ^= 1;
		offset = next_offset;
		bytes = next_bytes;
	}
}

static void job_work(struct job *job, unsigned int thread)
{
	if (job->to_device)
		job_fill(job, thread);
	else
		job_empty(job, thread);
}

static void *helper_main(void *number)
{
	uint64_t seen = 0;

	pthread_mutex_lock(&helper.lock);
	for (;;) {
		struct job *job;

		while (!helper.job || helper.generation == seen)
			pthread_cond_wait(&helper.wanted, &helper.lock);
		seen = helper.generation;
		job = helper.job;
		helper.working++;
		pthread_mutex_unlock(&helper.lock);
		job_work(job, (unsigned int)(uintptr_t)number);
		pthread_mutex_lock(&helper.lock);
		if (!--helper.working)
			pthread_cond_signal(&helper.ended);
	}
	return NULL;
}

/* threads_wanted - for one copy, the caller among them; the same whenever it is asked */
static unsigned int threads_wanted(void)
{
	static unsigned int wanted; /* atomic; 0: not asked yet */
	unsigned int count = __atomic_load_n(&wanted, __ATOMIC_RELAXED), none = 0;
	cpu_set_t usable;

	if (count)
		return count;
	count = THREADS_MAX;
	if (!sched_getaffinity(0, sizeof(usable), &usable) &&
	    (unsigned int)CPU_COUNT(&usable) / 2 < count)
		count = (unsigned int)CPU_COUNT(&usable) / 2; /* the worker needs some, too */
	if (!count)
		count = 1;
	if (!__atomic_compare_exchange_n(&wanted, &none, count, false, __ATOMIC_RELAXED,
					 __ATOMIC_RELAXED))
		count = none;
	return count;
}

/* helpers_start - all but the caller; under helper_lock */
static void helpers_start(void)
{
	unsigned int wanted = threads_wanted();
	sigset_t all, before;

	helper.tried = true;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	for (unsigned int i = 1; i < wanted; i++) {
		pthread_t thread;

		if (pthread_create(&thread, NULL, helper_main, (void *)(uintptr_t)i))
			break;
		pthread_detach(thread);
		pthread_setname_np(thread, "causeway-copy");
		helper.started++;
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* job_run - the caller works, and the helpers if they are free and it pays */
static void job_run(struct job *job)
{
	bool helped = false;

	if (job->bytes >= HELPED_BYTES_MIN) {
		pthread_mutex_lock(&helper.lock);
		if (!helper.tried)
			helpers_start();
		if (!helper.job && helper.started) {
			helped = true;
			helper.job = job;
			helper.generation++;
			pthread_cond_broadcast(&helper.wanted);
		}
		pthread_mutex_unlock(&helper.lock);
	}
	job_work(job, 0);
	if (!helped)
		return;
	pthread_mutex_lock(&helper.lock);
	helper.job = NULL; /* who has not woken up yet finds nothing to do */
	while (helper.working)
		pthread_cond_wait(&helper.ended, &helper.lock);
	pthread_mutex_unlock(&helper.lock);
}

/* way_open - slots and flags, once; under way.lock */
static CUresult way_open(struct way *way)
{
	size_t slots_bytes = 2 * threads_wanted() * SLOT_BYTES;
	uint64_t device;
	void *at;
	CUresult result;

	if (way->slots)
		return CUDA_SUCCESS;
	result = client_shared_allocate(slots_bytes + 4096, &at, &device);
	if (result)
		return CUDA_ERROR_NOT_SUPPORTED;
	way->slots = at;
	way->flags = (uint32_t *)((unsigned char *)at + slots_bytes);
	memset(way->uses, 0, sizeof(way->uses));
	return CUDA_SUCCESS;
}

static CUresult staged_copy(struct way *way, struct job *job)
{
	CUresult result;

	if (!client_shared_ready())
		return CUDA_ERROR_NOT_SUPPORTED;
	job->way = way;
	job->context = client_context_number();
	/* A few chunks for each thread, so that filling and copying overlap also in small ones. */
	job->chunk_bytes = (job->bytes / SLOTS + 4095) & ~(uint64_t)4095;
	if (job->chunk_bytes < CHUNK_BYTES_MIN)
		job->chunk_bytes = CHUNK_BYTES_MIN;
	if (job->chunk_bytes > SLOT_BYTES)
		job->chunk_bytes = SLOT_BYTES;
	job->chunks = (job->bytes + job->chunk_bytes - 1) / job->chunk_bytes;
	pthread_mutex_lock(&way->lock);
	result = way_open(way);
	if (!result) {
		job_run(job);
		result = (CUresult)job->result;
		/* Slots whose words may still come are left alone: the next copy gets others. */
		if (result)
			way->slots = NULL;
	}
	pthread_mutex_unlock(&way->lock);
	return result;
}

CUresult client_staged_to_device(uint64_t to, const void *from, uint64_t bytes, uint32_t stream)
{
	struct job job = { .to_device = true,
			   .host = (unsigned char *)(uintptr_t)from,
			   .device = to,
			   .bytes = bytes,
			   .stream = stream };

	return staged_copy(&to_device, &job);
}

CUresult client_staged_from_device(void *to, uint64_t from, uint64_t bytes, uint32_t stream)
{
	struct job job = { .host = to, .device = from, .bytes = bytes, .stream = stream };

	return staged_copy(&from_device, &job);
}
