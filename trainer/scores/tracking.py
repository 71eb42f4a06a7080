"""Objects followed over a clip: CLEAR's MOTA, IDF1, HOTA, and when an object gets another number.

By the rules of TrackEval, of one clip at a time; the mean over a set is that over its clips. An object that is hidden
by another is still there; one outside the frame is not, nor is what is found there.
"""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from model.interface import Video, Views
from trainer.scores.tracks import Tracks, tracks

FITS = 0.5  # least intersection over union of a match
SAME = 1000.0  # by which a match that goes on is worth more than any other
HOTA_FITS = np.arange(0.05, 0.99, 0.05)
ROUNDING = float(np.finfo(np.float64).eps)


def followed(clip: Tracks) -> Int64[np.ndarray, "s n"]:
    """The number that each true object is found under in each frame, 0 = not found (Bernardin & Stiefelhagen 2008).

    Matches go on where they still fit; the others are those that fit best in sum.
    """
    matched, before = np.zeros_like(clip.true), np.zeros_like(clip.true[:1].sum(0))
    for t, (fit, found, true, _) in enumerate(zip(*clip, strict=True)):
        slots, objects = np.flatnonzero(found), np.flatnonzero(true)
        if not len(slots) or not len(objects):
            continue
        worth = fit[np.ix_(slots, objects)]
        goes_on = found[slots][:, None] == before[objects]
        worth = np.where(worth >= FITS - ROUNDING, worth + SAME * goes_on, 0.0)
        rows, columns = _assigned(worth)
        good = worth[rows, columns] > ROUNDING
        matched[t, objects[columns[good]]] = found[slots[rows[good]]]
        before = matched[t]
    return matched


def switched(matched: Int64[np.ndarray, "s n"]) -> Bool[np.ndarray, "s n"]:
    """Whether an object is found under another number than the last time that it was found."""
    changes, last = np.zeros(matched.shape, bool), np.zeros_like(matched[:1].sum(0))
    for t, now in enumerate(matched):
        changes[t] = (now > 0) & (last > 0) & (now != last)
        last = np.where(now > 0, now, last)
    return changes


def clip_mota(clip: Tracks) -> float:
    """1 - (missed + false + switches) / true, over all frames; NaN without a true object."""
    true, found = (int((x > 0).sum()) for x in (clip.true, clip.found))
    matched = followed(clip)
    hits, switches = int((matched > 0).sum()), int(switched(matched).sum())
    return (hits - (found - hits) - switches) / true if true else np.nan


def clip_idf1(clip: Tracks) -> float:
    """Shares of found and true objects that belong together when each number stands for one object at most."""
    true, found = (int((x > 0).sum()) for x in (clip.true, clip.found))
    if not true:
        return np.nan
    together = _summed((clip.fit >= FITS - ROUNDING).astype(np.float64), clip)
    rows, columns = _assigned(together)
    return float(2 * together[rows, columns].sum() / (true + found))


def clip_hota(clip: Tracks) -> float:
    """The geometric mean of how well objects are detected and associated, over 19 fits (Luiten et al. 2021)."""
    numbers, true = np.unique(clip.found[clip.found > 0]), clip.true > 0
    if not true.any():
        return np.nan
    there = np.stack([(clip.found == number).sum() for number in numbers]) if len(numbers) else np.zeros(0)
    pairs = there[:, None] + true.sum(0)[None]
    mutual = _summed(np.stack([_mutual(fit, *ids) for fit, *ids, _ in zip(*clip, strict=True)]), clip)
    alignment = mutual / np.maximum(pairs - mutual, ROUNDING)
    hits, common = np.zeros(len(HOTA_FITS)), np.zeros((len(HOTA_FITS), *mutual.shape))
    for fit, found, real, _ in zip(*clip, strict=True):
        slots, objects = np.flatnonzero(found), np.flatnonzero(real)
        ids = np.searchsorted(numbers, found[slots])
        rows, columns = _assigned(alignment[np.ix_(ids, objects)] * fit[np.ix_(slots, objects)])
        good = fit[slots[rows], objects[columns]] >= HOTA_FITS[:, None] - ROUNDING
        hits += good.sum(1)
        for row, column, fits in zip(ids[rows], objects[columns], good.T, strict=True):
            common[:, row, column] += fits
    associated = (common * common / np.maximum(pairs - common, 1)).sum((1, 2)) / np.maximum(hits, 1)
    detected = hits / (true.sum() + (clip.found > 0).sum() - hits)
    return float(np.sqrt(detected * associated).mean())


