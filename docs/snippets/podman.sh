#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A container that gets the share of tenant "red" (socket = in its settings, causeway.conf(5)).
set -e
causeway tenant cdi --output /etc/cdi/causeway.json
exec podman run --rm --device causeway/tenant=red registry.example/vectoradd:1 /vectoradd
