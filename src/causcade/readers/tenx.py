"""10x h5 files: of Cell Ranger 2 (a group per genome), of Cell Ranger 3 and later (one group, typed features), and of probes.

The layout is that of https://www.10xgenomics.com/support/software/cell-ranger/latest/analysis/outputs/cr-outputs-h5-matrices: genes x cells,
compressed by columns, which is cells x genes compressed by rows. Probes are taken with the ids of their genes, so that they are summed, and only
those of the filtered set, as Cell Ranger does.

Axes: N cells (barcodes), F features.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from causcade.config import InputConfig
from causcade.errors import InputError
from causcade.readers.anndata_files import HDF5_CACHE
from causcade.readers.genes import FEATURE_TYPE, GENOME, IS_FILTERED_PROBE, select_features
from causcade.readers.matrices import CompressedRows
from causcade.readers.opened import OpenedInput, opening, refuse_layer

__all__ = ["open_tenx"]

KIND = "10x h5"
SYMBOL = "gene_symbols"


def open_tenx(path: Path, settings: InputConfig) -> OpenedInput:
    """Open a 10x h5 file.

    Features of other types than Gene Expression are left out, and the log says how many; var columns are `gene_ids`, `gene_symbols` and those of the
    file.

    Parameters
    ----------
    path
        The file.
    settings
        `genome` names the genome of a file of several.

    Raises
    ------
    InputError
        If it is no such file, damaged, or of several genomes of which none is named.
    """
    import h5py

    refuse_layer(path, settings, KIND)
    with opening(path, KIND):
        file = h5py.File(path, "r", **HDF5_CACHE)
    try:
        with opening(path, KIND):
            group = file["matrix"] if "matrix" in file else _genome_group(file, settings.genome, path)
            obs, var = _cells(group), _features(group)
            num_features, num_cells = (int(size) for size in group["shape"][:])
            if (num_cells, num_features) != (len(obs), len(var)):
                raise ValueError(f"{len(var)} features and {len(obs)} barcodes do not fit a matrix of {num_features} x {num_cells}")
            matrix = CompressedRows(group["data"], group["indices"], group["indptr"], (num_cells, num_features))
        kept, selected = select_features(var, settings, str(path))
    except BaseException:
        file.close()
        raise
    return OpenedInput(obs=obs, var=selected, symbol=SYMBOL, matrix=matrix, kept=kept, close=file.close)


def _genome_group(file: Any, genome: str | None, path: Path) -> Any:
    """Group of the genome in a file of Cell Ranger 2."""
    genomes = sorted(key for key in file if hasattr(file[key], "keys") and "barcodes" in file[key])
    if genome is None and len(genomes) == 1:
        return file[genomes[0]]
    if not genomes:
        raise InputError(f"{path}: expected 10x h5 (matrix with barcodes), found {', '.join(sorted(file)) or 'nothing'}. Correct column counts.")
    if genome is None:
        raise InputError(f"{path}: expected one genome, found {', '.join(genomes)}. Set `input: {{genome: NAME}}` to one of them.")
    if genome not in genomes:
        raise InputError(f"{path}: expected genome {genome!r} (input.genome), found {', '.join(genomes)}. Name one that is there.")
    return file[genome]


def _texts(dataset: Any) -> np.ndarray:
    """Return fixed or variable texts as an object array."""
    values = dataset[:]
    return np.char.decode(values, "utf-8").astype(object) if values.dtype.kind == "S" else np.array(dataset.asstr()[:], dtype=object)


def _cells(group: Any) -> pd.DataFrame:
    """Return an obs of barcodes; files of probes say which are cells."""
    names = pd.Index(_texts(group["barcodes"]), dtype=object)
    columns = {"filtered_barcodes": group["filtered_barcodes"][:].astype(bool)} if "filtered_barcodes" in group else {}
    return pd.DataFrame(columns, index=names)


def _features(group: Any) -> pd.DataFrame:
    """Return the var of a file: ids (of genes, where the features are probes), symbols, and what selects features."""
    if "features" not in group:
        name = Path(group.name).name
        ids = _texts(group["genes"])
        return pd.DataFrame({"gene_ids": ids, SYMBOL: _texts(group["gene_names"]), GENOME: name}, index=pd.Index(ids, dtype=object))
    features = group["features"]
    of_probes = "gene_id" in features
    ids = _texts(features["gene_id" if of_probes else "id"])
    symbols = _texts(features["gene_name" if "gene_name" in features else "name"])
    columns: dict[str, np.ndarray] = {"gene_ids": ids, SYMBOL: symbols}
    for name, source in ((FEATURE_TYPE, "feature_type"), (GENOME, "genome"), ("probe_ids", "id"), ("probe_region", "probe_region")):
        if source in features and (source != "id" or of_probes):
            columns[name] = _texts(features[source])
    if IS_FILTERED_PROBE in features:
        columns[IS_FILTERED_PROBE] = features[IS_FILTERED_PROBE][:].astype(bool)
    return pd.DataFrame(columns, index=pd.Index(ids, dtype=object))
