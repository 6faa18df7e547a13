/* SPDX-License-Identifier: Apache-2.0 */
/*
 * causeway-scifnet: a network interface whose packets ride on SCIF, so that programs which need
 * IP, such as MPI, run on cards, VMs and host together. One of these runs on each node.
 *
 *	1. net_read            a packet from the tun device; its destination names a node
 *	2. net_queue           at most NET_QUEUE_MAX wait for a node; what is beyond is dropped, as
 *in any network
 *	3. net_send            that node's thread connects when needed, and sends
 *	4. net_receive         on the other side, a thread for each connection; into its tun device
 *
 * Node N has the address PREFIX.(N+1). A connection carries packets one way: what a node sends
 * goes over the one that it made. The receiver takes packets only from the address of the node
 * that SCIF says is the sender.
 *
 * On the wire: a packet is its length (4 bytes, little-endian) and its bytes.
 *
 * Locks: a peer's `lock` guards its queue, nothing else is shared.
 */
#include <argp.h>
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/log.h"
#include "scif/card/client.h"
#include "scif/card/wire.h"
#include "scif/net/packet.h"

#define NET_PORT      60 /* the first of those that Intel's network driver had */
#define NET_NODES_MAX 64
#define NET_QUEUE_MAX 128
#define NET_BACKLOG   64
#define NET_RETRY_US  200000 /* after a node that cannot be reached */

struct net_packet {
	uint32_t bytes;
	unsigned char data[NET_MTU];
};

/* What waits to be sent to one node; its thread runs once there was anything. */
struct net_peer {
	unsigned int node;
	pthread_mutex_t lock;
	pthread_cond_t came;
	struct net_packet *queue[NET_QUEUE_MAX]; /* a ring */
	unsigned int first, count;
	bool running;
};

struct net {
	struct net_peer peers[NET_NODES_MAX];
	const char *interface;
	uint32_t prefix; /* host order, last byte 0 */
	unsigned int node;
	bool node_given;
	bool is_vm; /* this node is 0 to itself, and the host has its number */
	int tun;
};

struct net_connection {
	struct net *net;
	scif_epd_t epd;
	unsigned int node;
};

static struct net net = { .interface = "scif0", .prefix = 10u << 24 | 219u << 16, .tun = -1 };

static int net_ioctl(int fd, unsigned long call, struct ifreq *request, const char *what,
		     struct error *error)
{
	return ioctl(fd, call, request) < 0 ? error_set(error, -errno, "%s: %s: %s", net.interface,
							what, strerror(errno))
					    : 0;
}

static void net_set_address(struct ifreq *request, uint32_t address)
{
	struct sockaddr_in *place = (struct sockaddr_in *)&request->ifr_addr;

	memset(place, 0, sizeof(*place));
	place->sin_family = AF_INET;
	place->sin_addr.s_addr = htonl(address);
}

/* The interface, with its address, up. */
static int net_open(struct error *error)
{
	struct ifreq request = { .ifr_flags = IFF_TUN | IFF_NO_PI };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), status;

	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", net.interface);
	net.tun = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	if (net.tun < 0 || fd < 0)
		return error_set(error, -errno, "/dev/net/tun: %s", strerror(errno));
	status = net_ioctl(net.tun, TUNSETIFF, &request, "cannot be made", error);
	net_set_address(&request, net.prefix | (net.node + 1));
	if (status == 0)
		status = net_ioctl(fd, SIOCSIFADDR, &request, "address", error);
	net_set_address(&request, 0xffffff00u);
	if (status == 0)
		status = net_ioctl(fd, SIOCSIFNETMASK, &request, "mask", error);
	request.ifr_mtu = NET_MTU;
	if (status == 0)
		status = net_ioctl(fd, SIOCSIFMTU, &request, "MTU", error);
	request.ifr_flags = IFF_UP | IFF_RUNNING;
	if (status == 0)
		status = net_ioctl(fd, SIOCSIFFLAGS, &request, "up", error);
	/* A network namespace of a card's own has a loopback interface too. */
	snprintf(request.ifr_name, sizeof(request.ifr_name), "lo");
	ioctl(fd, SIOCSIFFLAGS, &request);
	close(fd);
	return status;
}

