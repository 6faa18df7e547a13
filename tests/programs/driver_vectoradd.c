/* SPDX-License-Identifier: Apache-2.0 */
/* Adds two vectors through the driver API. */
#include "tests/programs/driver.h"

#include <stdio.h>
#include <stdlib.h>

#define ELEMENTS 1000003

int main(int argc, char **argv)
{
	static float a[ELEMENTS], b[ELEMENTS], sum[ELEMENTS];
	CUdeviceptr device_a, device_b, device_sum;
	uint32_t state = 1;
	int elements = ELEMENTS, wrong = 0;
	void *parameters[] = { &device_a, &device_b, &device_sum, &elements };
	double start;

	driver_begin("driver_vectoradd", argc, argv);
	for (int i = 0; i < ELEMENTS; i++) {
		a[i] = driver_between(&state, -1000, 1000) * 0.25f;
		b[i] = driver_between(&state, -1000, 1000) * 0.5f;
	}
	CHECK(driver.memory_allocate(&device_a, sizeof(a)));
	CHECK(driver.memory_allocate(&device_b, sizeof(b)));
	CHECK(driver.memory_allocate(&device_sum, sizeof(sum)));
	start = driver_now_us();
	CHECK(driver.copy_in(device_a, a, sizeof(a)));
	CHECK(driver.copy_in(device_b, b, sizeof(b)));
	driver_time("copy_in", start);
	start = driver_now_us();
	CHECK(driver.launch(driver_kernel("vectoradd"), (ELEMENTS + 255) / 256, 1, 1, 256, 1, 1, 0,
			    NULL, parameters, NULL));
	CHECK(driver.context_synchronize());
	driver_time("kernel", start);
	start = driver_now_us();
	CHECK(driver.copy_out(sum, device_sum, sizeof(sum)));
	driver_time("copy_out", start);
	CHECK(driver.memory_free(device_a));
	CHECK(driver.memory_free(device_b));
	CHECK(driver.memory_free(device_sum));

	for (int i = 0; i < ELEMENTS; i++)
		wrong += sum[i] != a[i] + b[i];
	printf("driver_vectoradd: %d elements, %d wrong\n", elements, wrong);
	return driver_end(!wrong);
}
