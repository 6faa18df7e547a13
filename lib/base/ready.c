/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Readiness, so that what is started after a daemon finds its sockets: services/ has Type=notify.
 *
 * The protocol is one datagram "READY=1" to the socket named in NOTIFY_SOCKET, where a first '@'
 * stands for an abstract name (sd_notify(3), which promises that it stays and that it may be
 * implemented without libsystemd: a library that would come into every bundle for this).
 */
#include "lib/base/ready.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/base/log.h"

void ready_tell(void)
{
	static const char message[] = "READY=1";
	const char *name = getenv("NOTIFY_SOCKET");
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	size_t length = name ? strlen(name) : 0;
	int fd;

	if (!length)
		return;
	if ((*name != '/' && *name != '@') || length > sizeof(address.sun_path)) {
		log_warning("NOTIFY_SOCKET is '%s', expected a path or '@' and a name", name);
		return;
	}
	memcpy(address.sun_path, name, length);
	if (*name == '@')
		address.sun_path[0] = 0;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 ||
	    sendto(fd, message, sizeof(message) - 1, MSG_NOSIGNAL, (struct sockaddr *)&address,
		   (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length)) < 0)
		log_warning("telling '%s' that this daemon serves: %s", name, strerror(errno));
	if (fd >= 0)
		close(fd);
}
