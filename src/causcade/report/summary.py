"""The run in words: section 1 (main numbers, verdicts, what cannot be told)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from causcade.report.charts import family_style
from causcade.report.data import Artifacts

__all__ = ["mark", "named_numbers", "summary"]

# Questions that are asked of every reference become the columns of one table.
OPPONENT_WORDS = {
    "edge_null": "edge null",
    "label_null": "label null",
    "coexpression": "coexpression",
    "mean_shift": "mean shift",
    "ridge": "ridge regression",
    "listed_target": "list of targets alone",
}
LEAD_METRICS = ("auprc", "same_source_auroc", "degree_matched_auprc", "lift", "auroc")
LEAD_RANKINGS = ("causal", "mean_shift", "ridge", "coexpression", "prior", "mask", "listed_target", "edge_null", "label_null")


def mark(answer: Any) -> str:
    """Mark of an answer: yes, no, or open (not testable, not known)."""
    if isinstance(answer, bool):
        return "yes" if answer else "no"
    first = str(answer).strip().lower()
    # "not testable" begins with "no" too, hence the whole first word.
    return next((word for word in ("yes", "no") if first.replace(",", " ").replace(":", " ").replace(".", " ").split()[:1] == [word]), "open")


def named_numbers(value: Any, head: str = "") -> list[tuple[str, Any]]:
    """Numbers of a verdict or of the headline as (name, value); nested names are joined by a blank."""
    if isinstance(value, Mapping):
        return [pair for key, part in value.items() for pair in named_numbers(part, f"{head} {key}".strip().replace("_", " "))]
    if isinstance(value, list | tuple):
        return [(head, ", ".join(str(item) for item in value))]
    return [(head, value)]


def _conditions(artifacts: Artifacts) -> pd.DataFrame | None:
    """Obs of all conditions, without their values; None where there are none."""
    stores = artifacts.matching("conditions/*.zarr")
    if not stores:
        artifacts.has("conditions")
        return None
    import anndata
    import zarr

    wanted = ["perturbation", "cell_line", "plate", "is_control"]
    tables = [anndata.io.read_elem(zarr.open_group(store, mode="r")["obs"])[wanted] for store in stores]
    # Plates and lines are categories with other levels in each store; as text they can be stacked.
    return pd.concat([table.astype(dict.fromkeys(wanted[:3], str)) for table in tables], ignore_index=True)


def _verdicts(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Verdicts of one kind per reference as a table of marks; the others, and every sentence, as a list."""
    rows = [
        {
            "key": item.get("key"),
            "reference": item.get("reference"),
            "question": str(item.get("question", "")),
            "answer": "" if isinstance(item.get("answer"), bool) or item.get("answer") is None else str(item["answer"]),
            "mark": mark(item.get("answer")),
            "sentence": str(item.get("sentence") or ""),
            "numbers": named_numbers(item.get("numbers") or {}),
        }
        for item in found
    ]
    in_table = [row for row in rows if row["reference"] and row["key"]]
    references = list(dict.fromkeys(row["reference"] for row in in_table))
    keys = list(dict.fromkeys(str(row["key"]) for row in in_table))
    marks = {(row["reference"], row["key"]): row["mark"] for row in in_table}
    return {
        "columns": [OPPONENT_WORDS.get(key, key.replace("_", " ")) for key in keys],
        "table": [{"reference": reference, "marks": [marks.get((reference, key)) for key in keys]} for reference in references],
        "in_table": in_table,
        "others": [row for row in rows if not (row["reference"] and row["key"])],
        "num": len(rows),
    }


def _lead(report: Mapping[str, Any]) -> dict[str, Any] | None:
    """Prepare the headline: its sentence, and the leading metrics of the main rankings and every null on that reference."""
    headline = report.get("headline")
    if not isinstance(headline, Mapping) or not headline:
        return None
    if "sentence" not in headline:
        return {"sentence": "", "mark": None, "reference": None, "rows": [], "numbers": named_numbers(headline)}
    reference = headline.get("reference")
    references: Mapping[Any, Any] = report.get("references") or {}
    scores = (references.get(reference) or {}).get("no_prior") or {}
    rows = []
    families = {str(name): str(family_style(str(name))["family"]) for name in scores}
    for name in sorted((name for name in families if families[name] in LEAD_RANKINGS), key=lambda name: (LEAD_RANKINGS.index(families[name]), name)):
        values = [scores[name].get(metric) or {} for metric in LEAD_METRICS]
        rows.append({"ranking": name, "is_null": "null" in families[name], "values": [(one.get("value"), one.get("interval")) for one in values]})
    return {"sentence": headline["sentence"], "mark": mark(headline.get("is_result")), "reference": reference, "rows": rows, "numbers": []}


def summary(artifacts: Artifacts, edges: pd.DataFrame, num_genes: int) -> dict[str, Any]:
    """Prepare main numbers, headline, verdicts, and how many edges are identifiable.

    Parameters
    ----------
    artifacts
        The run.
    edges
        network/edges.parquet.
    num_genes
        Genes of the panel.
    """
    report = artifacts.json("evaluation/summary.json") or {}
    plates = (artifacts.json("quality/summary.json") or {}).get("plates", {})
    table = _conditions(artifacts)
    treated = None if table is None else table[~table["is_control"].astype(bool)]
    lines = sorted({line for plate in plates.values() for line in plate.get("cell_lines", {})})
    if not lines and table is not None:
        lines = sorted(table["cell_line"].unique())
    identifiability = edges["identifiability"].astype(str).value_counts()
    return {
        "num_cells": sum(plate["num_cells"] for plate in plates.values()) if plates else None,
        "num_kept": sum(plate["num_kept"] for plate in plates.values()) if plates else None,
        "num_plates": len(plates) or (None if table is None else int(table["plate"].nunique())),
        "lines": lines,
        "num_perturbations": None if treated is None else int(treated["perturbation"].nunique()),
        "num_conditions": None if treated is None else len(treated),
        "num_genes": num_genes,
        "num_edges": len(edges),
        "num_scored": int(edges["rank"].notna().sum()),
        "num_regulators": int(edges["regulator"].nunique()),
        "is_any_hit": bool((edges["num_perturbations"] > 0).any()),
        "identifiability": {name: int(identifiability.get(name, 0)) for name in ("direct", "indirect", "none")},
        "verdicts": _verdicts(report.get("verdicts") or []),
        "lead": _lead(report),
    }
