// SPDX-License-Identifier: GPL-2.0-only
/*
 * vsock_argo: AF_VSOCK between the domains of one Xen host, carried by the hypervisor (Argo).
 *
 * The way of a message:
 *   1. socket.c:argo_stream_enqueue, argo_seqpacket_enqueue, dgram.c:argo_dgram_send
 *							credit, and a frame's header
 *   2. send.c:argo_send_payload			the pieces of the program's buffer
 *   3. hypercall.c:argo_hypervisor_send		Xen copies them into the receiver's ring
 *   4. module.c:argo_interrupt				in the receiver's domain
 *   5. receive.c:argo_receive_tasklet, argo_drain	whole messages out of the ring
 *   6. check.h:argo_frame_check			the gate
 *   7. receive.c:argo_fast_frame, argo_data		out of the ring, into the socket's queue
 *   8. socket.c:argo_stream_dequeue			to the reader; credit goes back
 * Set-up and end of connections: connection.c. Who is there, and who has gone: peer.c. What is
 * shared, and its locks: argo.h. The wire: proto/argo-frame.h.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/module.h>
#include <linux/random.h>
#include <xen/events.h>
#include <xen/interface/xen.h>
#include <xen/xen.h>
#include <xen/xen-ops.h>
#include <xen/xenbus.h>

#include "argo.h"

#define ARGO_VIRQ		11
#define ARGO_HELLO_RING		(PAGE_SIZE - sizeof(struct argo_shared_ring))

unsigned int argo_ring_size = 256 << 10;
module_param_named(ring_size, argo_ring_size, uint, 0444);
MODULE_PARM_DESC(ring_size, "Bytes of the ring for each peer (default 262144)");

unsigned int argo_peer_memory = 256;
module_param_named(peer_memory, argo_peer_memory, uint, 0644);
MODULE_PARM_DESC(peer_memory, "MiB that a peer's unread bytes may take in all (default 256)");

unsigned int argo_spin_us = 200;
module_param_named(spin_us, argo_spin_us, uint, 0644);
MODULE_PARM_DESC(spin_us, "Microseconds that a wait may spin before it sleeps; up to ten times as many where wake-ups are slow (default 200, 0: never)");

unsigned int argo_watch_ms = 20;
module_param_named(watch_ms, argo_watch_ms, uint, 0644);
MODULE_PARM_DESC(watch_ms, "How often a peer with sockets is looked for, in milliseconds (default 20)");

struct argo argo;

static irqreturn_t argo_interrupt(int irq, void *unused)
{
	tasklet_schedule(&argo.tasklet);
	return IRQ_HANDLED;
}

/* argo_left_timeout - a reader did not come for the frame that was left to it */
static void argo_left_timeout(struct timer_list *unused)
{
	tasklet_schedule(&argo.tasklet);
}

/* argo_domain_find - this domain's own number; 0 or -errno */
static int argo_domain_find(void)
{
	unsigned int domain;
	int found;

	if (xen_initial_domain()) {
		argo.domain = 0;
		return 0;
	}
	found = xenbus_scanf(XBT_NIL, "domid", "", "%u", &domain);
	if (found != 1 || domain >= DOMID_FIRST_RESERVED)
		return found < 0 ? found : -EIO;
	argo.domain = domain;
	return 0;
}

/* argo_begin - a life of the module: its number, its epoch, its hello ring; 0 or -errno */
static int argo_begin(void)
{
	int code = argo_domain_find();

	if (code)
		return code;
	do {
		argo.epoch = get_random_u32();
	} while (!argo.epoch);
	return argo_ring_register(&argo.hello, ARGO_HELLO_RING, ARGO_PORT_HELLO, ARGO_NO_DOMAIN);
}

/*
 * argo_resume_work - the domain was saved and goes on, maybe under another number: Xen has
 * forgotten its rings, and whoever it was connected with has gone
 */
static void argo_resume_work(struct work_struct *work)
{
	int code;

	argo_peer_retire_all("was left by a restore");
	argo_ring_unregister(&argo.hello);
	tasklet_disable(&argo.tasklet);
	cancel_work_sync(&argo.hello_work);
	argo_ring_free(&argo.hello);
	code = argo_begin();
	tasklet_enable(&argo.tasklet);
	if (code)
		pr_err("no ring after the restore: error %d\n", -code);
}

static int argo_resumed(struct notifier_block *block, unsigned long event, void *unused)
{
	queue_work(system_long_wq, &argo.resume_work);
	return NOTIFY_OK;
}

static struct notifier_block argo_resume_block = { .notifier_call = argo_resumed };

/* argo_check_ring_size - a multiple of pages in all, within what the wire allows */
static void argo_check_ring_size(void)
{
	u32 wanted = clamp_t(u32, argo_ring_size, ARGO_RING_MIN, ARGO_RING_MAX);

	wanted = argo_round_up(wanted);
	if (wanted > ARGO_RING_MAX)
		wanted = ARGO_RING_MAX;
	if (wanted != argo_ring_size)
		pr_warn("ring_size=%u is not possible: %u is used\n", argo_ring_size, wanted);
	argo_ring_size = wanted;
}

