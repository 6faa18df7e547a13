/* SPDX-License-Identifier: Apache-2.0 */
/*
 * front: look-up of entry points by name, version and default-stream flavour.
 *
 * A runtime makes some 440 of these look-ups at its start, so the table is sorted and searched by
 * halving; nothing is kept between calls.
 */
#include "cuda/front/front.h"

#include <string.h>

#include "cuda/front/private.h"

/* CUdriverProcAddress_flags and CUdriverProcAddressQueryResult; facts of CUDA's interface. */
enum { FLAG_DEFAULT = 0, FLAG_LEGACY_STREAM = 1, FLAG_PER_THREAD_STREAM = 2 };
enum { STATUS_FOUND = 0, STATUS_NOT_FOUND = 1, STATUS_VERSION_NOT_SUFFICIENT = 2 };

#define NOT_FOUND_IS_NO_ERROR 12000 /* version of CUDA */

const struct front_driver *front_driver;

void front_open(const struct front_driver *driver)
{
	front_driver = driver;
}

/* The first row of that name, or the table's end. */
static size_t first_row(const char *name)
{
	size_t low = 0;
	size_t high = front_driver->entry_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (strcmp(front_driver->entries[middle].name, name) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/*
 * The row with the highest version not above @version; NULL with the reason in *status. Rows of
 * one name lie together, oldest first.
 */
static const struct front_entry *find_row(const char *name, int version, int *status)
{
	const struct front_entry *found = NULL;

	*status = STATUS_NOT_FOUND;
	for (size_t i = first_row(name); i < front_driver->entry_count; i++) {
		const struct front_entry *row = &front_driver->entries[i];

		if (strcmp(row->name, name) != 0)
			break;
		*status = STATUS_VERSION_NOT_SUFFICIENT;
		if (row->version <= version)
			found = row;
	}
	if (found)
		*status = STATUS_FOUND;
	return found;
}

int front_get_proc_address(const char *symbol, void **function, int cuda_version, uint64_t flags,
			   int *status)
{
	const struct front_entry *row;
	int found;

	if (!symbol || !function || flags > FLAG_PER_THREAD_STREAM)
		return FRONT_INVALID_VALUE;
	*function = NULL;
	if (status)
		*status = STATUS_NOT_FOUND;
	if (cuda_version > front_driver->driver_version)
		return FRONT_INVALID_VALUE;
	row = find_row(symbol, cuda_version, &found);
	if (status)
		*status = found;
	if (!row)
		return FRONT_NOT_FOUND;
	*function = row->legacy;
	if (flags == FLAG_PER_THREAD_STREAM && row->per_thread)
		*function = row->per_thread;
	return FRONT_SUCCESS;
}

/*
 * The second version has a place for the reason, so that a name which is not there is no error to
 * programs of CUDA 12 and later: they find NULL.
 */
int front_get_proc_address_v2(const char *symbol, void **function, int cuda_version, uint64_t flags,
			      int *status)
{
	int result = front_get_proc_address(symbol, function, cuda_version, flags, status);

	return result == FRONT_NOT_FOUND && cuda_version >= NOT_FOUND_IS_NO_ERROR ? FRONT_SUCCESS
										  : result;
}
