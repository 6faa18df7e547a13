/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copies between windows, and between windows and a program's memory; fences; the workers.
 *
 * Each endpoint has a queue of jobs, served in order and by one thread at a time (->busy). So a
 * mark is the number of jobs queued so far, and a fence is a look at how many are done. The store
 * of a fence_signal is a job like others. A small job at the head of an idle queue is done at once
 * by the loop that asked; all else is the workers'.
 *
 * With one exception: a long copy between windows that a VM's program waits for is begun by the
 * VM's own loop, which most often has nothing else to do then. So no worker need be woken, nor the
 * loop by it. Every COPY_LOOK_BYTES the loop looks at its queues, and as soon as there is anything
 * else the rest of the copy is the workers' (node->own_copy).
 *
 * A worker takes one turn of at most SCIF_VIRTIO_COPY_BYTES, then chooses anew: among nodes whose
 * bandwidth is not used up, the one that waits longest. So no VM's gigabytes hold up another's.
 *
 * A job holds all it touches: windows, mappings of guest memory, for V calls the call whose chain
 * keeps the program's pages. A V call that is cancelled comes back when its turn has ended; a copy
 * between windows goes on without its caller.
 *
 * (F) is held in all functions here but where memory is touched.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "lib/vhost/fault.h"
#include "scif/fabric/device.h"

#define COPY_LINE_BYTES	  64u
#define COPY_BOUNCE_BYTES 65536u
#define COPY_STREAM_BYTES (512u << 10) /* from here on a copy goes past the caches */
#define COPY_LOOK_BYTES	  (128u << 10) /* of a VM's loop, between two looks at its queues */
#define COPY_OWN_BYTES	  (16u << 20)  /* of its turn; each begins anew, for about 1 us */
#define COPY_BURST_NS	  50000000ull  /* a quota may be used in advance for so long */
#define COPY_RMA_FLAGS	  (SCIF_RMA_USECPU | SCIF_RMA_USECACHE | SCIF_RMA_SYNC | SCIF_RMA_ORDERED)

/* Whether who copies has other work. */
struct copy_look {
	bool (*pending)(void *context);
	void *context;
};

/* A stretch of memory: here, or in a process. */
struct stretch {
	unsigned char *start;
	uint64_t bytes;
	pid_t process;
};

static struct stretch side_next_window(struct side *side)
{
	struct window *window = side->windows[side->window_at];
	struct window_run *run;
	uint64_t start;

	if (side->offset >= window->offset + window->bytes) {
		window = side->windows[++side->window_at];
		side->run_at = 0;
	}
	start = side->offset - window->offset;
	while (window->runs[side->run_at].end <= start)
		side->run_at++;
	run = &window->runs[side->run_at];
	return (struct stretch){
		run->start + (start - (side->run_at ? run[-1].end : 0)),
		run->end - start,
		window->process,
	};
}

/* What lies at the side's position. There must be something left. */
static struct stretch side_next(struct side *side)
{
	const struct iovec *vector;

	if (side->kind == SIDE_WINDOWS)
		return side_next_window(side);
	if (side->kind == SIDE_PROCESS)
		return (struct stretch){ (unsigned char *)(uintptr_t)side->offset, UINT64_MAX,
					 side->process };
	while (side->vector_done == side->vectors[side->vector_at].iov_len) {
		side->vector_at++;
		side->vector_done = 0;
	}
	vector = &side->vectors[side->vector_at];
	return (struct stretch){ (unsigned char *)vector->iov_base + side->vector_done,
				 vector->iov_len - side->vector_done, 0 };
}

static void side_advance(struct side *side, uint64_t bytes)
{
	if (side->kind == SIDE_VECTORS)
		side->vector_done += bytes;
	else
		side->offset += bytes;
}

/* Memory of a process from or to memory here; 0 or -EFAULT. */
static int copy_process(struct stretch here, struct stretch there, size_t bytes, bool in)
{
	while (bytes) {
		struct iovec local = { here.start, bytes }, remote = { there.start, bytes };
		ssize_t moved = in ? process_vm_readv(there.process, &local, 1, &remote, 1, 0)
				   : process_vm_writev(there.process, &local, 1, &remote, 1, 0);

		if (moved <= 0)
			return moved < 0 && errno == ESRCH ? -ECONNRESET : -EFAULT;
		here.start += moved;
		there.start += moved;
		bytes -= (size_t)moved;
	}
	return 0;
}

