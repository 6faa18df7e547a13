/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The 21 calls over a SCIF driver's plain ioctl numbers, as programs make them: with
 * -DSCIF_ABI_MPSS3 those of MPSS 3 on /dev/mic/scif, without those of mainline on /dev/scif.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "include/scif.h"

#ifdef SCIF_ABI_MPSS3
#define DEVICE		 "/dev/mic/scif"
#define NUMBER(n, large) (0xc0087300u | (n))
#else
#define DEVICE		 "/dev/scif"
#define NUMBER(n, large) (0xc0007300u | (unsigned int)(large) << 16 | (n))
#endif

#define BIND	   0xc0087301u
#define LISTEN	   0x40047302u
#define CONNECT	   0xc0087303u
#define ACCEPTREG  0xc0087305u
#define FENCE_WAIT 0xc0047310u

struct message {
	uint64_t address;
	int32_t bytes, flags, moved, pad;
};

struct copy {
	int64_t local;
	uint64_t bytes;
	int64_t remote;
	uint64_t address;
	int32_t flags, pad;
};

static const char *device_path(void)
{
	const char *chosen = getenv("SCIF_DEVICE");

	return chosen ? chosen : DEVICE;
}

scif_epd_t scif_open(void)
{
	return open(device_path(), O_RDWR | O_CLOEXEC);
}

int scif_close(scif_epd_t epd)
{
	return close(epd);
}

int scif_bind(scif_epd_t epd, uint16_t port)
{
	int number = port;

	return ioctl(epd, BIND, &number) < 0 ? -1 : number & 0xffff;
}

int scif_listen(scif_epd_t epd, int backlog)
{
	return ioctl(epd, LISTEN, backlog);
}

int scif_connect(scif_epd_t epd, struct scif_portID *peer)
{
	struct {
		struct scif_portID self, peer;
	} request = { { 0, 0 }, { 0, 0 } };

	if (!peer) {
		errno = EINVAL;
		return -1;
	}
	request.peer = *peer;
	return ioctl(epd, CONNECT, &request) < 0 ? -1 : request.self.port;
}

int scif_accept(scif_epd_t epd, struct scif_portID *peer, scif_epd_t *accepted, int flags)
{
	struct {
		int32_t flags;
		struct scif_portID peer;
		uint64_t endpoint;
	} request = { flags, { 0, 0 }, 0 };
	int fresh, code;

	if (!peer || !accepted) {
		errno = EINVAL;
		return -1;
	}
	fresh = scif_open();
	if (fresh < 0)
		return -1;
	if (ioctl(epd, NUMBER(4, 16), &request) < 0 ||
	    ioctl(fresh, ACCEPTREG, &request.endpoint) < 0) {
		code = errno;
		close(fresh);
		errno = code;
		return -1;
	}
	*peer = request.peer;
	*accepted = fresh;
	return 0;
}

static int move(scif_epd_t epd, unsigned int number, void *address, int bytes, int flags)
{
	struct message request = { (uintptr_t)address, bytes, flags, 0, 0 };

	return ioctl(epd, NUMBER(number, 24), &request) < 0 ? -1 : request.moved;
}

int scif_send(scif_epd_t epd, void *message, int bytes, int flags)
{
	return move(epd, 6, message, bytes, flags);
}

int scif_recv(scif_epd_t epd, void *message, int bytes, int flags)
{
	return move(epd, 7, message, bytes, flags);
}

off_t scif_register(scif_epd_t epd, void *address, size_t bytes, off_t offset, int prot, int flags)
{
	struct {
		uint64_t address, bytes;
		int64_t offset;
		int32_t prot, flags;
		int64_t chosen;
	} request = { (uintptr_t)address, bytes, offset, prot, flags, 0 };

	return ioctl(epd, NUMBER(8, 40), &request) < 0 ? SCIF_REGISTER_FAILED : request.chosen;
}

int scif_unregister(scif_epd_t epd, off_t offset, size_t bytes)
{
	struct {
		int64_t offset;
		uint64_t bytes;
	} request = { offset, bytes };

	return ioctl(epd, NUMBER(9, 16), &request);
}

void *scif_mmap(void *address, size_t bytes, int prot, int flags, scif_epd_t epd, off_t offset)
{
	return mmap(address, bytes, prot, flags | MAP_SHARED, epd, offset);
}

int scif_munmap(void *address, size_t bytes)
{
	return munmap(address, bytes);
}

static int copy(scif_epd_t epd, unsigned int number, off_t local, size_t bytes, off_t remote,
		void *address, int flags)
{
	struct copy request = { local, bytes, remote, (uintptr_t)address, flags, 0 };

	return ioctl(epd, NUMBER(number, 40), &request);
}

int scif_readfrom(scif_epd_t epd, off_t local, size_t bytes, off_t remote, int flags)
{
	return copy(epd, 10, local, bytes, remote, NULL, flags);
}

int scif_writeto(scif_epd_t epd, off_t local, size_t bytes, off_t remote, int flags)
{
	return copy(epd, 11, local, bytes, remote, NULL, flags);
}

int scif_vreadfrom(scif_epd_t epd, void *address, size_t bytes, off_t remote, int flags)
{
	return copy(epd, 12, 0, bytes, remote, address, flags);
}

int scif_vwriteto(scif_epd_t epd, void *address, size_t bytes, off_t remote, int flags)
{
	return copy(epd, 13, 0, bytes, remote, address, flags);
}

int scif_get_nodeIDs(uint16_t *nodes, int count, uint16_t *self)
{
	uint64_t request[3] = { (uintptr_t)nodes, 0, 0 };
#ifdef SCIF_ABI_MPSS3
	int32_t *length = (int32_t *)&request[1];

	request[2] = (uintptr_t)self;
#else
	int32_t *length = (int32_t *)&request[2];

	request[1] = (uintptr_t)self;
#endif
	int epd = scif_open(), status;

	if (epd < 0)
		return -1;
	*length = count;
	status = ioctl(epd, NUMBER(14, 24), request);
	close(epd);
	return status < 0 ? -1 : *length;
}

int scif_fence_mark(scif_epd_t epd, int flags, int *mark)
{
	struct {
		int32_t flags, pad;
		uint64_t mark;
	} request = { flags, 0, (uintptr_t)mark };

	return ioctl(epd, NUMBER(15, 16), &request);
}

int scif_fence_wait(scif_epd_t epd, int mark)
{
	return ioctl(epd, FENCE_WAIT, mark);
}

int scif_fence_signal(scif_epd_t epd, off_t local, uint64_t local_value, off_t remote,
		      uint64_t remote_value, int flags)
{
	struct {
		int64_t local;
		uint64_t local_value;
		int64_t remote;
		uint64_t remote_value;
		int32_t flags, pad;
	} request = { local, local_value, remote, remote_value, flags, 0 };

	return ioctl(epd, NUMBER(17, 40), &request);
}

int scif_poll(struct scif_pollepd *epds, unsigned int count, long timeout_ms)
{
	return poll((struct pollfd *)epds, count, (int)timeout_ms);
}
