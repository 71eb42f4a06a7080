import math
import warnings
from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
import torch
import torchmetrics.functional.clustering as clustering
import torchmetrics.functional.image as image
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage.metrics import peak_signal_noise_ratio
from skimage.metrics import structural_similarity as skimage_ssim
from sklearn.metrics import adjusted_rand_score

from model.interface import Truth, Video, Views
from trainer.evaluation.references import black, copy_last, oracle
from trainer.scores import SCORES
from trainer.scores.consistency import over_gap
from trainer.scores.flow import flow_error, warp_error
from trainer.scores.matching import match
from trainer.scores.motion import motion_error
from trainer.scores.prediction import peak_signal_to_noise, structural_similarity
from trainer.scores.segmentation import adjusted_rand, predicted_ids

HEIGHT, WIDTH = 20, 24


def image_pairs() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Frames (c, h, w) in float64: random and edge cases."""
    rng = np.random.default_rng(0)
    noise = rng.random((3, HEIGHT, WIDTH))
    half = np.full_like(noise, 0.5)
    checkers = np.indices((HEIGHT, WIDTH)).sum(0)[None].repeat(3, 0) % 2.0
    return {
        "random": (noise, rng.random(noise.shape)),
        "close": (noise, np.clip(noise + 1e-3 * rng.standard_normal(noise.shape), 0, 1)),
        "identical": (noise, noise),
        "constant": (half, np.full_like(noise, 0.25)),
        "black and white": (np.zeros_like(noise), np.ones_like(noise)),
        "constant and noise": (half, noise),
        "inverted": (checkers, 1 - checkers),
        "grey": (noise[:1], half[:1]),
        "smallest": (noise[:, :11, :11], half[:, :11, :11]),
    }


@pytest.mark.parametrize("name", image_pairs())
def test_psnr_and_ssim_agree_with_independent_implementations(name: str) -> None:
    a, b = image_pairs()[name]
    ours = structural_similarity(torch.from_numpy(a), torch.from_numpy(b)).item()
    expected = skimage_ssim(
        a, b, data_range=1.0, channel_axis=0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    assert ours == pytest.approx(expected, abs=1e-6)
    batch = torch.from_numpy(a)[None], torch.from_numpy(b)[None]
    # torchmetrics also averages windows that reach over the border, into a mirror image; ours are those inside.
    _, places = image.structural_similarity_index_measure(*batch, data_range=1.0, return_full_image=True)
    assert ours == pytest.approx(places[..., 5:-5, 5:-5].mean().item(), abs=1e-6)
    decibel = peak_signal_to_noise(*batch).item()
    if name == "identical":
        assert decibel == pytest.approx(100.0)
        return
    assert decibel == pytest.approx(peak_signal_noise_ratio(a, b, data_range=1.0), abs=1e-6)
    # torchmetrics takes log(10) in float32, whatever the input: 1e-7 relative.
    assert decibel == pytest.approx(
        image.peak_signal_noise_ratio(*batch, data_range=1.0).item(), rel=1e-7, abs=1e-6
    )


def test_frames_smaller_than_the_window_are_refused() -> None:
    with pytest.raises(ValueError, match="11 x 11 pixels, got 10 x 24"):
        structural_similarity(torch.rand(2, 3, 10, 24), torch.rand(2, 3, 10, 24))


def test_psnr_is_the_mean_of_decibels_not_of_errors() -> None:
    frames = torch.zeros(1, 3, 1, 4, 4)
    views = Views(prediction=torch.tensor([0.1, 0.01]).view(1, 2, 1, 1, 1).expand(1, 2, 1, 4, 4))
    values = SCORES["psnr"].measure(views, Video(frames))
    torch.testing.assert_close(values, torch.tensor([[20.0, 40.0]], dtype=torch.float64), atol=1e-5, rtol=0)


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


def test_oracle_of_hard_squares_is_perfect() -> None:
    """Integer shifts of hard squares: nothing is lost to interpolation, so every score is at its best."""
    video = squares()
    views = oracle(video)
    assert views is not None
    decibels = dict.fromkeys(("psnr", "memory_psnr", "forward_psnr", "backward_psnr"), 100.0)
    best = {
        **decibels,
        "motion_error": 0.0,
        "motion_deformation": 0.0,
        "flow_error": 0.0,
        "mse": 0.0,
        "l1": 0.0,
    }
    for name, score in SCORES.items():
        if name in ("unmatched_area", "amodal_iou_hidden", "bce", "warp_error") or score.missing(
            views, video
        ):
            continue
        values = score.measure(views, video)
        assert values.nanmean().item() == pytest.approx(best.get(name, 1.0), abs=1e-4), name


def test_flow_error_is_the_distance_to_where_objects_came_from() -> None:
    """Red goes 3 pixels up a frame, green 3 down: where green is seen, red's motion is 6 off."""
    video = squares()
    flow = torch.tensor([0.0, -3.0])[:, None, None].expand(1, 4, 2, HEIGHT, WIDTH)
    seen = [(video.truth.visible_ids[0, t] == 2).sum() for t in range(1, 5)]
    red = (video.truth.visible_ids[0, 1:] == 1).sum()
    expected = 6 * sum(seen) / (sum(seen) + red)
    assert flow_error(Views(flow=flow), video).nanmean().item() == pytest.approx(expected.item())
    last = flow_error(Views(flow=flow[:, -1:]), video)
    assert last.nanmean().item() == pytest.approx((6 * seen[-1] / (seen[-1] + 36)).item())
    assert flow_error(copy_last(video), video).nanmean().item() == pytest.approx(3)
    still = replace(video.truth, visible_ids=torch.zeros_like(video.truth.visible_ids))
    assert flow_error(Views(flow=flow), Video(video.frames, still)).isnan().all()


