// SPDX-License-Identifier: GPL-2.0-only
/*
 * vphi: the virtio device, from its appearance to its end. The way of a call:
 *
 *	file.c		vphi_file_ioctl		an ioctl of either ABI, its structure copied in
 *	endpoint.c, message.c, window.c, copy.c, map.c	the request it becomes
 *	pages.c		vphi_pin		the program's pages
 *	call.c		vphi_call_submit	a chain in a ring; the device reads it
 *	wait.c		vphi_wait_spin		the ring is looked at, else the thread sleeps
 *	call.c		vphi_queue_reap		chains that came back: vphi_call_finish
 *	device.c	vphi_event_interrupt	what the device tells of its own accord
 *
 * The end. Whatever ends the device (unplug, unbind, reset by a VMM that goes), vphi_remove comes
 * with it: `dead` is set, the device is reset and uses no memory any more, every call that it had
 * is finished with -ENODEV, programs' mappings are taken away, windows unpinned, pollers woken.
 * Endpoints of open files live on as errors, and hold the vphi_device; the module cannot be
 * unloaded before they are closed.
 */
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/virtio_ring.h>

#include "vphi.h"

void vphi_device_release(struct kref *refs)
{
	struct vphi_device *device = container_of(refs, struct vphi_device, refs);

	destroy_workqueue(device->worker);
	xa_destroy(&device->endpoints);
	xa_destroy(&device->windows);
	xa_destroy(&device->mappings);
	kfree(device->events);
	kfree(device);
}

static void vphi_event(struct vphi_device *device, const struct scif_virtio_event *event)
{
	switch (le32_to_cpu(event->kind)) {
	case SCIF_VIRTIO_EVENT_POLL:
		vphi_poll_event(device, le32_to_cpu(event->endpoint), le32_to_cpu(event->mask));
		break;
	case SCIF_VIRTIO_EVENT_RELEASED:
		vphi_window_released(device, le64_to_cpu(event->cookie));
		break;
	case SCIF_VIRTIO_EVENT_NODES:
		queue_work(device->worker, &device->nodes_work);
		break;
	}
}

static int vphi_event_offer(struct vphi_device *device, struct scif_virtio_event *event)
{
	struct scatterlist part;

	sg_init_one(&part, event, sizeof(*event));
	return virtqueue_add_inbuf(device->event_vq, &part, 1, event, GFP_ATOMIC);
}

/* Events came; their places are offered again. */
static void vphi_event_interrupt(struct virtqueue *vq)
{
	struct vphi_device *device = vq->vdev->priv;
	struct scif_virtio_event *event;
	unsigned long flags;
	unsigned int bytes;

	spin_lock_irqsave(&device->event_lock, flags);
	do {
		virtqueue_disable_cb(vq);
		while ((event = virtqueue_get_buf(vq, &bytes))) {
			if (bytes >= sizeof(*event))
				vphi_event(device, event);
			vphi_event_offer(device, event);
		}
	} while (!virtqueue_enable_cb(vq));
	virtqueue_kick(vq);
	spin_unlock_irqrestore(&device->event_lock, flags);
}

static void vphi_queue_init(struct vphi_device *device, unsigned int index, struct virtqueue *vq)
{
	struct vphi_queue *queue = &device->queues[index];
	unsigned int size = virtqueue_get_vring_size(vq);

	queue->limit[VPHI_SHORT] = size;
	queue->limit[VPHI_COPY] = size * 3 / 4;
	queue->limit[VPHI_WAIT] = size / 2;
	queue->vq = vq;
	virtqueue_disable_cb(vq);
}

#ifdef VPHI_HAVE_QUEUE_INFO
static int vphi_find_queues(struct vphi_device *device, struct virtqueue **vqs)
{
	struct virtqueue_info infos[1 + SCIF_VIRTIO_REQUEST_QUEUES_MAX] = {
		[SCIF_VIRTIO_QUEUE_EVENT] = { .name = "event", .callback = vphi_event_interrupt },
	};
	unsigned int i;

	for (i = 0; i < device->queue_count; i++) {
		infos[SCIF_VIRTIO_QUEUE_REQUEST + i].name = device->queues[i].name;
		infos[SCIF_VIRTIO_QUEUE_REQUEST + i].callback = vphi_queue_interrupt;
	}
	return virtio_find_vqs(device->vdev, 1 + device->queue_count, vqs, infos, NULL);
}
#else
static int vphi_find_queues(struct vphi_device *device, struct virtqueue **vqs)
{
	vq_callback_t *callbacks[1 + SCIF_VIRTIO_REQUEST_QUEUES_MAX] = { vphi_event_interrupt };
	const char *names[1 + SCIF_VIRTIO_REQUEST_QUEUES_MAX] = { "event" };
	unsigned int i;

	for (i = 0; i < device->queue_count; i++) {
		names[SCIF_VIRTIO_QUEUE_REQUEST + i] = device->queues[i].name;
		callbacks[SCIF_VIRTIO_QUEUE_REQUEST + i] = vphi_queue_interrupt;
	}
	return virtio_find_vqs(device->vdev, 1 + device->queue_count, vqs, callbacks, names, NULL);
}
#endif

