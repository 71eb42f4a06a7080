"""Floating point operations of a model and the peak of a device, both measured, for model FLOP/s utilisation."""

import time

import torch
from torch.utils.flop_counter import FlopCounterMode

from model.interface import Video, VideoModel


def forward_flops(model: VideoModel, video: Video, step: int) -> float:
    """Matrix and convolution FLOPs of one forward pass. A training step needs three times that (PaLM's count).

    Draws made by the pass are undone, and updates of running statistics. Recomputation is not counted: utilisation
    is of useful work.
    """
    devices = [video.frames.device] if video.frames.is_cuda else []
    before = [buffer.clone() for buffer in model.buffers()]
    with torch.random.fork_rng(devices), torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(video, step)
    for buffer, value in zip(model.buffers(), before, strict=True):
        buffer.copy_(value)
    return float(counter.get_total_flops())


def peak_flops(device: torch.device, dtype: torch.dtype, size: int | None = None, repeats: int = 5) -> float:
    """FLOP/s of a square matrix product on this device: the best of `repeats`. ~20 ms on a laptop's core."""
    n = size or (8192 if device.type == "cuda" else 768)
    a, b = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))
    best = float("inf")
    for _ in range(repeats):
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        start = time.perf_counter()
        a @ b
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - start)
    return 2 * n**3 / best
