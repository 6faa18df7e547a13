// SPDX-License-Identifier: Apache-2.0
// Moves bodies under their mutual gravity: each stream moves a part of them, and events make each
// stream wait for all the others before the next step, as positions are read from everywhere.
#include "common.h"

#include <cmath>
#include <vector>

constexpr int block_threads = 64;
constexpr float step_length = 0.01f;
constexpr float softening = 0.01f;

__host__ __device__ inline float inverse_square_root(float x)
{
#ifdef __CUDA_ARCH__
	return rsqrtf(x);
#else
	return 1.0f / sqrtf(x);
#endif
}

__host__ __device__ inline float4 attracted(float4 sum, float4 body, float4 other)
{
	float x = other.x - body.x, y = other.y - body.y, z = other.z - body.z;
	float inverse = inverse_square_root(x * x + y * y + z * z + softening);
	float pull = other.w * inverse * inverse * inverse;

	sum.x += x * pull;
	sum.y += y * pull;
	sum.z += z * pull;
	return sum;
}

__host__ __device__ inline void advance(float4 &position, float4 &velocity, float4 pull)
{
	velocity.x += pull.x * step_length;
	velocity.y += pull.y * step_length;
	velocity.z += pull.z * step_length;
	position.x += velocity.x * step_length;
	position.y += velocity.y * step_length;
	position.z += velocity.z * step_length;
}

// Moves bodies [first, first + count); w is a body's mass.
__global__ void move_bodies(const float4 *from, float4 *to, float4 *velocities, int bodies,
			    int first, int count)
{
	__shared__ float4 tile[block_threads];
	int i = first + blockIdx.x * blockDim.x + threadIdx.x;
	bool mine = i < first + count;
	float4 position = mine ? from[i] : make_float4(0, 0, 0, 0);
	float4 pull = make_float4(0, 0, 0, 0);

	for (int start = 0; start < bodies; start += block_threads) {
		int j = start + threadIdx.x;
		tile[threadIdx.x] = j < bodies ? from[j] : make_float4(0, 0, 0, 0);
		__syncthreads();
		for (int k = 0; k < block_threads; k++)
			pull = attracted(pull, position, tile[k]);
		__syncthreads();
	}
	if (mine) {
		advance(position, velocities[i], pull);
		to[i] = position;
	}
}

static void move_on_host(std::vector<float4> &positions, std::vector<float4> &velocities)
{
	std::vector<float4> from = positions;

	for (size_t i = 0; i < from.size(); i++) {
		float4 pull = make_float4(0, 0, 0, 0);
		for (const float4 &other : from)
			pull = attracted(pull, from[i], other);
		advance(positions[i], velocities[i], pull);
	}
}

// The steps on the device; positions and velocities lie in pinned memory and are updated.
static void move_on_device(float4 *positions, float4 *velocities, int bodies, int steps,
			   int stream_count)
{
	size_t bytes = bodies * sizeof(float4);
	int part = (bodies + stream_count - 1) / stream_count;
	std::vector<cudaStream_t> streams(stream_count);
	std::vector<cudaEvent_t> moved(stream_count);
	float4 *device_positions[2], *device_velocities;

	CHECK(cudaMalloc(&device_positions[0], bytes));
	CHECK(cudaMalloc(&device_positions[1], bytes));
	CHECK(cudaMalloc(&device_velocities, bytes));
	for (int s = 0; s < stream_count; s++) {
		CHECK(cudaStreamCreateWithFlags(&streams[s], cudaStreamNonBlocking));
		CHECK(cudaEventCreateWithFlags(&moved[s], cudaEventDisableTiming));
	}
	// The first stream copies in; the others wait for its event.
	CHECK(cudaMemcpyAsync(device_positions[0], positions, bytes, cudaMemcpyHostToDevice,
			      streams[0]));
	CHECK(cudaMemcpyAsync(device_velocities, velocities, bytes, cudaMemcpyHostToDevice,
			      streams[0]));
	for (int s = 0; s < stream_count; s++)
		CHECK(cudaEventRecord(moved[s], streams[0]));
	for (int step = 0; step < steps; step++) {
		for (int s = 0; s < stream_count; s++)
			for (int other = 0; other < stream_count; other++)
				CHECK(cudaStreamWaitEvent(streams[s], moved[other], 0));
		for (int s = 0; s < stream_count; s++) {
			int first = s * part;
			int count = first + part < bodies ? part : bodies - first;

			if (count > 0)
				move_bodies<<<(count + block_threads - 1) / block_threads,
					      block_threads, 0, streams[s]>>>(
					device_positions[step % 2], device_positions[1 - step % 2],
					device_velocities, bodies, first, count);
			CHECK(cudaGetLastError());
			CHECK(cudaEventRecord(moved[s], streams[s]));
		}
	}
	for (int s = 0; s < stream_count; s++)
		CHECK(cudaStreamWaitEvent(streams[0], moved[s], 0));
	CHECK(cudaMemcpyAsync(positions, device_positions[steps % 2], bytes, cudaMemcpyDeviceToHost,
			      streams[0]));
	CHECK(cudaMemcpyAsync(velocities, device_velocities, bytes, cudaMemcpyDeviceToHost,
			      streams[0]));
	CHECK(cudaStreamSynchronize(streams[0]));
	for (int s = 0; s < stream_count; s++) {
		CHECK(cudaEventQuery(moved[s]));
		CHECK(cudaEventDestroy(moved[s]));
		CHECK(cudaStreamDestroy(streams[s]));
	}
	CHECK(cudaFree(device_positions[0]));
	CHECK(cudaFree(device_positions[1]));
	CHECK(cudaFree(device_velocities));
}

