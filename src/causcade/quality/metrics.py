"""Counts, detected genes and mitochondrial share of each cell: by a pass over the file on a CPU, by rapids-singlecell and Dask on GPUs.

Both equal `scanpy.pp.calculate_qc_metrics` (doi:10.1186/s13059-017-1382-0). Nothing is summed over cells: rapids-singlecell adds the totals of genes
in the type of the counts, which float32 loses beyond 2^24; they are not used here, and blocks are float64.

Axes: N cells of the plate, B cells of a block, G genes.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from causcade.backend import Backend, single_cell
from causcade.gene_lists import MITO_GENE_IDS, MITO_PREFIX
from causcade.quality.plate_counts import PlateCounts, Source
from causcade.readers import CountsFile
from causcade.runtime import Progress

__all__ = ["measure_cells", "measure_cells_by_dask", "mitochondrial"]

logger = logging.getLogger(__name__)

TASK_CELLS = 50_000
"""Cells of one Dask task: cupy numbers at most 2^31 entries of a block, which 50,000 cells of 40,000 genes stay below."""
GROUP_CELLS = 200_000
"""Cells that a GPU holds at a time, 12 bytes per count: 12 GB at 5,000 genes per cell."""

_OPEN = threading.local()


def mitochondrial(var: pd.DataFrame) -> np.ndarray:
    """Which genes are mitochondrial, by symbol (`MT-`, `mt-`) or by human Ensembl id, boolean [G].

    Parameters
    ----------
    var
        Table with index `gene_id` (Ensembl ids without version, or symbols) and column `gene`.
    """
    by_symbol = [names.astype(str).str.upper().str.startswith(MITO_PREFIX) for names in (pd.Index(var["gene"]), var.index)]
    return np.asarray(by_symbol[0] | by_symbol[1] | var.index.isin(MITO_GENE_IDS), dtype=bool)


def _mitochondrial_of(plate: PlateCounts) -> np.ndarray:
    found = mitochondrial(plate.var)
    if not found.any():
        logger.warning("none of %d genes is mitochondrial, by symbol (MT-) or human Ensembl id: the share is 0 and filters no cell", len(found))
    return found


def measure_cells(plate: PlateCounts) -> tuple[pd.DataFrame, int]:
    """Measure counts, detected genes and mitochondrial share of each cell, and the largest count.

    Returns
    -------
    metrics : pandas.DataFrame
        Columns `total_counts` (counts), `num_genes`, `mito_fraction` (0 where a cell has no counts) [N].
    largest : int
        Largest single count.
    """
    num = len(plate.obs)
    total, genes, mito = np.zeros(num), np.zeros(num, dtype=np.int64), np.zeros(num)
    is_mito = _mitochondrial_of(plate).astype(np.float64)
    largest = 0
    progress = Progress(num, "cells")
    for rows, counts in plate.iter_blocks():
        total[rows] = np.asarray(counts.sum(axis=1, dtype=np.float64)).ravel()
        genes[rows] = np.diff(counts.indptr)
        mito[rows] = counts @ is_mito
        largest = max(largest, int(counts.data.max(initial=0)))
        progress.advance(len(rows))
    return _table(plate, total, genes, mito), largest


def _table(plate: PlateCounts, total: np.ndarray, genes: np.ndarray, mito: np.ndarray) -> pd.DataFrame:
    share = np.divide(mito, total, out=np.zeros(len(total)), where=total > 0)
    return pd.DataFrame({"total_counts": total, "num_genes": genes, "mito_fraction": share}, index=plate.obs.index)


def measure_cells_by_dask(
    plate: PlateCounts, *, backend: Backend, num_workers: int = 1, task_cells: int = TASK_CELLS, group_cells: int = GROUP_CELLS
) -> tuple[pd.DataFrame, int]:
    """Measure as :func:`measure_cells` does, by rapids-singlecell (or scanpy, on a CPU) on Dask arrays of CSR blocks.

    Each task opens the file itself. The plate goes through in groups of cells that fit in memory, so that the file is read once whatever its size;
    the Dask client in use, if any, decides where.

    Parameters
    ----------
    plate
        The plate's cells in their file.
    backend
        Which of the two libraries.
    num_workers
        Workers that share a group, such as :func:`causcade.backend.gpu_cluster` tells.
    task_cells, group_cells
        Cells of a task, and of a group per worker; they change no result.
    """
    import anndata

    module = single_cell(backend)
    on_gpu = module.__name__ != "scanpy"
    num = len(plate.obs)
    total, genes, mito = np.zeros(num), np.zeros(num, dtype=np.int64), np.zeros(num)
    var = pd.DataFrame({"mito": _mitochondrial_of(plate)}, index=plate.var.index)
    largest = 0
    progress = Progress(num, "cells")
    for start, stop in _cut(0, num, group_cells * num_workers):
        x_BG = _dask_array(plate, [plate.rows[first:last] for first, last in _cut(start, stop, task_cells)], on_gpu=on_gpu).persist()
        data = anndata.AnnData(x_BG, obs=pd.DataFrame(index=pd.RangeIndex(stop - start).astype(str)), var=var.copy())
        options = {} if on_gpu else {"percent_top": None, "inplace": True}
        module.pp.calculate_qc_metrics(data, qc_vars=["mito"], log1p=False, **options)
        total[start:stop], genes[start:stop] = data.obs["total_counts"], data.obs["n_genes_by_counts"]
        mito[start:stop] = data.obs["total_counts_mito"]
        largest = max(largest, *_largest(x_BG))
        progress.advance(stop - start)
    return _table(plate, total, genes, mito), largest


def _cut(start: int, stop: int, size: int) -> Iterator[tuple[int, int]]:
    """Consecutive ranges of at most `size`."""
    for first in range(start, stop, size):
        yield first, min(first + size, stop)


def _dask_array(plate: PlateCounts, parts: list[np.ndarray], *, on_gpu: bool) -> Any:
    """Make a Dask array of CSR blocks of some rows of the file, one task for each part; nothing is read yet."""
    import dask.array
    from dask.delayed import delayed

    arrays: Any = dask.array  # untyped
    num_genes = len(plate.var)
    meta = _placed(sp.csr_matrix((0, num_genes)), on_gpu=on_gpu)
    task = delayed(_read_block, pure=False)
    # The matrix that sums genes is wrapped once, so that not each task carries its own copy.
    summing = delayed(plate.summing)
    blocks = [
        arrays.from_delayed(task(plate.source, rows, summing, on_gpu=on_gpu), shape=(len(rows), num_genes), dtype=np.float64, meta=meta)
        for rows in parts
    ]
    return arrays.concatenate(blocks, axis=0)


def _read_block(source: Source, rows: np.ndarray, summing: sp.csr_matrix | None, *, on_gpu: bool) -> Any:
    """Read some rows of the file, as float64 CSR on the device that computes; runs in a worker."""
    blocks = [counts for _, counts in _opened(source).iter_blocks(rows, source.settings.block_cells)]
    counts = sp.csr_matrix(sp.vstack(blocks, format="csr"), dtype=np.float64)
    return _placed(counts if summing is None else sp.csr_matrix(counts @ summing), on_gpu=on_gpu)


def _opened(source: Source) -> CountsFile:
    """Return the file, open; each thread of a worker keeps the one that it used last, so that a file is opened (and turned round) once."""
    key = (source, Path(source.path).stat().st_mtime_ns)
    held = getattr(_OPEN, "held", None)
    if held is None or held[0] != key:
        if held is not None:
            held[1].close()
        _OPEN.held = held = (key, source.open())
    file: CountsFile = held[1]
    return file


def _placed(block: sp.csr_matrix, *, on_gpu: bool) -> Any:
    if not on_gpu:
        return block
    from cupyx.scipy.sparse import csr_matrix

    return csr_matrix(block)


def _largest(x_BG: Any) -> list[int]:
    """Largest count of each block of a Dask array."""
    import dask.base
    from dask.delayed import delayed

    base: Any = dask.base  # untyped
    return [int(value) for value in base.compute(*(delayed(_largest_of)(block) for block in x_BG.to_delayed().ravel()))]


def _largest_of(block: Any) -> int:
    return int(block.data.max()) if block.nnz else 0
