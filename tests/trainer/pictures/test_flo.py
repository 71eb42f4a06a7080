"""Flow files against bytes laid out by hand, their errors, and the colours of the wheel against known ones."""

import math
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from trainer.pictures.flo import flo_bytes, parse_flo
from trainer.pictures.wheel import flow_picture, hues, legend


def test_layout_is_row_by_row_in_pairs() -> None:
    data = struct.pack("<fii12f", 202021.25, 3, 2, *range(12))
    flow = parse_flo(data)
    assert flow.shape == (2, 2, 3)
    assert flow[:, 0, 1].tolist() == [2, 3]
    assert flow[:, 1, 2].tolist() == [10, 11]
    assert flo_bytes(flow) == data


def test_round_trip_and_unknown() -> None:
    flow = torch.randn(2, 5, 7) * 30
    flow[:, 1, 2] = torch.nan
    flow[0, 4, 6] = torch.nan  # one component is enough
    back = parse_flo(flo_bytes(flow))
    assert back.isnan().sum() == 4
    known = back.isfinite()
    assert torch.equal(back[known], flow[known])
    stored = np.frombuffer(flo_bytes(flow), "<f4", offset=12).reshape(5, 7, 2)
    assert (stored[1, 2] > 1e9).all()
    assert (np.abs(stored[0]) < 1e9).all()
    raw = struct.pack("<4sii4f", b"PIEH", 2, 1, 1.666e9, 0, math.nan, 1)
    assert parse_flo(raw).isnan().all()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "begins with nothing, needs 50 49 45 48"),
        (struct.pack(">fii2f", 202021.25, 1, 1, 0, 0), "begins with 48 45 49 50"),
        (b"PIEH\x01\x00\x00", "within its header of 12 bytes, has 7"),
        (struct.pack("<4sii", b"PIEH", 0, 3), "size of 0 x 3"),
        (struct.pack("<4sii", b"PIEH", 3, -1), "size of 3 x -1"),
        (struct.pack("<4sii3f", b"PIEH", 2, 1, 0, 0, 0), "2 x 1 makes a file of 28 bytes, has 24"),
        (struct.pack("<4sii5f", b"PIEH", 2, 1, 0, 0, 0, 0, 0), "28 bytes, has 32"),
    ],
)
def test_bad_files_are_named(data: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_flo(data)


def test_real_files_come_back_byte_for_byte(real_data: Path) -> None:
    data = (real_data / "flow" / "0000000-gt.flo").read_bytes()
    flow = parse_flo(data)
    assert flow.shape == (2, 384, 512)
    assert flow.isfinite().all()
    assert flo_bytes(flow) == data


def colour_by_hand(u: float, v: float) -> tuple[int, ...]:
    """One vector of speed at most 1, step by step as the benchmark's description has it."""
    wheel = [(255, 255 * i // 15, 0) for i in range(15)]
    wheel += [(255 - 255 * i // 6, 255, 0) for i in range(6)]
    wheel += [(0, 255, 255 * i // 4) for i in range(4)]
    wheel += [(0, 255 - 255 * i // 11, 255) for i in range(11)]
    wheel += [(255 * i // 13, 0, 255) for i in range(13)]
    wheel += [(255, 0, 255 - 255 * i // 6) for i in range(6)]
    assert len(wheel) == 55
    place = (math.atan2(-v, -u) / math.pi + 1) / 2 * 54
    low = int(place)
    high = (low + 1) % 55
    rad = math.hypot(u, v)
    mixed = [(1 - place + low) * a + (place - low) * b for a, b in zip(wheel[low], wheel[high], strict=True)]
    return tuple(int(255 * (1 - rad * (1 - c / 255))) for c in mixed)


def test_every_direction_has_the_benchmarks_colour() -> None:
    angles, radii = torch.rand(400) * 2 * math.pi, torch.rand(400)
    flow = torch.stack([radii * angles.cos(), radii * angles.sin()])
    picture = flow_picture(flow[:, None], fastest=1.0)[0]
    expected = [colour_by_hand(u, v) for u, v in flow.double().T.tolist()]
    assert np.abs(picture.astype(int) - expected).max() <= 1  # the fastest has 1e-6 added


def test_pure_directions() -> None:
    right, left, down, up = (1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.0, -1.0)
    field = torch.tensor([right, left, down, up, (0.0, 0.0), (1.0, -0.0)]).T[:, None]
    shown = flow_picture(field)[0].tolist()
    assert shown[0] == shown[5] == [255, 0, 0]  # red, on both sides of the seam
    assert shown[1] == [0, 209, 255]  # cyan
    assert shown[2] == [255, 229, 0]  # yellow
    assert shown[3] == [88, 0, 255]  # violet
    assert shown[4] == [255, 255, 255]  # still is white
    assert (flow_picture(torch.zeros(2, 3, 4)) == 255).all()


def test_scale_speed_and_unknown() -> None:
    field = torch.tensor([[4.0, 2.0, 8.0, torch.nan], [0.0, 0.0, 0.0, 1.0]])[:, None]
    own = flow_picture(field)[0]
    assert own[:3].tolist() == [[255, 127, 127], [255, 191, 191], [255, 0, 0]]
    fixed = flow_picture(field, fastest=4.0)[0]
    assert fixed[:3].tolist() == [[255, 0, 0], [255, 127, 127], [191, 0, 0]]  # beyond: darker
    assert own[3].tolist() == fixed[3].tolist() == [0, 0, 0]


def test_the_wheel_has_55_hues_and_a_legend() -> None:
    wheel = hues()
    assert wheel.shape == (55, 3)
    assert len(np.unique(wheel, axis=0)) == 55
    picture = legend(101)
    assert picture[50, 50].tolist() == [255, 255, 255]
    assert picture[50, 99, 0] == 255
    assert picture[50, 99, 1] < 20
    assert picture[0, 0].tolist() == [0, 0, 0]
