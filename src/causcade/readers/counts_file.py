"""Reading raw counts of any format: one interface, blocks of cells in CSR form, never more of the file than a block or a set budget.

Counts are checked block by block: negative or fractional values are an error that names the gene. Version suffixes of Ensembl ids are dropped.

Axes: N cells of the file, B cells of a block, F features of the file.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import numpy as np
import pandas as pd
import scipy.sparse as sp

from causcade.config import InputConfig
from causcade.errors import InputError
from causcade.input_files import READ_ERRORS, first_line, table_paths, tell_format
from causcade.readers.genes import gene_table
from causcade.readers.matrices import Window
from causcade.readers.opened import OpenedInput
from causcade.readers.tables import join_tables

__all__ = ["CountsFile", "check_counts"]

NUM_SAMPLED_BLOCKS = 3


def check_counts(counts_BF: sp.csr_matrix, names: np.ndarray, where: str) -> None:
    """Check that a block holds raw counts: finite, whole, not negative.

    Parameters
    ----------
    counts_BF
        Block of cells, shape [B, F].
    names
        Names of the features, for the message, shape [F].
    where
        File and place, for the message.

    Raises
    ------
    InputError
        Names the value, the gene and the setting that mends it.
    """
    data = counts_BF.data
    if data.dtype.kind in "ub" or data.size == 0:
        return
    # NaN fails each comparison
    if data.min() >= 0 and (data.dtype.kind == "i" or (data.max() < np.inf and (data == np.rint(data)).all())):
        return
    bad = (data < 0) | (data.dtype.kind == "f" and ~(np.isfinite(data) & (data == np.rint(data))))
    if bad.any():
        first = int(np.flatnonzero(bad)[0])
        gene = str(names[counts_BF.indices[first]])
        kind = "log-normalised or scaled data" if (data[bad] >= 0).all() else "scaled or corrected data"
        raise InputError(
            f"{where}: expected raw counts (whole numbers from 0), found {data[first]} in gene {gene!r}, which looks like {kind}. "
            "Set `input: {layer: NAME}` to the layer that holds counts, or give the file before normalisation."
        )


class CountsFile:
    """Counts of an input, open for reading; a context manager.

    h5ad or AnnData zarr (CSR, CSC or dense; X or a layer), 10x h5, an mtx folder of 10x or Parse, or Tahoe parquet. What is not stored cell by cell
    is turned round through a scratch file (:mod:`causcade.readers.transposition`).

    Parameters
    ----------
    path
        File or folder.
    settings
        Section `input` of the configuration.
    plate
        Name of the plate that is read, for tables whose path holds `{plate}`, and for parquet shards of many plates, of which only the cells of this
        one are read.

    Attributes
    ----------
    genes : pandas.DataFrame
        Columns `gene_id` (as given, without version; the name of the gene where its id is missing) and `symbol` [F features].

    Raises
    ------
    InputError
        If the file is absent, truncated, of another format, or lacks the layer, the genome or the var columns.
    """

    def __init__(self, path: str | Path, settings: InputConfig, plate: str | None = None) -> None:
        self.path = Path(path)
        self.settings = settings
        self.plate = plate
        self._input = _open_input(self.path, settings, plate)
        try:
            self.genes = gene_table(self._input.var, settings, str(self.path), symbol=self._input.symbol)
        except InputError:
            self.close()
            raise

    def __enter__(self) -> CountsFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the file and remove what was kept beside it."""
        self._input.matrix.close()
        self._input.close()

    @functools.cached_property
    def obs(self) -> pd.DataFrame:
        """All obs columns, those of the tables of `input.tables` included [N cells].

        Raises
        ------
        InputError
            If a table is absent, knows none of the cells, or contradicts the file.
        """
        paths = table_paths(self.settings, self.plate)[: len(self.settings.tables)]
        return join_tables(self._input.obs, self.settings.tables, paths, str(self.path))

    @property
    def obsm_widths(self) -> dict[str, int]:
        """Number of columns of each array or table in obsm, by key."""
        found: dict[str, int] = {}
        for key in sorted(self._input.obsm):
            element = self._input.obsm[key]
            if len(getattr(element, "shape", ())) == 2:
                found[key] = int(element.shape[1])
            elif "column-order" in element.attrs:
                found[key] = len(element.attrs["column-order"])
        return found

    def embedding(self, key: str) -> np.ndarray:
        """Precomputed embedding ``obsm[key]`` as float32 [N, D].

        Raises
        ------
        InputError
            If the key is absent.
        """
        keys = list(self._input.obsm)
        if key not in keys:
            found = ", ".join(keys) or "no obsm"
            raise InputError(
                f"{self.path}: expected obsm[{key!r}] (embedding.obsm), found {found}. Name one that is there, or write `embedding: {{source: pca}}`."
            )
        from anndata.io import read_elem

        with self._reading():
            return np.asarray(read_elem(self._input.obsm[key]), dtype=np.float32)

    def iter_blocks(self, rows: np.ndarray, num_cells: int) -> Iterator[tuple[np.ndarray, sp.csr_matrix]]:
        """Blocks of the given cells, in ascending order, checked to be raw counts.

        Rows are in canonical form (sorted, no repeated or zero entry), so that a file gives the same blocks however it is stored.

        Parameters
        ----------
        rows
            Ascending row numbers in the file.
        num_cells
            Rows of the file that are read at a time.

        Yields
        ------
        rows : numpy.ndarray
            Row numbers in the file [B].
        counts_BF : scipy.sparse.csr_matrix
            Their counts.
        """
        parts = _split(rows, num_cells)
        found = self._input.matrix.windows(_windows(parts))
        for wanted in parts:
            yield wanted, self._canonical(self._next(found), wanted)

    def check_sample(self, rows: np.ndarray, num_cells: int) -> None:
        """Check that a few blocks of the given cells, from first to last, hold raw counts.

        Of a matrix that is not stored cell by cell other entries are looked at, so that no pass over the whole file is needed.

        Raises
        ------
        InputError
            If a value is no count, or the file is damaged there.
        """
        starts = np.unique(np.linspace(0, max(len(rows) - num_cells, 0), NUM_SAMPLED_BLOCKS).astype(int))
        chosen = np.unique(np.concatenate([np.arange(start, min(start + num_cells, len(rows))) for start in starts]))
        parts = _split(rows[chosen], num_cells)
        found = self._input.matrix.sample(_windows(parts))
        while (block := self._next(found, is_last_fine=True)) is not None:
            self._canonical(block, None)

    def _next(self, blocks: Iterator[sp.csr_matrix], *, is_last_fine: bool = False) -> sp.csr_matrix | None:
        with self._reading():
            return next(blocks, None) if is_last_fine else next(blocks)

    def _canonical(self, block: sp.csr_matrix, wanted: np.ndarray | None) -> sp.csr_matrix:
        """Wanted rows and genes of a window, in canonical form and checked."""
        if wanted is not None and len(wanted) < block.shape[0]:
            block = block[wanted - wanted[0]]
        if self._input.kept is not None:
            block = block[:, self._input.kept]
        block.sum_duplicates()
        block.eliminate_zeros()
        check_counts(block, self.genes["symbol"].to_numpy(), str(self.path))
        return block

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except READ_ERRORS as error:
            raise InputError(f"{self.path}: expected counts, found a damaged or truncated file ({first_line(error)}). Copy it again.") from None


def _open_input(path: Path, settings: InputConfig, plate: str | None) -> OpenedInput:
    """Open an input by its format."""
    match tell_format(path, settings.format):
        case "anndata":
            from causcade.readers.anndata_files import open_anndata

            return open_anndata(path, settings)
        case "tenx_h5":
            from causcade.readers.tenx import open_tenx

            return open_tenx(path, settings)
        case "mtx":
            from causcade.readers.mtx import open_mtx

            return open_mtx(path, settings)
        case "tahoe_parquet":
            from causcade.readers.tahoe import open_tahoe

            return open_tahoe(path, settings, plate)


def _split(rows: np.ndarray, num_cells: int) -> list[np.ndarray]:
    """Rows by block of the file: blocks begin at multiples of `num_cells`, whichever rows are wanted."""
    cuts = np.flatnonzero(np.diff(rows // num_cells)) + 1
    return np.split(rows, cuts) if len(rows) else []


def _windows(parts: list[np.ndarray]) -> list[Window]:
    return [(int(part[0]), int(part[-1]) + 1) for part in parts]
