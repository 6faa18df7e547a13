# SPDX-License-Identifier: Apache-2.0
"""Writers of the client: bodies of the calls that travel, exported functions, the tracer."""

from api import Enum, Pointer, Record
from layout import count_expression, reply_block, span_expression
from write_types import NOTICE, per_thread


def _flags(row):
    flags = []
    for word, flag in (('no-reply', 'CLIENT_NO_REPLY'), ('no-context', 'CLIENT_NO_CONTEXT'),
                       ('cached', 'CLIENT_CACHED'), ('uncaches', 'CLIENT_UNCACHES'),
                       ('makes', 'CLIENT_MAKES')):
        if word in row.words:
            flags.append(flag)
    return ' | '.join(flags) or '0'


def _call_initialiser(row, reply):
    lines = ['\tstruct client_call call = {', f'\t\t.number = CALL_{row.symbol},',
             f'\t\t.flags = {_flags(row)},', '\t\t.block = &request,',
             '\t\t.block_bytes = sizeof(request),']
    if reply:
        lines += ['\t\t.reply = &reply,', '\t\t.reply_bytes = sizeof(reply),']
    return lines + ['\t};']


def _piece(lines, data, count):
    lines.append(f'\tclient_call_piece(&call, {data}, {count});')


def _element(api, p):
    """Bytes of one element on the wire: a handle is its number."""
    return 'sizeof(uint32_t)' if api.resolve(p.pointee)[0] in api.kinds else f'sizeof(*{p.name})'


def _encode_array(api, p, lines):
    """An array goes into the tail; handles as numbers, from memory that the body frees."""
    count = count_expression(p, '')
    name, _ = api.resolve(p.pointee)
    indent = '\t'
    if p.nullable:
        lines += [f'\trequest.{p.name}_given = {p.name} != NULL;', f'\tif ({p.name}) {{']
        indent = '\t\t'
    else:
        lines += [f'\tif ({count} && !{p.name})', '\t\treturn CUDA_ERROR_INVALID_VALUE;']
    lines += [f'{indent}if ({count} > CUDA_WIRE_REQUEST_BYTES_MAX / sizeof(*{p.name}))',
              f'{indent}\treturn CUDA_ERROR_INVALID_VALUE;']
    if name in api.kinds:
        lines += [f'{indent}result = client_numbers_{api.kinds[name]}({p.name}, {count}, &{p.name}_numbers);',
                  f'{indent}if (result)', f'{indent}\treturn result;',
                  f'{indent}client_call_piece(&call, {p.name}_numbers, {count} * sizeof(uint32_t));']
    else:
        lines.append(f'{indent}client_call_piece(&call, {p.name}, {count} * sizeof(*{p.name}));')
    if p.nullable:
        lines.append('\t}')


def _lists(call):
    return [p for p in call.parameters if p.form in ('list', 'out-array')]


def _deliver_lists(api, call, out):
    """What the reply's tail brought goes where the program wants it."""
    out.append('\tlist = client_list_begin(&call, tail);')
    for p in _lists(call):
        name, _ = api.resolve(p.pointee)
        if p.form == 'out-array':
            count = count_expression(p, '')
            out.append(f'\tresult = client_list_take(&list, {p.name}, {count}, {count}, sizeof(*{p.name}));')
        elif name in api.kinds:
            out.append(f'\tresult = client_list_handles(&list, KIND_{api.kinds[name]}, request.{p.parent}, '
                       f'(void **){p.name}, *{p.count}, reply.{p.count});')
        else:
            out.append(f'\tresult = client_list_take(&list, {p.name}, *{p.count}, reply.{p.count}, '
                       f'sizeof(*{p.name}));')
        out += ['\tif (result)', '\t\treturn result;']


