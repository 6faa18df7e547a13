/* SPDX-License-Identifier: Apache-2.0 */
/* Who may connect to whom; see policy.h. */
#include "vsock/switch/policy.h"

bool policy_allows(const struct settings *settings, uint64_t source, uint64_t destination,
		   uint32_t port)
{
	(void)settings;
	(void)source;
	(void)destination;
	(void)port;
	return true;
}