/* argo_probe - one clear line where the module is of no use */
static int argo_probe(void)
{
	int code;

	if (!xen_domain()) {
		pr_err("this is no domain of a Xen host\n");
		return -ENODEV;
	}
	code = argo_hypervisor_probe();
	if (code) {
		pr_err("this hypervisor has no Argo (error %d): Xen has to be built with CONFIG_ARGO and started with argo=1,mac-permissive=1\n",
		       -code);
		return -ENODEV;
	}
	return 0;
}

/* argo_register - with the core; datagrams may belong to another transport already */
static int argo_register(void)
{
	int code = vsock_core_register(&argo_transport,
				       VSOCK_TRANSPORT_F_G2H | VSOCK_TRANSPORT_F_DGRAM);

	if (code == -EBUSY) {
		code = vsock_core_register(&argo_transport, VSOCK_TRANSPORT_F_G2H);
		if (!code)
			pr_notice("SOCK_DGRAM belongs to another transport\n");
	}
	if (code)
		pr_err("another transport of AF_VSOCK is loaded: remove it first (error %d)\n",
		       -code);
	return code;
}

static void argo_init_state(void)
{
	mutex_init(&argo.mutex);
	xa_init(&argo.peers);
	spin_lock_init(&argo.dgram_lock);
	hash_init(argo.dgrams);
	argo.dgram_port = LAST_RESERVED_PORT + 1 + get_random_u32() % (1U << 30);
	INIT_WORK(&argo.hello_work, argo_hello_work);
	INIT_WORK(&argo.resume_work, argo_resume_work);
	INIT_DELAYED_WORK(&argo.watch_work, argo_watch_work);
	tasklet_setup(&argo.tasklet, argo_receive_tasklet);
	timer_setup(&argo.left_timer, argo_left_timeout, 0);
}

static int __init argo_module_init(void)
{
	int code = argo_probe();

	if (code)
		return code;
	argo_check_ring_size();
	argo_init_state();
	argo.queue = alloc_workqueue("vsock_argo", WQ_UNBOUND | WQ_HIGHPRI, 0);
	if (!argo.queue)
		return -ENOMEM;
	code = argo_begin();
	if (code == -EPERM)
		pr_err("Xen refuses a ring for greetings: start it with argo=1,mac-permissive=1\n");
	else if (code)
		pr_err("no ring for greetings: error %d\n", -code);
	if (code)
		goto no_ring;
	code = bind_virq_to_irqhandler(ARGO_VIRQ, 0, argo_interrupt, 0, "vsock_argo", &argo);
	if (code < 0) {
		pr_err("no interrupt from Xen: error %d\n", -code);
		goto no_irq;
	}
	argo.irq = code;
	code = argo_register();
	if (code)
		goto no_core;
	xen_resume_notifier_register(&argo_resume_block);
	argo_debug_create();
	tasklet_schedule(&argo.tasklet);
	return 0;

no_core:
	unbind_from_irqhandler(argo.irq, &argo);
no_irq:
	tasklet_kill(&argo.tasklet);
	argo_ring_unregister(&argo.hello);
	destroy_workqueue(argo.queue);
	argo_ring_free(&argo.hello);
	return code;
no_ring:
	destroy_workqueue(argo.queue);
	return code;
}

/* The core keeps the module while there is a socket, so there is nobody left to disturb. */
static void __exit argo_module_exit(void)
{
	struct argo_peer *peer;
	unsigned long domain;

	argo_debug_remove();
	xen_resume_notifier_unregister(&argo_resume_block);
	cancel_work_sync(&argo.resume_work);
	vsock_core_unregister(&argo_transport);
	argo_ring_unregister(&argo.hello);
	unbind_from_irqhandler(argo.irq, &argo);
	del_timer_sync(&argo.left_timer);
	tasklet_kill(&argo.tasklet);
	cancel_work_sync(&argo.hello_work);
	cancel_delayed_work_sync(&argo.watch_work);
	mutex_lock(&argo.mutex);
	xa_for_each(&argo.peers, domain, peer)
		argo_send_bye(peer);
	mutex_unlock(&argo.mutex);
	argo_peer_retire_all("is left");
	flush_workqueue(argo.queue);
	rcu_barrier(); /* peers are freed by works that RCU queues */
	destroy_workqueue(argo.queue);
	tasklet_kill(&argo.tasklet);
	argo_ring_free(&argo.hello);
	xa_destroy(&argo.peers);
}

module_init(argo_module_init);
module_exit(argo_module_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("AF_VSOCK over Xen's Argo");
MODULE_VERSION("0.1.0");
MODULE_ALIAS_NETPROTO(PF_VSOCK);
