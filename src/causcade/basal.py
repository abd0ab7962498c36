"""The basal decoder: x = f(z) on control cells, then frozen; and the baseline of each line and plate.

f is a linear map plus one hidden layer, trained by squared error with early stopping on held-out control wells. The baseline of a treated
condition is the mean of f(z) over the control cells of its line and plate (`matched_control`); `control_mean` is the plain mean of x and needs no
model.

Axes: N control cells, B cells of a batch, D embedding dimensions, G genes of the panel, L lines of a plate.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from torch import nn

from causcade.backend import Backend, torch_device
from causcade.cells import CellStore
from causcade.config import BasalConfig
from causcade.errors import InputError
from causcade.files import write_tensors, write_text
from causcade.runtime import Progress

if TYPE_CHECKING:
    import anndata

__all__ = ["BasalDecoder", "BasalFit", "ControlCells", "baseline", "collect_controls", "fit_basal", "read_decoder", "write_basal"]

logger = logging.getLogger(__name__)

WEIGHT_DECAY = 1e-4
HELD_OUT = 5  # one well of so many is held out
CONSTANT = 1e-9  # a gene whose error around the mean is below this share of its square sum does not vary


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlCells:
    """Control cells for training: embedding [N, D], expression CSR [N, G] float32, well of each cell [N]."""

    z_ND: np.ndarray
    x_NG: sp.csr_matrix
    well_N: np.ndarray


class BasalDecoder(nn.Module):
    """f(z) = mean + A z + B gelu(C z), with z standardised by fixed constants. A and B start at 0, so that an untrained f is its bias."""

    z_mean: torch.Tensor
    z_sd: torch.Tensor

    def __init__(self, num_dimensions: int, num_hidden: int, num_genes: int) -> None:
        super().__init__()
        self.register_buffer("z_mean", torch.zeros(num_dimensions))
        self.register_buffer("z_sd", torch.ones(num_dimensions))
        self.linear = nn.Linear(num_dimensions, num_genes)
        self.hidden = nn.Linear(num_dimensions, num_hidden)
        self.output = nn.Linear(num_hidden, num_genes, bias=False)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.output.weight)

    def forward(self, z_BD: torch.Tensor) -> torch.Tensor:
        """Predicted x [B, G] from embeddings [B, D]."""
        z = (z_BD - self.z_mean) / self.z_sd
        return self.linear(z) + self.output(nn.functional.gelu(self.hidden(z)))  # type: ignore[no-any-return]


def collect_controls(
    plates: list[tuple[CellStore, anndata.AnnData]], gene_ids: pd.Index, *, max_cells: int, seed: int, block_cells: int
) -> ControlCells:
    """Gather control cells of all plates, at most `max_cells` (a seeded sample beyond).

    Parameters
    ----------
    plates
        Cell store and embedding of each plate.
    gene_ids
        Genes of the panel [G].
    max_cells
        Most cells, over all plates.
    seed
        Seed of the sample.
    block_cells
        Cells read at a time; changes no result.

    Raises
    ------
    InputError
        If there is no control cell, or an embedding is not finite.
    """
    control = [np.flatnonzero(embedding.obs["is_control"].to_numpy()) for _, embedding in plates]
    total = sum(map(len, control))
    if total == 0:
        raise InputError(
            "basal: expected control cells, found none on any plate. Check `perturbation.control` (or control_where) in the configuration."
        )
    is_chosen = np.ones(total, dtype=bool)
    if total > max_cells:
        is_chosen[:] = False
        is_chosen[np.random.default_rng(seed).choice(total, max_cells, replace=False)] = True
    of_plate = np.split(is_chosen, np.cumsum([len(positions) for positions in control])[:-1])
    z_parts: list[np.ndarray] = []
    x_parts: list[sp.csr_matrix] = []
    wells: list[np.ndarray] = []
    for (store, embedding), positions, taken in zip(plates, control, of_plate, strict=True):
        chosen = positions[taken]
        obs = embedding.obs.iloc[chosen]
        z_parts.append(_finite(np.asarray(embedding.X, dtype=np.float32)[chosen], obs))
        x_parts.extend(block for _, block in store.iter_sparse_expression(gene_ids, block_cells, obs["row"].to_numpy()))
        # Wells of two plates may share a name.
        wells.append((obs["plate"].astype(str) + "|" + obs["well"].astype(str)).to_numpy(dtype=str))
    return ControlCells(z_ND=np.concatenate(z_parts), x_NG=sp.vstack(x_parts, format="csr"), well_N=np.concatenate(wells))


def _finite(z_ND: np.ndarray, obs: pd.DataFrame) -> np.ndarray:
    """Embeddings of control cells, if all their values are finite."""
    bad = np.flatnonzero(~np.isfinite(z_ND).all(axis=1))
    if len(bad):
        plate = obs["plate"].iloc[bad[0]]
        raise InputError(
            f"embedding of plate {plate}: expected finite values, found NaN or infinity in {len(bad)} of {len(z_ND)} control cells "
            f"(the first: {obs.index[bad[0]]}). Embed these cells again, or leave them out of the counts."
        )
    return z_ND


@dataclass(frozen=True, slots=True, kw_only=True)
class BasalFit:
    """A fitted decoder, its metrics per epoch, and its summary."""

    decoder: BasalDecoder
    metrics: list[dict[str, float]]
    summary: dict[str, Any]


def _held_out(well_N: np.ndarray, seed: int) -> np.ndarray:
    """Cells of about a fifth of the control wells (at least one well); with a single well, a fifth of its cells."""
    wells = np.unique(well_N)
    rng = np.random.default_rng(seed)
    if len(wells) > 1:
        return np.isin(well_N, rng.permutation(wells)[: max(1, len(wells) // HELD_OUT)])
    logger.warning("there is one control well only: early stopping holds out cells of it, not a well")
    held = np.zeros(len(well_N), dtype=bool)
    held[rng.permutation(len(well_N))[: max(1, len(well_N) // HELD_OUT)]] = True
    return held


def _split(well_N: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows to train on and held-out rows."""
    held = _held_out(well_N, seed)
    if held.all():
        logger.warning("there is one control cell only: the basal decoder is judged on the cell it is fitted on")
        return np.arange(len(held)), np.arange(len(held))
    return np.flatnonzero(~held), np.flatnonzero(held)


