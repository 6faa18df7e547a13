# SPDX-License-Identifier: Apache-2.0
"""Writers of what both sides share: call numbers, blocks, the driver's table of functions."""

from api import Record
from layout import record_layout, reply_block, request_block
from write_types import NOTICE


def wire_rows(api):
    """Everything that travels, in the order of its numbers."""
    return [call for call in api.calls if not call.local] + api.messages


def _block(name, block, out):
    out.append(f'struct {name} {{')
    for c_type, member, _, _ in block.members:
        out.append(f'\t{c_type} {member};')
    if block.padding:
        out.append(f'\tunsigned char reserved[{block.padding}];')
    out.append('};')
    out.append(f'static_assert(sizeof(struct {name}) == {block.bytes}, "{name}");')
    for member, offset in block.offsets:
        out.append(f'static_assert(offsetof(struct {name}, {member}) == {offset}, "{name}.{member}");')
    out.append('')


def wire_header(api):
    """cuda_wire.h: call numbers, request and reply blocks, with their layouts asserted."""
    digest = ', '.join(f'0x{api.digest[i:i + 2]}' for i in range(0, 64, 2))
    out = [NOTICE, '#ifndef CAUSEWAY_GEN_CUDA_WIRE_H', '#define CAUSEWAY_GEN_CUDA_WIRE_H', '',
           '#include "gen/cuda_types.h"', '#include "proto/cuda-wire.h"', '',
           '/* SHA-256 of proto/cuda.api */',
           f'#define CUDA_WIRE_DIGEST {{ {digest} }}', '',
           '/* Structures that travel as they are. */']
    for row in api.types:
        if isinstance(row, Record):
            size, _, offsets = record_layout(api, row)
            out.append(f'static_assert(sizeof({row.name}) == {size}, "{row.name}");')
            out += [f'static_assert(offsetof({row.name}, {name}) == {offset}, "{row.name}.{name}");'
                    for name, offset in offsets if name]
    out += ['', 'enum cuda_wire_call {', '\tCALL_none = 0,']
    out += [f'\tCALL_{row.symbol},' for row in wire_rows(api)]
    out += ['\tCALL_count,', '};', '', '/* Kinds of handles. */', 'enum cuda_wire_kind {',
            '\tKIND_none = 0,']
    out += [f'\tKIND_{kind},' for kind in api.kinds.values()]
    out += ['\tKIND_count,', '};', '']
    for row in wire_rows(api):
        _block(f'wire_{row.symbol}_request', request_block(api, row), out)
        reply = reply_block(api, row)
        if reply:
            _block(f'wire_{row.symbol}_reply', reply, out)
    out += ['#endif', '']
    return '\n'.join(out)


def _driver_symbols(api):
    return [(call.symbol, call.declarations) for call in api.calls]


def driver_header(api):
    """cuda_driver.h: the driver's functions as a table of pointers."""
    out = [NOTICE, '#ifndef CAUSEWAY_GEN_CUDA_DRIVER_H', '#define CAUSEWAY_GEN_CUDA_DRIVER_H', '',
           '#include "gen/cuda_types.h"', '',
           '/* A symbol that the driver does not have is NULL. */', 'struct cuda_driver {']
    out += [f'\tCUresult (*{symbol})({declarations});'
            for symbol, declarations in _driver_symbols(api)]
    out += ['};', '',
            '/* cuda_driver_find - fill the table from an opened library; returns how many are there */',
            'size_t cuda_driver_find(struct cuda_driver *driver, void *library);', '', '#endif', '']
    return '\n'.join(out)


def driver_source(api):
    out = [NOTICE, '#include "gen/cuda_driver.h"', '', '#include <dlfcn.h>', '',
           'static const struct {', '\tconst char *name;', '\tsize_t offset;', '} symbols[] = {']
    out += [f'\t{{ "{symbol}", offsetof(struct cuda_driver, {symbol}) }},'
            for symbol, _ in _driver_symbols(api)]
    out += ['};', '',
            'size_t cuda_driver_find(struct cuda_driver *driver, void *library)', '{',
            '\tsize_t found = 0;', '',
            '\tfor (size_t i = 0; i < sizeof(symbols) / sizeof(symbols[0]); i++) {',
            '\t\tvoid *symbol = dlsym(library, symbols[i].name);', '',
            '\t\t*(void **)((char *)driver + symbols[i].offset) = symbol;',
            '\t\tfound += symbol != NULL;', '\t}', '\treturn found;', '}', '']
    return '\n'.join(out)


def names_source(api):
    """cuda_names.c: names and meanings of CUDA's results."""
    results = next(r for r in api.types if r.name == 'CUresult')
    out = [NOTICE, '#include "gen/cuda_names.h"', '', '#include "gen/cuda_types.h"', '',
           'const char *cuda_result_name(int result)', '{', '\tswitch (result) {']
    out += [f'\tcase {name}:\n\t\treturn "{name}";' for name, _ in results.members]
    out += ['\t}', '\treturn NULL;', '}', '',
            'const char *cuda_result_text(int result)', '{', '\tswitch (result) {']
    out += [f'\tcase {name}:\n\t\treturn "{results.texts[name]}";'
            for name, _ in results.members if name in results.texts]
    out += ['\t}', '\treturn NULL;', '}', '']
    return '\n'.join(out)
