#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""generate.py API WRITER OUTPUT: one output from proto/cuda.api; `generate.py API check` only reads."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import api as api_module  # noqa: E402
import write_client  # noqa: E402
import write_types  # noqa: E402
import write_wire  # noqa: E402
import write_worker  # noqa: E402

WRITERS = {
    'types': write_types.types_header,
    'front': write_types.front_table,
    'weak': write_types.weak_table,
    'per-thread': write_types.per_thread_wrappers,
    'wire': write_wire.wire_header,
    'driver-header': write_wire.driver_header,
    'driver': write_wire.driver_source,
    'names': write_wire.names_source,
    'client-header': write_client.client_header,
    'client': write_client.client_source,
    'exports': write_client.exports_source,
    'trace': write_client.trace_source,
    'dispatch-header': write_worker.dispatch_header,
    'dispatch': write_worker.dispatch_source,
    'version-script': write_types.version_script,
}


def main(arguments):
    if len(arguments) == 2 and arguments[1] == 'check':
        arguments = arguments + ['-']
    elif len(arguments) != 3 or arguments[1] not in WRITERS:
        print(f'usage: generate.py API {"|".join(sorted(WRITERS))} OUTPUT', file=sys.stderr)
        return 2
    path, writer, output = arguments
    try:
        model = api_module.Api(path)
    except (api_module.BadRow, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    if writer == 'check':
        return 0
    text = WRITERS[writer](model)
    with open(output, 'w', encoding='utf-8') as file:
        file.write(text)
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
