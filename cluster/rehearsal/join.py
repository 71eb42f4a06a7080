"""join.py start --address=... : `ray start` of a node that joins a head on loopback.

Ray joins nodes only where it may also listen on all addresses of a machine. This lifts its check and not what
follows from it: addresses stay what they are, 127.0.0.1.
"""

import sys
from types import SimpleNamespace
from typing import Any

from ray._private import ray_constants
from ray.scripts import scripts


def main() -> None:
    """Take Ray's words from the command line."""
    command: Any = scripts
    command.ray_constants = SimpleNamespace(**vars(ray_constants) | {"ENABLE_RAY_CLUSTER": True})
    sys.exit(scripts.main())


if __name__ == "__main__":
    main()
