# SPDX-License-Identifier: Apache-2.0
"""bench/report on results made for the test: values, spread, marks, what is missing, which run is taken; and its
runs of benchmarks that were made for the test, some of which fail."""
import json
import pathlib
import re
import shutil
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
    assert report(folder).returncode == 0
    page = (folder / "docs/evaluation.md").read_text()
    for figure in re.findall(r"\]\((figures/[^)]+)\)", page):
        assert (folder / "docs" / figure).exists()
    return page


def report(folder, *options, program=ROOT / "bench/report"):
    done = subprocess.run([program, "--build", folder / "build", "--results", folder / "results", "--to",
                           folder / "docs", *options], capture_output=True, text=True, timeout=120, check=False)
    if "No module named 'matplotlib'" in done.stderr:
        pytest.skip("needs matplotlib")
    return done


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
    assert cells[2:] == ["0.5", "cuda-gpu.h200", "NVIDIA H200"]


def test_what_has_no_result_says_so(page):
    assert line(page, "Figure 5.12:", "s = 2, QEMU guest")[1:3] == ["0.9 to 0.98", "not measured"]
    assert "777" not in page


def test_files_of_other_machines_are_added(tmp_path):
    """Under a name of the machine's; the next one of that machine takes its place, that of another one does not."""
    for name in ("build/bench", "results", "came"):
        (tmp_path / name).mkdir(parents=True)
    gpu = "NVIDIA H200, 580"
    shares = [{"shares": {"share_error_2": number}, "quota": {"skipped": "two\nlines"}} for number in (0.25, 0.5, 0.75)]
    came = [document("sharing", shares[0], processor="here"), document("sharing", shares[1], gpu=gpu),
            document("sharing", shares[2], "2026-02-02T00:00:00+00:00", "NVIDIA H200, 590"),
            document("sharing", shares[2], processor="there")]
    for number, value in enumerate(came):
        (tmp_path / f"came/{number}.json").write_text(json.dumps(value))
        done = report(tmp_path, "--add", tmp_path / f"came/{number}.json")
        assert done.returncode == 0, done.stderr
    kept = {path.name: json.loads(path.read_text()) for path in (tmp_path / "results").iterdir()}
    assert kept == {"sharing.json": came[0], "sharing.h200.json": came[2], "sharing.there-2.json": came[3]}
    page = (tmp_path / "docs/evaluation.md").read_text()
    assert "| shares | share_error_2 | 0.75 | | | | NVIDIA H200 |" in page
    assert "| shares | share_error_2 | 0.25 | | | | softgpu |" in page
    assert "| quota | skipped | two lines | | | | softgpu |" in page
    (tmp_path / "came/0.json").write_text('{"benchmark": "sharing"}')
    done = report(tmp_path, "--add", tmp_path / "came/0.json")
    assert done.returncode == 1 and "came/0.json has no date" in done.stderr


FAKE_RUN = """#!/usr/bin/python3
import json, pathlib, sys, time
def benchmark_names():
    return ["broken", "good", "slow"]
if __name__ == "__main__":
    name, folder = sys.argv[1], pathlib.Path(sys.argv[sys.argv.index("--build") + 1]) / "bench"
    folder.mkdir(exist_ok=True)
    with open(folder / "log", "a") as log:
        print(name, file=log)
    if name == "broken":
        sys.exit(3)
    if name == "slow":
        time.sleep(300)
    (folder / "good.json").write_text(RESULT)
"""


def test_a_run_goes_on_where_a_benchmark_fails(tmp_path):
    """What failed stands at the end, on the page and in the exit status; --resume does not measure again."""
    shutil.copytree(ROOT / "bench", tmp_path / "bench")
    (tmp_path / "scripts").mkdir()
    (tmp_path / "build").mkdir()
    (tmp_path / "scripts/build").write_text("#!/bin/sh\n")
    result = document("good", {"object": {"field": samples(7)}})
    result["versions"]["causeway"] = None  # as of a folder that is not git's
    (tmp_path / "bench/run").write_text(FAKE_RUN.replace("RESULT", repr(json.dumps(result))))
    for name in ("scripts/build", "bench/run"):
        (tmp_path / name).chmod(0o755)

    def run():
        return report(tmp_path, "--run", "--rounds", "3", "--seconds", "2", "--resume", "--keep",
                      program=tmp_path / "bench/report")
    done = run()
    assert done.returncode == 1
    assert "failed: broken: ended with 3" in done.stderr and "failed: slow: nothing after 2 s" in done.stderr
    page = (tmp_path / "docs/evaluation.md").read_text()
    assert "No result of: broken, slow." in page and "broken (ended with 3)" in page
    assert "| object | field | 7 | 7 | 7 |  |  |" in page
    assert json.loads((tmp_path / "results/good.json").read_text()) == result
    assert "good (2 of 3): measured before" in run().stderr
    assert (tmp_path / "build/bench/log").read_text().split() == ["broken", "good", "slow", "broken", "slow"]


def test_the_page_is_of_the_results_that_are_kept(tmp_path):
    """docs/evaluation.md can be written again from bench/results, and its figures are there."""
    (tmp_path / "build").mkdir()
    done = report(tmp_path, "--results", ROOT / "bench/results")
    assert done.returncode == 0, done.stderr
    page = (ROOT / "docs/evaluation.md").read_text()
    assert (tmp_path / "docs/evaluation.md").read_text() == page, "bench/report --keep"
    drawn = {path.name for path in (tmp_path / "docs/figures").iterdir()}
    assert drawn == {path.name for path in (ROOT / "docs/figures").iterdir()}
    assert {f"figures/{name}" for name in drawn} == set(re.findall(r"\]\((figures/[^)]+)\)", page))
