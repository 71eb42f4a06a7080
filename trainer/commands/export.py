"""python -m trainer export RUN --out FOLDER: a model as a folder that travels.

FOLDER gets `model.safetensors`, `config.json` and `README.md`, the card, with the scores of a split beside those of the
model before training: the layout of Hugging Face's hub. `trainer.load(FOLDER)` gives the model back, to the bit;
evaluate, report, discover and start= take FOLDER as they take a run.
"""

from argparse import ArgumentParser, Namespace

import torch

from data_shards.commands import given_path, given_place
from data_shards.mistake import UserError
from data_shards.storage.place import open_store
from trainer.arguments import add_count, require_folder, require_positive, whole_folder, write_file
from trainer.card import card
from trainer.checkpoints.checkpoint import run_of
from trainer.checkpoints.exported import CARD
from trainer.checkpoints.exported_weights import exported_files
from trainer.checkpoints.load import load_model
from trainer.evaluation.scoring import evaluate_on
from trainer.evaluation.stored import store_beside_run, stored_evaluation
from trainer.report.facts import facts_of


def options(parser: ArgumentParser) -> None:
    """Which model, on which clips it is scored, and where it goes."""
    parser.add_argument(
        "checkpoint", type=given_place, metavar="RUN_OR_CHECKPOINT", help="whose model: a path or URL"
    )
    parser.add_argument(
        "--out", type=given_path, required=True, metavar="FOLDER", help="a local folder that is not there yet"
    )
    parser.add_argument(
        "--split", default="val", help="of the run's data, for the card; %(default)s by default"
    )
    add_count(parser, "--limit", 200, "clips to score if no evaluation is stored")
    parser.add_argument(
        "--licence",
        default="other",
        metavar="NAME",
        help="of the model, for the card: an identifier such as mit or cc-by-4.0; %(default)s by default",
    )


def run(given: Namespace) -> int:
    """Score the model if it was not, and write its folder, or nothing."""
    require_positive(given, "limit")
    require_folder("out", given.out)
    if not given.licence.strip() or not given.licence.isprintable():
        raise UserError(f"--licence: got {given.licence!r}, needs an identifier such as mit")
    with whole_folder(given.out) as folder:
        loaded = load_model(given.checkpoint)
        data, store = loaded.config.data.url, open_store(run_of(loaded.url))
        # Before it moves to another device, and before it is scored.
        files = exported_files(loaded.checkpoint, loaded.model.state_dict(), loaded.url)
        result = stored_evaluation(store, loaded, data, given.split, given.limit)
        if result is None:
            device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
            loaded.model.to(device)
            result = evaluate_on(loaded, data, given.split, device, given.limit)
            store_beside_run(result, own_data=True, limit=given.limit)
        config = loaded.config.model_dump(mode="json")
        text = card(result, facts_of(loaded, data), config, given.licence)
        for name, content in (files | {CARD: text.encode()}).items():
            write_file(folder / name, content)
    sizes = sum(len(content) for content in files.values())
    print(f"export: {given.out} ({sizes / 1e6:.1f} MB)")
    return 0
