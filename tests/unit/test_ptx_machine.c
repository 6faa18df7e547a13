/* SPDX-License-Identifier: Apache-2.0 */
/* The PTX machine beyond single instructions: memory, atomics, warps, barriers, and what it
 * refuses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/ptx_harness.h"

#define HEAD ".version 8.0\n.target sm_80\n.address_size 64\n"
/* A kernel with two pointers, %out and %in, and the thread's number in %i and (times 4) %o. */
#define KERNEL                                                                           \
	HEAD ".visible .entry k(.param .u64 p_out, .param .u64 p_in)\n{\n"               \
	     ".reg .b64 %out, %in, %l<16>; .reg .b32 %i, %r<32>, %o; .reg .pred %p<8>; " \
	     ".reg .b16 %h<8>; .reg .f32 %f<8>;\n"                                       \
	     "ld.param.u64 %out, [p_out]; ld.param.u64 %in, [p_in];\n"                   \
	     "mov.u32 %i, %tid.x; shl.b32 %o, %i, 2;\n"
/* Adds the thread's place to %out: store results with [%out]. */
#define PLACE "cvt.u64.u32 %l0, %o; add.u64 %out, %out, %l0;\n"
#define END   "ret;\n}\n"

static struct harness harness;

static struct ptx_module *load(const char *text)
{
	struct ptx_module *module;
	struct error error = { 0 };

	if (ptx_module_load(text, strlen(text), &harness.memory, &module, &error))
		fail_msg("%s in:\n%s", error.text, text);
	return module;
}

/* run - the kernel k of @text, once; the launch is returned for its fault */
static struct ptx_launch run(const char *text, unsigned int grid, unsigned int block, size_t shared,
			     const void *out, const void *in)
{
	struct ptx_module *module = load(text);
	const void *parameters[2] = { out, in };
	struct ptx_launch launch;

	assert_int_equal(
		harness_launch(&harness, module, "k", grid, block, shared, parameters, &launch), 0);
	ptx_module_free(module);
	return launch;
}

static void run_well(const char *text, unsigned int grid, unsigned int block, const void *out,
		     const void *in)
{
	struct ptx_launch launch = run(text, grid, block, 0, out, in);

	if (launch.fault)
		fail_msg("fault %d: %s", launch.fault, launch.fault_text);
}

/* ---- what is refused, and where ---- */

