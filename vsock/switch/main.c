/* SPDX-License-Identifier: Apache-2.0 */
/*
 * causeway-switch: AF_VSOCK sockets between virtual machines and the host, as a vhost-user device.
 *
 * The way of data from a guest program to a host program, hop by hop:
 *
 *	 1. the guest's kernel puts packets into the transmit queue and kicks
 *	 2. lib/vhost/wait.c:vhost_wait_events   the VM's thread sees the chain, or wakes up
 *	 3. lib/vhost/queue.c:vhost_queue_pop    descriptors become vectors into guest memory
 *	 4. transmit.c:transmit_packet           the header's gate; the connection by its ports
 *	 5. transmit.c:transmit_data             sendmsg() from guest memory into the Unix socket
 *	 6. transmit.c:transmit_credit           the window opens again as the host program reads
 *
 * and back:
 *
 *	 7. vm.c:vm_connection_woken             the Unix socket has data
 *	 8. receive.c:receive_gather             receive buffers, as far as the guest's credit goes
 *	 9. receive.c:receive_data               recvmsg() from the Unix socket into guest memory
 *	10. receive.c:receive_deliver            headers; buffers back to the guest; interrupt
 *
 * Connections begin in transmit.c:transmit_request and host.c:host_accept. vm.h has the states.
 * Threads: one for each VM; this one waits for a signal to stop.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "lib/base/log.h"
#include "lib/vhost/fault.h"
#include "vsock/switch/vm.h"

#define MAIN_STACK_BYTES (256u << 10)

struct main_thread {
	struct vm *vm;
	pthread_t thread;
};

static void *main_serve(void *argument)
{
	struct main_thread *own = argument;
	char name[16];

	snprintf(name, sizeof(name), "vm-%s", own->vm->own->name);
	prctl(PR_SET_NAME, name);
	vm_run(own->vm);
	return NULL;
}

/* Each connection takes a descriptor. */
static void main_raise_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

static int main_start(struct main_thread *own)
{
	pthread_attr_t attributes;
	int status;

	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, MAIN_STACK_BYTES);
	status = pthread_create(&own->thread, &attributes, main_serve, own);
	pthread_attr_destroy(&attributes);
	if (status)
		log_error("no thread for VM '%s': %s", own->vm->own->name, strerror(status));
	return -status;
}

/* Serves until SIGTERM or SIGINT; threads inherit the blocked signals. */
static int main_run(const struct settings *settings, struct main_thread *threads)
{
	unsigned int started = 0;
	sigset_t signals;
	int number, status = 0;

	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	pthread_sigmask(SIG_BLOCK, &signals, NULL);
	while (started < settings->vm_count && status == 0) {
		status = main_start(&threads[started]);
		if (status == 0)
			started++;
	}
	if (status == 0) {
		log_info("serving %u VM%s", started, started == 1 ? "" : "s");
		sigwait(&signals, &number);
	}
	while (started) {
		started--;
		vm_stop(threads[started].vm);
		pthread_join(threads[started].thread, NULL);
	}
	return status;
}

int main(int argc, char **argv)
{
	static struct settings settings;
	struct main_thread *threads = NULL;
	struct error error = { 0 };
	unsigned int created = 0;
	int status;

	log_open("causeway-switch");
	main_raise_limit();
	signal(SIGPIPE, SIG_IGN); /* pipes of User-Mode Linux */
	status = settings_read(&settings, argc, argv, &error);
	if (status == 0 && settings.verbose)
		log_set_level(LOG_LEVEL_DEBUG);
	if (status == 0)
		status = vhost_fault_install();
	if (status == 0)
		threads = calloc(settings.vm_count, sizeof(*threads));
	while (threads && status == 0 && created < settings.vm_count) {
		threads[created].vm = vm_create(&settings, &settings.vms[created], &error);
		if (!threads[created].vm)
			status = error.code;
		else
			created++;
	}
	if (status < 0)
		log_error("%s", error.code ? error.text : strerror(-status));
	else
		status = main_run(&settings, threads);
	while (created)
		vm_destroy(threads[--created].vm);
	free(threads);
	settings_free(&settings);
	return status == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
