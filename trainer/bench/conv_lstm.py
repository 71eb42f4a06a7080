"""The ConvLSTM next to a plain loop over time, as OpenSTL and others write it: `bench step conv-lstm`.

A round is one forward and one backward pass of each, in turns, from the gradient of all hidden maps to those of
input and weights; no loss, no optimiser. Seconds are of this process on a CPU, so that others do not count.
"""

import json
import statistics
from argparse import ArgumentParser, Namespace
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product

import torch
from jaxtyping import Float
from torch import Tensor, nn

from data_shards.mistake import UserError
from model.layers.conv_lstm import ConvLSTM, ConvLSTMState
from model.remat import Remat
from model.unroll import unroll
from trainer.arguments import add_count
from trainer.bench.live_bytes import LiveBytes
from trainer.bench.options import add_device_and_file
from trainer.clock import clock_of, seconds
from trainer.flops import peak_flops


@dataclass(frozen=True)
class Size:
    """A layer and its input: clips, frames, channels in and hidden, side of the kernel and of the maps."""

    name: str
    batch: int
    steps: int
    channels: int
    hidden: int
    kernel: int
    side: int

    @property
    def flops(self) -> float:
        """Of all convolutions, forward and backward."""
        weights = 4 * self.hidden * (self.channels + self.hidden) * self.kernel**2
        return 3.0 * 2 * weights * self.batch * self.steps * self.side**2

    def __str__(self) -> str:
        sides = f"{self.kernel}x{self.kernel} on {self.side}x{self.side}"
        return f"{self.name}: B {self.batch}, T {self.steps}, {self.channels} -> {self.hidden}, {sides}"


SIZES = (
    Size("AE-ConvLSTM, first", 8, 10, 16, 64, 7, 32),
    Size("AE-ConvLSTM, second", 8, 10, 64, 16, 7, 32),
    Size("small", 8, 10, 16, 16, 3, 32),
    Size("small", 8, 10, 16, 16, 3, 16),
    Size("small", 4, 10, 16, 16, 3, 8),
    Size("LSTM", 8, 10, 64, 64, 1, 1),
    Size("AE-fcLSTM", 8, 10, 1024, 1024, 1, 1),
)
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Row:
    """One way to compute one size in one precision. Medians over rounds; ratios within a round."""

    size: str
    way: str  # two: plain, two convolutions a step; one: plain, of both side by side; ours
    precision: str
    seconds: float
    faster: float  # than two, in the same precision
    faster_than_fp32: float  # than two in fp32
    flops: float  # a second, of the convolutions' count
    share: float  # of the measured peak in this precision
    peak_bytes: int  # live activations


