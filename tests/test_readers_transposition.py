"""Entries in any order, turned into rows within a budget of memory."""

import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from causcade.errors import InputError
from causcade.readers import transposition
from causcade.readers.transposition import BYTES_PER_ENTRY, Transposition


def turn(rows, columns, values, shape, chunks=3, budget=None, dtype=None):
    """Add entries in some chunks; the caller closes."""
    found = Transposition(shape, len(rows), dtype=np.dtype(dtype or np.asarray(values).dtype), where="f")
    if budget is not None:
        found.budget = budget
    for part in np.array_split(np.arange(len(rows)), chunks):
        found.add(np.asarray(rows)[part], np.asarray(columns)[part], np.asarray(values)[part])
    return found


def random_entries(seed, num=400, shape=(50, 9)):
    rng = np.random.default_rng(seed)
    matrix = sp.random(*shape, density=num / np.prod(shape), random_state=seed, data_rvs=lambda size: rng.integers(1, 9, size)).tocoo()
    order = rng.permutation(matrix.nnz)
    return matrix.row[order], matrix.col[order], matrix.data[order].astype(np.float32), matrix


@pytest.fixture
def small_budget(monkeypatch):
    """A budget of ten entries."""
    monkeypatch.setattr(transposition, "BUDGET_BYTES", 10 * BYTES_PER_ENTRY)


@pytest.mark.parametrize("step", [1, 7, 50, 100])
def test_rows_equal_those_of_scipy(small_budget, step):
    rows, columns, values, matrix = random_entries(0)
    found = turn(rows, columns, values, matrix.shape)
    blocks = [found.rows(start, min(start + step, 50)) for start in range(0, 50, step)]
    np.testing.assert_array_equal(sp.vstack(blocks).toarray(), matrix.toarray())
    assert {block.dtype for block in blocks} == {np.dtype(np.float32)}
    np.testing.assert_array_equal(found.rows(13, 14).toarray(), matrix.toarray()[13:14])
    found.close()


def test_no_more_than_the_budget_is_gathered(small_budget, monkeypatch):
    rows, columns, values, matrix = random_entries(1)
    found = turn(rows, columns, values, matrix.shape)
    gathered = []
    make = sp.coo_matrix
    monkeypatch.setattr(
        transposition.sp, "coo_matrix", lambda entries, shape: gathered.append((len(entries[0]), shape[0])) or make(entries, shape=shape)
    )
    for start in range(50):
        found.rows(start, start + 1)
    assert sum(num for num, _ in gathered) == matrix.nnz  # each part is gathered once
    assert all(num <= 10 or num_rows == 1 for num, num_rows in gathered)
    assert len(gathered) > 30
    found.close()


def test_cells_that_differ_much_are_read_in_several_parts(small_budget):
    """All entries in one bucket of the file: the parts are cut by the numbers of entries, not of rows."""
    counts = np.zeros((40, 30))
    counts[3:7] = 1
    rows, columns = np.nonzero(counts)
    found = turn(rows, columns, counts[rows, columns], counts.shape)
    starts = found.parts
    assert starts[0] == 0
    assert starts[-1] == 40
    assert {3, 4, 5, 6, 7} <= set(starts.tolist())
    np.testing.assert_array_equal(found.rows(0, 40).toarray(), counts)
    found.close()


@given(
    entries=st.lists(st.tuples(st.integers(0, 6), st.integers(0, 4), st.integers(1, 70_000)), max_size=40),
    budget=st.integers(1, 12),
    chunks=st.integers(1, 4),
    cut=st.integers(0, 7),
)
@settings(max_examples=60, deadline=None)
def test_any_entries_and_any_budget(entries, budget, chunks, cut):
    """Repeated places are summed."""
    rows, columns, values = (np.array([entry[i] for entry in entries], dtype=np.int64) for i in range(3))
    expected = np.zeros((7, 5), dtype=np.int64)
    np.add.at(expected, (rows, columns), values)
    found = turn(rows, columns, values, (7, 5), chunks=chunks, budget=budget)
    np.testing.assert_array_equal(np.concatenate([found.rows(0, cut).toarray(), found.rows(cut, 7).toarray()]), expected)
    found.close()


@pytest.mark.parametrize("values", [[1.5, 2.0], [np.nan, 1.0], [-1.0, 2.0], [70_000.0, 1.0], [2.0**40, 3.0]])
def test_values_come_back_as_they_were(values):
    found = turn([1, 0], [0, 1], np.array(values), (2, 2), chunks=1)
    np.testing.assert_array_equal(found.rows(0, 2).toarray(), [[0, values[1]], [values[0], 0]])
    found.close()


def test_wide_matrices_and_truth_values():
    found = turn([0, 0], [0, 200_000], np.array([True, True]), (1, 200_001), dtype=np.int64)
    assert found.rows(0, 1).indices.tolist() == [0, 200_000]
    found.close()


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (3, 5)])
def test_without_entries(shape):
    found = turn(np.zeros(0, dtype=int), np.zeros(0, dtype=int), np.zeros(0), shape)
    assert found.rows(0, shape[0]).shape == shape
    assert found.rows(0, 0).shape == (0, shape[1])
    found.close()


def test_the_scratch_file_is_where_tmpdir_says_and_has_no_name(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    rows, columns, values, matrix = random_entries(2)
    found = turn(rows, columns, values, matrix.shape)
    descriptor = found._file.fileno()
    assert Path(f"/proc/self/fd/{descriptor}").readlink().is_relative_to(tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert os.fstat(descriptor).st_size == matrix.nnz * 8  # row in 32 bits, column and count in 16
    found.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_the_disk_that_is_needed_is_told_and_asked_for(monkeypatch, caplog, tmp_path):
    caplog.set_level("INFO", logger="causcade")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    turn([0], [0], [1], (1, 1)).close()
    assert f"f: its entries are sorted by cell through 0.00 GB of scratch in {tmp_path} (TMPDIR)" in caplog.text
    with pytest.raises(InputError) as error:
        Transposition((10, 10), 10**18, dtype=np.dtype(np.int64), where="f")
    assert str(error.value).startswith(f"f: expected 8000000000.00 GB of free disk in {tmp_path} to sort its counts by cell, found ")
    assert str(error.value).endswith("Set TMPDIR to a folder with more space, or store the counts cell by cell (CSR).")


def test_a_full_disk_is_told(monkeypatch):
    class Full:
        def tell(self):
            return 0

        def write(self, data):
            raise OSError(28, "No space left on device")

        def close(self):
            pass

    monkeypatch.setattr(transposition.tempfile, "TemporaryFile", lambda prefix: Full())
    with pytest.raises(InputError, match=r"f: expected enough of free disk in .* found none left \(No space left on device\). Set TMPDIR"):
        turn([0], [0], [1], (1, 1))
