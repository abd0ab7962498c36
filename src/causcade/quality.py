"""Quality control of one plate: metrics per cell, filters with reasons, doublets on request; all genes are kept.

Metrics equal `scanpy.pp.calculate_qc_metrics` (doi:10.1186/s13059-017-1382-0): total counts, detected genes, share of mitochondrial counts. Outliers
are told by the median absolute deviation of log counts and log genes (doi:10.15252/msb.20188746). Doublets are called by Scrublet
(doi:10.1016/j.cels.2018.11.005).

Axes: N cells of the plate, B cells of a block, F features of the file, G genes.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from causcade.cells import write_store
from causcade.config import InputConfig, PerturbationConfig, QualityConfig
from causcade.errors import InputError
from causcade.gene_lists import MITO_PREFIX
from causcade.labels import CONTROL, canonical_obs, select_plate
from causcade.plates import Plate
from causcade.readers import CountsFile, merge_genes
from causcade.resources.identifiers import Resolver, gene_names
from causcade.runtime import Progress

__all__ = [
    "PlateCounts",
    "find_doublets",
    "input_columns",
    "judge_cells",
    "mad_outliers",
    "measure_cells",
    "open_plate",
    "store_plate",
    "summarise_plate",
]

logger = logging.getLogger(__name__)

REASONS = ("low_counts", "low_genes", "high_mito", "outlier", "doublet", "excluded")
MAD_TO_SD = 1.4826
MIN_DOUBLET_CELLS = 50
MIN_DOUBLET_GENES = 3
DOUBLET_COMPONENTS = 30
NUM_BINS = 40
CANONICAL = ("perturbation", "kind", "dose", "cell_line", "plate", "well", "is_control")
METRICS = ("total_counts", "num_genes", "mito_fraction")


class PlateCounts:
    """The cells of one plate in its file: canonical obs, canonical genes, blocks of counts.

    Parameters
    ----------
    file
        The file, open; it has to stay open while blocks are read.
    plate, settings, perturbation
        The plate and how to read it.
    names
        Table `gene_id`, `gene` [F] that translates the file's genes in their order; features that get one id are summed.

    Attributes
    ----------
    obs : pandas.DataFrame
        Columns of :func:`causcade.labels.canonical_obs` [N]; index `cell`, unique.
    extra : pandas.DataFrame
        The other obs columns of the input and the constants of the plate table [N].
    rows : numpy.ndarray
        Row of each cell in the file [N], ascending.
    var : pandas.DataFrame
        Column `gene`, index `gene_id` [G].

    Raises
    ------
    InputError
        If the plate's cells, labels or doses cannot be told; see :mod:`causcade.labels`.
    """

    def __init__(self, file: CountsFile, plate: Plate, settings: InputConfig, perturbation: PerturbationConfig, names: pd.DataFrame) -> None:
        self._file = file
        self._block_cells = settings.block_cells
        self.rows = np.flatnonzero(select_plate(file.obs, plate, settings))
        selected = file.obs.iloc[self.rows]
        self.obs = canonical_obs(selected, plate, settings, perturbation)
        self.obs.index = _unique_names(selected.index)
        extra = selected.set_axis(self.obs.index).assign(**plate.constants)
        self.extra = extra.drop(columns=[name for name in extra.columns if name in self.obs.columns])
        distinct, self._summing = merge_genes(pd.Index(names["gene_id"]))
        first = ~names["gene_id"].duplicated().to_numpy()
        self.var = pd.DataFrame({"gene": names["gene"].to_numpy()[first].astype(str)}, index=pd.Index(distinct.astype(str), name="gene_id"))

    def iter_blocks(self, keep: np.ndarray | None = None) -> Iterator[tuple[np.ndarray, sp.csr_matrix]]:
        """Blocks of (positions in `obs` [B], counts [B, G]); `keep` (boolean [N]) restricts them."""
        positions = np.arange(len(self.rows)) if keep is None else np.flatnonzero(keep)
        wanted = self.rows[positions]
        done = 0
        for part, counts in self._file.iter_blocks(wanted, self._block_cells):
            summed = counts if self._summing is None else sp.csr_matrix(counts @ self._summing)
            summed.eliminate_zeros()
            yield positions[done : done + len(part)], summed
            done += len(part)


def open_plate(file: CountsFile, plate: Plate, settings: InputConfig, perturbation: PerturbationConfig, resolver: Resolver | None) -> PlateCounts:
    """Canonical view of a plate's file: labels, and gene names by the resolver."""
    distinct = file.genes.drop_duplicates("gene_id")
    names = gene_names(distinct["gene_id"].tolist(), distinct["symbol"].tolist(), resolver).set_axis(distinct["gene_id"].to_numpy())
    return PlateCounts(file, plate, settings, perturbation, names.loc[file.genes["gene_id"]])


