# SPDX-License-Identifier: Apache-2.0
"""The documents against the tree: links and paths lead somewhere, blocks are valid shell, those that say
"sh run" are executed, options exist,
programs and modules' parameters have manual pages, and docs/protocols.md is what proto/ says."""
import os
import pathlib
import random
import re
import socket
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BUILD = pathlib.Path(os.environ["CAUSEWAY_BUILD"])
DOCUMENTS = [ROOT / "README.md", ROOT / "HACKING.md", *sorted((ROOT / "docs").glob("*.md"))]
FOLDERS = "bench|cli|cuda|debian|docs|gen|include|lib|proto|scif|scripts|services|share|testbed|tests|vsock"


def blocks(document):
    return re.findall(r"^```[^\n]*\n(.*?)^```$", document.read_text(), re.M | re.S)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document):
    targets = re.findall(r"\]\(([^)#\s]+)", document.read_text())
    lost = [target for target in targets if "://" not in target and not (document.parent / target).exists()]
    assert not lost


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_paths_exist(document):
    """What stands in backquotes alone and begins with a folder of the source, in the source or the build."""
    paths = re.findall(rf"`((?:{FOLDERS})/[\w./-]+)`", document.read_text())
    lost = [path for path in paths if not (ROOT / path).exists() and not (BUILD / path).exists()]
    assert not lost


@pytest.mark.parametrize("document", ["README.md", "HACKING.md", "docs/guide-kvm.md", "docs/guide-scif.md",
                                      "docs/guide-xen.md"])
def test_blocks_are_shell(document):
    commands = [block for block in blocks(ROOT / document) if not re.search("[─└├]", block)]
    assert commands
    for block in commands:
        done = subprocess.run(["bash", "-n"], input=block, text=True, capture_output=True)
        assert done.returncode == 0, block + done.stderr


@pytest.mark.parametrize("program", ["cuda/server/causeway-cudad", "vsock/switch/causeway-switch"])
def test_readme_options_exist(program):
    known = subprocess.run([BUILD / program, "--help"], capture_output=True, text=True, check=True).stdout
    used = set()
    for block in blocks(ROOT / "README.md"):
        for command in re.findall(rf"build/{program}((?:.*\\\n)*.*)", block):
            used.update(re.findall(r"--[a-z-]+", command))
    assert used, "the README does not use it"
    assert not [option for option in used if option not in known]


def test_programs_have_manual_pages():
    pages = {path.name.split(".")[0] for path in (ROOT / "docs").glob("*.scd")}
    text = (ROOT / "debian/causeway.links").read_text()
    lists = "\n".join(path.read_text() for path in (ROOT / "debian").glob("*.install"))
    programs = re.findall(r"^usr/bin/(\S+)$", lists, re.M)
    assert len(programs) > 5
    assert not [name for name in programs if name not in pages and f"/{name}.8" not in text]


def test_commands_and_pages_are_named():
    """Each subcommand in causeway(1)'s synopsis, each page in the README."""
    commands = re.findall(r'^\t\{ "(\w+)", cli_', (ROOT / "cli/main.c").read_text(), re.M)
    synopsis = (ROOT / "docs/causeway.1.scd").read_text().split("# SYNOPSIS")[1].split("# DESCRIPTION")[0]
    assert len(commands) > 5 and not [name for name in commands if f"*causeway* *{name}*" not in synopsis]
    readme = (ROOT / "README.md").read_text()
    pages = [re.sub(r"\.(\d)$", r"(\1)", path.stem) for path in (ROOT / "docs").glob("*.scd")]
    assert pages and not [page for page in pages if page not in readme]


def test_protocols_are_told_of():
    """Each file of proto/ stands in the architecture by its name."""
    text = (ROOT / "docs/architecture.md").read_text()
    files = [path.name for path in (ROOT / "proto").iterdir()]
    assert files
    assert not [name for name in files if name not in text]


