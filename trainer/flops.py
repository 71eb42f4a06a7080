"""Floating point operations of a model and the peak of a device, both measured, for model FLOP/s utilisation."""

import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils import flop_counter
from torch.utils._python_dispatch import TorchDispatchMode

from model.eager import as_they_are
from model.interface import Video, VideoModel
from trainer.batch import split_video
from trainer.clock import seconds
from trainer.config import RunConfig

as_they_are(
    *(
        each
        for each in vars(flop_counter).values()
        if isinstance(each, type) and issubclass(each, TorchDispatchMode)
    )
)


class Work:
    """What the steps of this rank compute, counted once for each length of its clips, and what its device could.

    Args:
        model: that is trained.
        config: the run.
        device: where the model is.
        micro: clips of a forward pass.

    Attributes:
        peak: FLOP/s of the device; 0 = not known.
    """

    def __init__(self, model: VideoModel, config: RunConfig, device: torch.device, micro: int) -> None:
        self._model, self._config, self._device, self._micro = model, config, device, micro
        self._flops: dict[int, float] = {}  # of a step, by frames of a clip
        self._total, self._steps = 0.0, 0
        self.peak = 0.0

    def count(self, video: Video, step: int) -> None:
        """Add the step to come, on these clips; the first of each length costs a forward pass."""
        # ZeRO-3 gathers weights in collectives that a counted pass would repeat; it goes unmeasured there.
        if self._config.engine.zero_stage == 3:
            return
        length = video.frames.shape[1]
        if length not in self._flops:
            parts = split_video(video, self._micro)
            self._flops[length] = 3 * len(parts) * forward_flops(self._model, parts[0], step)
            dtype = torch.bfloat16 if self._config.engine.precision == "bf16" else torch.float32
            self.peak = self.peak or peak_flops(self._device, dtype)
        self._total, self._steps = self._total + self._flops[length], self._steps + 1

    def lap(self) -> float:
        """FLOPs a step since the last lap; 0 = not known."""
        mean = self._total / max(self._steps, 1)
        self._total, self._steps = 0.0, 0
        return mean


def forward_flops(model: VideoModel, video: Video, step: int) -> float:
    """Matrix and convolution FLOPs of one forward pass. A training step needs three times that (PaLM's count).

    Draws made by the pass are undone, and updates of running statistics. Recomputation is not counted: utilisation
    is of useful work.
    """
    devices = [video.frames.device] if video.frames.is_cuda else []
    before = [buffer.clone() for buffer in model.buffers()]
    with (
        torch.random.fork_rng(devices),
        torch.no_grad(),
        flop_counter.FlopCounterMode(display=False) as counter,
    ):
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
        return flops / max(seconds(work, device, clock), 1e-9)

    best, rounds, end = 0.0, 0, time.perf_counter() + budget_s
    while rounds < 2 or time.perf_counter() < end:
        product = rate(lambda: a @ b, 2.0 * n**3)
        convolution = rate(lambda: F.conv2d(x, weight, padding=3), 2.0 * weight.numel() * batch * 32**2)
        best, rounds = max(best, product, convolution), rounds + 1
    return best
