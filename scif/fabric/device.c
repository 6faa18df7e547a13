/* SPDX-License-Identifier: Apache-2.0 */
/* Calls of a host's SCIF driver on behalf of VMs; see device.h. */
#include "scif/fabric/device.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/queue.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define DEVICE_STACK_BYTES (128u << 10)
#define DEVICE_EVENTS	   16
#define DEVICE_SIGNAL	   SIGUSR2
#define DEVICE_AGAIN_NS	   10000000 /* between two signals for a call that shall end */

/* MPSS 3's numbers; the structures are laid out as that driver has them. */
#define DEVICE_BIND	    0xc0087301u
#define DEVICE_LISTEN	    0x40047302u
#define DEVICE_CONNECT	    0xc0087303u
#define DEVICE_ACCEPTREQ    0xc0087304u
#define DEVICE_ACCEPTREG    0xc0087305u
#define DEVICE_SEND	    0xc0087306u
#define DEVICE_RECV	    0xc0087307u
#define DEVICE_REG	    0xc0087308u
#define DEVICE_UNREG	    0xc0087309u
#define DEVICE_READFROM	    0xc008730au
#define DEVICE_WRITETO	    0xc008730bu
#define DEVICE_VREADFROM    0xc008730cu
#define DEVICE_VWRITETO	    0xc008730du
#define DEVICE_FENCE_MARK   0xc008730fu
#define DEVICE_FENCE_WAIT   0xc0047310u
#define DEVICE_FENCE_SIGNAL 0xc0087311u

struct device_message {
	uint64_t address;
	int32_t bytes, flags, moved, reserved;
};

struct device_range {
	uint64_t address, bytes;
	int64_t offset;
	int32_t prot, flags;
	int64_t chosen;
};

struct device_rma {
	int64_t local;
	uint64_t bytes;
	int64_t remote;
	uint64_t address;
	int32_t flags, reserved;
};

struct device_signal {
	int64_t local;
	uint64_t local_value;
	int64_t remote;
	uint64_t remote_value;
	int32_t flags, reserved;
};

/* A window's pages side by side, as the driver has them. */
struct device_window {
	TAILQ_ENTRY(device_window) link;
	struct window *window; /* held until the driver let go */
	unsigned char *address;
};

TAILQ_HEAD(device_window_list, device_window);

/* The driver's endpoint behind one of ours. */
struct device_end {
	LIST_ENTRY(device_end) link; /* device_lock */
	struct endpoint *endpoint;
	int fd;
	uint32_t wanted;		   /* device_lock; epoll events asked for */
	struct device_window_list windows; /* (F) */
};

/* All of them, so that the watcher can tell whether one that it hears of is still there. */
static LIST_HEAD(, device_end) device_ends = LIST_HEAD_INITIALIZER(device_ends);
static pthread_mutex_t device_lock = PTHREAD_MUTEX_INITIALIZER;

/* A call of the driver that has a thread. */
struct device_task {
	TAILQ_ENTRY(device_task) link; /* (F) in device_cancelled */
	bool cancelled;		       /* (F) it is in there */
	struct fabric *fabric;
	struct endpoint *endpoint; /* held */
	struct call *call;	   /* its memory stays until the task is over */
	int (*run)(struct device_task *task);
	pthread_t thread;
	bool over; /* (F) */
	int status;
	struct device_window *window;
};

/*
 * (F) Tasks that shall end. A signal that comes before the thread is in the driver's call is lost,
 * so the watcher repeats it, by the timer, until the call is over.
 */
static TAILQ_HEAD(, device_task) device_cancelled = TAILQ_HEAD_INITIALIZER(device_cancelled);

static int device_open(const char *path)
{
	return open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
}

static int device_control(int fd, unsigned long number, void *argument)
{
	return ioctl(fd, number, argument);
}

static void *device_map(int fd, uint64_t bytes, int prot, uint64_t offset)
{
	return mmap(NULL, bytes, prot, MAP_SHARED, fd, (off_t)offset);
}

struct device_system device_system = { device_open, device_control, device_map };

/* One call of the driver: 0 or -errno. */
static int device_ask(const struct device_end *end, unsigned long number, void *argument)
{
	return device_system.control(end->fd, number, argument) < 0 ? -errno : 0;
}

