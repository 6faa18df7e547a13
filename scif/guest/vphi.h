/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * vphi: the parts of the driver, and what they share.
 *
 * Objects and their lifetimes:
 *
 *	vphi_device	from probe until remove and the last open file (refs)
 *	vphi_endpoint	an open file
 *	vphi_window	registered pages, from REGISTER until the device's RELEASED, or its reset
 *	vphi_mapping	memory of the other side in a program, from mmap until its last part is gone
 *	vphi_call	one request; held by who made it and by the device that has its chain (refs)
 *
 * Locks, the outer one first:
 *
 *	endpoints_mutex		no endpoint is freed
 *	vphi_queue.lock		a ring and the counters beside it; interrupts off
 *	the xarrays' own	endpoints and windows by their numbers; interrupts off
 *
 * They are never nested but in that order, and nothing sleeps under the last two. The device's
 * `dead` is written once, before any chain is taken from it, and may be read without a lock.
 */
#ifndef VPHI_H
#define VPHI_H

#include <linux/completion.h>
#include <linux/fs.h>
#include <linux/kref.h>
#include <linux/llist.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/poll.h>
#include <linux/refcount.h>
#include <linux/scatterlist.h>
#include <linux/virtio.h>
#include <linux/virtio_config.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>

#include "scif-ioctl.h"
#include "../../proto/scif-virtio.h"

/*
 * Pages of one chain. With the two structures that is a table of descriptors which fits one page:
 * it is allocated with interrupts off, where more could not be had for certain.
 */
#define VPHI_PIECE_PAGES 253
#define VPHI_PIECES_AHEAD 8 /* of one long copy, on their way at once */
#define VPHI_SMALL_PAGES 2 /* payload of so many pages takes no further memory */
#define VPHI_EVENTS 32
#define VPHI_END_TIMEOUT (5 * HZ) /* for calls that end something: then nobody waits any more */
#define VPHI_EXTENTS 256 /* parts of a mapping of the guest's own memory */

/* How long waits lasted lately; updates may be lost, they are hints. */
struct vphi_history {
	u32 spin_ns;
	u32 copy_ns; /* that 64 KiB of a long copy took; 0: not known */
};

/* Requests by what they may keep busy: see scif-virtio.h, "Time". */
enum vphi_kind {
	VPHI_SHORT, /* comes back at once */
	VPHI_COPY, /* comes back when a copy is done */
	VPHI_WAIT, /* comes back when somebody else does something */
	VPHI_KINDS
};

struct vphi_queue {
	struct vphi_device *device;
	struct virtqueue *vq;
	spinlock_t lock; /* everything below, and the ring */
	unsigned int busy[VPHI_KINDS]; /* chains that the device has */
	unsigned int limit[VPHI_KINDS]; /* of chains of that kind and those before it */
	unsigned int spinners; /* threads that look at the ring: no interrupts meanwhile */
	bool interrupts;
	wait_queue_head_t room; /* woken when chains came back */
	struct vphi_history history; /* of short calls */
	char name[16];
};

struct vphi_device {
	struct virtio_device *vdev;
	struct kref refs;
	bool dead;
	struct virtio_shm_region shm;
	bool has_shm;
	unsigned int queue_count;
	struct vphi_queue queues[SCIF_VIRTIO_REQUEST_QUEUES_MAX];
	struct virtqueue *event_vq;
	spinlock_t event_lock; /* the event queue's ring */
	struct scif_virtio_event *events;
	struct xarray endpoints; /* by the device's number */
	struct mutex endpoints_mutex; /* against the end of an endpoint: for the device's own end */
	struct xarray windows; /* by cookie */
	struct xarray mappings; /* by the device's number; entries say no more than that it is */
	u32 next_cookie; /* under the windows' lock */
	atomic_t next_tag;
	atomic_t endpoint_count;
	atomic_long_t pinned_pages; /* of windows and of calls */
	struct llist_head leftovers; /* calls that nobody waits for, windows to be unpinned */
	struct llist_head released;
	struct workqueue_struct *worker;
	struct work_struct tidy_work;
	struct work_struct nodes_work;
	struct device *cards[SCIF_VIRTIO_NODES_MAX];
};

