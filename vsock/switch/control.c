/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The main thread's loop and the commands of the control socket; see control.h.
 *
 *	status                                     the report, with flows
 *	vm-list                                    the report without
 *	vm-add name cid socket [host_socket groups limit_mib_s]
 *	vm-remove name
 *	capture file                               file null: end the capture
 *	reload                                     as SIGHUP
 */
#include "vsock/switch/control.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/clean.h"
#include "lib/base/io.h"
#include "lib/base/log.h"
#include "lib/control/server.h"
#include "lib/metrics/exporter.h"
#include "vsock/switch/capture_file.h"

#define CONTROL_ACCEPT_BUDGET 16
#define CONTROL_REST_MS	      200

/* Fills @vm from a request; strings stay the request's. 0 or -errno with a sentence. */
static int control_parse_vm(const json_t *request, struct settings_vm *vm, struct error *error)
{
	json_t *host_socket = NULL, *groups = NULL, *group;
	json_int_t cid, limit = 0;
	json_error_t where;
	size_t i;

	/* json_unpack only reads; its parameter lacks the const. */
	if (json_unpack_ex((json_t *)request, &where, 0, "{s:s, s:I, s:s, s?o, s?o, s?I}", "name",
			   &vm->name, "cid", &cid, "socket", &vm->socket, "host_socket",
			   &host_socket, "groups", &groups, "limit_mib_s", &limit) < 0)
		return error_set(error, -EINVAL, "vm-add: %s", where.text);
	if (cid < 0 || limit < 0 || limit > SETTINGS_LIMIT_MIB_MAX)
		return error_set(error, -EINVAL, "vm-add: %s is %lld: expected 0 to %u",
				 cid < 0 ? "cid" : "limit_mib_s",
				 (long long)(cid < 0 ? cid : limit), SETTINGS_LIMIT_MIB_MAX);
	vm->cid = (uint64_t)cid;
	vm->limit_bytes_per_s = (uint64_t)limit << 20;
	vm->host_socket = (char *)json_string_value(host_socket);
	vm->added = true;
	json_array_foreach(groups, i, group)
	{
		const char *name = json_string_value(group);

		if (settings_vm_add_group(vm, name ? name : "", error) < 0)
			return -EINVAL;
	}
	return 0;
}

/* The settings first, since they have the gate and the policy needs them; then the VM itself. */
static int control_add(struct vsock_switch *sw, const json_t *request, struct error *error)
{
	struct settings_vm vm = { 0 }, *own;
	int status = control_parse_vm(request, &vm, error);

	if (status < 0)
		return status;
	pthread_rwlock_wrlock(&sw->rules_lock);
	status = settings_put_vm(sw->settings, &vm, error);
	pthread_rwlock_unlock(&sw->rules_lock);
	if (status < 0)
		return status;
	own = settings_find_vm(sw->settings, vm.name);
	status = switch_vm_add(sw, own, error);
	if (status == 0) {
		log_info("VM '%s', cid %llu: added", own->name, (unsigned long long)own->cid);
		return 0;
	}
	pthread_rwlock_wrlock(&sw->rules_lock);
	settings_drop_vm(sw->settings, own);
	pthread_rwlock_unlock(&sw->rules_lock);
	return status;
}

static int control_remove(struct vsock_switch *sw, const json_t *request, struct error *error)
{
	const char *name = json_string_value(json_object_get(request, "name"));
	struct settings_vm *own;
	int status;

	if (!name)
		return error_set(error, -EINVAL, "vm-remove: expected a name");
	status = switch_vm_remove(sw, name, error);
	own = settings_find_vm(sw->settings, name);
	if (status < 0 || !own)
		return status;
	log_info("VM '%s': removed", name);
	pthread_rwlock_wrlock(&sw->rules_lock);
	settings_drop_vm(sw->settings, own);
	pthread_rwlock_unlock(&sw->rules_lock);
	return 0;
}

static int control_capture(const json_t *request, struct error *error)
{
	const json_t *file = json_object_get(request, "file");
	uint64_t taken, lost;

	if (json_is_string(file))
		return capture_file_start(json_string_value(file), error);
	if (!json_is_null(file))
		return error_set(error, -EINVAL, "capture: file: expected a path or null");
	if (!capture_file_count(&taken, &lost))
		return error_set(error, -ENOENT, "no capture runs");
	capture_file_stop();
	return 0;
}

