"""Folders with a matrix in text: of 10x (Cell Ranger 2 and 3) and of Parse Biosciences (split-pipe), plain or gzip.

The text is read chunk by chunk into a scratch file, of which one part at a time is in memory (:mod:`causcade.readers.transposition`), whatever the
order of its entries. Which of its two sizes are the cells is told by the files beside it (:func:`causcade.input_files.is_cells_by_genes`).

Axes: N cells, F features.
"""

from __future__ import annotations

import csv
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from causcade.config import InputConfig
from causcade.errors import InputError
from causcade.input_files import MtxFiles, MtxHeader, find_mtx, is_cells_by_genes, open_bytes, read_mtx_header
from causcade.readers.genes import FEATURE_TYPE, GENOME, select_features
from causcade.readers.matrices import CHUNK_ENTRIES, Entries, Triplets
from causcade.readers.opened import OpenedInput, numbered_cells, opening, refuse_layer
from causcade.readers.tables import read_table

__all__ = ["open_mtx"]

logger = logging.getLogger(__name__)

KIND = "an mtx folder"
SYMBOL = "gene_symbols"


def open_mtx(path: Path, settings: InputConfig) -> OpenedInput:
    """Open an mtx folder, or one that is named by its matrix.

    Features of other types than Gene Expression are left out, and the log says how many; var columns are `gene_ids`, `gene_symbols`, and
    `feature_types` or `genome` where the file has them. obs of Parse are the columns of `cell_metadata.csv`; of 10x, the barcodes have none.

    Parameters
    ----------
    path
        The folder, or its matrix.
    settings
        `genome` names the genome of a folder of several.

    Raises
    ------
    InputError
        If files are absent, damaged, or do not fit each other.
    """
    refuse_layer(path, settings, KIND)
    files = find_mtx(path)
    header = read_mtx_header(files.matrix)
    var = _read_features(files) if files.vendor == "10x" else _read_parse_genes(files)
    obs = None if files.cells is None else _read_cells(files.cells, files.vendor)
    cells_first = is_cells_by_genes(files, header, len(var), None if obs is None else len(obs))
    num_cells = header.num_rows if cells_first else header.num_columns
    logger.info("%s: %s, %s, %d cells", files.matrix, files.vendor, "cells x genes" if cells_first else "genes x cells", num_cells)
    if obs is None:
        logger.warning("%s: no cell_metadata.csv beside it, so that its cells are numbered from 0", files.matrix)
        obs = numbered_cells(num_cells)
    matrix = Entries(
        lambda: _entries(files.matrix, header, cells_first=cells_first),
        (num_cells, len(var)),
        header.num_entries,
        dtype=np.dtype(np.float64),
        where=str(files.matrix),
    )
    kept, selected = select_features(var, settings, str(path))
    return OpenedInput(obs=obs, var=selected, symbol=SYMBOL, matrix=matrix, kept=kept)


def _read_features(files: MtxFiles) -> pd.DataFrame:
    """Return the var of 10x: columns of features.tsv or genes.tsv without a heading are id, name (else the id) and type (Cell Ranger 3)."""
    with opening(files.genes, "a table of features"):
        table = _read_plain(files.genes)
        if table.shape[1] == 0:
            raise ValueError("it has no column")
    ids = table[0].to_numpy(dtype=object)
    columns = {"gene_ids": ids, SYMBOL: table[1].to_numpy(dtype=object) if 1 in table else ids}
    if 2 in table:
        columns[FEATURE_TYPE] = table[2].to_numpy(dtype=object)
    return pd.DataFrame(columns, index=pd.Index(ids, dtype=object))


def _read_plain(path: Path) -> pd.DataFrame:
    """Read tab-separated texts without a heading; quotes are part of the text."""
    try:
        with open_bytes(path) as handle:
            table: pd.DataFrame = pd.read_csv(handle, sep="\t", header=None, dtype=str, keep_default_na=False, quoting=csv.QUOTE_NONE)
    except pd.errors.EmptyDataError:
        return pd.DataFrame({0: pd.Series(dtype=object)})
    return table


def _read_parse_genes(files: MtxFiles) -> pd.DataFrame:
    """Return the var of Parse: columns gene_id, gene_name and, in newer runs, genome of all_genes.csv."""
    table = read_table(files.genes, "genes of Parse")
    missing = [name for name in ("gene_id", "gene_name") if name not in table.columns]
    if missing:
        raise InputError(f"{files.genes}: expected columns gene_id and gene_name, found {', '.join(table.columns)}. Copy the whole folder.")
    texts = {name: table[name].map(str, na_action="ignore").to_numpy(dtype=object) for name in ("gene_id", "gene_name", GENOME) if name in table}
    ids = texts["gene_id"]
    columns = {"gene_ids": ids, SYMBOL: texts["gene_name"]} | ({GENOME: texts[GENOME]} if GENOME in texts else {})
    return pd.DataFrame(columns, index=pd.Index(ids, dtype=object))


def _read_cells(path: Path, vendor: str) -> pd.DataFrame:
    """Return the obs: barcodes of 10x, or the first column (bc_wells) and the others of Parse's cell_metadata.csv."""
    if vendor == "10x":
        with opening(path, "a table of barcodes"):
            return pd.DataFrame(index=pd.Index(_read_plain(path)[0].to_numpy(), dtype=object))
    table = read_table(path, "cells of Parse")
    first = table.columns[0]
    return table.drop(columns=first).set_axis(pd.Index(table[first].astype(str).to_numpy(), dtype=object), axis=0)


def _entries(path: Path, header: MtxHeader, *, cells_first: bool) -> Iterator[Triplets]:
    """Cells, features and counts of the entries, chunk by chunk.

    Raises
    ------
    InputError
        If there are fewer or more entries than the header says, or one lies outside the matrix.
    """
    num = 0
    types = {0: np.int64, 1: np.int64, 2: np.float64}  # values as text may hold them, whatever the header says
    with open_bytes(path) as handle:
        for _ in range(header.num_lines):
            handle.readline()
        try:
            chunks = pd.read_csv(handle, sep=r"\s+", header=None, dtype=types, chunksize=CHUNK_ENTRIES)
        except pd.errors.EmptyDataError:
            chunks = ()
        for chunk in chunks:
            num += len(chunk)
            if chunk.shape[1] != 3:
                raise InputError(f"{path}: expected row, column and count in each line, found {chunk.shape[1]} values. Copy it again.")
            rows, columns, values = (chunk[name].to_numpy() for name in range(3))
            if np.isnan(values).any():
                raise InputError(f"{path}: expected row, column and count in each line, found a line without a count. Copy it again.")
            _check_places(rows, header.num_rows, "rows", path)
            _check_places(columns, header.num_columns, "columns", path)
            yield (rows - 1, columns - 1, values) if cells_first else (columns - 1, rows - 1, values)
    if num != header.num_entries:
        raise InputError(
            f"{path}: expected {header.num_entries} entries, as its header says, found {num}: it is truncated or damaged. Copy it again."
        )


def _check_places(places: np.ndarray, size: int, name: str, path: Path) -> None:
    wrong = places[(places < 1) | (places > size)]
    if len(wrong):
        raise InputError(f"{path}: expected {name} from 1 to {size}, as its header says, found {wrong[0]}: it is damaged. Copy it again.")