def test_protocols_page_is_what_the_headers_say():
    """Each member's offset, size and meaning; the generator asks the compiler."""
    done = subprocess.run(["/usr/bin/python3", ROOT / "gen/protocols.py", "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("module, folder", [("vphi", "scif/guest"), ("vsock_argo", "vsock/argo")])
def test_module_parameters_have_a_page(module, folder):
    """Each parameter of the module's source is an entry of its page, and no other is."""
    source = "".join(path.read_text() for path in sorted((ROOT / folder).glob("*.c")))
    described = re.findall(r"MODULE_PARM_DESC\((\w+),", source)
    declared = re.findall(r"module_param(?:_named|_cb|_string)?\((\w+),", source)
    assert described and sorted(described) == sorted(declared)
    page = (ROOT / f"docs/{module}.4.scd").read_text()
    section = page[page.index("# PARAMETERS"):page.index("# FILES")]
    assert sorted(re.findall(r"^\*(\w+)\*$", section, re.M)) == sorted(described)


def test_client_settings_have_a_page():
    """Each setting that the client's library knows, and each variable that it looks at."""
    page = (ROOT / "docs/causeway-client.conf.5.scd").read_text()
    source = (ROOT / "cuda/client/config.c").read_text()
    settings = re.findall(r'strcmp\(name, "(\w+)"\)', source)
    assert sorted(re.findall(r"^\*(\w+)\* = ", page, re.M)) == sorted(settings)
    code = "".join(path.read_text() for path in (ROOT / "cuda/client").rglob("*.c"))
    variables = set(re.findall(r'getenv\("(\w+)"\)', code))
    assert variables and variables == set(re.findall(r"^\*([A-Z]+_\w+)\*$", page, re.M))


@pytest.mark.parametrize("source", ["scif/guest/device.c", "vsock/argo/module.c"])
def test_modules_have_the_trees_version(source):
    """Which causeway doctor compares with the package's."""
    version = re.search(r"^  version: '([^']+)'", (ROOT / "meson.build").read_text(), re.M).group(1)
    assert f'MODULE_VERSION("{version}");' in (ROOT / source).read_text()


def test_module_defaults_are_those_of_the_page():
    """Numbers that stand at parameters' definitions, as the page has them."""
    page = (ROOT / "docs/vsock_argo.4.scd").read_text()
    source = (ROOT / "vsock/argo/module.c").read_text()
    for name, text in re.findall(r"^unsigned int argo_(\w+) = ([\d <]+);", source, re.M):
        entry = page[page.index(f"\n*{name}*\n"):].split("\n\n")[0]
        assert str(eval(text)) in entry, name  # a constant expression of our own source


def test_xen_guide_is_what_the_tests_do(tmp_path):
    """Its hypervisor has the options of the one that tests/vm boot, and its change of the file says a port to cudad."""
    text = (ROOT / "docs/guide-xen.md").read_text()
    options = re.search(r"printf '(.*)' >> xen/.config", text).group(1)
    assert f'XEN_OPTIONS = "{options}"' in (ROOT / "testbed/xen_build.py").read_text()
    change = re.search(r"^sed -i '(.*)' /etc/causeway/causeway.conf$", text, re.M).group(1)
    configuration = tmp_path / "causeway.conf"
    configuration.write_text((ROOT / "services/causeway.conf").read_text())
    subprocess.run(["sed", "-i", change, configuration], check=True)
    cuda = re.search(r"^cuda = \{(.*?)^\};", configuration.read_text(), re.M | re.S).group(1)
    assert "switch_socket" not in cuda
    assert re.search(r"^\s*vsock_port = 7000;$", cuda, re.M)
    assert "*vsock_port* = " in (ROOT / "docs/causeway.conf.5.scd").read_text()


# A machine for a document's commands: a /run of its own, and all of its processes end with it.
MACHINE = """
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /run
cd "$1"
exec bash -euo pipefail "$1/commands"
"""
SAID = {"guide-kvm.md": ["causeway-cudad", "guest1", "PASSED", "red", "blue"],
        "guide-scif.md": ["mic0", "hello from node 0", "running on"],
        "guide-xen.md": ["client1", "client2", "PASSED"]}


def free_vsock_port():
    """One of this host's below 65536, None where its kernel has no AF_VSOCK."""
    for _ in range(20):
        port = random.randrange(20000, 60000)
        try:
            with socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM) as probe:
                probe.bind((socket.VMADDR_CID_ANY, port))
                return port
        except OSError:
            pass
    return None


@pytest.mark.parametrize("document", sorted(SAID))
def test_guides_commands_do_what_they_say(document, tmp_path):
    """The blocks "sh run" of a guide, one after another in one shell, in a folder that looks like the source's."""
    if os.geteuid() != 0 or subprocess.run(["unshare", "-mpf", "true"], check=False).returncode:
        pytest.skip("needs root and namespaces")
    if os.environ.get("CAUSEWAY_PRELOAD"):
        pytest.skip("programs with sanitizers do not start on a card")
    port = free_vsock_port()
    if document == "guide-xen.md" and not port:
        pytest.skip("causeway-cudad cannot listen on AF_VSOCK: this kernel has none")
    commands = "\n".join(re.findall(r"^```sh run\n(.*?)^```$", (ROOT / "docs" / document).read_text(), re.M | re.S))
    assert len(commands.splitlines()) > 10
    # Ports of AF_VSOCK are the whole host's, whatever namespace this is.
    commands = commands.replace("vsock_port = 7000", f"vsock_port = {port}")
    for entry in ROOT.iterdir():
        if not entry.name.startswith((".", "build")):
            (tmp_path / entry.name).symlink_to(entry)
    (tmp_path / "build").symlink_to(BUILD)
    (tmp_path / "commands").write_text(commands)
    done = subprocess.run(["unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c", MACHINE,
                           "sh", tmp_path], capture_output=True, text=True, timeout=120, check=False,
                          stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout + done.stderr
    for words in SAID[document]:
        assert words in done.stdout, (words, done.stdout, done.stderr)
