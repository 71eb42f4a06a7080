"""Scores of runs, and of what knows less than they do, on the same clips."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from data_shards.manifest import Manifest, read_manifest, split_shards
from data_shards.storage.place import open_store
from model.interface import Video, Views
from trainer.checkpoints.checkpoint import run_of
from trainer.checkpoints.load import LoadedModel
from trainer.compare.table import Comparison, Network, Row, Training, distinct_names, in_papers_order
from trainer.config import model_to
from trainer.evaluation.references import black, copy_last
from trainer.evaluation.result import MODEL, Evaluation
from trainer.evaluation.scoring import CLIPS_PER_BATCH, evaluate, videos
from trainer.journal import stored_lines
from trainer.papers.video_autoencoder import TABLE_1, run_differences, set_differences

REFERENCES = {
    "constant": "the mean of the training clips, everywhere",
    "copy-last": "the newest frame again",
    "black": "its L1 is the mean brightness: of binary frames, the share of lit pixels",
}

LAST: tuple[str, ...] = ("bce", "mse", "l1")  # scores that are of the last frame
EACH: tuple[str, ...] = ("psnr", "ssim", "flow_error")  # scores that each frame has


def compare(
    runs: Sequence[LoadedModel],
    data: str,
    split: str,
    scan: Callable[[LoadedModel], Iterator[Video]],
    device: torch.device,
) -> Comparison:
    """Score all runs and the references on the same clips.

    Args:
        runs: at least one.
        data: URL of the set.
        split: of the set, with clips.
        scan: the clips of the split for a run, as batches on `device`.
        device: where it happens.

    Raises:
        ValueError: a run that cannot predict these frames, by its URL.
    """
    manifest = read_manifest(data)
    split_shards(manifest, split, data)
    kinds = [model_to(loaded.config.model)["name"] for loaded in runs]
    names = distinct_names(kinds, [loaded.url for loaded in runs])
    mean = training_mean(runs, data, device)
    references: dict[str, Callable[[Video], Views | None]] = {"copy-last": still, "black": black}
    if mean is not None:
        references = {"constant": partial(constant, level=mean)} | references
    networks: list[Network] = []
    rows: list[Row] = []
    clips = 0
    for loaded, kind, name in zip(runs, kinds, names, strict=True):
        loaded.model.to(device)
        try:
            result = evaluate(
                loaded.model, scan(loaded), loaded.step, device, references={} if rows else references
            )
        except ValueError as error:
            raise ValueError(f"{loaded.url} on {data}: {error}") from error
        if "mse" not in result.scores:
            raise ValueError(
                f"{loaded.url}: its model, {kind}, predicts no frames; compare runs of models that do"
            )
        networks.append(network(loaded, kind, name, result, manifest))
        if not rows:
            rows = [reference(n, last_frame(result, n, manifest)) for n in references]
            clips = result.clips
    grey = manifest.shape[3] == 1
    binary = all(loaded.config.model.binary for loaded in runs)
    return Comparison(
        data=data,
        split=split,
        clips=clips,
        shape=manifest.shape,
        measure="bce" if grey and binary else "mse",
        networks=in_papers_order(networks),
        references=tuple(rows),
        constant=None if mean is None else tuple(mean.tolist()),
        differences=tuple(set_differences(manifest, clips)),
    )


def network(loaded: LoadedModel, kind: str, name: str, result: Evaluation, manifest: Manifest) -> Network:
    """A run's row."""
    training = training_of(loaded, stored_lines(open_store(run_of(loaded.url))))
    parameters = sum(p.numel() for p in loaded.model.parameters())
    scores = last_frame(result, MODEL, manifest)
    known = kind in TABLE_1
    differences = run_differences(kind, parameters, training.clips, training.epochs) if known else []
    return Network(
        name, scores, flow_note(scores), kind, loaded.url, parameters, training, tuple(differences)
    )


def reference(name: str, scores: dict[str, float]) -> Row:
    """The row of what knows less than a network."""
    return Row(name, scores, "; ".join(text for text in (REFERENCES[name], flow_note(scores)) if text))


def flow_note(scores: Mapping[str, float]) -> str:
    """How far off the flow is, where objects are seen; empty where there is none or its truth is not known."""
    return f"flow off by {scores['flow_error']:.2f} pixels" if "flow_error" in scores else ""


def last_frame(result: Evaluation, contender: str, manifest: Manifest) -> dict[str, float]:
    """Scores of the last frame, the only one that all networks predict; those that the contender has."""
    table, last = result.tables[contender], manifest.shape[0]
    found = {name: table[name].mean for name in LAST if name in table}
    found |= {name: table[name].at(last) for name in EACH if name in table}
    return {name: value for name, value in found.items() if value is not None}


def training_of(loaded: LoadedModel, lines: Sequence[dict[str, Any]]) -> Training:
    """From the lines of the journal up to the checkpoint."""
    lines = [line for line in lines if line["step"] <= loaded.step and "step_s" in line]
    seconds, epochs, clips, before = None, None, None, 0
    for line in lines:
        seconds = (seconds or 0.0) + line["step_s"] * (line["step"] - before)
        before, epochs = line["step"], line["epoch"]
    batch = loaded.config.batch.size
    if epochs:
        clips = round(before * batch / epochs)
        epochs *= loaded.step / before
    return Training(loaded.step, batch, epochs, clips, seconds)


@torch.no_grad()
def training_mean(runs: Sequence[LoadedModel], data: str, device: torch.device) -> Float[Tensor, "c"] | None:
    """The mean, by channel, of the last frames that the runs learnt from: of their set's training split.

    If they learnt from different sets, it is of the set that they are compared on. None without training clips.
    """
    sets = {loaded.config.data.url for loaded in runs}
    url = sets.pop() if len(sets) == 1 else data
    manifest = read_manifest(url)
    if not manifest.splits.get("train"):
        return None
    total = torch.zeros(manifest.shape[3], dtype=torch.float64, device=device)
    for video in videos(runs[0], url, "train", device, None, CLIPS_PER_BATCH):
        total += video.frames[:, -1].double().mean(dim=(2, 3)).sum(0)
    return total / manifest.samples("train")


def still(video: Video) -> Views:
    """Copy-last without its layers: nobody asks for their scores here, and they would take most of the time."""
    views = copy_last(video)
    return Views(prediction=views.prediction, flow=views.flow)


def constant(video: Video, level: Float[Tensor, "c"]) -> Views:
    """The same level everywhere as prediction of the last frame."""
    frame = torch.zeros_like(video.frames[:, -1:]) + level[:, None, None].to(video.frames)
    return Views(prediction=frame)
