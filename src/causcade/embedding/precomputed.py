"""Embeddings that were computed elsewhere: an obsm key of the input, or a file for each plate (or for all).

Axes: M cells of a file, N embedded cells, D dimensions.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from causcade.cells import CellStore
from causcade.config import EmbeddingConfig, InputConfig
from causcade.config_tx1 import path_of_plate
from causcade.embedding.plate import assemble, chosen_rows, describe_cells
from causcade.errors import InputError
from causcade.files import read_parquet
from causcade.input_files import READ_ERRORS, first_line
from causcade.readers import CountsFile

if TYPE_CHECKING:
    import anndata

__all__ = ["embed_plate", "read_embedding"]

NAME_COLUMN = "cell"
PLATE_COLUMN = "plate"
FORMATS = "npy, parquet, h5ad or zarr"


def embed_plate(
    store: CellStore, settings: EmbeddingConfig, *, source: tuple[str, InputConfig, str], roles: pd.DataFrame, block_cells: int
) -> anndata.AnnData:
    """Take the embedding of the cells of one plate (its controls, or all).

    Parameters
    ----------
    store
        Cells of the plate.
    settings
        Section `embedding`.
    source
        The plate's input file, how to read it, and the name of the plate.
    roles
        `cell_cycle.parquet`, for the scores that the report's map shows.
    block_cells
        Cells read at a time; changes no result.

    Returns
    -------
    anndata.AnnData
        X [N, D]; obs of :func:`causcade.embedding.plate.describe_cells`.

    Raises
    ------
    InputError
        If there is no such file or obsm key, its rows are not those of the input, a cell is not in it or twice, or an embedding is not finite.
    """
    rows = chosen_rows(store, settings)
    source_rows = store.obs["source_row"].to_numpy()[rows]
    if settings.path is None:
        assert settings.obsm is not None  # the configuration sees to it
        with CountsFile(*source) as file:
            z_ND = file.embedding(settings.obsm)[source_rows]
        where = str(store.path)
    else:
        where = path_of_plate(settings.path, source[2])
        z_MD, names = read_embedding(where, settings.obsm, plate=source[2])
        if names is None:
            _check_num_rows(where, len(z_MD), source)
            z_ND = z_MD[source_rows]
        else:
            z_ND = z_MD[_places(where, names, store.obs.index[rows])]
    return assemble(z_ND, describe_cells(store, rows, roles, block_cells=block_cells), settings, where)


def read_embedding(path: str | Path, obsm: str | None, *, plate: str) -> tuple[np.ndarray, pd.Index | None]:
    """Read a file of embeddings.

    Parameters
    ----------
    path
        npy: an array [M, D]. parquet: numeric columns, or one column of lists; the names of the cells in column `cell` or in the index, if any; of a
        column `plate`, the rows of this plate are taken. h5ad or zarr (AnnData): `obsm[obsm]`.
    obsm
        Key of an AnnData file.
    plate
        Name of the plate.

    Returns
    -------
    z_MD : numpy.ndarray
        float32 [M, D].
    names : pandas.Index or None
        Names of the cells [M]; None where the rows are those of the input.

    Raises
    ------
    InputError
        If the file is absent, damaged or of another format, or holds no table of numbers.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: expected the embedding of plate {plate!r} (embedding.path), found no file. Correct the path.")
    readers = {".npy": _read_npy, ".parquet": _read_table, ".h5ad": _read_anndata, ".zarr": _read_anndata}
    if path.suffix not in readers:
        raise InputError(f"{path}: expected an embedding as {FORMATS}, found a name that ends in {path.suffix or 'nothing'!r}. Convert the file.")
    try:
        values, names = readers[path.suffix](path, obsm, plate)
        z_MD = np.asarray(values, dtype=np.float32)
    except InputError:
        raise
    except (*READ_ERRORS, TypeError) as error:
        raise InputError(
            f"{path}: expected an embedding ({FORMATS}), found a file that cannot be read ({first_line(error)}). Write it again."
        ) from None
    if z_MD.ndim != 2 or not z_MD.shape[1]:
        raise InputError(f"{path}: expected an array of cells x dimensions, found one of shape {z_MD.shape}. Write one row per cell.")
    return z_MD, names


