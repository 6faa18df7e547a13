/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mappings in a guest: of its own pages (the driver maps those itself), or of others' memory, shown
 * by the VMM in the shared memory region. Where in the region is ours to choose. The MMAP call
 * waits until the VMM has answered for every piece.
 *
 * A window that is unregistered, or whose endpoint is closed, is seen until the last unmap. A VM
 * that starts anew, or ends, is another matter: its memory is no window any more, but somebody's
 * new memory, or to be given back. What others see of it is hidden (guest_map_cut_gone); the place
 * in the region stays taken, since their programs still have it mapped: they find nothing there.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "scif/fabric/guest.h"

/* Room in the region: where, and behind which mapping; false when there is none. */
static bool guest_map_place(struct guest *guest, struct guest_map *map)
{
	struct guest_map *other;
	uint64_t offset = 0;

	TAILQ_FOREACH(other, &guest->maps, link)
	{
		if (other->state == GUEST_MAP_OWN)
			continue;
		if (other->shm_offset - offset >= map->map.bytes)
			break;
		offset = other->shm_offset + other->map.bytes;
	}
	if (map->map.bytes > guest->settings->shm_bytes ||
	    offset > guest->settings->shm_bytes - map->map.bytes)
		return false;
	map->shm_offset = offset;
	if (other)
		TAILQ_INSERT_BEFORE(other, map, link);
	else
		TAILQ_INSERT_TAIL(&guest->maps, map, link);
	return true;
}

static void guest_map_free(struct guest *guest, struct guest_map *map)
{
	TAILQ_REMOVE(&guest->maps, map, link);
	map_drop(&map->map);
	free(map);
}

/* Extents of the guest's own windows. */
static int guest_map_own(struct guest *guest, struct guest_map *map, struct call *call)
{
	uint64_t at = map->map.offset, end = at + map->map.bytes;

	if (call->out_bytes < map->map.window_count * sizeof(struct scif_virtio_extent))
		return -ENOMEM;
	for (unsigned int i = 0; i < map->map.window_count; i++) {
		const struct window *window = map->map.windows[i];
		struct scif_virtio_extent extent = {
			.cookie = window->cookie,
			.start = at - window->offset,
			.bytes = window->offset + window->bytes - at,
		};

		if (extent.bytes > end - at)
			extent.bytes = end - at;
		call_put(call, &extent, sizeof(extent));
		at += extent.bytes;
	}
	map->state = GUEST_MAP_OWN;
	TAILQ_INSERT_HEAD(&guest->maps, map, link);
	call->value[0] = map->map.number;
	call->value[1] = map->map.window_count;
	call->flags = SCIF_VIRTIO_MAP_OWN;
	return 0;
}

/* Asks the VMM to take the shown pieces away; the map is freed when that is answered. */
static void guest_map_hide(struct guest *guest, struct guest_map *map)
{
	uint64_t offset = map->shm_offset;

	map->state = GUEST_MAP_UNMAPPING;
	map->answered = map->failed = 0;
	for (unsigned int i = 0; i < map->piece_count; i++) {
		if (!map->shown[i] ||
		    vhost_device_shm_unmap(&guest->device, offset, map->pieces[i].bytes, map) < 0)
			map->answered++;
		offset += map->pieces[i].bytes;
	}
}

/* The call that waits for the map gets its answer, if there is one. */
static void guest_map_finish(struct guest *guest, struct guest_map *map, int status)
{
	struct call *call = map->call;

	map->call = NULL;
	if (!call)
		return;
	call->status = status;
	if (status == 0 && call->request.call == SCIF_VIRTIO_MMAP) {
		call->value[0] = map->map.number;
		call->value[1] = map->shm_offset;
	}
	guest_finish(guest, call);
}

static void guest_map_hidden(struct guest *guest, struct guest_map *map)
{
	if (map->answered < map->piece_count)
		return;
	if (map->cut && !map->call) {
		map->state = GUEST_MAP_CUT;
		map_drop(&map->map);
		return;
	}
	guest_map_finish(guest, map, map->failed ? -ENOMEM : 0);
	guest_map_free(guest, map);
}

/* Whether it shows a window of a driver that is gone. */
static bool guest_map_is_gone(const struct guest_map *map)
{
	for (unsigned int i = 0; i < map->map.window_count; i++) {
		const struct window *window = map->map.windows[i];

		if (window->generation != atomic_load(&window->node->generation))
			return true;
	}
	return false;
}

static void guest_map_cut(struct guest *guest, struct guest_map *map)
{
	map->cut = true;
	guest_map_hide(guest, map);
	guest_map_hidden(guest, map);
}