def changes_of_number(
    clip: Tracks,
) -> tuple[Float64[np.ndarray, "s n"], Float64[np.ndarray, "s n"]]:
    """Whether an object that is found by itself has another number than the last time that it was, 1 or 0.

    First where no other object's box has touched its own since, then where one has, in the frame in which it is found
    by itself again. NaN where the question does not arise.
    """
    matched = followed(clip)
    apart, across = np.full(matched.shape, np.nan), np.full(matched.shape, np.nan)
    last, touched = np.zeros_like(matched[:1].sum(0)), np.zeros(matched.shape[1], bool)
    for t, now in enumerate(matched):
        touched |= clip.touched[t] & (clip.true[t] > 0)
        alone = (now > 0) & ~clip.touched[t]
        changed = (now != last).astype(np.float64)
        apart[t] = np.where(alone & (last > 0) & ~touched, changed, np.nan)
        across[t] = np.where(alone & (last > 0) & touched, changed, np.nan)
        last, touched = np.where(alone, now, last), touched & ~alone
    return apart, across


def found_again(clip: Tracks) -> Float64[np.ndarray, "s"]:
    """Objects in each frame that had a number and are found under one that was never there; NaN for the first."""
    matched = followed(clip)
    changes, counts = switched(matched), np.full(len(matched), np.nan)
    for t in range(1, len(matched)):
        new = ~np.isin(matched[t], clip.found[:t])
        counts[t] = (changes[t] & new).sum()
    return counts


def best_fits(clip: Tracks) -> Float64[np.ndarray, "s n"]:
    """IoU of each object's box with that of the slot that stands for it in this frame, 0 for none."""
    best = np.where(clip.true > 0, 0.0, np.nan)
    for t, (fit, found, true, _) in enumerate(zip(*clip, strict=True)):
        slots, objects = np.flatnonzero(found), np.flatnonzero(true)
        rows, columns = _assigned(fit[np.ix_(slots, objects)])
        best[t, objects[columns]] = fit[slots[rows], objects[columns]]
    return best


def of_clips(measure: Callable[[Tracks], object]) -> Callable[[Views, Video], Tensor]:
    """The score that is `measure` of each clip's tracks."""

    def score(views: Views, video: Video) -> Float[Tensor, "b *entries"]:
        values = np.stack([np.asarray(measure(clip), np.float64) for clip in tracks(views, video)])
        return torch.from_numpy(values if values.ndim > 1 else values[:, None]).to(video.frames.device)

    return score


mota, idf1, hota = of_clips(clip_mota), of_clips(clip_idf1), of_clips(clip_hota)
id_switches = of_clips(lambda clip: float(switched(followed(clip)).sum()))
switches_apart = of_clips(lambda clip: changes_of_number(clip)[0])
switches_across = of_clips(lambda clip: changes_of_number(clip)[1])
rediscovered = of_clips(found_again)
box_fit = of_clips(best_fits)


def _assigned(
    worth: Float64[np.ndarray, "k n"],
) -> tuple[Int64[np.ndarray, "m"], Int64[np.ndarray, "m"]]:
    from scipy.optimize import linear_sum_assignment  # takes a second to import, and few runs follow objects

    rows, columns = linear_sum_assignment(worth, maximize=True)
    return rows, columns


def _summed(values: Float64[np.ndarray, "s k n"], clip: Tracks) -> Float64[np.ndarray, "m n"]:
    """Over time, for each number that was found, in order, and each object; of those that are there."""
    values = values * (clip.true > 0)[:, None]
    numbers = np.unique(clip.found[clip.found > 0])
    return np.stack([values[clip.found == number].sum(0) for number in [*numbers, 0]])[:-1]


def _mutual(
    fit: Float64[np.ndarray, "k n"], found: Int64[np.ndarray, "k"], true: Int64[np.ndarray, "n"]
) -> Float64[np.ndarray, "k n"]:
    """A fit, less the more others fit as well."""
    fit = fit * (found > 0)[:, None] * (true > 0)
    others = fit.sum(0)[None] + fit.sum(1)[:, None] - fit
    return np.where(others > ROUNDING, fit / np.maximum(others, ROUNDING), 0.0)
