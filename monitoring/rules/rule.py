"""Recording and Alert: a row each of what Prometheus evaluates, and the tree that its file is made of."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

WINDOW = "1m"


@dataclass(frozen=True)
class Recording:
    """A series of its own: `name` is level:what:how, as Prometheus advises."""

    name: str
    expression: str


@dataclass(frozen=True)
class Alert:
    """What is wrong, for how long it must be so, and what to do. `expression` keeps the label `run`.

    Attributes:
        name: in capitals without spaces.
        expression: true where something is wrong.
        lasting_s: seconds for which it must have been so.
        severity: page = nothing is learnt, or it is lost; look = the run goes on, badly.
        summary: one sentence that follows the run's name.
        remedy: where to look first.
    """

    name: str
    expression: str
    lasting_s: int
    severity: Literal["page", "look"]
    summary: str
    remedy: str


def rules_tree(recordings: Sequence[Recording], alerts: Sequence[Alert]) -> dict[str, Any]:
    """Prometheus' file of rules. Recordings come first: alerts read them."""
    recorded = [{"record": row.name, "expr": row.expression} for row in recordings]
    warned = [
        {
            "alert": row.name,
            "expr": row.expression,
            "for": f"{row.lasting_s}s",
            "labels": {"severity": row.severity},
            "annotations": {"summary": "{{ $labels.run }}: " + row.summary, "description": row.remedy},
        }
        for row in alerts
    ]
    return {"groups": [{"name": "commonfate", "rules": recorded + warned}]}