/* The endpoint of @end, held, if that is still there; what it wanted is over. */
static struct endpoint *device_heard(const struct device_end *end)
{
	struct endpoint *endpoint = NULL;
	struct device_end *known;
	unsigned int holders = 0;

	pthread_mutex_lock(&device_lock);
	LIST_FOREACH(known, &device_ends, link)
	{
		if (known != end)
			continue;
		endpoint = known->endpoint;
		known->wanted = 0;
		/* One whose last holder just left waits for this lock to go. */
		holders = atomic_load(&endpoint->holders);
		while (holders &&
		       !atomic_compare_exchange_weak(&endpoint->holders, &holders, holders + 1))
			continue;
		break;
	}
	pthread_mutex_unlock(&device_lock);
	return holders ? endpoint : NULL;
}

/* Signals all tasks that shall end; the timer goes on while there are any. */
static void device_signal_again(struct fabric *fabric)
{
	static const struct itimerspec never;
	struct device_task *task;
	uint64_t times;

	pthread_mutex_lock(&fabric->lock);
	if (read(fabric->device_timer, &times, sizeof(times)) < 0)
		times = 0; /* nothing but the event itself matters */
	TAILQ_FOREACH(task, &device_cancelled, link)
	{
		if (!task->over)
			pthread_kill(task->thread, DEVICE_SIGNAL);
	}
	if (TAILQ_EMPTY(&device_cancelled))
		timerfd_settime(fabric->device_timer, 0, &never, NULL);
	pthread_mutex_unlock(&fabric->lock);
}

/* The watcher: tells endpoints that the driver's poll has something for them. */
static void *device_watch(void *argument)
{
	struct fabric *fabric = argument;
	struct epoll_event events[DEVICE_EVENTS];

	for (;;) {
		int count = epoll_wait(fabric->device_epoll, events, DEVICE_EVENTS, -1);

		for (int i = 0; i < count; i++) {
			struct endpoint *endpoint;

			if (!events[i].data.ptr)
				return NULL;
			if (events[i].data.ptr == &fabric->device_timer) {
				device_signal_again(fabric);
				continue;
			}
			endpoint = device_heard(events[i].data.ptr);
			if (!endpoint)
				continue;
			endpoint_notify(endpoint);
			endpoint_put(endpoint);
		}
	}
}

static void device_interrupted(int number)
{
	(void)number;
}

int device_start(struct fabric *fabric)
{
	struct sigaction action = { .sa_handler = device_interrupted };
	struct epoll_event stop = { .events = EPOLLIN, .data.ptr = NULL };
	struct epoll_event timer = { .events = EPOLLIN, .data.ptr = &fabric->device_timer };
	int status;

	fabric->device_epoll = epoll_create1(EPOLL_CLOEXEC);
	fabric->device_stop = eventfd(0, EFD_CLOEXEC);
	fabric->device_timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (fabric->device_epoll < 0 || fabric->device_stop < 0 || fabric->device_timer < 0 ||
	    epoll_ctl(fabric->device_epoll, EPOLL_CTL_ADD, fabric->device_stop, &stop) < 0 ||
	    epoll_ctl(fabric->device_epoll, EPOLL_CTL_ADD, fabric->device_timer, &timer) < 0)
		return -errno;
	sigaction(DEVICE_SIGNAL, &action, NULL); /* without SA_RESTART: it ends a driver's call */
	status = pthread_create(&fabric->device_watcher, NULL, device_watch, fabric);
	fabric->device_started = status == 0;
	return -status;
}

void device_stop(struct fabric *fabric)
{
	static const uint64_t one = 1;

	if (!fabric->device_started)
		return;
	if (write(fabric->device_stop, &one, sizeof(one)) == sizeof(one))
		pthread_join(fabric->device_watcher, NULL);
	fabric->device_started = false;
	close(fabric->device_epoll);
	close(fabric->device_stop);
	close(fabric->device_timer);
}

/* The driver's endpoint behind ours, connected or listening. */
static struct device_end *device_end_of(const struct endpoint *endpoint)
{
	return endpoint->device ? endpoint->device : endpoint->hears;
}

