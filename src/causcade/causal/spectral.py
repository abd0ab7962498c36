"""The spectral radius of W: power steps at every step of a fit, ARPACK where a fit is checked.

Axes: G genes, E edges.
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import torch
from scipy import sparse
from scipy.sparse.linalg import ArpackError, ArpackNoConvergence, eigs
from torch import Tensor

from causcade.causal.operator import Pattern

__all__ = ["SpectralProbe", "exact_radius", "log_growth"]

logger = logging.getLogger("causcade")

POWER_STEPS = 10  # even, so that a two-cycle gives its geometric mean
WARM_UP_STEPS = 50
DENSE_GENES = 100  # up to here all eigenvalues are computed; ARPACK needs more rows than vectors
NUM_EIGENVALUES = 4  # a complex pair and what is close to it
MAX_RESTARTS = 30
TOLERANCE = 1e-4


class SpectralProbe:
    """Spectral radius by power steps from a vector that is kept between calls.

    The dominant eigenvalues of a directed network are complex as a rule, so the vector keeps turning; the geometric mean of the ratios of
    norms over the steps is their modulus (a Rayleigh quotient is not).
    """

    def __init__(self, num_genes: int, generator: torch.Generator, device: torch.device) -> None:
        self._generator = generator
        self.vector_G1 = self._draw(num_genes).to(device)
        self.is_warm = False

    def _draw(self, num_genes: int) -> Tensor:
        vector = torch.randn(num_genes, 1, generator=self._generator)
        unit: Tensor = vector / vector.norm()
        return unit

    def measure(self, pattern: Pattern, value_E: Tensor, *, num_steps: int = POWER_STEPS) -> float:
        """Estimate the radius with `num_steps` power steps; 0 for an operator that annihilates every vector it meets."""
        matrix = pattern.matrix(value_E)
        vector = self.vector_G1
        if not self.is_warm:
            vector, _ = _steps(matrix, vector, WARM_UP_STEPS)
        vector, growth = _steps(matrix, vector, num_steps)
        radius = float(growth.exp())
        self.is_warm = radius > 0
        self.vector_G1 = vector if radius > 0 else self._draw(pattern.num_genes).to(vector.device)
        return radius


def _steps(matrix: Tensor, vector_G1: Tensor, num_steps: int) -> tuple[Tensor, Tensor]:
    """Apply the operator `num_steps` times: the last vector, scaled to norm 1, and the mean log ratio of norms."""
    logs = []
    for _ in range(num_steps):
        image = matrix @ vector_G1
        norm = image.norm()
        logs.append(norm.log())
        vector_G1 = image / norm.clamp_min(torch.finfo(image.dtype).tiny)
    return vector_G1, torch.stack(logs).mean()


class LogGrowth(torch.autograd.Function):
    """Mean logarithm of the growth of a vector over power steps, with its gradient in the values."""

    @staticmethod
    def forward(ctx: Any, value_E: Tensor, vector_G1: Tensor, pattern: Pattern, num_steps: int) -> Tensor:
        """Return the logarithm of the geometric mean of the ratios of norms."""
        matrix = pattern.matrix(value_E)
        units, norms = [vector_G1], []
        for _ in range(num_steps):
            image = matrix @ units[-1]
            norms.append(image.norm().clamp_min(torch.finfo(image.dtype).tiny))
            units.append(image / norms[-1])
        ctx.save_for_backward(value_E, torch.stack(norms), *units)
        ctx.pattern = pattern
        return torch.stack(norms).log().mean()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        """Gradient of the values [E]: sum over the steps of the adjoint of the target times the vector of the source."""
        value_E, norms, *units = ctx.saved_tensors
        transposed = ctx.pattern.transposed(value_E)
        adjoint, adjoints = units[-1], []
        for norm in norms.flip(0):
            adjoints.append(adjoint / norm)
            adjoint = transposed @ adjoints[-1]
        product_E = ctx.pattern.sampled_product(torch.cat(adjoints[::-1], dim=1), torch.cat(units[:-1], dim=1))
        return gradients[0] / len(norms) * product_E, None, None, None


def log_growth(value_E: Tensor, vector_G1: Tensor, pattern: Pattern, num_steps: int = POWER_STEPS) -> Tensor:
    """Logarithm of the radius that power steps from a vector of norm 1 find; differentiable in the values.

    It needs no eigenvectors, so complex dominant eigenvalues are nothing special.
    """
    growth: Tensor = LogGrowth.apply(value_E, vector_G1, pattern, num_steps)  # type: ignore[no-untyped-call]
    return growth


def exact_radius(pattern: Pattern, value_E: Tensor, *, start_G1: Tensor | None = None) -> float:
    """Spectral radius by ARPACK (implicitly restarted Arnoldi), or from all eigenvalues of a small network.

    Parameters
    ----------
    pattern, value_E
        The operator.
    start_G1
        First vector; the same vector gives the same digits.

    Returns
    -------
    float
        NaN where no eigenvalue converged, as of a network without cycles, all of whose eigenvalues are 0.
    """
    shape = (pattern.num_genes, pattern.num_genes)
    values, starts, columns = (part.detach().cpu().numpy() for part in (value_E, pattern.row_start, pattern.source_E))
    matrix = sparse.csr_matrix((values.astype(np.float64), columns, starts), shape=shape)
    if pattern.num_genes <= DENSE_GENES:
        return float(np.abs(np.linalg.eigvals(matrix.toarray())).max(initial=0.0))
    first = None if start_G1 is None else start_G1.detach().cpu().numpy().astype(np.float64).ravel()
    try:
        found = eigs(matrix, k=NUM_EIGENVALUES, which="LM", v0=first, maxiter=MAX_RESTARTS, tol=TOLERANCE, return_eigenvectors=False)
    except ArpackNoConvergence as error:
        found = error.eigenvalues
    except ArpackError:  # it meets vectors that the operator annihilates
        found = np.zeros(0)
    return float(np.abs(found).max()) if len(found) else float("nan")