/* The program's pages, or none. */
struct vphi_payload {
	struct page **pages;
	unsigned int count;
	bool writable; /* the device writes them */
	bool pinned; /* for this call: unpinned with it */
	struct scatterlist *sgs; /* of the table, or `small` */
	struct sg_table table;
	struct page *small_pages[VPHI_SMALL_PAGES];
	struct scatterlist small[VPHI_SMALL_PAGES];
};

struct vphi_call {
	struct scif_virtio_request request;
	struct scif_virtio_reply reply;
	struct vphi_device *device;
	struct vphi_queue *queue;
	enum vphi_kind kind;
	refcount_t refs;
	struct completion done;
	bool finished; /* the device has given it back */
	bool claimed; /* of an OPEN: somebody took the endpoint */
	struct vphi_payload payload;
	void *buffer; /* payload in the kernel's memory instead, written by the device */
	unsigned int buffer_bytes;
	struct llist_node node;
};

struct vphi_endpoint {
	struct vphi_device *device;
	u32 number;
	bool connected; /* it was, once */
	fl_owner_t acceptor; /* the files of a thread that waits in accept */
	u32 accept_tag;
	wait_queue_head_t wait; /* for poll, and for room in the other side's ring */
	atomic_t interest; /* what pollers asked for since the last event */
	struct vphi_history history; /* of calls that wait for the other side */
	struct address_space *mapping; /* of its file: where its mappings can be found */
};

struct vphi_window {
	refcount_t refs; /* of the xarray, then of the worker; of who uses it */
	u32 cookie;
	bool writable;
	bool pinned;
	unsigned long page_count;
	struct page **pages;
	struct llist_node node;
};

/* call.c: requests and their way through the rings */
int vphi_call_init(void);
void vphi_call_exit(void);
struct vphi_call *vphi_call_new(struct vphi_device *device, u32 endpoint, u32 call,
				enum vphi_kind kind);
void vphi_call_put(struct vphi_call *call);
int vphi_call_submit(struct vphi_call *call);
int vphi_call_try(struct vphi_call *call);
bool vphi_call_tried(struct vphi_call *call, int *status);
int vphi_call_wait(struct vphi_call *call, struct vphi_history *history);
int vphi_call_collect(struct vphi_call *call, struct vphi_history *history);
int vphi_call_run(struct vphi_call *call, struct vphi_history *history);
int vphi_call_end(struct vphi_call *call);
void vphi_call_cancel(struct vphi_call *call);
void vphi_cancel_tag(struct vphi_device *device, u32 endpoint, u32 tag);
void vphi_queue_interrupt(struct virtqueue *vq);
void vphi_call_finish(struct vphi_call *call);
void vphi_queue_reap(struct vphi_queue *queue);
void vphi_queue_interrupts(struct vphi_queue *queue);
void vphi_tidy(struct work_struct *work);

/* wait.c: spin or sleep */
bool vphi_wait_spin(struct vphi_call *call, struct vphi_history *history);
void vphi_wait_learn(const struct vphi_call *call, struct vphi_history *history, u64 spun_ns,
		     u64 waited_ns);

/* pages.c: the program's memory */
int vphi_pages_init(void);
void vphi_pages_exit(void);
int vphi_pin(struct vphi_device *device, unsigned long address, unsigned long count,
	     struct page **pages, bool writable, bool long_term);
void vphi_unpin(struct vphi_device *device, struct page **pages, unsigned long count,
		bool writable);
int vphi_payload_pin(struct vphi_call *call, unsigned long address, size_t bytes, bool writable);
int vphi_payload_pages(struct vphi_call *call, struct page **pages, unsigned int count,
		       bool writable);
void vphi_payload_free(struct vphi_call *call);

