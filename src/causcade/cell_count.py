"""Number of cells of an input, from headers alone: what the workflow needs to know while it is parsed.

No count is read, and neither anndata, scanpy, torch nor zarr is imported.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from causcade.errors import InputError
from causcade.input_files import READ_ERRORS, find_mtx, is_cells_by_genes, list_shards, num_lines, read_mtx_header, tell_format

if TYPE_CHECKING:
    from causcade.config_input import InputConfig

__all__ = ["count_cells"]


def count_cells(path: str | Path, settings: InputConfig) -> int | None:
    """Count the cells of an input from its headers: of h5ad and 10x h5, of the metadata of zarr, of mtx text, of the footers of parquet.

    Parameters
    ----------
    path
        File or folder; where several plates share it, their cells are counted together.
    settings
        Section `input`; `format` and `genome` are used.

    Returns
    -------
    int or None
        Number of cells; None where it cannot be told (no file yet, or one that the check of the plate will refuse).
    """
    place = Path(path)
    counting = {"anndata": _of_anndata, "tenx_h5": _of_tenx, "mtx": _of_mtx, "tahoe_parquet": _of_parquet}
    try:
        return counting[tell_format(place, settings.format)](place, settings)
    except (InputError, TypeError, *READ_ERRORS):
        return None


def _of_anndata(path: Path, settings: InputConfig) -> int:
    """Length of the index of obs."""
    if path.is_dir():
        return _of_zarr(path / "obs")
    import h5py

    with h5py.File(path, "r") as file:
        obs = file["obs"]
        if isinstance(obs, h5py.Dataset):
            return int(obs.shape[0])
        index = obs[obs.attrs["_index"]]
        return int((index["values"] if isinstance(index, h5py.Group) else index).shape[0])


def _of_zarr(obs: Path) -> int:
    """Length of the index of a table, from the metadata of zarr v3 (zarr.json) or v2 (.zattrs, .zarray)."""

    def read(path: Path) -> Any:
        return json.loads(path.read_text(encoding="utf-8"))

    is_v3 = (obs / "zarr.json").is_file()
    attributes = read(obs / "zarr.json")["attributes"] if is_v3 else read(obs / ".zattrs")
    index = obs / attributes["_index"]
    metadata = "zarr.json" if is_v3 else ".zarray"
    # texts that may be missing are a group of values and a mask
    array = index / "values" if (index / "values").is_dir() else index
    return int(read(array / metadata)["shape"][0])


def _of_tenx(path: Path, settings: InputConfig) -> int:
    """Barcodes of the matrix, or of a genome."""
    import h5py

    with h5py.File(path, "r") as file:
        groups = ["matrix"] if "matrix" in file else [key for key in sorted(file) if isinstance(file[key], h5py.Group) and "barcodes" in file[key]]
        if settings.genome is not None and "matrix" not in groups:
            groups = [settings.genome]
        (group,) = groups
        return int(file[group]["barcodes"].shape[0])


def _of_mtx(path: Path, settings: InputConfig) -> int:
    """One of the two sizes of the matrix; the files beside it say which."""
    files, header_lines = find_mtx(path), {"10x": 0, "Parse": 1}
    header = read_mtx_header(files.matrix)
    heading = header_lines[files.vendor]
    num_cells = None if files.cells is None else num_lines(files.cells) - heading
    cells_first = is_cells_by_genes(files, header, num_lines(files.genes) - heading, num_cells)
    return header.num_rows if cells_first else header.num_columns


def _of_parquet(path: Path, settings: InputConfig) -> int:
    """Rows that the footers of the shards name."""
    import pyarrow.parquet as pq

    return sum(int(pq.read_metadata(str(shard)).num_rows) for shard in list_shards(path))
