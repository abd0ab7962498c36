"""The command line of the fit of the basal decoder, which rule `basal` runs; :mod:`causcade.launching` starts several processes.

Apart from :mod:`causcade.basal`, so that torchrun is started before torch is loaded.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from causcade.launching import read_placed

__all__ = ["BasalJob", "read_arguments"]


class BasalJob(NamedTuple):
    """What one process of the fit is told.

    Attributes
    ----------
    roll
        JSON file of the cell stores and embeddings, by plate.
    panel
        Path of the table.
    settings
        Section `basal` without what decides no fit, `seed` and `backend`.
    model
        Path of the model; all that is written goes to its folder.
    pin, fingerprint
        File that says what the decoder was made with, and what it says.
    checkpoints
        Folder of the control cells and of the state of an unfinished fit.
    block_cells
        Cells read at a time.
    threads
        Threads of this process.
    gpus, processes
        GPUs that the job asked for on this node, and processes there.
    log
        Log of this process; the first one has the log of the job.
    """

    roll: Path
    panel: Path
    settings: dict[str, Any]
    model: Path
    pin: Path
    fingerprint: str
    checkpoints: Path
    block_cells: int
    threads: int
    gpus: int
    processes: int
    log: Path


def read_arguments(arguments: Sequence[str] | None = None) -> BasalJob:
    """Read the command line; where it asks for several processes and this is none of them, become what starts them.

    Parameters
    ----------
    arguments
        By default those of this process.
    """
    parser = argparse.ArgumentParser(description="Fit the basal decoder.")
    parser.add_argument("roll", type=Path)
    for name in ("--panel", "--model", "--pin", "--checkpoints"):
        parser.add_argument(name, required=True, type=Path)
    parser.add_argument("--fingerprint", required=True)
    parser.add_argument("--block-cells", required=True, type=int)
    given = read_placed(parser, "basal", arguments)
    return BasalJob(**{name: given[name] for name in BasalJob._fields})
