"""Targets that are not measured: which of them are regulators in the network, and which stay out of it."""

from __future__ import annotations

from typing import Any

import pandas as pd

from causcade.report.data import Artifacts, natural

__all__ = ["unmeasured"]

COLUMNS = ["perturbation", "target", "is_measured", "enters", "num_edges"]


def unmeasured(artifacts: Artifacts) -> dict[str, Any] | None:
    """Targets that no gene of the panel is, with the perturbations that hit them; None where the run does not say.

    Returns
    -------
    dict
        num_listed (distinct targets), entering and left_out: of each such target gene, num_edges (candidate edges that leave it), perturbations.
    """
    table = artifacts.table("unmeasured/targets.parquet", COLUMNS)
    if table is None:
        return None
    absent = table[~table["is_measured"].astype(bool)]
    enters = absent["enters"].astype(bool)
    return {"num_listed": int(table["target"].nunique()), "entering": _rows(absent[enters]), "left_out": _rows(absent[~enters])}


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    rows = [
        {"gene": str(gene), "num_edges": int(part["num_edges"].iloc[0]), "perturbations": sorted(map(str, set(part["perturbation"])), key=natural)}
        for gene, part in table.groupby("target", sort=False)
    ]
    return sorted(rows, key=lambda row: (-row["num_edges"], natural(row["gene"])))