/* Both ends are memory of processes: the one case that takes two copies. */
static int copy_between(struct stretch to, struct stretch from, size_t bytes)
{
	unsigned char bounce[COPY_BOUNCE_BYTES];

	while (bytes) {
		struct stretch here = { bounce, sizeof(bounce), 0 };
		size_t part = bytes < sizeof(bounce) ? bytes : sizeof(bounce);
		int status = copy_process(here, from, part, true);

		if (status == 0)
			status = copy_process(here, to, part, false);
		if (status < 0)
			return status;
		from.start += part;
		to.start += part;
		bytes -= part;
	}
	return 0;
}

static int copy_stretch(struct stretch to, struct stretch from, size_t bytes)
{
	if (to.process && from.process)
		return copy_between(to, from, bytes);
	if (to.process)
		return copy_process(from, to, bytes, false);
	if (from.process)
		return copy_process(to, from, bytes, true);
	memmove(to.start, from.start, bytes);
	return 0;
}

/* The words of a fence_signal: 8 bytes, in one store if they are aligned, and else in two. */
static int copy_signal(struct job *job)
{
	uint64_t value = job->value;

	while (job->done < sizeof(value)) {
		struct stretch to = side_next(&job->to);
		size_t part = sizeof(value) - job->done;
		struct stretch from = { (unsigned char *)&value + job->done, part, 0 };
		int status = 0;

		atomic_thread_fence(memory_order_seq_cst);
		if (!to.process && part == sizeof(value) && (uintptr_t)to.start % part == 0) {
			__atomic_store_n((uint64_t *)to.start, value, __ATOMIC_RELEASE);
		} else {
			part = sizeof(uint32_t);
			status = copy_stretch(to, from, part);
		}
		if (status < 0)
			return status;
		side_advance(&job->to, part);
		job->done += part;
	}
	return 0;
}

/* One turn of a job, of @bytes at most, without the lock; @look may end it sooner. */
static int copy_turn(struct job *job, uint64_t bytes, const struct copy_look *look)
{
	uint64_t last = job->bytes > COPY_LINE_BYTES ? job->bytes - COPY_LINE_BYTES : 0;
	uint64_t end = job->done + bytes, look_at = job->done + COPY_LOOK_BYTES;
	bool streams = job->bytes >= COPY_STREAM_BYTES;
	struct move move = { .count = 0 };
	int status = 0;

	if (job->signal)
		return copy_signal(job);
	if (end > job->bytes)
		end = job->bytes;
	while (job->done < end) {
		struct stretch from = side_next(&job->from), to = side_next(&job->to);
		uint64_t part = end - job->done;

		if (part > from.bytes)
			part = from.bytes;
		if (part > to.bytes)
			part = to.bytes;
		if (look && part > COPY_LOOK_BYTES)
			part = COPY_LOOK_BYTES;
		if (job->ordered && job->done < last && part > last - job->done)
			part = last - job->done;
		if (job->ordered && job->done == last)
			move_settle(&move);
		if (streams && !to.process && !from.process)
			move_add(&move, to.start, from.start, part);
		else
			status = copy_stretch(to, from, part);
		if (status < 0)
			break;
		side_advance(&job->from, part);
		side_advance(&job->to, part);
		job->done += part;
		if (look && job->done >= look_at) {
			if (look->pending(look->context))
				break;
			look_at = job->done + COPY_LOOK_BYTES;
		}
	}
	move_settle(&move); /* before anybody is told that it is done */
	return status;
}

static void side_free(struct side *side)
{
	for (unsigned int i = 0; i < side->window_count; i++)
		window_put(side->windows[i]);
	free(side->windows);
}

static void job_free(struct job *job)
{
	side_free(&job->from);
	side_free(&job->to);
	mappings_put(job->mappings, job->mapping_count);
	endpoint_put(job->endpoint);
	free(job);
}

/* The mappings that a SIGBUS may concern while the job runs. */
static int job_hold_mappings(struct job *job, const struct side *side)
{
	int status = 0;

	for (unsigned int i = 0; i < side->window_count; i++) {
		struct window *window = side->windows[i];

		for (unsigned int k = 0; k < window->mapping_count && status == 0; k++)
			status = mappings_add(&job->mappings, &job->mapping_count,
					      window->mappings[k]);
	}
	return status;
}

