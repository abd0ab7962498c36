"""Reading raw counts: one interface, blocks of cells in CSR form, never more of the file than a block.

Formats: h5ad (CSR, dense; CSC is turned round in memory) and AnnData zarr, `X` or a named layer. Counts are checked block by block: negative or
fractional values are an error that names the gene. Version suffixes of Ensembl ids are dropped and genes with one id are summed.

Axes: N cells of the file, B cells of a block, F features of the file, G genes (after summing).
"""

from __future__ import annotations

import contextlib
import logging
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

logger = logging.getLogger(__name__)

ENSEMBL_VERSION = re.compile(r"^(ENS[A-Z]*\d+)\.\d+((?:_PAR_Y)?)$")
# What h5py, zarr and anndata raise on damaged data; any other exception is a defect and keeps its traceback.
READ_ERRORS = (OSError, KeyError, ValueError, RuntimeError, IndexError)
OTHER_FORMATS = {".h5": "10x h5", ".mtx": "mtx", ".gz": "compressed text", ".parquet": "Tahoe parquet", ".loom": "loom"}


def strip_version(identifier: str) -> str:
    """Ensembl id without its version: ``ENSG00000141510.18`` becomes ``ENSG00000141510``; other text stays as it is."""
    return ENSEMBL_VERSION.sub(r"\1\2", identifier)


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
        gene = str(names[counts_BF.indices[first]])
        kind = "log-normalised or scaled data" if (data[bad] >= 0).all() else "scaled or corrected data"
        raise InputError(
            f"{where}: expected raw counts (whole numbers from 0), found {data[first]} in gene {gene!r}, which looks like {kind}. "
            "Set `input: {layer: NAME}` to the layer that holds counts, or give the file before normalisation."
        )


