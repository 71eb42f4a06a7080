"""The Rand index: independent implementations, what counts, what a swap costs."""

import math
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
import torchmetrics.functional.clustering as clustering
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import adjusted_rand_score

from model.interface import Video
from tests.trainer.squares import squares
from trainer.evaluation.references import copy_last, oracle
from trainer.scores import SCORES
from trainer.scores.segmentation import adjusted_rand, predicted_ids

LABELS = st.integers(1, 60).flatmap(
    lambda n: st.tuples(
        arrays(np.int64, n, elements=st.integers(0, 4)), arrays(np.int64, n, elements=st.integers(0, 4))
    )
)


@settings(max_examples=200, deadline=None)
@given(LABELS)
def test_rand_index_agrees_with_scikit_learn_on_any_labels(labels: tuple[np.ndarray, np.ndarray]) -> None:
    true, predicted = labels
    ours = rand_of(true, predicted, np.ones_like(true))
    assert ours == pytest.approx(sklearn_rand(true, predicted), abs=1e-6)
    assert ours == pytest.approx(rand_of(predicted, true, np.ones_like(true)), abs=1e-12)
    assert ours <= 1
    renamed = np.array([3, 0, 4, 1, 2])[predicted]
    assert ours == pytest.approx(rand_of(true, renamed, np.ones_like(true)), abs=1e-12)


@settings(max_examples=100, deadline=None)
@given(LABELS)
def test_pixels_that_do_not_count_change_nothing(labels: tuple[np.ndarray, np.ndarray]) -> None:
    true, predicted = labels
    ours = rand_of(true, predicted, true > 0)
    assert ours == pytest.approx(sklearn_rand(true[true > 0], predicted[true > 0]), abs=1e-6)


@pytest.mark.parametrize(
    ("true", "predicted"),
    [
        ([1, 1, 1], [2, 2, 2]),  # a single cluster in both
        ([1, 1, 1, 1], [0, 0, 1, 1]),  # a single cluster in the truth
        ([0, 0, 1, 1], [1, 1, 1, 1]),  # a single cluster in the prediction
        ([1], [3]),  # one pixel
        ([0, 1, 2, 3], [3, 2, 1, 0]),  # every pixel its own cluster
        ([0, 1, 2, 3], [1, 1, 1, 1]),
        ([], []),
    ],
)
def test_rand_index_of_edge_cases(true: list[int], predicted: list[int]) -> None:
    a, b = np.array(true, dtype=np.int64), np.array(predicted, dtype=np.int64)
    assert rand_of(a, b, np.ones_like(a)) == pytest.approx(sklearn_rand(a, b), abs=1e-6)
    if len(a) > 1:  # torchmetrics refuses fewer
        metric = clustering.adjusted_rand_score(torch.from_numpy(b), torch.from_numpy(a)).item()
        if not math.isnan(metric):
            assert rand_of(a, b, np.ones_like(a)) == pytest.approx(metric, abs=1e-6)


def test_large_rand_index_does_not_overflow() -> None:
    rng = np.random.default_rng(1)
    true = rng.integers(0, 4, 300_000)
    predicted = np.where(rng.random(len(true)) < 0.3, 4, true)
    assert rand_of(true, predicted, true > 0) == pytest.approx(
        adjusted_rand_score(true[true > 0], predicted[true > 0]), abs=1e-6
    )


def test_background_wins_only_where_its_weight_is_larger() -> None:
    masks = torch.tensor([[0.6, 0.2, 0.1], [0.3, 0.45, 0.1]]).view(2, 1, 3)
    assert predicted_ids(masks).tolist() == [[0, 1, 2]]


def test_video_rand_index_punishes_a_swap_and_frame_rand_index_does_not() -> None:
    video = squares()
    views = oracle(video)
    assert views is not None
    swapped = torch.cat([views.visible_masks[:, :2], views.visible_masks[:, 2:].flip(2)], dim=1)
    views = replace(views, visible_masks=swapped)
    frame, clip = (SCORES[f"fg_ari_{kind}"].measure(views, video) for kind in ("frame", "video"))
    assert frame.min() == 1
    truth = video.truth.visible_ids[0, :4].flatten().numpy()
    expected = adjusted_rand_score(truth[truth > 0], predicted_ids(swapped)[0].flatten().numpy()[truth > 0])
    assert clip.shape == (1, 1)
    assert clip.item() == pytest.approx(expected, abs=1e-6)
    assert clip.item() < 0.1


def test_frames_without_objects_do_not_count_for_foreground() -> None:
    video = squares()
    video = Video(video.frames, replace(video.truth, visible_ids=torch.zeros_like(video.truth.visible_ids)))
    assert SCORES["fg_ari_frame"].measure(copy_last(video), video).isnan().all()


def rand_of(true: np.ndarray, predicted: np.ndarray, counted: np.ndarray) -> float:
    rows = (torch.from_numpy(np.asarray(x)[None]) for x in (true, predicted, counted.astype(bool)))
    return adjusted_rand(*rows).item()


def sklearn_rand(true: np.ndarray, predicted: np.ndarray) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns of labels that look continuous
        return float(adjusted_rand_score(true, predicted))
