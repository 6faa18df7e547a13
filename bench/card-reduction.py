# SPDX-License-Identifier: Apache-2.0
"""Reduction on a software card in offload mode: from a VM, against a process of the host.

Objects qemu and uml; the figures are card-offload's, of the double-precision sum with 256 executions
in both sizes (figure 5.12).
"""
import offload_sides

RUNS = (("reduction", 1, 2), ("reduction", 2, 2))
THESIS = {"reduction_s2_ratio": [0.90, 0.98]}


def run(bench):
    return offload_sides.compare(bench, RUNS, THESIS)
