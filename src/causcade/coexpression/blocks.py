"""Blocks of cells as the kernels want them: of one size whatever is read at a time, prepared ahead on threads, handed over in order.

A kernel rounds within a block (float32) and adds blocks in float64, so the cut of the cells into blocks decides the last digits of a sum. The cut is
therefore anchored: blocks of 4,096 cells counted from the first cell of the plate. Reading buffers are cut and joined to that.

Axes: B cells of a block, F genes of the plate, G genes of the panel, K covariate columns.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import pandas as pd
import scipy.sparse as sp

from causcade.cells import CellStore
from causcade.coexpression.kernels import KERNEL_CELLS
from causcade.covariates import SCORE_ROLES, Covariates, CycleScores

__all__ = ["Block", "Preparation", "anchored_counts", "in_order", "read_ahead"]

Item = TypeVar("Item")
Result = TypeVar("Result")


def anchored_counts(buffers: Iterable[tuple[np.ndarray, sp.csr_matrix]], offset: int = 0) -> Iterator[tuple[np.ndarray, sp.csr_matrix]]:
    """Cut and join reading buffers to blocks of exactly `KERNEL_CELLS` cells.

    Parameters
    ----------
    buffers
        Row numbers and counts, as of :meth:`causcade.cells.CellStore.iter_counts`; of any size.
    offset
        Position of the first cell in the plate; the first block ends at the next multiple of `KERNEL_CELLS`.

    Yields
    ------
    tuple
        Row numbers [B] and counts [B, F]; the last block may be shorter.
    """
    held: list[tuple[np.ndarray, sp.csr_matrix]] = []
    room = KERNEL_CELLS - offset % KERNEL_CELLS
    for rows, counts in buffers:
        start = 0
        while start < len(rows):
            stop = min(start + room, len(rows))
            held.append((rows[start:stop], counts if stop - start == len(rows) else counts[start:stop]))
            room -= stop - start
            start = stop
            if room == 0:
                yield _joined(held)
                held, room = [], KERNEL_CELLS
    if held:
        yield _joined(held)


def _joined(held: list[tuple[np.ndarray, sp.csr_matrix]]) -> tuple[np.ndarray, sp.csr_matrix]:
    if len(held) == 1:
        return held[0]
    return np.concatenate([rows for rows, _ in held]), sp.vstack([counts for _, counts in held], format="csr")


def read_ahead(items: Iterator[Item]) -> Iterator[Item]:
    """Draw the next item (none is None) on another thread while the last one is worked on."""
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(next, items, None)
        while (item := waiting.result()) is not None:
            waiting = pool.submit(next, items, None)
            yield item


def in_order(function: Callable[[Item], Result], items: Iterable[Item], num_workers: int) -> Iterator[Result]:
    """Apply a function on `num_workers` threads; the results come in the order of the items, and at most `num_workers` wait."""
    with ThreadPoolExecutor(num_workers) as pool:
        waiting: deque[Future[Result]] = deque()
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > num_workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One block: x (float32 CSR, sorted), and in float64 its covariates, X'C and C'C, with the names of the K columns."""

    x_BG: sp.csr_matrix
    c_BK: np.ndarray
    sxc_KG: np.ndarray
    scc_KK: np.ndarray
    names: list[str]


class Preparation:
    """Make blocks from counts of one plate.

    Parameters
    ----------
    store
        Cells of the plate.
    gene_ids
        Genes of the panel [G].
    terms, roles
        Section `covariates.terms`, and `cell_cycle.parquet`.

    Attributes
    ----------
    num_genes : int
        Number of genes of the panel.
    spans : dict
        Largest less smallest value of each numeric covariate over the plate, by its name.
    """

    def __init__(self, store: CellStore, gene_ids: pd.Index, terms: list[str], roles: pd.DataFrame) -> None:
        self._covariates = Covariates(store.obs, terms)
        self.spans = self._covariates.spans()
        self._totals = store.obs["total_counts"].to_numpy(dtype=np.float64)
        self.num_genes = len(gene_ids)
        self._position_F = gene_ids.get_indexer(store.var.index).astype(np.int64)
        is_scored = store.var.index.isin(roles["gene_id"]) & bool(SCORE_ROLES.keys() & set(terms))
        self._scores = CycleScores(store.var.index[is_scored], roles)
        self._num_scored = int(is_scored.sum())
        self._scored_F = np.where(is_scored, np.cumsum(is_scored) - 1, -1).astype(np.int64)

    def __call__(self, part: tuple[np.ndarray, sp.csr_matrix], rounded: Callable[[sp.csr_matrix], sp.csr_matrix] | None = None) -> Block:
        """Prepare one block.

        Parameters
        ----------
        part
            Row numbers [B] and counts [B, F].
        rounded
            How the kernel rounds x; X'C is then of the very numbers that it multiplies.
        """
        from causcade.coexpression.preparation import covariate_products, panel_expression

        rows, counts = part
        totals = self._totals[rows]
        x_BG = panel_expression(counts, totals, self._position_F, self.num_genes)
        if rounded is not None:
            x_BG = rounded(x_BG)
        scores = self._scores(panel_expression(counts, totals, self._scored_F, self._num_scored))
        c_BK, names = self._covariates.block(rows, scores)
        return Block(x_BG=x_BG, c_BK=c_BK, sxc_KG=covariate_products(x_BG, c_BK), scc_KK=c_BK.T @ c_BK, names=names)