static const struct {
	const char *text;
	const char *error;
} refused[] = {
	{ "", "line 1: there is no .version" },
	{ ".version 5.0\n", "line 1: PTX ISA 5.0: not implemented; 6.0 is the oldest" },
	{ ".version 8.0\n.target sm_80\n.address_size 32\n",
	  "line 3: '.address_size 32': not implemented" },
	{ HEAD "\nnonsense;", "line 5: expected a directive, found 'nonsense'" },
	{ HEAD ".texref t;", "line 4: '.texref': not implemented" },
	{ HEAD ".entry k()\n{\n", "line 6: expected '}', found the end of the text" },
	{ HEAD ".entry k()\n{\n.reg .b32 %a;\nwmma.load.a %a, %a;\n}",
	  "line 7: 'wmma.load.a %a, %a': not implemented" },
	{ HEAD ".entry k()\n{\n.reg .b32 %a;\n\n  add.u32.strange\n\t%a, %a, 1;\n}",
	  "line 8: 'add.u32.strange %a, %a, 1': not implemented" },
	{ HEAD ".entry k()\n{\n.reg .b32 %a;\nadd.u32 %a, %b, 1;\n}",
	  "line 7: 'add.u32 %a, %b, 1': not implemented" },
	{ HEAD ".entry k()\n{\n.reg .b32 %a;\nadd.u32 %a, b, 1;\n}",
	  "line 7: 'add.u32 %a, b, 1': 'b' is not declared" },
	{ HEAD ".entry k()\n{\n.reg .b32 %a;\nadd.u64 %a, %a, 1;\n}",
	  "line 7: 'add.u64 %a, %a, 1': '%a' has the wrong type" },
	{ HEAD ".entry k()\n{\n.reg .b32 %a;\nadd.u32 %a, %a;\n}",
	  "line 7: 'add.u32 %a, %a': has 2 operands where 3 are due" },
	{ HEAD ".entry k()\n{\nbra away;\n}", "line 6: 'bra away': there is no label 'away'" },
	{ HEAD ".entry k()\n{\n.reg .b32 %a;\n@%a ret;\n}",
	  "line 7: the guard is not a predicate" },
	{ HEAD ".entry k()\n{\n.reg .b32 %a, %a;\n}", "line 6: '%a' is declared twice" },
	{ HEAD ".entry k()\n{\n.reg .b32 %a<3>;\nmov.u32 %a3, 0;\n}",
	  "line 7: 'mov.u32 %a3, 0': the result is not a register" },
	{ HEAD ".extern .func f();\n.entry k()\n{\ncall f, ();\n}",
	  "line 7: 'call f, ()': the function 'f' has no body: not implemented" },
	{ HEAD ".extern .global .u32 x;\n", "line 4: 'x' is not defined in this module" },
	{ HEAD ".global .u32 x[2] = {1, 2, 3};\n",
	  "line 4: more initial values than 'x' has elements" },
	{ HEAD ".global .b8 x[99999999999999];\n", "line 4: 'x' is too large" },
	{ HEAD ".entry k()\n{\n.shared .b8 s[400000];\n}", "line 6: 's': too much shared memory" },
	{ HEAD ".entry k()\n{\n.reg .b32 %a<999999>;\n}", "line 6: too many registers" },
	{ HEAD ".entry k()\n{\n.reg .f32 %a;\nmov.f32 %a, 0f123;\n}",
	  "line 7: expected a number, found '0f123'" },
	{ HEAD ".entry k()\n{\nl: l: ret;\n}", "line 6: 'l': the label is placed twice" },
	{ HEAD ".func f(.param .u32 a) { ret; }\n.entry k()\n{\n.param .b64 q;\ncall f, (q);\n}",
	  "line 8: 'call f, (q)': 'q' has not the size of the parameter" },
	{ HEAD ".func f(.param .u32 a) { ret; }\n.entry k()\n{\ncall f;\n}",
	  "line 7: 'call f': too few parameters" },
	{ HEAD ".entry k(.param .u32 a)\n{\n.reg .b32 %a;\nst.param.u32 [a], %a;\n}",
	  "line 7: 'st.param.u32 [a], %a': not implemented" },
	{ HEAD ".entry k()\n{\n.reg .b32 %a;\nlop3.b32 %a, %a, %a, %a, 300;\n}",
	  "line 7: 'lop3.b32 %a, %a, %a, %a, 300': the table is not a number below 256" },
	/* numbers and signs */
	{ HEAD ".global .u32 x = 0x;\n", "line 4: expected an initial value, found '0x'" },
	{ HEAD ".global .u32 x = 0b2;\n", "line 4: expected an initial value, found '0b'" },
	{ HEAD ".global .u32 x = {1, .b};\n", "line 4: expected an initial value, found 'b'" },
	{ HEAD ".global .u32 x = {{{{{{{{{{1}}}}}}}}}};\n",
	  "line 4: initial values are nested too deeply" },
	{ HEAD ".global .u32 x = generic y;\n", "line 4: expected '(', found 'y'" },
	{ HEAD ".global .u32 x = generic(y;\n", "line 4: expected ')', found ';'" },
	{ HEAD ".global .u64 x = y + z;\n", "line 4: expected a number, found 'z'" },
	{ HEAD ".global .u64 x = y;\n", "line 4: the address of 'y' cannot be an initial value" },
	/* variables */
	{ HEAD ".global .align 3 .u32 x;\n", "line 4: bad alignment" },
	{ HEAD ".global .align z .u32 x;\n", "line 4: expected a number, found 'z'" },
	{ HEAD ".global .attribute(.managed) .u32 x;\n", "line 4: '.attribute': not implemented" },
	{ HEAD ".global .pred x;\n", "line 4: a variable cannot be a predicate" },
	{ HEAD ".global .u33 x;\n", "line 4: '.u33': not implemented" },
	{ HEAD ".global .u32;\n", "line 4: expected the name of a variable, found ';'" },
	{ HEAD ".global .u32 x[;\n", "line 4: expected a number, found ';'" },
	{ HEAD ".global .u32 x;\n.const .u32 x;\n", "line 5: 'x' is declared twice" },
	{ HEAD ".entry k()\n{\n.shared .u32 s = 1;\n}",
	  "line 6: only .global and .const variables may have initial values" },
	{ HEAD ".entry k()\n{\n.global .u32 s = ;\n}",
	  "line 6: expected an initial value, found ';'" },
	{ HEAD ".entry k()\n{\n.shared .u32;\n}",
	  "line 6: expected the name of a variable, found ';'" },
	/* registers and operands */
	{ HEAD ".entry k()\n{\n.reg .v2 .b32 %a;\n}", "line 6: '.reg .v2': not implemented" },
	{ HEAD ".entry k()\n{\n.reg .b128 %a;\n}", "line 6: '.reg .b128': not implemented" },
	{ HEAD ".entry k()\n{\n.reg .b32 ;\n}",
	  "line 6: expected the name of a register, found ';'" },
	{ HEAD ".entry k()\n{\n.reg .b32 %a<x>;\n}", "line 6: expected a number, found 'x'" },
	{ HEAD ".entry k()\n{\n.reg .b64 %a;\nld.global.u32 %a, [%a+0f3F800000];\n}",
	  "line 7: an offset must be an integer" },
	{ HEAD ".entry k()\n{\n.reg .b64 %a;\nld.global.u32 %a, [%a+%a];\n}",
	  "line 7: expected a number, found '%a'" },
	{ HEAD ".entry k()\n{\n.reg .b64 %a;\nld.global.u32 %a, [0f3F800000];\n}",
	  "line 7: an address must be an integer" },
	{ HEAD ".entry k()\n{\n.reg .b64 %a;\nld.global.u32 %a, [;\n}",
	  "line 7: expected a number, found ';'" },
	{ HEAD ".entry k()\n{\n.reg .b64 %a;\nld.global.u32 %a, [b];\n}",
	  "line 7: 'b' is not declared" },
	{ HEAD ".entry k()\n{\n.reg .b64 %a;\nld.global.u32 %a, [%a, %a];\n}",
	  "line 7: an address of several parts: not implemented" },
	{ HEAD ".entry k()\n{\n.reg .b32 %a;\nmov.b32 {1,2,3,4,5,6,7,8,9}, %a;\n}",
	  "line 7: too many operands" },
	{ HEAD ".entry k()\n{\n.reg .b32 %a;\nmov.b32 {{{{%a}}}}, %a;\n}",
	  "line 7: operands are nested too deeply" },
	{ HEAD ".entry k()\n{\n.reg .b32 %a;\nmov.b32 !1, %a;\n}",
	  "line 7: expected an operand, found '1'" },
	{ HEAD ".entry k()\n{\n.reg .b32 %a;\nmov.b32 %a, .x;\n}",
	  "line 7: expected a number, found 'x'" },
	{ HEAD ".entry k()\n{\n.reg .b32 %a;\nadd.a.b.c.d.e.f.g.h.i.j.k.l.m %a, %a;\n}",
	  "line 7: too many modifiers" },
	{ HEAD ".entry k()\n{\nadd 1,2,3,4,5,6,7,8,9;\n}", "line 6: too many operands" },
	{ HEAD ".entry k()\n{\n@1 ret;\n}", "line 6: expected an operand, found '1'" },
	{ HEAD ".entry k()\n{\n1;\n}", "line 6: expected an instruction, found '1'" },
	{ HEAD ".entry k()\n{\nret 1 2;\n}", "line 6: expected ';', found '2'" },
	{ HEAD ".entry k()\n{\n.strange;\n}", "line 6: '.strange': not implemented" },
	{ HEAD ".entry k()\n{\n.pragma \"a\"", "line 6: expected ';', found the end of the text" },
	{ HEAD ".entry k()\n{\nt: .branchtargets 1;\n}", "line 6: expected a label, found '1'" },
	{ HEAD ".entry k()\n{\nt: .callprototype 1;\n}", "line 6: expected '_', found '1'" },
	{ HEAD ".entry k()\n{\nt: .callprototype (.b32) _;\n}",
	  "line 6: expected '.param', found 'b32'" },
	{ HEAD ".entry k()\n{\nt: .callprototype _ (.b32);\n}",
	  "line 6: expected '.param', found 'b32'" },
	/* functions */
	{ HEAD ".entry k(.param .u64 .ptr .align x a)\n{\n}",
	  "line 4: expected a number, found 'x'" },
	{ HEAD ".entry (", "line 4: expected '.param', found the end of the text" },
	{ HEAD ".entry k(.reg .b32 %a)\n{\n}", "line 4: '.reg' parameters: not implemented" },
	{ HEAD ".entry k(.shared .b32 a)\n{\n}", "line 4: expected '.param', found 'shared'" },
	{ HEAD ".entry k(.param .b32 a[])\n{\n}",
	  "line 4: a parameter without a size: not implemented" },
	{ HEAD ".entry k(.param .b32 a, .param .b32 a)\n{\n}", "line 5: 'a' is declared twice" },
	{ HEAD ".func (.param .b32 a, .param .b32 a) f()\n{\n}", "line 5: 'a' is declared twice" },
	{ HEAD ".entry k(.param .b32 a\n{\n}", "line 5: expected ')', found '{'" },
	{ HEAD ".entry k() .maxntid x\n{\n}", "line 4: expected a number, found 'x'" },
	{ HEAD ".entry k() .maxntid 70000\n{\n}", "line 5: the number is too large" },
	{ HEAD ".entry k() .reqntid x\n{\n}", "line 4: expected a number, found 'x'" },
	{ HEAD ".entry k() .maxnreg x\n{\n}", "line 4: expected a number, found 'x'" },
	{ HEAD ".entry k() .pragma \"x\"", "line 4: expected ';', found the end of the text" },
	{ HEAD ".entry k() .strange\n{\n}", "line 4: '.strange': not implemented" },
	{ HEAD ".entry k() ret;", "line 4: expected '{' or ';', found 'ret'" },
	{ HEAD ".entry k() { ret; }\n.func k() { ret; }", "line 5: 'k' is declared twice" },
	{ HEAD ".entry k() { ret; }\n.entry k() { ret; }", "line 5: 'k' is defined twice" },
	{ HEAD ".alias f, ;", "line 4: expected the name of a function, found ';'" },
	{ HEAD ".alias , f;", "line 4: expected the name of a function, found ','" },
	{ HEAD ".alias f;", "line 4: expected ',', found ';'" },
	{ HEAD ".alias f, f;", "line 4: 'f' is defined twice" },
	{ HEAD ".func f() { ret; }\n.alias f, g;", "line 5: 'f' is defined twice" },
	{ HEAD ".entry k() { ret; }\n.alias k, g;", "line 5: 'k' is declared twice" },
	/* directives */
	{ ".version 8\n", "line 1: expected a version, found '8'" },
	{ ".version 8.000000000000000\n", "line 1: expected a version, found '8.000000000000000'" },
	{ ".version 8.0\n.target strange\n", "line 3: target 'strange': not implemented" },
	{ ".version 8.0\n.target 5\n", "line 2: expected a target, found '5'" },
	{ ".version 8.0\n.target sm_80\n.address_size x\n",
	  "line 3: expected a number, found 'x'" },
	{ HEAD ".section .debug_info", "line 4: expected '{', found the end of the text" },
	{ HEAD ".section .debug_info {{ }", "line 4: expected '}', found the end of the text" },
	{ HEAD ".pragma \"x\"", "line 4: expected ';', found the end of the text" },
};

