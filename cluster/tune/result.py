"""write_result(): what a sweep leaves: its page, and the best config as a recipe."""

import json
from collections.abc import Sequence
from typing import Any

from cluster.tune.entrant import Entrant
from cluster.tune.page import build_page
from cluster.tune.plan import Plan
from cluster.tune.table import as_text, ranked
from data_shards.storage.place import open_store
from trainer.revision import code_revision

PAGE, BEST = "report.html", "best.json"


def write_result(plan: Plan, entrants: Sequence[Entrant]) -> str:
    """Write report.html and, where a trial has a score, best.json; returns the table and where they are, as text."""
    store, best = open_store(plan.asked.output), ranked(plan, entrants)[0]
    command = f"python -m cluster train --config {store.address(BEST)}"
    told = [as_text(plan, entrants)]
    if best.score is not None:
        store.put(BEST, json.dumps(recipe_of(plan, best), indent=2).encode())
        told.append(f"best: {command}")
    store.put(PAGE, build_page(plan, entrants, command).encode())
    return "\n".join([*told, f"report: {store.address(PAGE)}"])


def recipe_of(plan: Plan, best: Entrant) -> dict[str, Any]:
    """What best.json holds: the config of a run, and where it comes from."""
    config = plan.recipe(best.values)
    return {
        "trial": best.folder,
        "metric": plan.column,
        "score": best.score,
        "step": best.step,
        "revision": code_revision(),
        "digest": config.digest(),
        "config": config.model_dump(mode="json"),
    }
