"""Pictures as an mp4 that browsers and players show."""

import io
from fractions import Fraction

import av
import numpy as np

from trainer.pictures.picture import Picture


def mp4(pictures: list[Picture], fps: float) -> bytes:
    """An h264 film of pictures of one size; an odd row or column gets a double, since chroma is halved.

    Raises:
        ValueError: there is no picture, or `fps` is not above 0.
    """
    if not pictures or not fps > 0:
        raise ValueError(
            f"a film needs pictures and a rate above 0, got {len(pictures)} at {fps:g} per second"
        )
    rate = Fraction(fps).limit_denominator(1001)
    height, width = pictures[0].shape[:2]
    with io.BytesIO() as file:
        with av.open(file, "w", format="mp4") as container:
            stream = container.add_stream("libx264", rate=rate, options={"crf": "16"})
            stream.width, stream.height, stream.pix_fmt = width + width % 2, height + height % 2, "yuv420p"
            stream.codec_context.thread_count = 1  # with more, bytes depend on the machine
            for number, picture in enumerate(pictures):
                even = np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
                frame = av.VideoFrame.from_ndarray(even, format="rgb24")
                frame.pts, frame.time_base = number, 1 / rate
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return file.getvalue()
