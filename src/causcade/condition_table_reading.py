"""Reading a table of conditions x genes: formats, columns and what is refused.

Axes: C conditions, G genes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from causcade.errors import InputError
from causcade.files import read_parquet
from causcade.labels import CONTROL

__all__ = ["ConditionTable", "read_condition_table"]

Float64 = npt.NDArray[np.float64]

OBS_DEFAULTS = {"kind": "", "dose": np.nan, "cell_line": "all", "plate": "all", "num_cells": 1}
SEPARATORS = {".tsv": "\t", ".txt": "\t", ".csv": ","}


@dataclass(frozen=True, kw_only=True)
class ConditionTable:
    """Values of conditions as they were read.

    Attributes
    ----------
    value_CG
        Values, float64.
    error_CG
        Standard errors in the unit of the values (of `change` and `log`: of the logarithm); None where the table has none.
    obs
        perturbation, kind, dose, cell_line, plate, num_cells.
    genes
        Names.
    """

    value_CG: Float64
    error_CG: Float64 | None
    obs: pd.DataFrame
    genes: list[str]


def read_condition_table(path: str | Path, *, errors: str | Path | None = None) -> ConditionTable:
    """Read a table of conditions.

    Parameters
    ----------
    path
        h5ad, parquet, tsv, txt (tabs) or csv.
    errors
        Table of the same rows and genes with standard errors, for formats other than h5ad.

    Raises
    ------
    InputError
        If the file, the column `perturbation` or the genes are missing, a value is no finite number, or the errors do not fit.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: expected a table of conditions, found no file. Correct the path.")
    if path.suffix == ".h5ad":
        obs, genes, value_CG, error_CG = _read_h5ad(path)
    else:
        obs, genes, value_CG = _read_flat(path)
        error_CG = None
    if errors is not None:
        _, names, error_CG = _read_flat(Path(errors), needs_perturbation=False)
        if names != genes or error_CG.shape != value_CG.shape:
            raise InputError(
                f"{errors}: expected errors of the same {len(genes)} genes and {len(value_CG)} conditions as {path}, found {len(names)} genes and "
                f"{len(error_CG)} rows, or another order. Write both from one table."
            )
    if error_CG is not None and not (np.isfinite(error_CG) & (error_CG > 0)).all():
        raise InputError(f"{errors or path}: expected standard errors above 0, found others. Leave the errors out, and they are estimated.")
    for name, default in OBS_DEFAULTS.items():
        if name not in obs:
            obs[name] = default
    obs = obs[["perturbation", *OBS_DEFAULTS]].astype({"perturbation": str, "kind": str, "cell_line": str, "plate": str})
    return ConditionTable(value_CG=value_CG, error_CG=error_CG, obs=obs.reset_index(drop=True), genes=genes)


def _read_h5ad(path: Path) -> tuple[pd.DataFrame, list[str], Float64, Float64 | None]:
    import anndata

    data = anndata.read_h5ad(path)
    if "perturbation" not in data.obs:
        raise _no_perturbation(path, data.obs.columns)
    names = [name for name in ("perturbation", *OBS_DEFAULTS) if name in data.obs]
    value_CG = _numbers(_dense(data.X), path)
    error_CG = np.asarray(_dense(data.layers["se"]), dtype=np.float64) if "se" in data.layers else None
    return data.obs[names].reset_index(drop=True), _unique(data.var_names.astype(str).tolist(), path), value_CG, error_CG


def _dense(matrix: object) -> npt.NDArray[np.floating]:
    return np.asarray(matrix.toarray() if hasattr(matrix, "toarray") else matrix)


def _read_flat(path: Path, *, needs_perturbation: bool = True) -> tuple[pd.DataFrame, list[str], Float64]:
    if path.suffix == ".parquet":
        table = read_parquet(path)
    elif path.suffix in SEPARATORS:
        table = pd.read_csv(path, sep=SEPARATORS[path.suffix], dtype={"perturbation": str, "plate": str, "cell_line": str, "kind": str})
    else:
        raise InputError(
            f"{path}: expected a table ending in .h5ad, .parquet, .tsv or .csv, found {path.suffix or 'no ending'}. Rename or convert it."
        )
    if needs_perturbation and "perturbation" not in table:
        raise _no_perturbation(path, table.columns)
    about = [name for name in ("perturbation", *OBS_DEFAULTS) if name in table]
    genes = _unique([str(name) for name in table.columns if name not in about], path)
    text = [name for name in genes if not pd.api.types.is_numeric_dtype(table[name])]
    if text:
        raise InputError(f"{path}: expected numbers in the columns of genes, found text in {text[0]!r}. Remove columns that are no gene.")
    return table[about].copy(), genes, _numbers(table[genes].to_numpy(np.float64), path)


def _no_perturbation(path: Path, columns: pd.Index) -> InputError:
    return InputError(
        f"{path}: expected a column perturbation that names each condition, found {', '.join(map(str, columns[:5]))}. "
        f"Add it, with {CONTROL!r} in controls."
    )


def _unique(genes: list[str], path: Path) -> list[str]:
    repeated = sorted({name for name in genes if genes.count(name) > 1}) if len(set(genes)) < len(genes) else []
    if repeated or len(genes) < 2:
        found = f"{repeated[0]!r} again" if repeated else f"{len(genes)}"
        raise InputError(f"{path}: expected at least two genes, each once, found {found}. Correct the columns.")
    return genes


def _numbers(value_CG: npt.NDArray[np.floating], path: Path) -> Float64:
    if not np.isfinite(value_CG).all():
        num = int((~np.isfinite(value_CG)).sum())
        raise InputError(f"{path}: expected a finite number for each gene of each condition, found {num} others. Fill them, or remove the genes.")
    return np.asarray(value_CG, dtype=np.float64)
