"""Inner loops of the tokeniser, compiled by numba; they release the GIL.

A cell becomes one row: special tokens, then its genes in the order of the columns. Rows are written to flat arrays, at given starts.
Quantiles and bins repeat the float32 arithmetic of `torch.quantile` (linear interpolation) and `torch.bucketize` to the last bit.

Axes: B cells, F columns, S special tokens, Q edges of bins, L positions of a row.
"""

from __future__ import annotations

import numba as nb
import numpy as np

__all__ = ["BINS", "LOG", "RAW", "bin_values", "count_genes", "fill_rows"]

RAW, BINS, LOG = 0, 1, 2
# Whole counts below this are put in order by counting them.
COUNTED = 1024
GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@nb.njit(nogil=True, cache=True)
def count_genes(indptr, indices, data, token_F, keeps_zeros, num_B):
    """Write the number of genes with a token of each cell to `num_B`."""
    for cell in range(num_B.size):
        num = 0
        for entry in range(indptr[cell], indptr[cell + 1]):
            num += token_F[indices[entry]] >= 0 and (keeps_zeros or data[entry] != 0)
        num_B[cell] = num


@nb.njit(nogil=True, cache=True)
def _mix(value):
    """Finaliser of splitmix64: one to one on 64 bits."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@nb.njit(nogil=True, cache=True)
def _between(below, above, weight):
    """Interpolate between two values as torch does it: from the nearer end, with one rounding of product and sum."""
    step = np.float64(np.float32(above - below))
    if weight < np.float32(0.5):
        return np.float32(np.float64(weight) * step + np.float64(below))
    return np.float32(np.float64(np.float32(weight - np.float32(1))) * step + np.float64(above))


@nb.njit(nogil=True, cache=True)
def _edges_of_sorted(values, share_Q, edge_Q):
    """Quantiles of ascending values."""
    last = np.float32(values.size - 1)
    for number in range(share_Q.size):
        rank = np.float32(share_Q[number] * last)
        below = int(rank)
        above = min(int(np.ceil(rank)), values.size - 1)
        edge_Q[number] = _between(values[below], values[above], np.float32(rank - np.float32(below)))


@nb.njit(nogil=True, cache=True)
def _edges_of_histogram(num_by_value, num_values, share_Q, edge_Q):
    """Quantiles of whole numbers of which it is known how often each occurs."""
    last = np.float32(num_values - 1)
    value, passed = 0, num_by_value[0]  # `passed` numbers are at most `value`
    for number in range(share_Q.size):
        rank = np.float32(share_Q[number] * last)
        below = int(rank)
        while passed <= below:
            value += 1
            passed += num_by_value[value]
        above = value
        if below < rank and passed <= below + 1 < num_values:
            above += 1
            while num_by_value[above] == 0:
                above += 1
        edge_Q[number] = _between(np.float32(value), np.float32(above), np.float32(rank - np.float32(below)))


@nb.njit(nogil=True, cache=True)
def _bin_of(value, edge_Q, is_right):
    """Count the edges below `value` (`is_right`: at most `value`)."""
    start, end = 0, edge_Q.size
    while start < end:
        middle = (start + end) >> 1
        if edge_Q[middle] < value or (is_right and edge_Q[middle] == value):
            start = middle + 1
        else:
            end = middle
    return start


@nb.njit(nogil=True, cache=True)
def bin_values(values, share_Q, is_right, num_by_value, binned):
    """Write the bin of each value to `binned`.

    Edges are quantiles of the values, of those that are not 0 where one is 0 or less; 0 is then in the lowest bin. `num_by_value` is room for the
    counting, all 0 before and after.
    """
    has_low, is_counted, num, largest = False, True, 0, 0
    for value in values:
        has_low |= value <= 0
        is_counted &= 0 <= value < COUNTED and value == np.floor(value)
        num += value != 0
    if not has_low:
        num = values.size
    edge_Q = np.empty(share_Q.size, dtype=np.float32)
    shift = np.float32(0 if is_right else 1)
    if num == 0:
        binned[:] = shift
        return
    if not is_counted:
        part = np.empty(num, dtype=np.float32)
        place = 0
        for value in values:
            if value != 0 or not has_low:
                part[place] = value
                place += 1
        part.sort()
        _edges_of_sorted(part, share_Q, edge_Q)
        for place in range(values.size):
            binned[place] = shift if values[place] == 0 else _bin_of(values[place], edge_Q, is_right) + shift
        return
    for value in values:
        if value != 0:
            num_by_value[int(value)] += 1
            largest = max(largest, int(value))
    _edges_of_histogram(num_by_value, num, share_Q, edge_Q)
    num_by_value[0] = 0
    for value in range(1, largest + 1):  # from here on, the bin of a value
        if num_by_value[value]:
            num_by_value[value] = _bin_of(np.float32(value), edge_Q, is_right)
    for place in range(values.size):
        binned[place] = num_by_value[int(values[place])] + shift
    num_by_value[: largest + 1] = 0


@nb.njit(nogil=True, cache=True)
def _log_transform(values, target_sum, out):
    """log(1 + share of the sum * target_sum)."""
    total = np.float32(0)
    for value in values:
        total += value
    for place in range(values.size):
        out[place] = np.log1p(values[place] / (total + np.float32(1e-9)) * np.float32(target_sum))


@nb.njit(nogil=True, cache=True)
def _smallest(hashes, num):
    """Find the `num`-th smallest of distinct hashes, from 1, byte by byte from the highest."""
    found, mask = np.uint64(0), np.uint64(0)
    num_by_byte = np.empty(256, dtype=np.int64)
    for shift in range(56, -8, -8):
        num_by_byte[:] = 0
        for value in hashes:
            if value & mask == found:
                num_by_byte[(value >> np.uint64(shift)) & np.uint64(255)] += 1
        byte = 0
        while num > num_by_byte[byte]:
            num -= num_by_byte[byte]
            byte += 1
        found |= np.uint64(byte) << np.uint64(shift)
        mask |= np.uint64(255) << np.uint64(shift)
    return found


@nb.njit(nogil=True, cache=True)
def _take_sample(tokens, num_kept, length, key, order_L, hash_L):
    """Write positions of a sample of a row to `order_L`: the first `num_kept`, and of the others those with the smallest hashes, in their order."""
    size = tokens.size
    for place in range(num_kept, size):
        hash_L[place] = _mix(key + np.uint64(tokens[place]) * GOLDEN)
    for place in range(num_kept):
        order_L[place] = place
    taken = num_kept
    if length > num_kept:
        limit = _smallest(hash_L[num_kept:size], length - num_kept)
        for place in range(num_kept, size):
            if hash_L[place] <= limit and taken < length:
                order_L[taken] = place
                taken += 1


@nb.njit(nogil=True, cache=True)
def fill_rows(
    indptr,
    indices,
    data,
    token_F,
    keeps_zeros,
    special_S,
    special_value,
    keep_first,
    num_plain,
    kind,
    share_Q,
    is_right,
    target_sum,
    is_sampled,
    key_B,
    length_B,
    start_B,
    genes,
    values,
    raw,
):
    """Write the row of each cell to `genes`, `values` and `raw`.

    A row that is longer than `length_B` keeps its first `keep_first` positions and a sample of the others (`is_sampled`), or loses its last ones. The
    first `num_plain` positions are not transformed; the others are as `kind` says, over the whole row.
    """
    longest = 0
    for cell in range(length_B.size):
        longest = max(longest, indptr[cell + 1] - indptr[cell])
    longest += special_S.size
    token_L = np.empty(longest, dtype=np.int64)
    raw_L = np.empty(longest, dtype=np.float32)
    value_L = np.empty(longest, dtype=np.float32)
    order_L = np.empty(longest, dtype=np.int64)
    hash_L = np.empty(longest, dtype=np.uint64)
    num_by_value = np.zeros(COUNTED, dtype=np.int64)
    token_L[: special_S.size] = special_S
    raw_L[: special_S.size] = special_value
    for cell in range(length_B.size):
        size = special_S.size
        for entry in range(indptr[cell], indptr[cell + 1]):
            token = token_F[indices[entry]]
            if token >= 0 and (keeps_zeros or data[entry] != 0):
                token_L[size] = token
                raw_L[size] = data[entry]
                size += 1
        plain = min(num_plain, size)
        value_L[:plain] = raw_L[:plain]
        if kind == BINS:
            bin_values(raw_L[plain:size], share_Q, is_right, num_by_value, value_L[plain:size])
        elif kind == LOG:
            _log_transform(raw_L[plain:size], target_sum, value_L[plain:size])
        else:
            value_L[plain:size] = raw_L[plain:size]
        length, start = length_B[cell], start_B[cell]
        if size > length and is_sampled:
            _take_sample(token_L[:size], min(keep_first, length), length, key_B[cell], order_L, hash_L)
            for place in range(length):
                genes[start + place] = token_L[order_L[place]]
                values[start + place] = value_L[order_L[place]]
                raw[start + place] = raw_L[order_L[place]]
        else:
            genes[start : start + length] = token_L[:length]
            values[start : start + length] = value_L[:length]
            raw[start : start + length] = raw_L[:length]
