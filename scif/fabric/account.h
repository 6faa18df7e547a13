/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Accounts of the fabric's nodes: into the journal that all daemons share (share/journal.h), for
 * the tenants to which they belong. In the thread of the event loop.
 */
#ifndef CAUSEWAY_SCIF_FABRIC_ACCOUNT_H
#define CAUSEWAY_SCIF_FABRIC_ACCOUNT_H

#include <event2/event.h>

#include "scif/fabric/fabric.h"
#include "scif/fabric/settings.h"

struct account;

/* account_name - the tenant of a VM: the one that has its CID, else the VM itself */
void account_name(struct node *node, const struct settings *settings, const struct settings_vm *vm);

/* account_open - the journal, where one is configured; 0 or -errno with a sentence */
int account_open(struct account **account, struct event_base *base, struct fabric *fabric,
		 const struct settings *settings, struct error *error);
/* account_close - write what is not written yet; NULL is allowed */
void account_close(struct account *account);

#endif
