"""What grouping costs without a model: stripes, connected components, k-means; a model's grouping is read beside them.

References of sets with object ids, for models with slots. Components and k-means are told what no model is: which
pixels belong to objects, and k-means how many objects a clip has. They have masks and boxes, and nothing else.
"""

from functools import partial

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Int64
from torch import Tensor

from model.interface import Video, Views
from trainer.evaluation.references import Reference
from trainer.evaluation.result import COMPONENTS, KMEANS, STRIPES
from trainer.scores.tracks import mask_boxes

MOST = 64  # numbers in a clip; parts beyond share the last one
ITERATIONS = 10  # of k-means, in each frame, at most


def groupings(slots: int) -> dict[str, Reference]:
    """The references for a model of so many slots; none for a model without any."""
    if not slots:
        return {}
    return {STRIPES: partial(stripes, count=slots), COMPONENTS: components, KMEANS: k_means}


def stripes(video: Video, count: int) -> Views | None:
    """`count` vertical stripes of one width, the same in every frame."""
    if objects(video) is None:
        return None
    batch, steps, _, height, width = video.frames.shape
    place = torch.arange(width, device=video.frames.device) * count // width
    masks = (place == torch.arange(count, device=place.device)[:, None]).to(video.frames.dtype)
    return Views(visible_masks=masks[:, None].expand(batch, steps, -1, height, -1))


def components(video: Video) -> Views | None:
    """What hangs together of the object pixels of a frame, side by side and not corner to corner, followed over time.

    A part has the number of the part of the frame before that it overlaps, in pairs with the greatest sum of
    intersections over unions. What has no such part is new: of two that touched and come apart, one.
    """
    there = objects(video)
    if there is None:
        return None
    numbers = np.stack([followed_components(clip) for clip in there.cpu().numpy()])
    return numbered(torch.from_numpy(numbers).to(there.device))


def k_means(video: Video) -> Views | None:
    """Object pixels of a frame in as many groups as its clip has objects, by place and colour (Lloyd).

    The sides of the frame and the range of a colour are of length 1. Groups start where those of the last frame ended;
    the first are far apart: each is the pixel that is farthest from those before it.
    """
    there = objects(video)
    if there is None:
        return None
    points, pixels, counted = object_pixels(video.frames, there)
    counts = object_counts(video)
    centres = points.new_zeros(len(points), max(int(counts.max()), 1), points.shape[-1])
    wanted = torch.arange(centres.shape[1], device=counts.device) < counts[:, None]
    begun = torch.zeros_like(counts, dtype=torch.bool)
    numbers = torch.zeros(there.flatten(2).shape, dtype=torch.long, device=there.device)
    for t in range(points.shape[1]):
        anew = ~begun & counted[:, t].any(1)
        if anew.any():
            first = far_apart(points[:, t], counted[:, t], centres.shape[1])
            centres, begun = torch.where(anew[:, None, None], first, centres), begun | anew
        group, centres = lloyd(points[:, t], counted[:, t], centres, wanted)
        numbers[:, t].scatter_(1, pixels[:, t], (group + 1) * counted[:, t])
    return numbered(numbers.view(there.shape))


def objects(video: Video) -> Bool[Tensor, "b t h w"] | None:
    """Which pixels truly belong to an object; None where that is not known."""
    ids = None if video.truth is None else video.truth.visible_ids
    return None if ids is None else ids > 0


def object_counts(video: Video) -> Int[Tensor, "b"]:
    """How many objects are seen in each clip, at most `MOST`."""
    assert video.truth is not None
    assert video.truth.visible_ids is not None
    seen = [int((ids.unique() > 0).sum()) for ids in video.truth.visible_ids]
    return torch.tensor(seen, device=video.frames.device).clamp(max=MOST)


def numbered(numbers: Int[Tensor, "b t h w"]) -> Views:
    """Masks and boxes of groups of pixels; number 0 is background."""
    numbers = numbers.clamp(max=MOST)
    count = max(int(numbers.max()), 1)
    masks = numbers[:, :, None] == torch.arange(1, count + 1, device=numbers.device)[:, None, None]
    return Views(visible_masks=masks.float(), boxes=mask_boxes(masks)[0])


