"""How far to believe the network: section 8 (references, truth, nulls, leak audit, held-out predictions)."""

from __future__ import annotations

from typing import Any

import pandas as pd

from causcade.report.charts import family_style
from causcade.report.data import Artifacts, known, rounded

__all__ = ["METRIC_WORDS", "RANKING_WORDS", "REFERENCE_WORDS", "evaluation", "held_out", "leak", "not_hit"]

REFERENCE_WORDS = {
    "truth": "planted truth of the simulation",
    "string": "STRING physical links",
    "complexportal": "Complex Portal",
    "humap": "hu.MAP 2.0",
    "humap3": "hu.MAP 3.0",
    "reactome": "Reactome",
}
SUBSET_WORDS = {
    "no_prior": "edges that no curated source lists",
    "no_prior_source_hit": "of these, the regulator is hit by a perturbation",
    "no_prior_source_not_hit": "of these, the regulator is hit by none",
    "all": "all candidate edges (curated ones too)",
}
METRIC_WORDS = {
    "auprc": "AUPRC",
    "same_source_auroc": "Same-source AUROC",
    "degree_matched_auprc": "Degree-matched AUPRC",
    "degree_matched_auroc": "Degree-matched AUROC",
    "auroc": "AUROC",
    "better_direction_auprc": "Better-direction AUPRC",
    "better_direction_auroc": "Better-direction AUROC",
    "lift": "Lift",
    "early_precision": "Early precision",
    "early_precision_ratio": "Early precision ratio",
    "top_precision": "Precision of the top",
    "same_target_auroc": "Same-target AUROC",
    "direction_accuracy": "Direction",
    "sign_accuracy": "Sign",
}
RANKING_WORDS = {
    "causal": "the network: the evidence that ranks its edges, no curated prior",
    "causal_prior": "W of the causal module, curated prior in the fit",
    "latent": "joint latent-activity estimator",
    "weight_no_prior": "W of the causal module, no curated prior",
    "deconvolution": "target deconvolution",
    "mean_shift": "mean shift when the regulator is hit",
    "aggregate": "mean rank of W, deconvolution and ridge",
    "partial_correlation": "partial correlation in control cells",
    "partial_within": "partial correlation within conditions",
    "coexpression": "|residual correlation|",
    "raw_coexpression": "|raw correlation|",
    "partner_rank": "rank among coexpression partners",
    "prior": "curated confidence alone, no data",
    "mask": "popular genes: number of candidate edges of both, no data",
    "ridge": "ridge regression between perturbations, no labels",
    "listed_target": "regulator is a listed target, no data",
    "edge_null": "responses permuted gene by gene",
    "label_null": "perturbation labels permuted",
}
PREDICTOR_WORDS = {
    "causal": "network alone",
    "causal_plus_training_mean": "network + training mean",
    "training_mean": "mean of the training perturbations",
    "same_target_mean": "mean of perturbations that share a target",
    "target_ridge": "ridge regression on the targets",
    "other_lines": "same perturbation in other lines",
    "zero": "no response at all",
}
NOT_HIT_METRICS = ["auroc", "auprc"]
RANKING_ORDER = list(RANKING_WORDS)


def _style(name: str) -> dict[str, Any]:
    style = family_style(name)
    family = style["family"]
    order = RANKING_ORDER.index(family) if family in RANKING_ORDER else RANKING_ORDER.index("listed_target")
    return {**style, "words": RANKING_WORDS.get(family, ""), "order": order}


def _ordered(found: set[str], order: list[str]) -> list[str]:
    return sorted(found, key=lambda name: (order.index(name) if name in order else len(order), name))


def evaluation(artifacts: Artifacts, data: dict[str, Any]) -> dict[str, Any] | None:
    """Every score, its interval and its curves, for the browser to select from."""
    columns = ["reference", "ranking", "subset", "metric", "value", "low", "high", "num_positive", "num_edges", "prevalence"]
    metrics = artifacts.table("evaluation/metrics.parquet", columns, every=True)
    if metrics is None or not len(metrics):
        return None
    metrics["note"] = known(metrics["note"]) if "note" in metrics else ""
    metrics = metrics.astype(dict.fromkeys(("reference", "ranking", "subset", "metric"), str))
    rankings = sorted(set(metrics["ranking"]), key=lambda name: (_style(name)["order"], name))
    references = _ordered(set(metrics["reference"]), list(REFERENCE_WORDS))
    subsets = _ordered(set(metrics["subset"]), list(SUBSET_WORDS))
    data["evaluation"] = {
        "references": [[name, REFERENCE_WORDS.get(name, name)] for name in references],
        "subsets": [[name, SUBSET_WORDS.get(name, name)] for name in subsets],
        "rankings": {name: _style(name) for name in rankings},
        "order": rankings,
        "metrics": [[name, METRIC_WORDS.get(name, name)] for name in _ordered(set(metrics["metric"]), list(METRIC_WORDS))],
        "scores": _scores(metrics),
        "curves": _curves(artifacts),
        "gains": _gains(artifacts),
        "drugs": _drugs(artifacts),
    }
    return {"references": references, "absent": [name for name in REFERENCE_WORDS if name not in references], "num_rankings": len(rankings)}


