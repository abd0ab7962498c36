"""Metrics of one ranking of edges against one set of positives. Ties are averaged everywhere, so row order never matters.

All global metrics come from runs of equal scores (:class:`TieRuns`): the number of positives and negatives of each run, best first.

* AUROC: share of (positive, negative) pairs in the right order, ties half (Mann-Whitney).
* AUPRC: average precision, sum over runs of (recall gained) x (precision at the end of the run), as scikit-learn defines it.
* lift: AUPRC / prevalence.
* Precision among the best n edges, a run cut in two counting by its mean. Early precision takes n = number of positives; divided by the prevalence,
  which is what a random order gives, it is the early precision ratio (BEELINE, DOI 10.1038/s41592-019-0690-6).
* Better direction: each pair of genes counts once, with the better of the scores of its two directions, if both are candidates. For references
  without direction.
* Same-source AUROC: share of correctly ordered (positive, negative) pairs among the pairs that share their source. This is the mean of the AUROCs
  within each source, weighted by its number of pairs; a source needs at least one positive and one negative. Same-target AUROC likewise.
* Direction accuracy: among true edges whose reverse is a candidate of the same subset and not true, the share with score(edge) > score(reverse), ties
  half. It can be had from degrees alone: read it beside the two AUROCs above.
* Sign accuracy: among true edges to which the ranking gives a sign, the share with the true sign.

Legend of axes: E edges, R runs of equal scores.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from causcade.evaluation.edges import AnyIntArray, BoolArray, CodedEdges, FloatArray, IntArray

__all__ = [
    "SortedRanking", "TieRuns", "auroc", "average_precision", "better_direction", "direction_accuracy", "early_precision", "grouped_auroc",
    "pr_curve", "precision_at", "roc_curve", "sign_accuracy", "sort_ranking", "starts", "tie_runs",
]  # fmt: skip

MAX_CURVE_POINTS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class SortedRanking:
    """A ranking sorted once, so that each subset of edges needs a filter and no sort."""

    level_E: IntArray  # 0 for the best score, equal for equal scores
    order_E: IntArray  # rows, best first
    by_source_E: IntArray  # rows by source, within it best first
    by_target_E: IntArray  # rows by target, within it best first

    @property
    def is_constant(self) -> bool:
        """Whether all scores are equal."""
        return self.level_E.size == 0 or int(self.level_E.max()) == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TieRuns:
    """Positives and negatives in each run of equal scores, best first."""

    positive_R: FloatArray
    negative_R: FloatArray

    @property
    def num_positive(self) -> float:
        """Number of positives."""
        return float(self.positive_R.sum())

    @property
    def num_negative(self) -> float:
        """Number of negatives."""
        return float(self.negative_R.sum())


def sort_ranking(score_E: FloatArray, edges: CodedEdges) -> SortedRanking:
    """Sort a ranking globally, within sources and within targets. Higher scores are better."""
    _, ascending_E = np.unique(score_E, return_inverse=True)
    level_E = (ascending_E.max(initial=0) - ascending_E).astype(np.int64)
    num_levels = int(level_E.max(initial=0)) + 1
    return SortedRanking(
        level_E=level_E,
        order_E=np.argsort(level_E, kind="stable"),
        by_source_E=np.argsort(edges.source_E * num_levels + level_E, kind="stable"),
        by_target_E=np.argsort(edges.target_E * num_levels + level_E, kind="stable"),
    )


def better_direction(level_E: IntArray, reverse_E: IntArray) -> tuple[IntArray, IntArray]:
    """Level [E] of the better direction of each edge, and the rows in that order, best first."""
    best_E = np.where(reverse_E >= 0, np.minimum(level_E, level_E[reverse_E]), level_E) if level_E.size else level_E
    return best_E, np.argsort(best_E, kind="stable")


def starts(value_E: AnyIntArray) -> BoolArray:
    """Mark where a run of equal values starts."""
    start_E = np.ones(value_E.size, dtype=bool)
    start_E[1:] = value_E[1:] != value_E[:-1]
    return start_E


def tie_runs(level_E: AnyIntArray, is_positive_E: BoolArray, weight_E: FloatArray | None = None) -> TieRuns:
    """Count positives and negatives in runs of equal level.

    Parameters
    ----------
    level_E
        Levels in ascending order (0 is best).
    is_positive_E
        Whether the edge is positive, in the same order.
    weight_E
        How often each edge counts, in the same order; once by default.
    """
    begin_R = np.flatnonzero(starts(level_E))
    if begin_R.size == 0:
        return TieRuns(positive_R=np.zeros(0), negative_R=np.zeros(0))
    if weight_E is not None:
        weights = (np.where(is_positive_E, weight_E, 0.0), np.where(is_positive_E, 0.0, weight_E))
        return TieRuns(positive_R=np.add.reduceat(weights[0], begin_R), negative_R=np.add.reduceat(weights[1], begin_R))
    positive_R = np.add.reduceat(is_positive_E.astype(np.float64), begin_R)
    size_R = np.diff(np.append(begin_R, level_E.size)).astype(np.float64)
    return TieRuns(positive_R=positive_R, negative_R=size_R - positive_R)


def auroc(runs: TieRuns) -> float | None:
    """Area under the ROC curve; None unless there are positives and negatives."""
    pairs = runs.num_positive * runs.num_negative
    if pairs == 0:
        return None
    negative_above_R = np.cumsum(runs.negative_R) - runs.negative_R
    return float(1.0 - (runs.positive_R * (negative_above_R + 0.5 * runs.negative_R)).sum() / pairs)


def average_precision(runs: TieRuns) -> float | None:
    """Average precision (AUPRC); None unless there are positives and negatives."""
    if runs.num_positive * runs.num_negative == 0:
        return None
    true_R, all_R = np.cumsum(runs.positive_R), np.cumsum(runs.positive_R + runs.negative_R)
    return float((runs.positive_R * true_R / all_R).sum() / runs.num_positive)


def precision_at(runs: TieRuns, num: float) -> float | None:
    """Precision among the best `num` edges, expected under random order within ties; None with fewer edges, or unless both classes exist."""
    size_R = runs.positive_R + runs.negative_R
    end_R = np.cumsum(size_R)
    if runs.num_positive * runs.num_negative == 0 or num <= 0 or end_R[-1] < num:
        return None
    cut = int(np.searchsorted(end_R, num))
    found = runs.positive_R[:cut].sum() + (num - (end_R[cut] - size_R[cut])) * runs.positive_R[cut] / size_R[cut]
    return float(found / num)


def early_precision(runs: TieRuns) -> float | None:
    """Precision among the top n, n = number of positives; see :func:`precision_at`."""
    return precision_at(runs, runs.num_positive)


def grouped_auroc(group_E: AnyIntArray, level_E: AnyIntArray, is_positive_E: BoolArray) -> tuple[float | None, int]:
    """AUROC over the (positive, negative) pairs that share a group.

    Equals the mean of the AUROCs within groups, weighted by their number of pairs, without a loop over groups.

    Parameters
    ----------
    group_E, level_E
        Sorted by group, then by level (0 is best).
    is_positive_E
        In the same order.

    Returns
    -------
    value
        None where no group has both a positive and a negative.
    num_groups
        Groups that count.
    """
    new_group_E = starts(group_E)
    begin_R = np.flatnonzero(new_group_E | starts(level_E))
    if begin_R.size == 0:
        return None, 0
    positive_R = np.add.reduceat(is_positive_E.astype(np.float64), begin_R)
    negative_R = np.diff(np.append(begin_R, group_E.size)) - positive_R
    group_R = np.cumsum(new_group_E)[begin_R] - 1
    above_R = np.cumsum(negative_R) - negative_R
    above_R -= above_R[new_group_E[begin_R]][group_R]  # negatives of earlier groups do not count
    lost = np.bincount(group_R, positive_R * (above_R + 0.5 * negative_R))
    pairs = np.bincount(group_R, positive_R) * np.bincount(group_R, negative_R)
    if pairs.sum() == 0:
        return None, 0
    return float(1.0 - lost.sum() / pairs.sum()), int((pairs > 0).sum())


def direction_accuracy(level_E: IntArray, is_positive_E: BoolArray, in_subset_E: BoolArray, reverse_E: IntArray) -> tuple[float | None, int]:
    """Share of one-directional true edges that are ranked above their reverse, ties half.

    Returns
    -------
    value
        None where no true edge counts.
    num_counted
        True edges in the subset whose reverse is in the subset too and not true.
    """
    row = np.flatnonzero(is_positive_E & in_subset_E & (reverse_E >= 0))
    reverse = reverse_E[row]
    counts = in_subset_E[reverse] & ~is_positive_E[reverse]
    row, reverse = row[counts], reverse[counts]
    if row.size == 0:
        return None, 0
    forward, backward = level_E[row], level_E[reverse]
    return float(((forward < backward) + 0.5 * (forward == backward)).mean()), int(row.size)


def sign_accuracy(sign_E: npt.NDArray[np.int8], true_sign_E: npt.NDArray[np.int8], in_subset_E: BoolArray) -> tuple[float | None, int]:
    """Share of true edges with the right sign, among those to which the ranking gives a sign; None where there are none."""
    counts_E = in_subset_E & (true_sign_E != 0) & (sign_E != 0)
    num = int(counts_E.sum())
    if num == 0:
        return None, 0
    return float((sign_E[counts_E] == true_sign_E[counts_E]).mean()), num


def _thin(position_R: FloatArray, spread_R: FloatArray, num_points: int) -> IntArray:
    """Choose at most `num_points` runs: half of them dense at the top of the ranking, half evenly along `spread_R`; both ends are kept."""
    if position_R.size <= num_points:
        return np.arange(position_R.size)
    half = num_points // 2
    top = np.searchsorted(position_R, np.geomspace(position_R[0], position_R[-1], half))
    even = np.searchsorted(spread_R, np.linspace(spread_R[0], spread_R[-1], num_points - half - 1))
    last = position_R.size - 1
    return np.unique(np.minimum(np.concatenate([top, even, [last]]), last))


def roc_curve(runs: TieRuns) -> tuple[FloatArray, FloatArray]:
    """Return false and true positive rate at ends of runs, from (0, 0) to (1, 1); at most 200 points. Empty unless both classes exist."""
    if runs.num_positive * runs.num_negative == 0:
        return np.zeros(0), np.zeros(0)
    true_R, false_R = np.cumsum(runs.positive_R), np.cumsum(runs.negative_R)
    position_R = true_R + false_R
    keep = _thin(position_R, position_R, MAX_CURVE_POINTS - 1)
    x, y = false_R[keep] / false_R[-1], true_R[keep] / true_R[-1]
    return np.insert(x, 0, 0.0), np.insert(y, 0, 0.0)


def pr_curve(runs: TieRuns) -> tuple[FloatArray, FloatArray]:
    """Recall and precision at ends of runs; at most 200 points, dense at low recall. Empty unless both classes exist.

    No point at recall 0 is made up: precision is undefined there.
    """
    if runs.num_positive * runs.num_negative == 0:
        return np.zeros(0), np.zeros(0)
    true_R = np.cumsum(runs.positive_R)
    position_R = np.cumsum(runs.positive_R + runs.negative_R)
    keep = _thin(position_R, true_R, MAX_CURVE_POINTS)
    return true_R[keep] / true_R[-1], true_R[keep] / position_R[keep]