static int vphi_queues_start(struct vphi_device *device)
{
	struct virtqueue *vqs[1 + SCIF_VIRTIO_REQUEST_QUEUES_MAX];
	unsigned int i;
	int status;

	status = vphi_find_queues(device, vqs);
	if (status)
		return status;
	device->event_vq = vqs[SCIF_VIRTIO_QUEUE_EVENT];
	for (i = 0; i < device->queue_count; i++)
		vphi_queue_init(device, i, vqs[SCIF_VIRTIO_QUEUE_REQUEST + i]);
	virtio_device_ready(device->vdev);

	spin_lock_irq(&device->event_lock);
	for (i = 0; i < VPHI_EVENTS; i++)
		if (vphi_event_offer(device, &device->events[i]))
			break;
	virtqueue_kick(device->event_vq);
	spin_unlock_irq(&device->event_lock);
	return 0;
}

static struct vphi_device *vphi_device_new(struct virtio_device *vdev, unsigned int queue_count)
{
	struct vphi_device *device = kzalloc(sizeof(*device), GFP_KERNEL);
	unsigned int i;

	if (!device)
		return NULL;
	device->events = kcalloc(VPHI_EVENTS, sizeof(*device->events), GFP_KERNEL);
	if (!device->events)
		goto free;
	device->worker = alloc_workqueue("vphi", WQ_UNBOUND, 0);
	if (!device->worker)
		goto free;
	kref_init(&device->refs);
	device->vdev = vdev;
	device->queue_count = queue_count;
	spin_lock_init(&device->event_lock);
	mutex_init(&device->endpoints_mutex);
	xa_init_flags(&device->endpoints, XA_FLAGS_LOCK_IRQ);
	xa_init_flags(&device->windows, XA_FLAGS_ALLOC1 | XA_FLAGS_LOCK_IRQ);
	xa_init(&device->mappings);
	INIT_WORK(&device->tidy_work, vphi_tidy);
	INIT_WORK(&device->nodes_work, vphi_cards_scan);
	for (i = 0; i < queue_count; i++) {
		struct vphi_queue *queue = &device->queues[i];

		queue->device = device;
		spin_lock_init(&queue->lock);
		init_waitqueue_head(&queue->room);
		snprintf(queue->name, sizeof(queue->name), "request%u", i);
	}
	return device;
free:
	kfree(device->events);
	kfree(device);
	return NULL;
}

/* The configuration; how many request queues, or -errno with a sentence. */
static int vphi_device_check(struct virtio_device *vdev)
{
	u32 version;
	u16 queues;

	virtio_cread_le(vdev, struct scif_virtio_config, version, &version);
	virtio_cread_le(vdev, struct scif_virtio_config, request_queues, &queues);
	if (version != SCIF_VIRTIO_VERSION) {
		dev_err(&vdev->dev, "device speaks version %u: expected %u\n", version,
			SCIF_VIRTIO_VERSION);
		return -EPROTO;
	}
	if (queues == 0 || queues > SCIF_VIRTIO_REQUEST_QUEUES_MAX) {
		dev_err(&vdev->dev, "device has %u request queues: expected 1 to %u\n", queues,
			SCIF_VIRTIO_REQUEST_QUEUES_MAX);
		return -EPROTO;
	}
	if (!virtio_has_feature(vdev, VIRTIO_RING_F_INDIRECT_DESC)) {
		dev_err(&vdev->dev, "device lacks indirect descriptors\n");
		return -EPROTO;
	}
	return queues;
}

