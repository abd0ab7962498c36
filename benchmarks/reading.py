"""How fast counts are read: the cell store against h5ad (gzip, uncompressed) and parquet, in cells per second of one processor.

    python benchmarks/reading.py [--cells 40000] [--rounds 5] [--output benchmarks/results/reading.json]

The same simulated counts are written once in each format and read in blocks of 4,096 cells into CSR: by the plainest code that the format allows,
and by causcade's readers, which also check the counts and drop what is no gene. Ways take turns; the processor time of all threads counts, files are
in the page cache, and the median over the rounds is reported. Only ratios within one run mean anything.
"""

from __future__ import annotations

import argparse
import importlib.util
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import anndata
import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import scipy.sparse as sp
from screen import simulate_counts

from causcade import cells
from causcade.cells import CellStore, write_store
from causcade.config import InputConfig
from causcade.files import write_json
from causcade.readers import CountsFile
from causcade.runtime import set_num_threads

NUM_GENES = 14_142
DENSITY = 0.066
SEED = 0
BLOCK_CELLS = 4096
FIRST_TOKEN = 3
MARKER = (1, -2.0)

Blocks = Iterator[sp.csr_matrix]
ADVANTAGE = ("cell store", "h5ad, gzip")


def obs_and_var(counts_NG: sp.csr_matrix) -> tuple[pd.DataFrame, pd.DataFrame]:
    totals = np.asarray(counts_NG.sum(axis=1, dtype=np.float64)).ravel()
    ids = pd.Index([f"ENSG{number:011d}" for number in range(counts_NG.shape[1])], name="gene_id")
    obs = pd.DataFrame({"total_counts": totals}, index=pd.Index([f"cell{number}" for number in range(len(totals))], name="cell"))
    return obs, pd.DataFrame({"gene": ids.to_numpy()}, index=ids)


def write_parquet(path: Path, counts_NG: sp.csr_matrix) -> None:
    """Rows of tokens and values behind a marker, as Tahoe-100M is published."""
    num_cells = counts_NG.shape[0]
    starts = counts_NG.indptr[:-1]
    tokens = np.insert(counts_NG.indices.astype(np.int64) + FIRST_TOKEN, starts, MARKER[0])
    values = np.insert(counts_NG.data.astype(np.float32), starts, MARKER[1])
    offsets = pa.array(counts_NG.indptr + np.arange(num_cells + 1), pa.int32())
    lists = {name: pa.ListArray.from_arrays(offsets, pa.array(flat)) for name, flat in (("genes", tokens), ("expressions", values))}
    pq.write_table(pa.table(lists | {"BARCODE_SUB_LIB_ID": [f"cell{number}" for number in range(num_cells)]}), path, row_group_size=BLOCK_CELLS)


def write_all(folder: Path, counts_NG: sp.csr_matrix) -> None:
    """Write the counts in each format."""
    obs, var = obs_and_var(counts_NG)
    blocks = (counts_NG[start : start + BLOCK_CELLS] for start in range(0, counts_NG.shape[0], BLOCK_CELLS))
    write_store(folder / "p.zarr", obs, var, blocks, num_nonzero=counts_NG.nnz, largest=int(counts_NG.data.max()))
    data = anndata.AnnData(counts_NG.astype(np.float32), obs=obs, var=var)
    data.write_h5ad(folder / "gzip.h5ad", compression="gzip")
    data.write_h5ad(folder / "plain.h5ad")
    write_parquet(folder / "p.parquet", counts_NG)
    tokens = pd.DataFrame({"token_id": np.arange(len(var)) + FIRST_TOKEN, "ensembl_id": var.index, "gene_symbol": var.index})
    tokens.to_parquet(folder / "tokens.parquet")


def store_blocks(folder: Path) -> Blocks:
    with CellStore(folder / "p.zarr") as store:
        for _, block in store.iter_counts(BLOCK_CELLS):
            yield block


def store_blocks_without_zarrs(folder: Path) -> Blocks:
    with mock.patch.object(cells.importlib.util, "find_spec", return_value=None):
        store = CellStore(folder / "p.zarr")
    for _, block in store.iter_counts(BLOCK_CELLS):
        yield block


def h5_blocks(path: Path) -> Blocks:
    """Slices of the arrays of a CSR matrix: no layer between h5py and scipy."""
    with h5py.File(path) as file:
        group = file["X"]
        shape = group.attrs["shape"]
        indptr = group["indptr"][:]
        for start in range(0, int(shape[0]), BLOCK_CELLS):
            part = indptr[start : start + BLOCK_CELLS + 1]
            first, last = int(part[0]), int(part[-1])
            yield sp.csr_matrix((group["data"][first:last], group["indices"][first:last], part - first), shape=(len(part) - 1, int(shape[1])))


def parquet_blocks(path: Path) -> Blocks:
    """Row groups as flat lists; the marker of each row stays."""
    file = pq.ParquetFile(path)
    for number in range(file.num_row_groups):
        table = file.read_row_group(number, columns=["genes", "expressions"], use_threads=False).combine_chunks()
        tokens, values = (table[name].chunk(0) for name in ("genes", "expressions"))
        parts = values.flatten().to_numpy(), tokens.flatten().to_numpy(), tokens.offsets.to_numpy()
        yield sp.csr_matrix(parts, shape=(len(tokens), NUM_GENES + FIRST_TOKEN))


