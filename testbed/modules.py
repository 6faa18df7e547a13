# SPDX-License-Identifier: Apache-2.0
"""Kernel modules: which files a name means, and the order in which they load.

Packages come without modules.dep (depmod makes it at installation), so dependencies are read
where depmod reads them too: in the modules' own .modinfo sections.
"""

import os
import pathlib
import re

from testbed.errors import GuestError


def _normal(name):
    return name.replace("-", "_")


def _depends(path):
    """The names that the module's .modinfo lists as its dependencies."""
    found = re.search(rb"\0depends=([^\0]*)\0", path.read_bytes())
    return [_normal(name) for name in found[1].decode().split(",") if name] if found else []


class Modules:
    """The modules of one kernel: those below @top, and files that are named by their paths."""

    def __init__(self, top):
        self._paths = {}
        self._builtin = set()  # asking for one of those is no mistake: it is there
        if (pathlib.Path(top) / "modules.builtin").exists():
            listed = (pathlib.Path(top) / "modules.builtin").read_text().split()
            self._builtin = {_normal(pathlib.Path(name).stem) for name in listed}
        for folder, _, files in os.walk(top):
            for name in files:
                if name.endswith(".ko"):
                    self._paths[_normal(name.removesuffix(".ko"))] = pathlib.Path(folder, name)

    def order(self, wanted):
        """[(path, parameters)] for @wanted and all they need, each once, dependencies first.

        An element of @wanted is a name or the path of a .ko file, then its parameters behind
        spaces.
        """
        ordered, seen = [], set()
        parameters, own = {}, {}
        for element in wanted:
            name, _, options = element.partition(" ")
            if name.endswith(".ko"):
                path = pathlib.Path(name)
                if not path.is_file():
                    raise GuestError(f"{name}: no such module")
                name = path.stem
                own[_normal(name)] = path
            parameters[_normal(name)] = options
        available = {**self._paths, **own}

        def visit(name, wanted_by):
            if name in seen:
                return
            seen.add(name)
            if name not in available and name in self._builtin:
                return
            if name not in available:
                raise GuestError(f"the guest's kernel has no module {name}{wanted_by}")
            for dependency in _depends(available[name]):
                visit(dependency, f" (needed by {name})")
            ordered.append((available[name], parameters.get(name, "")))

        for name in parameters:
            visit(name, "")
        return ordered
