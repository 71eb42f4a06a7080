"""The ceilings: true masks, orders, velocities and colours through the model's own warp, gamma and composition.

The levels were measured once with an independent implementation of the same generator; a model far above its ceiling
has seen the answer, and an operation that is wrong shows as a ceiling that is not reached.
"""

from typing import NamedTuple

import numpy as np
import pytest
import torch
from jaxtyping import Float
from scipy.ndimage import shift
from torch import Tensor

from data_shards.sources.sprites import Sprites
from model import MODELS
from model.interface import Truth, Video
from model.ops.composition import compose_layers, to_identities, to_ranks, visible
from model.ops.cycle import Layers, paths, reproject
from model.ops.sinkhorn import hard_permutation
from model.ops.spatial_transformer import inverse, translation, warp

CLIPS = 24
SIZE = 64
SAMPLING = 1.5  # dB that another sample of so few clips may be off, where a level depends much on the clip


class Levels(NamedTuple):
    """Mean PSNR in dB of one-step predictions, 4x anti-aliased sprites on black."""

    copy_last: float
    random_order: float
    right_order: float
    black: float


LEVELS = {
    2: Levels(18.1, 33.0, 36.5, 14.4),
    3: Levels(16.7, 28.3, 34.7, 13.0),
    # Published: 34.2, which neither this generator's clips nor scipy on the same clips reach (see RESULTS.md); the
    # other levels of that row, and its 33.0 dB for the second frame alone (ours 33.1), are reached.
    4: Levels(16.2, 25.8, 33.8, 12.0),
}