static void test_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		struct ptx_module *module;
		struct error error = { 0 };
		int code = ptx_module_load(refused[i].text, strlen(refused[i].text),
					   &harness.memory, &module, &error);

		assert_int_equal(code, -ENOEXEC);
		assert_null(module);
		assert_string_equal(error.text, refused[i].error);
	}
}

/* What needs many of something, after HEAD: @before, @count times @part, @after. */
static void refuses_many(const char *before, const char *part, size_t count, const char *after,
			 const char *expected)
{
	struct ptx_module *module;
	struct error error = { 0 };
	size_t bytes;
	char *text;
	FILE *stream = open_memstream(&text, &bytes);

	assert_non_null(stream);
	fputs(HEAD, stream);
	fputs(before, stream);
	for (size_t i = 0; i < count; i++)
		fputs(part, stream);
	fputs(after, stream);
	assert_int_equal(fclose(stream), 0);
	assert_int_equal(ptx_module_load(text, bytes, &harness.memory, &module, &error), -ENOEXEC);
	assert_string_equal(error.text, expected);
	free(text);
}

static void test_refused_many(void **state)
{
	(void)state;
	refuses_many(".entry k()\n{\n", "{", 64, "", "line 6: blocks are nested too deeply");
	refuses_many(".entry k()\n{\n", "{}", 65536, "}",
		     "line 6: too many blocks in one function");
	refuses_many(".entry k()\n{\nt: .branchtargets ", "l, ", 65536, "l;\n}",
		     "line 6: too many branch targets");
	refuses_many(".func f(", ".param .b32 a, ", 4096, ".param .b32 a)",
		     "line 4: too many parameters");
	refuses_many(".entry k()\n{\ncall f, (", "1, ", 4096, "1);\n}",
		     "line 6: too many operands");
}

/* What stands around a function's name, and one that has two. */
static void test_functions(void **state)
{
	static const char text[] = HEAD
		".section .debug_str { .b8 1, { 2 } }\n.pragma \"x\";\n"
		".func .noreturn never() { exit; }\n"
		".func g(.param .b64 at);\n.alias g, f;\n"
		".func f(.param .b64 at)\n{\n.reg .b64 %a; .reg .b32 %v; ld.param.u64 %a, [at];\n"
		"mov.u32 %v, 42; st.global.u32 [%a], %v; ret;\n}\n"
		".visible .entry k(.param .u64 .ptr .global .align 8 p_out, .param .u64 p_in)\n"
		".maxntid 8, 4, 2 .minnctapersm 1 .pragma \"nounroll\";\n{\n"
		".reg .b64 %out; .param .b64 q; ld.param.u64 %out, [p_out];\n"
		"st.param.b64 [q], %out; call g, (q);;\nret;\n}\n";
	uint32_t *out;
	uint64_t address;

	(void)state;
	assert_int_equal(harness.memory.allocate(&harness, 4, 4, &address), 0);
	out = (uint32_t *)(uintptr_t)address;
	*out = 0;
	run_well(text, 1, 64, out, NULL);
	assert_int_equal(*out, 42);
	harness.memory.release(&harness, address);
}

/* Every prefix of a good module is refused or loads; none does harm. */
static void test_truncated(void **state)
{
	size_t bytes;
	char *text = harness_read(PTX_INPUTS "/kernels.ptx", &bytes);

	(void)state;
	assert_non_null(text);
	for (size_t length = 0; length < bytes; length += 37) {
		struct ptx_module *module;
		char *copy = malloc(length + 1); /* no byte more, for the address sanitizer */

		memcpy(copy, text, length);
		if (!ptx_module_load(copy, length, &harness.memory, &module, NULL))
			ptx_module_free(module);
		free(copy);
	}
	free(text);
}

/* ---- memory ---- */

/* Loads of each type, in each pattern of addresses, through each space. */
static const struct {
	const char *load, *store;
	unsigned int bytes; /* of an element */
	unsigned int length;
} accesses[] = {
	{ "u8", "u8", 1, 1 },	      { "s8", "s8", 1, 1 },	    { "u16", "u16", 2, 1 },
	{ "s16", "b16", 2, 1 },	      { "u32", "u32", 4, 1 },	    { "f32", "f32", 4, 1 },
	{ "b64", "b64", 8, 1 },	      { "v2.u8", "v2.u8", 1, 2 },   { "v2.u16", "v2.u16", 2, 2 },
	{ "v4.s16", "v4.u16", 2, 4 }, { "v2.u32", "v2.b32", 4, 2 }, { "v4.f32", "v4.f32", 4, 4 },
	{ "v2.f64", "v2.f64", 8, 2 }, { "v4.u8", "v4.u8", 1, 4 },
};

/* How a thread finds its place: a run, backwards, strided, the same for all, by halves. */
static const char *const places[] = {
	"mov.u32 %r0, %i;", "sub.u32 %r0, 63, %i;", "mul.lo.u32 %r0, %i, 3; and.b32 %r0, %r0, 63;",
	"mov.u32 %r0, 7;",  "and.b32 %r0, %i, 15;", "add.u32 %r0, %i, 1; and.b32 %r0, %r0, 63;",
};

