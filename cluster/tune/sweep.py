"""run_sweep(): the trials of a plan on the connected Ray, through Ray Tune: each the driver of a Ray Train run."""

import io
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from pathlib import Path
from threading import Event, Thread
from typing import Any

import ray
from ray import tune
from ray.tune.search import Searcher
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cluster.tune.choosers import chooser_of
from cluster.tune.entrant import Entrant
from cluster.tune.judges import judge_of
from cluster.tune.plan import Plan
from cluster.tune.record import Record
from cluster.tune.trial import Errand, run_trial
from cluster.tune.umpire import Umpire
from data_shards.scratch import scratch_folder

_LOOK_S = 0.3
_ANSWER_S = 60.0
_SHARE = 0.001  # of the driver's node: enough to be placed there, and of no other use


def run_sweep(
    plan: Plan, *, embedded: bool, targets: str | None = None, say: Callable[[str], None]
) -> list[Entrant]:
    """Run what is left of a sweep; returns how all its trials have ended.

    Args:
        plan: of the sweep, whose output is this process's.
        embedded: whether Ray is on this machine alone.
        targets: URL to announce the workers' metrics to; None = what the config says.
        say: called with each sentence for the user.

    Raises:
        Refused: what is recorded of the sweep cannot be gone on with.
    """
    record = Record(plan.config.output)
    Umpire(plan, judge_of(plan), chooser_of(plan), record)  # in an actor it would be refused with a trace
    umpire = _open_umpire(plan, record)
    folder = os.getcwd() if embedded else None
    errand = Errand(plan, umpire, embedded, folder, targets)
    # Tune prints, and insists on writing.
    quiet = nullcontext() if plan.config.ray.verbose else redirect_stdout(io.StringIO())
    with scratch_folder("tune") as scratch, _passing_on(umpire, say), quiet:
        _tuner(plan, errand, scratch).fit()
    entrants: list[Entrant] = ray.get(umpire.entrants.remote(), timeout=_ANSWER_S)
    return entrants


class Entrants(Searcher):
    """Gives Ray Tune the trials that the umpire lets begin, and tells it of those whose driver is gone."""

    def __init__(self, umpire: Any) -> None:
        super().__init__()
        self._umpire = umpire
        self._numbers: dict[str, int] = {}

    def suggest(self, trial_id: str) -> Any:
        """The next trial: its number is all that it is told here."""
        answer = ray.get(self._umpire.next.remote(), timeout=_ANSWER_S)
        if answer == "done":
            return Searcher.FINISHED
        if answer == "later":
            return None
        self._numbers[trial_id] = answer
        return {"number": answer}

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        """Its driver has ended. One that was heard out has nothing to fail of any more."""
        self._umpire.fail.remote(self._numbers[trial_id], "its driver is gone")

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the umpire keeps the record."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing."""


def _open_umpire(plan: Plan, record: Record) -> Any:
    """The umpire, on the driver's machine; it lives as long as the driver."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    actor: Any = ray.remote(Umpire).options(num_cpus=0, scheduling_strategy=here)
    return actor.remote(plan, judge_of(plan), chooser_of(plan), record)


def _tuner(plan: Plan, errand: Errand, scratch: Path) -> tune.Tuner:
    # Drivers take no core: the workers do, whom each driver's run asks for.
    address = ray.util.get_node_ip_address()
    driver = tune.with_parameters(run_trial, errand=errand)
    return tune.Tuner(
        tune.with_resources(driver, {"CPU": 0, f"node:{address}": _SHARE}),
        tune_config=tune.TuneConfig(
            search_alg=Entrants(errand.umpire),
            num_samples=-1,  # until the umpire says that there are no more
            max_concurrent_trials=plan.at_once,
        ),
        run_config=tune.RunConfig(name=f"sweep-{time.time_ns()}", storage_path=str(scratch), verbose=0),
    )


@contextmanager
def _passing_on(umpire: Any, say: Callable[[str], None]) -> Iterator[None]:
    """Within the context, what the umpire has to say is said, from a thread: Tune has this one."""
    over = Event()

    def pass_on() -> None:
        while True:
            last = over.wait(_LOOK_S)
            try:
                told: list[str] = ray.get(umpire.heard.remote(), timeout=_ANSWER_S)
            except ray.exceptions.RayError:  # it ends with Ray, when the sweep is interrupted
                return
            for text in told:
                say(text)
            if last:
                return

    thread = Thread(target=pass_on, name="umpire", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(_ANSWER_S)
