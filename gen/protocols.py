#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Write docs/protocols.md: every structure, number and constant of proto/, as the compiler lays them out.

usage: gen/protocols.py [--check]     --check compares with the file and writes nothing

Text comes from the headers' own comments; offsets, sizes and values from the C compiler (CC, or cc),
so that the page cannot say anything else than what programs do. What proto/cuda.api describes has
a page of its own (docs/cuda-coverage.md).
"""
import os
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/protocols.md"
COMMENT = re.compile(r"/\*.*?\*/", re.S)
HEAD = """# Protocols

Every byte that crosses a border between programs or machines, header by header. Written by
`gen/protocols.py` from proto/ and compared with it by a test: edit the headers, not this page. All
numbers are little-endian; what is reserved, padding or named zero is zero, and a receiver refuses
anything else. docs/architecture.md says who speaks which.

The calls of the CUDA driver interface are described in `proto/cuda.api`, from which their structures
are generated; docs/cuda-coverage.md lists them. systemd hears "READY=1" of each daemon in the
form of sd_notify(3) (`lib/base/ready.c`).
"""


def plain(comment):
    """A comment's words on one line."""
    return " ".join(re.sub(r"^\s*\*+", " ", comment.strip()[2:-2].strip("*"), flags=re.M).split())


def split(body):
    """[(text, comment)] of what semicolons (of a structure) end, at the outermost depth."""
    parts, at, depth, begin = [], 0, 0, 0
    while at < len(body):
        found = COMMENT.match(body, at)
        if found:
            at = found.end()
            continue
        depth += (body[at] == "{") - (body[at] == "}")
        if body[at] == ";" and depth == 0:
            rest = re.match(r"[ \t]*(/\*.*?\*/)", body[at + 1:], re.S)
            end = at + 1 + (rest.end() if rest else 0)
            parts.append(body[begin:end])
            begin = at = end
            continue
        at += 1
    return parts


def members(body, prefix=""):
    """[(path, type, comment)] of a structure's body; unions and inner structures member by member."""
    found = []
    for part in split(body):
        inner = re.match(r"(?:\s|/\*.*?\*/)*(struct|union)\s*\w*\s*\{(.*)\}\s*(\w*)(\[\w+\])?\s*;", part, re.S)
        if inner:
            name = inner.group(3) + ("[0]" if inner.group(4) else "")
            found += members(inner.group(2), prefix + name + "." if name else prefix)
            continue
        comment = " ".join(plain(text) for text in COMMENT.findall(part))
        code = " ".join(re.sub(r"alignas\(\d+\)", "", COMMENT.sub(" ", part)).split()).rstrip("; ")
        words = re.match(r"((?:_Atomic |const |struct |enum )*\w+(?:\([\w ]+\))?)\s+(.*)", code)
        for name in words.group(2).split(","):
            array = re.match(r"\s*(\w+)((?:\[.*?\])*)", name)
            found.append((prefix + array.group(1), words.group(1) + array.group(2), comment))
            comment = '"' if comment and "," in words.group(2) else comment
    return found


def numbers(body):
    """[(name, comment)] of an enumeration's body."""
    found = []
    for part in re.finditer(r"((?:\s|/\*.*?\*/)*)(\w+)(?:\s*=[^,/]*)?\s*,?[ \t]*(/\*.*?\*/)?", body, re.S):
        found.append((part.group(2), " ".join(plain(text) for text in COMMENT.findall(part.group()))))
    return found


def parse(text):
    """What a header has: [("struct" | "enum", name, comment, [...])], and [(macro, comment)]."""
    things, macros = [], []
    for found in re.finditer(r"((?:^/\*(?:(?!\*/).)*\*/\n)?)^(struct|enum|union) (\w+) \{\n(.*?)^\}", text, re.S | re.M):
        comment = plain(found.group(1)) if found.group(1).strip() else ""
        body = found.group(4)
        things.append((found.group(2), found.group(3), comment,
                       numbers(body) if found.group(2) == "enum" else members(body)))
    for found in re.finditer(r"^#define (\w+)[ \t]+((?:\\\n[ \t]*)?\S[^\n]*?)[ \t]*(/\*.*?\*/)?$", text, re.M):
        # Constants alone: no text, no address, nothing with a name that is not one of ours.
        if re.fullmatch(r"(?:\\\n)?(?:[\s()<>*+|~-]|0x[0-9a-f]+u?l*|\d+u?l*|offsetof\(.*\)|sizeof\(.*\)|[A-Z][A-Z0-9_]+)+",
                        found.group(2)):
            macros.append((found.group(1), plain(found.group(3)) if found.group(3) else ""))
    return things, macros


