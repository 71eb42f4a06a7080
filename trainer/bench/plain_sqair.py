"""SQAIR frame by frame, particle by particle and object by object: what `bench step sqair` measures it against.

Every frame is read at its own step, for each particle again. Windows, expectations and embeddings of known objects,
and pixels, are computed object after object, likelihoods frame after frame; the first frame carries on objects that
are not there. The modules of a model are called, and its objective; how they follow one another is written out again.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from model.interface import Video
from model.ops.glimpse import paste
from model.probability.normal import LEAST_DEVIATION, Normal, deviation, log_likelihood
from model.sqair.cell import Carried, CarryOn, Inputs, State, Step
from model.sqair.discovery import Found
from model.sqair.drawing import COVERED, Glimpses
from model.sqair.inference import Result
from model.sqair.model import SQAIR
from model.sqair.objective import count_patterns, relaxed_presence, with_and_without
from model.sqair.propagation import NEAR, STEADY, Expected, Kept, Known


@dataclass(frozen=True)
class SlotBySlot(CarryOn):
    """Known objects, one after the other in all that is done with them."""

    def __call__(self, frame: Tensor, state: State, noise: Tensor, chance: Tensor) -> Carried:
        """See CarryOn."""
        rows, slots = state.presence.shape
        last: Tensor = frame.new_zeros(rows, self.propagation.what + 5)
        relation = None
        kept, expected, divergences = [], [], []
        embedded, share = frame.new_zeros(rows, state.temporal.shape[-1]), frame.new_zeros(rows)
        for k in range(slots):
            known = Known(*(x[:, k] for x in state[:5]))
            wanted = self.expectation(Known(*(x[:, None] for x in known)))
            relation, own = self._kept(frame, known, (relation, last), noise[:, k], chance[:, k])
            last = torch.cat([own.what, own.where, own.presence[:, None]], -1)
            where = own.where_posterior.divergence(_only(wanted.where), own.where if self.sampled else None)
            what = own.what_posterior.divergence(_only(wanted.what), own.what if self.sampled else None)
            embedding = self.objects(torch.cat([own.what, own.where], -1)).float()
            embedded = embedded + own.presence[:, None] * embedding
            share = share + (known.presence * torch.sigmoid(wanted.logits[:, 0]) - 0.5) / slots
            kept.append(own)
            expected.append(wanted)
            divergences.append(where + what)
        first, second = (start(rows, slots) for start in self.starts)
        return Carried(
            _stacked(kept),
            Expected(
                Normal(*(torch.cat([x.where[i] for x in expected], 1) for i in (0, 1))),
                Normal(*(torch.cat([x.what[i] for x in expected], 1) for i in (0, 1))),
                torch.cat([x.logits for x in expected], 1),
                torch.cat([x.state for x in expected], 1),
            ),
            state.presence,
            torch.stack(divergences, 1),
            embedded,
            share,
            (first, second),
        )

    def _kept(
        self, frame: Tensor, known: Known, before: tuple[Tensor | None, Tensor], noise: Tensor, chance: Tensor
    ) -> tuple[Tensor, Kept]:
        """One object: the relation to those before it, and what it has become."""
        parts = self.propagation
        where_before, what_before, there, state, _ = known
        mask = self.glimpses.masks(state)
        look = self.glimpses(frame, where_before + NEAR * parts.proposal(state).float(), mask).mean
        own = torch.cat([what_before, where_before, there[:, None]], -1)
        relation = parts.relation(torch.cat([look, before[1], own, state], -1), before[0])

        change, raw = parts.where(torch.cat([relation, where_before, state], -1)).float().chunk(2, -1)
        spread = deviation(raw + parts.where_offset - 1)
        factor = spread[:, :, None] * _triangle(parts.covariance) if parts.full else None
        where_posterior = Normal(where_before + change, spread, factor)
        where = where_posterior.sample(noise[:, :4])
        seen = self.glimpses(frame, where, mask)
        after = parts.recurrence(torch.cat([relation, where, *seen[:2]], -1), state)
        said, raw = parts.appearance(after).float().chunk(2, -1)
        forget, see, say = (STEADY * torch.sigmoid(parts.gates(after).float())).chunk(3, -1)
        what_posterior = Normal(
            forget * what_before + (1 - see) * seen.mean + (1 - say) * said,
            (1 - see) * seen.deviation + (1 - say) * deviation(raw),
        )
        what = what_posterior.sample(noise[:, 4:])
        logit = parts.presence(torch.cat([relation, state, what], -1)).float()[:, 0]
        stays = there * (chance < torch.sigmoid(logit)).float()
        return relation, Kept(where, what, stays, logit, after, where_posterior, what_posterior)


@dataclass(frozen=True)
class OneByOne:
    """New objects; with `again`, the frame is read for each of them, as in the released code."""

    model: SQAIR
    again: bool

    def __call__(
        self, frame: Tensor, encoded: Tensor, known: Tensor, glimpses: Glimpses, noise: Tensor
    ) -> Found:
        """See Discovery."""
        parts, found = self.model.discovery, []
        state, there = None, frame.new_ones(len(frame), 1)
        what, where = frame.new_zeros(len(frame), parts.what), frame.new_zeros(len(frame), 4)
        for k in range(parts.slots):
            read = self.model.encoder(glimpses.trunk(frame)) if self.again else encoded
            state = parts.recurrence(torch.cat([read, known, what, where, there], -1), state)
            mean, raw = parts.where(state).float().chunk(2, -1)
            where_posterior = Normal(mean, deviation(raw + parts.where_offset))
            where = where_posterior.sample(noise[:, k, :4])
            what_posterior = glimpses(frame, where)
            what = what_posterior.sample(noise[:, k, 4:])
            logit = parts.presence(torch.cat([state, what], -1)).float()[:, 0]
            found.append((where, what, logit, *where_posterior[:2], *what_posterior[:2]))
        where, what, logits, *moments = (torch.stack(list(x), 1) for x in zip(*found, strict=True))
        return Found(where, what, logits, Normal(moments[0], moments[1]), Normal(moments[2], moments[3]))


class Plain(nn.Module):
    """The model's parts, frame after frame; `again`: the frame is read for each new object."""

    def __init__(self, model: SQAIR, again: bool = False) -> None:
        super().__init__()
        self.model, self.again = model, again

    def forward(self, video: Video, step: int) -> Float[Tensor, ""]:
        """The loss."""
        model, config = self.model, self.model.config
        frames = video.frames.repeat_interleave(model.particles, 0)
        rows, steps = frames.shape[:2]
        # As the model draws them.
        noise = torch.randn(rows, steps, 2 * config.slots, 4 + config.what, device=frames.device)
        chance = torch.rand(rows, steps, 2 * config.slots, device=frames.device)
        cell = model.cell(step, first=False)
        assert isinstance(cell.carry, CarryOn)
        found_by = OneByOne(model, self.again)
        cell = replace(cell, carry=SlotBySlot(**vars(cell.carry)), discovery=found_by)
        state, bounds, weights = start(model, rows, frames.device), [], []
        for t in range(steps):
            frame = frames[:, t]
            encoded = model.encoder(model.glimpses.trunk(frame))
            state, (found, _) = cell(state, Inputs(frame, encoded, noise[:, t], chance[:, t]))
            result = self.finish(found, frame)
            w = model.weights(result)
            weights.append(w)
            if model.exact or model.relaxed:
                bounds.append(model.bound(result, w))
        if not bounds:  # of whole clips
            whole = type(weights[0])(*(torch.cat(x, 1) for x in zip(*weights, strict=True)))
            bounds.append(model.bound(result, whole))
        total: Tensor = sum(bounds[1:], bounds[0])
        return -total.mean() / steps

    def finish(self, found: Step, frame: Float[Tensor, "b c h w"]) -> Result:
        """What a frame's objects show, with the axis of time that the objective has."""
        model = self.model
        step = Step(*(x[:, None] for x in found))
        if model.exact:
            patterns = count_patterns(step)
        else:
            relaxed = model.relaxed
            shown = relaxed_presence(step, model.scene.presence_temperature) if relaxed else step.presence
            patterns = shown[..., None, :]
        objects = [drawn(model, *x) for x in zip(found.what.unbind(1), found.where.unbind(1), strict=True)]
        likelihood = likelihoods(model, frame, patterns[:, 0], objects)
        toggled = likelihood.new_zeros(len(frame), 2 * model.known)
        if model.exact:
            with torch.no_grad():
                toggled = likelihoods(model, frame, with_and_without(step)[:, 0], objects)
        nothing = frame[:, None]
        return Result(step, likelihood[:, None], toggled[:, None], nothing, nothing)


