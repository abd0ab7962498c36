"""The command line of the training of a model, which rule `pretraining` runs; :mod:`causcade.launching` starts several processes."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from causcade.launching import take_place

__all__ = ["TrainingJob", "read_arguments"]

TEXTS = ("--settings", "--parallel", "--checkpoints", "--weights", "--pin", "--fingerprint", "--log")
NUMBERS = ("--nodes", "--processes", "--gpus", "--micro-cells", "--checkpoint-every", "--threads")


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
    for name in TEXTS:
        parser.add_argument(name, required=True)
    for name in NUMBERS:
        parser.add_argument(name, required=True, type=int)
    given = parser.parse_args(arguments)
    settings = json.loads(given.settings)
    asked = {name: getattr(given, name) for name in ("nodes", "processes", "gpus", "threads", "log")}
    place = take_place("pretraining", backend=settings["backend"], **asked)
    speed = {"parallel": given.parallel, "nodes": given.nodes, "processes": given.processes, "checkpoint_every": given.checkpoint_every}
    settings["pretraining"] |= speed | {"micro_cells": given.micro_cells or None}
    return TrainingJob(
        roll=given.roll,
        settings=settings,
        folder=Path(given.weights).parent,
        checkpoints=Path(given.checkpoints),
        pin=Path(given.pin),
        fingerprint=given.fingerprint,
        threads=place.threads,
        gpus=place.gpus,
        processes=given.processes,
        log=place.log,
    )
