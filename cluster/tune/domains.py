"""The domains of a space as Ray has them."""

from collections.abc import Mapping
from typing import Any

from ray import tune

from cluster.tune.space import Choice, Domain, LogUniform, RandInt, Uniform


def for_search(space: Mapping[str, Domain]) -> dict[str, Any]:
    """For a search algorithm."""
    return {path: _domain(domain) for path, domain in space.items()}


def for_population(space: Mapping[str, Domain]) -> dict[str, Any]:
    """For population based training, which goes to the neighbour of a choice."""
    return {
        path: list(domain.values) if isinstance(domain, Choice) else _domain(domain)
        for path, domain in space.items()
    }


def _domain(domain: Domain) -> Any:
    match domain:
        case Uniform(low, high, step):
            return tune.uniform(low, high) if step is None else tune.quniform(low, high, step)
        case LogUniform(low, high):
            return tune.loguniform(low, high)
        case RandInt(low, high):
            return tune.randint(low, high)
        case Choice(values):
            return tune.choice(list(values))
    raise AssertionError(domain)