void device_want(struct endpoint *endpoint, uint32_t mask)
{
	struct device_end *end = device_end_of(endpoint);
	struct epoll_event event = { .data.ptr = end };

	pthread_mutex_lock(&device_lock);
	end->wanted |= mask | EPOLLONESHOT;
	event.events = end->wanted;
	epoll_ctl(endpoint->node->fabric->device_epoll, EPOLL_CTL_MOD, end->fd, &event);
	pthread_mutex_unlock(&device_lock);
}

uint32_t device_poll(struct endpoint *endpoint)
{
	struct pollfd look = { .fd = device_end_of(endpoint)->fd, .events = POLLIN | POLLOUT };

	return poll(&look, 1, 0) > 0 ? (uint32_t)look.revents : 0;
}

int device_fd(const struct endpoint *endpoint)
{
	return endpoint->device->fd;
}

int device_may_map(struct endpoint *endpoint, uint64_t offset, uint64_t bytes, uint32_t prot)
{
	void *seen = device_system.map(endpoint->device->fd, bytes, (int)prot, offset);

	if (seen == MAP_FAILED)
		return -errno;
	munmap(seen, bytes);
	return 0;
}

static void device_window_free(struct device_window *window)
{
	munmap(window->address, window->window->bytes);
	window_put(window->window);
	free(window);
}

static void device_end_free(struct device_end *end)
{
	struct device_window *window;

	pthread_mutex_lock(&device_lock);
	LIST_REMOVE(end, link);
	pthread_mutex_unlock(&device_lock);
	close(end->fd); /* now the driver has let go of all */
	while ((window = TAILQ_FIRST(&end->windows))) {
		TAILQ_REMOVE(&end->windows, window, link);
		device_window_free(window);
	}
	free(end);
}

void device_free(struct endpoint *endpoint)
{
	struct device_end *ends[2] = { endpoint->device, endpoint->hears };

	endpoint->device = endpoint->hears = NULL;
	for (unsigned int i = 0; i < 2; i++) {
		if (ends[i])
			device_end_free(ends[i]);
	}
}

static void *device_task_main(void *argument)
{
	struct device_task *task = argument;
	struct endpoint *endpoint = task->endpoint;
	struct fabric *fabric = task->fabric;
	int status;

	status = task->run(task);
	pthread_mutex_lock(&fabric->lock);
	task->status = status;
	task->over = true;
	pthread_cond_broadcast(&fabric->quiet);
	endpoint_notify(endpoint);
	pthread_mutex_unlock(&fabric->lock);
	endpoint_put(endpoint);
	return NULL;
}

/* Gives the call a thread that runs @run; CALL_WAITS, or -errno. (F) */
static int device_begin(struct call *call, struct device_task *task,
			int (*run)(struct device_task *task))
{
	pthread_attr_t attributes;
	int status;

	task->fabric = call->fabric;
	task->endpoint = call->endpoint;
	task->call = call;
	task->run = run;
	endpoint_hold(call->endpoint);
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, DEVICE_STACK_BYTES);
	status = pthread_create(&task->thread, &attributes, device_task_main, task);
	pthread_attr_destroy(&attributes);
	if (status) {
		endpoint_put(call->endpoint);
		free(task);
		return -status;
	}
	call->task = task;
	return CALL_WAITS;
}

static struct device_task *device_task_create(void)
{
	return calloc(1, sizeof(struct device_task));
}

/* A task shall end: signals now, and until it has. (F) */
static void device_cancel(struct device_task *task)
{
	static const struct itimerspec again = { { 0, DEVICE_AGAIN_NS }, { 0, DEVICE_AGAIN_NS } };

	pthread_kill(task->thread, DEVICE_SIGNAL);
	if (task->cancelled)
		return;
	task->cancelled = true;
	TAILQ_INSERT_TAIL(&device_cancelled, task, link);
	timerfd_settime(task->fabric->device_timer, 0, &again, NULL);
}

/* The end of the call's task, or CALL_WAITS; a cancelled one is interrupted. (F) */
static int device_collect(struct call *call)
{
	struct device_task *task = call->task;
	int status;

	if (!task->over) {
		if (call->cancelled)
			device_cancel(task);
		return CALL_WAITS;
	}
	if (task->cancelled)
		TAILQ_REMOVE(&device_cancelled, task, link);
	pthread_join(task->thread, NULL);
	status = task->status;
	call->task = NULL;
	free(task);
	return status;
}