static struct job *job_create(struct endpoint *endpoint, uint64_t bytes, bool ordered)
{
	struct job *job = calloc(1, sizeof(*job));

	if (!job)
		return NULL;
	job->endpoint = endpoint;
	endpoint_hold(endpoint);
	job->nodes[0] = endpoint->node;
	job->nodes[1] = endpoint->peer->node;
	job->bytes = bytes;
	job->ordered = ordered;
	return job;
}

/* Windows of @owner as one side of a copy. */
static int side_of_windows(struct side *side, struct endpoint *owner, uint64_t offset,
			   uint64_t bytes, uint32_t prot)
{
	int count = window_collect(owner, offset, bytes, prot, &side->windows);

	if (count < 0)
		return count;
	side->kind = SIDE_WINDOWS;
	side->window_count = (unsigned int)count;
	side->offset = offset;
	side->run_at = window_run_at(side->windows[0], offset - side->windows[0]->offset);
	return 0;
}

static void side_of_program(struct side *side, const struct call *call, bool written)
{
	if (call->process) {
		side->kind = SIDE_PROCESS;
		side->process = call->process;
		side->offset = call->address;
		return;
	}
	side->kind = SIDE_VECTORS;
	side->vectors = written ? call->out : call->in;
}

static void endpoint_activate(struct endpoint *endpoint)
{
	if (endpoint->active)
		return;
	endpoint->active = true;
	endpoint_hold(endpoint);
	TAILQ_INSERT_TAIL(&endpoint->node->fabric->active, endpoint, active_link);
}

static void endpoint_deactivate(struct endpoint *endpoint)
{
	if (!endpoint->active || endpoint->busy || !TAILQ_EMPTY(&endpoint->jobs))
		return;
	endpoint->active = false;
	TAILQ_REMOVE(&endpoint->node->fabric->active, endpoint, active_link);
	endpoint_put(endpoint);
}

static void job_finish(struct job *job)
{
	struct endpoint *endpoint = job->endpoint;
	struct endpoint *peer = endpoint->peer;

	TAILQ_REMOVE(&endpoint->jobs, job, link);
	endpoint->jobs_done++;
	endpoint_publish(endpoint);
	atomic_fetch_add(&endpoint->node->copied_bytes, job->done);
	job->finished = true;
	endpoint_retry(endpoint);
	if (peer)
		endpoint_retry(peer); /* it may wait for a mark of this side */
	if (!job->call)
		job_free(job);
}

/*
 * One turn, of @bytes at most and until @look says so, for the first job of an endpoint that is not
 * busy; lets go of the lock meanwhile.
 */
static void copy_serve(struct fabric *fabric, struct endpoint *endpoint, uint64_t bytes,
		       const struct copy_look *look)
{
	struct job *job = TAILQ_FIRST(&endpoint->jobs);
	uint64_t before = job->done;
	int status = -ECONNRESET;

	endpoint->busy = true;
	if (!job->aborted) {
		pthread_mutex_unlock(&fabric->lock);
		vhost_fault_guard_mappings(job->mappings, job->mapping_count);
		status = copy_turn(job, bytes, look);
		vhost_fault_guard_mappings(NULL, 0);
		pthread_mutex_lock(&fabric->lock);
	}
	endpoint->busy = false;
	endpoint->node->balance_bytes -= (int64_t)(job->done - before);
	if (status < 0 || job->aborted || job->done == job->bytes) {
		job->status = job->done == job->bytes ? 0 : status;
		if (status == 0 && job->done < job->bytes)
			job->status = -EINTR;
		job_finish(job);
	}
	endpoint_deactivate(endpoint);
	pthread_cond_broadcast(&fabric->quiet);
}

