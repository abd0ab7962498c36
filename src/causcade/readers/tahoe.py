"""Tahoe-100M as parquet (https://huggingface.co/datasets/tahoebio/Tahoe-100M): a row per cell, genes as tokens, in one file or a folder of shards.

Columns `genes` (list of token numbers) and `expressions` (list of counts) have one length in each row. The first token of a row may be a marker
that is no gene and has a negative value; it is dropped. The other columns are obs; `BARCODE_SUB_LIB_ID` names the cell. Where shards hold cells of
many plates, only those of the plate at hand are read.

Axes: N cells of the input (or of the plate), B cells of a batch, F genes of the gene table.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from causcade.config import InputConfig
from causcade.errors import InputError
from causcade.input_files import list_shards
from causcade.readers.matrices import Window
from causcade.readers.opened import OpenedInput, numbered_cells, opening, refuse_layer
from causcade.readers.tables import read_table

__all__ = ["TokenRows", "TokenTable", "open_tahoe", "read_token_table"]

logger = logging.getLogger(__name__)

KIND = "Tahoe parquet"
TOKENS, COUNTS, CELL = "genes", "expressions", "BARCODE_SUB_LIB_ID"
SYMBOL = "gene_symbol"
TABLE_COLUMNS = ("token_id", "ensembl_id", SYMBOL)
BATCH_CELLS = 4096
EXAMPLES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenTable:
    """Genes by token: `var` [F], and the position of each token in it (-1: no gene) [largest token + 1]."""

    path: str
    var: pd.DataFrame
    positions: np.ndarray

    def find(self, tokens: np.ndarray) -> np.ndarray:
        """Positions of some tokens; -1 where a token is not in the table."""
        is_known = (tokens >= 0) & (tokens < len(self.positions))
        return np.where(is_known, self.positions[np.where(is_known, tokens, 0)], -1)


def read_token_table(path: str | None, where: str) -> TokenTable:
    """Read the table of gene tokens (`gene_metadata.parquet` of Tahoe-100M).

    Parameters
    ----------
    path
        `input.gene_table`: parquet, tsv or csv with columns token_id, ensembl_id, gene_symbol.
    where
        The input, for messages.

    Raises
    ------
    InputError
        If there is none, or it has no such columns, or tokens that are no numbers or repeated.
    """
    if path is None:
        raise InputError(f"{where}: expected the table of gene tokens of {KIND}, found `input.gene_table: null`. Give gene_metadata.parquet.")
    table = read_table(path, "input.gene_table")
    missing = [name for name in TABLE_COLUMNS if name not in table.columns]
    if missing:
        found = ", ".join(map(str, table.columns))
        raise InputError(f"{path}: expected columns {', '.join(TABLE_COLUMNS)} (input.gene_table), found {found}. Add {' and '.join(missing)}.")
    tokens = pd.to_numeric(table["token_id"], errors="coerce").to_numpy(dtype=np.float64)
    if not (np.isfinite(tokens) & (tokens >= 0) & (tokens == np.rint(tokens))).all() or len(np.unique(tokens)) < len(tokens):
        raise InputError(f"{path}: expected each token_id once, as a whole number from 0, found others. Take the table of this release.")
    positions = np.full(int(tokens.max(initial=-1)) + 1, -1, dtype=np.int32)
    positions[tokens.astype(np.int64)] = np.arange(len(tokens), dtype=np.int32)
    var = table[[SYMBOL]].set_axis(pd.Index(table["ensembl_id"].astype(str).to_numpy(), dtype=object), axis=0)
    return TokenTable(path=str(path), var=var, positions=np.append(positions, np.int32(-1)))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Group:
    """Row group of a shard, and which of its rows are read (None: all)."""

    shard: Path
    number: int
    rows: np.ndarray | None
    num: int


def open_tahoe(path: Path, settings: InputConfig, plate: str | None) -> OpenedInput:
    """Open a parquet file or a folder of shards.

    Parameters
    ----------
    path
        File or folder.
    settings
        `gene_table` translates tokens; where `columns.plate` names a column of the file, only the cells of `plate` are read, if there are any.
    plate
        Name of the plate; None reads all cells.

    Raises
    ------
    InputError
        If a shard is damaged or lacks columns, shards differ in their columns, or the gene table is missing.
    """
    refuse_layer(path, settings, KIND)
    table = read_token_table(settings.gene_table, str(path))
    shards = list_shards(path)
    names = _obs_columns(shards)
    source = settings.columns.plate
    column = source.column if plate is not None and source is not None and source.pattern is None and source.column in names else None
    members = {shard: None if column is None else _rows_of_plate(shard, column, str(plate)) for shard in shards}
    if column is not None and not any(rows is not None and len(rows) for rows in members.values()):
        members = dict.fromkeys(shards)  # no cell has this plate: whether that is a mistake is judged by the labels
    groups = [group for shard in shards for group in _groups(shard, members[shard])]
    obs = _read_obs(path, shards, members, names)
    return OpenedInput(obs=obs, var=table.var, symbol=SYMBOL, matrix=TokenRows(groups, table))


def _file(shard: Path, **options: Any) -> Any:
    """Open a shard; pyarrow gets its path, not an open file (see :func:`causcade.files.read_parquet`)."""
    import pyarrow.parquet as pq
    from pyarrow.fs import LocalFileSystem

    return pq.ParquetFile(str(shard), filesystem=LocalFileSystem(), **options)


def _obs_columns(shards: list[Path]) -> list[str]:
    """Names of the obs columns, which all shards share; lists are none."""
    import pyarrow.types as kinds

    found: dict[str, list[str]] = {}
    for shard in shards:
        with opening(shard, KIND), _file(shard) as file:
            schema = file.schema_arrow
        missing = [name for name in (TOKENS, COUNTS) if name not in schema.names]
        if missing:
            raise InputError(f"{shard}: expected columns {TOKENS} and {COUNTS} ({KIND}), found {', '.join(schema.names)}. Correct column counts.")
        found[str(shard)] = sorted(field.name for field in schema if field.name not in (TOKENS, COUNTS) and not kinds.is_nested(field.type))
    first, names = next(iter(found.items()))
    for name, others in found.items():
        if others != names:
            differing = ", ".join(sorted(set(others) ^ set(names)))
            raise InputError(
                f"{name}: expected the columns of {first}, found that {differing} is in one of them only. Keep shards of one release together."
            )
    return names


def _rows_of_plate(shard: Path, column: str, plate: str) -> np.ndarray:
    """Rows of a shard whose plate is the one at hand."""
    with opening(shard, KIND), _file(shard) as file:
        values = file.read(columns=[column])[column].to_pandas()
    codes, distinct = pd.factorize(values)
    is_plate = np.array([*(str(value).strip() == plate for value in np.asarray(distinct)), False])
    return np.flatnonzero(is_plate[codes])


def _groups(shard: Path, rows: np.ndarray | None) -> Iterator[_Group]:
    """Row groups of a shard that have rows to read."""
    with opening(shard, KIND), _file(shard) as file:
        sizes = [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]
    start = 0
    for number, size in enumerate(sizes):
        inside = None if rows is None else rows[np.searchsorted(rows, start) : np.searchsorted(rows, start + size)] - start
        num = size if inside is None else len(inside)
        if num:
            yield _Group(shard=shard, number=number, rows=None if num == size else inside, num=num)
        start += size


def _read_obs(path: Path, shards: list[Path], members: dict[Path, np.ndarray | None], names: list[str]) -> pd.DataFrame:
    """Return the obs of the cells that are read; texts as categories, so that each is in memory once [N]."""
    import pyarrow as pa

    tables = []
    for shard in shards:
        rows = members[shard]
        if rows is not None and len(rows) == 0:
            continue
        with opening(shard, KIND), _file(shard, read_dictionary=[name for name in names if name != CELL]) as file:
            table = file.read(columns=names) if names else pa.table({"": pa.nulls(file.metadata.num_rows)}).select([])
            tables.append((table if rows is None else table.take(rows), file.metadata.num_rows if rows is None else len(rows)))
    num = sum(size for _, size in tables)
    if not names:
        return numbered_cells(num)
    with opening(path, KIND):
        obs: pd.DataFrame = pa.concat_tables([table for table, _ in tables], promote_options="permissive").unify_dictionaries().to_pandas()
    if CELL not in obs:
        logger.warning("%s: no column %s, so that its cells are numbered from 0", path, CELL)
        return obs.set_axis(numbered_cells(num).index, axis=0)
    return obs.drop(columns=CELL).set_axis(pd.Index(obs[CELL].to_numpy(), dtype=object), axis=0)


class TokenRows:
    """Rows of tokens in parquet as a matrix [N, F], read in ascending order; :class:`causcade.readers.matrices.CountMatrix`.

    Parameters
    ----------
    groups
        Row groups in order.
    table
        Genes by token.
    """

    def __init__(self, groups: list[_Group], table: TokenTable) -> None:
        self._groups, self._table = groups, table
        self._starts = np.concatenate([[0], np.cumsum([group.num for group in groups], dtype=np.int64)])
        self.shape = (int(self._starts[-1]), len(table.var))
        self._has_told = False

    def windows(self, windows: list[Window]) -> Iterator[sp.csr_matrix]:
        """CSR of each window."""
        batches: Iterator[sp.csr_matrix] = iter(())
        held = self._empty()
        first = last = 0  # positions of what is held
        group = -1  # row group that `batches` reads
        for start, stop in windows:
            pieces: list[sp.csr_matrix] = []
            while start < stop:
                wanted = int(np.searchsorted(self._starts, start, side="right")) - 1
                if not first <= start < last:
                    if wanted != group or start < first:
                        group, batches, last = wanted, self._batches(self._groups[wanted]), int(self._starts[wanted])
                    held = next(batches)
                    first, last = last, last + held.shape[0]
                    continue
                end = min(stop, last)
                pieces.append(held[start - first : end - first])
                start = end
            yield sp.vstack(pieces, format="csr") if pieces else self._empty()

    def sample(self, windows: list[Window]) -> Iterator[sp.csr_matrix]:
        """CSR of each window."""
        return self.windows(windows)

    def close(self) -> None:
        """Nothing is kept open between windows."""

    def _empty(self) -> sp.csr_matrix:
        return sp.csr_matrix((0, self.shape[1]), dtype=np.float32)

    def _batches(self, group: _Group) -> Iterator[sp.csr_matrix]:
        """Yield the counts of one row group, batch by batch."""
        done = 0
        with _file(group.shard) as file:
            for batch in file.iter_batches(BATCH_CELLS, row_groups=[group.number], columns=[TOKENS, COUNTS]):
                end = done + batch.num_rows
                rows = None if group.rows is None else group.rows[np.searchsorted(group.rows, done) : np.searchsorted(group.rows, end)] - done
                done = end
                if rows is None or len(rows):
                    yield self._counts(batch if rows is None else batch.take(rows), str(group.shard))

    def _counts(self, batch: Any, where: str) -> sp.csr_matrix:
        """Return the counts of some rows [B, F], without their markers."""
        import pyarrow.compute as pc

        lengths, others = (pc.fill_null(pc.list_value_length(batch.column(name)), 0).to_numpy(zero_copy_only=False) for name in (TOKENS, COUNTS))
        tokens, counts = (batch.column(name).flatten() for name in (TOKENS, COUNTS))
        if not np.array_equal(lengths, others) or tokens.null_count or counts.null_count:
            raise InputError(f"{where}: expected as many {COUNTS} as {TOKENS} in each row, none empty, found others. Copy the file again.")
        token, count = tokens.to_numpy(zero_copy_only=False), counts.to_numpy(zero_copy_only=False)
        indptr = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        columns = self._table.find(token)
        first = indptr[:-1][lengths > 0]
        is_marker = np.zeros(len(token), dtype=bool)
        is_marker[first] = (columns[first] < 0) & (count[first] < 0)
        self._tell_unmarked(len(first) - int(is_marker.sum()), where)
        unknown = ~is_marker & (columns < 0)
        if unknown.any():
            found = pd.unique(token[unknown])
            listed = ", ".join(map(str, found[:EXAMPLES])) + (f" and {len(found) - EXAMPLES} more" if len(found) > EXAMPLES else "")
            raise InputError(
                f"{where}: expected tokens of {self._table.path} (input.gene_table) after the marker of each row, found {listed}. "
                "Take the gene table of this release."
            )
        num_marked = np.concatenate([[0], np.cumsum(is_marker)])[indptr]
        return sp.csr_matrix((count[~is_marker], columns[~is_marker], indptr - num_marked), shape=(len(lengths), self.shape[1]))

    def _tell_unmarked(self, num: int, where: str) -> None:
        """Say once that rows begin with a gene."""
        if num and not self._has_told:
            self._has_told = True
            logger.warning("%s: %d rows of a batch begin with a gene and not with a marker; all of their tokens are read as genes", where, num)