def test_warp_error_is_what_flow_leaves_of_the_difference_of_frames() -> None:
    """A ramp that goes 2 pixels to the right a frame: the flow that says so leaves only what came in from outside."""
    ramp = torch.arange(30.0) / 40
    frames = (
        torch.stack([ramp[8 - 2 * t : 24 - 2 * t] for t in range(4)])
        .view(1, 4, 1, 1, 16)
        .expand(-1, -1, 3, 8, -1)
    )
    right = torch.tensor([2.0, 0.0])[:, None, None].expand(1, 3, 2, 8, 16)
    errors = warp_error(Views(flow=right), Video(frames))
    assert errors.shape == (1, 3, 3, 8, 16)
    assert errors[..., 2:].max().item() < 1e-10
    expected = frames[:, 1:, ..., :2].double().square()
    torch.testing.assert_close(errors[..., :2], expected)
    for flow in (right * 0, right[:, -1:] * 0):
        copying = (frames[:, -len(flow[0]) :] - frames[:, -len(flow[0]) - 1 : -1]).double().square()
        torch.testing.assert_close(warp_error(Views(flow=flow), Video(frames)), copying, atol=1e-6, rtol=0)
    wrong = warp_error(Views(flow=-right), Video(frames))[..., 2:-2]
    assert wrong.mean() > 3.9 * copying[..., 2:-2].mean()


def test_matching_finds_permuted_slots_and_leaves_the_spare_one() -> None:
    video = squares()
    views = oracle(video)
    assert views is not None
    spare = torch.zeros_like(views.amodal_masks[:, :, :1])
    spare[..., 0, :6] = 1
    shuffled = torch.cat([spare, views.amodal_masks.flip(2)], dim=2)
    views = Views(amodal_masks=shuffled)
    assert match(views, video).tolist() == [[2, 1]]
    assert SCORES["amodal_iou"].measure(views, video).eq(1).all()
    area = SCORES["unmatched_area"].measure(views, video)
    assert area.nanmean().item() == pytest.approx(6 / (HEIGHT * WIDTH))
    assert area[:, :, 1:].isnan().all()