def merge_genes(keys: pd.Index) -> tuple[pd.Index, sp.csr_matrix | None]:
    """Distinct keys in order of first appearance, and the matrix [F, G] that sums features of one key (None if all differ)."""
    codes, distinct = pd.factorize(keys)
    if len(distinct) == len(keys):
        return pd.Index(keys), None
    # float64, so that a sum beyond 2^24 keeps its last digit
    return pd.Index(distinct), sp.csr_matrix((np.ones(len(keys)), (np.arange(len(keys)), codes)), shape=(len(keys), len(distinct)))


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
        Columns `gene_id` (as given, without version; the name of the gene where its id is missing) and `symbol` [F features].

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
        except READ_ERRORS as error:
            self.close()
            raise InputError(
                f"{self.path}: expected AnnData, found a file that is damaged, truncated or of another kind ({_first_line(error)}). "
                "Copy it again, or write it again."
            ) from None

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
        """Open the file; what is no AnnData at all is told here."""
        path = self.path
        if not path.exists():
            raise InputError(f"{path}: expected counts of a plate, found no file. Correct column counts of the plate table.")
        if path.is_dir():
            import zarr

            try:
                group: Any = zarr.open_group(str(path), mode="r")
            except (OSError, ValueError, KeyError) as error:
                raise InputError(
                    f"{path}: expected an AnnData zarr store, found a folder that is none ({_first_line(error)}). Correct column counts."
                ) from None
        else:
            group = self._open_h5()
        if "obs" not in group or "var" not in group:
            keys = ", ".join(sorted(group)) or "nothing"
            if not path.is_dir():
                group.close()
            raise InputError(f"{path}: expected AnnData (obs, var, X), found a file with {keys}. Convert it to h5ad.")
        return group

    def _open_h5(self) -> Any:
        import h5py

        try:
            return h5py.File(self.path, "r")
        except OSError as error:
            suffix = self.path.suffix
            other = f"ends in {suffix} ({OTHER_FORMATS[suffix]})" if suffix in OTHER_FORMATS else "is truncated or of another format"
            raise InputError(
                f"{self.path}: expected an h5ad file or an AnnData zarr store, found one that cannot be opened: it {other} ({_first_line(error)}). "
                "Copy it again, or convert it to h5ad."
            ) from None

    def _read_tables(self) -> None:
        from anndata.io import read_elem, sparse_dataset

        self.obs: pd.DataFrame = read_elem(self._group["obs"])
        var = read_elem(self._group["var"])
        element = self._matrix_element()
        self._encoding = element.attrs.get("encoding-type", "array")
        # a compressed matrix stays on disk; columns are turned round when the first block is read
        self._matrix: Any = sparse_dataset(element) if self._encoding in ("csr_matrix", "csc_matrix") else element
        names = pd.Series([str(name).strip() for name in var.index], index=var.index, dtype=object)
        ids = self._var_column(var, self.settings.gene_id, "gene_id", names).map(strip_version)
        symbols = self._var_column(var, self.settings.gene_symbol, "gene_symbol", ids)
        self.genes = pd.DataFrame({"gene_id": ids.to_numpy(dtype=object), "symbol": symbols.to_numpy(dtype=object)})
        expected = (len(self.obs), len(self.genes))
        if tuple(self._matrix.shape) != expected:
            raise InputError(f"{self.path}: expected a matrix of {expected} (obs x var), found {tuple(self._matrix.shape)}. Write the file again.")

    def _matrix_element(self) -> Any:
        """Return the element that holds the counts."""
        layer = self.settings.layer
        layers = list(self._group["layers"]) if "layers" in self._group else []
        if layer is None:
            if "X" not in self._group or self._group["X"].attrs.get("encoding-type") == "null":
                found = f"layers {', '.join(layers)}" if layers else "no layer"
                raise InputError(f"{self.path}: expected counts in X, found no X but {found}. Set `input: {{layer: NAME}}`.")
            return self._group["X"]
        if layer not in layers:
            found = ", ".join(layers) or "no layer"
            raise InputError(f"{self.path}: expected layer {layer!r} (input.layer), found {found}. Name one that is there, or null for X.")
        return self._group["layers"][layer]

    def _var_column(self, var: pd.DataFrame, name: str | None, key: str, instead: pd.Series) -> pd.Series:
        """Return a var column as text, and `instead` where the column is null or a gene has no entry."""
        if name is None:
            return instead
        if name not in var.columns:
            found = ", ".join(map(str, var.columns)) or "no column"
            raise InputError(
                f"{self.path}: expected var column {name!r} (input.{key}), found {found}. Name one that is there, or null for the index."
            )
        texts = np.asarray([str(value).strip() for value in var[name].astype(object)], dtype=object)
        is_missing = var[name].isna().to_numpy() | (texts == "")
        if is_missing.any():
            logger.warning("%s: %d of %d genes have nothing in var column %r and keep their name", self.path, is_missing.sum(), len(var), name)
        return pd.Series(np.where(is_missing, instead.to_numpy(dtype=object), texts), index=var.index)

    @property
    def obsm_widths(self) -> dict[str, int]:
        """Number of columns of each array or table in obsm, by key."""
        found: dict[str, int] = {}
        for key in sorted(self._group["obsm"]) if "obsm" in self._group else []:
            element = self._group["obsm"][key]
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
        from anndata.io import read_elem

        keys = list(self._group["obsm"]) if "obsm" in self._group else []
        if key not in keys:
            found = ", ".join(keys) or "no obsm"
            raise InputError(
                f"{self.path}: expected obsm[{key!r}] (embedding.obsm), found {found}. Name one that is there, or write `embedding: {{source: pca}}`."
            )
        with self._reading():
            return np.asarray(read_elem(self._group["obsm"][key]), dtype=np.float32)

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
        names = self.genes["symbol"].to_numpy()
        for start in range(0, len(self.obs), num_cells):
            first, last = np.searchsorted(rows, [start, start + num_cells])
            if first == last:
                continue
            wanted = rows[first:last]
            counts = self._slice(int(wanted[0]), int(wanted[-1]) + 1)
            if len(wanted) < counts.shape[0]:
                counts = counts[wanted - wanted[0]]
            check_counts(counts, names, str(self.path))
            yield wanted, counts

    def _slice(self, start: int, stop: int) -> sp.csr_matrix:
        with self._reading():
            if self._encoding == "csc_matrix":
                self._matrix, self._encoding = self._matrix.to_memory().tocsr(), "memory"
            block = sp.csr_matrix(self._matrix[start:stop])
        block.sum_duplicates()
        block.eliminate_zeros()
        return block

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except READ_ERRORS as error:
            raise InputError(f"{self.path}: expected counts, found a damaged or truncated file ({_first_line(error)}). Copy it again.") from None


def _first_line(error: Exception) -> str:
    """Return the first line of what a library says, and no full stop at its end."""
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
