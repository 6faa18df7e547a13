/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of causeway-cudad's supervisor share. main.c names the hops; the life of a client
 * is in supervisor_client.c.
 *
 * Threads: one. Everything runs in the event loop, nothing in it blocks.
 */
#ifndef CAUSEWAY_CUDA_SERVER_SUPERVISOR_H
#define CAUSEWAY_CUDA_SERVER_SUPERVISOR_H

#include <event2/event.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>
#include <time.h>

#include "cuda/server/sandbox.h"
#include "lib/base/error.h"
#include "proto/identity.h"
#include "proto/link.h"
#include "proto/share-page.h"
#include "share/journal.h"
#include "share/tenants.h"

#define SUPERVISOR_PENDING_MAX 512 /* connections without a worker: unproven or being refused */
#define SUPERVISOR_TEXT_BYTES  96
#define RECORD_SECONDS_MAX     3600

/* Options and configuration; strings are owned here unless they are the command line's. */
struct supervisor_options {
	const char *config_path;
	const char *socket;	    /* for host programs */
	const char *switch_socket;  /* for causeway-switch; NULL = none */
	const char *control_socket; /* NULL = SOCKET.control */
	const char *metrics;	    /* address of the exporter; NULL = none */
	const char *tcp;	    /* HOST:PORT; NULL = off */
	const char *token_file;
	const char *driver;
	const char *worker;	      /* NULL = beside this program */
	const char *socket_mode_text; /* as configured; socket_mode is read from it */
	mode_t socket_mode;
	int64_t vsock_port;   /* 0 = none */
	int64_t memory_limit; /* bytes of device memory a client may have; 0 = no limit */
	int64_t max_clients;
	int64_t max_clients_per_identity;
	bool turns;	   /* clients take turns on the device, and are measured */
	bool clear_memory; /* device memory is cleared when it is allocated */
	struct journal_settings accounting;
	bool sandbox; /* workers give up what they do not need (sandbox.c) */
	const char *worker_paths[SANDBOX_PATHS_MAX]; /* ... but for these */
	size_t worker_path_count;
	int64_t worker_users[2];   /* first and last of those that tenants' workers run as; or -1 */
	struct tenant_token token; /* of TCP clients that are of no tenant; empty: none */
};

/* By what somebody is known: a user of this host, a guest, a network address. */
enum identity_kind { IDENTITY_UID, IDENTITY_CID, IDENTITY_ADDRESS };

/* Who asks, as told from below: kernel, switch, or network. */
struct identity {
	enum identity_kind kind;
	uint64_t number;		  /* uid or CID; unused for an address */
	char address[64];		  /* of an IDENTITY_ADDRESS, without port */
	char tenant[TENANT_NAME_BYTES];	  /* whose socket it came by or token it showed, else "" */
	char text[SUPERVISOR_TEXT_BYTES]; /* for people: "uid 1000 pid 4711", "cid 3" */
};

/* The four ways in. */
enum entrance { ENTRANCE_UNIX, ENTRANCE_SWITCH, ENTRANCE_VSOCK, ENTRANCE_TCP, ENTRANCES };

enum client_state {
	CLIENT_IDENTIFYING, /* waits for the switch's preamble, or for a TCP greeting's token */
	CLIENT_REFUSED,	    /* was told why; waits for its hang-up */
	CLIENT_SERVED,	    /* has a worker */
	CLIENT_LEFT,	    /* hung up; its worker has a grace time to end */
	CLIENT_ENDED,	    /* being freed */
};

struct accounts;     /* supervisor_account.c */
struct recorder;     /* supervisor_record.c */
struct client_share; /* supervisor_share.c */
struct share;
struct tenant;

/* What a client, or all clients of a tenant, has used; see struct share_page_device. */
struct share_usage {
	uint64_t device_ns, launches, calls, waits, waited_ns;
	uint64_t copied_bytes[SHARE_COPIES];
	uint64_t memory_bytes;	 /* now */
	uint64_t overhead_bytes; /* of that, what contexts, modules and pools keep */
	uint64_t memory_byte_ms; /* memory over time */
};

/* Where a tenant's workers share memory by name. */
struct folder {
	int fd; /* -1: there is none */
	int parent_fd;
	unsigned int number; /* its name in the parent; 0: none */
};

struct client {
	TAILQ_ENTRY(client) link;
	struct supervisor *supervisor;
	uint64_t id;
	enum client_state state;
	enum entrance entrance;
	int fd;		     /* -1 once closed */
	struct event *event; /* on fd, in IDENTIFYING and REFUSED */
	struct event *timer; /* the time limit of every state but SERVED */
	struct identity identity;
	uint8_t preamble[sizeof(struct identity_preamble)]; /* what came of it so far */
	size_t preamble_used;
	pid_t pid; /* of the worker; these three in SERVED and LEFT */
	int pidfd;
	struct event *pid_event;
	bool killed;		    /* the grace time was over */
	struct tenant_token token;  /* that it showed, over TCP */
	struct tenant *tenant;	    /* whose it is; these two from admission on */
	struct client_share *share; /* its turns and accounts */
	struct share_usage written; /* of its accounts, what is in the journal */
	uint64_t recorded;	    /* of its launches, how many pieces were seen */
	time_t since;
};

