"""`causcade doctor`: what this machine has, and what a configuration will need on it.

Sizes are counted from the headers of the plates themselves, not from their counts; for a plate that is not there yet, from its number of cells in the
plate table. Memory and disk follow from array shapes, operations from the shape of a model; a running time only from a rate that was measured.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import sys
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from causcade import __version__
from causcade.config import Config, InputConfig
from causcade.embedding_cost import cost_in_words
from causcade.errors import InputError
from causcade.files import read_json
from causcade.input_files import READ_ERRORS, find_mtx, first_line, list_shards, read_mtx_header, tell_format
from causcade.plates import Plate, list_plates
from causcade.shards import num_shards

__all__ = ["PlateShape", "examine", "needs", "plate_shape", "plate_shapes"]

GIB = 1 << 30
OPTIONAL = {
    "rapids_singlecell": "GPU quality control and map",
    "cupy": "rapids-singlecell",
    "skmisc": "scikit-misc: only for panel.flavor seurat_v3",
    "huggingface_hub": "models of the Hugging Face hub by name",
    "rdkit": "only for new drugs of a TX1 model",
    "tensorboard": "only for curves of pre-training",
    "chromium": "only for the browser tests",
}
BYTES_PER_COUNT = 1.7  # measured for uint16 counts and columns, sharded and compressed
BYTES_PER_PAIR = 16  # of memory, for each pair of genes twice: two copies of the sums in float64 (measured: 2.7 GB in all at 14,142 genes)
GENES_PER_CELL = 1500  # Tahoe-100M has 1,460; for plates that are not there yet
LISTED_GENES = 7200  # transcription factors, RNA-binding proteins, hallmark genes and drug targets together


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


def needs(config: Config, shapes: list[PlateShape], num_lines: int | None = None) -> dict[str, float]:
    """Disk and memory, in bytes, that the stages need for plates of these shapes.

    Parameters
    ----------
    config
        Sections `panel` and `coexpression` are used.
    shapes
        Of each plate.
    num_lines
        Number of cell lines; None where it is not known.

    Returns
    -------
    dict
        num_genes (of the panel, at most), cells (disk of the cell stores), moments (disk), shards (disk, until the shards of large plates are added
        up), coexpression (disk and memory of the matrices), lines (disk of sums and matrices per cell line; those of one line where their number is
        not known; 0 if `coexpression.per_line` is off), moments_memory (one job on sums).
    """
    size = config.panel.num_hvg + LISTED_GENES if config.panel.num_genes is None else config.panel.num_genes
    num_genes = min(max((shape.num_genes for shape in shapes), default=0) or size, size) if shapes else 0
    triangle = 8.0 * num_genes * (num_genes + 1) / 2
    matrices = 2 * 4.0 * num_genes**2
    shards = [num for shape in shapes if (num := num_shards(round(shape.num_cells), config.coexpression.shard_cells)) > 1]
    per_line = len(shapes) * triangle + matrices if config.coexpression.per_line else 0.0
    return {
        "num_genes": float(num_genes),
        "cells": BYTES_PER_COUNT * sum(shape.num_nonzero for shape in shapes),
        "moments": len(shapes) * triangle,
        "shards": sum(shards) * triangle,
        "coexpression": matrices,
        "lines": per_line * (num_lines or 1),
        "moments_memory": BYTES_PER_PAIR * float(num_genes) ** 2 + GIB,
    }


def _machine() -> list[str]:
    import psutil

    memory = psutil.virtual_memory()
    lines = [
        f"causcade {__version__}, python {platform.python_version()}, {platform.platform()}",
        f"processors: {os.cpu_count()}, memory: {memory.total / GIB:.0f} GiB ({memory.available / GIB:.0f} GiB free)",
    ]
    for name in ("snakemake", "anndata", "zarr", "scanpy", "torch"):
        try:
            lines.append(f"{name}: {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            lines.append(f"{name}: not installed. Run `make install`, or `pip install -e .`")
    if importlib.util.find_spec("torch") is not None:
        import torch

        gpus = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
        lines.append(f"GPUs: {', '.join(gpus)}" if gpus else "GPUs: none that torch can use; everything runs on the CPU")
    for name, use in OPTIONAL.items():
        there = shutil.which(name) is not None if name == "chromium" else importlib.util.find_spec(name) is not None
        lines.append(f"{name}: {'installed' if there else 'not installed'} ({use})")
    lines.append(f"sbatch: {'found' if shutil.which('sbatch') else 'not found; the slurm-gpu profile needs it'}")
    return lines


def _known(config: Config) -> tuple[int | None, int | None]:
    """Count the cell lines and the control cells, once the check of the run has seen them."""
    path = Path(config.results) / config.run / "check.json"
    if not path.is_file():
        return None, None
    looks = read_json(path)["plates"].values()
    return len({line for look in looks for line in look["lines"]}), sum(sum(look.get("control_lines", {}).values()) for look in looks)


def _needs_in_words(config: Config, need: dict[str, float], num_lines: int | None) -> list[str]:
    size = {name: f"{value / GIB:.1f}" for name, value in need.items()}
    disk = need["cells"] + need["moments"] + need["coexpression"]
    lines = [
        f"it needs about {disk / GIB:.1f} GiB of disk: cell stores {size['cells']}, moments {size['moments']}, coexpression {size['coexpression']}"
    ]
    if need["shards"]:
        lines.append(f"and up to {size['shards']} GiB more until the shards of plates above {config.coexpression.shard_cells:,} cells are added up")
    if config.coexpression.per_line:
        of = "for each cell line" if num_lines is None else f"for {num_lines} cell lines"
        lines.append(f"and {size['lines']} GiB {of}, since coexpression.per_line is on")
    lines.append(f"and about {size['moments_memory']} GiB of memory for the sums of one plate or shard")
    return lines


def examine(config: Config, rate: float | None = None) -> str:
    """Text of `causcade doctor`: the machine, then what the configuration will need on it.

    Parameters
    ----------
    config
        The configuration.
    rate
        Measured floating-point operations a second of the model that embeds cells, for a time beside their number.
    """
    lines = _machine()
    folder = Path(config.results)
    free = shutil.disk_usage(folder if folder.exists() else Path.cwd()).free
    lines.append(f"disk: {free / GIB:.0f} GiB free at {config.results}")
    plates = list_plates(config)
    shapes = plate_shapes(plates, config.input)
    if config.is_simulated and not shapes:
        lines.append(
            f"run {config.run}: the simulated screen, {len(plates)} plates, not drawn yet; it needs less than 1 GiB of disk and 2 GiB of memory"
        )
        return "\n".join(lines)
    absent = [plate.name for plate in plates if not Path(plate.counts).exists()]
    num_cells = round(sum(shape.num_cells for shape in shapes.values()))
    num_lines, num_controls = _known(config)
    need = needs(config, list(shapes.values()), num_lines)
    told = len(shapes) - (len(plates) - len(absent))
    where = f"{len(absent)} not there" + (f", the plate table tells the cells of {told}" if told else "")
    lines.append(f"run {config.run}: {len(plates)} plates ({where}), {num_cells:,} cells, up to {need['num_genes']:.0f} genes in the panel")
    if len(shapes) < len(plates):
        lines.append(f"warning: the size of {len(plates) - len(shapes)} plate(s) is not known; what follows leaves them out")
    lines += _needs_in_words(config, need, num_lines)
    num_genes = sum(shape.num_nonzero for shape in shapes.values()) / max(1, num_cells)
    lines += cost_in_words(config, num_cells, num_genes, num_controls, rate)
    if sum(need[name] for name in ("cells", "moments", "shards", "coexpression", "lines")) > free:
        lines.append(f"warning: that is more disk than is free at {config.results}. Set `results` to a larger disk.")
    if sys.version_info < (3, 12):
        lines.append("note: rapids-singlecell needs Python 3.12 or newer (envs/gpu.yaml)")
    return "\n".join(lines)
