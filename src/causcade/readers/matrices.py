"""Matrices of counts on disk, handed out as rows: compressed by rows, compressed by columns, dense, or entries in any order.

They are indexed as h5py and zarr arrays are, so that one class serves both, and the layout of 10x too (genes x cells by columns is cells x genes by
rows).

Axes: N cells, F features; rows of a block are cells.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

import numpy as np
import scipy.sparse as sp

from causcade.readers import transposition
from causcade.readers.transposition import Transposition
from causcade.runtime import Progress

__all__ = ["CompressedColumns", "CompressedRows", "CountMatrix", "DenseRows", "Entries", "Window", "columns_of_entries"]

logger = logging.getLogger(__name__)

Window = tuple[int, int]
"""First row, and the row after the last."""
Triplets = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Rows, columns and values of some entries."""

CHUNK_ENTRIES = 1 << 21
"""Entries that are read at a time where they are not stored by rows."""
DENSE_BYTES = 64 << 20
"""Size of the bands in which a dense matrix is read."""


class CountMatrix(Protocol):
    """What all matrices share."""

    shape: tuple[int, int]

    def windows(self, windows: list[Window]) -> Iterator[sp.csr_matrix]:
        """CSR of each window [stop - start, F]; windows ascend and do not overlap."""

    def sample(self, windows: list[Window]) -> Iterator[sp.csr_matrix]:
        """Yield counts to look at: these windows, or other entries where windows would cost a pass over the whole file [any, F]."""

    def close(self) -> None:
        """Let go of what the matrix keeps beside its file."""


class _ByWindow:
    """Matrices that can read any window by itself."""

    def _read(self, start: int, stop: int) -> sp.csr_matrix:
        raise NotImplementedError

    def windows(self, windows: list[Window]) -> Iterator[sp.csr_matrix]:
        for start, stop in windows:
            yield self._read(start, stop)

    def sample(self, windows: list[Window]) -> Iterator[sp.csr_matrix]:
        return self.windows(windows)

    def close(self) -> None:
        pass


def _checked_pointers(indptr: Any, num_rows: int, num_entries: int) -> np.ndarray:
    """Row (or column) pointers as int64 [num_rows + 1].

    Raises
    ------
    ValueError
        If they are none; the reader tells it as damage of the file.
    """
    found = np.asarray(indptr[:], dtype=np.int64)
    if len(found) != num_rows + 1 or found[0] != 0 or found[-1] != num_entries or np.any(found[1:] < found[:-1]):
        raise ValueError(f"row pointers do not fit {num_rows} rows of {num_entries} entries")
    return found


def _checked_indices(indices: np.ndarray, size: int) -> np.ndarray:
    """Column numbers as scipy wants them; one outside the matrix would be read from foreign memory later.

    Raises
    ------
    ValueError
        If one is outside.
    """
    if len(indices) and (indices.min() < 0 or indices.max() >= size):
        raise ValueError(f"an index lies outside 0..{size - 1}")
    return indices.astype(np.int32, copy=False) if size <= np.iinfo(np.int32).max else indices


