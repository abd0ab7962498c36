"""Fitting the decoder: squared error on control cells, early stopping on held-out wells, in one process or several.

Batches are cut from windows of many short runs of neighbouring cells in random order, mixed within the window: nearly as random as a shuffle of all
cells, while what is read lies together. The order is a function of seed and epoch, so that the number of the epoch and of the batch are the place in
the data. Each process takes a part of every batch and the gradients are added, so that several processes make the steps of one.

Axes: N control cells, B cells of a batch, D embedding dimensions, G genes of the panel.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from causcade.basal.cells import ControlCells
from causcade.basal.decoder import BasalDecoder
from causcade.config import BasalConfig
from causcade.errors import InputError
from causcade.files import replacing
from causcade.ranks import ALONE, Ranks
from causcade.runtime import Progress
from causcade.stopping import Stopped, stop_requests

__all__ = ["BasalFit", "fit_basal", "split_wells"]

logger = logging.getLogger("causcade")

WEIGHT_DECAY = 1e-4
HELD_OUT = 5  # one well of so many is held out
RUN_CELLS = 64  # neighbouring cells that stay together in a window
WINDOW_RUNS = 256
SAVE_STEPS = 1000  # between checkpoints, beside those at the end of each epoch
BLOCK_CELLS = 8192  # cells that sums are taken over at a time

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class BasalFit:
    """A fitted decoder (frozen, on the CPU), its metrics per epoch, the epoch that was kept, and the rows that were trained on and held out."""

    decoder: BasalDecoder
    metrics: list[dict[str, float]]
    best_epoch: int
    train: Rows
    test: Rows


def fit_basal(
    cells: ControlCells,
    settings: BasalConfig,
    *,
    seed: int,
    device: str = "cpu",
    ranks: Ranks = ALONE,
    checkpoint: Path | None = None,
    fingerprint: str = "",
) -> BasalFit:
    """Fit the decoder; the epoch with the least held-out error is kept.

    Parameters
    ----------
    cells
        Control cells of all plates.
    settings
        Section `basal`.
    seed
        Seed of the first weights, the held-out wells and the order of the cells.
    device
        torch device, such as ``"cpu"`` or ``"cuda:0"``; on a GPU it is trained in bfloat16, with weights in float32, and judged in float32.
    ranks
        The processes that make the fit together; each calls with equal arguments and gets the same fit.
    checkpoint
        File to save the state to and to resume from; it is left for the caller to remove.
    fingerprint
        What the fit depends on. A state of something else is left behind by a job that was killed before it changed: the fit then starts anew.

    Returns
    -------
    BasalFit
        Metrics per epoch: epoch, train_mse, held_out_mse, constant_mse (error of predicting the training mean on the same held-out cells).

    Raises
    ------
    InputError
        If the error is not finite from the first epoch on.
    Stopped
        After SIGTERM or SIGUSR1, when the state is saved.
    """
    own = f"{fingerprint} {settings.model_dump_json(exclude={'baseline', 'processes'})} {seed} {cells.num_cells} {cells.num_genes}"
    trainer = _Trainer(cells, settings, seed, torch.device(device), ranks, hashlib.sha256(own.encode()).hexdigest())
    if checkpoint is not None and checkpoint.exists():
        trainer.load(checkpoint)
    with stop_requests() as is_asked:
        progress = Progress(settings.max_epochs * trainer.num_batches, "steps")  # fewer, where it stops early
        progress.done = trainer.state.epoch * trainer.num_batches + trainer.state.position
        while not trainer.is_done():
            for rows in trainer.batches():
                trainer.advance(rows)
                progress.advance()
                stops = ranks.any(flag=is_asked())
                if stops or trainer.state.position % SAVE_STEPS == 0:
                    trainer.save(checkpoint)
                if stops:
                    where = f"{trainer.state.position} of epoch {trainer.state.epoch + 1}"
                    raise Stopped(f"basal: stopped after step {where}. Run again to go on from there.")
            trainer.end_epoch()
            trainer.save(checkpoint)
    return trainer.finish()


def split_wells(well_N: npt.NDArray[np.int64], group_N: npt.NDArray[np.int64], seed: int) -> tuple[Rows, Rows]:
    """Rows to train on and held-out rows.

    About a fifth of the control wells is held out (at least one), first those whose plate and lines keep another well: the baseline of these lines
    can then be judged too. With a single well, a fifth of its cells is held out; a single cell is both trained on and judged on.

    Parameters
    ----------
    well_N, group_N
        Well, and plate and cell line, of each cell.
    seed
        Of the draw.
    """
    rng = np.random.default_rng(seed)
    held_N = np.zeros(len(well_N), dtype=bool)
    groups_of = pd.DataFrame({"well": well_N, "group": group_N}).drop_duplicates().groupby("well")["group"].agg(list)
    if len(groups_of) > 1:
        num = max(1, len(groups_of) // HELD_OUT)
        left, taken = Counter(group for groups in groups_of for group in groups), set[int]()
        order = groups_of.index[rng.permutation(len(groups_of))]
        for keeps_groups in (True, False):
            for well in order:
                if len(taken) < num and well not in taken and not (keeps_groups and any(left[group] < 2 for group in groups_of[well])):
                    taken.add(well)
                    left.subtract(groups_of[well])
        held_N = np.isin(well_N, list(taken))
    else:
        logger.warning("there is one control well only: early stopping holds out cells of it, not a well")
        held_N[rng.permutation(len(well_N))[: max(1, len(well_N) // HELD_OUT)]] = True
    if held_N.all():
        logger.warning("there is one control cell only: the basal decoder is judged on the cell it is fitted on")
        return np.arange(len(held_N)), np.arange(len(held_N))
    return np.flatnonzero(~held_N), np.flatnonzero(held_N)


def epoch_batches(rows: Rows, batch_cells: int, rng: np.random.Generator) -> Iterator[Rows]:
    """Batches of one epoch: every row once."""
    rest = np.zeros(0, dtype=np.int64)
    starts = rng.permutation(np.arange(0, len(rows), RUN_CELLS))
    for first in range(0, len(starts), WINDOW_RUNS):
        runs = [rows[start : start + RUN_CELLS] for start in starts[first : first + WINDOW_RUNS]]
        rest = np.concatenate([rest, rng.permutation(np.concatenate(runs))])
        num = len(rest) // batch_cells * batch_cells
        yield from rest[:num].reshape(-1, batch_cells)
        rest = rest[num:]
    if len(rest):
        yield rest


@dataclass(slots=True)
class _State:
    """What a resumed fit goes on from, beside decoder and optimiser: place in the data, errors so far in this epoch, the best epoch so far."""

    epoch: int = 0
    position: int = 0
    total: float = 0.0
    best: float = float("inf")
    best_epoch: int = -1
    best_weights: dict[str, torch.Tensor] = field(default_factory=dict)
    metrics: list[dict[str, float]] = field(default_factory=list)


class _Trainer:
    """State of a fit, and one step of it."""

    def __init__(self, cells: ControlCells, settings: BasalConfig, seed: int, device: torch.device, ranks: Ranks, fingerprint: str) -> None:
        self.cells, self.settings, self.seed, self.device, self.ranks, self.fingerprint = cells, settings, seed, device, ranks, fingerprint
        self.train, self.test = split_wells(cells.well_N, cells.group_N, seed)
        self.num_batches = -(-len(self.train) // settings.batch_cells)
        self.decoder = self._initial()
        self.parameters = list(self.decoder.parameters())
        self.optimiser = torch.optim.AdamW(self.parameters, lr=settings.learning_rate, weight_decay=WEIGHT_DECAY)
        self.constant_mse = self.held_out_mse()  # it predicts the training mean so far
        self.state = _State()

    def _initial(self) -> BasalDecoder:
        """Make a decoder that predicts the training mean, whatever z; means are those of the first process, bit for bit."""
        cells = self.cells
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            decoder = BasalDecoder(cells.z_ND.shape[1], self.settings.hidden, cells.num_genes)
        if self.ranks.is_first:
            mean_G, z_mean_D, z_square_D = np.zeros(cells.num_genes), np.zeros(cells.z_ND.shape[1]), np.zeros(cells.z_ND.shape[1])
            for rows in self._blocks(self.train):
                x_BG = cells.expression(rows)
                # scipy sums float32 in float32, whatever type it is asked for
                mean_G += np.bincount(x_BG.indices, weights=x_BG.data, minlength=cells.num_genes) / len(self.train)
                z_mean_D += cells.embeddings(rows).sum(axis=0, dtype=np.float64) / len(self.train)
            for rows in self._blocks(self.train):
                z_square_D += ((cells.embeddings(rows) - z_mean_D) ** 2).sum(axis=0) / len(self.train)
            with torch.no_grad():
                decoder.z_mean.copy_(torch.from_numpy(z_mean_D))
                decoder.z_sd.copy_(torch.from_numpy(np.sqrt(z_square_D)).clamp_min(1e-6))
                decoder.linear.bias.copy_(torch.from_numpy(mean_G))
        decoder.to(self.device)
        self.ranks.take_from_first([value.detach() for value in decoder.state_dict().values()])
        return decoder

    def _blocks(self, rows: Rows) -> Iterator[Rows]:
        return (rows[start : start + BLOCK_CELLS] for start in range(0, len(rows), BLOCK_CELLS))

    def is_done(self) -> bool:
        """Whether no epoch is left, or the best one was too long ago."""
        state = self.state
        was_long_ago = bool(state.metrics) and state.epoch - 1 - max(state.best_epoch, 0) >= self.settings.patience
        return state.epoch >= self.settings.max_epochs or was_long_ago

    def batches(self) -> Iterator[Rows]:
        """Batches of this epoch that are left."""
        rng = np.random.default_rng([self.seed, self.state.epoch])
        for number, rows in enumerate(epoch_batches(self.train, self.settings.batch_cells, rng)):
            if number >= self.state.position:
                yield rows

    def errors(self, rows: Rows, *, in_training: bool) -> torch.Tensor:
        """Sum of squared errors of some cells; on a GPU predictions are bfloat16 in training, and float32 where they are judged."""
        z_BD = torch.from_numpy(self.cells.embeddings(rows)).to(self.device)
        x_BG = torch.from_numpy(self.cells.expression(rows).toarray()).to(self.device)
        is_reduced = in_training and self.device.type == "cuda"
        with torch.autocast("cuda", dtype=torch.bfloat16) if is_reduced else contextlib.nullcontext():
            predicted_BG = self.decoder(z_BD)
        error: torch.Tensor = (predicted_BG.float() - x_BG).square().sum()
        return error

    def advance(self, rows: Rows) -> None:
        """One step on a batch, of which each process takes a part."""
        error = self.errors(rows[self.ranks.part(len(rows))], in_training=True)
        gradients = torch.autograd.grad(error / (len(rows) * self.cells.num_genes), self.parameters)
        *summed, error = self.ranks.add([*gradients, error.detach()])
        for parameter, gradient in zip(self.parameters, summed, strict=True):
            parameter.grad = gradient
        self.optimiser.step()
        self.state.total += float(error)  # waits for the device; what a step costs most is making its batch dense
        self.state.position += 1

    @torch.no_grad()
    def held_out_mse(self) -> float:
        """Mean squared error on the held-out cells."""
        mine = self.test[self.ranks.part(len(self.test))]
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        for start in range(0, len(mine), self.settings.batch_cells):
            total += self.errors(mine[start : start + self.settings.batch_cells], in_training=False)
        (total,) = self.ranks.add([total])
        return self.ranks.number_of_first(lambda: float(total)) / (len(self.test) * self.cells.num_genes)

    def end_epoch(self) -> None:
        """Judge the decoder on the held-out cells, and keep it if it is the best so far."""
        self.ranks.check_equal(self.parameters)
        state, held_mse = self.state, self.held_out_mse()
        train_mse = state.total / (len(self.train) * self.cells.num_genes)
        state.metrics.append({"epoch": state.epoch, "train_mse": train_mse, "held_out_mse": held_mse, "constant_mse": self.constant_mse})
        if held_mse < state.best:
            state.best, state.best_epoch = held_mse, state.epoch
            state.best_weights = {name: value.detach().cpu().clone() for name, value in self.decoder.state_dict().items()}
        state.epoch, state.position, state.total = state.epoch + 1, 0, 0.0

    def finish(self) -> BasalFit:
        """Hand out the decoder of the best epoch."""
        state = self.state
        if state.best_epoch < 0:
            found = state.metrics[-1]["held_out_mse"]
            raise InputError(f"basal: expected an error that falls, found {found}. Lower `basal: {{learning_rate: ...}}`.")
        self.decoder.to("cpu").load_state_dict(state.best_weights)
        self.decoder.eval().requires_grad_(requires_grad=False)
        return BasalFit(decoder=self.decoder, metrics=state.metrics, best_epoch=state.best_epoch, train=self.train, test=self.test)

    def save(self, path: Path | None) -> None:
        """Write everything that the next step depends on; the first process writes."""
        if path is None or not self.ranks.is_first:
            return
        state: dict[str, Any] = {name: getattr(self.state, name) for name in _State.__slots__}
        state |= {"fingerprint": self.fingerprint, "decoder": self.decoder.state_dict(), "optimiser": self.optimiser.state_dict()}
        with replacing(path) as temporary:
            torch.save(state, temporary)

    def load(self, path: Path) -> None:
        """Resume from a file of :meth:`save`; start anew where it is of other data or settings."""
        state = torch.load(path, map_location="cpu", weights_only=True)
        if state.pop("fingerprint") != self.fingerprint:
            logger.warning("%s: the checkpoint is of other data or settings; the fit starts anew", path)
            return
        self.decoder.load_state_dict(state.pop("decoder"))
        self.optimiser.load_state_dict(state.pop("optimiser"))
        self.state = _State(**state)
        logger.info("resumed from step %d of epoch %d", self.state.position, self.state.epoch + 1)
