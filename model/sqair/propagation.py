"""Propagation: where each known object has gone, what it looks like now, whether it is still there; and its prior."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from model.layers.dense import linear, mlp
from model.probability.normal import LEAST_DEVIATION, Normal, deviation
from model.sqair.config import Sequence
from model.sqair.drawing import Glimpses
from model.sqair.layers import GatedCell, TanhCell

NEAR = 0.1  # share of what the networks say by which a proposal moves
WHERE_OFFSET = -3.0
STEADY = 0.9999  # the most that a gate lets through
SMALL = 0.1  # of the usual weights: a residual prior expects little change at first
RESIDUAL_WHERE, RESIDUAL_WHAT = 0.15, 0.3  # and these deviations


class Known(NamedTuple):
    """The objects of the frame before, slot by slot."""

    where: Float[Tensor, "b k 4"]
    what: Float[Tensor, "b k d"]
    presence: Float[Tensor, "b k"]
    temporal: Float[Tensor, "b k e"]  # state of what is inferred
    prior: Float[Tensor, "b k e"]  # state of what is expected


class Expected(NamedTuple):
    """What is expected of known objects in the next frame."""

    where: Normal
    what: Normal
    logits: Float[Tensor, "b k"]  # of presence, if it was there
    state: Float[Tensor, "b k e"]


class Kept(NamedTuple):
    """Known objects in this frame."""

    where: Float[Tensor, "b k 4"]
    what: Float[Tensor, "b k d"]
    presence: Float[Tensor, "b k"]
    logits: Float[Tensor, "b k"]
    temporal: Float[Tensor, "b k e"]
    where_posterior: Normal
    what_posterior: Normal


class Expectation(nn.Module):
    """p^P(z_t | z_{t-1}): each object by itself."""

    def __init__(self, config: Sequence) -> None:
        super().__init__()
        self.what, self.bias = config.what, config.prior_bias
        self.residual = config.propagation_prior == "residual"
        numbers = config.what + 4
        self.recurrence = GatedCell(numbers, config.hidden)
        self.head = linear(config.hidden, 1 + 2 * numbers)
        if self.residual:
            with torch.no_grad():
                self.head.weight.mul_(SMALL)
                deviations = torch.cat(
                    [torch.full((4,), RESIDUAL_WHERE), torch.full((config.what,), RESIDUAL_WHAT)]
                )
                self.head.bias[1 + numbers :] = torch.expm1(deviations).log()

    def forward(self, known: Known) -> Expected:
        """Means are absolute, or changes; the bias of presence stays what it is."""
        rows, slots = known.presence.shape
        latents = torch.cat([known.what, known.where], -1).flatten(0, 1)
        state = self.recurrence(latents, known.prior.flatten(0, 1))
        out = self.head(state).float().view(rows, slots, -1)
        logit, where, what, where_raw, what_raw = out.split([1, 4, self.what, 4, self.what], -1)
        if self.residual:
            where, what = known.where + where, known.what + what
        return Expected(
            Normal(where, deviation(where_raw)),
            Normal(what, deviation(what_raw)),
            logit[..., 0] + self.bias,
            state.view(rows, slots, -1),
        )


class Propagation(nn.Module):
    """q(z^P_t | x_t, z_{t-1}): slot after slot, each told by a recurrence what those before it have become.

    The frame comes in through glimpses alone: at where the object is proposed to be, then at where it is.
    """

    def __init__(self, config: Sequence) -> None:
        super().__init__()
        hidden, what, narrow = config.hidden, config.what, config.narrow
        self.what = what
        self.proposal = mlp((hidden, narrow, 4))
        self.relation = TanhCell(what + 2 * (what + 5) + hidden, hidden)
        self.where = mlp((2 * hidden + 4, hidden, hidden, 8))
        if config.propagation_prior == "residual":
            for parameter in self.where[-1].parameters():
                nn.init.zeros_(parameter)
        self.where_offset = nn.Parameter(torch.full((1,), WHERE_OFFSET))
        self.full = config.covariance == "full"
        if self.full:
            self.covariance = nn.Parameter(torch.zeros(10))
        self.recurrence = GatedCell(hidden + 4 + 2 * what, hidden)
        self.appearance = linear(hidden, 2 * what)
        self.gates = linear(hidden, 3 * what)
        nn.init.ones_(self.gates.bias)
        self.presence = mlp((2 * hidden + what, narrow, 1), config.propagation_bias)

    def forward(
        self,
        frame: Float[Tensor, "b c h w"],
        known: Known,
        glimpses: Glimpses,
        noise: Float[Tensor, "b k z"],
        chance: Float[Tensor, "b k"],
    ) -> Kept:
        """All slots of all rows; those without an object have presence 0 and anything else."""
        looks, masks = self._proposed(frame, known, glimpses)
        shape = self._shape() if self.full else None
        relation, last = None, frame.new_zeros(len(frame), self.what + 5)
        steps = []
        # Each of its own slot, by unbind: the gradient of an index would be a whole of zeros.
        slot_by_slot = zip(*(x.unbind(1) for x in (*known[:4], looks, masks)), strict=True)
        for k, (where_before, what_before, there, state, look, mask) in enumerate(slot_by_slot):
            own = torch.cat([what_before, where_before, there[:, None]], -1)
            relation = self.relation(torch.cat([look, last, own, state], -1), relation)

            where_posterior = self._moved(relation, where_before, state, shape)
            where = where_posterior.sample(noise[:, k, :4])
            seen = glimpses(frame, where, mask)
            after = self.recurrence(torch.cat([relation, where, *seen[:2]], -1), state)
            what_posterior = self._mixed(after, what_before, seen)
            what = what_posterior.sample(noise[:, k, 4:])

            logit = self.presence(torch.cat([relation, state, what], -1)).float()[:, 0]
            stays = there * (chance[:, k] < torch.sigmoid(logit)).float()
            last = torch.cat([what, where, stays[:, None]], -1)
            steps.append(
                (
                    where,
                    what,
                    stays,
                    logit,
                    after,
                    *(x for x in where_posterior if x is not None),
                    *what_posterior[:2],
                )
            )
        where, what, presence, logits, temporal, *moments = (
            torch.stack(list(parts), 1) for parts in zip(*steps, strict=True)
        )
        return Kept(
            where, what, presence, logits, temporal, Normal(*moments[:-2]), Normal(moments[-2], moments[-1])
        )

    def _proposed(
        self, frame: Float[Tensor, "b c h w"], known: Known, glimpses: Glimpses
    ) -> tuple[Float[Tensor, "b k d"], Float[Tensor, "b k 1 g g"]]:
        """What is seen where each object may have gone, of all slots at once; and the masks of their windows."""
        rows, slots = known.presence.shape
        states = known.temporal.flatten(0, 1)
        masks = glimpses.masks(states)
        proposed = known.where.flatten(0, 1) + NEAR * self.proposal(states).float()
        looks = glimpses(frame.repeat_interleave(slots, 0), proposed, masks).mean
        return looks.view(rows, slots, -1), masks.view(rows, slots, *masks.shape[1:])

    def _shape(self) -> Float[Tensor, "4 4"]:
        """The factor of the covariance of where, but for its deviations."""
        device = self.covariance.device
        rows, columns = torch.tril_indices(4, 4, device=device)
        shape = torch.eye(4, device=device).index_put(
            (rows, columns), self.covariance.float(), accumulate=True
        )
        # Unlike the release: a diagonal that is not positive is no deviation's.
        return torch.tril(shape, -1) + torch.diag(shape.diagonal().clamp(min=LEAST_DEVIATION))

    def _moved(
        self,
        relation: Float[Tensor, "b e"],
        before: Float[Tensor, "b 4"],
        state: Float[Tensor, "b e"],
        shape: Float[Tensor, "4 4"] | None,
    ) -> Normal:
        change, raw = self.where(torch.cat([relation, before, state], -1)).float().chunk(2, -1)
        spread = deviation(raw + self.where_offset - 1)
        return Normal(before + change, spread, None if shape is None else spread[:, :, None] * shape)

    def _mixed(self, after: Float[Tensor, "b e"], before: Float[Tensor, "b d"], seen: Normal) -> Normal:
        """What it was, what is seen, and what the state says, by gates; deviations are added as they are."""
        mean, raw = self.appearance(after).float().chunk(2, -1)
        forget, see, say = (STEADY * torch.sigmoid(self.gates(after).float())).chunk(3, -1)
        return Normal(
            forget * before + (1 - see) * seen.mean + (1 - say) * mean,
            (1 - see) * seen.deviation + (1 - say) * deviation(raw),
        )