def _scores(metrics: pd.DataFrame) -> dict[str, Any]:
    """Scores as reference -> subset -> {size, ranking -> metric -> [value, low, high]}."""
    result: dict[str, Any] = {}
    for (reference, subset), part in metrics.groupby(["reference", "subset"], sort=True):
        entry: dict[str, Any] = {"rankings": {}}
        # Metrics of direction and sign count fewer edges; the size that is shown is that of the whole subset.
        whole = part[part["metric"] == "auroc"]
        first = (whole if len(whole) else part).iloc[0]
        entry["num_positive"], entry["num_edges"], entry["prevalence"] = rounded([first["num_positive"], first["num_edges"], first["prevalence"]], 6)
        if "base_rate" in part:
            base = part.drop_duplicates("metric")
            entry["base_rate"] = dict(zip(base["metric"], rounded(base["base_rate"]), strict=True))
        for row in part.itertuples(index=False):
            note = [row.note] if row.note else []
            entry["rankings"].setdefault(row.ranking, {})[row.metric] = [*rounded([row.value, row.low, row.high]), *note]
        result.setdefault(reference, {})[subset] = entry
    return result


def _curves(artifacts: Artifacts) -> dict[str, Any]:
    """Curves as reference -> subset -> roc|pr -> ranking -> [x, y]."""
    found = artifacts.table("evaluation/curves.parquet", ["reference", "ranking", "subset", "curve", "x", "y"])
    result: dict[str, Any] = {}
    if found is None:
        return result
    for (reference, subset, curve, ranking), part in found.groupby(["reference", "subset", "curve", "ranking"], sort=True, observed=True):
        kinds = result.setdefault(str(reference), {}).setdefault(str(subset), {})
        kinds.setdefault(str(curve), {})[str(ranking)] = [rounded(part["x"], 3), rounded(part["y"], 3)]
    return result


def _gains(artifacts: Artifacts) -> list[dict[str, Any]]:
    numbers = ["value", "edge_null_mean", "edge_null_max", "label_null_mean", "label_null_max", "gain_over_edge_null", "gain_over_label_null"]
    found = artifacts.table("evaluation/gains.parquet", ["reference", "subset", "metric", *numbers], every=True)
    if found is None:
        return []
    numbers += [name for name in found.columns if name.endswith(("_null_low", "_null_high"))]
    shown = {name: known(found[name]) for name in ("reference", "subset", "metric")}
    values = {name: rounded(found[name]) for name in numbers}
    return [{**{name: shown[name][row] for name in shown}, **{name: values[name][row] for name in numbers}} for row in range(len(found))]


def _drugs(artifacts: Artifacts) -> list[dict[str, Any]]:
    """How much the network's scores vary over resampled perturbations; rows without a spread are left out."""
    numbers = ["value", "num_fits", "sd", "low", "high"]
    found = artifacts.table("evaluation/drug_bootstrap.parquet", ["reference", "subset", "metric", *numbers])
    if found is None:
        return []
    found = found[found["sd"].notna()]
    values = {name: rounded(found[name]) for name in numbers}
    keys = found[["reference", "subset", "metric"]].astype(str).to_dict("records")
    return [{**key, **{name: values[name][row] for name in numbers}} for row, key in enumerate(keys)]


