"""The umpire among trials that are not there: whatever comes first, and wherever it is killed, it decides the same."""

import random
from pathlib import Path
from typing import Any

import pytest

from cluster.tune.choosers import chooser_of
from cluster.tune.entrant import Entrant
from cluster.tune.judges import judge_of
from cluster.tune.plan import Plan
from cluster.tune.record import Record
from cluster.tune.umpire import Umpire
from data_shards.exits import Refused
from tests.cluster.tune.plans import plan_to

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def open_umpire(plan: Plan) -> Umpire:
    return Umpire(plan, judge_of(plan), chooser_of(plan), Record(plan.config.output))


def score(entrant: Entrant, step: int) -> float:
    """Like a curve of training: the best rate is 1e-3, and it gets better."""
    rate = entrant.values["optim.lr"]
    return 20 - abs(rate - 1e-3) * 500 - 40 / (step + 5) + entrant.number / 1000


class Game:
    """Trials of any speed. `kills`: so often the umpire is lost and opened again, with all that is not on record."""

    def __init__(self, plan: Plan, seed: int, kills: int = 0) -> None:
        self.plan, self.dice = plan, random.Random(seed)
        self.umpire = open_umpire(plan)
        self.running: dict[int, tuple[int, int]] = {}  # by number: take, and the step it has reached
        self.most = 0
        self.fails: dict[int, int] = {}
        while self.turn():
            if kills and self.dice.random() < 0.05:
                kills -= 1
                self.umpire, self.running = open_umpire(plan), {}

    def turn(self) -> bool:
        """Something happens; False once all is over."""
        told = self.umpire.next()
        if isinstance(told, int):
            self.running[told] = (self.umpire.entrant(told).take, 0)
        running = sum(entrant.state == "running" for entrant in self.umpire.entrants())
        self.most = max(self.most, running)
        if not self.running:
            return told != "done"
        number = self.dice.choice(sorted(self.running))
        take, step = self.running[number]
        step = step or self.umpire.entrant(number).source_step
        every = self.plan.config.evaluation.steps
        if (failing := self.fails.get(number)) and step + every >= failing:
            said = self.umpire.fail(number, "its loss is nan")
        else:
            entrant = self.umpire.entrant(number)
            said = self.umpire.offer(number, take, step + every, score(entrant, step + every))
        if said == "on":
            self.running[number] = (take, step + every)
        elif said == "over":
            del self.running[number]
        elif said == "change":
            self.running[number] = (self.umpire.entrant(number).take, 0)
        return True

    @property
    def table(self) -> list[Any]:
        return [vars(entrant) for entrant in self.umpire.entrants()]


class Failing(Game):
    """Trial 1 fails before step 30, trial 2 at once."""

    def turn(self) -> bool:
        self.fails = {1: 30, 2: 10}
        return super().turn()


CASES: list[dict[str, Any]] = [
    {},
    {"schedule": "asha"},
    {"schedule": "asha", "at_once": 3, "reduction": 3, "grace": 20},
    {"schedule": "asha", "search": "optuna"},
    {"schedule": "pbt", "at_once": 8, "grace": 20},
]


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("game", [Game, Failing])
def test_neither_speed_nor_kills_change_what_comes_of_a_sweep(
    case: dict[str, Any], game: type[Game], tmp_path: Path
) -> None:
    tables = []
    for seed, kills in ((0, 0), (1, 0), (2, 1), (3, 5)):
        plan = plan_to(str(tmp_path / str(seed)), **case)
        played = game(plan, seed, kills)
        tables.append((played.table, Record(plan.config.output).read()))
        assert played.most <= plan.at_once
    assert all(table == tables[0] for table in tables)
    states = {row["state"] for row in tables[0][0]}
    assert len(tables[0][0]) == 8
    assert ("stopped" in states) == (case.get("schedule") == "asha")
    assert ("failed" in states) == (game is Failing)


def played(tmp_path: Path, **case: Any) -> Game:
    return Game(plan_to(str(tmp_path), **case), 0)


