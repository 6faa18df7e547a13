// SPDX-License-Identifier: Apache-2.0
// Prints from the device: every common conversion, several lanes in order, several launches.
#include "common.h"

__global__ void print_conversions(int number, double real, const char *text)
{
	printf("device: %d %5d|%-5d|%05d %u %x %#X %c %%\n", number, number, number, number,
	       unsigned(number), unsigned(number), unsigned(number), 'x');
	printf("device: %f %.3f %10.2e %g\n", real, real, real, real);
	printf("device: %lld %llu %llx\n", -5000000000LL, 5000000000ULL, 0x123456789abcdefULL);
	printf("device: %s|%8s|%-8s|\n", text, "right", "left");
	printf("device: no arguments\n");
}

__global__ void print_lanes(int launch)
{
	// One lane at a time, so that the order is the program's and not the device's.
	for (int lane = 0; lane < 32; lane++) {
		if (lane == threadIdx.x && lane % 10 == launch)
			printf("device: launch %d lane %d block %d,%d\n", launch, lane, blockIdx.x,
			       blockIdx.y);
		__syncwarp();
	}
}

__device__ char device_text[] = "text of the device";

int main(int argc, char **argv)
{
	void *text;

	program_begin("printf", argc, argv, {});
	// The device's lines and the host's share standard output; neither may overtake the other.
	fflush(stdout);
	CHECK(cudaGetSymbolAddress(&text, device_text));
	print_conversions<<<1, 1>>>(-42, 1234.5678, static_cast<const char *>(text));
	CHECK(cudaGetLastError());
	CHECK(cudaDeviceSynchronize());
	printf("host: between the launches\n");
	fflush(stdout);
	for (int launch = 0; launch < 3; launch++)
		print_lanes<<<1, 32>>>(launch);
	CHECK(cudaGetLastError());
	CHECK(cudaDeviceSynchronize());
	return program_end(true);
}
