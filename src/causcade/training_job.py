"""The command line of the training of a model, which rule `pretraining` runs; :mod:`causcade.launching` starts several processes."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from causcade.launching import gpus_on_node, launch

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
    gpus = gpus_on_node(given.nodes, given.processes, given.gpus, settings["backend"])
    launch("pretraining", nodes=given.nodes, processes=given.processes, gpus=gpus, threads=given.threads, log=given.log)
    speed = {"parallel": given.parallel, "nodes": given.nodes, "processes": given.processes, "checkpoint_every": given.checkpoint_every}
    settings["pretraining"] |= speed | {"micro_cells": given.micro_cells or None}
    rank = os.environ.get("RANK", "0")
    return TrainingJob(
        roll=given.roll,
        settings=settings,
        folder=Path(given.weights).parent,
        checkpoints=Path(given.checkpoints),
        pin=Path(given.pin),
        fingerprint=given.fingerprint,
        threads=max(1, given.threads // given.processes),
        gpus=gpus,
        processes=given.processes,
        log=Path(given.log if rank == "0" else f"{given.log}.{rank}"),
    )
