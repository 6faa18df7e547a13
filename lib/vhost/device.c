/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Serving vhost-user messages; see device.h for the session's states.
 *
 * Every message passes one gate (vhost_message_check: version, known request, length, number of
 * descriptors) before its handler sees it. A handler answers with 0, with the number of payload
 * bytes it wants sent back, or with -errno. A refusal is told to the front-end where it asked for
 * acknowledgements and ends the session where it did not, since it would go on as if all was well.
 */
#include "lib/vhost/device.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/clean.h"
#include "lib/base/io.h"
#include "lib/vhost/message.h"

#define VHOST_MESSAGES_PER_WAKE 32

#define VHOST_PROTOCOL_FEATURES                                                           \
	(VHOST_USER_PROTOCOL_F_MQ | VHOST_USER_PROTOCOL_F_REPLY_ACK |                     \
	 VHOST_USER_PROTOCOL_F_BACKEND_REQ | VHOST_USER_PROTOCOL_F_CONFIG |               \
	 VHOST_USER_PROTOCOL_F_RESET_DEVICE | VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS | \
	 VHOST_USER_PROTOCOL_F_STATUS)

#define VHOST_ANSWER_TAG (1 + VHOST_QUEUES_MAX)

static void vhost_replace_fd(int *place, int fd)
{
	if (*place >= 0)
		close(*place);
	*place = fd;
}

static uint64_t vhost_kick_tag(const struct vhost_device *device, unsigned int index)
{
	return device->tag_base + 1 + index;
}

/* The one function that makes a queue ready or not. */
static void vhost_queue_update(struct vhost_device *device, unsigned int index)
{
	struct vhost_queue *queue = &device->queues[index];
	bool enabled = queue->enabled || !(device->features & VHOST_USER_F_PROTOCOL_FEATURES);
	bool ready = queue->started && enabled && vhost_queue_resolve(queue) == 0;

	if (ready == queue->ready)
		return;
	queue->ready = ready;
	if (!ready) {
		device->ops->queue_stopped(device->context, index);
		return;
	}
	queue->broken = false;
	queue->was_ready = true;
	queue->notified_valid = false;
	queue->available_seen = queue->next_available;
	queue->next_used = __atomic_load_n(&queue->used->idx, __ATOMIC_RELAXED);
	queue->notified_used = queue->next_used;
	device->ops->queue_started(device->context, index);
}

static void vhost_queues_update(struct vhost_device *device)
{
	for (unsigned int i = 0; i < device->ops->queue_count; i++)
		vhost_queue_update(device, i);
}

static void vhost_queue_stop(struct vhost_device *device, unsigned int index)
{
	struct vhost_queue *queue = &device->queues[index];

	if (queue->ready && device->ops->queue_stopping)
		device->ops->queue_stopping(device->context, index);
	queue->started = false;
	vhost_queue_update(device, index);
	if (queue->kick_fd >= 0)
		vhost_wait_remove(device->wait, queue->kick_fd);
	vhost_replace_fd(&queue->kick_fd, -1);
	vhost_replace_fd(&queue->call_fd, -1);
	vhost_replace_fd(&queue->error_fd, -1);
}

static struct vhost_queue *vhost_queue_at(struct vhost_device *device, uint64_t index)
{
	return index < device->ops->queue_count ? &device->queues[index] : NULL;
}

static int vhost_serve_get_features(struct vhost_device *device, struct vhost_incoming *incoming)
{
	incoming->payload.number =
		device->ops->features | VIRTIO_F_VERSION_1 | VHOST_USER_F_PROTOCOL_FEATURES;
	return sizeof(uint64_t);
}

