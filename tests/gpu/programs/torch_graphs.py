# SPDX-License-Identifier: Apache-2.0
"""CUDA graphs: captured inference and a captured training step, replayed; pools of graphs."""
import torch

from common import digest, show

torch.manual_seed(3)
model = torch.nn.Sequential(torch.nn.Linear(128, 256), torch.nn.ReLU(), torch.nn.Linear(256, 10)).cuda()
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
data = torch.randn(32, 128, device="cuda")
target = torch.randint(0, 10, (32,), device="cuda")


def step():
    optimizer.zero_grad(set_to_none=True)
    loss = torch.nn.functional.cross_entropy(model(data), target)
    loss.backward()
    optimizer.step()
    return loss


side = torch.cuda.Stream()
side.wait_stream(torch.cuda.current_stream())
with torch.cuda.stream(side):
    for _ in range(3):
        step()
torch.cuda.current_stream().wait_stream(side)
graph = torch.cuda.CUDAGraph()
with torch.cuda.graph(graph):
    loss = step()
show("capturing", torch.cuda.is_current_stream_capturing())
losses = []
for i in range(5):
    data.copy_(torch.randn(32, 128, device="cuda"))
    graph.replay()
    losses.append(loss.clone())
show("losses", digest(torch.stack(losses)))
show("weights", digest(model[0].weight))
second = torch.cuda.CUDAGraph()
with torch.cuda.graph(second, pool=graph.pool()):
    twice = data * 2 + torch.rand_like(data)
second.replay()
show("random in a graph", digest(twice))
first = twice.clone()
second.replay()
show("another replay differs", not torch.equal(first, twice))
made = torch.cuda.make_graphed_callables(model, (data.clone(),))
show("graphed callable", digest(made(data)))
del graph, second
torch.cuda.synchronize()
empty = torch.cuda.CUDAGraph()
try:
    with torch.cuda.graph(empty):
        data.sum().item()
    show("synchronising inside a capture", "was let pass")
except RuntimeError as error:
    show("synchronising inside a capture", "capturing" in str(error) or "capture" in str(error))
show("afterwards", digest(torch.ones(10, device="cuda") * 3))
