"""python -m trainer bench video PLACE: how true the frames of sets of real video are, and how fast they are made.

Clips of every file of PLACE are stored, lossless and as h264, and read. Their frames are held against those that
FFmpeg makes at full size with all columns of colour, reduced here by other means: each pixel the mean of what it
covers; where a side has to grow, by Pillow's bicubic filter, for means would repeat pixels.
"""

import json
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter
from jaxtyping import Float64, UInt8
from PIL import Image

from data_shards.commands import given_path
from data_shards.encoding import decode, encode
from data_shards.mistake import UserError
from data_shards.sources import SOURCES
from data_shards.takes import EXTENSIONS
from trainer.arguments import add_count

FULL = Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP | Interpolation.ACCURATE_RND
ENCODINGS = ("lossless", "h264")


@dataclass(frozen=True)
class Row:
    """One file and one encoding: PSNR of its clips in dB, bytes of a frame, frames built a second."""

    file: str
    source: str  # width x height
    encoding: str
    psnr: float
    bytes: float
    rate: float


def options(parser: ArgumentParser) -> None:
    """Which files, and how much of them."""
    parser.add_argument("place", type=given_path, metavar="PLACE", help="a folder of video files")
    add_count(parser, "--size", 64, "side of the frames")
    add_count(parser, "--frames", 12, "of a clip")
    add_count(parser, "--clips", 5, "of each file, at most")
    parser.add_argument(
        "--json", type=given_path, metavar="FILE", help="write the rows there too; not by default"
    )


def run(given: Namespace) -> int:
    """Print a line for each file and encoding; --json writes them too."""
    files = sorted(file for file in given.place.glob("*") if file.suffix.lower() in EXTENSIONS)
    if not files:
        raise UserError(f"place {given.place}: no video file ({', '.join(EXTENSIONS)}) there")
    rows = []
    print(
        f"{'file':24} {'source':>9} {'encoding':>8} {'PSNR':>6} {'bytes':>7} {'rate':>6}   a frame, frames/s"
    )
    for file in files:
        for encoding in ENCODINGS:
            rows.append(row := measure(file, encoding, given.size, given.frames, given.clips))
            what = f"{row.file[:24]:24} {row.source:>9} {row.encoding:>8}"
            print(f"{what} {row.psnr:6.2f} {row.bytes:7.0f} {row.rate:6.0f}", flush=True)
    if given.json:
        given.json.write_text(json.dumps([asdict(row) for row in rows], indent=1))
    return 0


def measure(file: Path, encoding: str, size: int, frames: int, clips: int) -> Row:
    """Make clips of a file, store and read them, and compare."""
    options: dict[str, Any] = {"input": (str(file),), "size": size, "frames": frames, "fit": "stretch"}
    source = SOURCES["video"](**(options | {"cut": 2.0, "val_share": 0.0, "test_share": 0.0}))
    sizes = {"t": frames, "h": size, "w": size, "c": 3, "n": 0}
    made: dict[int, UInt8[np.ndarray, "h w 3"]] = {}
    stored, seconds, started = 0, 0.0, time.perf_counter()
    for clip in source.clips("train", clips, seed=0):
        members = encode(clip, encoding)
        seconds += time.perf_counter() - started
        stored += sum(map(len, members.values()))
        # Every frame is taken, so that the numbers of a clip have no holes.
        made |= dict(
            zip(count(int(str(clip.facts["first_frame"]))), decode("", members, sizes).frames, strict=False)
        )
        started = time.perf_counter()
    errors, shape = [], (0, 0)
    for number, full in _frames_of(file, max(made)):
        if number in made:
            shape = full.shape[:2]
            errors.append(np.square(made[number] - reduced(full, size)).mean())
    psnr = 10 * np.log10(255**2 / max(float(np.mean(errors)), 1e-6))
    width_and_height = f"{shape[1]}x{shape[0]}"
    return Row(file.name, width_and_height, encoding, psnr, stored / len(made), len(made) / seconds)


def _frames_of(file: Path, last: int) -> Iterator[tuple[int, UInt8[np.ndarray, "h w 3"]]]:
    """The file's frames at full size, up to the one with this number."""
    converter = VideoReformatter()
    with av.open(str(file.absolute()), metadata_errors="replace") as container:
        for number, frame in enumerate(container.decode(container.streams.best("video"))):
            if number > last:
                return
            image = converter.reformat(frame, format="rgb24", interpolation=Interpolation.BICUBIC | FULL)
            yield number, image.to_ndarray()


def reduced(image: UInt8[np.ndarray, "h w 3"], size: int) -> Float64[np.ndarray, "size size 3"]:
    """The picture of size x size pixels."""
    if min(image.shape[:2]) < size:
        grown = Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC)
        return np.asarray(grown, np.float64)
    rows, columns = (coverage(side, size) for side in image.shape[:2])
    small: Float64[np.ndarray, "size size 3"]
    small = np.einsum("yi,xj,ijc->yxc", rows, columns, image.astype(float), optimize=True)
    return small.round()


def coverage(source: int, small: int) -> Float64[np.ndarray, "small source"]:
    """Which share of each of `small` equal parts of a line each of its `source` pixels is."""
    edges = np.arange(small + 1) * source / small
    pixels = np.arange(source)
    covered = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    shares: Float64[np.ndarray, "small source"] = covered.clip(0) * small / source
    return shares
