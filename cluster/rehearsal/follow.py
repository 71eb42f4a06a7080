"""Follow: a fault from the moment when it comes to the first step that the run does after it."""

import re
import time

from cluster.rehearsal.faults import FAULTS, Undo
from cluster.rehearsal.scene import Scene
from cluster.rehearsal.schedule import Blow
from cluster.rehearsal.verdict import Outcome
from data_shards.exits import Refused
from trainer.checkpoints.checkpoint import steps_on

LOST = "worker lost"  # how the driver's sentence begins

_NOTICED_S = 600.0  # from a fault to the next step, at most
_POLL_S = 0.1
_STARTS = 4  # of drivers after one fault: a run that ends again and again does not recover


def reach(scene: Scene, step: int, limit_s: float = 600.0) -> None:
    """Until the run has done `step` steps.

    Raises:
        Refused: it has ended, or taken too long.
    """
    deadline = time.monotonic() + limit_s
    while not any(line["step"] >= step for line in scene.lines()):
        if scene.driver.code is not None or time.monotonic() > deadline:
            what = "ended" if scene.driver.code is not None else "is late"
            raise Refused(f"the run {what} before step {step}:\n{scene.said()[-2000:]}")
        time.sleep(_POLL_S)


class Following:
    """One fault of a run.

    Args:
        scene: the run.
        blow: the fault, which comes at once.
    """

    def __init__(self, scene: Scene, blow: Blow) -> None:
        self._scene, self._blow, self._fault = scene, blow, FAULTS[blow.kind]
        self._from = scene.said_bytes()
        self._ends: list[int] = []
        self._losses, self._complaints = 0, list[str]()
        self._stopped_s: float | None = None
        self._since = self._at = time.time()  # later lines are of the time after the fault
        self._undo: Undo | None = self._fault.inject(scene, blow)

    def outcome(self) -> Outcome:
        """Wait for the run to go on; what became of the fault.

        Raises:
            Refused: it does not go on.
        """
        recovered = None
        while recovered is None and time.time() < self._at + _NOTICED_S:
            time.sleep(_POLL_S)
            self._look()
            if self._settled():
                later = [line["time"] for line in self._scene.lines() if line["time"] > self._since]
                recovered = later[0] - self._at if later else None
        self._undo_now()
        told = self._told()
        if recovered is None:
            self._complaints.append(f"no step within {_NOTICED_S:g} s")
        if self._fault.told and not told:
            self._complaints.append(f"the cause was not named (no line with {self._fault.told!r})")
        return Outcome(
            self._blow, tuple(self._ends), told, recovered, self._stopped_s, tuple(self._complaints)
        )

    def _look(self) -> None:
        """What has happened since."""
        losses = self._scene.said(self._from).count(LOST)
        if losses > self._losses:
            self._losses, self._since = losses, time.time()
            if not self._fault.patient:
                self._undo_now()
        for code in self._scene.ended():
            self._end(code)
        if self._undo is not None and time.time() > self._at + self._blow.seconds:
            self._undo_now()
            self._since = time.time()

    def _end(self, code: int) -> None:
        """A driver has ended: as it may, or not. Another one goes on."""
        self._ends.append(code)
        self._undo_now()
        if code not in self._fault.ends:
            self._complaints.append(f"a driver ended with {code}: {self._scene.said()[-300:].strip()}")
        if code == 130:
            self._require_saved()
        if len(self._ends) > _STARTS:
            raise Refused(f"the run does not go on after {self._blow.kind}:\n{self._scene.said()[-2000:]}")
        self._since = time.time()
        if not self._scene.drivers:
            self._scene.start()

    def _settled(self) -> bool:
        """Whether all that the fault does has been seen."""
        if self._undo is not None:
            return False
        return (
            bool(self._ends)
            if self._fault.ends
            else bool(self._losses or self._ends or not self._fault.loses)
        )

    def _require_saved(self) -> None:
        self._stopped_s = time.time() - self._at
        done = max((line["step"] for line in self._scene.lines()), default=0)
        saved = max(steps_on(self._scene.store), default=0)
        if saved < done - 1:
            self._complaints.append(f"after a stop step {saved} was saved, and {done} was done")

    def _undo_now(self) -> None:
        if self._undo is not None:
            self._undo()
            self._undo = None

    def _told(self) -> str:
        pattern = self._fault.told or LOST
        found = [each for each in self._scene.said(self._from).splitlines() if re.search(pattern, each)]
        return found[0] if found else ""
