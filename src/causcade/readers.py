"""Reading raw counts: one interface, blocks of cells in CSR form, never more of the file than a block.

Formats: h5ad (CSR, dense; CSC is turned round in memory) and AnnData zarr, `X` or a named layer. Counts are checked block by block: negative or fractional values are an
error that names the gene. Version suffixes of Ensembl ids are dropped and genes with one id are summed.

Axes: N cells of the file, B cells of a block, F features of the file, G genes (after summing).
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from causcade.config import InputConfig
from causcade.errors import InputError

__all__ = ["CountsFile", "check_counts", "merge_genes", "strip_version"]

ENSEMBL_VERSION = re.compile(r"^(ENS[A-Z]*\d+)\.\d+(_PAR_Y)?$")
OTHER_FORMATS = {".h5": "10x h5", ".mtx": "mtx", ".gz": "compressed text", ".parquet": "Tahoe parquet", ".loom": "loom"}


def strip_version(identifier: str) -> str:
    """Ensembl id without its version: ``ENSG00000141510.18`` becomes ``ENSG00000141510``; other text stays as it is."""
    match = ENSEMBL_VERSION.match(identifier)
    return match.group(1) + (match.group(2) or "") if match else identifier


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
    if data.dtype.kind == "u" or data.size == 0:
        return
    bad = data < 0
    if data.dtype.kind == "f":
        bad = bad | ~np.isfinite(data) | (data != np.rint(data))
    if bad.any():
        first = int(np.flatnonzero(bad)[0])
        gene = names[counts_BF.indices[first]]
        kind = "log-normalised or scaled data" if (data[bad] >= 0).all() else "scaled or corrected data"
        raise InputError(
            f"{where}: expected raw counts (whole numbers from 0), found {data[first]:.4g} in gene {gene!r}, which looks like {kind}. "
            "Set `input: {layer: NAME}` to the layer that holds counts, or give the file before normalisation."
        )


def merge_genes(keys: pd.Index) -> tuple[pd.Index, sp.csr_matrix | None]:
    """Distinct keys in order of first appearance, and the matrix [F, G] that sums features of one key (None if all differ)."""
    codes, distinct = pd.factorize(keys)
    if len(distinct) == len(keys):
        return pd.Index(keys), None
    shape = (len(keys), len(distinct))
    return pd.Index(distinct), sp.csr_matrix((np.ones(len(keys), dtype=np.float32), (np.arange(len(keys)), codes)), shape=shape)


class CountsFile:
    """An h5ad file or AnnData zarr store, open for reading; a context manager.

    Parameters
    ----------
    path
        File or folder.
    settings
        Section `input` of the configuration.

    Attributes
    ----------
    obs : pandas.DataFrame
        All obs columns [N cells].
    genes : pandas.DataFrame
        Columns `gene_id` (as given, without version) and `symbol` [F features].

    Raises
    ------
    InputError
        If the file is absent, truncated, of another format, or lacks the layer or the var columns.
    """

    def __init__(self, path: str | Path, settings: InputConfig) -> None:
        self.path = Path(path)
        self.settings = settings
        self._group = self._open()
        try:
            self._read_tables()
        except InputError:
            self.close()
            raise
        except (OSError, KeyError, ValueError) as error:
            self.close()
            raise InputError(f"{self.path}: expected an AnnData file, found one that cannot be read ({error}). Write it again, or copy it again.") from None

    def __enter__(self) -> CountsFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        close = getattr(self._group, "close", None)
        if close is not None:
            close()

    def _open(self) -> Any:
        path = self.path
        if not path.exists():
            raise InputError(f"{path}: expected counts of a plate, found no file. Correct column counts of the plate table.")
        if path.is_dir():
            import zarr

            try:
                return zarr.open_group(str(path), mode="r")
            except (OSError, ValueError, KeyError) as error:
                raise InputError(f"{path}: expected an AnnData zarr store, found a folder that is none ({error}). Correct column counts.") from None
        import h5py

        try:
            handle = h5py.File(path, "r")
        except OSError as error:
            other = OTHER_FORMATS.get(path.suffix)
            found = f"a file ending in {path.suffix} ({other})" if other else f"a file that cannot be opened: it is truncated or of another format ({error})"
            raise InputError(f"{path}: expected an h5ad file or an AnnData zarr store, found {found}. Copy it again, or convert it to h5ad.") from None
        if "obs" not in handle or "var" not in handle:
            keys = ", ".join(sorted(handle)) or "nothing"
            handle.close()
            raise InputError(f"{path}: expected an h5ad file (obs, var, X), found an HDF5 file with {keys}. Convert it to h5ad.")
        return handle

    def _read_tables(self) -> None:
        from anndata.io import read_elem, sparse_dataset

        self.obs: pd.DataFrame = read_elem(self._group["obs"])
        var = read_elem(self._group["var"])
        layer = self.settings.layer
        if layer is not None and ("layers" not in self._group or layer not in self._group["layers"]):
            found = ", ".join(self._group["layers"]) if "layers" in self._group else "no layer"
            raise InputError(f"{self.path}: expected layer {layer!r} (input.layer), found {found or 'no layer'}. Name one that is there, or null for X.")
        element = self._group["X"] if layer is None else self._group["layers"][layer]
        encoding = element.attrs.get("encoding-type", "array")
        if encoding == "csr_matrix":
            self._matrix: Any = sparse_dataset(element)
        elif encoding == "csc_matrix":
            self._matrix = sparse_dataset(element).to_memory().tocsr()
        else:
            self._matrix = element
        ids = self._var_column(var, self.settings.gene_id, "gene_id") if self.settings.gene_id else var.index
        symbols = self._var_column(var, self.settings.gene_symbol, "gene_symbol") if self.settings.gene_symbol else ids
        self.genes = pd.DataFrame({"gene_id": [strip_version(str(name).strip()) for name in ids], "symbol": [str(name).strip() for name in symbols]})
        expected = (len(self.obs), len(self.genes))
        if tuple(self._matrix.shape) != expected:
            raise InputError(f"{self.path}: expected a matrix of {expected} (obs x var), found {tuple(self._matrix.shape)}. Write the file again.")

    def _var_column(self, var: pd.DataFrame, name: str, key: str) -> pd.Series:
        if name not in var.columns:
            found = ", ".join(map(str, var.columns)) or "no column"
            raise InputError(f"{self.path}: expected var column {name!r} (input.{key}), found {found}. Name one that is there, or null for the index.")
        return var[name]

    def embedding(self, key: str) -> np.ndarray:
        """Precomputed embedding ``obsm[key]`` as float32 [N, D].

        Raises
        ------
        InputError
            If the key is absent.
        """
        from anndata.io import read_elem

        keys = list(self._group["obsm"]) if "obsm" in self._group else []
        if key not in keys:
            raise InputError(
                f"{self.path}: expected obsm[{key!r}] (embedding.obsm), found {', '.join(keys) or 'no obsm'}. Name one that is there, or write `embedding: {{source: pca}}`."
            )
        return np.asarray(read_elem(self._group["obsm"][key]), dtype=np.float32)

    def iter_blocks(self, rows: np.ndarray, num_cells: int) -> Iterator[tuple[np.ndarray, sp.csr_matrix]]:
        """Blocks of the given cells, in ascending order, checked to be raw counts.

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
        names = self.genes["symbol"].to_numpy()
        for start in range(0, len(self.obs), num_cells):
            first, last = np.searchsorted(rows, [start, start + num_cells])
            if first == last:
                continue
            wanted = rows[first:last]
            counts = self._slice(int(wanted[0]), int(wanted[-1]) + 1)[wanted - wanted[0]]
            check_counts(counts, names, str(self.path))
            yield wanted, counts

    def _slice(self, start: int, stop: int) -> sp.csr_matrix:
        with self._reading():
            block = self._matrix[start:stop]
        return sp.csr_matrix(block)

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except (OSError, RuntimeError) as error:
            raise InputError(f"{self.path}: expected counts, found a damaged or truncated file ({error}). Copy it again.") from None
