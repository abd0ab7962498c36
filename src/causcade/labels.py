"""From the obs columns of an input to the ones that causcade uses.

Canonical columns: `perturbation` (``"control"`` in control cells), `kind`, `dose` (0 in controls), `cell_line`, `plate`, `well`,
`is_control`, `is_excluded` (labels that the configuration excludes, and treated cells without a label).

Axes: N cells.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable

import numpy as np
import pandas as pd

from causcade.config import ColumnSource, InputConfig, PerturbationConfig
from causcade.config_input import KINDS
from causcade.errors import InputError
from causcade.plates import Plate, is_plate_name

__all__ = ["CONTROL", "canonical_obs", "plate_names", "select_plate"]

CONTROL = "control"
EXAMPLES = 5
MAY_BE_NULL = ("dose", "well")
TRUTH = {"true": True, "1": True, "false": False, "0": False}


def _listed(values: Iterable[object]) -> str:
    """Return the first few distinct values, for a message."""
    found = list(dict.fromkeys(str(value) for value in values))
    more = f" and {len(found) - EXAMPLES} more" if len(found) > EXAMPLES else ""
    return ", ".join(found[:EXAMPLES]) + more


def _plain(value: object) -> str:
    """Text of a value, stripped; whole numbers without a decimal point, so that 1 and 1.0 are one label."""
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        return str(int(value))
    return str(value).strip()


def _column(obs: pd.DataFrame, name: str | None, key: str, where: str, remedy: str) -> pd.Series:
    """One obs column; `key` is the key of the configuration that names it."""
    if name not in obs.columns:
        found = _listed(obs.columns) or "no column"
        raise InputError(f"{where}: expected obs column {name!r} ({key}), found {found}. {remedy}")
    return obs[name]


def _distinct(values: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Return codes [N] (-1: missing) and distinct values, so that text is made once per value and not once per cell."""
    codes, distinct = pd.factorize(values)
    return codes, np.asarray(distinct)


def _texts(values: pd.Series, pattern: str | None = None) -> pd.Series:
    """Return a column as stripped text, or the part that `pattern` takes; None where missing, empty or not matched."""
    codes, distinct = _distinct(values)
    texts: list[str | None] = [_plain(value) for value in distinct]
    if pattern is not None:
        matches = [re.search(pattern, text or "") for text in texts]
        texts = [match.group(1) if match else None for match in matches]
    table = np.array([*(text or None for text in texts), None], dtype=object)
    return pd.Series(table[codes], index=values.index, dtype=object)


def _take(obs: pd.DataFrame, source: ColumnSource, key: str, where: str) -> pd.Series:
    """Return the column that a key of the configuration describes; see :func:`_texts`."""
    if source.constant is not None:
        return pd.Series(_plain(source.constant), index=obs.index, dtype=object)
    *sections, name = key.split(".")
    settings = f"{name}: NAME"
    for section in reversed(sections):
        settings = f"{section}: {{{settings}}}"
    otherwise = "null" if name in MAY_BE_NULL else "{constant: VALUE}"
    remedy = f"Set `{settings}` to one of the columns that are there, or `{name}: {otherwise}`."
    return _texts(_column(obs, source.column, key, where, remedy), source.pattern)


def _is_control(obs: pd.DataFrame, labels: pd.Series, settings: PerturbationConfig, where: str) -> np.ndarray:
    """Which cells are controls [N]: by their label, matched whole, or by the value of another column."""
    rule = settings.control_where
    if rule is None:
        return np.asarray(labels.isin([label.strip() for label in settings.control]), dtype=bool)
    values = _column(obs, rule.column, "perturbation.control_where.column", where, "Name a column that is there.")
    if isinstance(rule.equals, bool):
        truth = _texts(values).map(lambda text: None if text is None else TRUTH.get(text.lower()))
        return np.asarray([value is rule.equals for value in truth], dtype=bool)
    if isinstance(rule.equals, str):
        return np.asarray(_texts(values) == rule.equals.strip(), dtype=bool)
    return np.asarray(pd.to_numeric(_texts(values), errors="coerce") == rule.equals, dtype=bool)