/* Whether the node may copy now; else when, in *@until_ns if that is sooner. */
static bool node_may_copy(struct node *node, uint64_t now_ns, uint64_t *until_ns)
{
	int64_t rate = (int64_t)node->limits.bytes_per_second;
	uint64_t passed = now_ns - node->balance_time_ns;
	int64_t burst;
	uint64_t when;

	if (rate == 0)
		return true;
	burst = (int64_t)((double)rate * COPY_BURST_NS / 1e9) + SCIF_VIRTIO_COPY_BYTES;
	node->balance_time_ns = now_ns;
	if (passed > 10 * COPY_BURST_NS)
		node->balance_bytes = burst;
	else
		node->balance_bytes += (int64_t)((double)rate * (double)passed / 1e9);
	if (node->balance_bytes > burst)
		node->balance_bytes = burst;
	if (node->balance_bytes >= 0)
		return true;
	when = now_ns + (uint64_t)((double)-node->balance_bytes / (double)rate * 1e9) + 1000;
	if (when < *until_ns)
		*until_ns = when;
	return false;
}

static bool job_rests(const struct job *job)
{
	return !job->aborted && (job->nodes[0]->resting || job->nodes[1]->resting);
}

/* The next endpoint to serve, or NULL with the time of another look (UINT64_MAX: none). */
static struct endpoint *copy_choose(struct fabric *fabric, uint64_t *until_ns)
{
	struct endpoint *endpoint, *best = NULL;
	uint64_t now_ns = fabric_clock_ns();

	*until_ns = UINT64_MAX;
	TAILQ_FOREACH(endpoint, &fabric->active, active_link)
	{
		if (endpoint->busy || endpoint->carried || TAILQ_EMPTY(&endpoint->jobs) ||
		    job_rests(TAILQ_FIRST(&endpoint->jobs)) ||
		    (best && best->node->turn <= endpoint->node->turn) ||
		    !node_may_copy(endpoint->node, now_ns, until_ns))
			continue;
		best = endpoint;
	}
	if (best) {
		best->node->turn = ++fabric->turn;
		/* The next turn is another's among the endpoints of one node. */
		TAILQ_REMOVE(&fabric->active, best, active_link);
		TAILQ_INSERT_TAIL(&fabric->active, best, active_link);
	}
	return best;
}

static void *copy_work(void *argument)
{
	struct fabric *fabric = argument;

	pthread_mutex_lock(&fabric->lock);
	while (!fabric->stopping) {
		uint64_t until_ns;
		struct endpoint *endpoint = copy_choose(fabric, &until_ns);
		struct timespec until = { (time_t)(until_ns / 1000000000u),
					  (long)(until_ns % 1000000000u) };

		if (endpoint)
			copy_serve(fabric, endpoint, SCIF_VIRTIO_COPY_BYTES, NULL);
		else if (until_ns == UINT64_MAX)
			pthread_cond_wait(&fabric->work, &fabric->lock);
		else
			pthread_cond_timedwait(&fabric->work, &fabric->lock, &until);
	}
	pthread_mutex_unlock(&fabric->lock);
	return NULL;
}

int copy_start_workers(struct fabric *fabric, unsigned int count)
{
	while (fabric->worker_count < count) {
		int status = pthread_create(&fabric->workers[fabric->worker_count], NULL, copy_work,
					    fabric);

		if (status)
			return -status;
		fabric->worker_count++;
	}
	return 0;
}

void copy_stop_workers(struct fabric *fabric)
{
	pthread_mutex_lock(&fabric->lock);
	fabric->stopping = true;
	pthread_cond_broadcast(&fabric->work);
	pthread_mutex_unlock(&fabric->lock);
	while (fabric->worker_count)
		pthread_join(fabric->workers[--fabric->worker_count], NULL);
}

/* Memory of a process may take long to reach: never a loop's own work. */
static bool side_is_process(const struct side *side)
{
	for (unsigned int i = 0; i < side->window_count; i++) {
		if (side->windows[i]->process)
			return true;
	}
	return side->kind == SIDE_PROCESS;
}

/* Whether the loop that submits it may copy itself, for as long as it has nothing else to do. */
static bool job_is_own(const struct job *job)
{
	const struct node *node = job->endpoint->node;

	return node->kind == NODE_VM && !node->own_copy && job->call &&
	       job->from.kind == SIDE_WINDOWS && job->to.kind == SIDE_WINDOWS;
}

/* What the node's loop copied is the workers' from now on. */
static void copy_hand_over(struct node *node)
{
	struct endpoint *endpoint = node->own_copy;

	if (!endpoint)
		return;
	node->own_copy = NULL;
	endpoint->carried = false;
	if (!TAILQ_EMPTY(&endpoint->jobs))
		pthread_cond_signal(&node->fabric->work);
	endpoint_put(endpoint);
}

