"""The network: section 7 (hubs, the searchable table of edges, the neighbourhood of a gene)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from causcade.report.charts import family_style
from causcade.report.data import Artifacts, codes, known, rounded

__all__ = [
    "COLUMN_WORDS", "EDGE_COLUMNS", "best_first", "gene_codes", "hubs", "neighbourhoods", "not_measured", "score_choice", "sign_counts", "table",
    "targeted_by",
]  # fmt: skip

EDGE_COLUMNS = [
    "regulator", "target", "weight", "weight_no_prior", "effect", "score", "rank", "sign", "stability", "identifiability", "num_perturbations",
    "sources", "prior_confidence", "prior_sign", "coexpression",
]  # fmt: skip
COLUMN_WORDS = {
    "latent": "joint latent-activity estimator",
    "weight": "W of the causal module, curated prior in the fit",
    "weight_no_prior": "W of the causal module, no curated prior",
    "deconvolution": "target deconvolution",
    "mean_shift": "mean shift when the regulator is hit",
    "ridge": "ridge regression between perturbations",
    "partial_correlation": "partial correlation in control cells",
    "partial_within": "partial correlation of all cells within their condition",
    "aggregate": "mean rank of W without prior, deconvolution and ridge",
}
NEIGHBOURS = 8
MAX_NEIGHBOUR_EDGES = 30_000
MAX_PERTURBATIONS = 12
MAX_PAPERS = 6


def gene_codes(genes: dict[str, int], values: pd.Series) -> list[int]:
    """Gene names as numbers of the page's gene list; a name that is not in it is added."""
    return [genes.setdefault(str(value), len(genes)) for value in values]


def targeted_by(artifacts: Artifacts) -> dict[str, list[str]] | None:
    """Perturbations that hit each gene, as the run used them; None where no artifact says so."""
    direct = artifacts.table("cascades/direct.parquet", ["perturbation", "gene", "is_target"])
    if direct is not None:
        hits = direct.loc[direct["is_target"].astype(bool), ["gene", "perturbation"]]
    else:
        targets = artifacts.table("resources/drug_targets.parquet", ["perturbation", "target"])
        if targets is None:
            return None
        hits = targets.rename(columns={"target": "gene"})
    grouped = hits.drop_duplicates().sort_values(["gene", "perturbation"]).groupby("gene", sort=True)["perturbation"]
    return {str(gene): [str(name) for name in names] for gene, names in grouped}


def best_first(edges: pd.DataFrame) -> pd.DataFrame:
    """Sort by rank; edges without a score have none and follow, by |coexpression|."""
    keys = pd.DataFrame({"rank": edges["rank"].astype("Float64"), "weak": -edges["coexpression"].abs()}).join(edges[["regulator", "target"]])
    return edges.loc[keys.sort_values(list(keys.columns), kind="stable").index]


def table(artifacts: Artifacts, edges: pd.DataFrame, genes: dict[str, int], num_edges: int) -> dict[str, Any]:
    """List the best `num_edges` edges (see :func:`best_first`), by column, with the evidence of each.

    Parameters
    ----------
    artifacts
        The run.
    edges
        network/edges.parquet, every column.
    genes
        Gene list of the page (name to number); it grows.
    num_edges
        Rows to show.
    """
    best = best_first(edges).head(num_edges).reset_index(drop=True)
    hit_by = targeted_by(artifacts)
    shown = sorted(set(best["regulator"].astype(str))) if hit_by else []
    probability = best["probability"] if "probability" in best else pd.Series(np.nan, index=best.index)
    extra = [name for name in best.columns if name not in (*EDGE_COLUMNS, "probability", "source_measured")]
    papers = _papers(artifacts, best)
    return {
        "regulator": gene_codes(genes, best["regulator"]),
        "target": gene_codes(genes, best["target"]),
        **{name: rounded(best[name]) for name in ("weight", "weight_no_prior", "effect", "score", "stability", "prior_confidence", "coexpression")},
        **{name: rounded(best[name], 12) for name in ("rank", "sign", "prior_sign", "num_perturbations")},
        "probability": rounded(probability),
        "identifiability": codes(best["identifiability"]),
        "sources": codes(pd.Series(known(best["sources"]))),
        "extra": {name: rounded(best[name]) if pd.api.types.is_numeric_dtype(best[name]) else known(best[name]) for name in extra},
        "papers": papers,
        "hit_by": {gene: [hit_by[gene][:MAX_PERTURBATIONS], len(hit_by[gene])] for gene in shown if hit_by and gene in hit_by},
        "num_all": len(edges),
    }


