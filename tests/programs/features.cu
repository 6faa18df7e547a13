// SPDX-License-Identifier: Apache-2.0
// Many small features of the language and the runtime, one check each: what ordinary programs use
// beside the plain kernels of the other test programs.
#include "common.h"

#include <cuda_fp16.h>

#include <cmath>
#include <cstdint>
#include <vector>

constexpr int count = 256;
constexpr unsigned int all_lanes = 0xffffffffu;

// Device memory for @size values of a type, given back at the end of the scope.
template <typename type> struct device_array {
	type *data;
	size_t size;

	explicit device_array(size_t elements) : size(elements)
	{
		CHECK(cudaMalloc(&data, size * sizeof(type)));
		CHECK(cudaMemset(data, 0, size * sizeof(type)));
	}
	explicit device_array(const std::vector<type> &from) : device_array(from.size())
	{
		CHECK(cudaMemcpy(data, from.data(), size * sizeof(type), cudaMemcpyHostToDevice));
	}
	~device_array()
	{
		CHECK(cudaFree(data));
	}
	device_array(const device_array &) = delete;
	device_array &operator=(const device_array &) = delete;
	std::vector<type> read() const
	{
		std::vector<type> values(size);
		CHECK(cudaGetLastError());
		CHECK(cudaMemcpy(values.data(), data, size * sizeof(type), cudaMemcpyDeviceToHost));
		return values;
	}
};

static bool close_to(double value, double expected, double tolerance)
{
	return fabs(value - expected) <= tolerance * fmax(1.0, fabs(expected));
}

// Constant memory and device variables, by symbol

__constant__ int constant_table[count] = { 1, 2, 3 };
__device__ double device_factor = 0.5;
__device__ unsigned long long launches_seen;

__global__ void use_symbols(double *results)
{
	int i = threadIdx.x;

	results[i] = constant_table[i] * device_factor;
	if (i == 0)
		atomicAdd(&launches_seen, 1ull);
}

static bool symbols()
{
	std::vector<int> table(count);
	device_array<double> results(count);
	double factor = 0;
	unsigned long long seen = 0;
	bool right = true;

	CHECK(cudaMemcpyFromSymbol(&factor, device_factor, sizeof(factor)));
	CHECK(cudaMemcpyFromSymbol(table.data(), constant_table, count * sizeof(int)));
	right = factor == 0.5 && table[0] == 1 && table[2] == 3 && table[3] == 0;
	for (int i = 0; i < count; i++)
		table[i] = 3 * i - 100;
	factor = 0.125;
	CHECK(cudaMemcpyToSymbol(constant_table, table.data(), count * sizeof(int)));
	CHECK(cudaMemcpyToSymbol(device_factor, &factor, sizeof(factor)));
	use_symbols<<<1, count>>>(results.data);
	use_symbols<<<1, count>>>(results.data);
	std::vector<double> got = results.read();
	for (int i = 0; i < count; i++)
		right = right && got[i] == (3 * i - 100) * 0.125;
	CHECK(cudaMemcpyFromSymbol(&seen, launches_seen, sizeof(seen)));
	return right && seen == 2;
}

// A structure by value, with fields of several sizes and an array

struct mixed {
	char letter;
	double real;
	short numbers[5];
	const int *pointer;
	float3 vector;
};

__global__ void use_structure(mixed value, char last, double *results)
{
	int i = threadIdx.x;

	results[i] = value.letter + value.real * value.numbers[i % 5] + value.pointer[i] +
		     value.vector.y + last;
}

static bool structure_parameter()
{
	std::vector<int> numbers(count);
	for (int i = 0; i < count; i++)
		numbers[i] = i * i;
	device_array<int> device_numbers(numbers);
	device_array<double> results(count);
	mixed value = { 'c', 2.5, { 1, -2, 3, -4, 5 }, device_numbers.data, { 1, 20, 300 } };
	bool right = true;

	use_structure<<<1, count>>>(value, 3, results.data);
	std::vector<double> got = results.read();
	for (int i = 0; i < count; i++)
		right = right && got[i] == 'c' + 2.5 * value.numbers[i % 5] + i * i + 20 + 3;
	return right;
}

