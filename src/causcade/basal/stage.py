"""The stage `basal` of a run: from the plates to a decoder, its judgement, and their files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from causcade.basal.cells import ControlCells, gather_controls, identity_of, open_controls
from causcade.basal.decoder import write_decoder
from causcade.basal.judging import judge_decoder
from causcade.basal.training import BasalFit, fit_basal
from causcade.config import BasalConfig
from causcade.files import write_json, write_parquet, write_text
from causcade.ranks import ALONE, Ranks

__all__ = ["fit_plates", "remove", "write_fit"]


def fit_plates(
    plates: Mapping[str, Mapping[str, str]],
    panel: pd.DataFrame,
    settings: Mapping[str, Any],
    checkpoints: Path,
    *,
    block_cells: int,
    fingerprint: str = "",
    device: str = "cpu",
    ranks: Ranks = ALONE,
) -> tuple[BasalFit, ControlCells]:
    """Fit a decoder on the control cells of some plates.

    Parameters
    ----------
    plates
        Paths `cells` and `embedding` of each plate.
    panel
        `panel.parquet`.
    settings
        Section `basal` (keys that are absent have their defaults) and `seed`.
    checkpoints
        Folder for the copy of the control cells and for the state of the fit; a stopped fit goes on from there.
    block_cells
        Cells read at a time; changes no result.
    fingerprint
        What the decoder is made with, beside the cells.
    device, ranks
        As in :func:`causcade.basal.training.fit_basal`; the first process copies the cells.

    Returns
    -------
    tuple
        The fit, and the cells it was made on.
    """
    chosen, seed, folder = BasalConfig(**settings["basal"]), settings["seed"], checkpoints / "cells"
    gene_ids = pd.Index(panel["gene_id"])

    def gather() -> bool:
        gather_controls(plates, gene_ids, folder, max_cells=chosen.max_cells, seed=seed, block_cells=block_cells)
        return True

    ranks.object_of_first(gather)  # the others wait
    cells = open_controls(folder)
    fit = fit_basal(
        cells, chosen, seed=seed, device=device, ranks=ranks, checkpoint=checkpoints / "state.pt", fingerprint=f"{fingerprint} {identity_of(plates)}"
    )
    return fit, cells


def write_fit(folder: Path, fit: BasalFit, cells: ControlCells, panel: pd.DataFrame, plates: Sequence[str], *, device: str = "cpu") -> None:
    """Judge a fit and write `model.safetensors`, `metrics.jsonl`, `genes.parquet` and `summary.json`, which names the plates too."""
    judged = judge_decoder(fit, cells, panel, device=device)
    write_decoder(folder / "model.safetensors", fit.decoder, panel["gene_id"].astype(str).tolist())
    write_text(folder / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in fit.metrics))
    write_parquet(folder / "genes.parquet", judged.genes)
    write_json(folder / "summary.json", judged.summary | {"plates": list(plates)})


def remove(checkpoints: Path) -> None:
    """Remove what only an unfinished fit needs."""
    shutil.rmtree(checkpoints, ignore_errors=True)