static unsigned int place_of(unsigned int pattern, unsigned int i)
{
	switch (pattern) {
	case 0:
		return i;
	case 1:
		return 63 - i;
	case 2:
		return 3 * i & 63;
	case 3:
		return 7;
	case 4:
		return i & 15;
	default:
		return (i + 1) & 63;
	}
}

/* access_text - in[place] through shared, local and generic memory to out[i] */
static void access_text(char *text, size_t room, size_t access, const char *place, bool half)
{
	const char *wide = accesses[access].bytes == 8 ? "b64" : "b32";
	unsigned int length = accesses[access].length, size = length * accesses[access].bytes;
	const char *v = length == 1 ? "%v0" : length == 2 ? "{%v0, %v1}" : "{%v0, %v1, %v2, %v3}";
	const char *w = length == 1 ? "%w0" : length == 2 ? "{%w0, %w1}" : "{%w0, %w1, %w2, %w3}";
	int used = snprintf(
		text, room,
		"%s"
		".reg .%s %%v<4>, %%w<4>; .shared .align 16 .b8 s[2048]; .local .align 16 .b8 "
		"d[64];\n%s\n%s"
		"mul.wide.u32 %%l1, %%r0, %u; add.u64 %%l1, %%in, %%l1;\n"
		"ld.global.%s %s, [%%l1+0];\n"
		"mov.u32 %%r1, s; mul.lo.u32 %%r2, %%i, %u; add.u32 %%r1, %%r1, %%r2;\n"
		"st.shared.%s [%%r1], %s; ld.shared.%s %s, [%%r1];\n"
		"mov.u64 %%l2, d; add.u64 %%l3, %%l2, 16;\n"
		"st.local.%s [%%l3+16], %s; cvta.local.u64 %%l3, %%l3; ld.%s %s, [%%l3+16];\n"
		"mul.wide.u32 %%l4, %%i, %u; add.u64 %%l4, %%out, %%l4;\n"
		"st.%s [%%l4], %s;\n" END,
		KERNEL, wide, half ? "and.b32 %r3, %i, 1; setp.eq.u32 %p1, %r3, 0; @%p1 ret;" : "",
		place, size, accesses[access].load, v, size, accesses[access].store, v,
		accesses[access].load, w, accesses[access].store, w, accesses[access].load, v, size,
		accesses[access].store, v);

	assert_true(used > 0 && (size_t)used < room);
}

static void test_memory(void **state)
{
	uint8_t *in = harness_take(&harness, 4096), *out = harness_take(&harness, 4096);
	char text[4096];

	(void)state;
	for (unsigned int i = 0; i < 4096; i++)
		in[i] = (uint8_t)(i * 37 + (i >> 8));
	for (size_t access = 0; access < sizeof(accesses) / sizeof(accesses[0]); access++)
		for (unsigned int turn = 0; turn < 12; turn++) {
			unsigned int size = accesses[access].bytes * accesses[access].length;
			unsigned int pattern = turn / 2;

			access_text(text, sizeof(text), access, places[pattern], turn & 1);
			memset(out, 0xaa, 4096);
			run_well(text, 1, 64, out, in);
			for (unsigned int i = 0; i < 64; i++) {
				unsigned int from = place_of(pattern, i);

				if ((turn & 1) && !(i & 1))
					assert_int_equal(out[i * size], 0xaa);
				else
					assert_memory_equal(out + i * size, in + from * size, size);
			}
		}
}

static const struct {
	const char *body;
	enum ptx_fault fault;
	uint64_t address; /* in the space; ~0: not looked at */
} faults[] = {
	{ "ld.shared.u32 %r0, [4096];", PTX_FAULT_ILLEGAL_ADDRESS, 4096 },
	{ ".shared .b32 s[4]; st.shared.u32 [s+16], %i;", PTX_FAULT_ILLEGAL_ADDRESS, 16 },
	{ ".shared .b32 s[4]; ld.shared.u32 %r0, [s+2];", PTX_FAULT_MISALIGNED_ADDRESS, 2 },
	{ ".shared .b32 s[4]; atom.shared.add.u32 %r0, [s+16], 1;", PTX_FAULT_ILLEGAL_ADDRESS, 16 },
	{ ".local .b32 d[4]; st.local.u32 [d+16], %i;", PTX_FAULT_ILLEGAL_ADDRESS, 16 },
	{ ".local .b32 d[4]; mov.u64 %l1, -4; ld.local.u32 %r0, [%l1];", PTX_FAULT_ILLEGAL_ADDRESS,
	  UINT64_MAX - 3 },
	{ "ld.param.u32 %r0, [p_in+8];", PTX_FAULT_ILLEGAL_ADDRESS, 16 },
	{ "ld.global.u32 %r0, [%in+1];", PTX_FAULT_MISALIGNED_ADDRESS, ~(uint64_t)0 },
	{ "ld.global.u32 %r0, [8];", PTX_FAULT_ILLEGAL_ADDRESS, 8 },
	{ "st.global.v4.u32 [%in+4096], {%i, %i, %i, %i};", PTX_FAULT_ILLEGAL_ADDRESS,
	  ~(uint64_t)0 },
	{ "atom.global.cas.b64 %l1, [%in+4], 0, 1;", PTX_FAULT_MISALIGNED_ADDRESS, ~(uint64_t)0 },
	{ "mov.u64 %l1, p_in; cvta.param.u64 %l1, %l1; st.u32 [%l1], %i;",
	  PTX_FAULT_ILLEGAL_ADDRESS, ~(uint64_t)0 },
	{ "mov.u64 %l1, 0x100000000000000; ld.u32 %r0, [%l1];", PTX_FAULT_ILLEGAL_ADDRESS,
	  0x100000000000000 },
	{ "trap;", PTX_FAULT_TRAP, 0 },
	{ "brkpt;", PTX_FAULT_ILLEGAL_INSTRUCTION, 0 },
	{ "mov.u32 %r0, 16; bar.sync %r0;", PTX_FAULT_ILLEGAL_INSTRUCTION, 16 },
	{ "q: .callprototype _; mov.u64 %l1, 77; call %l1, q;", PTX_FAULT_ILLEGAL_INSTRUCTION, 77 },
	{ "a: .branchtargets b; b: mov.u32 %r0, 1; brx.idx %r0, a;", PTX_FAULT_ILLEGAL_INSTRUCTION,
	  1 },
	/* Half of the threads wait for the others, which wait elsewhere for all. */
	{ "setp.lt.u32 %p0, %i, 32; @%p0 bra x; bar.sync 1, 64; bra y; x: bar.sync 2, 64; y:",
	  PTX_FAULT_ILLEGAL_INSTRUCTION, ~(uint64_t)0 },
};