def drawn(
    model: SQAIR, what: Float[Tensor, "b d"], where: Float[Tensor, "b 4"]
) -> tuple[Float[Tensor, "b c h w"], Float[Tensor, "b 1 h w"] | None]:
    """One object alone in the frame, and how much it covers of it where there is a mean image."""
    drawing = model.drawing
    pixels = drawing.layers(what).float()
    pixels = torch.sigmoid(pixels) if drawing.sigmoid else drawing.scale * pixels
    pixels = pixels.view(len(what), drawing.channels, drawing.side, drawing.side)
    cover = None
    if drawing.mean_image:
        cover = paste(torch.ones_like(pixels[:, :1]), where, drawing.size)
    return paste(pixels, where, drawing.size), cover


def likelihoods(
    model: SQAIR,
    frame: Float[Tensor, "b c h w"],
    patterns: Float[Tensor, "b m k"],
    objects: list[tuple[Tensor, Tensor | None]],
) -> Float[Tensor, "b m"]:
    """Of the frame, given each set of objects."""
    found = []
    for pattern in patterns.unbind(1):
        shown = list(zip(pattern.unbind(1), objects, strict=True))
        mean = torch.stack([p[:, None, None, None] * x for p, (x, _) in shown]).sum(0)
        if model.drawing.mean_image:
            covers = [p[:, None, None, None] * x for p, (_, x) in shown if x is not None]
            cover = torch.stack(covers).sum(0)
            mean = mean + torch.sigmoid(COVERED[0] + COVERED[1] * cover) * model.drawing.background
        found.append(log_likelihood(frame, mean[:, None], model.scene.deviation)[:, 0])
    return torch.stack(found, 1)


