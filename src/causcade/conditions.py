"""Pseudobulk: mean and variance of x in each condition (perturbation x dose x line x plate), controls included, in one pass.

With a squared loss and an effect that is constant within a condition, these sums hold all that the causal stage can learn from the cells. They
contain no model output, so a new basal model never makes them stale.

Axes: B cells of a block, P conditions, H genes of the panel that the plate has, G genes of the panel, K covariates.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp

from causcade.cells import CellStore, log_normalise
from causcade.covariates import INTERCEPT, cell_cycle_scores, design
from causcade.runtime import Progress

if TYPE_CHECKING:
    import anndata

__all__ = ["measure_conditions"]

logger = logging.getLogger(__name__)

KEYS = ["perturbation", "dose", "cell_line", "plate", "is_control"]
OBS = ["condition", "perturbation", "kind", "dose", "cell_line", "plate", "is_control", "n_cells"]
COVARIATES = ["log_counts", "mito_fraction", "s_score", "g2m_score"]


class _Sums(NamedTuple):
    """Sums over the cells of each condition, float64: x and x squared [P, H], covariates [P] by name."""

    sum_PH: np.ndarray
    square_PH: np.ndarray
    covariates: dict[str, np.ndarray]


def measure_conditions(store: CellStore, panel: pd.DataFrame, roles: pd.DataFrame, *, min_cells: int, block_cells: int) -> anndata.AnnData:
    """Measure the conditions of one plate.

    Parameters
    ----------
    store
        Cells of the plate.
    panel
        `panel.parquet`.
    roles
        `cell_cycle.parquet`.
    min_cells
        Smaller conditions are left out.
    block_cells
        Cells read at a time; changes the sums by rounding of float64 only.

    Returns
    -------
    anndata.AnnData
        [P, G], sorted by perturbation, dose and line; obs condition, perturbation, kind, dose, cell_line, plate, is_control, n_cells; layers
        `mean` and `var` of x (natural log units; variance over cells with n - 1, 0 for one cell; a gene that the plate does not have is 0); obsm
        `covariates` (means; columns in uns["covariates"]); var index gene_id, column gene. Sums are float64, the layers float32.
    """
    import anndata

    gene_ids = pd.Index(panel["gene_id"])
    grouped = store.obs.groupby(KEYS, sort=True, observed=True)
    # One label has one kind (the check stage sees to it), controls have any: the kind does not split a condition.
    obs = grouped.agg(kind=("kind", "first"), n_cells=("kind", "size")).reset_index()
    columns = store.var.index.get_indexer(gene_ids)
    present_H = np.flatnonzero(columns >= 0)
    sums = _sum_conditions(store, grouped.ngroup().to_numpy(), columns[present_H], roles, block_cells=block_cells)
    n_P1 = obs["n_cells"].to_numpy(dtype=np.float64)[:, None]
    mean_PH = sums.sum_PH / n_P1
    variance_PH = np.maximum(sums.square_PH - n_P1 * mean_PH**2, 0.0) / np.maximum(n_P1 - 1, 1)

    enough = (obs["n_cells"] >= min_cells).to_numpy()
    if not enough.all():
        logger.info("%d of %d conditions have fewer than %d cells and are left out", int((~enough).sum()), len(obs), min_cells)
    obs = _named(obs[enough])
    layers = {name: np.zeros((len(obs), len(gene_ids)), dtype=np.float32) for name in ("mean", "var")}
    layers["mean"][:, present_H] = mean_PH[enough]
    layers["var"][:, present_H] = variance_PH[enough]
    names = [name for name in sums.covariates if name != INTERCEPT]
    covariates_PK = np.stack([sums.covariates[name] for name in names], axis=1) / n_P1 if names else np.zeros((len(n_P1), 0))
    var = pd.DataFrame({"gene": panel["gene"].to_numpy(dtype=str)}, index=pd.Index(gene_ids.astype(str), name="gene_id"))
    obsm = {"covariates": covariates_PK[enough].astype(np.float32)}
    return anndata.AnnData(obs=obs, var=var, layers=layers, obsm=obsm, uns={"covariates": names}, shape=(len(obs), len(gene_ids)))


def _sum_conditions(store: CellStore, code_N: np.ndarray, columns_H: np.ndarray, roles: pd.DataFrame, *, block_cells: int) -> _Sums:
    """Sum over the cells of a plate, whose conditions are numbered by `code_N` and whose genes of the panel are `columns_H`."""
    num = int(code_N.max(initial=-1)) + 1
    sums = _Sums(np.zeros((num, len(columns_H))), np.zeros((num, len(columns_H))), {})
    totals = store.obs["total_counts"].to_numpy(dtype=np.float64)
    progress = Progress(store.num_cells, "cells")
    for rows, counts in store.iter_counts(block_cells):
        x_BF = log_normalise(counts, totals[rows])
        x_BH = x_BF[:, columns_H].astype(np.float64)
        # A block has few of the conditions: only their rows are touched.
        here, code_B = np.unique(code_N[rows], return_inverse=True)
        indicator = sp.csr_matrix((np.ones(len(rows)), (code_B, np.arange(len(rows)))), shape=(len(here), len(rows)))
        sums.sum_PH[here] += (indicator @ x_BH).toarray()
        sums.square_PH[here] += (indicator @ x_BH.multiply(x_BH)).toarray()
        c_BK, names = design(store.obs.iloc[rows], cell_cycle_scores(x_BF, store.var.index, roles), COVARIATES)
        for name, values in zip(names, c_BK.T, strict=True):
            sums.covariates.setdefault(name, np.zeros(num))[here] += indicator @ values
        progress.advance(len(rows))
    return sums


def _named(obs: pd.DataFrame) -> pd.DataFrame:
    """Table of the conditions, indexed by name: perturbation|dose|line|plate."""
    obs = obs.astype({"perturbation": str, "kind": str, "cell_line": str, "plate": str})
    dose = obs["dose"].map("{:g}".format).astype(str)
    return (
        obs.assign(condition=obs["perturbation"] + "|" + dose + "|" + obs["cell_line"] + "|" + obs["plate"])[OBS]
        .set_index("condition", drop=False)
        .rename_axis(None)
    )