def _initial_decoder(cells: ControlCells, train: np.ndarray, num_hidden: int, seed: int) -> BasalDecoder:
    """Make a decoder that predicts the training mean, whatever z."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        decoder = BasalDecoder(cells.z_ND.shape[1], num_hidden, cells.x_NG.shape[1])
    mean_G = (_sums(cells.x_NG[train]) / len(train)).astype(np.float32)
    with torch.no_grad():
        z_train = torch.from_numpy(cells.z_ND[train])
        decoder.z_mean.copy_(z_train.mean(dim=0))
        decoder.z_sd.copy_(z_train.std(dim=0, correction=0).clamp_min(1e-6))
        decoder.linear.bias.copy_(torch.from_numpy(mean_G))
    return decoder


def _batch(cells: ControlCells, rows: np.ndarray, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Take z [B, D] and dense x [B, G] of some cells."""
    return torch.from_numpy(cells.z_ND[rows]).to(device), torch.from_numpy(cells.x_NG[rows].toarray()).to(device)


def _square_errors(decoder: BasalDecoder, cells: ControlCells, rows: np.ndarray, batch: int) -> np.ndarray:
    """Sum of squared errors per gene [G], float64."""
    device = decoder.z_mean.device
    total_G = torch.zeros(cells.x_NG.shape[1], dtype=torch.float64, device=device)
    with torch.no_grad():
        for start in range(0, len(rows), batch):
            z_BD, x_BG = _batch(cells, rows[start : start + batch], device)
            total_G += (decoder(z_BD) - x_BG).square().sum(dim=0, dtype=torch.float64)
    return total_G.cpu().numpy()


def _train_epoch(decoder: BasalDecoder, optimiser: torch.optim.Optimizer, cells: ControlCells, order: np.ndarray, batch: int) -> float:
    """One pass over the cells in the given order; returns the mean squared error seen on the way."""
    device = decoder.z_mean.device
    total = torch.zeros((), dtype=torch.float64, device=device)
    for start in range(0, len(order), batch):
        part = order[start : start + batch]
        z_BD, x_BG = _batch(cells, part, device)
        loss = (decoder(z_BD) - x_BG).square().mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        total += loss.detach() * len(part)  # stays on the device
    return float(total) / len(order)