static int vhost_serve_set_features(struct vhost_device *device, struct vhost_incoming *incoming)
{
	uint64_t features = incoming->payload.number;

	if (features &
	    ~(device->ops->features | VIRTIO_F_VERSION_1 | VHOST_USER_F_PROTOCOL_FEATURES))
		return -EINVAL;
	device->features = features;
	for (unsigned int i = 0; i < device->ops->queue_count; i++) {
		device->queues[i].event_index = (features & VIRTIO_RING_F_EVENT_IDX) != 0;
		device->queues[i].indirect = (features & VIRTIO_RING_F_INDIRECT_DESC) != 0;
	}
	vhost_queues_update(device);
	return 0;
}

static uint64_t vhost_protocol_features(const struct vhost_device *device)
{
	return VHOST_PROTOCOL_FEATURES | (device->ops->shm_bytes ? VHOST_USER_PROTOCOL_F_SHMEM : 0);
}

static int vhost_serve_get_protocol_features(struct vhost_device *device,
					     struct vhost_incoming *incoming)
{
	incoming->payload.number = vhost_protocol_features(device);
	return sizeof(uint64_t);
}

static int vhost_serve_set_protocol_features(struct vhost_device *device,
					     struct vhost_incoming *incoming)
{
	if (incoming->payload.number & ~vhost_protocol_features(device))
		return -EINVAL;
	device->protocol_features = incoming->payload.number;
	return 0;
}

static int vhost_serve_set_owner(struct vhost_device *device, struct vhost_incoming *incoming)
{
	(void)device;
	(void)incoming;
	return 0;
}

/* RESET_OWNER, which only ever meant this much, and RESET_DEVICE. */
static int vhost_serve_reset_owner(struct vhost_device *device, struct vhost_incoming *incoming)
{
	(void)incoming;
	for (unsigned int i = 0; i < device->ops->queue_count; i++) {
		device->queues[i].enabled = false;
		vhost_queue_stop(device, i);
	}
	return 0;
}

static int vhost_serve_reset_device(struct vhost_device *device, struct vhost_incoming *incoming)
{
	vhost_serve_reset_owner(device, incoming);
	for (unsigned int i = 0; i < device->ops->queue_count; i++)
		device->queues[i].was_ready = false;
	device->ops->reset(device->context);
	return 0;
}

static int vhost_serve_get_queue_num(struct vhost_device *device, struct vhost_incoming *incoming)
{
	incoming->payload.number = device->ops->queue_count;
	return sizeof(uint64_t);
}

static int vhost_serve_set_mem_table(struct vhost_device *device, struct vhost_incoming *incoming)
{
	const struct vhost_user_memory_table *table = &incoming->payload.memory;
	size_t bytes = offsetof(struct vhost_user_memory_table, regions);
	struct vhost_memory before;
	int status = 0;

	if (table->region_count > VHOST_USER_MEMORY_TABLE_MAX ||
	    table->region_count > incoming->fd_count ||
	    incoming->header.size < bytes + table->region_count * sizeof(table->regions[0]))
		return -EINVAL;
	before = device->memory;
	device->memory.count = 0;
	for (unsigned int i = 0; i < table->region_count && status == 0; i++)
		status = vhost_memory_add(&device->memory, &table->regions[i], incoming->fds[i],
					  &before);
	vhost_memory_clear(&before);
	if (status < 0)
		vhost_memory_clear(&device->memory);
	vhost_queues_update(device);
	return status;
}

static int vhost_serve_get_max_mem_slots(struct vhost_device *device,
					 struct vhost_incoming *incoming)
{
	(void)device;
	incoming->payload.number = VHOST_MEMORY_REGIONS_MAX;
	return sizeof(uint64_t);
}

static int vhost_serve_add_mem_reg(struct vhost_device *device, struct vhost_incoming *incoming)
{
	int status;

	if (incoming->fd_count != 1)
		return -EINVAL;
	status = vhost_memory_add(&device->memory, &incoming->payload.region.region,
				  incoming->fds[0], &device->memory);
	vhost_queues_update(device);
	return status;
}

