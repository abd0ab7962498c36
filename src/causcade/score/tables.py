"""Tables of edges from any tool: read, checked, and put into the gene names of the run.

A table has a row per edge and the columns `source`, `target` and a number; `regulator` stands for `source` where there is none, since causcade's own
tables say so. All other columns are ignored. Names are text: surrounding spaces go, nothing else is guessed.
"""

from __future__ import annotations

import os
import warnings
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from causcade.errors import InputError
from causcade.files import read_parquet

if TYPE_CHECKING:
    import pandas as pd

    from causcade.resources.identifiers import Resolver

__all__ = ["read_edges", "translate", "without_repeats"]

SEPARATORS = {".tsv": "\t", ".txt": "\t", ".csv": ","}
SYNONYM_OF_SOURCE = "regulator"
MOST_COLUMNS_SHOWN = 12
MOST_NAMES_SHOWN = 5


def _read(path: Path) -> pd.DataFrame:
    """Read the table as it is; text stays text."""
    import pandas as pd

    if not path.is_file():
        raise InputError(f"{path}: expected a table of edges, found no file. Correct the path.")
    ending = path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix
    if ending not in (*SEPARATORS, ".parquet") or path.name.endswith(".parquet.gz"):
        raise InputError(f"{path}: expected a table ending in .tsv, .txt, .csv (or these and .gz) or .parquet, found {path.name}. Convert it.")
    try:
        if ending == ".parquet":
            return read_parquet(path)
        with warnings.catch_warnings():
            # A row with one field too many would become an index, or lose the field with no more than this warning.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            return pd.read_csv(path, sep=SEPARATORS[ending], dtype=str, na_filter=False, index_col=False, encoding="utf-8-sig")
    # Errors of format of pandas and Arrow, and of the encoding, are ValueErrors.
    except (OSError, EOFError, ValueError, zlib.error, pd.errors.ParserWarning) as error:
        reason = str(error).strip().split("\n")[0]
        raise InputError(f"{path}: expected a whole {ending} table with a first line of column names, found: {reason}. Write it anew.") from None


