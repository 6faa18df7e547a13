# SPDX-License-Identifier: Apache-2.0
"""Writers of checks: against NVIDIA's header where there is one, and round trips through the wire."""

import re

from api import BadRow, Enum, Record
from layout import record_layout
from write_types import NOTICE, per_thread


def enum_values(api, row):
    """[(member, value)] as a compiler would count."""
    values, known, following = [], {}, 0
    for constant in api.constants:
        if re.fullmatch(r'(0x[0-9a-fA-F]+|\d+)', constant.value):
            known[constant.name] = int(constant.value, 0)
    for name, text in row.members:
        if text is not None:
            expanded = re.sub(r'[A-Za-z_]\w*', lambda m: str(known.get(m.group(0), m.group(0))),
                              re.sub(r'\b(0x[0-9a-fA-F]+)\b', lambda m: str(int(m.group(1), 16)), text))
            if not re.fullmatch(r'[\d\s+()<|-]+', expanded):
                raise BadRow(f'{api.path}:{row.line}: the value "{text}" of {name} is not known')
            following = eval(expanded)  # digits and operators only, checked above
        known[name] = following
        values.append((name, following))
        following += 1
    return values


def compare_source(api):
    """A C file that compiles only where cuda.h says the same as proto/cuda.api."""
    out = [NOTICE, '#define __CUDA_API_VERSION_INTERNAL', '#include <stddef.h>', '#include <stdint.h>',
           '#include <cuda.h>', '#include <cudaProfiler.h>', '#include <cudaTypedefs.h>', '',
           '#define SAME(type, ...) _Static_assert(__builtin_types_compatible_p(type, __VA_ARGS__), #type)',
           '']
    for constant in api.constants:
        # Some are casts to handles: both sides as integers.
        out.append(f'_Static_assert((uintptr_t)({constant.name}) == (uintptr_t)({constant.value}), '
                   f'"{constant.name}");')
    for row in api.types:
        if isinstance(row, Enum):
            out += [f'_Static_assert({name} == {value}, "{name}");'
                    for name, value in enum_values(api, row)]
        elif isinstance(row, Record):
            size, _, offsets = record_layout(api, row)
            out.append(f'_Static_assert(sizeof({row.name}) == {size}, "sizeof {row.name}");')
            out += [f'_Static_assert(offsetof({row.name}, {name}) == {offset}, "{row.name}.{name}");'
                    for name, offset in offsets if name]
            out += [f'SAME(__typeof__((({row.name} *)0)->{field.name}), __typeof__({field.type} {field.array}));'
                    for field in record_fields(row) if field.name and 'sizeof' not in field.array]
    for call in api.calls:
        form = f'CUresult (*)({call.declarations})'
        out.append(f'SAME(__typeof__(&{call.symbol}), {form});')
        if call.variant:
            out.append(f'SAME(__typeof__(&{per_thread(call)}), {form});')
        for name, version, variant, variant_version in call.known:
            if name.startswith('cuProfiler'):
                continue
            out.append(f'SAME(PFN_{name}_v{version}, {form});')
            if variant:
                out.append(f'SAME(PFN_{name}_v{variant_version}_{variant}, {form});')
    return '\n'.join(out + [''])


def record_fields(record):
    """The plain members; nested structures are compared by their place and size."""
    return [field for field in record.fields if not isinstance(field, Record)]


def newest_known(api):
    """{name: the newest version that the API describes}, for compare.py."""
    newest = {}
    for call in api.calls:
        for name, version, _, _ in call.known:
            newest[name] = max(version, newest.get(name, 0))
    return newest


# Round trips: each generated call is made with values that differ by position; a driver of our own
# records what arrives and answers with patterns.