def start(model: SQAIR, rows: int, device: torch.device) -> State:
    """Before the first frame nothing is there."""
    slots, config = model.config.slots, model.config
    where, what, hidden = (
        torch.zeros(rows, slots, n, device=device) for n in (4, config.what, config.hidden)
    )
    none, numbers = where[..., 0], where[..., 0].long()
    return State(where, what, none, hidden, hidden, numbers, numbers[:, 0], none[:, 0])


def _triangle(covariance: Float[Tensor, "10"]) -> Float[Tensor, "4 4"]:
    """The factor of the covariance of where, but for its deviations: not less than they may be on its diagonal."""
    rows, columns = torch.tril_indices(4, 4, device=covariance.device)
    whole = torch.zeros(4, 4, device=covariance.device).index_put((rows, columns), covariance)
    diagonal = (whole.diagonal() + 1).clamp(min=LEAST_DEVIATION)
    return torch.tril(whole, -1) + torch.diag(diagonal)


def _only(normal: Normal) -> Normal:
    """That of the one slot there is."""
    return Normal(normal.mean[:, 0], normal.deviation[:, 0])


def _stacked(each: list[Kept]) -> Kept:
    """All slots; factors of covariances, which nobody asks for any more, are left out."""
    where, what, presence, logits, temporal = (
        torch.stack(list(x), 1) for x in zip(*(kept[:5] for kept in each), strict=True)
    )
    first = _together([kept.where_posterior for kept in each])
    return Kept(
        where, what, presence, logits, temporal, first, _together([kept.what_posterior for kept in each])
    )


def _together(each: list[Normal]) -> Normal:
    return Normal(torch.stack([x.mean for x in each], 1), torch.stack([x.deviation for x in each], 1))
