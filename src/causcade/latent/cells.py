"""Partial correlation of genes in cells that saw the same treatment, from sums that the run has anyway: no cell is read.

X'X of all cells, less n m m' of every condition with n cells and mean m, is the sum of products around the means of conditions (perturbation x dose x
line x plate). What a perturbation does to two genes is not in it; that they vary together from cell to cell is.

Axes: G genes, P conditions of a plate, C candidate edges.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from causcade.coexpression.moments import Moments, read_moments
from causcade.coexpression.packed import unpack
from causcade.covariates import INTERCEPT
from causcade.errors import InputError
from causcade.files import read_anndata
from causcade.responses import gene_positions

__all__ = ["covariance_within_conditions", "partial_correlation", "partial_table"]

SHRINKAGE = 0.05

Float64 = npt.NDArray[np.float64]
IndexArray = npt.NDArray[np.int64]


def covariance_within_conditions(plates: Iterable[tuple[str | Path, str | Path]]) -> tuple[Float64, pd.DataFrame]:
    """Covariance of x around the means of conditions, over the cells of all plates.

    Cells of conditions that were too small to be kept count around their common mean.

    Parameters
    ----------
    plates
        Paths of `moments/<plate>.npz` and `conditions/<plate>.zarr` of each plate.

    Returns
    -------
    covariance_GG
        Divided by the number of cells less that of conditions.
    genes
        Columns gene and gene_id; the gene axis.

    Raises
    ------
    InputError
        If there is no plate, the gene axes differ, or no condition has two cells.
    """
    total_GG: Float64 | None = None
    gene_ids: list[str] = []
    genes = pd.DataFrame()
    freedom = 0
    for sums, store in plates:
        moments, conditions = read_moments(sums), read_anndata(store)
        if list(moments.gene_ids) != list(conditions.var_names) or (gene_ids and list(moments.gene_ids) != gene_ids):
            raise InputError(
                f"{store}: expected the {len(gene_ids or moments.gene_ids)} genes of the panel, found another axis. "
                "Rerun `coexpression` and `conditions` on the present panel."
            )
        gene_ids = list(moments.gene_ids)
        genes = pd.DataFrame({"gene": conditions.var["gene"].astype(str).to_numpy(), "gene_id": gene_ids})
        within_GG, lost = _within(moments, np.asarray(conditions.layers["mean"]), conditions.obs)
        total_GG = within_GG if total_GG is None else total_GG + within_GG
        freedom += moments.num_cells - lost
    if total_GG is None:
        raise InputError("partial correlation: expected sums of at least one plate, found none. Run the stage `coexpression`.")
    if freedom < 1:
        raise InputError(
            "partial correlation: expected conditions of several cells, found one cell in each. Lower `conditions.min_cells`, or add cells."
        )
    return total_GG / freedom, genes


def _within(moments: Moments, mean_PG: npt.NDArray[np.float32], obs: pd.DataFrame) -> tuple[Float64, int]:
    """Sum of products around the means of conditions of one plate [G, G], and how many means were taken."""
    cells_P = obs["n_cells"].to_numpy(np.float64)
    rooted_PG = np.sqrt(cells_P)[:, None] * mean_PG.astype(np.float64)
    rest_cells = moments.num_cells - int(cells_P.sum())
    if rest_cells > 0:
        rest_G = moments.sxc_GK[:, moments.covariates.index(INTERCEPT)] - np.sqrt(cells_P) @ rooted_PG
        rooted_PG = np.concatenate([rooted_PG, rest_G[None] / np.sqrt(rest_cells)])
    within_GG = unpack(moments.sxx_upper, len(moments.gene_ids))
    within_GG -= rooted_PG.T @ rooted_PG
    return within_GG, len(rooted_PG)


def partial_correlation(covariance_GG: Float64, target_C: IndexArray, source_C: IndexArray, *, shrinkage: float = SHRINKAGE) -> Float64:
    """Partial correlations of pairs of genes given all others, from (correlation + shrinkage)^-1; 0 with a gene without variance, [C].

    Parameters
    ----------
    covariance_GG
        Covariance, or correlation, of x.
    target_C, source_C
        Pairs.
    shrinkage
        Added to the diagonal of the correlation.
    """
    from scipy.linalg import lapack

    sd_G = np.sqrt(np.maximum(np.diag(covariance_GG), 0))
    scale_G = np.divide(1.0, sd_G, out=np.zeros_like(sd_G), where=sd_G > 0)
    correlation_GG = covariance_GG * scale_G[:, None]
    correlation_GG *= scale_G
    np.fill_diagonal(correlation_GG, 1 + shrinkage)
    # In place, on the transposed (symmetric) matrix: at 14,142 genes a copy is 1.6 GB.
    factor_GG, failed = lapack.dpotrf(correlation_GG.T, lower=1, overwrite_a=1)
    if failed:
        raise InputError(f"partial correlation: expected a covariance, found a matrix that is not positive (at gene {failed}). Raise the shrinkage.")
    inverse_GG, _ = lapack.dpotri(factor_GG, lower=1, overwrite_c=1)
    root_G = np.sqrt(np.diag(inverse_GG))
    value_C = -inverse_GG[np.maximum(target_C, source_C), np.minimum(target_C, source_C)] / (root_G[target_C] * root_G[source_C])
    return np.where((sd_G[target_C] > 0) & (sd_G[source_C] > 0), value_C, 0.0)


def partial_table(plates: Iterable[tuple[str | Path, str | Path]], edges: pd.DataFrame) -> pd.DataFrame:
    """Make `latent/partial_correlation.parquet`: regulator, target, partial_correlation; one row per candidate edge, in their order.

    Parameters
    ----------
    plates
        As of :func:`covariance_within_conditions`.
    edges
        `candidate_edges.parquet`.
    """
    covariance_GG, genes = covariance_within_conditions(plates)
    target_C, source_C = gene_positions(edges, genes)
    value_C = partial_correlation(covariance_GG, target_C, source_C)
    names = {column: edges[column].astype(str).to_numpy() for column in ("regulator", "target")}
    return pd.DataFrame({**names, "partial_correlation": value_C.astype(np.float32)})
