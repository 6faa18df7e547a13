# SPDX-License-Identifier: Apache-2.0
"""A CUDA tensor shared with a child process through CUDA's inter-process handles."""
import torch
import torch.multiprocessing as processes

from common import digest, show


def child(received, answers):
    tensor = received.get()
    tensor.mul_(2)
    torch.cuda.synchronize()
    answers.put(float(tensor.sum()))
    del tensor
    received.get()


if __name__ == "__main__":
    context = processes.get_context("spawn")
    given, answers = context.Queue(), context.Queue()
    process = context.Process(target=child, args=(given, answers))
    process.start()
    tensor = torch.arange(1000, device="cuda", dtype=torch.float32)
    given.put(tensor)
    show("child", answers.get(timeout=90))
    show("parent sees it", digest(tensor), float(tensor[10]))
    given.put(None)
    process.join(60)
    show("child's end", process.exitcode)
