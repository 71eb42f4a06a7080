"""Rules on the lines of a run, and what they say of it."""

from typing import Any

import pytest

from trainer.stages import Outcome, Rule, Stage, Streak, Watch


def line(step: int, loss: float, **terms: float) -> dict[str, Any]:
    return {"step": step, "loss": loss, "gradient_norm": 1.0, "terms": terms, "step_s": 0.1}


def scored(step: int, **scores: float) -> dict[str, Any]:
    return {"step": step, "split": "val", "scores": scores}


def held(rule: Rule, lines: list[dict[str, Any]], unknown: bool = False) -> int | None:
    streak = Streak(rule, unknown=unknown)
    for one in lines:
        streak.read(one)
    return streak.held


LINES = [line(1, 5.0), line(2, 3.0), scored(2, psnr=20.0), line(3, 4.0), line(4, 3.0), line(5, 2.0)]


@pytest.mark.parametrize(
    ("rule", "step"),
    [
        (Rule(metric="loss", below=4.0), 2),
        (Rule(metric="loss", below=3.0), 5),
        (Rule(metric="loss", at_least=5.0), 1),
        (Rule(metric="loss", below=4.0, lines=2), 5),
        (Rule(metric="loss", below=4.0, after=3), 4),
        (Rule(metric="loss", below=4.0, after=3, lines=2), 5),
        (Rule(metric="loss", below=1.0), None),
        (Rule(metric="gradient_norm", at_least=1.0, lines=5), 5),
        (Rule(metric="scores.psnr", at_least=20.0), 2),
        (Rule(metric="scores.psnr", at_least=20.0, lines=2), None),
    ],
)
def test_a_rule_holds_from_the_first_line_that_says_so(rule: Rule, step: int | None) -> None:
    assert held(rule, LINES) == step


def test_lines_with_other_numbers_do_not_break_a_row() -> None:
    rule = Rule(metric="terms.slot_active", below=1.0, lines=2)
    lines = [line(1, 1.0, slot_active=0.5), scored(1, psnr=1.0), line(2, 1.0, slot_active=0.5)]
    assert held(rule, lines) == 2


