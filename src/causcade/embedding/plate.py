"""What every source of embeddings shares: which cells of a plate, the table of them, and the artifact.

Axes: N embedded cells, B cells of a block, F genes of the plate, D dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from causcade.cells import CellStore, log_normalise
from causcade.config import EmbeddingConfig
from causcade.covariates import cell_cycle_scores
from causcade.errors import InputError
from causcade.runtime import Progress

if TYPE_CHECKING:
    import anndata

__all__ = ["OBS", "SCORES", "assemble", "chosen_rows", "describe_cells"]

OBS = ["perturbation", "cell_line", "plate", "well", "is_control"]
SCORES = ["s_score", "g2m_score"]
CHECKED_CELLS = 1 << 16


def chosen_rows(store: CellStore, settings: EmbeddingConfig) -> np.ndarray:
    """Rows of the cells to embed [N]: the controls, or all (`embedding.cells`)."""
    return np.arange(store.num_cells) if settings.cells == "all" else np.flatnonzero(store.obs["is_control"].to_numpy())


def describe_cells(
    store: CellStore, rows: np.ndarray, roles: pd.DataFrame, *, block_cells: int, visit: Callable[[sp.csr_matrix], None] | None = None
) -> pd.DataFrame:
    """Make the table of the embedded cells, in one pass over their counts.

    Parameters
    ----------
    store
        Cells of the plate.
    rows
        Rows of the cells, ascending [N].
    roles
        `cell_cycle.parquet`, for the scores that the report's map shows.
    block_cells
        Cells read at a time; changes no result.
    visit
        Called with each block of x = log(1 + CP10k) [B, F], for who needs them too.

    Returns
    -------
    pandas.DataFrame
        perturbation, cell_line, plate, well, is_control, row (in the cell store), log_counts, s_score, g2m_score (NaN where the plate has no gene of
        that phase) [N]; index: cell names.
    """
    scores: dict[str, list[np.ndarray]] = {name: [] for name in SCORES}
    totals = store.obs["total_counts"].to_numpy(dtype=np.float64)
    progress = Progress(len(rows), "cells")
    for part, counts in store.iter_counts(block_cells, rows):
        x_BF = log_normalise(counts, totals[part])
        found = cell_cycle_scores(x_BF, store.var.index, roles)
        for name, values in scores.items():
            values.append(found.get(name, np.full(len(part), np.nan)))
        if visit is not None:
            visit(x_BF)
        progress.advance(len(part))
    whole = {name: np.concatenate([np.zeros(0), *values]) for name, values in scores.items()}
    return store.obs.iloc[rows][OBS].assign(row=rows, log_counts=np.log1p(totals[rows]), **whole)


def assemble(
    z_ND: np.ndarray, obs: pd.DataFrame, settings: EmbeddingConfig, where: object, facts: Mapping[str, Any] | None = None
) -> anndata.AnnData:
    """Put embedding and table together, once every number is known to be finite.

    Parameters
    ----------
    z_ND
        Embedding of the cells [N, D].
    obs
        Their table, from :func:`describe_cells`.
    settings
        Section `embedding`: `storage` is used, and `source` in the message.
    where
        What the message names: the store, or the file of the embedding.
    facts
        What is to be known of the embedding, for `uns`.

    Returns
    -------
    anndata.AnnData
        X [N, D] float32 or float16.

    Raises
    ------
    InputError
        If an embedding is not finite, or does not fit float16.
    """
    import anndata

    bad = sum(int((~np.isfinite(part_BD).all(axis=1)).sum()) for part_BD in _blocks(z_ND))
    if bad:
        remedy = "Compute it again" if settings.source == "precomputed" else "Check the model"
        raise InputError(
            f"{where}: expected a finite embedding for each cell, found {bad} cells with NaN or infinity. {remedy}, or use `source: pca`."
        )
    largest = max((float(np.abs(part_BD).max()) for part_BD in _blocks(z_ND)), default=0.0)
    if largest > float(np.finfo(settings.storage).max):
        raise InputError(f"{where}: expected numbers that float16 holds (below 65,504), found {largest:.3g}. Write `storage: float32`.")
    return anndata.AnnData(
        np.asarray(z_ND).astype(settings.storage, copy=False), obs=obs, uns={"embedding": {"source": settings.source, **(facts or {})}}
    )


def _blocks(z_ND: np.ndarray) -> Iterator[np.ndarray]:
    """Take some cells at a time: an array of all may be a file."""
    yield from (z_ND[start : start + CHECKED_CELLS] for start in range(0, len(z_ND), CHECKED_CELLS))
