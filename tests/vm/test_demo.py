# SPDX-License-Identifier: Apache-2.0
"""`causeway demo` as a person meets it: the table, a program of one's own, Ctrl-C."""
import glob
import os
import pathlib
import re
import signal
import subprocess

import daemons

CAUSEWAY = daemons.BUILD / "cli" / "causeway"


def demo(*words, **options):
    return subprocess.Popen([str(CAUSEWAY), "demo", "--driver", "softgpu", *map(str, words)],
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, **options)


def folder_users(folder):
    """Processes with that folder on their command line."""
    found = []
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            if folder.encode() in pathlib.Path(path).read_bytes():
                found.append(path)
        except OSError:
            pass
    return found


def test_table(kind):
    process = demo("--kind", kind)
    output, error = process.communicate(timeout=300)
    assert process.returncode == 0, output + error
    for name in daemons.program_names():
        if name.startswith("driver_") and (daemons.PROGRAMS / "vectoradd").exists():
            continue
        assert re.search(rf"^{name} .*passed in both, same output", output, re.M), output
    assert "causeway demo -- ./my_cuda_program" in output


def test_program_of_ones_own(kind):
    process = demo("--kind", kind, "--", daemons.PROGRAMS / "driver_client", "launch")
    output, error = process.communicate(timeout=300)
    assert process.returncode == 0, output + error
    assert output.count("driver_client: PASSED") == 2


def test_its_exit_status(kind):
    process = demo("--kind", kind, "--", daemons.PROGRAMS / "driver_client", "nonsense")
    output, error = process.communicate(timeout=300)
    assert process.returncode == 2, output + error
    assert "usage: driver_client" in error


def test_interrupted(kind):
    process = demo("--kind", kind)
    for line in process.stdout:
        if line.startswith("In a virtual machine"):
            break
    folders = set()
    for pid in daemons.children(process.pid):
        words = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().decode()
        folders |= set(re.findall(r"/tmp/causeway-demo\.\w+", words))
    assert len(folders) == 1, folders
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130
    (folder,) = folders
    assert not os.path.exists(folder)
    daemons.wait_until(lambda: not folder_users(folder), 5, "everything of the demo ended")
