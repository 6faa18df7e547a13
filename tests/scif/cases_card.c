/* SPDX-License-Identifier: Apache-2.0 */
/* The same promises with the other side on another node: the card test process. */
#include <sys/mman.h>

#include "tests/scif/conformance.h"
#include "tests/scif/scif_card.h"

#define LARGE	    (4u << 20)
#define CALLED_PORT 3900 /* that the card connects to */

static unsigned char bytes[200000], back[200000];

static void *echo_reader(void *argument)
{
	return (void *)(long)scif_recv(*(scif_epd_t *)argument, back, sizeof(back),
				       SCIF_RECV_BLOCK);
}

static void card_echo(void)
{
	scif_epd_t epd = make_card();
	struct scif_card_command command = { SCIF_CARD_ECHO, 0, 0, sizeof(bytes), 0 };

	for (uint64_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = scif_card_pattern(i, 11);
	memset(back, 0, sizeof(back));
	EQUAL(scif_send(epd, &command, sizeof(command), SCIF_SEND_BLOCK), sizeof(command));
	make_thread(echo_reader, &epd);
	EQUAL(scif_send(epd, bytes, sizeof(bytes), SCIF_SEND_BLOCK), sizeof(bytes));
	EQUAL((long)join_thread(), sizeof(back));
	EQUAL(memcmp(bytes, back, sizeof(bytes)), 0);
}

static void card_ping_pong(void)
{
	scif_epd_t epd = make_card();
	struct scif_card_command command = { SCIF_CARD_ECHO, 0, 0, 1000, 0 };
	char byte;

	EQUAL(scif_send(epd, &command, sizeof(command), SCIF_SEND_BLOCK), sizeof(command));
	for (int i = 0; i < 1000; i++) {
		char sent = (char)i;

		EQUAL(scif_send(epd, &sent, 1, SCIF_SEND_BLOCK), 1);
		EQUAL(scif_recv(epd, &byte, 1, SCIF_RECV_BLOCK), 1);
		EQUAL(byte, sent);
	}
}

static void card_poll(void)
{
	scif_epd_t epd = make_card();
	struct scif_card_command command = { SCIF_CARD_ECHO, 0, 0, 1, 0 };
	char byte;

	EQUAL(poll_one(epd, POLLIN, 0), 0);
	EQUAL(scif_send(epd, &command, sizeof(command), SCIF_SEND_BLOCK), sizeof(command));
	EQUAL(scif_send(epd, "z", 1, SCIF_SEND_BLOCK), 1);
	EQUAL(poll_one(epd, POLLIN, 20000), POLLIN);
	EQUAL(scif_recv(epd, &byte, 1, 0), 1);
	EQUAL(byte, 'z');
}

static void card_hangs_up(void)
{
	scif_epd_t epd = make_card();
	struct scif_card_command command = { SCIF_CARD_CLOSE, 0, 0, 0, 0 };
	char byte;

	EQUAL(scif_send(epd, &command, sizeof(command), SCIF_SEND_BLOCK), sizeof(command));
	FAILS(scif_recv(epd, &byte, 1, SCIF_RECV_BLOCK), ECONNRESET);
	EQUAL(poll_one(epd, POLLIN, 20000), POLLHUP);
}

static void card_refuses(void)
{
	scif_epd_t epd = make_card();
	struct scif_portID to = { 0, 3999 };

	forget(epd);
	scif_close(epd);
	for (uint16_t node = 1; node < 64; node++) {
		to.node = node;
		epd = make_open();
		EQUAL(scif_connect(epd, &to), -1);
		CHECK(errno == ENODEV || errno == ECONNREFUSED);
	}
}

static void card_connects_without_waiting(void)
{
	struct scif_card_command command = { SCIF_CARD_ECHO, 0, 0, 1, 0 };
	struct scif_portID to = { 0, 0 }, none = { 0, 0 };
	scif_epd_t epd = make_open();
	char byte = 'n';
	int status;

	card_address(&to);
	none = to;
	none.port = 3999;
	set_nonblocking(epd, true);
	FAILS(scif_connect(epd, &none), EINPROGRESS);
	EQUAL(poll_one(epd, POLLOUT, 20000), POLLOUT);
	FAILS(scif_connect(epd, &none), ECONNREFUSED);
	FAILS(scif_connect(epd, &to), EINPROGRESS);
	EQUAL(poll_one(epd, POLLOUT, 20000), POLLOUT);
	status = scif_connect(epd, &to);
	CHECK(status > 0);
	set_nonblocking(epd, false);
	EQUAL(scif_send(epd, &command, sizeof(command), SCIF_SEND_BLOCK), sizeof(command));
	EQUAL(scif_send(epd, &byte, 1, SCIF_SEND_BLOCK), 1);
	EQUAL(scif_recv(epd, &byte, 1, SCIF_RECV_BLOCK), 1);
	EQUAL(byte, 'n');
}

/* The card's program connects to a listener here. */
static void card_calls(void)
{
	struct scif_card_command command = { SCIF_CARD_CONNECT, 0, 0, 0, CALLED_PORT };
	scif_epd_t epd = make_card(), listener = make_open(), called;
	struct scif_card_answer answer;
	struct scif_portID card, peer;
	char byte;

	card_address(&card);
	EQUAL(scif_bind(listener, CALLED_PORT), CALLED_PORT);
	EQUAL(scif_listen(listener, 2), 0);
	EQUAL(poll_one(listener, POLLIN, 0), 0);
	for (int way = 0; way < 2; way++) { /* told by poll, and waited for in the call */
		EQUAL(scif_send(epd, &command, sizeof(command), SCIF_SEND_BLOCK), sizeof(command));
		if (way == 0)
			EQUAL(poll_one(listener, POLLIN, 20000), POLLIN);
		EQUAL(scif_accept(listener, &peer, &called, SCIF_ACCEPT_SYNC), 0);
		keep(called);
		EQUAL(peer.node, card.node);
		EQUAL(scif_recv(called, &byte, 1, SCIF_RECV_BLOCK), 1);
		EQUAL(byte, 'c');
		EQUAL(scif_send(called, "d", 1, SCIF_SEND_BLOCK), 1);
		EQUAL(scif_recv(epd, &answer, sizeof(answer), SCIF_RECV_BLOCK), sizeof(answer));
		EQUAL(answer.error, 0);
		EQUAL(answer.value, 'd');
		FAILS(scif_recv(called, &byte, 1, SCIF_RECV_BLOCK), ECONNRESET);
	}
}

/* The card registers @count bytes and fills them with the pattern of @seed. */
static uint64_t card_window(scif_epd_t epd, uint64_t count, uint64_t seed)
{
	uint64_t offset;

	EQUAL(card_ask(epd, SCIF_CARD_REGISTER, 0, count, 0, &offset), 0);
	EQUAL(card_ask(epd, SCIF_CARD_FILL, offset, count, seed, NULL), 0);
	return offset;
}

static void card_readfrom(void)
{
	scif_epd_t epd = make_card();
	unsigned char *memory = make_memory(LARGE);
	uint64_t remote = card_window(epd, LARGE, 21);
	off_t local = scif_register(epd, memory, LARGE, 0, BOTH, 0);

	CHECK(local != SCIF_REGISTER_FAILED);
	EQUAL(scif_readfrom(epd, local, LARGE, (off_t)remote, SCIF_RMA_SYNC), 0);
	for (uint64_t i = 0; i < LARGE; i++)
		EQUAL(memory[i], scif_card_pattern(i, 21));
}

static void card_writeto(void)
{
	scif_epd_t epd = make_card();
	unsigned char *memory = make_memory(LARGE);
	uint64_t remote = card_window(epd, LARGE, 22), sum;
	off_t local = scif_register(epd, memory, LARGE, 0, BOTH, 0);

	CHECK(local != SCIF_REGISTER_FAILED);
	for (uint64_t i = 0; i < LARGE; i++)
		memory[i] = scif_card_pattern(i, 23);
	EQUAL(scif_writeto(epd, local + 5, LARGE - 5, (off_t)remote + 5, SCIF_RMA_SYNC), 0);
	memory[0] = scif_card_pattern(0, 22);
	memory[1] = scif_card_pattern(1, 22);
	memory[2] = scif_card_pattern(2, 22);
	memory[3] = scif_card_pattern(3, 22);
	memory[4] = scif_card_pattern(4, 22);
	EQUAL(card_ask(epd, SCIF_CARD_SUM, remote, LARGE, 0, &sum), 0);
	CHECK(sum == scif_card_sum(memory, LARGE));
}

static void card_vreadfrom(void)
{
	scif_epd_t epd = make_card();
	unsigned char *memory = make_memory(LARGE);
	uint64_t remote = card_window(epd, LARGE, 24);

	EQUAL(scif_vreadfrom(epd, memory + 7, LARGE - 7, (off_t)remote, SCIF_RMA_SYNC), 0);
	for (uint64_t i = 0; i < LARGE - 7; i++)
		EQUAL(memory[i + 7], scif_card_pattern(i, 24));
	EQUAL(memory[6], 0);
}

static void card_vwriteto(void)
{
	scif_epd_t epd = make_card();
	unsigned char *memory = make_memory(LARGE);
	uint64_t remote = card_window(epd, LARGE, 25), sum;

	for (uint64_t i = 0; i < LARGE; i++)
		memory[i] = scif_card_pattern(i, 26);
	EQUAL(scif_vwriteto(epd, memory, LARGE, (off_t)remote, SCIF_RMA_SYNC), 0);
	EQUAL(card_ask(epd, SCIF_CARD_SUM, remote, LARGE, 0, &sum), 0);
	CHECK(sum == scif_card_sum(memory, LARGE));
}

static void card_reads_ours(void)
{
	scif_epd_t epd = make_card();
	unsigned char *memory = make_memory(LARGE);
	uint64_t remote = card_window(epd, LARGE, 27), sum;
	off_t local;

	for (uint64_t i = 0; i < LARGE; i++)
		memory[i] = scif_card_pattern(i, 28);
	local = scif_register(epd, memory, LARGE, 0, SCIF_PROT_READ, 0);
	CHECK(local != SCIF_REGISTER_FAILED);
	EQUAL(card_ask(epd, SCIF_CARD_READFROM, remote, LARGE, (uint64_t)local, NULL), 0);
	EQUAL(card_ask(epd, SCIF_CARD_SUM, remote, LARGE, 0, &sum), 0);
	CHECK(sum == scif_card_sum(memory, LARGE));
	EQUAL(card_ask(epd, SCIF_CARD_WRITETO, remote, PAGE, (uint64_t)local, NULL), EPERM);
}

static void card_writes_ours(void)
{
	scif_epd_t epd = make_card();
	unsigned char *memory = make_memory(LARGE);
	uint64_t remote = card_window(epd, LARGE, 29);
	off_t local = scif_register(epd, memory, LARGE, 0, BOTH, 0);

	CHECK(local != SCIF_REGISTER_FAILED);
	EQUAL(card_ask(epd, SCIF_CARD_WRITETO, remote, LARGE - 3, (uint64_t)local, NULL), 0);
	for (uint64_t i = 0; i < LARGE - 3; i++)
		EQUAL(memory[i], scif_card_pattern(i, 29));
	EQUAL(memory[LARGE - 3], 0);
}

static void card_fence_signal(void)
{
	scif_epd_t epd = make_card();
	unsigned char *memory = make_memory(PAGE);
	uint64_t remote = card_window(epd, LARGE, 30);
	off_t local = scif_register(epd, memory, PAGE, 0, BOTH, 0);

	CHECK(local != SCIF_REGISTER_FAILED);
	EQUAL(scif_fence_signal(epd, local, 71, (off_t)remote + 64, 72,
				SCIF_FENCE_INIT_SELF | SCIF_SIGNAL_LOCAL | SCIF_SIGNAL_REMOTE),
	      0);
	while (*(volatile uint64_t *)memory != 71)
		continue;
	EQUAL(card_ask(epd, SCIF_CARD_AWAIT, remote + 64, 0, 72, NULL), 0);
}

static void *card_map(scif_epd_t epd, uint64_t remote, uint64_t count)
{
	void *seen = scif_mmap(NULL, count, PROT_READ | PROT_WRITE, 0, epd, (off_t)remote);

	if (seen == SCIF_MMAP_FAILED && errno == EOPNOTSUPP)
		check_skip("this VM cannot be shown others' memory: EOPNOTSUPP, as documented");
	CHECK(seen != SCIF_MMAP_FAILED);
	return seen;
}

static void card_mmap(void)
{
	scif_epd_t epd = make_card();
	uint64_t remote = card_window(epd, 16 * PAGE, 31);
	volatile unsigned char *seen = card_map(epd, remote, 16 * PAGE);

	for (uint64_t i = 0; i < 16 * PAGE; i++)
		EQUAL(seen[i], scif_card_pattern(i, 31));
	EQUAL(scif_munmap((void *)seen, 16 * PAGE), 0);
}

static void card_mmap_is_coherent(void)
{
	scif_epd_t epd = make_card();
	uint64_t remote = card_window(epd, PAGE, 32);
	volatile uint64_t *seen = card_map(epd, remote, PAGE);

	EQUAL(card_ask(epd, SCIF_CARD_STORE, remote + 16, 0, 1234, NULL), 0);
	EQUAL(seen[2], 1234);
	seen[3] = 4321;
	EQUAL(card_ask(epd, SCIF_CARD_AWAIT, remote + 24, 0, 4321, NULL), 0);
	EQUAL(scif_munmap((void *)seen, PAGE), 0);
}

static void card_mmap_in_cycles(void)
{
	scif_epd_t epd = make_card();
	uint64_t remote = card_window(epd, 4 * PAGE, 33);

	for (int i = 0; i < 50; i++) {
		volatile unsigned char *seen = card_map(epd, remote, 4 * PAGE);

		EQUAL(seen[i], scif_card_pattern((uint64_t)i, 33));
		EQUAL(scif_munmap((void *)seen, 4 * PAGE), 0);
	}
}

static void card_maps_ours(void)
{
	scif_epd_t epd = make_card();
	unsigned char *memory = make_memory(PAGE);
	off_t local = scif_register(epd, memory, PAGE, 0, BOTH, 0);

	CHECK(local != SCIF_REGISTER_FAILED);
	EQUAL(card_ask(epd, SCIF_CARD_MAP_STORE, (uint64_t)local, 0, 99, NULL), 0);
	EQUAL(*(volatile uint64_t *)memory, 99);
}

static void card_node_is_listed(void)
{
	uint16_t nodes[64], self;
	int count = scif_get_nodeIDs(nodes, 64, &self);

	CHECK(count >= 2);
}

const struct test_case card_cases[] = {
	{ "card_echo", card_echo, true },
	{ "card_ping_pong", card_ping_pong, true },
	{ "card_poll", card_poll, true },
	{ "card_hangs_up", card_hangs_up, true },
	{ "card_refuses", card_refuses, true },
	{ "card_connects_without_waiting", card_connects_without_waiting, true },
	{ "card_calls", card_calls, true },
	{ "card_readfrom", card_readfrom, true },
	{ "card_writeto", card_writeto, true },
	{ "card_vreadfrom", card_vreadfrom, true },
	{ "card_vwriteto", card_vwriteto, true },
	{ "card_reads_ours", card_reads_ours, true },
	{ "card_writes_ours", card_writes_ours, true },
	{ "card_fence_signal", card_fence_signal, true },
	{ "card_mmap", card_mmap, true },
	{ "card_mmap_is_coherent", card_mmap_is_coherent, true },
	{ "card_mmap_in_cycles", card_mmap_in_cycles, true },
	{ "card_maps_ours", card_maps_ours, true },
	{ "card_node_is_listed", card_node_is_listed, true },
	{ NULL, NULL, false },
};
