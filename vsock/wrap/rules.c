/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads the wrapper's rules and answers questions by them; see rules.h.
 *
 * The text comes from a person or from the environment of a process that may have other rights
 * than ours: every length is bounded, every number is checked, nothing is taken half.
 */
#include "vsock/wrap/rules.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fnmatch.h>
#include <linux/vm_sockets.h>
#include <stdlib.h>
#include <string.h>

#define LINE_BYTES_MAX 512
#define V4_BITS	       96 /* of ::ffff:0:0, before an IPv4 address */

struct parser {
	struct rules *rules;
	const char *name;
	unsigned number;
	struct error *error;
};

/* One complaint about the current line; -EINVAL. */
#define complain(parser, format, ...)                                                           \
	error_set((parser)->error, -EINVAL, "%s:%u: " format, (parser)->name, (parser)->number, \
		  ##__VA_ARGS__)

/* The next word of *rest, NUL-terminated in place; NULL at the end. */
static char *next_word(char **rest)
{
	char *word = *rest + strspn(*rest, " \t\r");
	char *end = word + strcspn(word, " \t\r");

	if (!*word)
		return NULL;
	*rest = *end ? end + 1 : end;
	*end = '\0';
	return word;
}

/* A decimal number in [0, maximum] that fills the whole of @text. */
static bool read_number(const char *text, unsigned long maximum, unsigned long *value)
{
	char *end;

	if (!isdigit((unsigned char)*text) || strlen(text) > 10)
		return false;
	*value = strtoul(text, &end, 10);
	return !*end && *value <= maximum;
}

/* PORTS: "*", or ports and ranges between commas. */
static int read_ports(struct parser *parser, char *text, struct rules_line *line)
{
	if (!strcmp(text, "*"))
		return 0;
	for (char *rest = text, *item; (item = strsep(&rest, ","));) {
		char *last_text = strchr(item, '-');
		unsigned long first, last;

		if (last_text)
			*last_text++ = '\0';
		if (!read_number(item, UINT16_MAX, &first) ||
		    !read_number(last_text ? last_text : item, UINT16_MAX, &last) || first > last)
			return complain(
				parser,
				"port \"%s%s%s\": expected *, a port or FIRST-LAST, up to 65535",
				item, last_text ? "-" : "", last_text ? last_text : "");
		if (line->port_ranges == RULES_PORTS_MAX)
			return complain(parser, "more than %d ranges of ports", RULES_PORTS_MAX);
		line->ports[line->port_ranges++] = (struct rules_ports){ first, last };
	}
	return 0;
}

/**
 * read_prefix - "*", "a.b.c.d" or "[v6]", then "/LENGTH" if any
 * @rest: out, what stands behind it, without the colon; NULL where nothing does
 */
static int read_prefix(struct parser *parser, char *text, struct rules_prefix *prefix, char **rest)
{
	bool v6 = *text == '[';
	char *address = v6 ? text + 1 : text, *end = NULL;
	char *length_text = NULL;
	unsigned long length;

	*prefix = (struct rules_prefix){ 0 };
	end = v6 ? strchr(address, ']') : address + strcspn(address, "/:");
	if (!end)
		return complain(parser, "\"%s\": the bracket is not closed", text);
	if (v6)
		*end++ = '\0';
	/* What follows: nothing, /LENGTH, :PORTS, or both. */
	*rest = strchr(end, ':');
	if (*rest)
		*(*rest)++ = '\0';
	if (*end == '/') {
		*end = '\0';
		length_text = end + 1;
	} else if (*end) {
		return complain(parser, "\"%s\": expected /LENGTH or :PORTS behind the address",
				end);
	}
	if (!v6 && !strcmp(address, "*") && !length_text)
		return 0;
	if (v6 ? inet_pton(AF_INET6, address, &prefix->address) != 1
	       : inet_pton(AF_INET, address, &prefix->address.s6_addr32[3]) != 1)
		return complain(parser,
				"\"%s\" is no address: expected *, a.b.c.d, or IPv6 in brackets",
				address);
	if (!v6)
		prefix->address.s6_addr32[2] = htonl(0xffff);
	length = v6 ? 128 : 32;
	if (length_text && !read_number(length_text, length, &length))
		return complain(parser, "\"/%s\" is no length of a prefix: expected 0 to %d",
				length_text, v6 ? 128 : 32);
	prefix->bits = v6 ? length : length + V4_BITS;
	return 0;
}

static int read_use(struct parser *parser, char *rest)
{
	static const char *const uses[] = { "tcp", "vsock", "both" };
	static const char *const roles[] = { "", "server", "client", "any" };
	struct rules_line line = { .number = parser->number };
	char *use = next_word(&rest), *role = next_word(&rest);
	char *program = next_word(&rest), *address = next_word(&rest), *ports;
	size_t i;
	int code;

	if (!address || next_word(&rest))
		return complain(
			parser,
			"expected: use tcp|vsock|both server|client|any PROGRAM ADDRESS[:PORTS]");
	for (i = 0; i < 3 && strcmp(use, uses[i]); i++)
		;
	if (i == 3)
		return complain(parser, "\"use %s\": expected tcp, vsock or both", use);
	line.use = (enum rules_use)i;
	for (i = 1; i < 4 && strcmp(role, roles[i]); i++)
		;
	if (i == 4)
		return complain(parser, "\"use %s %s\": expected server, client or any", use, role);
	line.roles = i;
	if (strlen(program) >= sizeof(line.program))
		return complain(parser, "the program's name is longer than %zu bytes",
				sizeof(line.program) - 1);
	memcpy(line.program, program, strlen(program) + 1);
	code = read_prefix(parser, address, &line.prefix, &ports);
	if (!code && ports)
		code = read_ports(parser, ports, &line);
	if (code)
		return code;
	parser->rules->lines[parser->rules->line_count++] = line;
	return 0;
}

static int read_map(struct parser *parser, char *rest)
{
	struct rules_map map = { .number = parser->number };
	char *address = next_word(&rest), *how = next_word(&rest);
	char *cid_text = next_word(&rest), *ports;
	unsigned long cid = 0;
	int code;

	if (!how || next_word(&rest) || !!cid_text != !strcmp(how, "cid") ||
	    (!cid_text && strcmp(how, "host")))
		return complain(parser,
				"expected: map ADDRESS/LENGTH host, or map ADDRESS cid NUMBER");
	code = read_prefix(parser, address, &map.prefix, &ports);
	if (code)
		return code;
	if (ports)
		return complain(parser, "a map line's address has no ports");
	if (!map.prefix.bits)
		return complain(parser, "\"map *\": expected an address");
	if (cid_text) {
		if (!read_number(cid_text, UINT32_MAX - 1, &cid) || !cid)
			return complain(parser, "\"cid %s\": expected 1 to 4294967294", cid_text);
		if (map.prefix.bits != 128)
			return complain(parser,
					"a CID stands for a single address, not for a prefix: "
					"use \"host\" with a prefix");
	} else if (map.prefix.bits == 128) {
		return complain(parser, "\"host\" needs a prefix shorter than the address");
	}
	map.host = !cid_text;
	map.cid = cid;
	parser->rules->maps[parser->rules->map_count++] = map;
	return 0;
}

static int read_line(struct parser *parser, char *text)
{
	char *word;

	text[strcspn(text, "#")] = '\0';
	word = next_word(&text);
	if (!word)
		return 0;
	if (parser->rules->line_count + parser->rules->map_count == RULES_LINES_MAX)
		return complain(parser, "more than %d rules", RULES_LINES_MAX);
	if (!strcmp(word, "use"))
		return read_use(parser, text);
	if (!strcmp(word, "map"))
		return read_map(parser, text);
	return complain(parser, "\"%s\": expected use or map", word);
}

int rules_parse(struct rules *rules, const char *text, size_t bytes, const char *name,
		struct error *error)
{
	struct parser parser = { .rules = rules, .name = name, .error = error };
	const char *end = text + bytes;
	size_t count = 1;
	int code = 0;

	*rules = (struct rules){ 0 };
	if (bytes > RULES_TEXT_BYTES_MAX)
		return error_set(error, -E2BIG, "%s has more than %d bytes", name,
				 RULES_TEXT_BYTES_MAX);
	for (const char *at = text; at < end; at++)
		count += *at == '\n';
	if (count > RULES_LINES_MAX)
		count = RULES_LINES_MAX;
	rules->lines = calloc(count, sizeof(*rules->lines));
	rules->maps = calloc(count, sizeof(*rules->maps));
	if (!rules->lines || !rules->maps)
		code = error_set(error, -ENOMEM, "%s: no memory", name);
	while (!code && text < end) {
		const char *stop = memchr(text, '\n', end - text);
		size_t length = (stop ? stop : end) - text;
		char line[LINE_BYTES_MAX];

		parser.number++;
		if (length >= sizeof(line) || memchr(text, '\0', length)) {
			code = complain(&parser, "longer than %d bytes, or no text",
					LINE_BYTES_MAX - 1);
			break;
		}
		memcpy(line, text, length);
		line[length] = '\0';
		code = read_line(&parser, line);
		text += length + 1;
	}
	if (code)
		rules_free(rules);
	return code;
}

void rules_free(struct rules *rules)
{
	free(rules->lines);
	free(rules->maps);
	*rules = (struct rules){ 0 };
}

void rules_keep_program(struct rules *rules, const char *name, const char *path)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < rules->line_count; i++) {
		const char *pattern = rules->lines[i].program;

		if (!fnmatch(pattern, strchr(pattern, '/') ? path : name, 0))
			rules->lines[kept++] = rules->lines[i];
	}
	rules->line_count = kept;
}

