"""python -m cluster rehearse RECIPE [field.path=value ...] --out FOLDER: what a run survives, tried on this machine.

Trains on a Ray of several nodes here, first undisturbed, then with faults drawn by --seed, and compares: the history
of steps, the final weights, what is left behind, what was told. 0 only where nothing is wrong. The words name a run
that is small enough for this machine; it trains on a copy of data.url, in a folder or, with --store, in a bucket.
"""

import os
import sys
from argparse import ArgumentParser, Namespace
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.config import ClusterConfig
from cluster.rehearsal.gate import Gate, behind
from cluster.rehearsal.hosts import forbidden, network
from cluster.rehearsal.schedule import GAP, SAVED, Blow, last_step, schedule
from cluster.stop import interruptible
from data_shards.commands import given_path
from data_shards.exits import say
from data_shards.manifest import read_manifest
from data_shards.mistake import UserError
from data_shards.storage.place import check_url, open_store
from data_shards.storage.store import StorageError
from trainer.overrides import add_arguments, from_arguments
from trainer.remedies import nearest

if TYPE_CHECKING:
    from cluster.rehearsal.faults import Fault

_MOST_BYTES = 1 << 30  # of a data set, of which a copy is made
_ASKED_S = 20.0  # a store, before anything is written


def options(parser: ArgumentParser) -> None:
    """What to train, what to do to it, and where."""
    add_arguments(parser)
    parser.add_argument("--faults", default="all", metavar="KIND[,KIND]", help="of these; all by default")
    parser.add_argument("--seed", type=int, default=0, help="of the schedule; 0 by default")
    parser.add_argument("--rounds", type=int, default=10, help="how many faults; 10 by default")
    parser.add_argument(
        "--out",
        required=True,
        type=given_path,
        metavar="FOLDER",
        help="a new folder for data, runs, logs and rehearsal.json",
    )
    parser.add_argument(
        "--store",
        metavar="s3://BUCKET/PREFIX",
        help="where data and runs lie, behind AWS_ENDPOINT_URL=http://host:port: it can fail too; in --out by default",
    )
    parser.add_argument(
        "--hosts",
        action="store_true",
        help="each node is a host with a network of its own, which can be cut; on Linux, for root; not by default",
    )


def run(given: Namespace) -> int:
    """Rehearse; 1 where something is not as it must be."""
    from cluster.rehearsal.rehearsal import copied, rehearse  # here, for both load torch

    if given.rounds < 1:
        raise UserError(f"--rounds: got {given.rounds}, needs at least 1")
    if given.seed < 0:
        raise UserError(f"--seed: got {given.seed}, needs 0 or more")
    out: Path = given.out
    if out.exists():
        raise UserError(f"--out: {out} exists already; name a new folder")
    place, kinds = given.store or str(out.absolute()), _kinds(given)
    endpoint = os.environ.get("AWS_ENDPOINT_URL", "")
    if given.store:
        _require_new(given.store, endpoint)
    config = _config(given, place)
    blows = _blows(given, config, kinds)
    config = config.model_copy(update={"steps": last_step(blows, _runs_on())})
    with interruptible(), ExitStack() as stack:
        hosts = stack.enter_context(network()) if given.hosts else None
        gate = None
        if given.store:
            server = hosts.serve() if hosts else None
            gate = stack.enter_context(Gate(endpoint, server))
        out.mkdir(parents=True)
        copied(config.data.url, f"{place}/data")
        config = _config(given, place, f"data.url={place}/data", f"steps={config.steps}")
        found = rehearse(config, blows, given.seed, out, say, gate, hosts)
    for name, value in found["figures"].items():
        print(
            f"{name.replace('_', ' '):18} {value:.3g}" if isinstance(value, float) else f"{name:18} {value}"
        )
    for complaint in found["complaints"]:
        print(complaint, file=sys.stderr)
    return 1 if found["complaints"] else 0


