/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A libcuda.so.1 that shares memory by name: at cuInit() it looks for an object, makes it where
 * there is none, tries names that are none and the host's own folder, says in the log what came of
 * it as "object STEP: ERROR" (0: it was let), and then keeps its worker alive until the client
 * goes.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))
#define OBJECT "/cuda.shm.0.1.2"
#define BYTES  4096

EXPORT int cuInit(unsigned int flags);
EXPORT int cuDeviceGetCount(int *count);

static void tell(const char *step, int failed)
{
	fprintf(stderr, "object %s: %d\n", step, failed ? errno : 0);
}

/* object_use - write the first time, read what was written after that */
static void object_use(int fd, int made)
{
	static const char text[] = "of this tenant";
	char *memory;

	if (made && ftruncate(fd, BYTES) < 0)
		return tell("size", 1);
	memory = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (memory == MAP_FAILED)
		return tell("map", 1);
	if (made)
		memcpy(memory, text, sizeof(text));
	errno = EBADMSG;
	tell("content", memcmp(memory, text, sizeof(text)) != 0);
}

int cuInit(unsigned int flags)
{
	int fd = shm_open(OBJECT, O_RDWR, 0), made = fd < 0;

	(void)flags;
	tell("look", made);
	if (made) {
		fd = shm_open(OBJECT, O_RDWR | O_CREAT | O_EXCL, 0600);
		tell("make", fd < 0);
	}
	if (fd >= 0)
		object_use(fd, made);
	tell("slash", shm_open("/cuda/shm", O_RDWR | O_CREAT, 0600) < 0);
	tell("parent", shm_open("/..", O_RDONLY, 0) < 0);
	tell("unlink-slash", shm_unlink("../1/x") < 0);
	tell("host", open("/dev/shm" OBJECT, O_RDWR | O_CREAT | O_CLOEXEC, 0600) < 0);
	tell("folder", mkdir("/dev/shm/causeway-folder", 0700) < 0);
	if (made) { /* and once what is removed is gone */
		shm_open("/cuda.shm.gone", O_RDWR | O_CREAT, 0600);
		tell("unlink", shm_unlink("/cuda.shm.gone") < 0);
		tell("gone", shm_open("/cuda.shm.gone", O_RDWR, 0) < 0);
	}
	fprintf(stderr, "object end: %u\n", geteuid());
	for (;;)
		pause();
}

int cuDeviceGetCount(int *count)
{
	*count = 0;
	return 100;
}