def followed_components(there: Bool[np.ndarray, "t h w"]) -> Int64[np.ndarray, "t h w"]:
    """The number of each pixel's component, from 1 in the order of appearance; 0 = no object."""
    from scipy.ndimage import label  # takes a while to import
    from scipy.optimize import linear_sum_assignment

    numbers, known = np.zeros(there.shape, np.int64), 0
    before = np.zeros(there.shape[1:], np.int64)
    for t, frame in enumerate(there):
        parts, count = label(frame)
        old, places = np.unique(before[before > 0], return_inverse=True)
        pairs = places * (count + 1) + parts[before > 0]
        shared = np.bincount(pairs, minlength=len(old) * (count + 1)).reshape(len(old), count + 1)
        sizes = np.bincount(parts.ravel(), minlength=count + 1)
        fit = (shared / np.maximum(shared.sum(1, keepdims=True) + sizes - shared, 1))[:, 1:]
        rows, columns = linear_sum_assignment(fit, maximize=True)
        goes_on = fit[rows, columns] > 0
        names = np.zeros(count + 1, np.int64)
        names[1 + columns[goes_on]] = old[rows[goes_on]]
        new = 1 + np.flatnonzero(names[1:] == 0)
        names[new] = known + 1 + np.arange(len(new))
        known += len(new)
        before = numbers[t] = names[parts]
    return numbers


def object_pixels(
    frames: Float[Tensor, "b t c h w"], there: Bool[Tensor, "b t h w"]
) -> tuple[Float[Tensor, "b t n d"], Int[Tensor, "b t n"], Bool[Tensor, "b t n"]]:
    """Place and colour of the object pixels, which pixels they are, and which count: frames have more and less."""
    height, width = frames.shape[-2:]
    down = torch.linspace(0, 1, height, device=frames.device).view(-1, 1).expand(height, width)
    across = torch.linspace(0, 1, width, device=frames.device).expand(height, width)
    place = torch.stack([across, down]).expand(*frames.shape[:2], 2, -1, -1)
    points = torch.cat([place, frames], 2).flatten(3).transpose(2, 3)
    most = max(int(there.flatten(2).sum(2).max()), 1)
    counted, pixels = there.flatten(2).sort(dim=2, descending=True, stable=True)
    pixels = pixels[:, :, :most]
    return torch.take_along_dim(points, pixels[..., None], 2), pixels, counted[:, :, :most]


def far_apart(
    points: Float[Tensor, "b n d"], counted: Bool[Tensor, "b n"], count: int
) -> Float[Tensor, "b k d"]:
    """Points far from one another: the first is farthest from the mean, each other from those before it."""
    weight = counted[..., None].to(points.dtype)
    mean = (points * weight).sum(1, keepdim=True) / weight.sum(1, keepdim=True).clamp(min=1)
    distance, nearest = (points - mean).square().sum(2), torch.full_like(points[..., 0], torch.inf)
    chosen: list[Tensor] = []
    for _ in range(count):
        farthest = distance.masked_fill(~counted, -1).argmax(1)
        chosen.append(torch.take_along_dim(points, farthest[:, None, None], 1))
        distance = nearest = torch.minimum(nearest, (points - chosen[-1]).square().sum(2))
    return torch.cat(chosen, 1)


def lloyd(
    points: Float[Tensor, "b n d"],
    counted: Bool[Tensor, "b n"],
    centres: Float[Tensor, "b k d"],
    wanted: Bool[Tensor, "b k"],
) -> tuple[Int[Tensor, "b n"], Float[Tensor, "b k d"]]:
    """Groups of points and their means, after `ITERATIONS` at most; an empty group stays where it was."""
    group = torch.full(points.shape[:2], -1, device=points.device)
    for _ in range(ITERATIONS):
        distance = (points[:, :, None] - centres[:, None]).square().sum(3)
        nearest = distance.masked_fill(~wanted[:, None], torch.inf).argmin(2)
        if torch.equal(nearest, group):
            break
        group = nearest
        member = torch.nn.functional.one_hot(group, centres.shape[1]) * counted[..., None]
        members = member.to(points.dtype).transpose(1, 2)
        size = members.sum(2, keepdim=True)
        centres = torch.where(size > 0, members @ points / size.clamp(min=1), centres)
    return group, centres
