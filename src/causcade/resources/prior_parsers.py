"""Parsers of prior regulons: CollecTRI, DoRothEA, TRRUST. Each returns its rows as they are in the file; nothing is filtered or translated.

Sources: CollecTRI (Müller-Dott et al. 2023, doi:10.1093/nar/gkad841), DoRothEA (Garcia-Alonso et al. 2019, doi:10.1101/gr.240663.118),
TRRUST v2 (Han et al. 2018, doi:10.1093/nar/gkx1013).
"""

from __future__ import annotations

import bz2
import gzip
import lzma
from pathlib import Path
from typing import TYPE_CHECKING, Any

from causcade.errors import ResourceError
from causcade.resources.omnipath import is_omnipath, parse_omnipath
from causcade.resources.reading import ResourcePath, fetch_again, read_delimited, read_text, require_columns

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["parse_collectri", "parse_dorothea", "parse_trrust"]

COLLECTRI_COLUMNS = ["source", "target", "weight"]
COLLECTRI_REMEDY = "Use the csv that decoupler reads (https://rescued.omnipathdb.org/CollecTRI.csv), or OmniPath's raw interactions."
DOROTHEA_COLUMNS = ["tf", "confidence", "target", "mor"]
DECOUPLER_COLUMNS = ["source", "confidence", "target", "weight"]
DOROTHEA_REMEDY = "Use dorothea_hs.rda, a tsv of its columns, decoupler's csv (source,confidence,target,weight), or OmniPath's raw interactions."
TRRUST_COLUMNS = ["tf", "target", "mode", "pmids"]
TRRUST_REMEDY = "Use trrust_rawdata.human.tsv (no header: TF, target, Activation/Repression/Unknown, PubMed ids)."
TRRUST_MODES = ("Activation", "Repression", "Unknown")
LEVELS = ("A", "B", "C", "D", "E")
RDA_MAGIC = b"RDX"
RDA_OPENERS: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7z": lzma.open}
RDA_REMEDY = "Use dorothea_hs.rda of the dorothea package."


def _signs(path: ResourcePath, values: Any, name: str) -> Any:
    """Signed numbers (text or float) as int8 signs, or an error that shows the first value that is no number."""
    import numpy as np
    import pandas as pd

    numbers = pd.to_numeric(values, errors="coerce").to_numpy(dtype=float)
    if np.isnan(numbers).any():
        bad = values.iloc[int(np.isnan(numbers).argmax())]
        raise ResourceError(f"{path}: expected a number in the column of signs, found {bad!r}. {fetch_again(name)}")
    return np.sign(numbers).astype(np.int8)


def parse_collectri(path: ResourcePath) -> pd.DataFrame:
    """Read CollecTRI: decoupler's csv (source, target, weight, PMID), the published one (more columns), or OmniPath's raw interactions.

    Returns
    -------
    pandas.DataFrame
        regulator, target (as in the file), sign (int8: +1, -1; 0 where the file's `sign.decision` says that activation is only the
        default), literature (PubMed ids joined by ";", maybe empty). Without that column +1 does not mean "shown to activate".
        From the raw interactions also is_positive and is_negative, since both may be stated; see :func:`parse_omnipath`.

    Raises
    ------
    ResourceError
        If the columns are of none of these forms.
    """
    import pandas as pd

    first = read_text(path, "collectri").split("\n", 1)[0]
    if is_omnipath(first):
        return parse_omnipath(path, "collectri").drop(columns="level")
    optional = ["PMID", "references", "sign.decision", "sign_decision"]
    table = read_delimited(path, "collectri", separator=",", expected=COLLECTRI_COLUMNS, optional=optional, remedy=COLLECTRI_REMEDY)
    sign = _signs(path, table["weight"], "collectri")
    for column in ("sign.decision", "sign_decision"):
        if column in table:
            sign[table[column].str.contains("default", case=False, regex=False).to_numpy(dtype=bool)] = 0
    literature = next((table[column] for column in ("PMID", "references") if column in table), pd.Series("", index=table.index))
    return pd.DataFrame({"regulator": table["source"], "target": table["target"], "sign": sign, "literature": literature})


