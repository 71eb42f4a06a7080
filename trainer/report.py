"""python -m trainer report RUN: one page with what was run, how it learnt, what it is worth and what it sees."""

import argparse
import json
from contextlib import closing
from itertools import islice
from pathlib import Path

import torch

from data_shards.loader import scan
from data_shards.manifest import read_manifest, split_shards
from data_shards.storage import Store, open_store, without_slash
from model.interface import Video, Views
from trainer.arguments import require_file, require_folder, require_positive, write_file
from trainer.batch import some_clips, to_video
from trainer.checkpoint import LoadedModel, load_model, run_of
from trainer.evaluate import evaluate_on, evaluation_name, store_beside_run
from trainer.evaluation import Evaluation
from trainer.journal import stored_lines
from trainer.page import HERO, Shown, build_page
from trainer.pictures import gif, png, sheet, side_by_side
from trainer.scores.prediction import psnr
from trainer.strips import cycle_strips, rollout_strip, strips

POOL = 64  # clips among which the shown ones are chosen


def main(argv: list[str]) -> int:
    """Make the page of a run (or of one checkpoint); writes <run>/report.html unless --out says otherwise."""
    parser = argparse.ArgumentParser(prog="python -m trainer report", description=main.__doc__)
    parser.add_argument("run", metavar="RUN_OR_CHECKPOINT", help="a path or s3://bucket/prefix")
    parser.add_argument(
        "--data", type=without_slash, metavar="URL", help="data set (default: the one of the run)"
    )
    parser.add_argument("--split", default="val")
    parser.add_argument(
        "--clips", type=int, default=6, help="clips to show: best, median and worst come first"
    )
    parser.add_argument(
        "--limit", type=int, default=200, metavar="N", help="clips to score if no evaluation is stored"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="a local file instead of the run's folder")
    parser.add_argument(
        "--pictures", type=Path, metavar="FOLDER", help="write PNG and GIF files of the clips there too"
    )
    given = parser.parse_args(argv)
    require_positive(given, "clips", "limit")
    if given.out:
        require_file("out", given.out)
    if given.pictures:
        require_folder("pictures", given.pictures)
    loaded = load_model(given.run)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    loaded.model.to(device)
    store, data = open_store(run_of(loaded.url)), given.data or loaded.config.data.url
    result = stored_evaluation(store, loaded, data, given.split, given.limit)
    if result is None:
        result = evaluate_on(loaded, data, given.split, device, given.limit)
        store_beside_run(result, own_data=data == loaded.config.data.url, limit=given.limit)
    shown = chosen_clips(loaded, data, given.split, given.clips, device)
    text = build_page(result, shown, facts_of(loaded, data), stored_lines(store), config_text(loaded))
    if given.out:
        write_file(given.out, text.encode())
    else:
        store.put("report.html", text.encode())
    if given.pictures:
        write_pictures(shown, given.pictures)
    print(f"report: {given.out or store.address('report.html')} ({len(text) / 1e6:.1f} MB)")
    return 0


