"""The papers' optimisers, state named as Universal Checkpoint expects, and the learning-rate schedule."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from model.eager import as_they_are
from trainer.config import OptimConfig

as_they_are(torch.optim.Optimizer)


class SGD(torch.optim.Optimizer):
    """Stochastic gradient descent with momentum: buffer = m buffer + g, w -= lr buffer, as torch.optim.SGD.

    Caffe's and the papers' buffer holds lr g instead; that is the same while the rate is constant.

    The buffer is called exp_avg, for the reason that RMSprop has. Universal Checkpoint fails without an exp_avg_sq
    too, so there is one, which stays zero: a tensor as large as the weights is what resuming on another number of
    ranks costs.
    """

    def __init__(
        self, params: Iterable[nn.Parameter], lr: float, momentum: float = 0.0, weight_decay: float = 0.0
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update from the gradients in `.grad`; `closure` is refused."""
        if closure is not None:
            raise ValueError("SGD.step takes no closure; compute the gradients first")
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["step"] = torch.tensor(0.0)
                    state["exp_avg"], state["exp_avg_sq"] = (torch.zeros_like(parameter) for _ in range(2))
                state["step"] += 1
                gradient = parameter.grad.add(parameter, alpha=group["weight_decay"])
                parameter.add_(state["exp_avg"].mul_(group["momentum"]).add_(gradient), alpha=-group["lr"])


class RMSprop(torch.optim.Optimizer):
    """RMSprop (Tieleman & Hinton 2012) with torch or TensorFlow 1 semantics.

    torch: s = a s + (1 - a) g^2 from s = 0, d = g / (sqrt(s) + eps), buffer = m buffer + d, w -= lr buffer.
    tensorflow: s starts at 1, d = g / sqrt(s + eps), buffer = m buffer + lr d, w -= buffer.

    The states are called exp_avg (momentum buffer) and exp_avg_sq (s): DeepSpeed's Universal Checkpoint converts
    these two names and no others, so torch's own class could not resume on another number of ranks.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float,
        alpha: float = 0.99,
        eps: float = 1e-8,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        tensorflow: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "alpha": alpha,
                "eps": eps,
                "momentum": momentum,
                "weight_decay": weight_decay,
                "tensorflow": tensorflow,
            },
        )

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update from the gradients in `.grad`; `closure` is refused."""
        if closure is not None:
            raise ValueError("RMSprop.step takes no closure; compute the gradients first")
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group)

    def _update(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.tensor(0.0)
            state["exp_avg"] = torch.zeros_like(parameter)
            start = torch.ones_like if group["tensorflow"] else torch.zeros_like
            state["exp_avg_sq"] = start(parameter)
        state["step"] += 1
        if group["weight_decay"]:
            gradient = gradient.add(parameter, alpha=group["weight_decay"])
        square, lr = state["exp_avg_sq"], group["lr"]
        square.mul_(group["alpha"]).addcmul_(gradient, gradient, value=1 - group["alpha"])
        root = (square + group["eps"]).sqrt_() if group["tensorflow"] else square.sqrt().add_(group["eps"])
        if not group["momentum"]:
            parameter.addcdiv_(gradient, root, value=-lr)
            return
        buffer = state["exp_avg"].mul_(group["momentum"])
        if group["tensorflow"]:
            parameter.sub_(buffer.addcdiv_(gradient, root, value=lr))
        else:
            parameter.add_(buffer.addcdiv_(gradient, root), alpha=-lr)


def build_optimizer(config: OptimConfig, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """The optimiser of a config, with element-wise clipping attached where asked."""
    optimizer: torch.optim.Optimizer
    if config.name == "adam":
        optimizer = torch.optim.Adam(
            parameters, lr=config.lr, betas=config.betas, eps=config.eps, weight_decay=config.weight_decay
        )
    elif config.name == "sgd":
        optimizer = SGD(parameters, config.lr, config.momentum, config.weight_decay)
    else:
        optimizer = RMSprop(
            parameters,
            config.lr,
            config.alpha,
            config.eps,
            config.momentum,
            config.weight_decay,
            tensorflow=config.name == "rmsprop-tf",
        )
    if config.clip_value:
        # On the optimiser, so that it sees the summed gradient; element-wise, so that ZeRO's partitions do not matter.
        optimizer.register_step_pre_hook(lambda opt, *_: _clip_elements(opt, config.clip_value))
    return optimizer


def learning_rate(config: OptimConfig, step: int, steps: int) -> float:
    """The rate of optimiser step `step` (from 0) of `steps`: linear warm-up times decay."""
    warmup = min(1.0, (step + 1) / (config.warmup_steps + 1))
    if config.decay == "exponential":
        return config.lr * warmup * config.decay_factor ** (step // config.decay_steps)
    if config.decay == "cosine":
        cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, step / max(1, steps))))
        return config.lr * warmup * (config.final_fraction + (1 - config.final_fraction) * cosine)
    return config.lr * warmup


def _clip_elements(optimizer: torch.optim.Optimizer, limit: float) -> None:
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter.grad is not None:
                parameter.grad.clamp_(-limit, limit)
