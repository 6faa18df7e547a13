# SPDX-License-Identifier: Apache-2.0
"""Streams, priorities, events, timing, peers, profiler and properties, as PyTorch offers them."""
import torch

from common import digest, show

streams = [torch.cuda.Stream(priority=p) for p in (0, -1, -1)]
events, parts = [], []
x = torch.arange(1 << 18, device="cuda", dtype=torch.float32)
torch.cuda.synchronize()
for i, stream in enumerate(streams):
    with torch.cuda.stream(stream):
        parts.append((x * (i + 1)).cos())
        events.append(stream.record_event())
for event in events:
    event.wait()
show("sum", digest(sum(parts)))
start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
start.record()
y = x.clone()
for _ in range(20):
    y = y * 1.0001
end.record()
end.synchronize()
show("timed", 0 < start.elapsed_time(end) < 10000, end.query())
properties = torch.cuda.get_device_properties(0)
show("properties", properties.name, properties.total_memory, properties.multi_processor_count,
     properties.L2_cache_size, str(properties.uuid))
show("peer", [torch.cuda.can_device_access_peer(0, i) for i in range(1, torch.cuda.device_count())])
external = torch.cuda.ExternalStream(streams[0].cuda_stream)
with torch.cuda.stream(external):
    show("external", digest(x[:100] + 1))
torch.cuda.nvtx.range_push("x")
torch.cuda.nvtx.range_pop()
with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
    (x + 1).sum()
show("profiled", len(profile.key_averages()) > 0)
torch.cuda.profiler.start()
torch.cuda.profiler.stop()
show("utilisation", torch.cuda.memory_stats()["num_alloc_retries"])