static json_t *control_handle(void *context, const char *command, const json_t *request)
{
	struct control *control = context;
	struct error error = { 0 };
	int status;

	if (strcmp(command, "status") == 0)
		return report_switch(control, true);
	if (strcmp(command, "vm-list") == 0)
		return report_switch(control, false);
	if (strcmp(command, "vm-add") == 0)
		status = control_add(control->sw, request, &error);
	else if (strcmp(command, "vm-remove") == 0)
		status = control_remove(control->sw, request, &error);
	else if (strcmp(command, "capture") == 0)
		status = control_capture(request, &error);
	else if (strcmp(command, "reload") == 0)
		status = reload_settings(control->sw, control->argc, control->argv, &error);
	else
		return control_refusal("causeway-switch has no command '%s'", command);
	return status < 0 ? control_refusal("%s", error.text) : json_object();
}

static json_t *control_compose_metrics(void *context)
{
	return report_switch(context, false);
}

static void control_accept(evutil_socket_t listener, short what, void *context)
{
	static const struct timeval rest = { .tv_usec = CONTROL_REST_MS * 1000 };
	struct control *control = context;

	(void)what;
	for (int i = 0; i < CONTROL_ACCEPT_BUDGET; i++) {
		int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd >= 0) {
			control_serve(control->base, fd, control_handle, control);
		} else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM) {
			event_del(control->accepting);
			event_add(control->accept_again, &rest);
			return;
		} else if (errno != ECONNABORTED && errno != EINTR) {
			return;
		}
	}
}

static void control_accept_again(evutil_socket_t fd, short what, void *context)
{
	struct control *control = context;

	(void)fd;
	(void)what;
	event_add(control->accepting, NULL);
}

static void control_signalled(evutil_socket_t number, short what, void *context)
{
	struct control *control = context;
	struct error error = { 0 };

	(void)what;
	if (number != SIGHUP)
		event_base_loopbreak(control->base);
	else if (reload_settings(control->sw, control->argc, control->argv, &error) < 0)
		log_error("nothing is changed: %s", error.text);
}

/* The usual folder is made; any other is the user's to make. */
static void control_make_folder(const char *path)
{
	autofree char *folder = strdup(path);
	char *slash = folder ? strrchr(folder, '/') : NULL;

	if (!slash || strcmp(path, settings_control_default()) != 0)
		return;
	*slash = '\0';
	mkdir(folder, 0755); /* whatever fails here shows when the socket is made */
}

static int control_listen(struct control *control, struct error *error)
{
	const char *path = control->sw->settings->control;

	if (!path)
		return 0;
	control_make_folder(path);
	control->listener = io_unix_listen(path, 0600, error);
	if (control->listener < 0)
		return control->listener;
	control->accepting = event_new(control->base, control->listener, EV_READ | EV_PERSIST,
				       control_accept, control);
	control->accept_again = evtimer_new(control->base, control_accept_again, control);
	if (!control->accepting || !control->accept_again ||
	    event_add(control->accepting, NULL) < 0)
		return error_set(error, -ENOMEM, "out of memory");
	return 0;
}

static int control_watch_signals(struct control *control, struct error *error)
{
	static const int numbers[] = { SIGTERM, SIGINT, SIGHUP };
	sigset_t signals;

	sigemptyset(&signals);
	for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++) {
		control->signals[i] =
			evsignal_new(control->base, numbers[i], control_signalled, control);
		if (!control->signals[i] || event_add(control->signals[i], NULL) < 0)
			return error_set(error, -ENOMEM, "no event for signals");
		sigaddset(&signals, numbers[i]);
	}
	/* The workers keep them blocked; here they may come now. */
	pthread_sigmask(SIG_UNBLOCK, &signals, NULL);
	return 0;
}

int control_open(struct control *control, struct vsock_switch *sw, int argc, char **argv,
		 struct error *error)
{
	int status;

	*control = (struct control){
		.sw = sw, .argc = argc, .argv = argv, .since = time(NULL), .listener = -1
	};
	control->base = event_base_new();
	status = control->base ? control_watch_signals(control, error)
			       : error_set(error, -ENOMEM, "no event loop");
	if (status == 0)
		status = control_listen(control, error);
	if (status == 0 && sw->settings->metrics) {
		control->exporter = exporter_open(control->base, sw->settings->metrics,
						  control_compose_metrics, control, error);
		status = control->exporter ? 0 : -EINVAL;
	}
	if (status < 0)
		control_close(control);
	return status;
}

int control_run(struct control *control)
{
	return event_base_dispatch(control->base) < 0 ? -EIO : 0;
}

void control_close(struct control *control)
{
	exporter_close(control->exporter);
	if (control->listener >= 0) {
		unlink(control->sw->settings->control);
		close(control->listener);
	}
	if (control->accepting)
		event_free(control->accepting);
	if (control->accept_again)
		event_free(control->accept_again);
	for (size_t i = 0; i < sizeof(control->signals) / sizeof(*control->signals); i++)
		if (control->signals[i])
			event_free(control->signals[i]);
	if (control->base)
		event_base_free(control->base);
}
