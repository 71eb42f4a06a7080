"""`show`: its numbers against plain recomputation, its picture against the clips."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_shards.__main__ import COMMANDS
from data_shards.clip import Clip
from data_shards.manifest import read_manifest
from data_shards.show import as_text, contact_sheet, describe, hidden_shares, outline, spread_clips
from data_shards.sources.camvid import CamVid
from data_shards.sources.sprites import Sprites
from data_shards.writer import build
from tests.data_shards.test_camvid import write_camvid


def test_statistics_of_sprites(tiny_set: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "tiny.png"
    assert COMMANDS["show"].run([tiny_set, "--json", "--out", str(out), "--count", "5"]) == 0
    facts = json.loads(capsys.readouterr().out)
    clips = list(Sprites(size=16, frames=4, objects=2).clips("train", 64, 0))
    assert {name: part["clips"] for name, part in facts["splits"].items()} == {
        "train": 64,
        "val": 16,
        "test": 16,
    }
    assert (facts["frames"], facts["size"], facts["channels"], facts["objects"]) == (4, [16, 16], 3, [2])
    assert facts["looked_at"] == {"split": "train", "clips": 64}
    speeds = [float(np.hypot(*clip.velocities[t, i])) for clip in clips for t in range(3) for i in range(2)]
    assert facts["speed"]["p50"] == pytest.approx(np.median(speeds), abs=1e-3)
    assert facts["covered"]["p95"] == pytest.approx(
        np.percentile([np.count_nonzero(clip.visible_ids) / clip.visible_ids.size for clip in clips], 95),
        abs=1e-4,
    )
    assert facts["brightness"] == pytest.approx(np.mean([clip.frames for clip in clips]) / 255, abs=1e-4)
    errors = [((c.frames[t] / 255 - c.frames[t - 1] / 255) ** 2).mean() for c in clips for t in (1, 2, 3)]
    assert facts["psnr_of_last_frame"] == pytest.approx(np.mean(-10 * np.log10(errors)), abs=1e-3)
    assert facts["repeated"] == 0
    # 4 columns and 5 rows of 16 pixels enlarged 8 times.
    with Image.open(out) as picture:
        assert picture.width > 4 * 128
        assert picture.height > 5 * 128


def test_text_says_it_in_words(tiny_set: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert COMMANDS["show"].run([tiny_set, "--split", "val", "--out", str(tmp_path / "a.png")]) == 0
    text = capsys.readouterr().out
    for words in ("val: 16 clips", "of 16 clips of val", "objects in a clip: 2", "8 clips are in", "PSNR"):
        assert words in text


def test_clips_are_spread_over_the_split(tiny_set: str) -> None:
    clips = spread_clips(tiny_set, read_manifest(tiny_set), "train", 4)
    assert [clip.key for clip in clips] == [f"train-{n:06d}" for n in (8, 24, 40, 56)]
    np.testing.assert_array_equal(clips[1].frames, Sprites(16, 4, 2).clip("train", 24, 0).frames)
    assert clips[1].facts["shapes"] == Sprites(16, 4, 2).clip("train", 24, 0).facts["shapes"]
    assert len(spread_clips(tiny_set, read_manifest(tiny_set), "val", 99)) == 16


def test_repeated_frames_are_counted(tmp_path: Path) -> None:
    clip = Sprites(16, 5, 1).clip("train", 0, 0)
    twice = replace(clip, frames=clip.frames[[0, 0, 1, 1, 2]])
    manifest = build("sprites", Sprites(16, 5, 1), str(tmp_path / "set"), {"train": 1}, seed=0)
    assert describe(manifest, "train", [twice])["repeated"] == 0.5


def test_clips_of_one_frame_have_nothing_to_compare(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_camvid(tmp_path / "in", "train", ["A_01", "A_02"])
    build("camvid", CamVid(str(tmp_path / "in"), frames=1), str(tmp_path / "set"), {"train": 2}, seed=0)
    assert COMMANDS["show"].run([str(tmp_path / "set"), "--json", "--out", str(tmp_path / "a.png")]) == 0
    facts = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert (facts["repeated"], facts["psnr_of_last_frame"], facts["moving"]["p50"]) == (None, None, 0)
    assert COMMANDS["show"].run([str(tmp_path / "set"), "--out", str(tmp_path / "a.png")]) == 0
    assert "repeat" not in capsys.readouterr().out


def test_real_video_tells_rates_and_files(tmp_path: Path) -> None:
    manifest = build("sprites", Sprites(16, 5, 1), str(tmp_path / "set"), {"train": 1}, seed=0)
    frames = np.zeros((5, 16, 16, 3), np.uint8)
    clips = [
        Clip(f"a-{n}", frames, facts={"file": f"{n}.avi", "fps": fps, "time": 1.5})
        for n, fps in enumerate((25, 12.5))
    ]
    facts = describe(manifest, "train", clips)
    assert (facts["fps"], facts["files"]) == ([12.5, 25.0], 2)
    assert not {"objects", "covered", "speed", "hidden"} & set(facts)
    assert "12.5, 25 frames per second" in as_text(facts)
    assert (contact_sheet(clips)[:, :160] > 200).any()  # the caption


def test_the_picture_has_frames_and_outlines() -> None:
    clip = Sprites(frames=3).clip("train", 0, 0)
    plain = Clip(clip.key, clip.frames)
    with_truth, without = contact_sheet([clip]), contact_sheet([plain])
    assert with_truth.shape == without.shape
    for t in range(3):
        left = without.shape[1] - (3 - t) * 130
        tile = without[-130:-2, left : left + 128]
        np.testing.assert_array_equal(tile[::2, ::2], clip.frames[t])
    changed = (with_truth != without).any(-1).sum()
    perimeters = 3 * 3 * 4 * 2 * 18  # times, objects, sides, scale, pixels of a side, about
    assert 0.5 * perimeters < changed < 1.5 * perimeters
    grey = replace(plain, frames=clip.frames[..., :1])
    assert contact_sheet([grey]).shape == without.shape


def test_outline_is_the_border() -> None:
    mask = np.zeros((5, 6), bool)
    mask[1:4, 1:5] = True
    expected = mask.copy()
    expected[2, 2:4] = False
    np.testing.assert_array_equal(outline(mask), expected)
    everything = np.ones((3, 3), bool)
    assert outline(everything).sum() == 8


def test_hidden_share_is_what_others_cover() -> None:
    masks = np.zeros((1, 2, 4, 4), np.uint8)
    masks[0, 0, :2], masks[0, 1, 1:3] = 255, 255
    ids = np.zeros((1, 4, 4), np.uint8)
    ids[0, 1:3], ids[0, :2] = 2, 1
    clip = Clip("a", np.zeros((1, 4, 4, 3), np.uint8), ids, masks)
    shares = hidden_shares(clip)
    assert shares is not None
    assert shares.tolist() == [[0.0, 0.5]]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--split", "dev"], "split 'dev' must be one of train, val, test"),
        (["--count", "0"], "count 0 must be at least 1"),
        (["--out", "/nowhere/at/all.png"], "/nowhere/at/all.png"),
        (["--out", "picture.unknown"], "picture.unknown"),
    ],
)
def test_mistakes_are_named(tiny_set: str, arguments: list[str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        COMMANDS["show"].run([tiny_set, *arguments])
