"""The cell store: one AnnData zarr v3 store per plate, sharded, counts and columns as narrow as they fit.

A store is written once, by blocks, and consolidated last; plain `anndata.read_zarr` reads it. Everything downstream iterates over blocks of it.

Axes: N cells of a plate, B cells of a block, F genes of the plate, G genes of the panel.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp

from causcade.errors import InputError
from causcade.files import replacing, zarr_v3

__all__ = ["CellStore", "ExpressionBlock", "StoreWriter", "log_normalise", "write_store"]

CHUNK_ELEMENTS = 1 << 18
CHUNKS_PER_SHARD = 16
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


def _narrow(largest: int) -> np.dtype[Any]:
    """Smallest unsigned type that holds `largest` with no loss."""
    return np.dtype(next(kind for kind in (np.uint16, np.uint32, np.uint64) if largest <= np.iinfo(kind).max))


class StoreWriter:
    """Append blocks of counts to a store whose size is known; used through :func:`write_store`."""

    def __init__(self, group: Any, num_cells: int, num_genes: int, num_nonzero: int, largest: int) -> None:
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
        for name, kind in (("data", _narrow(largest)), ("indices", _narrow(max(num_genes - 1, 0)))):
            self._group.create_array(name, shape=(num_nonzero,), chunks=(chunk,), shards=(self._shard,), dtype=kind)

    def append(self, counts_BF: sp.csr_matrix) -> None:
        """Add the next cells."""
        if counts_BF.data.max(initial=0) > self._largest:
            raise AssertionError(f"announced counts up to {self._largest}, found {counts_BF.data.max()}: it would not fit the stored type")
        counts_BF.sort_indices()
        self._buffered.append((counts_BF.data, counts_BF.indices))
        self._num_buffered += counts_BF.nnz
        self._indptr.append(counts_BF.indptr[1:].astype(np.int64) + self._indptr[-1][-1])
        if self._num_buffered >= self._shard:
            self._flush(self._num_buffered // self._shard * self._shard)

    def _flush(self, num: int) -> None:
        """Write the first `num` buffered elements: whole shards, so that none is rewritten."""
        parts = [np.concatenate([block[part] for block in self._buffered]) if self._buffered else np.zeros(0) for part in (0, 1)]
        for name, values in zip(("data", "indices"), parts, strict=True):
            if num:
                self._group[name][self._position : self._position + num] = values[:num]
        self._position += num
        self._buffered = [(parts[0][num:], parts[1][num:])]
        self._num_buffered -= num

    def finish(self) -> None:
        """Write what is left and the row pointers."""
        self._flush(self._num_buffered)
        if self._position != self._num_nonzero:
            raise AssertionError(f"announced {self._num_nonzero} non-zero counts, wrote {self._position}")
        indptr = np.concatenate(self._indptr)
        self._group.create_array("indptr", data=indptr)


def write_store(path: str | Path, obs: pd.DataFrame, var: pd.DataFrame, blocks: Iterator[sp.csr_matrix], *, num_nonzero: int, largest: int) -> None:
    """Write a cell store in one step: a temporary folder, consolidated, then renamed.

    Parameters
    ----------
    path
        Folder of the store, ending in ``.zarr``.
    obs
        Table of the cells [N], index = unique cell names.
    var
        Table of the genes [F], index = gene ids.
    blocks
        Counts by blocks of cells, in the order of `obs`.
    num_nonzero
        Number of non-zero counts over all blocks.
    largest
        Largest count; decides the width of the stored counts.
    """
    import zarr
    from anndata.io import write_elem

    with replacing(path) as temporary, zarr_v3():
        group = zarr.open_group(str(temporary), mode="w", zarr_format=3)
        group.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        writer = StoreWriter(group, len(obs), len(var), num_nonzero, largest)
        for block in blocks:
            writer.append(block)
        writer.finish()
        write_elem(group, "obs", obs)
        write_elem(group, "var", var)
        for name in ("layers", "obsm", "varm", "obsp", "varp", "uns"):
            write_elem(group, name, {})
        zarr.consolidate_metadata(group.store)


class ExpressionBlock(NamedTuple):
    """One block of cells: row numbers in the store [B] and x = log(1 + CP10k) [B, G] as float32."""

    rows: np.ndarray
    x_BG: np.ndarray


class CellStore:
    """A cell store, open for reading; a context manager.

    Attributes
    ----------
    obs : pandas.DataFrame
        Table of the cells [N].
    var : pandas.DataFrame
        Table of the genes [F]; index `gene_id`, column `gene`.
    """

    def __init__(self, path: str | Path) -> None:
        import zarr
        from anndata.io import read_elem, sparse_dataset

        self.path = Path(path)
        self._group = zarr.open_group(str(path), mode="r")
        self.obs: pd.DataFrame = read_elem(self._group["obs"])
        self.var: pd.DataFrame = read_elem(self._group["var"])
        self._matrix = sparse_dataset(self._group["X"])

    def __enter__(self) -> CellStore:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        return None

    @property
    def num_cells(self) -> int:
        """Number of cells."""
        return len(self.obs)

    def iter_counts(self, num_cells: int, rows: np.ndarray | None = None) -> Iterator[tuple[np.ndarray, sp.csr_matrix]]:
        """Blocks (row numbers [B], counts [B, F]) of at most `num_cells` stored cells; `rows` (ascending) restricts them."""
        wanted = np.arange(self.num_cells) if rows is None else np.asarray(rows)
        for start in range(0, self.num_cells, num_cells):
            first, last = np.searchsorted(wanted, [start, start + num_cells])
            if first == last:
                continue
            part = wanted[first:last]
            block = sp.csr_matrix(self._matrix[int(part[0]) : int(part[-1]) + 1])
            yield part, block if len(part) == block.shape[0] else block[part - part[0]]

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
        shape = (len(self.var), len(gene_ids))
        selector = sp.csr_matrix((np.ones(int(present.sum()), dtype=np.float32), (columns[present], np.flatnonzero(present))), shape=shape)
        for part, counts in self.iter_counts(num_cells, rows):
            yield part, sp.csr_matrix(log_normalise(counts, totals[part]) @ selector)

    def iter_expression(self, gene_ids: pd.Index, num_cells: int, rows: np.ndarray | None = None) -> Iterator[ExpressionBlock]:
        """Blocks of :meth:`iter_sparse_expression`, dense."""
        for part, x_BG in self.iter_sparse_expression(gene_ids, num_cells, rows):
            yield ExpressionBlock(part, x_BG.toarray())
