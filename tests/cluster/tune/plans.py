"""Plans for the tests of sweeps."""

from typing import Any

from cluster.config import ClusterConfig
from cluster.tune.plan import Plan, shared
from cluster.tune.space import parse_space
from trainer.overrides import resolve

SPACE = (
    "optim.lr=loguniform(1e-5,1e-2)",
    "optim.name=choice(adam,rmsprop,sgd)",
    "optim.warmup_steps=randint(0,9)",
)


def plan_to(output: str, *words: str, space: tuple[str, ...] = SPACE, **given: Any) -> Plan:
    """Eight trials of 80 steps, scored every 10, two at a time, unless `given` says otherwise."""
    config = resolve("demo", ["steps=80", "evaluation.steps=10", f"output={output}", *words], ClusterConfig)
    told: dict[str, Any] = {
        "metric": "psnr", "mode": "max", "trials": 8, "at_once": 2, "search": "random", "schedule": "none",
        "seed": 0, "grace": 10, "reduction": 2,
    }  # fmt: skip
    told |= given
    trial = shared(config, told["at_once"], told["schedule"], 1)
    return Plan(asked=config, config=trial, space=parse_space(space), words=space, **told)
