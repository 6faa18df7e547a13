// SPDX-License-Identifier: GPL-2.0-only
/*
 * vphi: a request from its making until it came back, and the rings it goes through.
 *
 * A call has two holders: who made it, and from vphi_call_submit() until its chain is back, the
 * device. A program that is killed just drops its hold; the memory of the call, and the program's
 * pages in it, stay until the device gives the chain back, and the last holder frees them. From an
 * interrupt that is left to the worker (vphi_tidy), since unpinning pages may sleep.
 *
 * Signals. vphi_call_run() sleeps interruptibly for a call with a tag; on a signal it asks the
 * device to CANCEL it and waits for it to come back, which is soon. Calls without a tag are short,
 * and waited for unless the program is killed.
 *
 * Interrupts of a ring are on exactly while some chain is out and nobody looks at the ring.
 */
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "vphi.h"

static struct kmem_cache *vphi_call_cache;

int vphi_call_init(void)
{
	vphi_call_cache = KMEM_CACHE(vphi_call, SLAB_HWCACHE_ALIGN);
	return vphi_call_cache ? 0 : -ENOMEM;
}

void vphi_call_exit(void)
{
	kmem_cache_destroy(vphi_call_cache);
}

/**
 * vphi_call_new - a request to be filled in
 * @device: where it goes
 * @endpoint: the device's number for it, or 0
 * @call: enum scif_virtio_call
 * @kind: what it may keep busy; all but short ones get a tag
 *
 * Return: the call, held by the caller, or NULL without memory.
 */
struct vphi_call *vphi_call_new(struct vphi_device *device, u32 endpoint, u32 call,
				enum vphi_kind kind)
{
	struct vphi_call *new = kmem_cache_zalloc(vphi_call_cache, GFP_KERNEL);
	u32 tag = 0;

	if (!new)
		return NULL;
	while (kind != VPHI_SHORT && tag == 0)
		tag = atomic_inc_return(&device->next_tag);
	kref_get(&device->refs);
	new->device = device;
	new->queue = &device->queues[endpoint % device->queue_count];
	new->kind = kind;
	new->request.call = cpu_to_le32(call);
	new->request.endpoint = cpu_to_le32(endpoint);
	new->request.tag = cpu_to_le32(tag);
	refcount_set(&new->refs, 1);
	init_completion(&new->done);
	return new;
}

/* An endpoint that was opened for somebody who does not wait any more. */
static void vphi_call_close_stray(struct vphi_call *call)
{
	struct vphi_call *close;

	if (call->request.call != cpu_to_le32(SCIF_VIRTIO_OPEN) || call->claimed ||
	    !call->finished || vphi_reply_status(call))
		return;
	close = vphi_call_new(call->device, le64_to_cpu(call->reply.value[0]), SCIF_VIRTIO_CLOSE,
			      VPHI_SHORT);
	if (!close)
		return;
	if (vphi_call_submit(close) == 0)
		wait_for_completion_timeout(&close->done, VPHI_END_TIMEOUT);
	vphi_call_put(close);
}

static void vphi_call_free(struct vphi_call *call)
{
	struct vphi_device *device = call->device;

	vphi_call_close_stray(call);
	vphi_payload_free(call);
	kfree(call->buffer);
	kmem_cache_free(vphi_call_cache, call);
	kref_put(&device->refs, vphi_device_release);
}

/* vphi_call_put - the caller's hold ends; may sleep */
void vphi_call_put(struct vphi_call *call)
{
	if (refcount_dec_and_test(&call->refs))
		vphi_call_free(call);
}

/* vphi_tidy - what interrupts left over: calls to be freed, pages to be unpinned */
void vphi_tidy(struct work_struct *work)
{
	struct vphi_device *device = container_of(work, struct vphi_device, tidy_work);
	struct llist_node *calls = llist_del_all(&device->leftovers);
	struct llist_node *windows = llist_del_all(&device->released);
	struct vphi_window *window, *next_window;
	struct vphi_call *call, *next_call;

	llist_for_each_entry_safe(window, next_window, windows, node)
		vphi_window_put(device, window);
	llist_for_each_entry_safe(call, next_call, calls, node)
		vphi_call_free(call);
}