def reader_blocks(path: Path, folder: Path) -> Blocks:
    """Blocks of causcade's reader of any format."""
    settings = InputConfig(gene_table=str(folder / "tokens.parquet"))
    with CountsFile(path, settings) as file:
        for _, block in file.iter_blocks(np.arange(len(file.obs)), BLOCK_CELLS):
            yield block


def ways(folder: Path) -> dict[str, tuple[Path, Callable[[], Blocks]]]:
    """Each way to read: its file and what yields its blocks."""
    store, gzip, plain, parquet = (folder / name for name in ("p.zarr", "gzip.h5ad", "plain.h5ad", "p.parquet"))
    found: dict[str, tuple[Path, Callable[[], Blocks]]] = {}
    if importlib.util.find_spec("zarrs") is not None:
        found["cell store"] = store, lambda: store_blocks(folder)
    found["cell store, without zarrs"] = store, lambda: store_blocks_without_zarrs(folder)
    found["h5ad, gzip"] = gzip, lambda: h5_blocks(gzip)
    found["h5ad, gzip, causcade's reader"] = gzip, lambda: reader_blocks(gzip, folder)
    found["h5ad, uncompressed"] = plain, lambda: h5_blocks(plain)
    found["h5ad, uncompressed, causcade's reader"] = plain, lambda: reader_blocks(plain, folder)
    found["parquet of tokens"] = parquet, lambda: parquet_blocks(parquet)
    found["parquet of tokens, causcade's reader"] = parquet, lambda: reader_blocks(parquet, folder)
    return found


def num_bytes(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) if path.is_dir() else path.stat().st_size


def check(name: str, blocks: Blocks, counts_NG: sp.csr_matrix) -> None:
    """Compare all blocks with the counts (those with markers by their sum), so that nobody wins by reading less."""
    if name == "parquet of tokens":
        expected = int(counts_NG.data.sum(dtype=np.int64)) + int(MARKER[1]) * counts_NG.shape[0]
        assert sum(int(block.data.sum(dtype=np.float64)) for block in blocks) == expected, name
        return
    done = 0
    for block in blocks:
        expected = counts_NG[done : done + block.shape[0]]
        assert np.array_equal(block.indices, expected.indices), name
        assert np.array_equal(block.data, expected.data), name
        done += block.shape[0]
    assert done == counts_NG.shape[0], name


def seconds_to_read(blocks: Blocks) -> float:
    started = time.process_time()
    for _ in blocks:
        pass
    return time.process_time() - started


def measure(num_cells: int, num_rounds: int, folder: Path) -> dict[str, Any]:
    """Write, check once, and read in turns; the content of the JSON."""
    counts_NG = simulate_counts(num_cells, NUM_GENES, DENSITY, seed=SEED)
    write_all(folder, counts_NG)
    candidates = ways(folder)
    for name, (_, read) in candidates.items():
        check(name, read(), counts_NG)
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(num_rounds):
        for name, (_, read) in candidates.items():
            seconds[name].append(seconds_to_read(read()))
    rows = [
        {
            "way": name,
            "cells_per_cpu_s": num_cells / statistics.median(seconds[name]),
            "slowest": num_cells / max(seconds[name]),
            "fastest": num_cells / min(seconds[name]),
            "bytes_per_nonzero": num_bytes(path) / counts_NG.nnz,
        }
        for name, (path, _) in candidates.items()
    ]
    return {
        "num_cells": num_cells,
        "num_genes": NUM_GENES,
        "density": counts_NG.nnz / num_cells / NUM_GENES,
        "num_rounds": num_rounds,
        "block_cells": BLOCK_CELLS,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "rows": rows,
        "ratios_to_gzip": ratios_of_turns(seconds, num_rounds),
    }


def ratios_of_turns(seconds: dict[str, list[float]], num_rounds: int) -> dict[str, float]:
    """How many times faster than plain reading of gzip h5ad each way is: median of the ratios within a round."""
    slow = seconds[ADVANTAGE[1]]
    return {name: statistics.median(slow[turn] / found[turn] for turn in range(num_rounds)) for name, found in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cells", type=int, default=40_000, help="number of simulated cells")
    parser.add_argument("--rounds", type=int, default=5, help="how often each way is measured")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/reading.json"))
    options = parser.parse_args()
    set_num_threads(1)
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    with tempfile.TemporaryDirectory(prefix="causcade-reading-") as folder:
        found = measure(options.cells, options.rounds, Path(folder))
    print(f"{'way':40} {'cells per CPU s':>16} {'slowest':>9} {'fastest':>9} {'bytes/nonzero':>14} {'x gzip':>7}")
    for row in found["rows"]:
        rates = f"{row['cells_per_cpu_s']:16,.0f} {row['slowest']:9,.0f} {row['fastest']:9,.0f}"
        print(f"{row['way']:40} {rates} {row['bytes_per_nonzero']:14.2f} {found['ratios_to_gzip'][row['way']]:7.1f}")
    if ADVANTAGE[0] not in found["ratios_to_gzip"]:
        print("zarrs is not installed: the cell store was read without it")
    write_json(options.output, found)


if __name__ == "__main__":
    main()
