"""Where each slot looks first: parts of the frame, or groups that are found in the clip.

The paper leaves open what tells its slots apart before anything is known of them. Halves of the frame do, but they cut
objects in two and let one slot take two objects; groups of the pixels that stand out in this very clip do not. No
gradient flows through a start.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from model.object_discovery.looks import HALF_ALIKE, Looks, first_looks, strength, unknown_looks
from model.ops.neighbourhood import greatest_around
from model.ops.spatial_transformer import pixel_centres

STARTS = ("frame", "clip", "change")
COLOUR = 0.5  # weight of a difference of colour beside one of place, in units of half the frame
SOFTNESS = 0.05  # of the border between two groups, in squared units of half the frame
REACH = 5  # pixels: the interior of a plain object does not change, what is near its edges is taken for it
CERTAIN = 0.9  # what stands out by less does not tell what a group looks like
HALF = 0.5  # what stands out by more is taken for part of an object where groups may touch
TOUCHING = 3  # neighbouring pixels, one of each, from which two groups touch


class Start(NamedTuple):
    """What is known of the slots before the first frame was decomposed."""

    supports: Float[Tensor, "b k h w"]  # where each looks, in [0, 1]
    looks: Looks
    background: Float[Tensor, "b c h w"]  # what is taken for it where it was not seen yet
    salience: Float[Tensor, "b h w"]  # how much a pixel stands out, taken for a change in the first frame


def places(slots: int, like: Float[Tensor, "b c h w"]) -> Float[Tensor, "b {slots} h w"]:
    """Half-planes that face evenly around the centre of the frame, soft."""
    height, width = like.shape[-2:]
    angle = (torch.arange(slots, device=like.device) + 0.25) * (2 * torch.pi / slots)
    direction = torch.stack([angle.cos(), angle.sin()], -1)
    facing = (pixel_centres(height, width, like=like)[:, :, None] * direction).sum(-1).permute(2, 0, 1)
    return torch.sigmoid(4 * facing).expand(like.shape[0], -1, -1, -1)


def from_places(slots: int, frame: Float[Tensor, "b c h w"]) -> Start:
    """Each looks at its own part of any frame; nothing is known of looks."""
    batch, _, height, width = frame.shape
    looks = unknown_looks(slots, frame)
    black = torch.zeros_like(frame)
    return Start(places(slots, like=frame), looks, black, frame.new_zeros(batch, height, width))


@torch.no_grad()
def from_groups(slots: int, frame: Float[Tensor, "b c h w"], merging: bool = False) -> Start:
    """Groups of the pixels that stand out, by place and colour: k-means that begins with points far from each other.

    A pixel stands out as far as its colour is from the frame's median, which is taken for the background's at first.
    With `merging` there may be fewer groups than slots (see `_merged`); the slots left over look nowhere.
    """
    background = frame.flatten(2).median(-1).values[..., None, None].expand_as(frame)
    return _grouped(slots, frame, background, strength(frame - background), merging)


@torch.no_grad()
def from_change(
    slots: int, frame: Float[Tensor, "b c h w"], other: Float[Tensor, "b c h w"], merging: bool = False
) -> Start:
    """The same on any background: what stands out in `frame` is near a change to the `other` one, of a moment later.

    The background there is made up from what lies around it, so that what an object is about to cover does not stand
    out.
    """
    near = near_change(frame - other)
    background = filled(frame, 1 - near)
    return _grouped(slots, frame, background, near[:, 0] * strength(frame - background), merging)


def near_change(difference: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 1 h w"]:
    """How strong a change is within reach, in [0, 1]."""
    return greatest_around(strength(difference)[:, None], REACH)


def filled(frame: Float[Tensor, "b c h w"], known: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b c h w"]:
    """The frame where it is known (1), elsewhere (0) means of what is known around it, the nearer the finer."""
    levels = [(frame * known, known)]
    while levels[-1][1].shape[-1] % 2 == 0 and levels[-1][1].shape[-2] % 2 == 0:
        levels.append((F.avg_pool2d(levels[-1][0], 2), F.avg_pool2d(levels[-1][1], 2)))
    whole, weight = (x.mean((-1, -2), keepdim=True) for x in levels[0])
    guess = whole / weight.clamp(min=1e-6)
    for colours, weight in reversed(levels):
        guess = F.interpolate(guess, size=weight.shape[-2:], mode="bilinear", align_corners=False)
        guess = colours + (1 - weight) * guess
    return guess


def _grouped(
    slots: int,
    frame: Float[Tensor, "b c h w"],
    background: Float[Tensor, "b c h w"],
    salience: Float[Tensor, "b h w"],
    merging: bool,
) -> Start:
    batch, _, height, width = frame.shape
    places = pixel_centres(height, width, like=frame).flatten(0, 1).expand(batch, -1, -1)
    points = torch.cat([places, COLOUR * frame.flatten(2).mT], -1)
    # Edges are of mixed colours, far from those of their objects: a group too many would be the edge of one.
    weights = (_inside(salience) if merging else salience).flatten(1) + 1e-6
    free = frame.new_zeros(batch, slots, 1)
    centres = _means(points, weights, _far_apart(points, weights, slots), free)
    distances = _distances(centres, points)
    shape = batch, slots, height, width
    certain = (weights > CERTAIN)[:, None]
    looks = first_looks((_nearest(distances) * certain).view(shape), frame)
    if merging:
        out_there = (_nearest(distances) * (salience.flatten(1) > HALF)[:, None]).view(shape)
        merged = _merged(out_there, looks)[..., None]
        free = torch.where(merged, torch.inf, 0.0)
        centres = _means(points, weights, centres, free)
        distances = _distances(centres, points) + free
        looks = first_looks((_nearest(distances) * certain).view(shape), frame)
    supports = torch.softmax(-distances / SOFTNESS, 1).view(shape)
    return Start(supports, looks, background, salience)


def _inside(salience: Float[Tensor, "b h w"]) -> Float[Tensor, "b h w"]:
    """The least of a pixel's and its four neighbours'."""
    across = -F.max_pool2d(-salience, (1, 3), 1, (0, 1))
    return torch.minimum(across, -F.max_pool2d(-salience, (3, 1), 1, (1, 0)))


def _merged(held: Float[Tensor, "b k h w"], looks: Looks) -> Bool[Tensor, "b k"]:
    """Which groups are parts of an earlier one: they touch, or others in a row between them do, and look alike.

    Groups of one more than the objects, 200 clips each: of pairs of one object 98.5 % are told (2 sprites) and 98.0 %
    (3), of pairs of two objects 0.0 and 0.1 % are taken for one. Objects of one colour that touch are taken for one.
    """
    touching = held.new_zeros(())
    for axis in (-1, -2):
        size = held.shape[axis] - 1
        before, after = held.narrow(axis, 0, size).flatten(2), held.narrow(axis, 1, size).flatten(2)
        touching = touching + before @ after.mT
    apart = looks.colours[:, :, None] - looks.colours[:, None]
    alike = 1 - strength(apart[..., None, None])[..., 0, 0] > HALF_ALIKE
    seen = looks.pixels > 0
    one = (touching + touching.mT >= TOUCHING) & alike & seen & seen.mT
    joined = (one | torch.eye(held.shape[1], dtype=torch.bool, device=held.device)).to(held.dtype)
    for _ in range(held.shape[1].bit_length()):
        joined = (joined @ joined).clamp(max=1)
    return joined.tril(-1).any(-1)


def _far_apart(
    points: Float[Tensor, "b n d"], weights: Float[Tensor, "b n"], count: int
) -> Float[Tensor, "b {count} d"]:
    """Points that are far from the weighted mean, and then from each other."""
    mean = (weights[..., None] * points).sum(1, keepdim=True) / weights.sum(1)[:, None, None]
    far = (points - mean).square().sum(-1)
    found: list[Tensor] = []
    for _ in range(count):
        at = (weights * far).argmax(1)[:, None, None].expand(-1, -1, points.shape[-1])
        found.append(points.gather(1, at))
        distance = (points - found[-1]).square().sum(-1)
        far = torch.minimum(far, distance) if len(found) > 1 else distance
    return torch.cat(found, 1)


def _means(
    points: Float[Tensor, "b n d"],
    weights: Float[Tensor, "b n"],
    centres: Float[Tensor, "b k d"],
    free: Float[Tensor, "b k 1"],
    rounds: int = 5,
) -> Float[Tensor, "b k d"]:
    """Weighted k-means. `free`: added to the distances of each; infinite, it holds nothing."""
    for _ in range(rounds):
        held = _nearest(_distances(centres, points) + free) * weights[:, None]
        centres = (held @ points) / held.sum(-1, keepdim=True).clamp(min=1e-6)
    return centres


def _distances(centres: Float[Tensor, "b k d"], points: Float[Tensor, "b n d"]) -> Float[Tensor, "b k n"]:
    """Squared. By differences: a product of matrices would depend on the other clips of the batch."""
    return (points[:, None] - centres[:, :, None]).square().sum(-1)


def _nearest(distances: Float[Tensor, "b k n"]) -> Float[Tensor, "b k n"]:
    """1 where a centre is the nearest of a point, else 0."""
    return F.one_hot(distances.min(1).indices, distances.shape[1]).mT.to(distances.dtype)
