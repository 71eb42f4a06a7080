"""What a step of a recurrence costs in memory: measured by running one, for the planner of byte budgets."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias, TypeVar

import torch
from torch import Tensor, UntypedStorage
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._pytree import tree_leaves, tree_map

State = TypeVar("State")
In = TypeVar("In")
X = TypeVar("X")
Y = TypeVar("Y")
# (state, inputs of one step) -> (state, outputs of one step)
Cell: TypeAlias = Callable[[State, X], tuple[State, Y]]


class Cost(NamedTuple):
    """Bytes. A block of n steps, while k states wait for their backward pass, peaks at `k state + n step + work`."""

    step: int  # per step of a block
    state: int  # one recurrent state: what a checkpoint keeps
    work: int  # whatever the block's length: the state being worked on, and the temporaries of one step


def measure(
    cell: Cell[State, X, Y],
    prepare: Callable[[In], X],
    finish: Callable[[Y], Any],
    state: State,
    inputs: In,
) -> Cost:
    """The cost of the step that `cell`, `prepare` and `finish` make together (see `unroll`), from two forward steps.

    What both steps hold (parameters, inputs) does not count. `prepare` and `finish` are batched over a block, so
    their temporaries grow with it; a gradient is as large as its tensor, and one operation has at most
    two in hand. Hence, per step, the largest of three moments:

    - the forward's end: everything held, and the largest temporary of `finish`;
    - backward through `finish`: everything saved, and its two largest gradients;
    - backward through `prepare`, the cells done: what it saved, and its two largest gradients.

    The generators are put back and nothing stays attached: a run draws the same with and without.
    """
    first = tree_map(lambda x: x[:, :1].detach().requires_grad_(x.requires_grad), inputs)
    seen = []
    devices = sorted({x.device.index for x in tree_leaves((first, state)) if x.is_cuda})
    with torch.random.fork_rng(devices):
        for _ in range(2):
            # As in mid-scan.
            state = tree_map(lambda x: x.detach().requires_grad_(x.is_floating_point()), state)
            step = _Storages()
            with saved_tensors_hooks(step.save, lambda x: x):
                step.hold((first, state))
                prepared = step.hold(prepare(first))
                step.phase = "cell"
                state, output = cell(state, tree_map(lambda x: x[:, 0], prepared))
                step.hold((state, output))
                step.phase = "finish"
                step.hold(finish(step.hold(tree_map(lambda y: torch.stack([y], 1), output))))
            seen.append(step)
    both = {storage._cdata for _, _, storage in seen[0].records}
    records = [r for r in seen[1].records if r[2]._cdata not in both]
    finish_widest = max((s.nbytes() for phase, _, s in records if phase == "finish"), default=0)
    prepare_widest = max((s.nbytes() for phase, _, s in records if phase == "prepare"), default=0)
    per_step = max(
        _total(s for _, _, s in records) + finish_widest,
        _total(s for _, saved, s in records if saved) + 2 * finish_widest,
        _total(s for phase, saved, s in records if saved and phase == "prepare") + 2 * prepare_widest,
    )
    size = sum(leaf.numel() * leaf.element_size() for leaf in tree_leaves(state))
    return Cost(step=per_step, state=size, work=per_step + size)


class _Storages:
    """The storages of one step, held so that no address is used twice: phase, saved by autograd, storage."""

    def __init__(self) -> None:
        self.phase = "prepare"
        self.records: list[tuple[str, bool, UntypedStorage]] = []

    def save(self, tensor: Tensor) -> Tensor:
        self.records.append((self.phase, True, tensor.untyped_storage()))
        return tensor.detach()  # an operation that saves its own result would hold itself, and never be freed

    def hold(self, tree: Any) -> Any:
        self.records.extend((self.phase, False, leaf.untyped_storage()) for leaf in tree_leaves(tree))
        return tree


def _total(storages: Any) -> int:
    return sum({s._cdata: s.nbytes() for s in storages}.values())
