"""Tables of further obs columns, joined to the cells of an input by their names or by an obs column.

Axes: N cells.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from causcade.config_input import ObsTable
from causcade.errors import InputError
from causcade.files import read_parquet
from causcade.input_files import READ_ERRORS, absent_table, first_line

__all__ = ["join_table", "join_tables", "read_table"]

logger = logging.getLogger(__name__)

SEPARATORS = {".csv": ",", ".tsv": "\t", ".txt": "\t"}
EXAMPLES = 3
# A plain decimal number. Texts such as 007, 1E5 (a well) and 12345678901234567890 (an id) stay texts, since they would come back changed.
NUMBER = r"-?(?:0|[1-9]\d{0,14})(?:\.\d+)?(?:[eE][+-]\d+)?"


def read_table(path: str | Path, where: str) -> pd.DataFrame:
    """Read a table: parquet as it is, text (tsv, csv; gzip too) with numbers where a whole column holds plain decimal numbers.

    Parameters
    ----------
    where
        Key of the configuration that names the table, for messages.

    Raises
    ------
    InputError
        If it is absent, damaged, or of another format.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(absent_table(where, str(path)))
    suffix = path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix
    if suffix not in (*SEPARATORS, ".parquet"):
        raise InputError(f"{path}: expected a table ending in .tsv, .csv or .parquet ({where}), found {path.name}. Rename or convert it.")
    try:
        if suffix == ".parquet":
            return _with_index_as_column(read_parquet(path))
        table = _with_index_as_column(pd.read_csv(path, sep=SEPARATORS[suffix], dtype=str, keep_default_na=False, na_values=[""]))
    except READ_ERRORS as error:
        raise InputError(f"{path}: expected a table ({where}), found a file that cannot be read ({first_line(error)}). Write it again.") from None
    return pd.DataFrame({str(name).strip(): _numbers_or_texts(table[name]) for name in table.columns})


