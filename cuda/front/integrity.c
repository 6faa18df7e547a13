/* SPDX-License-Identifier: Apache-2.0 */
/*
 * INTEGRITY_CHECK: the runtime asks the driver to prove that it is what it seems. The proof is an
 * HMAC over facts of the calling process and of the devices, so only a library inside the process
 * can give it. One wrong bit and the runtime fails with error 103.
 */
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "cuda/front/md2.h"
#include "cuda/front/private.h"

static const uint8_t integrity_key[MD2_BYTES] = {
	0x14, 0x6a, 0xdd, 0xae, 0x53, 0xa9, 0xa7, 0x52,
	0xaa, 0x08, 0x41, 0x36, 0x0b, 0xf5, 0x5a, 0x9f,
};

static void add_u32(struct md2_hmac *hmac, uint32_t value)
{
	md2_add(&hmac->inner, &value, sizeof(value));
}

static void add_u64(struct md2_hmac *hmac, uint64_t value)
{
	md2_add(&hmac->inner, &value, sizeof(value));
}

static int add_devices(struct md2_hmac *hmac)
{
	int count = front_driver->device_count();

	for (int i = 0; i < count; i++) {
		struct front_device device;
		int result = front_driver->device_identity(i, &device);

		if (result != FRONT_SUCCESS)
			return result;
		md2_add(&hmac->inner, device.uuid, sizeof(device.uuid));
		add_u32(hmac, (uint32_t)device.pci_domain);
		add_u32(hmac, (uint32_t)device.pci_bus);
		add_u32(hmac, (uint32_t)device.pci_device);
	}
	return FRONT_SUCCESS;
}

int front_integrity_answer(const void *const addresses[3], uint32_t version, uint64_t unix_time,
			   uint64_t answer[2])
{
	uint8_t digest[MD2_BYTES];
	struct md2_hmac hmac;
	int result;

	if (version % 10 < 2) {
		answer[0] = version % 10 == 0 ? 0x3341181C03CB675Cu : 0x1841181C03CB675Cu;
		answer[1] = 0x8ED383AA1F4CD1E8u;
		return FRONT_SUCCESS;
	}
	md2_hmac_start(&hmac, integrity_key);
	add_u32(&hmac, (uint32_t)front_driver->driver_version);
	add_u32(&hmac, version);
	add_u32(&hmac, (uint32_t)getpid());
	add_u32(&hmac, (uint32_t)pthread_self());
	for (int i = 0; i < 3; i++)
		add_u64(&hmac, (uint64_t)(uintptr_t)addresses[i]);
	add_u64(&hmac, unix_time);
	result = add_devices(&hmac);
	if (result != FRONT_SUCCESS)
		return result;
	md2_hmac_finish(&hmac, digest);
	memcpy(answer, digest, sizeof(digest));
	return FRONT_SUCCESS;
}
