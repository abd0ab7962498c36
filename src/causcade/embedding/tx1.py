"""Embeddings of a Tahoe-x1 transformer (:mod:`causcade.tx1`), plate by plate.

Axes: N embedded cells, D dimensions of the model, G genes of the vocabulary that the plate has.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from causcade.backend import Backend, torch_device
from causcade.cells import CellStore
from causcade.config import EmbeddingConfig
from causcade.embedding.genes import GeneSums, write_sums
from causcade.embedding.plate import assemble, chosen_rows, describe_cells

if TYPE_CHECKING:
    import anndata

    from causcade.tx1.embedded import EmbedSettings

__all__ = ["OF_RUN", "Place", "devices_of", "embed_plate"]

OF_RUN = ("seed", "backend", "perturbation.control")
"""Keys of the configuration that an embedding takes beside its section."""


class Place(NamedTuple):
    """Where a job reads and writes.

    Attributes
    ----------
    model
        Files of the model, in one folder; none where the settings name one of the hub.
    checkpoints
        Folder of the shards that are finished; whoever writes the result removes it.
    genes
        File for the sums of genes; None: they are not wanted.
    """

    model: Sequence[str]
    checkpoints: str
    genes: str | None


def devices_of(backend: Backend) -> list[str]:
    """Devices to embed on: each GPU that this job has, else the CPU."""
    if torch_device(backend) == "cpu":
        return ["cpu"]
    import torch

    return [f"cuda:{number}" for number in range(torch.cuda.device_count())]


def embed_plate(
    store: CellStore,
    settings: EmbeddingConfig,
    place: Place,
    *,
    seed: int,
    backend: Backend,
    control: Sequence[str],
    roles: pd.DataFrame,
    block_cells: int,
) -> anndata.AnnData:
    """Embed the cells of one plate (its controls, or all).

    Parameters
    ----------
    store
        Cells of the plate.
    settings
        Section `embedding`.
    place
        Where the model is, and where results of a killed job wait.
    seed
        Seed of the sample of genes of long cells.
    backend
        Where to compute.
    control
        Labels of control cells (`perturbation.control`): what a model with drugs may call them.
    roles
        `cell_cycle.parquet`, for the scores that the report's map shows.
    block_cells
        Cells read at a time, for these scores; changes no result.

    Returns
    -------
    anndata.AnnData
        X [N, D]; obs of :func:`causcade.embedding.plate.describe_cells`. Cells without any gene of the model's vocabulary are left out; `uns` says
        how many. Also there: model, mode, num_parameters, covered (share of the counts in genes of the vocabulary), num_vocabulary, num_cells.

    Raises
    ------
    InputError
        If the model is not whole, too few of the counts are in its vocabulary, or an embedding is not finite.
    """
    from causcade.tx1.checkpoint import read_checkpoint
    from causcade.tx1.sharding import embed_store

    rows = chosen_rows(store, settings)
    devices = devices_of(backend)
    workers = settings.workers or len(devices)
    where = str(Path(place.model[0]).parent) if place.model else str(settings.model)
    # The published embeddings know no drugs.
    checkpoint = read_checkpoint(where, drugs=False if settings.mode == "compatible" else None, device=devices[0] if workers == 1 else "cpu")
    names = None if checkpoint.drug_ids is None else _drug_names(store, rows, checkpoint.drug_ids, control)
    found = embed_store(
        store, rows, checkpoint, _settings(settings, seed), scratch=Path(place.checkpoints), devices=devices, workers=workers, drugs=names
    )
    if place.genes is not None:
        sum_GD = np.nan_to_num(found.gene_mean_GD.astype(np.float64)) * found.gene_cells_G[:, None]
        write_sums(place.genes, GeneSums(sum_GD, found.gene_cells_G, found.gene_ids.astype(str)))
    facts: dict[str, Any] = {
        "model": checkpoint.name,
        "mode": settings.mode,
        "num_parameters": sum(parameter.numel() for parameter in checkpoint.model.parameters()),
        "num_vocabulary": len(checkpoint.vocabulary.gene_ids),
        "covered": found.covered,
        "num_cells": len(rows),
        "num_empty": len(found.empty),
    }
    kept = np.setdiff1d(np.arange(len(rows)), found.empty)
    z_ND = found.z_ND if len(kept) == len(rows) else found.z_ND[kept]
    return assemble(z_ND, describe_cells(store, rows[kept], roles, block_cells=block_cells), settings, store.path, facts)


def _settings(settings: EmbeddingConfig, seed: int) -> EmbedSettings:
    """Return what the model's own module calls these settings."""
    from causcade.tx1.embedded import EmbedSettings

    names = (
        "mode", "max_length", "pooling", "precision", "normalise", "gene_embeddings", "min_covered", "batch_tokens", "batch_cells", "shard_cells",
        "compile",
    )  # fmt: skip
    return EmbedSettings(seed=seed, **{name: getattr(settings, name) for name in names})


def _drug_names(store: CellStore, rows: np.ndarray, drug_ids: dict[str, int], control: Sequence[str]) -> list[str]:
    """Name of each cell's drug as the model may know it; that of controls is the first of their labels that it has."""
    of_control = next((label for label in control if label in drug_ids), "")
    names = store.obs["perturbation"].astype(str).where(~store.obs["is_control"].to_numpy(), of_control)
    found: list[str] = names.iloc[rows].tolist()
    return found
