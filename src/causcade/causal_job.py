"""The command line of one causal fit, which rule `causal` runs; :mod:`causcade.launching` starts several processes.

Apart from :mod:`causcade.causal`, so that torchrun is started before torch is loaded.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from causcade.launching import read_placed

__all__ = ["CausalJob", "read_arguments"]


class CausalJob(NamedTuple):
    """What one process of a fit is told.

    Attributes
    ----------
    fit
        Name of the fit.
    conditions, baselines, cells
        Paths of the stores, one for each plate; cells only where they are fitted.
    targets, edges
        Paths of the tables.
    settings
        Section `causal`, `seed` and `backend`.
    model, held_out
        What is written: the fit goes to the folder of the model.
    checkpoint
        State of an unfinished fit.
    threads
        Threads of this process.
    gpus, processes
        GPUs that the job asked for on this node, and processes there.
    log
        Log of this process; the first one has the log of the job.
    """

    fit: str
    conditions: list[str]
    baselines: list[str]
    cells: list[str]
    targets: Path
    edges: Path
    settings: dict[str, Any]
    model: Path
    held_out: Path
    checkpoint: Path
    threads: int
    gpus: int
    processes: int
    log: Path


def read_arguments(arguments: Sequence[str] | None = None) -> CausalJob:
    """Read the command line; where it asks for several processes and this is none of them, become what starts them.

    Parameters
    ----------
    arguments
        By default those of this process.
    """
    parser = argparse.ArgumentParser(description="Fit the causal module.")
    parser.add_argument("fit")
    for name in ("--conditions", "--baselines", "--cells"):
        parser.add_argument(name, nargs="*", default=[])
    for name in ("--targets", "--edges", "--model", "--held-out", "--checkpoint"):
        parser.add_argument(name, required=True, type=Path)
    given = read_placed(parser, "causal", arguments)
    return CausalJob(**{name: given[name] for name in CausalJob._fields})
