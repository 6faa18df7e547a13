# SPDX-License-Identifier: Apache-2.0
"""libnvidia-ml.so.1 of a client: the same answers as the device's own, and a tenant's own view."""
import json
import os
import pathlib
import shutil
import signal
import subprocess

import pytest

from daemons import BUILD, CLIENT, LINKS, PROGRAMS, SOFTGPU, Cudad, run_program, wait_until

MONITOR = PROGRAMS / "monitor"
ALLOCATOR = pathlib.Path(__file__).resolve().parent.parent / "allocator.py"
ROWS = BUILD / "tests" / "conformance"
NVIDIA_SMI = shutil.which("nvidia-smi")
NOT_SUPPORTED, NOT_FOUND = 3, 6 # results of NVML
TABLE = """
import ctypes
nvml = ctypes.CDLL("libnvidia-ml.so.1")
known = bytes.fromhex("c4fe3e6cc98f6c4ea327ee696e12f7c4")
table = ctypes.POINTER(ctypes.c_void_p)()
found = nvml.nvmlInternalGetExportTable(ctypes.byref(table), known)
slots = table[0] // ctypes.sizeof(ctypes.c_void_p)
slot = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_uint64, ctypes.c_uint64)
results = {slot(table[number])(0, 0) for number in range(1, slots)}
unknown = nvml.nvmlInternalGetExportTable(ctypes.byref(table), known[::-1])
print(found, slots, results, unknown, not table)
"""
EVENTS = """
import ctypes, time
nvml = ctypes.CDLL("libnvidia-ml.so.1")
device, events, types = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_uint64(1)
print(nvml.nvmlInit_v2(), nvml.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(device)),
      nvml.nvmlEventSetCreate(ctypes.byref(events)),
      nvml.nvmlDeviceGetSupportedEventTypes(device, ctypes.byref(types)), types.value,
      nvml.nvmlDeviceRegisterEvents(device, ctypes.c_uint64(8), events), end=" ")
started = time.monotonic()
result = nvml.nvmlEventSetWait_v2(events, ctypes.create_string_buffer(32), 100)
print(time.monotonic() - started >= 0.1, result, nvml.nvmlEventSetFree(events))
"""

FINDING = """
import ctypes, os
nvml = ctypes.CDLL("libnvidia-ml.so.1")
nvml.nvmlErrorString.restype = ctypes.c_char_p
assert [nvml.nvmlErrorString(number) for number in (0, 3, 6, 29, 30, 999, -1)] == [
    b"Success", b"Not Supported", b"Not Found", b"Resource not in correct state to perform requested operation",
    b"Unknown Error", b"Unknown Error", b"Unknown Error"]
count, index, text = ctypes.c_uint(9), ctypes.c_uint(9), ctypes.create_string_buffer(4096)
def ask(name, *arguments):
    return getattr(nvml, name)(*arguments)
assert ask("nvmlDeviceGetCount", ctypes.byref(count)) == 1  # not initialised
assert ask("nvmlSystemGetProcessName", os.getpid(), text, 4096) == ask("nvmlUnitGetCount", ctypes.byref(count)) == 1
assert (ask("nvmlInitWithFlags", 8), ask("nvmlInitWithFlags", 1), ask("nvmlInit")) == (2, 0, 0)
assert ask("nvmlDeviceGetCount", ctypes.byref(count)) == 0 and count.value == 1
assert ask("nvmlDeviceGetCount", None) == ask("nvmlUnitGetCount", None) == 2
assert ask("nvmlUnitGetCount", ctypes.byref(count)) == ask("nvmlSystemGetHicVersion", ctypes.byref(count), None) == 0
assert count.value == 0
first, same = ctypes.c_void_p(), ctypes.c_void_p()
assert ask("nvmlDeviceGetHandleByIndex", 0, ctypes.byref(first)) == 0
assert ask("nvmlDeviceGetHandleByIndex", 1, ctypes.byref(same)) == 2
assert ask("nvmlDeviceGetIndex", first, ctypes.byref(index)) == 0 and index.value == 0
assert ask("nvmlDeviceGetIndex", ctypes.c_void_p(5), ctypes.byref(index)) == ask("nvmlDeviceGetIndex", first, None) == 2
assert ask("nvmlDeviceGetUUID", first, text, 96) == 0
assert ask("nvmlDeviceGetHandleByUUID", text, ctypes.byref(same)) == 0 and same.value == first.value
for name in ("UUID", "Serial", "PciBusId", "PciBusId_v2"):
    assert ask("nvmlDeviceGetHandleBy" + name, b"no such", ctypes.byref(same)) == 6
    assert ask("nvmlDeviceGetHandleBy" + name, None, ctypes.byref(same)) == 2
class Place(ctypes.Structure):
    _fields_ = [("legacy", ctypes.c_char * 16), ("numbers", ctypes.c_uint * 5), ("bus_id", ctypes.c_char * 32)]
place = Place()
assert ask("nvmlDeviceGetPciInfo_v3", first, ctypes.byref(place)) == 0
for bus_id in (place.bus_id, place.legacy, place.bus_id.split(b":", 1)[1]):
    same.value = None
    assert ask("nvmlDeviceGetHandleByPciBusId_v2", bus_id, ctypes.byref(same)) == 0 and same.value == first.value, bus_id
assert ask("nvmlSystemGetProcessName", os.getpid(), text, 4096) == 0
assert os.path.samefile(text.value, "/proc/self/exe")
assert ask("nvmlSystemGetProcessName", os.getpid(), text, 4) == 7 and len(text.value) == 3
assert ask("nvmlSystemGetProcessName", 0x7fffffff, text, 4096) == 6
assert ask("nvmlSystemGetProcessName", os.getpid(), None, 0) == 2
assert [ask("nvmlShutdown") for _ in range(3)] == [0, 0, 1]
print("held")
"""


