/* SPDX-License-Identifier: Apache-2.0 */
/* Client and worker in one process; see cuda_pair.h. */
#include "tests/unit/cuda_pair.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cuda/client/client.h"
#include "cuda/server/worker.h"
#include "lib/base/io.h"

static struct {
	pthread_t server;
	int listening;
	int result; /* why the worker stopped serving; atomic */
} pair;

static void *cuda_pair_serve(void *unused)
{
	struct error error = { 0 };
	int fd = accept(pair.listening, NULL, NULL);

	(void)unused;
	if (fd < 0 || link_adopt(fd, &link_options_default, &worker_link, &error))
		abort();
	__atomic_store_n(&pair.result, worker_serve(), __ATOMIC_RELEASE);
	link_shutdown(worker_link);
	return NULL;
}

int cuda_pair_open(const char *scheme)
{
	char folder[] = "/tmp/causeway-pair-XXXXXX", path[64], address[80];
	struct error error = { 0 };

	if (!mkdtemp(folder))
		return -1;
	snprintf(path, sizeof(path), "%s/socket", folder);
	snprintf(address, sizeof(address), "%s:%s", scheme, path);
	pair.listening = io_unix_listen(path, 0600, &error);
	if (pair.listening < 0 || io_set_nonblock(pair.listening, 0))
		return -1;
	pthread_create(&pair.server, NULL, cuda_pair_serve, NULL);
	if (link_connect(address, &link_options_default, &client.link, &error))
		return -1;
	unlink(path);
	rmdir(folder);
	client.devices = calloc(1, sizeof(*client.devices));
	if (!client.devices)
		return -1;
	client.device_count = 1;
	for (int i = CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK;
	     i <= CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z; i++)
		client.devices->attributes[i] = 1024;
	__atomic_store_n(&client.state, CLIENT_READY, __ATOMIC_RELEASE);
	return 0;
}

void cuda_pair_close(void)
{
	link_shutdown(client.link);
	pthread_join(pair.server, NULL);
	worker_table_close();
	close(pair.listening);
	free(client.devices);
	client.devices = NULL;
}

int cuda_pair_result(void)
{
	return __atomic_load_n(&pair.result, __ATOMIC_ACQUIRE);
}
