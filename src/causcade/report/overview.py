"""What went in: sections 2, 3 and 5 (quality, panel, candidate mask)."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pandas as pd

from causcade.report import charts
from causcade.report.coexpression import coexpression
from causcade.report.data import Artifacts, first_few, natural

__all__ = ["mask", "panel", "quality"]

QUALITY_METRICS = {
    "total_counts": ("Counts per cell", "counts per cell (log scale)", True),
    "num_genes": ("Genes per cell", "detected genes per cell (log scale)", True),
    "mito_fraction": ("Mitochondrial share", "share of mitochondrial counts", False),
}
REASON_WORDS = {
    "low_counts": "low counts",
    "low_genes": "low genes",
    "high_mito": "high mito.",
    "outlier": "outlier",
    "doublet": "doublet",
    "excluded": "excluded label",
}
SOURCE_WORDS = {
    "hvg": "highly variable genes",
    "tfs": "transcription factors",
    "rbps": "RNA-binding proteins",
    "hallmarks": "hallmark genes",
    "drug_targets": "drug targets",
}
SHORT_SOURCES = {"hvg": "variable", "tfs": "TFs", "rbps": "RBPs", "hallmarks": "hallmarks", "drug_targets": "targets"}


def quality(artifacts: Artifacts, figures: dict[str, Any]) -> dict[str, Any] | None:
    """Table of plates, why cells were removed, wells without a call of doublets; one figure of outlines per metric."""
    found = artifacts.json("quality/summary.json")
    if found is None:
        return None
    plates: dict[str, dict[str, Any]] = {plate: found["plates"][plate] for plate in sorted(found["plates"], key=natural)}
    reasons = [reason for reason in _reasons(plates) if any(value.get("removed", {}).get(reason) for value in plates.values())]
    names = []
    for metric, (title, label, log) in QUALITY_METRICS.items():
        found_histograms = {plate: value.get("histograms", {}).get(metric) or {} for plate, value in plates.items()}
        # Shares, since plates of different size are compared by their shape.
        histograms = {
            plate: {**histogram, "counts": np.asarray(histogram["counts"]) / max(1, sum(histogram["counts"]))}
            for plate, histogram in found_histograms.items()
            if histogram.get("counts")
        }
        if histograms:
            figures[f"quality-{metric}"] = charts.steps(title, x=label, y="share of the plate’s cells", histograms=histograms, log_x=log)
            names.append(f"quality-{metric}")
    rows = [{"plate": plate, **value} for plate, value in plates.items()]
    total = {name: sum(value[name] for value in plates.values()) for name in ("num_cells", "num_kept")}
    together = Counter[str]()
    for value in plates.values():
        together.update(value.get("removed_together", {}))
    return {
        "rows": rows,
        "total": {**total, "removed": {reason: sum(value.get("removed", {}).get(reason, 0) for value in plates.values()) for reason in reasons}},
        "reasons": [(reason, _reason_words(reason)) for reason in reasons],
        "together": [(" + ".join(map(_reason_words, names.split(";"))), num) for names, num in together.most_common()],
        "without_doublet_call": _without_doublet_call(plates),
        "figures": names,
        "warnings": (artifacts.json("check.json") or {}).get("warnings", []),
    }


def _reasons(plates: dict[str, dict[str, Any]]) -> list[str]:
    """Every reason, in the order in which cells are judged."""
    found = {reason for value in plates.values() for reason in value.get("removed", {})}
    return [reason for reason in REASON_WORDS if reason in found] + sorted(found - set(REASON_WORDS))


def _reason_words(reason: str) -> str:
    return REASON_WORDS.get(reason, reason.replace("_", " "))


def _without_doublet_call(plates: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Wells in which no doublet is called, by the reason why."""
    wells: dict[str, list[str]] = {}
    for plate, value in plates.items():
        for well, why in sorted((value.get("wells_without_doublet_call") or {}).items(), key=lambda item: natural(item[0])):
            wells.setdefault(why, []).append(well if len(plates) == 1 else f"{plate} {well}")
    return [{"why": why, "num": len(names), "wells": first_few(names, 8)} for why, names in sorted(wells.items(), key=lambda item: -len(item[1]))]


def panel(artifacts: Artifacts, genes: pd.DataFrame, figures: dict[str, Any]) -> dict[str, Any]:
    """Genes by source with their overlaps, which plates voted and which did not, and coexpression."""
    found = artifacts.json("panel_summary.json") or {}
    voted = sorted(map(str, found.get("plates_voted", [])), key=natural)
    silent = sorted(map(str, found.get("plates_silent", [])), key=natural)
    of_run = sorted((artifacts.json("quality/summary.json") or {}).get("plates", {}), key=natural)
    return {
        "num_genes": len(genes),
        "flags": {name: int(genes[name].sum()) for name in ("is_tf", "is_rbp", "is_hallmark", "is_drug_target")},
        "sources": _sources(found),
        "size": found if "num_filled" in found else None,
        "plates_voted": voted,
        "plates_silent": silent,
        "plates_later": [plate for plate in of_run if voted and plate not in {*voted, *silent}],
        "coexpression": coexpression(artifacts, figures),
    }


def _sources(found: dict[str, Any]) -> dict[str, Any] | None:
    """Table of sources: genes in the data, in the panel, by this source alone, and shared with each other source."""
    counts: dict[str, int] = found.get("by_source", {})
    if not counts:
        return None
    by_source = {name: counts[name] for name in [*SOURCE_WORDS, *sorted(set(counts) - set(SOURCE_WORDS))] if name in counts}
    overlaps = found.get("overlaps", {})
    in_use = found.get("sources", list(by_source))
    rows = [
        {
            "words": SOURCE_WORDS.get(name, name),
            "in_use": name in in_use,
            "in_data": found.get("in_data", {}).get(name),
            "in_panel": count,
            "only": found.get("only", {}).get(name),
            "shared": [None if other == name else overlaps.get(name, {}).get(other) for other in by_source],
        }
        for name, count in by_source.items()
    ]
    return {"rows": rows, "columns": [SHORT_SOURCES.get(name, name) for name in by_source]}


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
