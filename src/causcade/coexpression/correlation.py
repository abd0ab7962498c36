"""Residual correlation of all pairs of genes, from the sums.

The covariance of the residuals of X regressed on C is Sxx - Sxc Scc^-1 Sxc', so the residuals of the cells are never formed. With the Cholesky factor
L of Scc and Z = L^-1 Sxc' it is Sxx - Z'Z, taken by blocks of rows from the packed sums; no second matrix in float64 is held.

Axes: G genes, K covariate columns, L of them that are independent, R rows of a block.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from causcade.coexpression.moments import Moments
from causcade.coexpression.packed import mirror, packed_rows, row_start
from causcade.covariates import INTERCEPT, dropped_reasons, independent_columns
from causcade.errors import InputError
from causcade.files import replacing, zarr_v3

__all__ = ["Coexpression", "residual_correlation", "write_coexpression"]

logger = logging.getLogger(__name__)

# A gene whose variance is below this share of its mean square is constant: rounding of x to float32 alone leaves about 1e-15.
CONSTANT = 1e-10
# A gene of whose variance covariates leave less than this is constant too: float32 products resolve a covariance to about 1e-7 of the variance.
EXPLAINED = 1e-6
ROWS = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Coexpression:
    """Correlations of all pairs of genes.

    Attributes
    ----------
    correlation_GG, raw_correlation_GG : numpy.ndarray
        Of residuals and of x itself, float32; 0 for constant genes, 1 on the diagonal of others.
    mean_G, sd_G, residual_sd_G : numpy.ndarray
        Of x, float64 (natural log units; divisor: cells).
    num_cells : int
        Number of cells.
    covariates, dropped_covariates : list of str
        Columns that were adjusted for, and those left out.
    dropped_reasons : dict
        Why, for each that was left out (:func:`causcade.covariates.dropped_reasons`).
    """

    correlation_GG: np.ndarray
    raw_correlation_GG: np.ndarray
    mean_G: np.ndarray
    sd_G: np.ndarray
    residual_sd_G: np.ndarray
    num_cells: int
    covariates: list[str]
    dropped_covariates: list[str]
    dropped_reasons: dict[str, str]


def _whitened(moments: Moments, keep_K: np.ndarray) -> np.ndarray:
    """Z [L, G] of the kept covariates: Z'Z is what they explain of Sxx."""
    import scipy.linalg

    # columns of unit length: a count and a fraction would otherwise differ by many digits
    scale_L = np.sqrt(np.diag(moments.scc_KK)[keep_K])
    scc_LL = moments.scc_KK[np.ix_(keep_K, keep_K)] / np.outer(scale_L, scale_L)
    factor_LL = np.linalg.cholesky(scc_LL)
    z_LG: np.ndarray = scipy.linalg.solve_triangular(factor_LL, (moments.sxc_GK[:, keep_K] / scale_L).T, lower=True)
    return z_LG


def _variance(moments: Moments, z_LG: np.ndarray) -> np.ndarray:
    """Variance [G] of what Z leaves; 0 for genes without."""
    num = len(moments.gene_ids)
    square_G = moments.sxx_upper[row_start(np.arange(num, dtype=np.int64), num)]
    left_G = square_G - np.square(z_LG).sum(axis=0)
    left_G[left_G <= CONSTANT * square_G] = 0.0
    variance_G: np.ndarray = left_G / moments.num_cells
    return variance_G


