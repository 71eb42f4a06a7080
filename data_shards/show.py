"""python -m data_shards show URL: what a data set looks like.

A picture of some clips, their true objects outlined, and statistics of the set: of up to 200 clips, spread evenly.
"""

import json
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, UInt8
from PIL import Image, ImageDraw, ImageFont

from data_shards.clip import Clip
from data_shards.commands import given_path, given_place
from data_shards.encoding import DecodeError, decode
from data_shards.manifest import Manifest, read_manifest, split_shards
from data_shards.mistake import UserError
from data_shards.order import shards_and_samples
from data_shards.reader import DamagedSample, Reader
from data_shards.sources.shots import moving_share
from data_shards.storage.place import open_store

LOOKED_AT = 200  # clips that statistics are taken of, spread over the split
TILE = 128  # pixels of one frame in the picture, about
MARGIN, HEADER, GAP = 160, 18, 2
PAPER, INK = (24, 24, 24), (225, 225, 225)
OUTLINES = np.array(
    [(255, 255, 255), (255, 64, 200), (0, 220, 255), (255, 230, 0), (80, 255, 80), (255, 140, 0)], np.uint8
)


def options(parser: ArgumentParser) -> None:
    """Which clips, and where the picture goes."""
    parser.add_argument(
        "url", type=given_place, metavar="URL", help="of the data set: a folder or s3://bucket/prefix"
    )
    parser.add_argument("--split", help="whose clips; the first of the set by default")
    parser.add_argument(
        "--count",
        type=int,
        default=8,
        metavar="N",
        help="clips in the picture, 1 or more; %(default)s by default",
    )
    parser.add_argument(
        "--out",
        type=given_path,
        default=Path("show.png"),
        metavar="FILE",
        help="where the picture goes; %(default)s by default",
    )
    parser.add_argument(
        "--json", action="store_true", help="print the statistics as JSON; as text for people by default"
    )


def run(given: Namespace) -> int:
    """Print the statistics of a set and write its picture."""
    if given.count < 1:
        raise UserError(f"count {given.count} must be at least 1")
    manifest = read_manifest(given.url)
    split = given.split or next(iter(manifest.splits))
    clips = spread_clips(given.url, manifest, split, max(LOOKED_AT, given.count))
    facts = describe(manifest, split, clips)
    shown = [clips[i] for i in _spread(len(clips), given.count)]
    try:
        Image.fromarray(contact_sheet(shown)).save(given.out)
    except (OSError, ValueError) as error:
        raise UserError(f"out {str(given.out)!r}: the picture cannot be written ({error})") from error
    print(json.dumps(facts, indent=1) if given.json else as_text(facts))
    if not given.json:
        print(f"{len(shown)} clips are in {given.out}")
    return 0


def spread_clips(url: str, manifest: Manifest, split: str, count: int) -> list[Clip]:
    """At most `count` clips of `split` with all their truth, evenly spread over it.

    Raises:
        UserError: there is no such split.
        StorageError: the store refuses, or a shard is damaged.
    """
    shards = split_shards(manifest, split, url)
    counts = np.array([shard.samples for shard in shards])
    numbers, samples = shards_and_samples(counts, np.array(_spread(int(counts.sum()), count)))
    with closing(Reader(open_store(url), shards, lambda member: True, manifest.sizes)) as reader:
        reader.expect(numbers.tolist(), samples.tolist())
        return [
            decoded_clip(reader, *place, manifest)
            for place in zip(numbers.tolist(), samples.tolist(), strict=True)
        ]


def decoded_clip(reader: Reader, shard: int, sample: int, manifest: Manifest) -> Clip:
    """A clip with all its truth and its facts; DamagedSample where it is none."""
    key, members = reader.sample(shard, sample)
    try:
        clip = decode(key, members, manifest.sizes)
    except DecodeError as error:
        address = reader.store.address(reader.shards[shard].name)
        raise DamagedSample(address, f"sample {key}: {error}") from error
    return clip