def test_a_missed_object_counts_zero_and_padding_does_not_count() -> None:
    video = squares()
    one = Views(amodal_masks=oracle(video).amodal_masks[:, :, 1:])
    assert match(one, video).tolist() == [[-1, 0]]
    assert SCORES["amodal_iou"].measure(one, video).mean(dim=(0, 1)).tolist() == [0, 1]
    truth = {name: getattr(video.truth, name) for name in ("amodal_masks", "visible_ids")}
    padded = Truth(
        visible_ids=truth["visible_ids"],
        amodal_masks=torch.cat([truth["amodal_masks"], torch.zeros_like(truth["amodal_masks"])], dim=2),
        present=torch.tensor([[1, 1, 0, 0]]),
    )
    values = SCORES["amodal_iou"].measure(one, Video(video.frames, padded))
    assert values.nanmean(dim=(0, 1))[:2].tolist() == [0, 1]
    assert values[:, :, 2:].isnan().all()


def test_occluded_part_is_scored_where_it_is_hidden() -> None:
    """A mask without its hidden part: full marks where nothing is hidden, none for the hidden part itself."""
    video = squares()
    views = oracle(video)
    modal = replace(views, amodal_masks=views.visible_masks)
    hidden = SCORES["occluded_iou"].measure(views, video)
    assert (~hidden.isnan()).sum() == 1  # squares() overlaps in frame 3 only, and object 1 is in front
    assert hidden[0, 2, 1] == 1
    assert SCORES["occluded_iou"].measure(modal, video)[0, 2, 1] == 0
    assert SCORES["amodal_iou"].measure(modal, video)[0, :, 1].tolist() == pytest.approx([1, 1, 24 / 36, 1])
    partly = SCORES["amodal_iou_partly"].measure(modal, video)
    assert partly.nanmean().item() == pytest.approx(24 / 36)


@pytest.mark.parametrize(("order", "expected"), [("true", 1.0), ("wrong", 0.0), ("undecided", 0.5)])
def test_depth_order_counts_overlapping_pairs_only(order: str, expected: float) -> None:
    video = squares()
    views = oracle(video)
    orders = {
        "true": views.depth_order,
        "wrong": views.depth_order.flip(3),
        "undecided": torch.full_like(views.depth_order, 0.5),
    }
    values = SCORES["depth_order"].measure(replace(views, depth_order=orders[order]), video)
    assert values.isnan()[0, :, 0].tolist() == [True, True, False, True]
    assert values[0, 2, 0].item() == expected


@pytest.mark.parametrize(("pixels", "counted"), [(4, False), (5, True)])
def test_an_overlap_of_fewer_than_five_pixels_does_not_count(pixels: int, counted: bool) -> None:
    video = squares()
    masks = torch.zeros_like(video.truth.amodal_masks)
    masks[..., 0, :9, 0], masks[..., 1, 9 - pixels : 18 - pixels, 0] = 1, 1
    video = replace(video, truth=replace(video.truth, amodal_masks=masks))
    assert SCORES["depth_order"].measure(oracle(video), video).isnan().all() == (not counted)


def test_masks_are_cut_at_one_half() -> None:
    """A haze of 0.4 around a slot's mask, and around an object's, is no part of either."""
    video = squares()
    views, hazy = oracle(video), video.truth.amodal_masks.clamp(min=0.4)
    assert SCORES["amodal_iou"].measure(replace(views, amodal_masks=hazy[:, :4]), video).eq(1).all()
    video = replace(video, truth=replace(video.truth, amodal_masks=hazy))
    assert SCORES["amodal_iou"].measure(views, video).eq(1).all()