struct listener {
	struct supervisor *supervisor;
	enum entrance entrance;
	int fd;
	struct event *event;
	const char *path;   /* of a Unix socket, else NULL */
	const char *tenant; /* whose socket it is, else NULL */
};

/* A tenant's own socket, as configured. */
struct tenant_entrance {
	TAILQ_ENTRY(tenant_entrance) link;
	struct listener listener;
	char name[TENANT_NAME_BYTES];
	char path[TENANT_PATH_BYTES];
};

struct supervisor {
	struct supervisor_options options;
	struct event_base *base;
	struct listener listeners[ENTRANCES];
	size_t listener_count;
	TAILQ_HEAD(tenant_entrances, tenant_entrance) tenant_entrances;
	struct listener control; /* not of an entrance */
	struct exporter *exporter;
	struct event *accept_again; /* listeners rest while descriptors are short */
	TAILQ_HEAD(client_list, client) clients;
	size_t pending_count; /* IDENTIFYING and REFUSED */
	size_t worker_count;  /* SERVED and LEFT */
	uint64_t last_id;
	uint64_t refused_total;
	uint64_t admitted_total;
	time_t since;
	struct share *share;
	struct accounts *accounts; /* NULL: there is no journal */
	struct recorder *recorder; /* NULL: launches are not recorded */
	char folder[40];	   /* in /dev/shm, see supervisor_folder.c; "": there is none */
	int folder_fd;		   /* -1: likewise */
	unsigned int folder_last;  /* number of a tenant's folder in it */
	int hangup_epoll;	   /* tells which served client hung up, see supervisor_client.c */
	struct event *hangup_event;
	int guardian_fd; /* -1 while there is none */
	int guardian_pidfd;
	struct event *guardian_event;
	struct event *guardian_again;
	bool stopping;
};

/* supervisor_options.c */
int supervisor_options_read(struct supervisor_options *options, int argc, char **argv,
			    struct error *error);

/* supervisor_guardian.c */
int guardian_start(struct supervisor *supervisor, struct error *error);
int guardian_watch(struct supervisor *supervisor);
void guardian_add_worker(struct supervisor *supervisor, const struct client *client);
void guardian_remove_worker(struct supervisor *supervisor, const struct client *client);
void guardian_add_socket(struct supervisor *supervisor, const struct listener *listener);
void guardian_add_folder(struct supervisor *supervisor);
void guardian_stop(struct supervisor *supervisor);

/* supervisor_folder.c */
/* folder_open - a place for tenants' folders; where there is none the log says so */
void folder_open(struct supervisor *supervisor);
void folder_close(struct supervisor *supervisor);
/* folder_make - a tenant's folder; .fd is -1 where it cannot be had */
void folder_make(struct supervisor *supervisor, struct folder *folder);
/* folder_unmake - with all that is in it */
void folder_unmake(struct folder *folder);
/* folder_remove - a daemon's folder, with all that is in it */
void folder_remove(const char *path);

/* supervisor_listen.c */
int listen_open(struct supervisor *supervisor, struct error *error);
void listen_close(struct supervisor *supervisor);
/*
 * listen_tenants - open the sockets of these tenants, close those that are no more; 0, or -errno
 * with a sentence, and then those of the @former tenants alone are open
 */
int listen_tenants(struct supervisor *supervisor, const struct tenants *tenants,
		   const struct tenants *former, struct error *error);

/* supervisor_admission.c */
int admission_identify(const struct listener *listener, int fd, struct identity *identity);
int admission_identify_guest(const void *preamble, struct identity *identity);
/* admission_decide - 0 and whose it is, or -errno as link_refuse() takes it and a sentence */
int admission_decide(struct supervisor *supervisor, const struct identity *identity,
		     struct tenant **tenant, char *text, size_t text_bytes);

/* supervisor_account.c */
/* The columns of a table that says what somebody used. */
#define ACCOUNTS_COLUMNS                                                                   \
	{ "device", REPORT_COUNTER, "seconds", "device time, by the driver's events" },    \
		{ "launches", REPORT_COUNTER, "", "pieces of work given to the device" },  \
		{ "calls", REPORT_COUNTER, "", "requests that reached the worker" },       \
		{ "copied_in", REPORT_COUNTER, "bytes", "bytes copied to the device" },    \
		{ "copied_out", REPORT_COUNTER, "bytes", "bytes copied from the device" }, \
		{ "copied_within", REPORT_COUNTER, "bytes", "bytes copied on devices" },   \
		{ "memory", REPORT_GAUGE, "bytes", "device memory allocated" },            \
		{ "overhead", REPORT_GAUGE, "bytes",                                       \
		  "of that, kept by contexts, modules and pools" },                        \
		{ "memory_time", REPORT_COUNTER, "byte_seconds", "memory over time" },     \
		{ "queue", REPORT_GAUGE, "", "clients that wait for a turn" },             \
		{ "waits", REPORT_COUNTER, "", "times that work waited for a turn" },      \
	{                                                                                  \
		"waited", REPORT_COUNTER, "seconds", "how long it waited in all"           \
	}

