"""Starts: below a run, an object for each time that it was started, named by when; with the first its clock begins.

A checkpoint cannot tell of them: it knows nothing of starts that were killed before they saved. Nor can what is written
when training begins, for a start may be killed before. So a start leaves an empty object once nothing can refuse it any
more, and the step that it begins at is written into it when it begins to train.
"""

import time
from dataclasses import dataclass

from data_shards.storage.store import Store
from monitoring.heartbeat import Heart
from monitoring.run_state import Past, Timeline
from trainer.checkpoints.checkpoint import Checkpoint
from trainer.checkpoints.restore import timeline_of
from trainer.process_group import ProcessGroup

STARTS = "starts"


@dataclass(frozen=True)
class Start:
    """One start of a run: `name` is its object's."""

    store: Store
    name: str

    def leave_trace(self) -> None:
        """The run was started. Raises StorageError."""
        self.store.put(self.name, b"")

    def train(self, step: int) -> int:
        """It begins to train at a step; returns how often the run has begun to train before."""
        self.store.put(self.name, str(step).encode())
        return sum(size > 0 for size in self.store.list(f"{STARTS}/").values()) - 1


def start_of(store: Store, past: Past) -> Start:
    """This start: at its submission, or now."""
    name = time.time_ns() if past.submitted is None else int(past.submitted * 1e9)
    return Start(store, f"{STARTS}/{name}")


def begun(
    store: Store, found: Checkpoint | None, steps: int, group: ProcessGroup, heart: Heart | None
) -> tuple[Timeline, Start | None]:
    """The run's clock, and on rank 0 this start of it.

    The clock goes on from a checkpoint, or began with the first start that left a trace.

    Args:
        store: of the run.
        found: the checkpoint that it goes on from, if any.
        steps: of the run; where they are done there is nothing to start.
        group: this rank.
        heart: whose listener knows of the time before.

    Raises:
        StorageError: the starts cannot be listed, or what the checkpoint says of its time is damaged.
    """
    past = heart.take_past() if heart else Past()
    mine = start_of(store, past) if group.rank == 0 and not (found and found.step >= steps) else None
    if found is not None:
        return timeline_of(store, found, past), mine
    names = (name.removeprefix(f"{STARTS}/") for name in store.list(f"{STARTS}/"))
    times = [int(name) / 1e9 for name in names if name.isdigit()]
    return Timeline.begin(first=min(times, default=None), past=past), mine