def size_of(kind, name, member):
    return f"sizeof((({kind} {name} *)0)->{member})"


def measure(path, things, macros):
    """{expression: number} as the compiler has it."""
    wanted = []
    for kind, name, _, parts in things:
        if kind == "enum":
            wanted += [part for part, _ in parts]
            continue
        wanted.append(f"sizeof({kind} {name})")
        for member, of_type, _ in parts:
            wanted += [f"offsetof({kind} {name}, {member})"] + ([] if of_type.endswith("[]") else [size_of(kind, name, member)])
    return compile_and_run(path, wanted + [name for name, _ in macros])


def compile_and_run(path, wanted):
    """{expression: number}, by one program."""
    lines = "".join(f'\tprintf("%lld\\n", (long long)({expression}));\n' for expression in wanted)
    code = f'#include <stddef.h>\n#include <stdio.h>\n#include "{path}"\nint main(void)\n{{\n{lines}\treturn 0;\n}}\n'
    with tempfile.TemporaryDirectory() as folder:
        program = pathlib.Path(folder) / "offsets"
        done = subprocess.run([os.environ.get("CC", "cc"), "-w", "-D_GNU_SOURCE", "-I", str(ROOT), "-x", "c", "-",
                               "-o", str(program)], input=code, text=True, capture_output=True, check=False)
        if done.returncode:
            raise SystemExit(f"{path}: {done.stderr}")
        output = subprocess.run([program], capture_output=True, text=True, check=True).stdout.split()
    return dict(zip(wanted, output))


def document(path):
    text = path.read_text()
    things, macros = parse(text)
    values = measure(path.relative_to(ROOT), things, macros)
    comments = [comment for comment in COMMENT.findall(text[:text.index("#ifndef")]) if "SPDX" not in comment]
    intro = "\n".join(re.sub(r"^ ?\* ?", "", line) for line in comments[0][2:-2].strip("\n").splitlines())
    lines = [f"## {path.relative_to(ROOT)}", "", "```", intro.strip(), "```", ""]
    if macros:
        lines += ["| constant | value | |", "|---|---|---|"]
        lines += [f"| `{name}` | {number(values[name])} | {cell(comment)} |" for name, comment in macros]
        lines.append("")
    for kind, name, comment, parts in things:
        if kind == "enum":
            lines += [f"**enum {name}**" + (f": {comment}" if comment else ""), "", "| value | name | |", "|---|---|---|"]
            lines += [f"| {values[part]} | `{part}` | {cell(told)} |" for part, told in parts]
        else:
            size = values[f"sizeof({kind} {name})"]
            lines += [f"**{kind} {name}**, {size} bytes" + (f": {comment}" if comment else ""), "",
                      "| offset | bytes | member | type | |", "|---|---|---|---|---|"]
            for member, of_type, told in parts:
                offset = values[f"offsetof({kind} {name}, {member})"]
                size = values.get(size_of(kind, name, member), "…")
                lines.append(f"| {offset} | {size} | `{member}` | {of_type} | {cell(told)} |")
        lines.append("")
    return "\n".join(lines)


def number(text):
    value = int(text)
    return text if -1 <= value < 65536 else f"{text} = {value & 0xffffffffffffffff:#x}"


def cell(text):
    return text.replace("|", "\\|")


def main():
    pages = [document(path) for path in sorted((ROOT / "proto").glob("*.h"))]
    text = HEAD + "\n" + "\n".join(pages)
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(text)
    elif not PAGE.exists() or PAGE.read_text() != text:
        raise SystemExit("docs/protocols.md is not what proto/ says: run gen/protocols.py")


main()
