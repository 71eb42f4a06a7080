"""Floating point operations of a model and the peak of a device, both measured, for model FLOP/s utilisation."""

import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
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


def peak_flops(
    device: torch.device,
    dtype: torch.dtype,
    clock: Callable[[], float] = time.perf_counter,
    budget_s: float = 0.2,
) -> float:
    """FLOP/s of a matrix product or a convolution on this device, whichever is faster: the best of many.

    Either alone can be the slower one, depending on machine and precision, and a model of the other kind would seem
    to do more than is possible; and a short look may fall into a moment in which others use the processor.

    Args:
        device: to measure.
        dtype: of the numbers.
        clock: in seconds.
        budget_s: after so many seconds no further round starts; there are two at least.
    """
    cuda = device.type == "cuda"
    # On a processor a clip for each thread: threads share out a convolution by clips.
    batch, n = (64, 8192) if cuda else (torch.get_num_threads(), 768)
    x, weight = (
        torch.randn(*shape, device=device, dtype=dtype).to(memory_format=torch.channels_last)
        for shape in ((batch, 64, 32, 32), (256, 64, 7, 7))
    )
    a, b = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))

    def rate(work: Callable[[], Tensor], flops: float) -> float:
        if cuda:
            torch.cuda.synchronize(device)
        start = clock()
        work()
        if cuda:
            torch.cuda.synchronize(device)
        return flops / max(clock() - start, 1e-9)

    best, rounds, end = 0.0, 0, time.perf_counter() + budget_s
    while rounds < 2 or time.perf_counter() < end:
        product = rate(lambda: a @ b, 2.0 * n**3)
        convolution = rate(lambda: F.conv2d(x, weight, padding=3), 2.0 * weight.numel() * batch * 32**2)
        best, rounds = max(best, product, convolution), rounds + 1
    return best
