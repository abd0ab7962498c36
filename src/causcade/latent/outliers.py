"""Single responses that no network explains, against edges that rest on them.

The joint model takes what is left of a response for normal. A few responses are not: an effect of the perturbation that nobody listed, or that no
candidate carries. Where one perturbation alone hits a source, an edge can explain such a response as well as an outlier can, and the normal model
knows edges only. Here every response is an outlier with a small probability, learnt gene by gene from the screen itself (shrunk towards that of all
genes): where the network leaves few strong responses unexplained, one response is much evidence for an edge; in data without a network, where strong
responses are found anywhere, it is next to none. An edge that several perturbations show loses nothing. Where the size of a hit is not fitted
(knockouts), what its error leaves of a response is no outlier.

Axes: D perturbations, G genes, J listed genes, E edges that are looked at.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from causcade.latent.estimate import Posterior
from causcade.latent.problem import LatentProblem

__all__ = ["outlier_penalty"]

LOOKED_AT = 0.02  # probability of an edge from which it is looked at
NUM_ROUNDS = 8
START_SHARE, MIN_SHARE, MAX_SHARE = 0.003, 1e-5, 0.1  # of the responses that are outliers
HIERARCHY_RESPONSES = 100.0  # responses' worth of prior on the share of a gene
EDGES_PER_CHUNK = 4096
STRONG_Z = 4.0  # errors from which a response tells the spread of outliers

Float64 = npt.NDArray[np.float64]


def outlier_penalty(problem: LatentProblem, posterior: Posterior) -> tuple[Float64, float]:
    """Measure what outliers take from the log odds of each edge.

    Edges and outliers are weighed in turn: an edge that falls leaves its responses to the outliers, whose share then rises.

    Returns
    -------
    penalty_GJ
        At most 0, to be added to the log odds of the joint model; 0 for edges below a probability of 0.02.
    share
        Of all responses that are outliers.
    """
    variance_DG = problem.variance_DG + posterior.tau2_G
    rest_DG = problem.effect_DG - problem.strength_DF @ posterior.loading_GF.T
    used_DG = problem.weight_DG > 0
    strong_DG = used_DG & (rest_DG**2 > STRONG_Z**2 * variance_DG)
    penalty_GJ = np.zeros_like(posterior.edge_GJ)
    if not strong_DG.any():
        return penalty_GJ, 0.0
    wide_DG = variance_DG + float(np.mean(rest_DG[strong_DG] ** 2))
    target_E, column_E = np.nonzero(posterior.inclusion_GJ > LOOKED_AT)
    joint_E, mean_E = posterior.log_odds_GJ[target_E, column_E], posterior.slab_mean_GJ[target_E, column_E]
    # A fitted activity is fitted to these responses, and has left nothing of its error in them.
    weight_DG, error_DJ = problem.weight_DG, problem.fixed_DJ * problem.fixed_sd**2
    num_G, share_G = weight_DG.sum(axis=0), np.full(problem.num_genes, START_SHARE)
    edge_GJ, share = posterior.edge_GJ.copy(), START_SHARE
    for _ in range(NUM_ROUNDS):
        left_DG = rest_DG - posterior.activity_DJ @ edge_GJ.T
        near_DG, far_DG = _log_parts(left_DG, variance_DG, wide_DG, share_G)
        count_G = (weight_DG * np.exp(far_DG - np.logaddexp(near_DG, far_DG))).sum(axis=0)
        share = float(np.clip(count_G.sum() / max(num_G.sum(), 1.0), MIN_SHARE, MAX_SHARE))
        share_G = np.clip((count_G + HIERARCHY_RESPONSES * share) / (num_G + HIERARCHY_RESPONSES), MIN_SHARE, MAX_SHARE)
        penalty_E = np.zeros(len(target_E))
        for start in range(0, len(target_E), EDGES_PER_CHUNK):
            part = slice(start, start + EDGES_PER_CHUNK)
            t, j = target_E[part], column_E[part]
            activity_DE, normal_DE = posterior.activity_DJ[:, j], variance_DG[:, t]
            without_DE = left_DG[:, t] + activity_DE * edge_GJ[t, j]
            left_DE, own_DE = without_DE - activity_DE * mean_E[part], error_DJ[:, j] * mean_E[part] ** 2
            gain_DE = np.logaddexp(*_log_parts(left_DE, normal_DE + own_DE, wide_DG[:, t] + own_DE, share_G[t]))
            gain_DE -= np.logaddexp(*_log_parts(without_DE, normal_DE, wide_DG[:, t], share_G[t]))
            # The joint model has gained this already: its normal density, and the error of the activity as a loss.
            gain_DE -= 0.5 * (without_DE**2 - left_DE**2 - own_DE) / normal_DE
            penalty_E[part] = np.minimum((weight_DG[:, t] * gain_DE).sum(axis=0), 0.0)
        edge_GJ[target_E, column_E] = mean_E / (1 + np.exp(-np.clip(joint_E + penalty_E, -500, 500)))
    penalty_GJ[target_E, column_E] = penalty_E
    return penalty_GJ, share


def _log_parts(left_DX: Float64, near_DX: Float64, wide_DX: Float64, share_X: Float64) -> tuple[Float64, Float64]:
    """Logarithms of the densities of a response that is none and that is an outlier, times their shares; near, wide: variances.

    Both lack the same constant.
    """
    near = np.log1p(-share_X) - 0.5 * np.log(near_DX) - 0.5 * left_DX**2 / near_DX
    return near, np.log(share_X) - 0.5 * np.log(wide_DX) - 0.5 * left_DX**2 / wide_DX