def _sample(api, p, position):
    """The C expression of a value parameter."""
    name, row = api.resolve(p.type)
    if p.type == 'CUdeviceptr':
        return f'ROUND_TRIP_ADDRESS + {position + 1} * 4096'
    if name in api.kinds:
        return f'round_trip_handle(KIND_{api.kinds[name]})'
    if p.type == 'CUdevice':
        return '0'
    if p.form == 'address':
        return f'(void *){0x5000 + position}ul'
    return f'({p.type}){3 * position + 5}'


def _real(api, p, position):
    """What the driver must be given for it."""
    name, _ = api.resolve(p.type)
    if name in api.kinds:
        return f'({p.type})round_trip_real(KIND_{api.kinds[name]})'
    return _sample(api, p, position)


def _fake(api, call, out):
    out += [f'static CUresult fake_{call.symbol}({call.declarations})', '{']
    for position, p in enumerate(call.parameters):
        if p.form in ('value', 'end', 'address'):
            out.append(f'\tround_trip_check("{call.symbol}", "{p.name}", {p.name} == '
                       f'{_real(api, p, position)});')
        elif p.form == 'in':
            _, record = api.resolve(p.pointee)
            cleared = [f.name for f in getattr(record, 'fields', []) if '*' in getattr(f, 'type', '')]
            out.append(f'\t{p.pointee} expected_{p.name};')
            out.append(f'\tmemset(&expected_{p.name}, {position + 17}, sizeof(expected_{p.name}));')
            out += [f'\texpected_{p.name}.{field} = NULL;' for field in cleared]
            out.append(f'\tround_trip_check("{call.symbol}", "{p.name}", '
                       f'!memcmp({p.name}, &expected_{p.name}, sizeof(expected_{p.name})));')
        elif p.form == 'array' and api.resolve(p.pointee)[0] in api.kinds:
            out += [f'\tfor (size_t i = 0; i < {p.count}; i++)',
                    f'\t\tround_trip_check("{call.symbol}", "{p.name}", {p.name}[i] == '
                    f'round_trip_real(KIND_{api.kinds[api.resolve(p.pointee)[0]]}));']
        elif p.form == 'array':
            out += [f'\tfor (size_t i = 0; i < ({p.count}) * sizeof(*{p.name}); i++)',
                    f'\t\tround_trip_check("{call.symbol}", "{p.name}", '
                    f'((const unsigned char *){p.name})[i] == {position + 17});']
        elif p.form == 'string':
            out.append(f'\tround_trip_check("{call.symbol}", "{p.name}", !strcmp({p.name}, "{p.name}"));')
        elif p.form in ('new', 'find'):
            out.append(f'\t*{p.name} = ({p.pointee})round_trip_made();')
        elif p.form == 'count':
            out += [f'\tround_trip_check("{call.symbol}", "{p.name}", *{p.name} == ROUND_TRIP_ROOM);',
                    f'\t*{p.name} = ROUND_TRIP_LISTED;']
        elif p.form == 'list' and api.resolve(p.pointee)[0] in api.kinds:
            out += ['\tfor (size_t i = 0; i < ROUND_TRIP_LISTED; i++)',
                    f'\t\t{p.name}[i] = ({p.pointee})round_trip_listed(i);']
        elif p.form in ('list', 'out-array'):
            count = 'ROUND_TRIP_LISTED' if p.form == 'list' else f'({p.count})'
            out.append(f'\tmemset({p.name}, {position + 65}, {count} * sizeof(*{p.name}));')
        else:
            out.append(f'\tmemset({p.name}, {position + 65}, sizeof(*{p.name}));')
    out += ['\tround_trip_calls++;', '\treturn CUDA_SUCCESS;', '}', '']


def _count(call, p):
    """The number of elements that the samples ask for."""
    text = p.count
    for position, q in enumerate(call.parameters):
        text = re.sub(rf'\b{q.name}\b', str(3 * position + 5), text)
    return eval(text)  # digits and operators only, checked by the reader


