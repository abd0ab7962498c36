"""Which gene each perturbation acts on, and with which sign.

Drugs take their targets from the drug table; a knockout, CRISPRi or CRISPRa perturbation acts on the gene that it is named after (`A+B` on both). A
user's table overrides either, perturbation by perturbation.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from causcade.errors import InputError
from causcade.files import read_parquet
from causcade.resources.identifiers import without_version
from causcade.signs import merge_signs

if TYPE_CHECKING:
    from causcade.resources.identifiers import Resolver

__all__ = ["build_targets", "is_target", "read_target_table"]

logger = logging.getLogger(__name__)

SIGN_OF_KIND = {"knockout": -1, "crispri": -1, "crispra": 1}
COLUMNS = ["perturbation", "target", "sign", "source"]
SEPARATORS = {".csv": ",", ".tsv": "\t", ".txt": "\t"}


def read_target_table(path: str | Path) -> pd.DataFrame:
    """Read a user's table of targets: perturbation, target and, optionally, sign (-1, 0, 1; without the column 0, not known).

    Rows that lack the perturbation or the target are left out, and the log says how many.

    Parameters
    ----------
    path
        tsv, txt (tabs), csv or parquet.

    Returns
    -------
    pandas.DataFrame
        perturbation, target (text, stripped), sign (int8).

    Raises
    ------
    InputError
        If the file or a column is missing, or a sign is none of -1, 0, 1.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: expected the table of perturbation.targets, found no file. Correct the path, or set it to null.")
    if path.suffix == ".parquet":
        table = read_parquet(path)
    elif path.suffix in SEPARATORS:
        # As text, so that a label such as 007 stays what it is; only an empty field counts as missing.
        table = pd.read_csv(path, sep=SEPARATORS[path.suffix], dtype=str, keep_default_na=False, na_values=[""])
    else:
        raise InputError(f"{path}: expected a table ending in .tsv, .csv or .parquet, found {path.suffix or 'no ending'}. Rename or convert it.")
    missing = [name for name in ("perturbation", "target") if name not in table.columns]
    if missing:
        found = ", ".join(map(str, table.columns))
        raise InputError(f"{path}: expected columns perturbation, target and sign, found {found}. Add {' and '.join(missing)}.")
    whole = table.dropna(subset=["perturbation", "target"])
    if len(whole) < len(table):
        logger.warning("%s: %d of %d rows lack the perturbation or the target and are left out", path, len(table) - len(whole), len(table))
    sign = pd.to_numeric(whole["sign"], errors="coerce") if "sign" in whole else pd.Series(0, index=whole.index)
    bad = ~sign.isin([-1, 0, 1])
    if bad.any():
        first = whole.loc[bad, "sign"].iloc[0]
        raise InputError(
            f"{path}: expected signs -1, 0 or 1, found {'an empty field' if pd.isna(first) else repr(str(first))}. "
            "Write -1 for an inhibitor, 1 for an activator, 0 where it is not known."
        )
    text = {name: whole[name].astype(str).str.strip() for name in ("perturbation", "target")}
    return pd.DataFrame(text | {"sign": sign.astype("int8")}).reset_index(drop=True)


def _from_names(labels: pd.DataFrame, separator: str) -> pd.DataFrame:
    """Targets of genetic perturbations: the genes in their names."""
    genetic = labels[labels["kind"].isin(list(SIGN_OF_KIND))].copy()
    # Of `MYC (crispra)`, a name with its kind (perturbation.kind_in_name), the part before it.
    names = [name.removesuffix(f" ({kind})") for name, kind in zip(genetic["perturbation"], genetic["kind"], strict=True)]
    genetic["target"] = pd.Series(names, index=genetic.index, dtype=object).str.split(separator, regex=False)
    genetic = genetic.explode("target")
    genetic["target"] = genetic["target"].astype(str).str.strip()
    genetic = genetic[genetic["target"] != ""]
    return pd.DataFrame(
        {
            "perturbation": genetic["perturbation"],
            "target": genetic["target"],
            "sign": genetic["kind"].map(SIGN_OF_KIND).astype("int8"),
            "source": "name",
        }
    )


def _resolved(table: pd.DataFrame, resolver: Resolver | None) -> pd.DataFrame:
    """Approved symbols instead of the written ones; unknown names stay as written, so that they can be reported as not measured.

    Without a resolver Ensembl ids lose their version, which is how the gene axis has them.
    """
    if resolver is None or table.empty:
        return table.assign(target=without_version(table["target"].to_numpy()).to_numpy())
    names = resolver.resolve(table["target"].tolist())
    ambiguous = sorted(set(names.loc[names["status"] == "ambiguous", "identifier"]))
    if ambiguous:
        logger.warning("targets: %d names stand for several genes and are left as they are: %s", len(ambiguous), ", ".join(ambiguous[:10]))
    return table.assign(target=names["gene"].where(names["gene"].notna(), names["identifier"]).to_numpy())


def is_target(genes: pd.DataFrame, targets: pd.DataFrame) -> pd.Series:
    """Which genes any perturbation acts on; a target is the name of a gene or, where no gene has that name, its id.

    Parameters
    ----------
    genes
        Columns `gene` and `gene_id`.
    targets
        `targets.parquet`: column target.

    Returns
    -------
    pandas.Series
        bool, with the index of `genes`.
    """
    named = set(targets["target"])
    return genes["gene"].isin(named) | genes["gene_id"].isin(named - set(genes["gene"]))


def build_targets(
    labels: pd.DataFrame, drug_targets: pd.DataFrame, override: pd.DataFrame | None, *, separator: str = "+", resolver: Resolver | None = None
) -> pd.DataFrame:
    """List the targets of the perturbations of a screen.

    Parameters
    ----------
    labels
        Perturbations that occur: perturbation, kind.
    drug_targets
        `resources/drug_targets.parquet`: perturbation, target, sign, source.
    override
        The user's table (:func:`read_target_table`), or None.
    separator
        Joins the genes of a combination.
    resolver
        Translates names to approved symbols; None takes them as they are.

    Returns
    -------
    pandas.DataFrame
        perturbation, target, sign (-1, 0, 1), source (drug_targets, name or table); sorted, one row per pair. A pair that is listed with both
        signs has sign 0. Perturbations without a target have no row; the log counts and names them.
    """
    labels = labels.drop_duplicates("perturbation")
    drugs = labels.loc[labels["kind"] == "drug", "perturbation"]
    listed = drug_targets[drug_targets["perturbation"].isin(drugs)].assign(source="drug_targets")[COLUMNS]
    table = pd.concat([listed, _resolved(_from_names(labels, separator), resolver)], ignore_index=True)
    if override is not None:
        chosen = _resolved(override[override["perturbation"].isin(labels["perturbation"])].assign(source="table"), resolver)
        table = pd.concat([table[~table["perturbation"].isin(chosen["perturbation"])], chosen[COLUMNS]], ignore_index=True)
    without = sorted(set(labels["perturbation"]) - set(table["perturbation"]))
    if without:
        logger.warning("%d of %d perturbations have no known target: %s", len(without), len(labels), ", ".join(without[:10]))
    return merge_signs(table[COLUMNS], ["perturbation", "target"])
