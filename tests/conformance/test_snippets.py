# SPDX-License-Identifier: Apache-2.0
"""docs/snippets as text: each has the syntax of the program it is for, and names what Causeway really has.

What needs that program (libvirt, Xen, Kubernetes, Slurm, Cloud Hypervisor) is not run.
"""
import ast
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import xml.etree.ElementTree

import pytest
import yaml

import daemons

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
SNIPPETS = ROOT / "docs/snippets"
TENANT = "causeway/tenant=red"
XL_KEYS = {"name", "type", "memory", "vcpus", "pci", "disk", "vif", "serial", "on_crash", "kernel", "ramdisk", "extra"}


def text_of(name):
    return (SNIPPETS / name).read_text()


def words_of(script):
    """The command that a script runs, as the shell splits it, with a program that prints its arguments."""
    command = text_of(script)[text_of(script).index("exec ") + 5:]
    done = subprocess.run(["sh", "-c", "printf '%s\\n' " + command], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


@pytest.mark.parametrize("script", sorted(path.name for path in SNIPPETS.iterdir() if path.read_text().startswith("#!")))
def test_scripts_are_shell(script):
    path = SNIPPETS / script
    assert os.access(path, os.X_OK)
    done = subprocess.run(["sh", "-n", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_snippet_is_told_of_in_a_guide():
    guides = "".join(path.read_text() for path in (ROOT / "docs").glob("guide-*.md"))
    assert not [path.name for path in SNIPPETS.iterdir() if f"snippets/{path.name}" not in guides]


@pytest.mark.parametrize("script", ["qemu.sh", "qemu-scif.sh"])
def test_qemu_shares_its_memory_and_has_the_devices(script):
    words = words_of(script)
    assert words[0] == "qemu-system-x86_64"
    options = dict(zip(words[1:], words[2:]))
    memory = options["-object"].split(",")
    assert memory[0] == "memory-backend-memfd" and "share=on" in memory and f"size={options['-m']}" in memory
    backend = next(word for word in memory if word.startswith("id="))[3:]
    assert f"memory-backend={backend}" in options["-machine"]
    chardevs = set(re.findall(r"^socket,id=(\w+),path=/run/causeway/", "\n".join(words), re.M))
    assert chardevs == set(re.findall(r"chardev=(\w+)", "\n".join(words)))
    if shutil.which("qemu-system-x86_64"):
        known = subprocess.run(["qemu-system-x86_64", "-device", "help"], capture_output=True, text=True, check=True).stdout
        assert '"vhost-user-vsock-pci"' in known


def test_cloud_hypervisor_has_the_device():
    words = words_of("cloud-hypervisor.sh")
    options = dict(zip(words[1:], words[2:]))
    assert "shared=on" in options["--memory"] and "--vsock" not in options
    header = (ROOT / "proto/virtio-vsock.h").read_text()
    number = re.search(r"VIRTIO_ID_VSOCK\s+(\d+)", header).group(1)
    device = options["--generic-vhost-user"]
    assert f"virtio_id={number}," in device and device.startswith("socket=/run/causeway/")
    assert len(re.search(r"queue_sizes=\[(.*)\]", device).group(1).split(",")) == 3


def test_libvirt_domain():
    root = xml.etree.ElementTree.fromstring(text_of("libvirt.xml"))
    assert root.find("memoryBacking/source").get("type") == "memfd"
    assert root.find("memoryBacking/access").get("mode") == "shared"
    space = "{http://libvirt.org/schemas/domain/qemu/1.0}"
    values = [argument.get("value") for argument in root.find(f"{space}commandline")]
    assert values[0::2] == ["-chardev", "-device"]
    assert re.search(r"id=(\w+)", values[1]).group(1) == re.search(r"chardev=(\w+)", values[3]).group(1)
    schema = pathlib.Path("/usr/share/libvirt/schemas/domain.rng")  # of libvirt0
    if schema.exists() and shutil.which("xmllint"):
        done = subprocess.run(["xmllint", "--noout", "--relaxng", schema, SNIPPETS / "libvirt.xml"],
                              capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["xl-server.cfg", "xl-client.cfg"])
def test_xl_configuration(name):
    """xl's syntax is assignments of numbers, strings and lists."""
    settings = {}
    for statement in ast.parse(text_of(name)).body:
        assert isinstance(statement, ast.Assign) and len(statement.targets) == 1
        settings[statement.targets[0].id] = ast.literal_eval(statement.value)
    assert set(settings) <= XL_KEYS
    assert settings["type"] in ("hvm", "pvh", "pv") and settings["on_crash"] == "destroy"
    assert all(len(disk.split(",")) == 3 for disk in settings["disk"])
    assert ("pci" in settings) == (name == "xl-server.cfg")


def test_kubernetes_pod(tmp_path):
    """It mounts and sets what the Container Device Interface's file has for the tenant."""
    pod = yaml.safe_load(text_of("kubernetes.yaml"))
    assert (pod["apiVersion"], pod["kind"]) == ("v1", "Pod")
    (container,) = pod["spec"]["containers"]
    (resource,) = container["resources"]["limits"]
    assert re.fullmatch(r"[a-z0-9.-]+\.[a-z]+/red", resource)
    patch = re.search(r"'(\[\{.*\}\])'", text_of("kubernetes.yaml")).group(1)
    (operation,) = json.loads(patch)
    assert operation["path"].rsplit("/", 1)[1].replace("~1", "/") == resource
    for name in ("libcuda.so.1", "libnvidia-ml.so.1"):
        (tmp_path / name).touch()
    (tmp_path / "conf").write_text('tenants = ( { name = "red"; socket = "/run/causeway/tenants/red/cuda.sock"; } );\n')
    done = subprocess.run([daemons.BUILD / "cli/causeway", "tenant", "cdi", "red", "--config", tmp_path / "conf", "--library",
                           tmp_path], capture_output=True, text=True, check=True)
    cdi = json.loads(done.stdout)
    (device,) = cdi["devices"]
    edits = [device["containerEdits"], cdi["containerEdits"]]
    assert {f"{entry['name']}={entry['value']}" for entry in container["env"]} == {word for edit in edits for word in edit["env"]}
    volumes = {volume["name"]: volume["hostPath"]["path"] for volume in pod["spec"]["volumes"]}
    mounts = {mount["mountPath"]: volumes[mount["name"]] for mount in container["volumeMounts"]}
    (socket_mount,) = edits[0]["mounts"]
    assert mounts[socket_mount["containerPath"]] == socket_mount["hostPath"]
    (libraries,) = {str(pathlib.Path(mount["containerPath"]).parent) for mount in edits[1]["mounts"]}
    assert "usr/lib/*/causeway/libcuda.so*\n" in (ROOT / "debian/causeway-guest.install").read_text()
    assert mounts[libraries] == "/usr/lib/x86_64-linux-gnu/causeway"
    assert all(mount["readOnly"] for mount in container["volumeMounts"]) and len(mounts) == 2


def test_podman_names_the_device_that_cdi_writes():
    assert f"--device {TENANT} " in text_of("podman.sh")
    assert f'"{TENANT.partition("=")[0]}"' in (ROOT / "cli/cdi.c").read_text()


def slurm_lines(name):
    """[{key: value}] of a file of Slurm's."""
    lines = [line for line in text_of(name).splitlines() if line and not line.startswith("#")]
    return [dict(re.fullmatch(r"(\w+)=(\S+)", word).groups() for word in line.split()) for line in lines]


def test_slurm_files_agree():
    settings = {key: value for line in slurm_lines("slurm.conf") for key, value in line.items()}
    (node,) = slurm_lines("slurm-gres.conf")
    assert settings["GresTypes"] == node["Name"] == "causeway"
    assert settings["Gres"] == f"causeway:{node['Count']}" and settings["NodeName"] == node["NodeName"]
    assert settings["TaskProlog"].startswith("/")


@pytest.mark.parametrize("told, lines", [("JobId=1 TresPerNode=gres:causeway:1", 2), ("JobId=1 TresPerNode=gres/causeway:1", 2),
                                         ("JobId=1 TresPerNode=gres:gpu:1", 0)])
def test_slurm_prolog_speaks_to_those_who_asked(tmp_path, told, lines):
    scontrol = tmp_path / "scontrol"
    scontrol.write_text(f"#!/bin/sh\n[ \"$1 $2 $3\" = 'show job 1' ] && echo '{told}'\n")
    scontrol.chmod(0o755)
    done = subprocess.run([SNIPPETS / "slurm-task-prolog"], capture_output=True, text=True, check=True,
                          env={"SCONTROL": str(scontrol), "SLURM_JOB_ID": "1", "LD_LIBRARY_PATH": "/mine"})
    exports = done.stdout.splitlines()
    assert len(exports) == lines
    assert all(re.fullmatch(r"export \w+=\S+", line) for line in exports)
    if lines:
        assert exports[0].endswith("causeway:/mine")


def scrape(path):
    """The names of the metrics that a daemon exports, with their labels' names."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(20)
        connection.connect(str(path))
        connection.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        answer = b""
        while more := connection.recv(65536):
            answer += more
    return {name: set(re.findall(r"(\w+)=\"", labels)) for name, labels in
            re.findall(r"^(\w+)(\{.*\})? \S+$", answer.decode().split("\r\n\r\n", 1)[1], re.M)}


def test_dashboard_shows_what_daemons_export(tmp_path):
    """Every metric and label of the dashboard is in what the three daemons say."""
    exported = {}
    cudad = daemons.Cudad(settings=f'metrics = "{tmp_path}/cudad"; turns = true;')
    cudad.config.write_text(cudad.config.read_text() + 'tenants = ( { name = "red"; } );\n')
    with cudad, daemons.Switch(options=["--metrics", tmp_path / "switch"]), \
            daemons.Scifd(vms=["a"], options=["--metrics", tmp_path / "scifd"]):
        for name in ("cudad", "switch", "scifd"):
            exported.update(scrape(tmp_path / name))
    dashboard = json.loads(text_of("grafana-dashboard.json"))
    targets = [target for panel in dashboard["panels"] for target in panel["targets"]]
    assert len(targets) > 10
    for target in targets:
        (name,) = re.findall(r"\b(?:causeway|scifd)_\w+", target["expr"])
        assert name in exported, name
        labels = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
        assert labels <= exported[name], target
        assert ("rate(" in target["expr"] or "increase(" in target["expr"]) == name.endswith("_total"), target
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def test_prometheus_scrapes_this_host_alone():
    (job,) = yaml.safe_load(text_of("prometheus.yml"))["scrape_configs"]
    targets = [target for group in job["static_configs"] for target in group["targets"]]
    assert targets and all(re.fullmatch(r"127\.0\.0\.1:\d+", target) for target in targets)
