// SPDX-License-Identifier: Apache-2.0
//
// Memory that the nodes of graphs allocate: added one by one and captured, launched again,
// instantiated again. Remotely nothing that was in it before may be seen.
#include "../../programs/common.h"

static const size_t words = 4 << 20;

// How many words are @value.
__global__ void count(const unsigned int *from, size_t words, unsigned int value,
		      unsigned long long *found)
{
	for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < words;
	     i += (size_t)gridDim.x * blockDim.x)
		if (from[i] == value)
			atomicAdd(found, 1ull);
}

__global__ void fill(unsigned int *to, size_t words, unsigned int value)
{
	for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < words;
	     i += (size_t)gridDim.x * blockDim.x)
		to[i] = value;
}

// The counts of zeroes before the fill (another number for each way, only remotely told) and of
// what was filled.
struct counts {
	unsigned long long zeroes, filled;
};

static cudaGraph_t added(counts *to, unsigned int value)
{
	cudaGraphNode_t allocation, before, write, after, release;
	cudaMemAllocNodeParams memory = {};
	cudaKernelNodeParams kernel = {};
	unsigned int zero = 0;
	size_t length = words;
	cudaGraph_t graph;

	CHECK(cudaGraphCreate(&graph, 0));
	memory.poolProps.allocType = cudaMemAllocationTypePinned;
	memory.poolProps.location.type = cudaMemLocationTypeDevice;
	memory.bytesize = words * sizeof(unsigned int);
	CHECK(cudaGraphAddMemAllocNode(&allocation, graph, nullptr, 0, &memory));

	unsigned int *at = (unsigned int *)memory.dptr;
	unsigned long long *zeroes = &to->zeroes, *filled = &to->filled;
	void *count_zeroes[] = { &at, &length, &zero, &zeroes };
	void *fill_all[] = { &at, &length, &value };
	void *count_filled[] = { &at, &length, &value, &filled };

	kernel.gridDim = kernel.blockDim = dim3(128);
	kernel.func = (void *)count;
	kernel.kernelParams = count_zeroes;
	CHECK(cudaGraphAddKernelNode(&before, graph, &allocation, 1, &kernel));
	kernel.func = (void *)fill;
	kernel.kernelParams = fill_all;
	CHECK(cudaGraphAddKernelNode(&write, graph, &before, 1, &kernel));
	kernel.func = (void *)count;
	kernel.kernelParams = count_filled;
	CHECK(cudaGraphAddKernelNode(&after, graph, &write, 1, &kernel));
	CHECK(cudaGraphAddMemFreeNode(&release, graph, &after, 1, at));
	return graph;
}

static cudaGraph_t captured(counts *to, unsigned int value, cudaStream_t stream)
{
	unsigned int *at;
	cudaGraph_t graph;

	CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
	CHECK(cudaMallocAsync(&at, words * sizeof(*at), stream));
	count<<<128, 128, 0, stream>>>(at, words, 0, &to->zeroes);
	fill<<<128, 128, 0, stream>>>(at, words, value);
	count<<<128, 128, 0, stream>>>(at, words, value, &to->filled);
	CHECK(cudaFreeAsync(at, stream));
	CHECK(cudaStreamEndCapture(stream, &graph));
	return graph;
}

static bool launch(const char *how, cudaGraphExec_t exec, counts *to, cudaStream_t stream)
{
	counts found;

	CHECK(cudaMemsetAsync(to, 0, sizeof(*to), stream));
	CHECK(cudaGraphLaunch(exec, stream));
	CHECK(cudaMemcpyAsync(&found, to, sizeof(found), cudaMemcpyDeviceToHost, stream));
	CHECK(cudaStreamSynchronize(stream));
	printf("%s: %llu words filled\n", how, found.filled);
	// The device directly may show what was there before.
	if (getenv("CAUSEWAY_CUDA_SERVER") && found.zeroes != words) {
		printf("%s: %llu words were not cleared\n", how, words - found.zeroes);
		return false;
	}
	return found.filled == words;
}

static bool run(const char *how, cudaGraph_t graph, counts *to, cudaStream_t stream)
{
	bool good = true;

	for (int again = 0; again < 2; again++) {
		cudaGraphExec_t exec;

		CHECK(cudaGraphInstantiate(&exec, graph, 0));
		good &= launch(how, exec, to, stream);
		good &= launch(how, exec, to, stream);
		CHECK(cudaGraphExecDestroy(exec));
	}
	CHECK(cudaGraphDestroy(graph));
	CHECK(cudaDeviceGraphMemTrim(0));
	return good;
}

int main(int argc, char **argv)
{
	cudaStream_t stream;
	counts *to;
	bool good;

	program_options("graph_memory", argc, argv, {});
	program_show_device();
	CHECK(cudaMalloc(&to, sizeof(*to)));
	CHECK(cudaStreamCreate(&stream));
	good = run("added", added(to, 1), to, stream);
	good &= run("captured", captured(to, 2, stream), to, stream);
	return program_end(good);
}
