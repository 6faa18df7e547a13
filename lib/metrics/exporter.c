/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libmicrohttpd inside libevent's loop; see exporter.h.
 *
 * libmicrohttpd keeps its sockets in an epoll set of its own; that set is what libevent watches.
 * While a connection is open it also wants to be called at a certain time, to close slow ones.
 */
#include "lib/metrics/exporter.h"

#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/clean.h"
#include "lib/base/io.h"
#include "lib/metrics/page.h"
#include "lib/metrics/report.h"

#define EXPORTER_CONNECTIONS  16
#define EXPORTER_TIME_S	      10
#define EXPORTER_TEXT_BYTES   (16u << 20)
#define EXPORTER_TYPE_METRICS "text/plain; version=0.0.4; charset=utf-8"
#define EXPORTER_TYPE_TEXT    "text/plain; charset=utf-8"

struct exporter {
	exporter_compose *compose;
	void *context;
	struct MHD_Daemon *server;
	struct event *event;
	char *path; /* of the Unix socket; NULL for TCP */
};

/* exporter_reply - one answer; @policy: what a browser may do with it, NULL for nothing at all */
static enum MHD_Result exporter_reply(struct MHD_Connection *connection, unsigned int status,
				      const char *type, const char *policy, const void *body,
				      size_t bytes)
{
	/* Of others' pages none may read this, none may show it, and nothing guesses what it is. */
	const char *const headers[][2] = {
		{ MHD_HTTP_HEADER_CONTENT_TYPE, type },
		{ MHD_HTTP_HEADER_CACHE_CONTROL, "no-store" },
		{ "Content-Security-Policy",
		  policy ? policy : "default-src 'none'; frame-ancestors 'none'" },
		{ "Cross-Origin-Opener-Policy", "same-origin" },
		{ "Cross-Origin-Resource-Policy", "same-origin" },
		{ "Referrer-Policy", "no-referrer" },
		{ "X-Content-Type-Options", "nosniff" },
		{ "X-Frame-Options", "DENY" },
	};
	struct MHD_Response *response =
		MHD_create_response_from_buffer(bytes, (void *)body, MHD_RESPMEM_MUST_COPY);
	enum MHD_Result result;

	if (!response)
		return MHD_NO;
	for (size_t i = 0; i < sizeof(headers) / sizeof(*headers); i++)
		MHD_add_response_header(response, headers[i][0], headers[i][1]);
	result = MHD_queue_response(connection, status, response);
	MHD_destroy_response(response);
	return result;
}

static enum MHD_Result exporter_say(struct MHD_Connection *connection, unsigned int status,
				    const char *sentence)
{
	return exporter_reply(connection, status, EXPORTER_TYPE_TEXT, NULL, sentence,
			      strlen(sentence));
}

/*
 * exporter_named - whether a browser asked this host by a name of its own. Another site's name may
 * be made to lead here (DNS rebinding), and then its pages could read what the report says.
 */
static bool exporter_named(const struct exporter *exporter, struct MHD_Connection *connection)
{
	const char *host =
		MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_HOST);
	size_t length;

	if (exporter->path)
		return true; /* no browser comes by a Unix socket, and whoever does may read it */
	if (!host)
		return false;
	length = strcspn(host, *host == '[' ? "]" : ":");
	if (*host == '[')
		return !strncmp(host, "[::1]", 5) && (!host[5] || host[5] == ':');
	if (length == strlen("localhost") && !strncasecmp(host, "localhost", length))
		return true;
	return !strncmp(host, "127.", 4) && strspn(host, "0123456789.") == length;
}

static enum MHD_Result exporter_report(struct MHD_Connection *connection, const json_t *report)
{
	char *text = json_dumps(report, JSON_COMPACT);
	enum MHD_Result result = MHD_NO;

	if (text)
		result = exporter_reply(connection, MHD_HTTP_OK, "application/json", NULL, text,
					strlen(text));
	free(text);
	return result;
}

static enum MHD_Result exporter_metrics(struct MHD_Connection *connection, const json_t *report)
{
	enum MHD_Result result = MHD_NO;
	struct buffer text;

	buffer_init(&text, EXPORTER_TEXT_BYTES);
	if (report_write_metrics(report, &text) == 0)
		result = exporter_reply(connection, MHD_HTTP_OK, EXPORTER_TYPE_METRICS, NULL,
					text.data, text.used);
	buffer_free(&text);
	return result;
}

static enum MHD_Result exporter_handle(void *context, struct MHD_Connection *connection,
				       const char *url, const char *method, const char *version,
				       const char *data, size_t *data_bytes, void **state)
{
	const struct exporter *exporter = context;
	enum MHD_Result result;
	json_t *report;

	(void)version;
	(void)data;
	(void)data_bytes;
	(void)state;
	if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
		return exporter_say(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "GET only\n");
	if (!exporter_named(exporter, connection))
		return exporter_say(connection, MHD_HTTP_FORBIDDEN,
				    "ask for localhost, 127.0.0.1 or [::1]\n");
	if (!strcmp(url, "/"))
		return exporter_reply(connection, MHD_HTTP_OK, "text/html; charset=utf-8",
				      page_policy, page, page_bytes);
	if (strcmp(url, "/metrics") != 0 && strcmp(url, "/report.json") != 0)
		return exporter_say(connection, MHD_HTTP_NOT_FOUND,
				    "the metrics are at /metrics, a page for people is at /\n");
	report = exporter->compose(exporter->context);
	if (!report)
		return MHD_NO;
	result = !strcmp(url, "/metrics") ? exporter_metrics(connection, report)
					  : exporter_report(connection, report);
	json_decref(report);
	return result;
}

