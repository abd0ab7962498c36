"""Which genes a perturbation hits, and with which sign: from the name (genetic perturbations) or from a table (drugs, and any exception)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from causcade.errors import InputError

__all__ = ["GENETIC_SIGNS", "list_targets"]

GENETIC_SIGNS: Mapping[str, int] = {"knockout": -1, "crispri": -1, "crispra": 1}
KINDS = ("drug", *GENETIC_SIGNS)


def list_targets(
    perturbations: pd.DataFrame, targets: pd.DataFrame, genes: pd.DataFrame, *, separator: str = "+"
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Targets of each perturbation, as indices into the gene axis.

    Parameters
    ----------
    perturbations
        Columns `perturbation` and `kind` (drug, knockout, crispri or crispra), one row per perturbation.
    targets
        Columns `perturbation`, `target` (symbol or id), `sign` (-1, 0, +1). A perturbation with rows here takes its targets from here, whatever
        its kind; any other genetic perturbation is named after its targets.
    genes
        Columns `gene` and `gene_id`, in the order of the gene axis.
    separator
        Joins the genes of a combination.

    Returns
    -------
    links
        perturbation, target (position on the gene axis), sign (int8); sorted, each pair once. Where a pair is listed with both signs the sign is 0.
    unmeasured
        perturbation, target, sign: listed targets that are not on the gene axis.

    Raises
    ------
    InputError
        For an unknown kind, or a sign other than -1, 0 and 1.
    """
    unknown = sorted(set(perturbations["kind"]) - set(KINDS))
    if unknown:
        raise InputError(
            f"perturbation kind: expected one of {', '.join(KINDS)}, found {unknown[:5]}. Correct the column that `perturbation.kind` names."
        )
    signs = sorted(set(targets["sign"].astype(int)) - {-1, 0, 1}) if len(targets) else []
    if signs:
        raise InputError(f"table of targets, column sign: expected -1, 0 or 1, found {signs[:5]}. Correct the table.")
    listed = _listed(perturbations, targets, separator)
    position = {name: i for i, name in enumerate(genes["gene_id"].astype(str))} | {name: i for i, name in enumerate(genes["gene"].astype(str))}
    listed["position"] = listed["target"].map(position)
    unmeasured = listed.loc[listed["position"].isna(), ["perturbation", "target", "sign"]].reset_index(drop=True)
    found = listed.loc[listed["position"].notna()]
    pairs = found.groupby(["perturbation", "position"], sort=True)["sign"].agg(["min", "max"]).reset_index()
    agreed = np.where(pairs["min"] * pairs["max"] < 0, 0, pairs["min"] + pairs["max"])
    links = pd.DataFrame(
        {
            "perturbation": pairs["perturbation"].astype(str),
            "target": pairs["position"].astype(np.int64),
            "sign": np.sign(agreed).astype(np.int8),
        }
    )
    return links, unmeasured


def _listed(perturbations: pd.DataFrame, targets: pd.DataFrame, separator: str) -> pd.DataFrame:
    """All (perturbation, target, sign) rows as names, each once."""
    known = set(perturbations["perturbation"])
    table = targets.loc[targets["perturbation"].isin(known) & targets["target"].notna(), ["perturbation", "target", "sign"]]
    in_table = set(table["perturbation"])
    rows = [
        (name, part.strip(), GENETIC_SIGNS[kind])
        for name, kind in zip(perturbations["perturbation"], perturbations["kind"], strict=True)
        if kind in GENETIC_SIGNS and name not in in_table
        for part in str(name).split(separator)
        if part.strip()
    ]
    named = pd.DataFrame(rows, columns=["perturbation", "target", "sign"])
    both = pd.concat([frame for frame in (table, named) if len(frame)], ignore_index=True) if len(table) or rows else named
    return both.drop_duplicates().sort_values(["perturbation", "target", "sign"], ignore_index=True)