void device_finish(struct call *call)
{
	struct fabric *fabric = call->fabric;

	pthread_mutex_lock(&fabric->lock);
	device_cancel(call->task);
	while (!call->task->over)
		pthread_cond_wait(&fabric->quiet, &fabric->lock);
	device_collect(call);
	pthread_mutex_unlock(&fabric->lock);
}

/* A fresh endpoint of the driver at @path, for ours; NULL with *status. (F) */
static struct device_end *device_create(struct endpoint *endpoint, const char *path, int *status)
{
	struct device_end *end = calloc(1, sizeof(*end));
	/* Asked for nothing yet; a hang-up, which always is told, once. */
	struct epoll_event event = { .events = EPOLLONESHOT, .data.ptr = end };

	*status = -ENOMEM;
	if (!end)
		return NULL;
	end->endpoint = endpoint;
	TAILQ_INIT(&end->windows);
	end->fd = device_system.open(path);
	if (end->fd < 0 ||
	    epoll_ctl(endpoint->node->fabric->device_epoll, EPOLL_CTL_ADD, end->fd, &event) < 0) {
		*status = -errno;
		if (end->fd >= 0)
			close(end->fd);
		free(end);
		return NULL;
	}
	pthread_mutex_lock(&device_lock);
	LIST_INSERT_HEAD(&device_ends, end, link);
	pthread_mutex_unlock(&device_lock);
	*status = 0;
	return end;
}

/* The driver looks at O_NONBLOCK for a connect; nothing else shall depend on it. */
static void device_settle(const struct device_end *end)
{
	int flags = fcntl(end->fd, F_GETFL);

	if (flags >= 0)
		fcntl(end->fd, F_SETFL, flags & ~O_NONBLOCK);
}

int device_connect(struct endpoint *endpoint, const struct node *card)
{
	struct {
		uint16_t self[2], peer[2];
	} request = { { 0, 0 }, { card->device_node, endpoint->peer_port } };
	int status = 0;

	if (endpoint->is_process)
		return -ENODEV;
	if (!endpoint->device)
		endpoint->device = device_create(endpoint, card->device, &status);
	else if (!device_poll(endpoint))
		status = -EINPROGRESS;
	if (status == 0)
		status = device_ask(endpoint->device, DEVICE_CONNECT, &request);
	if (status == 0)
		device_settle(endpoint->device);
	else if (status == -EINPROGRESS)
		device_want(endpoint, EPOLLOUT);
	else if (endpoint->device)
		device_free(endpoint);
	return status;
}

int device_listen(struct endpoint *endpoint, const struct node *card)
{
	int port = endpoint->port, status;

	endpoint->hears = device_create(endpoint, card->device, &status);
	if (status == 0)
		status = device_ask(endpoint->hears, DEVICE_BIND, &port);
	if (status == 0)
		status = device_ask(endpoint->hears, DEVICE_LISTEN,
				    (void *)(uintptr_t)endpoint->backlog);
	if (status < 0)
		device_free(endpoint);
	return status;
}

int device_accept(struct endpoint *listener, struct endpoint *made, uint16_t *node, uint16_t *port)
{
	const char *path = listener->node->hears->device;
	struct {
		int32_t flags;
		uint16_t peer[2];
		uint64_t handle;
	} request = { 0 };
	int status = device_ask(listener->hears, DEVICE_ACCEPTREQ, &request);

	if (status == 0)
		made->device = device_create(made, path, &status);
	if (status == 0)
		status = device_ask(made->device, DEVICE_ACCEPTREG, &request.handle);
	if (status == 0)
		device_settle(made->device);
	*node = request.peer[0];
	*port = request.peer[1];
	return status;
}

/* Moves what goes without waiting, vector by vector; 0, or what ended it. */
static int device_move(struct call *call, unsigned long number, const struct iovec *vectors,
		       unsigned int count)
{
	size_t skip = call->moved;

	for (unsigned int i = 0; i < count; i++) {
		struct device_message message = { 0 };
		int status;

		if (skip >= vectors[i].iov_len) {
			skip -= vectors[i].iov_len;
			continue;
		}
		message.address = (uintptr_t)vectors[i].iov_base + skip;
		message.bytes = (int32_t)(vectors[i].iov_len - skip);
		status = device_ask(call->endpoint->device, number, &message);
		if (status < 0)
			return status;
		call->moved += (size_t)message.moved;
		if (message.moved < message.bytes)
			return 0;
		skip = 0;
	}
	return 0;
}

