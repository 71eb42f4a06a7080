"""Small films for tests: files of every format in which each frame carries its number."""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from data_shards.clip import Clip
from data_shards.sources.video import VideoFiles
from data_shards.takes import Take

NO_CUTS = 2.0
CODECS = {
    "avi": ("mpeg4", "yuv420p"),
    "mp4": ("libx264", "yuv420p"),
    "webm": ("libvpx", "yuv420p"),
    "mkv": ("ffv1", "yuv444p"),
}


def write(
    path: Path,
    images: Iterable[np.ndarray],
    rate: int = 20,
    codec: tuple[str, str] | None = None,
    aspect: Fraction | None = None,
) -> Path:
    """A video of RGB images by the usual codec of the path's format."""
    name, pixels = codec or CODECS[path.suffix[1:]]
    with av.open(str(path), "w") as container:
        stream = None
        for number, image in enumerate(images):
            if stream is None:
                stream = container.add_stream(
                    name, rate=rate, options={"qscale": "2", "crf": "10", "b": "2M"}
                )
                stream.height, stream.width = image.shape[:2]
                stream.pix_fmt = pixels
                if aspect is not None:
                    stream.codec_context.sample_aspect_ratio = aspect
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, rate)
            container.mux(stream.encode(frame))
        assert stream is not None
        container.mux(stream.encode(None))
    return path


def numbered(count: int, height: int = 48, width: int = 64, base: int = 0) -> list[np.ndarray]:
    """Images of eight fields, white where the number (plus `base`) has a binary 1."""
    images = []
    for number in range(base, base + count):
        bits = [(number >> bit & 1) * 200 + 20 for bit in range(8)]
        fields = np.array(bits, np.uint8).reshape(2, 4).repeat(height // 2, 0).repeat(width // 4, 1)
        images.append(np.stack([fields] * 3, -1))
    return images


def numbers(clip: Clip | Take) -> list[int]:
    """What `numbered` wrote into the frames of a clip of stretched pictures."""
    _, h, w, _ = clip.frames.shape
    centres = clip.frames[:, h // 4 :: h // 2, w // 8 :: w // 4, 0] > 120
    return [int(sum(bit << i for i, bit in enumerate(field.ravel().tolist()))) for field in centres]


def noise(count: int, seed: int, level: int = 128) -> list[np.ndarray]:
    """A still picture of one mean level, different for every seed."""
    image = np.random.default_rng(seed).integers(level - 40, level + 40, (12, 16, 3)).astype(np.uint8)
    return [image.repeat(4, 0).repeat(4, 1)] * count


def whole(*paths: Path, **parameters: Any) -> VideoFiles:
    """A source that puts all clips into the training split and ignores cuts, unless told otherwise."""
    usual: dict[str, Any] = {
        "size": 32,
        "frames": 4,
        "fit": "stretch",
        "val_share": 0.0,
        "test_share": 0.0,
        "cut": NO_CUTS,
    }
    return VideoFiles(input=tuple(map(str, paths)), **(usual | parameters))
