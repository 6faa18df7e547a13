# SPDX-License-Identifier: Apache-2.0
"""What benchmarks share: samples, facts of the machine, child processes, tables."""
import os
import pathlib
import platform
import re
import shutil
import statistics
import subprocess
import time


def system_driver():
    """The path of this machine's libcuda.so.1, or None."""
    listed = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True, check=False)
    places = re.findall(r"libcuda\.so\.1 .*=> (\S+)", listed.stdout)
    for folder in os.environ.get("LD_LIBRARY_PATH", "").split(":"):
        places.append(f"{folder}/libcuda.so.1")
    places += ["/usr/local/nvidia/lib64/libcuda.so.1", "/usr/lib/wsl/lib/libcuda.so.1"]
    for place in places:
        if os.path.exists(place):
            return place
    return None


class Failed(Exception):
    """A benchmark could not be run; the text says why."""


class Skipped:
    """An object that cannot be measured on this machine, with the reason."""

    def __init__(self, reason):
        self.reason = reason


class Samples:
    """All raw values of one figure."""

    def __init__(self, values, unit=""):
        self.values = [float(value) for value in values]
        self.unit = unit
        if not self.values:
            raise Failed("a figure without a sample")

    @property
    def median(self):
        return statistics.median(self.values)

    def as_json(self):
        return {"median": self.median, "min": min(self.values), "max": max(self.values),
                "unit": self.unit, "samples": self.values}

    def __str__(self):
        return _figure(self.median)


class Curves:
    """Lines of a figure: {name: [[x, y], ...]}; @x and @y say what they are."""

    def __init__(self, lines, x, y):
        self.lines, self.x, self.y = lines, x, y

    def as_json(self):
        return {"curves": self.lines, "x": self.x, "y": self.y}

    def __str__(self):
        return f"{len(self.lines)} curves"


def ratios(measured, baseline):
    """Sample by sample, as both were taken in turn: measured / baseline."""
    return Samples([m / b for m, b in zip(measured.values, baseline.values)])


class Bench:
    """What a benchmark's run() gets."""

    def __init__(self, build, rounds):
        self.build = build
        self.rounds = rounds

    def progress(self, text):
        print(f"  {text}", flush=True)

    def program(self, relative):
        """A built program; Failed with what to do where it is absent."""
        path = self.build / relative
        if not path.exists():
            raise Failed(f"{path} is not built")
        return path

    def run(self, command, environment=None, timeout_s=300):
        """Run a child to its end; returns (seconds, stdout, stderr). Failed unless it exits 0."""
        full = dict(os.environ)
        full.update(environment or {})
        start = time.monotonic()
        try:
            done = subprocess.run([str(word) for word in command], env=full, timeout=timeout_s,
                                  capture_output=True, text=True, check=False,
                                  stdin=subprocess.DEVNULL)
        except subprocess.TimeoutExpired:
            raise Failed(f"{command[0]} took more than {timeout_s} s") from None
        seconds = time.monotonic() - start
        if done.returncode != 0:
            raise Failed(f"{command[0]} ended with {done.returncode}: "
                         f"{(done.stderr or done.stdout).strip()[-500:]}")
        return seconds, done.stdout, done.stderr


def as_json(value):
    if isinstance(value, (Samples, Curves)):
        return value.as_json()
    if isinstance(value, Skipped):
        return {"skipped": value.reason}
    if isinstance(value, dict):
        return {key: as_json(member) for key, member in value.items()}
    return value


def _figure(number):
    if number == 0:
        return "0"
    for limit, digits in ((100, 0), (10, 1), (1, 2)):
        if abs(number) >= limit:
            return f"{number:.{digits}f}"
    return f"{number:.3f}"


WIDE = 14  # columns


def table(results):
    """{object: {field: value}} as aligned text: the median of each field, one object a line.

    Where there are more fields than fit beside each other, one field a line.
    """
    fields = []
    for value in results.values():
        if isinstance(value, dict):
            fields += [field for field in value if field not in fields]
    units = {}
    for value in results.values():
        if isinstance(value, dict):
            for field, member in value.items():
                if isinstance(member, Samples) and member.unit:
                    units[field] = member.unit
    head = [""] + [field + (f" [{units[field]}]" if field in units else "") for field in fields]
    rows = [head]
    notes = []
    for name, value in results.items():
        if isinstance(value, Skipped):
            notes.append(f"{name}: skipped: {value.reason}")
            continue
        row = [name]
        for field in fields:
            member = value.get(field, "")
            if isinstance(member, (int, float)) and not isinstance(member, bool):
                member = _figure(member)
            elif isinstance(member, dict):
                member = ", ".join(f"{name} {figure}" for name, figure in member.items())
            row.append(str(member))
        rows.append(row)
    if len(head) > WIDE and len(rows) < len(head):
        rows = [list(column) for column in zip(*rows)]
        head = rows[0]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0])] + [cell.rjust(width)
                                            for cell, width in zip(row[1:], widths[1:])]
        lines.append("  ".join(cells).rstrip())
    return "\n".join((lines if len(rows) > 1 else []) + notes)


def _first_line(command):
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = done.stdout.splitlines()
    return lines[0].strip() if done.returncode == 0 and lines else None


def _cpuinfo(name):
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith(name):
            return line.split(":", 1)[1].strip()
    return None


def _kvm():
    """Whether this machine's KVM boots a guest, as the testbed finds out once."""
    if not os.path.exists("/dev/kvm") or not shutil.which("qemu-system-x86_64"):
        return False
    from testbed.machines import KvmProbe, Qemu  # a bundle for another machine may be without it
    return bool(shutil.which(Qemu.program)) and KvmProbe().accelerator() == "kvm"


def machine():
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "processor": _cpuinfo("model name"),
        "cores": os.cpu_count(),
        "hypervisor": "hypervisor" in (_cpuinfo("flags") or "").split(),
        "memory_mib": pages >> 20,
        "kernel": platform.release(),
        "kvm": _kvm(),
        "gpu": _first_line(["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]),
        "system": " ".join(platform.freedesktop_os_release().get(key, "")
                           for key in ("ID", "VERSION_ID")),
    }


def versions():
    root = str(pathlib.Path(__file__).resolve().parent.parent)
    nvcc = "/usr/local/cuda/bin/nvcc"
    return {
        "causeway": _first_line(["git", "-C", root, "describe", "--always", "--dirty"]),
        "compiler": _first_line(["cc", "--version"]),
        "nvcc": _first_line(["sh", "-c", f"(nvcc --version || {nvcc} --version) | tail -1"]),
        "qemu": _first_line(["qemu-system-x86_64", "--version"]),
    }