static void exporter_arm(struct exporter *exporter)
{
	MHD_UNSIGNED_LONG_LONG wait_ms;
	struct timeval wait;

	if (MHD_get_timeout(exporter->server, &wait_ms) != MHD_YES) {
		event_add(exporter->event, NULL);
		return;
	}
	wait.tv_sec = (time_t)(wait_ms / 1000);
	wait.tv_usec = (suseconds_t)(wait_ms % 1000) * 1000;
	event_add(exporter->event, &wait);
}

static void exporter_woken(evutil_socket_t fd, short what, void *context)
{
	struct exporter *exporter = context;

	(void)fd;
	(void)what;
	MHD_run(exporter->server);
	event_del(exporter->event); /* and with it a time limit that no longer holds */
	exporter_arm(exporter);
}

/* A listening TCP socket on an address of this host alone; -errno with a sentence. */
static int exporter_listen_tcp(const char *address, struct error *error)
{
	static const char expected[] = "expected /PATH, 127.0.0.1:PORT or [::1]:PORT";
	struct sockaddr_in ipv4 = { .sin_family = AF_INET };
	struct sockaddr_in6 ipv6 = { .sin6_family = AF_INET6, .sin6_addr = in6addr_loopback };
	const char *colon = strrchr(address, ':');
	bool six = strncmp(address, "[::1]:", 6) == 0;
	autofree char *host = strndup(address, colon ? (size_t)(colon - address) : 0);
	autoclose int fd = -1;
	int one = 1, status;
	char *end;
	long port;

	port = colon && colon[1] >= '0' && colon[1] <= '9' ? strtol(colon + 1, &end, 10) : -1;
	if (!host || port < 0 || port > 65535 || *end)
		return error_set(error, -EINVAL, "metrics address '%s': %s", address, expected);
	if (!six && (inet_pton(AF_INET, host, &ipv4.sin_addr) != 1 ||
		     ntohl(ipv4.sin_addr.s_addr) >> 24 != IN_LOOPBACKNET))
		return error_set(error, -EINVAL, "metrics address '%s' is not of this host: %s",
				 address, expected);
	ipv4.sin_port = ipv6.sin6_port = htons((uint16_t)port);
	fd = socket(six ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return error_set(error, -errno, "metrics: %s", strerror(errno));
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (six)
		status = bind(fd, (struct sockaddr *)&ipv6, sizeof(ipv6));
	else
		status = bind(fd, (struct sockaddr *)&ipv4, sizeof(ipv4));
	if (status < 0 || listen(fd, EXPORTER_CONNECTIONS) < 0)
		return error_set(error, -errno, "metrics address '%s': %s", address,
				 strerror(errno));
	return steal_fd(&fd);
}

static int exporter_listen(struct exporter *exporter, const char *address, struct error *error)
{
	int fd;

	if (*address != '/')
		return exporter_listen_tcp(address, error);
	fd = io_unix_listen(address, 0600, error);
	if (fd < 0)
		return fd;
	exporter->path = strdup(address);
	if (exporter->path)
		return fd;
	close(fd);
	unlink(address);
	return error_set(error, -ENOMEM, "out of memory");
}

static int exporter_start(struct exporter *exporter, struct event_base *base, int fd,
			  struct error *error)
{
	const union MHD_DaemonInfo *info;

	exporter->server = MHD_start_daemon(
		MHD_USE_EPOLL, 0, NULL, NULL, exporter_handle, exporter, MHD_OPTION_LISTEN_SOCKET,
		fd, MHD_OPTION_CONNECTION_LIMIT, EXPORTER_CONNECTIONS,
		MHD_OPTION_CONNECTION_TIMEOUT, EXPORTER_TIME_S, MHD_OPTION_END);
	if (!exporter->server) {
		close(fd);
		return error_set(error, -ENOMEM, "metrics: libmicrohttpd does not start");
	}
	info = MHD_get_daemon_info(exporter->server, MHD_DAEMON_INFO_EPOLL_FD);
	if (info && info->epoll_fd >= 0)
		exporter->event = event_new(base, info->epoll_fd, EV_READ | EV_PERSIST,
					    exporter_woken, exporter);
	if (!exporter->event)
		return error_set(error, -ENOMEM, "metrics: no event for libmicrohttpd");
	exporter_arm(exporter);
	return 0;
}

struct exporter *exporter_open(struct event_base *base, const char *address,
			       exporter_compose *compose, void *context, struct error *error)
{
	struct exporter *exporter = calloc(1, sizeof(*exporter));
	int fd;

	if (!exporter) {
		error_set(error, -ENOMEM, "out of memory");
		return NULL;
	}
	exporter->compose = compose;
	exporter->context = context;
	fd = exporter_listen(exporter, address, error);
	if (fd < 0 || exporter_start(exporter, base, fd, error) < 0) {
		exporter_close(exporter);
		return NULL;
	}
	return exporter;
}

void exporter_close(struct exporter *exporter)
{
	if (!exporter)
		return;
	if (exporter->event)
		event_free(exporter->event);
	if (exporter->server)
		MHD_stop_daemon(exporter->server); /* closes the listening socket too */
	if (exporter->path)
		unlink(exporter->path);
	free(exporter->path);
	free(exporter);
}
