"""The cell store: one AnnData zarr v3 store per plate, sharded, counts and columns as narrow as they fit.

A store is written once, by blocks, and consolidated last; plain `anndata.read_zarr` reads it. Everything downstream iterates over blocks of it.

Axes: N cells of a plate, B cells of a block, F genes of the plate, G genes of the panel.
"""

from __future__ import annotations

import contextlib
import importlib.util
import math
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp

from causcade.errors import InputError
from causcade.files import replacing, zarr_v3
from causcade.runtime import num_threads

__all__ = ["CellStore", "ExpressionBlock", "StoreWriter", "chunk_codecs", "log_normalise", "write_store"]

# Measured with benchmarks/reading.py: from 128k to 256k elements a chunk is read fastest with `zarrs`, and nearly so without.
CHUNK_ELEMENTS = 1 << 18
CHUNKS_PER_SHARD = 32
# What zarr, zarrs and anndata raise on damaged data; any other exception is a defect and keeps its traceback.
READ_ERRORS = (OSError, KeyError, ValueError, RuntimeError, IndexError, TypeError)
TARGET_SUM = 1e4


def log_normalise(counts_BF: sp.csr_matrix, total_B: np.ndarray) -> sp.csr_matrix:
    """log(1 + 10^4 * count / total) as float32, with the sparsity of the counts.

    Parameters
    ----------
    counts_BF
        Counts, shape [B, F]; any subset of the columns that `total_B` counted.
    total_B
        Total counts of each cell over all genes, shape [B]; 0 gives a row of zeros.
    """
    scale_B = np.divide(TARGET_SUM, total_B, out=np.zeros(len(total_B)), where=total_B > 0)
    data = counts_BF.data.astype(np.float64) * np.repeat(scale_B, np.diff(counts_BF.indptr))
    return sp.csr_matrix((np.log1p(data).astype(np.float32), counts_BF.indices, counts_BF.indptr), shape=counts_BF.shape)


@contextlib.contextmanager
def chunk_codecs() -> Iterator[None]:
    """Let `zarrs` encode and decode the arrays that are opened or made in this block, where it is installed; bytes mean the same either way.

    It is limited to the threads of this job. Arrays keep the codecs that they were opened with.
    """
    import zarr

    options: dict[str, Any] = {"threading.max_workers": num_threads()}
    if importlib.util.find_spec("zarrs") is not None:
        options["codec_pipeline.path"] = "zarrs.ZarrsCodecPipeline"
    with zarr.config.set(options):
        yield


def _narrow(largest: int) -> np.dtype[Any]:
    """Smallest unsigned type that holds `largest` with no loss."""
    return np.dtype(next(kind for kind in (np.uint16, np.uint32, np.uint64) if largest <= np.iinfo(kind).max))


