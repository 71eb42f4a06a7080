"""What AIR and SQAIR share: inference over a clip, its bound, and what is shown of it."""

from abc import abstractmethod
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils._pytree import tree_map

from model.bounds import fitting
from model.interface import VideoModel
from model.layers.over_time import over_time
from model.probability.estimators import FORMS
from model.probability.normal import log_likelihood
from model.remat import Remat
from model.sqair.cell import Cell, Inputs, State, Step
from model.sqair.config import Scene
from model.sqair.discovery import Discovery, FixedWhere, LearnedCount, LearnedWhere, Odds
from model.sqair.drawing import Drawing, Glimpses
from model.sqair.networks import encoder
from model.sqair.objective import (
    Weights,
    bound_of_samples,
    count_patterns,
    exact_bound,
    relaxed_bound,
    relaxed_presence,
    weights,
    with_and_without,
)
from model.sqair.views import Shown
from model.unroll import unroll


class Result(NamedTuple):
    """What is kept of all frames; the `bp` rows are clips, and in each its particles."""

    step: Step
    likelihood: Float[Tensor, "bp t m"]  # of each pattern; of samples, m = 1
    toggled: Float[Tensor, "bp t k2"]
    objects: Float[Tensor, "b t n c h w"]  # of each clip's first particle, in slots
    prediction: Float[Tensor, "b t c h w"]  # of each frame, before it was seen


