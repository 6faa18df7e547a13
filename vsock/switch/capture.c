/* SPDX-License-Identifier: Apache-2.0 */
/* The tap for captures; see capture.h. */
#include "vsock/switch/capture.h"

capture_sink *capture_current;
