"""METRICS: every series that a run exports, in one table. Exporter, dashboards, alerts and tests read it.

A row exists only when something emits it today: a metric that a later part will fill is added with that
part, so that an empty panel always means a fault. Every series also carries BASE_LABELS.
Names are `commonfate_<noun>_<unit>`, in base units; counters end in `_total`; plain numbers name no unit.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from monitoring.run_state import ACTIVITIES, RunState

# What a dashboard shows side by side.
Group = Literal["learning", "progress", "speed", "memory", "time", "data", "checkpoints", "slots"]

BASE_LABELS = ("run", "rank")
UNITS = ("per_second", "seconds", "bytes", "ratio", "pixels")  # longest suffix first
PHASES = ("data", "forward", "backward", "optimiser", "communication")
OPEN: tuple[str, ...] = ()  # a label whose values are only known at run time (loss terms, names of scores)

# Upper bounds of buckets, in seconds.
_STEP = (0.001, 0.003, 0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
_SAVE = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)


@dataclass(frozen=True)
class Metric:
    """One row. `labels` maps each label beyond the base ones to its allowed values, OPEN = any."""

    name: str
    kind: Literal["gauge", "counter", "histogram"]
    group: Group
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
_INFO = {"recipe": OPEN, "revision": OPEN, "digest": OPEN, "world": OPEN}
_PLACE = {"place": ("output", "scratch")}

_ROWS = (
    Metric("commonfate_loss", "gauge", "learning", "Loss of the last step, mean over ranks"),
    Metric("commonfate_loss_term", "gauge", "learning", "Named part of the loss", {"term": OPEN}),
    Metric("commonfate_learning_rate", "gauge", "learning", "Learning rate of the last step"),
    Metric("commonfate_gradient_norm", "gauge", "learning", "L2 norm of the whole gradient before clipping"),
    Metric(
        "commonfate_weights_divergence", "gauge", "learning", "1 = the last check found ranks that differ"
    ),
    Metric("commonfate_evaluation_score", "gauge", "learning", "Last score, in its own unit", _SCORE),
    Metric("commonfate_step", "gauge", "progress", "Optimiser steps done"),
    Metric("commonfate_steps_planned", "gauge", "progress", "Optimiser steps of the whole run"),
    # Moves on also where training goes on after a save or an evaluation: what has passed since is a step's.
    Metric("commonfate_step_last_time_seconds", "gauge", "progress", "Unix time of the last step's end"),
    Metric("commonfate_epoch", "gauge", "progress", "Passes over the training split done, fractional"),
    Metric("commonfate_samples_total", "counter", "progress", "Clips that this rank has trained on"),
    # A process leaves as soon as it has entered a final state, mostly before that is scraped: a run that has ended is
    # one whose series end.
    Metric("commonfate_run_state", "gauge", "progress", "1 for the present state, else 0", _STATE),
    Metric("commonfate_restarts", "gauge", "progress", "Times that it began to train again", ranks="first"),
    Metric("commonfate_world_size", "gauge", "progress", "Ranks of the run"),
    Metric("commonfate_run_info", "gauge", "progress", "1; what runs, in its labels", _INFO),
    Metric("commonfate_samples_per_second", "gauge", "speed", "Clips per second of all ranks, last interval"),
    Metric("commonfate_step_seconds", "histogram", "speed", "Time of a step", buckets=_STEP),
    Metric("commonfate_step_phase_seconds", "histogram", "speed", "Time of its phases", _PHASE, _STEP),
    # FLOPs that the model needs, whatever rematerialisation computes again.
    Metric("commonfate_model_flops_per_second", "gauge", "speed", "Model FLOP/s of this rank"),
    Metric("commonfate_model_flops_utilisation_ratio", "gauge", "speed", "Model FLOP/s over peak"),
    # On CPU, where there is no device memory, the peak is that of the process.
    Metric("commonfate_peak_memory_bytes", "gauge", "memory", "Most device memory allocated since the start"),
    Metric("commonfate_resident_memory_bytes", "gauge", "memory", "Resident memory of the process now"),
    # Of the disks that journal and states are written to.
    Metric("commonfate_disk_free_bytes", "gauge", "memory", "Free on the disk of a place", _PLACE),
    Metric("commonfate_disk_size_bytes", "gauge", "memory", "Size of the disk of a place", _PLACE),
    # Since the run first started: its activities add up to the wall time.
    Metric("commonfate_goodput_ratio", "gauge", "time", "Productive over wall time, restarts included"),
    Metric("commonfate_run_activity_seconds", "gauge", "time", "Wall time by what became of it", _ACTIVITY),
    Metric("commonfate_data_wait_seconds_total", "counter", "data", "Time that steps waited for data"),
    Metric("commonfate_loader_samples_total", "counter", "data", "Clips decoded"),
    Metric("commonfate_loader_bytes_total", "counter", "data", "Bytes read from the store"),
    Metric("commonfate_loader_retries_total", "counter", "data", "Reads that had to be repeated"),
    Metric("commonfate_loader_damaged_samples_total", "counter", "data", "Damaged clips that were skipped"),
    # What the step waited (stall), until complete on the store (total).
    Metric("commonfate_checkpoint_save_seconds", "histogram", "checkpoints", "Time of a save", _PART, _SAVE),
    Metric("commonfate_checkpoint_bytes", "gauge", "checkpoints", "Size of the newest", ranks="first"),
    # Before the first: where and when this start began to train; nothing older is at risk.
    Metric("commonfate_checkpoint_last_step", "gauge", "checkpoints", "Step of the newest; 0 = none yet"),
    Metric(
        "commonfate_checkpoint_last_time_seconds",
        "gauge",
        "checkpoints",
        "Unix time of the newest, or the start",
    ),
    Metric("commonfate_checkpoint_interval", "gauge", "checkpoints", "Steps from one to the next"),
    # The signs of a model that has collapsed.
    Metric("commonfate_slot_mask_area_ratio", "gauge", "slots", "Share of the frame; not 0, not 1"),
    Metric("commonfate_slot_active", "gauge", "slots", "Slots whose mask is not empty"),
    Metric("commonfate_slot_duplicate_iou_ratio", "gauge", "slots", "Overlap; near 1 = an object held twice"),
    Metric(
        "commonfate_slot_sound_ratio",
        "gauge",
        "slots",
        "Slots that may hold an object: one, whole, not twice",
    ),
    Metric("commonfate_slot_order_entropy_ratio", "gauge", "slots", "Doubt in the depth order; 0 = sure"),
    Metric("commonfate_slot_found_later", "gauge", "slots", "Objects a frame; many = found anew each time"),
    Metric("commonfate_slot_motion_pixels", "gauge", "slots", "Displacement per frame; 0 = motion ignored"),
)

METRICS: Mapping[str, Metric] = {row.name: row for row in _ROWS}
