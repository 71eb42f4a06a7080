"""python -m trainer evaluate: the papers' tables for any checkpoint.

Prints each number beside copy-last, black and the oracle's ceiling; with several checkpoints or data sets it prints the
grid of the models' paper and draws its pictures (figures 3 and 5 of arXiv 2103.05669).
"""
# What takes seconds to import is imported once the manifests of all that is asked for were believed.

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from data_shards.commands import given_path, given_place
from data_shards.manifest import read_manifest, split_shards
from trainer.arguments import add_count, require_file, require_positive, write_file
from trainer.checkpoints.exported import checkpoint_at
from trainer.evaluation import CLIPS_PER_BATCH

if TYPE_CHECKING:
    from trainer.evaluation.result import Evaluation
    from trainer.papers.paper import Grid


def options(parser: ArgumentParser) -> None:
    """Which checkpoints, on which clips, and where the numbers go."""
    parser.add_argument(
        "checkpoints",
        nargs="+",
        type=given_place,
        metavar="RUN_OR_CHECKPOINT",
        help="what to score, a run by its newest checkpoint: a path or s3://bucket/prefix",
    )
    parser.add_argument(
        "--data",
        nargs="+",
        type=given_place,
        metavar="URL",
        help="data sets; by default the one of each run",
    )
    parser.add_argument("--split", default="val", help="of the data sets; %(default)s by default")
    add_count(parser, "--limit", None, "score only the first N clips of each set")
    add_count(parser, "--batch", CLIPS_PER_BATCH, "clips at once")
    parser.add_argument(
        "--json",
        type=given_path,
        metavar="FILE",
        help="write all evaluations there too, as a JSON list; not by default",
    )
    parser.add_argument(
        "--plot",
        type=given_path,
        default=Path("grid.png"),
        metavar="FILE",
        help="box plot of several checkpoints or data sets; %(default)s by default",
    )


def run(given: Namespace) -> int:
    """Score runs or checkpoints on data sets; prints the tables and writes them beside the run."""
    require_positive(given, "limit", "batch")
    is_grid = len(given.checkpoints) * len(given.data or [""]) > 1
    if given.json:
        require_file("json", given.json)
    if is_grid:
        require_file("plot", given.plot)
    require_manifests(given.checkpoints, given.data, given.split)
    results = _scored(given, is_grid)
    if given.json:
        text = "[" + ",\n".join(result.to_json() for result in results) + "]\n"
        write_file(given.json, text.encode())
    return 0


def require_manifests(checkpoints: Sequence[str], data: Sequence[str] | None, split: str) -> None:
    """What is refused by manifests alone is told before what reads the rest is loaded, which takes seconds.

    Raises:
        UserError: there is no such checkpoint, or no such split.
        StorageError: a manifest of a checkpoint or of a data set is missing, damaged or forged.
    """
    for url in checkpoints:
        checkpoint = checkpoint_at(url)
        for place in data or [checkpoint.config["data"]["url"]]:
            split_shards(read_manifest(place), split, place)


def _scored(given: Namespace, is_grid: bool) -> "list[Evaluation]":
    """Each checkpoint on each data set, printed and stored; of a grid also the pictures."""
    import torch

    from trainer.checkpoints.load import load_model
    from trainer.config import model_to
    from trainer.evaluation.scoring import evaluate_on, videos
    from trainer.evaluation.stored import store_beside_run
    from trainer.evaluation.views import views_of

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    results, shown, kinds = [], [], []
    for url in given.checkpoints:
        loaded = load_model(url)
        loaded.model.to(device)
        kinds.append(model_to(loaded.config.model)["name"])
        for data in given.data or [loaded.config.data.url]:
            result = evaluate_on(loaded, data, given.split, device, given.limit, given.batch)
            store_beside_run(result, own_data=data == loaded.config.data.url, limit=given.limit)
            print(result.text(), end="\n\n")
            results.append(result)
            if is_grid:
                clip = next(videos(loaded, data, given.split, device, 1, 1))
                shown.append((result, views_of(loaded.model, clip, loaded.step), clip))
    if is_grid:
        from trainer.papers import ordered_papers
        from trainer.papers.paper import Cell

        grid = next(paper.grid for paper in ordered_papers(kinds) if paper.grid)
        write_grid(grid([Cell(*parts) for parts in shown]), given.plot)
    return results


def write_grid(grid: "Grid", plot: Path) -> None:
    """Print the numbers; write the pictures to `plot` and beside it."""
    print(grid.text)
    told = []
    for what, ending, picture in grid.pictures:
        file = plot.with_stem(f"{plot.stem}{ending}")
        write_file(file, picture)
        told.append(f"{what}: {file}")
    print(f"\n{', '.join(told)}")
