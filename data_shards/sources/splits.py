"""The three parts of a data set, and the random stream that belongs to each clip of each part."""

import numpy as np

SPLITS = ("train", "val", "test")


def split_number(split: str) -> int:
    """Position of `split` in SPLITS.

    Raises:
        ValueError: the name is not one of SPLITS.
    """
    if split not in SPLITS:
        raise ValueError(f"split {split!r} is unknown; use one of {', '.join(SPLITS)}")
    return SPLITS.index(split)


def clip_generator(seed: int, split: str, index: int) -> np.random.Generator:
    """The random stream of clip `index`: a function of (seed, split, index) alone, so any clip can be made alone.

    Raises:
        ValueError: `seed` or `index` is negative, or `split` is unknown.
    """
    if seed < 0 or index < 0:
        raise ValueError(f"seed {seed} and clip index {index} must not be negative")
    # A spawn key, not a list of entropy words: SeedSequence([3, 1]) equals SeedSequence([3, 1, 0]).
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(split_number(split), index)))