/* Whether one more chain of that kind may go out. Short ones always find a quarter of the ring. */
static bool vphi_queue_has_room(const struct vphi_queue *queue, enum vphi_kind kind)
{
	unsigned int busy = 0;
	int other;

	for (other = VPHI_KINDS - 1; other >= (int)kind; other--)
		busy += queue->busy[other];
	return busy < queue->limit[kind];
}

/* vphi_queue_interrupts - switch them as the rule says; the queue's lock is held */
void vphi_queue_interrupts(struct vphi_queue *queue)
{
	bool wanted;

	lockdep_assert_held(&queue->lock);
	while (queue->vq) {
		wanted = queue->spinners == 0 && (queue->busy[VPHI_SHORT] ||
						  queue->busy[VPHI_COPY] ||
						  queue->busy[VPHI_WAIT]);
		if (wanted == queue->interrupts)
			return;
		queue->interrupts = wanted;
		if (!wanted) {
			virtqueue_disable_cb(queue->vq);
			return;
		}
		if (virtqueue_enable_cb(queue->vq))
			return;
		/* Chains came back in between: without an interrupt. */
		virtqueue_disable_cb(queue->vq);
		queue->interrupts = false;
		vphi_queue_reap(queue);
	}
}

/* vphi_call_finish - the one place where a chain ends: the device's hold, and whoever waits */
void vphi_call_finish(struct vphi_call *call)
{
	struct vphi_device *device = call->device;

	call->queue->busy[call->kind]--;
	/* Pairs with who looks at the ring: the reply is there before this. */
	smp_store_release(&call->finished, true);
	complete(&call->done);
	if (refcount_dec_and_test(&call->refs)) {
		llist_add(&call->node, &device->leftovers);
		queue_work(device->worker, &device->tidy_work);
	}
}

/* vphi_queue_reap - all chains that came back; the queue's lock is held, interrupts are off */
void vphi_queue_reap(struct vphi_queue *queue)
{
	struct vphi_call *call;
	unsigned int bytes;
	bool any = false;

	lockdep_assert_held(&queue->lock);
	if (!queue->vq)
		return;
	while ((call = virtqueue_get_buf(queue->vq, &bytes))) {
		if (bytes < sizeof(call->reply))
			call->reply.status = cpu_to_le32(-EIO);
		vphi_call_finish(call);
		any = true;
	}
	if (any)
		wake_up_all(&queue->room);
}

/* vphi_queue_interrupt - of a ring: chains came back */
void vphi_queue_interrupt(struct virtqueue *vq)
{
	struct vphi_device *device = vq->vdev->priv;
	struct vphi_queue *queue = &device->queues[vq->index - SCIF_VIRTIO_QUEUE_REQUEST];
	unsigned long flags;

	spin_lock_irqsave(&queue->lock, flags);
	if (queue->vq && queue->spinners == 0) {
		virtqueue_disable_cb(vq);
		queue->interrupts = false;
		vphi_queue_reap(queue);
		vphi_queue_interrupts(queue);
	}
	spin_unlock_irqrestore(&queue->lock, flags);
}

/* The chain's parts: what the device reads, then what it writes. The lock is held. */
static int vphi_call_add(struct vphi_call *call)
{
	struct scatterlist request, reply, buffer;
	struct scatterlist *parts[4];
	unsigned int out = 0, in = 0;

	sg_init_one(&request, &call->request, sizeof(call->request));
	sg_init_one(&reply, &call->reply, sizeof(call->reply));
	parts[out++] = &request;
	if (call->payload.count && !call->payload.writable)
		parts[out++] = call->payload.sgs;
	parts[out + in++] = &reply;
	if (call->payload.count && call->payload.writable)
		parts[out + in++] = call->payload.sgs;
	if (call->buffer) {
		sg_init_one(&buffer, call->buffer, call->buffer_bytes);
		parts[out + in++] = &buffer;
	}
	return virtqueue_add_sgs(call->queue->vq, parts, out, in, call, GFP_ATOMIC);
}

