"""The tensor memory that is alive at any moment: exact, on any device, without an allocator's rounding."""

import weakref
from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveBytes(TorchDispatchMode):
    """Within it, `now` and `peak` are the bytes of the storages made inside and still held by Python or autograd.

    Storages made before do not count: parameters, inputs, gradients that are already there. Nor does what
    an operation allocates and frees inside itself (workspaces).
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = 0
        self.peak = 0
        self._known: set[int] = set()  # addresses of StorageImpl: stable while the storage lives

    def exclude(self, *tensors: Tensor) -> None:
        """Leave these out, for in-place operations and views would otherwise make them look new."""
        self._known.update(t.untyped_storage()._cdata for t in tensors)

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run the operation, then count the storages of its results that were not there before."""
        before = {x.untyped_storage()._cdata for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)}
        result = func(*args, **(kwargs or {}))
        for x in tree_leaves(result):
            if isinstance(x, Tensor) and x.untyped_storage()._cdata not in before | self._known:
                self._track(x)
        return result

    def _track(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        address, size = storage._cdata, storage.nbytes()
        self._known.add(address)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._forget, address, size)

    def _forget(self, address: int, size: int) -> None:
        self._known.discard(address)
        self.now -= size
