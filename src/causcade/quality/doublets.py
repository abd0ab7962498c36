"""Doublets by Scrublet (doi:10.1016/j.cels.2018.11.005), well by well, in scanpy or rapids-singlecell.

Scrublet puts its threshold between the two modes of the scores of simulated doublets. Where the cells of a well are alike there is one mode, and the
threshold may cut it in two: half of the cells are then called. Such a well keeps its scores and calls none.

Axes: N cells of the plate, B cells of a well, G genes.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from causcade.backend import Backend, single_cell
from causcade.quality.plate_counts import PlateCounts
from causcade.runtime import Progress

__all__ = ["DoubletCalls", "find_doublets"]

logger = logging.getLogger(__name__)

MIN_CELLS = 50
MIN_GENES = 3
NUM_COMPONENTS = 30
NUM_EXAMPLES = 3
MAX_SHARE = 0.25
"""Largest share of a well's cells that is believed. Droplets hold two cells at about 0.8 % per 1,000 cells recovered (10x Genomics' multiplet table:
8 % at 10,000); 30,000 from one lane, the most that is advised and only with hashed samples, makes 24 %. Combinatorial indexing lies far below."""
PASS_ENTRIES = 1 << 27
"""Counts that are held for one pass over the file: 1 GB. A well beyond it has a pass of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DoubletCalls:
    """Scores and calls of the cells of a plate.

    Attributes
    ----------
    score : numpy.ndarray
        Scrublet's score [N]; NaN where none was computed.
    is_doublet : numpy.ndarray
        Which cells are called, boolean [N].
    problem : numpy.ndarray
        Why the cell's well calls none, "" where it was judged, and for cells that were not looked at; text [N].
    """

    score: np.ndarray
    is_doublet: np.ndarray
    problem: np.ndarray

    @classmethod
    def none(cls, num_cells: int) -> DoubletCalls:
        """No cell is scored or called."""
        return cls(score=np.full(num_cells, np.nan), is_doublet=np.zeros(num_cells, dtype=bool), problem=np.full(num_cells, "", dtype=object))


def find_doublets(plate: PlateCounts, candidates: np.ndarray, seed: int, *, num_genes: np.ndarray, backend: Backend = "cpu") -> DoubletCalls:
    """Find doublets in each well.

    Wells go through in groups that fit in memory, with one pass over the file for each group.

    Parameters
    ----------
    plate
        The plate's cells in their file [N].
    candidates
        Cells to look at (those that pass the other filters), boolean [N].
    seed
        Seed of the simulated doublets.
    num_genes
        Detected genes of each cell [N], which tell how much memory its counts need.
    backend
        Whether scanpy or rapids-singlecell computes.
    """
    calls = DoubletCalls.none(len(plate.obs))
    codes, wells = pd.factorize(plate.obs["well"], sort=True)
    size = np.bincount(codes[candidates], minlength=len(wells))
    for well in np.flatnonzero((size > 0) & (size < MIN_CELLS)).tolist():
        calls.problem[candidates & (codes == well)] = f"fewer than {MIN_CELLS} cells"
    entries = np.bincount(codes[candidates], weights=num_genes[candidates], minlength=len(wells))
    module = single_cell(backend)
    progress = Progress(len(wells), "wells")
    for group in _groups(np.flatnonzero(size >= MIN_CELLS).tolist(), entries):
        member = candidates & np.isin(codes, group)
        positions = np.flatnonzero(member)
        held = sp.vstack([block.astype(np.float32) for _, block in plate.iter_blocks(member)], format="csr")
        for well in group:
            inside = codes[positions] == well
            score, called, problem = _judge_well(sp.csr_matrix(held[inside]), seed, module)
            calls.score[positions[inside]], calls.is_doublet[positions[inside]], calls.problem[positions[inside]] = score, called, problem
            progress.advance()
    _tell_problems(calls.problem, plate.obs["well"])
    return calls


def _tell_problems(problem: np.ndarray, well: pd.Series) -> None:
    """Log the wells that call no doublet, with a few examples of why."""
    told = pd.Series(problem, index=well.to_numpy()).groupby(level=0, sort=True).max()
    wrong = told[told != ""]
    if len(wrong):
        examples = "; ".join(f"{name}: {why}" for name, why in wrong.head(NUM_EXAMPLES).items())
        rest = "" if len(wrong) <= NUM_EXAMPLES else f"; and {len(wrong) - NUM_EXAMPLES} more"
        logger.warning("no doublet is called in %d of %d wells (%s%s)", len(wrong), len(told), examples, rest)


def _groups(wells: list[int], entries: np.ndarray) -> list[list[int]]:
    """Split consecutive wells into groups of at most `PASS_ENTRIES` counts, or one well."""
    groups: list[list[int]] = []
    total = 0.0
    for well in wells:
        total += entries[well]
        if not groups or total > PASS_ENTRIES:
            groups.append([])
            total = entries[well]
        groups[-1].append(well)
    return groups


def _judge_well(counts_BG: sp.csr_matrix, seed: int, module: Any) -> tuple[np.ndarray, np.ndarray, str]:
    """Score and call the cells of one well [B], unless the calls are not to be believed; and what is wrong ("" = nothing)."""
    score, called, problem = _scrublet(counts_BG, seed, module)
    share = float(called.mean())
    if share > MAX_SHARE:
        return score, np.zeros_like(called), f"{share:.0%} of the cells would be called, more than the {MAX_SHARE:.0%} that is plausible"
    return score, called, problem


def _scrublet(counts_BG: sp.csr_matrix, seed: int, module: Any) -> tuple[np.ndarray, np.ndarray, str]:
    """Scrublet on the cells of one well: score and call of each [B], and what went wrong ("" = nothing)."""
    num_cells = counts_BG.shape[0]
    nothing = np.full(num_cells, np.nan), np.zeros(num_cells, dtype=bool)
    # Scrublet looks at variable genes only, and fails where there are fewer than its components: count them as it does.
    trial = _annotated(counts_BG.copy(), module)
    module.pp.filter_genes(trial, min_cells=3)
    module.pp.filter_cells(trial, min_genes=3)
    if trial.n_vars < MIN_GENES or trial.n_obs < MIN_CELLS:
        return *nothing, "too few genes"
    module.pp.normalize_total(trial)
    module.pp.log1p(trial)
    module.pp.highly_variable_genes(trial)
    num_genes = int(trial.var["highly_variable"].sum())
    if num_genes < MIN_GENES:
        return *nothing, "too few variable genes"
    data = _annotated(counts_BG, module)
    module.pp.scrublet(data, random_state=seed, verbose=False, n_prin_comps=min(NUM_COMPONENTS, trial.n_obs - 1, num_genes - 1))
    # Cells that Scrublet itself leaves out come back as NaN, which is not a call.
    called = (data.obs["predicted_doublet"] == True).to_numpy(dtype=bool)  # noqa: E712
    problem = "" if "threshold" in data.uns["scrublet"] else "no threshold between two modes"
    return data.obs["doublet_score"].to_numpy(dtype=np.float64), called, problem


def _annotated(counts_BG: sp.csr_matrix, module: Any) -> Any:
    """AnnData of some counts, on the device of `module`."""
    import anndata

    data = anndata.AnnData(counts_BG)
    if module.__name__ != "scanpy":
        module.get.anndata_to_GPU(data)
    return data
