"""95 % intervals of AUROC, AUPRC and same-source AUROC by a bootstrap over target genes.

Edges that share a target are not independent, so whole targets are resampled: each resampling gives every target a multiplicity, and each edge weighs
as much as its target. All rankings are evaluated on the same resamplings, so that differences between rankings can be resampled in pairs.

The regulators are taken as given: whether another choice of perturbed regulators would do as well is what the fits on resampled perturbations tell
(:func:`causcade.evaluation.gains.drug_bootstrap_table`) and what the nulls guard against. Resampling both ends of an edge would be valid for either,
at the price of intervals up to 1.7 times too wide where edges are independent (Owen 2007, DOI 10.1214/07-AOAS122).

Equals the weighted metrics of scikit-learn for each resampling, but all resamplings are carried along in one pass over the sorted edges.

Legend of axes: E eligible edges, T targets, B resamplings.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from causcade.evaluation.edges import AnyIntArray, BoolArray, FloatArray

__all__ = ["INTERVAL", "MIN_VALID_SHARE", "interval", "resample_targets", "weighted_auroc_auprc", "weighted_grouped_auroc"]

INTERVAL = (2.5, 97.5)  # percentiles
MIN_VALID_SHARE = 0.9  # of the resamplings must hold both classes
MAX_MULTIPLICITY = 255  # of a target; more than 20 does not happen in the life of the universe, and one byte each keeps the table in cache


def resample_targets(num_targets: int, num_resamplings: int, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Draw multiplicities [T, B] of targets drawn with replacement, T draws each."""
    if num_targets == 0:
        return np.zeros((0, num_resamplings), dtype=np.uint8)
    count_BT = rng.multinomial(num_targets, np.full(num_targets, 1.0 / num_targets), size=num_resamplings)
    return np.ascontiguousarray(np.minimum(count_BT.T, MAX_MULTIPLICITY), dtype=np.uint8)


def _areas(
    group_E: AnyIntArray | None,
    level_E: AnyIntArray,
    is_positive_E: BoolArray,
    target_E: AnyIntArray,
    *,
    weight_TB: npt.NDArray[np.uint8],
    edge_weight_E: FloatArray | None,
) -> tuple[FloatArray, FloatArray]:
    """AUROC over the pairs within groups, and average precision of the last group; both [B], NaN where not defined."""
    from causcade.evaluation.bootstrap_loops import resampled_areas

    sums_4B = np.zeros((4, weight_TB.shape[1]), dtype=np.int32 if edge_weight_E is None else np.float64)
    areas_3B = np.zeros((3, weight_TB.shape[1]))
    group_e, level_e, target_e = (None if code_E is None else np.asarray(code_E, dtype=np.int32) for code_E in (group_E, level_E, target_E))
    resampled_areas(group_e, level_e, is_positive_E, target_e, weight_TB, edge_weight_E, sums_4B, areas_3B)
    lost_B, pairs_B, precision_B = areas_3B
    undefined_B = np.full(pairs_B.size, np.nan)
    auroc_B = 1.0 - np.divide(lost_B, pairs_B, out=undefined_B.copy(), where=pairs_B > 0)
    return auroc_B, np.divide(precision_B, sums_4B[0], out=undefined_B, where=(pairs_B > 0) & (sums_4B[0] > 0))


def weighted_auroc_auprc(
    level_E: AnyIntArray,
    is_positive_E: BoolArray,
    target_E: AnyIntArray,
    weight_TB: npt.NDArray[np.uint8],
    edge_weight_E: FloatArray | None = None,
) -> tuple[FloatArray, FloatArray]:
    """AUROC and average precision for each column of target weights.

    Parameters
    ----------
    level_E
        Levels in ascending order (0 is best).
    is_positive_E, target_E
        Class and target (row of `weight_TB`) of the edges, in the same order.
    weight_TB
        Multiplicity of each target in each resampling.
    edge_weight_E
        How often each edge counts before resampling, in the same order; once by default.

    Returns
    -------
    auroc_B, auprc_B
        NaN where a resampling has no positive or no negative.
    """
    return _areas(None, level_E, is_positive_E, target_E, weight_TB=weight_TB, edge_weight_E=edge_weight_E)


def weighted_grouped_auroc(
    group_E: AnyIntArray, level_E: AnyIntArray, is_positive_E: BoolArray, target_E: AnyIntArray, weight_TB: npt.NDArray[np.uint8]
) -> FloatArray:
    """AUROC [B] over the (positive, negative) pairs that share a group, for each column of target weights; NaN where there is no such pair.

    Parameters
    ----------
    group_E, level_E
        Sorted by group, then by level (0 is best).
    is_positive_E, target_E, weight_TB
        As in :func:`weighted_auroc_auprc`.
    """
    num_groups = int(group_E.max(initial=-1)) + 1
    # A group without both classes holds no pair: its edges need not be visited.
    has_positive = np.bincount(group_E[is_positive_E], minlength=num_groups) > 0
    keep_E = has_positive[group_E] if num_groups else np.zeros(0, dtype=bool)
    found = _areas(group_E[keep_E], level_E[keep_E], is_positive_E[keep_E], target_E[keep_E], weight_TB=weight_TB, edge_weight_E=None)
    return found[0]


def interval(draw_B: FloatArray) -> tuple[float, float] | None:
    """Return the 95 % percentile interval; None if there are no resamplings or fewer than 90 % of them hold both classes."""
    valid_B = draw_B[np.isfinite(draw_B)]
    if valid_B.size == 0 or valid_B.size < MIN_VALID_SHARE * draw_B.size:
        return None
    low, high = np.percentile(valid_B, INTERVAL)
    return float(low), float(high)
