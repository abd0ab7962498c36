"""Judging a model on held-out wells: masked errors of both heads, beside those of the baselines on the same entries.

Axes: N cells, V tokens of the vocabulary.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp
import torch

from causcade.tx1.baselines import bins_of, fit_low_rank, mean_bins
from causcade.tx1.model import Tx1
from causcade.tx1.objective import scale_targets, squared_errors, squared_unit
from causcade.tx1.parallel import Group
from causcade.tx1.seeds import hashed
from causcade.tx1.shape import CollatorSettings
from causcade.tx1.sources import Cells, Source, join_cells
from causcade.tx1.stream import Collation, Micro, TrainingStream, cut_batch, empty_micro
from causcade.tx1.trainer import Precision, precision_context

__all__ = ["Validation", "baseline_errors", "sample_cells", "whole_bins"]

EPOCH = 0  # masks of held-out cells never change
NO_LIMIT = 1 << 30
CHUNK_CELLS = 512


def sample_cells(sources: Sequence[Source], num_cells: int, *, seed: int) -> Cells | None:
    """Draw about `num_cells` cells, from blocks all over the sources; all of them where there are no more, None where there are none."""
    total = sum(source.num_cells for source in sources)
    if total == 0:
        return None
    if total <= num_cells:
        return join_cells([source.read(0, source.num_cells) for source in sources if source.num_cells])
    stream = TrainingStream(sources, Collation(settings=CollatorSettings()), batch_cells=num_cells, seed=seed)
    return next(stream.cells(0, 1))


class Validation:
    """Held-out cells with a fixed mask.

    Parameters
    ----------
    cells
        Held-out cells, the same in all processes.
    collation
        As in training.
    group
        The processes; they share the cells.
    precision
        What the model computes in.
    """

    def __init__(self, cells: Cells, collation: Collation, group: Group, *, precision: Precision = "auto") -> None:
        self._group, self._precision, self._num_bins = group, precision, collation.settings.num_bins
        self.micros = cut_batch(cells, hashed(cells.key_B, EPOCH), collation)

    def __call__(self, model: Tx1) -> dict[str, float]:
        """Masked mean squared errors, in bins squared, of the two heads; all processes call it."""
        group = self._group
        model.eval()
        sums = torch.zeros(2, dtype=torch.float64, device=group.device)
        num = 0
        with torch.no_grad():
            for micro in self._own(model):
                batch, target_BL = micro.batch.to(group.device), micro.target_BL.to(group.device)
                if model.shape.standard_scale_outputs:
                    target_BL = scale_targets(target_BL, self._num_bins)
                with precision_context(self._precision, group.device):
                    output = model(batch, decode=True)
                errors = squared_errors(output, target_BL, _mask(batch.is_masked_BL))
                sums += torch.stack([errors.expression, errors.product])
                num += micro.num_masked
        expression, product, total = group.sums(*sums.tolist(), num)
        scale = squared_unit(self._num_bins) if model.shape.standard_scale_outputs else 1.0
        return {
            "held_out_expression_mse": expression * scale / max(total, 1), "held_out_product_mse": product * scale / max(total, 1)
        }  # fmt: skip

    def _own(self, model: Tx1) -> list[Micro]:
        """Micro-batches of this process; all have as many, since where they share the parameters each pass gathers them."""
        own = self.micros[self._group.rank :: self._group.size]
        return own if len(own) == -(-len(self.micros) // self._group.size) else [*own, empty_micro(has_drugs=model.shape.drugs is not None)]


def _mask(is_masked_BL: torch.Tensor | None) -> torch.Tensor:
    if is_masked_BL is None:
        raise AssertionError("a micro-batch always has a mask")
    return is_masked_BL


def _num_special(collation: Collation) -> int:
    return 1 if collation.drug_id is None or not collation.settings.use_drug_token else 2


def whole_bins(cells: Cells, collation: Collation, num_tokens: int) -> sp.csr_matrix:
    """Bins of all genes of some cells, without mask and whatever `max_length` says, float32 [N, V]; 0 where a gene is not expressed."""
    settings = dataclasses.replace(collation.settings, mlm_probability=0.0, max_length=NO_LIMIT)
    whole = dataclasses.replace(collation, settings=settings, mode="exact")
    parts = []
    for start in range(0, len(cells.key_B), CHUNK_CELLS):
        chosen = slice(start, start + CHUNK_CELLS)
        part = Cells(cells.counts[chosen], cells.key_B[chosen], None if cells.drug_B is None else cells.drug_B[chosen])
        parts.append(bins_of(cut_batch(part, part.key_B, whole), num_tokens, num_special=_num_special(collation)).visible)
    return sp.vstack(parts, format="csr")


def baseline_errors(
    validation: Validation, training: Cells, collation: Collation, *, num_dimensions: int, num_tokens: int, seed: int, device: torch.device
) -> dict[str, float]:
    """Errors of predicting each gene's mean bin, and of a low-rank model of as many dimensions, at the same masked entries (bins squared).

    Parameters
    ----------
    validation
        Held-out cells.
    training
        Training cells to fit the baselines to, not masked.
    collation
        As in training.
    num_dimensions
        Dimensions of the low-rank model: the width of the TX1 model (it may get fewer: `low_rank_dimensions`).
    num_tokens
        Size of the vocabulary.
    seed
        Of the low-rank model's first loadings.
    device
        Where to compute.
    """
    held = bins_of(validation.micros, num_tokens, num_special=_num_special(collation))
    seen = whole_bins(training, collation, num_tokens)
    if not held.masked.nnz or not seen.nnz:
        return {}
    target = held.masked.data.astype(np.float64)
    low_rank = fit_low_rank(seen, num_dimensions, seed=seed, device=device)
    return {
        "gene_mean_mse": float(np.square(mean_bins(seen)[held.masked.indices] - target).mean()),
        "low_rank_mse": float(np.square(low_rank.predict(held) - target).mean()),
        "low_rank_dimensions": low_rank.loading_VD.shape[1],
    }
