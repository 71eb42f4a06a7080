"""The table of a clip's arrays, and that the dataclasses say the same."""

from dataclasses import fields
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest

from data_shards.clip import BATCH_FIELDS, FIELDS, Batch, Clip, Field

SIZES = {"t": 5, "h": 4, "w": 6, "c": 3, "n": 2}


def arrays(cls: type) -> dict[str, tuple[str, str]]:
    """Number type and axes of each annotated array of a dataclass, in alphabetical order of the names."""
    hints = {name: (get_args(hint) or (hint,))[0] for name, hint in get_type_hints(cls).items()}
    return {
        name: (hint.dtypes[0], hint.dim_str)
        for name, hint in sorted(hints.items())
        if hasattr(hint, "dim_str")
    }


def rows(table: dict[str, Field], before: str = "") -> dict[str, tuple[str, str]]:
    return {name: (field.dtype.name, before + field.axes) for name, field in sorted(table.items())}


def test_a_clip_has_the_fields_of_the_table() -> None:
    assert arrays(Clip) == rows(FIELDS)
    assert {field.name for field in fields(Clip)} == {"key", "facts", *FIELDS}


def test_a_batch_has_those_of_its_table() -> None:
    assert arrays(Batch) == rows(BATCH_FIELDS, "b ")
    assert {field.name for field in fields(Batch)} == {"keys", *BATCH_FIELDS}


@pytest.mark.parametrize(
    ("shape", "fit"),
    [
        ((5, 2, 2), True),
        ((5, 1, 2), True),
        ((5, 0, 2), True),
        ((5, 3, 2), False),
        ((4, 2, 2), False),
        ((5, 2, 1), False),
        ((5, 2), False),
    ],
)
def test_only_objects_may_be_fewer(shape: tuple[int, ...], fit: bool) -> None:
    assert Field(np.float32, "t n 2").fits(shape, SIZES) is fit


def test_shapes_and_axes_have_names() -> None:
    field = Field(np.uint8, "t n h w")
    assert field.shape(SIZES) == (5, 2, 4, 6)
    assert [field.axis(name) for name in "tnhwc"] == [0, 1, 2, 3, None]
    assert Field(np.float32, "n 2").shape(SIZES) == (2, 2)


def test_the_stored_order_of_the_fields() -> None:
    """Shards are named by their bytes: another order would be another name for the same clips."""
    stored: list[Any] = ["frames", "visible_ids", "amodal_masks", "depth_ranks", "centres", "velocities"]
    assert list(FIELDS)[:8] == [*stored, "colours", "labels"]
