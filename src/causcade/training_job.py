"""The command line of the training of a model, which rule `pretraining` runs; :mod:`causcade.launching` starts several processes."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from causcade.launching import read_placed

__all__ = ["TrainingJob", "read_arguments"]


class TrainingJob(NamedTuple):
    """What one process of the training is told.

    Attributes
    ----------
    roll
        JSON file of the cell stores, by plate.
    settings
        `pretraining` (the whole section), `seed` and `backend`.
    folder, checkpoints
        Where the model is written, and the state of an unfinished training.
    pin, fingerprint
        File that says what the model was made with, and what it says.
    threads
        Threads of this process.
    gpus, processes
        GPUs that the job asked for on this node, and processes there.
    log
        Log of this process; the first one has the log of the job.
    """

    roll: Path
    settings: dict[str, Any]
    folder: Path
    checkpoints: Path
    pin: Path
    fingerprint: str
    threads: int
    gpus: int
    processes: int
    log: Path


def read_arguments(arguments: Sequence[str] | None = None) -> TrainingJob:
    """Read the command line; where it asks for several processes and this is none of them, become what starts them.

    Parameters
    ----------
    arguments
        By default those of this process.
    """
    parser = argparse.ArgumentParser(description="Train TX1 on the cells of a run.")
    parser.add_argument("roll", type=Path)
    parser.add_argument("--parallel", required=True)
    for name in ("--checkpoints", "--weights", "--pin"):
        parser.add_argument(name, required=True, type=Path)
    parser.add_argument("--fingerprint", required=True)
    for name in ("--micro-cells", "--checkpoint-every"):
        parser.add_argument(name, required=True, type=int)
    given = read_placed(parser, "pretraining", arguments)
    speed = {name: given[name] for name in ("parallel", "nodes", "processes", "checkpoint_every")}
    given["settings"]["pretraining"] |= speed | {"micro_cells": given["micro_cells"] or None}
    given["folder"] = given["weights"].parent
    return TrainingJob(**{name: given[name] for name in TrainingJob._fields})
