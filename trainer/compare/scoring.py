"""Scores of runs, and of what knows less than they do, on the same clips."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from data_shards.manifest import read_manifest, split_shards
from data_shards.mistake import UserError
from data_shards.storage.place import open_store
from model.interface import Video
from trainer.checkpoints.checkpoint import run_of
from trainer.checkpoints.load import LoadedModel
from trainer.compare.table import Comparison, Network, Row, Training, distinct_names, in_papers_order
from trainer.config import model_to
from trainer.evaluation import CLIPS_PER_BATCH
from trainer.evaluation.groupings import groupings
from trainer.evaluation.references import REFERENCES, Reference, constant
from trainer.evaluation.result import CONSTANT, LINKED, MODEL, Evaluation
from trainer.evaluation.scoring import evaluate, slots_of, videos
from trainer.journal import stored_lines
from trainer.papers.paper import Column, Published, Table


def score_runs(
    runs: Sequence[LoadedModel],
    table: Table,
    data: str,
    split: str,
    scan: Callable[[LoadedModel], Iterator[Video]],
    device: torch.device,
) -> Comparison:
    """Score all runs and the table's references on the same clips.

    Args:
        runs: at least one.
        table: the paper's, with at least one column that fits them.
        data: URL of the set.
        split: of the set, with clips.
        scan: the clips of the split for a run, as batches on `device`.
        device: where it happens.

    Raises:
        UserError: a run without what networks are ordered by on these clips, by its URL.
    """
    manifest = read_manifest(data)
    split_shards(manifest, split, data)
    models, published = [loaded.config.model for loaded in runs], table.published(manifest)
    columns = tuple(column for column in table.columns if column.fits(manifest, models))
    kinds = [model_to(model)["name"] for model in models]
    names = distinct_names(kinds, [loaded.url for loaded in runs], published)
    mean = training_mean(runs, data, device) if CONSTANT in table.references else None
    scores = list(dict.fromkeys(column.score for column in table.columns))
    networks: list[Network] = []
    rows: list[Row] = []
    clips = 0
    for loaded, kind, name in zip(runs, kinds, names, strict=True):
        contenders = {} if networks else references(table, mean, max(map(slots_of, runs)))
        loaded.model.to(device)
        try:
            result = evaluate(loaded.model, scan(loaded), loaded.step, device, None, contenders, scores)
        except UserError as error:
            raise UserError(f"{loaded.url} on {data}: {error}") from error
        if columns[0].score not in result.scores:
            raise UserError(f"{loaded.url}: its model, {kind}, {lack(result, columns[0])}")
        networks.append(network(loaded, kind, name, result, table, published.get(kind)))
        rows += [
            reference(contender, result, table) for contender in contenders if contender in result.tables
        ]
        clips = result.clips
    return Comparison(
        table=table,
        columns=columns,
        data=data,
        split=split,
        clips=clips,
        shape=manifest.shape,
        networks=in_papers_order(networks, list(published)),
        references=tuple(rows),
        constant=None if mean is None else tuple(mean.tolist()),
        differences=tuple(table.set_differences(manifest, clips)),
    )


def references(table: Table, mean: Float[Tensor, "c"] | None, slots: int) -> dict[str, Reference]:
    """What the table compares with, the constant only where there are clips that it is the mean of.

    `slots` are the most that a network has.
    """
    known = REFERENCES | groupings(slots)
    if mean is not None:
        known |= {CONSTANT: partial(constant, level=mean)}
    return {name: known[name] for name in table.references if name in known}


def network(
    loaded: LoadedModel, kind: str, name: str, result: Evaluation, table: Table, published: Published | None
) -> Network:
    """A run's row."""
    training = training_of(loaded, stored_lines(open_store(run_of(loaded.url))))
    parameters = sum(p.numel() for p in loaded.model.parameters())
    scores = numbers(result, MODEL, table)
    differences: tuple[str, ...] = ()
    if published is not None:
        differences = tuple(table.run_differences(published, parameters, training.clips, training.epochs))
    note = "; ".join(text for text in (table.remark(scores), LINKED if result.linked else "") if text)
    return Network(name, scores, note, kind, loaded.url, parameters, training, differences, published)


def reference(name: str, result: Evaluation, table: Table) -> Row:
    """The row of what knows less than a network."""
    scores = numbers(result, name, table)
    return Row(
        name, scores, "; ".join(text for text in (table.references[name], table.remark(scores)) if text)
    )


def numbers(result: Evaluation, contender: str, table: Table) -> dict[str, float]:
    """The scores of the table's columns; those that the contender has."""
    curves = result.tables[contender]
    found = {
        column.score: column.of(curves[column.score]) for column in table.columns if column.score in curves
    }
    return {name: value for name, value in found.items() if value is not None}


def lack(result: Evaluation, column: Column) -> str:
    """What a model has not that a column needs."""
    missing = result.skipped.get(column.score, f"value of {column.score}")
    what = "predicts no frames" if missing == "views.prediction" else f"has no {missing}"
    return f"{what}; compare runs of models that do"


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