def _spread(length: int, count: int) -> list[int]:
    """At most `count` of the places 0..length-1, evenly spread, the middle of each stretch."""
    count = min(length, count)
    return [(2 * i + 1) * length // (2 * count) for i in range(count)]


def describe(manifest: Manifest, split: str, clips: Sequence[Clip]) -> dict[str, Any]:
    """Statistics of a set and of `clips`, JSON-able. Shares are of 1; what there is no truth for is left out.

    `psnr_of_last_frame` is the mean PSNR (dB) of showing each frame once more instead of the next; `moving` the share
    of pixels that change by 24 levels or more in a clip; `repeated` that of frames within 2 levels of the one before
    (films shown at a higher rate than they were shot at have many: choose a lower `fps`); `hidden` the share of an
    object's pixels that others cover. What compares frames is None for clips of one frame.
    """
    t, h, w, c = manifest.shape
    facts: dict[str, Any] = {
        "source": manifest.source,
        "splits": {
            name: {"clips": manifest.samples(name), "bytes": manifest.size(name), "shards": len(shards)}
            for name, shards in manifest.splits.items()
        },
        "frames": t,
        "size": [h, w],
        "channels": c,
        "looked_at": {"split": split, "clips": len(clips)},
    }
    if rates := {float(rate) for clip in clips if isinstance(rate := clip.facts.get("fps"), int | float)}:
        facts["fps"] = sorted(rates)
    if files := {str(clip.facts["file"]) for clip in clips if "file" in clip.facts}:
        facts["files"] = len(files)
    facts["brightness"] = _number(np.mean([clip.frames.mean() / 255 for clip in clips]))
    facts["moving"] = _percentiles([moving_share(clip.frames) for clip in clips])
    for name, compared in {"repeated": _repeats, "psnr_of_last_frame": _copy_decibels}.items():
        facts[name] = _number(np.mean([compared(clip) for clip in clips])) if t > 1 else None
    if covered := [(clip.visible_ids > 0).mean() for clip in clips if clip.visible_ids is not None]:
        facts["covered"] = _percentiles(covered)
    if objects := {len(clip.depth_ranks) for clip in clips if clip.depth_ranks is not None}:
        facts["objects"] = sorted(objects)
    if moves := [clip.velocities[:-1].reshape(-1, 2) for clip in clips if clip.velocities is not None]:
        facts["speed"] = _percentiles(np.linalg.norm(np.concatenate(moves), axis=-1))
    if hidden := [shares for clip in clips if (shares := hidden_shares(clip)) is not None]:
        facts["hidden"] = _number(np.mean(np.concatenate([shares.ravel() for shares in hidden])))
        facts["clips_with_an_object_over_0.8_hidden"] = _number(np.mean([(s > 0.8).any() for s in hidden]))
    return facts


def hidden_shares(clip: Clip) -> Float64[np.ndarray, "t n"] | None:
    """Share of each object's pixels (at least half covered by it) that show something else; None without truth."""
    if clip.amodal_masks is None or clip.visible_ids is None:
        return None
    whole = clip.amodal_masks > 127
    own = clip.visible_ids[:, None] == np.arange(1, whole.shape[1] + 1)[:, None, None]
    hidden: Float64[np.ndarray, "t n"] = (whole & ~own).sum((2, 3)) / np.maximum(whole.sum((2, 3)), 1)
    return hidden


def as_text(facts: dict[str, Any]) -> str:
    """The statistics in lines for people."""
    lines = [
        f"{facts['source']}: clips of {facts['frames']} frames, {facts['size'][0]}x{facts['size'][1]}, "
        + ("grey" if facts["channels"] == 1 else "colour")
        + (f", {', '.join(f'{rate:g}' for rate in facts['fps'])} frames per second" if "fps" in facts else "")
    ]
    for name, part in facts["splits"].items():
        lines.append(
            f"{name}: {part['clips']} clips in {part['shards']} shards, {part['bytes'] / 1e6:.1f} MB"
        )
    lines.append(f"of {facts['looked_at']['clips']} clips of {facts['looked_at']['split']}:")
    texts = {
        "files": "source files",
        "objects": "objects in a clip",
        "brightness": "mean brightness, of 1",
        "moving": "share of pixels that move",
        "covered": "share of pixels that objects cover",
        "speed": "speed of objects, pixels per frame",
        "hidden": "mean hidden share of an object",
        "clips_with_an_object_over_0.8_hidden": "clips in which an object is over 80 % hidden at some time",
        "repeated": "share of frames that repeat the one before",
        "psnr_of_last_frame": "PSNR of repeating the last frame, dB",
    }
    for name, text in texts.items():
        match facts.get(name):
            case None:
                continue
            case {"p5": low, "p50": middle, "p95": high}:
                lines.append(f"  {text}: median {middle}, 5 to 95 %: {low} to {high}")
            case list() as values:
                lines.append(f"  {text}: {', '.join(map(str, values))}")
            case value:
                lines.append(f"  {text}: {value}")
    return "\n".join(lines)


def _percentiles(values: Any) -> dict[str, float]:
    return {f"p{p}": _number(np.percentile(values, p)) for p in (5, 50, 95)}


def _number(value: Any) -> float:
    return round(float(value), 4)


def _repeats(clip: Clip) -> float:
    change = np.abs(np.diff(clip.frames.astype(np.int16), axis=0)).max((1, 2, 3))
    return float((change <= 2).mean())


def _copy_decibels(clip: Clip) -> float:
    frames = clip.frames.astype(np.float32) / 255
    errors = ((frames[1:] - frames[:-1]) ** 2).mean((1, 2, 3))
    return float(np.mean(-10 * np.log10(np.maximum(errors, 1e-10))))


def contact_sheet(clips: Sequence[Clip]) -> UInt8[np.ndarray, "h w 3"]:
    """One row per clip, one column per frame; whole true objects outlined, hidden parts included."""
    t, h, w, _ = clips[0].frames.shape
    scale = max(1, round(TILE / max(h, w)))
    tall, wide = h * scale + GAP, w * scale + GAP
    sheet = Image.new("RGB", (MARGIN + t * wide, HEADER + len(clips) * tall), PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for column in range(t):
        pen.text((MARGIN + column * wide + 3, 2), str(column), INK, font)
    for row, clip in enumerate(clips):
        top = HEADER + row * tall
        for line, text in enumerate(_caption(clip)):
            pen.text((4, top + 4 + 14 * line), text if len(text) < 25 else f"{text[:23]}…", INK, font)
        for column in range(t):
            sheet.paste(Image.fromarray(_tile(clip, column, scale)), (MARGIN + column * wide, top))
    return np.asarray(sheet)


def _caption(clip: Clip) -> list[str]:
    lines = [clip.key]
    if "file" in clip.facts:
        time = clip.facts.get("time", 0)
        lines += [str(clip.facts["file"]), f"{time if isinstance(time, int | float) else 0:.2f} s"]
    return lines


def _tile(clip: Clip, time: int, scale: int) -> UInt8[np.ndarray, "h w 3"]:
    image = np.broadcast_to(clip.frames[time], (*clip.frames.shape[1:3], 3))
    image = image.repeat(scale, 0).repeat(scale, 1)
    if clip.amodal_masks is not None:
        for number, mask in enumerate(clip.amodal_masks[time]):
            edge = outline((mask > 127).repeat(scale, 0).repeat(scale, 1))
            image[edge] = OUTLINES[number % len(OUTLINES)]
    return image


def outline(mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """The pixels of `mask` that have a neighbour outside it, or the frame's edge."""
    padded = np.pad(mask, 1)
    edge: Bool[np.ndarray, "h w"] = mask.copy()
    edge &= ~(padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:])
    return edge
