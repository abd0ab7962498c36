"""Plate tables: one row per plate, `plate` and `counts`, and optional columns that hold for all cells of the plate.

Several rows may name one file; the obs plate column then selects the cells. Column `cells`, the number of cells of a plate, is no such constant: it
spares the workflow a look into the file whenever it starts. Paths are relative to the folder that the workflow runs in. This module is light, since
the Snakefile reads the table each time it is parsed.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from causcade.config import NAME_PATTERN, Config
from causcade.errors import ConfigError

__all__ = [
    "Plate", "condition_stores", "is_plate_name", "list_plates", "read_plate_table", "scan_plate_table", "simulated_plate_path", "write_plate_table",
]  # fmt: skip

REQUIRED = ("plate", "counts")
CELLS = "cells"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plate:
    """One plate: its name, its file, how many rows of the table name that file, its cells if the table says so, and constants for its cells."""

    name: str
    counts: str
    num_sharing: int = 1
    num_cells: int | None = None
    constants: Mapping[str, str] = field(default_factory=dict)


def is_plate_name(name: str) -> bool:
    """Whether a plate may have this name: artifacts are named after it."""
    return re.fullmatch(NAME_PATTERN, name) is not None


def _read_rows(path: Path) -> tuple[list[str], list[list[str]]]:
    """Columns and rows of a tab-separated table, stripped; lines that are empty or begin with # are left out."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as handle:
            lines = [[cell.strip() for cell in row] for row in csv.reader((line for line in handle if not line.startswith("#")), delimiter="\t")]
    except OSError as error:
        raise ConfigError(
            [f"plates: expected a plate table at {path}, found none ({error.strerror}). Write one with `causcade plates FILE`."]
        ) from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise ConfigError([f"{path}: expected a tab-separated text in UTF-8, found another format ({error}). Save it as text."]) from None
    lines = [line for line in lines if any(line)]
    return (lines[0], lines[1:]) if lines else ([], [])


def _row_mistakes(row: dict[str, str], number: int, seen: dict[str, int], path: Path, *, check_files: bool) -> list[str]:
    """Bad or repeated name, empty path, bad number of cells and, where asked, absent counts of one row; `seen` gets its name, too."""
    where, name, counts = f"{path}, row {number}", row["plate"], row["counts"]
    mistakes: list[str] = []
    if not is_plate_name(name):
        mistakes.append(f"{where}: expected a plate name of letters, digits, '.', '_' and '-', found {name!r}. Rename it.")
    elif name in seen:
        mistakes.append(f"{where}: expected each plate once, found {name!r} in row {seen[name]} already. Remove or rename one of them.")
    seen.setdefault(name, number)
    cells = row.get(CELLS, "")
    if cells and not (cells.isascii() and cells.isdigit() and int(cells) > 0):
        mistakes.append(f"{where}: expected a whole number above 0 in column cells, found {cells!r}. Correct it, or leave it empty.")
    if not counts:
        mistakes.append(f"{where}: expected a path in column counts, found nothing. Give the file of plate {name!r}.")
    elif check_files and not Path(counts).exists():
        mistakes.append(f"{path}: expected counts of plate {name!r} at {counts}, found no file. Correct column counts, or remove the row.")
    return mistakes


def scan_plate_table(path: str | Path, *, check_files: bool) -> tuple[list[Plate], list[str]]:
    """Read a tab-separated plate table as far as it can be read.

    Parameters
    ----------
    path
        The table.
    check_files
        Absent counts are mistakes too.

    Returns
    -------
    plates : list of Plate
        The rows without mistakes.
    mistakes : list of str
        Every mistake of the table: absent file or columns, no row, rows of another length, bad or repeated names, empty or absent `counts`, bad
        `cells`.
    """
    path = Path(path)
    try:
        columns, lines = _read_rows(path)
    except ConfigError as error:
        return [], error.mistakes
    missing = [name for name in REQUIRED if name not in columns]
    repeated = sorted({name for name in columns if columns.count(name) > 1})
    if missing or repeated:
        remedy = f"Add {' and '.join(missing)} to its first line." if missing else f"Name {' and '.join(map(repr, repeated))} once."
        return [], [f"{path}: expected tab-separated columns plate and counts, each once, found {', '.join(columns) or 'none'}. {remedy}"]
    mistakes = [] if lines else [f"{path}: expected at least one plate, found none. Add a row: plate1<TAB>path/to/plate1.h5ad."]
    for number, line in enumerate(lines, start=1):
        if any(line[len(columns) :]):
            mistakes.append(f"{path}, row {number}: expected {len(columns)} values, found {len(line)}. Remove the superfluous tabs.")
    rows = [dict(zip(columns, line + [""] * len(columns), strict=False)) for line in lines]
    seen: dict[str, int] = {}
    by_row = [_row_mistakes(row, number, seen, path, check_files=check_files) for number, row in enumerate(rows, start=1)]
    files = [os.path.realpath(row["counts"]) for row in rows]
    names_by_file: dict[str, set[str]] = {}
    for row, file in zip(rows, files, strict=True):
        names_by_file.setdefault(file, set()).add(row["plate"])
    plates = [
        Plate(
            name=row["plate"],
            counts=row["counts"],
            num_sharing=len(names_by_file[file]),
            num_cells=int(row[CELLS]) if row.get(CELLS) else None,
            constants={key: value for key, value in row.items() if key and key not in (*REQUIRED, CELLS) and value != ""},
        )
        for row, file, wrong in zip(rows, files, by_row, strict=True)
        if not wrong
    ]
    return plates, mistakes + [mistake for wrong in by_row for mistake in wrong]


def read_plate_table(path: str | Path) -> list[Plate]:
    """Read a tab-separated plate table; the counts need not be there yet.

    Raises
    ------
    ConfigError
        With every mistake of the table; see :func:`scan_plate_table`.
    """
    plates, mistakes = scan_plate_table(path, check_files=False)
    if mistakes:
        raise ConfigError(mistakes)
    return plates


def simulated_plate_path(config: Config, plate: str) -> str:
    """Where the simulated screen writes a plate."""
    return f"{config.results}/{config.run}/simulation/{plate}.h5ad"


def list_plates(config: Config) -> list[Plate]:
    """Plates of a run: the rows of its table, or the simulated ones; none where it starts from a table of conditions."""
    if config.plates is not None:
        return read_plate_table(config.plates)
    if not config.has_cells:
        return []
    return [Plate(name=name, counts=simulated_plate_path(config, name)) for name in config.simulation.plates]


def condition_stores(config: Config) -> tuple[list[str], list[str]]:
    """Paths of the stores of conditions and of their baselines; a table of conditions is one store, and has none of the latter."""
    run = f"{config.results}/{config.run}"
    if not config.has_cells:
        return [f"{run}/conditions/table.zarr"], []
    names = [plate.name for plate in list_plates(config)]
    return [f"{run}/conditions/{name}.zarr" for name in names], [f"{run}/basal/baseline/{name}.zarr" for name in names]


def write_plate_table(plates: list[str], counts: str) -> str:
    """Return the text of a plate table whose rows all name the file `counts`."""
    lines = ["plate\tcounts", *(f"{plate}\t{counts}" for plate in plates)]
    return "\n".join(lines) + "\n"