static int vhost_serve_rem_mem_reg(struct vhost_device *device, struct vhost_incoming *incoming)
{
	int status = vhost_memory_remove(&device->memory, &incoming->payload.region.region);

	vhost_queues_update(device);
	return status;
}

static int vhost_serve_set_vring_num(struct vhost_device *device, struct vhost_incoming *incoming)
{
	struct vhost_queue *queue = vhost_queue_at(device, incoming->payload.state.index);
	uint32_t size = incoming->payload.state.num;

	if (!queue || queue->ready || size == 0 || size > VIRTIO_RING_SIZE_MAX ||
	    (size & (size - 1)))
		return -EINVAL;
	queue->size = size;
	return 0;
}

static int vhost_serve_set_vring_addr(struct vhost_device *device, struct vhost_incoming *incoming)
{
	struct vhost_queue *queue = vhost_queue_at(device, incoming->payload.address.index);
	int status;

	if (!queue)
		return -EINVAL;
	queue->address = incoming->payload.address;
	status = vhost_queue_resolve(queue);
	vhost_queue_update(device, incoming->payload.address.index);
	return status;
}

/*
 * A queue that goes on where it stopped belongs to a guest that was paused; any other base comes
 * with a new driver. This, not SET_STATUS 0, tells the two apart: QEMU sends that for both.
 */
static int vhost_serve_set_vring_base(struct vhost_device *device, struct vhost_incoming *incoming)
{
	struct vhost_queue *queue = vhost_queue_at(device, incoming->payload.state.index);
	uint32_t base = incoming->payload.state.num;

	if (!queue || queue->ready || base > UINT16_MAX)
		return -EINVAL;
	if (queue->was_ready && base != queue->next_available) {
		queue->was_ready = false;
		device->ops->reset(device->context);
	}
	queue->next_available = (uint16_t)base;
	return 0;
}

static int vhost_serve_get_vring_base(struct vhost_device *device, struct vhost_incoming *incoming)
{
	uint32_t index = incoming->payload.state.index;
	struct vhost_queue *queue = vhost_queue_at(device, index);

	if (!queue)
		return -EINVAL;
	vhost_queue_stop(device, index);
	incoming->payload.state.num = queue->next_available;
	return sizeof(incoming->payload.state);
}

/* Takes the descriptor of SET_VRING_KICK, _CALL or _ERR: -1 where none is meant to come. */
static int vhost_take_queue_fd(struct vhost_device *device, struct vhost_incoming *incoming,
			       struct vhost_queue **queue, int *fd)
{
	uint64_t number = incoming->payload.number;
	bool expected = !(number & VHOST_USER_VRING_NO_FD);

	*queue = vhost_queue_at(device, number & VHOST_USER_VRING_INDEX_MASK);
	if (!*queue || incoming->fd_count != expected)
		return -EINVAL;
	*fd = vhost_message_take_fd(incoming, 0);
	/* Blocking on the guest's side of a pipe must not stop us. */
	if (*fd >= 0)
		io_set_nonblock(*fd, 1);
	return 0;
}

static int vhost_serve_set_vring_kick(struct vhost_device *device, struct vhost_incoming *incoming)
{
	unsigned int index = incoming->payload.number & VHOST_USER_VRING_INDEX_MASK;
	struct vhost_queue *queue;
	autoclose int fd = -1;
	int status = vhost_take_queue_fd(device, incoming, &queue, &fd);

	if (status < 0)
		return status;
	if (fd < 0)
		return -EOPNOTSUPP; /* polling a queue for ever is not offered */
	if (queue->kick_fd >= 0)
		vhost_wait_remove(device->wait, queue->kick_fd);
	vhost_replace_fd(&queue->kick_fd, -1);
	status = vhost_wait_add(device->wait, fd, EPOLLIN, vhost_kick_tag(device, index));
	if (status < 0)
		return status;
	queue->kick_fd = steal_fd(&fd);
	queue->started = true;
	vhost_queue_update(device, index);
	return 0;
}

