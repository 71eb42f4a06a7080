"""RECORDINGS: what alerts share, computed once: times of ranks, the time without a step, where wall time went."""

from monitoring.query import series
from monitoring.rules.rule import WINDOW, Recording

SILENCE = "run:commonfate_silence:seconds"
FORWARD = "rank:commonfate_forward:seconds1m"
WAITING = "run:commonfate_data_wait:ratio1m"
RETRIES = "run:commonfate_loader_retries:increase1m"
AT_WORK = "run:commonfate_at_work:ratio5m"
HANGING = "run:commonfate_hanging:bool"

_LONGEST_S, _STEPS = 30, 10  # without a step: at least so long, and so many steps of a mean length


def _mean(phase: str) -> str:
    """Seconds of a phase, by rank."""
    parts = (series("step_phase_seconds", part, phase=phase) for part in ("_sum", "_count"))
    return " / ".join(f"sum by (run, rank) (rate({part}[{WINDOW}]))" for part in parts)


def _spent(selector: str) -> str:
    return f"sum by (run) (max by (run, activity) (delta({selector}[5m])))"


_STEPS_TAKE = _spent(series("run_activity_seconds", activity="productive|data_wait"))
_PACE = f"max by (run) ({series('step_seconds', '_sum')} / {series('step_seconds', '_count')})"
_TRAINING = f"max by (run) ({series('run_state', state='training')}) == 1"

RECORDINGS = (
    Recording(SILENCE, f"time() - max by (run) ({series('step_last_time_seconds')})"),
    # It trains, but no step is done.
    Recording(
        HANGING,
        f"({SILENCE} > clamp_min({_STEPS} * {_PACE}, {_LONGEST_S})) and on (run) ({_TRAINING})",
    ),
    Recording(FORWARD, _mean("forward")),
    # Of the rank that waits the most: all others wait for it.
    Recording(
        WAITING,
        f"max by (run) (sum by (run, rank) (rate({series('data_wait_seconds_total')}[{WINDOW}])) / "
        f"sum by (run, rank) (rate({series('step_seconds', '_sum')}[{WINDOW}])))",
    ),
    Recording(RETRIES, f"sum by (run) (increase({series('loader_retries_total')}[{WINDOW}]))"),
    # In steps, whatever they waited for: what else costs time is meant.
    Recording(AT_WORK, f"{_STEPS_TAKE} / {_spent(series('run_activity_seconds'))}"),
)
