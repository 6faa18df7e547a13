// SPDX-License-Identifier: Apache-2.0
// Fails on purpose and checks each error code: bad launches, too large requests, bad arguments,
// missing symbols, and faults of device code, after which the context must stay dead.
//
// Each case runs in a process of its own (this program again, with --case NAME), as most faults
// end a CUDA context for good.
#include "common.h"

#include <sys/wait.h>
#include <unistd.h>

#include <cassert>
#include <cstdint>
#include <vector>

static bool all_expected = true;

static void expect(const char *what, cudaError_t got, cudaError_t wanted)
{
	printf("errors:   %s: %s", what, cudaGetErrorName(got));
	if (got != wanted) {
		printf(", expected %s", cudaGetErrorName(wanted));
		all_expected = false;
	}
	printf("\n");
}

static void expect_true(const char *what, bool right)
{
	printf("errors:   %s: %s\n", what, right ? "yes" : "NO");
	all_expected = all_expected && right;
}

__global__ void fill(int *numbers, int count, int value)
{
	int i = blockIdx.x * blockDim.x + threadIdx.x;

	if (i < count)
		numbers[i] = value;
}

__global__ void store_through(int *address)
{
	*address = threadIdx.x;
}

__global__ void fail_assertion(int number)
{
	assert(number > threadIdx.x);
}

__global__ void trap_if(int number)
{
	if (number == threadIdx.x)
		__trap();
}

__device__ int device_number = 5;
static int host_number = 5;

static void host_function()
{
	host_number++;
}

// Whether this process can still compute.
static bool device_works()
{
	const int count = 1000;
	std::vector<int> numbers(count);
	int *device;
	bool right = true;

	if (cudaMalloc(&device, count * sizeof(int)) != cudaSuccess)
		return false;
	fill<<<(count + 63) / 64, 64>>>(device, count, 77);
	right = cudaMemcpy(numbers.data(), device, count * sizeof(int), cudaMemcpyDeviceToHost) ==
		cudaSuccess;
	for (int number : numbers)
		right = right && number == 77;
	return cudaFree(device) == cudaSuccess && right;
}

static void bad_launch()
{
	int *numbers;

	CHECK(cudaMalloc(&numbers, 4096));
	fill<<<1, 2048>>>(numbers, 1024, 1);
	expect("2048 threads in a block", cudaGetLastError(), cudaErrorInvalidValue);
	expect("the last error, once read", cudaGetLastError(), cudaSuccess);
	fill<<<0, 32>>>(numbers, 1024, 1);
	expect("no block", cudaGetLastError(), cudaErrorInvalidValue);
	fill<<<dim3(1, 70000), 32>>>(numbers, 1024, 1);
	expect("70000 blocks in y", cudaGetLastError(), cudaErrorInvalidValue);
	fill<<<1, dim3(1, 1, 65)>>>(numbers, 1024, 1);
	expect("65 threads in z", cudaGetLastError(), cudaErrorInvalidValue);
	fill<<<1, 32, 16 << 20>>>(numbers, 1024, 1);
	expect("16 MiB of shared memory", cudaGetLastError(), cudaErrorInvalidValue);
	expect("synchronising after them", cudaDeviceSynchronize(), cudaSuccess);
	expect_true("the device still works", device_works());
}

static void out_of_memory()
{
	void *memory = nullptr, *small = nullptr;
	size_t available, total;

	expect("2^50 bytes", cudaMalloc(&memory, size_t(1) << 50), cudaErrorMemoryAllocation);
	expect("the last error", cudaGetLastError(), cudaErrorMemoryAllocation);
	expect("the last error, once read", cudaGetLastError(), cudaSuccess);
	CHECK(cudaMemGetInfo(&available, &total));
	expect_true("free memory is within the total", available > 0 && available <= total);
	expect("more than is there", cudaMalloc(&memory, total + (64 << 20)),
	       cudaErrorMemoryAllocation);
	expect("a little", cudaMalloc(&small, 1 << 20), cudaSuccess);
	expect("freeing it", cudaFree(small), cudaSuccess);
	cudaGetLastError();
	expect_true("the device still works", device_works());
}

