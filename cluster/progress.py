"""How far a run on the cluster is, for the person or the log that started it."""

import json
import sys
from typing import Any

from tqdm import tqdm


class Progress:
    """A bar on a terminal; elsewhere a JSON line per interval on stdout. Messages go to stderr."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._bar: Any = None  # made at the first line, when the workers are there
        self._terminal = sys.stdout.isatty()

    def line(self, line: dict[str, Any]) -> None:
        """One line of the run's metrics."""
        if not self._terminal:
            print(json.dumps(line), flush=True)
        elif "loss" in line:
            if self._bar is None:
                self._bar = tqdm(total=self._steps, initial=line["step"], unit="step")
            self._bar.update(line["step"] - self._bar.n)
            self._bar.set_postfix(loss=f"{line['loss']:.4g}", refresh=False)

    def say(self, text: str) -> None:
        """A sentence for the user."""
        if self._bar is None:
            print(text, file=sys.stderr, flush=True)
        else:
            self._bar.write(text, file=sys.stderr)

    def close(self) -> None:
        """Release the terminal."""
        if self._bar is not None:
            self._bar.close()