def _with_index_as_column(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with row names as its first column: R leaves them without a heading, pandas keeps them apart in parquet."""
    return table if isinstance(table.index, pd.RangeIndex) else table.reset_index()


def _numbers_or_texts(values: pd.Series) -> pd.Series:
    """Return a column of texts as numbers where all are plain decimal numbers, and no two of them become one."""
    texts = values.str.strip()
    distinct = texts.dropna().unique()
    if len(distinct) == 0 or not pd.Series(distinct).str.fullmatch(NUMBER).all():
        return texts
    numbers = pd.to_numeric(pd.Series(distinct, index=distinct))
    return texts.map(numbers) if numbers.nunique() == len(distinct) else texts


def join_tables(obs: pd.DataFrame, tables: Sequence[ObsTable], paths: Sequence[str], where: str) -> pd.DataFrame:
    """Join tables to obs, one after the other; see :func:`join_table`.

    Parameters
    ----------
    tables, paths
        `input.tables`, and their paths for the plate at hand.
    """
    for number, (table, path) in enumerate(zip(tables, paths, strict=True)):
        key = f"input.tables.{number}.path"
        obs = join_table(obs, read_table(path, key), table, path=path, where=where)
    return obs


def join_table(obs: pd.DataFrame, table: pd.DataFrame, how: ObsTable, *, path: str, where: str) -> pd.DataFrame:
    """Join the columns of one table to obs.

    Cells that the table does not know get missing values, and the log says how many. A column that obs has already must agree where both have a
    value, and is completed from the table where obs has none.

    Parameters
    ----------
    obs
        obs [N].
    table
        The table.
    how
        Its `key` column and the obs column that the key is looked up for (`of`; None: the names of the cells).
    path, where
        The table and the input, for messages.

    Returns
    -------
    pandas.DataFrame
        obs with the columns of the table [N].

    Raises
    ------
    InputError
        If a column is not there, a key has several different rows, no cell is found, or a column contradicts obs.
    """
    if len(table.columns) == 0:
        raise InputError(f"{path}: expected a table with columns (input.tables), found none. Correct the path.")
    key = str(table.columns[0]) if how.key is None else how.key
    if key not in table.columns:
        raise InputError(f"{path}: expected column {key!r} (input.tables, key), found {_listed(table.columns)}. Name one that is there.")
    if how.of is not None and how.of not in obs.columns:
        raise InputError(f"{where}: expected obs column {how.of!r} (input.tables, of), found {_listed(obs.columns)}. Name one that is there.")
    rows = _distinct_rows(table, key, path)
    codes, wanted = pd.factorize(obs.index if how.of is None else obs[how.of])
    position = pd.Index(_as_text(pd.Series(rows[key]))).get_indexer(pd.Index(_as_text(pd.Series(np.asarray(wanted)))))
    positions = np.append(position, -1)[codes]
    num_absent = int((positions < 0).sum())
    if len(obs) and num_absent == len(obs):
        of = "names of cells" if how.of is None else f"values of obs column {how.of!r}"
        raise InputError(
            f"{path}: expected in column {key!r} the {of} of {where} ({_listed(wanted)}), found others ({_listed(rows[key])}). "
            "Correct `key` or `of` of the table in input.tables."
        )
    if num_absent:
        logger.warning("%s: %d of %d cells of %s have no row in the table; its columns are missing there", path, num_absent, len(obs), where)
    joined = obs.copy()
    for name in rows.columns.drop(key):
        values = _taken(rows[name], positions, obs.index)
        joined[name] = _agreed(obs[name], values, path, where) if name in obs.columns else values
    return joined


def _listed(values: Iterable[object]) -> str:
    """Return the first few distinct values, for a message."""
    found = list(dict.fromkeys(map(str, values)))
    return ", ".join(found[:EXAMPLES]) + (f" and {len(found) - EXAMPLES} more" if len(found) > EXAMPLES else "") if found else "nothing"


def _as_text(values: pd.Series) -> pd.Series:
    """Keys as stripped text; whole numbers without a decimal point."""
    if pd.api.types.is_float_dtype(values.dtype):
        return values.map(lambda value: str(int(value)) if float(value).is_integer() else str(value))
    return values.astype(str).str.strip()


def _distinct_rows(table: pd.DataFrame, key: str, path: str) -> pd.DataFrame:
    """Return one row per key: rows without a key and rows that are there twice are left out."""
    rows = table[table[key].notna()]
    if len(rows) < len(table):
        logger.warning("%s: %d of %d rows have nothing in column %r and are left out", path, len(table) - len(rows), len(table), key)
    keys = _as_text(rows[key])
    several = keys.duplicated(keep=False).to_numpy()
    if several.any():
        copies = rows[several].assign(**{key: keys[several]}).astype(str).duplicated().to_numpy()
        superfluous = np.zeros(len(rows), dtype=bool)
        superfluous[np.flatnonzero(several)[copies]] = True
        rows, keys = rows[~superfluous], keys[~superfluous]
    repeated = keys[keys.duplicated()]
    if len(repeated):
        raise InputError(
            f"{path}: expected one row for each {key!r}, found several that differ for {repeated.nunique()} of them ({_listed(repeated)}). "
            "Leave one row of each, or name another `key` in input.tables."
        )
    return rows.reset_index(drop=True)


def _taken(values: pd.Series, positions: np.ndarray, index: pd.Index) -> pd.Series:
    """Values at some positions (-1: missing) as an obs column; texts as categories, so that each is in memory once."""
    if values.dtype == object or isinstance(values.dtype, pd.StringDtype):
        values = values.astype("category")
    return values.reindex(positions).set_axis(index)


def _agreed(own: pd.Series, joined: pd.Series, path: str, where: str) -> pd.Series:
    """Return an obs column that the table has too: its own values, and those of the table where it has none.

    Raises
    ------
    InputError
        If they contradict each other.
    """
    pairs = pd.DataFrame({"own": own.to_numpy(), "joined": joined.to_numpy()}).drop_duplicates()
    both = pairs.dropna()
    differ = (_as_text(both["own"]) != _as_text(both["joined"])).to_numpy()
    if differ.any():
        first = both[differ].iloc[0]
        raise InputError(
            f"{path}: expected in column {own.name!r} what obs column {own.name!r} of {where} says, found {first['joined']} where that says "
            f"{first['own']}. Rename or remove the column of the table."
        )
    if own.notna().all() or joined.isna().all():
        return own
    return own.astype(object).where(own.notna(), joined.astype(object))
