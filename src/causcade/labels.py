"""From the obs columns of an input to the ones that causcade uses.

Canonical columns: `perturbation` (``"control"`` in control cells), `kind`, `dose` (0 in controls), `cell_line`, `plate`, `well`, `is_control`, `is_excluded`.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from causcade.config import ColumnSource, InputConfig, PerturbationConfig
from causcade.errors import InputError
from causcade.plates import Plate

__all__ = ["CONTROL", "canonical_obs", "plate_names", "select_plate"]

CONTROL = "control"
KINDS = ("drug", "knockout", "crispri", "crispra")
EXAMPLES = 5
# Tahoe-100M gives the dose only inside the text of a Python list of (drug, dose, unit).
TAHOE_DOSE = r"^\[\('.*',\s*([0-9.eE+-]+),\s*'[^']*'\)\]$"


def _listed(values: object) -> str:
    """Return the first few distinct values, for a message."""
    found = list(dict.fromkeys(str(value) for value in values))  # type: ignore[attr-defined]
    more = f" and {len(found) - EXAMPLES} more" if len(found) > EXAMPLES else ""
    return ", ".join(found[:EXAMPLES]) + more


def _take(obs: pd.DataFrame, source: ColumnSource, key: str, where: str) -> pd.Series:
    """Return one column as stripped text; missing values stay missing."""
    if source.constant is not None:
        return pd.Series(str(source.constant), index=obs.index, dtype=object)
    if source.column not in obs.columns:
        raise InputError(
            f"{where}: expected obs column {source.column!r} (input.columns.{key}), found {_listed(obs.columns) or 'no column'}. "
            f"Set `input: {{columns: {{{key}: NAME}}}}` to one of the columns that are there, or `{key}: {{constant: VALUE}}`."
        )
    values = obs[source.column]
    text = values.astype(object).where(values.notna(), None)
    text = text.map(lambda value: None if value is None else _plain(value))
    if source.pattern is not None:
        text = text.str.extract(source.pattern, expand=False)
    return text.where(text.notna() & (text != ""), None)


def _plain(value: object) -> str:
    """Text of a value, stripped; whole numbers without a decimal point, so that 1 and 1.0 are one label."""
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        return str(int(value))
    return str(value).strip()


def _is_control(obs: pd.DataFrame, perturbation: pd.Series, settings: PerturbationConfig, where: str) -> np.ndarray:
    if settings.control_where is None:
        return perturbation.isin([label.strip() for label in settings.control]).to_numpy()
    rule = settings.control_where
    if rule.column not in obs.columns:
        raise InputError(
            f"{where}: expected obs column {rule.column!r} (perturbation.control_where.column), found {_listed(obs.columns)}. Name a column that is there."
        )
    values = obs[rule.column]
    if isinstance(rule.equals, str):
        return (values.astype(object).map(_plain) == rule.equals.strip()).to_numpy()
    numbers = pd.to_numeric(values.astype(object), errors="coerce")
    return (numbers == float(rule.equals)).to_numpy()


def _kinds(obs: pd.DataFrame, settings: PerturbationConfig, where: str) -> pd.Series:
    if isinstance(settings.kind, str):
        return pd.Series(settings.kind, index=obs.index, dtype=object)
    kinds = _take(obs, settings.kind, "kind", where).str.lower()
    wrong = kinds[~kinds.isin(KINDS) & kinds.notna()]
    if len(wrong):
        raise InputError(f"{where}: expected kinds {', '.join(KINDS)}, found {_listed(wrong)}. Correct the column that perturbation.kind names.")
    return kinds


def select_plate(obs: pd.DataFrame, plate: Plate, settings: InputConfig) -> np.ndarray:
    """Rows of a file that belong to a plate, as a boolean array [cells].

    Where the obs plate column holds the plate's name, those cells; a file that one row names and whose column holds a single other value is taken
    whole.

    Raises
    ------
    InputError
        If the column does not tell which cells are the plate's.
    """
    source = settings.columns.plate
    where = plate.counts
    everything = np.ones(len(obs), dtype=bool)
    if source is None or source.constant is not None or (source.column not in obs.columns and plate.num_sharing == 1):
        if plate.num_sharing > 1:
            raise InputError(
                f"{where}: {plate.num_sharing} rows of the plate table name this file; expected an obs plate column that tells their cells apart, found none. "
                "Set `input: {columns: {plate: NAME}}`."
            )
        return everything
    values = _take(obs, source, "plate", where)
    selected = (values == plate.name).to_numpy(dtype=bool)
    if selected.any() or len(obs) == 0:
        return selected
    if plate.num_sharing == 1 and values.nunique(dropna=False) == 1:
        return everything
    raise InputError(
        f"{where}: expected cells whose plate is {plate.name!r}, found {_listed(values.dropna())}. Correct the plate table (`causcade plates` writes it)."
    )


def canonical_obs(obs: pd.DataFrame, plate: Plate, settings: InputConfig, perturbation: PerturbationConfig) -> pd.DataFrame:
    """Canonical columns of the cells of one plate, in their order.

    Parameters
    ----------
    obs
        obs of the input, already reduced to the plate's cells.
    plate
        The plate; its constants count as columns.

    Returns
    -------
    pandas.DataFrame
        Columns of the module's first paragraph, with the index of `obs`.

    Raises
    ------
    InputError
        For a column that is not there, a dose that is not a number, or cells without a line.
    """
    where = plate.counts
    if plate.constants:
        obs = obs.assign(**plate.constants)
    columns = settings.columns
    labels = _take(obs, columns.perturbation, "perturbation", where)
    is_control = _is_control(obs, labels, perturbation, where)
    excluded = (labels.isna() | labels.isin([label.strip() for label in perturbation.exclude])).to_numpy() & ~(labels.isna().to_numpy() & is_control)
    lines = _take(obs, columns.cell_line, "cell_line", where)
    if lines.isna().any():
        raise InputError(f"{where}: expected a cell line for each cell, found none for {int(lines.isna().sum())} cells. Fill the column, or exclude the cells.")
    if columns.dose is None:
        dose = pd.Series(1.0, index=obs.index)
    else:
        text = _take(obs, columns.dose, "dose", where)
        tahoe = text.astype("string").str.extract(TAHOE_DOSE, expand=False)
        text = tahoe.astype(object).where(tahoe.notna(), text)
        dose = pd.to_numeric(text, errors="coerce")
        bad = dose.isna().to_numpy() & ~is_control & ~excluded
        if bad.any():
            found = obs[columns.dose.column][bad] if columns.dose.column else text[bad]
            raise InputError(
                f"{where}: expected a number as dose, found {_listed(found)}. Correct input.columns.dose (a `pattern` takes the number out of a text), "
                "or set it to null where there are no doses."
            )
    wells = _take(obs, columns.well, "well", where) if columns.well is not None else pd.Series(None, index=obs.index, dtype=object)
    labels = labels.where(~is_control, CONTROL).fillna("")
    dose = dose.where(~is_control, 0.0).fillna(0.0).astype(np.float64)
    made = labels + "_" + dose.map("{:g}".format)
    return pd.DataFrame(
        {
            "perturbation": labels.astype(str),
            "kind": _kinds(obs, perturbation, where).fillna("").astype(str),
            "dose": dose,
            "cell_line": lines.astype(str),
            "plate": plate.name,
            "well": wells.where(wells.notna(), plate.name + "_" + made).astype(str),
            "is_control": is_control,
            "is_excluded": excluded,
        },
        index=obs.index,
    )


def plate_names(obs: pd.DataFrame, where: str, settings: InputConfig) -> list[str]:
    """Distinct plates of a file, sorted.

    Raises
    ------
    InputError
        If no obs plate column is configured, or some cells have none.
    """
    if settings.columns.plate is None:
        raise InputError(f"{where}: expected an obs plate column to tell plates apart, found `input.columns.plate: null`. Name the column.")
    values = _take(obs, settings.columns.plate, "plate", where)
    if values.isna().any():
        raise InputError(f"{where}: expected a plate for each cell, found none for {int(values.isna().sum())} cells. Correct input.columns.plate or its pattern.")
    return sorted(set(values))
