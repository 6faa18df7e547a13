/* SPDX-License-Identifier: Apache-2.0 */
/*
 * causeway-switch: AF_VSOCK sockets between virtual machines and the host, as a vhost-user device.
 *
 * The way of data from a guest program to a host program, hop by hop:
 *
 *	 1. the guest's kernel puts packets into the transmit queue and kicks
 *	 2. worker.c:worker_turn                 the VM's worker sees the chain, or wakes up
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
 * From a guest to another, behind hop 4:
 *
 *	 5. flow.c:flow_packet                   the flow by its ports; its state
 *	 6. flow_data.c:flow_data                now, or kept for the flow's turn: flow_resume
 *	 7. deliver.c:delivery_data              from one guest's buffers into the other's
 *	 8. deliver.c:delivery_end               one interrupt for all of them
 *
 * Connections begin in transmit.c:transmit_request and host.c:host_accept, flows in
 * flow.c:flow_request. vm.h and flow.h have the states, switch.h the registry of VMs, the threads
 * and the locks. This thread serves the control socket and waits for a signal to stop.
 */
#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "lib/base/log.h"
#include "lib/base/ready.h"
#include "lib/vhost/fault.h"
#include "vsock/switch/capture_file.h"
#include "vsock/switch/control.h"
#include "vsock/switch/switch.h"

/* Memory that a moment needed goes back: no heap for each thread, and large blocks are unmapped. */
static void main_set_allocator(void)
{
	mallopt(M_ARENA_MAX, 1);
	mallopt(M_MMAP_THRESHOLD, 128 << 10);
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

/* Signals are the main thread's: workers, which are started later, inherit the mask. */
static void main_block_signals(void)
{
	sigset_t signals;

	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &signals, NULL);
}

/* Serves until SIGTERM or SIGINT. */
static int main_run(struct settings *settings, int argc, char **argv, struct error *error)
{
	static struct vsock_switch sw;
	struct control control;
	int status;

	main_block_signals();
	status = switch_open(&sw, settings, error);
	for (unsigned int i = 0; i < settings->vm_count && status == 0; i++)
		status = switch_vm_add(&sw, &settings->vms[i], error);
	if (status == 0 && settings->capture)
		status = capture_file_start(settings->capture, error);
	if (status == 0)
		status = control_open(&control, &sw, argc, argv, error);
	if (status == 0) {
		log_info("serving %u VM%s", sw.vm_count, sw.vm_count == 1 ? "" : "s");
		ready_tell();
		status = control_run(&control);
		control_close(&control);
	}
	switch_close(&sw);
	capture_file_stop();
	return status;
}

int main(int argc, char **argv)
{
	static struct settings settings;
	struct error error = { 0 };
	int status;

	log_open("causeway-switch");
	main_set_allocator();
	main_raise_limit();
	signal(SIGPIPE, SIG_IGN); /* pipes of User-Mode Linux */
	status = settings_read(&settings, argc, argv, &error);
	if (status == 0 && settings.verbose)
		log_set_level(LOG_LEVEL_DEBUG);
	if (status == 0)
		status = vhost_fault_install();
	if (status == 0)
		status = main_run(&settings, argc, argv, &error);
	if (status < 0)
		log_error("%s", error.code ? error.text : strerror(-status));
	settings_free(&settings);
	return status == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
