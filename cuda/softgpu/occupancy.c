/* SPDX-License-Identifier: Apache-2.0 */
/*
 * occupancy: how many blocks a multiprocessor holds, by the limits of compute capability 7.5:
 * blocks, threads, registers (given out to warps in units of 256), and shared memory.
 */
#include "cuda/softgpu/driver.h"

#define REGISTER_UNIT 256
#define SHARED_UNIT   256

static size_t round_up(size_t value, size_t unit)
{
	return (value + unit - 1) / unit * unit;
}

static size_t smaller(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* Blocks that fit by everything but shared memory. */
static size_t blocks_by_threads(const struct function *function, unsigned int threads)
{
	size_t warps = (threads + WARP_LANES - 1) / WARP_LANES;
	size_t registers = round_up((size_t)function->facts->registers * WARP_LANES, REGISTER_UNIT);
	size_t blocks = PROCESSOR_BLOCKS_MAX;

	if (warps == 0 || threads > function->facts->max_threads)
		return 0;
	blocks = smaller(blocks, PROCESSOR_THREADS_MAX / WARP_LANES / warps);
	if (registers > 0)
		blocks = smaller(blocks, PROCESSOR_REGISTERS / registers / warps);
	return blocks;
}

int occupancy_blocks(const struct function *function, unsigned int threads, size_t dynamic_shared)
{
	size_t shared =
		round_up(function->facts->static_shared_bytes + dynamic_shared, SHARED_UNIT);
	size_t blocks = blocks_by_threads(function, threads);

	if (shared > 0)
		blocks = smaller(blocks, BLOCK_SHARED_BYTES_MAX / shared);
	return (int)blocks;
}

static CUresult enter(CUfunction handle, struct function **function)
{
	struct context *context;
	CUresult result = context_enter(&context);

	return result == CUDA_SUCCESS ? function_of(handle, context, function) : result;
}

CUresult cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *numBlocks, CUfunction func,
							      int blockSize, size_t dynamicSMemSize,
							      unsigned int flags)
{
	struct function *function;
	CUresult result = enter(func, &function);

	if (result != CUDA_SUCCESS)
		return result;
	if (!numBlocks || blockSize <= 0 || flags > CU_OCCUPANCY_DISABLE_CACHING_OVERRIDE)
		return CUDA_ERROR_INVALID_VALUE;
	*numBlocks = occupancy_blocks(function, (unsigned int)blockSize, dynamicSMemSize);
	return CUDA_SUCCESS;
}

CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int *numBlocks, CUfunction func, int blockSize,
						     size_t dynamicSMemSize)
{
	return cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(numBlocks, func, blockSize,
								    dynamicSMemSize, 0);
}

CUresult cuOccupancyMaxPotentialBlockSizeWithFlags(int *minGridSize, int *blockSize,
						   CUfunction func,
						   CUoccupancyB2DSize blockSizeToDynamicSMemSize,
						   size_t dynamicSMemSize, int blockSizeLimit,
						   unsigned int flags)
{
	struct function *function;
	size_t best_threads = 0;
	CUresult result = enter(func, &function);
	unsigned int limit;

	if (result != CUDA_SUCCESS)
		return result;
	if (!minGridSize || !blockSize || blockSizeLimit < 0 ||
	    flags > CU_OCCUPANCY_DISABLE_CACHING_OVERRIDE)
		return CUDA_ERROR_INVALID_VALUE;
	limit = function->facts->max_threads;
	if (blockSizeLimit > 0 && (unsigned int)blockSizeLimit < limit)
		limit = (unsigned int)blockSizeLimit;
	*blockSize = 0;
	*minGridSize = 0;
	for (unsigned int threads = (unsigned int)round_up(limit, WARP_LANES); threads > 0;
	     threads -= WARP_LANES) {
		unsigned int size = threads < limit ? threads : limit;
		size_t dynamic_shared = blockSizeToDynamicSMemSize
						? blockSizeToDynamicSMemSize((int)size)
						: dynamicSMemSize;
		int blocks = occupancy_blocks(function, size, dynamic_shared);

		if ((size_t)blocks * size > best_threads) {
			best_threads = (size_t)blocks * size;
			*blockSize = (int)size;
			*minGridSize = blocks * settings.processors;
		}
	}
	return CUDA_SUCCESS;
}

CUresult cuOccupancyMaxPotentialBlockSize(int *minGridSize, int *blockSize, CUfunction func,
					  CUoccupancyB2DSize blockSizeToDynamicSMemSize,
					  size_t dynamicSMemSize, int blockSizeLimit)
{
	return cuOccupancyMaxPotentialBlockSizeWithFlags(minGridSize, blockSize, func,
							 blockSizeToDynamicSMemSize,
							 dynamicSMemSize, blockSizeLimit, 0);
}

CUresult cuOccupancyAvailableDynamicSMemPerBlock(size_t *dynamicSmemSize, CUfunction func,
						 int numBlocks, int blockSize)
{
	struct function *function;
	CUresult result = enter(func, &function);
	size_t share;

	if (result != CUDA_SUCCESS)
		return result;
	if (!dynamicSmemSize || numBlocks <= 0 || blockSize <= 0 ||
	    (size_t)numBlocks > blocks_by_threads(function, (unsigned int)blockSize))
		return CUDA_ERROR_INVALID_VALUE;
	share = BLOCK_SHARED_BYTES_MAX / (size_t)numBlocks / SHARED_UNIT * SHARED_UNIT;
	*dynamicSmemSize = share > function->facts->static_shared_bytes
				   ? share - function->facts->static_shared_bytes
				   : 0;
	return CUDA_SUCCESS;
}

/* A device of capability 7.5 has no clusters. */
CUresult cuOccupancyMaxPotentialClusterSize(int *clusterSize, CUfunction func,
					    const CUlaunchConfig *config)
{
	struct function *function;
	CUresult result = enter(func, &function);

	if (result != CUDA_SUCCESS)
		return result;
	return clusterSize && config ? CUDA_ERROR_NOT_SUPPORTED : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuOccupancyMaxActiveClusters(int *numClusters, CUfunction func,
				      const CUlaunchConfig *config)
{
	struct function *function;
	CUresult result = enter(func, &function);

	if (result != CUDA_SUCCESS)
		return result;
	return numClusters && config ? CUDA_ERROR_NOT_SUPPORTED : CUDA_ERROR_INVALID_VALUE;
}
