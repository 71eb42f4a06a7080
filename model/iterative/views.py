"""What is shown of a clip once all its cells are through, and what is said of it."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from model.interface import Refinements, Views
from model.iterative.cell import Step
from model.iterative.grid import Grid


@dataclass(frozen=True)
class Shown:
    """What all cells have drawn, detached. Rows are clips or, where each frame stands alone, frames.

    Args:
        masks: of every cell.
        means: likewise.
        grid: which cell is which.
        clips: of the batch.
        predicts: a frame's first drawing owes nothing to it.
    """

    masks: Float[Tensor, "rows cells k h w"]
    means: Float[Tensor, "rows cells k c h w"]
    grid: Grid
    clips: int
    predicts: bool

    def __call__(self) -> Views:
        """The last drawing of each frame; of all but the first also the first, as prediction; and those between."""
        firsts, lasts = self.grid.firsts, self.grid.lasts
        most = int((lasts - firsts).max()) + 1
        # The last stands for those beyond it.
        each = torch.minimum(firsts[:, None] + torch.arange(most), lasts[:, None])
        mixed = self.mixed
        return Views(
            prediction=mixed[:, firsts[1:]] if self.predicts else None,
            visible_masks=self._by_clip(self.masks[:, lasts]),
            slot_frames=self._by_clip(self.means[:, lasts]),
            refinements=Refinements(self._by_clip(self.masks[:, each]), self._by_clip(mixed[:, each])),
        )

    @property
    def mixed(self) -> Float[Tensor, "rows cells c h w"]:
        """The frames that slots make."""
        return (self.masks.unsqueeze(3) * self.means).sum(2)

    def _by_clip(self, x: Float[Tensor, "rows s *x"]) -> Float[Tensor, "b t *x"]:
        return x.reshape(self.clips, -1, *x.shape[2:])


@torch.no_grad()
def terms(steps: Step, shown: Shown, frames: Float[Tensor, "rows t c h w"]) -> dict[str, Float[Tensor, ""]]:
    """Of the last drawings, a frame on average; and the errors of the mixes, of the last and the first drawings."""
    firsts, lasts = shown.grid.firsts, shown.grid.lasts
    error = (shown.mixed - frames[:, shown.grid.frame[0]]).square().mean((2, 3, 4))
    said = {
        "nll": steps.nll[:, lasts].mean(),
        "kl": steps.kl[:, lasts].mean(),
        "mask_entropy": steps.entropy[:, lasts].mean(),
        "explained_mse": error[:, lasts].mean(),
    }
    if shown.predicts and len(firsts) > 1:
        said["predicted_mse"] = error[:, firsts[1:]].mean()
    return {name: value.detach() for name, value in said.items()}
