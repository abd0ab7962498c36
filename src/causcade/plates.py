"""Plate tables: one row per plate, `plate` and `counts`, and optional columns that hold for all cells of the plate.

Several rows may name one file; the obs plate column then selects the cells. This module is light, since the Snakefile reads the table
each time it is parsed.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from causcade.config import NAME_PATTERN, Config
from causcade.errors import ConfigError

__all__ = ["Plate", "list_plates", "read_plate_table", "simulated_plate_path", "write_plate_table"]

REQUIRED = ("plate", "counts")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plate:
    """One plate: its name, its file, how many rows of the table name that file, and constants for its cells."""

    name: str
    counts: str
    num_sharing: int = 1
    constants: Mapping[str, str] = field(default_factory=dict)


def read_plate_table(path: str | Path) -> list[Plate]:
    """Read a tab-separated plate table.

    Raises
    ------
    ConfigError
        With every mistake of the table: absent file or columns, no row, bad or repeated names, empty `counts`.
    """
    path = Path(path)
    try:
        with path.open(newline="", encoding="utf-8-sig") as handle:
            reader = csv.DictReader((line for line in handle if not line.startswith("#")), delimiter="\t")
            columns = list(reader.fieldnames or [])
            rows = [{key: (value or "").strip() for key, value in row.items() if key is not None} for row in reader]
    except OSError as error:
        raise ConfigError([f"plates: expected a plate table at {path}, found none ({error.strerror}). Write one with `causcade plates FILE`."]) from None
    missing = [name for name in REQUIRED if name not in columns]
    if missing:
        raise ConfigError(
            [f"{path}: expected tab-separated columns plate and counts, found {', '.join(columns) or 'none'}. Add {' and '.join(missing)} to its first line."]
        )
    mistakes = [] if rows else [f"{path}: expected at least one plate, found none. Add a row: plate1<TAB>path/to/plate1.h5ad."]
    seen: dict[str, int] = {}
    for number, row in enumerate(rows, start=1):
        name = row["plate"]
        if not re.match(NAME_PATTERN, name):
            mistakes.append(f"{path}, row {number}: expected a plate name of letters, digits, '.', '_' and '-', found {name!r}. Rename it.")
        if name in seen:
            mistakes.append(f"{path}, row {number}: expected each plate once, found {name!r} in row {seen[name]} already. Remove or rename one of them.")
        seen.setdefault(name, number)
        if not row["counts"]:
            mistakes.append(f"{path}, row {number}: expected a path in column counts, found nothing. Give the file of plate {name!r}.")
    if mistakes:
        raise ConfigError(mistakes)
    sharing = {row["counts"]: sum(other["counts"] == row["counts"] for other in rows) for row in rows}
    return [
        Plate(
            name=row["plate"],
            counts=row["counts"],
            num_sharing=sharing[row["counts"]],
            constants={key: value for key, value in row.items() if key not in REQUIRED and value != ""},
        )
        for row in rows
    ]


def simulated_plate_path(config: Config, plate: str) -> str:
    """Where the simulated screen writes a plate."""
    return f"{config.results}/{config.run}/simulation/{plate}.h5ad"


def list_plates(config: Config) -> list[Plate]:
    """Plates of a run: the rows of its table, or the simulated ones."""
    if config.plates is not None:
        return read_plate_table(config.plates)
    return [Plate(name=name, counts=simulated_plate_path(config, name)) for name in config.simulation.plates]


def write_plate_table(plates: list[str], counts: str) -> str:
    """Return the text of a plate table whose rows all name the file `counts`."""
    lines = ["plate\tcounts", *(f"{plate}\t{counts}" for plate in plates)]
    return "\n".join(lines) + "\n"
