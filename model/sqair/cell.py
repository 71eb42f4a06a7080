"""A frame: carry known objects on, find new ones, put them together; and the state that goes on to the next frame."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from model.probability.normal import Normal
from model.sqair.config import Scene
from model.sqair.discovery import Found
from model.sqair.drawing import Glimpses
from model.sqair.layers import Start
from model.sqair.propagation import Expectation, Expected, Kept, Known, Propagation

NEVER = -88.0  # logit of what cannot be


class State(NamedTuple):
    """What is known after a frame. Rows `bp` are clips, and in each its particles; present objects come first."""

    where: Float[Tensor, "bp k 4"]
    what: Float[Tensor, "bp k d"]
    presence: Float[Tensor, "bp k"]
    temporal: Float[Tensor, "bp k e"]
    prior: Float[Tensor, "bp k e"]
    identities: Int[Tensor, "bp k"]  # from 1, 0 = no object
    last: Int[Tensor, "bp"]  # the greatest so far
    started: Float[Tensor, "bp"]  # 0 before the first frame


class Inputs(NamedTuple):
    """What a step is given: its frame, read once for all particles, and the draws of each particle."""

    frame: Float[Tensor, "b *t c h w"]
    encoded: Float[Tensor, "b *t e"]
    noise: Float[Tensor, "bp *t m z"]  # standard normal, of where and what
    chance: Float[Tensor, "bp *t m"]  # uniform, of presence


class Step(NamedTuple):
    """All that was found of a frame: first the k known objects (none in AIR), then the n that could be new."""

    where: Float[Tensor, "bp *t m 4"]
    what: Float[Tensor, "bp *t m d"]
    presence: Float[Tensor, "bp *t m"]  # of what is drawn
    divergence: Float[Tensor, "bp *t m"]  # of where and what from their priors
    before: Float[Tensor, "bp *t k"]  # presence in the frame before
    kept_logits: Float[Tensor, "bp *t k"]
    expected_logits: Float[Tensor, "bp *t k"]
    found: Float[Tensor, "bp *t n"]  # presence of new objects, those without a free slot too
    found_logits: Float[Tensor, "bp *t n"]
    count_prior: Float[Tensor, "bp *t n1"]  # log p(D)
    chance: Float[Tensor, "bp *t m"]  # that presences were drawn by
    order: Int[Tensor, "bp *t n"]  # which of the m are in the slots after the frame
    identities: Int[Tensor, "bp *t n"]
    expected_where: Float[Tensor, "bp *t k 4"]
    expected_what: Float[Tensor, "bp *t k d"]


class Carried(NamedTuple):
    """Known objects in a frame, and what they tell of new ones."""

    kept: Kept
    expected: Expected
    before: Float[Tensor, "bp k"]  # presence
    divergence: Float[Tensor, "bp k"]
    embedded: Float[Tensor, "bp e"]
    share: Float[Tensor, "bp"]  # of the slots, those that are expected to be taken, less a half
    starts: tuple[Float[Tensor, "bp n e"], Float[Tensor, "bp n e"]]  # states of new objects


@dataclass(frozen=True)
class Nothing:
    """Nothing is known: AIR, which has no slots for it, and SQAIR in the first frame, when they are empty."""

    config: Scene
    slots: int = 0
    starts: tuple[Start, Start] | None = None

    def __call__(self, frame: Tensor, state: State, noise: Tensor, chance: Tensor) -> Carried:
        """Objects that are not there."""
        rows, config = len(frame), self.config
        none = frame.new_zeros(rows, self.slots)
        where, what, states = (none.new_zeros(*none.shape, n) for n in (4, config.what, config.hidden))
        q, p = Normal(where, where), Normal(what, what)
        first = second = frame.new_zeros(rows, config.slots, config.hidden)
        if self.starts is not None:
            first, second = (start(rows, config.slots) for start in self.starts)
        return Carried(
            Kept(where, what, none, none, states, q, p),
            Expected(q, p, none, states),
            none,
            none,
            frame.new_zeros(rows, config.hidden),
            frame.new_full((rows,), -0.5),
            (first, second),
        )


@dataclass(frozen=True)
class CarryOn:
    """SQAIR: propagation, what was expected, and the embedding of what is still there."""

    propagation: Propagation
    expectation: Expectation
    objects: nn.Module
    starts: tuple[Start, Start]
    glimpses: Glimpses
    sampled: bool

    def __call__(self, frame: Tensor, state: State, noise: Tensor, chance: Tensor) -> Carried:
        """Of every slot, whether it held an object or not."""
        known = Known(*state[:5])
        expected = self.expectation(known)
        kept = self.propagation(frame, known, self.glimpses, noise, chance)
        divergence = kept.where_posterior.divergence(expected.where, kept.where if self.sampled else None)
        divergence = divergence + kept.what_posterior.divergence(
            expected.what, kept.what if self.sampled else None
        )
        embedding = self.objects(torch.cat([kept.what, kept.where], -1)).float()
        embedded = (kept.presence[..., None] * embedding).sum(1)
        share = (state.presence * torch.sigmoid(expected.logits) - 0.5).mean(1)
        first, second = (start(*state.presence.shape) for start in self.starts)
        return Carried(kept, expected, state.presence, divergence, embedded, share, (first, second))


@dataclass(frozen=True)
class Cell:
    """The parts of a step, and what stays the same over a clip."""

    config: Scene
    carry: Nothing | CarryOn
    discovery: Callable[[Tensor, Tensor, Tensor, Glimpses, Tensor], Found]  # a Discovery
    glimpses: Glimpses
    count_prior: nn.Module
    where_prior: nn.Module
    sampled: bool  # divergences are those of the samples, else exact
    truncate: bool
    odds: Float[Tensor, "2"]  # logarithms, of new objects in the first frame and in the others; on the CPU

    def __call__(self, state: State, inputs: Inputs) -> tuple[State, tuple[Step, Tensor]]:
        """The next state; what was found, and the frame."""
        slots = self.config.slots
        particles = len(inputs.noise) // len(inputs.frame)
        frame, encoded = (x.repeat_interleave(particles, 0) for x in inputs[:2])
        known = inputs.noise.shape[1] - slots
        carried = self.carry(frame, state, inputs.noise[:, :known], inputs.chance[:, :known])
        kept = carried.kept
        new = self.discovery(frame, encoded, carried.embedded, self.glimpses, inputs.noise[:, known:])

        free = slots - kept.presence.sum(1, keepdim=True)
        room = torch.arange(slots, device=frame.device) < free
        logits = new.logits.masked_fill(~room, NEVER) if self.truncate else new.logits
        found = (inputs.chance[:, known:] < torch.sigmoid(logits)).float().cumprod(1)
        first = 1 - state.started
        odds = first * self.odds[0] + state.started * self.odds[1]
        count = self.count_prior(carried.share, first, odds)
        if self.truncate:
            numbers = torch.arange(slots + 1, device=frame.device)
            count = torch.log_softmax(count.masked_fill(numbers > free, NEVER), -1)
        where_prior = self.where_prior(new.where, carried.embedded, carried.share)

        shown = found * room
        presence = torch.cat([kept.presence, shown], 1)
        state, order = merged(state, carried, new, shown)
        step = Step(
            where=torch.cat([kept.where, new.where], 1),
            what=torch.cat([kept.what, new.what], 1),
            presence=presence,
            divergence=torch.cat([carried.divergence, self._divergence(new, where_prior)], 1),
            before=carried.before,
            kept_logits=kept.logits,
            expected_logits=carried.expected.logits,
            found=found,
            found_logits=logits,
            count_prior=count,
            chance=inputs.chance,
            order=order,
            identities=state.identities,
            expected_where=carried.expected.where.mean,
            expected_what=carried.expected.what.mean,
        )
        return state, (step, inputs.frame)

    def _divergence(self, new: Found, where_prior: Normal) -> Float[Tensor, "bp n"]:
        standard = Normal(torch.zeros_like(new.what), torch.ones_like(new.what))
        where = new.where_posterior.divergence(where_prior, new.where if self.sampled else None)
        return where + new.what_posterior.divergence(standard, new.what if self.sampled else None)


def merged(
    state: State, carried: Carried, new: Found, shown: Float[Tensor, "bp n"]
) -> tuple[State, Int[Tensor, "bp n"]]:
    """The state after a frame, and which of known and new objects its slots hold.

    Present objects come first, known before new, and keep their order; what has no slot left is dropped. A known
    object keeps its number and states; a new one gets the next number, and starts.
    """
    kept, slots = carried.kept, shown.shape[1]
    presence = torch.cat([kept.presence, shown], 1)
    order = torch.argsort(presence, dim=1, descending=True, stable=True)[:, :slots]
    numbers = (state.last[:, None] + shown.cumsum(1).long()) * (shown > 0)
    identities = torch.cat([state.identities[:, : kept.presence.shape[1]] * (kept.presence > 0), numbers], 1)
    temporal, prior = (
        torch.cat([known, start], 1)
        for known, start in zip((kept.temporal, carried.expected.state), carried.starts, strict=True)
    )
    where, what = torch.cat([kept.where, new.where], 1), torch.cat([kept.what, new.what], 1)
    after = State(
        where=take(where, order),
        what=take(what, order),
        presence=take(presence, order),
        temporal=take(temporal, order),
        prior=take(prior, order),
        identities=take(identities, order),
        last=state.last + shown.sum(1).long(),
        started=torch.ones_like(state.started),
    )
    return after, order


def take(x: Tensor, order: Int[Tensor, "bp n"]) -> Tensor:
    """The objects of axis 1 that `order` names."""
    return x[torch.arange(len(x), device=x.device)[:, None], order]