def _require_new(url: str, endpoint: str) -> None:
    """UserError unless it is in a bucket that answers, where a gate can be put before it, and nothing lies there."""
    if not check_url(url)[0]:
        raise UserError(f"--store: got {url}, needs s3://bucket/prefix; without --store all lies in --out")
    behind(endpoint)
    try:
        if open_store(url, _ASKED_S).list():
            raise UserError(f"--store: something lies at {url} already; name a new prefix")
    except StorageError as error:
        raise UserError(f"--store: {error}") from error


def _kinds(given: Namespace) -> tuple[str, ...]:
    from cluster.rehearsal.faults import FAULTS

    if given.hosts and (why := forbidden()):
        raise UserError(f"--hosts: {why}")
    if given.faults == "all":
        return tuple(
            name for name, fault in FAULTS.items() if not (_lacking(fault, given) or fault.forbidden())
        )
    kinds = tuple(dict.fromkeys(given.faults.split(",")))
    for kind in kinds:
        if kind not in FAULTS:
            raise UserError(
                f"--faults: {kind!r} does not exist{nearest(kind, FAULTS)}; have: all, {', '.join(FAULTS)}"
            )
        if option := _lacking(FAULTS[kind], given):
            raise UserError(f"--faults: {kind} needs {option}")
        if why := FAULTS[kind].forbidden():
            raise UserError(f"--faults: {kind} is not possible here: {why}")
    return kinds


def _lacking(fault: "Fault", given: Namespace) -> str:
    """The option that a fault needs and was not given; "" = there is none."""
    if fault.store and not given.store:
        return "a run in an object store; give --store s3://bucket/prefix"
    return "hosts with networks of their own; give --hosts" if fault.hosts and not given.hosts else ""


def _config(given: Namespace, place: str, *words: str) -> ClusterConfig:
    """The run as it is rehearsed: saved often, every step in its journal, its workers on nodes of their own."""
    asked = from_arguments(given, ClusterConfig)
    if asked.stages:
        raise UserError(f"recipe {asked.recipe}: is a chain of stages; rehearse one of them")
    workers = max(asked.scaling.most, 2)
    fixed = (
        *(f"output={place}/run", "log_steps=1", f"checkpoint.steps={SAVED}", "checkpoint.keep=3"),
        *("evaluation.steps=0", f"scaling.num_workers={workers}", "scaling.placement=SPREAD"),
        *(
            "scaling.max_failures=1000000",
            "monitoring.port=null",
            "engine.threads=1",
            "scaling.use_gpu=false",
        ),
    )
    config = from_arguments(given, ClusterConfig, [*fixed, *words])
    config.check()
    return config


def _blows(given: Namespace, config: ClusterConfig, kinds: tuple[str, ...]) -> tuple[Blow, ...]:
    from cluster.rehearsal.faults import FAULTS

    try:
        manifest = read_manifest(config.data.url)
        size = sum(open_store(config.data.url).list().values())
    except StorageError as error:
        raise UserError(f"field data.url: {error}") from error
    if size > _MOST_BYTES:
        raise UserError(
            f"field data.url: {config.data.url} has {size} bytes, of which a copy is made; name a set of at most "
            f"{_MOST_BYTES}"
        )
    epoch = manifest.samples("train") / config.batch.size
    if epoch > GAP and any(kind.endswith("-at-epoch") for kind in kinds):
        raise UserError(
            f"--faults: kill-at-epoch needs epochs of at most {GAP} steps, here one has {epoch:g}; raise batch.size, "
            "or name the faults without it"
        )
    lasts = {name: fault.lasts for name, fault in FAULTS.items()}
    return schedule(given.seed, given.rounds, kinds, config.scaling.most, lasts, epoch, _runs_on())


def _runs_on() -> dict[str, int]:
    from cluster.rehearsal.faults import FAULTS

    return {name: fault.runs_on for name, fault in FAULTS.items()}