static int vhost_serve_set_vring_call(struct vhost_device *device, struct vhost_incoming *incoming)
{
	struct vhost_queue *queue;
	int fd = -1, status = vhost_take_queue_fd(device, incoming, &queue, &fd);

	if (status == 0)
		vhost_replace_fd(&queue->call_fd, fd);
	return status;
}

static int vhost_serve_set_vring_err(struct vhost_device *device, struct vhost_incoming *incoming)
{
	struct vhost_queue *queue;
	int fd = -1, status = vhost_take_queue_fd(device, incoming, &queue, &fd);

	if (status == 0)
		vhost_replace_fd(&queue->error_fd, fd);
	return status;
}

static int vhost_serve_set_vring_enable(struct vhost_device *device,
					struct vhost_incoming *incoming)
{
	struct vhost_queue *queue = vhost_queue_at(device, incoming->payload.state.index);

	if (!queue || incoming->payload.state.num > 1)
		return -EINVAL;
	if (queue->ready && incoming->payload.state.num == 0 && device->ops->queue_stopping)
		device->ops->queue_stopping(device->context, incoming->payload.state.index);
	queue->enabled = incoming->payload.state.num == 1;
	vhost_queue_update(device, incoming->payload.state.index);
	return 0;
}

static void vhost_close_request_fd(struct vhost_device *device)
{
	int fd = device->request_fd;

	if (fd < 0)
		return;
	if (vhost_device_has_shm(device))
		vhost_wait_remove(device->wait, fd);
	device->request_fd = -1; /* first: shm_done must find that nothing can be asked */
	vhost_shm_drop(device);
	close(fd);
}

static int vhost_serve_set_backend_req_fd(struct vhost_device *device,
					  struct vhost_incoming *incoming)
{
	int fd = vhost_message_take_fd(incoming, 0);

	if (fd < 0)
		return -EINVAL;
	io_set_nonblock(fd, 1);
	vhost_close_request_fd(device);
	device->request_fd = fd;
	/* Without SHMEM nobody answers there; User-Mode Linux's is a pipe that cannot be read. */
	if (!vhost_device_has_shm(device))
		return 0;
	return vhost_wait_add(device->wait, fd, EPOLLIN, device->tag_base + VHOST_ANSWER_TAG);
}

static int vhost_serve_get_shmem_config(struct vhost_device *device,
					struct vhost_incoming *incoming)
{
	struct vhost_user_shmem_config *config = &incoming->payload.shmem_config;

	memset(config, 0, sizeof(*config));
	config->region_count = 1;
	config->bytes[0] = device->ops->shm_bytes;
	return sizeof(*config);
}

/* Whether the message's window lies in the configuration space. */
static bool vhost_config_window(const struct vhost_device *device,
				const struct vhost_incoming *incoming)
{
	const struct vhost_user_config *config = &incoming->payload.config;

	return config->size <= VHOST_USER_CONFIG_BYTES_MAX &&
	       incoming->header.size == VHOST_USER_CONFIG_HEADER_BYTES + config->size &&
	       config->offset <= device->ops->config_bytes &&
	       config->size <= device->ops->config_bytes - config->offset;
}

static int vhost_serve_get_config(struct vhost_device *device, struct vhost_incoming *incoming)
{
	struct vhost_user_config *config = &incoming->payload.config;

	if (!vhost_config_window(device, incoming))
		return -EINVAL;
	device->ops->config_read(device->context, config->offset, config->bytes, config->size);
	return (int)incoming->header.size;
}

static int vhost_serve_set_config(struct vhost_device *device, struct vhost_incoming *incoming)
{
	struct vhost_user_config *config = &incoming->payload.config;

	if (!device->ops->config_write || !vhost_config_window(device, incoming))
		return -EINVAL;
	return device->ops->config_write(device->context, config->offset, config->bytes,
					 config->size);
}

