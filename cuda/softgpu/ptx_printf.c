/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Device printf: a format and a buffer of arguments as nvcc lays them out (each at its natural
 * alignment, float widened to double), both read through the machine's bounds checks.
 */
#include <stdio.h>
#include <string.h>

#include "cuda/softgpu/ptx_code.h"

#define FORMAT_BYTES_MAX 4096u
#define OUTPUT_BYTES_MAX 8192u

struct printing {
	struct ptx_warp *warp;
	uint32_t lane;
	uint64_t arguments; /* generic address of the next */
	int argument_count;
	char output[OUTPUT_BYTES_MAX];
	size_t used;
};

static void print_bytes(struct printing *printing, const char *bytes, size_t count)
{
	size_t left = sizeof(printing->output) - printing->used;

	if (count > left)
		count = left;
	memcpy(printing->output + printing->used, bytes, count);
	printing->used += count;
}

/* print_string - a string in device memory, up to its NUL; false: it leads out of valid memory */
static bool print_string(struct ptx_warp *warp, uint32_t lane, uint64_t address, char *to,
			 size_t room)
{
	for (size_t i = 0; i + 1 < room; i++) {
		const char *byte = ptx_host_pointer(warp, address + i, 1, lane, 0);

		if (!byte)
			return false;
		to[i] = *byte;
		if (!*byte)
			return true;
	}
	to[room - 1] = '\0';
	return true;
}

static bool print_argument(struct printing *printing, unsigned int bytes, uint64_t *value)
{
	const void *from;

	printing->arguments = (printing->arguments + bytes - 1) & ~(uint64_t)(bytes - 1);
	from = ptx_host_pointer(printing->warp, printing->arguments, bytes, printing->lane, 0);
	if (!from)
		return false;
	*value = 0;
	memcpy(value, from, bytes);
	printing->arguments += bytes;
	printing->argument_count++;
	return true;
}

/* What a conversion was found to be. */
struct conversion {
	char text[40]; /* flags, width and precision, % first; no length, no letter */
	size_t used;
	bool is_long;
	char letter;
};

static bool conversion_add(struct conversion *conversion, char character)
{
	if (conversion->used + 8 >= sizeof(conversion->text))
		return false;
	conversion->text[conversion->used++] = character;
	return true;
}

/* conversion_number - digits, or * which takes an argument */
static bool conversion_number(struct printing *printing, struct conversion *conversion,
			      const char **at)
{
	if (**at == '*') {
		uint64_t value;
		char digits[16];

		(*at)++;
		if (!print_argument(printing, 4, &value))
			return false;
		if ((int32_t)value > 4096 || (int32_t)value < -4096)
			value = 0;
		snprintf(digits, sizeof(digits), "%d", (int)(int32_t)value);
		for (const char *digit = digits; *digit; digit++)
			if (!conversion_add(conversion, *digit))
				return true;
		return true;
	}
	for (unsigned int count = 0; **at >= '0' && **at <= '9'; (*at)++, count++)
		if (count < 4)
			conversion_add(conversion, **at);
	return true;
}

/* conversion_read - after the %, up to and with the letter */
static bool conversion_read(struct printing *printing, struct conversion *conversion,
			    const char **at)
{
	memset(conversion, 0, sizeof(*conversion));
	conversion_add(conversion, '%');
	while (**at && strchr("-+ #0", **at)) {
		if (conversion->used < 8)
			conversion_add(conversion, **at);
		(*at)++;
	}
	if (!conversion_number(printing, conversion, at))
		return false;
	if (**at == '.') {
		conversion_add(conversion, '.');
		(*at)++;
		if (!conversion_number(printing, conversion, at))
			return false;
	}
	while (**at && strchr("hlLqjzt", **at)) {
		if (**at != 'h' && **at != 'L')
			conversion->is_long = true;
		(*at)++;
	}
	conversion->letter = **at;
	if (**at)
		(*at)++;
	return true;
}

