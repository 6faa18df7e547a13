// SPDX-License-Identifier: Apache-2.0
// The kernels of the driver_*.c programs. nvcc's translation of this file is committed beside it,
// so that those programs need neither nvcc nor a runtime:
//	nvcc -ptx -arch=sm_75 -o driver_kernels.ptx driver_kernels.cu

extern "C" __global__ void vectoradd(const float *a, const float *b, float *sum, int elements)
{
	int i = blockIdx.x * blockDim.x + threadIdx.x;

	if (i < elements)
		sum[i] = a[i] + b[i];
}

constexpr int tile_edge = 32;

extern "C" __global__ void matmul(const float *a, const float *b, float *c, int rows, int depth,
				  int columns)
{
	__shared__ float tile_a[tile_edge][tile_edge];
	__shared__ float tile_b[tile_edge][tile_edge];
	int row = blockIdx.y * tile_edge + threadIdx.y;
	int column = blockIdx.x * tile_edge + threadIdx.x;
	float sum = 0;

	for (int start = 0; start < depth; start += tile_edge) {
		int k = start + threadIdx.x;
		tile_a[threadIdx.y][threadIdx.x] =
			row < rows && k < depth ? a[size_t(row) * depth + k] : 0;
		k = start + threadIdx.y;
		tile_b[threadIdx.y][threadIdx.x] =
			k < depth && column < columns ? b[size_t(k) * columns + column] : 0;
		__syncthreads();
		for (int i = 0; i < tile_edge; i++)
			sum += tile_a[threadIdx.y][i] * tile_b[i][threadIdx.x];
		__syncthreads();
	}
	if (row < rows && column < columns)
		c[size_t(row) * columns + column] = sum;
}

// Adds the sum of all numbers to *total; *total starts at zero.
extern "C" __global__ void reduction(const int *numbers, int elements, unsigned long long *total)
{
	__shared__ long long of_warp[32];
	int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
	long long sum = 0;

	for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < elements;
	     i += gridDim.x * blockDim.x)
		sum += numbers[i];
	for (int offset = 16; offset > 0; offset /= 2)
		sum += __shfl_down_sync(0xffffffffu, sum, offset);
	if (lane == 0)
		of_warp[warp] = sum;
	__syncthreads();
	if (warp == 0) {
		sum = lane < warps ? of_warp[lane] : 0;
		for (int offset = 16; offset > 0; offset /= 2)
			sum += __shfl_down_sync(0xffffffffu, sum, offset);
		if (lane == 0)
			atomicAdd(total, (unsigned long long)sum);
	}
}
