"""plan_of(): what a run will need, from its config. The one module here that knows models, and so imports torch."""

from cluster.config import ClusterConfig
from cluster.machines import worker_resources
from cluster.preflight.plan import Plan
from trainer.config import RunConfig
from trainer.overrides import stage_runs

_BYTES = 4 + 4 + 8  # of a parameter: in weights.pt, in DeepSpeed's state, and its two moments


def plan_of(config: ClusterConfig, *, embedded: bool = False) -> Plan:
    """The plan of a run, or of a chain: the most of what its stages need."""
    runs = stage_runs(config) or (config,)
    sets: dict[str, tuple[str, ...]] = {}
    for run in runs:
        needed = ("train", *((run.evaluation.split,) if run.evaluation.steps else ()))
        sets[run.data.url] = tuple(dict.fromkeys((*sets.get(run.data.url, ()), *needed)))
    return Plan(
        sets=sets,
        output=config.output,
        state_bytes=max(state_bytes(run) for run in runs),
        workers=config.scaling.least,
        worker=worker_resources(config.scaling, embedded=embedded),
        placement=config.scaling.placement,
        start_s=config.ray.start_timeout_s,
        save_s=min(run.checkpoint.deadline_s for run in runs),
        data_s=min(run.data.deadline for run in runs),
        metrics_host="" if config.monitoring.port is None else config.monitoring.host,
    )


def state_bytes(run: RunConfig) -> int:
    """Of weights and optimiser on the disk, at most; the model is built for it and thrown away."""
    model = run.model.build()
    return _BYTES * sum(parameter.numel() for parameter in model.parameters())
