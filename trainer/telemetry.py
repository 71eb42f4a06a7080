"""What a run tells the world: Prometheus series, metrics.jsonl, its progress, the state it is in."""

import logging
import resource
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from data_shards.loader import Counters
from data_shards.mistake import UserError
from data_shards.storage.place import is_http, open_store
from data_shards.storage.store import StorageError
from monitoring.exporter import Exporter, HostError
from monitoring.heartbeat import Heart
from monitoring.run_state import Past, RunState, Timeline
from trainer.config import RunConfig
from trainer.health import HEALTH
from trainer.journal import Journal, local_folder, run_name
from trainer.process_group import ProcessGroup
from trainer.progress import Progress
from trainer.revision import code_revision
from trainer.starts import Start, start_of

log = logging.getLogger(__name__)

Report = Callable[[dict[str, Any]], None]


class Telemetry:
    """One rank's exporter and, on rank 0, journal and progress; knows the state of the run and where its time went.

    Args:
        config: the run.
        group: this rank.
        timeline: the run's time so far, across restarts.
        report: called with every line, on rank 0.
        heart: told where the loop is; None = nobody watches it.
        start: this one, on rank 0, where there is anything to do; None = it leaves a trace when it begins to train.
    """

    def __init__(
        self,
        config: RunConfig,
        group: ProcessGroup,
        timeline: Timeline,
        report: Report | None,
        heart: Heart | None = None,
        start: Start | None = None,
    ) -> None:
        self._config, self._group, self.timeline = config, group, timeline
        self.heart = heart or Heart()
        self._start = start
        self._report = report
        self._journal: Journal | None = None
        self._progress: Progress | None = None
        self._told = Counters()
        monitoring = config.monitoring
        port = monitoring.port + group.rank if monitoring.port else monitoring.port
        targets: Path | str = local_folder(config.output) / "targets"
        if monitoring.targets is not None:
            targets = monitoring.targets if is_http(monitoring.targets) else Path(monitoring.targets)
        try:
            self._exporter = Exporter(
                run_name(config.output), group.rank, port, targets, host=monitoring.host
            )
        except HostError as error:
            raise UserError(str(error)) from error
        self.observe = self._exporter.observe
        self.enter(RunState.STARTING)

    def admit(self) -> None:
        """Nothing refuses this start any more: where there is anything to do, it leaves its trace."""
        if self._start is not None:
            self._start.leave_trace()

    def begin(self, start: int) -> None:
        """Training starts at step `start`: count the start, open the journal, drop lines of work that was lost."""
        if self._group.rank == 0:
            mine = self._start or start_of(open_store(self._config.output), Past())
            self.observe("commonfate_restarts", mine.train(start))
            self._journal = Journal(self._config.output, start)
            self._progress = Progress(self._config.steps, start)
        self._introduce(start)
        self.heart.begin(start)
        self.enter(RunState.TRAINING)

    def enter(self, state: RunState) -> None:
        """The run is now in `state`."""
        self.timeline.enter(state)
        self.heart.enter(state)
        self._exporter.enter(state)
        if state is RunState.TRAINING:
            self.observe("commonfate_step_last_time_seconds", time.time())

    def step(self, waited: float, phases: Mapping[str, float], clips: int) -> None:
        """One optimiser step of this rank: seconds it waited for data, seconds of its phases, clips it used."""
        self.timeline.wait(waited)
        self.timeline.stall(self.heart.step(sum(phases.values())))
        self.observe("commonfate_data_wait_seconds_total", waited)
        for phase, seconds in ({"data": waited} | dict(phases)).items():
            self.observe("commonfate_step_phase_seconds", seconds, phase=phase)
        self.observe("commonfate_step_seconds", waited + sum(phases.values()))
        self.observe("commonfate_samples_total", clips)
        self.observe("commonfate_step_last_time_seconds", time.time())

    def interval(self, line: dict[str, Any], flops: float, peak: float, counters: Counters) -> None:
        """The end of a logging interval.

        Args:
            line: step, loss, terms, lr, gradient_norm, epoch, step_s, samples_per_s.
            flops: of one step on this rank, in the mean; 0 = not known.
            peak: FLOP/s of this rank's device.
            counters: of the loader, since the start of the process.
        """
        for name in ("loss", "step", "epoch", "gradient_norm"):
            self.observe(f"commonfate_{name}", line[name])
        self.observe("commonfate_learning_rate", line["lr"])
        self.observe("commonfate_samples_per_second", line["samples_per_s"])
        self.observe("commonfate_goodput_ratio", self.timeline.goodput())
        for activity, seconds in self.timeline.split().items():
            self.observe("commonfate_run_activity_seconds", seconds, activity=activity)
        for name, value in line["terms"].items():
            if name in HEALTH:
                self.observe(HEALTH[name].series, value)
            else:
                self.observe("commonfate_loss_term", value, term=name)
        if flops:
            self.observe("commonfate_model_flops_per_second", flops / line["step_s"])
            self.observe("commonfate_model_flops_utilisation_ratio", flops / line["step_s"] / peak)
            line["mfu"] = flops / line["step_s"] / peak
        resident, most = memory_bytes(self._group.device)
        self.observe("commonfate_resident_memory_bytes", resident)
        self.observe("commonfate_peak_memory_bytes", most)
        for place, folder in (
            ("output", local_folder(self._config.output)),
            ("scratch", tempfile.gettempdir()),
        ):
            free, size = disk_bytes(Path(folder))
            self.observe("commonfate_disk_free_bytes", free, place=place)
            self.observe("commonfate_disk_size_bytes", size, place=place)
        for name, count in vars(counters).items():
            self.observe(f"commonfate_loader_{name}_total", count - getattr(self._told, name))
        self._told = Counters(**vars(counters))
        self._write(line | {"goodput": self.timeline.goodput()})

    def scores(self, step: int, split: str, scores: Mapping[str, float]) -> None:
        """An evaluation has ended."""
        for name, value in scores.items():
            self.observe("commonfate_evaluation_score", value, score=name, split=split)
        self._write({"step": step, "time": time.time(), "split": split, "scores": dict(scores)})

    def stalled(self, seconds: float) -> None:
        """A step has waited for its state to be taken, which is on its way to storage now."""
        self.observe("commonfate_checkpoint_save_seconds", seconds, part="stall")
        if self._journal:
            self._journal.publish()

    def settle(self) -> None:
        """Wait until the lines so far are stored: a start from a checkpoint must find those that led to it."""
        if self._journal:
            self._journal.settle()

    def saved(self, step: int, seconds: float, size: int) -> None:
        """A checkpoint is complete on storage, `seconds` after its save began, with `size` bytes of all ranks."""
        self.observe("commonfate_checkpoint_save_seconds", seconds, part="total")
        self.observe("commonfate_checkpoint_last_step", step)
        self.observe("commonfate_checkpoint_last_time_seconds", time.time())
        if self._group.rank == 0:
            self.observe("commonfate_checkpoint_bytes", size)

    def disown(self) -> None:
        """The run is another start's by now: nothing more is written into it."""
        if self._journal:
            self._journal.disown()

    def close(self) -> None:
        """Stop showing, recording and serving. What fails here only warns: how the run ended is already known."""
        if self._progress:
            self._progress.close()
        try:
            if self._journal:
                self._journal.close()
        except (OSError, StorageError) as error:
            log.warning("the journal of %s is not complete: %s", self._config.output, error)
        finally:
            self._exporter.close()

    def _introduce(self, start: int) -> None:
        """What this start is, which stays."""
        config, world = self._config, self._group.world
        about = {"recipe": config.recipe, "revision": code_revision(), "digest": config.digest()}
        self.observe("commonfate_run_info", 1, world=str(world), **about)
        self.observe("commonfate_world_size", world)
        self.observe("commonfate_steps_planned", config.steps)
        self.observe("commonfate_checkpoint_interval", config.checkpoint.steps)
        self.observe("commonfate_checkpoint_last_step", start)
        self.observe("commonfate_checkpoint_last_time_seconds", time.time())

    def _write(self, line: dict[str, Any]) -> None:
        if self._journal and self._progress:
            self._journal.write(line)
            self._progress.line(line)
            if self._report:
                self._report(line)


def memory_bytes(device: torch.device) -> tuple[float, float]:
    """(resident now, most ever): the process's on CPU, with the device's allocator for the second on a GPU."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    resident = float(pages * resource.getpagesize())
    if device.type == "cuda":
        return resident, float(torch.cuda.max_memory_allocated(device))
    return resident, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0


def disk_bytes(folder: Path) -> tuple[float, float]:
    """(free, size) of the disk that `folder` is on, or would be."""
    while not folder.exists():
        folder = folder.parent
    usage = shutil.disk_usage(folder)
    return float(usage.free), float(usage.total)
