"""The step of a recurrence as fewer kernels, by torch.compile.

On a CPU it needs a C++ compiler and one to two minutes when a run starts (less with what an earlier run has left in
torch's cache), for steps that take three quarters to five sixths of the time; see RESULTS.md. Sums are taken in another
order: losses and gradients are equal but for rounding, and so the curves of two runs, one compiled, drift apart.
"""

import warnings
from functools import cache, partial
from typing import Any

import torch

from model.cost import Cell


def compiled(cell: Cell[Any, Any, Any]) -> Cell[Any, Any, Any]:
    """The same step, compiled when it is first called, once for each class of cells and shape of their inputs.

    Numbers that change from call to call must be tensors: plain ones are constants to the compiler.
    """
    kind: Any = type(cell)
    return partial(_step(kind), cell)


@cache
def _step(kind: Any) -> Any:
    # Tables that depend on a size are cached; the compiler says that it looks past the cache, which is right.
    warnings.filterwarnings("ignore", "Dynamo detected a call to a `functools.lru_cache`")
    warnings.filterwarnings("ignore", category=FutureWarning, module="torch._inductor")  # at its own calls
    # With torch's generators: recomputed blocks draw what they drew, and the same as without a compiler.
    return torch.compile(kind.__call__, dynamic=False, options={"fallback_random": True})
