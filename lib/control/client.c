/* SPDX-License-Identifier: Apache-2.0 */
/* One question, one answer; see client.h. The daemon is trusted: only its user opens the socket. */
#include "lib/control/client.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "lib/base/buffer.h"
#include "lib/base/clean.h"
#include "lib/base/io.h"

#define ANSWER_BYTES_MAX (64u << 20)
#define ANSWER_WAIT_MS	 5000
#define READ_BYTES	 65536

/* The request as a line; 0 or -errno with a sentence. */
static int client_send(int fd, const char *path, const json_t *request, struct error *error)
{
	autofree char *text = request ? json_dumps(request, JSON_COMPACT) : NULL;
	int status;

	if (!text)
		return error_set(error, -ENOMEM, "out of memory");
	status = io_write_full(fd, text, strlen(text));
	if (status == 0)
		status = io_write_full(fd, "\n", 1);
	return status < 0 ? error_set(error, status, "%s: %s", path, strerror(-status)) : 0;
}

/* All that the daemon sends until it hangs up; 0 or -errno with a sentence. */
static int client_receive(int fd, const char *path, struct buffer *answer, struct error *error)
{
	for (;;) {
		struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
		void *room = buffer_reserve(answer, READ_BYTES);
		ssize_t got;
		int ready;

		if (!room)
			return error_set(error, -errno, "%s: the answer is too long", path);
		ready = poll(&poll_fd, 1, ANSWER_WAIT_MS);
		if (ready < 0 && errno == EINTR)
			continue;
		if (ready == 0)
			return error_set(error, -ETIMEDOUT, "%s does not answer", path);
		got = read(fd, room, READ_BYTES);
		if (got < 0)
			return error_set(error, -errno, "%s: %s", path, strerror(errno));
		if (got == 0)
			return 0;
		answer->used += (size_t)got;
	}
}

int control_ask(const char *path, json_t *request, json_t **answer, struct error *error)
{
	autoclose int fd = io_unix_connect(path, error);
	struct buffer text;
	json_error_t where;
	const char *refusal;
	int status = fd < 0 ? fd : client_send(fd, path, request, error);

	json_decref(request);
	*answer = NULL;
	if (status < 0)
		return status;
	buffer_init(&text, ANSWER_BYTES_MAX);
	status = client_receive(fd, path, &text, error);
	if (status == 0)
		*answer = json_loadb((const char *)text.data, text.used, 0, &where);
	buffer_free(&text);
	if (status < 0)
		return status;
	refusal = json_string_value(json_object_get(*answer, "error"));
	if (json_is_object(*answer) && !refusal)
		return 0;
	if (refusal)
		error_set(error, -EREMOTEIO, "%s", refusal);
	else
		error_set(error, -EPROTO, "%s does not answer as a daemon of Causeway does", path);
	json_decref(*answer);
	*answer = NULL;
	return refusal ? -EREMOTEIO : -EPROTO;
}
