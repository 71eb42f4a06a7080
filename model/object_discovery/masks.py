"""F1, what each slot holds: masks from a convolutional LSTM over encoded frames (eq. 1); and S, which sharpens them."""

from abc import ABC
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from model.bounds import require_at_least, require_odd, require_one_of
from model.layers.conv import ResidualBlock
from model.layers.conv_lstm import ConvLSTM, ConvLSTMState, ConvLSTMWeights
from model.layers.position import sinusoidal_positions
from model.object_discovery.looks import Recognised
from model.object_discovery.scale import Scale
from model.object_discovery.shared_head import SharedHead, advantage
from model.object_discovery.starts import STARTS, near_change
from model.schedule import Ramp

# Tracking starts from these weights of the head, in logits; training changes them.
CHANGE = 6.0  # of a pixel near one that changed
PLACE = 5.0  # of a pixel where this slot is expected and no other, or the other way round


@dataclass(frozen=True)
class Masks(Scale, ABC):
    """Settings of F1 and S."""

    width: int = 32
    """Channels of the encoder of masks, a multiple of 4."""
    hidden: int = 32
    """Channels of the masks' ConvLSTM."""
    kernel: int = 5
    """Side of the ConvLSTM's convolutions, odd."""
    blocks: int = 2
    """Residual blocks of the encoder."""
    stem_stride: int = 1
    """Stride of the first convolution, 1, 2 or 4: the recurrence runs at size / stem_stride."""
    mask_bias: float = 0.0
    """Logit at which every mask starts; with tracking, about -5, what changes adds 6."""
    tracking: bool = False
    """Departure: F1 is led to what changes, and to where each slot is expected (see `MaskNet.step`); needs
    frame_difference."""
    starts: str = "frame"
    """Where slots look first when tracking: frame, in halves of it; departures: clip, at groups of what stands out from
    the first frame's median; change, at groups of what is about to change in it, which the second frame tells."""
    merging: bool = False
    """Departure: groups that touch and look alike are one, and slots without a group stay empty, so that there may be
    more slots than objects; needs starts = clip or change. Objects of one colour that touch become one."""
    recognition: bool = False
    """Departure: one head for all slots, which sees how like each slot's look a pixel is (shared_head.py); needs
    tracking, and a mask_bias of about -6."""
    alpha: Ramp = Ramp(4.0, 12.0, 10_000)
    """Steepness of the binarisation S, annealed from soft to nearly binary."""
    beta: float = 0.5
    """Middle of the binarisation, between 0 and 1."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(self, 1, "hidden")
        require_at_least(self, 0, "blocks")
        require_odd(self, "kernel")
        if self.width < 4 or self.width % 4:
            raise ValueError(f"width: got {self.width}, needs a multiple of 4 for the position encoding")
        if self.stem_stride not in (1, 2, 4):
            raise ValueError(f"stem_stride: got {self.stem_stride}, allowed are 1, 2, 4")
        if self.size % self.stem_stride:
            raise ValueError(f"size: got {self.size}, needs a multiple of stem_stride {self.stem_stride}")
        if self.tracking and not self.frame_difference:
            raise ValueError("tracking: got True, needs frame_difference True: it follows what changes")
        require_one_of(self, "starts", STARTS)
        if self.starts != "frame" and not self.tracking:
            raise ValueError(
                f"starts: got {self.starts!r}, needs tracking True: only then slots look anywhere"
            )
        if self.merging and self.starts == "frame":
            raise ValueError(
                "merging: got True, needs starts clip or change: parts of the frame are no groups"
            )
        if self.recognition and not self.tracking:
            raise ValueError("recognition: got True, needs tracking True: it tells apart what is followed")
        if not 0 < self.beta < 1:
            raise ValueError(f"beta: got {self.beta}, needs to be between 0 and 1")
        self.alpha.require("alpha", 1e-3)


class Encoded(NamedTuple):
    """What F1 takes from frames without knowing the past."""

    projected: Float[Tensor, "b *t g h2 w2"]  # what the ConvLSTM takes: see its `inputs`
    detail: Float[Tensor, "b *t e h w"]  # full-resolution features that the masks' edges follow


class MaskNet(nn.Module):
    """Residual convolutions on the frame, plus position encoding, into a ConvLSTM with a head of one map per slot.

    The paper's eq. 1 has the slot index on both sides; with weights and start equal for all slots the masks would stay
    equal for ever, so one recurrence serves all slots and the head has a channel for each. Masks are "the output of
    the recurrent units" in Figure 2; those lie in (-1, 1), so the head ends in a sigmoid.
    """

    def __init__(self, config: Masks) -> None:
        super().__init__()
        edges, slots, width, stride = 8, config.slots, config.width, config.stem_stride
        self.stem = nn.Conv2d(config.inputs, width, 3, stride=stride, padding=1)
        self.blocks = nn.Sequential(*[ResidualBlock(width) for _ in range(config.blocks)])
        self.lstm = ConvLSTM(width, config.hidden, config.kernel)
        self.detail = nn.Conv2d(config.inputs, edges, 3, padding=1)
        self.spread = nn.Sequential(nn.Conv2d(config.hidden, edges * stride**2, 1), nn.PixelShuffle(stride))
        self.tracking = config.tracking
        self.head: nn.Conv2d | SharedHead
        if config.recognition:
            self.head = SharedHead(2 * edges, config.mask_bias)
            return
        self.head = nn.Conv2d(2 * edges + config.tracking * (1 + 2 * slots), slots, 3, padding=1)
        with torch.no_grad():
            assert self.head.bias is not None
            self.head.bias.fill_(config.mask_bias)
            # At first, slots hold what changes, each where it was before or in its own place.
            if config.tracking:
                self.head.weight[:, 2 * edges :] = 0
                self.head.weight[:, 2 * edges, 1, 1] = CHANGE
                self.head.weight[:, 2 * edges + 1 : 2 * edges + 1 + slots, 1, 1] = PLACE * torch.eye(slots)

    def encode(
        self, x: Float[Tensor, "b t c h w"], salience: Float[Tensor, "b t h w"] | None = None
    ) -> Encoded:
        """The part of F1 that is batched over time.

        `salience`: what counts as changed although nothing is known of the frame before; used when tracking.
        """
        flat = x.flatten(0, 1)
        features = F.relu(self.blocks(self.stem(flat)))
        height, width = features.shape[-2:]
        # Frequencies for maps of this size; with the customary base most of them hardly turn (see the function).
        positions = sinusoidal_positions(
            features.shape[1], height, width, features, base=2.0 * max(height, width)
        )
        features = features + positions.to(features.dtype)
        detail = F.relu(self.detail(flat))
        if self.tracking:
            near = near_change(flat[:, flat.shape[1] // 2 :])
            if salience is not None:
                near = torch.maximum(near, salience.flatten(0, 1)[:, None])
            detail = torch.cat([detail, near], 1)
        return Encoded(
            self.lstm.inputs(features.view(*x.shape[:2], *features.shape[1:])),
            detail.view(*x.shape[:2], -1, *x.shape[3:]),
        )

    def step(
        self,
        state: ConvLSTMState,
        encoded: Encoded,
        expected: Float[Tensor, "b k h w"],
        recognised: Recognised | None,
        weights: ConvLSTMWeights | None,
    ) -> tuple[ConvLSTMState, Float[Tensor, "b k h w"]]:
        """The next state, and the masks m_t in [0, 1], float32, identity order, occluded parts included.

        `expected`: where the masks of the frame before should be now, in [0, 1]; used when tracking.
        `recognised`: see looks.py; used when recognising.
        `weights`: of `lstm`.
        """
        state = self.lstm.step(state, encoded.projected, weights)
        evidence = [F.relu(self.spread(state.hidden)), encoded.detail]
        if isinstance(self.head, SharedHead):
            assert recognised is not None
            logits = self.head(torch.cat(evidence, 1), expected, recognised)
        else:
            if self.tracking:
                evidence += [advantage(expected), expected]
            logits = self.head(torch.cat(evidence, 1))
        return state, torch.sigmoid(logits.float())


def binarise(masks: Tensor, alpha: float | Float[Tensor, ""], beta: float) -> Tensor:
    """S: soft binarisation sigmoid(alpha (m - beta)), elementwise (eq. 2 and 3).

    Departs from eq. 3 as printed, 1 / (1 + exp(alpha (m - beta))), which for alpha > 0 would turn masks inside out.
    """
    return torch.sigmoid(alpha * (masks - beta))
