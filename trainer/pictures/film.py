"""Pictures as an mp4 that browsers and players show."""

import io
from fractions import Fraction
from typing import Any

import av
import numpy as np

from trainer.pictures.picture import Picture

TICKS = 90_000  # a second, of timed films


def mp4(pictures: list[Picture], fps: float) -> bytes:
    """An h264 film of pictures of one size.

    Raises:
        ValueError: there is no picture, or `fps` is not above 0.
    """
    if not pictures or not fps > 0:
        raise ValueError(
            f"a film needs pictures and a rate above 0, got {len(pictures)} at {fps:g} per second"
        )
    with io.BytesIO() as file:
        reel = Reel(file, fps)
        for picture in pictures:
            reel.add(picture)
        reel.close()
        return file.getvalue()


class Reel:
    """An h264 film, picture by picture, all of one size; an odd row or column gets a double, since chroma is halved.

    Args:
        file: where it goes, to be written and sought.
        fps: pictures a second, above 0.
        timed: pictures say when they are shown, and `fps` is about their rate.
    """

    def __init__(self, file: io.BufferedIOBase, fps: float, timed: bool = False) -> None:
        self._rate = Fraction(fps).limit_denominator(1001)
        self._tick = Fraction(1, TICKS) if timed else 1 / self._rate
        self._last = -1
        self._container = av.open(file, "w", format="mp4")
        self._stream: Any = None

    def add(self, picture: Picture, time: float = 0.0) -> None:
        """The next picture, shown from `time` on, in seconds, where pictures are timed."""
        height, width = picture.shape[:2]
        if self._stream is None:
            stream = self._container.add_stream("libx264", rate=self._rate, options={"crf": "16"})
            stream.width, stream.height, stream.pix_fmt = width + width % 2, height + height % 2, "yuv420p"
            stream.codec_context.thread_count = 1  # with more, bytes depend on the machine
            stream.codec_context.time_base = self._tick
            self._stream = stream
        even = np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        frame = av.VideoFrame.from_ndarray(even, format="rgb24")
        self._last = max(self._last + 1, round(time / self._tick))
        frame.pts, frame.time_base = self._last, self._tick
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        """There are no more."""
        if self._stream is not None:
            self._container.mux(self._stream.encode(None))
        self._container.close()