@pytest.fixture(params=sorted(LEVELS), scope="module")
def objects(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture(scope="module")
def clips(objects: int) -> Video:
    return true_clips(objects, 0, CLIPS)


def true_clips(objects: int, first: int, count: int) -> Video:
    """True sprites at the paper's size, as the trainer would hand them to a model."""
    source = Sprites(objects=objects)
    made = [source.clip("test", index, seed=0) for index in range(first, first + count)]

    def stack(name: str) -> Tensor:
        return torch.from_numpy(np.stack([getattr(clip, name) for clip in made]))

    truth = Truth(
        amodal_masks=stack("amodal_masks").float() / 255,
        depth_ranks=stack("depth_ranks").long(),
        velocities=stack("velocities"),
        colours=stack("colours"),
    )
    return Video(stack("frames").permute(0, 1, 4, 2, 3).float() / 255, truth)


def psnr(guess: Float[Tensor, "b t c h w"], frames: Float[Tensor, "b t c h w"]) -> float:
    """Mean of per-frame dB."""
    error = (guess - frames).square().mean((-1, -2, -3)).clamp(min=1e-10)
    return float((-10 * error.log10()).mean())


def layers(video: Video) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Masks (b t k h w), motion (b t k 3 3), colours (b k c h w) and the order (b k k) of the truth."""
    truth = video.truth
    assert truth is not None
    assert truth.amodal_masks is not None and truth.velocities is not None  # noqa: PT018
    assert truth.colours is not None and truth.depth_ranks is not None  # noqa: PT018
    motion = translation(truth.velocities[:, :-1] * (2 / SIZE))
    colours = truth.colours[..., None, None].expand(-1, -1, -1, SIZE, SIZE)
    order = torch.nn.functional.one_hot(truth.depth_ranks, truth.colours.shape[1]).float()
    return truth.amodal_masks, motion, colours, order


def one_step(video: Video, order: Float[Tensor, "b k k"]) -> Float[Tensor, "b s c h w"]:
    """Eq. 12 to 15 with everything true but perhaps the order; predictions of frames 2..T."""
    masks, motion, colours, _ = layers(video)
    moved = warp(masks[:, :-1, :, None], inverse(motion))[:, :, :, 0]
    order = order[:, None].expand(-1, moved.shape[1], -1, -1)
    weights = to_identities(order, visible(to_ranks(order, moved)))
    return compose_layers(
        weights,
        colours[:, None].expand(-1, moved.shape[1], -1, -1, -1, -1),
        torch.zeros_like(video.frames[:, :-1]),
    )


def test_the_order_is_what_the_last_decibels_are_worth(clips: Video, objects: int) -> None:
    """Too few clips for the levels themselves, enough for their distance."""
    right = psnr(one_step(clips, layers(clips)[3]), clips.frames[:, 1:])
    shuffled = psnr(one_step(clips, random_order(objects, CLIPS)), clips.frames[:, 1:])
    levels = LEVELS[objects]
    assert right == pytest.approx(levels.right_order, abs=SAMPLING)
    assert right - shuffled == pytest.approx(levels.right_order - levels.random_order, abs=2 * SAMPLING)


@pytest.mark.slow
def test_the_levels_are_those_of_the_table(objects: int) -> None:
    """400 clips; standard error 0.1 dB, and no less of the table."""
    parts = []
    for first in range(0, 400, 50):
        video = true_clips(objects, first, 50)
        target = video.frames[:, 1:]
        parts.append(
            Levels(
                copy_last=psnr(video.frames[:, :-1], target),
                random_order=psnr(one_step(video, random_order(objects, 50)), target),
                right_order=psnr(one_step(video, layers(video)[3]), target),
                black=psnr(torch.zeros_like(target), target),
            )
        )
    measured = np.mean(parts, axis=0)
    tolerances = Levels(copy_last=0.4, random_order=0.6, right_order=0.3, black=0.4)
    for name, ours, theirs, dB in zip(Levels._fields, measured, LEVELS[objects], tolerances, strict=True):
        assert ours == pytest.approx(theirs, abs=dB), name


def test_scipy_and_a_painter_reach_the_same_ceiling(clips: Video, objects: int) -> None:
    """The same prediction by other means: scipy's linear interpolation, pixels given away front to back."""
    truth = clips.truth
    assert truth is not None
    assert truth.amodal_masks is not None and truth.velocities is not None  # noqa: PT018
    assert truth.colours is not None and truth.depth_ranks is not None  # noqa: PT018
    masks, velocities = truth.amodal_masks.double().numpy(), truth.velocities.double().numpy()
    predicted = np.zeros(clips.frames[:, 1:].shape)
    for b, t in np.ndindex(predicted.shape[:2]):
        taken = np.zeros((SIZE, SIZE))
        for k in np.argsort(truth.depth_ranks[b].numpy()):
            dx, dy = velocities[b, t, k]
            moved = shift(masks[b, t, k], (dy, dx), order=1, mode="constant", prefilter=False)
            shown = np.maximum(0, moved - taken)
            taken += moved
            predicted[b, t] += shown * truth.colours[b, k].double().numpy()[:, None, None]
    ours = psnr(one_step(clips, layers(clips)[3]), clips.frames[:, 1:])
    assert ours == pytest.approx(psnr(torch.from_numpy(predicted), clips.frames[:, 1:].double()), abs=0.02)


def random_order(objects: int, count: int) -> Tensor:
    return hard_permutation(torch.randn(count, objects, objects))


def test_copy_last_and_black_are_where_they_were_measured(clips: Video, objects: int) -> None:
    """Within what so few clips allow; the levels themselves are checked on 400."""
    output = MODELS["copy-last"]().build()(clips, 0)
    assert output.views.prediction is not None
    assert psnr(output.views.prediction, clips.frames[:, 1:]) == pytest.approx(
        LEVELS[objects].copy_last, abs=SAMPLING
    )
    black = torch.zeros_like(clips.frames[:, 1:])
    assert psnr(black, clips.frames[:, 1:]) == pytest.approx(LEVELS[objects].black, abs=SAMPLING)


@pytest.mark.parametrize(("first", "second"), [(0, 9), (4, 5), (2, 7)])
def test_the_cycle_reaches_the_ceiling_both_ways(clips: Video, first: int, second: int, objects: int) -> None:
    """Eq. 21 to 25: one warp by the composed motion blurs as little as one step, over any gap, in both directions."""
    masks, motion, colours, order = layers(clips)
    black = torch.zeros_like(clips.frames[:, 0])
    colours, background, order = (
        x[:, None].expand(-1, clips.frames.shape[1], *x.shape[1:]) for x in (colours, black, order)
    )
    truth, start = Layers(masks, colours, background, order, motion), range(first, first + 1)
    path = paths(motion, start, second - first)
    there = reproject(truth, path, start, second - first, "forward")[:, 0]
    back = reproject(truth, path, start, second - first, "backward")[:, 0]
    ceiling = LEVELS[objects].right_order - 2.0  # a single gap is noisier than the mean over ten
    assert psnr(there[:, None], clips.frames[:, second, None]) > ceiling
    assert psnr(back[:, None], clips.frames[:, first, None]) > ceiling