def _is_rda(path: Path) -> bool:
    """Whether a file is an R data file, told by its first bytes within gzip, bzip2 or xz."""
    if not path.is_file():
        return False
    head = path.read_bytes()[:4]
    opener = next((opener for magic, opener in RDA_OPENERS.items() if head.startswith(magic)), None)
    if opener is None:
        return head.startswith(RDA_MAGIC)
    try:
        with opener(path) as handle:
            return bool(handle.read(3) == RDA_MAGIC)
    except (EOFError, OSError, lzma.LZMAError):
        return False


def _read_rda(path: Path) -> pd.DataFrame:
    """Read the one table of an R data file."""
    import pyreadr

    try:
        content = pyreadr.read_r(str(path))
    except pyreadr.LibrdataError as error:
        raise ResourceError(f"{path}: expected an R data file with one table, found one that cannot be read ({error}). {RDA_REMEDY}") from None
    if len(content) != 1:
        raise ResourceError(f"{path}: expected one table in the R data file, found {len(content)} ({', '.join(map(str, content))}). {RDA_REMEDY}")
    table: pd.DataFrame = next(iter(content.values()))
    return table.reset_index(drop=True)  # row names of R


def _check_levels(path: Path, levels: pd.Series) -> None:
    """Raise unless all levels are known; OmniPath gives none where `dorothea_level` was not asked for."""
    strange = ~levels.isin(LEVELS)
    if strange.any():
        raise ResourceError(f"{path}: expected the levels {', '.join(LEVELS)}, found {levels[strange].iloc[0]!r}. {DOROTHEA_REMEDY}")


def parse_dorothea(path: ResourcePath) -> pd.DataFrame:
    """Read DoRothEA: the package's rda, a tsv of the same columns (gzip too), decoupler's csv, or OmniPath's raw interactions.

    In the rda a TF has one letter for its whole regulon; in decoupler's export each edge has its own, and the absolute weight repeats the letter.

    Returns
    -------
    pandas.DataFrame
        regulator, target (as in the file), level (A-E), sign (int8). From the raw interactions also is_positive, is_negative and literature.

    Raises
    ------
    ResourceError
        If the columns are of none of these forms or a level is none of A-E.
    """
    import pandas as pd

    path = Path(path)
    is_rda = _is_rda(path)
    if not is_rda and is_omnipath(read_text(path, "dorothea").split("\n", 1)[0]):
        rows = parse_omnipath(path, "dorothea")
        _check_levels(path, rows["level"])
        return rows
    if is_rda:
        table = _read_rda(path)
        require_columns(path, list(table.columns), DOROTHEA_COLUMNS, RDA_REMEDY)
    else:
        first = read_text(path, "dorothea").split("\n", 1)[0]
        separator = "\t" if "\t" in first else ","
        expected = DECOUPLER_COLUMNS if "source" in first.split(separator) else DOROTHEA_COLUMNS
        table = read_delimited(path, "dorothea", separator=separator, expected=expected, remedy=DOROTHEA_REMEDY)
        table = table.rename(columns=dict(zip(DECOUPLER_COLUMNS, DOROTHEA_COLUMNS, strict=True)))
    _check_levels(path, table["confidence"])
    return pd.DataFrame(
        {
            "regulator": table["tf"].astype(str),
            "target": table["target"].astype(str),
            "level": table["confidence"].astype(str),
            "sign": _signs(path, table["mor"], "dorothea"),
        }
    )


def parse_trrust(path: ResourcePath) -> pd.DataFrame:
    """Read TRRUST's raw table (no header). One pair has up to three rows, one for each mode.

    Returns
    -------
    pandas.DataFrame
        regulator, target (as in the file; spreadsheet damage such as `7-Sep` included), sign (int8: Activation +1, Repression -1, Unknown
        0), literature (PubMed ids joined by ";").

    Raises
    ------
    ResourceError
        If a line has not four fields or a mode is none of the three words (copies with the modes recoded to numbers circulate).
    """
    import pandas as pd

    table = read_delimited(path, "trrust", separator="\t", expected=TRRUST_COLUMNS, header=False, quoted=False, remedy=TRRUST_REMEDY)
    strange = ~table["mode"].isin(TRRUST_MODES)
    if strange.any():
        raise ResourceError(f"{path}: expected the modes {', '.join(TRRUST_MODES)}, found {table['mode'][strange].iloc[0]!r}. {TRRUST_REMEDY}")
    sign = table["mode"].map({"Activation": 1, "Repression": -1, "Unknown": 0}).to_numpy().astype("int8")
    return pd.DataFrame({"regulator": table["tf"], "target": table["target"], "sign": sign, "literature": table["pmids"]})
