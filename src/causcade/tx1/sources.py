"""Where training examples come from: the cells of a plate's store, in the columns of a vocabulary; and which wells are kept back.

A source hands out ranges of its cells; nothing is copied to disk. MDS folders are the other source (:mod:`causcade.tx1.mds`).

Axes: N cells of a source, B cells of a range, F genes of a plate, V tokens of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

import numpy as np
import pandas as pd
import scipy.sparse as sp

from causcade.cells import CellStore
from causcade.errors import InputError
from causcade.tx1.seeds import Keys, generator_for, hashed, name_key
from causcade.tx1.tokens import sum_repeated
from causcade.tx1.vocabulary import Vocabulary

__all__ = ["Cells", "Source", "StoreCells", "held_out_wells", "join_cells"]

RESIDENT_ELEMENTS = 1 << 26
"""Stored counts of a source up to which it stays in memory once read (about half a gigabyte)."""


class Cells(NamedTuple):
    """Some cells: counts in the columns of the vocabulary, CSR [B, V]; identity of each, uint64 [B]; row in the table of drugs, int64 [B] or None."""

    counts: sp.csr_matrix
    key_B: Keys
    drug_B: np.ndarray | None


class Source(Protocol):
    """Cells to train on, by number."""

    @property
    def name(self) -> str:
        """Name, distinct among sources: it decides the order and the keys of cells."""

    @property
    def num_cells(self) -> int:
        """Number of cells."""

    def read(self, start: int, stop: int) -> Cells:
        """Read the cells of a range."""


def join_cells(parts: list[Cells]) -> Cells:
    """Put cells one after another."""
    drugs = [part.drug_B for part in parts if part.drug_B is not None]
    return Cells(
        sp.vstack([part.counts for part in parts], format="csr"),
        np.concatenate([part.key_B for part in parts]),
        np.concatenate(drugs) if len(drugs) == len(parts) else None,
    )


class StoreCells:
    """Some cells of a cell store.

    Parameters
    ----------
    store
        Cells of a plate.
    vocabulary
        Tokens of the model; genes that it lacks are left out.
    rows
        Cells to take, ascending rows of the store [N].
    drug_ids
        Row of each drug in the table of drugs, by name; None: cells carry no drug. A drug that is not listed is row 0, as are control cells
        where the label of controls is not listed.
    """

    def __init__(self, store: CellStore, vocabulary: Vocabulary, rows: np.ndarray, drug_ids: Mapping[str, int] | None = None) -> None:
        self.name = store.path.stem
        self._store = store
        self._rows = np.asarray(rows, dtype=np.int64)
        self._size = vocabulary.size
        self._token_F = vocabulary.columns(store.var.index)
        if not (self._token_F >= 0).any():
            raise InputError(
                f"{store.path}: expected genes of the model's vocabulary (such as {vocabulary.examples()}), found none among its "
                f"{len(store.var)} (such as {', '.join(map(str, store.var.index[:3]))}). Use Ensembl ids."
            )
        self._key_N = hashed(name_key("cell", self.name), self._rows)
        self._drug_N: np.ndarray | None = None
        if drug_ids is not None:
            names = store.obs["perturbation"].iloc[self._rows].astype(str)
            self._drug_N = names.map(lambda name: drug_ids.get(name, 0)).to_numpy(dtype=np.int64)
        self._resident: sp.csr_matrix | None = None
        self._may_stay = int(store.obs["num_genes"].sum()) <= RESIDENT_ELEMENTS

    @property
    def num_cells(self) -> int:
        """Number of cells."""
        return len(self._rows)

    def read(self, start: int, stop: int) -> Cells:
        """Read the cells of a range; the first range reads all of a small plate.

        Raises
        ------
        InputError
            If a chunk of the store is missing or damaged.
        """
        if self._may_stay and self._resident is None:
            self._resident = self._counts(self._rows)
        counts = self._resident[start:stop] if self._resident is not None else self._counts(self._rows[start:stop])
        return Cells(counts, self._key_N[start:stop], None if self._drug_N is None else self._drug_N[start:stop])

    def _counts(self, rows: np.ndarray) -> sp.csr_matrix:
        """Read the counts of some rows in the columns of the vocabulary, in the order of the plate's genes."""
        parts = [counts for _, counts in self._store.iter_counts(self._store.num_cells, rows)]
        if not parts:
            return sp.csr_matrix((0, self._size), dtype=np.int64)
        counts_BK, token_K = sum_repeated(parts[0], self._token_F)
        token_E = token_K[counts_BK.indices]
        is_known = token_E >= 0
        passed = np.concatenate([[0], np.cumsum(is_known)])
        return sp.csr_matrix((counts_BK.data[is_known], token_E[is_known], passed[counts_BK.indptr]), shape=(len(rows), self._size))


def held_out_wells(obs: pd.DataFrame, share: float, *, seed: int) -> np.ndarray:
    """Choose the cells to keep back, whole wells at a time, bool [N].

    Of each plate about `share` of the control wells and of the treated wells; at least one of either where there are two or more. The choice on a
    plate depends on that plate's wells alone.

    Parameters
    ----------
    obs
        Table of cells: `plate`, `well`, `is_control`.
    share
        Share of the wells; 0 keeps none back.
    seed
        Seed of the choice.
    """
    held = np.zeros(len(obs), dtype=bool)
    if share == 0:
        return held
    for (plate, is_control), part in obs.reset_index(drop=True).groupby(["plate", "is_control"], observed=True):
        wells = np.unique(part["well"].to_numpy(dtype=str))
        num = min(max(1, round(share * len(wells))), len(wells) - 1)
        chosen = generator_for("held-out wells", seed, plate, is_control).permutation(wells)[:num]
        held[part.index[part["well"].isin(chosen).to_numpy()]] = True
    return held
