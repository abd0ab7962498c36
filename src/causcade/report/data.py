"""Reading the artifacts of a run for the page, and compact JSON that a browser can take.

A report must also be possible for a run that lacks optional artifacts (no truth, no held-out fits, no embedding map): readers return None for
an absent file, and remember it, so that the section can say in words what is missing and why. A file that is there but lacks a column is an
error: it was written by something else.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from causcade import files
from causcade.errors import InputError

__all__ = ["Artifacts", "as_json", "codes", "first_few", "known", "natural", "rounded", "thinned"]

SIGNIFICANT_DIGITS = 4


class Artifacts:
    """The files of one run.

    Parameters
    ----------
    folder
        `results/<run>/`.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise InputError(f"{folder}: expected the folder of a run, found none. Run the workflow first, or correct the name of the run.")
        self.folder = folder
        self.absent: list[str] = []

    def has(self, name: str) -> bool:
        """Whether the file or folder is there; an absent one is remembered."""
        present = (self.folder / name).exists()
        if not present and name not in self.absent:
            self.absent.append(name)
        return present

    def table(self, name: str, columns: Sequence[str], *, every: bool = False) -> pd.DataFrame | None:
        """Read columns of a parquet file, or None where it is absent.

        Parameters
        ----------
        name
            File name below the folder of the run.
        columns
            Columns that must be there.
        every
            Read the other columns too.

        Raises
        ------
        InputError
            If a column is missing.
        """
        if not self.has(name):
            return None
        import pyarrow.parquet as pq

        path = self.folder / name
        found = pq.read_schema(path).names
        missing = [column for column in columns if column not in found]
        if missing:
            raise InputError(f"{path}: expected the column(s) {', '.join(missing)}, found {', '.join(found)}. Make the file anew with the workflow.")
        return files.read_parquet(path, columns=None if every else list(columns))

    def needed(self, name: str, columns: Sequence[str], *, every: bool = False) -> pd.DataFrame:
        """Read a table without which there is nothing to report; otherwise as :meth:`table`."""
        table = self.table(name, columns, every=every)
        if table is None:
            raise InputError(f"{self.folder / name}: expected a table, found no such file. Run the workflow up to the stage that writes it.")
        return table

    def json(self, name: str) -> Any:
        """Read a JSON file, or None where it is absent."""
        return files.read_json(self.folder / name) if self.has(name) else None

    def json_lines(self, name: str) -> pd.DataFrame | None:
        """Read a JSON-lines file, one row per line (a line may lack keys), or None where it is absent or empty."""
        if not self.has(name):
            return None
        lines = (self.folder / name).read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines if line.strip()]
        return pd.DataFrame(rows) if rows else None

    def matching(self, pattern: str) -> list[Path]:
        """Paths below the folder that match, sorted."""
        return sorted(self.folder.glob(pattern))


def rounded(values: Iterable[Any], digits: int = SIGNIFICANT_DIGITS) -> list[float | int | None]:
    """Round to `digits` significant digits; whole numbers as integers; None for what is not finite.

    The page draws and prints at most four digits, so more would only be weight; JSON has no NaN.
    """
    result: list[float | int | None] = []
    for value in values:
        number = math.nan if value is None or value is pd.NA else float(value)
        if not math.isfinite(number):
            result.append(None)
            continue
        short = float(f"{number:.{digits}g}") if abs(number) < 10**digits else round(number)
        result.append(int(short) if float(short).is_integer() else short)
    return result


def codes(values: pd.Series) -> dict[str, list[Any]]:
    """Split a text column into sorted levels and one index per row."""
    index, levels = pd.factorize(values.astype(str), sort=True)
    return {"levels": [str(level) for level in levels], "codes": index.tolist()}


def known(values: Iterable[Any]) -> list[str]:
    """Values as text; an empty text for a missing one."""
    return ["" if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)) else str(value) for value in values]


def natural(name: str) -> tuple[tuple[bool, int, str], ...]:
    """Order names as a person does: `plate2` before `plate10`."""
    parts = re.findall(r"\d+|\D+", name)
    return tuple((part.isdigit(), int(part) if part.isdigit() else 0, part) for part in parts)


def first_few(names: Sequence[str], most: int = 5) -> str:
    """Name the first few, and say how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def thinned(num: int, most: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """At most `most` evenly spaced row numbers out of `num`, first and last included."""
    if num <= most:
        return np.arange(num)
    return np.unique(np.linspace(0, num - 1, most).round().astype(np.int64))


def as_json(value: Any) -> str:
    """Write JSON for a `<script type="application/json">` element: compact, sorted, without NaN, and without a `<` that could end the element."""
    text = json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
