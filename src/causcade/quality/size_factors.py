"""Totals that counts of a cell are divided by, where one gene takes much of them.

In a panel of few genes one gene may hold half of the counts. Where a perturbation lowers it, all others seem to rise; where it varies between cells,
all others vary with it. The total is then taken over the other genes (as `exclude_highly_expressed` of scanpy does, cell by cell).

Axes: N cells, G genes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

__all__ = ["DOMINANT", "totals_without_dominant"]

logger = logging.getLogger(__name__)

DOMINANT = 0.1  # share of the counts of control cells from which a gene is left out of the total

Float64 = npt.NDArray[np.float64]


def totals_without_dominant(
    read_blocks: Callable[[], Iterable[tuple[Any, Any]]], is_control_N: npt.NDArray[np.bool_], genes: npt.NDArray[Any]
) -> Float64:
    """Count each cell in the genes that hold less than a tenth of the counts of the plate's controls, at least 1, [N].

    Parameters
    ----------
    read_blocks
        Opens the counts of the cells [B, G], block after block; the first of each pair is not read. Called twice.
    is_control_N
        Which cells are controls; on a plate without any, all cells tell which genes dominate.
    genes
        Names [G], for the log.
    """
    asked_N = is_control_N if is_control_N.any() else np.ones_like(is_control_N)
    sum_G: Float64 = np.zeros(len(genes))
    for cells, counts in _numbered(read_blocks()):
        sum_G += np.asarray(sp.csr_matrix(counts)[asked_N[cells]].sum(axis=0), dtype=np.float64).ravel()
    share_G = sum_G / max(sum_G.sum(), 1)
    kept_G = share_G < DOMINANT
    if kept_G.all():
        logger.info("no gene holds a tenth of the counts of the controls: totals are those of all genes")
    else:
        told = ", ".join(f"{genes[g]} ({share_G[g]:.0%})" for g in np.flatnonzero(~kept_G))
        logger.info("left out of the totals, by share of the counts of the controls: %s", told)
    total_N = np.zeros(len(is_control_N))
    for cells, counts in _numbered(read_blocks()):
        total_N[cells] = sp.csr_matrix(counts).astype(np.float64) @ kept_G.astype(np.float64)
    return np.maximum(total_N, 1.0)


def _numbered(blocks: Iterable[tuple[Any, Any]]) -> Iterable[tuple[slice, Any]]:
    """Blocks with the places of their cells among all N."""
    first = 0
    for _, counts in blocks:
        yield slice(first, first + counts.shape[0]), counts
        first += counts.shape[0]