def _summable(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Type for counts of a stored type in which repeated entries can be added: 255 + 1 in one byte would be 0, and scipy adds no float16."""
    wide = {"b": np.uint32, "u": np.uint32, "i": np.int32, "f": np.float32}
    return np.result_type(dtype.newbyteorder("="), wide.get(dtype.kind, dtype))


class CompressedRows(_ByWindow):
    """A matrix compressed by rows, of which only the row pointers are in memory.

    Parameters
    ----------
    data, indices, indptr
        Arrays on disk.
    shape
        Rows N and columns F.
    """

    def __init__(self, data: Any, indices: Any, indptr: Any, shape: tuple[int, int]) -> None:
        self.shape = shape
        self._data, self._indices = data, indices
        self._indptr = _checked_pointers(indptr, shape[0], int(data.shape[0]))

    def _read(self, start: int, stop: int) -> sp.csr_matrix:
        first, last = int(self._indptr[start]), int(self._indptr[stop])
        indices = _checked_indices(self._indices[first:last], self.shape[1])
        indptr = (self._indptr[start : stop + 1] - first).astype(indices.dtype)
        data = self._data[first:last]
        return sp.csr_matrix((data.astype(_summable(data.dtype), copy=False), indices, indptr), shape=(stop - start, self.shape[1]))


class DenseRows(_ByWindow):
    """A dense matrix, read in bands of whole storage chunks, the last of which is held (as CSR)."""

    def __init__(self, array: Any) -> None:
        self.shape = (int(array.shape[0]), int(array.shape[1]))
        self._array = array
        row_bytes = max(self.shape[1] * array.dtype.itemsize, 1)
        chunk_rows = int(array.chunks[0]) if array.chunks else 1
        if chunk_rows * row_bytes > transposition.BUDGET_BYTES:
            logger.warning("%d rows in one storage chunk are more than memory is set aside for: each chunk is read several times", chunk_rows)
            chunk_rows = 1
        self._band_rows = chunk_rows * max(DENSE_BYTES // (chunk_rows * row_bytes), 1)
        self._held: tuple[int, sp.csr_matrix] | None = None

    def _band(self, band: int) -> sp.csr_matrix:
        if self._held is None or self._held[0] != band:
            self._held = None
            rows = self._array[band * self._band_rows : (band + 1) * self._band_rows]
            self._held = (band, sp.csr_matrix(rows.astype(_summable(rows.dtype), copy=False)))
        return self._held[1]

    def _read(self, start: int, stop: int) -> sp.csr_matrix:
        pieces: list[sp.csr_matrix] = []
        for band in range(start // self._band_rows, -(-stop // self._band_rows)):
            offset = band * self._band_rows
            pieces.append(self._band(band)[max(start - offset, 0) : stop - offset])
        return sp.vstack(pieces, format="csr") if pieces else sp.csr_matrix((0, self.shape[1]), dtype=self._array.dtype)


class Entries:
    """A matrix whose entries come in any order: turned round on first use (:class:`causcade.readers.transposition.Transposition`).

    Parameters
    ----------
    read
        Yields the entries chunk by chunk, each time from the start.
    shape
        Rows N and columns F.
    num_entries
        Entries that are expected.
    dtype
        Type of the values.
    where
        The file, for messages.
    """

    def __init__(self, read: Callable[[], Iterable[Triplets]], shape: tuple[int, int], num_entries: int, *, dtype: np.dtype, where: str) -> None:
        self.shape = shape
        self.num_entries = num_entries
        self._read, self._dtype, self._where = read, dtype, where
        self._rows: Transposition | None = None

    def _turned(self) -> Transposition:
        if self._rows is None:
            rows = Transposition(self.shape, self.num_entries, dtype=self._dtype, where=self._where)
            progress = Progress(self.num_entries, "entries")
            try:
                for chunk in self._read():
                    rows.add(*chunk)
                    progress.advance(len(chunk[0]))
            except BaseException:
                rows.close()
                raise
            self._rows = rows
        return self._rows

    def windows(self, windows: list[Window]) -> Iterator[sp.csr_matrix]:
        """CSR of each window; see :class:`CountMatrix`."""
        for start, stop in windows:
            yield self._turned().rows(start, stop)

    def sample(self, windows: list[Window]) -> Iterator[sp.csr_matrix]:
        """Look at the first chunk of entries; see :class:`CountMatrix`."""
        if windows:
            for _, columns, values in self._read():
                yield _column_sample(columns, values, self.shape[1])
                break

    def close(self) -> None:
        """Remove the scratch file."""
        if self._rows is not None:
            self._rows.close()
            self._rows = None


def _column_sample(columns: np.ndarray, values: np.ndarray, num_columns: int) -> sp.csr_matrix:
    """Entries as rows of one entry each."""
    return sp.csr_matrix((values, columns, np.arange(len(values) + 1)), shape=(len(values), num_columns))


class CompressedColumns(Entries):
    """A matrix compressed by columns; parameters as those of :class:`CompressedRows`, and the file, for messages."""

    def __init__(self, data: Any, indices: Any, indptr: Any, shape: tuple[int, int], *, where: str) -> None:
        self._data, self._indices = data, indices
        self._indptr = _checked_pointers(indptr, shape[1], int(data.shape[0]))
        super().__init__(self._chunks, shape, int(data.shape[0]), dtype=_summable(np.dtype(data.dtype)), where=where)

    def _chunks(self) -> Iterator[Triplets]:
        for start in range(0, self.num_entries, CHUNK_ENTRIES):
            yield self._chunk(start, min(start + CHUNK_ENTRIES, self.num_entries))

    def _chunk(self, start: int, stop: int) -> Triplets:
        rows = _checked_indices(self._indices[start:stop], self.shape[0])
        values = self._data[start:stop]
        return rows, columns_of_entries(self._indptr, start, stop), values.astype(_summable(values.dtype), copy=False)

    def sample(self, windows: list[Window]) -> Iterator[sp.csr_matrix]:
        """Look at entries at the start, in the middle and at the end; see :class:`CountMatrix`."""
        if not windows:
            return
        num = -(-min(CHUNK_ENTRIES, self.num_entries) // 3)
        for start in sorted({0, (self.num_entries - num) // 2, self.num_entries - num}):
            _, columns, values = self._chunk(start, start + num)
            yield _column_sample(columns, values, self.shape[1])


def columns_of_entries(indptr: np.ndarray, start: int, stop: int) -> np.ndarray:
    """Columns of the entries from `start` to before `stop` of a matrix compressed by columns, int32 [stop - start]."""
    first = int(np.searchsorted(indptr, start, side="right")) - 1
    last = int(np.searchsorted(indptr, stop, side="left"))
    return np.repeat(np.arange(first, last, dtype=np.int32), np.diff(np.clip(indptr[first : last + 1], start, stop)))