@settings(max_examples=50, deadline=None)
@given(st.floats(-0.6, 0.6), st.floats(0.7, 1.4), st.floats(-3, 3), st.floats(-3, 3))
def test_motion_error_is_the_displacement_of_the_centre(
    angle: float, scale: float, dx: float, dy: float
) -> None:
    """Rotating and scaling about the object's own centre moves the centre by the translation alone."""
    video = squares()
    views = oracle(video)
    pixels = np.array([[2 / WIDTH, 0, -1], [0, 2 / HEIGHT, -1], [0, 0, 1]])
    linear = scale * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    motion = np.zeros((4, 2, 3, 3))
    for t in range(4):
        for n in range(2):
            centre = video.truth.centres[0, t, n].numpy()
            shift = video.truth.velocities[0, t, n].numpy() + np.array([dx, dy])
            forward = np.eye(3)
            forward[:2, :2], forward[:2, 2] = linear, centre + shift - linear @ centre
            motion[t, n] = pixels @ forward @ np.linalg.inv(pixels)
    views = replace(views, motion=torch.from_numpy(motion)[None])
    assert motion_error(views, video).flatten().tolist() == pytest.approx([math.hypot(dx, dy)] * 8, abs=1e-9)
    deformation = SCORES["motion_deformation"].measure(views, video)
    assert deformation.flatten().tolist() == pytest.approx([np.linalg.norm(linear - np.eye(2))] * 8, abs=1e-9)


def test_memory_is_compared_inside_the_hidden_part_only() -> None:
    video = squares()
    views = oracle(video)
    garbage = torch.rand_like(views.slot_frames)
    hidden = (video.truth.amodal_masks[:, :4] > 0.5) & (
        video.truth.visible_ids[:, :4, None] != torch.arange(1, 3).view(-1, 1, 1)
    )
    off = views.slot_frames - 0.1
    views = replace(views, slot_frames=torch.where(hidden[:, :, :, None], off, garbage))
    values = SCORES["memory_psnr"].measure(views, video)
    assert values.isnan().sum() == 7
    assert values[0, 2, 1].item() == pytest.approx(20.0, abs=1e-4)


def test_gaps_count_every_pair_of_frames_once() -> None:
    """Four decomposed frames of five: gap 2 reaches frames 3 to 5 forwards and 1 to 2 backwards, and so on."""
    video = squares()
    views = oracle(video)
    forward, backward = (SCORES[f"{way}_psnr"].measure(views, video) for way in ("forward", "backward"))
    assert (~forward.isnan()).sum(dim=2).tolist() == [[3, 2, 1, 0, 0, 0, 0, 0]]
    assert (~backward.isnan()).sum(dim=2).tolist() == [[2, 1, 0, 0, 0, 0, 0, 0]]
    assert forward[0, 2, 0] > 40, "the longest gap leads to the last frame"
    cut = Video(video.frames[:, :4], video.truth)  # all frames decomposed, and none after the last
    assert (~SCORES["forward_psnr"].measure(views, cut).isnan()).sum(dim=2).tolist()[0][:3] == [2, 1, 0]
    still = replace(views, motion=torch.eye(3).expand(1, 4, 2, 3, 3))
    assert SCORES["forward_psnr"].measure(still, video).nanmean() < 20


def test_motions_over_a_gap_are_applied_in_the_order_of_time() -> None:
    """A quarter turn and then a shift is not a shift and then a quarter turn."""
    turn, shift = torch.eye(3), torch.eye(3)
    turn[:2, :2] = torch.tensor([[0.0, -1.0], [1.0, 0.0]])  # x -> y: clockwise on the screen
    shift[0, 2] = 4 * 2 / 20  # 4 px to the right
    square = torch.zeros(20, 20)
    square[9:11, 15:17] = 1  # right of the middle; turned it is below, then shifted right of that
    expected = torch.zeros(20, 20)
    expected[15:17, 9 + 4 : 11 + 4] = 1
    views = Views(
        amodal_masks=square.expand(1, 3, 1, 20, 20),
        slot_frames=torch.ones(1, 3, 1, 1, 20, 20),
        background=torch.zeros(1, 3, 1, 20, 20),
        depth_order=torch.ones(1, 3, 1, 1),
        motion=torch.stack([turn, shift, torch.eye(3)])[None, :, None],
    )
    torch.testing.assert_close(over_gap(views, 2, "forward")[0, 0, 0], expected, atol=1e-4, rtol=0)
    back = replace(views, amodal_masks=expected.expand(1, 3, 1, 20, 20))
    torch.testing.assert_close(over_gap(back, 2, "backward")[0, 0, 0], square, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("direction", "index", "used"), [("forward", 0, 1), ("forward", 1, 2), ("backward", 1, 2)]
)
def test_the_order_next_to_the_target_is_used(
    direction: Literal["forward", "backward"], index: int, used: int
) -> None:
    """P_{t2-1} forwards and P_{t1+1} backwards: two masks that stay on top of each other change places in time."""
    ones = torch.ones(1, 4, 2, 8, 8)
    second_in_front = torch.eye(2).flip(1).repeat(1, 4, 1, 1)
    second_in_front[:, used] = torch.eye(2)
    colours = torch.tensor([0.25, 0.75]).view(1, 1, 2, 1, 1, 1).expand(1, 4, 2, 1, 8, 8)
    views = Views(
        amodal_masks=ones,
        slot_frames=colours,
        background=torch.zeros(1, 4, 1, 8, 8),
        depth_order=second_in_front,
        motion=torch.eye(3).expand(1, 4, 2, 3, 3),
    )
    shown = over_gap(views, 2, direction)[0, :, 0, 4, 4]
    assert [value == 0.25 for value in shown.tolist()] == [i == index for i in range(len(shown))]


