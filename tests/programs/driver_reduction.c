/* SPDX-License-Identifier: Apache-2.0 */
/* Sums many numbers through the driver API: shuffles, shared memory, and an atomic at the end. */
#include "tests/programs/driver.h"

#include <stdio.h>

#define ELEMENTS (1 << 20)
#define BLOCKS	 64

int main(int argc, char **argv)
{
	static int numbers[ELEMENTS];
	CUdeviceptr device_numbers, device_total;
	uint32_t state = 3;
	int elements = ELEMENTS;
	long long expected = 0, total = 0;
	void *parameters[] = { &device_numbers, &elements, &device_total };
	double start;

	driver_begin("driver_reduction", argc, argv);
	for (int i = 0; i < ELEMENTS; i++) {
		numbers[i] = driver_between(&state, -1000000, 1000000);
		expected += numbers[i];
	}
	CHECK(driver.memory_allocate(&device_numbers, sizeof(numbers)));
	CHECK(driver.memory_allocate(&device_total, sizeof(total)));
	CHECK(driver.memory_set(device_total, 0, sizeof(total)));
	CHECK(driver.copy_in(device_numbers, numbers, sizeof(numbers)));
	start = driver_now_us();
	CHECK(driver.launch(driver_kernel("reduction"), BLOCKS, 1, 1, 256, 1, 1, 0, NULL,
			    parameters, NULL));
	CHECK(driver.context_synchronize());
	driver_time("kernel", start);
	CHECK(driver.copy_out(&total, device_total, sizeof(total)));
	CHECK(driver.memory_free(device_numbers));
	CHECK(driver.memory_free(device_total));

	printf("driver_reduction: %d numbers, sum %lld\n", elements, total);
	return driver_end(total == expected);
}
