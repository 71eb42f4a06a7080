"""Where a slot went: against brute force, and on what was moved by a known way."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import Float
from torch import Tensor

from model.object_discovery.cell import found_again, state_before
from model.object_discovery.matching import FEW, STEADY, matched_shift
from model.object_discovery.model import Config
from model.object_discovery.starts import from_places
from model.ops.spatial_transformer import translation, warp


def smooth(seed: int, channels: int = 3, size: int = 24) -> Float[Tensor, "1 c h w"]:
    """A picture without detail finer than two pixels, so that it can be moved by a fraction of one."""
    noise = torch.rand(1, channels, size // 2, size // 2, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(noise, size=size, mode="bilinear", align_corners=False)


def moved(picture: Float[Tensor, "1 c h w"], pixels: Float[Tensor, " 2"]) -> Float[Tensor, "1 c h w"]:
    """By (x, y)."""
    return warp(picture, translation(-pixels[None] * 2 / picture.shape[-1]))


def window(size: int = 24) -> Float[Tensor, "1 1 h w"]:
    """A square in the middle."""
    weights = torch.zeros(1, 1, size, size)
    weights[..., 7:-7, 7:-7] = 1
    return weights


@settings(max_examples=15, deadline=None)
@given(x=st.floats(-3.0, 3.0), y=st.floats(-3.0, 3.0), seed=st.integers(0, 50))
def test_a_shift_is_found_to_less_than_half_a_pixel(x: float, y: float, seed: int) -> None:
    picture, true = smooth(seed), torch.tensor([x, y])
    found = matched_shift(picture[:, None], window(), moved(picture, true), 4)
    assert (found[0, 0] - true).abs().max() < 0.45  # the further one is dearer


def test_whole_shifts_are_those_of_brute_force() -> None:
    """On noise, where no shift is like another; the frame is black outside."""
    generator = torch.Generator().manual_seed(3)
    template, frame = (
        torch.rand(2, 3, 2, 8, 9, generator=generator),
        torch.rand(2, 2, 8, 9, generator=generator),
    )
    weights = torch.rand(2, 3, 8, 9, generator=generator)
    reach = 2
    found = matched_shift(template, weights, frame, reach)
    black = F.pad(frame, (reach,) * 4)
    for clip in range(2):
        for slot in range(3):
            errors = {}
            for y in range(-reach, reach + 1):
                for x in range(-reach, reach + 1):
                    there = black[clip, :, reach + y : reach + y + 8, reach + x : reach + x + 9]
                    squared = (there - template[clip, slot]).square().sum(0)
                    mean = (weights[clip, slot] * squared).sum() / (weights[clip, slot].sum() + FEW)
                    errors[x, y] = float(mean) + STEADY * (x**2 + y**2)
            best = torch.tensor(min(errors, key=lambda shift: errors[shift]))
            assert (found[clip, slot] - best).abs().max() <= 0.5 + 1e-4


def test_each_slot_is_looked_for_alone() -> None:
    """Two that pass each other: neither is told where the other went."""
    one, other = smooth(1), smooth(2)
    left, right = torch.zeros(1, 1, 24, 24), torch.zeros(1, 1, 24, 24)
    left[..., 8:16, 3:10], right[..., 8:16, 14:21] = 1, 1
    there = torch.cat([one * left, left], 1), torch.cat([other * right, right], 1)
    (a, mask_a), (b, mask_b) = (
        moved(x, torch.tensor(way)).split([3, 1], 1)
        for x, way in zip(there, ([2.0, 1.0], [-1.0, 0.0]), strict=True)
    )
    frame = a * mask_a + b * mask_b * (1 - mask_a)
    found = matched_shift(torch.stack([one, other], 1), torch.cat([left, right], 1), frame, 4)
    torch.testing.assert_close(found[0], torch.tensor([[2.0, 1.0], [-1.0, 0.0]]), atol=0.3, rtol=0)


@pytest.mark.parametrize("weights", [torch.zeros(1, 1, 24, 24), window()])
def test_what_tells_nothing_moves_nothing(weights: Tensor) -> None:
    """Nothing is expected to be seen, or all places look alike."""
    template, frame = (smooth(1), smooth(2)) if not weights.any() else (torch.ones(1, 3, 24, 24),) * 2
    assert (matched_shift(template[:, None], weights, frame, 4).abs() < 0.02).all()


def test_all_that_is_expected_moves_with_the_slot() -> None:
    config = Config.small().build()
    frames = smooth(1, 3, 16)[:, None]
    state = state_before(config.config, config.masks, from_places(3, frames[:, 0]), frames)
    true = torch.tensor([2.0, -1.0])
    memory, held = smooth(4, 3, 16), torch.zeros(1, 1, 16, 16)
    held[..., 5:11, 4:10] = 1
    state = state._replace(
        colours=memory[:, None].expand(-1, 3, -1, -1, -1),
        supports=held.expand(-1, 3, -1, -1),
        expected=held.expand(-1, 3, -1, -1),
    )
    after = found_again(state, moved(memory, true), 4)
    shift = after.motion[0, :, :2, 2] * 8
    torch.testing.assert_close(shift, true.expand(3, -1), atol=0.3, rtol=0)
    torch.testing.assert_close(after.supports[0, 0], moved(held, shift[0])[0, 0], atol=1e-4, rtol=0)
    torch.testing.assert_close(after.expected, after.supports)
    torch.testing.assert_close(after.colours[0, 0], moved(memory, shift[0])[0], atol=1e-4, rtol=0)
