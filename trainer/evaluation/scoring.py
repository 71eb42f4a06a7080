"""Scoring: a model on clips, exact over ranks; a checkpoint on a split of a data set.

`evaluate` streams over batches and keeps sums and counts, so N ranks with a summing `reduce` give what one rank
gives.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from data_shards.loader import scan
from data_shards.manifest import read_manifest
from data_shards.mistake import UserError
from model.interface import Video, VideoModel, Views
from trainer.batch import to_video
from trainer.checkpoints.load import LoadedModel
from trainer.evaluation import CLIPS_PER_BATCH
from trainer.evaluation.groupings import groupings
from trainer.evaluation.references import REFERENCES, Reference, label_references
from trainer.evaluation.result import MODEL, UNTRAINED, Curve, Evaluation
from trainer.evaluation.views import views_of
from trainer.process_group import seed_draws
from trainer.scores import SCORES
from trainer.scores.kinds import KINDS
from trainer.scores.matching import exists


class Tally:
    """Sums and counts of one contender's scores, in float64; `total[score]` has shape (2, steps)."""

    def __init__(self, scores: Collection[str]) -> None:
        self.scores = scores
        self.total: dict[str, Float[Tensor, "2 steps"]] = {}
        self.missing: dict[str, str] = {}

    def add(self, views: Views, video: Video) -> None:
        """Count a batch; a score whose fields are missing is noted instead."""
        for name in self.scores:
            if lacking := SCORES[name].missing(views, video):
                self.missing[name] = " and no ".join(lacking)
                continue
            values = SCORES[name].measure(views, video).double()
            values = values.reshape(*values.shape[:2], -1)
            batch = torch.stack([values.nansum(dim=(0, 2)), (~values.isnan()).sum(dim=(0, 2)).double()])
            self.total[name] = self.total[name] + batch if name in self.total else batch