static bool prefix_fits(const struct rules_prefix *prefix, const struct in6_addr *address)
{
	unsigned whole = prefix->bits / 8, rest = prefix->bits % 8;

	if (memcmp(&prefix->address, address, whole))
		return false;
	return !rest || !((prefix->address.s6_addr[whole] ^ address->s6_addr[whole]) >> (8 - rest));
}

static bool ports_fit(const struct rules_line *line, uint16_t port)
{
	for (unsigned i = 0; i < line->port_ranges; i++)
		if (port >= line->ports[i].first && port <= line->ports[i].last)
			return true;
	return !line->port_ranges;
}

static bool is_wildcard(const struct in6_addr *address)
{
	return IN6_IS_ADDR_UNSPECIFIED(address) ||
	       (IN6_IS_ADDR_V4MAPPED(address) && !address->s6_addr32[3]);
}

const struct rules_line *rules_find(const struct rules *rules, enum rules_role role,
				    const struct in6_addr *address, uint16_t port)
{
	bool any_address = role == RULES_SERVER && is_wildcard(address);

	for (unsigned i = 0; i < rules->line_count; i++) {
		const struct rules_line *line = &rules->lines[i];

		if ((line->roles & role) && ports_fit(line, port) &&
		    (any_address || prefix_fits(&line->prefix, address)))
			return line;
	}
	return NULL;
}

