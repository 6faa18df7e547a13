/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a CUDA client and its worker say over a link. Little-endian, fixed widths, padding zero.
 *
 *	client                                worker
 *	hello                            ->
 *	                                 <-   welcome, device_count devices
 *	request, block [, tail] [, bulk] ->
 *	                                 <-   [pieces of bulk,] reply, block [, tail]
 *
 * A request's argument block is the generated structure of its call (gen/cuda_wire.h); a tail of
 * arrays and strings, each padded to 8 bytes, follows inside request.bytes. Bulk bytes follow
 * outside of it. A copy from the device comes in pieces, so that other threads' replies find their
 * way between them; the reply after the last piece says whether they are good. Requests are
 * executed in the order sent; replies come in any order and carry the request's sequence number. A
 * request whose call has no reply gets none, also when it fails. Handles are numbers that the
 *client chooses below CUDA_WIRE_HANDLES_CLIENT; those that the driver made by itself (a captured
 *graph's nodes) get one of the worker's from there to CUDA_WIRE_HANDLES. 0 is the NULL handle.
 *Device addresses are the worker's own.
 */
#ifndef CAUSEWAY_PROTO_CUDA_WIRE_H
#define CAUSEWAY_PROTO_CUDA_WIRE_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#define CUDA_WIRE_MAGIC	  0x55434357u /* "WCCU" */
#define CUDA_WIRE_VERSION 1u

#define CUDA_WIRE_REQUEST_BYTES_MAX (64u << 10) /* header, block and tail of one request */
#define CUDA_WIRE_REPLY_BYTES_MAX   (64u << 10)
#define CUDA_WIRE_HANDLES	    (1u << 18)
#define CUDA_WIRE_HANDLES_CLIENT \
	(1u << 17) /* below: the client's choice; from here: the worker's */
#define CUDA_WIRE_LIST_MAX	      2048u /* elements of one list in a reply */
#define CUDA_WIRE_DEVICES_MAX	      16u
#define CUDA_WIRE_DEVICE_ATTRIBUTES   192u
#define CUDA_WIRE_FUNCTION_ATTRIBUTES 16u
#define CUDA_WIRE_STRING_BYTES_MAX    4096u /* with the NUL */
#define CUDA_WIRE_PARAMETERS_MAX      4096u /* of one kernel */
#define CUDA_WIRE_PARAMETER_BYTES_MAX 32764u
#define CUDA_WIRE_PRINT_BYTES_MAX     (32u << 10) /* device printf's text in one message */

struct cuda_wire_hello {
	uint32_t magic;
	uint32_t version;
	uint8_t digest[32]; /* SHA-256 of proto/cuda.api: layouts and call numbers follow from it */
	uint32_t process;
	uint32_t reserved;
	char program[64];
};
static_assert(sizeof(struct cuda_wire_hello) == 112, "hello");

struct cuda_wire_welcome {
	uint32_t magic;
	uint32_t version;
	uint8_t digest[32];
	int32_t result; /* of starting the driver; no devices follow unless 0 */
	uint32_t device_count;
	int32_t driver_version;
	uint32_t reserved;
	char reason[128]; /* a sentence where result is not 0 */
};
static_assert(sizeof(struct cuda_wire_welcome) == 184, "welcome");

struct cuda_wire_device {
	char name[256];
	uint8_t uuid[16];
	uint64_t total_bytes;
	char pci_bus_id[32];
	int32_t attributes[CUDA_WIRE_DEVICE_ATTRIBUTES];
	uint8_t known[CUDA_WIRE_DEVICE_ATTRIBUTES]; /* 1: the driver answered that attribute */
};
static_assert(sizeof(struct cuda_wire_device) == 1272, "device");
static_assert(offsetof(struct cuda_wire_device, attributes) == 312, "device.attributes");

struct cuda_wire_request {
	uint32_t bytes; /* header, block, tail; a multiple of 8 */
	uint16_t call;	/* enum cuda_wire_call */
	uint16_t flags;
	uint32_t sequence;
	uint32_t context; /* the calling thread's current context; 0: none */
	uint64_t bulk_bytes;
};
static_assert(sizeof(struct cuda_wire_request) == 24, "request");

enum cuda_wire_reply_kind {
	CUDA_WIRE_REPLY = 1,	     /* answers .sequence */
	CUDA_WIRE_PRINT = 2,	     /* device printf's text, to be shown before .sequence ends */
	CUDA_WIRE_HOST_FUNCTION = 3, /* run the host function whose id is the block */
	CUDA_WIRE_PIECE = 4, /* the next bytes of .sequence's copy from the device, as bulk */
};

struct cuda_wire_reply {
	uint32_t bytes; /* header, block, tail; a multiple of 8 */
	uint16_t kind;
	uint16_t reserved;
	uint32_t sequence;
	int32_t result;
	uint64_t bulk_bytes;
};
static_assert(sizeof(struct cuda_wire_reply) == 24, "reply");

/* What is known of a kernel; parameter_count parameters follow as the reply's tail. */
struct cuda_wire_function {
	int32_t attributes[CUDA_WIRE_FUNCTION_ATTRIBUTES];
	uint32_t known; /* bit n: the driver answered attribute n */
	int32_t device; /* whose attributes they are */
	uint32_t parameter_count;
	uint32_t parameter_bytes; /* end of the last parameter */
};
static_assert(sizeof(struct cuda_wire_function) == 80, "function");

/* Where one of a kernel's parameters lies in the block. */
struct cuda_wire_parameter {
	uint32_t offset;
	uint32_t bytes;
};
static_assert(sizeof(struct cuda_wire_parameter) == 8, "parameter");

/* One launch attribute without pointers; those that hold one are refused by the client. */
struct cuda_wire_launch_attribute {
	uint32_t id;
	uint32_t event; /* number of the event inside .value, else 0 */
	uint8_t value[64];
};
static_assert(sizeof(struct cuda_wire_launch_attribute) == 72, "launch attribute");

/* One option of a just-in-time compilation; log buffers stay with their owners. */
struct cuda_wire_option {
	uint32_t option;
	uint32_t reserved;
	uint64_t value;
};
static_assert(sizeof(struct cuda_wire_option) == 16, "option");

/* One side of a copy that CUDA_MEMCPY3D describes. */
struct cuda_wire_place {
	uint64_t at; /* device address, or the client's own where .type says host */
	uint64_t x_bytes, y, z, lod;
	uint64_t pitch, height;
	uint32_t type;	/* CUmemorytype */
	uint32_t array; /* its number where .type says array */
};
static_assert(sizeof(struct cuda_wire_place) == 64, "place");

struct cuda_wire_copy {
	struct cuda_wire_place to, from;
	uint64_t width_bytes, rows, slices;
	uint32_t context; /* of a node; 0: the current one */
	uint32_t reserved;
};
static_assert(sizeof(struct cuda_wire_copy) == 160, "copy");

/* What a texture or surface reads: CUDA_RESOURCE_DESC without its handles. */
struct cuda_wire_resource {
	uint32_t type;	/* CUresourcetype */
	uint32_t array; /* number of an array or a mipmapped array */
	uint64_t at, bytes, width, height, pitch;
	uint32_t format, channels, flags, reserved;
};
static_assert(sizeof(struct cuda_wire_resource) == 64, "resource");

/* A kernel node; .parameter_bytes of parameters follow. */
struct cuda_wire_kernel_node {
	uint32_t function, context;
	uint32_t grid[3], block[3];
	uint32_t shared_bytes, parameter_bytes;
};
static_assert(sizeof(struct cuda_wire_kernel_node) == 40, "kernel node");

/* A node that fills memory. */
struct cuda_wire_memset_node {
	uint64_t to, pitch, width, height;
	uint32_t value, element_bytes, context, reserved;
};
static_assert(sizeof(struct cuda_wire_memset_node) == 48, "memset node");

/* A node that allocates: a pool's properties; .access_count of 12 bytes each follow. */
struct cuda_wire_allocation_node {
	uint64_t bytes;
	int32_t allocation_type, handle_types, location_type, location;
	uint32_t access_count, reserved;
};
static_assert(sizeof(struct cuda_wire_allocation_node) == 32, "allocation node");

/* How an image came: a driver that is given the same sees what the program's would have seen. */
enum cuda_wire_image {
	CUDA_WIRE_IMAGE_PLAIN = 0,   /* PTX, machine code or a fat binary */
	CUDA_WIRE_IMAGE_WRAPPED = 1, /* a fat binary behind its wrapper */
};

/* cuda_wire_pad - bytes up to the next multiple of eight */
static inline uint32_t cuda_wire_pad(uint32_t bytes)
{
	return (bytes + 7u) & ~7u;
}

#endif
