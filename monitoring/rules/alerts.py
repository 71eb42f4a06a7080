"""ALERTS: what Prometheus warns of, a row each. A cause has one alert: what it explains besides is silent."""

from monitoring.query import series
from monitoring.rules.recordings import AT_WORK, FORWARD, HANGING, RETRIES, WAITING
from monitoring.rules.rule import Alert

# Of Prometheus, not of ours: 0 where a target does not answer. Its file says whose it is.
_MUTE = 'count by (run) (up{job="commonfate", run!=""} == 0)'


def _of_run(name: str, how: str = "max") -> str:
    return f"{how} by (run) ({series(name)})"


def _not_finite(name: str) -> str:
    return f"({series(name)} * 0 != 0)"


_OTHERS = f"(sum by (run) ({FORWARD}) - on (run) group_right () {FORWARD})"
_COUNT = f"(count by (run) ({FORWARD}) - 1)"
_FREE = f"min by (run, place) ({series('disk_free_bytes')} / {series('disk_size_bytes')})"
_RUNS_OUT = f"min by (run, place) (predict_linear({series('disk_free_bytes')}[10m], 3600)) < 0"

ALERTS = (
    Alert(
        "CommonfateStalled",
        f"{HANGING} unless on (run) {_MUTE}",
        10,
        "page",
        "it trains, every rank answers, and no step is done",
        "Mostly the store or a collective: see the boards Data and Why is it slow, and the log of the driver.",
    ),
    Alert(
        "CommonfateHang",
        f"{HANGING} and on (run) {_MUTE}",
        10,
        "page",
        "a rank does not answer, and the others wait for it",
        "In Prometheus `up == 0` names the rank; its process is stopped, or its machine is not reached.",
    ),
    Alert(
        "CommonfateNonFiniteLoss",
        f"count by (run) ({_not_finite('loss')} or {_not_finite('gradient_norm')})",
        0,
        "page",
        "the loss, or the gradient, is no finite number",
        "Lower optim.lr or set optim.clip_norm, and go on from the newest checkpoint.",
    ),
    Alert(
        "CommonfateDataBound",
        f"{WAITING} > 0.3 unless on (run) {RETRIES} > 2",
        15,
        "look",
        "steps wait for data {{ $value | humanizePercentage }} of their time",
        "Raise data.workers or data.ahead, or bring the set nearer; see the board Data.",
    ),
    Alert(
        "CommonfateStraggler",
        f"{FORWARD} * on (run) group_left () {_COUNT} > 1.5 * {_OTHERS}",
        15,
        "look",
        "rank {{ $labels.rank }} needs half as long again as the others, which wait for it",
        "Look at that rank's machine: clocks, temperature, other work on it.",
    ),
    Alert(
        "CommonfateSlotCollapse",
        f"({_of_run('slot_active')} < 0.5 or {_of_run('slot_mask_area_ratio', 'min')} > 0.95 or "
        f"{_of_run('slot_duplicate_iou_ratio', 'min')} > 0.9) and on (run) {_of_run('step')} > 100",
        30,
        "look",
        "its slots are empty, hold all, or all the same",
        "See the board Slots; start again with another seed, or from an earlier checkpoint.",
    ),
    Alert(
        "CommonfateRankDivergence",
        f"{_of_run('weights_divergence')} > 0",
        0,
        "page",
        "its ranks hold different weights",
        "Restart the run; if it comes back, a machine computes wrong.",
    ),
    Alert(
        "CommonfateCheckpointTooOld",
        f"{_of_run('step')} - {_of_run('checkpoint_last_step')} > 1.5 * {_of_run('checkpoint_interval')} "
        f"and on (run) time() - {_of_run('checkpoint_last_time_seconds')} > 60",
        15,
        "page",
        "a checkpoint is missing: {{ $value }} steps would be lost",
        "The store does not take saves, or not in time: see the board Infrastructure and the log.",
    ),
    Alert(
        "CommonfateStoreErrors",
        f"{RETRIES} > 2",
        15,
        "look",
        "reads of the store have to be repeated",
        "The store is slow, or out now and then: see the board Data.",
    ),
    Alert(
        "CommonfateGoodputLow",
        f"{AT_WORK} < 0.5",
        30,
        "look",
        "only {{ $value | humanizePercentage }} of the last five minutes were spent in steps",
        "See the board Why is it slow: evaluations, saves, restarts.",
    ),
    Alert(
        "CommonfateDiskFilling",
        f"{_FREE} < 0.03 or ({_FREE} < 0.15 and {_RUNS_OUT})",
        30,
        "page",
        "the disk of its {{ $labels.place }} is full, or will be within the hour",
        "Free some of it: a save that finds no room fails, and two end the run.",
    ),
    Alert(
        "CommonfateWorkerMissing",
        f"({_MUTE} or ({_of_run('world_size')} > {_of_run('world_size', 'count')})) unless on (run) {HANGING}",
        45,
        "page",
        "a rank is gone",
        "Its machine was lost, or the run was resized; see the log of the driver.",
    ),
)
