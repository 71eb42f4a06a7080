"""The three parts of a data set, and the random stream that belongs to each clip of each part."""

import numpy as np

from data_shards.mistake import UserError

SPLITS = ("train", "val", "test")


def split_number(split: str) -> int:
    """Position of `split` in SPLITS.

    Raises:
        UserError: the name is not one of SPLITS.
    """
    if split not in SPLITS:
        raise UserError(f"split {split!r} is unknown; use one of {', '.join(SPLITS)}")
    return SPLITS.index(split)


def clip_generator(seed: int, split: str, index: int) -> np.random.Generator:
    """The random stream of clip `index`: a function of (seed, split, index) alone, so any clip can be made alone.

    Raises:
        UserError: `split` is unknown.
        ValueError: `seed` or `index` is negative.
    """
    if seed < 0 or index < 0:
        raise ValueError(f"seed {seed} and clip index {index} must not be negative")
    # A spawn key, not a list of entropy words: SeedSequence([3, 1]) equals SeedSequence([3, 1, 0]).
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(split_number(split), index)))


def split_items(count: int, shares: tuple[float, float], seed: int) -> dict[str, list[int]] | None:
    """Items 0..count-1 dealt to the splits by a random permutation; None if some split would get less than one.

    Args:
        count: of items.
        shares: of val and test; 0 leaves a split empty.
        seed: of the permutation.
    """
    if any(0 < share * count < 1 for share in shares):
        return None
    val, test = (round(share * count) for share in shares)
    if val + test >= count:
        return None
    deck = np.random.default_rng(np.random.SeedSequence(seed)).permutation(count).tolist()
    return {"val": deck[:val], "test": deck[val : val + test], "train": deck[val + test :]}


def split_times(length: int, shares: tuple[float, float], span: int, gap: int) -> dict[str, range]:
    """Disjoint ranges of the frames 0..length-1 of one file: train, then val, then test, `gap` frames apart.

    A split is given at least `span` frames, so that a clip fits. A file too short for all of them is train only.
    """
    val, test = (max(span, round(share * length)) if share else 0 for share in shares)
    test_start = length - test
    val_start = test_start - (gap if test else 0) - val
    train_stop = val_start - (gap if val else 0) if val else test_start - (gap if test else 0)
    if train_stop < span:
        return {"train": range(length), "val": range(0), "test": range(0)}
    return {
        "train": range(train_stop),
        "val": range(val_start, val_start + val),
        "test": range(test_start, length),
    }
