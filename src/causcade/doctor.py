"""`causcade doctor`: what this machine has, and what a configuration will need on it.

Sizes are counted from the plates themselves (the shapes of their matrices, not their counts). Memory and disk follow from array shapes; no running
time is promised here.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from causcade import __version__
from causcade.config import Config
from causcade.errors import InputError
from causcade.plates import Plate, list_plates

__all__ = ["examine", "needs", "plate_shape"]

GIB = 1 << 30
OPTIONAL = {"rapids_singlecell": "GPU quality control and map", "cupy": "rapids-singlecell", "chromium": "only for the browser tests"}
TRIANGLE = 0.5
BYTES_PER_COUNT = 1.7  # measured for uint16 counts and columns, sharded and compressed


def plate_shape(plate: Plate) -> tuple[int, int, float] | None:
    """Cells, genes and non-zero counts of a plate's file, without reading its counts; None where the file is not there yet."""
    path = Path(plate.counts)
    if not path.exists():
        return None
    group: Any
    if path.is_dir():
        import zarr

        group = zarr.open_group(str(path), mode="r")
    else:
        import h5py

        try:
            group = h5py.File(path, "r")
        except OSError as error:
            raise InputError(f"{path}: expected an h5ad file, found one that cannot be opened ({error}). Copy it again.") from None
    matrix = group["X"]
    if "shape" in matrix.attrs:
        num_cells, num_genes = (int(size) for size in matrix.attrs["shape"])
        return num_cells, num_genes, float(matrix["data"].shape[0])
    num_cells, num_genes = (int(size) for size in matrix.shape)
    return num_cells, num_genes, float(num_cells * num_genes)


def needs(config: Config, shapes: list[tuple[int, int, float]]) -> dict[str, float]:
    """Disk and memory, in bytes, that the stages need for plates of these shapes.

    Returns
    -------
    dict
        cells (disk of the cell stores), moments (disk), coexpression (disk and memory of the gene pairs), moments_memory (one plate's job).
    """
    num_genes = min(max((genes for _, genes, _ in shapes), default=0), config.panel.num_hvg + 5500)
    pairs = float(num_genes) ** 2
    return {
        "num_genes": float(num_genes),
        "cells": BYTES_PER_COUNT * sum(nonzero for _, _, nonzero in shapes),
        "moments": len(shapes) * TRIANGLE * pairs * 8,
        "coexpression": 2 * pairs * 4,
        "moments_memory": pairs * (8 + 4) + config.input.block_cells * num_genes * 4 * 2,
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


def examine(config: Config) -> str:
    """Text of `causcade doctor`: the machine, then what the configuration will need on it."""
    lines = _machine()
    folder = Path(config.results)
    free = shutil.disk_usage(folder if folder.exists() else Path.cwd()).free
    lines.append(f"disk: {free / GIB:.0f} GiB free at {config.results}")
    plates = list_plates(config)
    shapes = [shape for plate in plates if (shape := plate_shape(plate)) is not None]
    if config.is_simulated and not shapes:
        lines.append(
            f"run {config.run}: the simulated screen, {len(plates)} plates, not drawn yet; it needs less than 1 GiB of disk and 2 GiB of memory"
        )
        return "\n".join(lines)
    absent = len(plates) - len(shapes)
    need = needs(config, shapes)
    disk = need["cells"] + need["moments"] + need["coexpression"]
    num_cells = sum(cells for cells, _, _ in shapes)
    size = {name: f"{value / GIB:.1f}" for name, value in need.items()}
    lines.append(
        f"run {config.run}: {len(plates)} plates ({absent} not there), {num_cells:,} cells in their files, "
        f"up to {need['num_genes']:.0f} genes in the panel"
    )
    lines.append(
        f"it needs about {disk / GIB:.1f} GiB of disk: cell stores {size['cells']}, moments {size['moments']}, coexpression {size['coexpression']}"
    )
    lines.append(f"and about {size['moments_memory']} GiB of memory for the sums of one plate")
    if disk > free:
        lines.append(f"warning: that is more disk than is free at {config.results}. Set `results` to a larger disk.")
    if sys.version_info < (3, 12):
        lines.append("note: rapids-singlecell needs Python 3.12 or newer (envs/gpu.yaml)")
    return "\n".join(lines)
