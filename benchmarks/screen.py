"""Simulated raw counts of the size and sparsity of a real screen, for benchmarks; no files, no network, the same for the same seed.

Counts are Poisson with mean (size of the cell) x (mean of the gene). Means of genes are log-normal with a heavy tail, so that a few hundred genes are
seen in nearly every cell and most in few, as in single-cell RNA-seq; sizes of cells are log-normal too. One scale is solved for so that the expected
share of non-zero entries is the one that was asked for.

Axes: N cells, B cells of a block, G genes.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import scipy.sparse as sp

__all__ = ["gene_means", "simulate_blocks", "simulate_counts"]

SD_LOG_GENE = 2.2
SD_LOG_CELL = 0.35
BLOCK_CELLS = 1024
# Bounds the strongest genes, so that no count reaches the end of uint16 even in the largest of cells.
LARGEST_MEAN = 5_000.0


def gene_means(num_genes: int, density: float, *, seed: int) -> np.ndarray:
    """Mean count of each gene in a cell of size 1, shape [G], in random order.

    Parameters
    ----------
    num_genes
        Number of genes.
    density
        Expected share of non-zero counts over all cells and genes, between 0 and 1.
    seed
        Seed of the order of the genes.
    """
    # quantiles instead of draws: the spectrum of densities is then the same for every seed
    from scipy.special import ndtri

    shape_G = np.exp(SD_LOG_GENE * ndtri((np.arange(num_genes) + 0.5) / num_genes))
    # midpoints of equal shares of the sizes of cells, to average over them
    size_Q = np.exp(SD_LOG_CELL * ndtri((np.arange(64) + 0.5) / 64))
    low, high = -40.0, 20.0
    for _ in range(80):
        middle = (low + high) / 2
        mean_G = np.minimum(shape_G * np.exp(middle), LARGEST_MEAN)
        found = np.mean([-np.expm1(-size * mean_G).mean() for size in size_Q])
        low, high = (middle, high) if found < density else (low, middle)
    mean_G = np.minimum(shape_G * np.exp((low + high) / 2), LARGEST_MEAN)
    return np.random.default_rng(seed).permutation(mean_G)


def simulate_blocks(num_cells: int, num_genes: int, density: float, *, seed: int) -> Iterator[sp.csr_matrix]:
    """Blocks of 1,024 cells (fewer at the end) of :func:`simulate_counts`, as uint16 CSR [B, G]; nothing else is held."""
    mean_G = gene_means(num_genes, density, seed=seed).astype(np.float32)
    for number, start in enumerate(range(0, num_cells, BLOCK_CELLS)):
        rng = np.random.default_rng((seed, number))
        num_rows = min(BLOCK_CELLS, num_cells - start)
        size_B = np.exp(rng.normal(0.0, SD_LOG_CELL, num_rows)).astype(np.float32)
        # A Poisson count is the number of arrivals before the time `rate`: it is not zero where the first arrival, an exponential time, comes
        # earlier, and the others are Poisson over the time that is left. So only the non-zero entries need a Poisson draw.
        rate_BG = size_B[:, None] * mean_G
        first_BG = rng.standard_exponential((num_rows, num_genes), dtype=np.float32)
        row, column = np.nonzero(first_BG < rate_BG)
        count = rng.poisson(rate_BG[row, column] - first_BG[row, column]) + 1
        indptr = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=num_rows))])
        yield sp.csr_matrix((count.astype(np.uint16), column.astype(np.int32), indptr.astype(np.int32)), shape=(num_rows, num_genes))


def simulate_counts(num_cells: int, num_genes: int, density: float, *, seed: int) -> sp.csr_matrix:
    """Raw counts of a simulated screen, CSR with sorted columns, uint16, shape [N, G].

    Parameters
    ----------
    num_cells, num_genes
        Size.
    density
        Expected share of non-zero counts.
    seed
        Seed; equal arguments give equal counts.
    """
    blocks = list(simulate_blocks(num_cells, num_genes, density, seed=seed))
    return sp.vstack(blocks, format="csr") if blocks else sp.csr_matrix((0, num_genes), dtype=np.uint16)
