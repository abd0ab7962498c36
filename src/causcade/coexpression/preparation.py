"""From the counts of a block of cells to what is summed over blocks: x of the panel's genes, and its exact products with the covariates.

Compiled with numba and without threads of their own: these functions let go of the interpreter's lock, so that blocks are prepared side by side and
while the kernel multiplies.

Axes: B cells of a block, F genes of the plate, G genes of the panel, K covariate columns.
"""

from __future__ import annotations

import numba
import numpy as np
import scipy.sparse as sp

from causcade.cells import TARGET_SUM

__all__ = ["covariate_products", "panel_expression"]

# Counts below this share one logarithm per cell: nearly all counts of a cell are among a few small numbers.
SMALL_COUNTS = 64
DIGIT_BITS = 8
NUM_DIGITS = 1 << DIGIT_BITS


@numba.njit(nogil=True, cache=True)
def _panel_expression(
    counts: np.ndarray, indices: np.ndarray, indptr: np.ndarray, scale_B: np.ndarray, position_F: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values, columns and row starts of x; columns stand in the order of the plate."""
    values = np.empty(len(counts), dtype=np.float32)
    columns = np.empty(len(counts), dtype=np.int32)
    starts = np.zeros(len(indptr), dtype=np.int32)
    small = np.zeros(SMALL_COUNTS, dtype=np.float32)
    small_of = np.full(SMALL_COUNTS, -1, dtype=np.int64)  # the cell that an entry of `small` belongs to
    at = 0
    for cell in range(len(indptr) - 1):
        scale = scale_B[cell]
        for entry in range(indptr[cell], indptr[cell + 1]):
            gene = position_F[indices[entry]]
            if gene < 0:
                continue
            count = np.int64(counts[entry])
            if count >= SMALL_COUNTS:
                values[at] = np.log1p(count * scale)
            else:
                if small_of[count] != cell:
                    small_of[count] = cell
                    small[count] = np.log1p(count * scale)
                values[at] = small[count]
            columns[at] = gene
            at += 1
        starts[cell + 1] = at
    return values[:at], columns[:at], starts


@numba.njit(nogil=True, cache=True)
def _sort_rows(values: np.ndarray, columns: np.ndarray, starts: np.ndarray, num_passes: int) -> None:
    """Sort the entries of each cell by column, in place: a radix sort, three times as fast here as one that compares."""
    longest = 0
    for cell in range(len(starts) - 1):
        longest = max(longest, starts[cell + 1] - starts[cell])
    other_values = np.empty(longest, dtype=values.dtype)
    other_columns = np.empty(longest, dtype=columns.dtype)
    place = np.empty(NUM_DIGITS + 1, dtype=np.int64)
    for cell in range(len(starts) - 1):
        row_values = values[starts[cell] : starts[cell + 1]]
        row_columns = columns[starts[cell] : starts[cell + 1]]
        num = len(row_values)
        for number in range(num_passes):
            shift = DIGIT_BITS * number
            place[:] = 0
            for entry in range(num):
                place[((row_columns[entry] >> shift) & (NUM_DIGITS - 1)) + 1] += 1
            for digit in range(NUM_DIGITS):
                place[digit + 1] += place[digit]
            for entry in range(num):
                digit = (row_columns[entry] >> shift) & (NUM_DIGITS - 1)
                other_values[place[digit]] = row_values[entry]
                other_columns[place[digit]] = row_columns[entry]
                place[digit] += 1
            row_values[:] = other_values[:num]
            row_columns[:] = other_columns[:num]


def panel_expression(counts_BF: sp.csr_matrix, total_B: np.ndarray, position_F: np.ndarray, num_genes: int) -> sp.csr_matrix:
    """Take log(1 + 10^4 * count / total), x, of the panel's genes.

    Equals :func:`causcade.cells.log_normalise`, then taking the columns in the order of the panel, in a tenth of the time.

    Parameters
    ----------
    counts_BF
        Counts, shape [B, F].
    total_B
        Total counts of each cell over all genes of the plate, shape [B]; 0 gives a row of zeros.
    position_F
        Position of each gene of the plate in the panel, int64 [F]; negative for genes that are not in it.
    num_genes
        Number of genes of the panel; those that no position names are columns of zeros.

    Returns
    -------
    scipy.sparse.csr_matrix
        float32 [B, G], the columns of each row in ascending order.
    """
    scale_B = np.divide(TARGET_SUM, total_B, out=np.zeros(len(total_B)), where=total_B > 0)
    values, columns, starts = _panel_expression(counts_BF.data, counts_BF.indices, counts_BF.indptr, scale_B, position_F)
    is_ordered = counts_BF.has_sorted_indices and (np.diff(position_F[position_F >= 0]) > 0).all()
    if not is_ordered:
        _sort_rows(values, columns, starts, -(-max(num_genes - 1, 1).bit_length() // DIGIT_BITS))
    x_BG = sp.csr_matrix((values, columns, starts), shape=(len(total_B), num_genes))
    x_BG.has_canonical_format = True
    return x_BG


@numba.njit(nogil=True, cache=True)
def _covariate_products(
    values: np.ndarray, columns: np.ndarray, starts: np.ndarray, c_values: np.ndarray, c_columns: np.ndarray, c_starts: np.ndarray,
    sxc_KG: np.ndarray,
) -> None:  # fmt: skip
    """Add C'X to the last argument."""
    for cell in range(len(starts) - 1):
        # one covariate after the other: its row of all genes stays in the cache, as rows of all covariates of a gene would not
        for covariate in range(c_starts[cell], c_starts[cell + 1]):
            weight = c_values[covariate]
            sxc_G = sxc_KG[c_columns[covariate]]
            for entry in range(starts[cell], starts[cell + 1]):
                sxc_G[columns[entry]] += np.float64(values[entry]) * weight


def covariate_products(x_BG: sp.csr_matrix, c_BK: np.ndarray) -> np.ndarray:
    """Products of x with the covariates, C'X, in float64.

    The product of two float32 values is exact in float64; only the additions round. A cell belongs to one level of each text covariate, so C is
    mostly zeros and is taken as sparse.

    Parameters
    ----------
    x_BG
        float32 CSR [B, G].
    c_BK
        float64 [B, K].

    Returns
    -------
    numpy.ndarray
        Shape [K, G].
    """
    sxc_KG = np.zeros((c_BK.shape[1], x_BG.shape[1]))
    c = sp.csr_matrix(c_BK)
    _covariate_products(x_BG.data, x_BG.indices, x_BG.indptr, c.data, c.indices, c.indptr, sxc_KG)
    return sxc_KG
