"""A training step of SQAIR next to two plain ones: `bench step sqair`.

Plain goes frame by frame, particle by particle and object by object (plain_sqair.py); released also reads the frame
again for each new object, as the paper's code does. Weights and draws are the same, and so must loss and gradients be:
it is checked before anything is measured.

A round is one training step of each, in turns: forward, backward, clipping, the optimiser. Seconds are of this
process on a CPU, so that others do not count.
"""

import json
import statistics
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial

import torch
from torch import Tensor, nn

from data_shards.mistake import UserError
from model.interface import Video
from model.sqair.config import Sequence
from model.sqair.model import SQAIR
from trainer.arguments import add_count
from trainer.bench.options import add_device_and_file
from trainer.bench.plain_sqair import Plain
from trainer.clock import clock_of, seconds
from trainer.config import OptimConfig, RunConfig
from trainer.optim import build_optimizer
from trainer.overrides import resolve

WAYS = ("plain", "released", "ours")
SAME = 1e-5  # of loss and gradients, in fp32


@dataclass(frozen=True)
class Row:
    """One way to take a step. Seconds of a training step; ratios within a round."""

    way: str
    least: float
    median: float
    faster: float  # than plain, median over rounds
    faster_at_least: float  # the least of plain over the least


def check(model: SQAIR, video: Video) -> float:
    """The greatest difference of loss or gradients, relative to the largest number of its tensor.

    Raises:
        AssertionError: it is above SAME.
    """
    kinds: tuple[Callable[[], Tensor], ...] = (
        lambda: model(video, 0).loss,
        lambda: Plain(model)(video, 0),
        lambda: Plain(model, again=True)(video, 0),
    )
    found = []
    for loss in kinds:
        model.zero_grad()
        torch.manual_seed(1)
        value = loss()
        value.backward()
        found.append([value.detach(), *(_or_zeros(p) for p in model.parameters())])
    model.zero_grad()
    ours, *others = found
    gap = max(_distance(a, b) for other in others for a, b in zip(ours, other, strict=True))
    assert gap < SAME, f"loss or gradients differ by {gap:.1e} of their largest number"
    return gap


def _or_zeros(parameter: nn.Parameter) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.clone()


def _distance(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max() / b.abs().max().clamp(min=1e-12))


def compare(config: RunConfig, frames: int, rounds: int, device: torch.device) -> tuple[list[Row], float]:
    """All ways in turns, and by how much they differ; the first two rounds warm up and are dropped."""
    size: Sequence = config.model  # type: ignore[assignment]
    torch.manual_seed(0)
    video = Video(torch.rand(config.batch.size, frames, size.channels, size.size, size.size, device=device))
    models: dict[str, SQAIR] = {way: SQAIR(size).to(device).train() for way in WAYS}
    ours = models["ours"]
    for model in models.values():
        model.load_state_dict(ours.state_dict())
    gap = check(ours, video)
    losses: dict[str, Callable[[], Tensor]] = {
        "plain": lambda: Plain(models["plain"])(video, 0),
        "released": lambda: Plain(models["released"], again=True)(video, 0),
        "ours": lambda: ours(video, 0).loss,
    }
    steps = {}
    for way, model in models.items():
        optimizer = build_optimizer(config.optim, model.parameters())
        steps[way] = partial(_train, losses[way], model, config.optim, optimizer)
    times: dict[str, list[float]] = {way: [] for way in steps}
    for number in range(rounds + 2):
        for way, step in steps.items():
            torch.manual_seed(number)
            taken = seconds(step, device, clock_of(device))
            if number > 1:
                times[way].append(taken)
    return [_row(way, mine, times["plain"]) for way, mine in times.items()], gap


def _train(
    loss: Callable[[], Tensor], model: nn.Module, config: OptimConfig, optimizer: torch.optim.Optimizer
) -> None:
    optimizer.zero_grad()
    loss().backward()
    if config.clip_norm:
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
    optimizer.step()


def _row(way: str, mine: list[float], plain: list[float]) -> Row:
    faster = statistics.median(a / b for a, b in zip(plain, mine, strict=True))
    return Row(way, min(mine), statistics.median(mine), faster, min(plain) / min(mine))


def options(parser: ArgumentParser) -> None:
    """Which run, and how long."""
    parser.add_argument("recipe", nargs="?", default="sqair-demo", help="of SQAIR; sqair-demo by default")
    parser.add_argument(
        "overrides", nargs="*", metavar="field.path=value", help="what differs from the recipe"
    )
    add_count(parser, "--frames", 3, "of a clip")
    add_count(parser, "--rounds", 40, "measured rounds")
    add_device_and_file(parser)


def run(given: Namespace) -> int:
    """Print the table; with --json also write it."""
    config: RunConfig = resolve(given.recipe, given.overrides)
    if not isinstance(config.model, Sequence):
        raise UserError(
            f"bench step sqair: got {given.recipe}, needs a recipe of SQAIR, such as sqair-demo or sqair-mnist"
        )
    rows, gap = compare(config, given.frames, given.rounds, torch.device(given.device))
    print(f"loss and gradients are the same to {gap:.0e}")
    print(f"{'way':<10}{'least ms':>10}{'median ms':>11}{'faster':>8}{'by least':>10}")
    for row in rows:
        times = f"{row.least * 1e3:>10.1f}{row.median * 1e3:>11.1f}"
        print(f"{row.way:<10}{times}{row.faster:>8.2f}{row.faster_at_least:>10.2f}")
    if given.json:
        settings = {"recipe": given.recipe, "overrides": given.overrides, "clips": config.batch.size}
        settings |= {"frames": given.frames, "rounds": given.rounds, "device": given.device}
        settings |= {"threads": torch.get_num_threads(), "torch": torch.__version__, "differ": gap}
        given.json.write_text(json.dumps({"settings": settings, "rows": [asdict(r) for r in rows]}, indent=2))
    return 0
