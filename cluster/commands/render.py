"""python -m cluster render RECIPE [field.path=value ...] --out DIR: a run as files for Kubernetes, Slurm and clouds.

A Dockerfile, KubeRay's RayJob and RayCluster, what Prometheus' operator scrapes, a script for Slurm, one for `ray up`.
All come from the run's config and the options; docs/clusters.md says what they need and who is trusted.
"""

from argparse import ArgumentParser, Namespace

from cluster.config import ClusterConfig
from cluster.deployment.deployment import deployment_of
from cluster.deployment.files import FILES
from cluster.machines import require_paths_everywhere
from data_shards.commands import given_path
from data_shards.mistake import UserError
from trainer.overrides import add_arguments, from_arguments


def options(parser: ArgumentParser) -> None:
    """Of what, where to, and what a config does not say."""
    add_arguments(parser)
    parser.add_argument(
        "--out", metavar="DIR", type=given_path, required=True, help="folder to write the files to"
    )
    parser.add_argument(
        "--name", metavar="NAME", help="of the job and its cluster; that of the recipe by default"
    )
    parser.add_argument(
        "--image",
        metavar="IMAGE",
        default="commonfate:latest",
        help="that all machines run, as the registry has it (default: %(default)s)",
    )
    parser.add_argument(
        "--memory",
        metavar="GIB",
        type=int,
        default=16,
        help="memory of a worker's machine (default: %(default)s)",
    )
    parser.add_argument(
        "--secret",
        metavar="NAME",
        default="commonfate-store",
        help="of the Secret of Kubernetes with the store's keys (default: %(default)s)",
    )


def run(given: Namespace) -> int:
    """Write the files, and say which."""
    if given.config:
        raise UserError("--config: the rendered files name a recipe and its words; give those")
    config = from_arguments(given, ClusterConfig)
    config.check()
    require_paths_everywhere(config)
    deployment = deployment_of(
        config,
        (given.recipe, *given.overrides),
        name=given.name or config.recipe,
        image=given.image,
        memory_gib=given.memory,
        secret=given.secret,
    )
    given.out.mkdir(parents=True, exist_ok=True)
    for name, render in FILES.items():
        (given.out / name).write_text(render(deployment))
        print(given.out / name)
    return 0
