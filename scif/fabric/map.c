/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mapping the peer's windows: which windows, and which parts of which files hold their memory. How
 * a guest or a process comes to see the files is its carrier's part.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "scif/fabric/device.h"

int map_prepare(struct call *call, struct window_map *map)
{
	uint64_t offset = call->request.map.offset, bytes = call->request.map.bytes;
	uint32_t prot = call->request.map.prot;
	int count, status = 0;

	if (call->request.flags || (prot & ~(SCIF_PROT_READ | SCIF_PROT_WRITE)) || bytes == 0 ||
	    offset % FABRIC_PAGE_BYTES || bytes % FABRIC_PAGE_BYTES)
		return -EINVAL;
	memset(map, 0, sizeof(*map));
	map->device_fd = -1;
	map->offset = offset;
	map->bytes = bytes;
	map->prot = prot;
	pthread_mutex_lock(&call->fabric->lock);
	status = endpoint_verify(call->endpoint);
	if (status == 0 && call->endpoint->device) {
		status = device_may_map(call->endpoint, offset, bytes, prot);
		map->device_fd = fcntl(device_fd(call->endpoint), F_DUPFD_CLOEXEC, 0);
	} else if (status == 0) {
		count = window_collect(call->endpoint->peer, offset, bytes, prot, &map->windows);
		if (count < 0)
			status = count;
		else
			map->window_count = (unsigned int)count;
	}
	pthread_mutex_unlock(&call->fabric->lock);
	return status;
}

void map_drop(struct window_map *map)
{
	for (unsigned int i = 0; i < map->window_count; i++)
		window_put(map->windows[i]);
	if (map->device_fd >= 0)
		close(map->device_fd);
	map->device_fd = -1;
	free(map->windows);
	map->windows = NULL;
	map->window_count = 0;
}

int map_pieces(const struct window_map *map, struct map_piece *pieces, unsigned int room)
{
	uint64_t at = map->offset, end = map->offset + map->bytes;
	unsigned int count = 0, index = 0;

	if (map->device_fd >= 0) {
		pieces[0] = (struct map_piece){ map->device_fd, map->offset, map->bytes };
		return 1;
	}
	while (at < end) {
		const struct window *window = map->windows[index];
		uint64_t start = at - window->offset;
		uint32_t run = window_run_at(window, start);
		uint64_t run_start = run ? window->runs[run - 1].end : 0;
		uint64_t bytes = window->runs[run].end - start;
		const unsigned char *place = window->runs[run].start + (start - run_start);
		struct vhost_mapping *mapping = window_find_mapping(window, place);
		uint64_t file_offset;

		if (window->process || !mapping)
			return -EOPNOTSUPP;
		if (bytes > end - at)
			bytes = end - at;
		file_offset = mapping->file_offset + (uint64_t)(place - mapping->base);
		if (count && pieces[count - 1].fd == mapping->fd &&
		    pieces[count - 1].file_offset + pieces[count - 1].bytes == file_offset) {
			pieces[count - 1].bytes += bytes;
		} else {
			if (count == room)
				return -E2BIG;
			pieces[count++] = (struct map_piece){ mapping->fd, file_offset, bytes };
		}
		at += bytes;
		if (at == window->offset + window->bytes)
			index++;
	}
	return (int)count;
}
