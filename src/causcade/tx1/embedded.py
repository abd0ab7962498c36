"""What embedding takes and gives: settings, blocks of cells, embeddings, and checks of the counts.

Axes: N cells, B cells of a block, F columns of the counts, G genes of the vocabulary that the input has, D dimensions.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp

from causcade.errors import InputError

if TYPE_CHECKING:
    from causcade.tx1.checkpoint import Checkpoint
    from causcade.tx1.shape import Pooling
    from causcade.tx1.tokens import Mode

__all__ = ["CellBlock", "EmbedSettings", "Embedded", "Precision", "canonical", "check_coverage", "drug_rows", "share_covered"]

logger = logging.getLogger(__name__)

Precision = Literal["auto", "float32", "bfloat16"]

NUM_EXAMPLES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedSettings:
    """How cells are embedded.

    Attributes
    ----------
    mode
        `exact`, or `compatible` with the published tool (:mod:`causcade.tx1.tokens`).
    max_length
        Most tokens of a cell, special ones included; instead of what the model's collator says, as published.
    precision
        Numbers that the model computes in; `auto`: bfloat16 (autocast) on a GPU, float32 on a CPU.
    pooling
        What a cell's embedding is: the final state of `<cls>`, or the mean over its tokens; None: what the model was trained with.
    normalise
        Scale each cell's embedding to length 1.
    gene_embeddings
        Also take the mean of each gene's final hidden states.
    min_covered
        Least share of the counts in genes of the vocabulary, 0 to 1.
    seed
        Of the sampling of genes of cells with more than `max_length` tokens.
    batch_tokens
        Tokens that the model takes at a time; None: as measured to be fast. Changes no result but by rounding.
    batch_cells
        Cells of a batch in compatible mode.
    block_cells
        Cells that are sorted by length together. Changes no result but by rounding.
    shard_cells
        Cells after which results are saved (:func:`causcade.tx1.embed_store`).
    compile
        Compile the layers of the model (`torch.compile`): minutes, then faster on a GPU.
    """

    mode: Mode = "exact"
    max_length: int = 2048
    precision: Precision = "auto"
    pooling: Pooling | None = None
    normalise: bool = True
    gene_embeddings: bool = False
    min_covered: float = 0.5
    seed: int = 0
    batch_tokens: int | None = None
    batch_cells: int = 64
    block_cells: int = 8192
    shard_cells: int = 100_000
    compile: bool = False

    def __post_init__(self) -> None:
        for name in ("batch_cells", "block_cells", "shard_cells"):
            if getattr(self, name) < 1:
                raise InputError(f"Embedding: expected {name} of 1 or more, found {getattr(self, name)}. Raise it.")
        if self.batch_tokens is not None and self.batch_tokens < 1:
            raise InputError(f"Embedding: expected batch_tokens of 1 or more, found {self.batch_tokens}. Raise it.")

    def aligned(self, num_cells: int) -> int:
        """Cells rounded up to whole batches in compatible mode, so that no batch is cut by a block or a shard."""
        return num_cells if self.mode == "exact" else -(-num_cells // self.batch_cells) * self.batch_cells


class CellBlock(NamedTuple):
    """Some cells: counts [B, F] (CSR), identities [B] (uint64; for the sampling), rows in the model's table of drugs [B] or None."""

    counts_BF: sp.csr_matrix
    key_B: np.ndarray
    drug_B: np.ndarray | None = None


class Embedded(NamedTuple):
    """Embeddings.

    Attributes
    ----------
    z_ND
        Of the cells, float32, in the order of the input; zeros for `empty`.
    empty
        Rows of `z_ND` of cells without any gene of the vocabulary, int64.
    covered
        Share of the counts in genes of the vocabulary, 0 to 1 (1 where there are no counts).
    gene_ids
        Genes of the vocabulary that the input has [G], in the order of the vocabulary; empty unless asked for, as the two below.
    gene_mean_GD
        Mean of each gene's final hidden states over the cells that express it, float32; NaN where none does.
    gene_cells_G
        Number of these cells, int64.
    """

    z_ND: np.ndarray
    empty: np.ndarray
    covered: float
    gene_ids: np.ndarray
    gene_mean_GD: np.ndarray
    gene_cells_G: np.ndarray


def drug_rows(names: Sequence[str], drug_ids: dict[str, int]) -> np.ndarray:
    """Find each cell's drug in the model's table, int64 [N]; 0 (no drug) for a name that it does not have, with a line in the log."""
    codes, distinct = pd.factorize(np.asarray(names, dtype=object))
    found = np.array([drug_ids.get(str(name), -1) for name in distinct], dtype=np.int64)
    unknown = [str(name) for name, row in zip(distinct, found, strict=True) if row < 0]
    if unknown:
        logger.warning(
            "%d of %d drugs are not in the model's table (such as %s): their cells are embedded without a drug",
            len(unknown), len(distinct), ", ".join(unknown[:NUM_EXAMPLES]),
        )  # fmt: skip
    rows: np.ndarray = np.maximum(found, 0)[codes]
    return rows


def check_coverage(covered: float, gene_ids: Sequence[str], checkpoint: Checkpoint, settings: EmbedSettings, where: str) -> None:
    """Raise :class:`~causcade.errors.InputError` if too few of the counts are in genes that the model knows; the message shows ids of both sides."""
    if covered >= settings.min_covered:
        return
    ours = ", ".join(map(str, gene_ids[:NUM_EXAMPLES])) or "none"
    raise InputError(
        f"{where}: expected at least {settings.min_covered:.0%} of the counts in genes of the model's vocabulary (such as "
        f"{checkpoint.vocabulary.examples()}), found {covered:.1%}; genes of the input are such as {ours}. Name genes by Ensembl ids of the model's "
        "species (symbols are mapped where HGNC's table is given), or lower `min_covered`."
    )


def share_covered(counts_BF: sp.csr_matrix, token_F: np.ndarray) -> float:
    """Share of the counts in columns with a token; 1 where there are no counts."""
    total = float(counts_BF.data.sum(dtype=np.float64))
    return float(counts_BF.data[token_F[counts_BF.indices] >= 0].sum(dtype=np.float64)) / total if total > 0 else 1.0


def canonical(counts: sp.csr_matrix | np.ndarray) -> sp.csr_matrix:
    """Return counts as CSR with sorted, distinct columns; the input itself is not changed."""
    found = sp.csr_matrix(counts)
    if not found.has_canonical_format:
        found = found.copy() if found is counts or sp.issparse(counts) else found
        found.sum_duplicates()
    return found
