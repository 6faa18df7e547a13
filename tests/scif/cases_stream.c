/* SPDX-License-Identifier: Apache-2.0 */
/* Messages and poll. */
#include <poll.h>
#include <stdlib.h>

#include "tests/scif/conformance.h"

#define RING 4095

static unsigned char bytes[65536], back[65536];

static void fill(void)
{
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (unsigned char)(i * 31 + i / 251);
	memset(back, 0, sizeof(back));
}

static void disconnect(struct pair *pair)
{
	forget(pair->one);
	scif_close(pair->one);
}

static void send_of_nothing(void)
{
	struct pair pair;

	make_pair(&pair);
	EQUAL(scif_send(pair.one, bytes, 0, SCIF_SEND_BLOCK), 0);
	EQUAL(scif_recv(pair.one, bytes, 0, SCIF_RECV_BLOCK), 0);
}

static void send_of_negative(void)
{
	struct pair pair;

	make_pair(&pair);
	FAILS(scif_send(pair.one, bytes, -1, 0), EINVAL);
}

static void recv_of_negative(void)
{
	struct pair pair;

	make_pair(&pair);
	FAILS(scif_recv(pair.one, bytes, -1, 0), EINVAL);
}

static void send_unknown_flag(void)
{
	struct pair pair;

	make_pair(&pair);
	FAILS(scif_send(pair.one, bytes, 1, 2), EINVAL);
}

static void recv_unknown_flag(void)
{
	struct pair pair;

	make_pair(&pair);
	FAILS(scif_recv(pair.one, bytes, 1, 2), EINVAL);
}

static void send_of_unbound(void)
{
	FAILS(scif_send(make_open(), bytes, 1, 0), ENOTCONN);
}

static void recv_of_unbound(void)
{
	FAILS(scif_recv(make_open(), bytes, 1, SCIF_RECV_BLOCK), ENOTCONN);
}

static void send_of_bound(void)
{
	scif_epd_t epd = make_open();

	scif_bind(epd, 0);
	FAILS(scif_send(epd, bytes, 1, 0), ENOTCONN);
}

static void send_of_listening(void)
{
	uint16_t port;

	FAILS(scif_send(make_listener(1, &port), bytes, 1, 0), ENOTCONN);
}

static void recv_of_listening(void)
{
	uint16_t port;

	FAILS(scif_recv(make_listener(1, &port), bytes, 1, 0), ENOTCONN);
}

static void bytes_arrive_in_order(void)
{
	struct pair pair;

	fill();
	make_pair(&pair);
	EQUAL(scif_send(pair.one, bytes, 4000, SCIF_SEND_BLOCK), 4000);
	EQUAL(scif_recv(pair.two, back, 4000, SCIF_RECV_BLOCK), 4000);
	EQUAL(memcmp(bytes, back, 4000), 0);
}

static void both_directions(void)
{
	struct pair pair;

	fill();
	make_pair(&pair);
	EQUAL(scif_send(pair.one, bytes, 100, SCIF_SEND_BLOCK), 100);
	EQUAL(scif_send(pair.two, bytes + 100, 200, SCIF_SEND_BLOCK), 200);
	EQUAL(scif_recv(pair.one, back, 200, SCIF_RECV_BLOCK), 200);
	EQUAL(memcmp(bytes + 100, back, 200), 0);
	EQUAL(scif_recv(pair.two, back, 100, SCIF_RECV_BLOCK), 100);
	EQUAL(memcmp(bytes, back, 100), 0);
}

static void messages_have_no_borders(void)
{
	struct pair pair;

	fill();
	make_pair(&pair);
	for (int i = 0; i < 10; i++)
		EQUAL(scif_send(pair.one, bytes + 10 * i, 10, SCIF_SEND_BLOCK), 10);
	EQUAL(scif_recv(pair.two, back, 73, SCIF_RECV_BLOCK), 73);
	EQUAL(scif_recv(pair.two, back + 73, 27, SCIF_RECV_BLOCK), 27);
	EQUAL(memcmp(bytes, back, 100), 0);
}