void copy_leave_own(struct node *node)
{
	pthread_mutex_lock(&node->fabric->lock);
	copy_hand_over(node);
	pthread_mutex_unlock(&node->fabric->lock);
}

void copy_own_turn(struct node *node, bool (*pending)(void *context), void *context)
{
	const struct copy_look look = { pending, context };
	uint64_t bytes = node->limits.bytes_per_second ? SCIF_VIRTIO_COPY_BYTES : COPY_OWN_BYTES;
	struct fabric *fabric = node->fabric;
	uint64_t until_ns = UINT64_MAX;
	struct endpoint *endpoint;
	struct job *job;

	if (!node->own_copy)
		return;
	pthread_mutex_lock(&fabric->lock);
	endpoint = node->own_copy;
	job = endpoint ? TAILQ_FIRST(&endpoint->jobs) : NULL;
	if (!job || endpoint->busy || job_rests(job) || side_is_process(&job->from) ||
	    side_is_process(&job->to) || !node_may_copy(node, fabric_clock_ns(), &until_ns))
		copy_hand_over(node);
	else if (!pending(context))
		copy_serve(fabric, endpoint, bytes, &look);
	if (pending(context))
		copy_hand_over(node);
	pthread_mutex_unlock(&fabric->lock);
}

/* Queues the job; does it at once where that is short. */
static void job_submit(struct job *job)
{
	struct endpoint *endpoint = job->endpoint;
	struct fabric *fabric = endpoint->node->fabric;
	bool first = TAILQ_EMPTY(&endpoint->jobs) && !endpoint->busy;
	bool here = first && !side_is_process(&job->from) && !side_is_process(&job->to);
	uint64_t until_ns = UINT64_MAX;

	endpoint->jobs_queued++;
	TAILQ_INSERT_TAIL(&endpoint->jobs, job, link);
	endpoint_activate(endpoint);
	if (here && job->bytes <= FABRIC_INLINE_BYTES && !job_rests(job) &&
	    node_may_copy(endpoint->node, fabric_clock_ns(), &until_ns)) {
		copy_serve(fabric, endpoint, SCIF_VIRTIO_COPY_BYTES, NULL);
	} else if (here && job_is_own(job)) {
		endpoint->node->own_copy = endpoint;
		endpoint->carried = true;
		endpoint_hold(endpoint);
	} else {
		pthread_cond_signal(&fabric->work);
	}
}

/* The answer to a call that has a job: its end, or that it waits. */
static int copy_collect(struct call *call, bool detachable)
{
	struct job *job = call->job;
	int status;

	if (job->finished) {
		status = job->status;
		call->job = NULL;
		job_free(job);
		return status;
	}
	if (!call->cancelled)
		return CALL_WAITS;
	if (detachable) {
		job->call = NULL;
		call->job = NULL;
		return -EINTR;
	}
	job->aborted = true;
	pthread_cond_signal(&call->fabric->work);
	return CALL_WAITS;
}

void copy_detach(struct call *call)
{
	struct job *job = call->job;

	pthread_mutex_lock(&call->fabric->lock);
	call->job = NULL;
	job->call = NULL;
	job->aborted = true;
	if (job->finished)
		job_free(job);
	pthread_cond_signal(&call->fabric->work);
	pthread_mutex_unlock(&call->fabric->lock);
}

static int copy_check(const struct call *call)
{
	if ((call->request.flags & ~COPY_RMA_FLAGS) || call->request.rma.bytes == 0)
		return -EINVAL;
	return endpoint_verify(call->endpoint);
}

