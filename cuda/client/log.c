/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The client's log: one line for each thing that a person must know, in the file that
 * CAUSEWAY_CUDA_LOG names; without it nowhere, since a library must not print.
 */
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cuda/client/client.h"

void client_log(const char *format, ...)
{
	const char *path = getenv("CAUSEWAY_CUDA_LOG");
	char line[1024];
	va_list arguments;
	int used, fd;

	if (!path || !*path)
		return;
	used = snprintf(line, sizeof(line), "causeway-cuda[%d]: ", (int)getpid());
	va_start(arguments, format);
	used += vsnprintf(line + used, sizeof(line) - (size_t)used - 1, format, arguments);
	va_end(arguments);
	if ((size_t)used > sizeof(line) - 2)
		used = sizeof(line) - 2;
	line[used++] = '\n';
	fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return;
	if (write(fd, line, (size_t)used) < 0)
		used = 0; /* nowhere left to say so */
	close(fd);
}
