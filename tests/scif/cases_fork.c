/* SPDX-License-Identifier: Apache-2.0 */
/* Endpoints that a parent and its child have: each may call anything, the last one's close ends
 * them. */
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/scif/conformance.h"

#define ROUNDS 50

/* What a child does; whether all was as it should be. */
typedef bool (*child_body)(struct pair *pair);

static pid_t begin(child_body body, struct pair *pair)
{
	pid_t child = fork();

	if (child == 0)
		_exit(body(pair) ? 0 : 1);
	CHECK(child > 0);
	return child;
}

static void ended_well(pid_t child)
{
	int status;

	CHECK(waitpid(child, &status, 0) == child);
	EQUAL(status, 0);
}

static bool says(scif_epd_t epd, char byte)
{
	return scif_send(epd, &byte, 1, SCIF_SEND_BLOCK) == 1;
}

static bool hears(scif_epd_t epd, char byte)
{
	char got;

	return scif_recv(epd, &got, 1, SCIF_RECV_BLOCK) == 1 && got == byte;
}

static bool answer(struct pair *pair)
{
	return hears(pair->one, 'a') && says(pair->one, 'b');
}

static void fork_both_talk(void)
{
	struct pair pair;
	pid_t child;

	make_pair(&pair);
	CHECK(says(pair.one, 'p') && hears(pair.two, 'p'));
	child = begin(answer, &pair);
	CHECK(says(pair.two, 'a') && hears(pair.two, 'b'));
	ended_well(child);
	CHECK(says(pair.one, 'q') && hears(pair.two, 'q'));
}

/* Writes to a page of the peer's that is its own and reads it back, again and again. */
static bool copies(struct pair *pair, unsigned char value)
{
	unsigned char word[64];
	int mark;

	for (int i = 0; i < ROUNDS; i++) {
		memset(word, value, sizeof(word));
		if (scif_vwriteto(pair->one, word, sizeof(word), pair->window[1] + value * PAGE,
				  SCIF_RMA_SYNC) < 0 ||
		    scif_vreadfrom(pair->one, word, sizeof(word), pair->window[1] + value * PAGE,
				   0) < 0 ||
		    scif_fence_mark(pair->one, SCIF_FENCE_INIT_SELF, &mark) < 0 ||
		    scif_fence_wait(pair->one, mark) < 0 || word[0] != value || word[63] != value)
			return false;
	}
	return true;
}

static bool copies_as_1(struct pair *pair)
{
	return copies(pair, 1);
}

static void fork_both_copy(void)
{
	struct pair pair;
	pid_t child;

	make_pair(&pair);
	make_windows(&pair);
	child = begin(copies_as_1, &pair);
	CHECK(copies(&pair, 2));
	ended_well(child);
	EQUAL(pair.memory[1][PAGE], 1);
	EQUAL(pair.memory[1][2 * PAGE], 2);
}

/* A window of the child's own memory, which the peer reads while the child waits. */
static bool registers(struct pair *pair)
{
	unsigned char *memory = make_memory(PAGE);
	off_t offset;

	memset(memory, 77, PAGE);
	offset = scif_register(pair->one, memory, PAGE, 0, BOTH, 0);
	return offset != SCIF_REGISTER_FAILED &&
	       scif_send(pair->one, &offset, sizeof(offset), SCIF_SEND_BLOCK) == sizeof(offset) &&
	       hears(pair->one, 'g') && memory[9] == 78 &&
	       scif_unregister(pair->one, offset, PAGE) == 0;
}

static void fork_child_registers(void)
{
	unsigned char byte = 0;
	struct pair pair;
	off_t offset;
	pid_t child;

	make_pair(&pair);
	child = begin(registers, &pair);
	EQUAL(scif_recv(pair.two, &offset, sizeof(offset), SCIF_RECV_BLOCK), sizeof(offset));
	EQUAL(scif_vreadfrom(pair.two, &byte, 1, offset, SCIF_RMA_SYNC), 0);
	EQUAL(byte, 77);
	byte = 78;
	EQUAL(scif_vwriteto(pair.two, &byte, 1, offset + 9, SCIF_RMA_SYNC), 0);
	CHECK(says(pair.two, 'g'));
	ended_well(child);
	FAILS(scif_vreadfrom(pair.two, &byte, 1, offset, SCIF_RMA_SYNC), ENXIO);
}

static bool closes(struct pair *pair)
{
	return scif_close(pair->one) == 0 && scif_close(pair->two) == 0 &&
	       scif_close(pair->listener) == 0;
}

