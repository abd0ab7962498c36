"""Residual coexpression from sums: one pass over the cells, exact, additive over plates.

With X (x = log(1 + CP10k) of the panel's genes) and C (covariates with the intercept), the plates keep Sxx = X'X, Sxc = X'C and Scc = C'C. The
covariance of the residuals of X regressed on C is Sxx - Sxc Scc^-1 Sxc', so the residuals of the whole are never formed. In each block the covariates
are taken out before the float32 product and put back in float64, so that rounding is relative to the residual variance, not to the mean square.

Axes: B cells of a block, G genes of the panel, K covariate columns, L those of them that are independent within the block.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from causcade.backend import Backend, torch_device
from causcade.cells import CellStore, log_normalise
from causcade.covariates import INTERCEPT, cell_cycle_scores, design, independent_columns
from causcade.errors import InputError
from causcade.files import replacing, zarr_v3
from causcade.runtime import Progress

__all__ = [
    "Coexpression",
    "Moments",
    "add_moments",
    "measure_moments",
    "read_moments",
    "residual_correlation",
    "top_partners",
    "write_coexpression",
    "write_moments",
]

logger = logging.getLogger(__name__)

# A gene whose (residual) variance is below this share of its mean square is constant: rounding of x to float32 alone leaves about 1e-15.
CONSTANT = 1e-10
PARTNER_ROWS = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """Sums of one or more plates: `sxx_GG`, `sxc_GK`, `scc_KK` (float64), names of the K columns, number of cells, gene ids."""

    sxx_GG: np.ndarray
    sxc_GK: np.ndarray
    scc_KK: np.ndarray
    covariates: tuple[str, ...]
    num_cells: int
    gene_ids: tuple[str, ...]


class _Sums:
    """Sums over the blocks of one plate; columns of covariates appear as the blocks bring them.

    A block is written as x = r + C beta, with any beta near its least-squares fit. Then X'X = r'r + H + H', with H = beta' (C'r + C'C beta / 2):
    the large product r'r is taken in float32, the rest, whose cost is K/B of it, in float64. Nothing is approximated by beta; it only keeps r small.
    """

    def __init__(self, num_genes: int, device: str) -> None:
        import torch

        self._device = device
        self._sxx_GG = torch.zeros((num_genes, num_genes), dtype=torch.float64, device=device)
        self._names: list[str] = []
        self._sxc_GK, self._scc_KK = np.zeros((num_genes, 0)), np.zeros((0, 0))

    def add(self, x_BG: np.ndarray, c_BK: np.ndarray, names: list[str]) -> None:
        """Add a block: x float32, covariates float64 with their names."""
        import torch

        scc_KK = c_BK.T @ c_BK
        keep = independent_columns(scc_KK)
        scaled = c_BK[:, keep] / np.sqrt(np.diag(scc_KK)[keep])
        c_BL = torch.from_numpy(np.ascontiguousarray(scaled)).to(self._device)  # the L independent columns
        gram_LL = c_BL.T @ c_BL
        x = torch.from_numpy(x_BG).to(self._device).double()
        beta_LG = torch.linalg.solve(gram_LL, c_BL.T @ x)
        r_BG = x.addmm_(c_BL, beta_LG, alpha=-1).float()
        x.copy_(r_BG)  # the rounded residuals, so that all products see the same numbers
        half_LG = c_BL.T @ x + gram_LL @ beta_LG / 2
        self._sxx_GG += r_BG.T @ r_BG
        self._sxx_GG.addmm_(beta_LG.T, half_LG).addmm_(half_LG.T, beta_LG)
        c = torch.from_numpy(c_BK).to(self._device)
        sxc_GK = (x.T @ c + beta_LG.T @ (c_BL.T @ c)).cpu().numpy()

        fresh = [name for name in names if name not in self._names]
        self._names.extend(fresh)
        self._sxc_GK = np.pad(self._sxc_GK, ((0, 0), (0, len(fresh))))
        self._scc_KK = np.pad(self._scc_KK, (0, len(fresh)))
        index = np.array([self._names.index(name) for name in names], dtype=np.intp)
        self._sxc_GK[:, index] += sxc_GK
        self._scc_KK[np.ix_(index, index)] += scc_KK

    def finish(self, num_cells: int, gene_ids: pd.Index) -> Moments:
        """Return the sums, exactly symmetric, with the covariate columns in their fixed order."""
        order = np.array(sorted(range(len(self._names)), key=lambda number: _column_order(self._names[number])), dtype=np.intp)
        return Moments(
            sxx_GG=((self._sxx_GG + self._sxx_GG.T) / 2).cpu().numpy(),
            sxc_GK=self._sxc_GK[:, order],
            scc_KK=self._scc_KK[np.ix_(order, order)],
            covariates=tuple(self._names[number] for number in order),
            num_cells=num_cells,
            gene_ids=tuple(gene_ids),
        )


def measure_moments(
    store: CellStore, gene_ids: pd.Index, terms: list[str], roles: pd.DataFrame, *, block_cells: int, backend: Backend = "auto"
) -> Moments:
    """Measure the sums of one plate.

    Parameters
    ----------
    store
        Cells of the plate.
    gene_ids
        Genes of the panel [G]; absent ones count as zero.
    terms
        Section `covariates.terms`.
    roles
        `cell_cycle.parquet`.
    block_cells
        Cells read at a time; changes the sums by rounding only.
    backend
        Where the blocks are multiplied.

    Raises
    ------
    InputError
        If a term is no column of the cells, or has values that are missing or infinite.
    """
    sums = _Sums(len(gene_ids), torch_device(backend))
    progress = Progress(store.num_cells, "cells")
    columns = store.var.index.get_indexer(gene_ids)
    present = np.flatnonzero(columns >= 0)
    totals = store.obs["total_counts"].to_numpy(dtype=np.float64)
    for rows, counts in store.iter_counts(block_cells):
        x_BF = log_normalise(counts, totals[rows])
        c_BK, names = design(store.obs.iloc[rows], cell_cycle_scores(x_BF, store.var.index, roles), terms)
        x_BG = np.zeros((len(rows), len(gene_ids)), dtype=np.float32)
        x_BG[:, present] = x_BF[:, columns[present]].toarray()
        sums.add(x_BG, c_BK, names)
        progress.advance(len(rows))
    return sums.finish(store.num_cells, gene_ids)


def _column_order(name: str) -> tuple[bool, bool, str]:
    """Intercept first, then numbers, then levels: a fixed order whatever plates come first."""
    return (name != INTERCEPT, "=" in name, name)


def add_moments(parts: Iterable[Moments]) -> Moments:
    """Sum over plates; covariate columns are joined by name.

    The parts are added in the order given, in float64.

    Raises
    ------
    InputError
        If there is none, the gene axes differ, or a term is numeric on one plate and text on another.
    """
    total: Moments | None = None
    for part in parts:
        total = part if total is None else _add(total, part)
    if total is None:
        raise InputError("moments: expected sums of at least one plate, found none. Give a plate table with a plate.")
    return total


def _add(first: Moments, second: Moments) -> Moments:
    """Sum of two."""
    if first.gene_ids != second.gene_ids:
        raise InputError("moments: expected plates with one gene panel, found two. Delete the older moments; the panel was renewed after them.")
    names = sorted(set(first.covariates) | set(second.covariates), key=_column_order)
    mixed = sorted({name.split("=", 1)[0] for name in names if "=" in name} & {name for name in names if "=" not in name})
    if mixed:
        raise InputError(
            f"covariates.terms: expected {mixed[0]!r} to be a number on every plate or text on every plate, found both. "
            "Make the column alike in all files."
        )
    sxc_GK, scc_KK = np.zeros((len(first.gene_ids), len(names))), np.zeros((len(names), len(names)))
    for part in (first, second):
        index = np.array([names.index(name) for name in part.covariates], dtype=np.intp)  # none on a plate without cells
        sxc_GK[:, index] += part.sxc_GK
        scc_KK[np.ix_(index, index)] += part.scc_KK
    return Moments(
        sxx_GG=first.sxx_GG + second.sxx_GG,
        sxc_GK=sxc_GK,
        scc_KK=scc_KK,
        covariates=tuple(names),
        num_cells=first.num_cells + second.num_cells,
        gene_ids=first.gene_ids,
    )


def write_moments(path: str | Path, moments: Moments) -> None:
    """Write the sums of a plate; Sxx as a packed upper triangle."""
    upper = np.triu_indices(len(moments.gene_ids))
    with replacing(path) as temporary, temporary.open("wb") as handle:
        np.savez(
            handle,
            sxx_upper=moments.sxx_GG[upper],
            sxc=moments.sxc_GK,
            scc=moments.scc_KK,
            covariates=np.array(moments.covariates, dtype=np.str_),
            num_cells=np.int64(moments.num_cells),
            gene_ids=np.array(moments.gene_ids, dtype=np.str_),
        )


def read_moments(path: str | Path) -> Moments:
    """Read what :func:`write_moments` wrote."""
    with np.load(path) as data:
        gene_ids = tuple(str(name) for name in data["gene_ids"])
        sxx = np.zeros((len(gene_ids), len(gene_ids)))
        upper = np.triu_indices(len(gene_ids))
        sxx[upper] = data["sxx_upper"]
        sxx.T[upper] = data["sxx_upper"]
        covariates = tuple(str(name) for name in data["covariates"])
        return Moments(sxx_GG=sxx, sxc_GK=data["sxc"], scc_KK=data["scc"], covariates=covariates, num_cells=int(data["num_cells"]), gene_ids=gene_ids)


@dataclass(frozen=True, slots=True, kw_only=True)
class Coexpression:
    """Residual and raw correlations [G, G] (0 for constant genes, 1 on the diagonal of others); mean, sd, residual sd of x [G] (divisor: cells)."""

    correlation_GG: np.ndarray
    raw_correlation_GG: np.ndarray
    mean_G: np.ndarray
    sd_G: np.ndarray
    residual_sd_G: np.ndarray
    num_cells: int
    covariates: list[str]
    dropped_covariates: list[str]


def _correlation(covariance_GG: np.ndarray, square_G: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Correlation (float32) and sd, from a covariance; constant genes get zeros, never NaN."""
    variance = np.diag(covariance_GG).copy()
    variance[variance <= CONSTANT * square_G] = 0.0
    sd_G = np.sqrt(variance)
    inverse = np.divide(1.0, sd_G, out=np.zeros_like(sd_G), where=sd_G > 0)
    correlation = (covariance_GG * inverse[:, None] * inverse[None, :]).astype(np.float32)
    np.clip(correlation, -1.0, 1.0, out=correlation)
    np.fill_diagonal(correlation, (sd_G > 0).astype(np.float32))
    return correlation, sd_G


