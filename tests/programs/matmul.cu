// SPDX-License-Identifier: Apache-2.0
// Multiplies two matrices in single precision, tile by tile through shared memory.
//
// The entries are small whole numbers, so that the product is exact in whatever order it is
// summed. It is verified by Freivalds' method: C r = A (B r) for random r, which costs a
// matrix-vector product instead of the whole product and misses a wrong entry with a probability
// of about 1 in 2000 per vector; three vectors are used.
#include "common.h"

#include <vector>

constexpr int tile_edge = 32;

__global__ void matmul(const float *a, const float *b, float *c, int rows, int depth, int columns)
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

using matrix = std::vector<float>;
using whole_vector = std::vector<long long>;

static whole_vector times(const matrix &m, const whole_vector &v, long rows, long columns)
{
	whole_vector product(rows, 0);

	for (long i = 0; i < rows; i++)
		for (long j = 0; j < columns; j++)
			product[i] += (long long)m[i * columns + j] * v[j];
	return product;
}

static bool product_verified(const matrix &a, const matrix &b, const matrix &c, long rows,
			     long depth, long columns)
{
	program_sequence sequence(7);

	for (int round = 0; round < 3; round++) {
		whole_vector r(columns);
		for (long long &value : r)
			value = sequence.between(-1000, 1000);
		if (times(c, r, rows, columns) !=
		    times(a, times(b, r, depth, columns), rows, depth))
			return false;
	}
	return true;
}

int main(int argc, char **argv)
{
	long rows = 200, depth = 300, columns = 250, repeat = 1;

	program_begin("matmul", argc, argv,
		      { { "--rows", &rows, 1, 65536, "rows of A and C" },
			{ "--depth", &depth, 1, 65536, "columns of A, rows of B" },
			{ "--columns", &columns, 1, 65536, "columns of B and C" },
			{ "--repeat", &repeat, 1, 1000000, "how often to launch" } });
	matrix a(rows * depth), b(depth * columns), c(rows * columns);
	program_sequence sequence(2);
	for (float &value : a)
		value = sequence.between(-8, 8);
	for (float &value : b)
		value = sequence.between(-8, 8);

	float *device_a, *device_b, *device_c;
	double start = program_now_us();
	CHECK(cudaMalloc(&device_a, a.size() * sizeof(float)));
	CHECK(cudaMalloc(&device_b, b.size() * sizeof(float)));
	CHECK(cudaMalloc(&device_c, c.size() * sizeof(float)));
	program_time("allocate", start);
	start = program_now_us();
	CHECK(cudaMemcpy(device_a, a.data(), a.size() * sizeof(float), cudaMemcpyHostToDevice));
	CHECK(cudaMemcpy(device_b, b.data(), b.size() * sizeof(float), cudaMemcpyHostToDevice));
	program_time("copy_in", start);
	dim3 block(tile_edge, tile_edge);
	dim3 grid((columns + tile_edge - 1) / tile_edge, (rows + tile_edge - 1) / tile_edge);
	for (long i = 0; i < repeat; i++) {
		start = program_now_us();
		matmul<<<grid, block>>>(device_a, device_b, device_c, rows, depth, columns);
		CHECK(cudaGetLastError());
		CHECK(cudaDeviceSynchronize());
		program_time("kernel", start);
	}
	start = program_now_us();
	CHECK(cudaMemcpy(c.data(), device_c, c.size() * sizeof(float), cudaMemcpyDeviceToHost));
	program_time("copy_out", start);
	CHECK(cudaFree(device_a));
	CHECK(cudaFree(device_b));
	CHECK(cudaFree(device_c));

	bool correct = product_verified(a, b, c, rows, depth, columns);
	printf("matmul: %ldx%ld times %ldx%ld: product %s\n", rows, depth, depth, columns,
	       correct ? "correct" : "wrong");
	return program_end(correct);
}
