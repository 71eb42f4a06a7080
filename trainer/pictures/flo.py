"""Middlebury's .flo files: a tag, width and height, then (x, y) of each pixel, row by row; all little-endian."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

TAG = b"PIEH"  # 202021.25 as a float32
HEADER = 12  # bytes: tag, width, height
UNKNOWN = 1e9  # a larger component says that the flow is unknown
LARGEST = 1 << 20  # pixels along an axis: a larger number is damage


def parse_flo(data: bytes) -> Float[Tensor, "2 h w"]:
    """The flow field of a .flo file in pixels; NaN where it is unknown.

    Raises:
        ValueError: the tag is wrong, or the size is not what the header says.
    """
    if data[:4] != TAG:
        found = data[:4].hex(" ") or "nothing"
        raise ValueError(f"no .flo file: it begins with {found}, needs {TAG.hex(' ')} ({TAG.decode()})")
    if len(data) < HEADER:
        raise ValueError(f"ends within its header of {HEADER} bytes, has {len(data)}")
    width, height = (int(n) for n in np.frombuffer(data, "<i4", 2, 4))
    if not (0 < width <= LARGEST and 0 < height <= LARGEST):
        raise ValueError(f"has a size of {width} x {height}, each must be 1 to {LARGEST}")
    wanted = HEADER + 8 * width * height
    if len(data) != wanted:
        raise ValueError(f"a field of {width} x {height} makes a file of {wanted} bytes, has {len(data)}")
    pairs = np.frombuffer(data, "<f4", offset=HEADER).reshape(height, width, 2).astype(np.float32)
    flow = torch.from_numpy(np.ascontiguousarray(pairs.transpose(2, 0, 1)))
    unknown = (~(flow.abs() <= UNKNOWN)).any(0)  # also where a component is NaN
    return flow.masked_fill(unknown, torch.nan)


def flo_bytes(flow: Float[Tensor, "2 h w"]) -> bytes:
    """The .flo file of a flow field in pixels; NaN is written as unknown."""
    known = flow.isfinite().all(0)
    values = torch.where(known, flow.float(), 2 * UNKNOWN).permute(1, 2, 0).cpu().numpy()
    height, width, _ = values.shape
    return TAG + np.array([width, height], "<i4").tobytes() + values.astype("<f4").tobytes()
