"""What went in: sections 1 to 5 (summary, quality, panel and coexpression, embedding map, candidate mask)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from causcade.report import charts
from causcade.report.data import Artifacts, codes, rounded, thinned

__all__ = ["embedding", "mask", "panel", "quality", "summary"]

MAX_MAP_CELLS = 15_000
PAIR_ROWS = 128
QUALITY_METRICS = {
    "total_counts": ("Counts per cell", "counts per cell"),
    "num_genes": ("Genes per cell", "detected genes per cell"),
    "mito_fraction": ("Mitochondrial share", "share of mitochondrial counts"),
}
SOURCE_WORDS = {
    "hvg": "highly variable genes",
    "tfs": "transcription factors",
    "rbps": "RNA-binding proteins",
    "hallmarks": "hallmark genes",
    "drug_targets": "drug targets",
}
YES_NO = {True: "yes", False: "no", None: "open"}


def _answer(value: Any) -> str:
    """The mark of a verdict: yes, no, or open."""
    if value is None or isinstance(value, bool):
        return YES_NO[value]
    first = str(value).strip().lower()
    return next((mark for mark in ("yes", "no") if first == mark or first.startswith((mark + " ", mark + ",", mark + ":", mark + "."))), "open")


def _numbers(value: Any) -> list[tuple[str, Any]]:
    """Numbers of a verdict or of the headline as (name, value), nested ones joined by a dot."""
    if isinstance(value, Mapping):
        return [(f"{key}{'.' + inner if inner else ''}", item) for key, part in value.items() for inner, item in _numbers(part)]
    if isinstance(value, list | tuple):
        return [("", ", ".join(str(item) for item in value))]
    return [("", value)]


def conditions(artifacts: Artifacts) -> pd.DataFrame | None:
    """obs of all conditions, without their values; None where there are none."""
    stores = artifacts.matching("conditions/*.zarr")
    if not stores:
        artifacts.has("conditions")
        return None
    import anndata
    import zarr

    tables = [anndata.io.read_elem(zarr.open_group(store, mode="r")["obs"]) for store in stores]
    # Plate and line are categories with other levels in each store; as text they can be stacked.
    wanted = ["perturbation", "kind", "dose", "cell_line", "plate", "n_cells", "is_control"]
    tables = [table[[column for column in wanted if column in table]].astype({"perturbation": str, "cell_line": str}) for table in tables]
    return pd.concat(tables, ignore_index=True)


def summary(artifacts: Artifacts, edges: pd.DataFrame, num_genes: int) -> dict[str, Any]:
    """Main numbers, verdicts and caveats."""
    report = artifacts.json("evaluation/summary.json") or {}
    plates = (artifacts.json("quality/summary.json") or {}).get("plates", {})
    table = conditions(artifacts)
    treated = None if table is None else table[~table["is_control"].astype(bool)]
    lines = sorted({line for plate in plates.values() for line in plate.get("cell_lines", {})})
    if not lines and table is not None:
        lines = sorted(table["cell_line"].unique())
    identifiability = edges["identifiability"].astype(str).value_counts()
    verdicts = [
        {
            "question": str(item.get("question", "")),
            "answer": str(item.get("answer", "")) if not isinstance(item.get("answer"), bool) else "",
            "mark": _answer(item.get("answer")),
            "numbers": _numbers(item.get("numbers", {})),
        }
        for item in report.get("verdicts", [])
    ]
    return {
        "num_cells": sum(plate["num_cells"] for plate in plates.values()) if plates else None,
        "num_kept": sum(plate["num_kept"] for plate in plates.values()) if plates else None,
        "num_plates": len(plates) or (None if table is None else table["plate"].nunique()),
        "lines": lines,
        "num_perturbations": None if treated is None else int(treated["perturbation"].nunique()),
        "num_conditions": None if treated is None else len(treated),
        "num_genes": num_genes,
        "num_edges": len(edges),
        "num_regulators": int(edges["regulator"].nunique()),
        "identifiability": {name: int(identifiability.get(name, 0)) for name in ("direct", "indirect", "none")},
        "verdicts": verdicts,
        "headline": _numbers(report.get("headline", {})) if report else [],
        "has_evaluation": bool(report),
    }


def quality(artifacts: Artifacts, figures: dict[str, Any]) -> dict[str, Any] | None:
    """Table of plates; one figure of outlines per metric."""
    found = artifacts.json("quality/summary.json")
    if found is None:
        return None
    plates: dict[str, Any] = found["plates"]
    reasons = sorted({reason for plate in plates.values() for reason in plate.get("removed", {})})
    names = []
    for metric, (title, label) in QUALITY_METRICS.items():
        histograms = {plate: value["histograms"][metric] for plate, value in plates.items() if metric in value.get("histograms", {})}
        if histograms:
            figures[f"quality-{metric}"] = charts.steps(title, x=label, y="cells", histograms=histograms)
            names.append(f"quality-{metric}")
    rows = [{"plate": plate, **value} for plate, value in sorted(plates.items())]
    return {"rows": rows, "reasons": reasons, "figures": names}


def panel(artifacts: Artifacts, genes: pd.DataFrame, figures: dict[str, Any]) -> dict[str, Any]:
    """Genes by source, covariates, and what the regression on covariates removed."""
    found = artifacts.json("panel_summary.json") or {}
    by_source = found.get("by_source", {})
    if by_source:
        items = [{"name": SOURCE_WORDS.get(name, name), "value": count} for name, count in by_source.items()]
        figures["panel-sources"] = charts.bars("Genes of the panel by source", x="genes (a gene may count in several)", items=items)
    partners = artifacts.table("partners.parquet", ["correlation", "rank"])
    partner_words = None
    if partners is not None and len(partners):
        best = partners.loc[partners["rank"] == 1, "correlation"].abs()
        last = partners.loc[partners["rank"] == partners["rank"].max(), "correlation"].abs()
        partner_words = {"num": int(partners["rank"].max()), "best": float(best.median()), "last": float(last.median())}
    return {
        "num_genes": len(genes),
        "flags": {name: int(genes[name].sum()) for name in ("is_tf", "is_rbp", "is_hallmark", "is_drug_target")},
        "by_source": by_source,
        "plates_voted": [str(plate) for plate in found.get("plates_voted", [])],
        "coexpression": _coexpression(artifacts, figures),
        "partners": partner_words,
    }


def _coexpression(artifacts: Artifacts, figures: dict[str, Any]) -> dict[str, Any] | None:
    """Residual against raw correlation over a block of genes (the whole matrix would be 800 MB at 14,142 genes)."""
    if not artifacts.has("coexpression.zarr"):
        return None
    import zarr

    group = zarr.open_group(artifacts.folder / "coexpression.zarr", mode="r")
    num_genes = group["correlation"].shape[0]
    start = max(0, (num_genes - PAIR_ROWS) // 2)
    rows = slice(start, min(num_genes, start + PAIR_ROWS))
    off_diagonal = np.arange(num_genes)[None, :] > np.arange(num_genes)[rows, None]
    edges = np.linspace(-1, 1, 81)
    histograms = {}
    for name, key in (("before covariates", "raw_correlation"), ("after covariates", "correlation")):
        values = np.asarray(group[key][rows])[off_diagonal]
        counts = np.histogram(values[np.isfinite(values)], bins=edges)[0]
        histograms[name] = {"edges": edges, "counts": counts / max(1, counts.sum())}
    figures["coexpression"] = charts.steps("Correlation of gene pairs", x="Pearson r over cells", y="share of gene pairs", histograms=histograms)
    attributes = dict(group.attrs)
    return {
        "num_cells": attributes.get("num_cells"),
        "covariates": [str(name) for name in attributes.get("covariates", [])],
        "dropped": [str(name) for name in attributes.get("dropped_covariates", [])],
        "num_rows": int(off_diagonal.shape[0]),
        "num_pairs": int(off_diagonal.sum()),
    }


def embedding(artifacts: Artifacts, data: dict[str, Any]) -> dict[str, Any] | None:
    """A sample of cells of the map, every column that can colour it."""
    cells = artifacts.table("embedding/map.parquet", ["x", "y", "cell_line", "plate", "is_control", "log_counts", "s_score", "g2m_score"])
    if cells is None or not len(cells):
        return None
    num_sampled = len(cells)
    cells = cells.iloc[thinned(num_sampled, MAX_MAP_CELLS)]
    control = cells["is_control"].map({True: "control", False: "treated"})
    data["map"] = {
        "x": rounded(cells["x"]),
        "y": rounded(cells["y"]),
        "groups": {"cell line": codes(cells["cell_line"]), "plate": codes(cells["plate"]), "control": codes(control)},
        "values": {
            "log counts": rounded(cells["log_counts"], 3),
            "S score": rounded(cells["s_score"], 3),
            "G2M score": rounded(cells["g2m_score"], 3),
        },
    }
    return {"num_cells": len(cells), "num_sampled": num_sampled}


def mask(artifacts: Artifacts, figures: dict[str, Any]) -> dict[str, Any] | None:
    """Where candidate edges come from, and how many regulators a target has."""
    found = artifacts.json("mask_summary.json")
    edges = artifacts.table("candidate_edges.parquet", ["target", "sources"])
    if found is None or edges is None:
        return None
    combinations = edges["sources"].astype(str).value_counts()
    items = [{"name": name.replace(";", " + "), "value": int(count)} for name, count in combinations.head(12).items()]
    if len(combinations) > len(items):
        items.append({"name": f"{len(combinations) - len(items)} other combinations", "value": int(combinations.iloc[12:].sum()), "colour": 0})
    figures["mask-sources"] = charts.bars("Candidate edges by exact combination of sources", x="candidate edges", items=items)
    per_target = edges["target"].value_counts().to_numpy()
    counts, bounds = np.histogram(per_target, bins=min(40, max(4, int(per_target.max()))))
    histogram = {"targets": {"edges": bounds, "counts": counts}}
    figures["mask-regulators"] = charts.steps("Candidate regulators per target", x="candidate regulators", y="target genes", histograms=histogram)
    return dict(found)
