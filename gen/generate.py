#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""generate.py API WRITER OUTPUT: one output from proto/cuda.api.

`generate.py API check` only reads; `generate.py API same WRITER FILE` fails unless FILE, which is
committed, is what the writer would write.
"""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import api as api_module  # noqa: E402
import write_checks  # noqa: E402
import write_client  # noqa: E402
import write_docs  # noqa: E402
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
    'round-trip': write_checks.round_trip_source,
    'coverage': write_docs.coverage_page,
    'coverage-table': write_docs.coverage_table,
    'version-script': write_types.version_script,
}


def same(text, path):
    """0 where the file has that text; else say how to mend it."""
    with open(path, encoding='utf-8') as file:
        if file.read() == text:
            return 0
    print(f'{path} is not what proto/cuda.api says; write it anew with '
          f'gen/generate.py proto/cuda.api coverage {path}', file=sys.stderr)
    return 1


def main(arguments):
    """Exit status: 1 for a bad row or a page out of date, 2 for a wrong command line."""
    path, words = (arguments or [''])[0], arguments[1:]
    compare = len(words) == 3 and words[0] == 'same'
    if compare:
        words = words[1:]
    if words != ['check'] and (len(words) != 2 or words[0] not in WRITERS):
        print(f'usage: generate.py API {"|".join(sorted(WRITERS))} OUTPUT', file=sys.stderr)
        return 2
    try:
        model = api_module.Api(path)
        text = WRITERS[words[0]](model) if words != ['check'] else ''
    except (api_module.BadRow, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    if compare:
        return same(text, words[1])
    if text:
        with open(words[1], 'w', encoding='utf-8') as file:
            file.write(text)
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
