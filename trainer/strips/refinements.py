"""Iterative inference as rows of pictures: what each refinement changes, and what each slot draws in the end."""

from jaxtyping import Float
from torch import Tensor

from model.interface import Video, Views
from trainer.pictures.picture import PALETTE, Strip, labelled, rgb
from trainer.scores.segmentation import predicted_ids

DRAWN, OWNED, PART = "drawn after", "owners after", "part"  # kinds of rows


def refinement_strips(views: Views, video: Video) -> list[Strip]:
    """Frames as slots make them, and who owns their pixels, from the first guess on; the parts of the last."""
    known = views.refinements
    if known is None:
        return []
    rows = []
    if known.frames is not None:
        about = (
            "the frame as its slots make it, after so many refinements; those without a further one repeat"
        )
        for r, frames in enumerate(known.frames[0].unbind(1)):
            rows.append(Strip(f"{DRAWN} {r}", about, rgb(frames), kind=DRAWN))
    if known.masks is not None:
        for r, masks in enumerate(known.masks[0].unbind(1)):
            ids = (predicted_ids(masks) + 1) % (masks.shape[1] + 1)
            pictures = labelled(ids, PALETTE, video.frames[0, : len(ids)])
            rows.append(Strip(f"{OWNED} {r}", "the slot that owns each pixel by then", pictures, kind=OWNED))
    if views.visible_masks is not None and views.slot_frames is not None:
        rows += _parts(views.visible_masks[0, :, :, None] * views.slot_frames[0])
    return rows


def _parts(parts: Float[Tensor, "t k c h w"]) -> list[Strip]:
    about = "what this slot gives to the frame, as much as its mask is there"
    return [Strip(f"{PART} {k + 1}", about, rgb(part), kind=PART) for k, part in enumerate(parts.unbind(1))]
