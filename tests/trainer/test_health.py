"""Signs of collapse: what each says of masks, orders and motion that are known; every row has its series."""

import pytest
import torch

from model.interface import Views
from model.ops.spatial_transformer import pixel_centres, translation
from monitoring.catalogue import METRICS
from trainer.health import HEALTH, health


def disc(radius: float, x: float, y: float) -> torch.Tensor:
    """A disc on 64x64 pixels."""
    centres = (pixel_centres(64, 64, like=torch.zeros(1)) + 1) * 32
    return ((centres - torch.tensor([x, y])).norm(dim=-1) <= radius).float()


def test_signs_of_collapse() -> None:
    supports = torch.zeros(1, 2, 3, 64, 64)
    supports[:, :, 0] = disc(10, 20, 20)
    supports[:, :, 1] = disc(10, 20, 20)
    order = torch.eye(3).expand(1, 2, 3, 3)
    motion = translation(torch.tensor([3.0, 4.0]) / 32).expand(1, 2, 3, 3, 3)
    found = health(Views(amodal_masks=supports, depth_order=order, motion=motion))
    assert found["slot_active"] == 2
    assert found["slot_duplicate_iou"] == pytest.approx(1 / 3)
    assert found["slot_order_entropy"] == 0
    assert found["slot_motion_pixels"] == pytest.approx(5.0, abs=1e-3)
    assert found["slot_mask_area"] == pytest.approx(float(supports.mean()))
    assert health(Views(amodal_masks=0.4 * supports))["slot_mask_area"] == 0  # haze holds nothing
    unsure = health(Views(depth_order=torch.full((1, 2, 3, 3), 1 / 3)))
    assert unsure["slot_order_entropy"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("second", "sound"),
    [
        (disc(10, 45, 45), 1.0),  # each its own
        (disc(10, 20, 20), 0.5),  # one of the two has the other's
        (disc(10, 26, 20), 1.0),  # they meet
        (disc(1, 45, 45), 0.5),  # next to nothing
        (torch.ones(64, 64), 0.5),  # everything
    ],
)
def test_sound_slots_may_hold_an_object(second: torch.Tensor, sound: float) -> None:
    masks = torch.stack([disc(10, 20, 20), second])[None, None]
    assert health(Views(amodal_masks=masks))["slot_sound"] == sound
    assert health(Views(amodal_masks=masks.flip(2)))["slot_sound"] == sound


def test_what_is_found_anew_in_every_frame_is_told_from_what_is_carried_on() -> None:
    """Two objects in four frames, in both clips in all of them."""
    kept = torch.tensor([[1, 2, 0]] * 4)
    anew = torch.tensor([[1, 2, 0], [3, 4, 0], [6, 5, 0], [7, 0, 8]])
    assert health(Views(identities=kept[None]))["slot_found_later"] == 0
    assert health(Views(identities=anew[None]))["slot_found_later"] == 2
    assert health(Views(identities=torch.stack([kept, anew])))["slot_found_later"] == 1


def test_signs_are_of_what_a_model_has() -> None:
    assert health(Views()) == {}
    masks = torch.ones(1, 2, 1, 4, 4)
    assert set(health(Views(amodal_masks=masks))) == {
        "slot_mask_area",
        "slot_active",
        "slot_duplicate_iou",
        "slot_sound",
    }


@pytest.mark.parametrize("name", HEALTH)
def test_every_sign_is_exported_as_a_gauge(name: str) -> None:
    assert METRICS[HEALTH[name].series].kind == "gauge"
    assert not METRICS[HEALTH[name].series].labels
