/* SPDX-License-Identifier: Apache-2.0 */
/* The 21 calls as ioctls; see device.h. Numbers of mainline, which MPSS 3's device node knows too
 * when vphi.ko serves it; layouts: scif/guest/scif-ioctl.h has them for the driver. */
#include "scif/lib/device.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <linux/scif_ioctl.h>

#include "scif/lib/handle.h"

static pthread_once_t device_once = PTHREAD_ONCE_INIT;
static const char *device_node;

static void device_choose(void)
{
	static const char *const nodes[] = { "/dev/scif", "/dev/mic/scif" };
	char socket[4096];

	if (getenv("CAUSEWAY_SCIF_SOCKET"))
		return;
	handle_socket_path(socket, sizeof(socket));
	for (unsigned int i = 0; i < 2 && !device_node && access(socket, F_OK) < 0; i++) {
		if (access(nodes[i], R_OK | W_OK) == 0)
			device_node = nodes[i];
	}
}

bool device_is_used(void)
{
	pthread_once(&device_once, device_choose);
	return device_node != NULL;
}

scif_epd_t device_open(void)
{
	return open(device_node, O_RDWR | O_CLOEXEC);
}

int device_bind(scif_epd_t epd, uint16_t port)
{
	int number = port;

	return ioctl(epd, SCIF_BIND, &number) < 0 ? -1 : number & 0xffff;
}

int device_connect(scif_epd_t epd, struct scif_portID *peer)
{
	struct scifioctl_connect request = { 0 };

	if (!peer) {
		errno = EINVAL;
		return -1;
	}
	request.peer.node = peer->node;
	request.peer.port = peer->port;
	return ioctl(epd, SCIF_CONNECT, &request) < 0 ? -1 : request.self.port;
}

int device_listen(scif_epd_t epd, int backlog)
{
	return ioctl(epd, SCIF_LISTEN, backlog);
}

int device_accept(scif_epd_t epd, struct scif_portID *peer, scif_epd_t *accepted, int flags)
{
	struct scifioctl_accept request = { .flags = flags };
	int fresh;

	if (!peer || !accepted) {
		errno = EINVAL;
		return -1;
	}
	fresh = device_open();
	if (fresh < 0)
		return -1;
	if (ioctl(epd, SCIF_ACCEPTREQ, &request) < 0 ||
	    ioctl(fresh, SCIF_ACCEPTREG, &request.endpt) < 0) {
		int code = errno;

		close(fresh);
		errno = code;
		return -1;
	}
	peer->node = request.peer.node;
	peer->port = request.peer.port;
	*accepted = fresh;
	return 0;
}

static int device_move(scif_epd_t epd, unsigned long number, void *message, int bytes, int flags)
{
	struct scifioctl_msg request = { .msg = (uintptr_t)message, .len = bytes, .flags = flags };

	return ioctl(epd, number, &request) < 0 ? -1 : request.out_len;
}

int device_send(scif_epd_t epd, void *message, int bytes, int flags)
{
	return device_move(epd, SCIF_SEND, message, bytes, flags);
}

int device_recv(scif_epd_t epd, void *message, int bytes, int flags)
{
	return device_move(epd, SCIF_RECV, message, bytes, flags);
}

off_t device_register(scif_epd_t epd, void *address, size_t bytes, off_t offset, int prot,
		      int flags)
{
	struct scifioctl_reg request = { .addr = (uintptr_t)address,
					 .len = bytes,
					 .offset = offset,
					 .prot = prot,
					 .flags = flags };

	return ioctl(epd, SCIF_REG, &request) < 0 ? SCIF_REGISTER_FAILED : request.out_offset;
}

int device_unregister(scif_epd_t epd, off_t offset, size_t bytes)
{
	struct scifioctl_unreg request = { .offset = offset, .len = bytes };

	return ioctl(epd, SCIF_UNREG, &request);
}

void *device_mmap(void *address, size_t bytes, int prot, int flags, scif_epd_t epd, off_t offset)
{
	return mmap(address, bytes, prot, (flags & SCIF_MAP_FIXED ? MAP_FIXED : 0) | MAP_SHARED,
		    epd, offset);
}

int device_copy(scif_epd_t epd, enum device_copy which, off_t local, size_t bytes, off_t remote,
		void *address, int flags)
{
	static const unsigned long numbers[] = { SCIF_READFROM, SCIF_WRITETO, SCIF_VREADFROM,
						 SCIF_VWRITETO };
	struct scifioctl_copy request = { .loffset = local,
					  .len = bytes,
					  .roffset = remote,
					  .addr = (uintptr_t)address,
					  .flags = flags };

	return ioctl(epd, numbers[which - DEVICE_READFROM], &request);
}

int device_fence_mark(scif_epd_t epd, int flags, int *mark)
{
	struct scifioctl_fence_mark request = { .flags = flags, .mark = (uintptr_t)mark };

	return ioctl(epd, SCIF_FENCE_MARK, &request);
}

int device_fence_wait(scif_epd_t epd, int mark)
{
	return ioctl(epd, SCIF_FENCE_WAIT, mark);
}

int device_fence_signal(scif_epd_t epd, off_t local, uint64_t local_value, off_t remote,
			uint64_t remote_value, int flags)
{
	struct scifioctl_fence_signal request = { .loff = local,
						  .lval = local_value,
						  .roff = remote,
						  .rval = remote_value,
						  .flags = flags };

	return ioctl(epd, SCIF_FENCE_SIGNAL, &request);
}

int device_get_nodes(uint16_t *nodes, int count, uint16_t *self)
{
	struct scifioctl_node_ids request = { .nodes = (uintptr_t)nodes,
					      .self = (uintptr_t)self,
					      .len = count };
	int epd = device_open(), status;

	if (epd < 0)
		return -1;
	status = ioctl(epd, SCIF_GET_NODEIDS, &request);
	close(epd);
	return status < 0 ? -1 : request.len;
}