def _read_npy(path: Path, obsm: str | None, plate: str) -> tuple[np.ndarray, None]:
    return np.load(path, mmap_mode="r", allow_pickle=False), None


def _read_table(path: Path, obsm: str | None, plate: str) -> tuple[np.ndarray, pd.Index | None]:
    table = read_parquet(path)
    if PLATE_COLUMN in table:
        table = table[table[PLATE_COLUMN].astype(str) == plate].drop(columns=PLATE_COLUMN)
    names = None
    if NAME_COLUMN in table:
        names = pd.Index(table.pop(NAME_COLUMN).astype(str))
    elif not pd.api.types.is_numeric_dtype(table.index.dtype):
        names = table.index.astype(str)
    texts = [str(name) for name in table if not pd.api.types.is_numeric_dtype(table[name].dtype)]
    if table.shape[1] == 1 and len(texts) == 1 and len(table):
        return np.stack([np.asarray(row, dtype=np.float32) for row in table.iloc[:, 0]]), names
    if texts:
        raise InputError(
            f"{path}: expected columns of numbers beside {NAME_COLUMN!r} and {PLATE_COLUMN!r}, found {', '.join(texts[:5])} of another kind. "
            "Remove them, or name the column of cell names `cell`."
        )
    return table.to_numpy(dtype=np.float32), names


def _read_anndata(path: Path, obsm: str | None, plate: str) -> tuple[np.ndarray, pd.Index]:
    from anndata.io import read_elem

    if obsm is None:
        raise InputError(f"{path}: expected `embedding.obsm`, the key of the embedding in this file, found null. Write `embedding: {{obsm: KEY}}`.")
    group = _open(path)
    keys = sorted(group["obsm"]) if "obsm" in group else []
    if obsm not in keys:
        found = ", ".join(keys) or "no obsm"
        raise InputError(f"{path}: expected obsm[{obsm!r}] (embedding.obsm), found {found}. Name one that is there.")
    return np.asarray(read_elem(group["obsm"][obsm]), dtype=np.float32), read_elem(group["obs"]).index.astype(str)


def _open(path: Path) -> Any:
    if path.is_dir():
        import zarr

        return zarr.open_group(str(path), mode="r")
    import h5py

    return h5py.File(path, "r")


def _check_num_rows(where: str, num_rows: int, source: tuple[str, InputConfig, str]) -> None:
    """Check that a file without names has a row for each cell of the input, quality control not yet applied."""
    with CountsFile(*source) as file:
        num_cells = len(file.obs)
    if num_rows != num_cells:
        raise InputError(
            f"{where}: expected a row for each of the {num_cells:,} cells of {source[0]}, in their order, found {num_rows:,} rows. "
            f"Write all cells, also those that quality control removes, or give their names (parquet with a column {NAME_COLUMN!r}, or h5ad)."
        )


def _places(where: str, names: pd.Index, wanted: pd.Index) -> np.ndarray:
    """Row of each wanted cell; a name that is absent, or that two rows have, is an error."""
    if not names.is_unique:
        repeated = names[names.duplicated()].unique()
        hit = repeated.intersection(wanted.astype(str))
        if len(hit):
            raise InputError(
                f"{where}: expected each cell once, found {hit[0]!r} and {len(hit) - 1:,} more several times. Give each plate a file of its own "
                "(`path: emb_{plate}.parquet`), or a column `plate`."
            )
        names = names.where(~names.duplicated(keep=False), "")
        names = pd.Index([name or f"\0{number}" for number, name in enumerate(names)])
    places: np.ndarray = names.get_indexer(wanted.astype(str))
    missing = np.flatnonzero(places < 0)
    if len(missing):
        example = names[0] if len(names) else "none"
        raise InputError(
            f"{where}: expected the embedding of every cell that passed quality control, found none of {len(missing):,} of {len(wanted):,} "
            f"(such as {wanted[missing[0]]!r}; the file has names such as {example!r}). Use the names of the cells in the input, or embed them all."
        )
    return places
