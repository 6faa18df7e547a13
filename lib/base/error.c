/* SPDX-License-Identifier: Apache-2.0 */
/* Composes the sentences of struct error. */
#include "lib/base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int error_set(struct error *error, int code, const char *format, ...)
{
	va_list arguments;

	if (!error)
		return code;
	error->code = code;
	va_start(arguments, format);
	vsnprintf(error->text, sizeof(error->text), format, arguments);
	va_end(arguments);
	return code;
}

int error_prefix(struct error *error, const char *format, ...)
{
	char context[sizeof(error->text)];
	size_t used, room, rest;
	va_list arguments;

	if (!error)
		return -EIO;
	va_start(arguments, format);
	vsnprintf(context, sizeof(context), format, arguments);
	va_end(arguments);

	used = strlen(context);
	rest = strlen(error->text);
	room = sizeof(error->text) - 1;
	if (used + 2 > room)
		return error->code;
	if (rest > room - used - 2)
		rest = room - used - 2;
	memmove(error->text + used + 2, error->text, rest);
	memcpy(error->text, context, used);
	memcpy(error->text + used, ": ", 2);
	error->text[used + 2 + rest] = '\0';
	return error->code;
}