def test_halving_saves_steps_and_keeps_the_best(tmp_path: Path) -> None:
    whole = played(tmp_path / "none").umpire.entrants()
    halved = played(tmp_path / "asha", schedule="asha").umpire.entrants()
    assert sum(each.step for each in halved) < 0.8 * sum(each.step for each in whole)

    def last(entrant: Entrant) -> float:
        return entrant.score or 0.0

    assert max(halved, key=last).number == max(whole, key=last).number
    assert [each.values for each in halved] == [
        each.values for each in whole
    ]  # a random search does not learn


def test_halving_compares_at_its_rungs_alone(tmp_path: Path) -> None:
    entrants = played(tmp_path, schedule="asha", grace=20, reduction=2).umpire.entrants()
    assert {each.step for each in entrants if each.state == "stopped"} <= {20, 40}


def test_the_worse_of_a_population_go_on_from_the_best_with_values_of_the_space(tmp_path: Path) -> None:
    plan = plan_to(str(tmp_path), schedule="pbt", at_once=8, grace=20)
    game = Game(plan, 0)
    taken = [event for event in Record(str(tmp_path)).read() if "from" in event]
    assert len(taken) == 2 * 3  # a quarter of eight, after 20, 40 and 60 steps of 80
    scores = [event for event in Record(str(tmp_path)).read() if event.get("step") == 20]
    ranked = [event["trial"] for event in sorted(scores, key=lambda event: event["score"])]
    assert {event["trial"] for event in taken[:2]} == set(ranked[:2])
    assert {event["from"] for event in taken[:2]} <= set(ranked[-2:])
    for event in taken:
        assert all(
            domain.clipped(event["values"][path]) == event["values"][path]
            for path, domain in plan.space.items()
        )
    moved = [entrant for entrant in game.umpire.entrants() if entrant.take]
    assert all(entrant.folder == f"trial-{entrant.number:02d}-take-{entrant.take}" for entrant in moved)
    assert all(
        entrant.source.startswith("trial-") and entrant.source_step in (20, 40, 60) for entrant in moved
    )


def test_a_trial_that_fails_makes_room_for_the_next(tmp_path: Path) -> None:
    umpire = open_umpire(plan_to(str(tmp_path), trials=3))
    assert [umpire.next(), umpire.next(), umpire.next()] == [0, 1, "later"]
    assert umpire.fail(1, "no room") is None  # it is the turn of trial 0
    assert umpire.offer(0, 0, 10, 1.0) == "on"
    assert umpire.fail(1, "no room") == "over"
    assert umpire.next() == 2
    assert (umpire.entrant(1).state, umpire.entrant(1).why) == ("failed", "no room")
    assert umpire.heard()[-2:][0] == "trial 1 has failed: no room"


def test_a_score_that_is_no_number_is_a_failure(tmp_path: Path) -> None:
    umpire = open_umpire(plan_to(str(tmp_path), trials=1, at_once=1))
    assert umpire.offer(0, 0, 10, float("nan")) == "over"
    assert umpire.entrant(0).why == "val/psnr is nan at step 10"
    assert umpire.next() == 0  # it was about to be started
    assert umpire.next() == "done"


def test_scores_that_come_again_are_not_taken_again(tmp_path: Path) -> None:
    umpire = open_umpire(plan_to(str(tmp_path), trials=1, at_once=1))
    assert [umpire.offer(0, 0, step, 1.0) for step in (10, 20, 10, 20)] == ["on"] * 4
    assert len(Record(str(tmp_path)).read()) == 3


@pytest.mark.parametrize("spoil", [{"values": {}}, {"then": "stopped"}])
def test_a_record_that_does_not_come_about_again_is_refused(spoil: dict[str, Any], tmp_path: Path) -> None:
    plan = plan_to(str(tmp_path), schedule="asha")
    Game(plan, 0)
    record = Record(str(tmp_path))
    events = record.read()
    place = next(i for i, event in enumerate(events) if spoil.keys() <= event.keys())
    events[place] |= spoil
    record.write(events)
    with pytest.raises(Refused, match="does not come about again"):
        open_umpire(plan)