static void bad_arguments()
{
	std::vector<char> host(8 << 20);
	cudaEvent_t never, recorded;
	float milliseconds;
	char *memory;

	CHECK(cudaMalloc(&memory, 4 << 20));
	expect("copy to no address", cudaMemcpy(nullptr, host.data(), 16, cudaMemcpyHostToDevice),
	       cudaErrorInvalidValue);
	expect("copy beyond the end",
	       cudaMemcpy(memory, host.data(), 8 << 20, cudaMemcpyHostToDevice),
	       cudaErrorInvalidValue);
	expect("freeing", cudaFree(memory), cudaSuccess);
	expect("freeing again", cudaFree(memory), cudaErrorInvalidValue);
	expect("freeing nothing", cudaFree(nullptr), cudaSuccess);
	expect("device 99", cudaSetDevice(99), cudaErrorInvalidDevice);
	CHECK(cudaEventCreate(&never));
	CHECK(cudaEventCreate(&recorded));
	CHECK(cudaEventRecord(recorded));
	expect("time since an event never recorded",
	       cudaEventElapsedTime(&milliseconds, never, recorded),
	       cudaErrorInvalidResourceHandle);
	cudaGetLastError();
	expect_true("the device still works", device_works());
}

static const char library_text[] = ".version 7.0\n"
				   ".target sm_52\n"
				   ".address_size 64\n"
				   ".visible .global .align 4 .u32 present_number = 9;\n"
				   ".visible .entry present_kernel(.param .u64 address)\n"
				   "{\n"
				   "\t.reg .b32 %r<2>;\n"
				   "\t.reg .b64 %rd<3>;\n"
				   "\tld.param.u64 %rd1, [address];\n"
				   "\tcvta.to.global.u64 %rd2, %rd1;\n"
				   "\tmov.u32 %r1, 123;\n"
				   "\tst.global.u32 [%rd2], %r1;\n"
				   "\tret;\n"
				   "}\n";

static void missing_symbol()
{
	cudaFuncAttributes attributes;
	cudaLibrary_t library;
	cudaKernel_t kernel;
	int number = 0, *result;
	void *address;
	size_t bytes;

	expect("copy to a host variable as a symbol",
	       cudaMemcpyToSymbol(host_number, &number, sizeof(number)), cudaErrorInvalidSymbol);
	expect("copy from a device variable",
	       cudaMemcpyFromSymbol(&number, device_number, sizeof(number)), cudaSuccess);
	expect_true("its value is right", number == 5);
	expect("attributes of a host function",
	       cudaFuncGetAttributes(&attributes, (const void *)host_function),
	       cudaErrorInvalidResourceHandle);
	expect("launch of a host function",
	       cudaLaunchKernel((const void *)host_function, dim3(1), dim3(1), nullptr, 0, 0),
	       cudaErrorInvalidResourceHandle);
	CHECK(cudaLibraryLoadData(&library, library_text, nullptr, nullptr, 0, nullptr, nullptr,
				  0));
	expect("kernel missing in a library",
	       cudaLibraryGetKernel(&kernel, library, "missing_kernel"), cudaErrorSymbolNotFound);
	expect("variable missing in a library",
	       cudaLibraryGetGlobal(&address, &bytes, library, "missing_number"),
	       cudaErrorSymbolNotFound);
	expect("variable present in a library",
	       cudaLibraryGetGlobal(&address, &bytes, library, "present_number"), cudaSuccess);
	expect("kernel present in a library",
	       cudaLibraryGetKernel(&kernel, library, "present_kernel"), cudaSuccess);
	CHECK(cudaMalloc(&result, sizeof(int)));
	void *parameters[] = { &result };
	expect("its launch",
	       cudaLaunchKernel((const void *)kernel, dim3(1), dim3(1), parameters, 0, 0),
	       cudaSuccess);
	CHECK(cudaMemcpy(&number, result, sizeof(int), cudaMemcpyDeviceToHost));
	expect_true("its result is right", number == 123);
	CHECK(cudaLibraryUnload(library));
	cudaGetLastError();
	expect_true("the device still works", device_works());
}

