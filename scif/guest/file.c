// SPDX-License-Identifier: GPL-2.0-only
/*
 * vphi: /dev/mic/scif and /dev/scif, and the table of ioctls that both serve.
 *
 * MPSS 3's programs open the first, mainline's and MPSS 4's the second; the numbers of their ioctls
 * tell them apart, not the node. Structures are copied in once, used, and what a call answers is
 * copied out; a fault then is -EFAULT, though the call was made.
 */
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/uaccess.h>

#include "vphi.h"

static DEFINE_MUTEX(vphi_files_mutex); /* vphi_files_device, and the nodes themselves */
static struct vphi_device *vphi_files_device;

static int vphi_file_open(struct inode *inode, struct file *file)
{
	struct vphi_device *device;
	int status;

	mutex_lock(&vphi_files_mutex);
	device = vphi_files_device;
	if (device)
		kref_get(&device->refs);
	mutex_unlock(&vphi_files_mutex);
	if (!device)
		return -ENODEV;
	status = vphi_endpoint_open(device, file);
	kref_put(&device->refs, vphi_device_release);
	return status;
}

static int vphi_file_release(struct inode *inode, struct file *file)
{
	vphi_endpoint_close(file->private_data);
	return 0;
}

static int vphi_file_flush(struct file *file, fl_owner_t id)
{
	vphi_endpoint_flush(file->private_data, id);
	return 0;
}

static __poll_t vphi_file_poll(struct file *file, poll_table *table)
{
	return vphi_poll(file->private_data, file, table);
}

static int vphi_file_mmap(struct file *file, struct vm_area_struct *area)
{
	return vphi_mmap(file->private_data, area);
}

/* A port: two bytes, since some programs have no more there. */
static int vphi_ioctl_bind(struct vphi_endpoint *endpoint, void __user *user)
{
	u16 port;
	int status;

	if (copy_from_user(&port, user, sizeof(port)))
		return -EFAULT;
	status = vphi_bind(endpoint, &port);
	if (status == 0 && copy_to_user(user, &port, sizeof(port)))
		status = -EFAULT;
	return status;
}

static int vphi_ioctl_connect(struct vphi_endpoint *endpoint, struct file *file, void __user *user)
{
	struct vphi_ioctl_connect arguments;
	int status;

	if (copy_from_user(&arguments, user, sizeof(arguments)))
		return -EFAULT;
	status = vphi_connect(endpoint, &arguments.self, &arguments.peer,
			      file->f_flags & O_NONBLOCK);
	if (status == 0 && copy_to_user(user, &arguments.self, sizeof(arguments.self)))
		status = -EFAULT;
	return status;
}

static int vphi_ioctl_accept_request(struct vphi_endpoint *endpoint, void __user *user)
{
	struct vphi_ioctl_accept arguments;
	int status;

	if (copy_from_user(&arguments, user, sizeof(arguments)))
		return -EFAULT;
	status = vphi_accept_request(endpoint, arguments.flags, &arguments.peer,
				     &arguments.endpoint);
	if (status == 0 && copy_to_user(user, &arguments, sizeof(arguments)))
		status = -EFAULT;
	return status;
}

static int vphi_ioctl_accept_register(struct vphi_endpoint *endpoint, void __user *user)
{
	u64 handle;

	if (copy_from_user(&handle, user, sizeof(handle)))
		return -EFAULT;
	return vphi_accept_register(endpoint, handle);
}

static int vphi_ioctl_message(struct vphi_endpoint *endpoint, u32 call, void __user *user)
{
	struct vphi_ioctl_message __user *result = user;
	struct vphi_ioctl_message arguments;
	int moved;

	if (copy_from_user(&arguments, user, sizeof(arguments)))
		return -EFAULT;
	moved = vphi_message(endpoint, call, arguments.address, arguments.bytes, arguments.flags);
	if (moved < 0)
		return moved;
	return put_user(moved, &result->moved);
}

static int vphi_ioctl_register(struct vphi_endpoint *endpoint, void __user *user)
{
	struct vphi_ioctl_register __user *result = user;
	struct vphi_ioctl_register arguments;
	int status;

	if (copy_from_user(&arguments, user, sizeof(arguments)))
		return -EFAULT;
	status = vphi_register(endpoint, &arguments);
	if (status == 0 && put_user(arguments.chosen, &result->chosen)) {
		vphi_unregister(endpoint, arguments.chosen, arguments.bytes);
		status = -EFAULT;
	}
	return status;
}

