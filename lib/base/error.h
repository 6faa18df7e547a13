/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An error with a sentence, carried up once to the program that logs it.
 *
 * Convention of the whole project: a function that can fail returns 0 (or a count) or -errno.
 * Where a person needs more than the code (which file, which value, what was expected), the last
 * parameter is a struct error *; it may be NULL. The caller owns the structure; nothing in it
 * needs freeing.
 */
#ifndef CAUSEWAY_LIB_BASE_ERROR_H
#define CAUSEWAY_LIB_BASE_ERROR_H

struct error {
	int code;	/* -errno; 0 while nothing has failed */
	char text[512]; /* a sentence without a full stop or newline */
};

/**
 * error_set - fill @error, unless it is NULL
 * @code: a negative errno value
 *
 * Return: @code, so that a caller can write `return error_set(error, -EINVAL, ...)`.
 */
int error_set(struct error *error, int code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/**
 * error_prefix - put context in front of the sentence already there, as "context: sentence"
 *
 * Return: the code already in @error, or -EIO when @error is NULL.
 */
int error_prefix(struct error *error, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

#endif