static void ring_holds_4095(void)
{
	struct pair pair;

	fill();
	make_pair(&pair);
	EQUAL(scif_send(pair.one, bytes, 5000, 0), RING);
	EQUAL(scif_recv(pair.two, back, 5000, 0), RING);
	EQUAL(memcmp(bytes, back, RING), 0);
}

static void send_into_full_ring(void)
{
	struct pair pair;

	make_pair(&pair);
	EQUAL(scif_send(pair.one, bytes, RING, 0), RING);
	EQUAL(scif_send(pair.one, bytes, 1, 0), 0);
}

static void send_what_fits(void)
{
	struct pair pair;

	make_pair(&pair);
	EQUAL(scif_send(pair.one, bytes, 4000, 0), 4000);
	EQUAL(scif_send(pair.one, bytes, 4000, 0), 95);
}

static void recv_from_empty_ring(void)
{
	struct pair pair;

	make_pair(&pair);
	EQUAL(scif_recv(pair.one, back, 10, 0), 0);
}

static void recv_what_is_there(void)
{
	struct pair pair;

	make_pair(&pair);
	EQUAL(scif_send(pair.one, bytes, 7, 0), 7);
	EQUAL(scif_recv(pair.two, back, 10, 0), 7);
}

static void ring_goes_round(void)
{
	struct pair pair;

	fill();
	make_pair(&pair);
	for (int i = 0; i < 100; i++) {
		int length = 1 + i * 37 % RING;

		EQUAL(scif_send(pair.one, bytes + i, length, SCIF_SEND_BLOCK), length);
		EQUAL(scif_recv(pair.two, back, length, SCIF_RECV_BLOCK), length);
		EQUAL(memcmp(bytes + i, back, (size_t)length), 0);
	}
}

static void *send_all_body(void *argument)
{
	return (void *)(long)scif_send(*(scif_epd_t *)argument, bytes, sizeof(bytes),
				       SCIF_SEND_BLOCK);
}

static void blocking_send_of_much(void)
{
	struct pair pair;

	fill();
	make_pair(&pair);
	make_thread(send_all_body, &pair.one);
	EQUAL(scif_recv(pair.two, back, sizeof(back), SCIF_RECV_BLOCK), sizeof(back));
	EQUAL((long)join_thread(), sizeof(bytes));
	EQUAL(memcmp(bytes, back, sizeof(back)), 0);
}

static void *recv_body(void *argument)
{
	long got = scif_recv(*(scif_epd_t *)argument, back, 10, SCIF_RECV_BLOCK);

	return (void *)(got < 0 ? -(long)errno : got);
}

static void blocking_recv_waits(void)
{
	struct pair pair;

	fill();
	make_pair(&pair);
	make_thread(recv_body, &pair.two);
	EQUAL(scif_send(pair.one, bytes, 4, SCIF_SEND_BLOCK), 4);
	EQUAL(scif_send(pair.one, bytes + 4, 6, SCIF_SEND_BLOCK), 6);
	EQUAL((long)join_thread(), 10);
	EQUAL(memcmp(bytes, back, 10), 0);
}

static void blocking_recv_short_on_disconnect(void)
{
	struct pair pair;

	make_pair(&pair);
	EQUAL(scif_send(pair.one, bytes, 4, SCIF_SEND_BLOCK), 4);
	make_thread(recv_body, &pair.two);
	poll(NULL, 0, 20);
	disconnect(&pair);
	EQUAL((long)join_thread(), 4);
}

static void blocking_recv_ends_with_peer(void)
{
	struct pair pair;

	make_pair(&pair);
	make_thread(recv_body, &pair.two);
	poll(NULL, 0, 20);
	disconnect(&pair);
	EQUAL((long)join_thread(), -ECONNRESET);
}

static void *send_much_body(void *argument)
{
	long got = scif_send(*(scif_epd_t *)argument, bytes, 10000, SCIF_SEND_BLOCK);

	return (void *)(got < 0 ? -(long)errno : got);
}

static void blocking_send_short_on_disconnect(void)
{
	struct pair pair;

	make_pair(&pair);
	make_thread(send_much_body, &pair.two);
	poll(NULL, 0, 20);
	disconnect(&pair);
	EQUAL((long)join_thread(), RING);
}

