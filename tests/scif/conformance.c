/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The SCIF conformance program: runs every case, prints "ok NAME", "skip NAME: why" or "FAILED
 * NAME: what", and how many there were. Ends with 1 if any failed.
 *
 * usage: scif_conformance [--card NODE] [--list] [NAME…]	cases that need a card need --card
 */
#include "tests/scif/conformance.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/scif/scif_card.h"

#define KEPT_MAX     4096
#define MEMORY_MAX   64
#define THREADS_MAX  4
#define CASE_LIMIT_S 60

static jmp_buf leave;
static char reason[512];
static bool skipped;
static scif_epd_t kept[KEPT_MAX];
static unsigned int kept_count;
static struct {
	void *memory;
	size_t bytes;
} memories[MEMORY_MAX];
static unsigned int memory_count;
static pthread_t threads[THREADS_MAX];
static volatile pid_t thread_ids[THREADS_MAX];
static unsigned int thread_count;
static int card_node = -1;
static pthread_t main_thread;

void check_failed(const char *file, int line, const char *what, long long got, long long wanted)
{
	snprintf(reason, sizeof(reason), "%s:%d: %s: got %lld, expected %lld", file, line, what,
		 got, wanted);
	if (!pthread_equal(pthread_self(), main_thread)) {
		printf("FAILED in a thread: %s\n", reason);
		fflush(stdout);
		_exit(1);
	}
	longjmp(leave, 1);
}

void check_skip(const char *why)
{
	snprintf(reason, sizeof(reason), "%s", why);
	skipped = true;
	longjmp(leave, 1);
}

scif_epd_t keep(scif_epd_t epd)
{
	if (epd >= 0 && kept_count < KEPT_MAX)
		kept[kept_count++] = epd;
	return epd;
}

void forget(scif_epd_t epd)
{
	for (unsigned int i = 0; i < kept_count; i++) {
		if (kept[i] == epd)
			kept[i] = kept[--kept_count];
	}
}

scif_epd_t make_open(void)
{
	scif_epd_t epd = keep(scif_open());

	CHECK(epd >= 0);
	return epd;
}

uint16_t own_node(void)
{
	uint16_t self = UINT16_MAX;

	CHECK(scif_get_nodeIDs(NULL, 0, &self) > 0);
	return self;
}

scif_epd_t make_listener(int backlog, uint16_t *port)
{
	scif_epd_t epd = make_open();
	int chosen = scif_bind(epd, 0);

	CHECK(chosen > 0);
	*port = (uint16_t)chosen;
	EQUAL(scif_listen(epd, backlog), 0);
	return epd;
}

unsigned char *make_memory(size_t bytes)
{
	void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	CHECK(memory != MAP_FAILED && memory_count < MEMORY_MAX);
	memories[memory_count].memory = memory;
	memories[memory_count++].bytes = bytes;
	return memory;
}

void set_nonblocking(scif_epd_t epd, bool on)
{
	int flags = fcntl(epd, F_GETFL);

	EQUAL(fcntl(epd, F_SETFL, on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK), 0);
}

short poll_one(scif_epd_t epd, short events, long timeout_ms)
{
	struct scif_pollepd item = { epd, events, 0 };
	int ready = scif_poll(&item, 1, timeout_ms);

	CHECK(ready >= 0);
	EQUAL(ready, item.revents != 0);
	return item.revents;
}

void make_pair(struct pair *pair)
{
	struct scif_portID to = { own_node(), 0 }, from;

	memset(pair, 0, sizeof(*pair));
	pair->listener = make_listener(4, &pair->port);
	to.port = pair->port;
	pair->one = make_open();
	set_nonblocking(pair->one, true);
	FAILS(scif_connect(pair->one, &to), EINPROGRESS);
	EQUAL(scif_accept(pair->listener, &from, &pair->two, SCIF_ACCEPT_SYNC), 0);
	keep(pair->two);
	EQUAL(poll_one(pair->one, POLLOUT, 5000), POLLOUT);
	CHECK(scif_connect(pair->one, &to) > 0);
	set_nonblocking(pair->one, false);
	for (int i = 0; i < 2; i++) {
		pair->memory[i] = make_memory(WINDOW_BYTES);
		pair->window[i] = -1;
	}
}

void make_windows(struct pair *pair)
{
	scif_epd_t epds[2] = { pair->one, pair->two };

	for (int i = 0; i < 2; i++) {
		pair->window[i] = scif_register(epds[i], pair->memory[i], WINDOW_BYTES, 0, BOTH, 0);
		CHECK(pair->window[i] != SCIF_REGISTER_FAILED);
	}
}

struct thread_start {
	void *(*body)(void *);
	void *argument;
	unsigned int index;
};

static void *thread_begin(void *argument)
{
	struct thread_start start = *(struct thread_start *)argument;

	free(argument);
	thread_ids[start.index] = (pid_t)syscall(SYS_gettid);
	return start.body(start.argument);
}