def _unique_names(names: pd.Index) -> pd.Index:
    """Cell names as text; the second and later cells of one name get `-1`, `-2`, ... (the next number that is free)."""
    given = names.astype(str)
    if given.is_unique:
        return given.rename("cell")
    taken, made, next_number = set(given), [], dict.fromkeys(given, 0)
    for name in given:
        number = next_number[name]
        fresh = f"{name}-{number}" if number else name
        while number and fresh in taken:
            number += 1
            fresh = f"{name}-{number}"
        next_number[name] = number + 1
        taken.add(fresh)
        made.append(fresh)
    return pd.Index(made, name="cell")


def input_columns(columns: list[str]) -> list[str]:
    """Those of some obs columns of the cell store that only the input can supply."""
    return [name for name in dict.fromkeys(columns) if name not in (*CANONICAL, *METRICS)]


def measure_cells(plate: PlateCounts) -> tuple[pd.DataFrame, int]:
    """Measure counts, detected genes and mitochondrial share of each cell, and the largest count.

    Returns
    -------
    metrics : pandas.DataFrame
        Columns `total_counts` (counts), `num_genes`, `mito_fraction` (0 where a cell has no counts) [N].
    largest : int
        Largest single count.
    """
    num = len(plate.obs)
    total, genes, mito = np.zeros(num), np.zeros(num, dtype=np.int64), np.zeros(num)
    is_mito = plate.var["gene"].str.upper().str.startswith(MITO_PREFIX).to_numpy()
    largest = 0
    progress = Progress(num, "cells")
    for rows, counts in plate.iter_blocks():
        total[rows] = np.asarray(counts.sum(axis=1, dtype=np.float64)).ravel()
        genes[rows] = np.diff(counts.indptr)
        mito[rows] = counts @ is_mito.astype(np.float64)
        largest = max(largest, int(counts.data.max(initial=0)))
        progress.advance(len(rows))
    share = np.divide(mito, total, out=np.zeros(num), where=total > 0)
    return pd.DataFrame({"total_counts": total, "num_genes": genes, "mito_fraction": share}, index=plate.obs.index), largest


def mad_outliers(values: np.ndarray, num_mads: float) -> np.ndarray:
    """Which values lie more than `num_mads` scaled median absolute deviations from the median (none where the deviation is 0)."""
    if len(values) == 0:
        return np.zeros(0, dtype=bool)
    median = np.median(values)
    deviation = MAD_TO_SD * np.median(np.abs(values - median))
    return np.abs(values - median) > num_mads * deviation if deviation > 0 else np.zeros(len(values), dtype=bool)


def _scrublet(counts_BG: sp.csr_matrix, seed: int) -> tuple[np.ndarray, np.ndarray, str]:
    """Scrublet on the cells of one well: score and call of each [B], and what went wrong ("" = nothing)."""
    import anndata
    import scanpy as sc

    # Scrublet looks at variable genes only, and fails where there are fewer than its components: count them as it does.
    trial = anndata.AnnData(counts_BG.copy())
    sc.pp.filter_genes(trial, min_cells=3)
    sc.pp.filter_cells(trial, min_genes=3)
    if trial.n_vars < MIN_DOUBLET_GENES or trial.n_obs < MIN_DOUBLET_CELLS:
        return np.full(counts_BG.shape[0], np.nan), np.zeros(counts_BG.shape[0], dtype=bool), "too few genes"
    sc.pp.normalize_total(trial)
    sc.pp.log1p(trial)
    sc.pp.highly_variable_genes(trial)
    num_genes = int(trial.var["highly_variable"].sum())
    if num_genes < MIN_DOUBLET_GENES:
        return np.full(counts_BG.shape[0], np.nan), np.zeros(counts_BG.shape[0], dtype=bool), "too few variable genes"
    data = anndata.AnnData(counts_BG)
    sc.pp.scrublet(data, random_state=seed, verbose=False, n_prin_comps=min(DOUBLET_COMPONENTS, trial.n_obs - 1, num_genes - 1))
    # Cells that Scrublet itself leaves out come back as NaN, which is not a call.
    called = (data.obs["predicted_doublet"] == True).to_numpy()  # noqa: E712
    return (
        data.obs["doublet_score"].to_numpy(dtype=np.float64),
        called,
        "" if "threshold" in data.uns["scrublet"] else "no threshold between two modes",
    )