static void recv_interrupted(void)
{
	struct pair pair;

	make_pair(&pair);
	make_thread(recv_body, &pair.two);
	signal_thread();
	EQUAL((long)join_thread(), -EINTR);
}

static void recv_short_on_signal(void)
{
	struct pair pair;

	make_pair(&pair);
	EQUAL(scif_send(pair.one, bytes, 3, SCIF_SEND_BLOCK), 3);
	make_thread(recv_body, &pair.two);
	signal_thread();
	EQUAL((long)join_thread(), 3);
}

static void send_short_on_signal(void)
{
	struct pair pair;

	make_pair(&pair);
	make_thread(send_much_body, &pair.two);
	signal_thread();
	EQUAL((long)join_thread(), RING);
}

static void *send_one_body(void *argument)
{
	long got = scif_send(*(scif_epd_t *)argument, bytes, 1, SCIF_SEND_BLOCK);

	return (void *)(got < 0 ? -(long)errno : got);
}

static void send_interrupted(void)
{
	struct pair pair;

	make_pair(&pair);
	EQUAL(scif_send(pair.two, bytes, RING, 0), RING);
	make_thread(send_one_body, &pair.two);
	signal_thread();
	EQUAL((long)join_thread(), -EINTR);
}

static void recv_after_interruption(void)
{
	struct pair pair;

	fill();
	make_pair(&pair);
	make_thread(recv_body, &pair.two);
	signal_thread();
	EQUAL((long)join_thread(), -EINTR);
	memset(back, 0, 10);
	EQUAL(scif_send(pair.one, bytes, 10, SCIF_SEND_BLOCK), 10);
	EQUAL(scif_recv(pair.two, back, 10, SCIF_RECV_BLOCK), 10);
	EQUAL(memcmp(bytes, back, 10), 0);
}

static void send_to_closed(void)
{
	struct pair pair;

	make_pair(&pair);
	disconnect(&pair);
	FAILS(scif_send(pair.two, bytes, 1, 0), ECONNRESET);
	FAILS(scif_send(pair.two, bytes, 1, SCIF_SEND_BLOCK), ECONNRESET);
}

static void recv_drains_then_resets(void)
{
	struct pair pair;

	fill();
	make_pair(&pair);
	EQUAL(scif_send(pair.one, bytes, 100, SCIF_SEND_BLOCK), 100);
	disconnect(&pair);
	EQUAL(scif_recv(pair.two, back, 60, SCIF_RECV_BLOCK), 60);
	EQUAL(scif_recv(pair.two, back + 60, 60, SCIF_RECV_BLOCK), 40);
	EQUAL(memcmp(bytes, back, 100), 0);
	FAILS(scif_recv(pair.two, back, 1, SCIF_RECV_BLOCK), ECONNRESET);
}

static void recv_from_closed(void)
{
	struct pair pair;

	make_pair(&pair);
	disconnect(&pair);
	FAILS(scif_recv(pair.two, back, 1, 0), ECONNRESET);
}

static void poll_of_unbound(void)
{
	EQUAL(poll_one(make_open(), POLLIN | POLLOUT, 0), POLLERR);
}

static void poll_of_bound(void)
{
	scif_epd_t epd = make_open();

	scif_bind(epd, 0);
	EQUAL(poll_one(epd, POLLIN | POLLOUT, 0), POLLERR);
}

static void poll_of_idle_listener(void)
{
	uint16_t port;

	EQUAL(poll_one(make_listener(1, &port), POLLIN | POLLOUT, 0), 0);
}

static void poll_of_listener_with_request(void)
{
	struct scif_portID to = { own_node(), 0 };
	scif_epd_t listener = make_listener(1, &to.port), epd = make_open();

	set_nonblocking(epd, true);
	FAILS(scif_connect(epd, &to), EINPROGRESS);
	EQUAL(poll_one(listener, POLLIN, 10000), POLLIN);
}

static void poll_of_idle_connection(void)
{
	struct pair pair;

	make_pair(&pair);
	EQUAL(poll_one(pair.one, POLLIN, 0), 0);
	EQUAL(poll_one(pair.one, POLLIN | POLLOUT, 0), POLLOUT);
}

