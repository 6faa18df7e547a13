# SPDX-License-Identifier: Apache-2.0
"""The short form of tests/soak_cuda.py."""
import soak_cuda


def test_clients_come_and_go_and_die():
    print(soak_cuda.soak(seconds=5, clients=8, seed=1))
