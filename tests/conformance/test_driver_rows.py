# SPDX-License-Identifier: Apache-2.0
"""Calls that programs seldom make answer a client what they answer a program on softgpu directly."""
import pytest

import daemons

PROGRAM = daemons.BUILD / "tests" / "conformance" / "driver_rows"
KERNELS = daemons.ROOT / "tests" / "programs" / "driver_kernels.ptx"
# Where a client's answer is its own, with the reason.
DIFFERENT = {
    "cuCtxAttach": "a client refuses it: contexts count no users there",
    "cuCtxDetach": "what was not attached ends here",
    "cuMemHostGetFlags": "a client gives the flags back as they were given",
    "cuModuleLoadFatBinary": "a client does not send what has no fat binary's head",
    "cuDevicePrimaryCtxRelease": "a reset takes the client's reference along",
}
# Nobody waits for these. (User objects are a client's own, whatever the driver.)
UNASKED = ("cuTexObjectDestroy", "cuSurfObjectDestroy")


def lines(result):
    assert result.returncode == 0, f"{result.stdout}\n{result.stderr}"
    return [line for line in result.stdout.splitlines() if line]


@pytest.fixture(scope="module")
def natively():
    return lines(daemons.run_natively([PROGRAM, "libcuda.so.1", KERNELS]))


@pytest.mark.parametrize("link", daemons.LINKS)
def test_remoted(natively, link):
    with daemons.Cudad() as cudad:
        remoted = lines(cudad.run(link, [PROGRAM, "libcuda.so.1", KERNELS]))
    assert len(remoted) == len(natively)
    for ours, theirs in zip(remoted, natively):
        name, answer = ours.split(": ", 1)
        assert answer != "absent", f"{name} is not offered"
        if theirs.endswith(": absent"):  # softgpu lacks it: a client is told so, or of its arguments
            assert name == theirs.split(":")[0]
            assert not answer.startswith("CUDA_SUCCESS") or name in UNASKED or "UserObject" in name, ours
        elif name not in DIFFERENT:
            assert ours == theirs


@pytest.mark.parametrize("case, launch", [("illegal-address", "cuLaunchKernel"),
                                          ("graph-fault", "cuGraphLaunch")])
def test_launches_block_where_the_program_wants_it(case, launch):
    """With CUDA_LAUNCH_BLOCKING the launch itself says what its kernel did wrong."""
    with daemons.Cudad() as cudad:
        for blocking in ("1", "0"):
            done = cudad.run("unix", [PROGRAM.parent / "driver_api", "libcuda.so.1", case],
                             env={"CUDA_LAUNCH_BLOCKING": blocking})
            # As the case has it, the launch succeeds and the next wait does not.
            assert (launch in done.stdout) == (blocking == "1"), done.stdout
