"""Embedding of cells: counts in, one vector for each cell out.

The model computes on real tokens only, so that no result depends on pads or on the other cells of a batch. Cells go through it longest first, as many
at a time as a number of tokens allows; results come back in the order of the input. Where memory runs out, the batch is halved, as are those after
it. `compatible` mode keeps the order and the batches of the published tool, on which its results depend.

The embedding of a cell is the final hidden state of ``<cls>``, scaled to length 1 as published; that of a gene is the mean of its final hidden states
over the cells that express it, not scaled. A cell without any gene of the vocabulary has an embedding of zeros, and is told.

Axes: N cells, B cells of a block or batch, F columns of the counts, L positions, T of all cells, G genes of the vocabulary that the input has,
D dimensions.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch

from causcade.errors import InputError
from causcade.runtime import Progress
from causcade.tx1.batch import TokenBatch, Tx1Output
from causcade.tx1.embedded import CellBlock, Embedded, EmbedSettings, canonical, check_coverage, drug_rows
from causcade.tx1.memory import is_out_of_memory, part_of
from causcade.tx1.tokens import collate, num_expressed, sum_repeated

if TYPE_CHECKING:
    from causcade.tx1.checkpoint import Checkpoint

__all__ = ["CellEmbedder", "embed_blocks", "embed_counts", "finish"]

logger = logging.getLogger(__name__)

# Measured with benchmarks/embedding.py: from here on, larger batches are no faster.
BATCH_TOKENS = {"cuda": 131_072, "cpu": 4_096}
EARLY_CELLS = 256


class _Batch(NamedTuple):
    """Tokens of some cells, and their rows in the block."""

    rows: np.ndarray
    tokens: TokenBatch


class CellEmbedder:
    """A model that is ready to embed cells with one list of genes; it sums up what :class:`Embedded` tells of all cells.

    Parameters
    ----------
    checkpoint
        The model, on the device to compute on.
    gene_ids
        Ids of the columns of the counts [F].
    settings
        How.
    """

    def __init__(self, checkpoint: Checkpoint, gene_ids: Sequence[str] | pd.Index, settings: EmbedSettings) -> None:
        self.settings = settings
        self.num_dimensions = checkpoint.shape.d_model
        vocabulary = checkpoint.vocabulary
        self.token_F = vocabulary.columns(gene_ids)
        num_repeated = pd.Series(self.token_F[self.token_F >= 0]).duplicated().sum()
        if num_repeated:
            what = "their counts are summed" if settings.mode == "exact" else "each is a token of its own"
            logger.info("%d columns are of genes that other columns hold too (versions are ignored): %s", num_repeated, what)
        self.covered_sum = self.total_sum = 0.0
        self._gene_ids = np.asarray(gene_ids, dtype=object)
        self._model = checkpoint.model.eval()
        self._device = next(checkpoint.model.parameters()).device
        self._budget = settings.batch_tokens or BATCH_TOKENS.get(self._device.type, BATCH_TOKENS["cpu"])
        self._half = settings.precision == "bfloat16" or (settings.precision == "auto" and self._device.type == "cuda")
        has_drugs = checkpoint.shape.drugs is not None
        self._collator = replace(checkpoint.collator, max_length=settings.max_length, use_drug_token=has_drugs)
        self._cls_id, self._drug_id = vocabulary.cls, vocabulary.drug
        # Genes are summed in places 0 to G - 1, everything else in place G.
        is_present = np.isin(vocabulary.gene_tokens, self.token_F)
        self.gene_ids = vocabulary.gene_ids[is_present].to_numpy(dtype=object)
        self._place_V = np.full(max(vocabulary.size, checkpoint.shape.vocab_size), len(self.gene_ids), dtype=np.int64)
        self._place_V[vocabulary.gene_tokens[is_present]] = np.arange(len(self.gene_ids))
        self.gene_cells_G = np.zeros(len(self.gene_ids), dtype=np.int64)
        self._place_on_device = torch.from_numpy(self._place_V).to(self._device)
        self._sum_GD = torch.zeros((len(self.gene_ids) + 1 if settings.gene_embeddings else 0, self.num_dimensions), dtype=torch.float64).to(
            self._device
        )
        if settings.compile:
            checkpoint.model.compile_layers()

    def reset(self) -> None:
        """Set all sums to 0."""
        self.covered_sum = self.total_sum = 0.0
        self.gene_cells_G = np.zeros_like(self.gene_cells_G)
        self._sum_GD.zero_()

    @property
    def covered(self) -> float:
        """Share of the counts so far in genes of the vocabulary."""
        return self.covered_sum / self.total_sum if self.total_sum > 0 else 1.0

    @property
    def gene_sum_GD(self) -> np.ndarray:
        """Sum of each gene's final hidden states so far, float64."""
        return self._sum_GD[:-1].cpu().numpy()

    def measure(self, counts_BF: sp.csr_matrix, where: str = "the counts") -> None:
        """Add to the sums of counts.

        Raises
        ------
        InputError
            If a count is negative or not finite.
        """
        values_E = counts_BF.data
        total = float(values_E.sum(dtype=np.float64))
        if not np.isfinite(total) or (values_E.size and values_E.min() < 0):
            entry = int(np.flatnonzero(~(np.isfinite(values_E) & (values_E >= 0)))[0])
            raise InputError(
                f"{where}: expected counts from 0, found {values_E[entry]} in gene {self._gene_ids[counts_BF.indices[entry]]!r}. "
                "Give raw counts (not scaled ones), for example by `layer`."
            )
        self.total_sum += total
        self.covered_sum += float(values_E[self.token_F[counts_BF.indices] >= 0].sum(dtype=np.float64))

    def embed(self, block: CellBlock, where: str = "the counts") -> np.ndarray:
        """Embed a block of cells, float32 [B, D]; zeros for cells without any gene of the vocabulary.

        Raises
        ------
        InputError
            If an embedding is not finite, or memory does not even hold one cell.
        """
        counts_BF, token_F = block.counts_BF, self.token_F
        if self.settings.mode == "exact":
            counts_BF, token_F = sum_repeated(counts_BF, token_F)
        z_BD = np.zeros((counts_BF.shape[0], self.num_dimensions), dtype=np.float32)
        rows, parts = [], []
        with torch.inference_mode():
            for batch in self._batches(counts_BF, token_F, block):
                if len(batch.rows):
                    rows.append(batch.rows)
                    parts.append(self._run(batch.tokens))
            if parts:
                z_BD[np.concatenate(rows)] = torch.cat(parts).cpu().numpy()
        bad = np.flatnonzero(~np.isfinite(z_BD).all(axis=1))
        if len(bad):
            raise InputError(
                f"{where}: expected a finite embedding for each cell, found {len(bad)} of {len(z_BD)} cells with NaN or infinity. "
                "Write `precision: float32`; if that is not enough, the model's weights are damaged."
            )
        return z_BD

    def _batches(self, counts_BF: sp.csr_matrix, token_F: np.ndarray, block: CellBlock) -> Iterator[_Batch]:
        """Make one batch after another; the next one is made while the model is at work."""

        def make(chosen: np.ndarray) -> _Batch:
            found = collate(
                counts_BF[chosen], token_F, self._collator, mode=self.settings.mode, drug_B=None if block.drug_B is None else block.drug_B[chosen],
                keys_B=block.key_B[chosen], seed=self.settings.seed, cls_id=self._cls_id, drug_id=self._drug_id,
            )  # fmt: skip
            is_pinned = self._device.type == "cuda" and len(found.rows) > 0
            return _Batch(chosen[found.rows], found.batch.pin_memory() if is_pinned else found.batch)

        with ThreadPoolExecutor(1) as pool:
            waiting: Future[_Batch] | None = None
            for chosen in self._plan(counts_BF, token_F):
                ready, waiting = waiting, pool.submit(make, chosen)
                if ready is not None:
                    yield ready.result()
            if waiting is not None:
                yield waiting.result()

    def _plan(self, counts_BF: sp.csr_matrix, token_F: np.ndarray) -> Iterator[np.ndarray]:
        """Rows of each batch: consecutive ones in compatible mode, else the longest cells first, as many as the budget of tokens allows."""
        num_cells = counts_BF.shape[0]
        if self.settings.mode == "compatible":
            yield from (
                np.arange(start, min(start + self.settings.batch_cells, num_cells)) for start in range(0, num_cells, self.settings.batch_cells)
            )
            return
        num_special = 1 + self._collator.use_drug_token
        num_B = num_expressed(counts_BF, token_F)
        length_B = np.minimum(num_B + num_special, self._collator.max_length)
        order = np.argsort(-length_B, kind="stable")[: int((num_B > 0).sum())]
        start = 0
        while start < len(order):
            stop = start + max(1, self._budget // int(length_B[order[start]]))
            yield order[start:stop]
            start = stop

    def _run(self, batch: TokenBatch) -> torch.Tensor:
        """Embed a batch [B, D], in halves where memory runs out."""
        try:
            return self._forward(batch)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        # out of the handler, so that the tensors of the failed attempt are free
        num_cells, length = batch.gene_BL.shape
        if num_cells == 1:
            raise InputError(
                f"Embedding: expected memory for one cell of {length:,} tokens on {self._device}, found too little. Lower `max_length`, or take a "
                "smaller model."
            )
        self._budget = max(1, min(self._budget, num_cells * length // 2))
        logger.warning("out of memory with %d cells of up to %d tokens: going on with half as many (%d tokens)", num_cells, length, self._budget)
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        middle = num_cells // 2
        return torch.cat([self._run(part_of(batch, slice(0, middle))), self._run(part_of(batch, slice(middle, None)))])

    def _forward(self, batch: TokenBatch) -> torch.Tensor:
        """Run the model on a batch [B, D], and add to the sums of genes."""
        precision = torch.autocast(self._device.type, dtype=torch.bfloat16) if self._half else contextlib.nullcontext()
        moved = batch.to(self._device)
        with precision:
            found: Tx1Output = self._model(moved, only_cells=not self.settings.gene_embeddings, pooling=self.settings.pooling)
        z_BD = found.cell_BD.float()
        if self.settings.normalise:
            z_BD = z_BD / torch.linalg.vector_norm(z_BD, dim=1, keepdim=True)
        if found.hidden_BLD is not None:
            hidden_TD = found.hidden_BLD.flatten(0, 1).double()
            # pads are 0, and their token has the last place, as all that are no genes
            self._sum_GD.index_add_(0, self._place_on_device[moved.gene_BL.flatten()], hidden_TD)
            self.gene_cells_G += np.bincount(self._place_V[batch.gene_BL.numpy().ravel()], minlength=len(self.gene_ids) + 1)[:-1]
        return z_BD


def embed_blocks(
    checkpoint: Checkpoint,
    blocks: Iterable[CellBlock],
    gene_ids: Sequence[str] | pd.Index,
    *,
    settings: EmbedSettings,
    num_cells: int | None = None,
    where: str = "the counts",
) -> Embedded:
    """Embed cells that come block by block; nothing but their embeddings is kept.

    Parameters
    ----------
    checkpoint
        The model (:func:`causcade.tx1.read_checkpoint`).
    blocks
        Canonical CSR counts; in compatible mode of whole batches, but for the last one.
    gene_ids
        Ids of their columns [F].
    settings
        How.
    num_cells
        Number of cells, for the lines on progress.
    where
        What holds the cells, for messages.

    Raises
    ------
    InputError
        If too few counts are in genes of the vocabulary (of some hundred cells, or of all), or as :class:`CellEmbedder` says.
    """
    embedder = CellEmbedder(checkpoint, gene_ids, settings)
    progress = Progress(num_cells, "cells") if num_cells else None
    parts = [np.zeros((0, embedder.num_dimensions), dtype=np.float32)]
    num_seen, is_checked = 0, False
    for block in blocks:
        embedder.measure(block.counts_BF, where)
        num_seen += block.counts_BF.shape[0]
        if num_seen >= EARLY_CELLS and not is_checked:  # before anything takes long
            check_coverage(embedder.covered, gene_ids, checkpoint, settings, where)
            is_checked = True
        parts.append(embedder.embed(block, where))
        if progress is not None:
            progress.advance(len(parts[-1]))
    check_coverage(embedder.covered, gene_ids, checkpoint, settings, where)
    return finish(np.concatenate(parts), embedder, gene_sum_GD=embedder.gene_sum_GD, where=where)


def finish(z_ND: np.ndarray, embedder: CellEmbedder, *, gene_sum_GD: np.ndarray, where: str) -> Embedded:
    """Put results together, and tell which cells are empty."""
    empty = np.flatnonzero(~z_ND.any(axis=1))
    if len(empty):
        logger.warning("%s: %d of %d cells have no gene of the model's vocabulary; their embeddings are zeros", where, len(empty), len(z_ND))
    logger.info("%s: %.1f %% of the counts are in genes of the model's vocabulary", where, 100 * embedder.covered)
    if not embedder.settings.gene_embeddings:
        none = np.zeros((0, z_ND.shape[1]), dtype=np.float32)
        return Embedded(z_ND, empty, embedder.covered, np.zeros(0, dtype=object), none, np.zeros(0, dtype=np.int64))
    with np.errstate(invalid="ignore"):
        mean_GD = (gene_sum_GD / embedder.gene_cells_G[:, None]).astype(np.float32)
    return Embedded(z_ND, empty, embedder.covered, embedder.gene_ids, mean_GD, embedder.gene_cells_G)


def embed_counts(
    checkpoint: Checkpoint,
    counts_NF: sp.csr_matrix | np.ndarray,
    gene_ids: Sequence[str] | pd.Index,
    *,
    settings: EmbedSettings,
    keys: np.ndarray | None = None,
    drugs: Sequence[str] | None = None,
) -> Embedded:
    """Embed cells that are in memory.

    Parameters
    ----------
    checkpoint
        The model, on the device to compute on.
    counts_NF
        Raw counts of the cells, sparse or dense.
    gene_ids
        Ids of their columns [F]; versions are ignored.
    settings
        How.
    keys
        Identity of each cell, uint64 [N]; it decides which genes of a long cell are sampled. None: its row.
    drugs
        Name of each cell's drug [N], for a model with drugs; None: no cell has one.

    Raises
    ------
    InputError
        As :func:`embed_blocks` says, or if names and counts differ in number.
    """
    counts_NF = canonical(counts_NF)
    num_cells = counts_NF.shape[0]
    if len(gene_ids) != counts_NF.shape[1]:
        raise InputError(f"The counts: expected an id for each of {counts_NF.shape[1]} columns, found {len(gene_ids)}. Give both of the same genes.")
    key_N = np.arange(num_cells, dtype=np.uint64) if keys is None else np.asarray(keys, dtype=np.uint64)
    drug_N = None
    if drugs is not None and checkpoint.drug_ids is not None and checkpoint.shape.drugs is not None:
        drug_N = drug_rows(drugs, checkpoint.drug_ids)
    for name, values in (("key", key_N), ("drug", drug_N)):
        if values is not None and len(values) != num_cells:
            raise InputError(f"The counts: expected a {name} for each of {num_cells} cells, found {len(values)}. Give both of the same cells.")
    step = settings.aligned(settings.block_cells)
    starts = range(0, num_cells, step)
    slices = (slice(start, start + step) for start in starts)
    blocks = (CellBlock(counts_NF[part], key_N[part], None if drug_N is None else drug_N[part]) for part in slices)
    return embed_blocks(checkpoint, blocks, gene_ids, settings=settings, num_cells=num_cells)