def residual_correlation(moments: Moments) -> Coexpression:
    """Correlate the residuals of all genes on the covariates, from the sums.

    Equals fitting each gene on the covariates by least squares and correlating what is left, without forming it. Collinear covariates are left out in
    the order of the columns (intercept, numbers, levels by name).

    Raises
    ------
    InputError
        If there are no more cells than covariate columns.
    """
    keep = independent_columns(moments.scc_KK)
    names = [name for name, kept in zip(moments.covariates, keep, strict=True) if kept]
    dropped = [name for name, kept in zip(moments.covariates, keep, strict=True) if not kept]
    if dropped:
        logger.info("collinear covariates left out: %s", ", ".join(dropped))
    if moments.num_cells <= len(names):
        raise InputError(
            f"coexpression: expected more cells than covariates, found {moments.num_cells} cells and {len(names)} covariates. "
            "Give more cells, or fewer covariates."
        )
    n = float(moments.num_cells)
    intercept = moments.covariates.index(INTERCEPT)
    mean_G = moments.sxc_GK[:, intercept] / n
    square_G = np.diag(moments.sxx_GG) / n
    raw, sd_G = _correlation(moments.sxx_GG / n - np.outer(mean_G, mean_G), square_G)
    sxc = moments.sxc_GK[:, keep]
    scale = np.sqrt(np.diag(moments.scc_KK)[keep])
    scc = moments.scc_KK[np.ix_(keep, keep)] / np.outer(scale, scale)
    fitted = (sxc / scale) @ np.linalg.solve(scc, (sxc / scale).T)
    residual, residual_sd = _correlation((moments.sxx_GG - (fitted + fitted.T) / 2) / n, square_G)
    return Coexpression(
        correlation_GG=residual,
        raw_correlation_GG=raw,
        mean_G=mean_G,
        sd_G=sd_G,
        residual_sd_G=residual_sd,
        num_cells=moments.num_cells,
        covariates=names,
        dropped_covariates=dropped,
    )