def _number(text: str | None) -> float:
    """Dose in a text: a number, or a list of one (drug, dose, unit) as Tahoe-100M writes it; NaN for anything else."""
    if text is None:
        return float("nan")
    try:
        return float(text)
    except ValueError:
        pass
    try:
        match ast.literal_eval(text):
            case [(str(), int() | float() as dose, str())]:
                return float(dose)
    except (ValueError, SyntaxError):
        pass
    return float("nan")


def _doses(obs: pd.DataFrame, settings: InputConfig, is_treated: np.ndarray, where: str) -> np.ndarray:
    """Dose of each cell [N]; 0 where it is not treated, 1 where the configuration names no column."""
    source = settings.columns.dose
    if source is None:
        return np.where(is_treated, 1.0, 0.0)
    texts = _take(obs, source, "input.columns.dose", where)
    codes, distinct = _distinct(texts)
    dose = np.array([*map(_number, distinct), np.nan])[codes]
    bad = is_treated & ~(np.isfinite(dose) & (dose >= 0))
    if bad.any():
        found = _listed("nothing" if value is None else value for value in (texts if source.column is None else obs[source.column])[bad])
        raise InputError(
            f"{where}: expected a number from 0 as dose, found {found}. Correct input.columns.dose (a `pattern` takes the number out of a text), "
            "or set it to null where there are no doses."
        )
    return np.where(is_treated, dose, 0.0)


def _kinds(obs: pd.DataFrame, settings: PerturbationConfig, is_treated: np.ndarray, where: str) -> np.ndarray:
    """Kind of each cell's perturbation [N]; "" in controls where the kind is a column."""
    if isinstance(settings.kind, str):
        return np.full(len(obs), settings.kind, dtype=object)
    kinds = _take(obs, settings.kind, "perturbation.kind", where).str.lower()
    wrong = kinds[is_treated & ~kinds.isin(KINDS).to_numpy()]
    if len(wrong):
        found = _listed("nothing" if value is None else value for value in wrong)
        raise InputError(f"{where}: expected kinds {', '.join(KINDS)}, found {found}. Correct the column that perturbation.kind names.")
    return np.where(is_treated, kinds.to_numpy(dtype=object), "")


def _made_wells(plate: str, label: np.ndarray, dose: np.ndarray) -> np.ndarray:
    """Return the name of a well of each plate, label and dose [N], for cells whose well is not known."""
    label_codes, labels = pd.factorize(label)
    dose_codes, doses = pd.factorize(dose)
    pairs, inverse = np.unique(label_codes * len(doses) + dose_codes, return_inverse=True)
    names = [f"{plate}_{labels[pair // len(doses)]}_{doses[pair % len(doses)]:g}" for pair in pairs]
    return np.array(names, dtype=object)[inverse]


