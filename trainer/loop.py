"""train(): one run from start, or from its newest checkpoint, to its last step. Read this first.

Each step takes the clips that (seed, step) name, whatever the number of ranks; seeds the generators by
(seed, step, micro-batch); sums gradients; updates. So a step is a pure function of weights and step number, and a
run that was killed, resumed or moved to other machines draws the same curve.
"""

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from data_shards.loader import Loader, scan, stretch
from data_shards.manifest import Manifest, read_manifest
from data_shards.storage.place import open_store
from model.interface import Video, VideoModel, Views
from monitoring.heartbeat import Heart
from monitoring.run_state import RunState
from trainer.batch import first_frames, means, split_video, to_video, users_clips
from trainer.checkpoints.checkpoint import newest
from trainer.checkpoints.fetch import Fetched, fetched
from trainer.checkpoints.restore import changes, restore
from trainer.checkpoints.saver import Saver
from trainer.checkpoints.weights import start_from
from trainer.clock import Clock, Pace
from trainer.config import RunConfig
from trainer.engine import Engine, private_extensions, start_processes
from trainer.evaluation.scoring import evaluate
from trainer.flops import Work
from trainer.health import health
from trainer.interruption import Interruption, at_once
from trainer.journal import is_scored
from trainer.optim import learning_rate
from trainer.process_group import ProcessGroup, seed_draws
from trainer.requirements import require_clip, require_data, require_fit
from trainer.revision import code_revision
from trainer.soundness import Soundness
from trainer.starts import begun
from trainer.telemetry import Report, Telemetry

log = logging.getLogger(__name__)

LEARNT = ("frames", "labels")  # what is read of clips to train on


@dataclass(frozen=True)
class Result:
    """How a run ended: `state` is finished or interrupted; `loss` is the last that this process logged."""

    state: RunState
    step: int
    loss: float
    output: str


@dataclass(frozen=True)
class StepOutcome:
    """What one optimiser step produced on this rank: means over its micro-batches, detached."""

    loss: Tensor
    terms: dict[str, Tensor]
    # Makes the views of each micro-batch, for the signs of health in a line.
    shown: Sequence[Callable[[], Views]]
    gradient_norm: float
    phases: dict[str, float]  # seconds


def train(
    config: RunConfig,
    *,
    report: Report | None = None,
    stopping: Callable[[], bool] | None = None,
    enough: Callable[[], bool] | None = None,
    heart: Heart | None = None,
) -> Result:
    """Train to `config.steps`, resuming from the newest complete checkpoint in `config.output`.

    Where there is none, a run begins from the weights at `config.start`, if any, with a new optimiser.

    Args:
        config: the run.
        report: called on rank 0 with every line of metrics.jsonl.
        stopping: asked at every step; True makes all ranks save and stop, as SIGTERM does.
        enough: as `stopping`, but the run has then finished.
        heart: told where the loop is.

    Raises:
        UserError: a mistake of the user, in one sentence. Nothing was written then, but where a label read later is
            no class of the model.
        StorageError: the data set, the output or the checkpoint to resume from cannot be read or written.
        FloatingPointError: the loss or a weight is not finite.
        OSError: a state cannot be written here, or two saves in a row failed, or the last.
        RuntimeError: the ranks' weights have diverged, or another rank's part of a save failed so.
    """
    private_extensions()
    if config.engine.threads:
        torch.set_num_threads(config.engine.threads)
    require_data(config, manifest := read_manifest(config.data.url))
    require_clip(config)
    newest(store := open_store(config.output))  # a forged one is told before DeepSpeed is loaded
    with at_once():  # nothing can be saved yet
        group = start_processes()
    micro = config.batch.micro_of(group.world)  # refuses what cannot be shared out before more is built
    with Interruption(stopping) as interruption, fetched(store, config, group) as saved:
        found = saved.checkpoint if saved else None
        seed_draws(config.seed)
        model = config.model.build().to(group.device)
        if config.start and not found:
            start_from(config.start, model, config, group)
        require_fit(model, config, manifest, group.device, micro)
        timeline, start = begun(store, found, config.steps, group, heart)
        telemetry = Telemetry(config, group, timeline, report, heart, start)
        try:
            with users_clips(), Run(config, group, manifest, model, saved, telemetry) as run:
                return run.to_the_end(interruption, enough or (lambda: False))
        except BaseException:
            telemetry.enter(RunState.FAILED)
            raise
        finally:
            telemetry.close()