def test_a_score_that_had_nothing_to_measure_says_nothing() -> None:
    rule = Rule(metric="scores.fg_ari", at_least=0.5, lines=2)
    nothing: dict[str, Any] = {"step": 2, "split": "val", "scores": {"fg_ari": None}}
    for unknown in (True, False):
        assert held(rule, [scored(1, fg_ari=0.9), nothing], unknown) is None
        assert held(rule, [scored(1, fg_ari=0.9), nothing, scored(3, fg_ari=0.9)], unknown) == 3


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_a_collapse_and_never_a_success(value: float) -> None:
    assert held(Rule(metric="loss", at_least=9.0), [line(1, value)], unknown=True) == 1
    assert held(Rule(metric="loss", at_least=9.0), [line(1, value)]) is None


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"metric": "loss"}, "give one of below and at_least"),
        ({"metric": "loss", "below": 1, "at_least": 0}, "give one of below and at_least"),
        ({"metric": "step_s", "below": 1}, r"needs loss, gradient_norm, terms\.NAME or scores\.NAME"),
        ({"metric": "loss", "below": 1, "lines": 0}, "greater than or equal to 1"),
    ],
)
def test_rules_that_are_none_are_refused(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Rule(**fields)


def watch(until: Rule | None = None, *again: Rule, log_steps: int = 2, steps: int = 9) -> Watch:
    return Watch(Stage(until=until, again=again), log_steps, steps)


LOW, HIGH = Rule(metric="loss", below=1.0), Rule(metric="loss", at_least=9.0)


def test_a_stage_ends_a_step_after_the_line_with_which_its_rule_first_held() -> None:
    seen = watch(LOW)
    for step, loss in ((2, 3.0), (4, 0.5), (6, 3.0)):
        seen.read(line(step, loss))
        assert seen.over() == (step >= 4)
    assert [seen.verdict(newest, False).outcome for newest in (0, 4, 5, 6)] == [
        Outcome.ONGOING,  # killed before the checkpoint of its end: goes on from what there is
        Outcome.ONGOING,
        Outcome.DONE,
        Outcome.DONE,  # the rule was another one then
    ]
    assert seen.verdict(5, False).why == "loss below 1 at step 4"


def test_a_rule_that_holds_with_the_last_line_ends_no_later_than_the_steps() -> None:
    seen = watch(LOW)
    seen.read(line(9, 0.5))  # the last line is due whatever log_steps says
    assert seen.verdict(9, False).outcome is Outcome.DONE


def test_a_line_that_only_a_stop_has_written_does_not_count() -> None:
    seen = watch(LOW)
    seen.read(line(3, 0.5))
    assert not seen.over()
    assert seen.verdict(3, False).outcome is Outcome.ONGOING


@pytest.mark.parametrize(
    ("values", "outcome"),
    [((0.5, 10.0), Outcome.DONE), ((10.0, 0.5), Outcome.COLLAPSED), ((3.0, 10.0), Outcome.COLLAPSED)],
)
def test_the_rule_that_holds_first_counts(values: tuple[float, float], outcome: Outcome) -> None:
    seen = watch(LOW, HIGH)
    for step, value in zip((2, 4), values, strict=True):
        seen.read(line(step, value))
    assert seen.over()
    assert seen.verdict(9, False).outcome is outcome


def test_a_collapse_needs_no_checkpoint_and_wins_a_tie() -> None:
    seen = watch(LOW, Rule(metric="scores.psnr", below=10.0))
    seen.read(line(4, 0.5))
    seen.read(scored(4, psnr=5.0))
    assert seen.verdict(0, False).outcome is Outcome.COLLAPSED


@pytest.mark.parametrize(("loss", "psnr"), [(10.0, 20.0), (3.0, 5.0)])
def test_any_of_several_rules_is_a_collapse(loss: float, psnr: float) -> None:
    seen = watch(None, Rule(metric="scores.psnr", below=10.0), HIGH)
    seen.read(line(4, 3.0))
    seen.read(scored(4, psnr=20.0))
    assert not seen.over()
    seen.read(line(6, loss))
    seen.read(scored(6, psnr=psnr))
    assert seen.over()
    told = "loss at least 9 at step 6" if loss > 9 else "scores.psnr below 10 at step 6"
    assert seen.verdict(0, False).why == told


def test_one_rule_is_written_as_it_was_when_there_could_be_no_more() -> None:
    """So that a chain that has begun keeps its digest."""
    written = {"metric": "loss", "below": None, "at_least": 9.0, "lines": 1, "after": 0}
    for given, again in (
        (None, None),
        (written, written),
        ([written], written),
        ([written] * 2, [written] * 2),
    ):
        stage = Stage.model_validate({"again": given})
        assert stage.model_dump(mode="json")["again"] == again
        assert Stage.model_validate(stage.model_dump(mode="json")) == stage


def test_scores_that_are_due_at_the_last_step_may_still_say_collapse() -> None:
    """A kill between the last checkpoint and its scores must not decide otherwise than they would."""
    seen = watch(LOW, Rule(metric="scores.psnr", below=10.0))
    seen.read(line(9, 0.5))
    assert seen.verdict(9, True).outcome is Outcome.ONGOING
    seen.read(scored(9, psnr=5.0))
    assert seen.verdict(9, True).outcome is Outcome.COLLAPSED


def test_a_name_with_dots_is_one_name() -> None:
    seen = watch(Rule(metric="terms.a.b", below=1.0))
    seen.read({"step": 2, "loss": 1.0, "terms": {"a": 0.5}})
    with pytest.raises(
        ValueError, match=r"^until\.metric: got terms\.a\.b, which is not measured; have terms\.a$"
    ):
        seen.verdict(0, False)


def test_a_stage_is_not_done_before_its_last_scores_are_there() -> None:
    seen = watch()
    assert seen.verdict(8, False).outcome is Outcome.ONGOING
    assert seen.verdict(9, True).outcome is Outcome.ONGOING
    seen.read(scored(9, psnr=5.0))
    assert seen.verdict(9, True).outcome is Outcome.DONE
    assert seen.verdict(9, True).why == "9 steps"


def test_a_rule_about_what_is_not_measured_ends_the_run_and_is_told() -> None:
    seen = watch(None, Rule(metric="terms.slot_actve", below=1.0))
    assert not seen.over()
    seen.read(line(2, 3.0, slot_active=1.0, sparsity=0.0))
    assert seen.over()
    with pytest.raises(ValueError) as told:
        seen.verdict(0, False)
    assert str(told.value) == (
        "again.metric: got terms.slot_actve, which is not measured; have terms.slot_active, terms.sparsity"
    )
