"""L1 factors of the edges that depend on their regulator, and the bound on direct effects beside the targets.

Axes: G genes, E edges, S direct effects.
"""

from __future__ import annotations

import torch
from torch import Tensor

from causcade.causal.operator import Pattern

__all__ = ["l1_ball_threshold", "source_factor"]

CLEAR_Z = 1.0  # an edge beyond counts for its regulator
HIERARCHY_EDGES = 20.0  # edges' worth of prior on the share of clear edges of a regulator
HIERARCHY_RANGE = (0.5, 2.0)


def l1_ball_threshold(size_S: Tensor, radius: float) -> float:
    """Soft threshold that brings the sum of absolute values down to `radius`: the Euclidean projection onto the L1 ball; 0 inside it.

    Source: Duchi et al., Efficient projections onto the l1-ball for learning in high dimensions, ICML 2008.

    Parameters
    ----------
    size_S
        Absolute values.
    radius
        Largest sum, at least 0.
    """
    if float(size_S.sum()) <= radius:
        return 0.0
    sorted_S = size_S.double().sort(descending=True).values
    excess_S = (sorted_S.cumsum(0) - radius) / torch.arange(1, len(sorted_S) + 1, device=size_S.device)
    num = int((sorted_S > excess_S).sum())
    return float(excess_S[num - 1]) if num else float(sorted_S[0])


def source_factor(z_E: Tensor, pattern: Pattern, hierarchy: float) -> Tensor:
    """L1 factor of each edge from the share of clear edges of its regulator, [E]; from the data only, never from a prior.

    Parameters
    ----------
    z_E
        Size of each edge in standard errors.
    pattern
        The edges.
    hierarchy
        How much the factor grows with the logarithm of the typical share over that of the regulator; 0: all factors are 1.
    """
    source_E, num_genes = pattern.source_E, pattern.num_genes
    clear_G = torch.zeros(num_genes, device=z_E.device).index_add_(0, source_E, (z_E > CLEAR_Z).float())
    count_G = torch.bincount(source_E, minlength=num_genes).float()
    typical = clear_G.sum() / count_G.sum()
    if float(typical) == 0.0:
        return torch.ones_like(z_E)
    share_G = (clear_G + HIERARCHY_EDGES * typical) / (count_G + HIERARCHY_EDGES)
    factor_G = (1 + hierarchy * (typical / share_G).log()).clamp(*HIERARCHY_RANGE)
    return factor_G[source_E]
