"""Cells as tokens: which genes a cell expresses and, for each, in which quantile of the cell's counts it is.

`exact` mode: the tokens of a cell depend on that cell alone. All its genes are binned and no special token is; of a cell with too many genes a seeded
sample is taken, the same in every batch, whatever the order of the columns; stored zeros are no genes; columns of one gene are summed.

`compatible` mode: the published collation (Tahoe-x1 1.0.0, github.com/tahoebio/tahoe-x1) with what follows from how it was written. The length of
a batch is that of its longest cell before ``<drug>`` is put in, so that this cell loses a gene; the first `keep_first` positions are neither binned
nor sampled away, also where one of them is a gene; stored zeros are genes; columns of one gene are tokens of their own. One thing is different: the
published sampling cannot be repeated, and is replaced by the seeded one.

Cells without any gene of the vocabulary are left out in both modes, and `Collated.rows` tells which cells remain.

Axes: B cells of a batch, F columns of the counts, L positions of the longest cell.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
import scipy.sparse as sp
import torch

from causcade.errors import InputError
from causcade.tx1.batch import TokenBatch
from causcade.tx1.seeds import hashed
from causcade.tx1.shape import CollatorSettings
from causcade.tx1.token_loops import BINS, LOG, RAW, bin_values, count_genes, fill_rows

__all__ = ["CLS_ID", "Collated", "Mode", "bin_counts", "collate", "num_expressed", "sum_repeated"]

Mode = Literal["exact", "compatible"]

CLS_ID = 1
"""Number of ``<cls>`` in every vocabulary that is built as the published ones were."""

NUM_COUNTED = 1024


class Collated(NamedTuple):
    """Tokens of a batch of cells.

    Attributes
    ----------
    batch
        What the model reads, nothing masked; `value_BL` are the bins.
    raw_BL
        Counts as they were, float32 [B, L]; the value of special tokens at these and at pads.
    target_BL
        What masked positions are to be told as: the bins, float32 [B, L] (the same memory as `batch.value_BL`).
    rows
        Rows of the counts that the batch holds, int64 [B]; without cells that have no gene of the vocabulary.
    """

    batch: TokenBatch
    raw_BL: torch.Tensor
    target_BL: torch.Tensor
    rows: np.ndarray


def bin_counts(values: np.ndarray, *, num_bins: int = 51, right: bool = False) -> np.ndarray:
    """Bin the values of one cell by their quantiles.

    Equals `torch.quantile` at `num_bins - 1` even steps, float32, linear interpolation, then `torch.bucketize`, plus 1 unless `right`. Where a
    value is 0 or less, zeros are left out of the quantiles and are in the lowest bin.

    Parameters
    ----------
    values
        Counts of a cell, at least one.
    num_bins
        Bins plus one: 51 gives bins 1 to 50.
    right
        A value on an edge goes to the bin above it, and bins begin at 0 where the smallest value has no edge below it.

    Returns
    -------
    numpy.ndarray
        Bins, float32, in the shape of `values`.
    """
    binned = np.empty(len(values), dtype=np.float32)
    bin_values(np.ascontiguousarray(values, dtype=np.float32), _shares(num_bins), right, np.zeros(NUM_COUNTED, dtype=np.int64), binned)
    return binned


def _shares(num_bins: int) -> np.ndarray:
    """Even steps from 0 to 1, rounded as torch rounds them."""
    shares: np.ndarray = torch.linspace(0, 1, num_bins - 1, dtype=torch.float32).numpy()
    return shares


def num_expressed(counts_BF: sp.csr_matrix, token_F: np.ndarray, *, mode: Mode = "exact") -> np.ndarray:
    """Count the genes of each cell that have a token, shape [B], int64."""
    num_B = np.empty(counts_BF.shape[0], dtype=np.int64)
    count_genes(*_parts(counts_BF), np.ascontiguousarray(token_F, dtype=np.int64), mode == "compatible", num_B)
    return num_B


def _parts(counts_BF: sp.csr_matrix) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row pointers, columns and counts in the types that the loops are compiled for."""
    kind = np.int32 if counts_BF.nnz <= np.iinfo(np.int32).max else np.int64
    return counts_BF.indptr.astype(kind, copy=False), counts_BF.indices.astype(kind, copy=False), counts_BF.data.astype(np.float32, copy=False)


def sum_repeated(counts_BF: sp.csr_matrix, token_F: np.ndarray) -> tuple[sp.csr_matrix, np.ndarray]:
    """Sum columns of one token (an Ensembl id given in several versions); the inputs themselves where there are none.

    Returns
    -------
    counts_BK : scipy.sparse.csr_matrix
        One column for each token, in the order in which tokens come first.
    token_K : numpy.ndarray
        Their tokens.
    """
    known = np.flatnonzero(token_F >= 0)
    if np.bincount(token_F[known], minlength=1).max() <= 1:
        return counts_BF, token_F
    tokens, first, place = np.unique(token_F[known], return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first))
    # float64, so that sums of large counts keep their last digit
    merge_FK = sp.csr_matrix((np.ones(len(known)), (known, rank[place])), shape=(len(token_F), len(tokens)))
    summed = sp.csr_matrix(counts_BF @ merge_FK)
    summed.sort_indices()
    return summed, tokens[np.argsort(first)]


