"""Sparse linear algebra of the causal module: a directed network as values on a fixed pattern, never a dense genes x genes matrix.

Axes: G genes, E edges of the pattern, D perturbations, R rank. W[target, source] is a compressed sparse row matrix; each edge has one value.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from causcade.errors import InputError

__all__ = ["Pattern", "low_rank_values", "neumann_sum"]


class Pattern:
    """Positions of the edges, by row and by column.

    Parameters
    ----------
    target_E, source_E
        Row and column of each edge; sorted by target, then source, each pair once, no self edge.
    num_genes
        Number of genes.
    device
        Where the tensors live.

    Raises
    ------
    InputError
        If an edge is out of range, repeated, out of order, or a self edge. torch itself checks nothing here.
    """

    def __init__(self, target_E: npt.NDArray[np.int64], source_E: npt.NDArray[np.int64], num_genes: int, device: torch.device) -> None:
        key_E = target_E * num_genes + source_E
        inside = len(key_E) == 0 or (min(target_E.min(), source_E.min()) >= 0 and max(target_E.max(), source_E.max()) < num_genes)
        if not inside or (np.diff(key_E) <= 0).any() or (target_E == source_E).any():
            raise InputError("edges: expected distinct gene pairs of the panel, sorted by target and source, without self edges. Rebuild the mask.")
        self.num_genes, self.num_edges, self.device = num_genes, len(key_E), device
        order_E = np.lexsort((target_E, source_E))
        self.target_E, self.source_E = (torch.as_tensor(index, device=device) for index in (target_E, source_E))
        self.row_start = torch.as_tensor(_starts(target_E, num_genes), device=device)
        self.column_start = torch.as_tensor(_starts(source_E, num_genes), device=device)
        self.order_E = torch.as_tensor(order_E, device=device)  # edges sorted by source: the rows of the transpose
        self.target_by_source_E = torch.as_tensor(target_E[order_E], device=device)
        with warnings.catch_warnings():  # torch tells once per process that its CSR tensors are young
            warnings.simplefilter("ignore")
            self.matrix(torch.zeros(self.num_edges, device=device))

    def matrix(self, value_E: Tensor) -> Tensor:
        """W [G, G] as a sparse tensor, rows are targets."""
        return _csr(self.row_start, self.source_E, value_E, self.num_genes)

    def transposed(self, value_E: Tensor) -> Tensor:
        """W' [G, G] as a sparse tensor, rows are sources."""
        return _csr(self.column_start, self.target_by_source_E, value_E[self.order_E], self.num_genes)

    def sampled_product(self, left_GD: Tensor, right_GD: Tensor) -> Tensor:
        """sum_d left[target, d] * right[source, d] of every edge, [E]."""
        pattern = self.matrix(left_GD.new_zeros(self.num_edges))
        product: Tensor = torch.sparse.sampled_addmm(pattern, left_GD.contiguous(), right_GD.T, beta=0.0)
        return product.values()


def _starts(index_E: npt.NDArray[np.int64], num_genes: int) -> npt.NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(np.bincount(index_E, minlength=num_genes))]).astype(np.int64)


def _csr(starts: Tensor, index_E: Tensor, value_E: Tensor, num_genes: int) -> Tensor:
    return torch.sparse_csr_tensor(starts, index_E, value_E, (num_genes, num_genes), check_invariants=False)


class NeumannSum(torch.autograd.Function):
    """sum_{k=0..K} W^k d for all perturbations at once.

    The gradient of an edge is sum_k adjoint_k[target] . term_{k-1}[source], one sampled product over all terms.
    """

    @staticmethod
    def forward(ctx: Any, value_E: Tensor, direct_GD: Tensor, pattern: Pattern, num_hops: int) -> Tensor:
        """Return the sum [G, D]."""
        matrix = pattern.matrix(value_E)
        terms = [direct_GD]
        for _ in range(num_hops):
            terms.append(matrix @ terms[-1])
        ctx.save_for_backward(value_E, *terms)
        ctx.pattern = pattern
        return torch.stack(terms).sum(dim=0)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        """Gradients of the values [E] and of the direct effects [G, D]."""
        value_E, *terms = ctx.saved_tensors
        transposed = ctx.pattern.transposed(value_E)
        adjoints = [gradients[0].contiguous()]  # of the last term first
        for _ in terms[1:]:
            adjoints.append(gradients[0] + transposed @ adjoints[-1])
        if len(terms) == 1:
            return torch.zeros_like(value_E), adjoints[-1], None, None
        value_grad_E = ctx.pattern.sampled_product(torch.cat(adjoints[:-1], dim=1), torch.cat(terms[-2::-1], dim=1))
        return value_grad_E, adjoints[-1], None, None


class LowRankValues(torch.autograd.Function):
    """Values of U V' on the pattern, [E], without forming U V'."""

    @staticmethod
    def forward(ctx: Any, left_GR: Tensor, right_GR: Tensor, pattern: Pattern) -> Tensor:
        """Return the values [E]."""
        ctx.save_for_backward(left_GR, right_GR)
        ctx.pattern = pattern
        return pattern.sampled_product(left_GR, right_GR)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        """Gradients of both factors [G, R]."""
        left_GR, right_GR = ctx.saved_tensors
        return ctx.pattern.matrix(gradients[0]) @ right_GR, ctx.pattern.transposed(gradients[0]) @ left_GR, None


def neumann_sum(value_E: Tensor, direct_GD: Tensor, pattern: Pattern, num_hops: int) -> Tensor:
    """sum_{k=0..num_hops} W^k d, [G, D]; differentiable in both arguments."""
    total: Tensor = NeumannSum.apply(value_E, direct_GD, pattern, num_hops)  # type: ignore[no-untyped-call]
    return total


def low_rank_values(left_GR: Tensor, right_GR: Tensor, pattern: Pattern) -> Tensor:
    """Values of left right' on the pattern, [E]; differentiable in both factors."""
    value_E: Tensor = LowRankValues.apply(left_GR, right_GR, pattern)  # type: ignore[no-untyped-call]
    return value_E