/* endpoint.c, message.c, window.c, copy.c, map.c: what a program can do with an endpoint */
int vphi_endpoint_open(struct vphi_device *device, struct file *file);
void vphi_endpoint_close(struct vphi_endpoint *endpoint);
void vphi_endpoint_flush(struct vphi_endpoint *endpoint, fl_owner_t id);
int vphi_endpoint_run(struct vphi_endpoint *endpoint, struct vphi_call *call);
int vphi_endpoint_collect(struct vphi_endpoint *endpoint, struct vphi_call *call);
int vphi_endpoint_error(struct vphi_endpoint *endpoint, int status);
struct vphi_call *vphi_endpoint_call(struct vphi_endpoint *endpoint, u32 call,
				     enum vphi_kind kind, u32 flags);
int vphi_bind(struct vphi_endpoint *endpoint, u16 *port);
int vphi_listen(struct vphi_endpoint *endpoint, int backlog);
int vphi_connect(struct vphi_endpoint *endpoint, struct vphi_port *self,
		 const struct vphi_port *peer, bool nonblocking);
int vphi_accept_request(struct vphi_endpoint *endpoint, int flags, struct vphi_port *peer,
			u64 *handle);
int vphi_accept_register(struct vphi_endpoint *endpoint, u64 handle);
int vphi_get_nodes(struct vphi_endpoint *endpoint, __le16 *nodes, u16 *self);
__poll_t vphi_poll(struct vphi_endpoint *endpoint, struct file *file, poll_table *table);
int vphi_poll_wait(struct vphi_endpoint *endpoint, u32 mask);
void vphi_poll_again(struct vphi_endpoint *endpoint, u32 mask, bool all);
void vphi_poll_event(struct vphi_device *device, u32 number, u32 mask);
int vphi_message(struct vphi_endpoint *endpoint, u32 call, u64 address, int bytes, int flags);
int vphi_register(struct vphi_endpoint *endpoint, struct vphi_ioctl_register *arguments);
int vphi_unregister(struct vphi_endpoint *endpoint, s64 offset, u64 bytes);
void vphi_window_released(struct vphi_device *device, u64 cookie);
struct vphi_window *vphi_window_get(struct vphi_device *device, u64 cookie);
void vphi_window_put(struct vphi_device *device, struct vphi_window *window);
int vphi_copy(struct vphi_endpoint *endpoint, u32 call, const struct vphi_ioctl_copy *arguments);
int vphi_copy_pages(struct vphi_endpoint *endpoint, u32 call,
		    const struct vphi_ioctl_copy *arguments);
int vphi_fence_mark(struct vphi_endpoint *endpoint, int flags, int *mark);
int vphi_fence_wait(struct vphi_endpoint *endpoint, int mark);
int vphi_fence_signal(struct vphi_endpoint *endpoint,
		      const struct vphi_ioctl_fence_signal *arguments);
int vphi_mmap(struct vphi_endpoint *endpoint, struct vm_area_struct *area);
void vphi_mappings_hide(struct vphi_device *device);

/* file.c: the device nodes */
int vphi_files_register(struct vphi_device *device);
void vphi_files_unregister(void);

/* sysfs.c: cards and counters */
int vphi_class_init(void);
void vphi_class_exit(void);
void vphi_cards_scan(struct work_struct *work);
void vphi_cards_remove(struct vphi_device *device);
extern const struct attribute_group *vphi_device_groups[];

/* device.c */
extern unsigned int vphi_endpoints_max;
extern unsigned long vphi_pinned_mib_max;
void vphi_device_release(struct kref *refs);

/* vphi_area_flags - set some of the area's flags and clear others; its lock is held for writing */
static inline void vphi_area_flags(struct vm_area_struct *area, unsigned long set,
				   unsigned long clear)
{
#ifdef VPHI_HAVE_VM_FLAGS
	vm_flags_mod(area, set, clear);
#else
	area->vm_flags = (area->vm_flags | set) & ~clear;
#endif
}

/* The reply's status, 0 or an error number. */
static inline u32 vphi_reply_status(const struct vphi_call *call)
{
	return le32_to_cpu(call->reply.status);
}

#endif
