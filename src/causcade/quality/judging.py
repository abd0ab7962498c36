"""Which cells of a plate are kept, and why the others are not: fixed bounds, outliers of the plate, doublets, excluded labels.

Outliers are told by the median absolute deviation of log counts and log genes (doi:10.15252/msb.20188746).

Axes: N cells of the plate.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from causcade.backend import Backend
from causcade.config import QualityConfig
from causcade.errors import InputError
from causcade.quality.doublets import DoubletCalls, find_doublets
from causcade.quality.plate_counts import PlateCounts

__all__ = ["REASONS", "judge_cells", "mad_outliers"]

REASONS = ("low_counts", "low_genes", "high_mito", "outlier", "doublet", "excluded")
"""Why a cell is removed; one cell may have several."""
MAD_TO_SD = 1.4826


def mad_outliers(values: np.ndarray, num_mads: float) -> np.ndarray:
    """Which values lie more than `num_mads` scaled median absolute deviations from the median (none where the deviation is 0)."""
    if len(values) == 0:
        return np.zeros(0, dtype=bool)
    median = np.median(values)
    deviation = MAD_TO_SD * np.median(np.abs(values - median))
    return np.abs(values - median) > num_mads * deviation if deviation > 0 else np.zeros(len(values), dtype=bool)


def judge_cells(plate: PlateCounts, metrics: pd.DataFrame, settings: QualityConfig, seed: int, *, backend: Backend = "cpu") -> pd.DataFrame:
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
    backend
        Where doublets are computed.

    Returns
    -------
    pandas.DataFrame
        cell, well, cell_line, perturbation, the metrics, doublet_score (NaN where none was computed), doublet_problem (why the cell's well calls no
        doublet; "" where it was judged) and reason (those of `REASONS` that hold, joined by ";") [N].

    Raises
    ------
    InputError
        If no cell is left.
    """
    flags, doublets = _flags(plate, metrics, settings, seed, backend)
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
    table = plate.obs[["well", "cell_line", "perturbation"]].assign(
        **metrics, doublet_score=doublets.score, doublet_problem=doublets.problem, reason=reason
    )
    return table.reset_index(names="cell")


def _flags(
    plate: PlateCounts, metrics: pd.DataFrame, settings: QualityConfig, seed: int, backend: Backend
) -> tuple[dict[str, np.ndarray], DoubletCalls]:
    """Booleans [N] of each of `REASONS`, and what was found about doublets."""
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
    doublets = DoubletCalls.none(len(metrics))
    if settings.doublets == "scrublet":
        doublets = find_doublets(plate, usable & ~outlier, seed, num_genes=metrics["num_genes"].to_numpy(), backend=backend)
    return flags | {"outlier": outlier, "doublet": doublets.is_doublet}, doublets
