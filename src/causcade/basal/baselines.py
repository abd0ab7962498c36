"""The baseline of each line of a plate, from its control cells; and, for `own_cell`, that of each treated condition, from its own cells.

`matched_control`: mean of f(z) over the control cells of the line and plate. `control_mean`: the plain mean of x over them, which needs no decoder.
`own_cell`: mean of f(z) over the treated cells themselves. Since z of a treated cell contains the response, f(z) explains a part of it away: what is
left to the causal module is smaller, and not a random part of it. It is there to be compared with, and warned of.

Axes: N cells, B cells of a block, D embedding dimensions, G genes of the panel, R rows (lines, then treated conditions), L lines.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import scipy.sparse as sp
import torch

from causcade.basal.cells import Embedding
from causcade.basal.decoder import BasalDecoder
from causcade.cells import CellStore
from causcade.errors import InputError
from causcade.runtime import Progress

if TYPE_CHECKING:
    import anndata

__all__ = ["measure_baselines"]

logger = logging.getLogger("causcade")

DENSE_CELLS = 1024  # cells that are dense at a time
KEYS = ["perturbation", "dose", "cell_line"]

Baseline = Literal["matched_control", "own_cell", "control_mean"]


def measure_baselines(
    store: CellStore, embedding: Embedding, decoder: BasalDecoder | None, panel: pd.DataFrame, *, baseline: Baseline, block_cells: int
) -> anndata.AnnData:
    """Average the baselines of one plate.

    Parameters
    ----------
    store
        Cells of the plate.
    embedding
        Their embedding; column `row` of its obs says which cell of the store a row is.
    decoder
        The frozen decoder; None for `control_mean`.
    panel
        `panel.parquet`, the gene axis of the decoder.
    baseline
        Which one, of `basal.baseline`.
    block_cells
        Cells read at a time; changes the sums by rounding of float64 only.

    Returns
    -------
    anndata.AnnData
        A row for each line with control cells. X [R, G] float32: the baseline, a mean of f(z) (or of x), in natural log units. Layers: `mean`, the
        mean of x over the same cells, and `var`, variance of x over them (with n - 1) divided by their number, that is the squared standard error of
        their mean, 0 for a single cell. obs: cell_line, plate, n_cells.
        For `own_cell`, then a row for each treated condition, whose `var` is that of x - f(z), the response of a cell; and obs has perturbation, dose
        and is_control too.

    Raises
    ------
    InputError
        If an embedding that is needed is not finite, or `own_cell` finds treated cells without one.
    """
    import anndata

    gene_ids = pd.Index(panel["gene_id"])
    has_own = baseline == "own_cell"
    is_control_N = embedding.obs["is_control"].to_numpy(dtype=bool)
    chosen = np.arange(len(is_control_N)) if has_own else np.flatnonzero(is_control_N)
    row_N = embedding.obs["row"].to_numpy()[chosen]
    obs, code_N = _rows_of(store.obs.iloc[row_N])
    if has_own:
        _check_all_embedded(store, is_control_N, embedding)
    sums = [np.zeros((len(obs), len(gene_ids))) for _ in range(4)]
    x_RG, square_RG, f_RG, residual_RG = sums
    done, progress = 0, Progress(len(chosen), "cells")
    embeddings = _Ahead(embedding.blocks(chosen) if decoder is not None else iter(()))
    for rows, x_BG in store.iter_sparse_expression(gene_ids, block_cells, row_N):
        for start in range(0, len(rows), DENSE_CELLS):
            part_BG = x_BG[start : start + DENSE_CELLS].astype(np.float64)
            num = part_BG.shape[0]
            # A block has few of the conditions: only their rows are touched.
            here, code_B = np.unique(code_N[done : done + num], return_inverse=True)
            indicator = sp.csr_matrix((np.ones(num), (code_B, np.arange(num))), shape=(len(here), num))
            x_RG[here] += (indicator @ part_BG).toarray()
            square_RG[here] += (indicator @ part_BG.multiply(part_BG)).toarray()
            if decoder is not None:
                with torch.no_grad():
                    f_BG = decoder(torch.from_numpy(embeddings.take(num))).double().numpy()
                f_RG[here] += indicator @ f_BG
                if has_own:
                    residual_RG[here] += indicator @ np.asarray(part_BG - f_BG) ** 2
            done += num
            progress.advance(num)
    n_R1 = obs["n_cells"].to_numpy(np.float64)[:, None]
    is_own_R1 = ~obs["is_control"].to_numpy(bool)[:, None]
    mean_RG, value_RG = x_RG / n_R1, (x_RG if decoder is None else f_RG) / n_R1
    around_RG = np.where(is_own_R1, residual_RG - n_R1 * (mean_RG - value_RG) ** 2, square_RG - n_R1 * mean_RG**2)
    variance_RG = np.maximum(around_RG, 0) / np.maximum(n_R1 - 1, 1) / n_R1
    layers = {"mean": mean_RG.astype(np.float32), "var": variance_RG.astype(np.float32)}
    var = pd.DataFrame({"gene": panel["gene"].to_numpy(dtype=str)}, index=pd.Index(gene_ids.astype(str), name="gene_id"))
    kept = ["cell_line", "plate", "n_cells", *(["perturbation", "dose", "is_control"] if has_own else [])]
    return anndata.AnnData(value_RG.astype(np.float32), obs=obs[kept], var=var, layers=layers)


def _rows_of(cells: pd.DataFrame) -> tuple[pd.DataFrame, npt.NDArray[np.int64]]:
    """Table of the rows, lines before conditions, and the row of each cell."""
    keys = cells[[*KEYS, "plate", "is_control"]].astype({"perturbation": str, "cell_line": str, "plate": str, "is_control": bool})
    # All controls of a line are one row, whatever they are called.
    keys = keys.assign(perturbation=keys["perturbation"].where(~keys["is_control"], ""), dose=keys["dose"].where(~keys["is_control"], 0.0))
    grouped = keys.assign(is_treated=~keys["is_control"]).groupby(["is_treated", *KEYS, "plate"], sort=True, dropna=False)
    obs = grouped.agg(n_cells=("is_control", "size"), is_control=("is_control", "first")).reset_index()
    dose = obs["dose"].map("{:g}".format).astype(str)
    line = obs["cell_line"] + "|" + obs["plate"]
    names = np.where(obs["is_treated"], obs["perturbation"] + "|" + dose + "|" + line, line)
    return obs.set_index(pd.Index(names.astype(str))), grouped.ngroup().to_numpy(dtype=np.int64)


def _check_all_embedded(store: CellStore, is_control_N: npt.NDArray[np.bool_], embedding: Embedding) -> None:
    """Make sure that every treated cell has an embedding."""
    num_treated, num_embedded = int((~store.obs["is_control"].to_numpy(bool)).sum()), int((~is_control_N).sum())
    if num_embedded < num_treated:
        raise InputError(
            f"{embedding.path}: expected an embedding of each of the {num_treated} treated cells for `basal.baseline: own_cell`, "
            f"found {num_embedded}. Write `embedding: {{cells: all}}`."
        )


class _Ahead:
    """Embeddings of one block after another, taken in other portions."""

    def __init__(self, blocks: Iterator[npt.NDArray[np.float32]]) -> None:
        self._blocks = blocks
        self._left: npt.NDArray[np.float32] | None = None

    def take(self, num: int) -> npt.NDArray[np.float32]:
        """Return the next `num` embeddings [num, D]."""
        while self._left is None or len(self._left) < num:
            block = next(self._blocks)
            self._left = block if self._left is None else np.concatenate([self._left, block])
        taken, self._left = self._left[:num], self._left[num:]
        return taken
