"""python -m cluster preflight RECIPE [field.path=value ...]: all that is in the way of a run, before it is started.

Looks at the driver's machine, every node and the store, in seconds beside the wait for machines. At an address of Ray's
dashboard it is a job, as `submit` begins with; else this machine is the driver, of the Ray that `train` would have.
"""

import os
from argparse import ArgumentParser, Namespace

from cluster import jobs
from cluster.commands.submit import add_shipping, follow, prepared
from cluster.config import ClusterConfig
from cluster.machines import connected
from cluster.preflight.planning import plan_of
from cluster.stop import interruptible
from cluster.submission import PREFLIGHT
from data_shards.exits import say
from trainer.overrides import add_arguments, from_arguments


def options(parser: ArgumentParser) -> None:
    """Of what, and where."""
    add_arguments(parser)
    parser.add_argument(
        "--address",
        metavar="ADDRESS",
        help="http://HEAD:8265 of Ray's dashboard, or HOST:PORT of a Ray that this machine can join, or auto; "
        "RAY_API_SERVER_ADDRESS or RAY_ADDRESS by default, or else an embedded Ray",
    )
    add_shipping(parser)


def run(given: Namespace) -> int:
    """Check; 2 where something is in the way."""
    address = given.address or os.environ.get("RAY_API_SERVER_ADDRESS") or os.environ.get("RAY_ADDRESS") or ""
    if address.startswith(("http://", "https://")):
        config = from_arguments(given, ClusterConfig)
        config.check()
        job = prepared(given, config, [PREFLIGHT])
        client = jobs.client_at(address)
        return follow(client, job.give_to(client, given.grace))
    config = from_arguments(given, ClusterConfig, [f"ray.address={address}"] if address else [])
    config.check()
    with interruptible(), connected(config) as embedded:
        from cluster.preflight.survey import survey, verdict  # after Ray's settings

        return verdict(survey(plan_of(config, embedded=embedded), say), say)