static void test_faults(void **state)
{
	void *in = harness_take(&harness, 4096);
	char text[2048];

	(void)state;
	for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
		struct ptx_launch launch;

		snprintf(text, sizeof(text), "%s%s\n" END, KERNEL, faults[i].body);
		launch = run(text, 1, 64, 0, in, in);
		if (launch.fault != faults[i].fault)
			fail_msg("%s: fault %d (%s)", faults[i].body, launch.fault,
				 launch.fault_text);
		if (faults[i].address != ~(uint64_t)0)
			assert_int_equal(launch.fault_address, faults[i].address);
	}
}

static void test_endless_recursion(void **state)
{
	static const char text[] = HEAD
		".func f(.param .u32 a)\n{\n.param .b32 q; .reg .b32 %r; ld.param.u32 %r, [a];\n"
		"add.u32 %r, %r, 1; st.param.u32 [q], %r; call f, (q); ret;\n}\n"
		".visible .entry k(.param .u64 p_out, .param .u64 p_in)\n{\n"
		".param .b32 q; .reg .b32 %r; mov.u32 %r, 0; st.param.b32 [q], %r; call f, (q);\n"
		"ret;\n}\n";

	(void)state;
	assert_int_equal(run(text, 2, 64, 0, NULL, NULL).fault, PTX_FAULT_STACK);
}

static void test_initial_values(void **state)
{
	static const char text[] =
		HEAD ".global .align 4 .u32 a[3] = {1, 0x10, 010};\n"
		     ".const .align 8 .f64 b[2] = {0d3FF8000000000000, -2.5};\n"
		     ".global .align 8 .u64 c[3] = {a, generic(a)+4, b};\n"
		     ".global .align 4 .f32 d = 0fBF800000;\n"
		     ".global .align 1 .b8 e[8] = {0xff(a), 0xff00(a), 0xff0000(a), 255};\n"
		     ".global .align 2 .u16 f[] = {1, 2, 65535};\n.global .u32 g[2][2] = {{1, 2}, "
		     "{3}};\n"
		     "/* what comes\n first */ .extern .global .u32 h; .global .u32 h = 0b101U;\n"
		     ".global .f32 i = 0d3FF8000000000000; .global .f64 j = -0f3FC00000;\n"
		     ".global .v4 .f32 k = {1.0, -2e0, -0f40400000, -0d4010000000000000};\n"
		     ".global .v2 .u32 l; .global .u32 m[] = {}; .global .u64 n = generic(a)--4;\n";
	struct ptx_module *module = load(text);
	uint64_t a, b, c, other;
	size_t bytes;

	(void)state;
	assert_int_equal(ptx_module_variable(module, "a", &a, &bytes), 0);
	assert_int_equal(bytes, 12);
	assert_memory_equal((void *)a, ((uint32_t[]){ 1, 16, 8 }), 12);
	assert_int_equal(ptx_module_variable(module, "b", &b, &bytes), 0);
	assert_memory_equal((void *)b, ((double[]){ 1.5, -2.5 }), 16);
	assert_int_equal(ptx_module_variable(module, "c", &c, &bytes), 0);
	assert_memory_equal((void *)c, ((uint64_t[]){ a, a + 4, b }), 24);
	assert_int_equal(ptx_module_variable(module, "d", &other, &bytes), 0);
	assert_true(*(float *)other == -1.0f);
	assert_int_equal(ptx_module_variable(module, "e", &other, &bytes), 0);
	assert_memory_equal((void *)other, &a, 3);
	assert_int_equal(((uint8_t *)other)[3], 255);
	assert_int_equal(ptx_module_variable(module, "f", &other, &bytes), 0);
	assert_int_equal(bytes, 6);
	assert_int_equal(ptx_module_variable(module, "g", &other, &bytes), 0);
	assert_memory_equal((void *)other, ((uint32_t[]){ 1, 2, 3, 0 }), 16);
	assert_int_equal(ptx_module_variable(module, "h", &other, &bytes), 0);
	assert_int_equal(*(uint32_t *)other, 5);
	assert_int_equal(ptx_module_variable(module, "i", &other, &bytes), 0);
	assert_true(*(float *)other == 1.5f);
	assert_int_equal(ptx_module_variable(module, "j", &other, &bytes), 0);
	assert_true(*(double *)other == -1.5);
	assert_int_equal(ptx_module_variable(module, "k", &other, &bytes), 0);
	assert_memory_equal((void *)other, ((float[]){ 1, -2, -3, -4 }), 16);
	assert_int_equal(ptx_module_variable(module, "l", &other, &bytes), 0);
	assert_int_equal(bytes, 8);
	assert_int_equal(ptx_module_variable(module, "m", &other, &bytes), 0);
	assert_int_equal(bytes, 0);
	assert_int_equal(ptx_module_variable(module, "n", &other, &bytes), 0);
	assert_true(*(uint64_t *)other == a + 4);
	ptx_module_free(module);
}

/* ---- atomics: 16 blocks of 64 threads on one place ---- */

static const struct {
	const char *operation;
	uint64_t before, after;
} atomics[] = {
	{ "add.u32 %r0, [%l1], 3;", 5, 5 + 3 * 1024 },
	{ "add.s32 %r0, [%l1], -1;", 5, (uint32_t)(5 - 1024) },
	{ "add.u64 %l2, [%l1], 0x100000001;", 0, 1024 * 0x100000001ull },
	{ "add.f32 %f0, [%l1], 0f3F800000;", 0, 0x44800000 },
	{ "add.f64 %d0, [%l1], 0d3FF0000000000000;", 0, 0x4090000000000000 },
	{ "add.noftz.f16x2 %r0, [%l1], %r4;", 0, 0x64006000 },
	{ "min.s32 %r0, [%l1], %r1;", 7, (uint32_t)-1023 },
	{ "min.u32 %r0, [%l1], %r2;", 5000, 1 },
	{ "max.s32 %r0, [%l1], %r2;", (uint32_t)-5, 1024 },
	{ "max.u64 %l2, [%l1], %l3;", 0, 1024 },
	{ "min.s64 %l2, [%l1], %l4;", 0, (uint64_t)-1024 },
	{ "and.b32 %r0, [%l1], %r3;", 0xff, 0 },
	{ "or.b32 %r0, [%l1], %r2;", 0, 2047 },
	{ "xor.b64 %l2, [%l1], %l3;", 0, 1024 },
	{ "inc.u32 %r0, [%l1], 9;", 0, 1024 % 10 },
	{ "dec.u32 %r0, [%l1], 9;", 4, 0 },
};