static int vhost_serve_set_status(struct vhost_device *device, struct vhost_incoming *incoming)
{
	if (incoming->payload.number > UINT8_MAX)
		return -EINVAL;
	device->status = (uint8_t)incoming->payload.number;
	return 0;
}

static int vhost_serve_get_status(struct vhost_device *device, struct vhost_incoming *incoming)
{
	incoming->payload.number = device->status;
	return sizeof(uint64_t);
}

struct vhost_request {
	int (*serve)(struct vhost_device *device, struct vhost_incoming *incoming);
	uint32_t bytes;	     /* of payload, at least */
	uint32_t fds;	     /* at most */
	uint64_t negotiated; /* the protocol feature it belongs to, or 0 */
};

#define NUMBER	      sizeof(uint64_t)
#define STATE	      sizeof(struct vhost_user_vring_state)
#define ADDRESS	      sizeof(struct vhost_user_vring_address)
#define REGION	      sizeof(struct vhost_user_single_region)
#define TABLE	      offsetof(struct vhost_user_memory_table, regions)
#define CONFIG	      VHOST_USER_CONFIG_HEADER_BYTES
#define FEATURE(name) VHOST_USER_PROTOCOL_F_##name

static const struct vhost_request vhost_requests[] = {
	[VHOST_USER_GET_FEATURES] = { vhost_serve_get_features, 0, 0, 0 },
	[VHOST_USER_SET_FEATURES] = { vhost_serve_set_features, NUMBER, 0, 0 },
	[VHOST_USER_SET_OWNER] = { vhost_serve_set_owner, 0, 0, 0 },
	[VHOST_USER_RESET_OWNER] = { vhost_serve_reset_owner, 0, 0, 0 },
	[VHOST_USER_SET_MEM_TABLE] = { vhost_serve_set_mem_table, TABLE, VHOST_FDS_MAX, 0 },
	[VHOST_USER_SET_VRING_NUM] = { vhost_serve_set_vring_num, STATE, 0, 0 },
	[VHOST_USER_SET_VRING_ADDR] = { vhost_serve_set_vring_addr, ADDRESS, 0, 0 },
	[VHOST_USER_SET_VRING_BASE] = { vhost_serve_set_vring_base, STATE, 0, 0 },
	[VHOST_USER_GET_VRING_BASE] = { vhost_serve_get_vring_base, STATE, 0, 0 },
	[VHOST_USER_SET_VRING_KICK] = { vhost_serve_set_vring_kick, NUMBER, 1, 0 },
	[VHOST_USER_SET_VRING_CALL] = { vhost_serve_set_vring_call, NUMBER, 1, 0 },
	[VHOST_USER_SET_VRING_ERR] = { vhost_serve_set_vring_err, NUMBER, 1, 0 },
	[VHOST_USER_GET_PROTOCOL_FEATURES] = { vhost_serve_get_protocol_features, 0, 0, 0 },
	[VHOST_USER_SET_PROTOCOL_FEATURES] = { vhost_serve_set_protocol_features, NUMBER, 0, 0 },
	[VHOST_USER_GET_QUEUE_NUM] = { vhost_serve_get_queue_num, 0, 0, FEATURE(MQ) },
	[VHOST_USER_SET_VRING_ENABLE] = { vhost_serve_set_vring_enable, STATE, 0, 0 },
	[VHOST_USER_SET_BACKEND_REQ_FD] = { vhost_serve_set_backend_req_fd, 0, 1,
					    FEATURE(BACKEND_REQ) },
	[VHOST_USER_GET_CONFIG] = { vhost_serve_get_config, CONFIG, 0, FEATURE(CONFIG) },
	[VHOST_USER_SET_CONFIG] = { vhost_serve_set_config, CONFIG, 0, FEATURE(CONFIG) },
	[VHOST_USER_RESET_DEVICE] = { vhost_serve_reset_device, 0, 0, FEATURE(RESET_DEVICE) },
	[VHOST_USER_GET_MAX_MEM_SLOTS] = { vhost_serve_get_max_mem_slots, 0, 0,
					   FEATURE(CONFIGURE_MEM_SLOTS) },
	[VHOST_USER_ADD_MEM_REG] = { vhost_serve_add_mem_reg, REGION, 1,
				     FEATURE(CONFIGURE_MEM_SLOTS) },
	[VHOST_USER_REM_MEM_REG] = { vhost_serve_rem_mem_reg, REGION, 1,
				     FEATURE(CONFIGURE_MEM_SLOTS) },
	[VHOST_USER_SET_STATUS] = { vhost_serve_set_status, NUMBER, 0, FEATURE(STATUS) },
	[VHOST_USER_GET_STATUS] = { vhost_serve_get_status, 0, 0, FEATURE(STATUS) },
	[VHOST_USER_GET_SHMEM_CONFIG] = { vhost_serve_get_shmem_config, 0, 0, FEATURE(SHMEM) },
};