// Double precision and the mathematical functions

__global__ void compute_doubles(const double *x, double *results)
{
	int i = threadIdx.x;
	double v = x[i];

	results[i] = sqrt(v) + exp(-v) + log(v) + sin(v) * cos(v) + pow(v, 1.5) + atan2(v, 2.0) +
		     fma(v, v, 1.0) / (v + 1.0) + floor(v) + fmod(v, 0.7);
}

__global__ void compute_floats(const float *x, float *results)
{
	int i = threadIdx.x;
	float v = x[i];

	results[i] = sqrtf(v) + expf(-v) + logf(v) + sinf(v) * cosf(v) + powf(v, 1.5f) + tanhf(v) +
		     __expf(-v) + __sinf(v) + v / (v + 1.0f) + rintf(v) + fabsf(-v) +
		     fminf(v, 3.0f) + fmaxf(v, 4.0f) + exp2f(v * 0.1f) + cbrtf(v);
}

static bool doubles()
{
	std::vector<double> x(count);
	bool right = true;
	for (int i = 0; i < count; i++)
		x[i] = 0.05 + i * 0.11;
	device_array<double> device_x(x), results(count);

	compute_doubles<<<1, count>>>(device_x.data, results.data);
	std::vector<double> got = results.read();
	for (int i = 0; i < count; i++) {
		double v = x[i];
		double expected = sqrt(v) + exp(-v) + log(v) + sin(v) * cos(v) + pow(v, 1.5) +
				  atan2(v, 2.0) + fma(v, v, 1.0) / (v + 1.0) + floor(v) +
				  fmod(v, 0.7);
		right = right && close_to(got[i], expected, 1e-12);
	}
	return right;
}

static bool floats()
{
	std::vector<float> x(count);
	bool right = true;
	for (int i = 0; i < count; i++)
		x[i] = 0.05f + i * 0.03f;
	device_array<float> device_x(x), results(count);

	compute_floats<<<1, count>>>(device_x.data, results.data);
	std::vector<float> got = results.read();
	for (int i = 0; i < count; i++) {
		double v = x[i];
		double expected = sqrt(v) + exp(-v) + log(v) + sin(v) * cos(v) + pow(v, 1.5) +
				  tanh(v) + exp(-v) + sin(v) + v / (v + 1) + rint(v) + v +
				  fmin(v, 3) + fmax(v, 4) + exp2(v * 0.1) + cbrt(v);
		right = right && close_to(got[i], expected, 1e-4);
	}
	return right;
}

// Half precision: conversions with their roundings

__global__ void convert_halves(const float *x, float *there_and_back, unsigned short *bits,
			       float *sums)
{
	int i = threadIdx.x;
	__half half = __float2half(x[i]);

	there_and_back[i] = __half2float(half);
	bits[i] = __half_as_ushort(__float2half_rz(x[i]));
	__half2 pair = __floats2half2_rn(x[i], 2.0f);
	pair = __hadd2(pair, pair);
	sums[i] = __low2float(pair) + __high2float(pair) + __half2float(__int2half_rn(i));
}

static bool halves()
{
	std::vector<float> x(count);
	bool right = true;
	for (int i = 0; i < count; i++)
		x[i] = (i - 128) * 0.3337f;
	x[7] = 65503.9f;
	x[8] = 1e-7f;
	device_array<float> device_x(x), back(count), sums(count);
	device_array<unsigned short> bits(count);

	convert_halves<<<1, count>>>(device_x.data, back.data, bits.data, sums.data);
	std::vector<float> got_back = back.read(), got_sums = sums.read();
	std::vector<unsigned short> got_bits = bits.read();
	for (int i = 0; i < count; i++) {
		// The host's own conversions are the reference: cuda_fp16.h has them in plain C.
		float half = __half2float(__float2half(x[i]));
		float twice = __half2float(__float2half(2 * half));
		right = right && got_back[i] == half && got_sums[i] == twice + 4 + i;
		right = right && got_bits[i] == __half_as_ushort(__float2half_rz(x[i]));
	}
	return right;
}