@pytest.fixture(scope="module")
def natively():
    result = run_program([MONITOR], {"LD_LIBRARY_PATH": str(SOFTGPU.parent),
                                     "SOFTGPU_DEVICES": "2"})
    assert result.returncode == 0, result.stdout
    assert "devices: 2" in result.stdout and "by uuid: 0 the same" in result.stdout
    return result.stdout


@pytest.mark.parametrize("link", LINKS)
def test_same_as_on_the_device(link, natively, monkeypatch):
    monkeypatch.setenv("SOFTGPU_DEVICES", "2")
    with Cudad() as cudad:
        result = cudad.run(link, [MONITOR])
        assert result.stdout == natively
        assert result.returncode == 0


def test_every_function_travels(tmp_path):
    """A library that fills everything with bytes of its own shows any that is lost or moved."""
    shutil.copy(ROWS / "libnvml_rows.so", tmp_path / "libnvidia-ml.so.1")
    with Cudad(driver=tmp_path / "libcuda.so.1") as cudad:
        result = cudad.run("unix", [ROWS / "nvml_rows", CLIENT.parent / "libnvidia-ml.so.1",
                                    tmp_path / "libnvidia-ml.so.1"])
        assert " 0 differ" in result.stdout, result.stdout + result.stderr
        assert result.returncode == 0


def test_the_table_of_nvidia_smi():
    """At least as long as one that nvidia-smi 580 was content with; each slot can be called."""
    with Cudad() as cudad:
        result = cudad.run("unix", ["/usr/bin/python3", "-c", TABLE])
    found, slots, results, unknown, nothing = result.stdout.split()
    assert (found, results, unknown, nothing) == ("0", f"{{{NOT_SUPPORTED}}}", str(NOT_FOUND), "True")
    assert int(slots) >= 300


@pytest.mark.skipif(not NVIDIA_SMI, reason="no nvidia-smi here")
@pytest.mark.parametrize("arguments, shown", [
    ([], "Causeway softgpu"),
    (["-q"], "GPU-63617573-6577-6179-736f-667467707500"),
    (["-L"], "GPU 0: Causeway softgpu (UUID: GPU-63617573-6577-6179-736f-667467707500)"),
    (["--query-gpu=name,memory.total", "--format=csv,noheader"], "Causeway softgpu, 8192 MiB"),
])
def test_nvidia_smi(arguments, shown):
    with Cudad() as cudad:
        result = cudad.run("unix", [NVIDIA_SMI, *arguments])
        assert shown in result.stdout and result.returncode == 0, result.stdout


def test_events_never_happen():
    """A set can be had, says that nothing can be added, and lets a waiting program wait."""
    with Cudad() as cudad:
        result = cudad.run("unix", ["/usr/bin/python3", "-c", EVENTS])
        assert result.stdout == "0 0 0 0 0 3 True 10 0\n", result.stdout + result.stderr


def test_no_server_is_no_driver():
    result = run_program([MONITOR], {"LD_LIBRARY_PATH": str(CLIENT.parent),
                                     "CAUSEWAY_CUDA_SERVER": "unix:/nonexistent/cuda.sock"})
    assert result.stdout == "nvmlInit_v2: 9\n"


class Watcher:
    """A monitor that is asked now and then."""

    def __init__(self, cudad):
        self.process = cudad.start_client("ring", [MONITOR, "watch"], stdin=subprocess.PIPE,
                                          stdout=subprocess.PIPE)
        assert self.process.stdout.readline() == "nvmlInit_v2: 0\n"

    def ask(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        words = self.process.stdout.readline().split()
        rest = [int(word) for word in words[8:]]
        return {"total": int(words[1]), "free": int(words[3]), "used": int(words[5]),
                "processes": dict(zip(rest[::2], rest[1::2]))}

    def end(self):
        self.process.stdin.close()
        assert self.process.wait(20) == 0


def test_a_tenants_own_view():
    """Quota and use in place of the device's memory; its own processes; no driver for a monitor."""
    quota, part = 256 << 20, 64 << 20
    with Cudad() as cudad:
        cudad.config.write_text(cudad.config.read_text() +
                                f'tenants = ( {{ name = "own"; users = [ {os.getuid()} ]; '
                                f'memory = "{quota}"; }} );\n')
        cudad.process.send_signal(signal.SIGHUP)
        wait_until(lambda: '"own"' in json.dumps(cudad.status()), 20, "the tenant is known")
        watcher = Watcher(cudad)
        empty = watcher.ask()
        assert empty == {"total": quota, "free": quota, "used": 0, "processes": {}}
        (worker,) = cudad.workers()
        with open(f"/proc/{worker}/maps", encoding="ascii") as maps:
            libraries = maps.read()
        assert "libnvidia-ml.so.1" in libraries and "libcuda.so.1" not in libraries
        client = cudad.start_client("ring", ["/usr/bin/python3", ALLOCATOR],
                                    stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert client.stdout.readline() == "ready\n"
        client.stdin.write(f"alloc plain {part}\n")
        client.stdin.flush()
        assert client.stdout.readline() == f"0 0 {part}\n"
        assert watcher.ask() == {"total": quota, "free": quota - part, "used": part,
                                 "processes": {client.pid: part}}
        client.stdin.close()
        client.wait(20)
        wait_until(lambda: watcher.ask() == empty, 20, "the process is gone")
        watcher.end()


def test_devices_and_processes_are_found():
    """What the client's library answers by itself: names of errors, devices by what they are called, processes."""
    with Cudad() as cudad:
        result = cudad.run("unix", ["/usr/bin/python3", "-c", FINDING])
    assert result.stdout == "held\n", result.stdout + result.stderr
