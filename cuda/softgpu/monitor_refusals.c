/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What softgpu's libnvidia-ml.so.1 says about everything that monitor.c does not know: not
 * supported, as a driver says of a fan that a device has not. Weak, so monitor.c's are taken.
 */
#include "proto/nvml-wire.h"

#define REFUSE(name, ...)                                            \
	__attribute__((weak, visibility("default"))) int name(void); \
	int name(void)                                               \
	{                                                            \
		return NVML_ERROR_NOT_SUPPORTED;                     \
	}

NVML_ROWS(REFUSE)
