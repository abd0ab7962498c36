"""Size factors of conditions: what makes counts of cells comparable where one gene takes much of them.

Counts of a cell are divided by its total. Where a perturbation lowers a gene that has a large share of the total, as in a panel of few genes, all
others seem to rise. The median over genes of the ratio of the condition to the controls is 1 where most genes do not change (Anders & Huber 2010,
doi:10.1186/gb-2010-11-10-r106); the total times that median is the effective total of a cell.

Axes: N cells, C conditions, G genes.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import scipy.sparse as sp

__all__ = ["size_factors"]

logger = logging.getLogger(__name__)

KEYS = ["perturbation", "dose", "cell_line"]
MIN_SHARE = 1e-4  # of the counts: genes below are too sparse for a ratio
MIN_GENES = 10
MIN_CELLS = 10

Float64 = npt.NDArray[np.float64]


def size_factors(blocks: Iterable[tuple[Any, Any]], obs: pd.DataFrame) -> Float64:
    """Median ratio of the condition of each cell to the controls of its line, [N].

    Conditions are perturbation, dose and line; the reference of a line without controls on the plate is the mean of all its cells there. The factor is
    1 in controls, in conditions of fewer than 10 cells, and where fewer than 10 genes have a share of 0.01 % of the counts in both.

    Parameters
    ----------
    blocks
        Counts [B, G] of the cells, block after block; the first of each pair is not read.
    obs
        perturbation, dose, cell_line, is_control, total_counts of the cells [N].
    """
    grouped = obs.groupby(KEYS, sort=True, observed=True)
    code_N = grouped.ngroup().to_numpy()
    conditions = grouped.agg(num=("is_control", "size"), is_control=("is_control", "first")).reset_index()
    sum_CG = _sum_of_shares(blocks, code_N, np.maximum(obs["total_counts"].to_numpy(np.float64), 1), len(conditions))
    factor_C = np.ones(len(conditions))
    for rows in conditions.groupby("cell_line", sort=True).indices.values():
        is_control = conditions["is_control"].to_numpy(bool)[rows]
        used = rows[is_control] if is_control.any() else rows
        reference_G = sum_CG[used].sum(axis=0) / conditions["num"].to_numpy()[used].sum()
        for row in rows[~is_control]:
            num = int(conditions["num"].iloc[row])
            share_G = sum_CG[row] / num
            clear_G = (reference_G >= MIN_SHARE) & (share_G >= MIN_SHARE)
            if num >= MIN_CELLS and clear_G.sum() >= MIN_GENES:
                factor_C[row] = np.median(share_G[clear_G] / reference_G[clear_G])
    if len(factor_C):
        logger.info("size factors of %d conditions from %.2f to %.2f", len(factor_C), factor_C.min(), factor_C.max())
    return np.asarray(factor_C[code_N])


def _sum_of_shares(blocks: Iterable[tuple[Any, Any]], code_N: npt.NDArray[np.int64], total_N: Float64, num: int) -> Float64:
    """Sum over the cells of each condition of counts over the total, [C, G]."""
    sum_CG: Float64 | None = None
    first = 0
    for _, counts in blocks:
        cells = slice(first, first + counts.shape[0])
        first = cells.stop
        shares = sp.diags(1 / total_N[cells]) @ sp.csr_matrix(counts, dtype=np.float64)
        here, code_B = np.unique(code_N[cells], return_inverse=True)
        indicator = sp.csr_matrix((np.ones(len(code_B)), (code_B, np.arange(len(code_B)))), shape=(len(here), len(code_B)))
        if sum_CG is None:
            sum_CG = np.zeros((num, counts.shape[1]))
        sum_CG[here] += (indicator @ shares).toarray()
    return np.zeros((num, 0)) if sum_CG is None else sum_CG
