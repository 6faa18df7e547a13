/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The wrapper's rules: any text is parsed or refused with a sentence; what was parsed answers
 * questions, and an address that a map line makes of a CID leads back to that CID or to a line
 * before it.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "vsock/wrap/rules.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void ask(const struct rules *rules, const struct in6_addr *address, uint16_t port,
		uint32_t cid)
{
	struct in6_addr name;
	uint32_t back;

	rules_find(rules, RULES_CLIENT, address, port);
	rules_find(rules, RULES_SERVER, address, port);
	if (rules_cid(rules, address, &back) >= (int)rules->map_count)
		abort();
	for (unsigned i = 0; i <= rules->map_count; i++)
		if (rules_address(rules, i, cid, &name)) {
			int line = rules_cid(rules, &name, &back);

			if (line < 0 || line > (int)i || (line == (int)i && back != cid))
				abort();
		}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct error error = { 0 };
	struct in6_addr address = { 0 };
	struct rules rules;

	if (bytes < 8)
		return 0;
	address.s6_addr32[2] = htonl(0xffff);
	memcpy(&address.s6_addr32[3], data, 4);
	if (rules_parse(&rules, (const char *)data + 8, bytes - 8, "rules", &error) < 0) {
		if (!error.text[0])
			abort();
		return 0;
	}
	rules_keep_program(&rules, "program", "/usr/bin/program");
	ask(&rules, &address, data[4] << 8 | data[5], data[6] | data[7] << 8);
	if (bytes >= 16)
		memcpy(&address, data, 16);
	ask(&rules, &address, 80, 0xfffffffe);
	rules_free(&rules);
	return 0;
}