def _block_partners(block_BG: np.ndarray, start: int, usable_G: np.ndarray, count: int) -> Iterator[tuple[int, np.ndarray]]:
    """Each usable gene of a block of rows, which starts at gene `start`, with its `count` strongest partners in order."""
    rows = np.arange(len(block_BG))
    strength = np.where(usable_G[None, :], np.abs(block_BG), -1.0)
    strength[rows, start + rows] = -1.0
    threshold = -np.partition(-strength, count - 1, axis=1)[:, count - 1]
    for row in rows[usable_G[start : start + len(block_BG)]]:
        candidates = np.flatnonzero((strength[row] >= threshold[row]) & (strength[row] >= 0))
        yield start + int(row), candidates[np.lexsort((candidates, -strength[row, candidates]))][:count]


def top_partners(correlation_GG: np.ndarray, genes: list[str], num_partners: int) -> pd.DataFrame:
    """Find the best partners of each gene by absolute correlation, without sorting whole rows.

    Ties are broken by gene order. Genes without variance (0 on the diagonal) have no partners and are nobody's partner.

    Parameters
    ----------
    correlation_GG
        Symmetric, from :func:`residual_correlation`.
    genes
        Names of the genes [G].
    num_partners
        Most partners per gene.

    Returns
    -------
    pandas.DataFrame
        gene, partner, correlation (float32), rank (int32; 1 = strongest), in gene order.
    """
    num = len(genes)
    count = min(num_partners, num - 1)
    usable_G = np.diag(correlation_GG) > 0
    found: list[tuple[int, np.ndarray]] = []
    if count > 0:
        for start in range(0, num, PARTNER_ROWS):
            found.extend(_block_partners(correlation_GG[start : start + PARTNER_ROWS], start, usable_G, count))
    sizes = [len(partners) for _, partners in found]
    gene = np.repeat(np.array([row for row, _ in found], dtype=np.intp), sizes)
    partner = np.concatenate([np.zeros(0, dtype=np.intp), *(partners for _, partners in found)])
    names = np.array(genes, dtype=object)
    rank = np.concatenate([np.zeros(0, dtype=np.int32), *(np.arange(1, size + 1, dtype=np.int32) for size in sizes)])
    return pd.DataFrame(
        {
            "gene": pd.Series(names[gene], dtype=str),
            "partner": pd.Series(names[partner], dtype=str),
            "correlation": correlation_GG[gene, partner].astype(np.float32),
            "rank": rank,
        }
    )


def write_coexpression(path: str | Path, result: Coexpression) -> None:
    """Write `coexpression.zarr`.

    Arrays correlation and raw_correlation [G, G] float32, mean, sd and residual_sd [G] float64 (natural log units); attributes num_cells, covariates,
    dropped_covariates.
    """
    import zarr

    with replacing(path) as temporary, zarr_v3():
        group = zarr.open_group(str(temporary), mode="w", zarr_format=3)
        num = len(result.mean_G)
        for name, values in (("correlation", result.correlation_GG), ("raw_correlation", result.raw_correlation_GG)):
            array = group.create_array(name, shape=(num, num), chunks=(min(num, PARTNER_ROWS), min(num, PARTNER_ROWS)), dtype="float32")
            array[:] = values
        for name, vector in (("mean", result.mean_G), ("sd", result.sd_G), ("residual_sd", result.residual_sd_G)):
            group.create_array(name, data=vector)
        group.attrs.update({"num_cells": result.num_cells, "covariates": result.covariates, "dropped_covariates": result.dropped_covariates})
        zarr.consolidate_metadata(group.store)
