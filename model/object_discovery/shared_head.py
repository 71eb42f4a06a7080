"""The last step of F1 where slots are recognised: one head for all of them (departure).

Slots differ by what is expected of each alone: where it should be, and what it looks like. So weights that were trained
with some number of slots serve any other.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from model.object_discovery.looks import Recognised, most_of_others
from model.ops.neighbourhood import greatest_around

REACH = 5  # pixels around a place that are told by it where looks do not tell
FAINT = 0.01  # expected masks below this do not count

# Logits that training starts from: of a pixel near one that changed; where this slot is expected and no other; of one
# that looks like this slot, less that of one that looks like another; of one where this slot is expected, but hidden;
# and of one that looks do not tell: where this slot is expected around and no other, and where it is expected at all.
NEAR, HERE, LIKE, HIDDEN, ALONE, AMONG = 4.0, 1.0, 6.0, 12.0, 8.0, 4.0
WIDTH = 8  # hidden channels of the shared head


def advantage(expected: Float[Tensor, "b k h w"]) -> Float[Tensor, "b k h w"]:
    """0 where all slots are expected alike, 1 where only this one is, -1 where only others are."""
    share = (expected + FAINT) / (expected + FAINT).sum(1, keepdim=True)
    return (share.shape[1] * share - 1).clamp(max=1)


class SharedHead(nn.Module):
    """The same two 3x3 convolutions for every slot: one over what all slots see, one over what is a slot's own.

    logit = a_0 + w relu(a_1..8), a = common * [features, change] + own * [advantage, expected, others expected, like,
    others alike, hidden, untold advantage around, untold and expected]. At first a_0 reads the centre pixel alone,
    and w is small.
    """

    def __init__(self, features: int, bias: float) -> None:
        super().__init__()
        self.common = nn.Conv2d(features + 1, WIDTH + 1, 3, padding=1)
        self.own = nn.Conv2d(8, WIDTH + 1, 3, padding=1, bias=False)
        self.last = _Sum(WIDTH, 1, 1, bias=False)
        with torch.no_grad():
            assert self.common.bias is not None
            self.last.weight.mul_(0.1)
            self.common.bias[0] = bias
            self.common.weight[0, features:] = 0
            self.common.weight[0, features, 1, 1] = NEAR
            self.own.weight[0] = 0
            self.own.weight[0, :, 1, 1] = torch.tensor([HERE, 0, 0, LIKE, -LIKE, HIDDEN, ALONE, AMONG])

    def forward(
        self,
        seen: Float[Tensor, "b f h w"],
        expected: Float[Tensor, "b k h w"],
        recognised: Recognised,
    ) -> Float[Tensor, "b k h w"]:
        """Logits. `seen`: features, and last what changed."""
        batch, slots = expected.shape[:2]
        like, hidden, untold = recognised
        others = expected.sum(1, keepdim=True) - expected
        here = advantage(expected)
        around = advantage(greatest_around(expected, REACH))
        own = torch.stack(
            [here, expected, others, like, most_of_others(like), hidden, untold * around, untold * expected],
            2,
        )
        # Few channels on large maps: with channels last these convolutions take half the time on a CPU.
        own, seen = (x.contiguous(memory_format=torch.channels_last) for x in (own.flatten(0, 1), seen))
        response = self.own(own).unflatten(0, (batch, slots)) + self.common(seen)[:, None]
        straight, hidden = response.split([1, WIDTH], 2)
        logits: Tensor = straight[:, :, 0] + self.last(F.relu(hidden))
        return logits


class _Sum(nn.Conv2d):
    """A 1x1 convolution to one channel, made as a weighted sum: in a third of the time."""

    def forward(self, x: Float[Tensor, "b k d h w"]) -> Float[Tensor, "b k h w"]:
        summed: Tensor = (x * self.weight[0]).sum(2)
        return summed