@torch.no_grad()
def evaluate(
    model: VideoModel,
    batches: Iterable[Video],
    step: int,
    device: torch.device,
    reduce: Callable[[Tensor], Tensor] | None = None,
    references: Mapping[str, Reference] = REFERENCES,
    scores: Collection[str] = tuple(SCORES),
    first: int = 0,
) -> Evaluation:
    """Score `model` at optimiser step `step`, and the references, on all of `batches`.

    A value counts once wherever it was computed: means are sums over counts, over all clips of all ranks.
    The model is shown frames only, never the truth; what it draws, if it does, depends on the clip's place alone.

    Args:
        model: is put in eval mode for the while.
        batches: this rank's share, on `device`; may be empty on some ranks. Under ZeRO-3 the model's forward is
            a collective, so there every rank needs as many batches as the others.
        step: sets annealed quantities.
        device: where the model is.
        reduce: sums a float64 vector (CPU) over the ranks; None = one rank.
        references: name -> views, by default copy-last, black and the oracle. {} saves their time.
        scores: names in SCORES, by default all.
        first: place of this rank's first clip in the split, from 0; the others follow it.

    Raises:
        FloatingPointError: the model's views are not finite.
        UserError: there is no clip at all.
    """
    total = reduce or (lambda vector: vector)
    tallies = {name: Tally(scores) for name in (MODEL, *references)}
    facts, unsound = torch.zeros(6, dtype=torch.float64), ""  # as `_facts` and `_not_finite` give them
    training = model.training
    model.eval()
    for video in batches:
        views = views_of(model, video, step, first)
        first += len(video.frames)
        if unsound := unsound or _not_finite(views):
            continue  # the other ranks wait in what follows: all of them end together
        tallies[MODEL].add(views, video)
        for name, reference in references.items():
            if (ideal := reference(video)) is not None:
                tallies[name].add(ideal, video)
        facts += _facts(views, video, is_first=facts[0] == 0)
    model.train(training)
    facts = _summed(facts, unsound, step, total)
    ranks, clips, frames = (round(x) for x in facts[:3].tolist())
    if clips == 0:
        raise UserError("there is no clip to evaluate; choose another split or a larger limit")
    tables = _tables(tallies, total, ranks, frames // ranks)
    return Evaluation(
        step=step,
        clips=clips,
        slots=round(float(facts[3]) / ranks),
        objects=float(facts[5] / facts[4]) if facts[4] else None,
        tables=tables,
        linked=model.independent,
        skipped={n: why for n, why in tallies[MODEL].missing.items() if n not in tables[MODEL]},
    )


def evaluate_on(
    loaded: LoadedModel,
    data: str,
    split: str,
    device: torch.device,
    limit: int | None = None,
    batch: int = CLIPS_PER_BATCH,
) -> Evaluation:
    """Score a loaded model, on `device` already, on (the first `limit` clips of) a split of the set at `data`.

    Beside it stands the same recipe before its first step: what its architecture and its start bring without training;
    and, where there are slots and ids of objects, what groups pixels without a model.
    """
    manifest = read_manifest(data)
    known = REFERENCES | label_references(manifest.statistics) | groupings(slots_of(loaded))
    # As in training: small maps lose much by a second thread where the machine is busy.
    if loaded.config.engine.threads:
        torch.set_num_threads(loaded.config.engine.threads)
    result = evaluate(
        loaded.model,
        videos(loaded, data, split, device, limit, batch),
        loaded.step,
        device,
        references=_untrained(loaded, device) | known,
    )
    return replace(
        result,
        checkpoint=loaded.url,
        data=data,
        split=split,
        classes=tuple(manifest.statistics.get("classes", ())),
        weights=loaded.checkpoint.weights,
        shards=manifest.digest(split),
    )


def slots_of(loaded: LoadedModel) -> int:
    """How many slots its model has, 0 = none."""
    return int(getattr(loaded.config.model, "slots", 0))


def _untrained(loaded: LoadedModel, device: torch.device) -> dict[str, Reference]:
    """The model as its run's seed made it, at step 0; nothing where there is nothing to train."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        seed_draws(loaded.config.seed)
        model = loaded.config.model.build().to(device).eval()
    if not any(True for _ in model.parameters()):
        return {}
    return {UNTRAINED: lambda video: views_of(model, video, step=0)}


def videos(
    loaded: LoadedModel, data: str, split: str, device: torch.device, limit: int | None, batch: int
) -> Iterator[Video]:
    """The first `limit` clips of a split, in the set's order, in batches of at most `batch`."""
    return (video for _, video in keyed_videos(loaded, data, split, device, limit, batch))


def keyed_videos(
    loaded: LoadedModel, data: str, split: str, device: torch.device, limit: int | None, batch: int
) -> Iterator[tuple[list[str], Video]]:
    """The same with the keys of each batch's clips."""
    config = replace(loaded.config.data, url=data)
    with closing(scan(config, split, batch, limit=limit)) as batches:
        yield from ((clips.keys, to_video(clips, device)) for clips in batches)


def _not_finite(views: Views) -> str:
    """What of the model's views is not finite, in words; "" = nothing."""
    for name, value in views.tensors().items():
        if not bool(torch.isfinite(value).all()):
            return f"views.{name} of the model is"
    return ""


def _summed(
    facts: Float[Tensor, "6"], unsound: str, step: int, total: Callable[[Tensor], Tensor]
) -> Float[Tensor, "6"]:
    """The facts of all ranks; FloatingPointError on all of them where one has seen what is not finite."""
    summed = total(torch.cat([facts, torch.tensor([bool(unsound)]).double()]))
    if summed[-1]:
        told = unsound or "views of the model are, on another rank,"
        raise FloatingPointError(f"{told} not finite at step {step}")
    return summed[:-1]


def _facts(views: Views, video: Video, is_first: Tensor) -> Float[Tensor, "6"]:
    """Ranks with clips, clips, frames, slots, clips with known objects, objects: summed over batches and ranks.

    What is the same for all batches (1 rank, frames, slots) counts once.
    """
    slots = next((len(v[0, 0]) for v in (views.visible_masks, views.amodal_masks) if v is not None), 0)
    frames = video.frames.shape[1]
    once = [1.0, frames, slots] if is_first else [0.0, 0.0, 0.0]
    known = video.truth is not None and (
        video.truth.present is not None or video.truth.amodal_masks is not None
    )
    objects = float(exists(video).sum()) if known else 0.0
    clips = len(video.frames)
    return torch.tensor([once[0], clips, *once[1:], clips if known else 0, objects], dtype=torch.float64)


def _tables(
    tallies: dict[str, Tally], total: Callable[[Tensor], Tensor], ranks: int, frames: int
) -> dict[str, dict[str, Curve]]:
    """All ranks' means. Two sums over ranks: first the lengths, which a rank without clips cannot know."""
    cells = [(contender, name) for contender in tallies for name in tallies[contender].scores]
    mine = [tallies[c].total.get(n) for c, n in cells]
    lengths = total(torch.tensor([0 if m is None else m.shape[1] for m in mine], dtype=torch.float64)) / ranks
    steps = [round(length) for length in lengths.tolist()]
    flat = [
        (torch.zeros(2, s) if m is None else m).double().cpu().flatten()
        for m, s in zip(mine, steps, strict=True)
    ]
    parts = torch.split(total(torch.cat(flat)), [2 * s for s in steps])
    tables: dict[str, dict[str, Curve]] = {contender: {} for contender in tallies}
    for (contender, name), part, length in zip(cells, parts, steps, strict=True):
        if length == 0:
            continue
        sums, counts = part.view(2, length)
        means = tuple(float(s / c) if c else None for s, c in zip(sums, counts, strict=True))
        kind, each = KINDS[SCORES[name].steps], tuple(int(c) for c in counts.tolist())
        tables[contender][name] = Curve(kind.start(length, frames), kind.mean(sums, counts), means, each)
    return {contender: rows for contender, rows in tables.items() if rows or contender == MODEL}
