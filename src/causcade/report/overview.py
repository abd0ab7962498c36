"""What went in: sections 2 to 5 (quality, panel and coexpression, embedding map, candidate mask)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from causcade.report import charts
from causcade.report.data import Artifacts, codes, rounded, thinned

__all__ = ["embedding", "mask", "panel", "quality"]

MAX_MAP_CELLS = 15_000
PAIR_ROWS = 128
QUALITY_METRICS = {
    "total_counts": ("Counts per cell", "counts per cell (log scale)", True),
    "num_genes": ("Genes per cell", "detected genes per cell (log scale)", True),
    "mito_fraction": ("Mitochondrial share", "share of mitochondrial counts", False),
}
SOURCE_WORDS = {
    "hvg": "highly variable genes",
    "tfs": "transcription factors",
    "rbps": "RNA-binding proteins",
    "hallmarks": "hallmark genes",
    "drug_targets": "drug targets",
}
COVARIATE_WORDS = {
    "log_counts": "log counts",
    "mito_fraction": "mitochondrial share",
    "s_score": "S score",
    "g2m_score": "G2M score",
    "cell_line": "cell line",
}


def quality(artifacts: Artifacts, figures: dict[str, Any]) -> dict[str, Any] | None:
    """Table of plates; one figure of outlines per metric."""
    found = artifacts.json("quality/summary.json")
    if found is None:
        return None
    plates: dict[str, Any] = found["plates"]
    reasons = sorted({reason for plate in plates.values() for reason, num in plate.get("removed", {}).items() if num})
    names = []
    for metric, (title, label, log) in QUALITY_METRICS.items():
        found_histograms = {plate: value.get("histograms", {}).get(metric) or {} for plate, value in sorted(plates.items())}
        histograms = {plate: histogram for plate, histogram in found_histograms.items() if histogram.get("counts")}
        if histograms:
            figures[f"quality-{metric}"] = charts.steps(title, x=label, y="cells", histograms=histograms, log_x=log)
            names.append(f"quality-{metric}")
    rows = [{"plate": plate, **value} for plate, value in sorted(plates.items())]
    warnings = (artifacts.json("check.json") or {}).get("warnings", [])
    return {"rows": rows, "reasons": reasons, "figures": names, "warnings": warnings}


def panel(artifacts: Artifacts, genes: pd.DataFrame, figures: dict[str, Any]) -> dict[str, Any]:
    """Genes by source, covariates, and what the regression on covariates removed."""
    found = artifacts.json("panel_summary.json") or {}
    by_source = found.get("by_source", {})
    if by_source:
        items = [
            {"name": SOURCE_WORDS.get(name, name), "value": count} for name, count in sorted(by_source.items(), key=lambda item: (-item[1], item[0]))
        ]
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
    matrices: dict[str, Any] = {name: group[name] for name in ("raw_correlation", "correlation")}
    num_genes = int(matrices["correlation"].shape[0])
    start = max(0, (num_genes - PAIR_ROWS) // 2)
    rows = slice(start, min(num_genes, start + PAIR_ROWS))
    off_diagonal = np.arange(num_genes)[None, :] > np.arange(num_genes)[rows, None]
    edges = np.linspace(-1, 1, 81)
    histograms = {}
    for name, key in (("before covariates", "raw_correlation"), ("after covariates", "correlation")):
        values = np.asarray(matrices[key][rows])[off_diagonal]
        counts = np.histogram(values[np.isfinite(values)], bins=edges)[0]
        histograms[name] = {"edges": edges, "counts": counts / max(1, counts.sum())}
    figures["coexpression"] = charts.steps("Correlation of gene pairs", x="Pearson r over cells", y="share of gene pairs", histograms=histograms)
    attributes: dict[str, Any] = dict(group.attrs)
    kept = _terms(attributes.get("covariates", []))
    return {
        "num_cells": attributes.get("num_cells"),
        "covariates": list(kept.values()),
        # The first level of a category is always left out beside an intercept; only a term that is gone as a whole is worth a word.
        "dropped": [words for term, words in _terms(attributes.get("dropped_covariates", [])).items() if term not in kept],
        "num_rows": int(off_diagonal.shape[0]),
        "num_pairs": int(off_diagonal.sum()),
    }


def _terms(names: Iterable[str]) -> dict[str, str]:
    """Name covariate columns by term: `plate=plate1` and `plate=plate2` become `plate (2 columns)`; the intercept goes without saying."""
    columns: dict[str, int] = {}
    for name in names:
        term, is_level, _ = str(name).partition("=")
        columns[term] = columns.get(term, 0) + bool(is_level)
    columns.pop("intercept", None)
    words = {term: COVARIATE_WORDS.get(term, term.replace("_", " ")) for term in columns}
    return {term: f"{words[term]} ({num} column{'s' if num > 1 else ''})" if num else words[term] for term, num in columns.items()}


def embedding(artifacts: Artifacts, data: dict[str, Any]) -> dict[str, Any] | None:
    """Take a sample of cells of the map, with every column that can colour it."""
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
    if not len(per_target):
        return dict(found)
    # Bins of whole numbers, at most about 40, so that no bar is empty only for its place.
    width = max(1, -(-int(np.ptp(per_target) + 1) // 40))
    counts, bounds = np.histogram(per_target, bins=np.arange(per_target.min() - 0.5, per_target.max() + width + 0.5, width))
    histogram = {"targets": {"edges": bounds, "counts": counts}}
    figures["mask-regulators"] = charts.steps("Candidate regulators per target", x="candidate regulators", y="target genes", histograms=histogram)
    return dict(found)
