# SPDX-License-Identifier: Apache-2.0
"""Sizes and offsets as x86-64 and AArch64 Linux lay C structures out, and the wire's blocks."""

import re

from api import BadRow, Callback, Enum, Pointer, Record

SIZES = {'char': 1, 'unsigned char': 1, 'short': 2, 'unsigned short': 2, 'int': 4, 'unsigned': 4,
         'unsigned int': 4, 'float': 4, 'size_t': 8, 'unsigned long long': 8, 'uint64_t': 8,
         'long long': 8, 'uint32_t': 4}


def _up(value, alignment):
    return (value + alignment - 1) // alignment * alignment


def size_align(api, type_name):
    """(bytes, alignment) of a C type."""
    if type_name.endswith('*'):
        return 8, 8
    name, row = api.resolve(type_name.replace('const ', ''))
    if isinstance(row, (Pointer, Callback)):
        return 8, 8
    if isinstance(row, Enum):
        return 4, 4
    if isinstance(row, Record):
        size, alignment, _ = record_layout(api, row)
        return size, alignment
    if name not in SIZES:
        raise BadRow(f'{api.path}: the size of "{type_name}" is not known')
    return SIZES[name], SIZES[name]


def _count(api, field):
    """Elements of an array field; the dimension may name sizeof(TYPE)."""
    count = 1
    for text in re.findall(r'\[([^\]]*)\]', field.array):
        text = re.sub(r'sizeof\((\w+)\)', lambda m: str(size_align(api, m.group(1))[0]), text)
        if not re.fullmatch(r'[\d\s+*-]+', text):
            raise BadRow(f'{api.path}:{field.line}: "{text}" is no number')
        count *= eval(text)  # digits and operators only, checked above
    return count


def record_layout(api, record):
    """(bytes, alignment, [(field name, offset)]) of a struct or union."""
    end, widest, offsets = 0, 1, []
    for field in record.fields:
        if isinstance(field, Record):
            size, alignment, _ = record_layout(api, field)
        else:
            size, alignment = size_align(api, field.type)
            size *= _count(api, field)
        widest = max(widest, alignment)
        offset = _up(end, alignment) if record.form == 'struct' else 0
        offsets.append((field.name, offset))
        end = offset + size if record.form == 'struct' else max(end, size)
    return _up(end, widest), widest, offsets


C_TYPES = {'u32': 'uint32_t', 'i32': 'int32_t', 'u64': 'uint64_t', 'f32': 'float'}


class Block:
    """One block of the wire: members by falling alignment, so that only its end needs padding."""

    def __init__(self, members):
        """members: (C type, name, bytes, alignment)"""
        self.members = sorted(members, key=lambda m: -m[3])
        self.offsets, end = [], 0
        for _, name, size, alignment in self.members:
            end = _up(end, alignment)
            self.offsets.append((name, end))
            end += size
        self.used = end
        self.bytes = max(8, _up(end, 8))

    @property
    def padding(self):
        return self.bytes - self.used


def _member(api, type_name, name):
    scalar = api.wire_scalar(type_name)
    if scalar:
        return C_TYPES[scalar[0]], name, scalar[1], scalar[1]
    size, alignment = size_align(api, type_name)
    return type_name, name, size, alignment


def request_block(api, row):
    """The argument block of a call or message."""
    members = []
    if hasattr(row, 'results'):
        for type_name, name in row.parameters:
            members.append(('uint32_t', f'{name}_bytes', 4, 4) if type_name == 'string'
                           else _wire_member(type_name, name))
        return Block(members)
    for p in row.parameters:
        if p.form in ('value', 'end'):
            members.append(_member(api, p.type, p.name))
        elif p.form == 'in':
            members.append(_member(api, p.pointee, p.name))
        elif p.form == 'string':
            members.append(('uint32_t', f'{p.name}_bytes', 4, 4))
        elif p.form == 'new':
            members.append(('uint32_t', p.name, 4, 4))
        elif p.form in ('address', 'count'):
            members.append(('uint64_t', p.name, 8, 8))
        elif p.form == 'array' and p.nullable:
            members.append(('uint32_t', f'{p.name}_given', 4, 4))
        elif p.form in ('out', 'list') and (p.nullable or p.form == 'list'):
            members.append(('uint32_t', f'{p.name}_wanted', 4, 4))
    return Block(members)


def _wire_member(type_name, name):
    size = 8 if type_name == 'u64' else 4
    return C_TYPES[type_name], name, size, size


def reply_block(api, row):
    """The reply's block, or None where the reply is its result alone."""
    if hasattr(row, 'results'):
        members = [_wire_member(type_name, name) for type_name, name in row.results]
    else:
        members = []
        for p in row.parameters:
            if p.form == 'out':
                members.append(_member(api, p.pointee, p.name))
            elif p.form == 'count':
                members.append(('uint64_t', p.name, 8, 8))
            elif p.form == 'find':
                members.append(('uint32_t', p.name, 4, 4))
    return Block(members) if members else None


def count_expression(p, prefix):
    """The elements of an array, in 64 bits: what wraps is too many for any message."""
    text = re.sub(r'[A-Za-z_]\w*', lambda m: f'(uint64_t){prefix}{m.group(0)}', p.count)
    return text if re.fullmatch(r'\w+', p.count) else f'({text})'


def span_expression(p, prefix):
    """The bytes behind a device address, in 128 bits so that no product wraps."""
    return re.sub(r'[A-Za-z_]\w*', lambda m: f'(unsigned __int128){prefix}{m.group(0)}', p.span)
