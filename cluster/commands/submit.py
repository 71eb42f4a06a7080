"""python -m cluster submit RECIPE [field.path=value ...]: a run as a job of a Ray cluster, followed to its end.

Its log goes to stdout, and the exit code is that of the run. Ctrl-C leaves the job running. Shipped are the files of
--working-dir that git would take, but for data, runs, environments, caches and keys; --list shows them.
"""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cluster import jobs, shipment
from cluster.config import ClusterConfig
from cluster.machines import require_paths_everywhere
from cluster.submission import PREFLIGHT, TRAIN, Submission, prepare, variables_from
from data_shards.exits import say
from trainer.overrides import add_arguments, from_arguments


def options(parser: ArgumentParser) -> None:
    """What to run, where, and what it takes along."""
    add_arguments(parser)
    add_address(parser)
    add_shipping(parser)
    parser.add_argument(
        "--list", action="store_true", help="show what would be shipped, and end; off by default"
    )
    parser.add_argument(
        "--no-preflight",
        action="store_true",
        help="do not look at driver, nodes and store before workers start; off by default",
    )
    parser.add_argument(
        "--no-wait", action="store_true", help="print the job's name and do not follow it; off by default"
    )


def add_shipping(parser: ArgumentParser) -> None:
    """What a job takes along, and how long it may take to end."""
    parser.add_argument("--working-dir", metavar="DIR", help="folder to ship from; this one by default")
    parser.add_argument(
        "--exclude",
        metavar="PATTERN",
        action="append",
        default=[],
        help="names of files or folders to leave out too; more than one if repeated, none by default",
    )
    parser.add_argument(
        "--env",
        metavar="NAME[=VALUE]",
        action="append",
        default=[],
        help="a variable of the job, no secret, with the value it has here where none is given; none by default",
    )
    parser.add_argument(
        "--grace",
        metavar="SECONDS",
        type=int,
        default=600,
        help="for which a job that is stopped may save (default: %(default)s)",
    )


def add_job(parser: ArgumentParser) -> None:
    """Which job, for the commands that ask after one."""
    parser.add_argument("job", metavar="JOB", help="its name, as `submit` has printed it")
    add_address(parser)


def add_address(parser: ArgumentParser) -> None:
    """The option of all commands that ask the job API."""
    parser.add_argument(
        "--address",
        metavar="ADDRESS",
        help="of Ray's dashboard, http://HEAD:8265; by default RAY_API_SERVER_ADDRESS or RAY_ADDRESS, or else a Ray "
        "of this machine",
    )


def run(given: Namespace) -> int:
    """Submit; returns what the run exits with, 0 if it is not waited for."""
    config = from_arguments(given, ClusterConfig)
    config.check()
    if given.list:
        print(shipment.listing(packed(given)))
        return 0
    job = prepared(given, config, [TRAIN] if given.no_preflight else [PREFLIGHT, TRAIN])
    client = jobs.client_at(given.address)
    name = job.give_to(client, given.grace)
    if given.no_wait:
        print(name)
        return 0
    say(f"job {name}: {jobs.page_of(client, name)}")
    code = follow(client, name)
    if code == 0:
        say(f"report: python -m trainer report {config.output} makes {config.output}/report.html")
    return code


def packed(given: Namespace) -> shipment.Shipment:
    """The files that the options of `add_shipping` name."""
    folder = Path(given.working_dir or ".").expanduser().resolve()
    return shipment.pack(folder, tuple(given.exclude))


def prepared(given: Namespace, config: ClusterConfig, steps: Sequence[Sequence[str]]) -> Submission:
    """The job of a run with the options of `add_shipping`; tells what is shipped.

    Raises:
        UserError: it cannot be given to a cluster.
    """
    require_paths_everywhere(config)
    job = prepare(config, packed(given), variables_from(given.env), steps)
    ships, left_out = job.shipment, ", ".join(sorted(job.shipment.left_out))
    say(
        f"shipping {len(ships.files)} files, {shipment.megabytes(ships.bytes)}, of {ships.folder}; left out: "
        f"{left_out or 'nothing'}"
    )
    return job


def follow(client: Any, name: str) -> int:
    """A job's log on stdout, to its end; returns its exit code."""
    try:
        code = jobs.follow(client, name, write)
    except KeyboardInterrupt:
        say(f"job {name} goes on; to end it: python -m cluster stop {name}")
        raise
    say(f"job {name}: exit code {code}")
    return code


def write(text: str) -> None:
    """A part of a log."""
    sys.stdout.write(text)
    sys.stdout.flush()
