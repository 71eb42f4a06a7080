"""Submission: a run as a job of a Ray cluster: what is shipped, what is run there, what it is told.

The config is resolved here, where its mistakes are told at once, and shipped as a file: nothing is resolved twice.
"""

import json
import os
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from secrets import token_hex
from typing import TYPE_CHECKING, Any

import psutil

from cluster.config import ClusterConfig
from cluster.jobs import GRACE
from cluster.preflight.planning import plan_of
from cluster.secrecy import refuse_secret_files, refuse_secrets
from cluster.shipment import Shipment
from data_shards.exits import Refused
from data_shards.mistake import UserError
from data_shards.scratch import scratch_folder
from trainer.revision import HANDED_OVER, described

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

CONFIG = "commonfate-job.json"  # in the job's working directory
PREFLIGHT = ("python", "-m", "cluster.preflight", CONFIG)
TRAIN = ("python", "-m", "cluster", "train", "--config", CONFIG)
SUBMITTED = "COMMONFATE_SUBMITTED"
"""Variable of a job: when it was submitted, in unix seconds; the run's clock begins there."""


@dataclass(frozen=True)
class Submission:
    """A job that can be given to a cluster.

    Attributes:
        config: the run.
        shipment: the files that it takes along, beside its config.
        commands: what it runs, one after the other while all is well.
        variables: its environment, in that of the machines.
        document: what CONFIG holds.
    """

    config: ClusterConfig
    shipment: Shipment
    commands: tuple[str, ...]
    variables: Mapping[str, str]
    document: Mapping[str, Any]

    def give_to(self, client: "JobSubmissionClient", grace_s: int) -> str:
        """Ship and start it; returns the job's name.

        Args:
            client: the cluster's job API.
            grace_s: seconds for which Ray waits for a stopped job to save.

        Raises:
            Refused: the cluster does not take it, or the connection is lost.
        """
        name = f"{self.config.recipe or 'run'}-{time.strftime('%Y%m%d-%H%M%S')}-{token_hex(3)}"
        revision = described(self.shipment.folder)
        told = {SUBMITTED: f"{time.time():.3f}"} | ({HANDED_OVER: revision} if revision else {})
        metadata = {
            "recipe": self.config.recipe,
            "output": self.config.output,
            "digest": self.config.digest(),
        }
        with scratch_folder("job") as folder:
            self.shipment.copy_to(folder)
            (folder / CONFIG).write_text(json.dumps(self.document, indent=2))
            try:
                return client.submit_job(
                    entrypoint=" && ".join((*self.commands[:-1], f"exec {self.commands[-1]}")),
                    submission_id=name,
                    runtime_env={
                        "working_dir": str(folder),
                        "env_vars": {**told, GRACE: str(grace_s), **self.variables},
                    },
                    metadata=metadata | ({"revision": revision} if revision else {}),
                )
            except (OSError, RuntimeError) as error:
                reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
                raise Refused(
                    f"job {name} could not be given to the cluster ({reason}); whether it was, tells "
                    f"python -m cluster status {name}"
                ) from None


def prepare(
    config: ClusterConfig, shipment: Shipment, variables: Mapping[str, str], steps: Sequence[Sequence[str]]
) -> Submission:
    """A submission of the run.

    Raises:
        UserError: a secret would be shipped, or the machines would not find what the config names.
    """
    document = {"plan": asdict(plan_of(config)), "config": config.model_dump(mode="json")}
    refuse_secrets(variables, _texts(document["config"]))
    refuse_secret_files(shipment.folder, shipment.files)
    return Submission(config, shipment, tuple(map(shlex.join, steps)), variables, document)


def submitted_at() -> float:
    """When the user asked for what this process does, in unix seconds: as the submitter says, or when it began."""
    began: float = psutil.Process().create_time()
    try:
        said = float(os.environ.get(SUBMITTED, "nan"))
    except ValueError:
        return began
    return said if 0 < said < began else began


def variables_from(words: Sequence[str]) -> dict[str, str]:
    """The variables that words such as NAME=VALUE, or NAME for the value here, give a job.

    Raises:
        UserError: a word is neither.
    """
    found = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not name.isidentifier():
            raise UserError(f"--env: got {word!r}, write NAME=VALUE, or NAME for the value that it has here")
        if not equals and name not in os.environ:
            raise UserError(f"--env: {name} is not set here; write {name}=VALUE")
        found[name] = value if equals else os.environ[name]
    return found


def _texts(tree: Any, path: str = "") -> dict[str, str]:
    """All texts of a config, each by its field."""
    if isinstance(tree, str):
        return {f"field {path}": tree}
    pairs = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    found: dict[str, str] = {}
    for name, value in pairs:
        found |= _texts(value, f"{path}.{name}" if path else str(name))
    return found