def _trip_argument(api, call, p, position, out, body):
    """Declare and fill what stands behind one parameter; returns the argument."""
    handles = p.form in ('array', 'list') and api.resolve(p.pointee)[0] in api.kinds
    if p.form in ('value', 'end', 'address'):
        return _sample(api, p, position)
    if p.form == 'string':
        return f'"{p.name}"'
    if p.form in ('array', 'out-array', 'list'):
        count = 'ROUND_TRIP_ROOM' if p.form == 'list' else _count(call, p)
        out.append(f'\t{p.pointee} {p.name}[{count}];')
        if handles and p.form == 'array':
            kind = api.kinds[api.resolve(p.pointee)[0]]
            body += [f'\tfor (size_t i = 0; i < {count}; i++)',
                     f'\t\t{p.name}[i] = round_trip_handle(KIND_{kind});']
        else:
            body.append(f'\tmemset({p.name}, {position + 17}, sizeof({p.name}));')
        return p.name
    out.append(f'\t{p.pointee} {p.name};')
    if p.form == 'in':
        body.append(f'\tmemset(&{p.name}, {position + 17}, sizeof({p.name}));')
    elif p.form == 'count':
        body.append(f'\t{p.name} = ROUND_TRIP_ROOM;')
    return f'&{p.name}'


def _trip_check(api, call, p, position, out):
    """What the program must find behind one parameter afterwards."""
    kind = api.kinds.get(api.resolve(p.pointee)[0]) if p.type.endswith('*') else None
    if p.form == 'out':
        out += [f'\tfor (size_t i = 0; i < sizeof({p.name}); i++)',
                f'\t\tassert_int_equal(((unsigned char *)&{p.name})[i], {position + 65});']
    elif p.form in ('new', 'find'):
        out.append(f'\tround_trip_made_check(KIND_{kind}, {p.name});')
    elif p.form == 'count':
        out.append(f'\tassert_int_equal({p.name}, ROUND_TRIP_LISTED);')
    elif p.form == 'list' and kind:
        out += ['\tfor (size_t i = 0; i < ROUND_TRIP_ROOM; i++)',
                f'\t\tround_trip_listed_check(KIND_{kind}, i, {p.name}[i]);']
    elif p.form in ('list', 'out-array'):
        count = 'ROUND_TRIP_LISTED' if p.form == 'list' else _count(call, p)
        out += [f'\tfor (size_t i = 0; i < {count} * sizeof(*{p.name}); i++)',
                f'\t\tassert_int_equal(((unsigned char *){p.name})[i], {position + 65});']


def _trip(api, call, out):
    out += [f'static void trip_{call.symbol}(void **cmocka)', '{']
    body = []
    arguments = [_trip_argument(api, call, p, position, out, body)
                 for position, p in enumerate(call.parameters)]
    out += ['\tunsigned int before = round_trip_calls;', '', '\t(void)cmocka;'] + body
    out += [f'\tassert_int_equal(client_{call.symbol}({", ".join(arguments)}), CUDA_SUCCESS);',
            '\tround_trip_settle();', '\tassert_int_equal(round_trip_calls, before + 1);',
            '\tassert_null(round_trip_wrong);']
    for position, p in enumerate(call.parameters):
        _trip_check(api, call, p, position, out)
    out += ['}', '']


def round_trip_source(api):
    """cuda_round_trip.h: included by tests/unit/test_cuda_round_trip.c."""
    out = [NOTICE]
    generated = [call for call in api.calls if not call.local]
    for call in generated:
        _fake(api, call, out)
        _trip(api, call, out)
    out += ['static void round_trip_fakes(struct cuda_driver *driver)', '{']
    out += [f'\tdriver->{call.symbol} = fake_{call.symbol};' for call in generated]
    out += ['}', '', 'static const struct CMUnitTest round_trips[] = {']
    out += [f'\tcmocka_unit_test(trip_{call.symbol}),' for call in generated]
    out += ['};', '']
    return '\n'.join(out)
