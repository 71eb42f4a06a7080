"""One of two ranks of test_remat_matrix: trains under every engine and policy and writes the weights it ends with.

python remat_matrix_worker.py OUT      with RANK WORLD_SIZE LOCAL_RANK MASTER_ADDR MASTER_PORT set
"""

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from unittest.mock import patch

import deepspeed
import deepspeed.ops
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from model.layers.conv_lstm import ConvLSTM, ConvLSTMState, ConvLSTMWeights
from model.remat import Remat
from model.unroll import inner_gradient, unroll
from trainer.process_group import leave

POLICIES = ("none", "every:4", "every:4 kept", "sqrt", "bytes:90K")
ENGINES = ("plain", "ddp", "zero0", "zero1", "zero2", "zero3")
STEPS = 3


class Predictor(nn.Module):
    """What recomputation could get wrong: batched work, dropout, Gaussian and Bernoulli draws, a refinement."""

    def __init__(self, remat: str) -> None:
        super().__init__()
        self.remat = Remat.parse(remat)
        self.recurrent = ConvLSTM(2, 4, 3)
        self.energy = nn.Conv2d(4, 1, 1)
        self.decoder = nn.Conv2d(4, 2, 3, padding=1)
        self.dropout = nn.Dropout2d(0.2)
        self.calls = 0

    def cell(
        self, weights: ConvLSTMWeights | None, state: ConvLSTMState, projected: Tensor
    ) -> tuple[ConvLSTMState, Tensor]:
        self.calls += 1
        state = self.recurrent.step(state, projected, weights)
        slope = inner_gradient(lambda at: self.energy(at).square().sum(), state.hidden)
        gate = torch.bernoulli(torch.sigmoid(state.cell.detach()))
        hidden = (
            self.dropout(state.hidden)
            + 0.1 * gate * torch.randn_like(state.hidden) * state.cell
            - 0.1 * slope
        )
        return ConvLSTMState(hidden, state.cell), hidden

    def decode(self, hidden: Tensor) -> Tensor:
        return self.decoder(hidden.flatten(0, 1)).unflatten(0, hidden.shape[:2])

    def forward(self, frames: Tensor) -> Tensor:
        past = frames[:, :-1]
        state = self.recurrent.zero_state(past)
        weights = self.recurrent.weights(state)
        assert weights is not None
        state, predicted = unroll(
            partial(self.cell, weights),
            state,
            past,
            remat=self.remat,
            prepare=self.recurrent.inputs,
            finish=self.decode,
        )
        energy = self.energy(state.hidden).square().mean()
        return (predicted - frames[:, 1:]).square().mean() + 0.1 * energy


def steps_of(engine: str, model: Predictor) -> tuple[Callable[[Tensor], None], Callable[[], list[Tensor]]]:
    """One training step, and the full weights."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    if engine.startswith("zero"):
        stage = int(engine[4:])
        config = {
            "train_micro_batch_size_per_gpu": 2,
            "steps_per_print": 10**9,
            "gradient_clipping": 0.0,
            "zero_allow_untested_optimizer": True,
            # Nothing persists: every weight is gathered for each call and released after it.
            "zero_optimization": {"stage": stage}
            | ({"stage3_param_persistence_threshold": 0} if stage == 3 else {}),
        }
        wrapped = deepspeed.initialize(model=model, optimizer=optimizer, config=config)[0]

        def step(frames: Tensor) -> None:
            wrapped.backward(wrapped(frames))
            wrapped.step()

        def weights() -> list[Tensor]:
            with deepspeed.zero.GatheredParameters(list(model.parameters()), enabled=stage == 3):
                return [p.detach().clone() for p in model.parameters()]

        return step, weights

    runner = DistributedDataParallel(model) if engine == "ddp" else model

    def plain_step(frames: Tensor) -> None:
        optimizer.zero_grad()
        runner(frames).backward()
        optimizer.step()

    return plain_step, lambda: [p.detach().clone() for p in model.parameters()]


def train(engine: str, remat: str, rank: int) -> dict[str, object]:
    """The end of a run; `kept` runs the blocks of the policy with all their intermediate results kept."""
    policy, _, kept = remat.partition(" ")
    torch.manual_seed(0)
    model = Predictor(policy)
    step, weights = steps_of(engine, model)
    torch.manual_seed(100 + rank)
    with patch("model.unroll.checkpoint", call) if kept else nullcontext():
        for frames in clips(rank):
            step(frames)
    return {"weights": weights(), "calls": model.calls, "generator": torch.get_rng_state()}


def call(function: Callable[..., object], *args: object, use_reentrant: bool) -> object:
    return function(*args)


def clips(rank: int) -> Iterator[Tensor]:
    source = torch.Generator().manual_seed(10 + rank)
    for _ in range(STEPS):
        yield torch.rand(2, 12, 2, 8, 8, generator=source)


def main() -> None:
    torch.set_num_threads(1)
    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False  # else every start compiles it, a minute
    deepspeed.init_distributed("gloo")
    rank = int(os.environ["RANK"])
    results = {(engine, remat): train(engine, remat, rank) for engine in ENGINES for remat in POLICIES}
    torch.save(results, Path(sys.argv[1]) / f"rank{rank}.pt")
    leave(0)


if __name__ == "__main__":
    main()
