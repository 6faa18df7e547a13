# SPDX-License-Identifier: Apache-2.0
"""Writer of the worker's dispatch: decode, check, look up handles, call the driver."""

from api import Pointer, Record
from layout import count_expression, reply_block, request_block, span_expression
from write_types import NOTICE
from write_wire import wire_rows


def _row_flags(row):
    flags = []
    if row.reply:
        flags.append('WORKER_REPLY')
    if 'no-context' not in row.words:
        flags.append('WORKER_CONTEXT')
    if 'settles' in row.words:
        flags.append('WORKER_SETTLES')
    if 'waits' in row.words:
        flags.append('WORKER_WAITS')
    if 'bulk' in row.words:
        flags.append('WORKER_BULK')
    return ' | '.join(flags) or '0'


def _decode_array(api, p, lines, locals_):
    """An array of the tail; numbers become the driver's handles in memory of the dispatch."""
    name, _ = api.resolve(p.pointee)
    count = count_expression(p, 'request.')
    element = 'uint32_t' if name in api.kinds else p.pointee
    handles = name in api.kinds
    source = f'{p.name}_numbers' if handles else p.name
    locals_.append(f'\tconst void *{source} = NULL;')
    if handles:
        locals_.append(f'\tautofree {p.pointee} *{p.name} = NULL;')
    indent = '\t'
    if p.nullable:
        lines.append(f'\tif (request.{p.name}_given) {{')
        indent = '\t\t'
    lines += [f'{indent}{source} = worker_tail(call, {count}, sizeof({element}));',
              f'{indent}if (!{source})', f'{indent}\treturn worker_broken(call);']
    if handles:
        lines += [f'{indent}result = worker_handles_find(call, KIND_{api.kinds[name]}, {source}, {count}, '
                  f'(void ***)&{p.name});', f'{indent}if (result)', f'{indent}\treturn result;']
    if p.nullable:
        lines.append('\t}')


def _decode_list(p, lines, locals_):
    """Room for what the driver lists; NULL where the client wants the number alone."""
    locals_.append(f'\tautofree {p.pointee} *{p.name} = NULL;')
    wanted = f'request.{p.name}_wanted' if p.form == 'list' else 'true'
    count = p.count if p.form == 'list' else count_expression(p, 'request.')
    lines += [f'\tif ({wanted}) {{',
              f'\t\t{p.name} = worker_list(call, {count}, sizeof(*{p.name}));',
              f'\t\tif (!{p.name})', '\t\t\treturn CUDA_ERROR_OUT_OF_MEMORY;', '\t}']


def _reply_list(api, p, out):
    """Add a list to the reply's tail; handles become numbers."""
    name, _ = api.resolve(p.pointee)
    if p.form == 'out-array':
        out.append(f'\tresult = worker_list_add(call, {p.name}, {count_expression(p, "request.")}, sizeof(*{p.name}));')
        out += ['\tif (result)', '\t\treturn result;']
        return
    out.append(f'\tif (request.{p.name}_wanted) {{')
    if name in api.kinds:
        out.append(f'\t\tresult = worker_list_handles(call, KIND_{api.kinds[name]}, request.{p.parent}, '
                   f'(void **){p.name}, {p.count}, request.{p.count});')
    else:
        out.append(f'\t\tresult = worker_list_add(call, {p.name}, {p.count} < request.{p.count} ? {p.count} : '
                   f'request.{p.count}, sizeof(*{p.name}));')
    out += ['\t\tif (result)', '\t\t\treturn result;', '\t}']


