"""Seconds of a piece of work, measured so that other processes count as little as the device allows."""

import time
from collections.abc import Callable
from typing import Any

import torch


def clock_of(device: torch.device) -> Callable[[], float]:
    """Seconds of this process on a CPU, so that others do not count; of the wall on CUDA."""
    return time.perf_counter if device.type == "cuda" else time.process_time


def seconds(work: Callable[[], Any], device: torch.device) -> float:
    """Of `clock_of(device)`; on CUDA from idle to idle."""
    cuda, clock = device.type == "cuda", clock_of(device)
    if cuda:
        torch.cuda.synchronize(device)
    start = clock()
    work()
    if cuda:
        torch.cuda.synchronize(device)
    return clock() - start
