"""Pre-training of TX1 on the cells of a run, or fine-tuning of a published model; the stage behind `rules/pretraining.smk`.

The mathematics is in :mod:`causcade.tx1`: stream, objective, optimiser, trainer. Here: which cells, which model, and what is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from causcade.backend import Backend
from causcade.cells import CellStore

if TYPE_CHECKING:
    from causcade.config import PretrainingConfig

__all__ = ["pretrain"]


def pretrain(
    stores: Sequence[CellStore], settings: PretrainingConfig, folder: str | Path, *, checkpoints: str | Path, seed: int, backend: Backend = "auto"
) -> dict[str, Any]:
    """Train a model and write it in the layout of the published folders, with `metrics.jsonl` and `summary.json`.

    Inside torchrun (`RANK`, `WORLD_SIZE`, `LOCAL_RANK` in the environment) all processes call it with equal arguments; the first one writes.

    Parameters
    ----------
    stores
        Cell stores of the plates, in any order: their names order them.
    settings
        Section `pretraining`.
    folder
        Where the model is written (`pretraining/<name>/`).
    checkpoints
        Folder of the state of an unfinished training (`checkpoints/pretraining/<name>/`); removed when the training is done.
    seed
        Of the first weights, the order of the cells, the masks and the held-out wells.
    backend
        Where to train.

    Returns
    -------
    dict
        What `summary.json` holds; empty in all processes but the first.

    Raises
    ------
    causcade.tx1.trainer.Stopped
        After SIGTERM or SIGUSR1, when the state is saved: run again to go on.
    InputError
        If there are no cells, or the loss is not finite.
    """
    raise NotImplementedError
