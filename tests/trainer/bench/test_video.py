"""The measurement of frames: its own reference, and what it says of a file."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_shards.mistake import UserError
from tests.films import numbered, write
from trainer.__main__ import main
from trainer.bench.video import reduced


def test_the_reference_is_the_mean_of_what_a_pixel_covers() -> None:
    image = np.random.default_rng(0).integers(0, 256, (32, 48, 3)).astype(np.uint8)
    means = image.reshape(16, 2, 16, 3, 3).astype(float).mean((1, 3))
    assert np.abs(reduced(image, 16) - means).max() <= 0.5
    larger = Image.fromarray(image).resize((64, 64), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(reduced(image, 64), np.asarray(larger))


def test_lossless_frames_are_near_and_h264_is_smaller(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    smooth = [image // 4 + 80 for image in numbered(30)]
    write(tmp_path / "in" / "a.mkv", smooth)
    rows = tmp_path / "rows.json"
    assert (
        main(["bench", "video", str(tmp_path / "in"), "--size", "32", "--clips", "2", "--json", str(rows)])
        == 0
    )
    lossless, h264 = json.loads(rows.read_text())
    assert (lossless["source"], lossless["encoding"], h264["encoding"]) == ("64x48", "lossless", "h264")
    assert lossless["psnr"] > 48
    assert 38 < h264["psnr"] <= lossless["psnr"]
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_a_place_without_videos_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no video file"):
        main(["bench", "video", str(tmp_path)])
