/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Client and worker in one process, with a real link between them, for tests of both. The driver
 * behind the worker, and how the worker serves, are the test's: worker_driver and worker_options
 * are set before. The handshake of cuInit is left out; it is tested with the real programs.
 */
#ifndef CAUSEWAY_TESTS_UNIT_CUDA_PAIR_H
#define CAUSEWAY_TESTS_UNIT_CUDA_PAIR_H

/**
 * cuda_pair_open - a worker that serves in a thread, and the client connected to it, with one
 * device
 * @scheme: "unix" or "ring"
 *
 * Return: 0, or -1 where something could not be made. One pair at a time.
 */
int cuda_pair_open(const char *scheme);

/* cuda_pair_close - the worker has seen the end of the link and stopped; nothing is left */
void cuda_pair_close(void);

/* cuda_pair_result - what worker_serve() returned; any thread */
int cuda_pair_result(void);

#endif