/* What the node is called here, and the other way round. */
static unsigned int net_seen(unsigned int node)
{
	if (!net.is_vm || (node != 0 && node != net.node))
		return node;
	return node == 0 ? net.node : 0;
}

/* Connects to the node; -1 and a pause when it cannot be reached. */
static scif_epd_t net_connect(unsigned int node)
{
	struct scif_portID there = { (uint16_t)net_seen(node), NET_PORT };
	scif_epd_t epd = scif_open();

	if (epd >= 0 && scif_connect(epd, &there) >= 0)
		return epd;
	log_debug("node %u: %s", node, strerror(errno));
	if (epd >= 0)
		scif_close(epd);
	usleep(NET_RETRY_US);
	return -1;
}

static struct net_packet *net_take(struct net_peer *peer)
{
	struct net_packet *packet;

	pthread_mutex_lock(&peer->lock);
	while (peer->count == 0)
		pthread_cond_wait(&peer->came, &peer->lock);
	packet = peer->queue[peer->first];
	peer->first = (peer->first + 1) % NET_QUEUE_MAX;
	peer->count--;
	pthread_mutex_unlock(&peer->lock);
	return packet;
}

/* A peer's thread: its packets, over a connection that is made anew when it ended. */
static void *net_send(void *context)
{
	struct net_peer *peer = context;
	scif_epd_t epd = -1;

	for (;;) {
		struct net_packet *packet = net_take(peer);

		if (epd < 0)
			epd = net_connect(peer->node);
		if (epd >= 0 &&
		    wire_move(scif_send, epd, packet, sizeof(packet->bytes) + packet->bytes) < 0) {
			scif_close(epd);
			epd = -1;
		}
		free(packet);
	}
	return NULL;
}

static void net_queue(struct net_packet *packet, unsigned int node)
{
	struct net_peer *peer = &net.peers[node];
	pthread_t thread;

	pthread_mutex_lock(&peer->lock);
	if (!peer->running)
		peer->running = pthread_create(&thread, NULL, net_send, peer) == 0;
	if (!peer->running || peer->count == NET_QUEUE_MAX) {
		free(packet);
	} else {
		peer->queue[(peer->first + peer->count++) % NET_QUEUE_MAX] = packet;
		pthread_cond_signal(&peer->came);
	}
	pthread_mutex_unlock(&peer->lock);
}

/* From the interface to the nodes, for ever. */
static int net_read(struct error *error)
{
	for (;;) {
		struct net_packet *packet = malloc(sizeof(*packet));
		ssize_t got = packet ? read(net.tun, packet->data, sizeof(packet->data)) : -1;
		int node;

		if (!packet || (got < 0 && errno != EINTR && errno != EAGAIN)) {
			free(packet);
			return error_set(error, packet ? -errno : -ENOMEM, "%s: %s", net.interface,
					 packet ? strerror(errno) : "out of memory");
		}
		node = got > 0 ? packet_node(packet->data, (size_t)got, PACKET_TO, net.prefix) : -1;
		if (node < 0 || node >= NET_NODES_MAX || (unsigned int)node == net.node) {
			free(packet); /* not for us: a broadcast, IPv6 */
			continue;
		}
		packet->bytes = (uint32_t)got;
		net_queue(packet, (unsigned int)node);
	}
}

/* A connection's thread: its packets, into the interface, until it ends. */
static void *net_receive(void *context)
{
	struct net_connection *connection = context;
	struct net_packet *packet = malloc(sizeof(*packet));
	scif_epd_t epd = connection->epd;

	while (packet && wire_move(scif_recv, epd, &packet->bytes, sizeof(packet->bytes)) == 0) {
		if (packet->bytes == 0 || packet->bytes > sizeof(packet->data)) {
			log_warning("node %u sent a packet of %u bytes", connection->node,
				    packet->bytes);
			break;
		}
		if (wire_move(scif_recv, epd, packet->data, packet->bytes) < 0)
			break;
		if (packet_node(packet->data, packet->bytes, PACKET_FROM, net.prefix) !=
			    (int)connection->node ||
		    packet_node(packet->data, packet->bytes, PACKET_TO, net.prefix) !=
			    (int)net.node)
			continue;
		if (write(net.tun, packet->data, packet->bytes) < 0)
			log_debug("%s: %s", net.interface, strerror(errno));
	}
	scif_close(epd);
	free(packet);
	free(connection);
	return NULL;
}

