"""From the joint posterior to a probability for edges from listed genes, and a score for every candidate edge.

Probability. The odds of the joint model are multiplied with the likelihood ratio of the partial correlation in cells, whose two densities are learnt
from the screen itself (an edge counts as one by its posterior probability), and with what outliers take from an edge that one response carries
(:mod:`causcade.latent.outliers`); the probability is that of these odds times the probability that the edge is no path through an unlisted gene,
whose evidence is doubted (:func:`causcade.latent.mediators.bent`). Only sources that a perturbation is listed to hit have a probability. Ranks ignore
outliers: a single response is still the best there is for its edge.

Score. A ranking of all candidates: l + 2 (rank of the partial correlation - 1) + (rank of the ridge coefficient - 1), with ranks in (0, 1]. For a
listed source, l = log(e^o + e^-6), o the log odds of the joint model, of which twice the square root counts beyond 4 (doubts about the model do not
shrink with more data), plus the logarithm of the probability that the edge is direct, no less than -6. For others l = log(e^o' + e^-6), o' the log
odds of its weight as a mediator, at most 6, and -6 where it is none. A constant makes all scores positive; scores have no unit.

Axes: C candidate edges, G genes, J listed genes, D perturbations.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from causcade.latent.estimate import Posterior
from causcade.latent.mediators import Alternatives, bent, find_alternatives, weigh_alternatives
from causcade.latent.outliers import outlier_penalty
from causcade.latent.problem import LatentProblem

__all__ = ["EdgeScores", "likelihood_ratio", "ridge_between_responses", "score_edges"]

FLOOR, CEILING = -6.0, 6.0
WEIGHT_PARTIAL, WEIGHT_RIDGE = 2.0, 1.0
LOWEST = 2 * FLOOR - WEIGHT_PARTIAL - WEIGHT_RIDGE
MAX_RATIO = 3.0  # of the logarithm of a likelihood ratio
MIN_EDGES = 20.0  # expected edges from which densities are learnt
GRID = 200
RIDGE_PENALTY = 1.0

Float64 = npt.NDArray[np.float64]
IndexArray = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class EdgeScores:
    """Values of candidate edges, float64.

    Attributes
    ----------
    score_C
        Above 0; higher is better.
    sign_C
        -1 or 1; 0 where there is no effect at all.
    probability_C, inclusion_C, effect_C
        Probability of the edge, that of the joint model alone, and posterior mean of W; NaN where no perturbation is listed to hit the source.
    direct_C
        Probability that the edge is no path through an unlisted gene, as it enters the probability; NaN as above.
    mediator_C
        Weight of the edge as a step of such paths; 0 for listed sources.
    outlier_share
        Of the responses that no network explains, as learnt.
    """

    score_C: Float64
    sign_C: npt.NDArray[np.int8]
    probability_C: Float64
    inclusion_C: Float64
    effect_C: Float64
    direct_C: Float64
    mediator_C: Float64
    outlier_share: float


def score_edges(
    problem: LatentProblem,
    posterior: Posterior,
    target_C: IndexArray,
    source_C: IndexArray,
    *,
    partial_C: Float64 | None = None,
    mediators: bool = True,
) -> EdgeScores:
    """Score all candidate edges.

    Parameters
    ----------
    problem, posterior
        The fit.
    target_C, source_C
        Candidate edges, as places on the gene axis.
    partial_C
        Partial correlation of the two genes in cells that saw the same treatment; without it neither score nor probability have this part. NaN where
        the source is not measured: it says nothing then, neither for the edge nor against it.
    mediators
        Whether to weigh edges against paths through unlisted genes.
    """
    column_C = problem.column_G[source_C]
    listed_C = column_C >= 0
    place = (target_C[listed_C], column_C[listed_C])
    odds_C, mean_C = (_spread(listed_C, values[place]) for values in (posterior.log_odds_GJ, posterior.slab_mean_GJ))
    inclusion_C = _spread(listed_C, posterior.inclusion_GJ[place])
    ridge_C = ridge_between_responses(problem, posterior, target_C, source_C)
    sign_C = np.sign(np.where(listed_C, np.nan_to_num(mean_C), ridge_C)).astype(np.int8)
    signed_C, ratio_C = np.zeros(len(target_C)), np.zeros(len(target_C))
    if partial_C is not None:
        # That of an unlisted source has no side to be on: its sign is not known from perturbations.
        signed_C = np.where(listed_C, partial_C * sign_C, np.abs(partial_C))
        known_C = np.isfinite(signed_C)
        ratio_C[known_C] = likelihood_ratio(signed_C[listed_C & known_C], inclusion_C[listed_C & known_C], signed_C[known_C])
    ratio_GJ = np.zeros(posterior.edge_GJ.shape)
    ratio_GJ[place] = ratio_C[listed_C]
    found = find_alternatives(problem, posterior, target_C, source_C) if mediators else _none()
    # Ranks take the evidence of mediators as it is; a probability is none before it is doubted.
    ranked, doubted = (weigh_alternatives(found, source_C, posterior.edge_GJ.shape, ratio_C, ratio_GJ, doubted=way) for way in (False, True))
    direct_C = _spread(listed_C, doubted.direct_GJ[place])
    penalty_GJ, outlier_share = outlier_penalty(problem, posterior)
    with np.errstate(over="ignore"):
        probability_C = direct_C / (1 + np.exp(-(odds_C + ratio_C + _spread(listed_C, penalty_GJ[place]))))
    level_C = _floored(np.minimum(_logit(ranked.mediator_C), CEILING))
    level_C[listed_C] = _level(odds_C[listed_C], ranked.direct_GJ[place])
    score_C = level_C + WEIGHT_RIDGE * (_rank(np.abs(ridge_C)) - 1) - LOWEST
    if partial_C is not None:
        rank_C = np.full(len(signed_C), 0.5)
        rank_C[known_C] = _rank(signed_C[known_C])
        score_C += WEIGHT_PARTIAL * (rank_C - 1)
    return EdgeScores(
        score_C=score_C, sign_C=sign_C, probability_C=probability_C, inclusion_C=inclusion_C, effect_C=_spread(listed_C, posterior.edge_GJ[place]),
        direct_C=direct_C, mediator_C=ranked.mediator_C, outlier_share=outlier_share,
    )  # fmt: skip


def _none() -> Alternatives:
    empty = np.zeros(0, np.int64)
    return Alternatives(edge_O=empty, target_O=empty, mediator_O=empty, gain_O=np.zeros(0), row_R=empty, column_R=empty)


def _spread(listed_C: npt.NDArray[np.bool_], values: Float64) -> Float64:
    """Values of the edges from listed genes among all candidates; NaN elsewhere."""
    spread_C = np.full(len(listed_C), np.nan)
    spread_C[listed_C] = values
    return spread_C


def _floored(odds_C: Float64) -> Float64:
    return np.asarray(np.logaddexp(odds_C, FLOOR))


def _level(odds_C: Float64, direct_C: Float64) -> Float64:
    floored_C = _floored(odds_C)
    return np.asarray(bent(np.maximum(floored_C, 0)) + np.minimum(floored_C, 0) + np.log(np.maximum(direct_C, np.exp(FLOOR))))


def _logit(share_C: Float64) -> Float64:
    clipped_C = np.clip(share_C, 1e-12, 1 - 1e-9)
    return np.asarray(np.log(clipped_C) - np.log1p(-clipped_C))


def _rank(value_C: Float64) -> Float64:
    """Ranks in (0, 1], ties by their mean."""
    from scipy.stats import rankdata

    return np.asarray(rankdata(value_C) / max(len(value_C), 1))


def likelihood_ratio(known_K: Float64, share_K: Float64, asked_C: Float64) -> Float64:
    """Logarithm of the ratio of the densities of a feature in edges and elsewhere; it rises with the feature, and stays within -3 and 3.

    Parameters
    ----------
    known_K, share_K
        Feature and probability of being an edge, of the edges to learn from. With fewer than 20 expected edges nothing is learnt, and 0 returned.
    asked_C
        Features to return the ratio for.
    """
    if share_K.sum() < MIN_EDGES or (1 - share_K).sum() < MIN_EDGES:
        return np.zeros(len(asked_C))
    from sklearn.isotonic import IsotonicRegression

    fitted = IsotonicRegression(y_min=1e-4, y_max=1 - 1e-4, out_of_bounds="clip").fit(known_K, share_K)
    # Through few points of the steps, so that the ratio has no jumps.
    grid = np.unique(np.quantile(known_K, np.linspace(0, 1, GRID)))
    share_C = np.interp(asked_C, grid, fitted.predict(grid))
    return np.asarray(np.clip(_logit(share_C) - _logit(share_K.mean(keepdims=True)), -MAX_RATIO, MAX_RATIO))


def ridge_between_responses(problem: LatentProblem, posterior: Posterior, target_C: IndexArray, source_C: IndexArray) -> Float64:
    """Ridge coefficients of the candidate sources of each target, [C].

    Effects without the shared responses, each gene scaled to unit standard deviation; perturbations that are listed to hit the target are left out;
    the penalty is as large as the number of perturbations.
    """
    rest_DG = problem.effect_DG - problem.strength_DF @ posterior.loading_GF.T
    sd_G = rest_DG.std(axis=0)
    scaled_DG = rest_DG / np.where(sd_G > 0, sd_G, 1.0)
    value_C = np.zeros(len(target_C))
    order_C = np.argsort(target_C, kind="stable")
    bounds = np.searchsorted(target_C[order_C], np.arange(problem.num_genes + 1))
    for target in np.unique(target_C):
        edges = order_C[bounds[target] : bounds[target + 1]]
        rows = problem.weight_DG[:, target] > 0
        if not rows.any():
            continue
        source = scaled_DG[np.ix_(rows, source_C[edges])]
        kernel = source @ source.T + RIDGE_PENALTY * rows.sum() * np.eye(int(rows.sum()))
        value_C[edges] = source.T @ np.linalg.solve(kernel, scaled_DG[rows, target])
    return value_C
