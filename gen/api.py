# SPDX-License-Identifier: Apache-2.0
"""Reads proto/cuda.api and checks every row; a bad one ends the build with file:line and reason.

The model is plain: Api holds lists of Alias, Pointer, Callback, Constant, Enum, Record (struct or
union) in the file's order, and lists of Call and Message. Writers (write_*.py) only read it.
"""

import hashlib
import re


class BadRow(Exception):
    """A row that cannot be; str() is file:line: reason."""


class Row:
    """Anything that came from a line of the file."""

    def __init__(self, line):
        self.line = line


class Alias(Row):
    def __init__(self, line, name, type_name):
        super().__init__(line)
        self.name, self.type = name, type_name


class Pointer(Row):
    def __init__(self, line, name, tag):
        super().__init__(line)
        self.name, self.tag = name, tag


class Callback(Row):
    def __init__(self, line, name, returns, parameters):
        super().__init__(line)
        self.name, self.returns, self.parameters = name, returns, parameters


class Constant(Row):
    def __init__(self, line, name, value):
        super().__init__(line)
        self.name, self.value = name, value


class Enum(Row):
    def __init__(self, line, name, tag):
        super().__init__(line)
        self.name, self.tag, self.members = name, tag, []  # (name, value text or None)
        self.texts = {}  # by member: what it means, in CUDA's words


class Record(Row):
    """A struct or union; fields are declarations, nested ones are records themselves."""

    def __init__(self, line, form, name, tag):
        super().__init__(line)
        self.form, self.name, self.tag, self.fields = form, name, tag, []


class Field(Row):
    def __init__(self, line, declaration):
        super().__init__(line)
        match = re.fullmatch(r'(.*?[\s*])(\w+)((?:\[[^\]]*\])*)', declaration)
        if not match:
            raise BadRow(f'"{declaration}" is no declaration of a member')
        self.type, self.name, self.array = match.group(1).strip(), match.group(2), match.group(3)


class Parameter:
    """One parameter of a call: C type, name, and how it travels (see cuda.api's head)."""

    def __init__(self, type_name, name, note):
        self.type, self.name = type_name, name
        self.form, self.count, self.parent, self.span = 'value', None, None, None
        device = re.fullmatch(r'device\[(.*)\]', note)
        if device:
            self.span, note = device.group(1), ''
        array = re.match(r'(in|out|list)\[(.*)\]', note)
        if array:
            self.form = {'in': 'array', 'out': 'out-array', 'list': 'list'}[array.group(1)]
            self.count, note = array.group(2), note[array.end():]
        words = note.split()
        self.nullable = 'null' in words
        rest = [word for word in words if word != 'null']
        if rest and self.form == 'value' and rest[0] in ('out', 'in', 'string', 'end', 'new', 'find',
                                                          'count', 'address'):
            self.form = rest.pop(0)
        if rest and self.form in ('new', 'find', 'list'):
            self.parent = rest.pop(0)
        if rest:
            raise BadRow(f'unknown annotation "{" ".join(rest)}" of {name}')

    @property
    def pointee(self):
        """The type behind the pointer, without const."""
        return self.type.rstrip()[:-1].replace('const ', '').strip()

    @property
    def declaration(self):
        return f'{self.type}{self.name}' if self.type.endswith('*') else f'{self.type} {self.name}'


class Call(Row):
    """A function of the driver, by its exported symbol."""

    WORDS = ('local', 'no-reply', 'no-context', 'cached', 'uncaches', 'waits', 'settles', 'makes')

    def __init__(self, line, symbol, parameters):
        super().__init__(line)
        self.symbol, self.parameters = symbol, parameters
        self.after = None  # what the client does when it has succeeded
        self.known = []  # (name, version, variant or None, version of the variant)
        self.words, self.tested = set(), []

    @property
    def local(self):
        return 'local' in self.words

    @property
    def reply(self):
        return 'no-reply' not in self.words

    @property
    def variant(self):
        """ptsz, ptds or None."""
        return next((known[2] for known in self.known if known[2]), None)

    @property
    def declarations(self):
        return ', '.join(p.declaration for p in self.parameters) or 'void'

    @property
    def arguments(self):
        return ', '.join(p.name for p in self.parameters)


