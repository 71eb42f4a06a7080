"""The scan: the same gradients under every policy, exactly the planned work, within the memory budgeted."""

from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from model.cost import measure
from model.remat import Remat, recomputed_steps
from model.unroll import unroll

POLICIES = ["every:1", "every:4", "every:5", "sqrt", "every:100"]


class Belief(NamedTuple):
    mean: Tensor
    memory: dict[str, tuple[Tensor, Tensor]]


class Drawing(nn.Module):
    """A cell with dropout, Gaussian and Bernoulli draws, a nested state and nested inputs and outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.Linear(3, 6)
        self.recur = nn.Linear(6, 6)
        self.decode = nn.Linear(6, 2)
        self.dropout = nn.Dropout(0.3)
        self.calls = 0

    def prepare(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"code": torch.tanh(self.encode(inputs["frames"])), "time": inputs["time"]}

    def cell(self, state: Belief, x: dict[str, Tensor]) -> tuple[Belief, dict[str, Any]]:
        self.calls += 1
        h, (a, b) = state.mean, state.memory["pair"]
        mean = torch.tanh(self.recur(h) + x["code"] + 0.1 * torch.sin(x["time"]).unsqueeze(-1))
        sample = mean + torch.randn_like(mean) * torch.sigmoid(a)
        gate = torch.bernoulli(torch.sigmoid(b.detach()))
        state = Belief(self.dropout(sample), {"pair": (a * gate + mean, b + sample)})
        return state, {"sample": sample, "both": (mean, gate * b)}

    def finish(self, outputs: dict[str, Any]) -> dict[str, Tensor]:
        return {"seen": self.decode(outputs["sample"] + outputs["both"][0]), "gated": outputs["both"][1]}

    def run(
        self, remat: str, steps: int, dtype: torch.dtype = torch.float32
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Values and gradients of a run from a fixed seed; counts its calls anew."""
        self.to(dtype).zero_grad()
        self.calls = 0
        torch.manual_seed(7)
        frames = torch.randn(2, steps, 3, dtype=dtype, requires_grad=True)
        start = torch.randn(2, 6, dtype=dtype, requires_grad=True)
        state, outputs = unroll(
            self.cell,
            Belief(start, {"pair": (start * 0.5, torch.zeros(2, 6, dtype=dtype))}),
            {"frames": frames, "time": torch.arange(steps, dtype=dtype)[None]},
            remat=Remat.parse(remat),
            prepare=self.prepare,
            finish=self.finish,
        )
        values = [outputs["seen"], outputs["gated"], state.mean, *state.memory["pair"]]
        (sum(v.square().mean() for v in values) + torch.randn(()) * 0).backward()
        leaves = [frames, start, *self.parameters()]
        return [v.detach() for v in values], [g.clone() for g in (x.grad for x in leaves) if g is not None]


@pytest.mark.parametrize("steps", [1, 2, 13])
@pytest.mark.parametrize("remat", [*POLICIES, "bytes:5000", "bytes:3800"])
def test_values_and_gradients_do_not_depend_on_the_policy(remat: str, steps: int) -> None:
    """To the last bits of double precision: batching over other blocks only adds up in another order."""
    cell = Drawing()
    values, gradients = cell.run("none", steps, torch.float64)
    assert len(gradients) == 8
    others, other_gradients = cell.run(remat, steps, torch.float64)
    torch.testing.assert_close(others, values, atol=1e-14, rtol=0)
    torch.testing.assert_close(other_gradients, gradients, atol=1e-14, rtol=0)


