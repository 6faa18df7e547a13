// SPDX-License-Identifier: Apache-2.0
// Adds two vectors: the smallest whole CUDA program, two copies in, a launch, a copy out.
#include "common.h"

#include <vector>

__global__ void vectoradd(const float *a, const float *b, float *sum, long elements)
{
	long i = blockIdx.x * long(blockDim.x) + threadIdx.x;

	if (i < elements)
		sum[i] = a[i] + b[i];
}

int main(int argc, char **argv)
{
	long elements = 1000003, repeat = 1;

	program_begin("vectoradd", argc, argv,
		      { { "--elements", &elements, 1, 1L << 31, "length of the vectors" },
			{ "--repeat", &repeat, 1, 1000000, "how often to launch" } });
	size_t bytes = elements * sizeof(float);
	std::vector<float> a(elements), b(elements), sum(elements);
	program_sequence sequence(1);
	for (long i = 0; i < elements; i++) {
		a[i] = sequence.between(-1000, 1000) * 0.25f;
		b[i] = sequence.between(-1000, 1000) * 0.5f;
	}

	float *device_a, *device_b, *device_sum;
	double start = program_now_us();
	CHECK(cudaMalloc(&device_a, bytes));
	CHECK(cudaMalloc(&device_b, bytes));
	CHECK(cudaMalloc(&device_sum, bytes));
	program_time("allocate", start);
	start = program_now_us();
	CHECK(cudaMemcpy(device_a, a.data(), bytes, cudaMemcpyHostToDevice));
	CHECK(cudaMemcpy(device_b, b.data(), bytes, cudaMemcpyHostToDevice));
	program_time("copy_in", start);
	start = program_now_us();
	for (long i = 0; i < repeat; i++)
		vectoradd<<<(elements + 255) / 256, 256>>>(device_a, device_b, device_sum,
							   elements);
	CHECK(cudaGetLastError());
	program_time("issue", start);
	CHECK(cudaDeviceSynchronize());
	program_time("kernel", start);
	start = program_now_us();
	CHECK(cudaMemcpy(sum.data(), device_sum, bytes, cudaMemcpyDeviceToHost));
	program_time("copy_out", start);
	CHECK(cudaFree(device_a));
	CHECK(cudaFree(device_b));
	CHECK(cudaFree(device_sum));

	long wrong = 0;
	for (long i = 0; i < elements; i++)
		wrong += sum[i] != a[i] + b[i];
	printf("vectoradd: %ld elements, %ld wrong\n", elements, wrong);
	return program_end(wrong == 0);
}