def _encode(api, call):
    """Statements that check and encode the parameters."""
    lines = []
    for p in call.parameters:
        if p.form in ('out', 'new', 'in', 'string', 'find', 'count') and not p.nullable:
            lines += [f'\tif (!{p.name})', '\t\treturn CUDA_ERROR_INVALID_VALUE;']
    for p in call.parameters:
        name, row = api.resolve(p.type)
        if p.form in ('value', 'end') and isinstance(row, Pointer):
            nullable = 'true' if p.nullable else 'false'
            lines += [f'\tresult = client_number_{api.kinds[name]}({p.name}, {nullable}, &request.{p.name});',
                      '\tif (result)', '\t\treturn result;']
            if p.nullable and p.type == 'CUstream' and 'no-context' in call.words:
                lines += [f'\tif (!request.{p.name} && !client_context_number())',
                          '\t\treturn CUDA_ERROR_INVALID_CONTEXT;']
        elif p.form == 'value':
            lines.append(f'\trequest.{p.name} = {p.name};')
            if p.span:
                lines += [f'\tresult = client_range_check({p.name}, {span_expression(p, "")});',
                          '\tif (result)', '\t\treturn result;']
        elif p.form == 'in':
            lines.append(f'\trequest.{p.name} = *{p.name};')
        elif p.form == 'address':
            lines.append(f'\trequest.{p.name} = (uintptr_t){p.name};')
        elif p.form == 'count':
            lines.append(f'\trequest.{p.name} = *{p.name};')
        elif p.form == 'list':
            lines += [f'\trequest.{p.name}_wanted = {p.name} != NULL;',
                      f'\tif ({p.name})',
                      f'\t\tcall.tail_capacity += client_list_bytes(*{p.count}, {_element(api, p)});']
        elif p.form == 'out-array':
            lines += [f'\tif ({count_expression(p, "")} && !{p.name})',
                      '\t\treturn CUDA_ERROR_INVALID_VALUE;',
                      f'\tcall.tail_capacity += client_list_bytes({count_expression(p, "")}, {_element(api, p)});']
        elif p.form == 'array':
            _encode_array(api, p, lines)
        elif p.form == 'string':
            lines += [f'\trequest.{p.name}_bytes = strnlen({p.name}, CUDA_WIRE_STRING_BYTES_MAX) + 1;',
                      f'\tif (request.{p.name}_bytes > CUDA_WIRE_STRING_BYTES_MAX)',
                      '\t\treturn CUDA_ERROR_INVALID_VALUE;']
            _piece(lines, p.name, f'request.{p.name}_bytes')
        elif p.form == 'out' and p.nullable:
            lines.append(f'\trequest.{p.name}_wanted = {p.name} != NULL;')
    return lines


def _body(api, call, out):
    reply = reply_block(api, call)
    new = next((p for p in call.parameters if p.form == 'new'), None)
    end = next((p for p in call.parameters if p.form == 'end'), None)
    out += [f'CUresult client_{call.symbol}({call.declarations})', '{',
            f'\tstruct wire_{call.symbol}_request request = {{ 0 }};']
    if reply:
        out.append(f'\tstruct wire_{call.symbol}_reply reply;')
    if new:
        out.append('\tstruct client_object *made;')
    if _lists(call):
        out += ['\tautofree unsigned char *tail = NULL;', '\tstruct client_list list;']
    out += [f'\tautofree uint32_t *{p.name}_numbers = NULL;' for p in call.parameters
            if p.form == 'array' and api.resolve(p.pointee)[0] in api.kinds]
    out += [f'\tstruct client_object *{p.name}_found;' for p in call.parameters if p.form == 'find']
    out += _call_initialiser(call, reply)
    out += ['\tCUresult result = client_enter();', '', '\tif (result)', '\t\treturn result;']
    out += _encode(api, call)
    if new:
        name, _ = api.resolve(new.pointee)
        parent = f'request.{new.parent}' if new.parent else '0' if 'no-context' in call.words else 'client_context_number()'
        out += [f'\tresult = client_handle_new(KIND_{api.kinds[name]}, {parent}, &made);',
                '\tif (result)', '\t\treturn result;', f'\trequest.{new.name} = made->number;']
    if _lists(call):
        out += ['\tresult = client_list_open(&call, &tail);', '\tif (result)', '\t\treturn result;']
    out += ['\tresult = client_call_run(&call);']
    if new:
        out += ['\tif (result) {', '\t\tclient_handle_end(made);', '\t\treturn result;', '\t}',
                f'\t*{new.name} = client_handle_pointer(made);']
    else:
        out += ['\tif (result)', '\t\treturn result;']
    if _lists(call):
        _deliver_lists(api, call, out)
    for p in call.parameters:
        if p.form in ('out', 'count'):
            guard = f'\tif ({p.name})\n\t' if p.nullable else ''
            out.append(f'{guard}\t*{p.name} = reply.{p.name};')
        elif p.form == 'find':
            kind = api.kinds[api.resolve(p.pointee)[0]]
            parent = f'request.{p.parent}' if p.parent else '0'
            out += [f'\tresult = client_handle_adopt(KIND_{kind}, reply.{p.name}, {parent}, &{p.name}_found);',
                    '\tif (result)', '\t\treturn result;',
                    f'\t*{p.name} = client_handle_pointer({p.name}_found);']
    if end:
        out.append(f'\tclient_handle_end(client_handle_object({end.name}));')
    handle = next((p.name for p in call.parameters if p.form == 'value'), '')
    out += [f'\treturn client_{call.after}({handle});' if call.after else '\treturn CUDA_SUCCESS;', '}', '']