def find_doublets(plate: PlateCounts, candidates: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Find doublets by Scrublet (doi:10.1016/j.cels.2018.11.005, in scanpy) in each well.

    Parameters
    ----------
    candidates
        Cells to look at (those that pass the other filters), boolean [N].
    seed
        Seed of the simulated doublets.

    Returns
    -------
    score, is_doublet
        Arrays [N]; the score is NaN where none was computed (wells of fewer than 50 cells, or without variable genes; the log names the latter).
    """
    score = np.full(len(plate.obs), np.nan)
    called = np.zeros(len(plate.obs), dtype=bool)
    codes, wells = pd.factorize(plate.obs["well"], sort=True)
    progress = Progress(len(wells), "wells")
    for well in range(len(wells)):
        member = candidates & (codes == well)
        progress.advance()
        if member.sum() < MIN_DOUBLET_CELLS:
            continue
        counts = sp.vstack([block for _, block in plate.iter_blocks(member)], format="csr").astype(np.float32)
        score[member], called[member], problem = _scrublet(counts, seed)
        if problem:
            logger.warning("well %s: no doublet is called (%s)", wells[well], problem)
    return score, called


def judge_cells(plate: PlateCounts, metrics: pd.DataFrame, settings: QualityConfig, seed: int) -> pd.DataFrame:
    """Judge each cell: the table of `quality/<plate>.parquet`, with the metrics and why a cell is removed ("" = kept).

    Outliers are looked for among the cells that pass the fixed bounds, doublets among those that are no outliers either.

    Parameters
    ----------
    plate
        The plate's cells [N].
    metrics
        Table of :func:`measure_cells` [N].
    settings
        Section `quality`.
    seed
        Seed of the simulated doublets.

    Raises
    ------
    InputError
        If no cell is left.
    """
    flags, score = _flags(plate, metrics, settings, seed)
    reason = np.full(len(metrics), "", dtype=object)
    for name in REASONS:
        hit = flags[name]
        reason[hit] = [f"{text};{name}" if text else name for text in reason[hit]]
    if len(metrics) and (reason != "").all():
        counts = ", ".join(f"{name} {int(flags[name].sum())}" for name in REASONS if flags[name].any())
        raise InputError(
            f"plate {plate.obs['plate'].iloc[0]}: expected cells that pass quality control, found none of {len(metrics)} ({counts}). "
            "Loosen `quality` in the configuration."
        )
    table = plate.obs[["well", "cell_line", "perturbation"]].assign(**metrics, doublet_score=score, reason=reason)
    return table.reset_index(names="cell")


def _flags(plate: PlateCounts, metrics: pd.DataFrame, settings: QualityConfig, seed: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Booleans [N] of each of `REASONS`, and the doublet score [N]."""
    flags = {
        "low_counts": metrics["total_counts"].to_numpy() < settings.min_counts,
        "low_genes": metrics["num_genes"].to_numpy() < settings.min_genes,
        "high_mito": metrics["mito_fraction"].to_numpy() > settings.max_mito,
        "excluded": plate.obs["is_excluded"].to_numpy(),
    }
    usable = ~np.logical_or.reduce(list(flags.values()))
    outlier = np.zeros(len(metrics), dtype=bool)
    if settings.mad is not None:
        for name in ("total_counts", "num_genes"):
            outlier[usable] |= mad_outliers(np.log1p(metrics[name].to_numpy(dtype=np.float64)[usable]), settings.mad)
    score, doublet = np.full(len(metrics), np.nan), np.zeros(len(metrics), dtype=bool)
    if settings.doublets == "scrublet":
        score, doublet = find_doublets(plate, usable & ~outlier, seed)
    return flags | {"outlier": outlier, "doublet": doublet}, score


def _histogram(values: np.ndarray, *, log: bool) -> dict[str, list[float]]:
    """Histogram with equal bins (in log10 where asked), for the report."""
    if len(values) == 0:
        return {"edges": [], "counts": []}
    scaled = np.log10(np.maximum(values, 1)) if log else values
    counts, edges = np.histogram(scaled, bins=NUM_BINS)
    return {"edges": [float(f"{10**edge if log else edge:.5g}") for edge in edges], "counts": counts.tolist()}


def summarise_plate(table: pd.DataFrame) -> dict[str, Any]:
    """Return the entry of `quality/summary.json` for one plate, from its `quality/<plate>.parquet`.

    Perturbations of which no cell is left are listed in `lost_perturbations` (those that the configuration excludes are not lost).
    """
    reason = table["reason"].astype(str)
    kept = table[reason == ""]
    reasons = reason.str.split(";").explode()
    treated = set(table.loc[~reason.str.contains("excluded").astype(bool), "perturbation"]) - {CONTROL}
    lost = sorted(treated - set(kept["perturbation"]))
    if lost:
        logger.warning("no cell passes quality control for %d perturbation(s): %s", len(lost), ", ".join(lost))
    medians = kept[list(METRICS)].median()
    return {
        "num_cells": len(table),
        "num_kept": len(kept),
        "removed": {name: int((reasons == name).sum()) for name in REASONS},
        "median_counts": float(medians["total_counts"]) if len(kept) else None,
        "median_genes": float(medians["num_genes"]) if len(kept) else None,
        "median_mito": float(medians["mito_fraction"]) if len(kept) else None,
        "num_wells": int(kept["well"].nunique()),
        "num_control_wells": int(kept.loc[kept["perturbation"] == CONTROL, "well"].nunique()),
        "num_control_cells": int((kept["perturbation"] == CONTROL).sum()),
        "cell_lines": {str(line): int(num) for line, num in kept["cell_line"].value_counts().sort_index().items()},
        "lost_perturbations": lost,
        "histograms": {
            "total_counts": _histogram(table["total_counts"].to_numpy(), log=True),
            "num_genes": _histogram(table["num_genes"].to_numpy(), log=True),
            "mito_fraction": _histogram(table["mito_fraction"].to_numpy(), log=False),
        },
    }


def store_plate(plate: PlateCounts, path: str | Path, settings: QualityConfig, *, columns: list[str], seed: int) -> pd.DataFrame:
    """Filter the cells of a plate and write those that are kept to a cell store.

    Parameters
    ----------
    plate
        The plate's cells in their file.
    path
        Folder of the cell store.
    settings
        Section `quality`.
    columns
        Further obs columns of the input to keep (covariates); names that the store has anyway are fine.
    seed
        Seed of the simulated doublets.

    Returns
    -------
    pandas.DataFrame
        Table of `quality/<plate>.parquet`, one row per cell of the input.

    Raises
    ------
    InputError
        If a further column is not in the input, or no cell is left.
    """
    further = input_columns(columns)
    missing = [name for name in further if name not in plate.extra.columns]
    if missing:
        found = ", ".join(map(str, plate.extra.columns)) or "no further column"
        raise InputError(
            f"covariates.terms: expected obs column {missing[0]!r} in the input, found {found}. Leave the term out, or correct its name."
        )
    metrics, largest = measure_cells(plate)
    table = judge_cells(plate, metrics, settings, seed)
    keep = (table["reason"] == "").to_numpy()
    obs = plate.obs.loc[keep, list(CANONICAL)].join(metrics[keep]).join(plate.extra.loc[keep, further])
    obs["source_row"] = plate.rows[keep]
    write_store(
        path, obs, plate.var, (block for _, block in plate.iter_blocks(keep)), num_nonzero=int(metrics.loc[keep, "num_genes"].sum()), largest=largest
    )
    return table