def test_scores_are_skipped_by_the_name_of_what_is_missing() -> None:
    video = Video(squares().frames)
    missing = {name: score.missing(black(video), video) for name, score in SCORES.items()}
    assert missing["psnr"] == []
    assert missing["depth_order"] == [
        "views.amodal_masks",
        "views.depth_order",
        "truth.amodal_masks",
        "truth.depth_ranks",
    ]
    assert oracle(video) is None


@pytest.mark.parametrize("name", SCORES)
def test_every_score_gives_float64_values_per_clip_and_step(name: str) -> None:
    video = squares()
    labels = torch.zeros(1, *video.frames.shape[1:2], *video.frames.shape[3:], dtype=torch.long)
    video = replace(video, truth=replace(video.truth, labels=labels))
    classes = torch.rand(1, labels.shape[1], 3, *labels.shape[2:])
    views = replace(oracle(video), labels=classes)
    values = SCORES[name].measure(views, video)
    steps = {"predicted": 4, "decomposed": 4, "clip": 1, "gap": 8, "class": 3}[SCORES[name].steps]
    assert values.shape[:2] == (1, steps)
    assert SCORES[name].about


def rand_of(true: np.ndarray, predicted: np.ndarray, counted: np.ndarray) -> float:
    rows = (torch.from_numpy(np.asarray(x)[None]) for x in (true, predicted, counted.astype(bool)))
    return adjusted_rand(*rows).item()


def sklearn_rand(true: np.ndarray, predicted: np.ndarray) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns of labels that look continuous
        return float(adjusted_rand_score(true, predicted))


def squares() -> Video:
    """Five frames of two 6x6 squares; only in frame 3 they overlap: red hides 2 of green's 6 columns."""
    ids = torch.zeros(1, 5, HEIGHT, WIDTH, dtype=torch.long)
    masks = torch.zeros(1, 5, 2, HEIGHT, WIDTH)
    centres, velocities = torch.zeros(1, 5, 2, 2), torch.zeros(1, 5, 2, 2)
    colours = torch.tensor([[[1.0, 0.0, 0.25], [0.25, 0.75, 0.5]]])
    corners = {0: [(8, 13 - 3 * t) for t in range(5)], 1: [(12, 1 + 3 * t) for t in range(5)]}
    for n in (1, 0):  # far to near
        for t, (x, y) in enumerate(corners[n]):
            masks[0, t, n, y : y + 6, x : x + 6] = 1
            ids[0, t, y : y + 6, x : x + 6] = n + 1
            centres[0, t, n] = torch.tensor([x + 3, y + 3])
    velocities[:, :-1] = centres[:, 1:] - centres[:, :-1]
    palette = torch.cat([torch.zeros(1, 3), colours[0]])
    frames = palette[ids].permute(0, 1, 4, 2, 3)
    truth = Truth(ids, masks, torch.tensor([[0, 1]]), centres, velocities, colours, torch.tensor([[1, 1]]))
    return Video(frames, truth)
