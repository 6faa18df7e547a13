#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Makes C of the page: its bytes, and the policy that lets a browser run its own script alone.

usage: embed.py PAGE.html OUTPUT.c
"""
import base64
import hashlib
import re
import sys


def digest(page, tag):
    """The hash by which a policy names the one element of that tag."""
    (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>".encode(), page, re.S)
    return "'sha256-" + base64.b64encode(hashlib.sha256(content).digest()).decode() + "'"


def main():
    with open(sys.argv[1], "rb") as file:
        page = file.read()
    policy = ("default-src 'none'; connect-src 'self'; "
              f"script-src {digest(page, 'script')}; style-src {digest(page, 'style')}; "
              "base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
    lines = [", ".join(f"0x{byte:02x}" for byte in page[at:at + 16]) for at in range(0, len(page), 16)]
    with open(sys.argv[2], "w") as file:
        file.write('/* Made by lib/metrics/embed.py. */\n#include "lib/metrics/page.h"\n\n'
                   f'const char page_policy[] = "{policy}";\n'
                   f"const size_t page_bytes = {len(page)};\n"
                   "const unsigned char page[] = {\n\t" + ",\n\t".join(lines) + "\n};\n")


main()