static void poll_tells_of_data(void)
{
	struct pair pair;

	make_pair(&pair);
	scif_send(pair.one, bytes, 1, 0);
	EQUAL(poll_one(pair.two, POLLIN, 10000), POLLIN);
	EQUAL(poll_one(pair.two, POLLIN | POLLOUT, 0), POLLIN | POLLOUT);
}

static void poll_only_what_is_asked(void)
{
	struct pair pair;

	make_pair(&pair);
	scif_send(pair.one, bytes, 1, 0);
	EQUAL(poll_one(pair.two, POLLOUT, 0), POLLOUT);
}

static void poll_of_full_ring(void)
{
	struct pair pair;

	make_pair(&pair);
	scif_send(pair.one, bytes, RING, 0);
	EQUAL(poll_one(pair.one, POLLOUT, 0), 0);
	scif_recv(pair.two, back, 1, 0);
	EQUAL(poll_one(pair.one, POLLOUT, 10000), POLLOUT);
}

static void poll_of_disconnected(void)
{
	struct pair pair;

	make_pair(&pair);
	disconnect(&pair);
	EQUAL(poll_one(pair.two, POLLIN | POLLOUT, 10000), POLLHUP);
}

static void poll_for_nothing_of_disconnected(void)
{
	struct pair pair;

	make_pair(&pair);
	EQUAL(poll_one(pair.two, 0, 0), 0);
	disconnect(&pair);
	EQUAL(poll_one(pair.two, 0, 10000), POLLHUP);
}

static void poll_of_disconnected_with_data(void)
{
	struct pair pair;

	make_pair(&pair);
	scif_send(pair.one, bytes, 1, 0);
	disconnect(&pair);
	EQUAL(poll_one(pair.two, POLLIN, 0), POLLIN | POLLHUP);
}

static void *poll_body(void *argument)
{
	return (void *)(long)poll_one(*(scif_epd_t *)argument, POLLIN, 20000);
}

static void poll_wakes_for_data(void)
{
	struct pair pair;

	make_pair(&pair);
	make_thread(poll_body, &pair.two);
	poll(NULL, 0, 20);
	scif_send(pair.one, bytes, 1, 0);
	EQUAL((long)join_thread(), POLLIN);
}

static void poll_wakes_for_hangup(void)
{
	struct pair pair;

	make_pair(&pair);
	make_thread(poll_body, &pair.two);
	poll(NULL, 0, 20);
	disconnect(&pair);
	EQUAL((long)join_thread(), POLLHUP);
}

static void *poll_listener_body(void *argument)
{
	return (void *)(long)poll_one(*(scif_epd_t *)argument, POLLIN, 20000);
}

static void poll_wakes_for_request(void)
{
	struct scif_portID to = { own_node(), 0 };
	scif_epd_t listener = make_listener(1, &to.port), epd = make_open();

	make_thread(poll_listener_body, &listener);
	poll(NULL, 0, 20);
	set_nonblocking(epd, true);
	FAILS(scif_connect(epd, &to), EINPROGRESS);
	EQUAL((long)join_thread(), POLLIN);
}

static void poll_times_out(void)
{
	struct pair pair;

	make_pair(&pair);
	EQUAL(poll_one(pair.one, POLLIN, 20), 0);
}

static void poll_of_several(void)
{
	struct pair first, second;
	struct scif_pollepd items[3];

	make_pair(&first);
	make_pair(&second);
	items[0] = (struct scif_pollepd){ first.two, POLLIN, 99 };
	items[1] = (struct scif_pollepd){ second.two, POLLIN, 99 };
	items[2] = (struct scif_pollepd){ first.one, POLLOUT, 99 };
	scif_send(second.one, bytes, 1, 0);
	EQUAL(scif_poll(items, 3, 10000), 2);
	EQUAL(items[0].revents, 0);
	EQUAL(items[1].revents, POLLIN);
	EQUAL(items[2].revents, POLLOUT);
}

static void poll_ignores_negative(void)
{
	struct pair pair;
	struct scif_pollepd items[2];

	make_pair(&pair);
	items[0] = (struct scif_pollepd){ -1, POLLIN, 99 };
	items[1] = (struct scif_pollepd){ pair.one, POLLOUT, 99 };
	EQUAL(scif_poll(items, 2, 0), 1);
	EQUAL(items[0].revents, 0);
}

