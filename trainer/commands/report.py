"""python -m trainer report RUN: one page with what was run, how it learnt, what it is worth and what it sees."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

import torch

from data_shards.commands import given_path, given_place
from data_shards.storage.place import open_store
from trainer.arguments import add_count, require_file, require_folder, require_positive, write_file
from trainer.checkpoints.checkpoint import run_of
from trainer.checkpoints.load import load_model
from trainer.evaluation.scoring import evaluate_on
from trainer.evaluation.stored import store_beside_run, stored_evaluation
from trainer.journal import stored_lines
from trainer.pictures.picture import gif, png, sheet
from trainer.report.clips import Shown, chosen_clips
from trainer.report.facts import config_text, facts_of
from trainer.report.page import build_page


def options(parser: ArgumentParser) -> None:
    """Which run, on which clips, and where the page goes."""
    parser.add_argument(
        "run",
        type=given_place,
        metavar="RUN_OR_CHECKPOINT",
        help="what to report on: a path or s3://bucket/prefix",
    )
    parser.add_argument(
        "--data", type=given_place, metavar="URL", help="data set; by default the one of the run"
    )
    parser.add_argument("--split", default="val", help="of the data set; %(default)s by default")
    add_count(parser, "--clips", 6, "clips to show: best, median and worst come first")
    add_count(parser, "--limit", 200, "clips to score if no evaluation is stored")
    parser.add_argument(
        "--out",
        type=given_path,
        metavar="FILE",
        help="a local file; by default report.html in the run's folder",
    )
    parser.add_argument(
        "--pictures",
        type=given_path,
        metavar="FOLDER",
        help="write PNG and GIF files of the clips there too; not by default",
    )


def run(given: Namespace) -> int:
    """Make the page of a run (or of one checkpoint); writes <run>/report.html unless --out says otherwise."""
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


def write_pictures(shown: list[Shown], folder: Path) -> None:
    """Each clip as a sheet (figures 4 and 5), its way through time (figure 6) and an animation."""
    folder.mkdir(parents=True, exist_ok=True)
    for clip in shown:
        (folder / f"{clip.key}.png").write_bytes(png(sheet(clip.rows, clip.columns)))
        if moments := clip.film():
            (folder / f"{clip.key}.gif").write_bytes(gif(moments))
        for extra, rows in clip.extras:
            columns = max(len(row.pictures) for row in rows)
            (folder / f"{clip.key}-{extra.name}.png").write_bytes(png(sheet(rows, columns, titles=False)))
