"""The same small counts in every format that the readers know, written byte for byte as the vendors do."""

from __future__ import annotations

import gzip
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.sparse as sp

from causcade.config import InputConfig
from causcade.errors import InputError
from causcade.files import write_anndata
from causcade.readers import CountsFile

NUM_CELLS, NUM_GENES = 37, 11
FIRST_TOKEN = 3
MARKER = (1, -2.0)


def draw_counts(seed: int = 0, num_cells: int = NUM_CELLS, num_genes: int = NUM_GENES) -> np.ndarray:
    return np.random.default_rng(seed).poisson(0.7, (num_cells, num_genes)).astype(np.float32)


def gene_ids(num: int = NUM_GENES) -> list[str]:
    return [f"ENSG{i:011d}.3" for i in range(num)]


def symbols(num: int = NUM_GENES) -> list[str]:
    return [f"G{i}" for i in range(num)]


def cell_names(num: int = NUM_CELLS) -> list[str]:
    return [f"c{i}" for i in range(num)]


def make_anndata(counts, **layers) -> anndata.AnnData:
    obs = pd.DataFrame({"drug": ["x"] * counts.shape[0]}, index=cell_names(counts.shape[0]))
    var = pd.DataFrame({"ensembl": gene_ids(counts.shape[1])}, index=symbols(counts.shape[1]))
    return anndata.AnnData(counts, obs=obs, var=var, layers=layers)


def write_annotated(path: Path, data: anndata.AnnData) -> Path:
    """Write h5ad (gzip) or zarr, by the ending."""
    if path.suffix == ".zarr":
        write_anndata(path, data)
    else:
        data.write_h5ad(path, compression="gzip")
    return path


def write_text(path: Path, text: str) -> Path:
    """Write text, gzip where the name ends in .gz."""
    if path.suffix == ".gz":
        with gzip.open(path, "wt") as handle:
            handle.write(text)
    else:
        path.write_text(text)
    return path


# ---- reading


def read(path: Path, num_cells: int = 8, rows: list[int] | None = None, plate: str | None = None, **keys) -> list[tuple[np.ndarray, sp.csr_matrix]]:
    """Read the blocks of a file; keywords are keys of the section `input`."""
    with CountsFile(path, InputConfig(**keys), plate) as file:
        wanted = np.arange(len(file.obs)) if rows is None else np.asarray(rows, dtype=int)
        return list(file.iter_blocks(wanted, num_cells))


def dense(blocks: list[tuple[np.ndarray, sp.csr_matrix]]) -> np.ndarray:
    return np.concatenate([counts.toarray() for _, counts in blocks]) if blocks else np.zeros((0, NUM_GENES))


def message(path: Path, **keys) -> str:
    """Text of the error that reading a file raises."""
    with pytest.raises(InputError) as error:
        read(path, **keys)
    return str(error.value)


# ---- 10x h5


def _write_matrix(group: h5py.Group, counts: np.ndarray) -> None:
    matrix = sp.csr_matrix(counts)
    group["data"] = matrix.data.astype(np.int64 if np.array_equal(matrix.data, np.rint(matrix.data)) else np.float64)
    group["indices"], group["indptr"] = matrix.indices.astype(np.int64), matrix.indptr.astype(np.int64)
    group["shape"] = np.array(counts.shape[::-1], dtype=np.int32)
    group["barcodes"] = np.array(cell_names(len(counts)), dtype="S")


def write_tenx_v2(path: Path, genomes: dict[str, np.ndarray]) -> Path:
    """Cell Ranger 2: a group for each genome."""
    with h5py.File(path, "w") as file:
        for genome, counts in genomes.items():
            group = file.create_group(genome)
            _write_matrix(group, counts)
            group["genes"] = np.array(gene_ids(counts.shape[1]), dtype="S")
            group["gene_names"] = np.array(symbols(counts.shape[1]), dtype="S")
    return path