void make_thread(void *(*body)(void *), void *argument)
{
	struct thread_start *start = malloc(sizeof(*start));

	CHECK(start && thread_count < THREADS_MAX);
	*start = (struct thread_start){ body, argument, thread_count };
	thread_ids[thread_count] = 0;
	EQUAL(pthread_create(&threads[thread_count], NULL, thread_begin, start), 0);
	thread_count++;
}

void *join_thread(void)
{
	void *result;

	EQUAL(pthread_join(threads[--thread_count], &result), 0);
	return result;
}

/* Whether the kernel says that the thread sleeps. */
static bool thread_sleeps(pid_t id)
{
	char path[64], text[512] = "", *state;
	int fd;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", id);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		if (read(fd, text, sizeof(text) - 1) < 0)
			text[0] = 0;
		close(fd);
	}
	state = strrchr(text, ')');
	return state && state[1] == ' ' && (state[2] == 'S' || state[2] == 'D');
}

void signal_thread(void)
{
	unsigned int index = thread_count - 1;

	while (!thread_ids[index])
		sched_yield();
	/* Asleep at many looks in a row is in the call: its way there does not sleep so long. */
	for (int looks = 0; looks < 50; looks++) {
		if (!thread_sleeps(thread_ids[index]))
			looks = 0;
		poll(NULL, 0, 1);
	}
	EQUAL(pthread_kill(threads[index], SIGUSR1), 0);
}

void card_address(struct scif_portID *to)
{
	*to = (struct scif_portID){ (uint16_t)card_node, SCIF_CARD_PORT };
}

scif_epd_t make_card(void)
{
	struct scif_portID to;
	scif_epd_t epd = make_open();

	card_address(&to);
	CHECK(scif_connect(epd, &to) > 0);
	return epd;
}

int card_ask(scif_epd_t epd, uint32_t op, uint64_t offset, uint64_t bytes, uint64_t value,
	     uint64_t *answer)
{
	struct scif_card_command command = { op, 0, offset, bytes, value };
	struct scif_card_answer got;

	EQUAL(scif_send(epd, &command, sizeof(command), SCIF_SEND_BLOCK), sizeof(command));
	EQUAL(scif_recv(epd, &got, sizeof(got), SCIF_RECV_BLOCK), sizeof(got));
	if (answer)
		*answer = got.value;
	return got.error;
}

static void on_signal(int number)
{
	(void)number;
}

static void on_alarm(int number)
{
	static const char text[] = "FAILED: a case hangs\n";

	(void)number;
	if (write(1, text, sizeof(text) - 1) < 0)
		_exit(2);
	_exit(1);
}

/* Runs one case; 0 ok, 1 failed, 2 skipped. */
static int run_case(const struct test_case *test)
{
	volatile int result = 0;

	if (test->wants_card && card_node < 0) {
		printf("skip %s: no card was named\n", test->name);
		return 2;
	}
	skipped = false;
	alarm(CASE_LIMIT_S);
	if (setjmp(leave) == 0)
		test->run();
	else
		result = skipped ? 2 : 1;
	while (kept_count)
		scif_close(kept[--kept_count]);
	while (thread_count)
		pthread_join(threads[--thread_count], NULL);
	while (memory_count) {
		memory_count--;
		munmap(memories[memory_count].memory, memories[memory_count].bytes);
	}
	alarm(0);
	if (result == 0)
		printf("ok %s\n", test->name);
	else
		printf("%s %s: %s\n", skipped ? "skip" : "FAILED", test->name, reason);
	fflush(stdout);
	return result;
}

static bool is_chosen(const char *name, int argc, char **argv)
{
	for (int i = 0; i < argc; i++) {
		if (strcmp(argv[i], name) == 0)
			return true;
	}
	return argc == 0;
}

int main(int argc, char **argv)
{
	const struct test_case *const lists[] = {
		endpoint_cases, stream_cases, window_cases, copy_cases, card_cases, fork_cases,
#ifdef SCIF_IOCTL
		ioctl_cases,
#endif
	};
	struct sigaction action = { .sa_handler = on_signal };
	unsigned int counts[3] = { 0 };
	bool list = false;
	int first = 1;

	for (; first < argc && argv[first][0] == '-'; first++) {
		if (strcmp(argv[first], "--card") == 0 && first + 1 < argc)
			card_node = atoi(argv[++first]);
		else if (strcmp(argv[first], "--list") == 0)
			list = true;
	}
	main_thread = pthread_self();
	sigaction(SIGUSR1, &action, NULL); /* without SA_RESTART */
	signal(SIGALRM, on_alarm);
	for (unsigned int i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		for (const struct test_case *test = lists[i]; test->name; test++) {
			if (list)
				puts(test->name);
			else if (is_chosen(test->name, argc - first, argv + first))
				counts[run_case(test)]++;
		}
	}
	if (!list)
		printf("%u ok, %u failed, %u skipped\n", counts[0], counts[1], counts[2]);
	return counts[1] ? 1 : 0;
}
