"""The best partners of each gene by absolute correlation, by blocks of rows and without sorting whole rows.

Axes: G genes, R rows of a block.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

__all__ = ["top_partners"]

PARTNER_ROWS = 1024


def _block_partners(rows_RG: np.ndarray, start: int, usable_G: np.ndarray, count: int) -> Iterator[tuple[int, np.ndarray]]:
    """Each usable gene of a block of rows, which starts at gene `start`, with its `count` strongest partners in order."""
    rows = np.arange(len(rows_RG))
    strength_RG = np.abs(rows_RG)
    strength_RG[:, ~usable_G] = -1.0
    strength_RG[rows, start + rows] = -1.0
    place = strength_RG.shape[1] - count
    threshold_R = np.partition(strength_RG, place, axis=1)[:, place]
    for row in rows[usable_G[start : start + len(rows_RG)]]:
        strength_G = strength_RG[row]
        # all that tie with the last place are looked at, so that the order of genes decides between them
        candidates = np.flatnonzero(strength_G >= max(threshold_R[row], 0.0))
        yield start + int(row), candidates[np.argsort(-strength_G[candidates], kind="stable")][:count]


def top_partners(correlation_GG: np.ndarray, genes: list[str], num_partners: int) -> pd.DataFrame:
    """Find the best partners of each gene by absolute correlation, without sorting whole rows.

    Ties are broken by gene order. Genes without variance (0 on the diagonal) have no partners and are nobody's partner.

    Parameters
    ----------
    correlation_GG
        Symmetric, from :func:`causcade.coexpression.residual_correlation`.
    genes
        Names of the genes [G].
    num_partners
        Most partners per gene.

    Returns
    -------
    pandas.DataFrame
        gene, partner, correlation (float32), rank (int32; 1 = strongest), in gene order.
    """
    num = len(genes)
    count = min(num_partners, num - 1)
    usable_G = np.diag(correlation_GG) > 0
    found: list[tuple[int, np.ndarray]] = []
    if count > 0:
        for start in range(0, num, PARTNER_ROWS):
            found.extend(_block_partners(correlation_GG[start : start + PARTNER_ROWS], start, usable_G, count))
    sizes = [len(partners) for _, partners in found]
    gene = np.repeat(np.array([row for row, _ in found], dtype=np.intp), sizes)
    partner = np.concatenate([np.zeros(0, dtype=np.intp), *(partners for _, partners in found)])
    names = np.array(genes, dtype=object)
    rank = np.concatenate([np.zeros(0, dtype=np.int32), *(np.arange(1, size + 1, dtype=np.int32) for size in sizes)])
    return pd.DataFrame(
        {
            "gene": pd.Series(names[gene], dtype=str),
            "partner": pd.Series(names[partner], dtype=str),
            "correlation": correlation_GG[gene, partner].astype(np.float32),
            "rank": rank,
        }
    )
