"""python -m cluster.preflight FILE: check what the plan in FILE needs on the Ray of this job, without torch.

For `python -m cluster submit`, which ships FILE; people type `python -m cluster preflight`.
"""

import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from cluster import ray_settings
from cluster.preflight.plan import Plan
from cluster.stop import interruptible
from data_shards.exits import exit_code, say
from data_shards.mistake import UserError
from data_shards.storage.document import fitting, parse_document

_FILE = 1 << 20


def main(argv: Sequence[str]) -> int:
    """Check; 2 where something is in the way."""
    try:
        tree = parse_document(Path(argv[0]).read_bytes(), _FILE)
        plan: Plan = fitting(Plan, tree["plan"])
    except (IndexError, KeyError, OSError, ValueError) as error:
        raise UserError(f"python -m cluster.preflight FILE: no plan there ({error})") from None
    ray_settings.set_defaults(*ray_settings.ALWAYS, *ray_settings.QUIET)
    import ray

    ray.init(os.environ.get("RAY_ADDRESS") or "auto", logging_level=logging.ERROR, log_to_driver=False)
    with interruptible():
        from cluster.preflight.survey import survey, verdict

        return verdict(survey(plan, say), say)


if __name__ == "__main__":
    sys.exit(exit_code(lambda: main(sys.argv[1:])))