def select_plate(obs: pd.DataFrame, plate: Plate, settings: InputConfig) -> np.ndarray:
    """Rows of a file that belong to a plate, as a boolean array [N].

    Where the obs plate column holds the plate's name, those cells. A file that only one row of the plate table names is taken whole if it has no
    such column, or the column holds a single other value.

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
                f"{where}: expected an obs plate column that tells the cells of {plate.num_sharing} rows of the plate table apart, since they name "
                "this file, found none. Set `input: {columns: {plate: NAME}}`."
            )
        return everything
    values = _take(obs, source, "input.columns.plate", where)
    selected = np.asarray(values == plate.name, dtype=bool)
    if selected.any() or len(obs) == 0:
        return selected
    if plate.num_sharing == 1 and values.nunique(dropna=False) == 1:
        return everything
    found = _listed(values.dropna()) or "none that has a plate"
    raise InputError(f"{where}: expected cells whose plate is {plate.name!r}, found {found}. Correct the plate table (`causcade plates` writes it).")


def canonical_obs(obs: pd.DataFrame, plate: Plate, settings: InputConfig, perturbation: PerturbationConfig) -> pd.DataFrame:
    """Canonical columns of the cells of one plate, in their order.

    Parameters
    ----------
    obs
        obs of the input, already reduced to the plate's cells [N].
    plate
        The plate; its constants count as columns.
    settings, perturbation
        Which columns say what, and which cells are controls.

    Returns
    -------
    pandas.DataFrame
        Columns of the module's first paragraph, with the index of `obs` [N].

    Raises
    ------
    InputError
        For a column that is not there, a dose that is not a number, a kind that is none, cells without a line, or treated cells labelled "control".
    """
    where = plate.counts
    obs = obs.assign(**plate.constants)
    columns = settings.columns
    labels = _take(obs, columns.perturbation, "input.columns.perturbation", where)
    is_control = _is_control(obs, labels, perturbation, where)
    is_excluded = labels.isin([label.strip() for label in perturbation.exclude]).to_numpy() | (labels.isna().to_numpy() & ~is_control)
    is_treated = ~is_control & ~is_excluded
    if (is_treated & (labels == CONTROL).to_numpy()).any():
        raise InputError(
            f"{where}: expected the label {CONTROL!r} in control cells only, found it in cells that are no controls by the configuration. "
            f"Set `perturbation: {{control: [{CONTROL}]}}` (or control_where), or exclude the label."
        )
    lines = _take(obs, columns.cell_line, "input.columns.cell_line", where)
    no_line = int((lines.isna().to_numpy() & ~is_excluded).sum())
    if no_line:
        raise InputError(f"{where}: expected a cell line for each cell, found none for {no_line} cells. Fill the column, or exclude their labels.")
    dose = _doses(obs, settings, is_treated, where)
    label = np.where(is_control, CONTROL, labels.fillna("").to_numpy(dtype=object))
    kinds = _kinds(obs, perturbation, is_treated, where)
    if perturbation.kind_in_name:
        is_genetic = is_treated & (kinds != "drug")
        label[is_genetic] = label[is_genetic] + " (" + kinds[is_genetic] + ")"
    made = _made_wells(plate.name, label, dose)
    wells = _take(obs, columns.well, "input.columns.well", where).to_numpy(dtype=object) if columns.well is not None else made
    return pd.DataFrame(
        {
            "perturbation": label.astype(object),
            "kind": kinds,
            "dose": dose,
            "cell_line": lines.fillna("").to_numpy(dtype=object),
            "plate": np.full(len(obs), plate.name, dtype=object),
            "well": np.where(pd.isna(wells), made, wells),
            "is_control": is_control,
            "is_excluded": is_excluded,
        },
        index=obs.index,
    )


def plate_names(obs: pd.DataFrame, where: str, settings: InputConfig) -> list[str]:
    """Distinct plates of a file, sorted.

    Raises
    ------
    InputError
        If no obs plate column is configured, some cells have no plate, or a name is not one that files may have.
    """
    if settings.columns.plate is None:
        raise InputError(f"{where}: expected an obs plate column to tell plates apart, found `input.columns.plate: null`. Name the column.")
    values = _take(obs, settings.columns.plate, "input.columns.plate", where)
    num_missing = int(values.isna().sum())
    if num_missing:
        raise InputError(f"{where}: expected a plate for each cell, found none for {num_missing} cells. Correct input.columns.plate or its pattern.")
    names = sorted(set(values))
    wrong = [name for name in names if not is_plate_name(name)]
    if wrong:
        raise InputError(
            f"{where}: expected plate names of letters, digits, '.', '_' and '-', found {_listed(wrong)}. "
            "Take a part of the name by `input: {columns: {plate: {column: NAME, pattern: '(PART)'}}}`."
        )
    return names
