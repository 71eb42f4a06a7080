"""The one scan over time: a recurrent cell over the frames of a clip, keeping or recomputing its intermediate results.

Trees are nested tuples, NamedTuples, lists and dicts of tensors (torch.utils._pytree). Only the non-reentrant
`torch.utils.checkpoint` is used: the reentrant form is silently wrong under DDP and fails under ZeRO 2 and 3.
"""

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar, overload

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map, tree_unflatten
from torch.utils.checkpoint import checkpoint

from model.compiled import compiled
from model.cost import Cell, measure
from model.eager import as_they_are
from model.remat import Plan, Remat, blocks

as_they_are(checkpoint)

State = TypeVar("State")
In = TypeVar("In")  # inputs; over time, as are the next two but where a cell has them
X = TypeVar("X")  # what the cell takes
Y = TypeVar("Y")  # what it gives
Out = TypeVar("Out")  # outputs
Tree = TypeVar("Tree")


@overload
def unroll(
    cell: Cell[State, In, Out], state: State, inputs: In, *, remat: Remat, compile: bool = ...
) -> tuple[State, Out]: ...
@overload
def unroll(
    cell: Cell[State, X, Out],
    state: State,
    inputs: In,
    *,
    remat: Remat,
    compile: bool = ...,
    prepare: Callable[[In], X],
) -> tuple[State, Out]: ...
@overload
def unroll(
    cell: Cell[State, X, Y],
    state: State,
    inputs: In,
    *,
    remat: Remat,
    compile: bool = ...,
    prepare: Callable[[In], X],
    finish: Callable[[Y], Out],
) -> tuple[State, Out]: ...


def unroll(
    cell: Cell[State, Any, Any],
    state: State,
    inputs: Any,
    *,
    remat: Remat,
    compile: bool = False,
    prepare: Callable[[Any], Any] | None = None,
    finish: Callable[[Any], Any] | None = None,
) -> tuple[State, Any]:
    """Scan: state_t, y_t = cell(state_{t-1}, prepare(inputs)_t); outputs = finish(y).

    Work that needs no recurrent state belongs in `prepare` (encoders, input convolutions) and `finish` (decoders,
    losses): they see a block of time at once, and are recomputed with it, so that batching them does not hold
    T times their activations. Time is axis 1 of every leaf of `inputs`, of `prepare`'s and `finish`'s trees;
    `cell` sees leaves without it. The length of a block is the policy's choice, so `prepare` and `finish`
    must treat time steps alike. All three may use submodules and draw from torch's default generators, which is
    replayed exactly, and must have no other effect. Draws in `cell` are the same under every policy; draws in
    `prepare` and `finish` interleave with them block by block.

    Args:
        cell: one step. The state keeps its structure.
        state: before the first step.
        inputs: at least one leaf; where a cell needs only the time, `torch.arange(t)[None]` will do.
        remat: the policy. A byte budget covers checkpointed states, taped steps and the work of one step; neither
            inputs, parameters, outputs of `finish` nor the gradients of these, nor autograd's own bookkeeping
            (some kilobytes a step).
            It costs two more forward steps (`cost.measure`).
        compile: with grad, run the cell compiled (compiled.py); its class says how it is called.
        prepare: inputs of a block -> tree for `cell`; None = as they are.
        finish: outputs of `cell` over a block, stacked along axis 1 -> outputs; None = as they are.

    Returns:
        The last state, and the outputs of all steps. Without grad nothing is kept, and blocks only bound what
        `prepare` and `finish` batch.

    Raises:
        ValueError: leaves of `inputs` differ in length or there is no step.
        BudgetError: with grad, the budget is too small.
    """
    steps = _length(inputs)
    if compile and torch.is_grad_enabled():  # an evaluation comes with other shapes, for a few steps
        cell = compiled(cell)
    scan = _Scan(cell, prepare or _as_is, finish or _as_is)
    cost = measure(scan.cell, scan.prepare, scan.finish, state, inputs) if remat.kind == "bytes" else None
    plan = remat.plan(steps, cost, backward=torch.is_grad_enabled())
    state, outputs = scan.sequence(plan, state, _split(inputs, list(blocks(plan))))
    return state, outputs[0] if len(outputs) == 1 else tree_map(lambda *y: torch.cat(y, 1), *outputs)


