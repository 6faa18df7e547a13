/* SPDX-License-Identifier: Apache-2.0 */
/* What only ioctls show: numbers, structures, handles of accepted connections, the nodes' modes. */
#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/scif/conformance.h"

#define BIND	    0xc0087301u
#define ACCEPTREG   0xc0087305u
#define GET_VERSION 0x00007317u

/* Each ABI's number of a call whose structure has that size. */
#define MPSS(n)		  (0xc0087300u | (n))
#define MAINLINE(n, size) (0xc0007300u | (unsigned int)(size) << 16 | (n))

struct accept {
	int32_t flags;
	struct scif_portID peer;
	uint64_t endpoint;
};

static void ioctl_unknown_number(void)
{
	const unsigned int numbers[] = {
		0, 0x7318, MPSS(0), MPSS(18), MPSS(23), MAINLINE(6, 40), 0x5401,
	};

	for (unsigned int i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		FAILS(ioctl(make_open(), numbers[i], 0), EINVAL);
}

static void ioctl_version(void)
{
	EQUAL(ioctl(make_open(), GET_VERSION, 0), 1);
}

static void ioctl_bind_writes_two_bytes(void)
{
	unsigned char place[4] = { 0, 0, 0xaa, 0xbb };

	EQUAL(ioctl(make_open(), BIND, place), 0);
	CHECK(place[0] | place[1] << 8);
	EQUAL(place[2], 0xaa);
	EQUAL(place[3], 0xbb);
}

static void ioctl_bad_address(void)
{
	FAILS(ioctl(make_open(), BIND, NULL), EFAULT);
	FAILS(ioctl(make_open(), MPSS(8), 16), EFAULT);
}

/* Either node serves both tables: of the nodes' numbers, which have other places for the fields. */
static void ioctl_tables_on_both_nodes(void)
{
	static const char *const paths[] = { "/dev/mic/scif", "/dev/scif" };

	for (int i = 0; i < 2; i++) {
		int epd = keep(open(paths[i], O_RDWR | O_CLOEXEC));
		uint16_t self[2] = { 99, 99 };
		uint64_t mpss[3] = { 0, 0, (uintptr_t)&self[0] };
		uint64_t mainline[3] = { 0, (uintptr_t)&self[1], 0 };

		CHECK(epd >= 0);
		EQUAL(ioctl(epd, MPSS(14), mpss), 0);
		EQUAL(ioctl(epd, MAINLINE(14, 24), mainline), 0);
		CHECK((uint32_t)mpss[1] > 0);
		EQUAL((uint32_t)mpss[1], (uint32_t)mainline[2]);
		EQUAL(self[0], self[1]);
		CHECK(self[0] != 99);
	}
}

static void ioctl_nodes_are_everyones(void)
{
	static const char *const paths[] = { "/dev/mic/scif", "/dev/scif" };

	for (int i = 0; i < 2; i++) {
		struct stat status;

		EQUAL(stat(paths[i], &status), 0);
		EQUAL(status.st_mode, S_IFCHR | 0666);
	}
}

static void ioctl_accept_unknown_handle(void)
{
	uint64_t handle = 12345;

	FAILS(ioctl(make_open(), ACCEPTREG, &handle), ENOENT);
}

/* A connection that was accepted, not collected: its handle and the connected endpoint. */
static scif_epd_t accept_half(scif_epd_t listener, uint16_t port, uint64_t *handle)
{
	struct scif_portID to = { own_node(), port };
	struct accept request = { .flags = SCIF_ACCEPT_SYNC };
	scif_epd_t epd = make_open();

	set_nonblocking(epd, true);
	FAILS(scif_connect(epd, &to), EINPROGRESS);
	EQUAL(ioctl(listener, MPSS(4), &request), 0);
	EQUAL(request.peer.node, to.node);
	EQUAL(poll_one(epd, POLLOUT, 10000), POLLOUT);
	CHECK(scif_connect(epd, &to) > 0);
	*handle = request.endpoint;
	return epd;
}

static void ioctl_accept_is_collected_once(void)
{
	scif_epd_t listener, one, two = make_open();
	uint64_t handle;
	uint16_t port;
	char byte = 0;

	listener = make_listener(1, &port);
	one = accept_half(listener, port, &handle);
	EQUAL(scif_send(one, "k", 1, SCIF_SEND_BLOCK), 1);
	EQUAL(ioctl(two, ACCEPTREG, &handle), 0);
	EQUAL(scif_recv(two, &byte, 1, SCIF_RECV_BLOCK), 1);
	EQUAL(byte, 'k');
	FAILS(ioctl(make_open(), ACCEPTREG, &handle), ENOENT);
}

static void ioctl_uncollected_dies_with_listener(void)
{
	scif_epd_t listener, one;
	uint64_t handle;
	uint16_t port;

	listener = make_listener(1, &port);
	one = accept_half(listener, port, &handle);
	forget(listener);
	EQUAL(scif_close(listener), 0);
	EQUAL(poll_one(one, POLLIN, 10000), POLLHUP);
	FAILS(ioctl(make_open(), ACCEPTREG, &handle), ENOENT);
}

static void mmap_private(void)
{
	struct pair pair;

	make_pair(&pair);
	make_windows(&pair);
	errno = 0;
	CHECK(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, pair.two, pair.window[0]) == MAP_FAILED);
	EQUAL(errno, EINVAL);
}

/* A process's mapping through libscif is ordinary memory, which a library cannot keep from growing.
 */
static void mmap_does_not_grow(void)
{
	struct pair pair;
	void *seen;

	make_pair(&pair);
	make_windows(&pair);
	seen = scif_mmap(NULL, PAGE, PROT_READ, 0, pair.two, pair.window[0]);
	CHECK(seen != SCIF_MMAP_FAILED);
	errno = 0;
	CHECK(mremap(seen, PAGE, 2 * PAGE, MREMAP_MAYMOVE) == MAP_FAILED);
	EQUAL(errno, EFAULT);
	EQUAL(scif_munmap(seen, PAGE), 0);
}

const struct test_case ioctl_cases[] = {
	{ "ioctl_unknown_number", ioctl_unknown_number, false },
	{ "ioctl_version", ioctl_version, false },
	{ "ioctl_bind_writes_two_bytes", ioctl_bind_writes_two_bytes, false },
	{ "ioctl_bad_address", ioctl_bad_address, false },
	{ "ioctl_tables_on_both_nodes", ioctl_tables_on_both_nodes, false },
	{ "ioctl_nodes_are_everyones", ioctl_nodes_are_everyones, false },
	{ "ioctl_accept_unknown_handle", ioctl_accept_unknown_handle, false },
	{ "ioctl_accept_is_collected_once", ioctl_accept_is_collected_once, false },
	{ "ioctl_uncollected_dies_with_listener", ioctl_uncollected_dies_with_listener, false },
	{ "mmap_private", mmap_private, false },
	{ "mmap_does_not_grow", mmap_does_not_grow, false },
	{ NULL, NULL, false },
};
