# SPDX-License-Identifier: Apache-2.0
"""GEMM and SPMV on a software card in offload mode: from a VM, against a process of the host.

Objects qemu and uml. Each figure is the host's seconds over the VM's, same program, same card, in turn:
1 means that the VM costs nothing. NAME_ratio has the executions of the kernel queued in a pipeline and
the last waited for; NAME_each_waited_ratio each of them waited for; NAME_pcie_ratio the first together
with the transfers of inputs and result. One thread on the card, or, in the larger
sizes, also as many as the name says. A sample
is the least of a run's passes. Sizes and numbers of executions are the thesis's (figures 5.8 to 5.11).
"""
import offload_sides

RUNS = (("gemm", 1, 5), ("gemm", 2, 1), ("spmv", 1, 3), ("spmv", 2, 2))
# [least, most] over threads, of what the thesis measured.
THESIS = {"gemm_s1_ratio": [0.47, 0.72], "gemm_s2_ratio": [0.74, 0.94],
          "gemm_s1_pcie_ratio": [0.53, 0.70], "gemm_s2_pcie_ratio": [0.85, 0.94],
          "spmv_s2_ratio": [0.90, 0.96], "spmv_s2_pcie_ratio": [0.90, 0.94]}


def run(bench):
    return offload_sides.compare(bench, RUNS, THESIS)