static void fork_childs_close_is_its_own(void)
{
	struct pair pair;

	make_pair(&pair);
	make_windows(&pair);
	ended_well(begin(closes, &pair));
	CHECK(says(pair.one, 'x') && hears(pair.two, 'x'));
	EQUAL(scif_readfrom(pair.one, pair.window[0], PAGE, pair.window[1], SCIF_RMA_SYNC), 0);
}

static bool answer_and_copy(struct pair *pair)
{
	char byte = 'm';

	return answer(pair) &&
	       scif_vwriteto(pair->one, &byte, 1, pair->window[1], SCIF_RMA_SYNC) == 0 &&
	       says(pair->one, 'c') && hears(pair->one, 'e');
}

static void fork_parents_close_is_its_own(void)
{
	struct pair pair;
	pid_t child;

	make_pair(&pair);
	make_windows(&pair);
	child = begin(answer_and_copy, &pair);
	forget(pair.one);
	EQUAL(scif_close(pair.one), 0);
	CHECK(says(pair.two, 'a') && hears(pair.two, 'b') && hears(pair.two, 'c'));
	EQUAL(pair.memory[1][0], 'm');
	CHECK(says(pair.two, 'e'));
	ended_well(child);
	/* The last process that had it is gone. */
	EQUAL(poll_one(pair.two, POLLIN, 10000), POLLHUP);
}

static bool accepts(struct pair *pair)
{
	struct scif_portID from;
	scif_epd_t accepted;

	return scif_accept(pair->listener, &from, &accepted, SCIF_ACCEPT_SYNC) == 0 &&
	       hears(accepted, 'h') && says(accepted, 'c') && scif_close(accepted) == 0;
}

static void fork_both_accept(void)
{
	struct scif_portID to = { own_node(), 0 }, from;
	scif_epd_t first = make_open(), second = make_open(), accepted;
	struct pair pair = { .listener = make_listener(4, &to.port) };
	pid_t child = begin(accepts, &pair);

	CHECK(scif_connect(first, &to) > 0); /* the child's, who alone accepts */
	set_nonblocking(second, true);
	FAILS(scif_connect(second, &to), EINPROGRESS);
	EQUAL(scif_accept(pair.listener, &from, &accepted, SCIF_ACCEPT_SYNC), 0);
	keep(accepted);
	EQUAL(poll_one(second, POLLOUT, 10000), POLLOUT);
	CHECK(scif_connect(second, &to) > 0);
	CHECK(says(first, 'h') && hears(first, 'c'));
	ended_well(child);
	CHECK(says(accepted, 'p') && hears(second, 'p'));
}

static bool nothing(struct pair *pair)
{
	(void)pair;
	return true;
}

static void fork_last_close_frees_the_port(void)
{
	uint16_t port;
	scif_epd_t listener = make_listener(1, &port);

	ended_well(begin(nothing, NULL));
	forget(listener);
	EQUAL(scif_close(listener), 0);
	EQUAL(scif_bind(make_open(), port), port);
}

static void *accept_fails(void *argument)
{
	struct scif_portID from;
	scif_epd_t accepted;
	int status = scif_accept(*(scif_epd_t *)argument, &from, &accepted, SCIF_ACCEPT_SYNC);

	return (void *)(long)(status < 0 ? errno : 0);
}

/* Until it is killed, which is soon. */
static bool waits(struct pair *pair)
{
	(void)pair;
	poll(NULL, 0, 30000);
	return false;
}

/* A close wakes this process's thread that waits in accept, though a child has the listener. */
static void fork_close_wakes_own_accept(void)
{
	struct pair pair;
	pid_t child;

	make_pair(&pair);
	child = begin(waits, &pair);
	make_thread(accept_fails, &pair.listener);
	poll(NULL, 0, 100); /* in its call, before the close */
	forget(pair.listener);
	EQUAL(scif_close(pair.listener), 0);
	EQUAL((long)join_thread(), EINTR);
	forget(pair.two);
	EQUAL(scif_close(pair.two), 0);
	/* The child has both ends: that one of them is closed here does not end it. */
	CHECK(says(pair.one, 'z'));
	EQUAL(kill(child, SIGKILL), 0);
	CHECK(waitpid(child, NULL, 0) == child);
}

const struct test_case fork_cases[] = {
	{ "fork_both_talk", fork_both_talk, false },
	{ "fork_both_copy", fork_both_copy, false },
	{ "fork_child_registers", fork_child_registers, false },
	{ "fork_childs_close_is_its_own", fork_childs_close_is_its_own, false },
	{ "fork_parents_close_is_its_own", fork_parents_close_is_its_own, false },
	{ "fork_both_accept", fork_both_accept, false },
	{ "fork_last_close_frees_the_port", fork_last_close_frees_the_port, false },
	{ "fork_close_wakes_own_accept", fork_close_wakes_own_accept, false },
	{ NULL, NULL, false },
};
