/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tenants as the configuration file describes them: who belongs, and what each may have.
 *
 *	tenants = (
 *	  { name = "red"; cids = [3, 4]; users = ["alice", 1000]; token_files = ["/etc/red.token"];
 *	    weight = 3; priority = 1; memory = "8G"; clients = 16; devices = [0]; watchdog_ms = 0;
 *	    socket = "/run/causeway/tenants/red/cuda.sock"; user = "red"; },
 *	  ...
 *	);
 *
 * An identity belongs to the one tenant that names it; whoever comes by a tenant's own socket, to
 * that tenant. One that none names is a tenant of its own
 * with everybody's defaults; the caller makes that one.
 */
#ifndef CAUSEWAY_SHARE_TENANTS_H
#define CAUSEWAY_SHARE_TENANTS_H

#include <stddef.h>
#include <stdint.h>

#include "lib/base/config.h"
#include "lib/base/error.h"
#include "proto/link.h"
#include "proto/share-page.h"

#define TENANT_NAME_BYTES  64u	/* with the NUL */
#define TENANT_PATH_BYTES  108u /* a Unix socket's, with the NUL */
#define TENANTS_MAX	   256u
#define TENANT_MEMBERS_MAX 256u /* of one kind, in one tenant */
#define TENANT_CLIENTS_MAX 4096u
#define TENANT_DEVICE_LAST (SHARE_PAGE_DEVICES - 1)

/* A secret, with a NUL behind it. */
struct tenant_token {
	char text[LINK_TOKEN_BYTES_MAX + 1];
};

struct tenant_settings {
	char name[TENANT_NAME_BYTES];
	uint64_t *cids; /* guests; owned by the structure that holds this */
	size_t cid_count;
	uint64_t *uids; /* users of this host */
	size_t uid_count;
	struct tenant_token *tokens; /* what TCP clients show */
	size_t token_count;
	int64_t user;			/* whom its workers run as; -1: not said */
	unsigned int weight;		/* see share/policy.h */
	unsigned int priority;		/* see share/policy.h */
	uint64_t memory_bytes;		/* device memory of all its clients together; 0: no limit */
	unsigned int clients;		/* at once; 0: no limit of its own */
	uint32_t devices;		/* bit i: it may use device i */
	char socket[TENANT_PATH_BYTES]; /* an entrance of its own; "": none */
	unsigned int watchdog_ms;	/* longest time that a turn may be overdue; 0: any */
};

/* The configuration's list. */
struct tenants {
	struct tenant_settings *list;
	size_t count;
};

/* What a tenant has that says nothing else. */
extern const struct tenant_settings tenant_settings_default;

/**
 * tenants_read - the list `tenants` of a configuration file; none is an empty list
 *
 * Return: 0, or -errno with a sentence that names file, line, value and what was expected. Then
 * *tenants is empty. The caller owes tenants_free().
 */
int tenants_read(struct tenants *tenants, struct config *config, struct error *error);
void tenants_free(struct tenants *tenants);

/* tenants_find_cid, tenants_find_uid - the tenant that names it, or NULL */
const struct tenant_settings *tenants_find_cid(const struct tenants *tenants, uint64_t cid);
const struct tenant_settings *tenants_find_uid(const struct tenants *tenants, uint64_t uid);
const struct tenant_settings *tenants_find_name(const struct tenants *tenants, const char *name);
/* tenants_find_token - whose a token is that a file holds; not for what a peer sent (link_token_is)
 */
const struct tenant_settings *tenants_find_token(const struct tenants *tenants,
						 const struct tenant_token *token);

/*
 * tenants_check_socket - a path for @own's socket (NULL: a new tenant's), into @socket; 0, or
 * -EINVAL with a sentence where it is none or another tenant's
 */
int tenants_check_socket(const struct tenants *tenants, const struct tenant_settings *own,
			 const char *path, char socket[TENANT_PATH_BYTES], struct error *error);

/*
 * tenant_token_read - a file's content without the newline at its end, into the @token; 0 or -errno
 * with a sentence. Nobody but the file's owner may have permissions on it.
 */
int tenant_token_read(const char *path, struct tenant_token *token, struct error *error);

/* tenant_user_find - a user's name, or its number; -1: there is no such user */
int64_t tenant_user_find(const config_setting_t *setting);

/* tenant_bytes_parse - "8G", "512M", "64K" or plain bytes; 0, or -EINVAL */
int tenant_bytes_parse(const char *text, uint64_t *bytes);

#endif
