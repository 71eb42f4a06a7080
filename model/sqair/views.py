"""What AIR and SQAIR show of a clip: one particle's objects, each in a row of its own for as long as it is known."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from model.interface import Particles, Views
from model.ops.glimpse import boxes


class Shown(NamedTuple):
    """Objects after each frame, slot by slot, without a graph."""

    where: Float[Tensor, "b t k 4"]
    presence: Float[Tensor, "b t k"]
    identities: Int[Tensor, "b t k"]
    objects: Float[Tensor, "b t k c h w"]  # each alone in the frame


def views(
    shown: Shown, particles: Particles | None, prediction: Float[Tensor, "b q c h w"] | None = None
) -> Views:
    """Masks are how much light an object gives: what is lit is the object, which the models have no other notion of."""
    rows = steady_rows(shown.identities)
    where, presence, identities = (_sorted(x, rows) for x in shown[:3])
    light = _sorted(shown.objects, rows).amax(3).clamp(0, 1) * presence[..., None, None]
    return Views(
        prediction=prediction,
        amodal_masks=light,
        visible_masks=light / light.sum(2, keepdim=True).clamp(min=1),
        boxes=boxes(where, shown.objects.shape[-1]),
        presence=presence,
        identities=identities,
        particles=particles,
    )


def steady_rows(identities: Int[Tensor, "b t k"]) -> Int[Tensor, "b t k"]:
    """Which slot each row shows: an object keeps its row, a new one gets the first that is free."""
    rows = torch.empty_like(identities)
    held = torch.zeros_like(identities[:, 0])
    for t in range(identities.shape[1]):
        now = identities[:, t]
        same = (held[:, :, None] == now[:, None]) & (now > 0)[:, None]
        # Rows and slots that belong to nobody are paired in order.
        row_free, slot_free = ~same.any(2), ~same.any(1)
        there = (now > 0) & slot_free
        by_need = torch.argsort((2 * there + slot_free).long(), dim=1, descending=True, stable=True)
        by_room = torch.argsort(row_free.long(), dim=1, descending=True, stable=True)
        chosen = torch.zeros_like(now).scatter(1, by_room, by_need)
        rows[:, t] = torch.where(row_free, chosen, same.long().argmax(2))
        held = now.gather(1, rows[:, t])
    return rows


def _sorted(x: Tensor, rows: Int[Tensor, "b t k"]) -> Tensor:
    return torch.take_along_dim(x, rows.reshape(*rows.shape, *(1,) * (x.dim() - 3)), 2)
