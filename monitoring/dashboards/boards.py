"""BOARDS: what each dashboard shows. Panels made by hand come first; then each series of its groups that none shows."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from monitoring.catalogue import METRICS, Group
from monitoring.dashboards.panel import WINDOW, Panel, Query, growth, named, of_run, over, panel_of


@dataclass(frozen=True)
class Board:
    """One dashboard. `uid` is a part of its address in Grafana, and of its file's name."""

    uid: str
    title: str
    help: str
    groups: tuple[Group, ...]
    made: tuple[Panel, ...] = ()

    @property
    def panels(self) -> tuple[Panel, ...]:
        """All, in reading order."""
        shown = {
            name for panel in self.made for query in panel.queries for name in names_in(query.expression)
        }
        rest = (row for row in METRICS.values() if row.group in self.groups and row.name not in shown)
        return self.made + tuple(panel_of(row) for row in rest)


def names_in(expression: str) -> Iterator[str]:
    """The catalogue's rows that an expression reads."""
    for name in re.findall(r"commonfate_\w+", expression):
        yield name if name in METRICS else re.sub(r"_(bucket|count|sum)$", "", name)


_SPENT = over("avg", ("activity",), f"clamp_min(delta({of_run('run_activity_seconds')}[{WINDOW}]), 0)")
_PHASES = over("avg", ("phase",), growth("step_phase_seconds", "_sum"))
_STEPS = growth("step_seconds", "_count")


def _share(parts: str) -> str:
    return f"{parts} / on () group_left () sum({parts})"


def _by_rank(part: str, whole: str) -> tuple[Query, ...]:
    """A rank's quotient of two rates."""
    return (Query(f"{over('sum', ('rank',), part)} / {over('sum', ('rank',), whole)}", "rank {{rank}}"),)


_GOODPUT = Panel(
    "Goodput",
    "Productive over wall time since the run's first start, restarts included",
    (Query(f"avg({of_run('goodput_ratio')})", "whole run"),),
    "percentunit",
    "number",
    4,
    4,
)

_RUN = (
    Panel(
        "State",
        "What the run does now",
        (Query(f"max by (state) ({of_run('run_state')}) == 1", "{{state}}"),),
        look="names",
        width=4,
        height=4,
    ),
    Panel(
        "Steps done",
        "Optimiser steps, of those planned",
        (Query(f"max({of_run('step')}) / max({of_run('steps_planned')})", "done"),),
        "percentunit",
        "number",
        4,
        4,
    ),
    Panel(
        "Time left",
        "Until the last step, at the pace of the last minutes; evaluations and saves come on top",
        (
            Query(
                f"(max({of_run('steps_planned')}) - max({of_run('step')})) / avg({growth('step_seconds', '_count')})",
                "left",
            ),
        ),
        "s",
        "number",
        4,
        4,
    ),
    _GOODPUT,
    Panel(
        "Times begun again",
        "Starts of the run but the first",
        (Query(f"max({of_run('restarts')})", "restarts"),),
        look="number",
        width=4,
        height=4,
    ),
    Panel(
        "What runs",
        "Recipe, digest of its config, revision of the code, number of ranks",
        (
            Query(
                over("max", ("recipe", "digest", "revision", "world"), of_run("run_info")),
                "{{recipe}} {{digest}} at {{revision}} on {{world}}",
            ),
        ),
        look="names",
        width=4,
        height=4,
    ),
    *named("loss", "loss_term", width=12),
    *named("evaluation_score"),
    Panel(
        "Since the last step",
        "Rises while no step is done: in evaluations, in saves, and when something hangs",
        (Query(f"time() - max({of_run('step_last_time_seconds')})", "silence"),),
        "s",
    ),
    *named("samples_per_second", "model_flops_utilisation_ratio"),
)

_WHY = (
    Panel(
        "Where the time goes",
        "Wall time by what became of it; all of it, as shares of 100 %",
        (Query(_share(_SPENT), "{{activity}}"),),
        "percentunit",
        "shares",
        12,
        9,
    ),
    Panel(
        "Where a step's time goes",
        "Phases of steps, mean over ranks, as shares of 100 %; communication includes waiting for the slowest",
        (Query(_share(_PHASES), "{{phase}}"),),
        "percentunit",
        "shares",
        12,
        9,
    ),
    Panel(
        "Whole run by activity",
        "Wall time since the run's first start, by what became of it",
        (Query(over("avg", ("activity",), of_run("run_activity_seconds")), "{{activity}}"),),
        "s",
    ),
    Panel(
        "Share of steps spent waiting for data",
        "Above a third the data is what makes the run slow; see the board Data",
        _by_rank(growth("data_wait_seconds_total"), growth("step_seconds", "_sum")),
        "percentunit",
    ),
    Panel(
        "Stragglers: time of a forward pass",
        "What each rank needs before it meets the others; a line that lies above the others is one that all wait for",
        _by_rank(
            growth("step_phase_seconds", "_sum", phase="forward"),
            growth("step_phase_seconds", "_count", phase="forward"),
        ),
        "s",
    ),
    Panel(
        "Time of a step",
        "Mean over the window, by rank",
        _by_rank(growth("step_seconds", "_sum"), _STEPS),
        "s",
    ),
    Panel(
        "Steps each second",
        "0 while nothing is learnt",
        (Query(f"avg({_STEPS})", "mean of ranks"),),
        "suffix: /s",
    ),
    Panel(
        "Goodput over time",
        "Productive over wall time since the run's first start, restarts included",
        (Query(f"avg({of_run('goodput_ratio')})", "whole run"),),
        "percentunit",
    ),
    *named("step_seconds"),
)

_INFRASTRUCTURE = (
    Panel(
        "Ranks",
        "Those that answer, of those that the run has",
        (
            Query(f"count({of_run('world_size')})", "there"),
            Query(f"max({of_run('world_size')})", "of"),
        ),
    ),
    Panel(
        "Age of the newest checkpoint",
        "What a loss now would cost; before the first, since training began",
        (Query(f"time() - max({of_run('checkpoint_last_time_seconds')})", "age"),),
        "s",
    ),
    Panel(
        "Free on disks",
        "Of the disk's size, on the fullest machine",
        (
            Query(
                f"min by (place) ({of_run('disk_free_bytes')} / {of_run('disk_size_bytes')})",
                "{{place}}",
            ),
        ),
        "percentunit",
    ),
)

BOARDS: tuple[Board, ...] = (
    Board(
        "commonfate-run",
        "Run",
        "Is it learning, how far is it, how fast",
        ("learning", "progress", "speed"),
        _RUN,
    ),
    Board("commonfate-slow", "Why is it slow", "Wall time by cause, the slowest rank", ("time",), _WHY),
    Board("commonfate-data", "Data", "Reading: waits, bytes, what went wrong", ("data",)),
    Board("commonfate-slots", "Slots", "The signs that a model has collapsed", ("slots",)),
    Board(
        "commonfate-infrastructure",
        "Infrastructure",
        "Ranks, memory, disks, checkpoints",
        ("memory", "checkpoints"),
        _INFRASTRUCTURE,
    ),
)
