"""Best paths from the targets of a perturbation along candidate edges.

Axes: G genes; a path of h hops has h + 1 genes, no gene twice, and the effect d_start * W * ... * W.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import sparse

__all__ = ["Path", "best_paths"]

BEAM = 500  # partial paths kept at each hop
NONE = -1


class Path(NamedTuple):
    """Genes from the target on, as positions, and the effect that arrives at the last."""

    genes: tuple[int, ...]
    effect: float


def best_paths(operator: sparse.spmatrix, direct_G: npt.NDArray[np.floating], *, num_hops: int, num_paths: int, beam: int = BEAM) -> list[Path]:
    """Paths of 1 to `num_hops` hops with the largest absolute effect, best first.

    A beam search: at each hop the `beam` partial paths with the largest effect go on. With a beam at least as wide as the number of partial
    paths it is exact. Equal effects are ordered by length, then by genes, so that the result is the same on every machine.

    Parameters
    ----------
    operator
        W [G, G], rows are targets.
    direct_G
        Direct effect on each gene.
    num_hops
        Most hops.
    num_paths
        Most paths.
    beam
        Partial paths kept at each hop.
    """
    outgoing = sparse.csc_matrix(operator)
    start_B = np.flatnonzero(direct_G)
    genes_BH, effect_B = start_B[:, None], np.asarray(direct_G, np.float64)[start_B]
    found: list[Path] = []
    for _ in range(num_hops):
        genes_BH, effect_B = _extend(outgoing, genes_BH, effect_B)
        order = _best(genes_BH, effect_B)[: max(beam, num_paths)]
        genes_BH, effect_B = genes_BH[order], effect_B[order]
        found += [Path(tuple(map(int, genes)), float(effect)) for genes, effect in zip(genes_BH[:num_paths], effect_B[:num_paths], strict=True)]
    return sorted(found, key=lambda path: (-abs(path.effect), len(path.genes), path.genes))[:num_paths]


def _extend(
    outgoing: sparse.csc_matrix, genes_BH: npt.NDArray[np.int64], effect_B: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Every partial path with every edge that leaves its end, without returns to a gene that it has passed."""
    end_B = genes_BH[:, -1]
    first_B, count_B = outgoing.indptr[end_B].astype(np.int64), np.diff(outgoing.indptr)[end_B]
    path = np.repeat(np.arange(len(end_B)), count_B)
    edge = np.arange(len(path)) - np.repeat(np.cumsum(count_B) - count_B, count_B) + np.repeat(first_B, count_B)
    target, effect = outgoing.indices[edge].astype(np.int64), effect_B[path] * outgoing.data[edge]
    keep = (effect != 0) & (genes_BH[path] != target[:, None]).all(axis=1)
    return np.column_stack([genes_BH[path[keep]], target[keep]]), effect[keep]


def _best(genes_BH: npt.NDArray[np.int64], effect_B: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    keys = [genes_BH[:, column] for column in range(genes_BH.shape[1] - 1, -1, -1)]
    return np.asarray(np.lexsort((*keys, -np.abs(effect_B))), dtype=np.int64)