def fit_basal(cells: ControlCells, settings: BasalConfig, *, seed: int, backend: Backend = "auto") -> BasalFit:
    """Fit the decoder; the epoch with the least held-out error is kept.

    Parameters
    ----------
    cells
        Control cells of all plates.
    settings
        Section `basal`.
    seed
        Seed of the first weights, the held-out wells and the order of the cells.
    backend
        Where to train.

    Returns
    -------
    BasalFit
        Metrics per epoch: epoch, train_mse, held_out_mse, constant_mse (error of predicting the training mean on the same held-out cells). Summary:
        num_cells, num_held_out, best_epoch, r2_median, r2_quartiles (per gene on held-out cells, over genes that vary there), total_r2.

    Raises
    ------
    InputError
        If the error is not finite from the first epoch on.
    """
    train, test = _split(cells.well_N, seed)
    decoder = _initial_decoder(cells, train, settings.hidden, seed)
    constant_G = _square_errors(decoder, cells, test, settings.batch_cells)  # it predicts the training mean so far
    decoder.to(torch_device(backend))
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(decoder.parameters(), lr=settings.learning_rate, weight_decay=WEIGHT_DECAY)
    size = float(len(test) * cells.x_NG.shape[1])
    best, best_epoch = float("inf"), -1
    best_state: dict[str, torch.Tensor] = {}
    metrics: list[dict[str, float]] = []
    progress = Progress(settings.max_epochs, "epochs")
    for epoch in range(settings.max_epochs):
        order = train[torch.randperm(len(train), generator=generator).numpy()]
        train_mse = _train_epoch(decoder, optimiser, cells, order, settings.batch_cells)
        held_mse = float(_square_errors(decoder, cells, test, settings.batch_cells).sum() / size)
        metrics.append({"epoch": epoch, "train_mse": train_mse, "held_out_mse": held_mse, "constant_mse": float(constant_G.sum() / size)})
        progress.advance()
        if held_mse < best:
            best, best_epoch = held_mse, epoch
            best_state = {name: value.detach().cpu().clone() for name, value in decoder.state_dict().items()}
        elif epoch - max(best_epoch, 0) >= settings.patience:
            break
    if best_epoch < 0:
        raise InputError(f"basal: expected an error that falls, found {metrics[-1]['held_out_mse']}. Lower `basal: {{learning_rate: ...}}`.")
    decoder.to("cpu").load_state_dict(best_state)
    decoder.eval().requires_grad_(requires_grad=False)
    error_G = _square_errors(decoder, cells, test, settings.batch_cells)
    summary = {"num_cells": len(cells.well_N), "num_held_out": len(test), "best_epoch": best_epoch}
    return BasalFit(decoder=decoder, metrics=metrics, summary=summary | _explained(cells.x_NG[test], error_G, constant_G))


def _sums(x_NG: sp.csr_matrix) -> np.ndarray:
    """Sum each gene in float64; scipy sums float32 in float32, whatever type it is asked for."""
    return np.bincount(x_NG.indices, weights=x_NG.data, minlength=x_NG.shape[1])


def _explained(x_NG: sp.csr_matrix, error_G: np.ndarray, constant_G: np.ndarray) -> dict[str, Any]:
    """R2 on held-out cells: quartiles over the genes that vary there, and of all squared errors together; None where nothing varies."""
    square_G = _sums(x_NG.multiply(x_NG).tocsr())
    varies = constant_G > CONSTANT * np.maximum(square_G, np.finfo(np.float64).tiny)
    r2 = 1 - error_G[varies] / constant_G[varies]
    quartiles = [float(value) for value in np.quantile(r2, [0.25, 0.5, 0.75])] if len(r2) else []
    total = float(1 - error_G[varies].sum() / constant_G[varies].sum()) if len(r2) else None
    return {"r2_median": quartiles[1] if quartiles else None, "r2_quartiles": quartiles, "total_r2": total}


