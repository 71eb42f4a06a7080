"""python -m trainer bench unroll: memory and time of the rematerialisation policies, next to the binomial optimum."""

import json
import statistics
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from model.cost import Cost, measure
from model.layers.conv_lstm import ConvLSTM, ConvLSTMState
from model.remat import Remat, binomial_optimum, most_waiting, peak_bytes, recomputed_steps
from model.unroll import unroll
from trainer.arguments import add_count
from trainer.bench.live_bytes import LiveBytes
from trainer.bench.options import add_device_and_file
from trainer.clock import clock_of, seconds

CHUNKS = ("every:4", "every:8", "every:16", "sqrt")
SHARES = (0.05, 0.1, 0.15, 0.25, 0.5)  # byte budgets, of the peak without rematerialisation


@dataclass(frozen=True)
class Row:
    """One policy, measured. Bytes are live activations at their peak, forward or backward; seconds a median."""

    policy: str
    peak_bytes: int
    peak_share: float  # of none
    seconds: float
    seconds_share: float  # of none
    recomputed_steps: int  # counted in the run
    slots: int  # states that the plan holds at once
    binomial_steps: int  # of Revolve within the plan's bytes, in blocks of the best single length


class Scan(nn.Module):
    """A ConvLSTM over random frames, with a convolutional read-out: the smallest model that has all three parts."""

    def __init__(self, steps: int, batch: int, channels: int, size: int, device: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.recurrent = ConvLSTM(channels, 2 * channels, kernel=3)
        self.readout = nn.Conv2d(2 * channels, channels, 1)
        self.to(device)
        self.frames = torch.rand(batch, steps, channels, size, size, device=device)
        self.state = self.recurrent.zero_state(self.frames)
        self.calls = 0
        # There before, so that they do not count.
        self.gradients = [torch.zeros_like(p) for p in self.parameters()]
        for parameter, gradient in zip(self.parameters(), self.gradients, strict=True):
            parameter.grad = gradient

    def cell(self) -> Callable[[ConvLSTMState, Tensor], tuple[ConvLSTMState, Tensor]]:
        """One step, counted, for one pass."""
        weights = self.recurrent.weights(self.state)

        def cell(state: ConvLSTMState, projected: Tensor) -> tuple[ConvLSTMState, Tensor]:
            self.calls += 1
            state = self.recurrent.step(state, projected, weights)
            return state, state.hidden

        return cell

    def finish(self, hidden: Tensor) -> Tensor:
        """Mean square of the read-out: b t d h w -> b t."""
        read: Tensor = self.readout(hidden.flatten(0, 1))
        return read.square().mean((1, 2, 3)).reshape(hidden.shape[:2])

    def cost(self) -> Cost:
        """What the planner reckons with."""
        return measure(self.cell(), self.recurrent.inputs, self.finish, self.state, self.frames)

    def run(self, remat: Remat) -> None:
        """Forward and backward."""
        _, losses = unroll(
            self.cell(),
            self.state,
            self.frames,
            remat=remat,
            prepare=self.recurrent.inputs,
            finish=self.finish,
        )
        losses.mean().backward()

    def seconds(self, remat: Remat) -> float:
        """Of forward and backward."""
        device = self.frames.device
        return seconds(partial(self.run, remat), device, clock_of(device))

    def peak(self, remat: Remat) -> int:
        """Live activation bytes at their peak."""
        live = LiveBytes()
        with live:
            live.exclude(self.frames, *self.state, *self.parameters(), *self.gradients)
            self.run(remat)
        return live.peak


def revolve(steps: int, cost: Cost, budget: int) -> int:
    """The binomial optimum over all lengths n of its blocks: room for what n taped steps leave of the budget."""
    fewest = [0] if steps * cost.step + cost.work <= budget else []
    for n in range(1, steps):
        slots = (budget - cost.work - n * cost.step) // cost.state
        if slots > 0:
            fewest.append(n * binomial_optimum(-(-steps // n), slots) - (-steps % n))
    return min(fewest)


def compare(scan: Scan, repeat: int) -> list[Row]:
    """All policies on `scan`: memory once (it does not vary), time `repeat` times in turns, for machines are noisy."""
    steps = scan.frames.shape[1]
    none, cost = scan.peak(Remat()), scan.cost()
    budgets = [
        int(none * share) for share in SHARES if none * share >= cost.work + cost.step + 2 * cost.state
    ]
    policies = [Remat(), *map(Remat.parse, CHUNKS), *(Remat("bytes", budget) for budget in budgets)]
    peaks, recomputed = [], []
    for policy in policies:
        scan.calls = 0
        peaks.append(scan.peak(policy))
        recomputed.append(scan.calls - steps - (2 if policy.kind == "bytes" else 0))  # two measured the cost
    turns = [[scan.seconds(policy) for policy in policies] for _ in range(repeat)]
    medians = [statistics.median(turn) for turn in zip(*turns, strict=True)]
    rows = []
    for policy, peak, again, median in zip(policies, peaks, recomputed, medians, strict=True):
        plan = policy.plan(steps, cost)
        assert again == recomputed_steps(plan), (
            f"{policy}: {again} steps recomputed, planned {recomputed_steps(plan)}"
        )
        limit = revolve(steps, cost, peak_bytes(plan, cost))
        rows.append(
            Row(str(policy), peak, peak / none, median, median / medians[0], again, most_waiting(plan), limit)
        )
    return rows


def options(parser: ArgumentParser) -> None:
    """How large the scan is, how long to measure and where."""
    add_count(parser, "--steps", 128, "of time")
    add_count(parser, "--batch", 4, "clips")
    add_count(parser, "--channels", 16, "of the frames; the state has twice as many")
    parser.add_argument(
        "--size",
        type=int,
        default=32,
        metavar="PIXELS",
        help="side of the frames; %(default)s by default",
    )
    add_count(parser, "--repeat", 3, "times to measure")
    add_device_and_file(parser)


def run(given: Namespace) -> int:
    """Print the table; with --json also write it."""
    scan = Scan(given.steps, given.batch, given.channels, given.size, given.device)
    rows = compare(scan, given.repeat)
    heads = ("peak MiB", "of none", "seconds", "of none", "again", "slots", "Revolve")
    print(f"{'policy':<16}" + "".join(f"{head:>9}" for head in heads))
    for row in rows:
        print(
            f"{row.policy:<16}{row.peak_bytes / 2**20:>9.1f}{row.peak_share:>9.1%}{row.seconds:>9.2f}"
            f"{row.seconds_share:>9.1%}{row.recomputed_steps:>9}{row.slots:>9}{row.binomial_steps:>9}"
        )
    if given.json:
        settings: dict[str, Any] = {k: v for k, v in vars(given).items() if k != "json"}
        settings |= {"threads": torch.get_num_threads(), "torch": torch.__version__}
        given.json.write_text(json.dumps({"settings": settings, "rows": [asdict(r) for r in rows]}, indent=2))
    return 0
