# SPDX-License-Identifier: Apache-2.0
"""Each test program prints the same on softgpu directly and remoted over each link."""
import pytest

import daemons


@pytest.fixture(scope="module")
def cudad():
    with daemons.Cudad() as daemon:
        yield daemon


@pytest.fixture(scope="module")
def native_results():
    """Each program's run on softgpu directly, made once."""
    results = {}

    def result(name):
        if name not in results:
            results[name] = daemons.run_natively([daemons.PROGRAMS / name])
        return results[name]

    return result


def assert_passed(name, result):
    assert result.returncode == 0, f"{result.stdout}\n{result.stderr}"
    assert result.stdout.endswith(f"{name}: PASSED\n"), result.stdout


@pytest.mark.parametrize("name", daemons.program_names())
def test_native(name, native_results):
    assert_passed(name, native_results(name))


@pytest.mark.parametrize("link", daemons.LINKS)
@pytest.mark.parametrize("name", daemons.program_names())
def test_remoted(name, link, cudad, native_results):
    native = native_results(name)
    result = cudad.run(link, [daemons.PROGRAMS / name])
    assert_passed(name, result)
    assert result.stdout == native.stdout


def test_no_worker_left(cudad):
    daemons.wait_until(lambda: not cudad.workers(), 2, "all workers gone after their clients")
