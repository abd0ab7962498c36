"""The basal decoder: x = f(z) on control cells, then frozen; and the baseline of each line and plate.

f is a linear map plus one hidden layer, trained by squared error with early stopping on held-out control wells. The baseline of a treated condition is the mean of f(z) over the control cells of its line and
plate (`matched_control`); `control_mean` is the plain mean of x and needs no model.

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
from causcade.files import replacing, write_text
from causcade.runtime import Progress

if TYPE_CHECKING:
    import anndata

__all__ = ["BasalDecoder", "BasalFit", "ControlCells", "baseline", "collect_controls", "fit_basal", "read_decoder", "write_basal"]

logger = logging.getLogger(__name__)

WEIGHT_DECAY = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlCells:
    """Control cells for training: embedding [N, D], expression CSR [N, G] float32, well of each cell [N]."""

    z_ND: np.ndarray
    x_NG: sp.csr_matrix
    well_N: np.ndarray


class BasalDecoder(nn.Module):
    """f(z) = mean + A z + B gelu(C z), with z standardised by fixed constants."""

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


def collect_controls(plates: list[tuple[CellStore, anndata.AnnData]], gene_ids: pd.Index, *, max_cells: int, seed: int, block_cells: int) -> ControlCells:
    """Gather control cells of all plates, at most `max_cells` (a seeded sample beyond).

    Raises
    ------
    InputError
        If there is no control cell.
    """
    control = [np.flatnonzero(embedding.obs["is_control"].to_numpy()) for _, embedding in plates]
    total = sum(map(len, control))
    if total == 0:
        raise InputError("basal: expected control cells, found none on any plate. Check `perturbation.control` (or control_where) in the configuration.")
    rng = np.random.default_rng(seed)
    share = min(1.0, max_cells / total)
    z_parts, x_parts, wells = [], [], []
    for (store, embedding), positions in zip(plates, control, strict=True):
        chosen = positions if share == 1.0 else np.sort(rng.choice(positions, int(share * len(positions)), replace=False))
        rows = embedding.obs["row"].to_numpy()[chosen]
        z_parts.append(np.asarray(embedding.X)[chosen])
        x_parts.extend(block for _, block in store.iter_sparse_expression(gene_ids, block_cells, rows))
        wells.append(embedding.obs["well"].to_numpy(dtype=str)[chosen])
    return ControlCells(z_ND=np.concatenate(z_parts), x_NG=sp.vstack(x_parts, format="csr"), well_N=np.concatenate(wells))


@dataclass(frozen=True, slots=True, kw_only=True)
class BasalFit:
    """A fitted decoder, its metrics per epoch, and its summary."""

    decoder: BasalDecoder
    metrics: list[dict[str, float]]
    summary: dict[str, Any]


def _held_out(well_N: np.ndarray, seed: int) -> np.ndarray:
    """Cells of about a fifth of the control wells (at least one); with a single well, a fifth of its cells."""
    wells = np.unique(well_N)
    rng = np.random.default_rng(seed)
    if len(wells) == 1:
        logger.warning("there is one control well only: early stopping holds out cells of it, not a well")
        return rng.random(len(well_N)) < 0.2
    return np.isin(well_N, rng.permutation(wells)[: max(1, len(wells) // 5)])


def _errors(decoder: BasalDecoder, cells: ControlCells, rows: np.ndarray, batch: int, device: str) -> np.ndarray:
    """Sum of squared errors per gene [G], float64."""
    total = np.zeros(cells.x_NG.shape[1])
    with torch.no_grad():
        for start in range(0, len(rows), batch):
            part = rows[start : start + batch]
            x = torch.from_numpy(cells.x_NG[part].toarray()).to(device)
            z = torch.from_numpy(cells.z_ND[part]).to(device)
            total += (decoder(z) - x).square().sum(dim=0, dtype=torch.float64).cpu().numpy()
    return total


def fit_basal(cells: ControlCells, settings: BasalConfig, *, seed: int, backend: Backend = "auto") -> BasalFit:
    """Fit the decoder; the epoch with the least held-out error is kept.

    Returns
    -------
    BasalFit
        Metrics per epoch: epoch, train_mse, held_out_mse, constant_mse (error of predicting the training mean on the same held-out cells). Summary: num_cells, num_held_out, best_epoch,
        r2_median, r2_quartiles (per gene on held-out cells, over genes that vary there), total_r2.
    """
    device = torch_device(backend)
    generator = torch.Generator().manual_seed(seed)
    held = _held_out(cells.well_N, seed)
    train, test = np.flatnonzero(~held), np.flatnonzero(held)
    if len(train) == 0 or len(test) == 0:
        train = test = np.arange(len(held))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        decoder = BasalDecoder(cells.z_ND.shape[1], settings.hidden, cells.x_NG.shape[1])
    mean_G = np.asarray(cells.x_NG[train].mean(axis=0), dtype=np.float32).ravel()
    with torch.no_grad():
        z_train = torch.from_numpy(cells.z_ND[train])
        decoder.z_mean.copy_(z_train.mean(dim=0))
        decoder.z_sd.copy_(z_train.std(dim=0, correction=0).clamp_min(1e-6))
        decoder.linear.bias.copy_(torch.from_numpy(mean_G))
    decoder.to(device)
    x_test = cells.x_NG[test]
    square_G = np.asarray(x_test.multiply(x_test).sum(axis=0), dtype=np.float64).ravel()
    sum_G = np.asarray(x_test.sum(axis=0, dtype=np.float64)).ravel()
    constant = square_G - 2 * mean_G * sum_G + len(test) * mean_G.astype(np.float64) ** 2
    optimiser = torch.optim.AdamW(decoder.parameters(), lr=settings.learning_rate, weight_decay=WEIGHT_DECAY)
    size = float(len(test) * cells.x_NG.shape[1])
    best, best_epoch, metrics = float("inf"), -1, []
    best_state: dict[str, torch.Tensor] = {}
    progress = Progress(settings.max_epochs, "epochs")
    for epoch in range(settings.max_epochs):
        order = train[torch.randperm(len(train), generator=generator).numpy()]
        train_sum = 0.0
        for start in range(0, len(order), settings.batch_cells):
            part = order[start : start + settings.batch_cells]
            x_BG = torch.from_numpy(cells.x_NG[part].toarray()).to(device)
            loss = (decoder(torch.from_numpy(cells.z_ND[part]).to(device)) - x_BG).square().mean()
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            train_sum += float(loss.detach()) * len(part)
        held_mse = float(_errors(decoder, cells, test, settings.batch_cells, device).sum() / size)
        metrics.append({"epoch": epoch, "train_mse": train_sum / len(train), "held_out_mse": held_mse, "constant_mse": float(constant.sum() / size)})
        progress.advance()
        if held_mse < best:
            best, best_epoch = held_mse, epoch
            best_state = {name: value.detach().cpu().clone() for name, value in decoder.state_dict().items()}
        elif epoch - best_epoch >= settings.patience:
            break
    decoder.to("cpu").load_state_dict(best_state)
    decoder.eval().requires_grad_(requires_grad=False)
    error_G = _errors(decoder, cells, test, settings.batch_cells, "cpu")
    varies = constant > 1e-9 * np.maximum(square_G, 1e-30)
    r2 = 1 - error_G[varies] / constant[varies]
    quartiles = [float(value) for value in np.quantile(r2, [0.25, 0.5, 0.75])] if len(r2) else []
    summary = {
        "num_cells": len(held),
        "num_held_out": len(test),
        "best_epoch": best_epoch,
        "r2_median": quartiles[1] if quartiles else None,
        "r2_quartiles": quartiles,
        "total_r2": float(1 - error_G.sum() / constant.sum()) if constant.sum() > 0 else None,
    }
    return BasalFit(decoder=decoder, metrics=metrics, summary=summary)


def write_basal(folder: str | Path, fit: BasalFit, gene_ids: list[str]) -> None:
    """Write `model.safetensors` (with the gene axis in its metadata) and `metrics.jsonl`."""
    from safetensors.torch import save_file

    folder = Path(folder)
    with replacing(folder / "model.safetensors") as temporary:
        save_file({name: value.contiguous() for name, value in fit.decoder.state_dict().items()}, temporary, metadata={"gene_ids": ",".join(gene_ids)})
    write_text(folder / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in fit.metrics))


def read_decoder(path: str | Path) -> tuple[BasalDecoder, list[str]]:
    """Read a decoder and its gene axis."""
    from safetensors import safe_open

    with safe_open(str(path), framework="pt") as file:
        state: Mapping[str, torch.Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (a safetensors handle is no mapping)
        gene_ids = file.metadata()["gene_ids"].split(",")
    num_hidden, num_dimensions = state["hidden.weight"].shape
    decoder = BasalDecoder(num_dimensions, num_hidden, len(gene_ids))
    decoder.load_state_dict(dict(state))
    decoder.eval().requires_grad_(requires_grad=False)
    return decoder, gene_ids


def baseline(store: CellStore, embedding: anndata.AnnData, decoder: BasalDecoder | None, panel: pd.DataFrame, *, block_cells: int) -> anndata.AnnData:
    """Baseline of each line of one plate, from its control cells.

    Parameters
    ----------
    decoder
        The frozen decoder (`matched_control`), or None for the plain mean (`control_mean`).

    Returns
    -------
    anndata.AnnData
        X [L, G] float32: mean over control cells of f(z) (or of x); layer `var`: variance of x over those cells divided by their number, that is the squared standard error of their mean; obs cell_line, plate,
        n_cells. Without rows where the plate has no controls.
    """
    import anndata

    gene_ids = pd.Index(panel["gene_id"])
    positions = np.flatnonzero(embedding.obs["is_control"].to_numpy())
    rows = embedding.obs["row"].to_numpy()[positions]
    lines, codes = np.unique(embedding.obs["cell_line"].to_numpy(dtype=str)[positions], return_inverse=True)
    z_ND = np.asarray(embedding.X)[positions]
    num, num_genes = len(lines), len(gene_ids)
    sums, squares, predicted = (np.zeros((num, num_genes)) for _ in range(3))
    done = 0
    for part, x_BG in store.iter_sparse_expression(gene_ids, block_cells, rows):
        here = slice(done, done + len(part))
        indicator = sp.csr_matrix((np.ones(len(part)), (codes[here], np.arange(len(part)))), shape=(num, len(part)))
        wide = x_BG.astype(np.float64)
        sums += (indicator @ wide).toarray()
        squares += (indicator @ wide.multiply(wide)).toarray()
        if decoder is not None:
            with torch.no_grad():
                predicted += indicator @ decoder(torch.from_numpy(z_ND[here])).double().numpy()
        done += len(part)
    n_L1 = np.bincount(codes, minlength=num).astype(np.float64)[:, None]
    mean = sums / np.maximum(n_L1, 1)
    variance = np.maximum(squares - n_L1 * mean**2, 0) / np.maximum(n_L1 - 1, 1) / np.maximum(n_L1, 1)
    value = mean if decoder is None else predicted / np.maximum(n_L1, 1)
    plate = str(store.obs["plate"].iloc[0]) if store.num_cells else ""
    obs = pd.DataFrame({"cell_line": lines, "plate": plate, "n_cells": n_L1.ravel().astype(np.int64)}, index=[f"{line}|{plate}" for line in lines])
    var = pd.DataFrame({"gene": panel["gene"].to_numpy(dtype=str)}, index=pd.Index(gene_ids.astype(str), name="gene_id"))
    return anndata.AnnData(value.astype(np.float32), obs=obs, var=var, layers={"var": variance.astype(np.float32)})
