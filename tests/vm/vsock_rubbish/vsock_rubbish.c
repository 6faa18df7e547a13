// SPDX-License-Identifier: GPL-2.0-only
/*
 * For tests: a vsock driver that writes rubbish into its rings, packets and registers. Loading it
 * makes @count attacks, each on a device that was reset before, and fails, so that nothing stays
 * loaded.
 *
 *	insmod vsock_rubbish.ko count=100 victim=4
 *
 * The rings are the kernel's own (virtqueue_get_vring), but nothing of virtio_ring fills them: each
 * step writes a descriptor table, an index, a packet or flags, and kicks. Half of the values are
 * nearly right, so that they get as far as the code behind the first check.
 */
#include <linux/delay.h>
#include <linux/io.h>
#include <linux/module.h>
#include <linux/random.h>
#include <linux/virtio.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_ring.h>
#include <linux/virtio_vsock.h>

#define RUBBISH_QUEUES 3
#define RUBBISH_STEPS  24 /* of an attack, at most */
#define RUBBISH_ORDER  4
#define RUBBISH_BYTES  (PAGE_SIZE << RUBBISH_ORDER)

static unsigned int count, victim;
module_param(count, uint, 0);
module_param(victim, uint, 0); /* the cid of another guest */

static struct virtqueue *queues[RUBBISH_QUEUES];
static struct virtio_device *device; /* while the driver is bound */
static u8 *area;		     /* what descriptors point to when they are nearly right */
static u64 own_cid;

static u32 rubbish_below(u32 limit)
{
	return get_random_u32() % limit;
}

/* Where the device may write without an end of this guest's kernel: the area, the rings, nowhere.
 */
static u64 rubbish_address(const struct vring *ring)
{
	switch (rubbish_below(4)) {
	case 0:
		return get_random_u64() | 1ull << 40;
	case 1:
		return virt_to_phys(ring->desc) + rubbish_below(4096);
	default:
		return virt_to_phys(area) + rubbish_below(RUBBISH_BYTES - 256);
	}
}

static void rubbish_descriptor(const struct vring *ring, struct vring_desc *descriptor)
{
	descriptor->addr = cpu_to_le64(rubbish_address(ring));
	descriptor->len = cpu_to_le32(rubbish_below(3) ? rubbish_below(9000) : get_random_u32());
	descriptor->flags = cpu_to_le16(rubbish_below(8) ? rubbish_below(8) : get_random_u32());
	descriptor->next =
		cpu_to_le16(rubbish_below(8) ? rubbish_below(ring->num) : get_random_u32());
}

/* A packet whose every field may be wrong. */
static void rubbish_packet(struct virtio_vsock_hdr *header)
{
	const u64 cids[] = { own_cid, VMADDR_CID_HOST, victim, get_random_u64() };
	const u32 ports[] = { 5000, 77, get_random_u32() };

	header->src_cid = cpu_to_le64(rubbish_below(8) ? own_cid : cids[rubbish_below(4)]);
	header->dst_cid = cpu_to_le64(cids[rubbish_below(4)]);
	header->src_port = cpu_to_le32(ports[rubbish_below(3)]);
	header->dst_port = cpu_to_le32(ports[rubbish_below(3)]);
	header->len = cpu_to_le32(rubbish_below(4) ? rubbish_below(5000) : get_random_u32());
	header->type = cpu_to_le16(rubbish_below(8) ? 1 + rubbish_below(2) : get_random_u32());
	header->op = cpu_to_le16(rubbish_below(8) ? rubbish_below(9) : get_random_u32());
	header->flags = cpu_to_le32(rubbish_below(2) ? rubbish_below(4) : get_random_u32());
	header->buf_alloc = cpu_to_le32(rubbish_below(2) ? 262144 : get_random_u32());
	header->fwd_cnt = cpu_to_le32(rubbish_below(2) ? 0 : get_random_u32());
}

/* A packet of two parts in the transmit queue, its chain in order. */
static void rubbish_send(const struct vring *ring)
{
	u16 index = le16_to_cpu(ring->avail->idx);
	u16 head = 2 * rubbish_below(ring->num / 2);
	u8 *place = area + 8192 * rubbish_below(RUBBISH_BYTES / 8192);

	rubbish_packet((struct virtio_vsock_hdr *)place);
	ring->desc[head].addr = cpu_to_le64(virt_to_phys(place));
	ring->desc[head].len = cpu_to_le32(sizeof(struct virtio_vsock_hdr));
	ring->desc[head].flags = cpu_to_le16(VRING_DESC_F_NEXT);
	ring->desc[head].next = cpu_to_le16(head + 1);
	ring->desc[head + 1].addr = cpu_to_le64(virt_to_phys(place) + 64);
	ring->desc[head + 1].len = cpu_to_le32(rubbish_below(8000));
	ring->desc[head + 1].flags = 0;
	ring->avail->ring[index & (ring->num - 1)] = cpu_to_le16(head);
	virt_wmb();
	ring->avail->idx = cpu_to_le16(index + 1);
}