/* print_piece - one value by its conversion; false: an argument lies out of valid memory */
static bool print_piece(struct printing *printing, struct conversion *conversion)
{
	char piece[5120];
	char string[1024];
	char *format = conversion->text;
	uint64_t value;
	double number;
	int length;

	switch (conversion->letter) {
	case 'd':
	case 'i':
	case 'u':
	case 'x':
	case 'X':
	case 'o':
	case 'c':
		if (!print_argument(printing, conversion->is_long ? 8 : 4, &value))
			return false;
		if (conversion->letter == 'c') {
			format[conversion->used++] = 'c';
			length = snprintf(piece, sizeof(piece), format, (int)value);
			break;
		}
		if (!conversion->is_long &&
		    (conversion->letter == 'd' || conversion->letter == 'i'))
			value = (uint64_t)(int64_t)(int32_t)value;
		format[conversion->used++] = 'l';
		format[conversion->used++] = conversion->letter;
		length = snprintf(piece, sizeof(piece), format, (unsigned long)value);
		break;
	case 'p':
		if (!print_argument(printing, 8, &value))
			return false;
		length = snprintf(piece, sizeof(piece), "0x%lx", (unsigned long)value);
		break;
	case 's':
		if (!print_argument(printing, 8, &value))
			return false;
		if (!value)
			memcpy(string, "(null)", 7);
		else if (!print_string(printing->warp, printing->lane, value, string,
				       sizeof(string)))
			return false;
		format[conversion->used++] = 's';
		length = snprintf(piece, sizeof(piece), format, string);
		break;
	case 'f':
	case 'F':
	case 'e':
	case 'E':
	case 'g':
	case 'G':
	case 'a':
	case 'A':
		if (!print_argument(printing, 8, &value))
			return false;
		memcpy(&number, &value, sizeof(number));
		format[conversion->used++] = conversion->letter;
		length = snprintf(piece, sizeof(piece), format, number);
		break;
	case '%':
		piece[0] = '%';
		length = 1;
		break;
	default:
		/* Not a conversion: printed as it stands. */
		print_bytes(printing, format, conversion->used);
		if (conversion->letter)
			print_bytes(printing, &conversion->letter, 1);
		return true;
	}
	if (length > 0)
		print_bytes(printing, piece,
			    (size_t)length < sizeof(piece) ? (size_t)length : sizeof(piece) - 1);
	return true;
}

static bool print_lane(struct printing *printing, uint64_t format_address)
{
	char format[FORMAT_BYTES_MAX];
	const char *at = format;

	if (!print_string(printing->warp, printing->lane, format_address, format, sizeof(format)))
		return false;
	while (*at) {
		struct conversion conversion;
		size_t plain = strcspn(at, "%");

		print_bytes(printing, at, plain);
		at += plain;
		if (!*at)
			break;
		at++;
		if (!conversion_read(printing, &conversion, &at) ||
		    !print_piece(printing, &conversion))
			return false;
	}
	return true;
}

static void print_out(struct ptx_warp *warp, const char *text, size_t bytes)
{
	struct ptx_run *run = warp->block->run;

	if (!run->launch->print || !bytes)
		return;
	pthread_mutex_lock(&run->lock);
	run->launch->print(run->launch->print_context, text, bytes);
	pthread_mutex_unlock(&run->lock);
}

/* vprintf - operands: 0 the result, 1 the format, 2 the arguments */
static const struct ptx_code *handle_vprintf(struct ptx_warp *warp, const struct ptx_code *code)
{
	int32_t *d = ptx_target(warp, code->r[0]);
	const uint64_t *format = ptx_source(warp, code->r[1]);
	const uint64_t *arguments = ptx_source(warp, code->r[2]);

	for (uint32_t left = warp->mask; left; left &= left - 1) {
		uint32_t lane = ptx_first_lane(left);
		struct printing printing;

		printing.warp = warp;
		printing.lane = lane;
		printing.arguments = arguments[lane];
		printing.argument_count = 0;
		printing.used = 0;
		if (!print_lane(&printing, format[lane]))
			return ptx_fault(warp, code, PTX_FAULT_ILLEGAL_ADDRESS, format[lane], lane);
		print_out(warp, printing.output, printing.used);
		d[lane] = printing.argument_count;
	}
	return code + 1;
}

/* assertfail - operands: 1 the condition, 2 the file, 3 the line, 4 the function */
static const struct ptx_code *handle_assertfail(struct ptx_warp *warp, const struct ptx_code *code)
{
	const uint64_t *condition = ptx_source(warp, code->r[1]);
	const uint64_t *file = ptx_source(warp, code->r[2]);
	const uint32_t *line = ptx_source(warp, code->r[3]);
	const uint64_t *function = ptx_source(warp, code->r[4]);
	const struct ptx_block *block = warp->block;
	const unsigned int *size = block->run->launch->block;

	for (uint32_t left = warp->mask; left; left &= left - 1) {
		uint32_t lane = ptx_first_lane(left), thread = warp->index * PTX_LANES + lane;
		char texts[3][512] = { "?", "?", "?" };
		char output[2048];
		int length;

		print_string(warp, lane, condition[lane], texts[0], sizeof(texts[0]));
		print_string(warp, lane, file[lane], texts[1], sizeof(texts[1]));
		print_string(warp, lane, function[lane], texts[2], sizeof(texts[2]));
		length = snprintf(output, sizeof(output),
				  "%s:%u: %s: block: [%u,%u,%u], thread: [%u,%u,%u] "
				  "Assertion `%s` failed.\n",
				  texts[1], line[lane], texts[2], block->index[0], block->index[1],
				  block->index[2], thread % size[0], thread / size[0] % size[1],
				  thread / size[0] / size[1], texts[0]);
		print_out(warp, output, (size_t)length);
	}
	return ptx_fault(warp, code, PTX_FAULT_ASSERT, 0, ptx_first_lane(warp->mask));
}

static const struct ptx_handler_entry entries[] = {
	{ "vprintf", handle_vprintf },
	{ "assertfail", handle_assertfail },
};
const struct ptx_handler_table ptx_printf_table = { entries, sizeof(entries) / sizeof(entries[0]) };