// Whole numbers: wide products, divisions, bits

__global__ void compute_integers(const long long *x, long long *results)
{
	int i = threadIdx.x;
	long long v = x[i];
	unsigned int u = unsigned(v);

	results[i] = v / 7 + v % 1000003 + __mulhi(int(v), 12345) + __umulhi(u, 98765u) +
		     __popc(u) + __clzll(v) + __ffs(u) + __brev(u) +
		     __byte_perm(u, 0x01020304, 0x6150) + __funnelshift_l(u, 0x89abcdefu, i) +
		     (v >> (i % 63)) + __umul64hi(v, v) + __sad(int(u), 17, 5u) + min(v, 5ll) +
		     max(u, 77u) + (u >> 3) % (i + 1) + (unsigned char)v + (short)v;
}

static long long expected_integer(long long v, int i)
{
	unsigned int u = unsigned(v), reversed = 0, permuted;
	unsigned long long w = v;
	int s = int(u);

	for (int bit = 0; bit < 32; bit++)
		reversed |= (u >> bit & 1) << (31 - bit);
	// Selectors 0, 5, 1, 6 from the lowest byte on: bytes 0 and 1 of u, 5 and 6 of the pair.
	permuted = (u & 0xff) | 0x03 << 8 | (u >> 8 & 0xff) << 16 | 0x02 << 24;
	int shift = i & 31;
	unsigned int funnel = shift ? 0x89abcdefu << shift | u >> (32 - shift) : 0x89abcdefu;
	unsigned int difference = s > 17 ? unsigned(s) - 17u : 17u - unsigned(s);

	return v / 7 + v % 1000003 + int((long long)(int(v)) * 12345 >> 32) +
	       (unsigned int)(u * 98765ull >> 32) + __builtin_popcount(u) +
	       (v ? __builtin_clzll(w) : 64) + __builtin_ffs(s) + reversed + permuted + funnel +
	       (v >> (i % 63)) + (unsigned long long)((unsigned __int128)w * w >> 64) +
	       (difference + 5u) + (v < 5 ? v : 5) + (u > 77 ? u : 77) + (u >> 3) % (i + 1) +
	       (unsigned char)v + (short)v;
}

static bool integers()
{
	std::vector<long long> x(count);
	program_sequence sequence(11);
	bool right = true;
	for (long long &v : x)
		v = (long long)((unsigned long long)sequence.next() << 32 | sequence.next());
	x[0] = 0;
	x[1] = -1;
	device_array<long long> device_x(x), results(count);

	compute_integers<<<1, count>>>(device_x.data, results.data);
	std::vector<long long> got = results.read();
	for (int i = 0; i < count; i++)
		right = right && got[i] == expected_integer(x[i], i);
	return right;
}

// Control flow: switches, nested divergence, recursion, function pointers, virtual functions

__device__ int fibonacci(int n)
{
	return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2);
}

typedef int (*operation)(int, int);
__device__ int add(int a, int b)
{
	return a + b;
}
__device__ int multiply(int a, int b)
{
	return a * b;
}
__device__ operation operations[2] = { add, multiply };

struct shape {
	__device__ virtual int area() const = 0;
};
struct square : shape {
	int edge;
	__device__ int area() const override
	{
		return edge * edge;
	}
};
struct rectangle : shape {
	int width, height;
	__device__ int area() const override
	{
		return width * height;
	}
};