class Run:
    """One process's part of a run: engine, loader and saver. A context manager."""

    def __init__(
        self,
        config: RunConfig,
        group: ProcessGroup,
        manifest: Manifest,
        model: VideoModel,
        saved: Fetched | None,
        telemetry: Telemetry,
    ) -> None:
        self.config, self.group, self.telemetry = config, group, telemetry
        found = saved.checkpoint if saved else None
        self.soundness = Soundness(config, group, found, telemetry.observe)
        store = open_store(config.output)
        self.start = found.step if found else 0
        data = manifest.digest("train")
        if saved and found:
            self.engine = restore(saved, store, config, group, model)
            if group.rank == 0 and (changed := changes(found, config, data)):
                log.warning("going on from step %d with other settings: %s", found.step, "; ".join(changed))
        else:
            self.engine = Engine(model, config, group)
        told = telemetry.saved, telemetry.settle, telemetry.disown
        self.saver = Saver(store, config, group, code_revision(), data, *told)
        self.manifest = manifest
        self.share = config.batch.size // group.world
        slots = range(group.rank * self.share, (group.rank + 1) * self.share)
        fields, size = tuple(name for name in LEARNT if name in manifest.fields), config.batch.size
        self.loader = Loader(config.data, "train", size, slots, self.start, seed=config.seed, fields=fields)
        self.micro = config.batch.micro_of(group.world)
        self.work = Work(self.engine.model, config, group.device, self.micro)
        # Last: a start that is refused, or has nothing to do, leaves what was there as it is.
        if group.rank == 0 and self.start < config.steps:
            self.saver.claim()
        telemetry.admit()

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.saver.abandon()
        self.loader.close()
        self.engine.close()

    def to_the_end(self, interruption: Interruption, enough: Callable[[], bool]) -> Result:
        """All remaining steps."""
        config, telemetry, step, loss = self.config, self.telemetry, self.start, math.nan
        owed = self._owes_scores()
        if step >= config.steps and not owed:
            if self.group.rank == 0:
                log.warning("%s is at step %d already; raise `steps` to train on", config.output, step)
            telemetry.enter(RunState.FINISHED)
            return Result(RunState.FINISHED, step, loss, config.output)
        telemetry.begin(self.start)
        if owed:
            self._evaluate(step)
        batches, pace, interrupted = iter(self.loader), Pace(step), False
        while step < config.steps:
            clock = Clock(self.group.device, telemetry.heart.phase)
            with clock("data"):
                video = to_video(next(batches), self.group.device)
            video = first_frames(video, config.batch.length(step, video.frames.shape[1]))
            with pace.paused():
                self.work.count(video, step)
            outcome = self.optimise(video, step, clock)
            step += 1
            if self.soundness.resumed(step):
                self.soundness.require_mean(outcome.loss, step)
            with clock("communication"):
                interrupted, over = self._agree(interruption.requested, enough())
            stop = interrupted or over
            telemetry.step(clock.seconds.pop("data"), clock.seconds, self.share)
            last = step == config.steps or stop
            if not last:
                self.saver.require()
            if step % config.log_steps == 0 or last:
                loss = self._log(step, outcome, pace.lap(step))
            if config.engine.hash_steps and step % config.engine.hash_steps == 0:
                self.soundness.compare(self.engine, step)
            evaluate_now = config.evaluation.due(step, config.steps) and not stop
            if step % config.checkpoint.steps == 0 or last:
                # Complete before the scores, which can be made again from it: an evaluation may fail.
                with pace.paused():
                    self._save(step, outcome, settle=last or evaluate_now)
            if evaluate_now:
                with pace.paused():
                    self._evaluate(step)
            if stop:
                break
        self.saver.finish()
        state = RunState.INTERRUPTED if interrupted and step < config.steps else RunState.FINISHED
        telemetry.enter(state)
        return Result(state, step, loss, config.output)

    def optimise(self, video: Video, step: int, clock: "Clock") -> StepOutcome:
        """One optimiser step on this rank's clips; `step` names the draws, the rate and the annealing."""
        parts = split_video(video, self.micro)
        first = self.group.rank * len(parts)
        lr = learning_rate(self.config.optim, step, self.config.steps)
        losses, terms, shown, norm = [], [], [], 0.0
        for index, part in enumerate(parts):
            seed_draws(self.config.seed, step, first + index)
            with clock("forward"):
                output = self.engine.forward(part, step)
            with clock("backward"):
                self.engine.backward(output.loss)
            losses.append(output.loss.detach())
            terms.append(output.terms)
            shown.append(output.show)
            with clock("optimiser"):
                norm = self.engine.update(lr, last=index == len(parts) - 1)
        return StepOutcome(torch.stack(losses).mean(), means(terms), shown, norm, clock.seconds)

    def _agree(self, *wishes: bool) -> list[bool]:
        """Which of these any rank has; also where all hear of uploads, and fast ranks wait for slow ones."""
        mine = torch.tensor(wishes, dtype=torch.float64)
        total = self.group.total(torch.cat([mine, self.saver.news()]))
        self.saver.hear(total[len(wishes) :])
        return [bool(wish) for wish in total[: len(wishes)]]

    def _owes_scores(self) -> bool:
        """Whether the step gone on from was to be scored, but a kill or a stop came first; the same on all ranks."""
        if not self.start or not self.config.evaluation.due(self.start, self.config.steps):
            return False
        scored = self.group.rank > 0 or is_scored(self.config.output, self.start)
        return bool(self.group.total(torch.tensor([not scored]).double()))

    def _log(self, step: int, outcome: StepOutcome, step_s: float) -> float:
        """Write a line of means over ranks; returns the loss. A collective."""
        self.saver.require_ours()
        found = outcome.terms | means([health(show()) for show in outcome.shown])
        names = sorted(found)
        mine = torch.stack([outcome.loss.double(), *(found[n].double() for n in names)]).cpu()
        averages: list[float] = (self.group.total(mine) / self.group.world).tolist()
        loss, *terms = averages
        self.soundness.require(loss, step)
        line: dict[str, Any] = {
            "step": step,
            "time": time.time(),
            "loss": loss,
            "terms": dict(zip(names, terms, strict=True)),
            "lr": learning_rate(self.config.optim, step - 1, self.config.steps),
            "gradient_norm": outcome.gradient_norm,
            "epoch": step * self.config.batch.size / self.manifest.samples("train"),
            "step_s": step_s,
            "samples_per_s": self.config.batch.size / step_s,
        }
        self.telemetry.interval(line, self.work.lap(), self.work.peak, self.loader.counters)
        return loss

    def _evaluate(self, step: int) -> None:
        self.telemetry.enter(RunState.EVALUATING)
        config, group = self.config, self.group
        model = self.engine.for_scoring()
        split, clips = config.evaluation.split, config.evaluation.clips
        mine = stretch(self.manifest, split, group.rank, group.world, clips)
        batches = scan(config.data, split, self.micro, group.rank, group.world, limit=clips)
        videos = (to_video(batch, group.device) for batch in batches)
        result = evaluate(model, videos, step, group.device, reduce=group.total, first=mine.start)
        self.saver.require_ours()
        self.telemetry.scores(step, split, result.scores)
        self.telemetry.enter(RunState.TRAINING)

    def _save(self, step: int, outcome: StepOutcome, settle: bool) -> None:
        self.soundness.require_mean(outcome.loss, step)
        self.telemetry.enter(RunState.SAVING)
        self.telemetry.stalled(self.saver.save(self.engine, step, self.telemetry.timeline.saved()))
        if settle:
            self.saver.settle()
        self.telemetry.enter(RunState.TRAINING)
