"""Muon: momentum whose matrices are made orthogonal, for the inner matrices of a small new model.

A step of Adam lets the few strongest directions of a matrix's gradient grow; here all directions of the momentum step alike, which teaches a model
that sees its data once or twice about twice as much per step (docs/tx1.md). Tables, vectors and the first and last layers stay with Adam.

Source: K. Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024 (kellerjordan.github.io/posts/muon); the scale of a step is
that of J. Liu et al., 2025 (doi:10.48550/arXiv.2502.16982), under which rates of Adam's size fit.

Axes: K matrices, M rows, N columns of a matrix.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from causcade.tx1.optimiser import DecoupledAdamW

__all__ = ["Muon", "OptimiserName", "inner_matrices", "optimisers_of", "orthogonal"]

OptimiserName = Literal["adamw", "muon"]

MOMENTUM = 0.95
ROUNDS = 5
COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of a polynomial that brings singular values between 0 and 1 to about 1
SCALE = 0.2  # root mean square of an element of Adam's steps
TINY = 1e-12
MOST_TOGETHER = 2**22  # elements of matrices that go through the rounds together; bounds memory


def inner_matrices(model: nn.Module) -> list[Tensor]:
    """Return the matrices of linear maps between vectors of the model, in the order of the model: no table, and none with one row or column."""
    return [
        module.weight
        for module in model.modules()
        if isinstance(module, nn.Linear) and min(module.weight.shape) > 1 and module.weight.requires_grad
    ]  # fmt: skip


def orthogonal(matrix_KMN: Tensor) -> Tensor:
    """Bring all singular values of each matrix [..., M, N] to about 1 (0.7 to 1.2), by Newton-Schulz rounds; a zero matrix stays zero."""
    is_tall = matrix_KMN.shape[-2] > matrix_KMN.shape[-1]
    x: Tensor = matrix_KMN.mT if is_tall else matrix_KMN
    x = x / (torch.linalg.matrix_norm(x, keepdim=True) + TINY)
    a, b, c = COEFFICIENTS
    for _ in range(ROUNDS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if is_tall else x


class Muon(torch.optim.Optimizer):
    """Muon with Nesterov momentum and decoupled weight decay.

    A fused map of queries, keys and values (three times as many rows as columns) is three matrices.

    Parameters
    ----------
    parameters
        Matrices, such as :func:`inner_matrices` returns; not sharded.
    learning_rate
        Rate at its highest; `weight_decay` is meant at this rate.
    weight_decay
        Share of a parameter that a step takes away; not multiplied by the learning rate.
    """

    def __init__(self, parameters: Iterable[Tensor], *, learning_rate: float, weight_decay: float) -> None:
        super().__init__(parameters, {"lr": learning_rate})
        self.learning_rate, self.weight_decay = learning_rate, weight_decay

    def set_rate(self, factor: float) -> None:
        """Take `factor` times the highest learning rate from now on."""
        for group in self.param_groups:
            group["lr"] = self.learning_rate * factor

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take a step with every matrix that has a gradient."""
        loss = None if closure is None else closure()
        for group in self.param_groups:
            keep = 1.0 - group["lr"] / self.learning_rate * self.weight_decay
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            parts = [part for parameter in parameters for part in self._ahead(parameter)]
            steps = iter(_all_orthogonal(parts))
            for parameter in parameters:
                step_MN = torch.cat([next(steps) for _ in range(_num_fused(parameter))])
                scale = SCALE * math.sqrt(max(step_MN.shape[0] // _num_fused(parameter), step_MN.shape[1]))
                parameter.mul_(keep).add_(step_MN, alpha=-group["lr"] * scale)
        return loss

    def _ahead(self, parameter: Tensor) -> tuple[Tensor, ...]:
        """Renew the momentum of a parameter, and look one step ahead: its matrices."""
        if parameter.grad is None:
            raise AssertionError("only parameters with a gradient take a step")
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        state["momentum"].lerp_(parameter.grad, 1 - MOMENTUM)
        return parameter.grad.lerp(state["momentum"], MOMENTUM).chunk(_num_fused(parameter))


def _num_fused(parameter: Tensor) -> int:
    """Matrices that a parameter is: three where it is the map to queries, keys and values."""
    return 3 if parameter.shape[0] == 3 * parameter.shape[1] else 1


def _all_orthogonal(matrices: Sequence[Tensor]) -> list[Tensor]:
    """Matrices made orthogonal, those of equal shape together: products of many small matrices one by one cost more in calls than in arithmetic."""
    by_shape: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for place, matrix in enumerate(matrices):
        by_shape[min(tuple(matrix.shape), tuple(matrix.shape)[::-1])].append(place)
    found: dict[int, Tensor] = {}
    for (num_rows, num_columns), places in by_shape.items():
        at_once = max(1, MOST_TOGETHER // (num_rows * num_columns))
        for start in range(0, len(places), at_once):
            some = places[start : start + at_once]
            wide = [matrices[place] if matrices[place].shape[0] == num_rows else matrices[place].T for place in some]
            for place, result in zip(some, orthogonal(torch.stack(wide)), strict=True):
                found[place] = result if matrices[place].shape[0] == num_rows else result.T
    return [found[place] for place in range(len(matrices))]


def optimisers_of(
    model: nn.Module, name: OptimiserName, *, learning_rate: float, weight_decay: float, is_fused: bool
) -> tuple[DecoupledAdamW | Muon, ...]:
    """Make AdamW for all parameters of a model, or for those that Muon does not take."""
    matrices = inner_matrices(model) if name == "muon" else []
    taken = set(map(id, matrices))
    rest = [value for value in model.parameters() if value.requires_grad and id(value) not in taken]
    adamw = DecoupledAdamW(rest, learning_rate=learning_rate, weight_decay=weight_decay, is_fused=is_fused)
    return (adamw, Muon(matrices, learning_rate=learning_rate, weight_decay=weight_decay)) if matrices else (adamw,)
