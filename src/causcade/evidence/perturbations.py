"""Evidence that perturbations give for an edge: shift of the target, target deconvolution, ridge regression between perturbations.

All three read the same prepared responses: without what perturbations share (:func:`causcade.responses.fit_shared_response`), and with the errors
widened by what perturbations leave unexplained in each gene, so that a well measured gene is no stronger evidence than its own spread allows. None
reads a curated edge.

Axes: D perturbations, G genes, J listed genes (a perturbation is listed to hit them), C candidate edges, P candidate sources of one target.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from causcade.responses import DrugEffects, fit_shared_response

__all__ = ["Prepared", "deconvolve_targets", "edges_by_target", "prepare_effects", "ridge_between_perturbations", "shift_of_target"]

CLEAR_Z = 3.0  # standard errors from which a listed target of unknown sign shows its sign in its own mRNA
UNMEASURED = 1e3  # error of what was not measured, relative to the largest
DECONVOLUTION_PENALTY = 0.5  # of the median information on a source
RIDGE_PENALTY = 1.0  # of the number of perturbations
MIN_PERTURBATIONS = 3  # from which there is a regression between them

Float64 = npt.NDArray[np.float64]
IndexArray = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """Responses of perturbations, ready to be read; float64.

    Attributes
    ----------
    rest_DG
        Effects without what perturbations share; 0 where nothing was measured.
    variance_DG, tau2_G
        Squared standard errors; variance that perturbations which do not hit the gene leave beyond them.
    weight_DG
        Multiplicity of the perturbation where something was measured, else 0.
    is_target_DG, sign_DG
        Listed targets, and their signs: where the table gives none, that of a clear response of the target itself, else -1 (most drugs inhibit).
    loading_FG
        Shared responses.
    """

    rest_DG: Float64
    variance_DG: Float64
    tau2_G: Float64
    weight_DG: Float64
    is_target_DG: npt.NDArray[np.bool_]
    sign_DG: Float64
    loading_FG: Float64

    @property
    def free_DG(self) -> npt.NDArray[np.bool_]:
        """Where a response is not that of a listed target itself."""
        return (self.weight_DG > 0) & ~self.is_target_DG

    @property
    def precision_DG(self) -> Float64:
        """Weight of each response in a regression; 0 at listed targets and where nothing was measured."""
        return np.where(self.free_DG, self.weight_DG / (self.variance_DG + self.tau2_G), 0.0)


def prepare_effects(effects: DrugEffects) -> Prepared:
    """Take the shared responses out of effects, and find what they leave unexplained."""
    error_DG = effects.se_DG.astype(np.float64)
    measured_DG = np.isfinite(effects.effect_DG) & np.isfinite(error_DG) & (error_DG > 0)
    largest = float(error_DG[measured_DG].max(initial=0)) or 1.0
    filled = replace(
        effects, effect_DG=np.where(measured_DG, effects.effect_DG, 0).astype(np.float32),
        se_DG=np.where(measured_DG, effects.se_DG, UNMEASURED * largest).astype(np.float32),
    )  # fmt: skip
    shared = fit_shared_response(filled)
    rest_DG = np.where(measured_DG, filled.effect_DG - shared.strength_DF @ shared.loading_FG, 0.0)
    variance_DG = filled.se_DG.astype(np.float64) ** 2
    weight_DG = measured_DG * effects.table["weight"].to_numpy(np.float64)[:, None]
    is_target_DG = effects.is_target_DG
    free_DG = weight_DG * ~is_target_DG
    excess_G = (free_DG * (rest_DG**2 - variance_DG)).sum(axis=0) / np.maximum(free_DG.sum(axis=0), 1)
    seen_DG = np.where(np.abs(rest_DG) > CLEAR_Z * np.sqrt(variance_DG), np.sign(rest_DG), -1.0)
    sign_DG = np.where(effects.sign_DG != 0, effects.sign_DG, seen_DG) * is_target_DG
    return Prepared(
        rest_DG=rest_DG, variance_DG=variance_DG, tau2_G=np.maximum(excess_G, 0.0), weight_DG=weight_DG, is_target_DG=is_target_DG,
        sign_DG=sign_DG, loading_FG=shared.loading_FG,
    )  # fmt: skip


def shift_of_target(data: Prepared, target_C: IndexArray, source_C: IndexArray) -> Float64:
    """How the target moves when perturbations hit the source, in standard errors, [C].

    The precision-weighted mean of sign x response over the perturbations that are listed to hit the source and not the target, over its standard
    error; 0 where there is none. Positive: the target follows the source. It is a total effect: it does not tell an edge from a path.
    """
    precision_DG = data.precision_DG
    column_G, listed_J = _listed(data)
    moment_JG = data.sign_DG[:, listed_J].T @ (data.rest_DG * precision_DG)
    information_JG = np.abs(data.sign_DG[:, listed_J]).T @ precision_DG
    z_JG = np.divide(moment_JG, np.sqrt(information_JG), out=np.zeros_like(moment_JG), where=information_JG > 0)
    return _at_listed(z_JG.T, column_G, target_C, source_C)


def deconvolve_targets(data: Prepared, target_C: IndexArray, source_C: IndexArray) -> Float64:
    """Total effect of each listed gene on the target, all fitted together, in standard errors, [C].

    The responses of the target are regressed on the signed table of targets, by ridge regression with half the median information on a source as the
    penalty: what a perturbation does is split among its targets. 0 where no perturbation hits the source.
    """
    column_G, listed_J = _listed(data)
    design_DJ = data.sign_DG[:, listed_J]
    # The target's own column takes what hits it directly, so these responses stay in.
    precision_DG = data.weight_DG / (data.variance_DG + data.tau2_G)
    z_GJ = np.zeros((data.rest_DG.shape[1], len(listed_J)))
    for gene in np.unique(target_C[column_G[source_C] >= 0]):
        weighted_JD = (design_DJ * precision_DG[:, [gene]]).T
        information_JJ = weighted_JD @ design_DJ
        penalty = DECONVOLUTION_PENALTY * float(np.median(np.diag(information_JJ)))
        if penalty <= 0:
            continue  # hardly anything of this gene was measured
        inverse_JJ = np.linalg.inv(information_JJ + penalty * np.eye(len(listed_J)))
        # Variances of ridge coefficients: the diagonal of inverse @ information @ inverse.
        variance_J = ((inverse_JJ @ information_JJ) * inverse_JJ).sum(axis=1)
        fitted_J = inverse_JJ @ (weighted_JD @ data.rest_DG[:, gene])
        z_GJ[gene] = np.divide(fitted_J, np.sqrt(np.maximum(variance_J, 0)), out=np.zeros_like(fitted_J), where=variance_J > 0)
    return _at_listed(z_GJ, column_G, target_C, source_C)


def ridge_between_perturbations(data: Prepared, target_C: IndexArray, source_C: IndexArray) -> Float64:
    """Ridge coefficients of the candidate sources of each target over perturbations, genes scaled to unit standard deviation, [C].

    Perturbations that are listed to hit the target are left out; the penalty is as large as the number of the others. It reads no list of targets
    otherwise, so it speaks of sources that nothing hits too. 0 with fewer than three perturbations.
    """
    sd_G = np.sqrt(np.einsum("dg,dg->g", data.weight_DG, data.rest_DG**2) / np.maximum(data.weight_DG.sum(axis=0), 1))
    scaled_DG = data.rest_DG / np.where(sd_G > 0, sd_G, 1.0)
    value_C = np.zeros(len(target_C))
    for gene, edges in edges_by_target(target_C):
        rows = np.flatnonzero(data.free_DG[:, gene])
        if len(rows) < MIN_PERTURBATIONS:
            continue
        # A perturbation that was drawn twice counts twice.
        root_D1 = np.sqrt(data.weight_DG[rows, gene])[:, None]
        source_DP, response_D = scaled_DG[np.ix_(rows, source_C[edges])] * root_D1, scaled_DG[rows, gene] * root_D1[:, 0]
        penalty = RIDGE_PENALTY * float((root_D1**2).sum())
        if len(edges) <= len(rows):
            kernel = source_DP.T @ source_DP + penalty * np.eye(len(edges))
            value_C[edges] = np.linalg.solve(kernel, source_DP.T @ response_D)
        else:  # the same numbers, from a system of the size of the perturbations
            kernel = source_DP @ source_DP.T + penalty * np.eye(len(rows))
            value_C[edges] = source_DP.T @ np.linalg.solve(kernel, response_D)
    return value_C


def edges_by_target(target_C: IndexArray) -> Iterator[tuple[int, IndexArray]]:
    """Each target with the rows of its edges, targets ascending."""
    order_C = np.argsort(target_C, kind="stable")
    genes, starts = np.unique(target_C[order_C], return_index=True)
    for gene, start, stop in zip(genes, starts, [*starts[1:], len(order_C)], strict=False):
        yield int(gene), order_C[start:stop]


def _listed(data: Prepared) -> tuple[IndexArray, IndexArray]:
    """Place of each gene among the listed ones (-1: none), and the listed genes."""
    listed_J = np.flatnonzero(data.is_target_DG.any(axis=0))
    column_G = np.full(data.is_target_DG.shape[1], -1)
    column_G[listed_J] = np.arange(len(listed_J))
    return column_G, listed_J


def _at_listed(value_GJ: Float64, column_G: IndexArray, target_C: IndexArray, source_C: IndexArray) -> Float64:
    """Values of edges from listed sources; 0 for others."""
    value_C, listed_C = np.zeros(len(target_C)), column_G[source_C] >= 0
    value_C[listed_C] = value_GJ[target_C[listed_C], column_G[source_C[listed_C]]]
    return value_C
