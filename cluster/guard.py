"""Guard: the driver's, against a group of workers that hangs: names who is behind, keeps the stacks, ends the group."""

import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import ray

from cluster.board import Heard, Place
from cluster.config import ClusterConfig
from cluster.hangs import Hang, Seen, Watcher, narrowed
from cluster.losses import called
from cluster.stacks import Stacks, innermost, stacks, waits, write_down
from trainer.journal import local_folder

FOLDER = "stacks"  # below a run's own files

_ANSWER_S = 5.0  # for a worker to show its stacks
_END_S = 15.0  # for Ray to notice that the group was ended


class Guard:
    """Judges heartbeats.

    Args:
        config: of the run.
        board: told of the time that was lost so.
    """

    def __init__(self, config: ClusterConfig, board: Any) -> None:
        self._config, self._board = config, board
        self._watcher = Watcher(config.data.deadline)
        self._hang: Hang | None = None
        self._ended_at = -float("inf")

    def taken(self) -> Hang | None:
        """The hang for which the group was ended that is now lost; None = it was not."""
        hang, self._hang = self._hang, None
        return hang

    def look(self, heard: Mapping[int, Heard], places: Mapping[int, Place]) -> Iterator[str]:
        """Look at the heartbeats of a group; where it hangs, end it. What is to be said of it."""
        if self._hang is not None and time.monotonic() - self._ended_at < _END_S:
            return
        seen = {rank: Seen(each.beat, each.age_s) for rank, each in heard.items()}
        hang = self._watcher.look(seen, len(places))
        if hang is None:
            return
        yield from self._end(hang, places)

    def _end(self, hang: Hang, places: Mapping[int, Place]) -> Iterator[str]:
        silent = hang.ranks if hang.kind == "stopped" else ()
        found = _ask({rank: place.actor for rank, place in places.items() if rank not in silent})
        hang = narrowed(hang, {rank: waits(each) for rank, each in found.items()})
        self._hang, self._ended_at = hang, time.monotonic()
        who = "; ".join(called(rank, places.get(rank)) for rank in hang.ranks)
        place = next((f" at {innermost(found[rank])}" for rank in hang.ranks if rank in found), "")
        yield f"the run does not come forward: {who} {hang.words()}{place}; ending its workers"
        if found:
            try:
                path = write_down(self._folder(), time.strftime("%Y%m%d-%H%M%S"), found)
                yield f"the stacks of {len(found)} workers are in {path}"
            except OSError as error:
                yield f"the stacks of the workers cannot be written: {error}"
        now = time.time()
        self._board.stall.remote(now - hang.seconds, now)
        for each in places.values():
            with suppress(ray.exceptions.RayError):
                ray.kill(each.actor)

    def _folder(self) -> Any:
        return local_folder(self._config.output) / FOLDER


def _ask(actors: Mapping[int, Any]) -> dict[int, Stacks]:
    """The stacks of those that answer."""
    asked = {actor.execute.remote(stacks): rank for rank, actor in actors.items()}
    if not asked:
        return {}
    done, _ = ray.wait(list(asked), num_returns=len(asked), timeout=_ANSWER_S)
    found = {}
    for each in done:
        with suppress(ray.exceptions.RayError):
            found[asked[each]] = ray.get(each, timeout=_ANSWER_S)
    return found
