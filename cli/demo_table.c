/* SPDX-License-Identifier: Apache-2.0 */
/* The demo's table. */
#include <stdio.h>
#include <string.h>

#include "cli/demo.h"

#define COLUMNS	   6
#define CELL_BYTES 128

static const char *const head[COLUMNS] = { "program",  "where it ran", "device seen",
					   "verified", "natively",     "from the VM" };

static bool outputs_equal(const struct demo_program *program)
{
	const struct buffer *a = &program->natively.output, *b = &program->from_guest.output;

	return a->used == b->used && !memcmp(a->data, b->data, a->used);
}

static const char *verdict(const struct demo_program *program)
{
	if (!program->natively.verified)
		return program->from_guest.verified ? "FAILED natively" : "FAILED in both";
	if (!program->from_guest.verified)
		return "FAILED in the VM";
	return outputs_equal(program) ? "passed in both, same output" : "DIFFERENT output";
}

static const char *demo_kind_text(const struct demo *demo)
{
	return strcmp(demo->kind, "uml") == 0 ? "User-Mode Linux" : "QEMU";
}

static void row_fill(const struct demo *demo, const struct demo_program *program,
		     char cells[COLUMNS][CELL_BYTES])
{
	snprintf(cells[0], CELL_BYTES, "%s", program->name);
	snprintf(cells[1], CELL_BYTES, "this host; %s VM", demo_kind_text(demo));
	snprintf(cells[2], CELL_BYTES, "%s",
		 program->from_guest.device[0] ? program->from_guest.device : "-");
	snprintf(cells[3], CELL_BYTES, "%s", verdict(program));
	snprintf(cells[4], CELL_BYTES, "%.2f s", program->natively.milliseconds / 1e3);
	snprintf(cells[5], CELL_BYTES, "%.2f s", program->from_guest.milliseconds / 1e3);
}

static void row_print(char cells[COLUMNS][CELL_BYTES], const int *widths)
{
	for (int i = 0; i < COLUMNS; i++) {
		bool last = i == COLUMNS - 1, number = i >= COLUMNS - 2;

		printf(number ? "%*s%s" : "%-*s%s", widths[i], cells[i], last ? "\n" : "  ");
	}
}

size_t demo_table_print(const struct demo *demo)
{
	static char cells[DEMO_PROGRAMS_MAX + 1][COLUMNS][CELL_BYTES];
	int widths[COLUMNS] = { 0 };
	size_t failed = 0;

	for (int i = 0; i < COLUMNS; i++)
		snprintf(cells[0][i], CELL_BYTES, "%s", head[i]);
	for (size_t row = 0; row < demo->program_count; row++) {
		const struct demo_program *program = &demo->programs[row];

		row_fill(demo, program, cells[row + 1]);
		failed += !program->natively.verified || !program->from_guest.verified ||
			  !outputs_equal(program);
	}
	for (size_t row = 0; row <= demo->program_count; row++)
		for (int i = 0; i < COLUMNS; i++)
			if ((int)strlen(cells[row][i]) > widths[i])
				widths[i] = (int)strlen(cells[row][i]);
	printf("\n");
	for (size_t row = 0; row <= demo->program_count; row++)
		row_print(cells[row], widths);
	printf("\nEach program was compiled without a change for CUDA. In the VM, which has no "
	       "GPU,\nits calls went over vsock to this host's device: %s.\n",
	       demo->device_text);
	if (failed)
		printf("%zu of %zu programs FAILED; --verbose shows what they print.\n", failed,
		       demo->program_count);
	else
		printf("All %zu programs passed, with the same output in both places.\n",
		       demo->program_count);
	printf("\nRun a program of your own in the VM:\n  %s/cli/causeway demo -- "
	       "./my_cuda_program\n",
	       demo->paths.build);
	return failed;
}