int copy_windows(struct call *call)
{
	struct endpoint *endpoint = call->endpoint;
	bool reads = call->request.call == SCIF_VIRTIO_READFROM;
	uint64_t bytes = call->request.rma.bytes;
	struct job *job;
	int status;

	if (endpoint->device)
		return device_copy(call);
	if (call->job)
		return copy_collect(call, true);
	status = copy_check(call);
	if (status < 0)
		return status;
	job = job_create(endpoint, bytes, call->request.flags & SCIF_RMA_ORDERED);
	if (!job)
		return -ENOMEM;
	status = side_of_windows(reads ? &job->to : &job->from, endpoint, call->request.rma.local,
				 bytes, reads ? SCIF_PROT_WRITE : SCIF_PROT_READ);
	if (status == 0)
		status = side_of_windows(reads ? &job->from : &job->to, endpoint->peer,
					 call->request.rma.remote, bytes,
					 reads ? SCIF_PROT_READ : SCIF_PROT_WRITE);
	if (status == 0)
		status = job_hold_mappings(job, &job->from);
	if (status == 0)
		status = job_hold_mappings(job, &job->to);
	if (status < 0) {
		job_free(job);
		return status;
	}
	if (call->request.flags & SCIF_RMA_SYNC) {
		job->call = call;
		call->job = job;
	}
	job_submit(job);
	return call->job ? copy_collect(call, true) : 0;
}

int copy_program(struct call *call)
{
	struct endpoint *endpoint = call->endpoint;
	bool reads = call->request.call == SCIF_VIRTIO_VREADFROM;
	uint64_t bytes = call->request.rma.bytes;
	struct job *job;
	int status;

	if (endpoint->device)
		return device_copy(call);
	if (call->job) {
		status = copy_collect(call, false);
		if (status != CALL_WAITS)
			call->written = reads && !call->process ? call->out_bytes : 0;
		return status;
	}
	if (!call->process && bytes != (reads ? call->out_bytes : call->in_bytes))
		return -EINVAL;
	status = copy_check(call);
	if (status < 0)
		return status;
	job = job_create(endpoint, bytes, call->request.flags & SCIF_RMA_ORDERED);
	if (!job)
		return -ENOMEM;
	side_of_program(reads ? &job->to : &job->from, call, reads);
	status = side_of_windows(reads ? &job->from : &job->to, endpoint->peer,
				 call->request.rma.remote, bytes,
				 reads ? SCIF_PROT_READ : SCIF_PROT_WRITE);
	if (status == 0)
		status = job_hold_mappings(job, reads ? &job->from : &job->to);
	for (unsigned int i = 0; i < call->mapping_count && status == 0; i++)
		status = mappings_add(&job->mappings, &job->mapping_count, call->mappings[i]);
	if (status < 0) {
		job_free(job);
		return status;
	}
	job->call = call;
	call->job = job;
	job_submit(job);
	return copy_program(call);
}

/* The endpoint whose copies a fence is about, by the INIT flags; NULL without exactly one. */
static struct endpoint *copy_fenced(const struct call *call)
{
	switch (call->request.flags & (SCIF_FENCE_INIT_SELF | SCIF_FENCE_INIT_PEER)) {
	case SCIF_FENCE_INIT_SELF:
		return call->endpoint;
	case SCIF_FENCE_INIT_PEER:
		return call->endpoint->peer ? call->endpoint->peer : call->endpoint;
	default:
		return NULL;
	}
}

int copy_fence_mark(struct call *call)
{
	struct endpoint *fenced = copy_fenced(call);
	int status;

	if (call->endpoint->device)
		return device_fence(call);
	if (!fenced || (call->request.flags & ~(SCIF_FENCE_INIT_SELF | SCIF_FENCE_INIT_PEER)))
		return -EINVAL;
	status = endpoint_verify(call->endpoint);
	call->value[0] = (fenced->jobs_queued & FABRIC_MARK_MASK) |
			 (fenced == call->endpoint ? 0 : FABRIC_MARK_PEER);
	return status;
}

/* Whether counter @done has reached @mark, both modulo the mask plus one. */
static bool copy_reached(uint32_t done, uint32_t mark)
{
	return ((done - mark) & FABRIC_MARK_MASK) <= FABRIC_MARK_MASK / 2;
}

int copy_fence_wait(struct call *call)
{
	uint32_t mark = call->request.fence.mark;
	struct endpoint *fenced = call->endpoint;
	int status = endpoint_verify(fenced);

	if (fenced->device)
		return device_fence(call);
	if (mark & ~(FABRIC_MARK_MASK | FABRIC_MARK_PEER))
		return -EINVAL;
	if (status < 0)
		return call->cancelled ? -EINTR : status;
	if (mark & FABRIC_MARK_PEER)
		fenced = fenced->peer;
	if (!copy_reached(fenced->jobs_queued, mark))
		return -EINVAL; /* no mark that was ever given */
	if (copy_reached(fenced->jobs_done, mark))
		return 0;
	return call->cancelled ? -EINTR : CALL_WAITS;
}