class StoreWriter:
    """Append blocks of counts to a store whose size is known; used through :func:`write_store`.

    Attributes
    ----------
    num_cells : numpy.ndarray
        Cells so far that express each gene, shape [F], int64.
    """

    def __init__(self, group: Any, num_cells: int, num_genes: int, num_nonzero: int, largest: int) -> None:
        from zarr.codecs import BloscCodec, Crc32cCodec

        self.num_cells = np.zeros(num_genes, dtype=np.int64)
        self._num_nonzero = num_nonzero
        self._position = 0
        self._buffered: list[tuple[np.ndarray, np.ndarray]] = []
        self._num_buffered = 0
        self._indptr = [np.zeros(1, dtype=np.int64)]
        encoding = {"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": [num_cells, num_genes]}
        self._group = group.create_group("X", attributes=encoding)
        self._largest = largest
        chunk = max(1, min(CHUNK_ELEMENTS, num_nonzero))
        self._shard = chunk * min(CHUNKS_PER_SHARD, max(1, -(-num_nonzero // chunk)))
        # What is read where a chunk is missing can be told from data: no stored count is 0, and no gene has the last number of the type.
        kinds = {"data": (_narrow(largest), 0), "indices": (_narrow(num_genes), np.iinfo(_narrow(num_genes)).max)}
        with chunk_codecs():
            self._arrays = [
                self._group.create_array(
                    name, shape=(num_nonzero,), chunks=(chunk,), shards=(self._shard,), dtype=kind, fill_value=fill,
                    compressors=(BloscCodec(typesize=kind.itemsize, cname="lz4", clevel=5, shuffle="shuffle"), Crc32cCodec()),
                )
                for name, (kind, fill) in kinds.items()
            ]  # fmt: skip

    def append(self, counts_BF: sp.csr_matrix) -> None:
        """Add the next cells; entries have to be distinct and not zero."""
        if counts_BF.data.max(initial=0) > self._largest:
            raise AssertionError(f"announced counts up to {self._largest}, found {counts_BF.data.max()}: it would not fit the stored type")
        if counts_BF.nnz and counts_BF.data.min() <= 0:
            raise AssertionError(f"expected counts from 1 among the stored entries, found {counts_BF.data.min()}")
        counts_BF.sort_indices()
        self.num_cells += np.bincount(counts_BF.indices, minlength=len(self.num_cells))
        self._buffered.append((counts_BF.data.astype(self._arrays[0].dtype), counts_BF.indices.astype(self._arrays[1].dtype)))
        self._num_buffered += counts_BF.nnz
        self._indptr.append(counts_BF.indptr[1:].astype(np.int64) + self._indptr[-1][-1])
        if self._num_buffered >= self._shard:
            self._flush(self._num_buffered // self._shard * self._shard)

    def _flush(self, num: int) -> None:
        """Write the first `num` buffered elements: whole shards, so that none is rewritten."""
        if num:
            parts = [np.concatenate([block[part] for block in self._buffered]) for part in (0, 1)]
            for array, values in zip(self._arrays, parts, strict=True):
                array[self._position : self._position + num] = values[:num]
            self._buffered = [(parts[0][num:].copy(), parts[1][num:].copy())]
        self._position += num
        self._num_buffered -= num

    def finish(self) -> None:
        """Write what is left and the row pointers."""
        self._flush(self._num_buffered)
        if self._position != self._num_nonzero:
            raise AssertionError(f"announced {self._num_nonzero} non-zero counts, wrote {self._position}")
        self._group.create_array("indptr", data=np.concatenate(self._indptr), compressors=_checked())


def _checked() -> Any:
    """Compression of the small arrays, with a checksum."""
    from zarr.codecs import ZstdCodec

    return (ZstdCodec(level=0, checksum=True),)


def write_store(path: str | Path, obs: pd.DataFrame, var: pd.DataFrame, blocks: Iterator[sp.csr_matrix], *, num_nonzero: int, largest: int) -> None:
    """Write a cell store in one step: a temporary folder, consolidated, then renamed.

    Parameters
    ----------
    path
        Folder of the store, ending in ``.zarr``.
    obs
        Table of the cells [N], index = unique cell names.
    var
        Table of the genes [F], index = gene ids; the store adds `num_cells`, the cells that express the gene.
    blocks
        Counts by blocks of cells, in the order of `obs`; no entry is stored as 0.
    num_nonzero
        Number of non-zero counts over all blocks.
    largest
        Largest count; decides the width of the stored counts.
    """
    import zarr
    from anndata.io import write_elem

    # every chunk is written, also one of zeros only: one that is missing later is then seen to be missing
    with replacing(path) as temporary, zarr_v3(), zarr.config.set({"array.write_empty_chunks": True}):
        group = zarr.open_group(str(temporary), mode="w", zarr_format=3)
        group.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        writer = StoreWriter(group, len(obs), len(var), num_nonzero, largest)
        for block in blocks:
            writer.append(block)
        writer.finish()
        options = {"compressors": _checked()}
        write_elem(group, "obs", _as_categories(obs), dataset_kwargs=options)
        write_elem(group, "var", var.assign(num_cells=writer.num_cells), dataset_kwargs=options)
        for name in ("layers", "obsm", "varm", "obsp", "varp", "uns"):
            write_elem(group, name, {})
        zarr.consolidate_metadata(group.store)


def _as_categories(obs: pd.DataFrame) -> pd.DataFrame:
    """Hold texts that repeat as categories: as texts they take seconds and a gigabyte for a million cells, whenever the store is opened."""
    texts = [name for name in obs.columns if obs[name].dtype == object and pd.api.types.infer_dtype(obs[name], skipna=False) == "string"]
    found = {name: pd.Categorical(obs[name]) for name in texts}
    return obs.assign(**{name: values for name, values in found.items() if len(values.categories) < len(obs)})


def _as_texts(obs: pd.DataFrame) -> pd.DataFrame:
    """Return categories as texts; each distinct text is in memory once."""
    return obs.assign(**{name: obs[name].astype(object) for name in obs.columns if isinstance(obs[name].dtype, pd.CategoricalDtype)})


class ExpressionBlock(NamedTuple):
    """One block of cells: row numbers in the store [B] and x = log(1 + CP10k) [B, G] as float32."""

    rows: np.ndarray
    x_BG: np.ndarray


def _take_columns(counts_BF: sp.csr_matrix, target_F: np.ndarray, num_genes: int) -> sp.csr_matrix:
    """Take some columns, as counts [B, G]: `target_F` has the new place of each, and -1 for those that are dropped; columns are sorted."""
    target_E = target_F[counts_BF.indices]
    is_kept = target_E >= 0
    kept = np.concatenate([[0], np.cumsum(is_kept, dtype=counts_BF.indptr.dtype)])
    taken = sp.csr_matrix((counts_BF.data[is_kept], target_E[is_kept], kept[counts_BF.indptr]), shape=(counts_BF.shape[0], num_genes))
    if (np.diff(target_F[target_F >= 0]) < 0).any():
        taken.sort_indices()
    taken.has_canonical_format = True
    return taken


class _Elements:
    """One flat array of a store, read from front to back by whole shards: none is decoded twice, and each is checked.

    zarrs skips the checksums of a shard that it reads in part (0.2.3: damaged bytes then come back as other counts, or end the process). The last
    shard is most often shorter than the others, which is a part to zarrs: `checked` is the same array, opened without zarrs, and reads that one.
    """

    def __init__(self, array: Any, checked: Any) -> None:
        self._array = array
        self._checked = checked
        self._shard = int(array.shards[0])
        self._start = 0
        self._values = np.zeros(0, dtype=array.dtype)

    def read(self, start: int, stop: int) -> np.ndarray:
        """Elements `start` to `stop` as a view; whole shards are read, and what is beyond `stop` is kept for the next call."""
        end = self._start + len(self._values)
        if not self._start <= start <= stop <= end:
            self._fill(start, stop, self._values[start - self._start :] if self._start <= start <= end else self._values[:0])
        return self._values[start - self._start : stop - self._start]

    def _fill(self, start: int, stop: int, kept: np.ndarray) -> None:
        """Hold `kept`, which begins at `start` where it is not empty, and the shards after it up to `stop`."""
        first = start + len(kept) if len(kept) else start // self._shard * self._shard
        last = max(first, min(-(-stop // self._shard) * self._shard, self._array.shape[0]))
        whole = max(first, last // self._shard * self._shard)
        values = np.empty(len(kept) + last - first, dtype=self._array.dtype)
        values[: len(kept)] = kept
        self._start, self._values = first - len(kept), values
        self._read_into(self._array, first, whole)
        self._read_into(self._checked, whole, last)

    def _read_into(self, array: Any, first: int, last: int) -> None:
        from zarr.core.buffer import default_buffer_prototype

        if last > first:
            buffer = default_buffer_prototype().nd_buffer.from_numpy_array(self._values[first - self._start : last - self._start])
            array.get_basic_selection(slice(first, last), out=buffer)


def _missing_chunks(group: Any, path: Path) -> list[str]:
    """Names of the arrays of a store of which a chunk (or a shard of chunks) has no file, or an empty one; all were written."""
    missing = []
    for name, array in group.members(max_depth=None):
        if not hasattr(array, "chunks"):
            continue
        sizes = zip(array.shape, array.shards or array.chunks, strict=True)
        expected = math.prod(-(-length // size) for length, size in sizes)
        found = sum(file.is_file() and file.name != "zarr.json" and file.stat().st_size > 0 for file in (path / name).rglob("*"))
        if found < expected:
            missing.append(name)
    return missing


class CellStore:
    """A cell store, open for reading; a context manager.

    Attributes
    ----------
    obs : pandas.DataFrame
        Table of the cells [N].
    var : pandas.DataFrame
        Table of the genes [F]; index `gene_id`, columns `gene` and `num_cells` (cells of the store that express the gene).

    Raises
    ------
    InputError
        If a file of the store is missing or damaged; damage to a chunk of counts is found when that chunk is read.
    """

    def __init__(self, path: str | Path) -> None:
        import zarr
        from anndata.io import read_elem

        self.path = Path(path)
        with self._reading():
            group: Any = zarr.open_group(str(path), mode="r")
            missing = _missing_chunks(group, self.path)
            if missing:
                raise self._damage(f"no file for a part of {', '.join(missing)}")
            self.obs: pd.DataFrame = _as_texts(read_elem(group["obs"]))
            self.var: pd.DataFrame = read_elem(group["var"])
            self._indptr: np.ndarray = group["X/indptr"][:]
            plain = [group[name] for name in ("X/data", "X/indices")]
            with chunk_codecs():
                self._arrays = [(group[name], array) for name, array in zip(("X/data", "X/indices"), plain, strict=True)]
        sizes = {int(self._indptr[-1]), *(array.shape[0] for array in plain)}
        if len(self._indptr) != len(self.obs) + 1 or len(sizes) > 1:
            raise self._damage("row pointers that do not fit the cells or the counts")

    def __enter__(self) -> CellStore:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        return None

    @property
    def num_cells(self) -> int:
        """Number of cells."""
        return len(self.obs)

    def _damage(self, what: str) -> InputError:
        return InputError(f"{self.path}: expected a whole cell store, found {what}. Delete the folder and run again: the plate is stored anew.")

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except READ_ERRORS as error:
            what = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
            raise self._damage(f"a damaged part ({what})") from None

    def iter_counts(self, num_cells: int, rows: np.ndarray | None = None) -> Iterator[tuple[np.ndarray, sp.csr_matrix]]:
        """Blocks (row numbers [B], counts [B, F]) of at most `num_cells` stored cells; `rows` (ascending) restricts them.

        Counts keep their stored type; columns are sorted and distinct.

        Raises
        ------
        InputError
            If a chunk is missing or damaged.
        """
        wanted = np.arange(self.num_cells) if rows is None else np.asarray(rows)
        data, columns = (_Elements(array, plain) for array, plain in self._arrays)
        for start in range(0, self.num_cells, num_cells):
            first, last = np.searchsorted(wanted, [start, start + num_cells])
            if first == last:
                continue
            part = wanted[first:last]
            block = self._block(data, columns, int(part[0]), int(part[-1]) + 1)
            yield part, block if len(part) == block.shape[0] else block[part - part[0]]

    def _block(self, data: _Elements, columns: _Elements, start: int, stop: int) -> sp.csr_matrix:
        """Read the counts of the cells from `start` to `stop`, and check that no chunk was missing."""
        first, last = int(self._indptr[start]), int(self._indptr[stop])
        with self._reading():
            values_E, column_E = data.read(first, last), columns.read(first, last)
        if last > first and (values_E.min() == 0 or column_E.max() >= len(self.var)):
            raise self._damage(f"no counts for some of cells {start} to {stop - 1} (a missing chunk)")
        # scipy takes signed columns; int64 only where a block has more entries than int32 numbers
        kind = np.int32 if max(last - first, len(self.var)) <= np.iinfo(np.int32).max else np.int64
        indptr = (self._indptr[start : stop + 1] - first).astype(kind)
        block = sp.csr_matrix((values_E, column_E.astype(kind), indptr), shape=(stop - start, len(self.var)))
        block.has_canonical_format = True
        return block

    def iter_sparse_expression(
        self, gene_ids: pd.Index, num_cells: int, rows: np.ndarray | None = None
    ) -> Iterator[tuple[np.ndarray, sp.csr_matrix]]:
        """Blocks (row numbers [B], x = log(1 + CP10k) [B, G]) of the given genes, float32 CSR.

        Cells are normalised by their total over all genes of the store. A gene that the plate does not have is a column of zeros: it was not
        seen there.

        Raises
        ------
        InputError
            If the plate has none of the genes.
        """
        columns = self.var.index.get_indexer(gene_ids)
        present = columns >= 0
        if len(gene_ids) and not present.any():
            examples = ", ".join(map(str, self.var.index[:3]))
            raise InputError(
                f"{self.path}: expected some of the {len(gene_ids)} genes of the panel (such as {gene_ids[0]}), "
                f"found none among its own (such as {examples}). Use one kind of id on all plates."
            )
        totals = self.obs["total_counts"].to_numpy(dtype=np.float64)
        target_F = np.full(len(self.var), -1, dtype=np.int32)
        target_F[columns[present]] = np.flatnonzero(present)
        for part, counts in self.iter_counts(num_cells, rows):
            yield part, log_normalise(_take_columns(counts, target_F, len(gene_ids)), totals[part])

    def iter_expression(self, gene_ids: pd.Index, num_cells: int, rows: np.ndarray | None = None) -> Iterator[ExpressionBlock]:
        """Blocks of :meth:`iter_sparse_expression`, dense."""
        for part, x_BG in self.iter_sparse_expression(gene_ids, num_cells, rows):
            yield ExpressionBlock(part, x_BG.toarray())