class Inference(VideoModel):
    """What AIR and SQAIR share: discovery, drawing, priors of new objects, and their unroll."""

    def __init__(self, config: Scene, *, sequence: bool) -> None:
        super().__init__()
        self.scene = config
        self.known = config.slots if sequence else 0
        self.samples = config.shown_particles > 0
        self.encoder = encoder(config, config.size)
        self.drawing = Drawing(config)
        self.glimpses = Glimpses(config, masked=sequence)
        self.discovery = Discovery(config)
        self.where_prior = LearnedWhere(config) if config.where_prior == "learned" else FixedWhere(config)
        learned = config.count_prior == "learned"
        self.count_prior = LearnedCount(config.slots, sequence=sequence) if learned else Odds(config.slots)

    @property
    def exact(self) -> bool:
        """Whether counts are summed: in training alone, where that is the objective."""
        return self.training and self.scene.objective == "exact"

    @property
    def relaxed(self) -> bool:
        """Whether presences are neither 0 nor 1: likewise."""
        return self.training and self.scene.objective == "concrete"

    @property
    def draws(self) -> bool:
        """Whether latents are drawn; else each is the likeliest, or the mean."""
        return self.training or self.samples

    @property
    def sampled(self) -> bool:
        """Whether divergences are those of the draws; else they are exact."""
        return self.draws and not (self.exact or self.relaxed)

    @property
    def particles(self) -> int:
        """Samples of each clip."""
        return self.scene.particles if self.training else max(1, self.scene.shown_particles)

    @abstractmethod
    def cell(self, step: int, *, first: bool) -> Cell:
        """The step of a clip, in its first frame or in the others."""

    def infer(self, frames: Float[Tensor, "b t c h w"], step: int) -> tuple[State, Result]:
        """All frames, from nothing known."""
        (batch, steps), slots, config = frames.shape[:2], self.scene.slots, self.scene
        rows, objects = batch * self.particles, self.known + slots
        shape = (rows, steps, objects)
        # Drawn here, not in the cell, so that every way to cut time into blocks sees the same numbers.
        noise = frames.new_zeros(*shape, 4 + config.what)
        chance = frames.new_full(shape, 0.5)
        if self.draws:
            noise, chance = torch.randn_like(noise), torch.rand_like(chance)

        def prepare(x: tuple[Tensor, Tensor, Tensor]) -> Inputs:
            seen, noise, chance = x
            read = over_time(self.glimpses.trunk, seen)
            return Inputs(seen, over_time(self.encoder, read), noise, chance)

        # The first frame by itself: there is nothing to carry on, so the work of it is not done.
        state, results = self._before(frames, rows), []
        for part in (slice(0, 1), slice(1, steps))[:steps]:
            first = part.start == 0
            state, result = unroll(
                self.cell(step, first=first),
                state,
                (frames[:, part], noise[:, part], chance[:, part]),
                remat=Remat.parse(config.remat),
                compile=config.compile,
                prepare=prepare,
                finish=partial(self._finish, first=first),
            )
            results.append(result)
        return state, tree_map(lambda *x: torch.cat(x, 1), *results)

    def _before(self, like: Tensor, rows: int) -> State:
        """The state before the first frame: nothing is there."""
        slots, hidden = self.scene.slots, self.scene.hidden

        def zeros(*shape: int) -> Tensor:
            return like.new_zeros(rows, *shape)

        numbers = zeros(slots).long()
        states = zeros(slots, hidden), zeros(slots, hidden)
        what = zeros(slots, self.scene.what)
        return State(zeros(slots, 4), what, zeros(slots), *states, numbers, numbers[:, 0], zeros())

    def _finish(self, outputs: tuple[Step, Tensor], *, first: bool) -> Result:
        step, seen = outputs
        frames = seen.repeat_interleave(self.particles, 0)
        drawn = self.drawing.drawn(step.what, step.where)
        means = self.drawing.summed(drawn, self._patterns(step))
        likelihood = log_likelihood(frames, means, self.scene.deviation)
        carries = self.known > 0 and not first
        with torch.no_grad():
            toggled = likelihood.new_zeros(*likelihood.shape[:-1], 2 * self.known)
            if self.exact and carries:
                others = self.drawing.summed(drawn, with_and_without(step))
                toggled = log_likelihood(frames, others, self.scene.deviation)
            mine = tree_map(lambda x: x[:: self.particles], step)
            shown = torch.take_along_dim(
                drawn.objects[:: self.particles], mine.order[..., None, None, None], 2
            )
            prediction = torch.zeros_like(seen)
            if carries:
                expected = mine.before * (mine.expected_logits > 0)
                ahead, _ = self.drawing(mine.expected_what, mine.expected_where, expected[..., None, :])
                prediction = ahead[:, :, 0]
        return Result(step, likelihood, toggled, shown, prediction.clamp(0, 1))

    def _patterns(self, step: Step) -> Float[Tensor, "bp t m n"]:
        """Sets of objects that a frame shows: with every number of new ones, or as they were drawn."""
        if self.exact:
            return count_patterns(step)
        presence = relaxed_presence(step, self.scene.presence_temperature) if self.relaxed else step.presence
        return presence[..., None, :]

    def weights(self, result: Result) -> Weights:
        """Of what was drawn, also where counts are summed."""
        number = result.step.found.sum(-1, keepdim=True).long()
        drawn = result.likelihood.gather(-1, number)[..., 0] if self.exact else result.likelihood[..., 0]
        return weights(result.step, drawn, sampled=self.sampled)

    def bound(self, result: Result, w: Weights) -> Float[Tensor, "clips"]:
        """The bound of each clip, summed over its frames."""
        if self.exact:
            each = exact_bound(result.step, result.likelihood, result.toggled)
            return each.sum(1).view(-1, self.particles).mean(1)
        if self.relaxed:
            each = relaxed_bound(result.step, result.likelihood[..., 0], self.scene.presence_temperature)
            return each.sum(1).view(-1, self.particles).mean(1)
        form = self.scene.objective if self.scene.objective in FORMS else "vimco"
        return bound_of_samples(w, self.particles, form)

    def shown(self, result: Result) -> Shown:
        """The objects of each clip's first particle."""
        step = tree_map(lambda x: x[:: self.particles].detach(), result.step)
        where = torch.take_along_dim(step.where, step.order[..., None], 2)
        presence = torch.take_along_dim(step.presence, step.order, 2)
        return Shown(where, presence, step.identities, result.objects.detach())

    def checked(self, frames: Float[Tensor, "b t c h w"], least: int) -> Float[Tensor, "b t c h w"]:
        """The frames in float32.

        Raises:
            Unfit: they are not of the configured size and channels, or fewer than `least`.
        """
        return fitting(frames, self.scene.channels, self.scene.size, least)
