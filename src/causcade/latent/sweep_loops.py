"""Inner loop of a sweep on a CPU, compiled by numba; it releases the GIL, so that workers fit their blocks side by side.

The loop over sources can't be one operation on arrays: an edge takes what the edges before it leave. Its operations are small, and as calls from
Python they wait for the interpreter's lock. :mod:`causcade.latent.block` says what is computed, and has the same loop for other devices.

Axes: T target genes, D perturbations, J sources, Q components of the slab.
"""

from __future__ import annotations

import math

import numba as nb
import numpy as np

__all__ = ["sweep_targets"]

# The sum over perturbations may be taken in lanes; their number is the machine's, and no result depends on how targets are shared out.
REORDERED = {"reassoc", "contract"}
TILE = 8  # targets that go through the sources together: their rows stay in the first cache, and an activity is read once for all of them


@nb.njit(nogil=True, cache=True, fastmath=REORDERED)
def _dot(a_D, b_D):
    """Sum of products."""
    total = 0.0
    for d in range(a_D.shape[0]):
        total += a_D[d] * b_D[d]
    return total


@nb.njit(nogil=True, cache=True, fastmath=REORDERED)
def _take(weighted_D, weight_D, activity_D, change):
    """Take the change of an edge out of what is left."""
    for d in range(weighted_D.shape[0]):
        weighted_D[d] -= weight_D[d] * (change * activity_D[d])


@nb.njit(nogil=True, cache=True)
def sweep_targets(weighted_TD, weight_TD, activity_JD, own_TJ, scale_TJQ, offset_TJQ, odds_TJ, edge_TJ, log_odds_TJ, slab_mean_TJ, slab_Q):
    """Renew every edge, source by source.

    Parameters
    ----------
    weighted_TD
        What the model leaves, times its weight; left as it is after the sweep.
    weight_TD
        Weight of each effect.
    activity_JD
        Activities.
    own_TJ
        Sum over perturbations of weight times squared activity.
    scale_TJQ, offset_TJQ
        Variance of a weight given an edge of a component; logarithm of its prior weight times the marginal likelihood's factor.
    odds_TJ
        Logarithm of the prior odds, -inf where there can be no edge.
    edge_TJ
        Posterior mean of W before the sweep, which is overwritten.
    log_odds_TJ, slab_mean_TJ
        Filled: logarithm of the posterior odds; mean of the weight given an edge.
    slab_Q
        Expected number of edges by component, added up.
    """
    num_targets, num_components = weighted_TD.shape[0], slab_Q.shape[0]
    mean_Q, share_Q = np.empty(num_components), np.empty(num_components)
    for first in range(0, num_targets, TILE):
        for j in range(activity_JD.shape[0]):
            activity_D = activity_JD[j]
            for t in range(first, min(first + TILE, num_targets)):
                if odds_TJ[t, j] == -np.inf:
                    log_odds_TJ[t, j], slab_mean_TJ[t, j], edge = -np.inf, 0.0, 0.0
                else:
                    moment = own_TJ[t, j] * edge_TJ[t, j] + _dot(weighted_TD[t], activity_D)
                    best = -np.inf
                    for q in range(num_components):
                        mean_Q[q] = moment * scale_TJQ[t, j, q]
                        share_Q[q] = offset_TJQ[t, j, q] + 0.5 * moment * mean_Q[q]
                        best = max(best, share_Q[q])
                    total, mean = 0.0, 0.0
                    for q in range(num_components):
                        share_Q[q] = math.exp(share_Q[q] - best)
                        total += share_Q[q]
                        mean += share_Q[q] * mean_Q[q]
                    mean /= total
                    log_odds = odds_TJ[t, j] + best + math.log(total)
                    inclusion = 1.0 / (1.0 + math.exp(-log_odds))
                    for q in range(num_components):
                        slab_Q[q] += inclusion * share_Q[q] / total
                    log_odds_TJ[t, j], slab_mean_TJ[t, j], edge = log_odds, mean, inclusion * mean
                change = edge - edge_TJ[t, j]
                if change != 0.0:
                    _take(weighted_TD[t], weight_TD[t], activity_D, change)
                edge_TJ[t, j] = edge
