"""Principal axes as an embedding: from the exact sums over all plates (no cell is read for it), then pinned; each plate is projected on them.

Axes: N cells, B cells of a block, F genes of the plate, H genes of the panel that the plate has, G genes of the panel, D dimensions.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp

from causcade.cells import CellStore
from causcade.config import EmbeddingConfig
from causcade.embedding.plate import assemble, chosen_rows, describe_cells
from causcade.files import replacing

if TYPE_CHECKING:
    import anndata

__all__ = ["Basis", "embed_plate", "pca_basis", "read_basis", "write_basis"]


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


def embed_plate(store: CellStore, settings: EmbeddingConfig, basis: Basis, *, roles: pd.DataFrame, block_cells: int) -> anndata.AnnData:
    """Project the cells of one plate (its controls, or all) on the axes.

    Parameters
    ----------
    store
        Cells of the plate.
    settings
        Section `embedding`.
    basis
        Principal axes.
    roles
        `cell_cycle.parquet`, for the scores that the report's map shows.
    block_cells
        Cells read at a time; changes no result.

    Returns
    -------
    anndata.AnnData
        X [N, D]; obs of :func:`causcade.embedding.plate.describe_cells`.
    """
    project = _Projection(basis, store.var.index)
    parts = [np.zeros((0, project.num_dimensions), np.float32)]
    obs = describe_cells(store, chosen_rows(store, settings), roles, block_cells=block_cells, visit=lambda x_BF: parts.append(project(x_BF)))
    return assemble(np.concatenate(parts), obs, settings, store.path)


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
