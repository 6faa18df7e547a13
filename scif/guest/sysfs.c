// SPDX-License-Identifier: GPL-2.0-only
/*
 * vphi: /sys/class/mic, where programs read what cards there are, and the driver's own counters.
 *
 * A card's attributes are asked of the device when they are read, so that they are always true. A
 * card that has appeared stays until the device goes; its state says whether it is there.
 */
#include <linux/slab.h>
#include <linux/sysfs.h>

#include "vphi.h"

#define VPHI_VERSION "3.8"

static struct class vphi_class = {
	.name = "mic",
};

static struct device *vphi_ctrl;

/* What the device says of a card; -ENOENT when there is none of that number. */
static int vphi_card_ask(struct vphi_device *device, unsigned int index,
			 struct scif_virtio_card *card)
{
	struct vphi_call *call = vphi_call_new(device, 0, SCIF_VIRTIO_GET_CARD, VPHI_SHORT);
	int status = -ENOMEM;

	if (!call)
		return status;
	call->request.card.index = cpu_to_le32(index);
	call->buffer_bytes = sizeof(*card);
	call->buffer = kzalloc(call->buffer_bytes, GFP_KERNEL);
	if (call->buffer)
		status = vphi_call_run(call, NULL);
	if (status == 0)
		memcpy(card, call->buffer, sizeof(*card));
	vphi_call_put(call);
	return status;
}

struct vphi_card {
	struct vphi_device *device; /* held */
	unsigned int index;
};

static int vphi_card_read(struct device *dev, struct scif_virtio_card *card)
{
	struct vphi_card *of = dev_get_drvdata(dev);

	return vphi_card_ask(of->device, of->index, card);
}

struct vphi_card_attribute {
	struct device_attribute attribute;
	unsigned int offset, bytes; /* in struct scif_virtio_card */
};

static ssize_t vphi_card_text_show(struct device *dev, struct device_attribute *attribute,
				   char *buffer)
{
	const struct vphi_card_attribute *of =
		container_of(attribute, struct vphi_card_attribute, attribute);
	struct scif_virtio_card card;
	int status = vphi_card_read(dev, &card);

	if (status)
		return status;
	return sysfs_emit(buffer, "%.*s\n", (int)of->bytes, (const char *)&card + of->offset);
}

/* Numbers of a PCI device: two bytes. */
static ssize_t vphi_card_pci_show(struct device *dev, struct device_attribute *attribute,
				  char *buffer)
{
	const struct vphi_card_attribute *of =
		container_of(attribute, struct vphi_card_attribute, attribute);
	struct scif_virtio_card card;
	int status = vphi_card_read(dev, &card);
	__le16 number;

	if (status)
		return status;
	memcpy(&number, (const char *)&card + of->offset, sizeof(number));
	return sysfs_emit(buffer, "0x%04x\n", le16_to_cpu(number));
}

static ssize_t memsize_show(struct device *dev, struct device_attribute *attribute, char *buffer)
{
	struct scif_virtio_card card;
	int status = vphi_card_read(dev, &card);

	if (status)
		return status;
	return sysfs_emit(buffer, "%llu\n", le64_to_cpu(card.memsize) >> 10);
}
static DEVICE_ATTR_RO(memsize);

static ssize_t cores_show(struct device *dev, struct device_attribute *attribute, char *buffer)
{
	struct scif_virtio_card card;
	int status = vphi_card_read(dev, &card);

	if (status)
		return status;
	return sysfs_emit(buffer, "%u\n", le32_to_cpu(card.cores));
}
static DEVICE_ATTR_RO(cores);

static struct vphi_card_attribute vphi_card_texts[] = {
	{
		.attribute = __ATTR(family, 0444, vphi_card_text_show, NULL),
		.offset = offsetof(struct scif_virtio_card, family),
		.bytes = sizeof_field(struct scif_virtio_card, family),
	},
	{
		.attribute = __ATTR(stepping, 0444, vphi_card_text_show, NULL),
		.offset = offsetof(struct scif_virtio_card, stepping),
		.bytes = sizeof_field(struct scif_virtio_card, stepping),
	},
	{
		.attribute = __ATTR(sku, 0444, vphi_card_text_show, NULL),
		.offset = offsetof(struct scif_virtio_card, sku),
		.bytes = sizeof_field(struct scif_virtio_card, sku),
	},
	{
		.attribute = __ATTR(state, 0444, vphi_card_text_show, NULL),
		.offset = offsetof(struct scif_virtio_card, state),
		.bytes = sizeof_field(struct scif_virtio_card, state),
	},
	{
		.attribute = __ATTR(mode, 0444, vphi_card_text_show, NULL),
		.offset = offsetof(struct scif_virtio_card, mode),
		.bytes = sizeof_field(struct scif_virtio_card, mode),
	},
};

static struct vphi_card_attribute vphi_card_pcis[] = {
	{
		.attribute = __ATTR(vendor, 0444, vphi_card_pci_show, NULL),
		.offset = offsetof(struct scif_virtio_card, vendor),
		.bytes = sizeof_field(struct scif_virtio_card, vendor),
	},
	{
		.attribute = __ATTR(device, 0444, vphi_card_pci_show, NULL),
		.offset = offsetof(struct scif_virtio_card, device),
		.bytes = sizeof_field(struct scif_virtio_card, device),
	},
	{
		.attribute = __ATTR(subsystem_device, 0444, vphi_card_pci_show, NULL),
		.offset = offsetof(struct scif_virtio_card, subsystem_device),
		.bytes = sizeof_field(struct scif_virtio_card, subsystem_device),
	},
};

