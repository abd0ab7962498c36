"""The command line of the training of a model, which rule `pretraining` runs; with several processes it starts torchrun in its own place.

The process that the workflow starts stays the same one, so that what asks it to stop asks the trainer, or torchrun, which passes it on.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["TrainingJob", "become_torchrun", "read_arguments"]

TEXTS = ("--settings", "--parallel", "--checkpoints", "--weights", "--pin", "--fingerprint", "--log")
NUMBERS = ("--processes", "--micro-cells", "--checkpoint-every", "--threads")


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
    log: Path


def read_arguments(arguments: Sequence[str] | None = None) -> TrainingJob:
    """Read the command line; where it asks for several processes and this is none of them, become torchrun.

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
    if given.processes > 1 and "RANK" not in os.environ:
        become_torchrun(given.processes)
    settings = json.loads(given.settings)
    speed = {"parallel": given.parallel, "processes": given.processes, "checkpoint_every": given.checkpoint_every}
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
        log=Path(given.log if rank == "0" else f"{given.log}.{rank}"),
    )


def become_torchrun(processes: int) -> None:
    """Replace this process by torchrun on this machine, which starts the same script so many times."""
    # After -- nothing is an option of torchrun, which would take `--log` for one of its own.
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "--"]
    os.execv(sys.executable, [sys.executable, *launcher, *sys.argv])