@pytest.mark.parametrize("remat", [*POLICIES, "bytes:2500", "bytes:1900"])
def test_recomputation_is_exact(remat: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In single precision and to the bit, draws included: as the same blocks with everything kept."""
    cell = Drawing()
    values, gradients = cell.run(remat, 13)
    monkeypatch.setattr("model.unroll.checkpoint", lambda f, *args, use_reentrant: f(*args))
    kept, kept_gradients = cell.run(remat, 13)
    assert cell.calls == 13 + 2 * remat.startswith("bytes")
    torch.testing.assert_close(values, kept, atol=0, rtol=0)
    torch.testing.assert_close(gradients, kept_gradients, atol=0, rtol=0)


@pytest.mark.parametrize("remat", POLICIES)
def test_the_generator_ends_where_it_would_without(remat: str) -> None:
    cell = Drawing()
    cell.run("none", 9)
    expected = torch.rand(3)
    cell.run(remat, 9)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(
    ("remat", "calls"),
    [
        ("none", 13),
        ("every:1", 25),
        ("every:4", 22),
        ("every:5", 21),
        ("every:12", 14),
        ("sqrt", 22),
        ("every:13", 13),
    ],
)
def test_cells_are_called_as_often_as_planned(remat: str, calls: int) -> None:
    """T, and once more for each step that is not in the last chunk."""
    cell = Drawing()
    cell.run(remat, 13)
    assert cell.calls == calls


@pytest.mark.parametrize("waiting", [1, 2, 3, 6])
def test_nested_checkpoints_make_no_more_calls_than_revolve(waiting: int) -> None:
    layer, calls = nn.Linear(8, 8), 0

    def cell(state: Tensor, x: Tensor) -> tuple[Tensor, tuple[()]]:
        nonlocal calls
        calls += 1
        # Much to tape and little to carry, so that a block is a single step.
        return torch.tanh(layer(torch.tanh(layer(torch.tanh(layer(state + x)).repeat(9, 1))))[:2]), ()

    x, state = torch.randn(2, 20, 8), torch.zeros(2, 8)
    cost = measure(cell, lambda x: x, lambda y: y, state, x)
    calls = 0
    remat = Remat("bytes", cost.work + cost.step + waiting * cost.state)
    plan = remat.plan(20, cost)
    last, _ = unroll(cell, state, x, remat=remat)
    last.sum().backward()
    assert calls == 2 + 20 + recomputed_steps(plan)
    # r l - C(s + r, r - 1) for l = 20. With one state there is one way; with more, blocks of two steps fit at times.
    optimum = {1: 190, 2: 85, 3: 59, 6: 36}[waiting]
    assert calls - 22 == optimum if waiting == 1 else calls - 22 < optimum


def test_plain_tensors_are_trees() -> None:
    x = torch.rand(2, 5, 3)
    for remat in (Remat(), Remat("every", 2)):
        state, outputs = unroll(lambda s, x: (s + x, s), torch.zeros(2, 3), x, remat=remat)
        torch.testing.assert_close(state, x.sum(1))
        torch.testing.assert_close(outputs, x.cumsum(1) - x)


@pytest.mark.parametrize("remat", ["none", "every:2", "bytes:1G", "bytes:1400", "bytes:1"])
def test_without_grad_nothing_is_checkpointed(remat: str) -> None:
    cell, lengths = Drawing(), []

    def prepare(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        lengths.append(inputs["frames"].shape[1])
        return cell.prepare(inputs)

    inputs = {"frames": torch.randn(2, 7, 3), "time": torch.arange(7.0)[None]}
    state = Belief(torch.zeros(2, 6), {"pair": (torch.zeros(2, 6), torch.zeros(2, 6))})
    with torch.no_grad(), pytest.MonkeyPatch.context() as patch:
        patch.setattr("model.unroll.checkpoint", lambda *_, **__: pytest.fail("checkpoint was called"))
        _, outputs = unroll(
            cell.cell, state, inputs, remat=Remat.parse(remat), prepare=prepare, finish=cell.finish
        )
    assert not outputs["seen"].requires_grad
    assert cell.calls == 7 + 2 * remat.startswith("bytes")
    assert sum(lengths) == cell.calls
    expected = {"every:2": [1, 2, 2, 2], "bytes:1G": [1, 1, 7], "bytes:1": [1, 1] + 7 * [1]}
    assert lengths == expected.get(remat, lengths)


def test_refuses_inputs_of_no_or_unequal_length() -> None:
    def cell(state: Tensor, x: Any) -> tuple[Tensor, Tensor]:
        return state, state

    for inputs in (torch.rand(2, 0, 3), (torch.rand(2, 4), torch.rand(2, 5)), ()):
        with pytest.raises(ValueError, match="needs one, at least 1"):
            unroll(cell, torch.zeros(2), inputs, remat=Remat())


def test_too_small_a_budget_is_refused() -> None:
    with pytest.raises(ValueError, match="the least that works here is 'bytes:"):
        Drawing().run("bytes:10", 13)
