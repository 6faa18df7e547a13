/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the driver_*.c programs share: CUDA's driver API, loaded by name, and the kernels as PTX
 * text. They are built by any C compiler, and so take the place of the .cu programs where there is
 * no nvcc. Their conventions are those of common.h: the same output at each run, "NAME: PASSED"
 * at the end, exit status 0 or 1, and times only with --time, to standard error.
 */
#ifndef CAUSEWAY_TESTS_PROGRAMS_DRIVER_H
#define CAUSEWAY_TESTS_PROGRAMS_DRIVER_H

#include <stddef.h>
#include <stdint.h>

/* The part of the driver API that is used here; names and values are CUDA's. */
typedef struct CUctx_st *CUcontext;
typedef struct CUmod_st *CUmodule;
typedef struct CUfunc_st *CUfunction;
typedef struct CUstream_st *CUstream;
typedef unsigned long long CUdeviceptr;

struct driver {
	int (*init)(unsigned int flags);
	int (*device_get)(int *device, int ordinal);
	int (*device_get_name)(char *name, int length, int device);
	int (*primary_retain)(CUcontext *context, int device);
	int (*primary_release)(int device);
	int (*context_set_current)(CUcontext context);
	int (*context_synchronize)(void);
	int (*module_load_data)(CUmodule *module, const void *image);
	int (*module_unload)(CUmodule module);
	int (*module_get_function)(CUfunction *function, CUmodule module, const char *name);
	int (*memory_allocate)(CUdeviceptr *address, size_t bytes);
	int (*memory_free)(CUdeviceptr address);
	int (*memory_set)(CUdeviceptr address, unsigned char value, size_t bytes);
	int (*copy_in)(CUdeviceptr to, const void *from, size_t bytes);
	int (*copy_out)(void *to, CUdeviceptr from, size_t bytes);
	int (*launch)(CUfunction function, unsigned int grid_x, unsigned int grid_y,
		      unsigned int grid_z, unsigned int block_x, unsigned int block_y,
		      unsigned int block_z, unsigned int shared_bytes, CUstream stream,
		      void **parameters, void **extra);
	int (*get_error_name)(int code, const char **name);
	int (*primary_reset)(int device);
	int (*context_get_current)(CUcontext *context);
	int (*host_allocate)(void **at, size_t bytes, unsigned int flags);
	int (*host_free)(void *at);
	int (*host_register)(void *at, size_t bytes, unsigned int flags);
	int (*host_unregister)(void *at);
	int (*copy_in_async)(CUdeviceptr to, const void *from, size_t bytes, CUstream stream);
	int (*copy_out_async)(void *to, CUdeviceptr from, size_t bytes, CUstream stream);
	int (*stream_create)(CUstream *stream, unsigned int flags);
	int (*stream_synchronize)(CUstream stream);
	int (*stream_destroy)(CUstream stream);
};

extern struct driver driver;

/* CHECK - end the program with a message where a call fails */
#define CHECK(call) driver_check((call), #call, __LINE__)
void driver_check(int code, const char *call, int line);

/**
 * driver_begin - load libcuda.so.1, make device 0's context current, load the kernels
 * @name: of the program, for its output
 *
 * Prints the device's name. Accepts --time alone as an option.
 */
void driver_begin(const char *name, int argc, char **argv);
CUfunction driver_kernel(const char *name);

/* driver_end - release everything, print the verdict; returns the exit status */
int driver_end(int passed);

/* driver_time - with --time, report the microseconds since @start_us under the name @what */
double driver_now_us(void);
void driver_time(const char *what, double start_us);

/* driver_between - the next number of a reproducible sequence, in [low, high] */
int driver_between(uint32_t *state, int low, int high);

#endif
