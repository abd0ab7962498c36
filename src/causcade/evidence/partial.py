"""Partial correlation of the two genes of an edge given all others, in control cells.

Each plate sums x and its products over its control cells; the sums are added, covariates (plate and line among them) are taken out of the total, and
the precision matrix is the inverse of correlation + shrinkage on the diagonal, by a Cholesky factor in place in float32: at 14,142 genes one matrix
of 0.8 GB. Its relative error is about 6e-8 times the condition number, at most (largest eigenvalue + shrinkage) / shrinkage.

Axes: G genes, C candidate edges.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from causcade.cells import CellStore
from causcade.coexpression import Moments, add_moments, residual_correlation
from causcade.coexpression.moments import SumOptions, measure_rows
from causcade.errors import InputError
from causcade.responses import gene_positions

__all__ = ["SHRINKAGE", "measure_controls", "partial_correlation", "partial_in_controls"]

logger = logging.getLogger("causcade")

SHRINKAGE = 0.05
IndexArray = npt.NDArray[np.int64]


def partial_correlation(
    correlation_GG: npt.NDArray[np.float32], target_C: IndexArray, source_C: IndexArray, *, shrinkage: float = SHRINKAGE
) -> npt.NDArray[np.float64]:
    """Partial correlations of pairs of genes given all others, [C]; 0 with a constant gene.

    Parameters
    ----------
    correlation_GG
        Correlation, float32, 0 in the rows of constant genes (also on the diagonal). It is overwritten.
    target_C, source_C
        Pairs, as places on the gene axis.
    shrinkage
        Added to the diagonal.

    Raises
    ------
    InputError
        If a number is not finite.
    """
    from scipy.linalg import lapack

    if not np.isfinite(correlation_GG).all():
        raise InputError("partial correlation: expected finite correlations, found others. Rerun the sums of this run.")
    varies_G = np.diag(correlation_GG) > 0
    np.fill_diagonal(correlation_GG, 1.0 + shrinkage)
    # The matrix is symmetric: its transpose is the same matrix in the order of columns that LAPACK works on in place.
    factor_GG, failed = lapack.spotrf(correlation_GG.T, lower=0, clean=0, overwrite_a=1)
    if failed == 0:
        inverse_GG, failed = lapack.spotri(factor_GG, lower=0, overwrite_c=1)
    if failed != 0:
        raise InputError(
            f"partial correlation: expected correlations of one set of cells, found a matrix that is not positive definite (order {failed}). "
            "Rerun the sums of this run."
        )
    root_G = np.sqrt(np.diag(inverse_GG).astype(np.float64))
    low_C, high_C = np.minimum(target_C, source_C), np.maximum(target_C, source_C)  # only the upper triangle is filled
    value_C = -inverse_GG[low_C, high_C].astype(np.float64) / (root_G[target_C] * root_G[source_C])
    return np.where(varies_G[target_C] & varies_G[source_C], value_C, 0.0)


def measure_controls(store: CellStore, gene_ids: pd.Index, terms: list[str], roles: pd.DataFrame, options: SumOptions) -> Moments:
    """Measure the sums over the control cells of a plate; see :func:`causcade.coexpression.measure_rows`.

    Parameters
    ----------
    store, gene_ids, terms, roles
        As there.
    options
        Its further keywords.
    """
    cells = np.flatnonzero(store.obs["is_control"].to_numpy(bool))
    return measure_rows(store, gene_ids, terms, roles, cells=cells, first=0, last=len(cells), **options)


def partial_in_controls(plates: Sequence[str | Path], edges: pd.DataFrame, genes: pd.DataFrame) -> pd.DataFrame:
    """Make `evidence/partial_correlation.parquet`: regulator, target, partial_correlation; one row per candidate edge, in their order.

    All values are 0, and the log says so, where there are no more control cells than covariates.

    Parameters
    ----------
    plates
        Files of the sums of :func:`measure_controls`.
    edges
        `candidate_edges.parquet`.
    genes
        `panel.parquet`.
    """
    target_C, source_C = gene_positions(edges, genes)
    value_C = np.zeros(len(edges))
    total = add_moments(sorted(map(str, plates)))
    if total.num_cells > len(total.covariates):
        correlation_GG = residual_correlation(total).correlation_GG
        del total
        value_C = partial_correlation(correlation_GG, target_C, source_C)
    else:
        logger.warning("%d control cells are too few for a partial correlation: every value is 0", total.num_cells)
    names = {column: edges[column].astype(str).to_numpy() for column in ("regulator", "target")}
    return pd.DataFrame({**names, "partial_correlation": value_C.astype(np.float32)})
