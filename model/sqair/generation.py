"""Generation: what the prior of SQAIR thinks of, frame by frame."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from model.probability.normal import Normal
from model.sqair.cell import NEVER, Carried, State, merged
from model.sqair.config import Sequence
from model.sqair.discovery import Found
from model.sqair.layers import Start
from model.sqair.propagation import Expectation, Kept, Known


@dataclass(frozen=True)
class Generation:
    """The parts of the prior: known objects go on as they are expected to, then new ones come (equation 3).

    Draws are from torch's default generator. Unlike the release's, which has none, new objects come in every frame.
    """

    config: Sequence
    expectation: Expectation
    objects: nn.Module
    starts: tuple[Start, Start]
    count_prior: nn.Module
    where_prior: nn.Module
    truncate: bool
    odds: Float[Tensor, "2"]  # as a Cell's

    def __call__(self, state: State, number: Int[Tensor, "b"] | None = None) -> State:
        """The next frame's objects; `number`: how many are new, drawn where it is not given."""
        carried = self._carried(state)
        slots = self.config.slots
        numbers = torch.arange(slots, device=state.where.device)
        room = numbers < slots - carried.kept.presence.sum(1, keepdim=True)
        if number is None:
            number = self._number(state, carried, room.sum(1))
        where = self._where(carried)
        what = torch.randn(*where.shape[:2], self.config.what, device=where.device)
        nothing = torch.zeros_like(where[..., 0])
        standard = Normal(torch.zeros_like(what), torch.ones_like(what))
        new = Found(where, what, nothing, Normal(where, torch.ones_like(where)), standard)
        shown = ((numbers < number[:, None]) & room).float()
        return merged(state, carried, new, shown)[0]

    def _carried(self, state: State) -> Carried:
        known = Known(*state[:5])
        expected = self.expectation(known)
        where, what = (x.sample(torch.randn_like(x.mean)) for x in (expected.where, expected.what))
        stays = torch.rand_like(known.presence) < torch.sigmoid(expected.logits)
        presence = known.presence * stays.float()
        embedding = self.objects(torch.cat([what, where], -1)).float()
        first, second = (start(*presence.shape) for start in self.starts)
        return Carried(
            kept=Kept(where, what, presence, expected.logits, known.temporal, expected.where, expected.what),
            expected=expected,
            before=known.presence,
            divergence=torch.zeros_like(presence),
            embedded=(presence[..., None] * embedding).sum(1),
            share=(known.presence * torch.sigmoid(expected.logits) - 0.5).mean(1),
            starts=(first, second),
        )

    def _number(self, state: State, carried: Carried, free: Int[Tensor, "b"]) -> Int[Tensor, "b"]:
        first = 1 - state.started
        odds = first * self.odds[0] + state.started * self.odds[1]
        log_p = self.count_prior(carried.share, first, odds)
        if self.truncate:
            numbers = torch.arange(log_p.shape[1], device=log_p.device)
            log_p = log_p.masked_fill(numbers > free[:, None], NEVER)
        return torch.multinomial(torch.softmax(log_p, -1), 1)[:, 0]

    def _where(self, carried: Carried) -> Float[Tensor, "b n 4"]:
        """One after the other, since the prior of each is given where the one before it is."""
        where = carried.embedded.new_zeros(len(carried.embedded), self.config.slots, 4)
        noise = torch.randn_like(where)
        for _ in range(self.config.slots):
            where = self.where_prior(where, carried.embedded, carried.share).sample(noise)
        return where