def _papers(artifacts: Artifacts, best: pd.DataFrame) -> dict[str, list[str]]:
    """PubMed ids that the curated resources give for the shown edges, by row number."""
    prior = artifacts.table("resources/prior_edges.parquet", ["regulator", "target", "literature"])
    if prior is None:
        return {}
    joined = best[["regulator", "target"]].astype(str).reset_index().merge(prior.astype(str), on=["regulator", "target"])
    result = {}
    for row, text in zip(joined["index"], joined["literature"], strict=True):
        papers = sorted({paper for paper in text.split(";") if paper.isdigit()}, key=int)
        if papers:
            result[str(row)] = papers[:MAX_PAPERS]
    return result


def not_measured(edges: pd.DataFrame, genes: dict[str, int]) -> list[int]:
    """Regulators that are not measured, as numbers of the page's gene list, which grows; no edge leads to such a gene."""
    if "source_measured" not in edges:
        return []
    names = edges.loc[~edges["source_measured"].astype(bool), "regulator"]
    return sorted(set(gene_codes(genes, names.drop_duplicates())))


def score_choice(artifacts: Artifacts) -> dict[str, Any] | None:
    """Which evidence column ranks the network, why, and the numbers of all columns, best on held-out perturbations first."""
    found = artifacts.json("network/score_choice.json")
    if found is None:
        return None
    rows = [{"name": name, "words": COLUMN_WORDS.get(name, ""), "is_chosen": name == found["score"], **row} for name, row in found["columns"].items()]
    rows.sort(key=lambda row: (row["held_out"] is None, -(row["held_out"] or 0.0), row["name"]))
    return {"score": found["score"], "words": COLUMN_WORDS.get(found["score"], ""), "reason": found["reason"], "asked": found["asked"], "rows": rows}


def neighbourhoods(edges: pd.DataFrame, genes: dict[str, int]) -> dict[str, Any]:
    """For each gene its best outgoing and incoming edges, of those with a score: what the drawing of a neighbourhood needs.

    At most :data:`MAX_NEIGHBOUR_EDGES` edges are kept, best rank first, so that the page stays small at 14,142 genes.
    """
    ordered = best_first(edges[edges["rank"].notna()])
    keep = (ordered.groupby("regulator", sort=False).cumcount() < NEIGHBOURS) | (ordered.groupby("target", sort=False).cumcount() < NEIGHBOURS)
    kept = ordered[keep]
    is_cut = len(kept) > MAX_NEIGHBOUR_EDGES
    kept = kept.head(MAX_NEIGHBOUR_EDGES)
    return {
        "regulator": gene_codes(genes, kept["regulator"]),
        "target": gene_codes(genes, kept["target"]),
        "effect": rounded(kept["effect"], 3),
        "sign": rounded(kept["sign"]),
        "rank": rounded(kept["rank"], 12),
        "per_side": NEIGHBOURS,
        "is_cut": is_cut,
    }


def hubs(artifacts: Artifacts) -> dict[str, Any] | None:
    """Hubs of every ranking, out and in."""
    found = artifacts.table("evaluation/hubs.parquet", ["ranking", "kind", "position", "gene", "degree", "is_tf", "is_drug_target"])
    if found is None or not len(found):
        return None
    result: dict[str, Any] = {}
    for (ranking, kind), rows in found.groupby(["ranking", "kind"], sort=True, observed=True):
        rows = rows.sort_values("position")
        result.setdefault(str(ranking), {})[str(kind)] = {
            "gene": known(rows["gene"]),
            "degree": rounded(rows["degree"], 12),
            "is_tf": rows["is_tf"].astype(bool).astype(int).tolist(),
            "is_drug_target": rows["is_drug_target"].astype(bool).astype(int).tolist(),
        }
    order = sorted(result, key=lambda name: (name != "causal", name == "mask", family_style(name)["is_null"], name))
    tests = artifacts.table("evaluation/hub_tests.parquet", ["ranking", "test", "num_hubs", "hits", "expected", "p_value"])
    rows = [] if tests is None else tests.to_dict("records")
    rows.sort(key=lambda row: (str(row["test"]), order.index(row["ranking"]) if row["ranking"] in order else len(order)))
    tested = [
        {**row, "tag": "null" if family_style(str(row["ranking"]))["is_null"] else "no fit" if row["ranking"] == "mask" else ""} for row in rows
    ]
    return {"rankings": {name: result[name] for name in order}, "order": order, "tests": tested}


def sign_counts(edges: pd.DataFrame) -> dict[str, float]:
    """Count edges whose curated sign is known: how many in all, how many the fit gives the same sign, and how many it would by chance.

    Chance keeps both shares of activation: two mostly positive sets of signs agree often without any relation.
    """
    signed = edges[(edges["prior_sign"] != 0) & (edges["sign"] != 0)]
    prior, learned = signed["prior_sign"].to_numpy() > 0, signed["sign"].to_numpy() > 0
    chance = float(np.sum(prior) * np.sum(learned) + np.sum(~prior) * np.sum(~learned)) / max(1, len(signed))
    return {"num": len(signed), "agree": int(np.sum(prior == learned)), "chance": chance}
