"""Optimiser and learning rate of the published TX1 models.

Adam whose weight decay is decoupled from the learning rate (doi:10.48550/arXiv.1711.05101 in its original form): before each step every parameter,
norms and biases included, is multiplied by 1 - (rate now / first rate) * decay.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, Literal

import torch
from torch import Tensor

__all__ = ["BETAS", "EPSILON", "DecoupledAdamW", "Schedule", "rate_factor"]

BETAS = (0.9, 0.95)
EPSILON = 1e-8
FINAL_FACTOR = 0.1

Schedule = Literal["cosine", "linear", "constant"]


class DecoupledAdamW(torch.optim.Adam):
    """Adam with decoupled weight decay.

    Parameters
    ----------
    parameters
        Parameters to train.
    learning_rate
        Rate at its highest; `weight_decay` is meant at this rate.
    weight_decay
        Share of a parameter that a step takes away; not multiplied by the learning rate.
    is_fused
        One kernel for all parameters (torch's fused Adam; CUDA and CPU).
    """

    def __init__(
        self, parameters: Iterable[Tensor], *, learning_rate: float, weight_decay: float, betas: tuple[float, float] = BETAS, is_fused: bool = False
    ) -> None:
        super().__init__(parameters, lr=learning_rate, betas=betas, eps=EPSILON, weight_decay=0.0, fused=is_fused or None)
        self.weight_decay = weight_decay
        self.learning_rate = learning_rate

    def set_rate(self, factor: float) -> None:
        """Take `factor` times the highest learning rate from now on."""
        for group in self.param_groups:
            group["lr"] = self.learning_rate * factor

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Shrink the parameters that have a gradient, then take a step of Adam."""
        for group in self.param_groups:
            shrunk = [value for value in group["params"] if value.grad is not None]
            keep = 1.0 - group["lr"] / self.learning_rate * self.weight_decay
            if shrunk and keep != 1.0:
                torch._foreach_mul_(shrunk, keep)
        return super().step(closure)


def rate_factor(step: int, num_steps: int, num_warmup: int, schedule: Schedule = "cosine") -> float:
    """Learning rate of a step, in multiples of the highest.

    Parameters
    ----------
    step
        Number of steps taken before, from 0.
    num_steps
        Steps in all.
    num_warmup
        Steps over which the rate rises from 0, on a line: the first step of a warm-up has rate 0, as published.
    schedule
        `cosine`: down to a tenth at `num_steps`, as published; `linear`: down to 0; `constant`: no change after the warm-up.
    """
    if step < num_warmup:
        return step / num_warmup
    if schedule == "constant":
        return 1.0
    done = min(1.0, (step - num_warmup) / max(num_steps - num_warmup, 1))
    if schedule == "linear":
        return 1.0 - done
    return FINAL_FACTOR + (1.0 - FINAL_FACTOR) * 0.5 * (1.0 + math.cos(math.pi * done))
