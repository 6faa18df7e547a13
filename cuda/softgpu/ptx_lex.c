/* SPDX-License-Identifier: Apache-2.0 */
/* PTX text into tokens. Comments and white space end here. */
#include "cuda/softgpu/ptx_text.h"

#include <stdlib.h>
#include <string.h>

static bool lex_is_digit(char character)
{
	return character >= '0' && character <= '9';
}

static bool lex_is_name(char character)
{
	return (character >= 'a' && character <= 'z') || (character >= 'A' && character <= 'Z') ||
	       lex_is_digit(character) || character == '_' || character == '$' || character == '%';
}

/* lex_skip - white space, comments, and the # lines a preprocessor leaves */
static void lex_skip(struct ptx_lexer *lexer)
{
	while (lexer->at < lexer->end) {
		char character = *lexer->at;
		size_t left = (size_t)(lexer->end - lexer->at);

		if (character == '\n') {
			lexer->line++;
			lexer->at++;
		} else if (character == ' ' || character == '\t' || character == '\r' ||
			   character == '\f' || character == '\v' || character == '\0') {
			lexer->at++;
		} else if (left > 1 && character == '/' && lexer->at[1] == '/') {
			while (lexer->at < lexer->end && *lexer->at != '\n')
				lexer->at++;
		} else if (left > 1 && character == '/' && lexer->at[1] == '*') {
			lexer->at += 2;
			while (lexer->at < lexer->end) {
				if (lexer->end - lexer->at > 1 && lexer->at[0] == '*' &&
				    lexer->at[1] == '/') {
					lexer->at += 2;
					break;
				}
				if (*lexer->at == '\n')
					lexer->line++;
				lexer->at++;
			}
		} else {
			return;
		}
	}
}

static int lex_digit_value(char character)
{
	if (lex_is_digit(character))
		return character - '0';
	if (character >= 'a' && character <= 'f')
		return character - 'a' + 10;
	if (character >= 'A' && character <= 'F')
		return character - 'A' + 10;
	return 99;
}

/* lex_digits - digits of @base into token->integer; how many there were */
static unsigned int lex_digits(struct ptx_lexer *lexer, struct ptx_token *token, unsigned int base)
{
	unsigned int count = 0;

	token->integer = 0;
	while (lexer->at < lexer->end && lex_digit_value(*lexer->at) < (int)base) {
		token->integer = token->integer * base + (unsigned int)lex_digit_value(*lexer->at);
		lexer->at++;
		count++;
	}
	return count;
}

/* lex_decimal_float - 1.5, 1e9; a short copy goes through strtod */
static void lex_decimal_float(struct ptx_lexer *lexer, struct ptx_token *token, const char *start)
{
	char copy[64];
	char *stopped;
	size_t length = (size_t)(lexer->end - start);
	double value;

	if (length > sizeof(copy) - 1)
		length = sizeof(copy) - 1;
	memcpy(copy, start, length);
	copy[length] = '\0';
	value = strtod(copy, &stopped);
	memcpy(&token->integer, &value, sizeof(value));
	token->kind = PTX_TOKEN_FLOAT64;
	lexer->at = start + (stopped - copy);
}

static void lex_number(struct ptx_lexer *lexer, struct ptx_token *token)
{
	const char *start = lexer->at;
	size_t left = (size_t)(lexer->end - start);
	char second = left > 1 ? start[1] : '\0';

	token->kind = PTX_TOKEN_INTEGER;
	if (start[0] == '0' && (second == 'f' || second == 'F' || second == 'd' || second == 'D')) {
		bool is_float = second == 'f' || second == 'F';

		lexer->at += 2;
		token->kind = is_float ? PTX_TOKEN_FLOAT32 : PTX_TOKEN_FLOAT64;
		if (lex_digits(lexer, token, 16) != (is_float ? 8u : 16u))
			token->kind = PTX_TOKEN_BAD;
	} else if (start[0] == '0' && (second == 'x' || second == 'X')) {
		lexer->at += 2;
		if (!lex_digits(lexer, token, 16))
			token->kind = PTX_TOKEN_BAD;
	} else if (start[0] == '0' && (second == 'b' || second == 'B')) {
		lexer->at += 2;
		if (!lex_digits(lexer, token, 2))
			token->kind = PTX_TOKEN_BAD;
	} else {
		lex_digits(lexer, token, 10);
		if (lexer->at < lexer->end &&
		    (*lexer->at == '.' || *lexer->at == 'e' || *lexer->at == 'E')) {
			lex_decimal_float(lexer, token, start);
		} else if (start[0] == '0') {
			lexer->at = start;
			lex_digits(lexer, token, 8);
		}
	}
	if (lexer->at < lexer->end && *lexer->at == 'U')
		lexer->at++;
	if (lexer->at < lexer->end && lex_is_name(*lexer->at))
		token->kind = PTX_TOKEN_BAD;
}

/* lex_dot - .name, with :: inside as in .L2::128B */
static void lex_dot(struct ptx_lexer *lexer, struct ptx_token *token)
{
	const char *start = ++lexer->at;

	while (lexer->at < lexer->end) {
		if (lex_is_name(*lexer->at))
			lexer->at++;
		else if (lexer->end - lexer->at > 2 && lexer->at[0] == ':' && lexer->at[1] == ':' &&
			 lex_is_name(lexer->at[2]))
			lexer->at += 2;
		else
			break;
	}
	token->kind = lexer->at > start ? PTX_TOKEN_DOT : PTX_TOKEN_BAD;
	token->text = start;
}

struct ptx_token ptx_lex(struct ptx_lexer *lexer)
{
	struct ptx_token token = { 0 };

	lex_skip(lexer);
	token.line = lexer->line;
	token.text = lexer->at;
	if (lexer->at == lexer->end)
		return token;
	if (lex_is_digit(*lexer->at)) {
		lex_number(lexer, &token);
	} else if (lex_is_name(*lexer->at)) {
		token.kind = PTX_TOKEN_NAME;
		while (lexer->at < lexer->end && lex_is_name(*lexer->at))
			lexer->at++;
	} else if (*lexer->at == '.') {
		lex_dot(lexer, &token);
	} else if (*lexer->at == '"') {
		lexer->at++;
		token.text++;
		while (lexer->at < lexer->end && *lexer->at != '"' && *lexer->at != '\n')
			lexer->at++;
		token.length = (size_t)(lexer->at - token.text);
		token.kind = PTX_TOKEN_STRING;
		if (lexer->at < lexer->end && *lexer->at == '"')
			lexer->at++;
		else
			token.kind = PTX_TOKEN_BAD;
		return token;
	} else {
		token.kind = PTX_TOKEN_SIGN;
		token.integer = (unsigned char)*lexer->at++;
	}
	token.length = (size_t)(lexer->at - token.text);
	return token;
}