def write_basal(folder: str | Path, fit: BasalFit, gene_ids: list[str]) -> None:
    """Write `model.safetensors` (with the gene axis in its metadata, as JSON) and `metrics.jsonl`."""
    folder = Path(folder)
    tensors = {name: value.contiguous() for name, value in fit.decoder.state_dict().items()}
    write_tensors(folder / "model.safetensors", tensors, {"gene_ids": json.dumps(gene_ids)})
    write_text(folder / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in fit.metrics))


def read_decoder(path: str | Path) -> tuple[BasalDecoder, list[str]]:
    """Read a decoder and its gene axis."""
    from safetensors import safe_open

    with safe_open(str(path), framework="pt") as file:
        keys = list(file.keys())  # a safetensors handle is no mapping
        state: Mapping[str, torch.Tensor] = {name: file.get_tensor(name) for name in keys}
        gene_ids: list[str] = json.loads(file.metadata()["gene_ids"])
    num_hidden, num_dimensions = state["hidden.weight"].shape
    decoder = BasalDecoder(num_dimensions, num_hidden, len(gene_ids))
    decoder.load_state_dict(dict(state))
    decoder.eval().requires_grad_(requires_grad=False)
    return decoder, gene_ids


def baseline(store: CellStore, embedding: anndata.AnnData, decoder: BasalDecoder | None, panel: pd.DataFrame, *, block_cells: int) -> anndata.AnnData:
    """Average the baseline of each line of one plate over its control cells.

    Parameters
    ----------
    store
        Cells of the plate.
    embedding
        Their embedding; column `row` of its obs says which cell of the store a row is.
    decoder
        The frozen decoder (`matched_control`), or None for the plain mean (`control_mean`).
    panel
        `panel.parquet`, the gene axis of the decoder.
    block_cells
        Cells read at a time; changes the sums by rounding of float64 only.

    Returns
    -------
    anndata.AnnData
        X [L, G] float32: mean over control cells of f(z) (or of x), natural log units; layer `var`: variance of x over those cells (with n - 1)
        divided by their number, that is the squared standard error of their mean, 0 for a single cell; obs cell_line, plate, n_cells. Without rows
        where the plate has no controls.
    """
    import anndata

    gene_ids = pd.Index(panel["gene_id"])
    controls = embedding.obs[embedding.obs["is_control"].to_numpy()]
    lines, code_N = np.unique(controls["cell_line"].to_numpy(dtype=str), return_inverse=True)
    z_ND = np.asarray(embedding.X, dtype=np.float32)[embedding.obs["is_control"].to_numpy()]
    if decoder is not None:
        _finite(z_ND, controls)
    n_L1 = np.bincount(code_N, minlength=len(lines)).astype(np.float64)[:, None]
    sum_LG, square_LG, predicted_LG = (np.zeros((len(lines), len(gene_ids))) for _ in range(3))
    done = 0
    for part, x_BG in store.iter_sparse_expression(gene_ids, block_cells, controls["row"].to_numpy()):
        here = slice(done, done + len(part))
        indicator_LB = sp.csr_matrix((np.ones(len(part)), (code_N[here], np.arange(len(part)))), shape=(len(lines), len(part)))
        wide_BG = x_BG.astype(np.float64)
        sum_LG += (indicator_LB @ wide_BG).toarray()
        square_LG += (indicator_LB @ wide_BG.multiply(wide_BG)).toarray()
        if decoder is not None:
            with torch.no_grad():
                predicted_LG += indicator_LB @ decoder(torch.from_numpy(z_ND[here])).double().numpy()
        done += len(part)
    mean_LG = sum_LG / n_L1
    variance_LG = np.maximum(square_LG - n_L1 * mean_LG**2, 0) / np.maximum(n_L1 - 1, 1) / n_L1
    value_LG = mean_LG if decoder is None else predicted_LG / n_L1
    plate = str(store.obs["plate"].iloc[0]) if store.num_cells else ""
    obs = pd.DataFrame({"cell_line": lines, "plate": plate, "n_cells": n_L1.ravel().astype(np.int64)}, index=[f"{line}|{plate}" for line in lines])
    var = pd.DataFrame({"gene": panel["gene"].to_numpy(dtype=str)}, index=pd.Index(gene_ids.astype(str), name="gene_id"))
    return anndata.AnnData(value_LG.astype(np.float32), obs=obs, var=var, layers={"var": variance_LG.astype(np.float32)})
