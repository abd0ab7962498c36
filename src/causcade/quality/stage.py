"""The stage: measure, judge and store the cells of one plate, and sum up what was removed.

Axes: N cells of the plate.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from causcade.backend import Backend, gpu_cluster, uses_rapids
from causcade.cells import write_store
from causcade.config import QualityConfig
from causcade.errors import InputError
from causcade.labels import CONTROL
from causcade.obs_columns import require_usable
from causcade.quality.judging import REASONS, judge_cells
from causcade.quality.metrics import measure_cells, measure_cells_by_dask
from causcade.quality.plate_counts import CANONICAL, METRICS, PlateCounts, input_columns
from causcade.quality.size_factors import totals_without_dominant

__all__ = ["store_plate", "summarise_plate"]

logger = logging.getLogger(__name__)

NUM_BINS = 40


def store_plate(
    plate: PlateCounts, path: str | Path, settings: QualityConfig, *, columns: list[str], seed: int, backend: Backend = "cpu"
) -> pd.DataFrame:
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
    backend
        Where metrics and doublets are computed.

    Returns
    -------
    pandas.DataFrame
        Table of `quality/<plate>.parquet`, one row per cell of the input.

    Raises
    ------
    InputError
        If a further column is not in the input or cannot be a covariate, or no cell is left.
    """
    further = input_columns(columns)
    missing = [name for name in further if name not in plate.extra.columns]
    if missing:
        found = ", ".join(map(str, plate.extra.columns)) or "no further column"
        raise InputError(
            f"covariates.terms: expected obs column {missing[0]!r} in the input, found {found}. Leave the term out, or correct its name."
        )
    metrics, largest = _measure(plate, settings, backend)
    table = judge_cells(plate, metrics, settings, seed, backend=backend)
    keep = (table["reason"] == "").to_numpy()
    obs = plate.obs.loc[keep, list(CANONICAL)].join(metrics[keep]).join(plate.extra.loc[keep, further])
    obs["source_row"] = plate.rows[keep]
    if settings.size_factors == "without_dominant":
        is_control = obs["is_control"].to_numpy(bool)
        obs["total_counts"] = totals_without_dominant(lambda: plate.iter_blocks(keep), is_control, plate.var["gene"].to_numpy())
    for name in further:  # of the cells that are kept; here, and not after all plates were stored
        require_usable(obs[name], name, f" of plate {plate.obs['plate'].iloc[0]}")
    write_store(
        path, obs, plate.var, (block for _, block in plate.iter_blocks(keep)), num_nonzero=int(metrics.loc[keep, "num_genes"].sum()), largest=largest
    )
    return table


def _measure(plate: PlateCounts, settings: QualityConfig, backend: Backend) -> tuple[pd.DataFrame, int]:
    """Metrics of the cells, on GPUs where there are some and rapids-singlecell is installed."""
    if not uses_rapids(backend):
        return measure_cells(plate)
    with gpu_cluster(backend, oversubscribe=settings.gpu_oversubscribe) as num_workers:
        return measure_cells_by_dask(plate, backend=backend, num_workers=num_workers)


def summarise_plate(table: pd.DataFrame) -> dict[str, Any]:
    """Return the entry of `quality/summary.json` for one plate, from its `quality/<plate>.parquet`.

    Perturbations of which no cell is left are listed in `lost_perturbations` (those that the configuration excludes are not lost). `removed` counts
    the cells of each reason, of which one cell may have several; `removed_together` counts each cell once, under all its reasons.
    `wells_without_doublet_call` says why a well that was to be looked at calls no doublet.
    """
    reason = table["reason"].astype(str)
    kept = table[reason == ""]
    reasons = reason.str.split(";").explode()
    together = reason[reason != ""].value_counts()
    treated = set(table.loc[~reason.str.contains("excluded").astype(bool), "perturbation"]) - {CONTROL}
    lost = sorted(treated - set(kept["perturbation"]))
    if lost:
        logger.warning("no cell passes quality control for %d perturbation(s): %s", len(lost), ", ".join(lost))
    medians = kept[list(METRICS)].median()
    return {
        "num_cells": len(table),
        "num_kept": len(kept),
        "num_removed": len(table) - len(kept),
        "removed": {name: int((reasons == name).sum()) for name in REASONS},
        "removed_together": {str(names): int(num) for names, num in together.sort_index().items()},
        "wells_without_doublet_call": _wells_without_call(table),
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


def _wells_without_call(table: pd.DataFrame) -> dict[str, str]:
    """Wells that were to be searched for doublets and call none, and why."""
    told = table.loc[table["doublet_problem"].astype(str) != "", ["well", "doublet_problem"]].drop_duplicates("well").sort_values("well")
    return {str(well): str(problem) for well, problem in zip(told["well"], told["doublet_problem"], strict=True)}


def _histogram(values: np.ndarray, *, log: bool) -> dict[str, list[float]]:
    """Histogram with equal bins (in log10 where asked), for the report."""
    if len(values) == 0:
        return {"edges": [], "counts": []}
    scaled = np.log10(np.maximum(values, 1)) if log else values
    counts, edges = np.histogram(scaled, bins=NUM_BINS)
    return {"edges": [float(f"{10**edge if log else edge:.5g}") for edge in edges], "counts": counts.tolist()}
