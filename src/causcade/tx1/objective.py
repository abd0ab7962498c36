"""Training objective of TX1: some genes of a cell lose their value, and both heads have to tell its bin.

Two forms. `exact` masks a share of a cell's genes, whatever batch the cell is in, and weighs every masked gene of a step alike, however the step is
cut into micro-batches and processes. `compatible` does as the published training did: the special tokens are subtracted twice, so that the last genes
are never masked, and means of micro-batches are averaged.

Axes: B cells, L positions.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from causcade.errors import InputError
from causcade.tx1.batch import TokenBatch, Tx1Output
from causcade.tx1.seeds import Keys, hashed
from causcade.tx1.shape import CollatorSettings

__all__ = ["ErrorSums", "Mode", "loss_factor", "mask_positions", "scale_targets", "squared_errors", "squared_unit"]

Mode = Literal["exact", "compatible"]

_TAG_GENE, _TAG_SHARE = 1, 2  # what a hash is drawn for


class ErrorSums(NamedTuple):
    """Squared errors at masked positions, summed, of the two heads (0-d tensors, float32, with gradient)."""

    expression: Tensor
    product: Tensor


def mask_positions(batch: TokenBatch, settings: CollatorSettings, *, keys_B: Keys, seed: int, mode: Mode) -> Tensor:
    """Choose the positions whose value is hidden, bool [B, L].

    Parameters
    ----------
    batch
        Cells on the CPU, not masked.
    settings
        Of the collation; `mlm_probability` is the share. Of several shares `exact` draws one for each cell, `compatible` one for the batch.
    keys_B
        Identity of each cell, and of the epoch where its mask is to change; shape [B], uint64.
    seed
        Seed of the masks.
    mode
        `exact`: the whole part of share * n of a cell's n genes, by their ids: the same whatever batch the cell is in. `compatible`: n counts
        positions that do not hold `pad_value`, less `keep_first`, and the n positions from `keep_first` on can be drawn: markers are subtracted
        twice, so the last one or two genes of a cell are never masked, and a cell of two genes has no mask.
    """
    position_L = np.arange(batch.gene_BL.shape[1])
    if mode == "exact":
        first = 1 if batch.drug_B is None else 2  # after <cls> and <drug>
        can_BL = batch.is_real_BL.numpy() & (position_L >= first)
        name_BL = batch.gene_BL.numpy()
        share_B = _shares(settings, hashed(seed, keys_B, _TAG_SHARE))
    else:
        filled_B = (batch.value_BL.numpy() != settings.pad_value).sum(axis=1)
        stop_B1 = filled_B[:, None]  # keep_first + n
        can_BL = (position_L >= settings.keep_first) & (position_L < stop_B1)
        name_BL = np.broadcast_to(position_L, can_BL.shape)
        share_B = _shares(settings, np.broadcast_to(hashed(seed, keys_B[:1].sum(), _TAG_SHARE), keys_B.shape))
    num_B = (share_B * can_BL.sum(axis=1)).astype(np.int64)
    rank_BL = np.where(can_BL, hashed(seed, keys_B[:, None], _TAG_GENE, name_BL), np.uint64(np.iinfo(np.uint64).max))
    limit_B1 = np.take_along_axis(np.sort(rank_BL, axis=1), np.maximum(num_B - 1, 0)[:, None], axis=1)
    return torch.from_numpy(can_BL & (rank_BL <= limit_B1) & (num_B > 0)[:, None])


def _shares(settings: CollatorSettings, draw_B: Keys) -> NDArray[np.float64]:
    """Share of each cell [B]."""
    choices = np.atleast_1d(np.asarray(settings.mlm_probability, dtype=np.float64))
    return choices[(draw_B % np.uint64(len(choices))).astype(np.int64)]


def scale_targets(target_BL: Tensor, num_bins: int) -> Tensor:
    """Bins 1 to `num_bins` - 1 as numbers from -1 to 1, for models whose outputs are scaled (`standard_scale_outputs`)."""
    return 2 * (target_BL - 1) / (num_bins - 2) - 1


def squared_unit(num_bins: int) -> float:
    """Square of a unit of :func:`scale_targets` in bins, by which its squared errors become those of bins."""
    return ((num_bins - 2) / 2) ** 2


def squared_errors(output: Tx1Output, target_BL: Tensor, is_masked_BL: Tensor) -> ErrorSums:
    """Sum the squared errors of both heads over the masked positions, in float32; 0 where nothing is masked.

    Parameters
    ----------
    output
        Of the model, decoded.
    target_BL
        What the heads have to tell: bins, float32 [B, L]. Anything may stand where nothing is masked.
    is_masked_BL
        Positions that count, bool [B, L].

    Raises
    ------
    InputError
        If the decoder has more than one output per position.
    """
    expression_BL, product_BL = output.expression_BL, output.product_BL
    if expression_BL is None or product_BL is None:
        raise AssertionError("the model has to be asked for both heads (decode=True)")
    if expression_BL.ndim > target_BL.ndim:
        raise InputError(
            f"Expected one output of the decoder of expression, found {expression_BL.shape[-1]}. Set `n_outputs: 1` in the model's configuration."
        )
    zero = torch.zeros((), device=target_BL.device)
    # Not a product with the mask: 0 * inf at a pad would be NaN.
    expression, product = (torch.where(is_masked_BL, told_BL.float() - target_BL, zero).square().sum() for told_BL in (expression_BL, product_BL))
    return ErrorSums(expression, product)


def loss_factor(num_masked: int, *, total: int, num_micro: int, num_processes: int, mode: Mode) -> float:
    """Factor on the two summed errors of a micro-batch that makes them its part of the loss (MSE of expression + MSE of product) / 2.

    Gradients of micro-batches are added and those of processes averaged.

    Parameters
    ----------
    num_masked
        Masked positions of the micro-batch.
    total
        Masked positions of the whole step, over all micro-batches and processes.
    num_micro
        Micro-batches of the step in one process.
    num_processes
        Number of processes.
    mode
        `exact`: every masked position of the step weighs the same, so that the gradient is that of one large batch. `compatible`: each micro-batch
        has its own mean, and the means are averaged.
    """
    if mode == "exact":
        return num_processes / (2.0 * max(total, 1))
    return 1.0 / (2.0 * max(num_masked, 1) * num_micro)