/* Every call that the device had ends, and no other gets to it. It was reset. */
static void vphi_queue_end(struct vphi_queue *queue)
{
	struct vphi_call *call;
	struct virtqueue *vq;

	spin_lock_irq(&queue->lock);
	vq = queue->vq;
	vphi_queue_reap(queue);
	queue->vq = NULL;
	while (vq && (call = virtqueue_detach_unused_buf(vq))) {
		call->reply.status = cpu_to_le32(-ENODEV);
		vphi_call_finish(call);
	}
	wake_up_all(&queue->room);
	spin_unlock_irq(&queue->lock);
}

/* Programs: no mapping any more; who waits for an event wakes up and finds an error. */
static void vphi_endpoints_end(struct vphi_device *device)
{
	struct vphi_endpoint *endpoint;
	unsigned long number;

	mutex_lock(&device->endpoints_mutex);
	xa_for_each(&device->endpoints, number, endpoint) {
		unmap_mapping_range(endpoint->mapping, 0, 0, 1);
		wake_up_poll(&endpoint->wait, EPOLLHUP | EPOLLERR);
	}
	mutex_unlock(&device->endpoints_mutex);
}

static void vphi_windows_end(struct vphi_device *device)
{
	struct vphi_window *window;
	unsigned long cookie;

	xa_for_each(&device->windows, cookie, window)
		vphi_window_released(device, cookie);
}

static void vphi_device_end(struct vphi_device *device)
{
	unsigned int i;

	WRITE_ONCE(device->dead, true);
	vphi_endpoints_end(device);
	vphi_mappings_hide(device);
	virtio_reset_device(device->vdev);
	for (i = 0; i < device->queue_count; i++)
		vphi_queue_end(&device->queues[i]);
	cancel_work_sync(&device->nodes_work);
	vphi_cards_remove(device);
	vphi_endpoints_end(device);
	vphi_windows_end(device);
	flush_work(&device->tidy_work);
	device->vdev->config->del_vqs(device->vdev);
}

static int vphi_probe(struct virtio_device *vdev)
{
	struct vphi_device *device;
	int queues = vphi_device_check(vdev);
	int status;

	if (queues < 0)
		return queues;
	device = vphi_device_new(vdev, queues);
	if (!device)
		return -ENOMEM;
	vdev->priv = device;
	device->has_shm = virtio_get_shm_region(vdev, &device->shm, SCIF_VIRTIO_SHM_ID);
	status = vphi_queues_start(device);
	if (status) {
		dev_err(&vdev->dev, "no queues: %d\n", status);
		goto put;
	}
	/* An event may have queued it already: two scans at once would add a card twice. */
	queue_work(device->worker, &device->nodes_work);
	flush_work(&device->nodes_work);
	status = vphi_files_register(device);
	if (status) {
		dev_err(&vdev->dev, "no device nodes: %d\n", status);
		vphi_device_end(device);
		goto put;
	}
	return 0;
put:
	kref_put(&device->refs, vphi_device_release);
	return status;
}

static void vphi_remove(struct virtio_device *vdev)
{
	struct vphi_device *device = vdev->priv;

	/* First: an open() that waits for the device would keep its node from going. */
	vphi_device_end(device);
	vphi_files_unregister();
	kref_put(&device->refs, vphi_device_release);
}

static const struct virtio_device_id vphi_ids[] = {
	{ SCIF_VIRTIO_ID, VIRTIO_DEV_ANY_ID },
	{ 0 },
};

static struct virtio_driver vphi_driver = {
	.driver.name = "vphi",
	.driver.dev_groups = vphi_device_groups,
	.id_table = vphi_ids,
	.probe = vphi_probe,
	.remove = vphi_remove,
};

static int __init vphi_init(void)
{
	int status = vphi_call_init();

	if (status)
		return status;
	status = vphi_pages_init();
	if (status)
		goto call;
	status = vphi_class_init();
	if (status)
		goto pages;
	status = register_virtio_driver(&vphi_driver);
	if (status)
		goto class;
	return 0;
class:
	vphi_class_exit();
pages:
	vphi_pages_exit();
call:
	vphi_call_exit();
	return status;
}
module_init(vphi_init);

static void __exit vphi_exit(void)
{
	unregister_virtio_driver(&vphi_driver);
	vphi_class_exit();
	vphi_pages_exit();
	vphi_call_exit();
}
module_exit(vphi_exit);

MODULE_DEVICE_TABLE(virtio, vphi_ids);
MODULE_DESCRIPTION("SCIF of the host's cards, over virtio");
MODULE_LICENSE("GPL");
MODULE_VERSION("0.1.0");
