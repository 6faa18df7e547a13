/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Takes connections at the card's port, and forks a worker for each. It holds the listener alone,
 * so its end is the card's end; it has one thread, so its children may use libscif.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/io.h"
#include "lib/base/log.h"
#include "scif/card/card.h"

#define ACCEPTOR_BACKLOG 64

static int acceptor_listen(scif_epd_t *listener, struct error *error)
{
	*listener = scif_open();
	if (*listener < 0)
		return error_set(error, -errno, "no SCIF: %s", strerror(errno));
	if (scif_bind(*listener, CARD_PORT) < 0)
		return error_set(error, -errno, "port %d of the card: %s", CARD_PORT,
				 errno == EINVAL ? "another causeway-card is there"
						 : strerror(errno));
	if (scif_listen(*listener, ACCEPTOR_BACKLOG) < 0)
		return error_set(error, -errno, "port %d of the card: %s", CARD_PORT,
				 strerror(errno));
	return 0;
}

/* A worker for the connection; the supervisor gets the other end of its socket. */
static int acceptor_serve(const struct card_settings *settings, scif_epd_t listener, scif_epd_t epd,
			  unsigned int node, int supervisor)
{
	int pair[2], status;
	pid_t worker;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	status = (int)io_send_fds(supervisor, &node, sizeof(node), &pair[1], 1);
	close(pair[1]);
	worker = status < 0 ? -1 : fork();
	if (worker == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
		prctl(PR_SET_NAME, "card-worker", 0, 0, 0);
		signal(SIGCHLD, SIG_DFL);
		signal(SIGTERM, SIG_DFL);
		close(supervisor);
		scif_close(listener);
		_exit(worker_run(settings, epd, node, pair[0]));
	}
	close(pair[0]);
	return worker < 0 ? -errno : 0;
}

int acceptor_run(const struct card_settings *settings, int supervisor, struct error *error)
{
	static const unsigned int listening = ~0u;
	scif_epd_t listener;
	int status = acceptor_listen(&listener, error);

	if (status < 0)
		return status;
	signal(SIGCHLD, SIG_IGN); /* workers are the supervisor's matter */
	if (io_write_full(supervisor, &listening, sizeof(listening)) < 0)
		return error_set(error, -EPIPE, "the supervisor is gone");
	for (;;) {
		struct scif_portID peer;
		scif_epd_t epd;

		if (scif_accept(listener, &peer, &epd, SCIF_ACCEPT_SYNC) < 0) {
			if (errno == EINTR || errno == EAGAIN || errno == ECONNREFUSED)
				continue;
			return error_set(error, -errno, "accept: %s", strerror(errno));
		}
		status = acceptor_serve(settings, listener, epd, peer.node, supervisor);
		if (status < 0)
			log_warning("no worker for node %u: %s", peer.node, strerror(-status));
		scif_close(epd); /* the worker has it */
	}
}
