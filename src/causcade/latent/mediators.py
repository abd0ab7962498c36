"""Paths through genes that no perturbation is listed to hit.

The joint model knows listed sources only, so that a path A -> X -> C through an unlisted X comes out as an edge A -> C. Where X is a candidate
regulator of C, the two explanations are compared: C regressed on its sources S, or on X and S without the sources of X (all of those that X shares
with C, or one of them). Given the rest of the model, both have a closed marginal likelihood. The probability that X regulates a gene at all is
learnt from all its candidate targets, as that of the listed sources is: a gene that would mediate here and nowhere else is no regulator.

Axes: G genes, D perturbations, J listed genes, C candidate edges, X candidate edges that leave an unlisted gene, O alternatives (one mediator for one
set of dropped sources), S sources of one target.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from causcade.latent.estimate import Posterior
from causcade.latent.problem import LatentProblem

__all__ = ["Alternatives", "Mediation", "bent", "find_alternatives", "weigh_alternatives"]

CALLED = 0.3  # probability from which a source takes part in the comparison
NUM_ROUNDS = 15
START_SHARE = 0.002  # of the candidate targets of an unlisted gene that it regulates
HIERARCHY_EDGES = 20.0
MIN_SHARE, MAX_SHARE, MOST_OF_ONE = 1e-4, 0.05, 0.3
LINEAR_UP_TO = 4.0

Float64 = npt.NDArray[np.float64]
IndexArray = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Alternatives:
    """Explanations of a target with a mediator, one row each.

    Attributes
    ----------
    edge_O
        Candidate edge from the mediator to the target.
    target_O, mediator_O
        Its genes.
    gain_O
        Logarithm of the Bayes factor against the listed sources alone, prior odds of the dropped sources counted, those of the mediator not.
    row_R, column_R
        Dropped sources: alternative, and place among the listed genes.
    """

    edge_O: IndexArray
    target_O: IndexArray
    mediator_O: IndexArray
    gain_O: Float64
    row_R: IndexArray
    column_R: IndexArray


class Mediation(NamedTuple):
    """What the comparison gives.

    direct_GJ: probability that an edge from a listed gene, if the joint model has it, is no path through an unlisted one. mediator_C: posterior
    weight of the candidate edges from unlisted genes (0 on the others). share_G: share of its candidate targets that an unlisted gene regulates, as
    learnt.
    """

    direct_GJ: Float64
    mediator_C: Float64
    share_G: Float64


def find_alternatives(problem: LatentProblem, posterior: Posterior, target_C: IndexArray, source_C: IndexArray) -> Alternatives:
    """Compare every called set of sources with every candidate mediator that shares a source with the target.

    The activity of an unlisted gene is its measured effect, pooled with what the model predicts for it; its variance enters as that of the others
    does. Cost: a few products per candidate edge; linear in candidates.
    """
    rest_DG = problem.effect_DG - problem.strength_DF @ posterior.loading_GF.T
    weight_DG = problem.weight_DG / (problem.variance_DG + posterior.tau2_G)
    mean_DG, variance_DG = _activities(problem, posterior, rest_DG)
    called_GJ = posterior.inclusion_GJ > CALLED
    prior_odds_J = np.log(posterior.inclusion_J) - np.log1p(-posterior.inclusion_J)
    order_X, bounds = _edges_of_unlisted(problem, target_C, source_C)
    rows: list[tuple[IndexArray, int, Float64, IndexArray]] = []  # edges, target, gains, dropped columns
    for target in range(problem.num_genes):
        edges = order_X[bounds[target] : bounds[target + 1]]
        source_S = np.flatnonzero(called_GJ[target])
        if not len(source_S) or not len(edges):
            continue
        shares_XS = called_GJ[np.ix_(source_C[edges], source_S)]
        edges, shares_XS = edges[shares_XS.any(axis=1)], shares_XS[shares_XS.any(axis=1)]
        if not len(edges):
            continue
        columns = np.concatenate([posterior.activity_DJ[:, source_S], mean_DG[:, source_C[edges]]], axis=1)
        variances = np.concatenate([posterior.activity_variance_DJ[:, source_S], variance_DG[:, source_C[edges]]], axis=1)
        model = _Regression(columns, variances, weight_DG[:, target], rest_DG[:, target], posterior.slab_variance, len(source_S))
        whole = model.evidence(np.ones(len(source_S), bool)) + prior_odds_J[source_S].sum()
        for dropped_S, which in _drops(shares_XS):
            gain = model.evidence_with(~dropped_S, which) + prior_odds_J[source_S[~dropped_S]].sum() - whole
            rows.append((edges[which], target, gain, source_S[dropped_S]))
    return _table(rows, source_C)


def _activities(problem: LatentProblem, posterior: Posterior, rest_DG: Float64) -> tuple[Float64, Float64]:
    predicted_DG = posterior.activity_DJ @ posterior.edge_GJ.T
    measured_DG = (problem.weight_DG > 0) / problem.variance_DG
    model_G = 1 / np.maximum(posterior.tau2_G, problem.min_tau**2)
    variance_DG = 1 / (measured_DG + model_G)
    return (rest_DG * measured_DG + predicted_DG * model_G) * variance_DG, variance_DG


def _edges_of_unlisted(problem: LatentProblem, target_C: IndexArray, source_C: IndexArray) -> tuple[IndexArray, IndexArray]:
    """Candidate edges from unlisted genes, sorted by target, and where each target begins."""
    from_unlisted = np.flatnonzero(problem.column_G[source_C] < 0)
    order_X = from_unlisted[np.lexsort((source_C[from_unlisted], target_C[from_unlisted]))]
    return order_X, np.searchsorted(target_C[order_X], np.arange(problem.num_genes + 1))


def _drops(shares_XS: npt.NDArray[np.bool_]) -> Iterator[tuple[npt.NDArray[np.bool_], IndexArray]]:
    """Give sets of sources to drop, each with the mediators that allow it: all that a mediator shares with the target, or any single one."""
    patterns, which_X = np.unique(shares_XS, axis=0, return_inverse=True)
    several_X = shares_XS.sum(axis=1) > 1
    which_X = which_X.ravel()
    for number, pattern in enumerate(patterns):
        yield pattern, np.flatnonzero(which_X == number)
    for place in range(shares_XS.shape[1]):
        which = np.flatnonzero(several_X & shares_XS[:, place])
        if len(which):
            single = np.zeros(shares_XS.shape[1], bool)
            single[place] = True
            yield single, which


class _Regression:
    """Marginal likelihoods of one target on subsets of columns, each weight normal with the variance of the slab; the first columns are sources."""

    def __init__(self, columns: Float64, variances: Float64, weight_D: Float64, value_D: Float64, slab_variance: float, num_sources: int) -> None:
        weighted = columns * weight_D[:, None]
        self.num_sources, self.slab_variance = num_sources, slab_variance
        self.source_SS = weighted[:, :num_sources].T @ columns[:, :num_sources] + np.diag(weight_D @ variances[:, :num_sources])
        self.cross_SX = weighted[:, :num_sources].T @ columns[:, num_sources:]
        self.own_X = (weighted[:, num_sources:] * columns[:, num_sources:]).sum(axis=0) + weight_D @ variances[:, num_sources:]
        self.moment_S, self.moment_X = np.split(weighted.T @ value_D, [num_sources])

    def _factor(self, keep_S: npt.NDArray[np.bool_]) -> Float64:
        precision = self.source_SS[np.ix_(keep_S, keep_S)] + np.eye(int(keep_S.sum())) / self.slab_variance
        return np.asarray(np.linalg.cholesky(precision))

    def evidence(self, keep_S: npt.NDArray[np.bool_]) -> float:
        """Logarithm of the marginal likelihood of some sources, relative to none."""
        if not keep_S.any():
            return 0.0
        factor = self._factor(keep_S)
        half = np.linalg.solve(factor, self.moment_S[keep_S])
        return float(0.5 * half @ half - np.log(np.diag(factor)).sum() - 0.5 * len(half) * np.log(self.slab_variance))

    def evidence_with(self, keep_S: npt.NDArray[np.bool_], which: IndexArray) -> Float64:
        """Evidence of some sources and one further column each, for several such columns."""
        precision_x, moment_x = self.own_X[which] + 1 / self.slab_variance, self.moment_X[which]
        if keep_S.any():
            factor = self._factor(keep_S)
            half_Sx = np.linalg.solve(factor, self.cross_SX[np.ix_(np.flatnonzero(keep_S), which)])
            precision_x = precision_x - (half_Sx**2).sum(axis=0)
            moment_x = moment_x - half_Sx.T @ np.linalg.solve(factor, self.moment_S[keep_S])
        return np.asarray(self.evidence(keep_S) + 0.5 * moment_x**2 / precision_x - 0.5 * np.log(precision_x * self.slab_variance))


def _table(rows: list[tuple[IndexArray, int, Float64, IndexArray]], source_C: IndexArray) -> Alternatives:
    def joined(parts: list[npt.NDArray[np.int64]]) -> IndexArray:
        return np.concatenate([np.zeros(0, np.int64), *parts])

    edge_O = joined([row[0] for row in rows])
    starts = np.cumsum([0, *(len(row[0]) for row in rows)])
    return Alternatives(
        edge_O=edge_O, target_O=joined([np.full(len(row[0]), row[1]) for row in rows]), mediator_O=source_C[edge_O],
        gain_O=np.concatenate([np.zeros(0), *(row[2] for row in rows)]),
        row_R=joined([np.repeat(start + np.arange(len(row[0])), len(row[3])) for start, row in zip(starts, rows, strict=False)]),
        column_R=joined([np.tile(row[3], len(row[0])) for row in rows]),
    )  # fmt: skip


def bent(odds: Float64) -> Float64:
    """Logarithms of odds, of which twice the square root counts beyond 4: doubts about the model do not shrink with more data."""
    size = np.abs(odds)
    return np.asarray(np.where(size > LINEAR_UP_TO, 2 * np.sign(odds) * np.sqrt(size), odds))


def weigh_alternatives(
    found: Alternatives, source_C: IndexArray, shape_GJ: tuple[int, int], bonus_C: Float64 | None = None, bonus_GJ: Float64 | None = None,
    *, doubted: bool = False,
) -> Mediation:  # fmt: skip
    """Posterior probabilities of all explanations, and the shares of the mediators, in turn.

    Parameters
    ----------
    found
        From :func:`find_alternatives`.
    source_C
        Source of each candidate edge.
    shape_GJ
        Number of genes and of listed genes.
    bonus_C, bonus_GJ
        Further evidence for a candidate edge from an unlisted gene, and for an edge from a listed one, as logarithms of likelihood ratios; 0 by
        default.
    doubted
        Whether the evidence of a mediator counts as :func:`bent`. A gene that only shares its regulators with the target shares what the model gets
        wrong of them too, and explains the target better than they do.
    """
    num_genes = shape_GJ[0]
    gain_O = found.gain_O.copy()
    if bonus_C is not None:
        gain_O += bonus_C[found.edge_O]
    if bonus_GJ is not None:
        np.subtract.at(gain_O, found.row_R, bonus_GJ[found.target_O[found.row_R], found.column_R])
    gain_O = bent(gain_O) if doubted else gain_O
    candidates_G = np.bincount(source_C, minlength=num_genes)
    takes_part = np.unique(found.mediator_O)
    share_G, weight_O = np.full(num_genes, START_SHARE), np.zeros(len(gain_O))
    for _ in range(NUM_ROUNDS):
        odds_O = gain_O + (np.log(share_G) - np.log1p(-share_G))[found.mediator_O]
        top_G = np.zeros(num_genes)
        np.maximum.at(top_G, found.target_O, odds_O)
        weight_O = np.exp(odds_O - top_G[found.target_O])
        weight_O /= (np.exp(-top_G) + np.bincount(found.target_O, weight_O, minlength=num_genes))[found.target_O]
        edges_G = np.bincount(found.mediator_O, weight_O, minlength=num_genes)
        typical = float(np.clip(edges_G.sum() / max(candidates_G[takes_part].sum(), 1), MIN_SHARE, MAX_SHARE))
        share_G = np.clip((edges_G + HIERARCHY_EDGES * typical) / (candidates_G + HIERARCHY_EDGES), MIN_SHARE, MOST_OF_ONE)
    direct_GJ = np.ones(shape_GJ)
    np.subtract.at(direct_GJ, (found.target_O[found.row_R], found.column_R), weight_O[found.row_R])
    mediator_C = np.bincount(found.edge_O, weight_O, minlength=len(source_C)) if len(weight_O) else np.zeros(len(source_C))
    return Mediation(np.clip(direct_GJ, 0.0, 1.0), np.minimum(mediator_C, 1.0), share_G)
