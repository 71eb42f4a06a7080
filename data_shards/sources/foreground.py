"""What moves before a fixed camera: frames less their background, and the pieces that this leaves.

The background is the median over time, which needs no library, no tuning and no memory of what was seen before; the
subtractors of OpenCV also follow slow changes and tell shadows from people. Whoever stands still for more than half of
a stretch belongs to its background.
"""

import numpy as np
from jaxtyping import Bool, Int32, UInt8
from scipy import ndimage

SAMPLES = 50  # frames that the median is taken of
APART, TOGETHER = np.ones((3, 3), bool), np.ones((5, 5), bool)  # what opens and closes a mask
ROOM = 2  # pixels by which the larger one grows
DIAGONAL = np.ones((3, 3), bool)  # pixels that touch by a corner are of one piece


def background(frames: UInt8[np.ndarray, "t h w"]) -> UInt8[np.ndarray, "h w"]:
    """What most frames of a stretch show: the median of some, evenly spread over it."""
    chosen = np.unique(np.linspace(0, len(frames) - 1, SAMPLES).round().astype(int))
    still: UInt8[np.ndarray, "h w"] = np.median(frames[chosen], axis=0).astype(np.uint8)
    return still


def foreground(
    frames: UInt8[np.ndarray, "t h w"], still: UInt8[np.ndarray, "h w"], threshold: int
) -> Bool[np.ndarray, "t h w"]:
    """Pixels that differ from the background by more than `threshold` levels; specks removed, holes closed."""
    differs = np.abs(frames.astype(np.int16) - still) > threshold
    # With room around, for what grows over an edge comes back whole.
    wider = np.pad(differs, ((0, 0), (ROOM, ROOM), (ROOM, ROOM)))
    masks = [ndimage.binary_closing(ndimage.binary_opening(mask, APART), TOGETHER) for mask in wider]
    return np.stack(masks)[:, ROOM:-ROOM, ROOM:-ROOM]


def pieces(mask: Bool[np.ndarray, "h w"], least: int) -> Int32[np.ndarray, "n 4"]:
    """Boxes x0 y0 x1 y1 of the connected pieces of at least that many pixels."""
    labels, _ = ndimage.label(mask, DIAGONAL)
    areas = np.bincount(labels.ravel())
    boxes = [
        (x.start, y.start, x.stop, y.stop)
        for number, (y, x) in enumerate(ndimage.find_objects(labels), start=1)
        if areas[number] >= least
    ]
    return np.array(boxes, np.int32).reshape(-1, 4)
