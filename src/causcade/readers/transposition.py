"""Entries of a matrix that come in any order, turned into rows in bounded memory: an external bucket sort.

One pass writes the entries (row, column, value) to a scratch file, each chunk of them sorted by range of rows. Then one part of the rows at a time is
gathered from the chunks and becomes CSR. The scratch file is in the folder that TMPDIR names; it has no name of its own, so that it is gone when it
is closed, however the process ends.

Axes: N rows (cells), F columns (features).
"""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

import numpy as np
import scipy.sparse as sp

from causcade.errors import InputError

__all__ = ["BUDGET_BYTES", "BYTES_PER_ENTRY", "Transposition"]

logger = logging.getLogger(__name__)

BUDGET_BYTES = 512 << 20
"""Memory for the entries of one part while it becomes CSR."""
BYTES_PER_ENTRY = 40
"""Of one entry at that moment: the record as read (at most 16), row, column and value (16), and its place in CSR (12, less what is freed)."""
MAX_BUCKETS = 4096
MAX_NARROW = np.iinfo(np.uint16).max
BYTES_PER_GB = 1e9


@dataclass(frozen=True, slots=True)
class _Chunk:
    """One chunk in the scratch file: where it begins, the type of its records, and where each bucket begins among them [buckets + 1]."""

    offset: int
    record: np.dtype
    starts: np.ndarray