static void test_atomics(void **state)
{
	static const char *const spaces[] = { "atom.global.", "atom.", "atom.relaxed.gpu.global." };
	uint64_t *word = harness_take(&harness, 64);
	char text[4096];

	(void)state;
	for (size_t i = 0; i < sizeof(atomics) / sizeof(atomics[0]); i++)
		for (size_t space = 0; space < 3; space++) {
			snprintf(text, sizeof(text),
				 "%s.reg .f64 %%d0; mov.u64 %%l1, %%out;\n"
				 "mov.u32 %%r5, %%ctaid.x; mad.lo.u32 %%r6, %%r5, 64, %%i;\n"
				 "neg.s32 %%r1, %%r6; add.u32 %%r2, %%r6, 1;\n"
				 "and.b32 %%r7, %%i, 7; shl.b32 %%r3, 1, %%r7; not.b32 %%r3, "
				 "%%r3; cvt.u64.u32 %%l3, %%r2; neg.s64 %%l4, %%l3;\n"
				 "mov.u32 %%r4, 0x3c003800; %s%s\n" END,
				 KERNEL, spaces[space], atomics[i].operation);
			word[0] = atomics[i].before;
			run_well(text, 16, 64, word, word);
			if (word[0] != atomics[i].after)
				fail_msg("%s%s: %llx", spaces[space], atomics[i].operation,
					 (unsigned long long)word[0]);
		}
}

/* Each value given out once: what atom returns, also in shared memory, and red. */
static void test_atomic_results(void **state)
{
	static const char text[] = KERNEL
		".shared .align 4 .b32 s; .reg .b64 %place;\n"
		"setp.ne.u32 %p0, %i, 0; @%p0 bra w; mov.u32 %r0, 0; st.shared.u32 [s], %r0; w:\n"
		"bar.sync 0; atom.shared.inc.u32 %r1, [s], 1000; shl.b32 %r2, %r1, 2;\n"
		"cvt.u64.u32 %place, %r2; add.u64 %place, %out, %place; red.global.add.u32 "
		"[%place], 1;\n"
		"atom.global.exch.b32 %r3, [%in], %i; atom.global.cas.b32 %r4, [%in+4], 7, "
		"8;\n" END;
	uint32_t *out = harness_take(&harness, 4096), *in = harness_take(&harness, 64);

	(void)state;
	in[1] = 7;
	run_well(text, 4, 96, out, in);
	for (int i = 0; i < 96; i++)
		assert_int_equal(out[i], 4);
	assert_int_equal(out[96], 0);
	assert_int_equal(in[1], 8);
}

/* ---- warps ---- */

static void test_shuffles(void **state)
{
	static const struct {
		const char *text;
		int kind, distance, clamp;
	} rows[] = {
		{ "up.b32 %r1|%p1, %i, 3, 0", 'u', 3, 0 },
		{ "up.b32 %r1|%p1, %i, 5, 0x1800", 'u', 5, 0x1800 },
		{ "down.b32 %r1|%p1, %i, 9, 31", 'd', 9, 31 },
		{ "down.b32 %r1|%p1, %i, 2, 0x1807", 'd', 2, 0x1807 },
		{ "bfly.b32 %r1|%p1, %i, 16, 31", 'b', 16, 31 },
		{ "bfly.b32 %r1|%p1, %i, 12, 0x1807", 'b', 12, 0x1807 },
		{ "idx.b32 %r1|%p1, %i, 6, 31", 'i', 6, 31 },
		{ "idx.b32 %r1|%p1, %i, 11, 0x1807", 'i', 11, 0x1807 },
	};
	uint32_t *out = harness_take(&harness, 4096);
	char text[2048];

	(void)state;
	for (size_t row = 0; row < sizeof(rows) / sizeof(rows[0]); row++) {
		int segment = rows[row].clamp >> 8, clamp = rows[row].clamp & 31;

		snprintf(text, sizeof(text),
			 "%sshfl.sync.%s, -1;\n@%%p1 add.u32 %%r1, %%r1, 1000;\n"
			 "st.global.u32 [%%out], %%r1;\n" END,
			 KERNEL PLACE, rows[row].text);
		run_well(text, 1, 64, out, out);
		for (int i = 0; i < 64; i++) {
			int lane = i % 32, from = lane, good;
			int last = (lane & segment) | (clamp & ~segment);

			switch (rows[row].kind) {
			case 'u':
				from = lane - rows[row].distance;
				break;
			case 'd':
				from = lane + rows[row].distance;
				break;
			case 'b':
				from = lane ^ rows[row].distance;
				break;
			case 'i':
				from = (lane & segment) | (rows[row].distance & ~segment);
				break;
			}
			good = rows[row].kind == 'u' ? from >= last : from <= last;
			assert_int_equal(out[i], i / 32 * 32 + (good ? from + 1000 : lane));
		}
	}
}

static void test_votes(void **state)
{
	static const char text[] = KERNEL PLACE
		"and.b32 %r0, %i, 3; setp.eq.u32 %p0, %r0, 0;\n"
		"vote.sync.ballot.b32 %r1, %p0, -1; vote.sync.any.pred %p1, %p0, -1;\n"
		"vote.sync.all.pred %p2, !%p0, -1; vote.sync.uni.pred %p3, %p1, -1;\n"
		"activemask.b32 %r2; shr.u32 %r3, %i, 2;\n"
		"match.any.sync.b32 %r4, %r3, -1; match.all.sync.b32 %r5|%p4, %r3, -1;\n"
		"redux.sync.add.s32 %r6, %i, -1; redux.sync.max.u32 %r7, %r0, -1;\n"
		"redux.sync.xor.b32 %r8, %i, -1; elect.sync %r9|%p5, -1;\n"
		"selp.u32 %r10, 1, 0, %p1; selp.u32 %r11, 2, 0, %p2; selp.u32 %r12, 4, 0, %p3;\n"
		"selp.u32 %r13, 8, 0, %p4; selp.u32 %r14, 16, 0, %p5;\n"
		"add.u32 %r10, %r10, %r11; add.u32 %r10, %r10, %r12; add.u32 %r10, %r10, %r13;\n"
		"add.u32 %r10, %r10, %r14; st.global.u32 [%out], %r1; st.global.u32 [%out+256], "
		"%r2;\n"
		"st.global.u32 [%out+512], %r4; st.global.u32 [%out+768], %r5;\n"
		"st.global.u32 [%out+1024], %r6; st.global.u32 [%out+1280], %r7;\n"
		"st.global.u32 [%out+1536], %r8; st.global.u32 [%out+1792], %r9;\n"
		"st.global.u32 [%out+2048], %r10;\n" END;
	uint32_t *out = harness_take(&harness, 4096);

	(void)state;
	run_well(text, 1, 32, out, out);
	for (uint32_t i = 0; i < 32; i++) {
		assert_int_equal(out[i], 0x11111111);
		assert_int_equal(out[64 + i], 0xffffffff);
		assert_int_equal(out[128 + i], 0xfu << (i & ~3u));
		assert_int_equal(out[192 + i], 0);
		assert_int_equal(out[256 + i], 496);
		assert_int_equal(out[320 + i], 3);
		assert_int_equal(out[384 + i], 0);
		assert_int_equal(out[448 + i], 0);
		assert_int_equal(out[512 + i], 1 + 4 + (i ? 0 : 16));
	}
}

