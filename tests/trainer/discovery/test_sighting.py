"""Where a model's masks lie in a frame of another size, and which numbers objects get."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from data_shards.sources.small_picture import Fit
from data_shards.takes import DecodedFrame
from model.interface import Followed, ModelOutput, Video, VideoModel, Views
from trainer.discovery.sighting import PART, looked_at, sightings, slots_in

CPU = torch.device("cpu")


class Channels(VideoModel):
    """A slot for red, one for green; each frame is predicted to be as the one before. Carries how many it has seen."""

    def forward(self, video: Video, step: int) -> ModelOutput:
        raise NotImplementedError

    def predict(self, video: Video, horizon: int) -> Tensor:
        raise NotImplementedError

    def follow(self, frames: Tensor, step: int, before: Followed | None = None) -> Followed:
        known = frames[:, :0] if before is None else before.carried
        past = torch.cat([known, frames[:, :-1]], 1)
        return Followed(Views(prediction=past, visible_masks=frames[:, :, :2]), frames[:, -1:])


def frames(
    count: int, shots: tuple[int, ...] = (0,), size: tuple[int, int] = (40, 60)
) -> Iterator[DecodedFrame]:
    """Red at the left edge, then from the third frame of a shot on green at the right one; grey level tells which."""
    for shot in shots:
        for i in range(count):
            small = np.zeros((8, 8, 3), np.uint8)
            small[..., 2] = i
            small[:, :2, 0] = 255
            small[:, 6:, 1] = 255 * (i >= 2)
            yield DecodedFrame(small, 100 * shot + i, i / 10, shot, whole=np.zeros((*size, 3), np.uint8))


def test_masks_come_back_to_the_frame_and_numbers_in_the_order_of_appearance() -> None:
    seen = list(sightings(Channels(), frames(PART + 3), 0, "crop", CPU))
    assert [one.number for one in seen] == list(range(PART + 3))
    # The square of 40 in the middle of 60 columns: red is its left quarter, green its right one.
    for i, one in enumerate(seen):
        assert one.ids.shape == (40, 60)
        assert set(np.unique(one.ids)) == ({0, 1, 2} if i >= 2 else {0, 1})
        assert (one.ids[:, 10:19] == 1).all()
        assert (one.ids[:, :10] == 0).all()
        assert (one.ids[:, 41:50] == (2 if i >= 2 else 0)).all()
    assert seen[0].prediction is None
    assert [int(one.prediction[0, 4, 2]) for one in seen[1:]] == list(range(PART + 2))


def test_another_shot_has_other_objects() -> None:
    seen = list(sightings(Channels(), frames(4, (0, 1)), 0, "stretch", CPU))
    assert [sorted(set(one.ids.ravel().tolist()) - {0}) for one in seen] == [
        [1], [1], [1, 2], [1, 2], [3], [3], [3, 4], [3, 4],
    ]  # fmt: skip
    assert [one.prediction is None for one in seen] == [True, *[False] * 3, True, *[False] * 3]
    assert (seen[0].ids[:, :14] == 1).all()


def test_next_to_nothing_is_no_object() -> None:
    masks = torch.zeros(2, 64, 64)
    masks[0, :2, :2], masks[1, 10:20, 10:20] = 1, 1
    assert set(np.unique(slots_in(masks, (64, 64), "crop"))) == {0, 2}


sides = st.integers(1, 300)


@settings(max_examples=100, deadline=None)
@given(
    own=st.tuples(sides, sides),
    small=st.tuples(st.integers(8, 64), st.integers(8, 64)),
    fit=st.sampled_from(["crop", "stretch"]),
)
def test_what_is_looked_at_lies_in_the_frame_and_has_the_models_shape(
    own: tuple[int, int], small: tuple[int, int], fit: Fit
) -> None:
    top, left, height, width = looked_at(own, small, fit)
    assert top >= 0 <= left
    assert top + height <= own[0]
    assert left + width <= own[1]
    assert (height, width) == own or fit == "crop"
    if fit == "crop":
        assert height == own[0] or width == own[1]
        assert abs(height * small[1] - width * small[0]) <= max(small)  # to a pixel


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (37, 53)])
def test_a_mask_of_all_fills_what_is_looked_at(size: tuple[int, int]) -> None:
    slots = slots_in(torch.ones(1, 16, 16), size, "crop")
    assert slots.sum() == min(size) ** 2
