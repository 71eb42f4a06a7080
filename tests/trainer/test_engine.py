"""DeepSpeed's optimiser after a load: the state is the checkpoint's, the settings are the config's."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from model.interface import ModelOutput, Video, VideoModel, Views
from trainer.engine import Engine, deepspeed_config
from trainer.overrides import resolve
from trainer.process_group import ProcessGroup

LR = 0.125
GRADIENT = torch.tensor([1.0, -2.0, 0.5, 4.0])
START = torch.tensor([0.5, 1.0, -1.0, 2.0])


class Slope(VideoModel):
    """Its loss has the same gradient everywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(START.clone())

    def forward(self, video: Video, step: int) -> ModelOutput:
        return ModelOutput((self.weight * GRADIENT.to(self.weight)).sum(), {}, lambda: Views())

    def predict(self, video: Video, horizon: int) -> Tensor:
        raise ValueError("predicts nothing")


def engine(alone: ProcessGroup, stage: int, *optim: str) -> Engine:
    words = [f"optim.{word}" for word in (f"lr={LR}", "clip_norm=0", "clip_value=0", *optim)]
    config = resolve("demo", ["batch.size=1", "batch.micro=1", f"engine.zero_stage={stage}", *words])
    return Engine(Slope(), config, alone)


def descend(engine: Engine) -> None:
    engine.backward(engine.forward(Video(torch.zeros(1, 1, 1, 1, 1)), 0).loss)
    engine.update(LR, last=True)


def resumed(alone: ProcessGroup, folder: Path, stage: int, before: list[str], after: list[str]) -> Tensor:
    """The weights after one step with the settings `before`, a restart and one step with those `after`."""
    first = engine(alone, stage, *before)
    descend(first)
    first.save(folder)
    first.close()
    second = engine(alone, stage, *after)
    second.load(folder)
    descend(second)
    weights = second.weights()["weight"]
    second.close()
    return weights


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_changed_momentum_and_weight_decay_take_effect_after_a_load(
    alone: ProcessGroup, tmp_path: Path, stage: int
) -> None:
    before = ["name=sgd", "momentum=0.5", "weight_decay=0.25"]
    after = ["name=sgd", "momentum=0.75", "weight_decay=0.0"]
    buffer = GRADIENT + 0.25 * START
    weights = START - LR * buffer
    weights = weights - LR * (0.75 * buffer + GRADIENT)
    torch.testing.assert_close(resumed(alone, tmp_path, stage, before, after), weights)


@pytest.mark.parametrize("stage", [0, 1])
def test_changed_decay_of_squares_takes_effect_after_a_load(
    alone: ProcessGroup, tmp_path: Path, stage: int
) -> None:
    square = 0.5 * GRADIENT**2
    weights = START - LR * GRADIENT / (square.sqrt() + 0.125)
    square = 0.25 * square + 0.75 * GRADIENT**2
    weights = weights - LR * GRADIENT / (square.sqrt() + 0.5)
    before = ["name=rmsprop", "momentum=0", "weight_decay=0", "alpha=0.5", "eps=0.125"]
    after = ["name=rmsprop", "momentum=0", "weight_decay=0", "alpha=0.25", "eps=0.5"]
    torch.testing.assert_close(resumed(alone, tmp_path, stage, before, after), weights)


@pytest.mark.parametrize("stage", [0, 1])
def test_changed_betas_take_effect_after_a_load(alone: ProcessGroup, tmp_path: Path, stage: int) -> None:
    mean, square = 0.5 * GRADIENT, 0.25 * GRADIENT**2
    weights = START - LR * (mean / 0.5) / ((square / 0.25).sqrt() + 0.125)
    mean, square = 0.25 * mean + 0.75 * GRADIENT, 0.5 * square + 0.5 * GRADIENT**2
    rooted = (square / (1 - 0.5**2)).sqrt() + 0.5
    weights = weights - LR * mean / (1 - 0.25**2) / rooted
    before = ["name=adam", "weight_decay=0", "betas=[0.5, 0.75]", "eps=0.125"]
    after = ["name=adam", "weight_decay=0", "betas=[0.25, 0.5]", "eps=0.5"]
    torch.testing.assert_close(resumed(alone, tmp_path, stage, before, after), weights)


class Product(VideoModel):
    """Its loss is a matrix product and tells, as a term, in how many bits it was made."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((2, 2), 1.0))

    def forward(self, video: Video, step: int) -> ModelOutput:
        product = torch.ones(2, 2) @ self.weight
        bits = torch.tensor(float(torch.finfo(product.dtype).bits))
        return ModelOutput(product.float().sum(), {"bits": bits}, lambda: Views())

    def predict(self, video: Video, horizon: int) -> Tensor:
        raise ValueError("predicts nothing")


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
@pytest.mark.parametrize(("precision", "bits"), [("fp32", 32), ("bf16", 16)])
@pytest.mark.parametrize("device_asked", ["cuda", "cpu"])
def test_the_precision_is_that_of_the_config(
    alone: ProcessGroup,
    monkeypatch: pytest.MonkeyPatch,
    stage: int,
    precision: str,
    bits: int,
    device_asked: str,
) -> None:
    """Also where the question without a device is about the one in use, as it is on a GPU: DeepSpeed asks so."""
    answer = torch.is_autocast_enabled
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda device=device_asked: answer(device))
    words = [
        f"engine.precision={precision}",
        f"engine.zero_stage={stage}",
        "optim.name=sgd",
        "optim.clip_norm=0",
    ]
    config = resolve("demo", ["batch.size=1", "batch.micro=1", *words])
    engine = Engine(Product(), config, alone)
    output = engine.forward(Video(torch.zeros(1, 1, 1, 1, 1)), 0)
    engine.backward(output.loss)
    engine.update(0.25, last=True)
    assert output.terms["bits"] == bits
    weights = engine.weights()["weight"]
    assert weights.dtype == torch.float32
    torch.testing.assert_close(weights, torch.full((2, 2), 1.0 - 0.25 * 2))
    engine.close()


def test_the_batch_is_shared_out_or_refused() -> None:
    config = resolve("demo", ["batch.size=12", "batch.micro=2", "optim.clip_norm=0"])
    assert config.batch.micro_of(3) == 2
    tree = deepspeed_config(config, 3)
    assert (tree["gradient_accumulation_steps"], tree["train_micro_batch_size_per_gpu"]) == (2, 2)
    assert tree["gradient_clipping"] == 0.0  # DeepSpeed's default would be 1.0
    assert deepspeed_config(config, 3, weights=7)["zero_optimization"]["stage3_max_reuse_distance"] == 7
    with pytest.raises(ValueError, match=r"field batch\.size: got 12, needs a multiple of"):
        config.batch.micro_of(4)
    assert resolve("demo", ["batch.size=12"]).batch.micro_of(4) == 3
    with pytest.raises(ValueError, match=r"batch\.size"):
        resolve("demo", ["batch.size=2"]).batch.micro_of(4)
