"""The Huber penalty on the gradient of the flow (eq. 2), as a term of the loss and as an injected gradient."""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from model.unroll import inner_gradient


def flow_gradient(flow: Float[Tensor, "*n h w"]) -> tuple[Float[Tensor, "*n h w"], Float[Tensor, "*n h w"]]:
    """Central differences along x and y (the 5-point stencil), half of them at the edges, where the flow is repeated.

    The paper does not say how it pads; zeros would pull the flow to zero along the frame's edge.
    """
    height, width = flow.shape[-2:]
    padded = F.pad(flow.reshape(-1, 1, height, width), (1, 1, 1, 1), mode="replicate").reshape(
        *flow.shape[:-2], height + 2, width + 2
    )
    along_x = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2
    along_y = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2
    return along_x, along_y


def smoothness(flow: Float[Tensor, "*n 2 h w"], delta: float) -> Float[Tensor, ""]:
    """Mean Huber value over pixels and components of |gradient|: a^2 / 2 up to delta, delta (a - delta / 2) beyond.

    |gradient| is the length of (d/dx, d/dy), as in the released code; the paper may mean each derivative alone. Its
    root is taken beyond delta only, so flat flow, as at the start, has the gradient zero and not NaN.
    """
    along_x, along_y = flow_gradient(flow)
    square = along_x.square() + along_y.square()
    length = square.clamp(min=delta**2).sqrt()
    return torch.where(square <= delta**2, square / 2, delta * (length - delta / 2)).mean()


def inject_smoothness(
    flow: Float[Tensor, "*n 2 h w"], delta: float, weight: float
) -> Float[Tensor, "*n 2 h w"]:
    """The flow itself; on the way back, the gradient of weight * `smoothness` is added to what arrives.

    The same gradients as the term in the loss has, for a loss that is differentiated as it is: an engine that
    scales the loss (accumulation, loss scaling) scales the term, but cannot know of the injection.
    """
    if not torch.is_grad_enabled():
        return flow
    gradient = inner_gradient(lambda at: weight * smoothness(at, delta), flow)
    injected: Tensor = _Injection.apply(flow, gradient)  # type: ignore[no-untyped-call]
    return injected


class _Injection(torch.autograd.Function):
    """Identity whose backward pass adds a given gradient."""

    @staticmethod
    def forward(ctx: Any, flow: Tensor, gradient: Tensor) -> Tensor:
        ctx.save_for_backward(gradient)
        return flow.view_as(flow)

    @staticmethod
    def backward(ctx: Any, *arriving: Tensor) -> tuple[Tensor, None]:
        (gradient,) = ctx.saved_tensors
        return arriving[0] + gradient, None
