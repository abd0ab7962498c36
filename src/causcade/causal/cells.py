"""Treated cells in batches, read from the cell stores: the loss of a fit summed over cells instead of conditions.

With b the baseline of a condition, m its gain and n its cells, the squared residuals of its cells are those of their mean plus a constant that no
parameter moves: sum_i |x_i - b - m mu|^2 = n |mean(x) - b - m mu|^2 + const. A cell's weight is therefore the precision of its condition divided by
n, and by the information of its perturbation, so that the gradient over all cells is that over the effects of the perturbations
(:mod:`causcade.responses.effects`), gene by gene. What cells add is noise between batches; what they cost is reading them all, again and again.

Axes: N cells of a plate, B cells of a batch, C conditions of a plate, D perturbations, G genes.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor

from causcade.cells import CellStore
from causcade.errors import InputError
from causcade.ranks import ALONE, Ranks
from causcade.responses import DrugEffects, PlateResponses, ScreenFiles
from causcade.responses.effects import DoseSums, dose_key

__all__ = ["CellBatch", "CellStream"]

logger = logging.getLogger("causcade")

RUNS_PER_BATCH = 16  # runs of neighbouring cells that a batch is made of: a run is read at once
BLOCK_CELLS = 16_384  # rows of a store between whose ends runs are read together
TABLE_BYTES = 2 << 30  # of baselines and weights that are kept for all plates
KEYS = ["perturbation", "dose", "cell_line"]

FloatArray = npt.NDArray[np.float32]


class CellBatch(NamedTuple):
    """Cells of one step: perturbations that occur [d]; which of them a cell had [B] and its gain [B, 1]; response and weight of a cell [B, G]."""

    drugs: Tensor
    place_B: Tensor
    gain_B1: Tensor
    response_BG: Tensor
    weight_BG: Tensor


@dataclass(frozen=True, slots=True)
class _Plate:
    """Paths of the conditions and of the cells of a plate; row in the store and condition of each cell that takes part."""

    conditions: str
    cells: str
    row_N: npt.NDArray[np.int32]
    condition_N: npt.NDArray[np.int32]


class _Open(NamedTuple):
    """What batches of a plate need: its cells; perturbation and gain [C], baseline and weight of a cell [C, G] of its conditions."""

    store: CellStore
    drug_C: npt.NDArray[np.int64]
    gain_C: FloatArray
    baseline_CG: FloatArray
    weight_CG: FloatArray


class CellStream:
    """Batches of treated cells, endlessly: random runs of neighbouring cells of a plate, since a run is read at once.

    Where the conditions of all plates fit into memory together, batches of all plates alternate; otherwise a plate is finished before the next.

    Parameters
    ----------
    screen
        Conditions and baselines of the run.
    stores
        Paths of the cell stores, named as the plates are.
    effects
        Effects of the perturbations that take part; their half doses give the gains.
    batch_cells
        Cells of a batch, over all processes.
    seed
        Of the order.
    without_line
        A line whose cells are left out.
    device
        Where the batches are put.
    ranks
        Each process reads a part of every batch.

    Raises
    ------
    InputError
        If a plate has no store, or no treated cell takes part.
    """

    def __init__(
        self,
        screen: ScreenFiles,
        stores: Sequence[str],
        effects: DrugEffects,
        *,
        batch_cells: int,
        seed: int,
        without_line: str | None = None,
        device: str = "cpu",
        ranks: Ranks = ALONE,
    ) -> None:
        self.screen, self.seed, self.ranks, self.device = screen, seed, ranks, device
        self.run_cells = max(1, batch_cells // RUNS_PER_BATCH)
        self.epoch = self.position = 0
        self._without_line = without_line
        self._place = {name: d for d, name in enumerate(effects.table["perturbation"])}
        self._weigh(dict(zip(effects.table["perturbation"], effects.table["half_dose"], strict=True)))
        path_of = {Path(path).stem: path for path in stores}
        missing = [path for path in screen.conditions if Path(path).stem not in path_of]
        if missing:
            raise InputError(f"causal.training: expected a cell store for every plate, found none for {missing[0]}. Run the stage `quality` first.")
        self._plates = [plate for path in screen.conditions if len((plate := self._find(path, path_of[Path(path).stem])).row_N)]
        if not self._plates:
            raise InputError("causal.training: expected treated cells of perturbations that take part, found none. Write `training: conditions`.")
        bytes_of_all = 2 * 4 * len(screen.genes) * sum(int(plate.condition_N.max()) + 1 for plate in self._plates)
        self.keeps_all = bytes_of_all <= TABLE_BYTES
        self._opened: dict[int, _Open] = {}
        self._order = self._shuffle()
        self.num_batches = len(self._order)
        logger.info("%d treated cells on %d plates, %d batches an epoch", self.num_cells, len(self._plates), self.num_batches)

    @property
    def num_cells(self) -> int:
        """Cells of an epoch."""
        return sum(len(plate.row_N) for plate in self._plates)

    def next(self) -> CellBatch:
        """Return the next batch, or this process' part of it."""
        if self.position == self.num_batches:
            self.epoch, self.position = self.epoch + 1, 0
            self._order = self._shuffle()
        number, runs = self._order[self.position]
        self.position += 1
        plate, tables = self._plates[number], self._open(number)
        mine = np.sort(runs[self.ranks.part(len(runs))])
        spans = [np.arange(run * self.run_cells, min((run + 1) * self.run_cells, len(plate.row_N))) for run in mine]
        chosen = np.concatenate([*spans, np.zeros(0, np.int64)])
        condition_B = plate.condition_N[chosen]
        gene_ids, rows = pd.Index(self.screen.genes["gene_id"]), plate.row_N[chosen].astype(np.int64)
        blocks = [x.toarray() for _, x in tables.store.iter_sparse_expression(gene_ids, max(BLOCK_CELLS, self.run_cells), rows)]
        x_BG = np.concatenate([*blocks, np.zeros((0, len(gene_ids)), np.float32)])
        drugs, place_B = np.unique(tables.drug_C[condition_B], return_inverse=True)
        gain_B1 = tables.gain_C[condition_B][:, None]
        found = (drugs, place_B, gain_B1, x_BG - tables.baseline_CG[condition_B], tables.weight_CG[condition_B])
        return CellBatch(*(torch.as_tensor(part, device=self.device) for part in found))

    def go_to(self, epoch: int, position: int) -> None:
        """Go on from the place of a checkpoint."""
        self.epoch, self.position = epoch, position
        self._order = self._shuffle()

    def _conditions(self, path: str) -> tuple[PlateResponses, npt.NDArray[np.bool_]]:
        """Responses of a plate, and which of its conditions take part."""
        plate = self.screen.plate(path)
        known = plate.obs["perturbation"].isin(self._place.keys()) & (plate.obs["cell_line"] != self._without_line)
        return plate, known.to_numpy(bool)

    def _weigh(self, half_doses: dict[str, float]) -> None:
        """Gain of each perturbation and dose, and the information of each perturbation, over all plates."""
        sums = DoseSums(len(self.screen.genes))
        for path in self.screen.conditions:
            plate, kept_C = self._conditions(path)
            if kept_C.any():
                sums.add(plate.obs[kept_C], plate.delta_CG[kept_C], plate.se_CG[kept_C])
        self._gains = sums.gains(half_doses)
        self._information = {name: found.astype(np.float32) for name, found in sums.information(self._gains).items()}

    def _find(self, conditions: str, cells: str) -> _Plate:
        """Cells of a plate that take part."""
        plate, kept_C = self._conditions(conditions)
        table = plate.obs.loc[kept_C, KEYS].assign(dose=lambda part: dose_key(part["dose"].to_numpy(np.float64)), condition=np.arange(kept_C.sum()))
        with CellStore(cells) as store:
            obs = store.obs.loc[~store.obs["is_control"].to_numpy(bool), KEYS].astype({"perturbation": str, "cell_line": str})
            row_N = np.flatnonzero(~store.obs["is_control"].to_numpy(bool))
        obs = obs.assign(dose=dose_key(obs["dose"].to_numpy(np.float64)))
        condition_N = pd.MultiIndex.from_frame(table[KEYS]).get_indexer(pd.MultiIndex.from_frame(obs))
        taken = condition_N >= 0
        return _Plate(conditions, cells, row_N[taken].astype(np.int32), condition_N[taken].astype(np.int32))

    def _open(self, number: int) -> _Open:
        if number not in self._opened:
            if not self.keeps_all:
                self._opened.clear()
            plate, kept_C = self._conditions(self._plates[number].conditions)
            obs = plate.obs[kept_C]
            keys = list(zip(obs["perturbation"], dose_key(obs["dose"].to_numpy(np.float64)).tolist(), strict=True))
            weight_CG = 1 / (plate.se_CG[kept_C] ** 2 * obs["n_cells"].to_numpy(np.float32)[:, None])
            for row, (name, _) in enumerate(keys):
                weight_CG[row] /= self._information[name]
            self._opened[number] = _Open(
                store=CellStore(self._plates[number].cells),
                drug_C=np.array([self._place[name] for name, _ in keys], dtype=np.int64),
                gain_C=np.array([self._gains[key] for key in keys], dtype=np.float32),
                baseline_CG=self.screen.means(self._plates[number].conditions, obs) - plate.delta_CG[kept_C],
                weight_CG=weight_CG,
            )
        return self._opened[number]

    def _shuffle(self) -> list[tuple[int, npt.NDArray[np.int64]]]:
        """Batches of this epoch: plate, and numbers of its runs."""
        rng = np.random.default_rng([self.seed, self.epoch])
        batches = []
        for number in rng.permutation(len(self._plates)):
            runs = rng.permutation(-(-len(self._plates[number].row_N) // self.run_cells))
            batches += [(int(number), runs[start : start + RUNS_PER_BATCH]) for start in range(0, len(runs), RUNS_PER_BATCH)]
        return [batches[i] for i in rng.permutation(len(batches))] if self.keeps_all else batches
