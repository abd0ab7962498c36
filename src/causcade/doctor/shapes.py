"""Cells, genes and non-zero counts of plates, from the headers of their files and not from their counts.

For a plate that is not there yet, its number of cells may stand in the plate table.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

from causcade.config import InputConfig
from causcade.errors import InputError
from causcade.input_files import READ_ERRORS, find_mtx, first_line, list_shards, read_mtx_header, tell_format
from causcade.plates import Plate

__all__ = ["GENES_PER_CELL", "PlateShape", "plate_shape", "plate_shapes"]

GENES_PER_CELL = 1500  # Tahoe-100M has 1,460; for plates that are not there yet


class PlateShape(NamedTuple):
    """Cells, genes (0: not known) and non-zero counts of a plate."""

    num_cells: float
    num_genes: int
    num_nonzero: float


def plate_shape(plate: Plate, settings: InputConfig) -> PlateShape | None:
    """Cells, genes and non-zero counts of a plate, without reading its counts.

    Plates that share a file get equal parts of it. Of a plate whose file is not there yet, the plate table may tell the cells; 1,500 counts are then
    taken for each.

    Returns
    -------
    PlateShape or None
        None where nothing tells the size.

    Raises
    ------
    InputError
        If the file is damaged or of a format that causcade does not read.
    """
    path = Path(plate.counts)
    if not path.exists():
        return None if plate.num_cells is None else PlateShape(plate.num_cells, 0, float(GENES_PER_CELL) * plate.num_cells)
    reading = {"anndata": _of_anndata, "tenx_h5": _of_tenx, "mtx": _of_mtx, "tahoe_parquet": _of_parquet}
    form = tell_format(path, settings.format)
    try:
        num_cells, num_genes, num_nonzero = reading[form](path, settings)
    except READ_ERRORS as error:
        raise InputError(f"{path}: expected counts ({form}), found a file that cannot be read ({first_line(error)}). Copy it again.") from None
    return PlateShape(num_cells / plate.num_sharing, num_genes, num_nonzero / plate.num_sharing)


def _of_anndata(path: Path, settings: InputConfig) -> PlateShape:
    group: Any
    if path.is_dir():
        import zarr

        group = zarr.open_group(str(path), mode="r")
    else:
        import h5py

        group = h5py.File(path, "r")
    matrix = group["X"] if settings.layer is None else group[f"layers/{settings.layer}"]
    if "shape" in matrix.attrs:
        num_cells, num_genes = (int(size) for size in matrix.attrs["shape"])
        return PlateShape(num_cells, num_genes, float(matrix["data"].shape[0]))
    num_cells, num_genes = (int(size) for size in matrix.shape)
    return PlateShape(num_cells, num_genes, float(num_cells * num_genes))


def _of_tenx(path: Path, settings: InputConfig) -> PlateShape:
    import h5py

    with h5py.File(path, "r") as file:
        name = "matrix" if "matrix" in file else settings.genome
        group = file[next(key for key in sorted(file) if "barcodes" in file[key]) if name is None else name]
        num_genes, num_cells = (int(size) for size in group["shape"][:])
        return PlateShape(num_cells, num_genes, float(group["data"].shape[0]))


def _of_mtx(path: Path, settings: InputConfig) -> PlateShape:
    from causcade.cell_count import count_cells

    header = read_mtx_header(find_mtx(path).matrix)
    num_cells = count_cells(path, settings) or 0
    return PlateShape(num_cells, header.num_rows + header.num_columns - num_cells, float(header.num_entries))


def _of_parquet(path: Path, settings: InputConfig) -> PlateShape:
    import pyarrow.parquet as pq

    num_cells = num_values = 0
    for shard in list_shards(path):
        footer = pq.read_metadata(str(shard))
        num_cells += footer.num_rows
        for number in range(footer.num_row_groups):
            columns = (footer.row_group(number).column(column) for column in range(footer.num_columns))
            num_values += sum(column.num_values for column in columns if column.path_in_schema.split(".")[0] == "expressions")
    table = Path(settings.gene_table or "")
    num_genes = int(pq.read_metadata(str(table)).num_rows) if table.suffix == ".parquet" and table.is_file() else 0
    return PlateShape(num_cells, num_genes, float(max(0, num_values - num_cells)))  # each cell begins with a marker


def plate_shapes(plates: list[Plate], settings: InputConfig) -> dict[str, PlateShape]:
    """Shapes of the plates whose size something tells, by name; a file of several plates is looked at once."""
    by_file: dict[str, PlateShape | None] = {}
    found = {}
    for plate in plates:
        file = os.path.realpath(plate.counts)
        if not Path(file).exists() or file not in by_file:
            by_file[file] = plate_shape(plate, settings)
        shape = by_file[file]
        if shape is not None:
            found[plate.name] = shape
    return found