#undef NUMBER
#undef STATE
#undef ADDRESS
#undef REGION
#undef TABLE
#undef CONFIG
#undef FEATURE

/* The gate: 0 and the request's row, or -errno. */
static int vhost_message_check(const struct vhost_device *device,
			       const struct vhost_incoming *incoming,
			       const struct vhost_request **row)
{
	const struct vhost_user_header *header = &incoming->header;
	const struct vhost_request *found;

	if ((header->flags & VHOST_USER_FLAG_VERSION_MASK) != VHOST_USER_FLAG_VERSION ||
	    (header->flags & VHOST_USER_FLAG_REPLY))
		return -EPROTO;
	if (header->request >= sizeof(vhost_requests) / sizeof(vhost_requests[0]))
		return -EOPNOTSUPP;
	found = &vhost_requests[header->request];
	if (!found->serve || (found->negotiated & ~device->protocol_features))
		return -EOPNOTSUPP;
	if (header->size < found->bytes || incoming->fd_count > found->fds)
		return -EINVAL;
	*row = found;
	return 0;
}

/* Serves the one complete message; what is negative ends the session. */
static int vhost_message_serve(struct vhost_device *device, struct error *error)
{
	struct vhost_incoming *incoming = &device->incoming;
	uint32_t request = incoming->header.request;
	const struct vhost_request *row;
	int status = vhost_message_check(device, incoming, &row);
	bool acknowledge;

	if (status == 0)
		status = row->serve(device, incoming);
	/* Looked at afterwards: User-Mode Linux wants SET_PROTOCOL_FEATURES itself acknowledged. */
	acknowledge = (incoming->header.flags & VHOST_USER_FLAG_NEED_REPLY) &&
		      (device->protocol_features & VHOST_USER_PROTOCOL_F_REPLY_ACK);
	if (status > 0)
		return vhost_message_reply(device->socket_fd, request, &incoming->payload,
					   (uint32_t)status);
	if (request == VHOST_USER_GET_CONFIG && status == -EINVAL)
		return vhost_message_reply(device->socket_fd, request, &incoming->payload, 0);
	if (acknowledge) {
		incoming->payload.number = status < 0;
		return vhost_message_reply(device->socket_fd, request, &incoming->payload,
					   sizeof(incoming->payload.number));
	}
	if (status < 0)
		return error_set(error, status,
				 "vhost-user request %u (%u bytes, %u descriptors) refused: %s",
				 request, incoming->header.size, incoming->fd_count,
				 strerror(-status));
	return 0;
}

