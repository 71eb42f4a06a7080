"""How far a run is, for the person or the log that started it."""

import json
import sys
from typing import Any

from tqdm import tqdm


class Progress:
    """A bar on a terminal; elsewhere a JSON line per interval on stdout. Messages go to stderr.

    Args:
        steps: the last step.
        start: the step that training starts from; None = not known before the first line.
    """

    def __init__(self, steps: int, start: int | None = None) -> None:
        self._steps = steps
        self._terminal = sys.stdout.isatty()
        self._bar: Any = None
        if start is not None and self._terminal:
            self._bar = self._begin(start)

    def line(self, line: dict[str, Any]) -> None:
        """One line of the run's metrics."""
        if not self._terminal:
            print(json.dumps(line), flush=True)
        elif "loss" in line:
            if self._bar is None:
                self._bar = self._begin(line["step"])
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

    def _begin(self, step: int) -> Any:
        return tqdm(total=self._steps, initial=step, unit="step")