__global__ void take_branches(int *results)
{
	int i = threadIdx.x, value = 0;
	square a;
	rectangle b;
	const shape *chosen = &a;

	switch (i % 9) {
	case 0:
		value = 10;
		break;
	case 1:
		value = 7 * i;
		break;
	case 2:
		value = i + 3; // falls through
	case 3:
		value += 5;
		break;
	case 4:
		value = -i;
		break;
	case 5:
		value = i / 2;
		break;
	case 6:
		value = 1 << (i % 16);
		break;
	case 7:
		value = 99;
		break;
	default:
		value = i ^ 0x55;
	}
	for (int k = 0; k < i % 7; k++) {
		if ((k + i) % 3 == 0)
			continue;
		if (k * i > 900)
			break;
		value += k;
	}
	value += fibonacci(i % 10);
	value = operations[i % 2](value, 3);
	a.edge = i;
	b.width = i;
	b.height = 2;
	if (i % 3 == 0)
		chosen = &b;
	results[i] = value + chosen->area();
}

static int expected_branch(int i)
{
	static const int fibonacci_numbers[] = { 0, 1, 1, 2, 3, 5, 8, 13, 21, 34 };
	const int of_case[] = { 10, 7 * i, i + 8, 5, -i, i / 2, 1 << (i % 16), 99, i ^ 0x55 };
	int value = of_case[i % 9];

	for (int k = 0; k < i % 7; k++) {
		if ((k + i) % 3 == 0)
			continue;
		if (k * i > 900)
			break;
		value += k;
	}
	value += fibonacci_numbers[i % 10];
	value = i % 2 ? value * 3 : value + 3;
	return value + (i % 3 == 0 ? 2 * i : i * i);
}

static bool control_flow()
{
	device_array<int> results(count);
	bool right = true;

	take_branches<<<1, count>>>(results.data);
	std::vector<int> got = results.read();
	for (int i = 0; i < count; i++)
		right = right && got[i] == expected_branch(i);
	return right;
}

// Votes, matches and shuffles of a warp

__global__ void vote(unsigned int *results)
{
	int i = threadIdx.x;
	unsigned int *mine = results + 6 * i;

	mine[0] = __ballot_sync(all_lanes, i % 3 == 0);
	mine[1] = __any_sync(all_lanes, i == 40) + 2 * __all_sync(all_lanes, i < 32);
	mine[2] = __shfl_up_sync(all_lanes, i * i, 3);
	mine[3] = __shfl_xor_sync(all_lanes, i, 5, 8);
	mine[4] = __match_any_sync(all_lanes, i % 4);
	mine[5] = __syncthreads_count(i % 5 == 0);
}

static bool votes()
{
	const int threads = 64;
	device_array<unsigned int> results(6 * threads);
	bool right = true;

	vote<<<1, threads>>>(results.data);
	std::vector<unsigned int> got = results.read();
	for (int i = 0; i < threads; i++) {
		unsigned int ballot = 0, match = 0;
		for (int lane = 0; lane < 32; lane++) {
			int other = i / 32 * 32 + lane;
			ballot |= unsigned(other % 3 == 0) << lane;
			match |= unsigned(other % 4 == i % 4) << lane;
		}
		unsigned int up = i % 32 < 3 ? i * i : (i - 3) * (i - 3);
		unsigned int expected[6] = { ballot, i < 32 ? 2u : 1u, up, unsigned(i ^ 5), match,
					     13u };
		for (int k = 0; k < 6; k++)
			right = right && got[6 * i + k] == expected[k];
	}
	return right;
}

// Atomics of several types, and a lock taken by compare-and-swap

struct totals {
	float real;
	double wide;
	unsigned long long large;
	int smallest, largest;
	unsigned int bits, wrapped, guarded, last, lock;
};

__global__ void update(totals *all)
{
	int i = blockIdx.x * blockDim.x + threadIdx.x;

	atomicAdd(&all->real, 0.5f);
	atomicAdd(&all->wide, 0.25);
	atomicAdd(&all->large, 1ull << 33);
	atomicMin(&all->smallest, 100 - i);
	atomicMax(&all->largest, 3 * i);
	atomicXor(&all->bits, 1u << (i % 31));
	atomicInc(&all->wrapped, 9);
	atomicExch(&all->last, 5);
	for (bool done = false; !done;) {
		if (atomicCAS(&all->lock, 0, 1) == 0) {
			__threadfence();
			all->guarded = *(volatile unsigned int *)&all->guarded + 1;
			__threadfence();
			atomicExch(&all->lock, 0);
			done = true;
		}
	}
}