static struct attribute *vphi_card_attributes[] = {
	&vphi_card_texts[0].attribute.attr,
	&vphi_card_texts[1].attribute.attr,
	&vphi_card_texts[2].attribute.attr,
	&vphi_card_texts[3].attribute.attr,
	&vphi_card_texts[4].attribute.attr,
	&dev_attr_memsize.attr,
	&dev_attr_cores.attr,
	NULL,
};

static struct attribute *vphi_card_pci_attributes[] = {
	&vphi_card_pcis[0].attribute.attr,
	&vphi_card_pcis[1].attribute.attr,
	&vphi_card_pcis[2].attribute.attr,
	NULL,
};

static const struct attribute_group vphi_card_group = {
	.attrs = vphi_card_attributes,
};

/* Where a card on a bus has a link to its PCI device. */
static const struct attribute_group vphi_card_pci_group = {
	.name = "device",
	.attrs = vphi_card_pci_attributes,
};

static const struct attribute_group *vphi_card_groups[] = {
	&vphi_card_group,
	&vphi_card_pci_group,
	NULL,
};

static ssize_t version_show(struct device *dev, struct device_attribute *attribute, char *buffer)
{
	return sysfs_emit(buffer, VPHI_VERSION "\n");
}
static DEVICE_ATTR_RO(version);

static struct attribute *vphi_ctrl_attrs[] = { &dev_attr_version.attr, NULL };
ATTRIBUTE_GROUPS(vphi_ctrl);

static struct device *vphi_card_add(struct vphi_device *device, unsigned int index)
{
	struct vphi_card *card = kzalloc(sizeof(*card), GFP_KERNEL);
	struct device *dev;

	if (!card)
		return NULL;
	card->device = device;
	card->index = index;
	dev = device_create_with_groups(&vphi_class, NULL, MKDEV(0, 0), card, vphi_card_groups,
					"mic%u", index);
	if (IS_ERR(dev)) {
		kfree(card);
		return NULL;
	}
	kref_get(&device->refs);
	return dev;
}

/* vphi_cards_scan - cards that have appeared get their folders; others hear of a change */
void vphi_cards_scan(struct work_struct *work)
{
	struct vphi_device *device = container_of(work, struct vphi_device, nodes_work);
	struct scif_virtio_card card;
	unsigned int index;

	for (index = 0; index < SCIF_VIRTIO_NODES_MAX; index++) {
		if (device->cards[index]) {
			sysfs_notify(&device->cards[index]->kobj, NULL, "state");
			continue;
		}
		if (READ_ONCE(device->dead) || vphi_card_ask(device, index, &card))
			return;
		device->cards[index] = vphi_card_add(device, index);
		if (!device->cards[index])
			return;
	}
}

/* vphi_cards_remove - with the device; no scan runs any more */
void vphi_cards_remove(struct vphi_device *device)
{
	struct vphi_card *card;
	unsigned int index;

	for (index = 0; index < SCIF_VIRTIO_NODES_MAX && device->cards[index]; index++) {
		card = dev_get_drvdata(device->cards[index]);
		device_unregister(device->cards[index]);
		device->cards[index] = NULL;
		kfree(card);
		kref_put(&device->refs, vphi_device_release);
	}
}

int vphi_class_init(void)
{
	int status = class_register(&vphi_class);

	if (status)
		return status;
	vphi_ctrl = device_create_with_groups(&vphi_class, NULL, MKDEV(0, 0), NULL,
					      vphi_ctrl_groups, "ctrl");
	if (!IS_ERR(vphi_ctrl))
		return 0;
	class_unregister(&vphi_class);
	return PTR_ERR(vphi_ctrl);
}

void vphi_class_exit(void)
{
	device_unregister(vphi_ctrl);
	class_unregister(&vphi_class);
}

/* The driver's own: what a test, or a person, looks at to see that nothing is left. */
static struct vphi_device *vphi_of(struct device *dev)
{
	return dev_to_virtio(dev)->priv;
}

static ssize_t endpoints_show(struct device *dev, struct device_attribute *attribute, char *buffer)
{
	return sysfs_emit(buffer, "%d\n", atomic_read(&vphi_of(dev)->endpoint_count));
}
static DEVICE_ATTR_RO(endpoints);

static ssize_t windows_show(struct device *dev, struct device_attribute *attribute, char *buffer)
{
	struct vphi_window *window;
	unsigned long cookie;
	unsigned int count = 0;

	xa_for_each(&vphi_of(dev)->windows, cookie, window)
		count++;
	return sysfs_emit(buffer, "%u\n", count);
}
static DEVICE_ATTR_RO(windows);

static ssize_t pinned_pages_show(struct device *dev, struct device_attribute *attribute,
				 char *buffer)
{
	return sysfs_emit(buffer, "%ld\n", atomic_long_read(&vphi_of(dev)->pinned_pages));
}
static DEVICE_ATTR_RO(pinned_pages);

static ssize_t requests_show(struct device *dev, struct device_attribute *attribute, char *buffer)
{
	struct vphi_device *device = vphi_of(dev);
	unsigned int busy = 0, i, kind;

	for (i = 0; i < device->queue_count; i++)
		for (kind = 0; kind < VPHI_KINDS; kind++)
			busy += READ_ONCE(device->queues[i].busy[kind]);
	return sysfs_emit(buffer, "%u\n", busy);
}
static DEVICE_ATTR_RO(requests);

static struct attribute *vphi_device_attributes[] = {
	&dev_attr_endpoints.attr, &dev_attr_windows.attr, &dev_attr_pinned_pages.attr,
	&dev_attr_requests.attr, NULL,
};

static const struct attribute_group vphi_device_group = {
	.attrs = vphi_device_attributes,
};

const struct attribute_group *vphi_device_groups[] = {
	&vphi_device_group,
	NULL,
};