def _decode(api, call, lines, locals_):
    """Statements that turn the block into the driver's arguments; returns the argument list."""
    arguments = []
    for p in call.parameters:
        name, row = api.resolve(p.type)
        if p.form in ('value', 'end') and isinstance(row, Pointer):
            nullable = 'true' if p.nullable else 'false'
            locals_.append(f'\tvoid *{p.name} = NULL;')
            lines += [f'\tresult = worker_handle_find(call, KIND_{api.kinds[name]}, request.{p.name}, '
                      f'{nullable}, &{p.name});', '\tif (result)', '\t\treturn result;']
            arguments.append(p.name)
        elif p.form == 'value':
            arguments.append(f'request.{p.name}')
            if p.span:
                lines += [f'\tresult = worker_range_check(call, request.{p.name}, '
                          f'{span_expression(p, "request.")});',
                          '\tif (result)', '\t\treturn result;']
        elif p.form == 'in':
            _, record = api.resolve(p.pointee)
            if isinstance(record, Record) and record.name in api.POINTERS_UNUSED:
                lines += [f'\trequest.{p.name}.{f.name} = NULL;'
                          for f in record.fields if '*' in getattr(f, 'type', '')]
            arguments.append(f'&request.{p.name}')
        elif p.form == 'address':
            arguments.append(f'(void *)(uintptr_t)request.{p.name}')
        elif p.form == 'array':
            _decode_array(api, p, lines, locals_)
            # Some functions take what they only read without saying so.
            plain = 'const' in p.type or api.resolve(p.pointee)[0] in api.kinds
            arguments.append(p.name if plain else f'({p.pointee} *)(uintptr_t){p.name}')
        elif p.form == 'count':
            locals_.append(f'\tsize_t {p.name};')
            arguments.append(f'&{p.name}')
        elif p.form in ('list', 'out-array'):
            _decode_list(p, lines, locals_)
            arguments.append(p.name)
        elif p.form == 'find':
            locals_.append(f'\t{p.pointee} {p.name} = NULL;')
            arguments.append(f'&{p.name}')
        elif p.form == 'string':
            locals_.append(f'\tconst char *{p.name};')
            lines += [f'\t{p.name} = worker_tail_string(call, request.{p.name}_bytes);',
                      f'\tif (!{p.name})', '\t\treturn worker_broken(call);']
            arguments.append(p.name)
        elif p.form == 'new':
            pointee, _ = api.resolve(p.pointee)
            locals_.append(f'\t{p.pointee} {p.name} = NULL;')
            lines += [f'\tif (!worker_handle_free(call, request.{p.name}))',
                      '\t\treturn worker_broken(call);']
            arguments.append(f'&{p.name}')
        elif p.form == 'out':
            locals_.append(f'\t{p.pointee} {p.name} = {{ 0 }};' if isinstance(api.resolve(p.pointee)[1], Record)
                           else f'\t{p.pointee} {p.name} = 0;')
            arguments.append(f'request.{p.name}_wanted ? &{p.name} : NULL' if p.nullable else f'&{p.name}')
    return arguments


def _dispatch(api, call, out):
    lines, locals_ = [], []
    lines += [f'\t{p.name} = worker_list_count(request.{p.name});' for p in call.parameters
              if p.form == 'count']
    arguments = _decode(api, call, lines, locals_)
    new = next((p for p in call.parameters if p.form == 'new'), None)
    end = next((p for p in call.parameters if p.form == 'end'), None)
    out += [f'static CUresult dispatch_{call.symbol}(struct worker_call *call)', '{',
            f'\tstruct wire_{call.symbol}_request request;']
    if reply_block(api, call):
        out.append(f'\tstruct wire_{call.symbol}_reply *reply = worker_reply_block(call);')
    out += locals_ + ['\tCUresult result;', '',
                      '\tif (!worker_block(call, &request, sizeof(request)))',
                      '\t\treturn worker_broken(call);']
    out += _padding(request_block(api, call))
    out += lines
    out += [f'\tif (!worker_driver.{call.symbol})', '\t\treturn CUDA_ERROR_NOT_SUPPORTED;']
    out.append('\tworker_step_aside(call);' if 'waits' in call.words else '\tworker_step_back(call);')
    out += [f'\tresult = worker_driver.{call.symbol}({", ".join(arguments)});', '\tif (result)',
            '\t\treturn result;']
    for p in call.parameters:
        if p.form in ('out', 'count'):
            out.append(f'\treply->{p.name} = {p.name};')
        elif p.form in ('list', 'out-array'):
            _reply_list(api, p, out)
        elif p.form == 'find':
            kind = api.kinds[api.resolve(p.pointee)[0]]
            parent = f'request.{p.parent}' if p.parent else '0'
            out += [f'\tresult = worker_handle_number(call, KIND_{kind}, {p.name}, {parent}, &reply->{p.name});',
                    '\tif (result)', '\t\treturn result;']
    if new:
        kind = api.kinds[api.resolve(new.pointee)[0]]
        parent = f'request.{new.parent}' if new.parent else \
            '0' if 'no-context' in call.words else 'call->request.context'
        out.append(f'\treturn worker_handle_set(call, KIND_{kind}, request.{new.name}, {new.name}, {parent});')
    else:
        if end:
            out.append(f'\tworker_handle_end(call, request.{end.name});')
        out.append('\treturn CUDA_SUCCESS;')
    out += ['}', '']


