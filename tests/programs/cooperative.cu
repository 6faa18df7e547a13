// SPDX-License-Identifier: Apache-2.0
// Uses cooperative groups inside a block: the block itself, tiles of it, and the threads that
// happen to take a branch together (coalesced groups).
#include "common.h"

#include <cooperative_groups.h>
#include <vector>

namespace groups = cooperative_groups;

constexpr int block_threads = 128;

// What one thread found out; the host works out what it must be.
struct finding {
	int block_rank, block_size;
	int tile_sum;	    // of all block ranks in the tile of 16
	int tile_neighbour; // block rank of the next thread in the tile, round the end
	int tile_third;	    // whether any / all threads of the tile have a rank divisible by 3
	int reversed;	    // block rank seen through shared memory, in reverse
	int branch_size;    // of the coalesced group of threads with rank % 5 == 2, else 0
	int branch_rank;
	int branch_first; // block rank of the group's first thread
	int tile_of_four; // largest block rank in the tile of 4
};

__global__ void find_out(finding *findings)
{
	__shared__ int ranks[block_threads];
	groups::thread_block block = groups::this_thread_block();
	groups::thread_block_tile<16> tile = groups::tiled_partition<16>(block);
	groups::thread_block_tile<4> four = groups::tiled_partition<4>(tile);
	int rank = block.thread_rank();
	finding found = {};

	found.block_rank = rank;
	found.block_size = block.size();
	found.tile_sum = rank;
	for (int mask = tile.size() / 2; mask > 0; mask /= 2)
		found.tile_sum += tile.shfl_xor(found.tile_sum, mask);
	found.tile_neighbour = tile.shfl(rank, (tile.thread_rank() + 1) % tile.size());
	found.tile_third = tile.any(rank % 3 == 0) + 2 * tile.all(rank % 3 == 0) +
			   4 * __popc(tile.ballot(rank % 3 == 0));
	ranks[rank] = rank;
	block.sync();
	found.reversed = ranks[block.size() - 1 - rank];
	if (rank % 5 == 2) {
		groups::coalesced_group branch = groups::coalesced_threads();

		found.branch_size = branch.size();
		found.branch_rank = branch.thread_rank();
		found.branch_first = branch.shfl(rank, 0);
		branch.sync();
	}
	found.tile_of_four = four.shfl(rank, four.size() - 1);
	four.sync();
	findings[blockIdx.x * block_threads + rank] = found;
}

static finding expected_finding(int rank)
{
	finding expected = {};
	int tile = rank / 16 * 16, warp = rank / 32 * 32, thirds = 0;

	expected.block_rank = rank;
	expected.block_size = block_threads;
	for (int i = tile; i < tile + 16; i++) {
		expected.tile_sum += i;
		thirds += i % 3 == 0;
	}
	expected.tile_neighbour = tile + (rank + 1) % 16;
	expected.tile_third = (thirds > 0) + 2 * (thirds == 16) + 4 * thirds;
	expected.reversed = block_threads - 1 - rank;
	expected.branch_first = -1;
	for (int i = warp; i < warp + 32; i++) {
		if (i % 5 != 2)
			continue;
		expected.branch_size++;
		expected.branch_rank += i < rank;
		if (expected.branch_first < 0)
			expected.branch_first = i;
	}
	if (rank % 5 != 2)
		expected.branch_size = expected.branch_rank = expected.branch_first = 0;
	expected.tile_of_four = rank / 4 * 4 + 3;
	return expected;
}

int main(int argc, char **argv)
{
	long blocks = 20;

	program_begin("cooperative", argc, argv,
		      { { "--blocks", &blocks, 1, 65535, "blocks of the launch" } });
	std::vector<finding> findings(blocks * block_threads);
	finding *device_findings;
	CHECK(cudaMalloc(&device_findings, findings.size() * sizeof(finding)));
	find_out<<<blocks, block_threads>>>(device_findings);
	CHECK(cudaGetLastError());
	CHECK(cudaMemcpy(findings.data(), device_findings, findings.size() * sizeof(finding),
			 cudaMemcpyDeviceToHost));
	CHECK(cudaFree(device_findings));

	long wrong = 0;
	for (size_t i = 0; i < findings.size(); i++) {
		finding expected = expected_finding(i % block_threads);
		wrong += memcmp(&findings[i], &expected, sizeof(expected)) != 0;
	}
	printf("cooperative: %ld blocks of %d threads, %ld threads wrong\n", blocks, block_threads,
	       wrong);
	return program_end(wrong == 0);
}