static bool atomics()
{
	const int threads = 4 * 96;
	device_array<totals> all(1);

	update<<<4, 96>>>(all.data);
	totals got = all.read()[0];
	unsigned int bits = 0;
	for (int i = 0; i < threads; i++)
		bits ^= 1u << (i % 31);
	return got.real == threads * 0.5f && got.wide == threads * 0.25 &&
	       got.large == (unsigned long long)threads << 33 && got.smallest == 101 - threads &&
	       got.largest == 3 * (threads - 1) && got.bits == bits &&
	       got.wrapped == threads % 10 && got.last == 5 && got.lock == 0 &&
	       got.guarded == unsigned(threads);
}

// Memory: two-dimensional copies, memset, copies on the device, local arrays, vectors

__global__ void sort_locally(const uchar4 *from, uchar4 *to)
{
	unsigned char values[16];
	int i = threadIdx.x;

	for (int k = 0; k < 4; k++)
		reinterpret_cast<uchar4 *>(values)[k] = from[(i + k) % count];
	for (int a = 0; a < 16; a++)
		for (int b = a + 1; b < 16; b++)
			if (values[b] < values[a]) {
				unsigned char swapped = values[a];
				values[a] = values[b];
				values[b] = swapped;
			}
	to[i] = make_uchar4(values[0], values[5], values[10], values[15]);
}

static bool local_arrays()
{
	std::vector<uchar4> from(count);
	program_sequence sequence(12);
	bool right = true;
	for (uchar4 &v : from)
		v = make_uchar4(sequence.next(), sequence.next(), sequence.next(), sequence.next());
	device_array<uchar4> device_from(from), to(count);

	sort_locally<<<1, count>>>(device_from.data, to.data);
	std::vector<uchar4> got = to.read();
	for (int i = 0; i < count; i++) {
		int smaller[256] = {}, rank = 0;
		unsigned char sorted[16];

		for (int k = 0; k < 4; k++) {
			uchar4 v = from[(i + k) % count];
			smaller[v.x]++, smaller[v.y]++, smaller[v.z]++, smaller[v.w]++;
		}
		for (int value = 0; value < 256; value++)
			for (int n = 0; n < smaller[value]; n++)
				sorted[rank++] = value;
		right = right && got[i].x == sorted[0] && got[i].y == sorted[5] &&
			got[i].z == sorted[10] && got[i].w == sorted[15];
	}
	return right;
}

__global__ void transpose(const char *from, size_t pitch, int width, int height, int *to)
{
	int x = blockIdx.x * blockDim.x + threadIdx.x;
	int y = blockIdx.y * blockDim.y + threadIdx.y;

	if (x < width && y < height)
		to[x * height + y] = reinterpret_cast<const int *>(from + y * pitch)[x];
}

static bool two_dimensions()
{
	const int width = 37, height = 21;
	std::vector<int> picture(width * height), back(width * height);
	device_array<int> turned(width * height);
	char *pitched;
	size_t pitch;
	bool right = true;

	for (int i = 0; i < width * height; i++)
		picture[i] = i * 17;
	CHECK(cudaMallocPitch(&pitched, &pitch, width * sizeof(int), height));
	CHECK(cudaMemset2D(pitched, pitch, 0xff, width * sizeof(int), height));
	CHECK(cudaMemcpy2D(pitched, pitch, picture.data(), width * sizeof(int), width * sizeof(int),
			   height, cudaMemcpyHostToDevice));
	transpose<<<dim3(3, 2), dim3(16, 16)>>>(pitched, pitch, width, height, turned.data);
	std::vector<int> got = turned.read();
	CHECK(cudaMemcpy2D(back.data(), width * sizeof(int), pitched, pitch, width * sizeof(int),
			   height, cudaMemcpyDeviceToHost));
	CHECK(cudaFree(pitched));
	for (int y = 0; y < height; y++)
		for (int x = 0; x < width; x++)
			right = right && got[x * height + y] == picture[y * width + x];
	return right && back == picture && pitch >= width * sizeof(int);
}

