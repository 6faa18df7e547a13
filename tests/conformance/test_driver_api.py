# SPDX-License-Identifier: Apache-2.0
"""driver_api passes on softgpu directly and remoted over each link: one set of expectations."""
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
