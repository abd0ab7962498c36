"""Which cells of a run TX1 is trained on, which wells are kept back, and samples of either.

Axes: N cells of a plate, B cells of a sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from causcade.cells import CellStore
from causcade.config_tx1 import PretrainingConfig
from causcade.errors import InputError
from causcade.tx1.checkpoint import Checkpoint
from causcade.tx1.seeds import generator_for
from causcade.tx1.sources import Cells, StoreCells, held_out_wells, join_cells

__all__ = ["Sample", "Split", "draw_sample", "join_samples", "split_cells", "wells_of"]

RUN_CELLS = 64  # neighbouring cells read together from a large store


class Split(NamedTuple):
    """Rows of each store to train on, and of those kept back."""

    training: list[np.ndarray]
    held_out: list[np.ndarray]

    @property
    def num_held_out(self) -> int:
        """Cells kept back."""
        return sum(map(len, self.held_out))

    @property
    def num_training(self) -> int:
        """Cells to train on."""
        return sum(map(len, self.training))


def split_cells(stores: Sequence[CellStore], settings: PretrainingConfig, seed: int) -> Split:
    """Choose the cells to train on, and whole wells to keep back."""
    split = Split([], [])
    for store in stores:
        taken = np.ones(store.num_cells, dtype=bool) if settings.cells == "all" else store.obs["is_control"].to_numpy(dtype=bool)
        held = held_out_wells(store.obs, settings.held_out, seed=seed)
        split.training.append(np.flatnonzero(taken & ~held))
        split.held_out.append(np.flatnonzero(taken & held))
    if not split.num_training:
        raise InputError("pretraining: expected cells to train on, found none. Check the filters of `quality` and `pretraining.cells`.")
    return split


class Sample(NamedTuple):
    """Some cells [B] and their table."""

    cells: Cells
    obs: pd.DataFrame

    @property
    def wells(self) -> np.ndarray:
        """Well of each cell, told apart from those of other plates."""
        return wells_of(self.obs)


def wells_of(obs: pd.DataFrame) -> np.ndarray:
    """Name the well of each cell, with its plate."""
    names: np.ndarray = (obs["plate"].astype(str) + "/" + obs["well"].astype(str)).to_numpy(dtype=str)
    return names


def draw_sample(stores: Sequence[CellStore], rows: Sequence[np.ndarray], start: Checkpoint, num_cells: int, seed: int) -> Sample | None:
    """Draw about `num_cells` cells from some rows of each store, in proportion; all where there are no more, None where there are none."""
    total = sum(map(len, rows))
    drug_ids = start.drug_ids if start.shape.drugs is not None else None
    parts, tables = [], []
    for store, of_store in zip(stores, rows, strict=True):
        chosen = _draw(of_store, round(num_cells * len(of_store) / total) if total > num_cells else len(of_store), seed, store.path.stem)
        if not len(chosen):
            continue
        source = StoreCells(store, start.vocabulary, chosen, drug_ids)
        parts += [source.read(at, min(at + RUN_CELLS, len(chosen))) for at in range(0, len(chosen), RUN_CELLS)]
        tables.append(store.obs.iloc[chosen])
    return Sample(join_cells(parts), pd.concat(tables, ignore_index=True)) if parts else None


def join_samples(samples: Sequence[Sample]) -> Sample:
    """Put samples one after another."""
    return Sample(join_cells([sample.cells for sample in samples]), pd.concat([sample.obs for sample in samples], ignore_index=True))


def _draw(rows: np.ndarray, num: int, seed: int, plate: str) -> np.ndarray:
    """Draw some rows, ascending: one by one from a small store, in runs from a large one, so that little of it is read."""
    if num >= len(rows):
        return rows
    random = generator_for("sample", seed, plate, num)
    if len(rows) <= 64 * RUN_CELLS:
        return np.sort(random.permutation(rows)[:num])
    starts = random.permutation(np.arange(0, len(rows) - RUN_CELLS, RUN_CELLS))[: -(-num // RUN_CELLS)]
    return np.concatenate([rows[at : at + RUN_CELLS] for at in np.sort(starts)])[:num]