// An event pair around an empty stream's work must give a time that is not negative.
static bool events_measure_time()
{
	cudaEvent_t start, end;
	float milliseconds = -1;

	CHECK(cudaEventCreate(&start));
	CHECK(cudaEventCreate(&end));
	CHECK(cudaEventRecord(start));
	CHECK(cudaEventRecord(end));
	CHECK(cudaEventSynchronize(end));
	CHECK(cudaEventElapsedTime(&milliseconds, start, end));
	CHECK(cudaEventDestroy(start));
	CHECK(cudaEventDestroy(end));
	return milliseconds >= 0 && milliseconds < 60000;
}

int main(int argc, char **argv)
{
	long bodies = 500, steps = 4, streams = 4;

	program_begin("nbody", argc, argv,
		      { { "--bodies", &bodies, 1, 1000000, "how many bodies" },
			{ "--steps", &steps, 1, 100000, "how many steps" },
			{ "--streams", &streams, 1, 64, "how many streams" } });
	float4 *positions, *velocities;
	CHECK(cudaMallocHost(&positions, bodies * sizeof(float4)));
	CHECK(cudaMallocHost(&velocities, bodies * sizeof(float4)));
	program_sequence sequence(5);
	for (long i = 0; i < bodies; i++) {
		positions[i] = make_float4(
			sequence.between(-500, 500) * 0.01f, sequence.between(-500, 500) * 0.01f,
			sequence.between(-500, 500) * 0.01f, sequence.between(1, 10) * 0.1f);
		velocities[i] = make_float4(sequence.between(-10, 10) * 0.1f,
					    sequence.between(-10, 10) * 0.1f,
					    sequence.between(-10, 10) * 0.1f, 0);
	}
	std::vector<float4> expected(positions, positions + bodies);
	std::vector<float4> expected_velocities(velocities, velocities + bodies);

	double start = program_now_us();
	move_on_device(positions, velocities, bodies, steps, streams);
	program_time("device", start);
	for (long step = 0; step < steps; step++)
		move_on_host(expected, expected_velocities);

	float deviation = 0, distance = 0;
	for (long i = 0; i < bodies; i++) {
		float here[3] = { positions[i].x, positions[i].y, positions[i].z };
		float there[3] = { expected[i].x, expected[i].y, expected[i].z };
		for (int axis = 0; axis < 3; axis++) {
			float apart = fabsf(here[axis] - there[axis]);
			// Written so that a NaN counts as a deviation too.
			deviation = apart <= deviation ? deviation : apart;
		}
		distance = fmaxf(distance, fabsf(velocities[i].x * step_length));
	}
	bool close = deviation < 1e-3f && distance > 0;
	bool timed = events_measure_time();
	CHECK(cudaFreeHost(positions));
	CHECK(cudaFreeHost(velocities));
	printf("nbody: %ld bodies, %ld steps, %ld streams: positions %s\n", bodies, steps, streams,
	       close ? "agree with the host's" : "deviate from the host's");
	printf("nbody: event times %s\n", timed ? "plausible" : "wrong");
	return program_end(close && timed);
}
