"""Matrices on disk as rows."""

import h5py
import numpy as np
import pytest
import scipy.sparse as sp
import zarr
from count_files import draw_counts

from causcade.readers import matrices, transposition
from causcade.readers.matrices import CompressedColumns, CompressedRows, DenseRows, Entries, columns_of_entries

COUNTS = draw_counts(3, 50, 8)
WINDOWS = [(0, 50)], [(3, 10), (10, 11), (40, 50)], [(i, i + 1) for i in range(50)], [(7, 7), (7, 9)]


@pytest.fixture(params=["hdf5", "zarr", "numpy"])
def keep(request, tmp_path):
    """Put an array where the parameter says."""
    file = h5py.File(tmp_path / "x.h5", "w") if request.param == "hdf5" else None
    group = zarr.open_group(str(tmp_path / "x.zarr"), mode="w") if request.param == "zarr" else None

    def put(name, array, chunks=None):
        if file is not None:
            return file.create_dataset(name, data=array, chunks=chunks or array.shape)
        if group is not None:
            return group.create_array(name, data=array, chunks=chunks or array.shape)
        return array

    yield put
    if file is not None:
        file.close()


def parts(matrix, keep):
    return tuple(keep(name, getattr(matrix, name), (5,)) for name in ("data", "indices", "indptr"))


def check(matrix, expected=COUNTS):
    assert matrix.shape == expected.shape
    for windows in WINDOWS:
        found = list(matrix.windows(windows))
        assert len(found) == len(windows)
        for (start, stop), block in zip(windows, found, strict=True):
            assert block.shape == (stop - start, expected.shape[1])
            np.testing.assert_array_equal(block.toarray(), expected[start:stop])
    matrix.close()


def test_compressed_rows(keep):
    check(CompressedRows(*parts(sp.csr_matrix(COUNTS), keep), COUNTS.shape))


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int8, np.uint16, np.float16, ">f4", ">i4"])
@pytest.mark.parametrize("kind", ["rows", "columns"])
def test_repeated_entries_of_a_narrow_type_are_summed_without_wrapping(keep, dtype, kind):
    largest = {"uint16": 40000}.get(np.dtype(dtype).name, 1 if dtype is bool else 100)
    data, indices, indptr = np.array([largest, largest, 1]).astype(dtype), np.array([1, 1, 0]), np.array([0, 2, 3])
    arrays = tuple(keep(name, array) for name, array in (("data", data), ("indices", indices), ("indptr", indptr)))
    expected = np.array([[0, 2 * largest], [1, 0]])
    matrix = CompressedRows(*arrays, (2, 2)) if kind == "rows" else CompressedColumns(*arrays, (2, 2), where="f")
    (block,) = matrix.windows([(0, 2)])
    np.testing.assert_array_equal(block.toarray(), expected if kind == "rows" else expected.T)
    matrix.close()


@pytest.mark.parametrize("chunk", [7, 1000])
def test_compressed_columns(keep, monkeypatch, chunk):
    monkeypatch.setattr(matrices, "CHUNK_ENTRIES", chunk)
    monkeypatch.setattr(transposition, "BUDGET_BYTES", 20 * transposition.BYTES_PER_ENTRY)
    check(CompressedColumns(*parts(sp.csc_matrix(COUNTS), keep), COUNTS.shape, where="f"))


def test_dense(keep, monkeypatch):
    class Array(np.ndarray):
        chunks = None

    for chunk_rows, band_bytes in ((7, 1), (7, 500), (50, 10**6)):
        monkeypatch.setattr(matrices, "DENSE_BYTES", band_bytes)
        array = keep(f"dense{chunk_rows}{band_bytes}", COUNTS, (chunk_rows, 3))
        check(DenseRows(array.view(Array) if isinstance(array, np.ndarray) else array))


def test_dense_reads_each_chunk_once_where_memory_allows(monkeypatch, caplog):
    """Bands are whole storage chunks, whatever the windows are."""

    class Array:
        shape, dtype, chunks = COUNTS.shape, COUNTS.dtype, (20, 8)

        def __init__(self):
            self.read = []

        def __getitem__(self, rows):
            self.read.append((rows.start, rows.stop))
            return COUNTS[rows]

    monkeypatch.setattr(matrices, "DENSE_BYTES", 1)
    array = Array()
    assert len(list(DenseRows(array).windows([(i, i + 3) for i in range(0, 48, 3)]))) == 16
    assert array.read == [(0, 20), (20, 40), (40, 60)]
    monkeypatch.setattr(transposition, "BUDGET_BYTES", 100)
    array = Array()
    list(DenseRows(array).windows([(0, 2)]))
    assert array.read == [(0, 1), (1, 2)]
    assert "20 rows in one storage chunk are more than memory is set aside for: each chunk is read several times" in caplog.text


