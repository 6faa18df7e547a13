# SPDX-License-Identifier: Apache-2.0
"""driver_api passes on softgpu directly and remoted over each link: one set of expectations."""
import re
import struct

import pytest

import daemons

PROGRAM = daemons.BUILD / "tests" / "conformance" / "driver_api"


def assert_passed(result):
    assert result.returncode == 0, f"{result.stdout}\n{result.stderr}"
    assert result.stdout.endswith("driver_api: PASSED\n"), result.stdout


def test_softgpu():
    assert_passed(daemons.run_natively([PROGRAM]))


@pytest.mark.parametrize("link", daemons.LINKS)
def test_remoted(link):
    with daemons.Cudad() as cudad:
        assert_passed(cudad.run(link, [PROGRAM]))


def test_trace(tmp_path):
    """Each call with its arguments by name, and the counters of the whole program."""
    trace, counters = tmp_path / "trace", tmp_path / "counters"
    with daemons.Cudad() as cudad:
        result = cudad.run("unix", ["env", f"CAUSEWAY_CUDA_TRACE={trace}", f"CAUSEWAY_CUDA_COUNTERS={counters}",
                                    daemons.PROGRAMS / "driver_vectoradd"])
    assert result.returncode == 0, result.stdout + result.stderr
    calls = [re.fullmatch(r"\d+ \d+\.\d  (\w+)\((.*)\) = (\w+)  \d+\.\d", line)
             for line in trace.read_text().splitlines()]
    assert all(calls), trace.read_text()
    assert {call.group(3) for call in calls} == {"CUDA_SUCCESS"}
    assert calls[0].group(1, 2) == ("cuInit", "Flags=0")
    allocated = [call.group(2) for call in calls if call.group(1) == "cuMemAlloc_v2"]
    assert len(allocated) == 3 and all(re.fullmatch(r"dptr=&0x\w+, bytesize=4000012", text) for text in allocated)
    assert [call.group(2) for call in calls if call.group(1) == "cuModuleGetFunction"][0].endswith('name="vectoradd"')
    numbers = struct.unpack("5Q", counters.read_bytes())
    assert numbers[0] == len(calls) and 0 < numbers[2] <= numbers[1] and numbers[3] > 0 and numbers[4] > 0


def test_log(tmp_path):
    """What went wrong is said in the log alone; the program hears CUDA's error."""
    log = tmp_path / "log"
    result = daemons.run_program([daemons.PROGRAMS / "driver_vectoradd"],
                                 {"LD_LIBRARY_PATH": str(daemons.CLIENT.parent), "CAUSEWAY_CUDA_LOG": str(log),
                                  "CAUSEWAY_CUDA_SERVER": f"unix:{tmp_path}/nobody"})
    assert result.returncode not in (0, 77)
    assert f"{tmp_path}/nobody" in log.read_text() and "causeway-cuda[" in log.read_text()
    assert "causeway" not in result.stderr
