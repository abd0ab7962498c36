"""Inner loop of the intervals, compiled by numba; it releases the GIL, so that references can be resampled side by side.

One pass over the edges in their order serves all resamplings: the sums of each resampling stand side by side, and an edge adds the multiplicities of
its target to them. Loops are written out as a machine runs them; :mod:`causcade.evaluation.resampling` says what they compute.

Axes: E edges, T targets, B resamplings.
"""

from __future__ import annotations

import numba as nb
import numpy as np

__all__ = ["resampled_areas"]

SMALLEST = 1e-300


@nb.njit(nogil=True, cache=True)
def resampled_areas(group_E, level_E, is_positive_E, target_E, weight_TB, edge_weight_E, sums_4B, areas_3B):
    """Fill `areas_3B`: wrongly ordered weight of pairs, weight of pairs, sum of (positive weight x precision).

    Parameters
    ----------
    group_E, level_E
        Only pairs within a group count; edges are sorted by group, then by level (0 is best). None is one group of all.
    is_positive_E, target_E
        Class and row of `weight_TB` of each edge.
    weight_TB, edge_weight_E
        Multiplicity of targets, uint8 (the table then stays in the second cache); of edges, or None where each counts once.
    sums_4B
        Zeros [4, B], int32, or float64 with edge weights: positives and negatives so far, and of the present run. The first is left with the
        positives of the last group.
    areas_3B
        float64 zeros [3, B].
    """
    num_edges, num_resamplings = level_E.shape[0], weight_TB.shape[1]
    true_B, false_B, run_true_B, run_false_B = sums_4B[0], sums_4B[1], sums_4B[2], sums_4B[3]
    begin = 0
    while begin < num_edges:
        end, has_positive = begin, False
        while end < num_edges and level_E[end] == level_E[begin] and (group_E is None or group_E[end] == group_E[begin]):
            has_positive |= is_positive_E[end]
            end += 1
        if not has_positive:
            for edge in range(begin, end):
                _add(false_B, weight_TB[target_E[edge]], edge_weight_E, edge)
        else:
            run_true_B[:] = 0
            run_false_B[:] = 0
            for edge in range(begin, end):
                _add(run_true_B if is_positive_E[edge] else run_false_B, weight_TB[target_E[edge]], edge_weight_E, edge)
            for b in range(num_resamplings):
                found = np.float64(run_true_B[b])
                areas_3B[0, b] += found * (false_B[b] + 0.5 * run_false_B[b])
                true_B[b] += run_true_B[b]
                false_B[b] += run_false_B[b]
                # Where nothing was found yet the sum below may be 0; the term is 0 then.
                areas_3B[2, b] += found * true_B[b] / max(np.float64(true_B[b] + false_B[b]), SMALLEST)
        if end == num_edges or (group_E is not None and group_E[end] != group_E[begin]):
            for b in range(num_resamplings):
                areas_3B[1, b] += np.float64(true_B[b]) * false_B[b]
            if end < num_edges:
                true_B[:] = 0
                false_B[:] = 0
        begin = end


@nb.njit(nogil=True, cache=True)
def _add(sum_B, weight_B, edge_weight_E, edge):
    if edge_weight_E is None:
        for b in range(sum_B.shape[0]):
            sum_B[b] += weight_B[b]
    else:
        for b in range(sum_B.shape[0]):
            sum_B[b] += edge_weight_E[edge] * weight_B[b]
