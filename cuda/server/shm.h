/* SPDX-License-Identifier: Apache-2.0 */
/*
 * POSIX shared memory for the driver inside a worker: see shm.c.
 */
#ifndef CAUSEWAY_CUDA_SERVER_SHM_H
#define CAUSEWAY_CUDA_SERVER_SHM_H

/* shm_folder_set - the folder, kept open, in which objects lie from now on; -1: in /dev/shm */
void shm_folder_set(int fd);

#endif