/* accounts_open - the journal, where one is configured; 0 or -errno */
int accounts_open(struct supervisor *supervisor, struct error *error);
/* accounts_close - write what is not written yet */
void accounts_close(struct supervisor *supervisor);
/* accounts_start - a client is served: from now on there is something to write down */
void accounts_start(struct supervisor *supervisor);
/* accounts_write - @client has ended: what it has used into the journal */
void accounts_write(struct client *client, const struct share_usage *usage);
/* accounts_append - the cells of ACCOUNTS_COLUMNS */
void accounts_append(json_t *row, const struct share_usage *usage, json_int_t queue);
/* accounts_report - the table of what each client used */
void accounts_report(const struct supervisor *supervisor, json_t *report);

/* supervisor_share.c */

/* Open and close the tenants' part: pages, policy, timers. 0 or -errno with a sentence. */
int share_open(struct supervisor *supervisor, struct error *error);
void share_close(struct supervisor *supervisor);
/* share_reload - read the tenants again; after an error everything is as it was */
int share_reload(struct supervisor *supervisor, struct error *error);
/* share_change - @changes (supervisor_change.c) for a tenant, until a reload; 0 or -errno */
int share_change(struct supervisor *supervisor, const char *name, const json_t *changes,
		 struct error *error);
/*
 * share_admit - find the identity's tenant, made where none is; 0 and *tenant, or -errno with a
 * sentence where the tenant has all the clients it may have
 */
int share_admit(struct supervisor *supervisor, const struct identity *identity,
		struct tenant **tenant, char *text, size_t text_bytes);
/*
 * share_token - the token that a greeting shows, and the name of the tenant whose it is, empty
 * where it is everybody's; NULL: nobody's. All are compared, whichever it is.
 */
const struct tenant_token *share_token(const struct supervisor *supervisor,
				       const struct link_greeting *greeting, char *tenant,
				       size_t tenant_bytes);
/* share_has_tokens - some tenant has one */
bool share_has_tokens(const struct supervisor *supervisor);
/* share_client_user - whom its worker runs as; false: as the supervisor */
bool share_client_user(const struct client *client, uid_t *user);
/* share_client_start - a page, a kick and a place in the tenant's memory; 0 or -errno */
int share_client_start(struct client *client, struct tenant *tenant);
/*
 * share_client_descriptors - what the worker inherits as SHARE_PAGE_FD, _KICK_FD, _MEMORY_FD and
 * _FOLDER_FD; the last is -1 where there is none
 */
void share_client_descriptors(const struct client *client, int descriptors[4], unsigned int *slot);
/* share_client_end - its worker is gone: turns go on without it, its accounts to the tenant's */
void share_client_end(struct client *client);
void share_client_usage(const struct client *client, struct share_usage *usage);
/* share_client_page - what it shares with its worker, or NULL */
struct share_page *share_client_page(const struct client *client);
/* share_client_waits - whether it waits for a turn on some device */
bool share_client_waits(const struct client *client);
/* share_report - the tables of tenants and turns into a report */
void share_report(const struct supervisor *supervisor, json_t *report);
/* share_settings_report - the table of what tenants may have, and who belongs to them */
void share_settings_report(const struct supervisor *supervisor, json_t *report);
const char *tenant_name(const struct tenant *tenant);
const struct tenant_settings *tenant_settings(const struct tenant *tenant);

/* supervisor_change.c */
/*
 * change_make - @changes, as JSON, to a tenant's live *settings, and to the file's if it is one of
 * them; 0, or -errno with a sentence, and then nothing has changed
 */
int change_make(struct supervisor *supervisor, struct tenants *configured, const json_t *changes,
		struct tenant_settings *settings, struct error *error);

/* supervisor_record.c */
struct client_share; /* supervisor_record.c */
/* record_begin - into a new file, for at most so many seconds; 0 or -errno with a sentence */
int record_begin(struct supervisor *supervisor, const char *path, unsigned int seconds,
		 struct error *error);
/* record_end - *answer: {file, launches, clients, lost}; -EINVAL with a sentence: none runs */
int record_end(struct supervisor *supervisor, json_t **answer, struct error *error);
/* record_close - the same at the daemon's end */
void record_close(struct supervisor *supervisor);
/* record_client_start, record_client_end - a client comes, or goes: its last pieces */
void record_client_start(struct client *client);
void record_client_end(struct client *client);

/* supervisor_client.c */
int client_watch(struct supervisor *supervisor);
void client_unwatch(struct supervisor *supervisor);
void client_accept(const struct listener *listener, int fd);
void client_stop_all(struct supervisor *supervisor);

/* supervisor_spawn.c */
/* spawn_worker - the worker's pid and *pidfd, or -errno */
pid_t spawn_worker(const struct supervisor *supervisor, const struct client *client, int *pidfd);

/* supervisor_control.c */
void control_accept(struct supervisor *supervisor, int fd);
/* control_report - lib/metrics/report.h's report; @context is the supervisor */
json_t *control_report(void *context);

#endif
