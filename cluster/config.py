"""ClusterConfig: a run and the machines that it runs on."""

from typing import Literal

from pydantic import Field, field_validator

from trainer.config import Frozen, RunConfig


class ScalingConfig(Frozen):
    """How many workers, and what each of them gets. `num_workers` = [min, max] lets the group shrink and grow."""

    num_workers: int | tuple[int, int] = 1
    use_gpu: bool = False
    # Of a worker; None = its share of the cores of an embedded Ray, 1 on a cluster.
    cpus: int | None = Field(default=None, ge=1)
    resources: dict[str, float] = Field(default_factory=dict)  # a worker, beyond CPU and GPU
    placement: Literal["PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"] = "PACK"
    resize_s: float = Field(default=60, gt=0)  # an elastic group looks for more machines this often
    max_failures: int = Field(default=3, ge=0)  # starts again from the newest checkpoint, this often

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

    address: str | None = None  # None = RAY_ADDRESS, or else a Ray of our own on this machine
    # For all workers to be there, at first and after a failure.
    start_timeout_s: float = Field(default=300, gt=0)
    # Embedded only; the data does not pass through it.
    object_store_bytes: int = Field(default=80 * 2**20, ge=80 * 2**20)
    # Serve Prometheus the targets of all hosts at this port of the driver.
    discovery_port: int | None = Field(default=None, ge=0, le=65535)
    # Address of the driver to serve them at, 0.0.0.0 = all of its addresses; None = monitoring.host, which on several
    # hosts must be 0.0.0.0, for it is that of every worker.
    discovery_host: str | None = None
    verbose: bool = False  # show everything that Ray and the workers print


class ClusterConfig(RunConfig):
    """One training run on a Ray cluster."""

    scaling: ScalingConfig = ScalingConfig()
    ray: RayConfig = RayConfig()

    def check(self) -> None:
        """Raises ValueError where the global batch cannot be shared out among every allowed number of workers."""
        size, micro = self.batch.size, self.batch.micro or 1
        for workers in range(self.scaling.least, self.scaling.most + 1):
            if size % (workers * micro):
                raise ValueError(
                    f"field scaling.num_workers: batch.size {size} is no multiple of batch.micro x workers = "
                    f"{micro} x {workers}; change batch.size, batch.micro or scaling.num_workers"
                )

    def run(self) -> RunConfig:
        """What the trainer knows of it: the run without the machines."""
        return RunConfig(**{name: getattr(self, name) for name in RunConfig.model_fields})
