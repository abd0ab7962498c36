"""Embeddings of a Tahoe-x1 transformer (:mod:`causcade.tx1`), plate by plate.

Axes: N embedded cells, D dimensions of the model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pandas as pd

from causcade.backend import Backend
from causcade.cells import CellStore
from causcade.config import EmbeddingConfig

if TYPE_CHECKING:
    import anndata

__all__ = ["Place", "embed_plate"]


class Place(NamedTuple):
    """Files of a job: those of the model (none: a name of the hub), the folder of shards that are done, and the sums of genes (None: not wanted)."""

    model: list[str]
    checkpoints: str
    genes: str | None


def embed_plate(
    store: CellStore, settings: EmbeddingConfig, place: Place, *, seed: int, backend: Backend, roles: pd.DataFrame, block_cells: int
) -> anndata.AnnData:
    """Embed the cells of one plate (its controls, or all)."""
    raise NotImplementedError
