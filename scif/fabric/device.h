/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A card behind a SCIF driver of this host: endpoints of VMs that connect to it are endpoints of
 * the driver, and their calls become its calls, one for one.
 *
 * The driver is an unchanged one of the MPSS 3 kind (or scif/guest/vphi.ko). What cannot wait is
 * done by the loop; connects and messages are tried without blocking, and the driver's poll says
 * when to try again (one thread watches all of them); what may take long has a thread of its own
 * while it lasts, and signals to that thread end it early.
 *
 * A window's pages, scattered as they are in the guest, are mapped here side by side and registered
 * at the driver with one call, under the offset that scifd chose. The pages are the guest's again
 * when the driver has let go of them: after its unregister, or the close of its endpoint.
 *
 * The card's programs connect to ports of the host, node 0. A VM with hears= is that for them: each
 * of its listeners listens at the driver, too (->hears), as far as the port is free there, and
 * hands out what comes from cards that the VM sees.
 *
 * Limit: host processes use the driver themselves.
 */
#ifndef CAUSEWAY_SCIF_FABRIC_DEVICE_H
#define CAUSEWAY_SCIF_FABRIC_DEVICE_H

#include "scif/fabric/fabric.h"

/* What is asked of the system; tests put a driver of their own here. */
struct device_system {
	int (*open)(const char *path);
	int (*control)(int fd, unsigned long number, void *argument);
	void *(*map)(int fd, uint64_t bytes, int prot, uint64_t offset);
};

/* The system's own calls, unless a test has put others here. */
extern struct device_system device_system;

/* device_start - the thread that watches drivers' endpoints; 0 or -errno */
int device_start(struct fabric *fabric);
void device_stop(struct fabric *fabric);

/**
 * device_connect - begin a connect to the card, or look how far it is; (F)
 *
 * Return: -EINPROGRESS: the endpoint will be notified; 0; or why not, and ->device is gone.
 */
int device_connect(struct endpoint *endpoint, const struct node *card);
/* device_listen - the listener's port at the card's driver, too; 0 or what it says; (F) */
int device_listen(struct endpoint *endpoint, const struct node *card);
/* device_accept - who waits at the driver, as @made; its node there. 0, -EAGAIN, -errno; (F) */
int device_accept(struct endpoint *listener, struct endpoint *made, uint16_t *node, uint16_t *port);

/* Handlers for endpoints with ->device; as in fabric.h. (F) is held in all but send and receive. */
int device_send(struct call *call);
int device_receive(struct call *call);
int device_register(struct call *call, struct window *window);
int device_unregister(struct call *call);
int device_copy(struct call *call);
int device_fence(struct call *call);

/* device_poll - the driver's answer; device_want - notify the endpoint when @mask may be there */
uint32_t device_poll(struct endpoint *endpoint);
void device_want(struct endpoint *endpoint, uint32_t mask);
/* device_may_map - 0, or what the driver says against mapping that range */
int device_may_map(struct endpoint *endpoint, uint64_t offset, uint64_t bytes, uint32_t prot);
int device_fd(const struct endpoint *endpoint);
/* device_free - the driver's endpoints of ours */
void device_free(struct endpoint *endpoint);
/* device_finish - end a call's task, and wait until it has; for a guest that goes. Without (F). */
void device_finish(struct call *call);

#endif
