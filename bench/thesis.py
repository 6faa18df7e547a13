# SPDX-License-Identifier: Apache-2.0
"""Figures and tables of chapters 4 and 5 of the thesis, and where our values for each come from.

Stefanos Gerangelos, "Techniques of efficient accelerator virtualization for cloud environments", NTUA
2019: chapter 4 is V4VSockets (Xen, Intel Xeon), chapter 5 is vPHI (QEMU-KVM, Xeon Phi 3120P). Figures
4.1 to 4.4, 5.1 and 5.2 are drawings of the systems; ours are in docs/architecture.md.
"""
import dataclasses


@dataclasses.dataclass
class Row:
    """One quantity: the thesis's value (a number, or [least, most]) and ours, either of which may lack.

    @source: (benchmark, object, field[, name within the field]); @times: what ours is multiplied by,
    or "1/": what is divided by it. A row with a unit other than its item's is in the table alone.
    """
    label: str
    thesis: object = None
    source: tuple = ()
    times: float = 1.0
    over: float = 0.0
    unit: str = None
    peer: bool = False


@dataclasses.dataclass
class Item:
    """One figure or table."""
    number: str
    title: str
    unit: str
    rows: list
    curves: tuple = ()  # (benchmark, object, field) of lines, each
    note: str = ""


def guests(label, thesis, benchmark, *path, **options):
    """The same quantity from both kinds of guest; the thesis's value stands once."""
    return [Row(f"{label}, {place}", thesis if kind == "qemu" else None, (benchmark, kind, *path), **options)
            for kind, place in (("qemu", "QEMU guest"), ("uml", "User-Mode Linux guest"))]


# Clients on a machine with a GPU, and what bench/cuda-gpu.py calls them.
GPU_CLIENTS = (("host process over the ring", "ring"), ("host process over a Unix socket", "unix"),
               ("host process over TCP's loopback", "tcp"), ("User-Mode Linux guest over vsock", "vm"),
               ("User-Mode Linux guest over SCIF", "vm scif"))
SHARERS = ("1 process", "1 VM", "2 processes", "2 VMs", "4 processes", "4 VMs", "8 processes", "8 VMs")


def several(count):
    return f"{count} pair{'s' if count > 1 else ''}"


