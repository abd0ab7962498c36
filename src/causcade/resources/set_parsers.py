"""Parsers of gene sets and of the targets of drugs: gmt, lists of symbols, Tahoe's drug table.

Sources: MSigDB (Liberzon et al. 2015, doi:10.1016/j.cels.2015.12.004), Lambert et al. 2018 (doi:10.1016/j.cell.2018.01.029), Tahoe-100M
(Zhang et al. 2025, doi:10.1101/2025.02.20.639398).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from causcade.errors import ResourceError
from causcade.files import read_parquet
from causcade.resources.reading import ResourcePath, fetch_again, read_delimited, read_lines, read_text, require_columns

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["parse_drug_targets", "parse_gene_list", "parse_gmt", "parse_rbps"]

RBP_SETS = ("GO_RNA_BINDING", "GOMF_RNA_BINDING")
TABLE_COLUMNS = ["perturbation", "target"]
TAHOE_COLUMNS = ["drug", "targets"]
TARGET_REMEDY = "Use Tahoe-100M's drug_metadata.parquet, or a tsv, csv or parquet table with the columns perturbation, target and sign."
LIST_REMEDY = "Use a file with one gene symbol per line and no header."
PARQUET_MAGIC = b"PAR1"
FEWEST_GMT_FIELDS = 2


def parse_gmt(path: ResourcePath, name: str) -> pd.DataFrame:
    """Read a gmt file: per line a set, a description, and its genes, separated by tabs.

    Returns
    -------
    pandas.DataFrame
        One row per set and gene, in the order of the file: gene_set, description, identifier. Empty fields are skipped.
    """
    import pandas as pd

    rows: list[tuple[str, str, str]] = []
    for number, line in enumerate(read_lines(path, name), start=1):
        gene_set, *rest = line.split("\t")
        if len(rest) < FEWEST_GMT_FIELDS - 1:
            raise ResourceError(
                f"{path}: expected a set, a description and genes separated by tabs, found {line[:40]!r} in line {number}. "
                f"Use a gmt file for `{name}`."
            )
        rows.extend((gene_set.strip(), rest[0].strip(), gene.strip()) for gene in rest[1:] if gene.strip())
    return pd.DataFrame(rows, columns=["gene_set", "description", "identifier"])


def parse_gene_list(path: ResourcePath, name: str) -> pd.DataFrame:
    """Read a list of symbols, one per line, with LF or CRLF ends.

    Returns
    -------
    pandas.DataFrame
        identifier.
    """
    import pandas as pd

    genes = [line.strip() for line in read_lines(path, name)]
    strange = next((gene for gene in genes if any(character in gene for character in "\t, ")), None)
    if strange is not None:
        raise ResourceError(f"{path}: expected one gene symbol per line, found {strange[:60]!r}. {LIST_REMEDY}")
    return pd.DataFrame({"identifier": genes})


def parse_rbps(path: ResourcePath) -> pd.DataFrame:
    """Read RNA-binding proteins: the set GO_RNA_BINDING (or GOMF_RNA_BINDING, its newer name) of a gmt file, or a list of symbols.

    Returns
    -------
    pandas.DataFrame
        identifier.
    """
    if "\t" not in read_text(path, "rbps"):
        return parse_gene_list(path, "rbps")
    sets = parse_gmt(path, "rbps")
    chosen = sets.loc[sets["gene_set"].isin(RBP_SETS), ["identifier"]].reset_index(drop=True)
    if chosen.empty:
        raise ResourceError(
            f"{path}: expected the set {' or '.join(RBP_SETS)}, found {sets['gene_set'].nunique()} other sets ({sets['gene_set'].iloc[0]}, ...). "
            "Use MSigDB's GO molecular functions (c5), or a list of symbols."
        )
    return chosen


def _tahoe_sign(broad: str, fine: str) -> int:
    """Sign of a drug on its targets: what `moa-broad` says; where that is unclear, what the words of `moa-fine` say; else 0."""
    for text in (broad.lower(), fine.lower()):
        if "inhibitor" in text or "antagonist" in text:
            return -1
        if "activator" in text or "agonist" in text:
            return 1
    return 0


def _from_tahoe(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of Tahoe's drug table as perturbation, identifier, sign; a drug without target has one row with an empty identifier."""
    import pandas as pd

    text = table.reindex(columns=["drug", "targets", "moa-broad", "moa-fine"])
    text = text.where(text.notna(), "").astype(str)
    signs = [_tahoe_sign(broad, fine) for broad, fine in zip(text["moa-broad"], text["moa-fine"], strict=True)]
    wide = pd.DataFrame({"perturbation": text["drug"], "identifier": text["targets"], "sign": signs})
    long = wide.assign(identifier=wide["identifier"].str.split(",")).explode("identifier", ignore_index=True)
    return long.assign(source="tahoe")


def _from_table(path: Path, table: pd.DataFrame) -> pd.DataFrame:
    """Rows of a table of one's own as perturbation, identifier, sign; without the column sign every sign is 0."""
    import pandas as pd

    text = table["sign"].astype(str).str.strip() if "sign" in table else pd.Series("0", index=table.index)
    sign = pd.to_numeric(text, errors="coerce")
    strange = ~sign.isin([-1, 0, 1])
    if strange.any():
        raise ResourceError(f"{path}: expected a sign of -1, 0 or 1, found {text[strange].iloc[0]!r}. Correct the column sign.")
    identifier = table["target"].where(table["target"].notna(), "").astype(str)
    return pd.DataFrame({"perturbation": table["perturbation"].astype(str), "identifier": identifier, "sign": sign, "source": "table"})


def parse_drug_targets(path: ResourcePath) -> pd.DataFrame:
    """Read targets of perturbations: Tahoe-100M's drug table, or a table of one's own (perturbation, target, and sign if known).

    Targets of Tahoe are a comma-separated text; the sign comes from its columns `moa-broad` and, where that is unclear, `moa-fine`.

    Returns
    -------
    pandas.DataFrame
        One row per perturbation and target: perturbation (stripped), identifier (empty where the drug has no target), sign (int8: -1
        inhibitor, +1 activator, 0 unknown), source (tahoe or table).
    """
    path = Path(path)
    if path.is_file() and path.read_bytes()[:4] == PARQUET_MAGIC:
        try:
            table = read_parquet(path)
        except (OSError, ValueError) as error:
            raise ResourceError(
                f"{path}: expected a whole parquet file, found one that cannot be read ({error}). {fetch_again('drug_targets')}"
            ) from None
    else:
        first = read_text(path, "drug_targets").split("\n", 1)[0]
        separator = "\t" if "\t" in first else ","
        expected = TAHOE_COLUMNS if "targets" in first.rstrip("\r").split(separator) else TABLE_COLUMNS
        optional = ["sign", "moa-broad", "moa-fine"]
        table = read_delimited(path, "drug_targets", separator=separator, expected=expected, optional=optional, remedy=TARGET_REMEDY)
    is_tahoe = "targets" in table
    require_columns(path, list(table.columns), TAHOE_COLUMNS if is_tahoe else TABLE_COLUMNS, TARGET_REMEDY)
    rows = _from_tahoe(table) if is_tahoe else _from_table(path, table)
    for column in ("perturbation", "identifier"):
        rows[column] = rows[column].str.strip()
    if (rows["perturbation"] == "").any():
        raise ResourceError(f"{path}: expected a perturbation in every row, found an empty one. Fill it in, or remove the row.")
    return rows.assign(sign=rows["sign"].astype("int8"))