def _remote(api, message, out):
    """client_send_NAME(): a message that is not raw, for the hand-written calls."""
    out += [f'CUresult client_send_{message.name}({_message_parameters(message)})', '{',
            f'\tstruct wire_{message.name}_request request = {{ 0 }};']
    reply = reply_block(api, message)
    if reply:
        out.append(f'\tstruct wire_{message.name}_reply reply;')
    out += _call_initialiser(message, reply) + ['\tCUresult result;', '']
    for type_name, name in message.parameters:
        if type_name == 'string':
            out += [f'\trequest.{name}_bytes = strnlen({name}, CUDA_WIRE_STRING_BYTES_MAX) + 1;',
                    f'\tif (request.{name}_bytes > CUDA_WIRE_STRING_BYTES_MAX)',
                    '\t\treturn CUDA_ERROR_INVALID_VALUE;']
            _piece(out, name, f'request.{name}_bytes')
        else:
            out.append(f'\trequest.{name} = {name};')
    out += ['\tresult = client_call_run(&call);']
    if message.results:
        out += ['\tif (result)', '\t\treturn result;']
        out += [f'\t*{name} = reply.{name};' for _, name in message.results]
        out += ['\treturn CUDA_SUCCESS;']
    else:
        out += ['\treturn result;']
    out += ['}', '']


MESSAGE_TYPES = {'u32': 'uint32_t ', 'i32': 'int32_t ', 'u64': 'uint64_t ', 'string': 'const char *'}


def _message_parameters(message):
    parts = [MESSAGE_TYPES[t] + name for t, name in message.parameters]
    parts += [f'{MESSAGE_TYPES[t].strip()} *{name}' for t, name in message.results]
    return ', '.join(parts) or 'void'


def client_header(api):
    """cuda_client.h: the bodies behind the exported functions, and the messages."""
    out = [NOTICE, '#ifndef CAUSEWAY_GEN_CUDA_CLIENT_H', '#define CAUSEWAY_GEN_CUDA_CLIENT_H', '',
           '#include "gen/cuda_wire.h"', '',
           '/* The body of each function; those that are local are written by hand. */']
    for call in api.calls:
        out.append(f'CUresult client_{call.symbol}({call.declarations});')
    out += ['', '/* Requests of the hand-written bodies. */']
    for message in api.messages:
        if not message.raw:
            out.append(f'CUresult client_send_{message.name}({_message_parameters(message)});')
    out += ['', '/* The tracer: each writes one line to the trace. */']
    for call in api.calls:
        comma = f', {call.declarations}' if call.parameters else ''
        out.append(f'void trace_{call.symbol}(double start_us, CUresult result{comma});')
    return '\n'.join(out + ['', '#endif', ''])


def client_source(api):
    """cuda_stubs.c: the bodies of all calls that travel."""
    out = [NOTICE, '#include <stdlib.h>', '#include <string.h>', '', '#include "cuda/client/client.h"',
           '#include "lib/base/clean.h"', '']
    for call in api.calls:
        if not call.local:
            _body(api, call, out)
    for message in api.messages:
        if not message.raw:
            _remote(api, message, out)
    return '\n'.join(out)