def _padding(block):
    """Padding is checked to be zero, so that a later version may give it a meaning."""
    if not block.padding:
        return []
    return ['\tif (!worker_zero(request.reserved, sizeof(request.reserved)))',
            '\t\treturn worker_broken(call);']


def _message(api, message, out):
    reply = reply_block(api, message)
    strings = [name for type_name, name in message.parameters if type_name == 'string']
    out += [f'static CUresult dispatch_{message.name}(struct worker_call *call)', '{',
            f'\tstruct wire_{message.name}_request request;']
    out += [f'\tconst char *{name};' for name in strings]
    out += ['', '\tif (!worker_block(call, &request, sizeof(request)))',
            '\t\treturn worker_broken(call);']
    out += _padding(request_block(api, message))
    for name in strings:
        out += [f'\t{name} = worker_tail_string(call, request.{name}_bytes);', f'\tif (!{name})',
                '\t\treturn worker_broken(call);']
    arguments = ['call', '&request'] + strings
    if reply:
        arguments.append('worker_reply_block(call)')
    out += [f'\treturn worker_{message.name}({", ".join(arguments)});', '}', '']


def dispatch_header(api):
    """cuda_dispatch.h: the table of requests, and the hand-written ends of messages."""
    out = [NOTICE, '#ifndef CAUSEWAY_GEN_CUDA_DISPATCH_H', '#define CAUSEWAY_GEN_CUDA_DISPATCH_H', '',
           '#include "gen/cuda_wire.h"', '', 'struct worker_call;', '',
           'struct worker_row {',
           '\tCUresult (*dispatch)(struct worker_call *call);',
           '\tunsigned int flags; /* WORKER_* */',
           '\tunsigned int reply_bytes; /* of the reply\'s block */', '};', '',
           'extern const struct worker_row worker_rows[CALL_count];', '']
    for message in api.messages:
        parameters = ['struct worker_call *call', f'const struct wire_{message.name}_request *request']
        parameters += [f'const char *{name}' for type_name, name in message.parameters
                       if type_name == 'string']
        if reply_block(api, message):
            parameters.append(f'struct wire_{message.name}_reply *reply')
        out.append(f'CUresult worker_{message.name}({", ".join(parameters)});')
    return '\n'.join(out + ['', '#endif', ''])


def dispatch_source(api):
    out = [NOTICE, '#include <stdlib.h>', '', '#include "cuda/server/worker.h"', '#include "lib/base/clean.h"',
           '']
    for call in api.calls:
        if not call.local:
            _dispatch(api, call, out)
    for message in api.messages:
        _message(api, message, out)
    out += ['const struct worker_row worker_rows[CALL_count] = {']
    for row in wire_rows(api):
        reply = reply_block(api, row)
        size = f'sizeof(struct wire_{row.symbol}_reply)' if reply else '0'
        out.append(f'\t[CALL_{row.symbol}] = {{ dispatch_{row.symbol}, {_row_flags(row)}, {size} }},')
    out += ['};', '']
    return '\n'.join(out)
