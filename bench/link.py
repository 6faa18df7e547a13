# SPDX-License-Identifier: Apache-2.0
"""lib/link alone: round trips and 64 MiB copies, against bare ping-pong and memcpy."""
import json

import daemons
import measure
import pingpong
from testbed.errors import GuestError
from testbed.guest import Guest
from testbed.machines import MACHINES


def figures(output):
    """What link_pingpong measured, as the benchmark's fields."""
    line = json.loads(output)
    result = {
        "bare_us": measure.Samples(line["bare_us"], "us"),
        "link_us": measure.Samples(line["link_us"], "us"),
    }
    result["rtt_ratio"] = measure.ratios(result["link_us"], result["bare_us"])
    if "to_gbps" in line:
        plain = measure.Samples(line["memcpy_gbps"], "GB/s")
        for way in ("to", "from"):
            copied = measure.Samples(line[f"{way}_gbps"], "GB/s")
            result[f"{way}_gbps"] = copied
            result[f"{way}_ratio"] = measure.ratios(copied, plain)
    return result


def in_guest(bench, server, kind):
    """The same from a guest over vsock."""
    reason = MACHINES[kind]().unusable()
    if reason:
        return measure.Skipped(str(reason))
    with daemons.Switch(services=[server.service]) as switch:
        try:
            with Guest(kind, files=[server.program], quiet=True, memory_mib=512,
                       vhost_user_vsock=switch.guest_socket(3)) as guest:
                result = guest.run(["link_pingpong", "measure",
                                    f"vsock:2:{pingpong.VSOCK_PORT}", "copy"], timeout=240)
        except GuestError as error:
            raise measure.Failed(f"guest of kind {kind}: {error}") from None
    if result.status:
        raise measure.Failed(result.stderr.decode(errors="replace"))
    return figures(result.stdout)


def run(bench):
    results = {}
    with pingpong.Server(bench) as server:
        for link in daemons.LINKS:
            bench.progress(link)
            _, output, _ = bench.run([server.program, "measure", server.address(link), "copy"])
            results[link] = figures(output)
        for kind in sorted(MACHINES):
            bench.progress(f"vsock from a guest of kind {kind}")
            results[f"vsock-{kind}"] = in_guest(bench, server, kind)
    return results
