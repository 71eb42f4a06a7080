"""python -m trainer likelihood: how likely clips are to a model that samples, beside Table 1 of SQAIR's paper."""
# What takes seconds to import is imported once the manifests of all that is asked for were believed.

import json
from argparse import ArgumentParser, Namespace
from dataclasses import asdict

from data_shards.commands import given_path, given_place
from data_shards.manifest import read_manifest
from trainer.arguments import add_count, require_file, require_positive, write_file
from trainer.commands.evaluate import require_manifests
from trainer.evaluation import CLIPS_PER_BATCH

PARTICLES, AT_ONCE = 1000, 100


def options(parser: ArgumentParser) -> None:
    """Which models, on which clips, by how many particles."""
    parser.add_argument(
        "checkpoints",
        nargs="+",
        type=given_place,
        metavar="RUN_OR_CHECKPOINT",
        help="of air, sqair or vrnn, a run by its newest checkpoint: a path or s3://bucket/prefix",
    )
    parser.add_argument(
        "--data", type=given_place, metavar="URL", help="data set; by default the one of the first run"
    )
    parser.add_argument("--split", default="test", help="of the data set; %(default)s by default")
    add_count(parser, "--limit", None, "score only the first N clips; all by default")
    add_count(parser, "--particles", PARTICLES, "samples of each clip")
    add_count(parser, "--at-once", AT_ONCE, "samples of a pass, which bounds memory")
    parser.add_argument(
        "--json", type=given_path, metavar="FILE", help="write the numbers there too; not by default"
    )


def run(given: Namespace) -> int:
    """Estimate and print."""
    require_positive(given, "limit", "particles", "at_once")
    if given.json:
        require_file("json", given.json)
    require_manifests(given.checkpoints, [given.data] if given.data else None, given.split)

    import torch

    from trainer.checkpoints.load import load_model
    from trainer.evaluation.likelihood import likelihood
    from trainer.evaluation.scoring import videos
    from trainer.papers.sqair import table

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    found, data = {}, given.data
    for url in given.checkpoints:
        loaded = load_model(url)
        loaded.model.to(device)
        data = data or loaded.config.data.url
        clips = videos(loaded, data, given.split, device, given.limit, CLIPS_PER_BATCH)
        found[url] = likelihood(loaded, clips, given.particles, given.at_once, device)
    print(table(found, read_manifest(data)))
    if given.json:
        write_file(
            given.json,
            (json.dumps({url: asdict(one) for url, one in found.items()}, indent=1) + "\n").encode(),
        )
    return 0
