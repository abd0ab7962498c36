"""AnnData on disk: h5ad files and zarr stores (https://anndata.readthedocs.io/en/stable/fileformat-prose.html), matrix `X` or a named layer.

Axes: N cells, F features.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from causcade.config import InputConfig
from causcade.errors import InputError
from causcade.readers.matrices import CompressedColumns, CompressedRows, CountMatrix, DenseRows
from causcade.readers.opened import OpenedInput, opening

__all__ = ["open_anndata"]

logger = logging.getLogger(__name__)

KIND = "AnnData"
# Room for the chunks of a matrix that a block cuts, so that none is unpacked twice.
HDF5_CACHE = {"rdcc_nbytes": 16 << 20, "rdcc_nslots": 10_007}


def open_anndata(path: Path, settings: InputConfig) -> OpenedInput:
    """Open an h5ad file or an AnnData zarr store.

    Parameters
    ----------
    path
        File or folder.
    settings
        `layer` names the layer that holds the counts; None: X.

    Raises
    ------
    InputError
        If it is no AnnData, damaged, written before anndata 0.7, or without that layer.
    """
    if settings.genome is not None:
        logger.warning("%s: AnnData names no genomes, so that input.genome (%s) selects nothing", path, settings.genome)
    group = _open_group(path)
    close = getattr(group, "close", None) or (lambda: None)
    try:
        with opening(path, KIND):
            if "obs" not in group or "var" not in group:
                found = ", ".join(sorted(group)) or "nothing"
                raise InputError(f"{path}: expected AnnData (obs, var, X), found a file with {found}. Correct column counts, or input.format.")
            obs, var = (_read_table(group[name], path) for name in ("obs", "var"))
            matrix = _matrix(_matrix_element(group, settings.layer, path), path)
    except BaseException:
        close()
        raise
    expected = (len(obs), len(var))
    if matrix.shape != expected:
        close()
        raise InputError(f"{path}: expected a matrix of {expected} (obs x var), found {matrix.shape}. Write the file again.")
    return OpenedInput(obs=obs, var=var, matrix=matrix, obsm=group.get("obsm", {}), close=close)


def _open_group(path: Path) -> Any:
    with opening(path, KIND):
        if path.is_dir():
            import zarr

            return zarr.open_group(str(path), mode="r")
        import h5py

        return h5py.File(path, "r", **HDF5_CACHE)


def _read_table(element: Any, path: Path) -> pd.DataFrame:
    """Read obs or var."""
    from anndata.io import read_elem

    if not hasattr(element, "keys"):
        raise InputError(
            f"{path}: expected AnnData as anndata 0.7 and later write it, found an older file, whose tables are arrays. "
            "Write it again with `anndata.read_h5ad(PATH).write_h5ad(PATH)`."
        )
    table: pd.DataFrame = read_elem(element)
    return table


def _matrix_element(group: Any, layer: str | None, path: Path) -> Any:
    """Return the element that holds the counts."""
    layers = list(group["layers"]) if "layers" in group else []
    if layer is None:
        if "X" not in group or group["X"].attrs.get("encoding-type") == "null":
            found = f"layers {', '.join(layers)}" if layers else "no layer"
            raise InputError(f"{path}: expected counts in X, found no X but {found}. Set `input: {{layer: NAME}}`.")
        return group["X"]
    if layer not in layers:
        found = ", ".join(layers) or "no layer"
        raise InputError(f"{path}: expected layer {layer!r} (input.layer), found {found}. Name one that is there, or null for X.")
    return group["layers"][layer]


def _matrix(element: Any, path: Path) -> CountMatrix:
    """Matrix of an element; files of anndata 0.6 and 0.7 name the encoding differently."""
    attributes = element.attrs
    encoding = str(attributes.get("encoding-type", attributes.get("h5sparse_format", "array")))
    if not encoding.startswith(("csr", "csc")):
        if len(element.shape) != 2:
            raise ValueError(f"the matrix has the shape {tuple(element.shape)}")
        return DenseRows(element)
    rows, columns = (int(size) for size in np.asarray(attributes["shape" if "shape" in attributes else "h5sparse_shape"]))
    parts = (element["data"], element["indices"], element["indptr"])
    if encoding.startswith("csr"):
        return CompressedRows(*parts, (rows, columns))
    return CompressedColumns(*parts, (rows, columns), where=str(path))