// After a fault of device code every call must answer with the very same error.
static void expect_dead(cudaError_t code)
{
	int *memory = nullptr, number = 0;
	cudaStream_t stream;

	expect("synchronising", cudaDeviceSynchronize(), code);
	expect("synchronising again", cudaDeviceSynchronize(), code);
	expect("the last error", cudaGetLastError(), code);
	expect("allocating", cudaMalloc(&memory, 1024), code);
	expect("creating a stream", cudaStreamCreate(&stream), code);
	expect("copying", cudaMemcpyFromSymbol(&number, device_number, sizeof(number)), code);
	fill<<<1, 32>>>(memory, 0, 0);
	expect("launching", cudaGetLastError(), code);
	expect("synchronising at last", cudaDeviceSynchronize(), code);
}

static void illegal_address()
{
	expect_true("the device works before", device_works());
	store_through<<<1, 32>>>(reinterpret_cast<int *>(uintptr_t(16)));
	expect_dead(cudaErrorIllegalAddress);
}

static void misaligned_address()
{
	char *memory;

	CHECK(cudaMalloc(&memory, 1024));
	store_through<<<1, 1>>>(reinterpret_cast<int *>(memory + 2));
	expect_dead(cudaErrorMisalignedAddress);
}

static void assertion()
{
	fail_assertion<<<1, 32>>>(16);
	expect_dead(cudaErrorAssert);
}

static void trap()
{
	trap_if<<<2, 64>>>(40);
	expect_dead(cudaErrorLaunchFailure);
}

static const struct {
	const char *name;
	void (*run)();
} cases[] = {
	{ "bad_launch", bad_launch },
	{ "out_of_memory", out_of_memory },
	{ "bad_arguments", bad_arguments },
	{ "missing_symbol", missing_symbol },
	{ "illegal_address", illegal_address },
	{ "misaligned_address", misaligned_address },
	{ "assertion", assertion },
	{ "trap", trap },
};

static int run_case(const char *name)
{
	for (const auto &entry : cases) {
		if (strcmp(entry.name, name))
			continue;
		printf("errors: %s\n", name);
		entry.run();
		fflush(stdout);
		return all_expected ? 0 : 1;
	}
	fprintf(stderr, "errors: there is no case %s\n", name);
	return 1;
}

// Runs one case in a fresh process; @quiet drops its output.
static bool case_passes(const char *name, bool quiet)
{
	int status;

	fflush(stdout);
	pid_t child = fork();
	if (child == 0) {
		if (quiet &&
		    (!freopen("/dev/null", "w", stdout) || !freopen("/dev/null", "w", stderr)))
			_exit(1);
		execl("/proc/self/exe", "errors", "--case", name, (char *)nullptr);
		_exit(127);
	}
	if (child < 0 || waitpid(child, &status, 0) != child)
		return false;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

// A process with a live context, while another one's context dies.
static bool neighbour_unharmed()
{
	int number = 0, *memory;

	CHECK(cudaMalloc(&memory, sizeof(int)));
	fill<<<1, 1>>>(memory, 1, 4711);
	bool died = case_passes("illegal_address", true);
	CHECK(cudaMemcpy(&number, memory, sizeof(int), cudaMemcpyDeviceToHost));
	CHECK(cudaFree(memory));
	return died && number == 4711 && device_works();
}

int main(int argc, char **argv)
{
	bool passed = true;

	program_name = "errors";
	if (argc == 3 && !strcmp(argv[1], "--case"))
		return run_case(argv[2]);
	program_options("errors", argc, argv, {});
	for (const auto &entry : cases) {
		bool right = case_passes(entry.name, false);

		if (!right)
			printf("errors: %s FAILED\n", entry.name);
		passed = passed && right;
	}
	bool unharmed = neighbour_unharmed();
	program_show_device();
	printf("errors: a process beside one that fails is %s\n", unharmed ? "unharmed" : "HARMED");
	return program_end(passed && unharmed);
}
