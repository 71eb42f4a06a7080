"""Discovery: new objects of a frame, one after the other, until a presence says no; and what is expected of them."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from model.layers.dense import linear, mlp
from model.probability.normal import Normal, deviation
from model.sqair.config import Scene
from model.sqair.drawing import Glimpses
from model.sqair.layers import TanhCell

WHERE_OFFSET = -3.0  # added to the raw deviation of where at first
COUNT_UNITS = 10
LATER = 10.0  # logit of "no new object" after the first frame
WHERE_START = (-2.0, -2.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0)  # means and raw deviations of the learned prior


class Found(NamedTuple):
    """All objects that a frame could have gained, as if each were there."""

    where: Float[Tensor, "b k 4"]
    what: Float[Tensor, "b k d"]
    logits: Float[Tensor, "b k"]  # of presence, given that all before it are there
    where_posterior: Normal
    what_posterior: Normal


class Discovery(nn.Module):
    """q(D, z^D | x, z^P): a recurrence that looks at the frame, and at what is known of it already.

    An object that is not there ends the sequence, so the presence that the recurrence is told of the step before is
    always 1: what follows another would never be used.
    """

    def __init__(self, config: Scene) -> None:
        super().__init__()
        hidden, what = config.hidden, config.what
        self.slots, self.what = config.slots, what
        self.recurrence = TanhCell(2 * hidden + what + 5, hidden)
        self.where = mlp((hidden, hidden, hidden, 8))
        self.where_offset = nn.Parameter(torch.full((1,), WHERE_OFFSET))
        self.presence = mlp((hidden + what, config.narrow, 1), config.discovery_bias)

    def forward(
        self,
        frame: Float[Tensor, "b c h w"],
        encoded: Float[Tensor, "b d"],
        known: Float[Tensor, "b d"],
        glimpses: Glimpses,
        noise: Float[Tensor, "b k z"],
    ) -> Found:
        """Of a frame, its encoding and the embedding of the objects that were carried on."""
        rows = len(frame)
        state, there = None, frame.new_ones(rows, 1)
        what, where = frame.new_zeros(rows, self.what), frame.new_zeros(rows, 4)
        steps = []
        for k in range(self.slots):
            state = self.recurrence(torch.cat([encoded, known, what, where, there], -1), state)
            mean, raw = self.where(state).float().chunk(2, -1)
            where_posterior = Normal(mean, deviation(raw + self.where_offset))
            where = where_posterior.sample(noise[:, k, :4])
            what_posterior = glimpses(frame, where)
            what = what_posterior.sample(noise[:, k, 4:])
            logit = self.presence(torch.cat([state, what], -1)).float()[:, 0]
            steps.append((where, what, logit, *where_posterior[:2], *what_posterior[:2]))
        where, what, logits, *moments = (torch.stack(list(parts), 1) for parts in zip(*steps, strict=True))
        return Found(where, what, logits, Normal(moments[0], moments[1]), Normal(moments[2], moments[3]))


class LearnedCount(nn.Module):
    """log p(D): a table, moved by how many objects are expected to go on, as released."""

    def __init__(self, slots: int, *, sequence: bool) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(slots + 1))
        self.sequence = sequence
        if sequence:
            self.later = nn.Parameter(torch.cat([torch.tensor([LATER]), torch.zeros(slots)]))
        self.layers = mlp((1, COUNT_UNITS, slots + 1))

    def forward(
        self, expected: Float[Tensor, "b"], first: Float[Tensor, "b"], log_odds: Float[Tensor, "b"]
    ) -> Float[Tensor, "b n"]:
        """Of 0 to N new objects; `expected` in [-0.5, 0.5], `first` is 1 in the first frame."""
        logits = self.bias + self.layers(expected[:, None]).float()
        if self.sequence:
            logits = logits + (1 - first)[:, None] * self.later
        return F.log_softmax(F.elu(logits), -1)


class Odds(nn.Module):
    """log p(D) where each new object has the same odds, given that all before it are there."""

    def __init__(self, slots: int) -> None:
        super().__init__()
        self.slots = slots

    def forward(
        self, expected: Float[Tensor, "b"], first: Float[Tensor, "b"], log_odds: Float[Tensor, "b"]
    ) -> Float[Tensor, "b n"]:
        """Of 0 to N new objects."""
        numbers = torch.arange(self.slots + 1, device=log_odds.device)
        stops = (numbers < self.slots) * F.logsigmoid(-log_odds)[:, None]
        return numbers * F.logsigmoid(log_odds)[:, None] + stops


class LearnedWhere(nn.Module):
    """p(where of new object k | that of object k - 1, the objects that were carried on), as released."""

    def __init__(self, config: Scene) -> None:
        super().__init__()
        self.context_start = nn.Parameter(torch.zeros(4))
        self.context = linear(config.hidden + 5, config.narrow)
        self.from_context, self.from_where = linear(config.narrow, 4), linear(4, 4)
        self.first = nn.Parameter(torch.zeros(4))
        self.head = linear(4, 8)
        with torch.no_grad():
            self.head.bias.copy_(torch.tensor(WHERE_START))

    def forward(
        self, where: Float[Tensor, "b k 4"], known: Float[Tensor, "b d"], expected: Float[Tensor, "b"]
    ) -> Normal:
        """Of each of the k objects, given the drawn places of those before it."""
        rows = len(where)
        start = self.context_start.expand(rows, -1)
        context = F.elu(self.context(torch.cat([start, known, expected[:, None]], -1)))
        before = torch.cat([self.first.expand(rows, 1, -1), where[:, :-1]], 1)
        state = torch.tanh(self.from_where(before) + self.from_context(context)[:, None])
        mean, raw = self.head(state).float().chunk(2, -1)
        return Normal(mean, deviation(raw))


class FixedWhere(nn.Module):
    """The same normal for every new object."""

    def __init__(self, config: Scene) -> None:
        super().__init__()
        self.mean, self.deviation = config.size_mean, config.size_deviation

    def forward(
        self, where: Float[Tensor, "b k 4"], known: Float[Tensor, "b d"], expected: Float[Tensor, "b"]
    ) -> Normal:
        """Sizes as configured, centres standard normal."""
        mean = where.new_tensor([self.mean, self.mean, 0.0, 0.0]).expand_as(where)
        return Normal(mean, where.new_tensor([self.deviation, self.deviation, 1.0, 1.0]).expand_as(where))