static bool copies()
{
	std::vector<unsigned char> bytes(1000), got(1000);
	device_array<unsigned char> first(1000), second(1000);
	cudaStream_t stream;
	bool right = true;

	for (int i = 0; i < 1000; i++)
		bytes[i] = i * 7;
	CHECK(cudaStreamCreate(&stream));
	CHECK(cudaMemcpyAsync(first.data, bytes.data(), 1000, cudaMemcpyHostToDevice, stream));
	CHECK(cudaMemcpyAsync(second.data + 1, first.data + 3, 500, cudaMemcpyDeviceToDevice,
			      stream));
	CHECK(cudaMemsetAsync(second.data + 600, 0xab, 77, stream));
	CHECK(cudaMemcpyAsync(got.data(), second.data, 1000, cudaMemcpyDefault, stream));
	CHECK(cudaStreamSynchronize(stream));
	CHECK(cudaStreamDestroy(stream));
	for (int i = 0; i < 1000; i++) {
		int expected = i >= 1 && i <= 500     ? (unsigned char)((i + 2) * 7)
			       : i >= 600 && i <= 676 ? 0xab
						      : 0;
		right = right && got[i] == expected;
	}
	return right;
}

// Dynamic shared memory and facts about a kernel

__global__ void reverse(const int *from, int *to)
{
	extern __shared__ int held[];

	held[threadIdx.x] = from[threadIdx.x];
	__syncthreads();
	to[threadIdx.x] = held[blockDim.x - 1 - threadIdx.x];
}

static bool dynamic_shared()
{
	std::vector<int> numbers(count);
	for (int i = 0; i < count; i++)
		numbers[i] = i + 1;
	device_array<int> from(numbers), to(count);
	cudaFuncAttributes attributes;
	int blocks = 0;
	bool right = true;

	reverse<<<1, count, count * sizeof(int)>>>(from.data, to.data);
	std::vector<int> got = to.read();
	for (int i = 0; i < count; i++)
		right = right && got[i] == count - i;
	CHECK(cudaFuncGetAttributes(&attributes, reverse));
	CHECK(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, reverse, count,
							    count * sizeof(int)));
	return right && attributes.maxThreadsPerBlock >= count && attributes.sharedSizeBytes == 0 &&
	       blocks > 0;
}

// Work of the host in a stream's order

static void CUDART_CB add_one(void *number)
{
	++*static_cast<int *>(number);
}

static bool host_functions()
{
	device_array<int> from(count), to(count);
	cudaStream_t stream;
	int number = 41;

	CHECK(cudaStreamCreate(&stream));
	reverse<<<1, count, count * sizeof(int), stream>>>(from.data, to.data);
	CHECK(cudaLaunchHostFunc(stream, add_one, &number));
	CHECK(cudaStreamSynchronize(stream));
	CHECK(cudaStreamDestroy(stream));
	return number == 42;
}

static const struct {
	const char *name;
	bool (*run)();
} features[] = {
	{ "constant memory and device variables", symbols },
	{ "structure parameters", structure_parameter },
	{ "double precision", doubles },
	{ "single precision functions", floats },
	{ "half precision", halves },
	{ "whole numbers", integers },
	{ "control flow and calls", control_flow },
	{ "votes and shuffles", votes },
	{ "atomics", atomics },
	{ "local arrays", local_arrays },
	{ "two-dimensional copies", two_dimensions },
	{ "copies and fills", copies },
	{ "dynamic shared memory", dynamic_shared },
	{ "host functions", host_functions },
};

int main(int argc, char **argv)
{
	bool passed = true;

	program_begin("features", argc, argv, {});
	for (const auto &feature : features) {
		double start = program_now_us();
		bool right = feature.run();

		program_time(feature.name, start);
		printf("features: %s: %s\n", feature.name, right ? "right" : "WRONG");
		passed = passed && right;
	}
	return program_end(passed);
}
