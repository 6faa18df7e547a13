/* SPDX-License-Identifier: Apache-2.0 */
/* Asking a daemon through its control socket; see server.h for what is said there. */
#ifndef CAUSEWAY_LIB_CONTROL_CLIENT_H
#define CAUSEWAY_LIB_CONTROL_CLIENT_H

#include <jansson.h>

#include "lib/base/error.h"

/**
 * control_ask - send @request, wait for the answer
 * @request: an object; this function drops the caller's reference in any case
 * @answer: out, an object that the caller frees with json_decref(); NULL on failure
 *
 * Return: 0; -EREMOTEIO with the daemon's own sentence where it refused; else -errno with a
 * sentence. Waits some seconds at most.
 */
int control_ask(const char *path, json_t *request, json_t **answer, struct error *error);

#endif