class Message(Row):
    """A request of the client's hand-written calls; wire types only."""

    WORDS = Call.WORDS + ('raw', 'bulk')
    TYPES = ('u32', 'i32', 'u64', 'string')

    def __init__(self, line, name, parameters, results):
        super().__init__(line)
        self.name, self.parameters, self.results = name, parameters, results  # (type, name)
        self.words, self.tested = set(), []

    @property
    def symbol(self):
        return self.name

    @property
    def raw(self):
        return 'raw' in self.words

    @property
    def reply(self):
        return 'no-reply' not in self.words


class Api:
    SCALARS = {
        'int': ('i32', 4), 'unsigned int': ('u32', 4), 'unsigned': ('u32', 4),
        'unsigned char': ('u32', 4), 'unsigned short': ('u32', 4), 'float': ('f32', 4),
        'size_t': ('u64', 8), 'unsigned long long': ('u64', 8), 'uint64_t': ('u64', 8),
        'uint32_t': ('u32', 4),
    }

    def __init__(self, path):
        self.path = path
        self.types, self.calls, self.messages = [], [], []
        self.constants, self.kinds = [], {}
        self.by_name = {}
        with open(path, encoding='utf-8') as file:
            self.text = file.read()
        self.digest = hashlib.sha256(self.text.encode()).hexdigest()
        self._parse()
        self._check()

    # Reading

    def _fail(self, line, reason):
        raise BadRow(f'{self.path}:{line}: {reason}')

    def _lines(self):
        """Yield (number, text) of what is neither blank nor a comment; long rows are joined."""
        pending, start = '', 0
        for number, raw in enumerate(self.text.split('\n'), 1):
            text = raw.split('#', 1)[0].rstrip()
            if not text.strip():
                continue
            if not pending:
                start = number
            pending = f'{pending} {text.strip()}' if pending else text
            if pending.count('(') > pending.count(')'):
                continue
            yield start, pending
            pending = ''
        if pending:
            self._fail(start, 'a parenthesis is never closed')

    def _parse(self):
        block, stack, function = None, [], None
        for line, text in self._lines():
            try:
                if block is not None:
                    if text.strip() == 'end' and not stack:
                        block = None
                    elif isinstance(block, Enum):
                        self._parse_member(block, text.strip())
                    else:
                        block = self._parse_field(block, stack, line, text.strip())
                elif text[0] in ' \t':
                    if function is None:
                        raise BadRow('an indented line belongs to no call or message')
                    self._parse_words(function, text.split())
                else:
                    function, block = self._parse_row(line, text)
            except BadRow as bad:
                self._fail(line, bad)
        if block is not None:
            self._fail(block.line, f'{block.name} has no "end"')

    def _parse_row(self, line, text):
        word, _, rest = text.partition(' ')
        if word in ('enum', 'struct', 'union'):
            match = re.fullmatch(r'(\w+)(?: tag (\w+))?', rest)
            if not match:
                raise BadRow(f'expected "{word} NAME [tag TAG]"')
            name, tag = match.group(1), match.group(2) or match.group(1)
            row = Enum(line, name, tag) if word == 'enum' else Record(line, word, name, tag)
            self._add_type(row)
            return None, row
        if word == 'call' or word == 'message':
            return self._parse_function(line, word, rest), None
        if word == 'constant':
            name, _, value = rest.partition(' ')
            self.constants.append(Constant(line, name, value))
        elif word == 'alias':
            name, _, type_name = rest.partition(' ')
            self._add_type(Alias(line, name, type_name))
        elif word == 'pointer':
            name, _, tag = rest.partition(' ')
            self._add_type(Pointer(line, name, tag))
        elif word == 'kind':
            name, _, kind = rest.partition(' ')
            if not isinstance(self.by_name.get(name), Pointer):
                raise BadRow(f'{name} is no pointer type')
            self.kinds[name] = kind
        elif word == 'callback':
            match = re.fullmatch(r'(\w+) (.*?) ?\((.*)\)', rest)
            if not match:
                raise BadRow('expected "callback NAME TYPE (PARAMETERS)"')
            self._add_type(Callback(line, *match.groups()))
        else:
            raise BadRow(f'unknown row "{word}"')
        return None, None

    def _add_type(self, row):
        if row.name in self.by_name:
            raise BadRow(f'{row.name} is there already, in line {self.by_name[row.name].line}')
        self.by_name[row.name] = row
        self.types.append(row)

    @staticmethod
    def _parse_member(enum, text):
        match = re.fullmatch(r'(\w+)(?: = ([^"]+?))?(?: "(.*)")?', text)
        if not match:
            raise BadRow(f'"{text}" is no member of an enum')
        enum.members.append(match.groups()[:2])
        if match.group(3):
            enum.texts[match.group(1)] = match.group(3)

    @staticmethod
    def _parse_field(record, stack, line, text):
        opened = re.fullmatch(r'(struct|union) \{', text)
        closed = re.fullmatch(r'\}\s*(\w*)', text)
        if opened:
            inner = Record(line, opened.group(1), None, None)
            record.fields.append(inner)
            stack.append(record)
            return inner
        if closed:
            if not stack:
                raise BadRow('"}" closes nothing')
            record.name = closed.group(1) or None
            return stack.pop()
        record.fields.append(Field(line, text))
        return record

    def _parse_function(self, line, word, rest):
        match = re.fullmatch(r'(\w+)\((.*?)\)(?: returns \((.*)\))?', rest)
        if not match or (match.group(3) and word == 'call'):
            raise BadRow(f'expected "{word} NAME(PARAMETERS)"')
        name, inside = match.group(1), match.group(2).strip()
        parts = [part.strip() for part in inside.split(',')] if inside not in ('', 'void') else []
        if any(row.symbol == name for row in self.calls + self.messages):
            raise BadRow(f'{name} is there already')
        if word == 'message':
            results = [part.strip() for part in (match.group(3) or '').split(',') if part.strip()]
            row = Message(line, name, [self._wire(p) for p in parts], [self._wire(p) for p in results])
            self.messages.append(row)
            return row
        row = Call(line, name, [self._parameter(part) for part in parts])
        self.calls.append(row)
        return row

    @staticmethod
    def _wire(text):
        type_name, _, name = text.partition(' ')
        if type_name not in Message.TYPES or not name.isidentifier():
            raise BadRow(f'"{text}": a message holds {", ".join(Message.TYPES)} only')
        return type_name, name

    @staticmethod
    def _parameter(text):
        declaration, _, note = text.partition(' : ')
        match = re.fullmatch(r'(.*?[\s*])(\w+)', declaration.strip())
        if not match:
            raise BadRow(f'"{text}" is no parameter')
        return Parameter(match.group(1).strip(), match.group(2), note)

    @staticmethod
    def _parse_words(function, words):
        if words[0] == 'known':
            if isinstance(function, Message) or len(words) not in (3, 4, 5) \
                    or not words[2].isdigit() or (len(words) > 3 and words[3] not in ('ptsz', 'ptds')):
                raise BadRow('expected "known NAME VERSION [ptsz|ptds [VERSION]]"')
            variant = words[3] if len(words) > 3 else None
            function.known.append((words[1], int(words[2]), variant,
                                   int(words[4]) if len(words) > 4 else int(words[2])))
            return
        if words[0] == 'after':
            if isinstance(function, Message) or len(words) != 2 or function.after:
                raise BadRow('expected one "after FUNCTION"')
            function.after = words[1]
            return
        if words[0] == 'tested':
            function.tested += words[1:]
            return
        for word in words:
            if word not in function.WORDS:
                raise BadRow(f'unknown word "{word}"')
            function.words.add(word)

    # Checking

    def resolve(self, type_name):
        """Follow aliases down to a scalar, an enum, a record, a pointer or a callback."""
        row = self.by_name.get(type_name)
        while isinstance(row, Alias):
            type_name, row = row.type, self.by_name.get(row.type)
        return type_name, row

    def wire_scalar(self, type_name):
        """(wire type, bytes) of a type that travels by value, or None."""
        name, row = self.resolve(type_name)
        if isinstance(row, Enum):
            return 'i32', 4
        if isinstance(row, Pointer) and name in self.kinds:
            return 'u32', 4
        return self.SCALARS.get(name) if row is None else None

    def holds_pointer(self, record):
        for field in record.fields:
            if isinstance(field, Record):
                if self.holds_pointer(field):
                    return True
                continue
            _, row = self.resolve(field.type)
            if '*' in field.type or isinstance(row, (Pointer, Callback)):
                return True
            if isinstance(row, Record) and self.holds_pointer(row):
                return True
        return False

    def _check(self):
        names = {}
        for call in self.calls:
            try:
                if not call.known:
                    raise BadRow(f'{call.symbol} has no "known" line')
                for name, version, _, _ in call.known:
                    if (name, version) in names:
                        raise BadRow(f'{name} {version} is known twice')
                    names[name, version] = call
                if call.local:
                    if call.words - {'local'} or call.after:
                        raise BadRow('"local" goes with no other word')
                    if any(p.form != 'value' or p.nullable for p in call.parameters):
                        raise BadRow('a local call has no annotated parameters')
                else:
                    self._check_call(call)
                if any(p.form == 'new' for p in call.parameters):
                    call.words.add('makes')
            except BadRow as bad:
                self._fail(call.line, bad)
        for message in self.messages:
            if 'cached' in message.words or (not message.reply and message.results):
                self._fail(message.line, 'a message is never cached; results need a reply')

    def _check_call(self, call):
        forms = [p.form for p in call.parameters]
        if not call.reply and set(forms) & set(self.ANSWERS):
            raise BadRow('an out parameter needs a reply')
        if 'cached' in call.words and (not call.reply or set(forms) - {'value', 'out'}):
            raise BadRow('"cached" takes values and out parameters only')
        if forms.count('new') > 1 or forms.count('end') > 1:
            raise BadRow('one "new" and one "end" at most')
        if call.variant == 'ptds':
            raise BadRow('a ptds call must be local: it has no stream to choose')
        for p in call.parameters:
            self._check_parameter(call, p)

    def _check_parameter(self, call, p):
        name, row = self.resolve(p.type)
        if p.form in ('value', 'end'):
            if self.wire_scalar(p.type) is None:
                raise BadRow(f'{p.name}: a {p.type} cannot travel by value; annotate it or make the call local')
            if (p.nullable or p.form == 'end') and name not in self.kinds:
                raise BadRow(f'{p.name} is no handle')
            if p.span is not None:
                self._check_span(call, p)
            return
        if not p.type.endswith('*'):
            raise BadRow(f'{p.name} is no pointer')
        name, row = self.resolve(p.pointee)
        if p.form == 'address':
            if p.pointee != 'void':
                raise BadRow(f'{p.name} is no address')
        elif p.form == 'string':
            if p.pointee != 'char':
                raise BadRow(f'{p.name} is no string')
        elif p.form in ('new', 'find'):
            if name not in self.kinds:
                raise BadRow(f'{p.name}: {p.pointee} is no kind of handle')
            if p.parent and p.parent not in [q.name for q in call.parameters]:
                raise BadRow(f'{p.name}: there is no parameter {p.parent}')
        elif isinstance(row, Record):
            if self.holds_pointer(row) and name not in self.POINTERS_UNUSED:
                raise BadRow(f'{p.name}: {p.pointee} holds a pointer; the call must be local')
        elif name in self.kinds:
            if p.form not in ('array', 'list'):
                raise BadRow(f'{p.name}: a {p.pointee} cannot travel')
        elif self.wire_scalar(p.pointee) is None:
            raise BadRow(f'{p.name}: a {p.pointee} cannot travel')
        if p.form in ('array', 'out-array'):
            self._check_count(call, p)
        if p.form == 'list':
            count = [q for q in call.parameters if q.name == p.count]
            if not count or count[0].form != 'count':
                raise BadRow(f'{p.name}: there is no count {p.count}')
            if name in self.kinds and p.parent not in [q.name for q in call.parameters]:
                raise BadRow(f'{p.name}: a list of handles names what they belong to')

    def _check_count(self, call, p):
        known = {q.name: q for q in call.parameters}
        for word in re.findall(r'[A-Za-z_]\w*', p.count):
            if word not in known or self.wire_scalar(known[word].type) is None:
                raise BadRow(f'{p.name}: there is no count {word}')
        if not re.fullmatch(r'[\w\s()*+-]+', p.count):
            raise BadRow(f'{p.name}: "{p.count}" is no simple expression')

    @staticmethod
    def _check_span(call, p):
        if p.type != 'CUdeviceptr':
            raise BadRow(f'{p.name} is no device address')
        known = [q.name for q in call.parameters]
        for word in re.findall(r'[A-Za-z_]\w*', p.span):
            if word not in known:
                raise BadRow(f'{p.name}: there is no parameter {word}')
        if not re.fullmatch(r'[\w\s()*+?:-]+', p.span):
            raise BadRow(f'{p.name}: "{p.span}" is no simple expression')

    # Forms of parameters that a reply brings.
    ANSWERS = ('out', 'out-array', 'list', 'count', 'find')

    # Structures whose pointers are for Windows alone; the worker clears them.
    POINTERS_UNUSED = ('CUmemPoolProps_v1', 'CUmemAllocationProp_v1')
