/* SPDX-License-Identifier: Apache-2.0 */
/* Tells a service manager that a daemon serves; see ready.c. */
#ifndef CAUSEWAY_LIB_BASE_READY_H
#define CAUSEWAY_LIB_BASE_READY_H

/*
 * ready_tell - every entrance of this daemon is open. Does nothing where nobody asked to be told
 * (no NOTIFY_SOCKET in the environment); a service manager that cannot be reached is logged.
 */
void ready_tell(void);

#endif
