"""X'X of sparse cells on a CPU: every pair of genes by the cheapest of three ways.

A pair of genes costs a dense product of matrices the same whatever the genes are; a sparse gene against a dense column costs as much as the gene has
cells; two sparse genes cost as much as they have cells in common. Genes are therefore ranked by the share of cells that express them, and cut at two
ranks, which :func:`choose_cuts` finds from those shares:

- ranks below M against each other: matrix products (BLAS), tile by tile of the triangle;
- ranks below D, from any rank from M on: for each cell of the sparse gene, a row of a panel of 256 dense columns is added, panels staying in cache;
- ranks from D on against each other: scattered additions into the row of a gene.

Dense columns hold x minus a constant of the gene, or minus what covariates explain of it, so that float32 rounds what is left and not the mean; that
part is put back in float64 at the end. Sums within a block are float32 (scattered ones float64), across blocks float64. The diagonal, where rounding
would add up to one side, is summed by itself in float64.

Every number of the result is made by one thread in one order, so that it does not depend on the number of threads.

Axes: B cells of a block, L covariates, S sub-blocks, G genes, M genes multiplied, D dense genes (M <= D), R = G - M sparse genes, T panels of W
columns, E entries.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

__all__ = ["KERNEL_CELLS", "CovariateSums", "Cuts", "HybridGram", "choose_cuts", "common_shift", "covariate_sums"]

# Cells summed in float32 before they go to the float64 sums. Blocks of so many cells are counted from the first cell of a plate.
KERNEL_CELLS = 4096
# A panel of 512 cells x 256 columns (512 KiB) stays in the second cache of a core.
SUB_CELLS = 512
PANEL_GENES = 256
TILE_GENES = 1024

# Nanoseconds of one core per cell: for a pair of multiplied genes, an entry against a dense column, a pair of entries. Measured on one machine with
# AVX-512; only their ratios matter, and the optimum is flat.
COST_MULTIPLY = 0.012
COST_PANEL = 0.075
COST_SCATTER = 1.2
NUM_TRIALS = 24
# Where fewer cells express a gene its mean square is about its variance already, and a shift would only make more equal numbers.
MIN_SHIFTED_SHARE = 0.5


class Cuts(NamedTuple):
    """The two ranks: genes that are multiplied (M) and genes that have a dense column (D)."""

    num_multiplied: int
    num_dense: int


def choose_cuts(density_G: np.ndarray) -> Cuts:
    """Choose the two ranks that make the expected cost least, taking genes as independent.

    Parameters
    ----------
    density_G
        Share of cells that express each gene, in descending order, shape [G].
    """
    num = len(density_G)
    if num <= PANEL_GENES:
        return Cuts(num, num)
    entries = np.concatenate([[0.0], np.cumsum(density_G)])  # expected entries of a cell before each rank
    weighted = np.concatenate([[0.0], np.cumsum(density_G * np.arange(1, num + 1))])
    trials = np.unique(np.concatenate([[0], np.geomspace(min(64, num), num, NUM_TRIALS).astype(np.int64)]))
    best, best_cost = Cuts(num, num), COST_MULTIPLY * num * (num + 1) / 2
    for multiplied in trials[trials < num]:
        for dense in trials[trials >= multiplied]:
            # a sparse gene of rank r meets min(r + 1, D) dense columns
            panel = weighted[dense] - weighted[multiplied] + dense * (entries[num] - entries[dense])
            pairs = (entries[num] - entries[dense]) ** 2 / 2
            cost = COST_MULTIPLY * multiplied * (multiplied + 1) / 2 + COST_PANEL * panel + COST_SCATTER * pairs
            if cost < best_cost:
                best, best_cost = Cuts(int(multiplied), int(dense)), cost
    return best


def common_shift(x_BG: sp.csr_matrix) -> np.ndarray:
    """Mean of each gene that more than half of the cells express, 0 for the others: what to take from the genes while they are summed.

    Returns
    -------
    numpy.ndarray
        float32, shape [G].
    """
    num_cells, num_genes = x_BG.shape
    sums_G = np.bincount(x_BG.indices, weights=x_BG.data, minlength=num_genes)
    expressing_G = np.bincount(x_BG.indices, minlength=num_genes)
    return np.where(expressing_G > MIN_SHIFTED_SHARE * num_cells, sums_G / max(num_cells, 1), 0.0).astype(np.float32)


class CovariateSums(NamedTuple):
    """Sums over all cells with what is taken from the genes."""

    sxc_LG: np.ndarray
    """C'X."""
    scc_LL: np.ndarray
    """C'C."""