def _correlation(moments: Moments, z_LG: np.ndarray, sd_G: np.ndarray) -> np.ndarray:
    """Correlation (float32) of what Z leaves; genes of sd 0 get zeros, never NaN."""
    num = len(sd_G)
    inverse_G = np.divide(1.0, sd_G, out=np.zeros_like(sd_G), where=sd_G > 0) / np.sqrt(moments.num_cells)
    correlation_GG = np.empty((num, num), dtype=np.float32)
    for start in range(0, num, ROWS):
        stop = min(start + ROWS, num)
        rows_RG = packed_rows(moments.sxx_upper, num, start, stop)[:, start:]  # from here on without the genes before the block
        rows_RG -= z_LG[:, start:stop].T @ z_LG[:, start:]
        rows_RG *= inverse_G[start:stop, None]
        rows_RG *= inverse_G[start:]
        np.clip(rows_RG, -1.0, 1.0, out=correlation_GG[start:stop, start:], casting="same_kind")
    mirror(correlation_GG)
    np.fill_diagonal(correlation_GG, (sd_G > 0).astype(np.float32))
    return correlation_GG


def residual_correlation(moments: Moments) -> Coexpression:
    """Correlate the residuals of all genes on the covariates, from the sums.

    Equals fitting each gene on the covariates by least squares and correlating what is left, without forming it. Collinear covariates are left out in
    the order of the columns (intercept, numbers, levels by name). A gene counts as constant if it, or its residual, has no variance.

    Raises
    ------
    InputError
        If there are no more cells than covariate columns.
    """
    keep_K = independent_columns(moments.scc_KK)
    names = [name for name, kept in zip(moments.covariates, keep_K, strict=True) if kept]
    dropped = [name for name, kept in zip(moments.covariates, keep_K, strict=True) if not kept]
    reasons = dropped_reasons(moments.scc_KK, list(moments.covariates))
    if dropped:
        logger.info("covariates left out: %s", ", ".join(f"{name} ({reasons[name]})" for name in dropped))
    if moments.num_cells <= len(names):
        raise InputError(
            f"coexpression: expected more cells than covariates, found {moments.num_cells} cells and {len(names)} covariates. "
            "Give more cells, or fewer covariates."
        )
    intercept = moments.covariates.index(INTERCEPT)
    mean_LG = _whitened(moments, np.arange(len(keep_K)) == intercept)
    fitted_LG = _whitened(moments, keep_K)
    variance_G, residual_G = _variance(moments, mean_LG), _variance(moments, fitted_LG)
    residual_G[residual_G <= EXPLAINED * variance_G] = 0.0
    sd_G, residual_sd_G = np.sqrt(variance_G), np.sqrt(residual_G)
    return Coexpression(
        correlation_GG=_correlation(moments, fitted_LG, residual_sd_G),
        raw_correlation_GG=_correlation(moments, mean_LG, sd_G),
        mean_G=moments.sxc_GK[:, intercept] / moments.num_cells,
        sd_G=sd_G,
        residual_sd_G=residual_sd_G,
        num_cells=moments.num_cells,
        covariates=names,
        dropped_covariates=dropped,
        dropped_reasons=reasons,
    )


def write_coexpression(path: str | Path, result: Coexpression) -> None:
    """Write `coexpression.zarr`.

    Arrays correlation and raw_correlation [G, G] float32, mean, sd and residual_sd [G] float64 (natural log units); attributes num_cells, covariates,
    dropped_covariates, dropped_reasons.
    """
    import zarr

    with replacing(path) as temporary, zarr_v3():
        group = zarr.open_group(str(temporary), mode="w", zarr_format=3)
        num = len(result.mean_G)
        for name, values in (("correlation", result.correlation_GG), ("raw_correlation", result.raw_correlation_GG)):
            array = group.create_array(name, shape=(num, num), chunks=(min(num, ROWS), min(num, ROWS)), dtype="float32")
            for start in range(0, num, ROWS):  # whole rows of chunks at a time bound what is encoded at once
                array[start : start + ROWS] = values[start : start + ROWS]
        for name, vector in (("mean", result.mean_G), ("sd", result.sd_G), ("residual_sd", result.residual_sd_G)):
            group.create_array(name, data=vector)
        names = ("num_cells", "covariates", "dropped_covariates", "dropped_reasons")
        group.attrs.update({name: getattr(result, name) for name in names})
        zarr.consolidate_metadata(group.store)
