"""Scores of classes against scikit-learn, over batches; void; the majority class; what evaluate prints of them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import confusion_matrix, jaccard_score, recall_score

from data_shards.clip import Batch
from model.interface import ModelOutput, Truth, Video, VideoModel, Views
from trainer.batch import split_video, to_video
from trainer.evaluation.references import REFERENCES, label_references
from trainer.evaluation.result import Evaluation
from trainer.evaluation.scoring import evaluate

CPU = torch.device("cpu")
CLASSES = 5


class Guess(VideoModel):
    """Classes by the colour of a pixel: red is class 0 and so on; sees nothing but frames."""

    def forward(self, video: Video, step: int) -> ModelOutput:
        assert video.truth is None
        assert video.labels is None
        values = (video.frames[:, :, 0] * (CLASSES - 0.01)).long()
        labels = torch.nn.functional.one_hot(values, CLASSES).movedim(-1, 2).float()
        return ModelOutput(torch.zeros(()), {}, lambda: Views(labels=labels))

    def predict(self, video: Video, horizon: int) -> torch.Tensor:
        raise ValueError("predicts no frames")


def labelled(clips: int = 6, frames: int = 3, known: tuple[int, ...] = (2,)) -> Video:
    """Random frames; labels on the frames `known` that the guess often finds, a fifth void; class 4 is rare."""
    rng = np.random.default_rng(3)
    pictures = rng.random((clips, frames, 3, 12, 16)).astype(np.float32)
    true = (pictures[:, :, 0] * (CLASSES - 0.01)).astype(int)
    true = np.where(rng.random(true.shape) < 0.4, rng.integers(0, CLASSES, true.shape), true)
    true[true == 4] = np.where(rng.random((true == 4).sum()) < 0.9, 3, 4)
    true[rng.random(true.shape) < 0.2] = -1
    labels = np.full_like(true, -1)
    for t in known:
        labels[:, t] = true[:, t]
    return Video(torch.from_numpy(pictures), Truth(labels=torch.from_numpy(labels)))


def parts(video: Video, sizes: tuple[int, ...]) -> list[Video]:
    frames = torch.split(video.frames, list(sizes))
    labels = torch.split(video.truth.labels, list(sizes))
    return [Video(f, Truth(labels=x)) for f, x in zip(frames, labels, strict=True)]


@pytest.mark.parametrize("known", [(2,), (0, 2)])
@pytest.mark.parametrize("sizes", [(6,), (1, 3, 2)])
def test_scores_are_those_of_scikit_learn_over_the_whole_set(
    known: tuple[int, ...], sizes: tuple[int, ...]
) -> None:
    video = labelled(known=known)
    result = evaluate(Guess(), parts(video, sizes), 0, CPU)
    true = video.truth.labels.flatten().numpy()
    found = Guess()(Video(video.frames), 0).views.labels.argmax(2).flatten().numpy()
    true, found = true[true >= 0], found[true >= 0]
    recalls = recall_score(true, found, average=None)
    table = confusion_matrix(true, found)
    curve = result.tables["model"]["class_recall"]
    assert curve.means == pytest.approx(recalls, abs=1e-6)
    assert curve.counts == tuple(table.sum(1))
    assert curve.mean == pytest.approx(recall_score(true, found, average="macro"), abs=1e-6)
    ious = result.tables["model"]["class_iou"]
    assert ious.means == pytest.approx(jaccard_score(true, found, average=None), abs=1e-6)
    assert ious.mean == pytest.approx(jaccard_score(true, found, average="macro"), abs=1e-6)
    assert result.scores["accuracy"] == pytest.approx(np.trace(table) / table.sum(), abs=1e-6)
    assert result.scores["accuracy"] != pytest.approx(result.scores["class_recall"], abs=0.01)


def test_void_is_never_counted() -> None:
    video = labelled()
    before = evaluate(Guess(), [video], 0, CPU).tables["model"]
    frames = torch.where((video.truth.labels < 0)[:, :, None], torch.rand_like(video.frames), video.frames)
    assert (
        evaluate(Guess(), [Video(frames, video.truth)], 0, CPU).tables["model"]["class_iou"]
        == before["class_iou"]
    )
    nothing = Video(video.frames, Truth(labels=torch.full_like(video.truth.labels, -1)))
    after = evaluate(Guess(), [nothing], 0, CPU)
    assert {after.tables["model"][name].mean for name in ("accuracy", "class_recall", "class_iou")} == {None}


def test_classes_that_do_not_occur_are_left_out_of_the_mean() -> None:
    video = labelled()
    labels = torch.where(video.truth.labels == 4, -1, video.truth.labels)
    result = evaluate(Guess(), [Video(video.frames, Truth(labels=labels))], 0, CPU)
    recall = result.tables["model"]["class_recall"]
    assert recall.means[4] is None
    assert recall.mean == pytest.approx(sum(recall.means[:4]) / 4)
    assert result.tables["model"]["class_iou"].means[4] == 0  # said, but never true


def test_the_majority_class_is_that_of_the_labels_to_train_on() -> None:
    video = labelled()
    references = REFERENCES | label_references({"class_pixels": [3, 9, 1, 8, 2]})
    result = evaluate(Guess(), [video], 0, CPU, references=references)
    assert result.tables["majority class"]["class_recall"].means == (0, 1, 0, 0, 0)
    share = (video.truth.labels == 1).sum() / (video.truth.labels >= 0).sum()
    assert result.mean("majority class", "accuracy") == pytest.approx(float(share))
    assert "class_recall" not in result.tables["copy-last"]
    assert label_references({}) == {}
    assert label_references({"class_pixels": [0, 0]}) == {}


def test_clips_of_one_frame_are_scored() -> None:
    result = evaluate(Guess(), [labelled(frames=1, known=(0,))], 0, CPU)
    assert result.scores.keys() == {"accuracy", "class_recall", "class_iou"}
    assert list(result.tables) == ["model"], "nothing to predict, nothing to copy"


def test_text_and_json_name_the_classes() -> None:
    result = replace(evaluate(Guess(), [labelled()], 0, CPU), classes=("sky", "road", "car"))
    lines = result.text().splitlines()
    start = lines.index(next(line for line in lines if line.startswith("class_iou of")))
    assert [line.split()[0] for line in lines[start + 1 : start + 4]] == ["sky", "road", "car"]
    assert lines[start + 4].startswith("class 3")
    assert Evaluation.from_json(result.to_json()) == result


def test_labels_travel_from_bytes_to_the_training_step() -> None:
    labels = np.array([[0, 255], [10, 3]], np.uint8)[None, None].repeat(4, 0)
    batch = Batch(list("abcd"), frames=np.zeros((4, 1, 2, 2, 3), np.uint8), labels=labels)
    video = to_video(batch, CPU)
    assert video.labels is None, "who is scored is not told"
    assert video.truth.labels[0, 0].tolist() == [[0, -1], [10, 3]]
    micro = split_video(video, 2)
    assert [part.truth for part in micro] == [None, None]
    assert torch.equal(torch.cat([part.labels for part in micro]), video.truth.labels)
    assert [part.labels for part in split_video(Video(video.frames), 2)] == [None, None]