BYTES_1MIB = float(1 << 20)
ITEMS = [
    Item("Figure 4.5", "Latency of messages of 2 bytes between two guests of Xen", "us", [
        Row("through the hypervisor (V4VSockets; ours: Argo)", 16, ("sockets-xen", "2 bytes", "argo_us")),
        Row("TCP over netfront and netback", 86, ("sockets-xen", "2 bytes", "tcp_us"), peer=True),
        Row("quotient of the two", 0.19, ("sockets-xen", "xen", "latency_ratio"), unit=""),
        Row("QEMU: causeway-switch, there and back", None, ("sockets-kvm", "switch", "latency_us")),
        Row("QEMU: TCP over virtio-net, there and back", None, ("sockets-kvm", "tcp", "latency_us"), peer=True),
        Row("QEMU: vhost-device-vsock, there and back", None, ("sockets-kvm", "vhost-device-vsock", "latency_us"),
            peer=True),
        Row("QEMU: NetPIPE over causeway-switch, by the wrapper", None, ("sockets-kvm", "switch", "netpipe_latency_us")),
        Row("QEMU: NetPIPE over TCP", None, ("sockets-kvm", "tcp", "netpipe_latency_us"), peer=True),
        Row("QEMU: quotient of switch and TCP", None, ("sockets-kvm", "switch", "latency_ratio_tcp"), unit=""),
        Row("QEMU: quotient of switch and vhost-device-vsock", None, ("sockets-kvm", "switch", "latency_ratio_vdv"),
            unit=""),
    ], (("sockets-xen", "curves", "latency"), ("sockets-kvm", "sizes", "round_trip")),
         "NetPIPE counts one way, as the thesis does; \"there and back\" is both."),
    Item("Figure 4.6", "Throughput of messages of 1 MiB between two guests of Xen", "MB/s", [
        Row("through the hypervisor (V4VSockets; ours: Argo)", 2299, ("sockets-xen", "1048576 bytes", "argo_us"),
            over=BYTES_1MIB),
        Row("TCP over netfront and netback", 501, ("sockets-xen", "1048576 bytes", "tcp_us"), over=BYTES_1MIB, peer=True),
        Row("quotient of the two", 4.59, ("sockets-xen", "xen", "throughput_ratio"), unit=""),
        Row("QEMU: causeway-switch, stream", None, ("sockets-kvm", "switch", "stream_1mib_mb_s")),
        Row("QEMU: TCP over virtio-net, stream", None, ("sockets-kvm", "tcp", "stream_1mib_mb_s"), peer=True),
        Row("QEMU: vhost-device-vsock, stream", None, ("sockets-kvm", "vhost-device-vsock", "stream_1mib_mb_s"), peer=True),
        Row("QEMU: NetPIPE over causeway-switch, by the wrapper", None, ("sockets-kvm", "switch", "netpipe_1mib_mb_s")),
        Row("QEMU: NetPIPE over TCP", None, ("sockets-kvm", "tcp", "netpipe_1mib_mb_s"), peer=True),
        Row("QEMU: quotient of switch and TCP", None, ("sockets-kvm", "switch", "throughput_ratio_tcp"), unit=""),
        Row("QEMU: quotient of switch and vhost-device-vsock", None, ("sockets-kvm", "switch", "throughput_ratio_vdv"),
            unit=""),
    ], (("sockets-xen", "curves", "throughput"), ("sockets-kvm", "sizes", "stream"))),
    Item("Figure 4.7", "Aggregate throughput of messages of 512 KiB, by pairs of guests", "MB/s", [
        *(row for pairs, thesis in ((1, 2000), (2, None), (4, None), (8, 16000)) for row in (
            Row(f"{several(pairs)}, through the hypervisor", thesis, ("sockets-xen", f"{pairs} pairs", "argo_b_s"), 1e-6),
            Row(f"{several(pairs)}, TCP", None, ("sockets-xen", f"{pairs} pairs", "tcp_b_s"), 1e-6, peer=True))),
        *(Row(f"{several(pairs)}, causeway-switch, User-Mode Linux guests", None,
              ("sockets-scale", several(pairs), "throughput")) for pairs in (1, 2, 4, 8)),
        Row("latency beside 8 pairs over latency of one", 1, ("sockets-xen", "xen", "latency_growth"), unit=""),
        Row("causeway-switch: latency beside 7 idle pairs over latency alone", None,
            ("sockets-scale", "sockets-scale", "latency_scaling"), unit=""),
    ], (("sockets-xen", "curves", "aggregate"),),
         "Ours share two processors between all guests, so that more pairs cannot have more in all."),
    Item("Figure 4.8", "Matrix product in a guest without the GPU, total time over direct", "", [
        Row("through the hypervisor", 1.15, ("cuda-xen", "xen", "total_overhead_argo")),
        Row("over TCP", 1.71, ("cuda-xen", "xen", "total_overhead_tcp"), peer=True),
        *(Row(f"GPU: {client}", None, ("cuda-gpu", name, "matmul_total_ratio"), peer=name == "tcp")
          for client, name in GPU_CLIENTS),
    ], note="Sizes: 2112 x 4224 floats in the thesis and on the GPU; on softgpu their edges are divided by `scale`."),
    Item("Figure 4.9", "Copies of 2112 x 4224 floats to the device", "GB/s", [
        Row("direct", 3.79, ("cuda-xen", "direct", "h2d_gb_s")),
        Row("through the hypervisor", 2.46, ("cuda-xen", "argo", "h2d_gb_s")),
        Row("over TCP", 0.39, ("cuda-xen", "tcp", "h2d_gb_s"), peer=True),
        Row("hypervisor over TCP", 2.46 / 0.39, ("cuda-xen", "xen", "h2d_ratio"), unit=""),
        Row("hypervisor over direct", 2.46 / 3.79, ("cuda-xen", "xen", "h2d_of_direct"), unit=""),
        Row("GPU: direct", None, ("cuda-gpu", "native", "h2d_pageable_34"), peer=True),
        *(Row(f"GPU: {client}", None, ("cuda-gpu", f"{name} raw", "h2d_pageable_34"), peer=name == "tcp")
          for client, name in GPU_CLIENTS),
        *(Row(f"GPU: {client}, over direct", None, ("cuda-gpu", name, "h2d_pageable_ratio_34"), unit="")
          for client, name in GPU_CLIENTS),
    ], note="Pageable memory in all; the driver itself copies such memory piece by piece, which is why a client that "
            "does it in other pieces can be faster than direct."),
    Item("Figure 5.3", "SCIF: half a round trip of 1 byte", "us", [
        Row("native", 7, ("scif", "qemu", "latency_us", "native")),
        *guests("guest that sleeps (as vPHI does)", 382, "scif", "latency_us", "sleep"),
        *guests("guest that adapts (default)", None, "scif", "latency_us", "adaptive"),
        *guests("guest that spins", None, "scif", "latency_us", "spin"),
        *guests("adaptive over sleeping", None, "scif", "adaptive_vs_sleep", unit=""),
    ]),
    Item("Figure 5.4", "SCIF: remote memory read, guest over native, large", "", [
        *guests("read", 0.72, "scif", "rma_read_ratio"),
        *guests("write", None, "scif", "rma_write_ratio"),
        *guests("read over memcpy of the same size", None, "scif", "rma_read_vs_memcpy"),
    ], (("scif", "qemu", "curves"), ("scif", "uml", "curves")), "The thesis: 6.4 GB/s native, 4.6 GB/s in the guest."),
    Item("Figures 5.5 to 5.7", "dgemm through micnativeloadex: host's time over the VM's", "", [
        *guests("runs of at least a second", 1, "card-native", "dgemm_ratio"),
        *(row for run in ("512x1, 1 thread", "512x1, 2 threads", "2048x12, 1 thread", "2048x12, 2 threads")
          for row in guests(run, None, "card-native", "dgemm_ratio_by_run", run)),
    ], note="The thesis draws 56, 112 and 224 threads of the Phi; the software card has this host's cores."),
    Item("Figure 5.8", "SHOC GEMM, s = 1: host's time over the VM's", "", [
        *guests("compute", [0.47, 0.72], "card-offload", "gemm_s1_ratio"),
        *guests("with transfers", [0.53, 0.70], "card-offload", "gemm_s1_pcie_ratio")]),
    Item("Figure 5.9", "SHOC GEMM, s = 2: host's time over the VM's", "", [
        *guests("compute", [0.74, 0.94], "card-offload", "gemm_s2_ratio"),
        *guests("with transfers", [0.85, 0.94], "card-offload", "gemm_s2_pcie_ratio")]),
    Item("Figure 5.10", "SHOC SPMV, s = 1: host's time over the VM's", "", [
        *guests("compute", None, "card-offload", "spmv_s1_ratio"),
        *guests("with transfers", None, "card-offload", "spmv_s1_pcie_ratio")],
         note="The thesis's text has no numbers for s = 1."),
    Item("Figure 5.11", "SHOC SPMV, s = 2: host's time over the VM's", "", [
        *guests("compute", [0.90, 0.96], "card-offload", "spmv_s2_ratio"),
        *guests("with transfers", [0.90, 0.94], "card-offload", "spmv_s2_pcie_ratio")]),
    Item("Figure 5.12", "SHOC Reduction: host's time over the VM's", "", [
        *guests("s = 1", None, "card-reduction", "reduction_s1_ratio"),
        *guests("s = 2", [0.90, 0.98], "card-reduction", "reduction_s2_ratio")]),
    Item("Figure 5.13", "Reduction on one card at once: milliseconds of a pass, mean of all clients", "ms", [
        Row(f"s = {size}, {clients}", None, ("card-sharing", "uml", f"reduction_s{size}_ms", clients), peer="process" in clients)
        for size in (1, 2) for clients in SHARERS], note="The thesis's text has no numbers. Processes are the host's own."),
    Item("Figure 5.14", "Reduction on one card at once: one process of the host over each", "", [
        Row(f"s = {size}, {clients}", None, ("card-sharing", "uml", f"reduction_s{size}_normalized", clients),
            peer="process" in clients) for size in (1, 2) for clients in SHARERS],
         note="The thesis has no numbers in its text and says \"near-native\" of 2, 4 and 8 VMs with 56 of the card's 224 "
              "threads each and s = 2. Our card has this host's cores: more clients than cores share them."),
    Item("Table 5.1", "Operations that all clients complete in total", "operations", [
        *(Row(clients, thesis, ("card-sharing", "uml", "total_operations", clients))
          for clients, thesis in (("1 process", 199), ("1 VM", 188), ("2 VMs", 370), ("4 VMs", 709), ("8 VMs", 412))),
        Row("4 VMs over 1 process", 3.56, ("card-sharing", "uml", "vm4_over_process1"), unit="quotient"),
        Row("8 VMs over 4 VMs", 0.58, ("card-sharing", "uml", "vm8_over_vm4"), unit="quotient"),
        *(Row(f"{clients}, every program on all cores (policy time)", None,
              ("card-sharing", "uml", "unpoliced_total_operations", clients), peer=True)
          for clients in ("1 process", "1 VM", "2 VMs", "4 VMs", "8 VMs")),
        *(Row(f"{clients}: one operation, sleeping excluded", None, ("card-sharing", "uml", "operation_ms", clients), unit="ms")
          for clients in ("1 process", "1 VM", "2 VMs", "4 VMs", "8 VMs")),
    ], note="The thesis: 300 s, sleeps of 0 to 3 s, Xeon Phi. Our clock is shorter (`clock` in the table at the end), so "
            "compare the quotients."),
]