class PlainConvLSTM(nn.Module):
    """What peers write: all inside the loop, gate by gate.

    Args:
        size: of the layer.
        joined: one convolution, of input and hidden map side by side, instead of one of each.
    """

    def __init__(self, size: Size, joined: bool) -> None:
        super().__init__()
        width, pad, self.hidden = 4 * size.hidden, size.kernel // 2, size.hidden
        if joined:
            self.conv = nn.Conv2d(size.channels + size.hidden, width, size.kernel, padding=pad)
        else:
            self.conv_x = nn.Conv2d(size.channels, width, size.kernel, padding=pad)
            self.conv_h = nn.Conv2d(size.hidden, width, size.kernel, padding=pad)
        self.joined = joined

    def forward(self, x: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b t d h w"]:
        """The hidden maps of all steps."""
        h = c = x.new_zeros(x.shape[0], self.hidden, *x.shape[3:])
        hidden = []
        for t in range(x.shape[1]):
            if self.joined:
                i, f, o, g = torch.split(self.conv(torch.cat([x[:, t], h], 1)), self.hidden, 1)
            else:
                i_x, f_x, o_x, g_x = torch.split(self.conv_x(x[:, t]), self.hidden, 1)
                i_h, f_h, o_h, g_h = torch.split(self.conv_h(h), self.hidden, 1)
                i, f, o, g = i_x + i_h, f_x + f_h, o_x + o_h, g_x + g_h
            i, f, o, g = torch.sigmoid(i), torch.sigmoid(f), torch.sigmoid(o), torch.tanh(g)
            c = f * c + i * g
            h = o * torch.tanh(c)
            hidden.append(h)
        return torch.stack(hidden, 1)


class Ours(nn.Module):
    """The ConvLSTM as the models run it: in the unroll."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.layer = ConvLSTM(size.channels, size.hidden, size.kernel)

    def forward(self, x: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b t d h w"]:
        """The hidden maps of all steps."""
        start = self.layer.zero_state(x)
        weights = self.layer.weights(start)

        def cell(state: ConvLSTMState, frame: Tensor) -> tuple[ConvLSTMState, Tensor]:
            state = self.layer.step(state, frame, weights)
            return state, state.hidden

        hidden: Tensor = unroll(cell, start, x, remat=Remat(), prepare=self.layer.inputs)[1]
        return hidden


def step(module: nn.Module, x: Float[Tensor, "b t c h w"], precision: str) -> None:
    """Forward under the autocast of the engine, and backward."""
    with torch.autocast(x.device.type, torch.bfloat16, enabled=precision == "bf16"):
        hidden = module(x)
    hidden.backward(torch.ones_like(hidden))
    module.zero_grad()
    x.grad = None


def compare(size: Size, rounds: int, device: torch.device, peaks: dict[str, float]) -> list[Row]:
    """All ways in all precisions, in turns; the first round warms up and is dropped."""
    torch.manual_seed(0)
    ways = {"two": PlainConvLSTM(size, False), "one": PlainConvLSTM(size, True), "ours": Ours(size)}
    x = torch.rand(size.batch, size.steps, size.channels, size.side, size.side, device=device)
    x.requires_grad_()
    kinds = list(product(ways, PRECISIONS))
    times: dict[tuple[str, str], list[float]] = {kind: [] for kind in kinds}
    for number in range(rounds + 1):
        for way, precision in kinds:
            module = ways[way].to(device)
            taken = seconds(partial(step, module, x, precision), device, clock_of(device))
            if number:
                times[way, precision].append(taken)
    rows = []
    for way, precision in kinds:
        mine, live = times[way, precision], LiveBytes()
        with live:
            live.exclude(x, *ways[way].parameters())
            step(ways[way], x, precision)
        median = statistics.median(mine)
        faster, faster_than_fp32 = (
            statistics.median(a / b for a, b in zip(times["two", p], mine, strict=True))
            for p in (precision, "fp32")
        )
        rate = size.flops / median
        share = rate / peaks[precision]
        rows.append(Row(str(size), way, precision, median, faster, faster_than_fp32, rate, share, live.peak))
    return rows


def options(parser: ArgumentParser) -> None:
    """How long, on which sizes and where."""
    add_count(parser, "--rounds", 9, "measured rounds of each size")
    parser.add_argument(
        "--sizes", type=int, nargs="*", metavar="N", help="rows of the table of sizes, from 0; all by default"
    )
    add_device_and_file(parser)


def run(given: Namespace) -> int:
    """Print the table; with --json also write it."""
    wanted = range(len(SIZES)) if given.sizes is None else given.sizes
    if given.rounds < 1 or not all(0 <= n < len(SIZES) for n in wanted):
        raise UserError(
            f"bench step conv-lstm: got --rounds {given.rounds} --sizes {list(wanted)}, "
            f"needs at least 1 round and sizes from 0 to {len(SIZES) - 1}"
        )
    device = torch.device(given.device)
    peaks = {name: peak_flops(device, dtype, clock_of(device)) for name, dtype in PRECISIONS.items()}
    print("peak, GFLOP/s: " + ", ".join(f"{name} {value / 1e9:.0f}" for name, value in peaks.items()))
    rows = []
    for n in wanted:
        print(SIZES[n])
        print(HEADER)
        for row in compare(SIZES[n], given.rounds, device, peaks):
            rows.append(row)
            print(_line(row), flush=True)
    print(
        "faster: than two convolutions a step in a plain loop, in the same precision; vs fp32: than that in fp32"
    )
    if given.json:
        settings = {"rounds": given.rounds, "device": given.device, "threads": torch.get_num_threads()}
        settings |= {"torch": torch.__version__, "peaks": peaks}
        given.json.write_text(json.dumps({"settings": settings, "rows": [asdict(r) for r in rows]}, indent=2))
    return 0


HEADER = f"  {'way':<5}{'':<5}{'ms':>10}{'faster':>8}{'vs fp32':>8}{'GFLOP/s':>9}{'of peak':>9}{'MiB':>8}"


def _line(row: Row) -> str:
    times = f"{row.seconds * 1e3:>10.2f}{row.faster:>8.2f}{row.faster_than_fp32:>8.2f}"
    work = f"{row.flops / 1e9:>9.1f}{row.share:>9.1%}{row.peak_bytes / 2**20:>8.1f}"
    return f"  {row.way:<5}{row.precision:<5}{times}{work}"