/* Takes connections of other nodes, for ever. */
static void *net_accept(void *context)
{
	scif_epd_t listener = *(scif_epd_t *)context;

	for (;;) {
		struct net_connection *connection = calloc(1, sizeof(*connection));
		struct scif_portID peer;
		pthread_t thread;

		if (!connection ||
		    scif_accept(listener, &peer, &connection->epd, SCIF_ACCEPT_SYNC) < 0) {
			free(connection);
			usleep(NET_RETRY_US);
			continue;
		}
		connection->node = net_seen(peer.node);
		if (pthread_create(&thread, NULL, net_receive, connection) == 0) {
			pthread_detach(thread);
		} else {
			scif_close(connection->epd);
			free(connection);
		}
	}
	return NULL;
}

/* Which node this is: as SCIF says, or, where every VM is 0 to itself, as the first card says. */
static int net_find_node(struct error *error)
{
	const struct card_hello hello = { .mode = CARD_MODE_NATIVE };
	struct card_connection card;
	uint16_t self;
	int status;

	if (scif_get_nodeIDs(NULL, 0, &self) < 0)
		return error_set(error, -errno, "no SCIF here: %s", strerror(errno));
	net.is_vm = net.node_given && self == 0 && net.node != 0;
	if (net.node_given)
		return 0;
	net.node = self;
	if (self != 0)
		return 0;
	status = card_connect(&card, 1, &hello, error);
	if (status < 0)
		return error_prefix(error, "cannot tell this node's number (give --node)");
	net.node = card.welcome.client_node;
	net.is_vm = net.node != 0;
	card_close(&card);
	return 0;
}

static const struct argp_option options[] = {
	{ "interface", 'i', "NAME", 0, "of the network interface (scif0)", 0 },
	{ "node", 'n', "N", 0, "number of this node (as the first card says)", 0 },
	{ "prefix", 'p', "A.B.C.0", 0, "addresses are PREFIX + node + 1 (10.219.0.0)", 0 },
	{ 0 },
};

static error_t net_option(int key, char *argument, struct argp_state *state)
{
	struct in_addr address;
	char *end;

	switch (key) {
	case 'i':
		net.interface = argument;
		return 0;
	case 'n':
		net.node = (unsigned int)strtoul(argument, &end, 10);
		net.node_given = true;
		if (*argument < '0' || *argument > '9' || *end || net.node >= NET_NODES_MAX)
			argp_error(state, "--node=%s: expected a number below %d", argument,
				   NET_NODES_MAX);
		return 0;
	case 'p':
		if (inet_pton(AF_INET, argument, &address) != 1 || ntohl(address.s_addr) & 0xff)
			argp_error(state, "--prefix=%s: expected an address as 10.219.0.0",
				   argument);
		net.prefix = ntohl(address.s_addr);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp argp = {
	.options = options,
	.parser = net_option,
	.doc = "A network interface over SCIF, for programs that run on cards, VMs and the host.",
};

int main(int argc, char **argv)
{
	static scif_epd_t listener;
	struct error error = { 0 };
	pthread_t thread;
	int status;

	log_open("causeway-scifnet");
	signal(SIGPIPE, SIG_IGN);
	argp_parse(&argp, argc, argv, 0, NULL, NULL);
	for (unsigned int i = 0; i < NET_NODES_MAX; i++) {
		net.peers[i].node = i;
		pthread_mutex_init(&net.peers[i].lock, NULL);
		pthread_cond_init(&net.peers[i].came, NULL);
	}
	status = net_find_node(&error);
	if (status == 0)
		status = net_open(&error);
	if (status == 0) {
		listener = scif_open();
		if (listener < 0 || scif_bind(listener, NET_PORT) < 0 ||
		    scif_listen(listener, NET_BACKLOG) < 0)
			status = error_set(&error, -errno, "SCIF port %d: %s", NET_PORT,
					   strerror(errno));
	}
	if (status == 0 && pthread_create(&thread, NULL, net_accept, &listener) != 0)
		status = error_set(&error, -EAGAIN, "no thread");
	if (status == 0) {
		log_info("%s is node %u", net.interface, net.node);
		status = net_read(&error);
	}
	log_error("%s", error.text);
	return EXIT_FAILURE;
}
