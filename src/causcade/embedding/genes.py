"""Embeddings of genes: the mean of a gene's final hidden state over the cells that express it, from sums that are added over plates.

Axes: F genes, D dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from causcade.files import replacing

__all__ = ["GeneSums", "mean_embeddings", "read_sums", "write_sums"]


class GeneSums(NamedTuple):
    """Sums over the cells of a plate: hidden states [F, D] float64, number of cells in which the gene was a token [F], gene ids [F]."""

    sum_FD: np.ndarray
    num_cells_F: np.ndarray
    gene_ids: np.ndarray


def write_sums(path: str | Path, sums: GeneSums) -> None:
    """Write the sums of a plate as npz."""
    with replacing(path) as temporary, temporary.open("wb") as handle:
        np.savez(handle, **sums._asdict())


def read_sums(path: str | Path) -> GeneSums:
    """Read what :func:`write_sums` wrote."""
    with np.load(path) as data:
        return GeneSums(**{name: data[name] for name in GeneSums._fields})


def mean_embeddings(sums: Sequence[GeneSums], panel: pd.DataFrame) -> pd.DataFrame:
    """Add the sums of all plates, and divide them.

    Parameters
    ----------
    sums
        Of each plate; plates may have different genes.
    panel
        `panel.parquet`; says which genes are in the panel, and their names.

    Returns
    -------
    pandas.DataFrame
        A row for each gene that was seen on a plate, by id: gene_id, gene (of the panel; empty outside it), num_cells, and e0, e1, ... (no unit;
        means of hidden states, not scaled to length 1). Genes that no cell expresses have no row.
    """
    gene_ids = np.unique(np.concatenate([plate.gene_ids for plate in sums]))
    num_dimensions = sums[0].sum_FD.shape[1]
    sum_FD, num_F = np.zeros((len(gene_ids), num_dimensions)), np.zeros(len(gene_ids), dtype=np.int64)
    for plate in sums:
        places = np.searchsorted(gene_ids, plate.gene_ids)
        sum_FD[places] += plate.sum_FD
        num_F[places] += plate.num_cells_F
    seen = num_F > 0
    names = pd.Series(panel["gene"].to_numpy(), index=panel["gene_id"].to_numpy()).reindex(gene_ids[seen]).fillna("")
    values = pd.DataFrame((sum_FD[seen] / num_F[seen, None]).astype(np.float32), columns=[f"e{number}" for number in range(num_dimensions)])
    return pd.concat([pd.DataFrame({"gene_id": gene_ids[seen], "gene": names.to_numpy(), "num_cells": num_F[seen]}), values], axis=1)
