"""Judging a model on held-out wells: masked errors of both heads, beside those of the baselines on the same entries.

Axes: N cells, V tokens of the vocabulary, M micro-batches, W held-out wells, E masked entries, R draws of wells.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch

from causcade.tx1.baselines import bins_of, fit_low_rank, mean_bins
from causcade.tx1.model import Tx1
from causcade.tx1.objective import scale_targets, squared_errors, squared_unit
from causcade.tx1.parallel import Group
from causcade.tx1.seeds import generator_for, hashed
from causcade.tx1.shape import CollatorSettings
from causcade.tx1.sources import Cells, Source, join_cells
from causcade.tx1.stream import Collation, Micro, TrainingStream, cut_batch, empty_micro
from causcade.tx1.trainer import Precision, precision_context

__all__ = ["Validation", "baseline_errors", "sample_cells", "whole_bins"]

EPOCH = 0  # masks of held-out cells never change
NO_LIMIT = 1 << 30
CHUNK_CELLS = 512
DRAWS = 2000


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
        Held-out cells [B], the same in all processes.
    collation
        As in training.
    group
        The processes; they share the cells.
    wells
        Well of each cell [B], within which errors are summed by :meth:`by_well`; None: all cells are of one.
    precision
        What the model computes in.
    """

    def __init__(self, cells: Cells, collation: Collation, group: Group, *, wells: np.ndarray | None = None, precision: Precision = "auto") -> None:
        self._group, self._precision, self._num_bins = group, precision, collation.settings.num_bins
        names = np.zeros(len(cells.key_B), dtype=np.int64) if wells is None else wells
        self.num_wells = 0
        self.micros: list[Micro] = []
        well_of_micro: list[int] = []
        for name in np.unique(names):  # no micro-batch holds cells of two wells
            at = np.flatnonzero(names == name)
            part = Cells(cells.counts[at], cells.key_B[at], None if cells.drug_B is None else cells.drug_B[at])
            micros = cut_batch(part, hashed(part.key_B, EPOCH), collation)
            self.micros += micros
            well_of_micro += [self.num_wells] * len(micros)
            self.num_wells += bool(micros)
        self._well_M = np.array(well_of_micro, dtype=np.int64)
        self._masked_M = np.array([micro.num_masked for micro in self.micros], dtype=np.int64)

    def __call__(self, model: Tx1) -> dict[str, float]:
        """Masked mean squared errors, in bins squared, of the two heads; all processes call it."""
        model.eval()
        with torch.no_grad():
            sums = sum((self._errors(model, micro) for micro in self._own(model)), torch.zeros(2, dtype=torch.float64, device=self._group.device))
        expression, product = self._group.sums(*sums.tolist())
        total = max(int(self._masked_M.sum()), 1)
        return {"held_out_expression_mse": expression / total, "held_out_product_mse": product / total}

    def by_well(self, model: Tx1) -> np.ndarray:
        """Sum the squared errors of the head of expression over each well, bins squared [W]; this process computes all of them."""
        model.eval()
        with torch.no_grad():
            return self.sums_by_well(np.array([float(self._errors(model, micro)[0]) for micro in self.micros]))

    def sums_by_well(self, sum_M: np.ndarray) -> np.ndarray:
        """Add sums over the micro-batches [M] up by well [W]."""
        return np.bincount(self._well_M, weights=sum_M, minlength=self.num_wells)

    def entries_by_well(self, error_E: np.ndarray) -> np.ndarray:
        """Add errors of the masked entries [E], in the order of the micro-batches, up by well [W]."""
        return np.bincount(np.repeat(self._well_M, self._masked_M), weights=error_E, minlength=self.num_wells)

    @property
    def masked_W(self) -> np.ndarray:
        """Masked entries of each well."""
        return self.sums_by_well(self._masked_M.astype(np.float64))

    def _errors(self, model: Tx1, micro: Micro) -> torch.Tensor:
        """Sum the squared errors of the two heads, in bins squared, float64 [2]."""
        batch, target_BL = micro.batch.to(self._group.device), micro.target_BL.to(self._group.device)
        is_scaled = model.shape.standard_scale_outputs
        with precision_context(self._precision, self._group.device):
            output = model(batch, decode=True)
        errors = squared_errors(output, scale_targets(target_BL, self._num_bins) if is_scaled else target_BL, _mask(batch.is_masked_BL))
        return torch.stack([errors.expression, errors.product]).double() * (squared_unit(self._num_bins) if is_scaled else 1.0)

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
    validation: Validation, model: Tx1, training: Cells, collation: Collation, *, num_tokens: int, seed: int, device: torch.device
) -> dict[str, Any]:
    """Errors of predicting each gene's mean bin, and of a low-rank model of as many dimensions, at the masked entries that the model is judged on.

    Parameters
    ----------
    validation
        Held-out cells.
    model
        The trained model.
    training
        Training cells to fit the baselines to, not masked.
    collation
        As in training.
    num_tokens
        Size of the vocabulary.
    seed
        Of the low-rank model's first loadings, and of the intervals.
    device
        Where to compute.

    Returns
    -------
    dict
        `gene_mean_mse`, `low_rank_mse` (bins squared), `low_rank_dimensions` (the width of the model, or fewer), `num_held_out_wells`; and
        `over_gene_mean`, `over_low_rank`: error of the model's head of expression less that of the baseline (`difference`), with a 95 % interval
        (`low`, `high`) from draws of whole wells. Empty where nothing is masked.
    """
    held = bins_of(validation.micros, num_tokens, num_special=_num_special(collation))
    seen = whole_bins(training, collation, num_tokens)
    if not held.masked.nnz or not seen.nnz:
        return {}
    target = held.masked.data.astype(np.float64)
    low_rank = fit_low_rank(seen, model.shape.d_model, seed=seed, device=device)
    told = {"gene_mean": mean_bins(seen)[held.masked.indices], "low_rank": low_rank.predict(held)}
    sum_W, num_W = validation.by_well(model), validation.masked_W
    found: dict[str, Any] = {"low_rank_dimensions": low_rank.loading_VD.shape[1], "num_held_out_wells": validation.num_wells}
    for name, value_E in told.items():
        other_W = validation.entries_by_well(np.square(value_E - target))
        found[f"{name}_mse"] = float(other_W.sum() / num_W.sum())
        found[f"over_{name}"] = _difference(sum_W - other_W, num_W, seed=seed)
    return found


def _difference(sum_W: np.ndarray, num_W: np.ndarray, *, seed: int) -> dict[str, float]:
    """Mean over entries of what is summed by wells, with a 95 % interval from draws of as many wells with replacement."""
    random = generator_for("wells", seed, len(sum_W))
    count_RW = random.multinomial(len(sum_W), np.full(len(sum_W), 1 / len(sum_W)), size=DRAWS)
    low, high = np.percentile((count_RW @ sum_W) / (count_RW @ num_W), (2.5, 97.5))
    return {"difference": float(sum_W.sum() / num_W.sum()), "low": float(low), "high": float(high)}
