/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The wrapper's rules: which sockets go to AF_VSOCK, and which addresses are which VMs.
 *
 *	# a comment
 *	map 10.77.0.0/16 host            10.77.0.3 is CID 3: the bits behind the prefix are the CID
 *	map 192.168.1.10 cid 7           one address, one CID
 *	use both  server redis-server *:6379
 *	use vsock client *            10.77.0.0/16:80,443,8000-8999
 *	use tcp   any    *            *
 *
 * `use` WHAT WHO PROGRAM ADDRESS[:PORTS]. The first line that fits a socket decides; none means
 * TCP. WHAT is tcp, vsock or both (a server listens on both, a client tries vsock, then TCP). WHO
 * is server, client or any. PROGRAM is a pattern of the shell's kind for the program's name, or for
 * its path where the pattern has a slash. ADDRESS is * or an address with an optional /LENGTH, IPv6
 * in brackets: [fd00:77::]/64:80. A map line's address has no ports.
 *
 * All addresses are held as 16 bytes, IPv4 as ::ffff:a.b.c.d, so that one comparison serves both.
 *
 * Threads: read-only once parsed. Memory: one allocation for each kind of line, none later.
 */
#ifndef CAUSEWAY_VSOCK_WRAP_RULES_H
#define CAUSEWAY_VSOCK_WRAP_RULES_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/error.h"

#define RULES_TEXT_BYTES_MAX 100000 /* must fit into one string of the environment */
#define RULES_LINES_MAX	     1024
#define RULES_PORTS_MAX	     16
#define RULES_PROGRAM_MAX    128

/* What is used where no rules are given. */
#define RULES_DEFAULT_TEXT          \
	"map 10.77.0.0/16 host\n"   \
	"map [fd00:77::]/64 host\n" \
	"use both any * *\n"

/* What a line says, and for which side. */
enum rules_use { RULES_USE_TCP, RULES_USE_VSOCK, RULES_USE_BOTH };
enum rules_role { RULES_SERVER = 1, RULES_CLIENT = 2 };

struct rules_prefix {
	struct in6_addr address;
	unsigned bits; /* of the address that count; 0: any address */
};

/* Ports from @first to @last. */
struct rules_ports {
	uint16_t first, last;
};

struct rules_line {
	enum rules_use use;
	unsigned roles; /* enum rules_role, or'ed */
	char program[RULES_PROGRAM_MAX];
	struct rules_prefix prefix;
	struct rules_ports ports[RULES_PORTS_MAX];
	unsigned port_ranges; /* 0: any port */
	unsigned number;      /* in the text, from 1 */
};

struct rules_map {
	struct rules_prefix prefix;
	bool host;    /* the bits behind the prefix are the CID */
	uint32_t cid; /* else */
	unsigned number;
};

/* All lines, in order; the first that fits decides. */
struct rules {
	struct rules_line *lines;
	struct rules_map *maps;
	unsigned line_count, map_count;
};

/**
 * rules_parse - read rules
 * @text: not NUL-terminated, any bytes
 * @name: of the file, for messages
 *
 * Return: 0; -EINVAL with a sentence that names file, line and what was expected; -E2BIG or
 * -ENOMEM. On success the caller owes rules_free().
 */
int rules_parse(struct rules *rules, const char *text, size_t bytes, const char *name,
		struct error *error);
void rules_free(struct rules *rules);

/* rules_keep_program - drop the lines that never fit this program (name, path): done once */
void rules_keep_program(struct rules *rules, const char *name, const char *path);

/**
 * rules_find - the first line that fits
 * @address: for a client where it connects to, for a server what it is bound to: the wildcard
 *	fits any line's address, since it listens there too
 *
 * Return: NULL where none fits.
 */
const struct rules_line *rules_find(const struct rules *rules, enum rules_role role,
				    const struct in6_addr *address, uint16_t port);

/* rules_cid - the CID behind an address; the map line's index, or -1 where no line has it */
int rules_cid(const struct rules *rules, const struct in6_addr *address, uint32_t *cid);

/* rules_address - what map line @index calls @cid; false where it cannot */
bool rules_address(const struct rules *rules, unsigned index, uint32_t cid,
		   struct in6_addr *address);

/* Which families a socket's addresses may be of. */
#define RULES_V4 1u
#define RULES_V6 2u

/* rules_name - an address of one of @families for @cid, by the first map line that has one */
bool rules_name(const struct rules *rules, uint32_t cid, unsigned families,
		struct in6_addr *address);

#endif