static void *poll_interrupted_body(void *argument)
{
	struct scif_pollepd item = { *(scif_epd_t *)argument, POLLIN, 0 };

	return (void *)(long)(scif_poll(&item, 1, 20000) < 0 ? errno : 0);
}

static void poll_interrupted(void)
{
	struct pair pair;

	make_pair(&pair);
	make_thread(poll_interrupted_body, &pair.one);
	signal_thread();
	EQUAL((long)join_thread(), EINTR);
}

static void poll_without_end(void)
{
	struct pair pair;

	make_pair(&pair);
	scif_send(pair.one, bytes, 1, 0);
	EQUAL(poll_one(pair.two, POLLIN, -1), POLLIN);
}

const struct test_case stream_cases[] = {
	{ "send_of_nothing", send_of_nothing, false },
	{ "send_of_negative", send_of_negative, false },
	{ "recv_of_negative", recv_of_negative, false },
	{ "send_unknown_flag", send_unknown_flag, false },
	{ "recv_unknown_flag", recv_unknown_flag, false },
	{ "send_of_unbound", send_of_unbound, false },
	{ "recv_of_unbound", recv_of_unbound, false },
	{ "send_of_bound", send_of_bound, false },
	{ "send_of_listening", send_of_listening, false },
	{ "recv_of_listening", recv_of_listening, false },
	{ "bytes_arrive_in_order", bytes_arrive_in_order, false },
	{ "both_directions", both_directions, false },
	{ "messages_have_no_borders", messages_have_no_borders, false },
	{ "ring_holds_4095", ring_holds_4095, false },
	{ "send_into_full_ring", send_into_full_ring, false },
	{ "send_what_fits", send_what_fits, false },
	{ "recv_from_empty_ring", recv_from_empty_ring, false },
	{ "recv_what_is_there", recv_what_is_there, false },
	{ "ring_goes_round", ring_goes_round, false },
	{ "blocking_send_of_much", blocking_send_of_much, false },
	{ "blocking_recv_waits", blocking_recv_waits, false },
	{ "blocking_recv_short_on_disconnect", blocking_recv_short_on_disconnect, false },
	{ "blocking_recv_ends_with_peer", blocking_recv_ends_with_peer, false },
	{ "blocking_send_short_on_disconnect", blocking_send_short_on_disconnect, false },
	{ "recv_interrupted", recv_interrupted, false },
	{ "recv_short_on_signal", recv_short_on_signal, false },
	{ "send_short_on_signal", send_short_on_signal, false },
	{ "send_interrupted", send_interrupted, false },
	{ "recv_after_interruption", recv_after_interruption, false },
	{ "send_to_closed", send_to_closed, false },
	{ "recv_drains_then_resets", recv_drains_then_resets, false },
	{ "poll_for_nothing_of_disconnected", poll_for_nothing_of_disconnected, false },
	{ "recv_from_closed", recv_from_closed, false },
	{ "poll_of_unbound", poll_of_unbound, false },
	{ "poll_of_bound", poll_of_bound, false },
	{ "poll_of_idle_listener", poll_of_idle_listener, false },
	{ "poll_of_listener_with_request", poll_of_listener_with_request, false },
	{ "poll_of_idle_connection", poll_of_idle_connection, false },
	{ "poll_tells_of_data", poll_tells_of_data, false },
	{ "poll_only_what_is_asked", poll_only_what_is_asked, false },
	{ "poll_of_full_ring", poll_of_full_ring, false },
	{ "poll_of_disconnected", poll_of_disconnected, false },
	{ "poll_of_disconnected_with_data", poll_of_disconnected_with_data, false },
	{ "poll_wakes_for_data", poll_wakes_for_data, false },
	{ "poll_wakes_for_hangup", poll_wakes_for_hangup, false },
	{ "poll_wakes_for_request", poll_wakes_for_request, false },
	{ "poll_times_out", poll_times_out, false },
	{ "poll_of_several", poll_of_several, false },
	{ "poll_ignores_negative", poll_ignores_negative, false },
	{ "poll_interrupted", poll_interrupted, false },
	{ "poll_without_end", poll_without_end, false },
	{ NULL, NULL, false },
};