static int vphi_ioctl_unregister(struct vphi_endpoint *endpoint, void __user *user)
{
	struct vphi_ioctl_unregister arguments;

	if (copy_from_user(&arguments, user, sizeof(arguments)))
		return -EFAULT;
	return vphi_unregister(endpoint, arguments.offset, arguments.bytes);
}

static int vphi_ioctl_copy(struct vphi_endpoint *endpoint, u32 call, void __user *user)
{
	struct vphi_ioctl_copy arguments;

	if (copy_from_user(&arguments, user, sizeof(arguments)))
		return -EFAULT;
	if (call == SCIF_VIRTIO_VREADFROM || call == SCIF_VIRTIO_VWRITETO)
		return vphi_copy_pages(endpoint, call, &arguments);
	return vphi_copy(endpoint, call, &arguments);
}

/* As many nodes as fit; how many there are. */
static int vphi_nodes_out(struct vphi_endpoint *endpoint, u64 nodes_address, u64 self_address,
			  s32 *count)
{
	__le16 nodes[SCIF_VIRTIO_NODES_MAX];
	u16 native[SCIF_VIRTIO_NODES_MAX];
	int online, fit, i;
	u16 self;

	online = vphi_get_nodes(endpoint, nodes, &self);
	if (online < 0)
		return online;
	fit = clamp(*count, 0, online);
	for (i = 0; i < fit; i++)
		native[i] = le16_to_cpu(nodes[i]);
	if (copy_to_user(u64_to_user_ptr(nodes_address), native, fit * sizeof(*native)) ||
	    copy_to_user(u64_to_user_ptr(self_address), &self, sizeof(self)))
		return -EFAULT;
	*count = online;
	return 0;
}

static int vphi_ioctl_nodes_mpss(struct vphi_endpoint *endpoint, void __user *user)
{
	struct vphi_ioctl_nodes_mpss arguments;
	int status;

	if (copy_from_user(&arguments, user, sizeof(arguments)))
		return -EFAULT;
	status = vphi_nodes_out(endpoint, arguments.nodes, arguments.self, &arguments.count);
	if (status == 0 && copy_to_user(user, &arguments, sizeof(arguments)))
		status = -EFAULT;
	return status;
}

static int vphi_ioctl_nodes(struct vphi_endpoint *endpoint, void __user *user)
{
	struct vphi_ioctl_nodes arguments;
	int status;

	if (copy_from_user(&arguments, user, sizeof(arguments)))
		return -EFAULT;
	status = vphi_nodes_out(endpoint, arguments.nodes, arguments.self, &arguments.count);
	if (status == 0 && copy_to_user(user, &arguments, sizeof(arguments)))
		status = -EFAULT;
	return status;
}

static int vphi_ioctl_fence_mark(struct vphi_endpoint *endpoint, void __user *user)
{
	struct vphi_ioctl_fence_mark arguments;
	int mark, status;

	if (copy_from_user(&arguments, user, sizeof(arguments)))
		return -EFAULT;
	status = vphi_fence_mark(endpoint, arguments.flags, &mark);
	if (status == 0 && copy_to_user(u64_to_user_ptr(arguments.mark), &mark, sizeof(mark)))
		status = -EFAULT;
	return status;
}

static int vphi_ioctl_fence_signal(struct vphi_endpoint *endpoint, void __user *user)
{
	struct vphi_ioctl_fence_signal arguments;

	if (copy_from_user(&arguments, user, sizeof(arguments)))
		return -EFAULT;
	return vphi_fence_signal(endpoint, &arguments);
}

