// SPDX-License-Identifier: Apache-2.0
// Asks for managed memory. Where the device says it has none, the request must be refused with
// CUDA's own code and everything else must go on working; where it says it has some, that memory
// must work.
#include "common.h"

__global__ void count_up(int *numbers, int count)
{
	int i = blockIdx.x * blockDim.x + threadIdx.x;

	if (i < count)
		numbers[i] += i;
}

static bool numbers_right(const int *numbers, int count, int base)
{
	for (int i = 0; i < count; i++)
		if (numbers[i] != base + i)
			return false;
	return true;
}

static bool managed_works(int *managed, int count)
{
	for (int i = 0; i < count; i++)
		managed[i] = 7;
	count_up<<<(count + 127) / 128, 128>>>(managed, count);
	CHECK(cudaGetLastError());
	CHECK(cudaDeviceSynchronize());
	bool right = numbers_right(managed, count, 7);
	CHECK(cudaFree(managed));
	return right;
}

// Ordinary memory after the refusal: the context must not have suffered.
static bool ordinary_works(int count)
{
	int *device, *host = static_cast<int *>(malloc(count * sizeof(int)));

	CHECK(cudaMalloc(&device, count * sizeof(int)));
	CHECK(cudaMemset(device, 0, count * sizeof(int)));
	count_up<<<(count + 127) / 128, 128>>>(device, count);
	CHECK(cudaGetLastError());
	CHECK(cudaMemcpy(host, device, count * sizeof(int), cudaMemcpyDeviceToHost));
	CHECK(cudaFree(device));
	bool right = numbers_right(host, count, 0);
	free(host);
	return right;
}

int main(int argc, char **argv)
{
	const int count = 5000;
	int offered = -1;
	int *managed = nullptr;
	bool honest;

	program_begin("managed", argc, argv, {});
	CHECK(cudaDeviceGetAttribute(&offered, cudaDevAttrManagedMemory, 0));
	cudaError_t code = cudaMallocManaged(&managed, count * sizeof(int));
	if (offered) {
		honest = code == cudaSuccess && managed_works(managed, count);
	} else {
		cudaError_t last = cudaGetLastError();

		honest = code == cudaErrorNotSupported && last == code &&
			 cudaGetLastError() == cudaSuccess;
	}
	bool ordinary = ordinary_works(count);
	printf("managed: what the device says and what it does %s\n", honest ? "agree" : "differ");
	printf("managed: ordinary memory %s\n", ordinary ? "works" : "is broken");
	return program_end(honest && ordinary);
}
