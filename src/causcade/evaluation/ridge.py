"""Ridge regression between perturbations: a simple baseline that reads no label.

The change of each gene over the perturbations is regressed on the changes of all other genes of the panel, each gene scaled to unit standard
deviation, with the penalty lambda = mean eigenvalue of the kernel K = Z Z' (Z [D, G] the scaled changes). Nothing of size G x G is ever made: with
A = (K + lambda)^-1 Z, the coefficient of source s for target t, t itself left out of the regressors, is exactly z_s' a_t / (1 - z_t' a_t)
(Sherman-Morrison), so that one factorisation [D, D] serves all targets.

It does not use which perturbation hits what, so that a permutation of labels is no null for it.

Legend of axes: E candidate edges, D perturbations, G panel genes.
"""

from __future__ import annotations

import numpy as np

from causcade.evaluation.edges import CodedEdges, FloatArray
from causcade.evaluation.rankings import Ranking, Responses

__all__ = ["ridge_between_perturbations"]

EDGES_PER_BLOCK = 100_000
MIN_PERTURBATIONS = 3


def _scaled(responses: Responses, columns_G: np.ndarray) -> FloatArray:
    """Scale changes [D, G]: centred, with unit standard deviation; 0 where a gene is absent, constant or not measured."""
    measured_DG = (np.isfinite(responses.error_DG) & (responses.error_DG > 0))[:, columns_G] & (columns_G >= 0)
    value_DG = np.where(measured_DG, responses.effect_DG[:, columns_G], 0.0)
    num_G = np.maximum(measured_DG.sum(axis=0), 1)
    centred_DG = np.where(measured_DG, value_DG - value_DG.sum(axis=0) / num_G, 0.0)
    sd_G = np.sqrt((centred_DG**2).sum(axis=0) / num_G)
    z_DG: FloatArray = np.divide(centred_DG, sd_G, out=np.zeros_like(centred_DG), where=sd_G > 0)
    return z_DG


def ridge_between_perturbations(edges: CodedEdges, responses: Responses) -> Ranking | None:
    """Rank edges by the absolute ridge coefficient of their source for their target.

    Parameters
    ----------
    edges
        From :func:`causcade.evaluation.edges.code_edges`.
    responses
        Response of each gene to each perturbation; genes that are not there score 0.

    Returns
    -------
    Ranking or None
        None with fewer than three perturbations or responses that do not vary: there is nothing to regress on.
    """
    import pandas as pd

    z_DG = _scaled(responses, pd.Index(responses.genes).get_indexer(edges.gene_G))
    kernel_DD = z_DG @ z_DG.T
    penalty = float(np.trace(kernel_DD)) / max(len(z_DG), 1)
    if len(z_DG) < MIN_PERTURBATIONS or penalty == 0:
        return None
    solved_DG = np.linalg.solve(kernel_DD + penalty * np.eye(len(z_DG)), z_DG)
    left_G = 1.0 - (z_DG * solved_DG).sum(axis=0)
    z_GD, solved_GD = np.ascontiguousarray(z_DG.T), np.ascontiguousarray(solved_DG.T)
    value_E = np.empty(edges.num_edges)
    for begin in range(0, edges.num_edges, EDGES_PER_BLOCK):
        part = slice(begin, begin + EDGES_PER_BLOCK)
        source, target = edges.source_E[part], edges.target_E[part]
        value_E[part] = np.einsum("ed,ed->e", z_GD[source], solved_GD[target]) / left_G[target]
    return Ranking(name="ridge", score_E=np.abs(value_E), sign_E=np.sign(value_E).astype(np.int8))