/* A store behind the copies of @fenced, into a window of @owner; not submitted yet. */
static int copy_make_signal(struct endpoint *fenced, struct endpoint *owner, uint64_t offset,
			    uint64_t value, struct job **made)
{
	struct job *job = job_create(fenced, sizeof(value), false);
	int status;

	if (!job)
		return -ENOMEM;
	job->signal = true;
	job->value = value;
	status = side_of_windows(&job->to, owner, offset, sizeof(value), SCIF_PROT_WRITE);
	if (status == 0)
		status = job_hold_mappings(job, &job->to);
	if (status < 0)
		job_free(job);
	else
		*made = job;
	return status;
}

int copy_fence_signal(struct call *call)
{
	struct endpoint *endpoint = call->endpoint, *fenced = copy_fenced(call);
	uint32_t flags = call->request.flags;
	bool local = flags & SCIF_SIGNAL_LOCAL, remote = flags & SCIF_SIGNAL_REMOTE;
	struct job *jobs[2] = { NULL, NULL };
	int status;

	if (endpoint->device)
		return device_fence(call);
	if (!fenced || (!local && !remote) ||
	    (flags & ~(SCIF_FENCE_INIT_SELF | SCIF_FENCE_INIT_PEER | SCIF_SIGNAL_LOCAL |
		       SCIF_SIGNAL_REMOTE)) ||
	    (local && call->request.signal.local % sizeof(uint32_t)) ||
	    (remote && call->request.signal.remote % sizeof(uint32_t)))
		return -EINVAL;
	status = endpoint_verify(endpoint);
	if (status == 0 && local)
		status = copy_make_signal(fenced, endpoint, call->request.signal.local,
					  call->request.signal.local_value, &jobs[0]);
	if (status == 0 && remote)
		status = copy_make_signal(fenced, endpoint->peer, call->request.signal.remote,
					  call->request.signal.remote_value, &jobs[1]);
	for (unsigned int i = 0; i < 2; i++) {
		if (jobs[i] && status == 0)
			job_submit(jobs[i]);
		else if (jobs[i])
			job_free(jobs[i]);
	}
	return status;
}

/* Marks the node's jobs; whether there are any. */
static bool copy_abort_marked(struct fabric *fabric, const struct node *node)
{
	struct endpoint *endpoint;
	struct job *job;
	bool any = false;

	TAILQ_FOREACH(endpoint, &fabric->active, active_link)
	{
		TAILQ_FOREACH(job, &endpoint->jobs, link)
		{
			if (job->nodes[0] != node && job->nodes[1] != node)
				continue;
			job->aborted = true;
			any = true;
		}
	}
	return any;
}

void copy_rest_node(struct node *node, bool resting)
{
	struct fabric *fabric = node->fabric;
	struct endpoint *endpoint;

	pthread_mutex_lock(&fabric->lock);
	node->resting = resting;
	if (!resting)
		pthread_cond_broadcast(&fabric->work);
	do {
		TAILQ_FOREACH(endpoint, &fabric->active, active_link)
		{
			struct job *job = TAILQ_FIRST(&endpoint->jobs);

			if (endpoint->busy && (job->nodes[0] == node || job->nodes[1] == node))
				break;
		}
		if (resting && endpoint)
			pthread_cond_wait(&fabric->quiet, &fabric->lock);
	} while (resting && endpoint);
	pthread_mutex_unlock(&fabric->lock);
}

void copy_abort_node(struct node *node)
{
	struct fabric *fabric = node->fabric;

	pthread_mutex_lock(&fabric->lock);
	while (copy_abort_marked(fabric, node)) {
		struct endpoint *endpoint;

		/* Idle queues are emptied here, so that this does not depend on a worker. */
		TAILQ_FOREACH(endpoint, &fabric->active, active_link)
		{
			struct job *first = TAILQ_FIRST(&endpoint->jobs);

			if (first && first->aborted && !endpoint->busy)
				break;
		}
		if (endpoint)
			copy_serve(fabric, endpoint, SCIF_VIRTIO_COPY_BYTES, NULL);
		else
			pthread_cond_wait(&fabric->quiet, &fabric->lock);
	}
	pthread_mutex_unlock(&fabric->lock);
}