def exports_source(api):
    """
    cuda_exports.c: the symbols that programs call. X_ptsz puts the thread's own stream in the
    place of the NULL stream; X_ptds says so for the length of the call.
    """
    out = [NOTICE, '#include "cuda/client/client.h"', '', '#include "cuda/client/trace.h"', '']
    for call in api.calls:
        _export(call.symbol, call, call.arguments, out)
        if call.variant == 'ptsz':
            streams = [p.name for p in call.parameters if p.type == 'CUstream']
            arguments = ', '.join(
                f'{p.name} ? {p.name} : CU_STREAM_PER_THREAD' if p.name in streams else p.name
                for p in call.parameters)
            _export(per_thread(call), call, arguments, out, not streams)
        elif call.variant == 'ptds':
            _export(per_thread(call), call, call.arguments, out, True)
    return '\n'.join(out)


def _export(symbol, call, arguments, out, scoped=False):
    values = f', {call.arguments}' if call.parameters else ''
    out += [f'CUresult {symbol}({call.declarations})', '{', '\tdouble start_us = trace_start();']
    if scoped:
        out.append('\tbool outer = client_per_thread_begin();')
    out.append(f'\tCUresult result = client_{call.symbol}({arguments});')
    out.append('')
    if scoped:
        out.append('\tclient_per_thread_end(outer);')
    out += ['\tif (__builtin_expect(start_us != 0, 0))',
            f'\t\ttrace_{call.symbol}(start_us, result{values});', '\treturn result;', '}', '']


def _trace_value(api, type_name, expression):
    """(format, arguments) that print a value of that type."""
    name, row = api.resolve(type_name)
    if type_name in ('CUdeviceptr', 'CUdeviceptr_v2'):
        return '0x%llx', f'(unsigned long long)({expression})'
    if isinstance(row, Enum):
        return '%d', f'(int)({expression})'
    if isinstance(row, Pointer) or type_name.endswith('*'):
        return '%p', f'(void *)({expression})'
    if row is not None and not isinstance(row, Record):
        return '%p', f'(void *)({expression})'
    if name == 'float':
        return '%g', f'(double)({expression})'
    if name in ('size_t', 'unsigned long long', 'uint64_t'):
        return '%llu', f'(unsigned long long)({expression})'
    if name == 'int':
        return '%d', expression
    return '%u', f'(unsigned int)({expression})'


def _traced(api, p, lines):
    """Print one parameter: its value, and behind a pointer what a successful call wrote there."""
    is_pointer = p.type.endswith('*')
    if is_pointer and p.type.replace('const ', '').strip() == 'char *' and 'const' in p.type:
        lines.append(f'\ttrace_string("{p.name}", {p.name});')
        return
    if is_pointer and 'const' not in p.type and p.pointee not in ('void', 'char'):
        name, row = api.resolve(p.pointee)
        if not isinstance(row, Record) and (name in api.SCALARS or row is not None or p.pointee.endswith('*')):
            form, value = _trace_value(api, p.pointee, f'*{p.name}')
            lines += [f'\tif (!result && {p.name})',
                      f'\t\ttrace_print("{p.name}=&{form}", {value});', '\telse',
                      f'\t\ttrace_print("{p.name}=%p", (void *){p.name});']
            return
    if isinstance(api.resolve(p.type)[1], Record):
        lines += [f'\ttrace_print("{p.name}={{...}}");', f'\t(void){p.name};']
        return
    form, value = _trace_value(api, p.type, p.name)
    if p.type.startswith('const'):
        value = f'(const void *){p.name}'
    lines.append(f'\ttrace_print("{p.name}={form}", {value});')


def trace_source(api):
    """cuda_trace.c: one function a call, printing its arguments by name and its result."""
    out = [NOTICE, '#include "cuda/client/client.h"', '', '#include "cuda/client/trace.h"', '']
    for call in api.calls:
        comma = f', {call.declarations}' if call.parameters else ''
        lines = []
        for p in call.parameters:
            # An array that goes with a count, and a launch's parameters, show as pointers.
            if p.form in ('array', 'out-array', 'list') or p.type in ('void **', 'void *'):
                lines.append(f'\ttrace_print("{p.name}=%p", (const void *){p.name});')
            else:
                _traced(api, p, lines)
        out += [f'void trace_{call.symbol}(double start_us, CUresult result{comma})', '{',
                f'\ttrace_begin("{call.symbol}");'] + lines + \
               ['\ttrace_end(start_us, result);', '}', '']
    return '\n'.join(out)