@torch.no_grad()
def chosen_clips(
    loaded: LoadedModel, data: str, split: str, number_of: int, device: torch.device
) -> list[Shown]:
    """Clips of the pool spread evenly from the best to the worst PSNR, with their pictures."""
    pool: list[tuple[float | None, str, Video]] = []
    config = loaded.config.data
    with closing(scan(type(config)(**vars(config) | {"url": data}), split, 8)) as batches:  # type: ignore[type-var]
        for batch in islice(batches, POOL // 8):
            video = to_video(batch, device)
            views = loaded.model(Video(video.frames), loaded.step).views
            values = (
                [None] * len(batch.keys) if views.prediction is None else psnr(views, video).mean(1).tolist()
            )
            pool += [
                (v, key, some_clips(video, slice(i, i + 1)))
                for i, (v, key) in enumerate(zip(values, batch.keys, strict=True))
            ]
    pool.sort(key=lambda entry: -(entry[0] or 0))
    places = spread(len(pool), number_of)
    return [_shown(loaded, *pool[place], rank=rank_words(place, len(pool))) for place in places]


def spread(total: int, wanted: int) -> list[int]:
    """Places 0..total-1 from best to worst: best, median and worst first, then those between, sorted."""
    shares = [0.0, 0.5, 1.0] if wanted > 1 else [0.0]
    parts = 4
    while len(shares) < wanted:
        shares += [i / parts for i in range(1, parts, 2)]
        parts *= 2
    return sorted({round(share * (total - 1)) for share in shares[:wanted]})


def rank_words(place: int, total: int) -> str:
    """A place in words: Best of 64, Median of 64, Number 17 of 64."""
    named = {round((total - 1) / 2): "Median", total - 1: "Worst", 0: "Best"}  # of few, a later name wins
    return f"{named.get(place, f'Number {place + 1}')} of {total}"


def stored_evaluation(
    store: Store, loaded: LoadedModel, data: str, split: str, limit: int
) -> Evaluation | None:
    """A stored evaluation of these very weights on these clips, of the first `limit` at least; None without one.

    Raises:
        ValueError: there is no such split.
    """
    other = None if data == loaded.config.data.url else data
    manifest = read_manifest(data)
    wanted = min(limit, sum(shard.samples for shard in split_shards(manifest, split, data)))
    scored = (loaded.url, loaded.checkpoint.weights, data, manifest.digest(split))
    for name in (evaluation_name(split, other), evaluation_name(split, other, limit)):
        if store.exists(name):
            result = Evaluation.from_json(store.read(name).decode())
            found = (result.checkpoint, result.weights, result.data, result.shards)
            if found == scored and result.clips >= wanted:
                return result
    return None


def facts_of(loaded: LoadedModel, data: str) -> dict[str, str]:
    """What was run, for people."""
    config, checkpoint, manifest = loaded.config, loaded.checkpoint, read_manifest(data)
    frames, height, width, channels = manifest.shape
    splits = ", ".join(f"{split} {manifest.samples(split):,}" for split in manifest.splits)
    parameters = sum(p.numel() for p in loaded.model.parameters())
    return {
        "model": config.model_dump(mode="json")["model"]["name"],
        "recipe": config.recipe or "none",
        "checkpoint": loaded.url,
        "parameters": f"{parameters:,}",
        "data": f"{data}: {manifest.source}, {frames} frames of {height} x {width} x {channels} ({splits} clips)",
        "batch": f"{config.batch.size} clips on {checkpoint.world} worker{'s' * (checkpoint.world > 1)}",
        "optimiser": f"{config.optim.name}, learning rate {config.optim.lr:g}",
        "engine": f"ZeRO stage {config.engine.zero_stage}, {config.engine.precision}",
        "seed": str(config.seed),
        "code": checkpoint.revision,
        "config hash": checkpoint.digest,
    }


def config_text(loaded: LoadedModel) -> str:
    """The resolved config as indented JSON."""
    return json.dumps(loaded.config.model_dump(mode="json"), indent=1)


def write_pictures(shown: list[Shown], folder: Path) -> None:
    """Each clip as a sheet (figures 4 and 5), its way through time (figure 6) and an animation."""
    folder.mkdir(parents=True, exist_ok=True)
    for clip in shown:
        (folder / f"{clip.key}.png").write_bytes(png(sheet(clip.rows, clip.columns)))
        if moments := side_by_side(clip.rows, HERO, scale=4):
            (folder / f"{clip.key}.gif").write_bytes(gif(moments))
        if clip.cycle:
            columns = max(len(row.pictures) for row in clip.cycle)
            (folder / f"{clip.key}-cycle.png").write_bytes(png(sheet(clip.cycle, columns, titles=False)))


def _shown(loaded: LoadedModel, quality: float | None, key: str, video: Video, rank: str) -> Shown:
    views: Views = loaded.model(Video(video.frames), loaded.step).views
    columns = video.frames.shape[1]
    rows = strips(views, video)
    seen = max(2, columns // 2)  # motion cannot be seen in fewer
    if seen < columns and views.prediction is not None:
        rows.append(rollout_strip(loaded.model.predict(Video(video.frames[:, :seen]), columns - seen), seen))
    masks = views.visible_masks if views.amodal_masks is None else views.amodal_masks
    slots, steps = (0, 0) if masks is None else (masks.shape[2], masks.shape[1])
    t1, t2 = 1 + steps // 5, steps - steps // 5  # well apart, as the loss draws them
    cycle = cycle_strips(views, video, t1, t2) if t2 - t1 >= 2 else []
    return Shown(key, rank, quality, columns, slots, rows, cycle, opened=rank.startswith("Best"))
