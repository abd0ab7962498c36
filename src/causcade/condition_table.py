"""A table of conditions x genes as input, without cells: pseudobulk, L1000 signatures, bulk knockouts, simulated benchmarks.

Rows are conditions with the columns `perturbation` and, if there are any, kind, dose, cell_line, plate, num_cells; all other columns are genes. An
h5ad has the former in obs and the values in X, with standard errors, if known, in layer `se`.

What a value is has to be said: `log` (of expression, any pseudocount), `expression` (0 or more, on a linear scale), `counts` (summed raw counts,
taken as log1p of 10^4 shares, as cells are), or `change` (log fold changes or z-scores against controls already). The first three are compared with
the controls of the same plate and line or, in a table without controls, with the median over its conditions there: most perturbations leave a gene as
it is.

Axes: C conditions, G genes.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from causcade.config_input import KINDS
from causcade.errors import InputError
from causcade.files import read_parquet
from causcade.labels import CONTROL
from causcade.responses import Responses, list_targets
from causcade.responses.conditions import tell_unmeasured

__all__ = ["NO_DRUGS", "ConditionTable", "Values", "labels_of_table", "read_condition_table", "responses_of_table"]

logger = logging.getLogger("causcade")

Values = Literal["log", "expression", "counts", "change"]
Float64 = npt.NDArray[np.float64]

OBS_DEFAULTS = {"kind": "", "dose": np.nan, "cell_line": "all", "plate": "all", "num_cells": 1}
SEPARATORS = {".tsv": "\t", ".txt": "\t", ".csv": ","}
MIN_CONDITIONS = 8  # perturbations from which their median stands in for controls
MAD_TO_SD = 1.4826
ERROR_FLOOR = 0.3  # of the median error over genes, where errors are estimated: a gene that hardly varies is no certain one
NO_DRUGS = pd.DataFrame(columns=["perturbation", "target", "sign", "source"])


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


def labels_of_table(table: ConditionTable, *, kind: str, control: str = CONTROL) -> pd.DataFrame:
    """Perturbations that occur, and their kinds: perturbation, kind.

    Parameters
    ----------
    table
        As read.
    kind
        Kind of the perturbations whose row gives none.
    control
        Label of the rows that are controls.

    Raises
    ------
    InputError
        For a kind that is none, a perturbation with two, or nothing but controls.
    """
    obs = table.obs[table.obs["perturbation"] != control]
    if obs.empty:
        raise InputError(f"table of conditions: expected perturbed conditions beside {control!r}, found none. Correct the column perturbation.")
    labels = pd.DataFrame({"perturbation": obs["perturbation"], "kind": obs["kind"].replace("", kind).str.lower()}).drop_duplicates(ignore_index=True)
    wrong = sorted(set(labels["kind"]) - set(KINDS))
    if wrong:
        raise InputError(f"table of conditions: expected kinds {', '.join(KINDS)}, found {wrong[0]!r}. Give --kind, or correct the column kind.")
    twice = labels.loc[labels["perturbation"].duplicated(), "perturbation"]
    if len(twice):
        raise InputError(f"table of conditions: expected one kind for each perturbation, found two for {twice.iloc[0]!r}. Give them different names.")
    return labels


def responses_of_table(
    table: ConditionTable,
    targets: pd.DataFrame,
    *,
    values: Values,
    kind: str,
    control: str = CONTROL,
    pseudocount: float = 0.0,
) -> Responses:
    """Responses of the conditions of a table.

    Errors that the table does not give are estimated gene by gene: from the controls where there are at least 8, else from the median absolute
    deviation over conditions, since most perturbations leave a gene as it is.

    Parameters
    ----------
    table
        As read.
    targets
        perturbation, target, sign.
    values
        What a value is.
    kind
        Kind of the perturbations whose row gives none.
    control
        Label of the rows that are controls.
    pseudocount
        Added to `expression` before the logarithm, in its unit.

    Raises
    ------
    InputError
        As of :func:`labels_of_table`, for negative values of a linear scale, or a plate and line with neither controls nor 8 perturbations.
    """
    kinds = labels_of_table(table, kind=kind, control=control).set_index("perturbation")["kind"]
    obs = table.obs.assign(kind=table.obs["perturbation"].map(kinds).fillna("")).rename(columns={"num_cells": "n_cells"})
    is_control_C = (obs["perturbation"] == control).to_numpy(bool)
    x_CG = _on_log_scale(table.value_CG, values, pseudocount)
    delta_CG = x_CG if values == "change" else _against_reference(x_CG, obs, is_control_C)
    error_CG = _errors(table, x_CG, delta_CG, is_control_C, obs) if table.error_CG is None else table.error_CG
    kept = obs.loc[~is_control_C].reset_index(drop=True)
    genes = pd.DataFrame({"gene": table.genes, "gene_id": table.genes})
    links, unmeasured = list_targets(set(kept["perturbation"]), targets, genes)
    tell_unmeasured(unmeasured)
    # The change of a logarithm is a fold change; only log1p of small numbers needs the level for that.
    level_G = x_CG[is_control_C if is_control_C.any() else slice(None)].mean(axis=0) if values == "counts" else np.full(len(genes), np.inf)
    return Responses(
        delta_CG=delta_CG[~is_control_C].astype(np.float32), se_CG=error_CG[~is_control_C].astype(np.float32), obs=kept, genes=genes, links=links,
        unmeasured=unmeasured, control_mean_G=level_G,
    )  # fmt: skip


def _on_log_scale(value_CG: Float64, values: Values, pseudocount: float) -> Float64:
    if values in ("log", "change"):
        return value_CG
    if (value_CG < 0).any():
        raise InputError(f"--values {values}: expected values of 0 or more, found {value_CG.min():.3g}. Write `--values log` if they are logarithms.")
    if values == "counts":
        return np.asarray(np.log1p(1e4 * value_CG / np.maximum(value_CG.sum(axis=1, keepdims=True), 1)))
    if pseudocount <= 0 and (value_CG == 0).any():
        raise InputError("--values expression: expected a pseudocount above 0, since the table has zeros, found 0. Give --pseudocount.")
    return np.asarray(np.log(value_CG + pseudocount))


def _against_reference(x_CG: Float64, obs: pd.DataFrame, is_control_C: npt.NDArray[np.bool_]) -> Float64:
    """Values minus those of the controls of the same plate and line, or minus the median over all conditions where the table has no control."""
    delta_CG = np.empty_like(x_CG)
    for (plate, line), rows in obs.groupby(["plate", "cell_line"], sort=True).indices.items():
        controls = rows[is_control_C[rows]]
        if len(controls):
            delta_CG[rows] = x_CG[rows] - x_CG[controls].mean(axis=0)
        elif not is_control_C.any() and obs["perturbation"].iloc[rows].nunique() >= MIN_CONDITIONS:
            delta_CG[rows] = x_CG[rows] - np.median(x_CG[rows], axis=0)
        else:
            raise InputError(
                f"plate {plate}, line {line}: expected controls, or a table without any and at least {MIN_CONDITIONS} perturbations there, found "
                f"{len(rows)} conditions. Add controls, or write changes against controls and `--values change`."
            )
    return delta_CG


def _errors(table: ConditionTable, x_CG: Float64, delta_CG: Float64, is_control_C: npt.NDArray[np.bool_], obs: pd.DataFrame) -> Float64:
    """Estimate the standard error of each gene, the same in all conditions, [C, G]."""
    if is_control_C.sum() >= MIN_CONDITIONS:
        error_G = delta_CG[is_control_C].std(axis=0, ddof=1)
        source = f"{int(is_control_C.sum())} controls"
    else:
        treated_CG = delta_CG[~is_control_C]
        error_G = MAD_TO_SD * np.median(np.abs(treated_CG - np.median(treated_CG, axis=0)), axis=0)
        source = "the median absolute deviation over conditions"
    typical = float(np.median(error_G))
    if typical <= 0:
        raise InputError("table of conditions: expected values that vary, found more than half of the genes constant. Give standard errors.")
    logger.info("standard errors from %s: median %.3g", source, typical)
    return np.broadcast_to(np.maximum(error_G, ERROR_FLOOR * typical), x_CG.shape)