def covariate_sums(sxc_LG: np.ndarray | None, scc_LL: np.ndarray | None, *, of_ones: CovariateSums | None) -> CovariateSums:
    """Return the sums that were given, or those of a column of ones where constants were taken (`of_ones`) and none are given.

    Raises
    ------
    ValueError
        If sums are missing, or given where constants were taken.
    """
    if (sxc_LG is None or scc_LL is None) == (of_ones is None):
        raise ValueError("expected sums with the covariates if and only if their coefficients were given")
    if of_ones is not None:
        return of_ones
    return CovariateSums(np.asarray(sxc_LG), np.asarray(scc_LL))


class _SparsePart(NamedTuple):
    """Sparse genes of a block, by gene and by cell, one row per sub-block; see :func:`causcade.coexpression.sparse_loops.split`."""

    starts_SR: np.ndarray
    cells_SE: np.ndarray
    values_SE: np.ndarray
    heads_SE: np.ndarray
    row_starts_SB: np.ndarray
    row_genes_SE: np.ndarray
    row_values_SE: np.ndarray


class HybridGram:
    """Sum X'X over blocks of cells.

    Parameters
    ----------
    density_G
        Share of the cells that express each gene, shape [G]; decides only how pairs are multiplied, hence speed and rounding.
    beta_LG
        Coefficients of L covariates, float64 [L, G]; C beta is taken from the genes while they are summed. None: a constant of each gene, that of the
        first block (:func:`common_shift`).
    num_threads
        Threads that share the work; changes no digit.
    cuts
        The two ranks; None: chosen from the densities.
    """

    def __init__(
        self,
        density_G: np.ndarray,
        *,
        beta_LG: np.ndarray | None = None,
        num_threads: int = 1,
        cuts: Cuts | None = None,
    ) -> None:
        from threadpoolctl import ThreadpoolController

        self._num_genes = num = len(density_G)
        order_G = np.lexsort((np.arange(num), -np.asarray(density_G)))
        self._rank_G = np.empty(num, dtype=np.int32)
        self._rank_G[order_G] = np.arange(num)
        self.cuts = cuts if cuts is not None else choose_cuts(np.asarray(density_G, dtype=np.float64)[order_G])
        self._order_G, self._has_covariates = order_G, beta_LG is not None
        self._beta_LD = None if beta_LG is None else self._dense_part(beta_LG)
        self._lower = np.zeros(num * (num + 1) // 2)
        self._sums_2G = np.zeros((2, num))  # of x and of its square, by rank
        self._num_cells = 0
        self._num_threads = max(1, num_threads)
        self._blas = ThreadpoolController()
        num_panels = -(-self.cuts.num_dense // PANEL_GENES) if self.cuts.num_multiplied < num else 0
        self._panels_TBW = np.zeros((num_panels, KERNEL_CELLS, PANEL_GENES), dtype=np.float32)
        self._multiplied_BM = np.zeros((KERNEL_CELLS, self.cuts.num_multiplied), dtype=np.float32)
        self._local = threading.local()

    def _dense_part(self, beta_LG: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(beta_LG[:, self._order_G[: self.cuts.num_dense]], dtype=np.float64)

    def add(self, x_BG: sp.csr_matrix, c_BL: np.ndarray | None = None) -> None:
        """Add a block of at most `KERNEL_CELLS` cells.

        Parameters
        ----------
        x_BG
            float32, shape [B, G], at most one entry per cell and gene.
        c_BL
            Covariates that `beta_LG` belongs to, float64 [B, L]; None: ones, for constants.
        """
        from causcade.coexpression import sparse_loops

        if x_BG.shape[0] > KERNEL_CELLS or x_BG.shape[1] != self._num_genes:
            raise ValueError(f"expected at most {KERNEL_CELLS} cells of {self._num_genes} genes, found a block of shape {x_BG.shape}")
        if x_BG.shape[0] == 0:
            return
        if self._beta_LD is None:
            self._beta_LD = self._dense_part(common_shift(x_BG)[None])
        if c_BL is None:
            c_BL = np.ones((x_BG.shape[0], 1))
        if c_BL.shape != (x_BG.shape[0], len(self._beta_LD)):
            raise ValueError(f"expected {len(self._beta_LD)} covariates of {x_BG.shape[0]} cells, found an array of shape {c_BL.shape}")
        # a pool per block: its threads do not outlive an error or wait between blocks that are slow to read
        with ThreadPoolExecutor(self._num_threads) as pool, self._blas.limit(limits=1, user_api="blas"):

            def share(work: Callable[[Any], None], tasks: Iterable[Any]) -> None:
                list(pool.map(work, tasks))

            sparse = self._split(x_BG, c_BL, share)
            num_multiplied, num_dense = self.cuts
            tiles = range(0, num_multiplied, TILE_GENES)
            share(lambda tile: self._multiply_tile(x_BG.shape[0], *tile), [(row, column) for row in tiles for column in tiles if column <= row])
            share(lambda panel: self._multiply_panel(panel, sparse), range(len(self._panels_TBW)))
            stripes = 4 * self._num_threads
            share(lambda stripe: sparse_loops.scatter(stripe, stripes, num_multiplied, num_dense, *sparse, self._lower), range(stripes))
        self._num_cells += x_BG.shape[0]

    def _split(self, x_BG: sp.csr_matrix, c_BL: np.ndarray, share: Callable[[Callable[[Any], None], Iterable[Any]], None]) -> _SparsePart:
        """Fill the dense columns, add to the sums of genes, and return the sparse part."""
        from causcade.coexpression import sparse_loops

        bounds = np.append(np.arange(0, x_BG.shape[0], SUB_CELLS), x_BG.shape[0])
        num_subs = len(bounds) - 1
        most = max(1, int(np.diff(x_BG.indptr[bounds]).max()))
        num_multiplied, num_dense = self.cuts
        gene_type = np.uint16 if self._num_genes - num_dense <= 1 << 16 else np.uint32
        sparse = _SparsePart(
            starts_SR=np.empty((num_subs, self._num_genes - num_multiplied + 1), dtype=np.int64),
            cells_SE=np.empty((num_subs, most), dtype=np.uint16),
            values_SE=np.empty((num_subs, most), dtype=np.float32),
            heads_SE=np.empty((num_subs, most), dtype=np.int64),
            row_starts_SB=np.empty((num_subs, SUB_CELLS + 1), dtype=np.int64),
            row_genes_SE=np.empty((num_subs, most), dtype=gene_type),
            row_values_SE=np.empty((num_subs, most), dtype=np.float32),
        )
        sums_S2G = np.empty((num_subs, 2, self._num_genes))

        def work(sub: int) -> None:
            cells = (bounds[sub], bounds[sub + 1])
            dense = (self._multiplied_BM, self._panels_TBW, c_BL, self._beta_LD)
            parts = tuple(part[sub] for part in sparse)
            sparse_loops.split(x_BG.indptr, x_BG.indices, x_BG.data, self._rank_G, *cells, *dense, *parts, sums_S2G[sub])  # type: ignore[call-arg]

        share(work, range(num_subs))
        self._sums_2G += sums_S2G.sum(axis=0)
        return sparse

    def _multiply_tile(self, num_cells: int, row: int, column: int) -> None:
        from causcade.coexpression import sparse_loops

        left_BT = self._multiplied_BM[:num_cells, row : row + TILE_GENES]
        right_BT = self._multiplied_BM[:num_cells, column : column + TILE_GENES]
        sparse_loops.add_tile(left_BT.T @ right_BT, row, column, self._lower)

    def _multiply_panel(self, panel: int, sparse: _SparsePart) -> None:
        from causcade.coexpression import sparse_loops

        if not hasattr(self._local, "product_RW"):
            self._local.product_RW = np.zeros((self._num_genes - self.cuts.num_multiplied, PANEL_GENES), dtype=np.float32)
        product_RW, column = self._local.product_RW, panel * PANEL_GENES
        first = max(0, column - self.cuts.num_multiplied)  # sparse genes before the panel meet its columns in their own panel
        parts = (sparse.starts_SR, sparse.cells_SE, sparse.values_SE)
        sparse_loops.multiply_panel(self._panels_TBW[panel], SUB_CELLS, first, *parts, product_RW)
        sparse_loops.add_panel(product_RW, first, column, *self.cuts, self._lower)

    def finish(self, sxc_LG: np.ndarray | None = None, scc_LL: np.ndarray | None = None) -> np.ndarray:
        """Return X'X as a packed upper triangle in the order of the genes, float64, shape [G (G + 1) / 2]; the object is of no use after.

        Parameters
        ----------
        sxc_LG, scc_LL
            C'X and C'C over all blocks, float64, of the covariates that were given to :meth:`add`; None for constants.
        """
        from causcade.coexpression import sparse_loops

        ones = CovariateSums(self._sums_2G[:1, self._rank_G], np.full((1, 1), float(self._num_cells)))
        sxc_LG, scc_LL = covariate_sums(sxc_LG, scc_LL, of_ones=None if self._has_covariates else ones)
        sxc_LG = sxc_LG[:, self._order_G]
        upper = np.empty_like(self._lower)
        stripes = np.linspace(0, self._num_genes, 4 * self._num_threads + 1).astype(np.int64)
        facts = (self._rank_G, self._lower, self._sums_2G[1], upper)
        with ThreadPoolExecutor(self._num_threads) as pool, self._blas.limit(limits=1, user_api="blas"):
            if self._beta_LD is not None:
                list(pool.map(self._put_back(sxc_LG, scc_LL, self._beta_LD), range(0, self._num_genes, PANEL_GENES)))
            list(pool.map(lambda stripe: sparse_loops.to_upper(stripes[stripe], stripes[stripe + 1], *facts), range(len(stripes) - 1)))
        self._lower = np.zeros(0)
        return upper

    def _put_back(self, sxc_LG: np.ndarray, scc_LL: np.ndarray, beta_LD: np.ndarray) -> Callable[[int], None]:
        """Return what adds to some rows of the sums the part that was taken from dense columns.

        With x = r + C beta, X'X = R'R + X'C beta + beta' (C'X - C'C beta). Where one gene of a pair is dense, the first two terms are all.
        """
        from causcade.coexpression import sparse_loops

        multiplied = slice(self.cuts.num_multiplied)
        beta_LM = beta_LD[:, multiplied]
        rest_LM = sxc_LG[:, multiplied] - scc_LL @ beta_LM

        def put_back(first: int) -> None:
            rows = slice(first, first + PANEL_GENES)
            part_RD = sxc_LG[:, rows].T @ beta_LD
            both = beta_LM[:, rows].T @ rest_LM
            part_RD[: len(both), multiplied] += both
            sparse_loops.add_tile(part_RD, first, 0, self._lower)

        return put_back
