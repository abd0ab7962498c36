"""Residual coexpression from sums: one pass over the cells, exact, additive over plates.

With X (x = log(1 + CP10k) of the panel's genes) and C (covariates with the intercept), the plates keep Sxx = X'X, Sxc = X'C and Scc = C'C. The covariance of the residuals of X
regressed on C is Sxx - Sxc Scc^-1 Sxc', so the residuals themselves are never formed. Blocks are multiplied in float32 and added in float64.

Axes: B cells of a block, G genes of the panel, K covariate columns.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
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

__all__ = ["Coexpression", "Moments", "add_moments", "measure_moments", "read_moments", "residual_correlation", "top_partners", "write_coexpression", "write_moments"]

logger = logging.getLogger(__name__)

# A gene whose residual variance is below this share of its mean square is constant for what float32 blocks can tell.
CONSTANT = 1e-7
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


def measure_moments(
    store: CellStore, gene_ids: pd.Index, terms: list[str], roles: pd.DataFrame, *, block_cells: int, backend: Backend = "auto"
) -> Moments:
    """Sums of one plate.

    Parameters
    ----------
    store
        Cells of the plate.
    gene_ids
        Genes of the panel [G]; absent ones count as zero.
    terms
        Covariates.
    roles
        `cell_cycle.parquet`.
    """
    import torch

    device = torch_device(backend)
    num_genes = len(gene_ids)
    sxx = torch.zeros((num_genes, num_genes), dtype=torch.float64, device=device)
    names: list[str] = []
    sxc, scc = np.zeros((num_genes, 0)), np.zeros((0, 0))
    progress = Progress(store.num_cells, "cells")
    columns = store.var.index.get_indexer(gene_ids)
    present = np.flatnonzero(columns >= 0)
    totals = store.obs["total_counts"].to_numpy(dtype=np.float64)
    for rows, counts in store.iter_counts(block_cells):
        x_BF = log_normalise(counts, totals[rows])
        c_BK, block_names = design(store.obs.iloc[rows], cell_cycle_scores(x_BF, store.var.index, roles), terms)
        x_BG = np.zeros((len(rows), num_genes), dtype=np.float32)
        x_BG[:, present] = x_BF[:, columns[present]].toarray()
        block = torch.from_numpy(x_BG).to(device)
        sxx += (block.T @ block).double()
        fresh = [name for name in block_names if name not in names]
        names.extend(fresh)
        sxc, scc = np.pad(sxc, ((0, 0), (0, len(fresh)))), np.pad(scc, (0, len(fresh)))
        index = np.array([names.index(name) for name in block_names])
        sxc[:, index] += x_BG.T.astype(np.float64) @ c_BK
        scc[np.ix_(index, index)] += c_BK.T @ c_BK
        progress.advance(len(rows))
    order = np.array(sorted(range(len(names)), key=lambda number: _column_order(names[number])), dtype=np.intp)
    names = [names[number] for number in order]
    sxc, scc = sxc[:, order], scc[np.ix_(order, order)]
    return Moments(sxx_GG=sxx.cpu().numpy(), sxc_GK=sxc, scc_KK=scc, covariates=tuple(names), num_cells=store.num_cells, gene_ids=tuple(gene_ids))


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
        if total is None:
            total = part
            continue
        if part.gene_ids != total.gene_ids:
            raise InputError("moments: expected plates with one gene panel, found two. Delete the older moments; the panel was renewed after them.")
        names = sorted(set(total.covariates) | set(part.covariates), key=_column_order)
        terms = {name for name in names if "=" not in name}
        mixed = sorted({name.split("=", 1)[0] for name in names if "=" in name} & terms)
        if mixed:
            raise InputError(f"covariates.terms: expected {mixed[0]!r} to be a number on every plate or text on every plate, found both. Make the column alike in all files.")
        sxc, scc = np.zeros((len(part.gene_ids), len(names))), np.zeros((len(names), len(names)))
        for source in (total, part):
            index = np.array([names.index(name) for name in source.covariates])
            sxc[:, index] += source.sxc_GK
            scc[np.ix_(index, index)] += source.scc_KK
        total = Moments(
            sxx_GG=total.sxx_GG + part.sxx_GG, sxc_GK=sxc, scc_KK=scc, covariates=tuple(names), num_cells=total.num_cells + part.num_cells, gene_ids=part.gene_ids
        )
    if total is None:
        raise InputError("moments: expected sums of at least one plate, found none. Give a plate table with a plate.")
    return total


def write_moments(path: str | Path, moments: Moments) -> None:
    """Write the sums of a plate; Sxx as a packed upper triangle."""
    upper = np.triu_indices(len(moments.gene_ids))
    with replacing(path) as temporary, temporary.open("wb") as handle:
        np.savez(
            handle,
            sxx_upper=moments.sxx_GG[upper],
            sxc=moments.sxc_GK,
            scc=moments.scc_KK,
            covariates=np.array(moments.covariates),
            num_cells=np.int64(moments.num_cells),
            gene_ids=np.array(moments.gene_ids),
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
    """Result: residual and raw correlations [G, G] (0 for constant genes, 1 on the diagonal of others), mean, sd and residual sd of x [G]."""

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
        raise InputError(f"coexpression: expected more cells than covariates, found {moments.num_cells} cells and {len(names)} covariates. Give more cells, or fewer covariates.")
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


def top_partners(correlation_GG: np.ndarray, genes: list[str], num_partners: int) -> pd.DataFrame:
    """Best partners of each gene by \\|r\\|, without sorting whole rows.

    Ties are broken by gene order. Genes without variance have no partners and are nobody's partner.

    Returns
    -------
    pandas.DataFrame
        gene, partner, correlation, rank (1 = strongest), in gene order.
    """
    num = len(genes)
    count = min(num_partners, num - 1)
    usable = np.diag(correlation_GG) > 0
    rows_of, partner_of, value_of, rank_of = [], [], [], []
    for start in range(0, num, PARTNER_ROWS):
        block = correlation_GG[start : start + PARTNER_ROWS]
        strength = np.where(usable[None, :], np.abs(block), -1.0)
        rows = np.arange(len(block))
        strength[rows, start + rows] = -1.0
        if count < num:
            threshold = -np.partition(-strength, count - 1, axis=1)[:, count - 1] if count else np.zeros(len(block))
        for row in rows[usable[start : start + len(block)]]:
            candidates = np.flatnonzero((strength[row] >= threshold[row]) & (strength[row] >= 0))
            chosen = candidates[np.lexsort((candidates, -strength[row, candidates]))][:count]
            rows_of.append(np.full(len(chosen), start + row))
            partner_of.append(chosen)
            value_of.append(block[row, chosen])
            rank_of.append(np.arange(1, len(chosen) + 1))
    names = np.array(genes, dtype=object)
    if not rows_of:
        return pd.DataFrame({"gene": [], "partner": [], "correlation": np.zeros(0, np.float32), "rank": np.zeros(0, np.int32)})
    return pd.DataFrame(
        {
            "gene": names[np.concatenate(rows_of)],
            "partner": names[np.concatenate(partner_of)],
            "correlation": np.concatenate(value_of).astype(np.float32),
            "rank": np.concatenate(rank_of).astype(np.int32),
        }
    )


def write_coexpression(path: str | Path, result: Coexpression) -> None:
    """Write `coexpression.zarr`: correlation, raw_correlation [G, G] float32; mean, sd, residual_sd [G] float64; attributes num_cells, covariates, dropped_covariates."""
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