/* Something wrong somewhere in one ring. */
static void rubbish_ring(const struct vring *ring)
{
	u16 index = le16_to_cpu(ring->avail->idx);
	unsigned int i;

	switch (rubbish_below(5)) {
	case 0:
		for (i = 0; i < ring->num; i++)
			rubbish_descriptor(ring, &ring->desc[i]);
		break;
	case 1:
		get_random_bytes(ring->avail, sizeof(*ring->avail) + 2 * ring->num + 2);
		return;
	case 2:
		ring->avail->flags = cpu_to_le16(get_random_u32());
		vring_used_event(ring) = cpu_to_virtio16(device, get_random_u32());
		break;
	case 3:
		get_random_bytes(ring->used, sizeof(*ring->used) + 8 * ring->num);
		break;
	default:
		get_random_bytes(area, RUBBISH_BYTES); /* also what indirect tables hold */
		break;
	}
	ring->avail->ring[index & (ring->num - 1)] =
		cpu_to_le16(rubbish_below(8) ? rubbish_below(ring->num) : get_random_u32());
	virt_wmb();
	ring->avail->idx = cpu_to_le16(index + 1 + (rubbish_below(4) ? 0 : rubbish_below(40)));
}

static void rubbish_attack(void)
{
	unsigned int steps = 1 + rubbish_below(RUBBISH_STEPS);
	u8 config[16];

	while (steps--) {
		unsigned int which = rubbish_below(RUBBISH_QUEUES);
		const struct vring *ring = virtqueue_get_vring(queues[which]);

		if (which == VSOCK_VQ_TX && rubbish_below(3))
			rubbish_send(ring);
		else
			rubbish_ring(ring);
		virtqueue_notify(queues[which]);
		device->config->get(device, rubbish_below(56), config, 1 << rubbish_below(4));
		if (rubbish_below(2))
			usleep_range(50, 500);
	}
}

static int rubbish_probe(struct virtio_device *vdev)
{
	vq_callback_t *callbacks[RUBBISH_QUEUES] = {};
	static const char *const names[] = { "rx", "tx", "event" };
	__le64 cid;

	virtio_cread_bytes(vdev, offsetof(struct virtio_vsock_config, guest_cid), &cid,
			   sizeof(cid));
	own_cid = le64_to_cpu(cid);
	device = vdev;
	return virtio_find_vqs(vdev, RUBBISH_QUEUES, queues, callbacks, names, NULL);
}

static void rubbish_remove(struct virtio_device *vdev)
{
	virtio_reset_device(vdev);
	vdev->config->del_vqs(vdev);
	device = NULL;
}

static const struct virtio_device_id ids[] = { { VIRTIO_ID_VSOCK, VIRTIO_DEV_ANY_ID }, {} };
static const unsigned int features[] = { VIRTIO_VSOCK_F_SEQPACKET };

static struct virtio_driver driver = {
	.driver.name = KBUILD_MODNAME,
	.driver.owner = THIS_MODULE,
	.id_table = ids,
	.feature_table = features,
	.feature_table_size = ARRAY_SIZE(features),
	.probe = rubbish_probe,
	.remove = rubbish_remove,
};

static int __init rubbish_init(void)
{
	unsigned int done = 0;
	int status = 0;

	area = (u8 *)__get_free_pages(GFP_KERNEL | __GFP_ZERO, RUBBISH_ORDER);
	if (!area)
		return -ENOMEM;
	while (done < count && status == 0) {
		status = register_virtio_driver(&driver);
		if (status == 0 && device) {
			rubbish_attack();
			done++;
		} else if (status == 0) {
			status = -ENODEV;
		}
		if (status == 0 || status == -ENODEV)
			unregister_virtio_driver(&driver);
	}
	free_pages((unsigned long)area, RUBBISH_ORDER);
	pr_info("vsock_rubbish: %u attacks, status %d\n", done, status);
	return status ?: -ECANCELED;
}

module_init(rubbish_init);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Rubbish for the switch's tests");