def test_entries_are_read_once_for_many_windows():
    cell, gene = np.nonzero(COUNTS)
    order = np.random.default_rng(0).permutation(len(cell))
    passes = []

    def chunks():
        passes.append(1)
        for part in np.array_split(order, 4):
            yield cell[part], gene[part], COUNTS[cell[part], gene[part]]

    matrix = Entries(chunks, COUNTS.shape, len(cell), dtype=np.dtype(np.float32), where="f")
    for windows in WINDOWS:
        list(matrix.windows(windows))
    assert len(passes) == 1
    check(matrix)
    assert len(passes) == 1


def test_a_failing_read_leaves_nothing_behind(monkeypatch):
    closed = []
    monkeypatch.setattr(transposition.Transposition, "close", lambda self: closed.append(self))

    def chunks():
        yield np.array([0]), np.array([0]), np.array([1])
        raise ValueError("damaged")

    matrix = Entries(chunks, (2, 2), 5, dtype=np.dtype(np.int64), where="f")
    with pytest.raises(ValueError, match="damaged"):
        list(matrix.windows([(0, 1)]))
    assert len(closed) == 1


@pytest.mark.parametrize("share", [0, 0.5, 1])
def test_a_sample_holds_the_first_the_middle_and_the_last_entries(monkeypatch, share):
    monkeypatch.setattr(matrices, "CHUNK_ENTRIES", 60)
    for make, kind, where in ((sp.csr_matrix, CompressedRows, {}), (sp.csc_matrix, CompressedColumns, {"where": "f"})):
        matrix = make(COUNTS)
        matrix.data[int(share * (matrix.nnz - 1))] = 99
        found = kind(matrix.data, matrix.indices, matrix.indptr, COUNTS.shape, **where)
        sample = list(found.sample([(0, 5), (22, 28), (45, 50)]))
        assert any((block.data == 99).any() for block in sample)
        assert all(block.shape[1] == 8 for block in sample)
        assert sum(block.nnz for block in sample) < matrix.nnz
        assert list(found.sample([])) == []


def test_a_sample_of_no_entries():
    empty = sp.csc_matrix((3, 2))
    assert sum(block.nnz for block in CompressedColumns(empty.data, empty.indices, empty.indptr, (3, 2), where="f").sample([(0, 3)])) == 0


@pytest.mark.parametrize("indptr", [[0, 2], [1, 2, 3], [0, 2, 2], [0, 4, 3], [0, -1, 3]])
def test_pointers_that_do_not_fit(indptr):
    for kind, keys in ((CompressedRows, {}), (CompressedColumns, {"where": "f"})):
        with pytest.raises(ValueError, match="row pointers do not fit 2 rows of 3 entries"):
            kind(np.ones(3), np.array([0, 1, 0]), np.array(indptr), (2, 2), **keys)


@pytest.mark.parametrize("index", [-1, 2])
def test_indices_outside_the_matrix(index):
    for matrix in (
        CompressedRows(np.ones(3), np.array([0, index, 0]), np.array([0, 2, 3]), (2, 2)),
        CompressedColumns(np.ones(3), np.array([0, index, 0]), np.array([0, 2, 3]), (2, 2), where="f"),
    ):
        with pytest.raises(ValueError, match=r"an index lies outside 0\.\.1"):
            list(matrix.windows([(0, 2)]))


@pytest.mark.parametrize("sizes", [[3, 0, 2], [0, 0, 4, 0], [1], [0, 5]])
def test_columns_of_entries(sizes):
    indptr = np.concatenate([[0], np.cumsum(sizes)])
    expected = np.repeat(np.arange(len(sizes)), sizes)
    for start in range(indptr[-1] + 1):
        for stop in range(start, indptr[-1] + 1):
            assert columns_of_entries(indptr, start, stop).tolist() == expected[start:stop].tolist()
