# SPDX-License-Identifier: Apache-2.0
"""bench/report on results made for the test: values, spread, marks, what is missing, which run is taken."""
import json
import pathlib
import re
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def document(benchmark, results, date="2026-01-02T03:04:05+00:00", gpu=None, processor="test"):
    return {"benchmark": benchmark, "date": date, "rounds": 3, "results": results,
            "versions": {"causeway": "abc", "compiler": "cc", "nvcc": None, "qemu": "QEMU emulator version 1"},
            "machine": {"processor": processor, "cores": 2, "hypervisor": True, "memory_mib": 1024, "kernel": "6.1",
                        "kvm": False, "gpu": gpu, "system": "debian 12"}}


def samples(*values):
    return {"median": sorted(values)[len(values) // 2], "min": min(values), "max": max(values), "unit": "",
            "samples": list(values)}


@pytest.fixture(name="page", scope="module")
def page_fixture(tmp_path_factory):
    """The page of three results: one of this machine, an older one of it, one of a machine with a GPU."""
    folder = tmp_path_factory.mktemp("report")
    for name in ("build/bench", "results"):
        (folder / name).mkdir(parents=True)
    xen = {"2 bytes": {"argo_us": samples(10, 11, 13), "tcp_us": samples(100, 110, 120)},
           "1048576 bytes": {"argo_us": samples(1048.576, 2097.152, 4194.304)},
           "xen": {"latency_ratio": samples(0.1, 0.11, 0.13)}}
    write = {
        "build/bench/sockets-xen.json": document("sockets-xen", xen),
        "results/sockets-xen.json": document("sockets-xen", {"2 bytes": {"argo_us": samples(777)}}, "2025-01-01T00:00:00+00:00"),
        "results/cuda-gpu.h200.json": document("cuda-gpu", {"ring": {"matmul_total_ratio": samples(0.5)},
                                                            "vm": {"skipped": "no guests"}}, gpu="NVIDIA H200, 580"),
    }
    for path, value in write.items():
        (folder / path).write_text(json.dumps(value))
    done = subprocess.run([ROOT / "bench/report", "--build", folder / "build", "--results", folder / "results", "--to",
                           folder / "docs"], capture_output=True, text=True, timeout=120, check=False)
    if "No module named 'matplotlib'" in done.stderr:
        pytest.skip("needs matplotlib")
    assert done.returncode == 0, done.stderr
    page = (folder / "docs/evaluation.md").read_text()
    for figure in re.findall(r"\]\((figures/[^)]+)\)", page):
        assert (folder / "docs" / figure).exists()
    return page


def line(page, heading, label):
    """The cells of a line below a heading."""
    part = page[page.index(f"### {heading}"):].split("\n### ")[0] if heading else page
    (found,) = [text for text in part.splitlines() if text.startswith(f"| {label} ")]
    return [cell.strip() for cell in found.strip("|").split("|")]


def test_ours_stands_beside_the_thesis(page):
    cells = line(page, "Figure 4.5:", "through the hypervisor")
    assert cells[1:] == ["16", "11 (10 to 13)", "sockets-xen", "emulated"]


def test_times_become_rates(page):
    """1 MiB in 2.097 ms are 500 MB/s; the longest time is the least rate."""
    assert line(page, "Figure 4.6:", "through the hypervisor")[2] == "500 (250 to 1000)"


def test_a_gpu_machines_part_comes_from_its_file(page):
    cells = line(page, "Figure 4.8:", "GPU: host process over the ring")
    assert cells[2:] == ["0.5", "cuda-gpu.h200", ""]


def test_what_has_no_result_says_so(page):
    assert line(page, "Figure 5.12:", "s = 2, QEMU guest")[1:3] == ["0.9 to 0.98", "not measured"]
    assert "777" not in page