class Transposition:
    """Rows of a matrix whose entries are added in any order.

    Repeated entries of one place are summed.

    Parameters
    ----------
    shape
        Rows N and columns F.
    num_entries
        How many entries will be added; decides the number of buckets and the disk that is asked for.
    dtype
        Type of the values of the result.
    where
        The file, for messages.

    Raises
    ------
    InputError
        If the folder of temporary files has too little space.
    """

    def __init__(self, shape: tuple[int, int], num_entries: int, *, dtype: np.dtype, where: str) -> None:
        self.shape = shape
        self._dtype = dtype
        self._where = where
        self.budget = max(BUDGET_BYTES // BYTES_PER_ENTRY, 1)
        # twice as many as would do, since cells differ; what is too large nevertheless is read in several parts
        num_buckets = min(max(2 * num_entries // self.budget, 1), MAX_BUCKETS, max(shape[0], 1))
        self._rows_per_bucket = max(-(-shape[0] // num_buckets), 1)
        self._num_buckets = -(-max(shape[0], 1) // self._rows_per_bucket)
        self._column_type = np.uint16 if shape[1] <= MAX_NARROW + 1 else np.uint32
        self._chunks: list[_Chunk] = []
        self._num_per_row = np.zeros(shape[0], dtype=np.int64)
        self._part_starts: np.ndarray | None = None
        self._held: tuple[int, sp.csr_matrix] | None = None
        self._check_space(num_entries * self._record(np.dtype(np.uint16)).itemsize)
        self._file: IO[bytes] = tempfile.TemporaryFile(prefix="causcade-")  # noqa: SIM115  (closed by close)

    def _check_space(self, needed: int) -> None:
        folder = tempfile.gettempdir()
        free = shutil.disk_usage(folder).free
        gigabytes = needed / BYTES_PER_GB
        logger.info("%s: its entries are sorted by cell through %.2f GB of scratch in %s (TMPDIR)", self._where, gigabytes, folder)
        if free < needed:
            raise self._no_space(f"{gigabytes:.2f} GB", f"{free / BYTES_PER_GB:.2f} GB")

    def _no_space(self, expected: str, found: str) -> InputError:
        return InputError(
            f"{self._where}: expected {expected} of free disk in {tempfile.gettempdir()} to sort its counts by cell, found {found}. "
            "Set TMPDIR to a folder with more space, or store the counts cell by cell (CSR)."
        )

    def _record(self, value: np.dtype) -> np.dtype:
        return np.dtype([("row", np.uint32), ("column", self._column_type), ("value", value)])

    def add(self, rows: np.ndarray, columns: np.ndarray, values: np.ndarray) -> None:
        """Add entries: their rows, columns and values, three arrays of one length.

        Raises
        ------
        InputError
            If the disk is full.
        """
        if len(rows) == 0:
            return
        buckets = (rows // self._rows_per_bucket).astype(np.uint16)
        records = np.empty(len(rows), dtype=self._record(_narrowest(values)))
        if np.all(buckets[1:] >= buckets[:-1]):
            records["row"], records["column"], records["value"] = rows, columns, values
        else:
            order = np.argsort(buckets, kind="stable")  # a radix sort, since the keys have 16 bits
            buckets = buckets[order]
            records["row"], records["column"], records["value"] = rows[order], columns[order], values[order]
        starts = np.searchsorted(buckets, np.arange(self._num_buckets + 1))
        try:
            offset = self._file.tell()
            self._file.write(records.view(np.uint8).data)
            self._file.flush()
        except OSError as error:
            raise self._no_space("enough", f"none left ({error.strerror})") from None
        self._chunks.append(_Chunk(offset, records.dtype, starts))
        self._num_per_row += np.bincount(rows, minlength=self.shape[0])

    @property
    def parts(self) -> np.ndarray:
        """First row of each part, and N at the end: parts lie inside buckets and hold at most `budget` entries, or a single row."""
        if self._part_starts is None:
            before = np.concatenate([[0], np.cumsum(self._num_per_row)])
            starts: list[int] = []
            for bucket in range(self._num_buckets):
                start, end = bucket * self._rows_per_bucket, min((bucket + 1) * self._rows_per_bucket, self.shape[0])
                while start < end:
                    starts.append(start)
                    start = min(max(int(np.searchsorted(before, before[start] + self.budget, side="right")) - 1, start + 1), end)
            self._part_starts = np.array([*starts, self.shape[0]], dtype=np.int64)
        return self._part_starts

    def rows(self, start: int, stop: int) -> sp.csr_matrix:
        """Rows from `start` to before `stop` [stop - start, F]; ascending calls gather each part once."""
        starts = self.parts
        first, last = np.searchsorted(starts, [start, stop - 1], side="right") - 1 if stop > start else (0, -1)
        pieces: list[sp.csr_matrix] = []
        for part in range(first, last + 1):
            whole = self._part(part)
            begin = max(start - starts[part], 0)
            pieces.append(whole[begin : min(stop, starts[part + 1]) - starts[part]])
        return sp.vstack(pieces, format="csr") if pieces else sp.csr_matrix((0, self.shape[1]), dtype=self._dtype)

    def _part(self, part: int) -> sp.csr_matrix:
        """One part as CSR; the last one is held."""
        if self._held is not None and self._held[0] == part:
            return self._held[1]
        self._held = None
        start, stop = (int(row) for row in self.parts[part : part + 2])
        num = int(self._num_per_row[start:stop].sum())
        rows, columns, values = np.empty(num, dtype=np.int32), np.empty(num, dtype=np.int32), np.empty(num, dtype=self._dtype)
        done = 0
        for records in self._records(start // self._rows_per_bucket):
            inside = records[(records["row"] >= start) & (records["row"] < stop)]
            end = done + len(inside)
            rows[done:end] = inside["row"] - np.uint32(start)
            columns[done:end], values[done:end] = inside["column"], inside["value"]
            done = end
        found = sp.coo_matrix((values, (rows, columns)), shape=(stop - start, self.shape[1])).tocsr()
        self._held = (part, found)
        return found

    def _records(self, bucket: int) -> Iterator[np.ndarray]:
        """Yield the records of a bucket, chunk by chunk."""
        for chunk in self._chunks:
            first, last = int(chunk.starts[bucket]), int(chunk.starts[bucket + 1])
            if last > first:
                self._file.seek(chunk.offset + first * chunk.record.itemsize)
                yield np.frombuffer(self._file.read((last - first) * chunk.record.itemsize), dtype=chunk.record)

    def close(self) -> None:
        """Remove the scratch file."""
        self._held = None
        self._file.close()


def _narrowest(values: np.ndarray) -> np.dtype:
    """Type that holds the values of a chunk without loss: 16 bits where they fit, else their own."""
    if values.dtype.kind == "b":
        return np.dtype(np.uint16)
    smallest, largest = values.min(), values.max()
    # NaN fails the comparisons
    if smallest >= 0 and largest <= MAX_NARROW and (values.dtype.kind in "iu" or bool((values == np.rint(values)).all())):
        return np.dtype(np.uint16)
    return values.dtype
