"""What a run refuses to go on from: numbers that are not finite, ranks that hold different weights."""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from trainer.checkpoints.checkpoint import Checkpoint
from trainer.config import RunConfig
from trainer.engine import Engine
from trainer.process_group import ProcessGroup


class Soundness:
    """Looks at losses and weights. All ranks look at the same step, so that they find the same wrong and end together.

    Args:
        config: the run.
        group: this rank.
        found: the checkpoint that this start goes on from.
        observe: of telemetry; told what a comparison of ranks has found.
    """

    def __init__(
        self,
        config: RunConfig,
        group: ProcessGroup,
        found: Checkpoint | None,
        observe: Callable[[str, float], None],
    ) -> None:
        self._config, self._group, self._found, self._observe = config, group, found, observe

    def resumed(self, step: int) -> bool:
        """Whether `step` is the first after a checkpoint: nothing was learnt since."""
        return self._found is not None and step == self._found.step + 1

    def require_mean(self, loss: Float[Tensor, ""], step: int) -> None:
        """FloatingPointError unless the mean over ranks of the loss of `step` is finite. A collective."""
        self.require(float(self._group.total(loss.double().cpu()[None])) / self._group.world, step)

    def require(self, loss: float, step: int) -> None:
        """FloatingPointError unless the mean loss of `step` is finite."""
        if math.isfinite(loss):
            return
        self._observe("commonfate_loss", loss)
        if self._found and self.resumed(step):
            raise FloatingPointError(
                f"loss is {loss} at step {step}, the first from {self._config.output.rstrip('/')}/"
                f"{self._found.folder}; delete that folder to go on from an earlier checkpoint, or start in another "
                f"output"
            )
        raise FloatingPointError(f"loss is {loss} at step {step}; lower optim.lr or set optim.clip_norm")

    def compare(self, engine: Engine, step: int) -> None:
        """Whether all ranks have the same weights after `step`. A collective.

        ZeRO-3 shards weights: there is nothing to compare.

        Raises:
            FloatingPointError: a weight is not finite.
            RuntimeError: the ranks' weights differ.
        """
        if self._config.engine.zero_stage == 3:
            return
        rows = self._group.gather(engine.checksum())
        if not bool(torch.isfinite(rows).all()):
            raise FloatingPointError(
                f"weights are not finite after step {step}; lower optim.lr or set optim.clip_norm"
            )
        diverged = bool((rows != rows[0]).any())
        self._observe("commonfate_weights_divergence", float(diverged))
        if diverged:
            raise RuntimeError(
                f"ranks hold different weights at step {step}: {rows.tolist()}; restart the run"
            )
