"""What a decoder has learned, on held-out wells: R2 of each gene, and what f(z) adds over the plain mean of the controls.

R2 against the mean of all training cells is mostly about cell lines and plates, which the plain mean of the controls of a line and plate knows as
well. What decides whether the decoder is of use is therefore asked twice more on the same cells: does f(z) predict a cell better than the mean of x
over the training cells of its line and plate; and, since a baseline is a mean, is the mean of x in held-out wells nearer to the mean of f(z) over
those training cells than to the mean of x over them?

Axes: B cells of a batch, G genes, K groups (plate and cell line) with both training and held-out cells.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import scipy.sparse as sp
import torch

from causcade.basal.cells import ControlCells
from causcade.basal.training import BasalFit

__all__ = ["Judgement", "judge_decoder"]

CONSTANT = 1e-9  # a gene whose error around the mean is below this share of its square sum does not vary
BLOCK_CELLS = 1024  # cells that are dense at a time

Float64 = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """Summary of a fit, and its table of genes."""

    summary: dict[str, Any]
    genes: pd.DataFrame


@dataclass(slots=True)
class _Sums:
    """Sums over some cells, float64: number [K]; x, x squared and f(z) [K, G], of the groups."""

    n_K: Float64
    x_KG: Float64
    square_KG: Float64
    f_KG: Float64


def judge_decoder(fit: BasalFit, cells: ControlCells, panel: pd.DataFrame, *, device: str = "cpu") -> Judgement:
    """Judge a decoder on the cells that were held out.

    Parameters
    ----------
    fit
        The fit.
    cells
        The cells that it was fitted on.
    panel
        `panel.parquet`: gene, gene_id.
    device
        Where to compute.

    Returns
    -------
    Judgement
        Summary: num_cells, num_held_out, best_epoch; r2_median, r2_quartiles (over genes that vary in the held-out cells), total_r2 (of all squared
        errors together), all against the mean of all training cells; `over_plain_mean`, None where no line and plate has both training and held-out
        cells: num_groups (lines and plates that have), num_held_out (their held-out cells), cells_r2 (of f(z) against the plain mean of the group,
        over cells), plain_mse and decoder_mse (mean squared distance of the mean of x in held-out wells from the mean of x and of f(z) in the
        training wells of the group), noise_mse (what sampling of the held-out cells puts into both), num_better (groups where the mean of f(z) is
        nearer).
        Genes: gene, gene_id, mean and variance of x over the held-out cells, r2, r2_over_plain_mean; NaN where a gene does not vary.
    """
    decoder = fit.decoder.to(device)
    mean_G = _mean(cells, fit.train)
    num_genes = cells.num_genes
    groups = np.intersect1d(cells.group_N[fit.train], cells.group_N[fit.test])
    train, test = (_sums(cells, rows, groups, decoder, device) for rows in (fit.train, fit.test))
    plain_KG = train.x_KG / train.n_K[:, None]
    sums = {name: np.zeros(num_genes) for name in ("x", "square", "centred", "error", "constant", "grouped_error", "plain")}
    held_mean_G = _mean(cells, fit.test)
    for rows, f_BG in _predictions(cells, fit.test, decoder, device):
        x_BG = cells.expression(rows).toarray().astype(np.float64)
        error_BG = (f_BG - x_BG) ** 2
        sums["square"] += (x_BG**2).sum(axis=0)
        sums["centred"] += ((x_BG - held_mean_G) ** 2).sum(axis=0)
        sums["error"] += error_BG.sum(axis=0)
        sums["constant"] += ((x_BG - mean_G) ** 2).sum(axis=0)
        place_B = np.searchsorted(groups, cells.group_N[rows])
        is_in_B = np.isin(cells.group_N[rows], groups)
        sums["grouped_error"] += error_BG[is_in_B].sum(axis=0)
        sums["plain"] += ((x_BG[is_in_B] - plain_KG[place_B[is_in_B]]) ** 2).sum(axis=0)
    decoder.to("cpu")
    floor_G = CONSTANT * np.maximum(sums["square"], np.finfo(np.float64).tiny)
    r2_G, over_G = (_r2(sums[error], sums[around], floor_G) for error, around in (("error", "constant"), ("grouped_error", "plain")))
    genes = panel[["gene", "gene_id"]].reset_index(drop=True).assign(
        mean=held_mean_G, variance=sums["centred"] / max(len(fit.test) - 1, 1), r2=r2_G, r2_over_plain_mean=over_G
    )  # fmt: skip
    varies_G = np.isfinite(r2_G)
    quartiles = [float(value) for value in np.quantile(r2_G[varies_G], [0.25, 0.5, 0.75])] if varies_G.any() else []
    summary: dict[str, Any] = {"num_cells": cells.num_cells, "num_held_out": len(fit.test), "best_epoch": fit.best_epoch}
    summary |= {"r2_median": quartiles[1] if quartiles else None, "r2_quartiles": quartiles}
    summary |= {"total_r2": float(1 - sums["error"][varies_G].sum() / sums["constant"][varies_G].sum()) if quartiles else None}
    return Judgement(summary=summary | {"over_plain_mean": _over_plain_mean(train, test, sums)}, genes=genes)


def _over_plain_mean(train: _Sums, test: _Sums, sums: dict[str, Float64]) -> dict[str, Any] | None:
    if not len(train.n_K):
        return None
    held_KG, n_K1 = test.x_KG / test.n_K[:, None], test.n_K[:, None]
    plain_K, decoder_K = (((held_KG - of_train / train.n_K[:, None]) ** 2).mean(axis=1) for of_train in (train.x_KG, train.f_KG))
    has_noise_K = test.n_K > 1
    variance_KG = np.maximum(test.square_KG - n_K1 * held_KG**2, 0) / np.maximum(n_K1 - 1, 1)
    noise_K = (variance_KG / n_K1).mean(axis=1)
    plain = sums["plain"].sum()
    return {
        "num_groups": len(train.n_K), "num_held_out": int(test.n_K.sum()),
        "cells_r2": float(1 - sums["grouped_error"].sum() / plain) if plain > 0 else None,
        "plain_mse": float(plain_K.mean()), "decoder_mse": float(decoder_K.mean()),
        "noise_mse": float(noise_K[has_noise_K].mean()) if has_noise_K.any() else None,
        "num_better": int((decoder_K < plain_K).sum()),
    }  # fmt: skip


def _mean(cells: ControlCells, rows: Rows) -> Float64:
    """Mean of x over some cells, [G]."""
    mean_G = np.zeros(cells.num_genes)
    for part in _blocks(rows):
        x_BG = cells.expression(part)
        mean_G += np.bincount(x_BG.indices, weights=x_BG.data, minlength=cells.num_genes) / len(rows)
    return mean_G


def _blocks(rows: Rows) -> Iterator[Rows]:
    return (rows[start : start + BLOCK_CELLS] for start in range(0, len(rows), BLOCK_CELLS))


def _predictions(cells: ControlCells, rows: Rows, decoder: torch.nn.Module, device: str) -> Iterator[tuple[Rows, Float64]]:
    """Blocks of cells, and f(z) of them."""
    with torch.no_grad():
        for part in _blocks(rows):
            yield part, decoder(torch.from_numpy(cells.embeddings(part)).to(device)).cpu().numpy().astype(np.float64)


def _sums(cells: ControlCells, rows: Rows, groups: Rows, decoder: torch.nn.Module, device: str) -> _Sums:
    """Sum over the cells of some groups."""
    rows = rows[np.isin(cells.group_N[rows], groups)]
    sums = _Sums(np.zeros(len(groups)), *(np.zeros((len(groups), cells.num_genes)) for _ in range(3)))
    for part, f_BG in _predictions(cells, rows, decoder, device):
        place_B = np.searchsorted(groups, cells.group_N[part])
        indicator_KB = sp.csr_matrix((np.ones(len(part)), (place_B, np.arange(len(part)))), shape=(len(groups), len(part)))
        x_BG = cells.expression(part).astype(np.float64)
        sums.n_K += np.bincount(place_B, minlength=len(groups))
        sums.x_KG += (indicator_KB @ x_BG).toarray()
        sums.square_KG += (indicator_KB @ x_BG.multiply(x_BG)).toarray()
        sums.f_KG += indicator_KB @ f_BG
    return sums


def _r2(error_G: Float64, around_G: Float64, floor_G: Float64) -> Float64:
    """R2 of each gene; NaN where it does not vary."""
    varies_G = around_G > floor_G
    return np.asarray(1 - np.divide(error_G, around_G, out=np.full(len(error_G), np.nan), where=varies_G))