def write_tenx_v3(path: Path, counts: np.ndarray, **features: list) -> Path:
    """Cell Ranger 3 and later; keywords replace or add columns of the features."""
    num = counts.shape[1]
    columns = {"id": gene_ids(num), "name": symbols(num), "feature_type": ["Gene Expression"] * num, "genome": ["GRCh38"] * num} | features
    with h5py.File(path, "w") as file:
        group = file.create_group("matrix")
        _write_matrix(group, counts)
        for name, values in columns.items():
            array = np.asarray(values)
            group[f"features/{name}"] = array if array.dtype.kind == "b" else array.astype("S")
    return path


# ---- mtx folders


def entries_text(counts: np.ndarray, *, cells_first: bool, order: str = "cells", seed: int = 0) -> list[str]:
    """Lines of the entries, by cell (as the vendors write), by gene, or shuffled."""
    cell, gene = np.nonzero(counts)
    keys = {"cells": np.arange(len(cell)), "genes": np.lexsort((cell, gene)), "random": np.random.default_rng(seed).permutation(len(cell))}
    cell, gene = cell[keys[order]], gene[keys[order]]
    pairs = zip(cell, gene, strict=True) if cells_first else zip(gene, cell, strict=True)
    return [f"{i + 1} {j + 1} {value:.12g}" for (i, j), value in zip(pairs, counts[cell, gene], strict=True)]


def mtx_text(counts: np.ndarray, *, cells_first: bool, comment: str = "", field: str = "integer", order: str = "cells") -> str:
    rows, columns = counts.shape if cells_first else counts.shape[::-1]
    lines = entries_text(counts, cells_first=cells_first, order=order)
    head = [f"%%MatrixMarket matrix coordinate {field} general", f"%{comment}", f"{rows} {columns} {len(lines)}"]
    return "\n".join(head + lines) + "\n"


def write_tenx_mtx(folder: Path, counts: np.ndarray, *, version: int = 3, suffix: str = "", **matrix: str) -> Path:
    """Folder of Cell Ranger 2 (genes.tsv) or 3 (features.tsv), plain or with suffix .gz."""
    folder.mkdir()
    num = counts.shape[1]
    ending = "\tGene Expression" if version == 3 else ""
    rows = [f"{name}\t{symbol}{ending}\n" for name, symbol in zip(gene_ids(num), symbols(num), strict=True)]
    write_text(folder / f"{'features' if version == 3 else 'genes'}.tsv{suffix}", "".join(rows))
    write_text(folder / f"barcodes.tsv{suffix}", "".join(f"{name}\n" for name in cell_names(len(counts))))
    write_text(folder / f"matrix.mtx{suffix}", mtx_text(counts, cells_first=False, **matrix))
    return folder


def write_parse(
    folder: Path, counts: np.ndarray, *, name: str = "count_matrix.mtx", metadata: bool = True, genome: bool = True, **matrix: str
) -> Path:
    """Folder of split-pipe: cells x genes."""
    folder.mkdir()
    num = counts.shape[1]
    genes = pd.DataFrame({"gene_id": gene_ids(num), "gene_name": symbols(num)} | ({"genome": ["hg38"] * num} if genome else {}))
    write_text(folder / "all_genes.csv", genes.to_csv(index=False))
    if metadata:
        cells = pd.DataFrame({"bc_wells": cell_names(len(counts)), "sample": ["s1"] * len(counts), "tscp_count": counts.sum(axis=1)})
        write_text(folder / "cell_metadata.csv", cells.to_csv(index=False))
    write_text(folder / name, mtx_text(counts, cells_first=True, **matrix))
    return folder


# ---- Tahoe parquet


def write_gene_table(path: Path, num_genes: int = NUM_GENES) -> Path:
    tokens = np.arange(FIRST_TOKEN, FIRST_TOKEN + num_genes)
    pq.write_table(pa.table({"gene_symbol": symbols(num_genes), "ensembl_id": gene_ids(num_genes), "token_id": tokens}), path)
    return path


