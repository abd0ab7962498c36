"""Cell embeddings: the representation that the basal decoder starts from.

`pca`: principal axes of the panel's covariance, taken from the exact sums over all plates (no cell is read for it) and then pinned; each plate is
projected on them. `precomputed`: an obsm key of the input, as it is.

Axes: N cells, B cells of a block, F genes of the plate, H genes of the panel that the plate has, G genes of the panel, D dimensions.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp

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
SCORES = ["s_score", "g2m_score"]
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
    """Find the principal axes of the covariance `correlation * sd * sd'`.

    Equals a PCA of all cells of all plates together, without reading one. Each axis points where its largest loading is positive, so that the result
    does not depend on the solver.

    Parameters
    ----------
    correlation_GG
        Raw correlation of x, from :class:`causcade.coexpression.Coexpression`.
    mean_G, sd_G
        Mean and standard deviation of x (natural log units).
    gene_ids
        Ids of the G genes.
    num_dimensions
        Number of axes; no more than there are genes.
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
    settings
        Section `embedding`.
    basis
        Principal axes, for `source: pca`; None for `source: precomputed`.
    source
        The plate's input file and how to read it, for `source: precomputed`.
    roles
        `cell_cycle.parquet`, for the scores that the report's map shows.
    block_cells
        Cells read at a time; changes no result.

    Returns
    -------
    anndata.AnnData
        X [N, D] float32; obs perturbation, cell_line, plate, well, is_control, row (in the cell store), log_counts, s_score, g2m_score (NaN where the
        plate has no gene of that phase).

    Raises
    ------
    InputError
        If the file has no such obsm key, or an embedding is not finite.
    """
    import anndata

    rows = np.arange(store.num_cells) if settings.cells == "all" else np.flatnonzero(store.obs["is_control"].to_numpy())
    z_ND, scores = _read_cells(store, rows, basis, roles, block_cells)
    if z_ND is None:
        with CountsFile(*source) as file:
            z_ND = file.embedding(settings.obsm)[store.obs["source_row"].to_numpy()[rows]]
    bad = ~np.isfinite(z_ND).all(axis=1)
    if bad.any():
        raise InputError(
            f"{store.path}: expected a finite embedding for each cell, found {int(bad.sum())} cells with NaN or infinity. "
            "Compute `embedding.obsm` again, or use `source: pca`."
        )
    obs = store.obs.iloc[rows][OBS].assign(row=rows, log_counts=np.log1p(store.obs["total_counts"].to_numpy(dtype=np.float64)[rows]), **scores)
    return anndata.AnnData(z_ND, obs=obs)


def _read_cells(
    store: CellStore, rows: np.ndarray, basis: Basis | None, roles: pd.DataFrame, block_cells: int
) -> tuple[np.ndarray | None, dict[str, np.ndarray]]:
    """Projection on the axes (None without axes) and cell-cycle scores (NaN where a phase has no genes) of the cells."""
    projected: list[np.ndarray] = []
    scores: dict[str, list[np.ndarray]] = {name: [] for name in SCORES}
    totals = store.obs["total_counts"].to_numpy(dtype=np.float64)
    progress = Progress(len(rows), "cells")
    project = _Projection(basis, store.var.index) if basis is not None else None
    for part, counts in store.iter_counts(block_cells, rows):
        x_BF = log_normalise(counts, totals[part])
        found = cell_cycle_scores(x_BF, store.var.index, roles)
        for name, values in scores.items():
            values.append(found.get(name, np.full(len(part), np.nan)))
        if project is not None:
            projected.append(project(x_BF))
        progress.advance(len(part))
    z_ND = None if project is None else np.concatenate([np.zeros((0, project.num_dimensions), np.float32), *projected])
    return z_ND, {name: np.concatenate([np.zeros(0), *values]) for name, values in scores.items()}


class _Projection:
    """(x - mean) on the axes, from sparse x [B, F] of one plate; a gene that the plate does not have is zero."""

    def __init__(self, basis: Basis, gene_ids: pd.Index) -> None:
        columns = gene_ids.get_indexer(pd.Index(basis.gene_ids))
        self._columns = columns[columns >= 0]
        self._components_HD = basis.components_GD[columns >= 0]
        self._offset_D = basis.mean_G @ basis.components_GD
        self.num_dimensions = basis.components_GD.shape[1]

    def __call__(self, x_BF: sp.csr_matrix) -> np.ndarray:
        z_BD: np.ndarray = x_BF[:, self._columns] @ self._components_HD - self._offset_D
        return z_BD.astype(np.float32)


def map_cells(embeddings: list[anndata.AnnData], *, seed: int, backend: Backend = "auto") -> pd.DataFrame:
    """Lay out a seeded sample of cells by UMAP (doi:10.21105/joss.00861), for the report.

    Parameters
    ----------
    embeddings
        Embeddings of the plates, from :func:`embed_plate`.
    seed
        Seed of the sample and of the layout.
    backend
        Where neighbours and layout are computed.

    Returns
    -------
    pandas.DataFrame
        x, y (no unit), perturbation, cell_line, plate, well, is_control, log_counts, s_score, g2m_score; at most 5,000 cells. Without rows where
        fewer than 10 cells are embedded.
    """
    import anndata

    columns = [*OBS, "log_counts", *SCORES]
    obs = pd.concat([data.obs for data in embeddings], ignore_index=True)
    z_ND = np.concatenate([np.asarray(data.X) for data in embeddings])
    if len(obs) < MIN_MAP_CELLS:
        logger.warning("the embedding map needs at least %d cells, found %d: it is left out", MIN_MAP_CELLS, len(obs))
        return obs[columns].iloc[:0].assign(x=np.zeros(0), y=np.zeros(0))[["x", "y", *columns]]
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
    return obs[columns].assign(x=points[:, 0], y=points[:, 1])[["x", "y", *columns]]