def leak(artifacts: Artifacts) -> list[dict[str, Any]] | None:
    """How much the curated priors already know of each reference: one row per reference and prior; None without references."""
    numbers = ["num_reference_pairs", "num_prior_pairs", "num_common_pairs", "share_of_reference", "expected", "enrichment",
               "share_of_positives", "num_reference_literature", "num_common_literature", "num_pairs_of_common_literature"]  # fmt: skip
    found = artifacts.table("evaluation/leak.parquet", ["reference", "prior", *numbers, "note"])
    if found is None or not len(found):
        return None
    order = _ordered(set(found["reference"].astype(str)), list(REFERENCE_WORDS))
    rows = []
    for name in order:
        part = found[found["reference"] == name]
        values, notes = {column: rounded(part[column]) for column in numbers}, known(part["note"])
        for row, prior in enumerate(part["prior"].astype(str)):
            words = "all priors together" if prior == "any" else prior
            counts = {column: values[column][row] for column in numbers}
            rows.append({"reference": REFERENCE_WORDS.get(name, name), "prior": words, **counts, "no_literature": notes[row]})
    return rows


def not_hit(artifacts: Artifacts) -> dict[str, Any] | None:
    """How the edges fare whose regulator no perturbation hits: causal ranking, coexpression and the best null, on each reference.

    The first reference that can judge them leads. The causal ranking counts as better only if it is so in AUROC and in AUPRC. None where nothing can
    judge them.
    """
    metrics = artifacts.table("evaluation/metrics.parquet", ["reference", "ranking", "subset", "metric", "value"])
    if metrics is None:
        return None
    part = metrics[(metrics["subset"] == "no_prior_source_not_hit") & metrics["metric"].isin(NOT_HIT_METRICS) & metrics["value"].notna()]
    part = part.astype({"reference": str, "ranking": str, "metric": str, "value": float})
    rows = []
    for reference in _ordered(set(part["reference"]), list(REFERENCE_WORDS)):
        values = part[part["reference"] == reference].pivot(index="ranking", columns="metric", values="value").reindex(columns=NOT_HIT_METRICS)
        if {"causal", "coexpression"} <= set(values.dropna().index):
            nulls = values[[bool(family_style(name)["is_null"]) for name in values.index]]
            causal, coexpression, null = values.loc["causal"], values.loc["coexpression"], nulls.max()
            better = [METRIC_WORDS[name] for name in NOT_HIT_METRICS if causal[name] > coexpression[name]]
            above = bool((causal > null).all()) if null.notna().all() else None
            numbers = [[METRIC_WORDS[name], causal[name], coexpression[name], null[name]] for name in NOT_HIT_METRICS]
            rows.append({"reference": REFERENCE_WORDS.get(reference, reference), "better": better, "above_nulls": above, "numbers": numbers,
                         "is_better": len(better) == len(NOT_HIT_METRICS)})  # fmt: skip
    return {"lead": rows[0], "others": rows[1:]} if rows else None


def held_out(artifacts: Artifacts, figures: dict[str, Any]) -> list[dict[str, Any]] | None:
    """Prediction of responses that the fit never saw: median and quartiles over perturbations, per kind of fit and predictor."""
    found = artifacts.table("evaluation/held_out.parquet", ["fit", "perturbation", "predictor", "pearson", "pearson_centred", "num_genes"])
    if found is None or not len(found):
        return None
    found = found.assign(family=["cell line" if str(fit).startswith("line_") else "perturbations" for fit in found["fit"]])
    rows = []
    for (family, predictor), part in found.groupby(["family", "predictor"], sort=True, observed=True):
        if part[["pearson", "pearson_centred"]].isna().all(axis=None):
            continue
        row: dict[str, Any] = {"family": str(family), "predictor": str(predictor), "num": int(part["pearson"].notna().sum())}
        for name in ("pearson", "pearson_centred"):
            row[name] = rounded(part[name].quantile([0.5, 0.25, 0.75])) if part[name].notna().any() else [None, None, None]
        rows.append(row)
    order = list(PREDICTOR_WORDS)
    rows.sort(key=lambda row: (row["family"], order.index(row["predictor"]) if row["predictor"] in order else len(order)))
    for row in rows:
        row["is_network"] = row["predictor"].startswith("causal")
        row["predictor"] = PREDICTOR_WORDS.get(row["predictor"], row["predictor"].replace("_", " "))
    is_alone = found["family"].nunique() == 1
    items = [
        {
            "name": row["predictor"] if is_alone else f"{row['predictor']} ({row['family']})",
            **dict(zip(("value", "low", "high"), row["pearson"], strict=True)),
            "colour": 1 if row["is_network"] else 0,
        }
        for row in rows
    ]
    figures["held-out"] = {
        "kind": "forest",
        "title": "Prediction of unseen responses",
        "x": "Pearson r over genes",
        "items": items,
        "marks": [{"x": 0, "label": "no relation"}],
    }
    return rows
