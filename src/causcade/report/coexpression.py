"""Coexpression in section 3: covariates, what was left out of them and why, genes without variance, how it was computed, matrices per cell line."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import numpy as np

from causcade.report import charts
from causcade.report.data import Artifacts, first_few, natural, rounded

__all__ = ["coexpression"]

PAIR_ROWS = 128
COVARIATE_WORDS = {
    "log_counts": "log counts",
    "mito_fraction": "mitochondrial share",
    "s_score": "S score",
    "g2m_score": "G2M score",
    "cell_line": "cell line",
}
REFERENCE = "reference level"
UNKNOWN = "constant, or explained by others"
PRECISION_WORDS = {
    "float32": "float32",
    "tf32": "TF32 where a GPU multiplied (11 binary digits), float32 elsewhere",
    "fp16_split": "two halves in float16 where a GPU multiplied (22 binary digits), float32 elsewhere",
    "fp16": "float16 where a GPU multiplied (11 binary digits), float32 elsewhere",
}


def coexpression(artifacts: Artifacts, figures: dict[str, Any]) -> dict[str, Any] | None:
    """Prepare the sentences and tables on coexpression, and residual against raw correlation as a figure."""
    if not artifacts.has("coexpression.zarr"):
        return None
    import zarr

    group = zarr.open_group(artifacts.folder / "coexpression.zarr", mode="r")
    attributes: dict[str, Any] = dict(group.attrs)
    if attributes.get("over") == "perturbations":
        names = {"own targets left out": "correlation", "own targets with them": "raw_correlation"}
        return {"over": "perturbations", "partners": _partners(artifacts), **_pairs(group, figures, names, "perturbations")}
    kept = _terms(attributes.get("covariates", []))
    return {
        "num_cells": attributes.get("num_cells"),
        "covariates": list(kept.values()),
        **_dropped(attributes, kept),
        **_without_variance(artifacts, group),
        "computed": _computed(artifacts),
        "shards": _shards(artifacts),
        "lines": _lines(artifacts),
        "partners": _partners(artifacts),
        "over": "cells",
        **_pairs(group, figures, {"before covariates": "raw_correlation", "after covariates": "correlation"}, "cells"),
    }


def _pairs(group: Any, figures: dict[str, Any], names: dict[str, str], over: str) -> dict[str, int]:
    """Draw correlations over a block of genes (the whole matrix would be 800 MB at 14,142 genes); returns the size of the block."""
    matrices: dict[str, Any] = {name: group[name] for name in ("raw_correlation", "correlation")}
    num_genes = int(matrices["correlation"].shape[0])
    start = max(0, (num_genes - PAIR_ROWS) // 2)
    rows = slice(start, min(num_genes, start + PAIR_ROWS))
    off_diagonal = np.arange(num_genes)[None, :] > np.arange(num_genes)[rows, None]
    edges = np.linspace(-1, 1, 81)
    histograms = {}
    for name, key in names.items():
        values = np.asarray(matrices[key][rows])[off_diagonal]
        counts = np.histogram(values[np.isfinite(values)], bins=edges)[0]
        histograms[name] = {"edges": edges, "counts": counts / max(1, counts.sum())}
    figures["coexpression"] = charts.steps("Correlation of gene pairs", x=f"Pearson r over {over}", y="share of gene pairs", histograms=histograms)
    return {"num_rows": int(off_diagonal.shape[0]), "num_pairs": int(off_diagonal.sum())}


def _terms(names: Iterable[str]) -> dict[str, str]:
    """Name covariate columns by term: `plate=plate1` and `plate=plate2` become `plate (2 columns)`; the intercept goes without saying."""
    columns: dict[str, int] = {}
    for name in names:
        term, is_level, _ = str(name).partition("=")
        columns[term] = columns.get(term, 0) + bool(is_level)
    columns.pop("intercept", None)
    return {term: f"{_word(term)} ({num} column{'s' if num > 1 else ''})" if num else _word(term) for term, num in columns.items()}


def _word(name: str) -> str:
    """Name a column or term in words: `cell_line=A549` becomes `cell line A549`."""
    term, is_level, level = name.partition("=")
    words = COVARIATE_WORDS.get(term, term.replace("_", " "))
    return f"{words} {level}" if is_level else words


def _dropped(attributes: dict[str, Any], kept: dict[str, str]) -> dict[str, Any]:
    """Say which covariates are left out: reference levels in a line, all others one by one, each with its reason."""
    reasons: dict[str, str] = attributes.get("dropped_reasons", {})
    names = [str(name) for name in attributes.get("dropped_covariates", [])]
    references = [name for name in names if reasons.get(name) == REFERENCE]
    others = [name for name in names if name not in references]
    # Without reasons, a level whose term is there otherwise is the one that is always left out beside an intercept.
    told = others if reasons else [name for name in others if name.partition("=")[0] not in kept]
    rows = [{"name": _word(name), "why": _why(reasons.get(name, UNKNOWN))} for name in told]
    return {"dropped": rows, "references": [_word(name) for name in references]}


def _why(reason: str) -> str:
    """Say a reason with the words of the page for the covariates that it names."""
    head, by, names = reason.partition("explained by ")
    return reason if not by else head + by + ", ".join(_word(name) for name in names.split(", "))


def _without_variance(artifacts: Artifacts, group: Any) -> dict[str, Any]:
    """Genes that do not vary, and genes of which the covariates leave nothing; neither has partners."""
    if "sd" not in group or "residual_sd" not in group:
        return {"constant": None, "explained": None}
    sd, residual_sd = np.asarray(group["sd"][:]), np.asarray(group["residual_sd"][:])
    panel = artifacts.needed("panel.parquet", ["gene"])["gene"].astype(str).to_numpy()
    if len(panel) != len(sd):
        return {"constant": None, "explained": None}
    found = {"constant": sd == 0, "explained": (sd > 0) & (residual_sd == 0)}
    return {name: {"num": int(is_one.sum()), "genes": first_few(panel[is_one].tolist(), 10)} for name, is_one in found.items()}


def _computed(artifacts: Artifacts) -> str:
    """Tell the numbers that were multiplied; an empty text where the manifest does not say.

    On which device is not asked: the job that wrote the manifest may have run on another machine than those of the sums.
    """
    precision = ((artifacts.json("manifest.json") or {}).get("config") or {}).get("coexpression", {}).get("precision")
    return "" if precision is None else PRECISION_WORDS.get(precision, precision)


def _shards(artifacts: Artifacts) -> list[tuple[str, int]]:
    """Plates that were measured in several shards, and how many, as the benchmark files are named."""
    found: dict[str, int] = {}
    for path in artifacts.matching("benchmarks/coexpression_moments_shard/*.tsv"):
        name = re.fullmatch(r"(.+)_\d+of(\d+)", path.stem)
        if name is not None:
            found[name.group(1)] = int(name.group(2))
    return sorted(found.items(), key=lambda item: natural(item[0]))


def _lines(artifacts: Artifacts) -> list[dict[str, Any]]:
    """Matrices per cell line; empty where none were asked for."""
    if not (artifacts.folder / "coexpression_by_line").is_dir():
        return []
    table = artifacts.needed("coexpression_by_line/lines.parquet", ["cell_line", "name", "num_cells"])
    rows = [
        {
            "line": str(row.cell_line),
            "num_cells": int(row.num_cells),
            "file": f"coexpression_by_line/{row.name}.zarr" if isinstance(row.name, str) else "",
        }
        for row in table.itertuples(index=False)
    ]
    return sorted(rows, key=lambda row: natural(str(row["line"])))


def _partners(artifacts: Artifacts) -> dict[str, Any] | None:
    """Partners per gene, and the correlation of the first and the last."""
    partners = artifacts.table("partners.parquet", ["correlation", "rank"])
    if partners is None or not len(partners):
        return None
    best = partners.loc[partners["rank"] == 1, "correlation"].abs()
    last = partners.loc[partners["rank"] == partners["rank"].max(), "correlation"].abs()
    first, final = rounded([best.median(), last.median()])
    return {"num": int(partners["rank"].max()), "best": first, "last": final}
