/* SPDX-License-Identifier: Apache-2.0 */
/* causeway tenant cdi: what container engines are told of tenants; see cdi.c. */
#ifndef CAUSEWAY_CLI_CDI_H
#define CAUSEWAY_CLI_CDI_H

struct cdi_options {
	const char *config;  /* the daemons' configuration file */
	const char *library; /* folder of the client's libraries on this host */
	const char *output;  /* file to write, NULL: standard output */
	const char *tenant;  /* NULL: every tenant that has a socket */
};

/* cdi_write - the Container Device Interface file; the command's exit status, faults are logged */
int cdi_write(const struct cdi_options *options);

#endif