def _numbers(path: Path, table: pd.DataFrame, column: str) -> Any:
    """Numbers of a column; every one has to be finite."""
    import pandas as pd

    values = pd.to_numeric(table[column], errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        shown = table[column].iloc[int(bad[0])]
        raise InputError(
            f"{path}: expected a finite number in column {column}, found {str(shown)!r} in row {bad[0] + 1} ({len(bad)} such rows). "
            "Correct or remove them."
        )
    return values


def read_edges(path: str | os.PathLike[str], *, number: str | None = None, is_optional: bool = False) -> pd.DataFrame:
    """Read a table of edges.

    Parameters
    ----------
    path
        tsv, txt (tabs), csv, each plain or with .gz, or parquet.
    number
        Column with a number, such as `weight`; None reads the two names only.
    is_optional
        The column `number` may be absent; the result then has no such column.

    Returns
    -------
    pandas.DataFrame
        source, target (text, stripped) and, as asked, the number (float64), in the order of the file.

    Raises
    ------
    InputError
        If the file or a column is missing or repeated, there is no row, a name is empty, or a number is none or not finite.
    """
    import pandas as pd

    path = Path(path)
    table = _read(path)
    table.columns = [str(column).strip() for column in table.columns]
    if "source" not in table.columns and SYNONYM_OF_SOURCE in table.columns:
        table = table.rename(columns={SYNONYM_OF_SOURCE: "source"})
    wanted = ["source", "target"] + ([number] if number else [])
    needed = wanted[:2] if is_optional else wanted
    counts = {column: list(table.columns).count(column) for column in wanted}
    if any(counts[column] != 1 for column in needed) or any(count > 1 for count in counts.values()):
        found = ", ".join(table.columns[:MOST_COLUMNS_SHOWN]) + (", ..." if len(table.columns) > MOST_COLUMNS_SHOWN else "")
        raise InputError(f"{path}: expected the columns {', '.join(needed)}, each once, found {found or 'none'}. Name them in the first line.")
    if table.empty:
        raise InputError(f"{path}: expected at least one edge, found a table without rows. Give the edges of a network.")
    names = {}
    for column in ("source", "target"):
        values = table[column].astype("object")
        text = values.where(values.notna(), "").astype(str).str.strip()
        empty = np.flatnonzero(text == "")
        if len(empty):
            raise InputError(
                f"{path}: expected a gene in column {column}, found nothing in row {empty[0] + 1} ({len(empty)} such rows). "
                "Fill them in or remove them."
            )
        names[column] = text.to_numpy(dtype=object)
    columns: dict[str, Any] = dict(names)
    if number and counts[number]:
        columns[number] = _numbers(path, table, number)
    return pd.DataFrame(columns)


def _shown(names: Any) -> str:
    """Name the first of some names."""
    first = sorted(map(str, names))[:MOST_NAMES_SHOWN]
    return ", ".join(first) + (", ..." if len(names) > MOST_NAMES_SHOWN else "")


def translate(table: pd.DataFrame, names: Mapping[str, str], resolver: Resolver | None) -> tuple[pd.DataFrame, dict[str, Any], list[str]]:
    """Put the names of a table into those of the run.

    A name that the run knows stands; any other is looked up in HGNC (approved, previous or alias symbol, Ensembl, UniProt or Entrez id). What is
    ambiguous or not known there stays as it is, and is reported.

    Parameters
    ----------
    table
        source, target and any other columns.
    names
        Names that the run knows to its genes: genes to themselves, and other ids.
    resolver
        From the HGNC table, or None.

    Returns
    -------
    table, account, messages
        The table with translated names; counts of different names (num_names, num_known, num_translated, num_ambiguous, num_unknown); and sentences
        about what was not plain.
    """
    import pandas as pd

    codes, unique = pd.factorize(pd.concat([table["source"], table["target"]], ignore_index=True))
    unique = np.asarray(unique, dtype=object)
    known = np.array([names.get(name) for name in unique], dtype=object)
    is_known = np.array([name is not None for name in known], dtype=bool)
    genes = np.where(is_known, known, unique)
    status = np.where(is_known, "known", "unknown").astype(object)
    if resolver is not None and not is_known.all():
        found = resolver.resolve(list(unique[~is_known]))
        gene = found["gene"].to_numpy(dtype=object)
        status[~is_known] = found["status"].to_numpy(dtype=object)
        genes[~is_known] = np.where(pd.isna(gene), unique[~is_known], gene)
    is_unknown, is_ambiguous = status == "unknown", status == "ambiguous"
    changed = ~is_unknown & ~is_ambiguous & (genes != unique)
    account = {
        "num_names": len(unique),
        "num_known": int((~is_unknown & ~is_ambiguous).sum()),
        "num_translated": int(changed.sum()),
        "num_ambiguous": int(is_ambiguous.sum()),
        "num_unknown": int(is_unknown.sum()),
    }
    messages = []
    if changed.any():
        pairs = [f"{old} to {new}" for old, new in zip(unique[changed], genes[changed], strict=True)]
        messages.append(f"{len(pairs)} of {len(unique)} gene names were translated ({_shown(pairs)})")
    if is_ambiguous.any():
        messages.append(f"{is_ambiguous.sum()} gene names stand for several genes and were left as they are ({_shown(unique[is_ambiguous])})")
    if is_unknown.any() and (resolver is not None or names):
        messages.append(f"{is_unknown.sum()} of {len(unique)} gene names are not known and were left as they are ({_shown(unique[is_unknown])})")
    num = len(table)
    return table.assign(source=genes[codes[:num]], target=genes[codes[num:]]), account, messages


def without_repeats(table: pd.DataFrame, number: str | None = None) -> tuple[pd.DataFrame, dict[str, int], list[str]]:
    """Drop edges of a gene to itself, and rows of a pair beyond one: the row of the largest absolute number stays (of equal ones, the positive).

    Parameters
    ----------
    table
        source, target and, if named, the number.
    number
        Column that decides among the rows of a pair.

    Returns
    -------
    table, account, messages
        Unique pairs in the order of the rows kept; num_rows, num_self, num_repeated (rows dropped), num_contradicting (pairs whose rows differ in
        sign); and sentences about them.
    """
    is_self = (table["source"] == table["target"]).to_numpy(dtype=bool)
    rest = table[~is_self]
    contradicting = 0
    if number:
        sign = np.sign(rest[number])
        by_pair = sign[sign != 0].groupby([rest["source"], rest["target"]]).agg(["min", "max"])
        contradicting = int((by_pair["min"] != by_pair["max"]).sum())
        order = np.lexsort((-rest[number].to_numpy(), -rest[number].abs().to_numpy()))
        unique = rest.iloc[order].drop_duplicates(["source", "target"]).sort_index()
    else:
        unique = rest.drop_duplicates(["source", "target"])
    account = {
        "num_rows": len(table),
        "num_self": int(is_self.sum()),
        "num_repeated": len(rest) - len(unique),
        "num_contradicting": contradicting,
    }
    messages = []
    if account["num_self"]:
        messages.append(f"{account['num_self']:,} edges of a gene to itself were left out")
    if account["num_repeated"]:
        kept = f"of each pair the row with the largest |{number}| was kept" if number else "each pair counts once"
        ending = f"; the rows of {contradicting:,} pairs differ in sign" if contradicting else ""
        messages.append(f"{account['num_repeated']:,} rows repeat a pair; {kept}{ending}")
    return unique.reset_index(drop=True), account, messages
