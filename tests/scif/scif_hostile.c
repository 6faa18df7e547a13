/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hostile guest program: random ioctls with random arguments on many endpoints, from many
 * threads, over memory that changes and goes away meanwhile.
 *
 *	scif_hostile SECONDS SEED
 *
 * Every number of the table is issued, and some that are not in it; structures have values near
 * their bounds, addresses that are bad, or belong to memory that another thread unmaps. Nothing is
 * expected of the answers. It prints how many calls it made.
 */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define THREADS	  6
#define ENDPOINTS 24
#define AREA	  (4u << 20)

static int endpoints[ENDPOINTS];
static unsigned char *area;
static volatile unsigned long calls;
static double end;

struct random {
	uint64_t state;
};

static uint64_t draw(struct random *random)
{
	random->state ^= random->state << 13;
	random->state ^= random->state >> 7;
	random->state ^= random->state << 17;
	return random->state;
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* A number that somebody might not have thought of. */
static uint64_t draw_number(struct random *random)
{
	static const uint64_t edges[] = {
		0,
		1,
		2,
		3,
		4095,
		4096,
		4097,
		8192,
		65535,
		65536,
		1 << 20,
		1ull << 31,
		1ull << 32,
		1ull << 38,
		0x4000000000000000ull,
		0x4000000000001000ull,
		0x8000000000000000ull,
		INT64_MAX,
		UINT64_MAX,
		UINT64_MAX - 4095,
		INT32_MAX,
		UINT32_MAX,
	};

	switch (draw(random) % 6) {
	case 0:
		return draw(random);
	case 1:
		return (uint64_t)(uintptr_t)area + draw(random) % AREA;
	case 2:
		return ((uint64_t)(uintptr_t)area + draw(random) % AREA) & ~4095ull;
	case 3:
		return draw(random) % 64;
	default:
		return edges[draw(random) % (sizeof(edges) / sizeof(edges[0]))];
	}
}

static unsigned long draw_command(struct random *random)
{
	static const unsigned int sizes[] = { 0, 4, 8, 16, 24, 40 };
	unsigned int number = draw(random) % 26;

	/* Calls that may wait for ever come seldom. */
	if (number == 4 && draw(random) % 8)
		number = 1;
	return _IOC(draw(random) % 16 ? 3 : draw(random) % 4, 's', number,
		    draw(random) % 2 ? 8 : sizes[draw(random) % 6]);
}

static void attack_map(struct random *random, int fd)
{
	void *memory = mmap(NULL, 4096 * (1 + draw(random) % 16), draw(random) % 4,
			    draw(random) % 4 ? MAP_SHARED : MAP_PRIVATE, fd,
			    (off_t)(draw_number(random) & ~4095ull));

	if (memory == MAP_FAILED)
		return;
	mprotect(memory, 4096, PROT_READ | PROT_WRITE);
	munmap(memory, 4096);
}

static void attack_once(struct random *random)
{
	int slot = (int)(draw(random) % ENDPOINTS), fd = endpoints[slot];
	struct pollfd poll_fd = { fd, (short)draw(random), 0 };
	uint64_t arguments[8];

	for (int i = 0; i < 8; i++)
		arguments[i] = draw_number(random);
	switch (draw(random) % 40) {
	case 0:
		endpoints[slot] = open(draw(random) % 2 ? "/dev/mic/scif" : "/dev/scif",
				       O_RDWR | (draw(random) % 2 ? O_NONBLOCK : 0));
		close(fd);
		break;
	case 1:
		poll(&poll_fd, 1, (int)(draw(random) % 2));
		break;
	case 2:
		attack_map(random, fd);
		break;
	case 3:
		/* Pages vanish under calls of the other threads. */
		mmap(area + (draw(random) % AREA & ~4095ull), 4096, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
		break;
	case 4:
		/* By value, and as an address that is none. */
		ioctl(fd, draw_command(random), draw_number(random));
		break;
	default:
		/* In the shared area: others change it while it is read. */
		if (draw(random) % 2) {
			unsigned char *place = area + draw(random) % (AREA - sizeof(arguments));

			memcpy(place, arguments, sizeof(arguments));
			ioctl(fd, draw_command(random), place);
		} else {
			ioctl(fd, draw_command(random), arguments);
		}
	}
	__atomic_fetch_add(&calls, 1, __ATOMIC_RELAXED);
}

static void *attack(void *argument)
{
	struct random random = { (uint64_t)(uintptr_t)argument };

	while (now() < end)
		attack_once(&random);
	return NULL;
}

int main(int count, char **words)
{
	pthread_t threads[THREADS];
	uint64_t seed;

	if (count != 3) {
		fprintf(stderr, "usage: scif_hostile SECONDS SEED\n");
		return 2;
	}
	end = now() + atof(words[1]);
	seed = strtoull(words[2], NULL, 0) * 0x9e3779b97f4a7c15ull + 1;
	area = mmap(NULL, AREA, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (int i = 0; i < ENDPOINTS; i++)
		endpoints[i] = open("/dev/mic/scif", O_RDWR | O_NONBLOCK);
	for (int i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, attack, (void *)(uintptr_t)(seed + (uint64_t)i));
	/* Some wait in calls that nobody ends: the exit of the process does. */
	while (now() < end)
		usleep(10000);
	printf("%lu calls\n", calls);
	fflush(stdout);
	return 0;
}
