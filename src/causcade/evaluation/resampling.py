"""95 % intervals of AUROC and AUPRC by a bootstrap over target genes.

Edges that share a target are not independent, so whole targets are resampled: each resampling gives every target a multiplicity, and each edge weighs
as much as its target. All rankings are evaluated on the same resamplings, so that differences between rankings can be resampled in pairs.

Equals the weighted metrics of scikit-learn for each resampling, without one pass over the edges per resampling: AUROC and average precision change
only at runs of equal scores that hold a positive. The counts of negatives per (stretch between such runs, target) form a sparse matrix, and its
product with the multiplicities serves all resamplings at once.

Legend of axes: E eligible edges, T targets, B resamplings, K runs of equal scores that hold a positive.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from causcade.evaluation.edges import BoolArray, FloatArray, IntArray

__all__ = ["INTERVAL", "interval", "resample_targets", "weighted_auroc_auprc"]

INTERVAL = (2.5, 97.5)  # percentiles
MIN_VALID_SHARE = 0.9  # of the resamplings must hold both classes
MAX_BLOCK_ELEMENTS = 8_000_000  # 64 MB of float64 per temporary array


def resample_targets(num_targets: int, num_resamplings: int, rng: np.random.Generator) -> FloatArray:
    """Draw multiplicities [T, B] of targets drawn with replacement, T draws each."""
    if num_targets == 0:
        return np.zeros((0, num_resamplings))
    count_BT = rng.multinomial(num_targets, np.full(num_targets, 1.0 / num_targets), size=num_resamplings)
    return np.ascontiguousarray(count_BT.T, dtype=np.float64)


def _counts(row: IntArray, target: IntArray, shape: tuple[int, int]) -> sparse.csr_matrix:
    """Make a sparse count matrix from rows in ascending order; a (row, target) that occurs twice just stands there twice."""
    indptr = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=shape[0]))])
    return sparse.csr_matrix((np.ones(row.size), target, indptr), shape=shape)


def weighted_auroc_auprc(level_E: IntArray, is_positive_E: BoolArray, target_E: IntArray, weight_TB: FloatArray) -> tuple[FloatArray, FloatArray]:
    """AUROC and average precision for each column of target weights.

    Parameters
    ----------
    level_E
        Levels in ascending order (0 is best).
    is_positive_E, target_E
        Class and target (row of `weight_TB`) of the edges, in the same order.
    weight_TB
        Weight of each target in each resampling.

    Returns
    -------
    auroc_B, auprc_B
        NaN where a resampling has no positive or no negative.
    """
    new_level_E = np.ones(level_E.size, dtype=bool)
    new_level_E[1:] = level_E[1:] != level_E[:-1]
    run_E = np.cumsum(new_level_E) - 1
    has_positive_R = np.bincount(run_E, is_positive_E) > 0 if level_E.size else np.zeros(0, dtype=bool)
    before_R = np.cumsum(has_positive_R) - has_positive_R  # runs with a positive before this one
    num_runs = int(has_positive_R.sum())
    # Row 2k: negatives between positive runs k-1 and k. Row 2k+1: negatives tied with the positives of run k.
    row_E = (2 * before_R + has_positive_R)[run_E]
    num_targets, num_resamplings = weight_TB.shape
    negative = _counts(row_E[~is_positive_E], target_E[~is_positive_E], (2 * num_runs + 1, num_targets))
    positive = _counts((row_E[is_positive_E] - 1) // 2, target_E[is_positive_E], (num_runs, num_targets))
    auroc_B, auprc_B = np.full(num_resamplings, np.nan), np.full(num_resamplings, np.nan)
    block = max(1, MAX_BLOCK_ELEMENTS // (2 * num_runs + 1))
    for begin in range(0, num_resamplings, block):
        part = slice(begin, begin + block)
        auroc_B[part], auprc_B[part] = _areas(positive @ weight_TB[:, part], negative @ weight_TB[:, part])
    return auroc_B, auprc_B


def _areas(positive_KB: FloatArray, negative_SB: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Compute both areas from weights of positives per run and of negatives per stretch (S = 2K + 1)."""
    num_resamplings = positive_KB.shape[1]
    auroc_B, auprc_B = np.full(num_resamplings, np.nan), np.full(num_resamplings, np.nan)
    tied_KB = negative_SB[1::2]
    false_SB = np.cumsum(negative_SB, axis=0)
    false_KB, true_KB = false_SB[1::2], np.cumsum(positive_KB, axis=0)
    positive_B, negative_B = positive_KB.sum(axis=0), false_SB[-1]
    valid_B = (positive_B > 0) & (negative_B > 0)
    lost_B = (positive_KB * (false_KB - 0.5 * tied_KB)).sum(axis=0)
    auroc_B[valid_B] = 1.0 - lost_B[valid_B] / (positive_B[valid_B] * negative_B[valid_B])
    found_KB = true_KB + false_KB
    precision_KB = np.divide(true_KB, found_KB, out=np.zeros_like(found_KB), where=found_KB > 0)
    auprc_B[valid_B] = (positive_KB * precision_KB).sum(axis=0)[valid_B] / positive_B[valid_B]
    return auroc_B, auprc_B


def interval(draw_B: FloatArray) -> tuple[float, float] | None:
    """Return the 95 % percentile interval; None if there are no resamplings or fewer than 90 % of them hold both classes."""
    valid_B = draw_B[np.isfinite(draw_B)]
    if valid_B.size == 0 or valid_B.size < MIN_VALID_SHARE * draw_B.size:
        return None
    low, high = np.percentile(valid_B, INTERVAL)
    return float(low), float(high)