/* vphi_call_try - the same, but -EAGAIN without room */
int vphi_call_try(struct vphi_call *call)
{
	struct vphi_queue *queue = call->queue;
	bool kick = false;
	int status;

	spin_lock_irq(&queue->lock);
	if (!queue->vq) {
		status = -ENODEV;
	} else if (!vphi_queue_has_room(queue, call->kind)) {
		status = -EAGAIN;
	} else {
		refcount_inc(&call->refs);
		status = vphi_call_add(call);
		if (status < 0) {
			refcount_dec(&call->refs);
			status = status == -EIO ? -ENODEV : -EAGAIN;
		} else {
			queue->busy[call->kind]++;
			vphi_queue_interrupts(queue);
			kick = virtqueue_kick_prepare(queue->vq);
		}
	}
	/* Under the lock: the ring must not go away before the kick. */
	if (kick)
		virtqueue_notify(queue->vq);
	spin_unlock_irq(&queue->lock);
	return status;
}

/* vphi_call_tried - for waits: try again; whether there was room, with the result in *status */
bool vphi_call_tried(struct vphi_call *call, int *status)
{
	*status = vphi_call_try(call);
	return *status != -EAGAIN;
}

/**
 * vphi_call_submit - give the call to the device, waiting for room unless the program is killed
 * @call: held by the caller, who waits for it or drops it
 *
 * Return: 0; -EINTR; -ENODEV.
 */
int vphi_call_submit(struct vphi_call *call)
{
	int status = vphi_call_try(call);

	if (status == -EAGAIN &&
	    wait_event_killable(call->queue->room, vphi_call_tried(call, &status)))
		status = -EINTR;
	return status;
}

/**
 * vphi_call_wait - until the call is back
 * @call: a submitted call
 * @history: of waits of its kind
 *
 * Return: 0, or -EINTR on a signal: any for a call with a tag, a deadly one for others.
 */
int vphi_call_wait(struct vphi_call *call, struct vphi_history *history)
{
	u64 begun_ns = ktime_get_ns(), spun_ns;
	int status = 0;

	if (!vphi_wait_spin(call, history)) {
		spun_ns = ktime_get_ns() - begun_ns;
		if (call->request.tag)
			status = wait_for_completion_interruptible(&call->done);
		else
			status = wait_for_completion_killable(&call->done);
		if (status == 0)
			vphi_wait_learn(call, history, spun_ns, ktime_get_ns() - begun_ns);
	} else {
		vphi_wait_learn(call, history, 0, ktime_get_ns() - begun_ns);
	}
	return status ? -EINTR : 0;
}

/* vphi_cancel_tag - a waiting request shall come back, which is not waited for here */
void vphi_cancel_tag(struct vphi_device *device, u32 endpoint, u32 tag)
{
	struct vphi_call *cancel = vphi_call_new(device, endpoint, SCIF_VIRTIO_CANCEL, VPHI_SHORT);

	if (!cancel)
		return;
	cancel->request.cancel.tag = cpu_to_le32(tag);
	vphi_call_submit(cancel);
	vphi_call_put(cancel);
}

/* vphi_call_cancel - the same for a call */
void vphi_call_cancel(struct vphi_call *call)
{
	vphi_cancel_tag(call->device, le32_to_cpu(call->request.endpoint),
			le32_to_cpu(call->request.tag));
}

/**
 * vphi_call_end - see a call back that a signal has ended
 * @call: submitted and cancelled, or of an object that was closed
 *
 * Return: 0, or -EINTR when it did not come in time: the device keeps it until it does.
 */
int vphi_call_end(struct vphi_call *call)
{
	return wait_for_completion_timeout(&call->done, VPHI_END_TIMEOUT) ? 0 : -EINTR;
}

/**
 * vphi_call_collect - wait for a submitted call and read its status
 * @call: stays the caller's
 * @history: of waits of its kind; NULL for that of short calls
 *
 * Return: the reply's status; -EINTR when it was cancelled with nothing done, or the program is
 * being killed; -ENODEV.
 */
int vphi_call_collect(struct vphi_call *call, struct vphi_history *history)
{
	int status = vphi_call_wait(call, history ? history : &call->queue->history);

	if (status && call->request.tag) {
		vphi_call_cancel(call);
		status = vphi_call_end(call);
	}
	if (status)
		return status;
	status = (s32)vphi_reply_status(call);
	return status > 0 || status < -MAX_ERRNO ? -EIO : status;
}

/* vphi_call_run - submit a call and collect it */
int vphi_call_run(struct vphi_call *call, struct vphi_history *history)
{
	int status = vphi_call_submit(call);

	return status ? status : vphi_call_collect(call, history);
}
