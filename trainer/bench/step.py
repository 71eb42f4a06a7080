"""What the machinery around a step costs: a bare torch loop, the engine with monitoring, the same through Ray.

All three train the same recipe on the same clips in the same order with the same threads. Each is a process of its
own; rounds interleave them, so that a machine whose speed drifts does not favour one.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from argparse import SUPPRESS, ArgumentParser, Namespace
from pathlib import Path

import torch

from data_shards.commands import given_path
from data_shards.loader import Loader
from trainer.arguments import add_count
from trainer.batch import to_video
from trainer.config import RunConfig
from trainer.flops import forward_flops, peak_flops
from trainer.optim import build_optimizer, learning_rate
from trainer.overrides import resolve
from trainer.process_group import seed_draws

INTERVAL = 10  # steps between two readings; the first reading of a process is warm-up and dropped


def bare(config: RunConfig) -> list[float]:
    """Seconds a step of a plain loop: no DeepSpeed, no monitoring, no checkpoints. One reading per interval."""
    if config.engine.threads:
        torch.set_num_threads(config.engine.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    seed_draws(config.seed)
    model = config.model.build().train().to(device)
    optimizer = build_optimizer(config.optim, model.parameters())
    size = config.batch.size
    loader = Loader(config.data, "train", size, range(size), start_step=0, seed=config.seed)
    readings, since = [], time.perf_counter()
    for step, batch in zip(range(config.steps), loader, strict=False):
        video = to_video(batch, device)
        seed_draws(config.seed, step, 0)
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device.type, torch.bfloat16, enabled=config.engine.precision == "bf16"):
            output = model(video, step)
        output.loss.backward()
        if config.optim.clip_norm:
            torch.nn.utils.clip_grad_norm_(model.parameters(), config.optim.clip_norm)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(config.optim, step, config.steps)
        optimizer.step()
        if (step + 1) % INTERVAL == 0:
            float(output.loss.detach())  # waits for a GPU
            readings.append((time.perf_counter() - since) / INTERVAL)
            since = time.perf_counter()
    loader.close()
    return readings[1:]


def through(package: str, words: list[str]) -> list[float]:
    """Seconds a step of `python -m PACKAGE train`, read from its metrics.jsonl."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", package, "train", *words, f"output={folder}/run"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=3600, env=os.environ)
        lines = [json.loads(line) for line in Path(folder, "run", "metrics.jsonl").read_bytes().splitlines()]
    return [line["step_s"] for line in lines if "step_s" in line][1:]


def options(parser: ArgumentParser) -> None:
    """Which run, and how long."""
    # Named, not %(default)s: while options and words may be mixed, argparse hides the default of a word.
    parser.add_argument(
        "recipe", nargs="?", default="demo", help="a name that `recipes` lists; demo by default"
    )
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="field.path=value",
        help="what differs from the recipe; data.url=... is needed",
    )
    add_count(parser, "--steps", 60, "of a round")
    add_count(parser, "--rounds", 3, "of each loop")
    parser.add_argument(
        "--no-ray", action="store_true", help="leave out the way through Ray, which is measured by default"
    )
    parser.add_argument(
        "--json", type=given_path, metavar="FILE", help="write the rows there too; not by default"
    )
    parser.add_argument("--bare", action="store_true", help=SUPPRESS)  # the process of the bare loop itself


def run(given: Namespace) -> int:
    """Print medians over rounds and their ratio to the bare loop; `--json FILE` writes them."""
    fixed = [
        f"steps={given.steps}",
        f"log_steps={INTERVAL}",
        f"checkpoint.steps={10**9}",
        "evaluation.steps=0",
    ]
    words = [given.recipe, *given.overrides, *fixed]
    config: RunConfig = resolve(words[0], words[1:])
    if given.bare:
        print(json.dumps(bare(config)))
        return 0
    kinds = ["bare", "trainer"] + ([] if given.no_ray else ["cluster"])
    readings: dict[str, list[list[float]]] = {kind: [] for kind in kinds}
    for _ in range(given.rounds):
        for kind in kinds:
            readings[kind].append(_bare_process(words) if kind == "bare" else through(kind, words))
    result = {kind: _summary(rounds, readings["bare"]) for kind, rounds in readings.items()}
    flops, peak = _work(config)
    print(f"{'loop':10} {'ms/step':>9} {'x bare':>7} {'share of peak':>14}")
    for kind, row in result.items():
        row["flops_share"] = flops / row["step_s"] / peak
        print(f"{kind:10} {row['step_s'] * 1e3:9.1f} {row['ratio']:7.3f} {row['flops_share']:14.1%}")
    print(f"model: {flops / 1e9:.2f} GFLOP a step; measured peak of this device: {peak / 1e9:.1f} GFLOP/s")
    if given.json:
        given.json.write_text(json.dumps({"rows": result, "flops": flops, "peak": peak}, indent=2))
    return 0


def _summary(rounds: list[list[float]], bare: list[list[float]]) -> dict[str, float]:
    """The median of all readings, and that of the ratio to the bare loop round by round, so that drift cancels."""
    ratios = [
        statistics.median(mine) / statistics.median(base) for mine, base in zip(rounds, bare, strict=True)
    ]
    return {
        "step_s": statistics.median(x for readings in rounds for x in readings),
        "ratio": statistics.median(ratios),
    }


def _bare_process(words: list[str]) -> list[float]:
    command = [sys.executable, "-m", "trainer", "bench", "step", "--bare", *words]
    steps = next(w for w in words if w.startswith("steps=")).removeprefix("steps=")
    done = subprocess.run(
        [*command, "--steps", steps], check=True, capture_output=True, text=True, timeout=3600
    )
    readings: list[float] = json.loads(done.stdout.splitlines()[-1])
    return readings


def _work(config: RunConfig) -> tuple[float, float]:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if config.engine.threads:
        torch.set_num_threads(config.engine.threads)
    loader = Loader(config.data, "train", config.batch.size, range(config.batch.size), start_step=0, seed=0)
    video = to_video(next(iter(loader)), device)
    loader.close()
    dtype = torch.bfloat16 if config.engine.precision == "bf16" else torch.float32
    return 3 * forward_flops(config.model.build().to(device), video, 0), peak_flops(device, dtype)
