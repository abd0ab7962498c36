"""The same matrices for each cell line by itself; off by default, because of their price on disk.

Sums take 8 bytes for each pair of genes, line and plate: 0.8 GB at 14,142 genes, 560 GB for 50 lines on 14 plates. Matrices take 8 bytes for each
entry and line before compression: 1.6 GB, 80 GB for 50 lines. Memory is that of one line at a time, as for all lines together. The price in time is
that a plate is read once per line; the products, over all lines, are those of one pass.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pandas as pd

from causcade.backend import Backend
from causcade.cells import CellStore
from causcade.coexpression.correlation import residual_correlation, write_coexpression
from causcade.coexpression.dense import Precision
from causcade.coexpression.moments import add_moments, measure_rows, write_moments
from causcade.coexpression.partners import top_partners
from causcade.errors import InputError
from causcade.files import read_parquet, replacing, write_parquet

__all__ = ["INDEX", "coexpression_by_line", "file_names", "measure_moments_by_line"]

logger = logging.getLogger(__name__)

INDEX = "lines.parquet"
MAX_NAME = 100


def file_names(lines: Iterable[str]) -> dict[str, str]:
    """Name a file for each cell line: its own name where that is safe, else with `%` codes (`A/B` becomes `A%2FB`).

    Names that are long, or differ in upper and lower case only, end in a digest, so that no two are one file on any file system.

    Parameters
    ----------
    lines
        Names of the lines, each once.
    """
    names: dict[str, str] = {}
    taken: set[str] = set()
    for line in sorted(lines):
        name = quote(line, safe="").replace(".", "%2E")  # no name is hidden, and none ends in what looks like a suffix
        if not name or len(name) > MAX_NAME or name.lower() in taken:
            name = f"{name[:MAX_NAME]}~{hashlib.sha256(line.encode()).hexdigest()[:12]}"
        taken.add(name.lower())
        names[line] = name
    return names


def measure_moments_by_line(
    folder: str | Path, store: CellStore, gene_ids: pd.Index, terms: list[str], roles: pd.DataFrame,
    *, block_cells: int, backend: Backend = "auto", threads: int = 1, precision: Precision = "float32",
) -> None:  # fmt: skip
    """Measure the sums of each cell line of a plate, one line after the other, and write them.

    Parameters
    ----------
    folder
        Output: for each line `<name>.npz` (:func:`causcade.coexpression.write_moments`), and `lines.parquet`: cell_line, name, num_cells.
    store, gene_ids, terms, roles, block_cells, backend, threads, precision
        As of :func:`causcade.coexpression.measure_moments`.

    Raises
    ------
    InputError
        If a term is no column of the cells, or has values that are missing or infinite.
    """
    line_N = store.obs["cell_line"].astype(str).to_numpy()
    names = file_names(np.unique(line_N))
    sizes = []
    with replacing(folder) as temporary:
        temporary.mkdir()
        for line, name in names.items():
            cells = np.flatnonzero(line_N == line)
            sizes.append(len(cells))
            logger.info("cell line %s: %d cells", line, len(cells))
            moments = measure_rows(
                store, gene_ids, terms, roles,
                cells=cells, first=0, last=len(cells), block_cells=block_cells, backend=backend, threads=threads, precision=precision,
            )  # fmt: skip
            write_moments(temporary / f"{name}.npz", moments)
            del moments  # before those of the next line are made
        write_parquet(temporary / INDEX, _index(names, sizes))


def _index(names: Mapping[str, str | None], sizes: list[int]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "cell_line": pd.Series(list(names), dtype=str),
            "name": pd.Series(list(names.values()), dtype=str),
            "num_cells": np.array(sizes, dtype=np.int64),
        }
    )


def coexpression_by_line(folder: str | Path, plates: Iterable[str | Path], genes: list[str], num_partners: int) -> None:
    """Add the plates' sums of each cell line, residualise and correlate: one matrix and one table of partners per line.

    A line that has no more cells than covariates has no matrix; the log says so.

    Parameters
    ----------
    folder
        Output: for each line `<name>.zarr` (:func:`causcade.coexpression.write_coexpression`) and `<name>.parquet`
        (:func:`causcade.coexpression.top_partners`), and `lines.parquet`: cell_line, name (missing where there is no matrix), num_cells.
    plates
        Folders of :func:`measure_moments_by_line`; sums are added in this order.
    genes
        Names of the genes of the panel [G].
    num_partners
        Most partners per gene.

    Raises
    ------
    InputError
        If the gene axes of the plates differ, or a term is numeric on one plate and text on another.
    """
    files: dict[str, list[Path]] = {}
    for plate in map(Path, plates):
        for row in read_parquet(plate / INDEX).itertuples():
            files.setdefault(str(row.cell_line), []).append(plate / f"{row.name}.npz")
    names = file_names(files)
    written: dict[str, str | None] = dict(names)
    sizes = []
    with replacing(folder) as temporary:
        temporary.mkdir()
        for line, name in names.items():
            total = add_moments(files[line])
            sizes.append(total.num_cells)
            try:
                result = residual_correlation(total)
            except InputError as error:
                logger.warning("cell line %s has no matrix: %s", line, error)
                written[line] = None
                continue
            del total
            write_coexpression(temporary / f"{name}.zarr", result)
            write_parquet(temporary / f"{name}.parquet", top_partners(result.correlation_GG, genes, num_partners))
        write_parquet(temporary / INDEX, _index(written, sizes))