static int device_message(struct call *call, unsigned long number, const struct iovec *vectors,
			  unsigned int count, size_t bytes, uint32_t event)
{
	int status;

	if (bytes == 0)
		return 0;
	if (call->request.flags & ~SCIF_SEND_BLOCK)
		return -EINVAL;
	status = device_move(call, number, vectors, count);
	call->value[0] = call->moved;
	if (status < 0)
		return call->moved ? 0 : status;
	if (call->moved == bytes || !(call->request.flags & SCIF_SEND_BLOCK))
		return 0;
	if (call->cancelled)
		return call->moved ? 0 : -EINTR;
	device_want(call->endpoint, event);
	return CALL_WAITS;
}

int device_send(struct call *call)
{
	return device_message(call, DEVICE_SEND, call->in, call->in_count, call->in_bytes,
			      EPOLLOUT);
}

int device_receive(struct call *call)
{
	int status = device_message(call, DEVICE_RECV, call->out, call->out_count, call->out_bytes,
				    EPOLLIN);

	call->written = call->moved;
	return status;
}

/* The window's runs side by side; NULL with errno. */
static unsigned char *device_lay_out(const struct window *window)
{
	unsigned char *base = mmap(NULL, window->bytes, PROT_NONE,
				   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	uint64_t done = 0;

	if (base == MAP_FAILED)
		return NULL;
	for (uint32_t i = 0; i < window->run_count; i++) {
		const struct window_run *run = &window->runs[i];
		struct vhost_mapping *mapping = window_find_mapping(window, run->start);

		if (!mapping ||
		    mmap(base + done, run->end - done, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_FIXED, mapping->fd,
			 (off_t)(mapping->file_offset + (uint64_t)(run->start - mapping->base))) ==
			    MAP_FAILED) {
			munmap(base, window->bytes);
			return NULL;
		}
		done = run->end;
	}
	return base;
}

static int device_task_register(struct device_task *task)
{
	struct window *window = task->window->window;
	struct device_range range = {
		.bytes = window->bytes,
		.offset = (int64_t)window->offset,
		.prot = (int32_t)window->prot,
		.flags = SCIF_MAP_FIXED,
	};

	task->window->address = device_lay_out(window);
	if (!task->window->address)
		return -ENOMEM;
	range.address = (uintptr_t)task->window->address;
	return device_ask(task->endpoint->device, DEVICE_REG, &range);
}

/* The registration is over: the window is the driver's, or nobody's. */
static int device_registered(struct call *call, struct device_window *own, int status)
{
	struct endpoint *endpoint = call->endpoint;

	if (status == 0) {
		own->window->complete = true;
		TAILQ_INSERT_TAIL(&endpoint->device->windows, own, link);
		call->value[0] = own->window->offset;
		return 0;
	}
	if (own->address)
		munmap(own->address, own->window->bytes);
	if (call->request.call == SCIF_VIRTIO_REGISTER)
		own->window->cookie = 0; /* the driver keeps the pages: no event */
	window_withdraw(endpoint, own->window);
	window_put(own->window);
	free(own);
	return status;
}

int device_register(struct call *call, struct window *window)
{
	struct device_task *task;
	struct device_window *own;
	int status;

	if (call->task) {
		own = call->task->window;
		status = device_collect(call);
		return status == CALL_WAITS ? status : device_registered(call, own, status);
	}
	task = device_task_create();
	own = calloc(1, sizeof(*own));
	if (!task || !own) {
		free(task);
		free(own);
		if (call->request.call == SCIF_VIRTIO_REGISTER)
			window->cookie = 0;
		window_withdraw(call->endpoint, window);
		return -ENOMEM;
	}
	own->window = window;
	window_hold(window);
	task->window = own;
	status = device_begin(call, task, device_task_register);
	return status == CALL_WAITS ? status : device_registered(call, own, status);
}

int device_unregister(struct call *call)
{
	struct device_end *end = call->endpoint->device;
	struct {
		int64_t offset;
		uint64_t bytes;
	} range = { (int64_t)call->request.window.offset, call->request.window.bytes };
	int status = device_ask(end, DEVICE_UNREG, &range);
	struct device_window *window, *next;

	for (window = TAILQ_FIRST(&end->windows); window && status == 0; window = next) {
		next = TAILQ_NEXT(window, link);
		if (window->window->offset < call->request.window.offset ||
		    window->window->offset >=
			    call->request.window.offset + call->request.window.bytes)
			continue;
		TAILQ_REMOVE(&end->windows, window, link);
		window_withdraw(call->endpoint, window->window);
		device_window_free(window);
	}
	return status;
}

/* A copy between windows, or vector by vector of the program's memory. */
static int device_task_copy(struct device_task *task)
{
	struct call *call = task->call;
	const struct scif_virtio_request *request = &call->request;
	bool program =
		request->call == SCIF_VIRTIO_VREADFROM || request->call == SCIF_VIRTIO_VWRITETO;
	bool reads = request->call == SCIF_VIRTIO_VREADFROM;
	const struct iovec *vectors = reads ? call->out : call->in;
	unsigned int count = reads ? call->out_count : call->in_count;
	struct device_rma rma = {
		.local = (int64_t)request->rma.local,
		.remote = (int64_t)request->rma.remote,
		.bytes = request->rma.bytes,
		.flags = (int32_t)(request->flags | (program ? SCIF_RMA_SYNC : 0)),
	};
	static const unsigned long numbers[] = {
		[SCIF_VIRTIO_READFROM] = DEVICE_READFROM,
		[SCIF_VIRTIO_WRITETO] = DEVICE_WRITETO,
		[SCIF_VIRTIO_VREADFROM] = DEVICE_VREADFROM,
		[SCIF_VIRTIO_VWRITETO] = DEVICE_VWRITETO,
	};
	int status = 0;

	if (!program)
		return device_ask(task->endpoint->device, numbers[request->call], &rma);
	for (unsigned int i = 0; i < count && status == 0; i++) {
		rma.address = (uintptr_t)vectors[i].iov_base;
		rma.bytes = vectors[i].iov_len;
		status = device_ask(task->endpoint->device, numbers[request->call], &rma);
		rma.remote += (int64_t)rma.bytes;
	}
	return status;
}

int device_copy(struct call *call)
{
	bool reads = call->request.call == SCIF_VIRTIO_VREADFROM;
	struct device_task *task;
	int status;

	if (call->task) {
		status = device_collect(call);
		if (status == 0 && reads)
			call->written = call->out_bytes;
		return status;
	}
	if ((reads && call->request.rma.bytes != call->out_bytes) ||
	    (call->request.call == SCIF_VIRTIO_VWRITETO &&
	     call->request.rma.bytes != call->in_bytes) ||
	    call->request.rma.bytes == 0)
		return -EINVAL;
	task = device_task_create();
	return task ? device_begin(call, task, device_task_copy) : -ENOMEM;
}

static int device_task_fence(struct device_task *task)
{
	struct scif_virtio_request *request = &task->call->request;
	struct device_signal signal = {
		.local = (int64_t)request->signal.local,
		.local_value = request->signal.local_value,
		.remote = (int64_t)request->signal.remote,
		.remote_value = request->signal.remote_value,
		.flags = (int32_t)request->flags,
	};

	if (request->call == SCIF_VIRTIO_FENCE_WAIT)
		return device_ask(task->endpoint->device, DEVICE_FENCE_WAIT,
				  (void *)(uintptr_t)request->fence.mark);
	return device_ask(task->endpoint->device, DEVICE_FENCE_SIGNAL, &signal);
}

int device_fence(struct call *call)
{
	struct device_task *task;
	int32_t mark = 0;
	struct {
		int32_t flags, reserved;
		uint64_t mark;
	} request = { (int32_t)call->request.flags, 0, (uintptr_t)&mark };
	int status;

	if (call->request.call == SCIF_VIRTIO_FENCE_MARK) {
		status = device_ask(call->endpoint->device, DEVICE_FENCE_MARK, &request);
		call->value[0] = (uint32_t)mark;
		return status;
	}
	if (call->task)
		return device_collect(call);
	task = device_task_create();
	return task ? device_begin(call, task, device_task_fence) : -ENOMEM;
}