/* Parts of a warp exchange values on different paths, each part under its own mask. */
static void test_parts(void **state)
{
	static const char text[] =
		KERNEL PLACE "setp.lt.u32 %p0, %i, 11; @%p0 bra low;\n"
			     "redux.sync.add.u32 %r1, %i, 0xfffff800; bra done;\n"
			     "low: redux.sync.add.u32 %r1, %i, 0x7ff;\ndone:\n"
			     "st.global.u32 [%out], %r1;\n" END;
	/* Both parts wait for the whole warp, at different places. */
	static const char meeting[] = KERNEL PLACE
		".shared .align 4 .b32 s[32]; mov.u32 %r3, s; add.u32 %r3, %r3, %o;\n"
		"and.b32 %r0, %i, 1; setp.eq.u32 %p0, %r0, 0; @%p0 bra even;\n"
		"st.shared.u32 [%r3], %i; bar.warp.sync -1; ld.shared.u32 %r1, [%r3+-4]; bra "
		"done;\n"
		"even: add.u32 %r2, %i, 100; st.shared.u32 [%r3], %r2; bar.warp.sync -1;\n"
		"ld.shared.u32 %r1, [%r3+4];\ndone: st.global.u32 [%out], %r1;\n" END;
	uint32_t *out = harness_take(&harness, 4096);

	(void)state;
	run_well(text, 1, 32, out, out);
	for (uint32_t i = 0; i < 32; i++)
		assert_int_equal(out[i], i < 11 ? 55 : 496 - 55);
	run_well(meeting, 1, 32, out, out);
	for (uint32_t i = 0; i < 32; i++)
		assert_int_equal(out[i], i & 1 ? i + 99 : i + 1);
}

/* ---- barriers ---- */

static void test_barriers(void **state)
{
	/* The second half produces for the first, round by round, through two barriers. */
	static const char pairs[] = KERNEL
		".shared .align 4 .b32 s[64]; mov.u32 %r2, 0; mov.u32 %r9, 0;\n"
		"and.b32 %r3, %i, 31; shl.b32 %r3, %r3, 2; mov.u32 %r4, s; add.u32 %r4, %r4, %r3;\n"
		"setp.ge.u32 %p0, %i, 32; @%p0 bra producer;\n"
		"consumer: bar.sync 1, 64; ld.shared.u32 %r5, [%r4]; add.u32 %r9, %r9, %r5;\n"
		"bar.arrive 2, 64; add.u32 %r2, %r2, 1; setp.lt.u32 %p1, %r2, 10; @%p1 bra "
		"consumer;\n" PLACE "st.global.u32 [%out], %r9; ret;\n"
		"producer: mad.lo.u32 %r6, %r2, 100, %i; st.shared.u32 [%r4], %r6;\n"
		"bar.arrive 1, 64; bar.sync 2, 64; add.u32 %r2, %r2, 1;\n"
		"setp.lt.u32 %p1, %r2, 10; @%p1 bra producer;\n" END;
	static const char reductions[] = KERNEL PLACE
		"setp.lt.u32 %p0, %i, 50; setp.lt.u32 %p1, %i, 500;\n"
		"bar.red.popc.u32 %r1, 0, %p0; bar.red.and.pred %p2, 0, %p0; bar.red.or.pred %p3, "
		"0, %p0;\n"
		"barrier.cta.red.and.pred %p4, 1, %p1; selp.u32 %r2, 100, 0, %p2; selp.u32 %r3, "
		"200, 0, %p3;\n"
		"selp.u32 %r4, 400, 0, %p4; add.u32 %r1, %r1, %r2; add.u32 %r1, %r1, %r3;\n"
		"add.u32 %r1, %r1, %r4; st.global.u32 [%out], %r1;\n" END;
	/* Threads that have left do not hold up the others. */
	static const char leaving[] = KERNEL PLACE
		".shared .align 4 .b32 s; setp.ge.u32 %p0, %i, 40; @%p0 exit;\n"
		"setp.ne.u32 %p1, %i, 3; @%p1 bra w; st.shared.u32 [s], 77; w: bar.sync 0;\n"
		"ld.shared.u32 %r1, [s]; st.global.u32 [%out], %r1;\n" END;
	uint32_t *out = harness_take(&harness, 4096);

	(void)state;
	run_well(pairs, 3, 64, out, out);
	for (uint32_t i = 0; i < 32; i++)
		assert_int_equal(out[i], 4500 + 10 * (i + 32));
	run_well(reductions, 1, 100, out, out);
	for (uint32_t i = 0; i < 100; i++)
		assert_int_equal(out[i], 50 + 200 + 400);
	memset(out, 0, 4096);
	run_well(leaving, 1, 96, out, out);
	for (uint32_t i = 0; i < 96; i++)
		assert_int_equal(out[i], i < 40 ? 77 : 0);
}

/* ---- divergence ---- */

static void test_divergence(void **state)
{
	/* Collatz steps with a nested loop: each lane its own number of turns in both. */
	static const char loops[] = KERNEL PLACE
		"mov.u32 %r1, 0; add.u32 %r2, %i, 1;\n"
		"outer: setp.eq.u32 %p0, %r2, 1; @%p0 bra done;\n"
		"inner: and.b32 %r3, %r2, 1; setp.eq.u32 %p1, %r3, 1; @%p1 bra odd;\n"
		"shr.u32 %r2, %r2, 1; add.u32 %r1, %r1, 1; setp.ne.u32 %p2, %r2, 1; @%p2 bra "
		"inner;\n"
		"bra done;\nodd: mad.lo.u32 %r2, %r2, 3, 1; add.u32 %r1, %r1, 1; bra outer;\n"
		"done: activemask.b32 %r4; st.global.u32 [%out], %r1; st.global.u32 [%out+512], "
		"%r4;\n" END;
	/* A table of branches, with lanes that leave from the middle. */
	static const char table[] = KERNEL PLACE
		"t: .branchtargets a, b, c, d; and.b32 %r0, %i, 3; mov.u32 %r1, 0; brx.idx %r0, "
		"t;\n"
		"a: add.u32 %r1, %r1, 1; bra e;\nb: add.u32 %r1, %r1, 10;\nc: add.u32 %r1, %r1, "
		"100; bra e;\n"
		"d: st.global.u32 [%out], 7; exit;\n"
		"e: activemask.b32 %r2; popc.b32 %r2, %r2; mad.lo.u32 %r1, %r2, 1000, %r1;\n"
		"st.global.u32 [%out], %r1;\n" END;
	uint32_t *out = harness_take(&harness, 4096);

	(void)state;
	run_well(loops, 1, 128, out, out);
	for (uint32_t i = 0; i < 128; i++) {
		uint32_t steps = 0;

		for (uint64_t x = i + 1; x != 1; steps++)
			x = x & 1 ? 3 * x + 1 : x / 2;
		assert_int_equal(out[i], steps);
		assert_int_equal(out[128 + i], 0xffffffff);
	}
	run_well(table, 1, 64, out, out);
	for (uint32_t i = 0; i < 64; i++) {
		static const uint32_t expected[] = { 24001, 24110, 24100, 7 };

		assert_int_equal(out[i], expected[i & 3]);
	}
}

