"""Pseudobulk: mean and variance of x in each condition (perturbation x dose x line x plate), controls included, in one pass.

With a squared loss and an effect that is constant within a condition, these sums hold all that the causal stage can learn from the cells. They contain no model output, so a new basal model
never makes them stale.

Axes: B cells of a block, P conditions, G genes of the panel, K covariates.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

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

KEYS = ["perturbation", "kind", "dose", "cell_line", "plate", "is_control"]
COVARIATES = ["log_counts", "mito_fraction", "s_score", "g2m_score"]


def measure_conditions(store: CellStore, panel: pd.DataFrame, roles: pd.DataFrame, *, min_cells: int, block_cells: int) -> anndata.AnnData:
    """Conditions of one plate.

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

    Returns
    -------
    anndata.AnnData
        [P, G]; obs condition, perturbation, kind, dose, cell_line, plate, is_control, n_cells; layers `mean` and `var` of x (natural log units; variance over cells with n - 1, 0 for one cell); obsm
        `covariates` (means; columns in uns["covariates"]); var index gene_id, column gene. Sums are float64, the layers float32.
    """
    import anndata

    gene_ids = pd.Index(panel["gene_id"])
    grouped = store.obs.groupby(KEYS, sort=True, observed=True)
    codes = grouped.ngroup().to_numpy()
    obs = grouped.size().rename("n_cells").reset_index()
    num, num_genes = len(obs), len(gene_ids)
    sums, squares = np.zeros((num, num_genes)), np.zeros((num, num_genes))
    covariate_sums: dict[str, np.ndarray] = {}
    columns = store.var.index.get_indexer(gene_ids)
    present = np.flatnonzero(columns >= 0)
    totals = store.obs["total_counts"].to_numpy(dtype=np.float64)
    progress = Progress(store.num_cells, "cells")
    for rows, counts in store.iter_counts(block_cells):
        x_BF = log_normalise(counts, totals[rows])
        indicator_PB = sp.csr_matrix((np.ones(len(rows)), (codes[rows], np.arange(len(rows)))), shape=(num, len(rows)))
        x_BG = x_BF[:, columns[present]].astype(np.float64)
        sums[:, present] += (indicator_PB @ x_BG).toarray()
        squares[:, present] += (indicator_PB @ x_BG.multiply(x_BG)).toarray()
        c_BK, names = design(store.obs.iloc[rows], cell_cycle_scores(x_BF, store.var.index, roles), COVARIATES)
        for name, column in zip(names, c_BK.T, strict=True):
            covariate_sums.setdefault(name, np.zeros(num))
            covariate_sums[name] += indicator_PB @ column
        progress.advance(len(rows))
    n_P1 = obs["n_cells"].to_numpy(dtype=np.float64)[:, None]
    mean = sums / n_P1
    variance = np.maximum(squares - n_P1 * mean**2, 0.0) / np.maximum(n_P1 - 1, 1)
    enough = (obs["n_cells"] >= min_cells).to_numpy()
    if not enough.all():
        logger.info("%d of %d conditions have fewer than %d cells and are left out", int((~enough).sum()), num, min_cells)
    names = [name for name in covariate_sums if name != INTERCEPT]
    covariates = np.stack([covariate_sums[name] for name in names], axis=1) / n_P1 if names else np.zeros((num, 0))
    obs = obs.astype({"perturbation": str, "kind": str, "cell_line": str, "plate": str})
    obs["condition"] = obs["perturbation"] + "|" + obs["dose"].map("{:g}".format) + "|" + obs["cell_line"] + "|" + obs["plate"]
    obs = obs[enough].set_index("condition", drop=False).rename_axis(None)
    var = pd.DataFrame({"gene": panel["gene"].to_numpy(dtype=str)}, index=pd.Index(gene_ids.astype(str), name="gene_id"))
    layers = {"mean": mean[enough].astype(np.float32), "var": variance[enough].astype(np.float32)}
    return anndata.AnnData(obs=obs, var=var, layers=layers, obsm={"covariates": covariates[enough].astype(np.float32)}, uns={"covariates": names}, shape=(len(obs), num_genes))
