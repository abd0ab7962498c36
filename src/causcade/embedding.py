"""Cell embeddings: the representation that the basal decoder starts from.

`pca`: principal axes of the panel's covariance, taken from the exact sums over all plates (no cell is read for it) and then pinned; each plate is projected on them. `precomputed`: an obsm key of the input, as it
is.

Axes: N cells, B cells of a block, G genes of the panel, D dimensions.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from causcade.backend import Backend, single_cell
from causcade.cells import CellStore, log_normalise
from causcade.config import EmbeddingConfig, InputConfig
from causcade.covariates import cell_cycle_scores
from causcade.errors import InputError
from causcade.files import replacing
from causcade.readers import CountsFile
from causcade.runtime import Progress

if TYPE_CHECKING:
    import anndata

__all__ = ["Basis", "embed_plate", "map_cells", "pca_basis", "read_basis", "write_basis"]

logger = logging.getLogger(__name__)

OBS = ["perturbation", "cell_line", "plate", "well", "is_control"]
MAP_CELLS = 5000
MAP_NEIGHBOURS = 15
MIN_MAP_CELLS = 10


class Basis(NamedTuple):
    """Principal axes: components [G, D], mean of x [G], explained share of the variance [D], gene ids [G]."""

    components_GD: np.ndarray
    mean_G: np.ndarray
    explained_D: np.ndarray
    gene_ids: np.ndarray


def pca_basis(correlation_GG: np.ndarray, mean_G: np.ndarray, sd_G: np.ndarray, gene_ids: list[str], num_dimensions: int) -> Basis:
    """Principal axes of the covariance `correlation * sd * sd'`.

    Each axis points where its largest loading is positive, so that the result does not depend on the solver. No more axes than genes.
    """
    import scipy.linalg

    num = len(mean_G)
    count = min(num_dimensions, num)
    covariance = correlation_GG.astype(np.float64) * np.outer(sd_G, sd_G)
    values, vectors = scipy.linalg.eigh(covariance, subset_by_index=[num - count, num - 1])
    values, vectors = values[::-1], vectors[:, ::-1]
    signs = np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(count)])
    total = float(np.square(sd_G).sum())
    explained = np.maximum(values, 0) / total if total > 0 else np.zeros(count)
    return Basis((vectors * np.where(signs == 0, 1, signs)).astype(np.float32), mean_G, explained, np.array(gene_ids, dtype=str))


def write_basis(path: str | Path, basis: Basis) -> None:
    """Write a basis as npz."""
    with replacing(path) as temporary, temporary.open("wb") as handle:
        np.savez(handle, **basis._asdict())


def read_basis(path: str | Path) -> Basis:
    """Read what :func:`write_basis` wrote."""
    with np.load(path) as data:
        return Basis(**{name: data[name] for name in Basis._fields})


def embed_plate(
    store: CellStore, settings: EmbeddingConfig, basis: Basis | None, *, source: tuple[str, InputConfig], roles: pd.DataFrame, block_cells: int
) -> anndata.AnnData:
    """Embed the cells of one plate (its controls, or all).

    Parameters
    ----------
    store
        Cells of the plate.
    basis
        Principal axes, for `source: pca`.
    source
        The plate's input file and how to read it, for `source: precomputed`.
    roles
        `cell_cycle.parquet`, for the scores that the report's map shows.

    Returns
    -------
    anndata.AnnData
        X [N, D] float32; obs perturbation, cell_line, plate, well, is_control, row (in the cell store), log_counts, s_score, g2m_score.

    Raises
    ------
    InputError
        If an embedding is not finite.
    """
    import anndata

    rows = np.arange(store.num_cells) if settings.cells == "all" else np.flatnonzero(store.obs["is_control"].to_numpy())
    scores: dict[str, list[np.ndarray]] = {"s_score": [], "g2m_score": []}
    parts: list[np.ndarray] = []
    totals = store.obs["total_counts"].to_numpy(dtype=np.float64)
    progress = Progress(len(rows), "cells")
    if basis is not None:
        columns = store.var.index.get_indexer(pd.Index(basis.gene_ids))
        components = basis.components_GD[columns >= 0]
        offset = basis.mean_G @ basis.components_GD
    for part, counts in store.iter_counts(block_cells, rows):
        x_BF = log_normalise(counts, totals[part])
        found = cell_cycle_scores(x_BF, store.var.index, roles)
        for name, values in scores.items():
            values.append(found.get(name, np.full(len(part), np.nan)))
        if basis is not None:
            parts.append((x_BF[:, columns[columns >= 0]] @ components - offset).astype(np.float32))
        progress.advance(len(part))
    if basis is not None:
        z_ND = np.concatenate(parts) if parts else np.zeros((0, basis.components_GD.shape[1]), np.float32)
    else:
        with CountsFile(*source) as file:
            z_ND = file.embedding(settings.obsm)[store.obs["source_row"].to_numpy()[rows]]
    bad = ~np.isfinite(z_ND).all(axis=1)
    if bad.any():
        raise InputError(f"{store.path}: expected a finite embedding for each cell, found {int(bad.sum())} cells with NaN or infinity. Compute `embedding.obsm` again, or use `source: pca`.")
    obs = store.obs.iloc[rows][OBS].copy()
    obs["row"] = rows
    obs["log_counts"] = np.log1p(totals[rows])
    for name, values in scores.items():
        obs[name] = np.concatenate(values) if values else np.zeros(0)
    return anndata.AnnData(z_ND, obs=obs)


def map_cells(embeddings: list[anndata.AnnData], *, seed: int, backend: Backend = "auto") -> pd.DataFrame:
    """UMAP (doi:10.21105/joss.00861) of a seeded sample of cells, for the report.

    Returns
    -------
    pandas.DataFrame
        x, y (no unit), perturbation, cell_line, plate, well, is_control, log_counts, s_score, g2m_score; at most 5,000 cells. Without rows where fewer than 10 cells are embedded.
    """
    import anndata

    columns = [*OBS, "log_counts", "s_score", "g2m_score"]
    obs = pd.concat([data.obs for data in embeddings], ignore_index=True)
    z_ND = np.concatenate([np.asarray(data.X) for data in embeddings])
    if len(obs) < MIN_MAP_CELLS:
        logger.warning("the embedding map needs at least %d cells, found %d: it is left out", MIN_MAP_CELLS, len(obs))
        return obs[columns].iloc[:0].assign(x=np.zeros(0), y=np.zeros(0))
    if len(obs) > MAP_CELLS:
        chosen = np.sort(np.random.default_rng(seed).choice(len(obs), MAP_CELLS, replace=False))
        obs, z_ND = obs.iloc[chosen].reset_index(drop=True), z_ND[chosen]
    data = anndata.AnnData(z_ND, obs=pd.DataFrame(index=obs.index.astype(str)))
    module = single_cell(backend)
    if module.__name__ == "rapids_singlecell":
        module.get.anndata_to_GPU(data)
    module.pp.neighbors(data, n_neighbors=min(MAP_NEIGHBOURS, len(obs) - 1), use_rep="X", random_state=seed)
    module.tl.umap(data, random_state=seed)
    points = np.asarray(data.obsm["X_umap"])
    return obs[columns].assign(x=points[:, 0], y=points[:, 1])