static long vphi_file_ioctl(struct file *file, unsigned int command, unsigned long argument)
{
	struct vphi_endpoint *endpoint = file->private_data;
	void __user *user = (void __user *)argument;

	switch (command) {
	case SCIF_BIND:
		return vphi_ioctl_bind(endpoint, user);
	case SCIF_LISTEN:
		return vphi_listen(endpoint, (int)argument);
	case SCIF_CONNECT:
		return vphi_ioctl_connect(endpoint, file, user);
	case SCIF_ACCEPTREQ_MPSS:
	case SCIF_ACCEPTREQ:
		return vphi_ioctl_accept_request(endpoint, user);
	case SCIF_ACCEPTREG:
		return vphi_ioctl_accept_register(endpoint, user);
	case SCIF_SEND_MPSS:
	case SCIF_SEND:
		return vphi_ioctl_message(endpoint, SCIF_VIRTIO_SEND, user);
	case SCIF_RECV_MPSS:
	case SCIF_RECV:
		return vphi_ioctl_message(endpoint, SCIF_VIRTIO_RECV, user);
	case SCIF_REG_MPSS:
	case SCIF_REG:
		return vphi_ioctl_register(endpoint, user);
	case SCIF_UNREG_MPSS:
	case SCIF_UNREG:
		return vphi_ioctl_unregister(endpoint, user);
	case SCIF_READFROM_MPSS:
	case SCIF_READFROM:
		return vphi_ioctl_copy(endpoint, SCIF_VIRTIO_READFROM, user);
	case SCIF_WRITETO_MPSS:
	case SCIF_WRITETO:
		return vphi_ioctl_copy(endpoint, SCIF_VIRTIO_WRITETO, user);
	case SCIF_VREADFROM_MPSS:
	case SCIF_VREADFROM:
		return vphi_ioctl_copy(endpoint, SCIF_VIRTIO_VREADFROM, user);
	case SCIF_VWRITETO_MPSS:
	case SCIF_VWRITETO:
		return vphi_ioctl_copy(endpoint, SCIF_VIRTIO_VWRITETO, user);
	case SCIF_GET_NODEIDS_MPSS:
		return vphi_ioctl_nodes_mpss(endpoint, user);
	case SCIF_GET_NODEIDS:
		return vphi_ioctl_nodes(endpoint, user);
	case SCIF_FENCE_MARK_MPSS:
	case SCIF_FENCE_MARK:
		return vphi_ioctl_fence_mark(endpoint, user);
	case SCIF_FENCE_WAIT:
		return vphi_fence_wait(endpoint, (int)argument);
	case SCIF_FENCE_SIGNAL_MPSS:
	case SCIF_FENCE_SIGNAL:
		return vphi_ioctl_fence_signal(endpoint, user);
	case SCIF_GET_VERSION:
		return 1;
	default:
		return -EINVAL;
	}
}

static const struct file_operations vphi_file_operations = {
	.owner = THIS_MODULE,
	.open = vphi_file_open,
	.release = vphi_file_release,
	.flush = vphi_file_flush,
	.poll = vphi_file_poll,
	.mmap = vphi_file_mmap,
	.unlocked_ioctl = vphi_file_ioctl,
	.llseek = noop_llseek,
};

static struct miscdevice vphi_nodes[] = {
	{
		.minor = MISC_DYNAMIC_MINOR,
		.name = "mic_scif",
		.nodename = "mic/scif",
		.mode = 0666,
		.fops = &vphi_file_operations,
	},
	{
		.minor = MISC_DYNAMIC_MINOR,
		.name = "scif",
		.mode = 0666,
		.fops = &vphi_file_operations,
	},
};

/**
 * vphi_files_register - the nodes lead to this device from now on
 * @device: the device
 *
 * Return: 0; -EBUSY when they lead to another; -errno.
 */
int vphi_files_register(struct vphi_device *device)
{
	int status, i;

	mutex_lock(&vphi_files_mutex);
	if (vphi_files_device) {
		mutex_unlock(&vphi_files_mutex);
		return -EBUSY;
	}
	vphi_files_device = device;
	mutex_unlock(&vphi_files_mutex);
	/* Not under the mutex: open() comes with misc's own lock held. */
	for (i = 0; i < ARRAY_SIZE(vphi_nodes); i++) {
		status = misc_register(&vphi_nodes[i]);
		if (status)
			goto undo;
	}
	return 0;
undo:
	while (i--)
		misc_deregister(&vphi_nodes[i]);
	mutex_lock(&vphi_files_mutex);
	vphi_files_device = NULL;
	mutex_unlock(&vphi_files_mutex);
	return status;
}

/* vphi_files_unregister - nobody opens them any more; open files stay */
void vphi_files_unregister(void)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(vphi_nodes); i++)
		misc_deregister(&vphi_nodes[i]);
	mutex_lock(&vphi_files_mutex);
	vphi_files_device = NULL;
	mutex_unlock(&vphi_files_mutex);
}
