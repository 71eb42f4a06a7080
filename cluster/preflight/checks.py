"""CHECKS: all that is looked at, where, and by which function. One more is a function and a row."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from cluster.preflight import driver, node, store
from data_shards.mistake import UserError
from data_shards.storage.store import StorageError

Where = Literal["driver", "node", "store"]


@dataclass(frozen=True)
class Check:
    """A function that yields a sentence for each thing that is in the way.

    On the driver it is given (plan, hosts), on a node an Ask, at the store (store, folder to write to).
    """

    where: Where
    find: Callable[..., Iterator[str]]


CHECKS = {
    "data": Check("driver", driver.data),
    "output": Check("driver", driver.output),
    "deadlines": Check("driver", driver.deadlines),
    "metrics": Check("driver", driver.metrics),
    "read after write": Check("store", store.read_after_write),
    "one winner": Check("store", store.one_winner),
    "abandoned upload": Check("store", store.nothing_of_what_was_given_up),
    "listing": Check("store", store.listing),
    "manifest": Check("node", node.manifest),
    "output of the node": Check("node", node.output),
    "scratch": Check("node", node.scratch),
    "peers": Check("node", node.peers),
    "code": Check("node", node.code),
    "packages": Check("node", node.packages),
    "devices": Check("node", node.devices),
    "clock": Check("node", node.clock),
}


def findings(where: Where, *given: Any) -> list[str]:
    """What all checks of one place say; one that fails is a finding too."""
    found: list[str] = []
    for name, check in CHECKS.items():
        if check.where == where:
            try:
                found += check.find(*given)
            except (StorageError, UserError, OSError) as error:
                found.append(f"{name}: {error}")
    return found
