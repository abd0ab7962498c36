"""Packed triangles against numpy's index lists."""

import numpy as np
import pytest

from causcade.coexpression import packed
from causcade.coexpression.packed import mirror, pack, packed_length, packed_rows, row_start, unpack

SIZES = [0, 1, 2, 5, 33]


def symmetric(num: int) -> np.ndarray:
    half = np.random.default_rng(num).standard_normal((num, num))
    return half + half.T


@pytest.mark.parametrize("num", SIZES)
def test_offsets_count_the_numbers_of_the_rows_above(num):
    lengths = [num - row for row in range(num)]
    assert packed_length(num) == sum(lengths)
    assert [row_start(row, num) for row in range(num + 1)] == [sum(lengths[:row]) for row in range(num + 1)]


def test_offsets_do_not_overflow_where_32_bits_would():
    num = 100_000
    assert packed_length(num) == 5_000_050_000
    starts = row_start(np.arange(num + 1, dtype=np.int64), num)
    assert starts.dtype == np.int64
    assert starts[-1] == packed_length(num)


@pytest.mark.parametrize("num", SIZES)
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_packing_and_unpacking_equal_index_lists(num, kind):
    full = symmetric(num).astype(kind)
    upper = pack(full)
    np.testing.assert_array_equal(upper, full[np.triu_indices(num)])
    assert upper.dtype == kind
    np.testing.assert_array_equal(unpack(upper, num), full)
    np.testing.assert_array_equal(pack(np.triu(full)), upper)  # below the diagonal nothing is read


@pytest.mark.parametrize("tile", [1, 4, 33, 100])
def test_mirror_over_any_tile(monkeypatch, tile):
    monkeypatch.setattr(packed, "TILE", tile)
    full = symmetric(33)
    half = np.triu(full)
    mirror(half)
    np.testing.assert_array_equal(half, full)


@pytest.mark.parametrize(("start", "stop"), [(0, 0), (0, 33), (0, 7), (7, 20), (32, 33), (33, 33)])
def test_rows_of_the_triangle(start, stop):
    full = symmetric(33)
    np.testing.assert_array_equal(packed_rows(pack(full), 33, start, stop), np.triu(full)[start:stop])


def test_wrong_shapes_are_errors():
    with pytest.raises(ValueError, match=r"expected a square matrix, found shape \(2, 3\)"):
        pack(np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"expected 6 packed numbers for 3 genes, found an array of shape \(5,\)"):
        unpack(np.zeros(5), 3)
    with pytest.raises(ValueError, match="expected rows within 0 to 3, found 2 to 4"):
        packed_rows(np.zeros(6), 3, 2, 4)
