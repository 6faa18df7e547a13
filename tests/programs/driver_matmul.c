/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Multiplies two matrices through the driver API. The entries are small whole numbers, so the
 * product is exact; it is compared with the host's own.
 */
#include "tests/programs/driver.h"

#include <stdio.h>

#define ROWS	  200
#define DEPTH	  170
#define COLUMNS	  250
#define TILE_EDGE 32

static float a[ROWS][DEPTH], b[DEPTH][COLUMNS], c[ROWS][COLUMNS];

static int wrong_entries(void)
{
	int wrong = 0;

	for (int row = 0; row < ROWS; row++) {
		float expected[COLUMNS] = { 0 };

		for (int k = 0; k < DEPTH; k++)
			for (int column = 0; column < COLUMNS; column++)
				expected[column] += a[row][k] * b[k][column];
		for (int column = 0; column < COLUMNS; column++)
			wrong += c[row][column] != expected[column];
	}
	return wrong;
}

int main(int argc, char **argv)
{
	CUdeviceptr device_a, device_b, device_c;
	uint32_t state = 2;
	int rows = ROWS, depth = DEPTH, columns = COLUMNS, wrong;
	void *parameters[] = { &device_a, &device_b, &device_c, &rows, &depth, &columns };
	double start;

	driver_begin("driver_matmul", argc, argv);
	for (int i = 0; i < ROWS * DEPTH; i++)
		a[i / DEPTH][i % DEPTH] = driver_between(&state, -8, 8);
	for (int i = 0; i < DEPTH * COLUMNS; i++)
		b[i / COLUMNS][i % COLUMNS] = driver_between(&state, -8, 8);
	CHECK(driver.memory_allocate(&device_a, sizeof(a)));
	CHECK(driver.memory_allocate(&device_b, sizeof(b)));
	CHECK(driver.memory_allocate(&device_c, sizeof(c)));
	CHECK(driver.copy_in(device_a, a, sizeof(a)));
	CHECK(driver.copy_in(device_b, b, sizeof(b)));
	start = driver_now_us();
	CHECK(driver.launch(driver_kernel("matmul"), (COLUMNS + TILE_EDGE - 1) / TILE_EDGE,
			    (ROWS + TILE_EDGE - 1) / TILE_EDGE, 1, TILE_EDGE, TILE_EDGE, 1, 0, NULL,
			    parameters, NULL));
	CHECK(driver.context_synchronize());
	driver_time("kernel", start);
	CHECK(driver.copy_out(c, device_c, sizeof(c)));
	CHECK(driver.memory_free(device_a));
	CHECK(driver.memory_free(device_b));
	CHECK(driver.memory_free(device_c));

	wrong = wrong_entries();
	printf("driver_matmul: %dx%d times %dx%d: %d entries wrong\n", rows, depth, depth, columns,
	       wrong);
	return driver_end(!wrong);
}
