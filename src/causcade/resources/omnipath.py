"""Parser of OmniPath's raw interactions (https://omnipathdb.org/interactions), the form in which its web service gives CollecTRI and DoRothEA.

One row per pair of entities, with UniProt accessions in `source` and `target` and, where asked for (`genesymbols=yes`), symbols beside them. Signs
are two flags, which may both be set. References are `Resource:PubMed id`. Source: Türei et al. 2021, doi:10.15252/msb.20209923.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from causcade.errors import ResourceError
from causcade.resources.reading import ResourcePath, read_delimited
from causcade.signs import agreed_sign

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["is_omnipath", "parse_omnipath"]

PAIR_COLUMNS = ["source", "target"]
FLAG_COLUMNS = ["is_stimulation", "is_inhibition"]
SYMBOL_COLUMNS = ["source_genesymbol", "target_genesymbol"]
OPTIONAL = [*SYMBOL_COLUMNS, "references", "dorothea_level", "collectri", "dorothea"]
TRUE, FALSE = {"true", "1"}, {"false", "0", ""}
COMPLEX = "COMPLEX:"


def is_omnipath(header: str) -> bool:
    """Whether a first line is the header of OmniPath's interactions, some columns perhaps left out."""
    columns = set(header.rstrip("\r").split("\t"))
    return set(PAIR_COLUMNS) <= columns and not columns.isdisjoint({*FLAG_COLUMNS, *SYMBOL_COLUMNS})


def _flags(path: ResourcePath, values: pd.Series) -> pd.Series:
    """Text flags (True/False, 1/0) as bool."""
    lower = values.str.strip().str.lower()
    strange = ~lower.isin(TRUE | FALSE)
    if strange.any():
        raise ResourceError(
            f"{path}: expected True or False in the column {values.name}, found {values[strange].iloc[0]!r}. Use OmniPath's interactions as served."
        )
    return lower.isin(TRUE)


def _entities(table: pd.DataFrame, side: str) -> pd.Series:
    """Symbols where there are some, else accessions; complexes keep their prefix, so that they are not taken for a gene."""
    accession = table[side]
    symbol = table.get(f"{side}_genesymbol", accession)
    name = symbol.where(symbol.str.strip() != "", accession)
    is_complex = accession.str.startswith(COMPLEX) & ~name.str.startswith(COMPLEX)
    return name.where(~is_complex, COMPLEX + name)


def parse_omnipath(path: ResourcePath, name: str) -> pd.DataFrame:
    """Read one dataset (`collectri` or `dorothea`) of OmniPath's raw interactions.

    Where the table marks datasets (columns `collectri`, `dorothea`), rows of others are left out. An edge with several levels (`A;D`) has its best.

    Parameters
    ----------
    path
        The file, as the web service gives it (tab-separated).
    name
        Name of the resource, for the messages and for the column that marks the dataset.

    Returns
    -------
    pandas.DataFrame
        regulator, target (symbols, or accessions where symbols were not asked for; complexes as `COMPLEX:...`), sign (int8; 0 where none or both are
        stated), is_positive, is_negative (bool), literature (`Resource:PubMed id`, joined by ";"), level (A-E, or empty).

    Raises
    ------
    ResourceError
        If columns are missing or a flag is neither true nor false.
    """
    import pandas as pd

    remedy = "Use OmniPath's interactions (https://omnipathdb.org/interactions?genesymbols=yes&fields=references), tab-separated."
    table = read_delimited(path, name, separator="\t", expected=PAIR_COLUMNS + FLAG_COLUMNS, optional=OPTIONAL, quoted=False, remedy=remedy)
    if name in table:
        table = table[_flags(path, table[name])].reset_index(drop=True)
    is_positive, is_negative = (_flags(path, table[column]) for column in FLAG_COLUMNS)
    blank = pd.Series("", index=table.index)
    return pd.DataFrame(
        {
            "regulator": _entities(table, "source"),
            "target": _entities(table, "target"),
            "sign": agreed_sign(is_positive, is_negative),
            "is_positive": is_positive,
            "is_negative": is_negative,
            "literature": table.get("references", blank),
            "level": table.get("dorothea_level", blank).map(lambda text: min(text.split(";"))),
        }
    )
