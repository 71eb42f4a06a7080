"""ClusterConfig: a run and the machines that it runs on."""

from typing import Literal

from pydantic import Field, field_validator

from data_shards.manifest import read_manifest
from data_shards.mistake import UserError
from data_shards.storage.store import StorageError
from trainer.config import BatchConfig, RunConfig
from trainer.frozen import Frozen
from trainer.overrides import stage_runs


class ScalingConfig(Frozen):
    """How many workers, and what each of them gets. `num_workers` = [min, max] lets the group shrink and grow."""

    num_workers: int | tuple[int, int] = 1
    """Processes that train, each a rank: a number, or [min, max] where the group may shrink and grow."""
    use_gpu: bool = False
    """One GPU for each worker."""
    cpus: int | None = Field(default=None, ge=1)
    """Cores of a worker; null = its share of those of an embedded Ray, 1 on a cluster."""
    resources: dict[str, float] = Field(default_factory=dict)
    """What Ray sets aside for a worker beyond CPU and GPU: {"name": amount}."""
    placement: Literal["PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"] = "PACK"
    """Workers on few machines or on many; strict = or not at all."""
    resize_s: float = Field(default=60, gt=0)
    """Seconds between two looks of an elastic group for more machines."""
    max_failures: int = Field(default=3, ge=0)
    """Times that the run starts again from the newest checkpoint after a failure."""

    @property
    def least(self) -> int:
        """The smallest number of workers that the run trains with."""
        return self.num_workers if isinstance(self.num_workers, int) else self.num_workers[0]

    @property
    def most(self) -> int:
        """The largest number of workers."""
        return self.num_workers if isinstance(self.num_workers, int) else self.num_workers[1]

    @field_validator("num_workers")
    @classmethod
    def _ordered(cls, number: int | tuple[int, int]) -> int | tuple[int, int]:
        least, most = (number, number) if isinstance(number, int) else number
        if not 1 <= least <= most:
            raise ValueError("give a number from 1 up, or [min, max] with 1 <= min <= max")
        return number

    @field_validator("resources")
    @classmethod
    def _others(cls, resources: dict[str, float]) -> dict[str, float]:
        if {"CPU", "GPU"} & resources.keys():
            raise ValueError("use scaling.cpus and scaling.use_gpu for CPU and GPU")
        return resources


class RayConfig(Frozen):
    """Which Ray, and how it is started where it is embedded."""

    address: str | None = None
    """Of a Ray cluster, host:port or auto; null = RAY_ADDRESS, or else a Ray of our own on this machine."""
    start_timeout_s: float = Field(default=300, gt=0)
    """Seconds for all workers to be there, at first and after a failure."""
    object_store_bytes: int = Field(default=80 * 2**20, ge=80 * 2**20)
    """Size of an embedded Ray's object store; the data does not pass through it."""
    discovery_port: int | None = Field(default=None, ge=0, le=65535)
    """Port of the driver at which Prometheus is served the targets of all hosts; 0 = any free port, null = none."""
    discovery_host: str | None = None
    """Address of the driver to serve them at; 0.0.0.0 = all of its addresses, null = monitoring.host."""
    verbose: bool = False
    """Show everything that Ray and the workers print."""


class ClusterConfig(RunConfig):
    """One training run on a Ray cluster."""

    scaling: ScalingConfig = ScalingConfig()
    """How many workers, and what each of them gets."""
    ray: RayConfig = RayConfig()
    """Which Ray, and how it is started where it is embedded."""

    def check(self) -> None:
        """Raises UserError where a global batch cannot be shared out among every allowed number of workers."""
        for batch in (run.batch for run in stage_runs(self) or (self,)):
            self._check(batch)

    def _check(self, batch: BatchConfig) -> None:
        size, micro = batch.size, batch.micro or 1
        for workers in range(self.scaling.least, self.scaling.most + 1):
            if not batch.divides(workers):
                raise UserError(
                    f"field scaling.num_workers: batch.size {size} is no multiple of batch.micro x workers = "
                    f"{micro} x {workers}; change batch.size, batch.micro or scaling.num_workers"
                )

    def require_set(self) -> None:
        """UserError where there is no data set: told now, not by a worker in a minute."""
        try:
            read_manifest(self.data.url)
        except StorageError as error:
            raise UserError(f"field data.url: {error}") from error

    def run(self) -> RunConfig:
        """What the trainer knows of it: the run without the machines."""
        return RunConfig(**{name: getattr(self, name) for name in RunConfig.model_fields})
