# SPDX-License-Identifier: Apache-2.0
"""Writers of headers and tables that need no code: types and prototypes, names, versions."""

from api import Alias, Callback, Enum, Pointer, Record

NOTICE = '/* SPDX-License-Identifier: Apache-2.0 */\n/* Generated from proto/cuda.api. */\n'


def _fields(record, depth, out):
    tab = '\t' * depth
    for field in record.fields:
        if isinstance(field, Record):
            out.append(f'{tab}{field.form} {{')
            _fields(field, depth + 1, out)
            out.append(f'{tab}}}{" " + field.name if field.name else ""};')
        else:
            space = '' if field.type.endswith('*') else ' '
            out.append(f'{tab}{field.type}{space}{field.name}{field.array};')


def _type(row, out):
    if isinstance(row, Alias):
        out.append(f'typedef {row.type} {row.name};')
    elif isinstance(row, Pointer):
        out.append(f'typedef struct {row.tag} *{row.name};')
    elif isinstance(row, Callback):
        out.append(f'typedef {row.returns} (*{row.name})({row.parameters});')
    elif isinstance(row, Enum):
        out.append(f'typedef enum {row.tag} {{')
        for name, value in row.members:
            out.append(f'\t{name} = {value},' if value else f'\t{name},')
        out.append(f'}} {row.name};')
    else:
        out.append(f'typedef {row.form} {row.tag} {{')
        _fields(row, 1, out)
        out.append(f'}} {row.name};')


def per_thread(call):
    """The symbol of the per-thread-default-stream variant, or None."""
    return f'{call.symbol}_{call.variant}' if call.variant else None


def types_header(api):
    """cuda_types.h: everything of cuda.h that the project needs, under the same names."""
    out = [NOTICE, '/*',
           ' * CUDA\'s driver interface: types under the names that programs know, and prototypes',
           ' * of all functions in proto/cuda.api. For the client, the worker and softgpu alike.',
           ' */',
           '#ifndef CAUSEWAY_GEN_CUDA_TYPES_H', '#define CAUSEWAY_GEN_CUDA_TYPES_H', '',
           '#include <stddef.h>', '#include <stdint.h>', '']
    out += [f'#define {c.name} {c.value}' for c in api.constants] + ['']
    for row in api.types:
        _type(row, out)
    out += ['', '/* What a libcuda.so.1 exports. */',
            '#define CUDA_EXPORT __attribute__((visibility("default")))', '']
    for call in api.calls:
        out.append(f'CUDA_EXPORT CUresult {call.symbol}({call.declarations});')
        if call.variant:
            out.append(f'CUDA_EXPORT CUresult {per_thread(call)}({call.declarations});')
    out += ['', '/* X(name), once for each CUresult. */', '#define CUDA_RESULTS(X) \\']
    results = next(r for r in api.types if r.name == 'CUresult')
    out += [f'\tX({name}) \\' for name, _ in results.members] + ['']
    out += ['#endif', '']
    return '\n'.join(out)


def _entries(api):
    """(name, version, legacy symbol, per-thread symbol or None), sorted as the front wants it."""
    rows = []
    for call in api.calls:
        for name, version, variant, variant_version in call.known:
            if variant and variant_version != version:
                rows.append((name, version, call.symbol, None))
                rows.append((name, variant_version, call.symbol, per_thread(call)))
            else:
                rows.append((name, version, call.symbol, per_thread(call) if variant else None))
    # A later version of the name may be known in an earlier row's per-thread version: the
    # highest version not above the one asked for must be the right prototype, so drop rows that
    # would put an older symbol behind a newer one.
    rows.sort(key=lambda row: (row[0].encode(), row[1]))
    newest, kept = {}, []
    first_known = {}
    for call in api.calls:
        for name, version, _, _ in call.known:
            first_known[call.symbol, name] = version
    for row in rows:
        best = newest.get(row[0])
        own = first_known[row[2], row[0]]
        if best is not None and best > own:
            continue
        newest[row[0]] = own
        if kept and kept[-1][:2] == row[:2]:
            kept[-1] = row
        else:
            kept.append(row)
    return kept


def front_table(api):
    """The client's table for cuGetProcAddress: everything is there."""
    out = [NOTICE, '#include "cuda/client/entries.h"', '', '#include "gen/cuda_types.h"', '',
           'const struct front_entry client_entries[] = {']
    for name, version, legacy, variant in _entries(api):
        out.append(f'\t{{ "{name}", {version}, {legacy}, {variant or "NULL"} }},')
    out += ['};', '', 'const size_t client_entry_count = sizeof(client_entries) / '
            'sizeof(client_entries[0]);', '']
    return '\n'.join(out)


def weak_table(api):
    """
    A table for another libcuda.so.1 (softgpu): symbols are weak, so that one may define any part
    of them; cuda_weak_entries() gives those that are there.
    """
    out = [NOTICE, '#include "gen/cuda_weak.h"', '', '#include "gen/cuda_types.h"', '']
    symbols = sorted({s for row in _entries(api) for s in row[2:] if s})
    out += [f'#pragma weak {symbol}' for symbol in symbols]
    out += ['', 'static struct front_entry entries[] = {']
    for name, version, legacy, variant in _entries(api):
        out.append(f'\t{{ "{name}", {version}, {legacy}, {variant or "NULL"} }},')
    out += ['};', '',
            'const struct front_entry *cuda_weak_entries(size_t *count)', '{',
            '\tsize_t kept = 0;', '',
            '\tfor (size_t i = 0; i < sizeof(entries) / sizeof(entries[0]); i++)',
            '\t\tif (entries[i].legacy)',
            '\t\t\tentries[kept++] = entries[i];',
            '\t*count = kept;', '\treturn entries;', '}', '']
    return '\n'.join(out)


def per_thread_wrappers(api):
    """
    The _ptsz functions: the same call with the calling thread's stream for the NULL stream. A
    driver that does not define the call itself answers that it is not supported.
    """
    out = [NOTICE, '#include "gen/cuda_types.h"', '',
           '#pragma GCC visibility push(default)', '']
    for call in api.calls:
        if call.variant != 'ptsz':
            continue
        streams = [p.name for p in call.parameters if p.type == 'CUstream']
        if len(streams) < 1:
            continue
        arguments = ', '.join(
            f'{p.name} ? {p.name} : CU_STREAM_PER_THREAD' if p.name in streams else p.name
            for p in call.parameters)
        out += [f'#pragma weak {call.symbol}', f'CUresult {per_thread(call)}({call.declarations})', '{',
                f'\treturn {call.symbol} ? {call.symbol}({arguments}) : CUDA_ERROR_NOT_SUPPORTED;',
                '}', '']
    out += ['#pragma GCC visibility pop', '']
    return '\n'.join(out)


def version_script(api):
    symbols = []
    for call in api.calls:
        symbols.append(call.symbol)
        if call.variant:
            symbols.append(per_thread(call))
    body = '\n'.join(f'\t\t{symbol};' for symbol in sorted(symbols))
    return f'# Generated from proto/cuda.api.\n{{\n\tglobal:\n{body}\n\tlocal:\n\t\t*;\n}};\n'
