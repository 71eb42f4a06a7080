"""METRICS: every series that a run exports, in one table. Exporter, dashboards, alerts and tests read it.

A row exists only when something emits it today: a metric that a later part will fill is added with that
part, so that an empty panel always means a fault. Every series also carries BASE_LABELS.
Names are `commonfate_<noun>_<unit>`, in base units; counters end in `_total`; plain numbers name no unit.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from monitoring.run_state import ACTIVITIES, RunState

BASE_LABELS = ("run", "rank")
UNITS = ("per_second", "seconds", "bytes", "ratio", "pixels")  # longest suffix first
PHASES = ("data", "forward", "backward", "optimiser", "communication")
OPEN: tuple[str, ...] = ()  # a label whose values are only known at run time (loss terms, names of scores)

_STEP_BUCKETS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
_SAVE_BUCKETS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)


@dataclass(frozen=True)
class Metric:
    """One row. `labels` maps each label beyond the base ones to its allowed values, OPEN = any."""

    name: str
    kind: Literal["gauge", "counter", "histogram"]
    emitter: Literal["loop", "loader", "checkpoint", "evaluation"]
    help: str
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    buckets: tuple[float, ...] = ()  # upper bounds, histograms only
    ranks: Literal["every", "first"] = "every"  # first = only rank 0 knows it

    def __post_init__(self) -> None:
        """Raises ValueError where the row breaks the naming rules above."""
        if not self.name.startswith("commonfate_"):
            raise ValueError(f"metric {self.name}: the name must begin with commonfate_")
        if (self.kind == "counter") != self.name.endswith("_total"):
            raise ValueError(f"metric {self.name}: counters, and only counters, end in _total")
        if (self.kind == "histogram") != bool(self.buckets):
            raise ValueError(f"metric {self.name}: histograms, and only histograms, have buckets")
        if set(BASE_LABELS) & self.labels.keys():
            raise ValueError(f"metric {self.name}: {BASE_LABELS} are on every row already")

    @property
    def unit(self) -> str:
        """The unit in the name; "" for a plain number or a count."""
        stem = self.name.removesuffix("_total")
        return next((unit for unit in UNITS if stem.endswith(f"_{unit}")), "")


_PHASE = {"phase": PHASES}
_SCORE = {"score": OPEN, "split": OPEN}
_STATE = {"state": tuple(RunState)}
_ACTIVITY = {"activity": ACTIVITIES}
_PART = {"part": ("stall", "total")}

_ROWS = (
    # What is learned.
    Metric("commonfate_loss", "gauge", "loop", "Loss of the last step, mean over ranks"),
    Metric("commonfate_loss_term", "gauge", "loop", "Named part of the loss", {"term": OPEN}),
    Metric("commonfate_learning_rate", "gauge", "loop", "Learning rate of the last step"),
    Metric("commonfate_gradient_norm", "gauge", "loop", "L2 norm of the whole gradient before clipping"),
    Metric("commonfate_weights_divergence", "gauge", "loop", "1 = the last check found ranks that differ"),
    Metric("commonfate_evaluation_score", "gauge", "evaluation", "Last score, in its own unit", _SCORE),
    # Progress and speed.
    Metric("commonfate_step", "gauge", "loop", "Optimiser steps done"),
    Metric("commonfate_epoch", "gauge", "loop", "Passes over the training split done, fractional"),
    Metric("commonfate_samples_total", "counter", "loop", "Clips that this rank has trained on"),
    Metric("commonfate_samples_per_second", "gauge", "loop", "Clips per second of all ranks, last interval"),
    Metric("commonfate_step_seconds", "histogram", "loop", "Time of a step", buckets=_STEP_BUCKETS),
    Metric("commonfate_step_phase_seconds", "histogram", "loop", "Time of its phases", _PHASE, _STEP_BUCKETS),
    # FLOPs that the model needs, whatever rematerialisation computes again.
    Metric("commonfate_model_flops_per_second", "gauge", "loop", "Model FLOP/s of this rank"),
    Metric("commonfate_model_flops_utilisation_ratio", "gauge", "loop", "Model FLOP/s over peak"),
    # On CPU, where there is no device memory, the peak is that of the process.
    Metric("commonfate_peak_memory_bytes", "gauge", "loop", "Most device memory allocated since the start"),
    Metric("commonfate_resident_memory_bytes", "gauge", "loop", "Resident memory of the process now"),
    # Where the time goes, since the run first started: its activities add up to the wall time. A process leaves as
    # soon as it has entered a final state, mostly before that is scraped: a run that has ended is one whose series end.
    Metric("commonfate_run_state", "gauge", "loop", "1 for the present state, else 0", _STATE),
    Metric("commonfate_goodput_ratio", "gauge", "loop", "Productive over wall time, restarts included"),
    Metric("commonfate_run_activity_seconds", "gauge", "loop", "Wall time by what became of it", _ACTIVITY),
    Metric("commonfate_restarts", "gauge", "loop", "Times that it began to train again", ranks="first"),
    # Data.
    Metric("commonfate_data_wait_seconds_total", "counter", "loop", "Time that steps waited for data"),
    Metric("commonfate_loader_samples_total", "counter", "loader", "Clips decoded"),
    Metric("commonfate_loader_bytes_total", "counter", "loader", "Bytes read from the store"),
    Metric("commonfate_loader_retries_total", "counter", "loader", "Reads that had to be repeated"),
    Metric("commonfate_loader_damaged_samples_total", "counter", "loader", "Damaged clips that were skipped"),
    # Checkpoints: what the step waited (stall), until complete on the store (total).
    Metric(
        "commonfate_checkpoint_save_seconds",
        "histogram",
        "checkpoint",
        "Time of a save",
        _PART,
        _SAVE_BUCKETS,
    ),
    Metric("commonfate_checkpoint_bytes", "gauge", "checkpoint", "Size of the newest", ranks="first"),
    Metric("commonfate_checkpoint_last_step", "gauge", "checkpoint", "Step of the newest"),
    # Health of the slots: the signs of a model that has collapsed.
    Metric("commonfate_slot_mask_area_ratio", "gauge", "loop", "Share of the frame; not 0, not 1"),
    Metric("commonfate_slot_active", "gauge", "loop", "Slots whose mask is not empty"),
    Metric("commonfate_slot_duplicate_iou_ratio", "gauge", "loop", "Overlap; near 1 = an object held twice"),
    Metric(
        "commonfate_slot_order_entropy_ratio", "gauge", "loop", "Doubt in the depth order; 0 = a sure order"
    ),
    Metric("commonfate_slot_motion_pixels", "gauge", "loop", "Displacement per frame; 0 = motion ignored"),
)

METRICS: Mapping[str, Metric] = {row.name: row for row in _ROWS}
