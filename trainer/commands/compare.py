"""python -m trainer compare RUN ... --out FOLDER_OR_FILE: the networks of runs on the same clips, as one page.

The table and the figure of a paper for any runs (Table 1 and figure 5 of arXiv 1511.06309), the numbers as JSON too.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch

from data_shards.commands import given_place
from data_shards.mistake import UserError
from data_shards.storage.place import check_url, open_store
from trainer.arguments import add_count, require_file, require_positive
from trainer.checkpoints.load import LoadedModel, load_model
from trainer.compare.figure import shown_clips
from trainer.compare.page import build_page
from trainer.compare.scoring import score_runs
from trainer.config import model_to
from trainer.evaluation import CLIPS_PER_BATCH
from trainer.evaluation.scoring import videos
from trainer.papers import PAPERS, ordered_papers
from trainer.papers.paper import Table


def options(parser: ArgumentParser) -> None:
    """Which runs, on which clips, and where the page goes."""
    parser.add_argument(
        "runs",
        nargs="+",
        type=given_place,
        metavar="RUN_OR_CHECKPOINT",
        help="what to compare: a path or s3://bucket/prefix",
    )
    parser.add_argument(
        "--out",
        required=True,
        type=given_place,
        metavar="FOLDER_OR_FILE",
        help="where the page goes: compare.html and .json there, or FILE.html and .json",
    )
    parser.add_argument(
        "--data", type=given_place, metavar="URL", help="data set; by default the one that all runs share"
    )
    parser.add_argument("--split", default="test", help="of the data set; %(default)s by default")
    parser.add_argument(
        "--paper",
        metavar="NAME",
        help=f"whose table and figure, of {', '.join(tables())}; by default the one of the runs' models",
    )
    add_count(parser, "--clips", 5, "clips to show, from best to worst")
    add_count(parser, "--limit", None, "score only the first N clips")
    add_count(parser, "--batch", CLIPS_PER_BATCH, "clips at once")


def run(given: Namespace) -> int:
    """Write the page and its numbers, and print the order of the networks beside the paper's."""
    require_positive(given, "clips", "limit", "batch")
    folder, name = folder_and_name(given.out)
    bucket, local = check_url(folder)
    store = open_store(folder)
    for ending in ("html", "json"):
        if bucket:
            store.exists(f"{name}.{ending}")  # a bucket or key that is wrong is told before the work
        else:
            require_file("out", Path(local, f"{name}.{ending}"))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    runs = [load_model(url) for url in given.runs]
    table, data = table_of(runs, given.paper), data_of(runs, given.data)
    scan = partial(videos, data=data, split=given.split, device=device, limit=given.limit, batch=given.batch)
    comparison = score_runs(runs, table, data, given.split, scan, device)
    by_checkpoint = {loaded.url: loaded for loaded in runs}
    ordered = {row.name: by_checkpoint[row.checkpoint] for row in comparison.networks}
    clips = shown_clips(ordered, scan(runs[0]), comparison.measure, table.figure, given.clips)
    page = build_page(comparison, clips)
    store.put(f"{name}.json", comparison.to_json().encode())
    store.put(f"{name}.html", page.encode())
    print(comparison.found_order(), comparison.paper_order())
    print(f"comparison: {store.address(f'{name}.html')} ({len(page) / 1e3:.0f} kB), {name}.json")
    return 0


def table_of(runs: Sequence[LoadedModel], paper: str | None) -> Table:
    """The table of the named paper, or of the first that one of the runs' models belongs to; else the first of all.

    Raises:
        UserError: there is no such paper, or it has no table.
    """
    if paper is None:
        kinds = [model_to(loaded.config.model)["name"] for loaded in runs]
        return next(found.table for found in ordered_papers(kinds) if found.table)
    if paper not in tables():
        raise UserError(f"--paper: got {paper!r}, must be one of {', '.join(tables())}")
    return tables()[paper]


def tables() -> dict[str, Table]:
    """The tables of papers that have one, by the name in PAPERS."""
    return {name: paper.table for name, paper in PAPERS.items() if paper.table}


def data_of(runs: Sequence[LoadedModel], given: str | None) -> str:
    """The data set to compare on: the given one, or the one that all runs share.

    Raises:
        UserError: none is given and they share none.
    """
    sets = list(dict.fromkeys(loaded.config.data.url for loaded in runs))
    if given is None and len(sets) > 1:
        raise UserError(
            f"the runs are of different data sets ({', '.join(sets)}): say with --data which to compare on"
        )
    return given or sets[0]


def folder_and_name(out: str) -> tuple[str, str]:
    """Folder and name, without its ending, of what is written."""
    if not out.endswith(".html"):
        return out, "compare"
    folder, slash, name = out.rpartition("/")
    return folder or slash or ".", name.removesuffix(".html")