/* The bits of @address behind the prefix; false where they exceed a CID. */
static bool host_part(const struct rules_prefix *prefix, const struct in6_addr *address,
		      uint32_t *cid)
{
	uint64_t value = 0;

	for (unsigned bit = prefix->bits; bit < 128; bit++) {
		value = value << 1 | (address->s6_addr[bit / 8] >> (7 - bit % 8) & 1);
		if (value >= VMADDR_CID_ANY)
			return false;
	}
	*cid = value;
	return value != 0; /* CID 0 is nobody's */
}

int rules_cid(const struct rules *rules, const struct in6_addr *address, uint32_t *cid)
{
	for (unsigned i = 0; i < rules->map_count; i++) {
		const struct rules_map *map = &rules->maps[i];

		if (!prefix_fits(&map->prefix, address))
			continue;
		if (map->host && !host_part(&map->prefix, address, cid))
			continue;
		if (!map->host)
			*cid = map->cid;
		return (int)i;
	}
	return -1;
}

bool rules_address(const struct rules *rules, unsigned index, uint32_t cid,
		   struct in6_addr *address)
{
	const struct rules_map *map;
	unsigned host_bits;

	if (index >= rules->map_count)
		return false;
	map = &rules->maps[index];
	*address = map->prefix.address;
	if (!map->host)
		return map->cid == cid;
	host_bits = 128 - map->prefix.bits;
	if (!cid || cid == VMADDR_CID_ANY || (host_bits < 32 && cid >> host_bits))
		return false;
	for (unsigned bit = 0; bit < host_bits; bit++) {
		unsigned char *byte = &address->s6_addr[15 - bit / 8];
		unsigned char mask = 1u << bit % 8;

		*byte = (bit < 32 && cid >> bit & 1) ? *byte | mask : *byte & ~mask;
	}
	return true;
}

bool rules_name(const struct rules *rules, uint32_t cid, unsigned families,
		struct in6_addr *address)
{
	for (unsigned i = 0; i < rules->map_count; i++) {
		bool v4 = IN6_IS_ADDR_V4MAPPED(&rules->maps[i].prefix.address);

		if ((families & (v4 ? RULES_V4 : RULES_V6)) &&
		    rules_address(rules, i, cid, address))
			return true;
	}
	return false;
}