static int vhost_socket_woken(struct vhost_device *device, struct error *error)
{
	for (int i = 0; i < VHOST_MESSAGES_PER_WAKE; i++) {
		int status = vhost_message_receive(device->socket_fd, &device->incoming);

		if (status == 0)
			return 0;
		if (status < 0)
			return error_set(error, status, "vhost-user socket: %s",
					 status == -EPIPE ? "closed by the VMM"
							  : strerror(-status));
		status = vhost_message_serve(device, error);
		vhost_message_drop(&device->incoming);
		if (status < 0)
			return status;
	}
	return 0;
}

/*
 * A kick, or its end: User-Mode Linux closes the pipes when the driver lets the device go, and
 * makes new ones for the next. Until then a closed one would wake its session for ever.
 */
static int vhost_kick_woken(struct vhost_device *device, unsigned int index, struct error *error)
{
	struct vhost_queue *queue = &device->queues[index];
	uint64_t count;
	ssize_t got = read(queue->kick_fd, &count, sizeof(count));

	/* Nothing to read is fine: the kick was seen with an earlier one. */
	if (got < 0 && errno != EAGAIN)
		return error_set(error, -errno, "kick of queue %u: %s", index, strerror(errno));
	if (got == 0) {
		vhost_wait_remove(device->wait, queue->kick_fd);
		vhost_replace_fd(&queue->kick_fd, -1);
	} else if (queue->ready) {
		device->ops->queue_kicked(device->context, index);
	}
	return 0;
}

int vhost_device_woken(struct vhost_device *device, unsigned int tag, struct error *error)
{
	unsigned int index = tag - 1;

	if (device->socket_fd < 0)
		return 0; /* an event collected before the session ended */
	if (tag == 0)
		return vhost_socket_woken(device, error);
	if (tag == VHOST_ANSWER_TAG)
		return vhost_shm_woken(device, error);
	if (index >= device->ops->queue_count || device->queues[index].kick_fd < 0)
		return 0;
	return vhost_kick_woken(device, index, error);
}

int vhost_device_check(const struct vhost_device *device, struct error *error)
{
	if (!vhost_memory_lost(&device->memory))
		return 0;
	return error_set(error, -EFAULT, "the VMM cut off the file of its guest's memory");
}

int vhost_device_config_changed(struct vhost_device *device)
{
	struct vhost_user_header header = {
		.request = VHOST_USER_BACKEND_CONFIG_CHANGE,
		.flags = VHOST_USER_FLAG_VERSION,
	};

	if (device->request_fd < 0)
		return -EOPNOTSUPP;
	return io_write_full(device->request_fd, &header, sizeof(header));
}

void vhost_device_init(struct vhost_device *device, const struct vhost_device_ops *ops,
		       void *context, struct vhost_wait *wait, uint64_t tag_base)
{
	memset(device, 0, sizeof(*device));
	device->ops = ops;
	device->context = context;
	device->wait = wait;
	device->tag_base = tag_base;
	device->socket_fd = device->request_fd = -1;
	for (unsigned int i = 0; i < VHOST_QUEUES_MAX; i++)
		vhost_queue_init(&device->queues[i], &device->memory);
}

int vhost_device_attach(struct vhost_device *device, int socket_fd)
{
	int status = io_set_nonblock(socket_fd, 1);

	device->socket_fd = socket_fd;
	if (status == 0)
		status = vhost_wait_add(device->wait, socket_fd, EPOLLIN, device->tag_base);
	if (status < 0)
		vhost_device_detach(device);
	return status;
}

void vhost_device_detach(struct vhost_device *device)
{
	if (device->socket_fd < 0)
		return;
	for (unsigned int i = 0; i < device->ops->queue_count; i++) {
		vhost_queue_stop(device, i);
		vhost_queue_init(&device->queues[i], &device->memory);
	}
	vhost_message_drop(&device->incoming);
	vhost_memory_clear(&device->memory);
	vhost_wait_remove(device->wait, device->socket_fd);
	vhost_replace_fd(&device->socket_fd, -1);
	vhost_close_request_fd(device);
	device->features = 0;
	device->protocol_features = 0;
	device->status = 0;
}
