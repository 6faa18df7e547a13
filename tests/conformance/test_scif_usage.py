# SPDX-License-Identifier: Apache-2.0
"""scifd and causeway-card know tenants, and write what they use into the journal of all daemons."""
import json
import os
import subprocess

import pytest

import daemons

CAUSEWAY = daemons.BUILD / "cli" / "causeway"
HELLO = daemons.BUILD / "tests" / "card" / "card_hello"


def usage(journal):
    """The rows of the last hour, by service and tenant."""
    result = daemons.run_program([CAUSEWAY, "usage", "--journal", journal, "--json", "--since", "1h"], {})
    assert result.returncode == 0, result.stderr
    return {(row["service"], row["tenant"]): row for row in json.loads(result.stdout)["rows"]}


def configure(path, tenants):
    journal = path.with_name("usage.db")
    path.write_text(f'accounting = {{ journal = "{journal}"; interval_s = 1; }};\n'
                    f"tenants = ( {tenants} );\n")
    return journal


def test_vms_of_scifd_belong_to_tenants(tmp_path):
    config = tmp_path / "causeway.conf"
    configure(config, '{ name = "red"; cids = [3, 5]; }')
    with daemons.Scifd(vms=["one,cid=3", "two,cid=4", "three"], options=["--config", config]) as scifd:
        assert {name: row["tenant"] for name, row in scifd.nodes().items()} == {
            "host": "host", "mic0": "mic0", "one": "red", "two": "vm two", "three": "vm three"}


@pytest.mark.skipif(os.geteuid() != 0, reason="the card makes sandboxes: needs root")
def test_core_seconds_of_the_card_are_written(tmp_path):
    config = tmp_path / "causeway.conf"
    journal = configure(config, '{ name = "host"; weight = 3; clients = 2; }')
    with daemons.Scifd(options=["--config", config]) as scifd, \
            daemons.Card(scifd, ["--config", config, "--cores", "0"]) as card:
        program = card.load([HELLO, "-a", "spin 0.5"], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE)
        program.communicate(timeout=60)
        assert program.returncode == 0
        (row,) = card.report()["vm"]
        assert (row["tenant"], row["weight"]) == ("host", 300)

        def written():
            return journal.exists() and usage(journal).get(("card", "host"))
        found = daemons.wait_until(lambda: written() and written()["device_s"] >= 0.5 and written(), 20,
                                   "it is in the journal")
        assert abs(found["device_s"] - row["core_seconds"]) < 0.05
        assert found["launches"] == 1
        # Three at once: the tenant may have two.
        more = [card.load([HELLO, "-a", "spin 2"], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE) for _ in range(3)]
        output = [one.communicate(timeout=60) for one in more]
        assert sorted(one.returncode == 0 for one in more) == [False, True, True], output
        daemons.wait_until(lambda: written()["launches"] == 3, 20, "two more have run")
    # The program's file, which the card read out of the host's memory each time.
    copied = sum(row["copied_within_bytes"] for (service, _), row in usage(journal).items()
                 if service == "scifd")
    assert copied >= 3 * HELLO.stat().st_size, usage(journal)