def collate(
    counts_BF: sp.csr_matrix,
    token_F: np.ndarray,
    settings: CollatorSettings,
    *,
    mode: Mode = "exact",
    drug_B: np.ndarray | None = None,
    keys_B: np.ndarray | None = None,
    seed: int = 0,
    cls_id: int = CLS_ID,
    drug_id: int | None = None,
) -> Collated:
    """Turn cells into a padded batch of tokens.

    Parameters
    ----------
    counts_BF
        Raw counts, canonical CSR (columns sorted and distinct).
    token_F
        Token of each column, -1 where it has none (:meth:`causcade.tx1.Vocabulary.columns`).
    settings
        Of the model. In exact mode `keep_first` plays no part, and genes beyond `max_length` are always sampled.
    mode
        `exact` or `compatible` (see the module).
    drug_B
        Row of each cell's drug in the table of drugs, for `settings.use_drug_token`; None: 0, no drug.
    keys_B
        Identity of each cell, uint64: with `seed` it decides which genes of a long cell are sampled. None: the row in `counts_BF`.
    seed
        Seed of the sampling.
    cls_id, drug_id
        Numbers of ``<cls>`` and ``<drug>`` in the vocabulary.

    Raises
    ------
    InputError
        If a drug token is asked for and the vocabulary has none.
    """
    is_exact = mode == "exact"
    if settings.use_drug_token and drug_id is None:
        raise InputError("The collator asks for a drug token: expected <drug> in the vocabulary, found none. Add it (Vocabulary.with_drug).")
    token_F = np.ascontiguousarray(token_F, dtype=np.int64)
    if is_exact:
        counts_BF, token_F = sum_repeated(counts_BF, token_F)
    num_B = num_expressed(counts_BF, token_F, mode=mode)
    rows = np.flatnonzero(num_B > 0)
    if len(rows) < len(num_B):
        counts_BF, num_B = counts_BF[rows], num_B[rows]
    special_S = np.array([cls_id] if drug_id is None or not settings.use_drug_token else [cls_id, drug_id], dtype=np.int64)
    row_B = num_B + len(special_S)
    # the published length of a batch is taken before <drug> is put in
    cap = settings.max_length if is_exact else min(settings.max_length, int(num_B.max(initial=0)) + 1)
    length_B = np.minimum(row_B, cap)
    arrays = _fill(counts_BF, token_F, settings, is_exact=is_exact, special_S=special_S, key_B=_keys(keys_B, rows, seed), length_B=length_B)
    gene_BL, value_BL, raw_BL = (torch.from_numpy(array) for array in arrays)
    lengths = torch.from_numpy(length_B)
    drugs = None
    if settings.use_drug_token:
        drugs = torch.zeros(len(rows), dtype=torch.int64) if drug_B is None else torch.from_numpy(np.asarray(drug_B, dtype=np.int64)[rows])
    is_real_BL = torch.arange(gene_BL.shape[1])[None, :] < lengths[:, None]
    batch = TokenBatch(gene_BL, value_BL, is_real_BL, None, drugs, tuple(length_B.tolist()))
    return Collated(batch, raw_BL, value_BL, rows)


def _keys(keys_B: np.ndarray | None, rows: np.ndarray, seed: int) -> np.ndarray:
    """Start of the hash of each cell that is kept, uint64 [B]."""
    return hashed(seed, rows if keys_B is None else np.asarray(keys_B, dtype=np.uint64)[rows])


def _fill(
    counts_BF: sp.csr_matrix,
    token_F: np.ndarray,
    settings: CollatorSettings,
    *,
    is_exact: bool,
    special_S: np.ndarray,
    key_B: Any,
    length_B: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Genes, values and raw counts, each [B, L]."""
    shape = (len(length_B), int(length_B.max(initial=0)))
    gene_BL = np.full(shape, settings.pad_id, dtype=np.int64)
    value_BL = np.full(shape, settings.pad_value, dtype=np.float32)
    raw_BL = np.full(shape, settings.pad_value, dtype=np.float32)
    first = len(special_S) if is_exact else settings.keep_first
    fill_rows(
        *_parts(counts_BF), token_F, not is_exact, special_S, np.float32(settings.pad_value), first, first,
        BINS if settings.do_binning else LOG if settings.log_transform else RAW, _shares(settings.num_bins), settings.right_binning,
        settings.target_sum, is_exact or settings.sampling, key_B, length_B, np.arange(shape[0], dtype=np.int64) * shape[1],
        gene_BL.reshape(-1), value_BL.reshape(-1), raw_BL.reshape(-1),
    )  # fmt: skip
    return gene_BL, value_BL, raw_BL