/* Special registers over a grid of three dimensions. */
static void test_special_registers(void **state)
{
	static const char text[] = KERNEL
		"mov.u32 %r0, %tid.x; mov.u32 %r1, %tid.y; mov.u32 %r2, %tid.z; mov.u32 %r3, "
		"%ntid.x;\n"
		"mov.u32 %r4, %ntid.y; mov.u32 %r5, %ntid.z; mad.lo.u32 %r6, %r2, %r4, %r1;\n"
		"mad.lo.u32 %r6, %r6, %r3, %r0; mov.u32 %r7, %ctaid.x; mov.u32 %r8, %ctaid.y;\n"
		"mov.u32 %r9, %ctaid.z; mov.u32 %r10, %nctaid.x; mov.u32 %r11, %nctaid.y;\n"
		"mad.lo.u32 %r12, %r9, %r11, %r8; mad.lo.u32 %r12, %r12, %r10, %r7;\n"
		"mul.lo.u32 %r13, %r3, %r4; mul.lo.u32 %r13, %r13, %r5;\n"
		"mad.lo.u32 %r14, %r12, %r13, %r6; mul.wide.u32 %l1, %r14, 4; add.u64 %l1, %l1, "
		"%out;\n"
		"mov.u32 %r15, %laneid; mov.u32 %r16, %warpid; mad.lo.u32 %r15, %r16, 32, %r15;\n"
		"mov.u32 %r17, %lanemask_lt; popc.b32 %r17, %r17; mov.u32 %r18, %laneid;\n"
		"sub.u32 %r17, %r17, %r18; mov.u32 %r19, %lanemask_ge; popc.b32 %r19, %r19;\n"
		"add.u32 %r19, %r19, %r18; sub.u32 %r19, %r19, 32; sub.u32 %r20, %r15, %r6;\n"
		"or.b32 %r20, %r20, %r17; or.b32 %r20, %r20, %r19; mov.u64 %l2, %clock64;\n"
		"setp.eq.u64 %p0, %l2, 0; @%p0 add.u32 %r20, %r20, 1; add.u32 %r20, %r20, 5;\n"
		"atom.global.add.u32 %r21, [%l1], %r20;\n" END;
	uint32_t *out = harness_take(&harness, 4096);
	const void *parameters[2] = { out, out };
	struct ptx_module *module = load(text);
	struct ptx_launch launch = { .grid = { 2, 3, 2 },
				     .block = { 5, 4, 3 },
				     .parameters = parameters };

	(void)state;
	assert_int_equal(ptx_launch_run(ptx_module_kernel(module, "k"), &launch), 0);
	assert_int_equal(launch.fault, PTX_FAULT_NONE);
	for (uint32_t i = 0; i < 12 * 60; i++)
		assert_int_equal(out[i], 5);
	assert_int_equal(out[12 * 60], 0);
	ptx_module_free(module);
}

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* A kernel that waits by the device's clock leaves the processor alone. */
static void test_sleep(void **state)
{
	static const char text[] = KERNEL
		"mov.u64 %l0, %globaltimer; add.u64 %l1, %l0, 100000000;\n"
		"again: nanosleep.u32 1000000; mov.u64 %l0, %globaltimer; setp.lt.u64 %p0, %l0, "
		"%l1; @%p0 bra again;\n"
		"st.global.u32 [%out], 7;\n" END;
	uint32_t *out = harness_take(&harness, 4096);
	uint64_t began = clock_ns(CLOCK_MONOTONIC), worked = clock_ns(CLOCK_PROCESS_CPUTIME_ID);

	(void)state;
	run_well(text, 1, 1, out, out);
	began = clock_ns(CLOCK_MONOTONIC) - began;
	worked = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - worked;
	assert_int_equal(out[0], 7);
	assert_true(began >= 100000000);
	assert_true(worked < began / 2);
}

static void test_copy_async(void **state)
{
	static const char text[] = KERNEL
		".shared .align 16 .b8 s[1024]; mov.u32 %r0, s; shl.b32 %r1, %i, 4;\n"
		"add.u32 %r0, %r0, %r1; cvt.u64.u32 %l1, %r1; add.u64 %l2, %in, %l1;\n"
		"cp.async.cg.shared.global [%r0], [%l2+16], 16, 12; cp.async.commit_group;\n"
		"cp.async.wait_group 0; ld.shared.v4.u32 {%r2, %r3, %r4, %r5}, [%r0];\n"
		"add.u64 %l3, %out, %l1; st.global.v4.u32 [%l3], {%r2, %r3, %r4, %r5};\n" END;
	uint32_t *in = harness_take(&harness, 4096), *out = harness_take(&harness, 4096);

	(void)state;
	for (uint32_t i = 0; i < 1024; i++)
		in[i] = i + 1;
	run_well(text, 1, 64, out, in);
	for (uint32_t i = 0; i < 256; i++)
		assert_int_equal(out[i], i % 4 == 3 ? 0 : i + 5);
}

/* Instructions executed times active lanes, of a module that counts. */
static void test_counting(void **state)
{
	static const char text[] = KERNEL
		"mov.u32 %r1, 0;\nl: add.u32 %r1, %r1, 1; setp.lt.u32 %p0, %r1, 10; @%p0 bra l;\n"
		"setp.lt.u32 %p1, %i, 8; @%p1 bra x; mov.u32 %r2, 1; mov.u32 %r3, 1;\nx: " END;
	struct ptx_module *module;
	struct ptx_launch launch;
	const void *parameters[2] = { NULL, NULL };

	(void)state;
	assert_int_equal(
		ptx_module_load_counting(text, strlen(text), &harness.memory, true, &module, NULL),
		0);
	assert_int_equal(harness_launch(&harness, module, "k", 3, 50, 0, parameters, &launch), 0);
	assert_int_equal(launch.lane_operations, 3 * (50 * (4 + 1 + 30 + 2 + 1) + 42 * 2));
	ptx_module_free(module);
}

static int open_harness(void **state)
{
	(void)state;
	harness_open(&harness);
	alarm(110);
	return 0;
}

static int close_harness(void **state)
{
	(void)state;
	harness_close(&harness);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_refused_many),
		cmocka_unit_test(test_functions),
		cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_memory),
		cmocka_unit_test(test_faults),
		cmocka_unit_test(test_endless_recursion),
		cmocka_unit_test(test_initial_values),
		cmocka_unit_test(test_atomics),
		cmocka_unit_test(test_atomic_results),
		cmocka_unit_test(test_shuffles),
		cmocka_unit_test(test_votes),
		cmocka_unit_test(test_parts),
		cmocka_unit_test(test_barriers),
		cmocka_unit_test(test_divergence),
		cmocka_unit_test(test_special_registers),
		cmocka_unit_test(test_sleep),
		cmocka_unit_test(test_copy_async),
		cmocka_unit_test(test_counting),
	};

	return cmocka_run_group_tests(tests, open_harness, close_harness);
}
