"""How well the best edges of a column predict perturbations that were held out: what decides which column ranks the network.

Every column is treated alike. Its K best edges make a network; their weights are fitted anew, on the responses of the training perturbations, by one
regression of each target on the regulators that the column gave it. The listed targets of a held-out perturbation are then moved, and the change is
propagated. So a column is asked for its choice of edges, not for the size of its values: a regulator without direct effect gets no weight beside one
that has it, an edge in the wrong direction predicts nothing when its regulator is hit, and no reference or curated edge is looked at.

A regulator's activity is its own response; where a perturbation is listed to hit it and none of the listed targets moves, it is the typical effect
(the perturbation acts on the activity). Pearson correlations are over all genes but the listed targets, with the shared responses taken out of what
was observed; a perturbation of which a network says nothing counts as 0.

Axes: D training perturbations, H held-out ones, G genes, C candidate edges, K best edges.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd

from causcade.evidence.perturbations import Prepared, edges_by_target
from causcade.responses import DrugEffects

__all__ = ["HELD_OUT_COLUMNS", "best_edges", "network_sizes", "predict_held_out"]

HELD_OUT_COLUMNS = ["fit", "column", "num_edges", "perturbation", "pearson"]
EDGES_PER_GENE = (1, 2, 4)
WEIGHT_SD = 0.4  # of the normal prior of a weight, x of the target per x of the regulator
SEEN_Z, HIDDEN_Z = 3.0, 2.5  # as in the causal module
MIN_LINKS = 5
NUM_HOPS = 6
MAX_GAIN = 0.95  # of the sum of |weights| into a gene, so that propagation ends

Float64 = npt.NDArray[np.float64]
IndexArray = npt.NDArray[np.int64]


def network_sizes(num_genes: int, num_edges: int) -> list[int]:
    """Numbers of best edges that are tried: one, two and four for each gene."""
    return sorted({min(num_edges, share * num_genes) for share in EDGES_PER_GENE})


def best_edges(value_C: Float64, num: int) -> IndexArray:
    """Rows of the `num` edges of largest absolute value, none of value 0; ties in the order given."""
    order_C = np.argsort(-np.abs(value_C), kind="stable")[:num]
    return np.asarray(order_C[value_C[order_C] != 0])


def predict_held_out(
    training: Prepared, held_out: DrugEffects, columns: Mapping[str, Float64], target_C: IndexArray, source_C: IndexArray
) -> pd.DataFrame:
    """Predict held-out perturbations by the best edges of each column.

    Parameters
    ----------
    training
        Responses of the other perturbations.
    held_out
        Those to predict.
    columns
        Values [C] of candidate edges by name, made from the training perturbations alone.
    target_C, source_C
        Candidate edges, as places on the gene axis.

    Returns
    -------
    pandas.DataFrame
        column, num_edges, perturbation, pearson.
    """
    activity_DG = _activities(training)
    direct_HG = np.where(held_out.sign_DG != 0, held_out.sign_DG, -1.0) * held_out.is_target_DG
    observed_HG = _without_shared(held_out, training)
    names = held_out.table["perturbation"].tolist()
    rows = []
    for name, value_C in columns.items():
        for num in network_sizes(direct_HG.shape[1], len(target_C)):
            edges = best_edges(value_C, num)
            weight_E = _fit_weights(training, activity_DG, target_C[edges], source_C[edges])
            predicted_HG = _propagate(weight_E, target_C[edges], source_C[edges], direct_HG)
            for h, perturbation in enumerate(names):
                kept_G = ~held_out.is_target_DG[h] & np.isfinite(observed_HG[h])
                rows.append((name, num, perturbation, _pearson(predicted_HG[h, kept_G], observed_HG[h, kept_G])))
    return pd.DataFrame(rows, columns=HELD_OUT_COLUMNS[1:]).astype({"num_edges": np.int64, "pearson": np.float64})


def _activities(data: Prepared) -> Float64:
    """Response of each gene; the typical effect where a perturbation acts on the activity of its targets."""
    signed_DG = data.sign_DG * data.rest_DG
    z_DG = signed_DG / np.sqrt(data.variance_DG)
    clear_DG = data.is_target_DG & (z_DG > SEEN_Z)
    typical = float(np.median(signed_DG[clear_DG])) if clear_DG.sum() >= MIN_LINKS else 1.0
    hidden_DG = data.is_target_DG & ~np.asarray(clear_DG.any(axis=1, keepdims=True)) & (z_DG < HIDDEN_Z)
    return np.where(hidden_DG, data.sign_DG * typical, data.rest_DG)


def _without_shared(held_out: DrugEffects, training: Prepared) -> Float64:
    """Effects less their projection on the shared responses of the training perturbations; NaN where nothing was measured."""
    error_HG = held_out.se_DG.astype(np.float64)
    effect_HG = np.where(np.isfinite(error_HG) & (error_HG > 0), held_out.effect_DG, np.nan).astype(np.float64)
    for row in effect_HG:
        kept_G = np.isfinite(row)
        loading_FG = training.loading_FG[:, kept_G]
        if len(loading_FG) and kept_G.any():
            row[kept_G] -= np.linalg.lstsq(loading_FG.T, row[kept_G], rcond=None)[0] @ loading_FG
    return effect_HG


def _fit_weights(data: Prepared, activity_DG: Float64, target_E: IndexArray, source_E: IndexArray) -> Float64:
    """Weights of edges by ridge regression of each target on its regulators."""
    precision_DG, weight_E = data.precision_DG, np.zeros(len(target_E))
    for gene, edges in edges_by_target(target_E):
        activity_DP = activity_DG[:, source_E[edges]]
        weighted_PD = (activity_DP * precision_DG[:, [gene]]).T
        normal_PP = weighted_PD @ activity_DP + np.eye(len(edges)) / WEIGHT_SD**2
        fitted_P = np.linalg.solve(normal_PP, weighted_PD @ data.rest_DG[:, gene])
        weight_E[edges] = fitted_P * min(1.0, MAX_GAIN / max(float(np.abs(fitted_P).sum()), 1e-12))
    return weight_E


def _propagate(weight_E: Float64, target_E: IndexArray, source_E: IndexArray, direct_HG: Float64) -> Float64:
    from scipy import sparse

    num = direct_HG.shape[1]
    operator = sparse.csr_matrix((weight_E, (target_E, source_E)), shape=(num, num))
    total_GH = step_GH = direct_HG.T
    for _ in range(NUM_HOPS):
        step_GH = operator @ step_GH
        total_GH = total_GH + step_GH
    return np.asarray(total_GH.T)


def _pearson(predicted: Float64, observed: Float64) -> float:
    if len(predicted) < 2 or np.ptp(predicted) == 0 or np.ptp(observed) == 0:
        return 0.0
    return float(np.corrcoef(predicted, observed)[0, 1])