def inner_gradient(objective: Callable[[Tree], Tensor], at: Tree) -> Tree:
    """Gradient of `objective` at `at`, detached from everything: what iterative inference feeds back to its cell.

    The gradient is taken at a detached copy, and the objective's intermediate results bypass an enclosing
    checkpoint; a plain `autograd.grad` there recomputes the block up to this step, each time.

    Args:
        objective: tree of tensors -> scalar; its parameters receive no gradient.
        at: tree of floating tensors.
    """
    leaves, spec = tree_flatten(at)
    # Detached, for an operation that saves its own result would hold itself, and never be freed.
    with torch.enable_grad(), saved_tensors_hooks(torch.Tensor.detach, _as_is):
        leaves = [leaf.detach().requires_grad_() for leaf in leaves]
        gradients = torch.autograd.grad(objective(tree_unflatten(leaves, spec)), leaves)
    result: Tree = tree_unflatten([g.detach() for g in gradients], spec)
    return result


class _Scan(Generic[State, In, X, Y, Out]):
    """The three functions of an unroll, and how a plan runs them."""

    def __init__(
        self, cell: Cell[State, X, Y], prepare: Callable[[In], X], finish: Callable[[Y], Out]
    ) -> None:
        self.cell, self.prepare, self.finish = cell, prepare, finish

    def sequence(self, plan: Plan, state: State, chunks: Sequence[In]) -> tuple[State, list[Out]]:
        """Run the segments of `plan` one after the other; `chunks` are the inputs of its blocks."""
        outputs: list[Out] = []
        for segment in plan:
            if isinstance(segment, int):
                state, output = self.block(state, chunks[len(outputs)])
                outputs.append(output)
            else:
                mine = chunks[len(outputs) : len(outputs) + sum(1 for _ in blocks(segment))]
                state, several = self.checkpointed(segment, state, mine)
                outputs.extend(several)
        return state, outputs

    def checkpointed(self, plan: Plan, state: State, chunks: Sequence[In]) -> tuple[State, list[Out]]:
        if not torch.is_grad_enabled():
            return self.sequence(plan, state, chunks)
        # Flat arguments: an enclosing checkpoint drops and restores the tensors it finds among the arguments,
        # but keeps whatever they are wrapped in, and with it the states that were to be forgotten.
        leaves, spec = tree_flatten((state, list(chunks)))
        result: tuple[State, list[Out]] = checkpoint(
            lambda *args: self.sequence(plan, *tree_unflatten(args, spec)), *leaves, use_reentrant=False
        )
        return result

    def block(self, state: State, chunk: In) -> tuple[State, Out]:
        """All steps of one block: `prepare` and `finish` batched over it, the cell step by step."""
        outputs: list[Y] = []
        for inputs in _unbind(self.prepare(chunk)):
            state, output = self.cell(state, inputs)
            outputs.append(output)
        return state, self.finish(tree_map(lambda *y: torch.stack(y, 1), *outputs))


def _length(inputs: Any) -> int:
    lengths = {x.shape[1] for x in tree_leaves(inputs)}
    if len(lengths) != 1 or 0 in lengths:
        raise ValueError(
            f"unroll: lengths of time (axis 1) of the inputs are {sorted(lengths)}, needs one, at least 1"
        )
    return int(lengths.pop())


def _split(tree: Tree, lengths: list[int]) -> list[Tree]:
    """One tree per block. A single split, whose backward is a single cat; slices would each fill a whole gradient."""
    if len(lengths) == 1:
        return [tree]  # the backward of a split into one would copy the whole gradient
    leaves, spec = tree_flatten(tree)
    return [
        tree_unflatten(list(x), spec) for x in zip(*(torch.split(x, lengths, 1) for x in leaves), strict=True)
    ]


def _unbind(tree: Tree) -> list[Tree]:
    leaves, spec = tree_flatten(tree)
    return [tree_unflatten(list(x), spec) for x in zip(*(x.unbind(1) for x in leaves), strict=True)]


def _as_is(tree: Tree) -> Tree:
    return tree