void guest_map_cut_gone(struct guest *guest)
{
	struct guest_map *map;

	guest->cuts_due = false;
	TAILQ_FOREACH(map, &guest->maps, link)
	{
		if (map->state != GUEST_MAP_MAPPED || !guest_map_is_gone(map))
			continue;
		if (guest->device.shm_calls.count + map->piece_count > VHOST_SHM_CALLS_MAX)
			guest->cuts_due = true;
		else
			guest_map_cut(guest, map);
	}
}

void guest_map_answered(struct guest *guest, struct guest_map *map, int status)
{
	if (map->state == GUEST_MAP_MAPPING) {
		/* Answers come in the order of the pieces. */
		map->shown[map->answered++] = status == 0;
		map->failed += status < 0;
		if (map->answered < map->piece_count)
			return;
		if (!map->failed) {
			map->state = GUEST_MAP_MAPPED;
			guest_map_finish(guest, map, 0);
			guest->cuts_due = true; /* it may be gone by now */
			return;
		}
		guest_map_hide(guest, map);
		map->failed = 1;
	} else {
		map->answered++;
	}
	guest_map_hidden(guest, map);
}

static int guest_map_show(struct guest *guest, struct guest_map *map)
{
	uint64_t offset = map->shm_offset;
	int count = map_pieces(&map->map, map->pieces, GUEST_MAP_PIECES_MAX);

	if (count < 0)
		return count == -E2BIG ? -ENOMEM : count;
	if (guest->device.shm_calls.count + (unsigned int)count > VHOST_SHM_CALLS_MAX)
		return -EAGAIN;
	for (int i = 0; i < count; i++) {
		int status = vhost_device_shm_map(&guest->device, offset, map->pieces[i].fd,
						  map->pieces[i].file_offset, map->pieces[i].bytes,
						  map->map.prot & SCIF_PROT_WRITE, map);

		if (status < 0 && i == 0)
			return status;
		if (status < 0) {
			/* The channel is broken: what was asked is answered with the session's end.
			 */
			map->failed = 1;
			return 0;
		}
		map->piece_count++;
		offset += map->pieces[i].bytes;
	}
	return 0;
}

int guest_map(struct guest *guest, struct call *call)
{
	struct guest_map *map = calloc(1, sizeof(*map));
	int status;

	if (!map)
		return -ENOMEM;
	call->endpoint = guest->slots[call->request.endpoint - 1];
	status = map_prepare(call, &map->map);
	call->endpoint = NULL;
	map->map.number = ++guest->next_map;
	if (status == 0 && map->map.window_count && map->map.windows[0]->node == guest->node) {
		status = guest_map_own(guest, map, call);
		if (status == 0)
			return 0;
	} else if (status == 0) {
		if (!vhost_device_has_shm(&guest->device))
			status = -EOPNOTSUPP;
		else if (!guest_map_place(guest, map))
			status = -ENOMEM;
		if (status == 0) {
			map->state = GUEST_MAP_MAPPING;
			map->call = call;
			status = guest_map_show(guest, map);
			if (status == 0)
				return CALL_WAITS;
			TAILQ_REMOVE(&guest->maps, map, link);
		}
	}
	map_drop(&map->map);
	free(map);
	return status;
}

int guest_unmap(struct guest *guest, struct call *call)
{
	struct guest_map *map;

	TAILQ_FOREACH(map, &guest->maps, link)
	{
		if (map->map.number == call->request.map.mapping)
			break;
	}
	if (!map || map->state == GUEST_MAP_MAPPING || map->call ||
	    (map->state == GUEST_MAP_UNMAPPING && !map->cut))
		return -EINVAL;
	if (map->state == GUEST_MAP_OWN || map->state == GUEST_MAP_CUT) {
		guest_map_free(guest, map);
		return 0;
	}
	map->call = call;
	if (map->state == GUEST_MAP_UNMAPPING)
		return CALL_WAITS;
	guest_map_hide(guest, map);
	if (map->answered < map->piece_count)
		return CALL_WAITS;
	map->call = NULL;
	guest_map_free(guest, map);
	return 0;
}

void guest_map_drop_all(struct guest *guest)
{
	struct guest_map *map, *next;

	for (map = TAILQ_FIRST(&guest->maps); map; map = next) {
		struct call *call = map->call;

		next = TAILQ_NEXT(map, link);
		map->call = NULL;
		map->cut = false;
		if (call) {
			TAILQ_REMOVE(&guest->calls, call, all_link);
			mappings_put(call->mappings, call->mapping_count);
			free(call->vectors);
			free(call);
		}
		if (map->state == GUEST_MAP_OWN || map->state == GUEST_MAP_CUT) {
			guest_map_free(guest, map);
		} else if (map->state == GUEST_MAP_MAPPED) {
			guest_map_hide(guest, map);
			guest_map_hidden(guest, map);
		}
		/* The others end with the answers that are on their way. */
	}
}