def token_rows(counts: np.ndarray, *, is_marked: bool = True) -> tuple[list[list[int]], list[list[float]]]:
    """Tokens and values of each cell, behind their marker."""
    tokens, values = [], []
    for row in counts:
        found = np.flatnonzero(row)
        tokens.append([MARKER[0]] * is_marked + (found + FIRST_TOKEN).tolist())
        values.append([MARKER[1]] * is_marked + row[found].tolist())
    return tokens, values


def write_shard(path: Path, counts: np.ndarray, *, row_group_size: int = 10, is_marked: bool = True, **columns: list) -> Path:
    """One parquet file of Tahoe-100M; keywords replace or add obs columns, None drops one."""
    tokens, values = token_rows(counts, is_marked=is_marked)
    num = len(counts)
    obs = {"drug": ["x"] * num, "sample": ["s1"] * num, "BARCODE_SUB_LIB_ID": cell_names(num), "plate": ["plate1"] * num} | columns
    table = {"genes": pa.array(tokens, pa.list_(pa.int64())), "expressions": pa.array(values, pa.list_(pa.float32()))}
    pq.write_table(pa.table(table | {name: value for name, value in obs.items() if value is not None}), path, row_group_size=row_group_size)
    return path


def write_tahoe(folder: Path, counts: np.ndarray, *, cuts: tuple[int, ...] = (15, 16)) -> Path:
    """Folder of shards, cut before these cells."""
    folder.mkdir()
    names = cell_names(len(counts))
    for number, (part, cells) in enumerate(zip(np.split(counts, cuts), np.split(np.array(names), cuts), strict=True)):
        write_shard(folder / f"train-{number:05d}.parquet", part, BARCODE_SUB_LIB_ID=cells.tolist())
    return folder


# ---- all of them


def write_all(folder: Path, counts: np.ndarray) -> dict[str, tuple[Path, dict]]:
    """Write counts in every format: name -> (path, keys of the section `input`)."""
    genes = {"gene_table": str(write_gene_table(folder / "genes.parquet", counts.shape[1]))}
    ids = {"gene_id": "ensembl"}
    found = {
        name + suffix: (write_annotated(folder / (name + suffix), make_anndata(matrix)), ids)
        for suffix in (".h5ad", ".zarr")
        for name, matrix in {"csr": sp.csr_matrix(counts), "csc": sp.csc_matrix(counts), "dense": counts}.items()
    }
    return found | {
        "tenx_v2": (write_tenx_v2(folder / "v2.h5", {"hg19": counts}), {}),
        "tenx_v3": (write_tenx_v3(folder / "v3.h5", counts), {}),
        "mtx_v2": (write_tenx_mtx(folder / "mtx_v2", counts, version=2), {}),
        "mtx_v3_gz": (write_tenx_mtx(folder / "mtx_v3_gz", counts, suffix=".gz"), {}),
        "mtx_by_genes": (write_tenx_mtx(folder / "mtx_by_genes", counts, order="genes"), {}),
        "mtx_random": (write_tenx_mtx(folder / "mtx_random", counts, order="random", field="real"), {}),
        "parse": (write_parse(folder / "parse", counts), {}),
        "parse_random": (write_parse(folder / "parse_random", counts, name="DGE.mtx", order="random"), {}),
        "tahoe_file": (write_shard(folder / "one.parquet", counts), genes),
        "tahoe_folder": (write_tahoe(folder / "shards", counts), genes),
    }


FORMATS = [
    *(f"{name}{suffix}" for suffix in (".h5ad", ".zarr") for name in ("csr", "csc", "dense")),
    "tenx_v2", "tenx_v3", "mtx_v2", "mtx_v3_gz", "mtx_by_genes", "mtx_random", "parse", "parse_random", "tahoe_file", "tahoe_folder",
]  # fmt: skip
