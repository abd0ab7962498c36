"""What the numbers mean, in plain sentences: headline, verdicts and numbers of `summary.json`.

The verdicts themselves are in :mod:`causcade.evaluation.verdicts`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from causcade.evaluation.comparison import CONSTANT_NOTE, Comparison
from causcade.evaluation.edges import Reference
from causcade.evaluation.leak import ANY_PRIOR
from causcade.evaluation.verdicts import (
    METRIC_WORDS,
    NOT_A_RESULT,
    OPPONENTS,
    held_out_baseline_verdict,
    held_out_verdict,
    hub_verdict,
    lost_metrics,
    num_draws,
    ranking_verdict,
)

__all__ = ["build_summary"]

LEAD_METRICS = ("auprc", "same_source_auroc", "degree_matched_auprc", "auroc", "lift", "better_direction_auprc")


def _held_out_numbers(held_out: pd.DataFrame) -> dict[str, Any]:
    """Average the correlations over perturbations, by predictor, overall and for each fit."""
    found: dict[str, Any] = {}
    for predictor, part in held_out.groupby("predictor", sort=True):
        fits = {str(fit): _mean_correlations(one) for fit, one in part.groupby("fit", sort=True)}
        found[str(predictor)] = {**_mean_correlations(part), "fits": fits}
    return found


def _mean_correlations(part: pd.DataFrame) -> dict[str, Any]:
    found: dict[str, Any] = {"num_perturbations": len(part)}
    for column in ("pearson", "pearson_centred"):
        defined = part[column].dropna()
        found[column] = float(defined.mean()) if len(defined) else None
        found[f"num_{column}"] = len(defined)
    return found


def _row_numbers(table: pd.DataFrame, columns: Sequence[str]) -> dict[str, Any] | None:
    """Numbers of the only row; None where there is no row."""
    if not len(table):
        return None
    return {column: None if pd.isna(table[column].iloc[0]) else float(table[column].iloc[0]) for column in columns}


def _reference_numbers(
    comparison: Comparison, reference: Reference, names: Sequence[str], *, leak: pd.DataFrame, drug_bootstrap: pd.DataFrame
) -> dict[str, Any]:
    """Collect the counts of a reference and the leading numbers of each ranking on its edges without a curated source."""
    table = comparison.metrics
    rows = table[(table["reference"] == reference.name) & (table["subset"] == "no_prior") & table["metric"].isin(LEAD_METRICS)]
    rankings: dict[str, dict[str, Any]] = {name: {} for name in names}
    for row in rows.itertuples(index=False):
        limits = None if pd.isna(row.low) else [float(row.low), float(row.high)]
        rankings[row.ranking][row.metric] = {"value": None if pd.isna(row.value) else float(row.value), "interval": limits, "note": row.note}
    known = leak[(leak["reference"] == reference.name) & (leak["prior"] == ANY_PRIOR)]
    varied = drug_bootstrap[(drug_bootstrap["reference"] == reference.name) & (drug_bootstrap["subset"] == "no_prior")].set_index("metric")
    spread = {metric: _row_numbers(varied.loc[[metric]], ("sd", "low", "high", "num_fits")) for metric in LEAD_METRICS if metric in varied.index}
    return {
        "is_directed": reference.is_directed,
        "num_pairs": reference.num_pairs,
        "num_pairs_in_candidates": reference.num_pairs_in_candidates,
        "num_edges": int(reference.is_eligible_E.sum()),
        "num_positive": int(reference.is_positive_E.sum()),
        "num_genes_in_panel": reference.num_genes_in_panel,
        "known_to_priors": _row_numbers(known, ("share_of_reference", "share_of_positives", "enrichment")),
        "causal_over_perturbations": spread,
        "no_prior": rankings,
    }


def _null_words(verdict: dict[str, Any]) -> str:
    """Tell whether the edge null reaches the causal ranking, and in which metric where it does so in one alone."""
    if verdict["answer"] == "not testable":
        return "No edge null stands beside it, so this is not yet a result."
    lost = lost_metrics(verdict["numbers"])
    draws = num_draws(verdict["numbers"])
    if not lost:
        return f"The edge null ({draws}) does not reach this."
    if len(lost) == len(verdict["numbers"]):
        return f"The edge null ({draws}) reaches this as well. {NOT_A_RESULT}"
    won = [METRIC_WORDS[metric] for metric in verdict["numbers"] if metric not in lost]
    found = verdict["numbers"][lost[0]]
    return (
        f"It is above its edge null ({draws}) in {won[0]} but not clearly in {METRIC_WORDS[lost[0]]} "
        f"({found['causal']:.3f} against {found['other']:.3f}). {NOT_A_RESULT}"
    )


def _headline(verdicts: Sequence[dict[str, Any]], numbers: dict[str, Any]) -> dict[str, Any]:
    """Tell the leading numbers on the truth, or else on the first reference that can judge the edges without a curated source."""
    leading = {name: one["no_prior"]["causal"]["auprc"] for name, one in numbers.items()}
    judged = [name for name, auprc in leading.items() if auprc["value"] is not None]
    if not judged:
        sentence, is_result = "No reference can judge the causal ranking on candidate edges without a curated source.", None
        if any(auprc["note"] == CONSTANT_NOTE for auprc in leading.values()):
            sentence, is_result = "The causal ranking gives every candidate edge the same score, so it says nothing about the network.", False
        return {"reference": None, "subset": "no_prior", "is_result": is_result, "causal": None, "sentence": sentence}
    name = judged[0]
    verdict = next(one for one in verdicts if one["key"] == "edge_null" and one["reference"] == name)
    causal = numbers[name]["no_prior"]["causal"]
    same_source = causal["same_source_auroc"]["value"]
    same_source_words = "not defined" if same_source is None else f"{same_source:.3f}"
    sentence = (
        f"On {name}, among candidate edges without a curated source, the causal ranking has AUPRC {causal['auprc']['value']:.3f} "
        f"({causal['lift']['value']:.1f} times the prevalence) and same-source AUROC {same_source_words}. {_null_words(verdict)}"
    )
    is_result = {"yes": True, "no": False}.get(verdict["answer"])
    return {"reference": name, "subset": "no_prior", "is_result": is_result, "causal": causal, "sentence": sentence}


def build_summary(
    comparison: Comparison,
    references: Sequence[Reference],
    names: Sequence[str],
    *,
    held_out: pd.DataFrame,
    hub_tests: pd.DataFrame,
    leak: pd.DataFrame,
    drug_bootstrap: pd.DataFrame,
) -> dict[str, Any]:
    """Build headline, verdicts and the numbers behind them, ready for JSON (missing values are None).

    Parameters
    ----------
    comparison
        From :func:`causcade.evaluation.comparison.compare_rankings`.
    references
        In the order in which they may lead: the truth first.
    names
        Names of the rankings.
    held_out
        From :func:`causcade.evaluation.held_out.held_out_table`.
    hub_tests
        From :func:`causcade.evaluation.hubs.hub_tables`.
    leak
        From :func:`causcade.evaluation.leak.leak_table`.
    drug_bootstrap
        From :func:`causcade.evaluation.gains.drug_bootstrap_table`.

    Returns
    -------
    dict
        headline (reference, is_result, causal, sentence), verdicts (key, reference, question, answer, sentence, numbers), references (counts, what
        the priors know of it, how much the causal scores vary over perturbations, and by ranking, nulls included, the leading metrics on no_prior),
        held_out (mean correlations by predictor and fit).
    """
    verdicts = [ranking_verdict(comparison, reference.name, opponent, names) for reference in references for opponent in OPPONENTS]
    verdicts += [held_out_verdict(held_out), held_out_baseline_verdict(held_out)]
    verdicts += [hub_verdict(hub_tests, "tf_out"), hub_verdict(hub_tests, "target_in")]
    numbers = {reference.name: _reference_numbers(comparison, reference, names, leak=leak, drug_bootstrap=drug_bootstrap) for reference in references}
    return {"headline": _headline(verdicts, numbers), "verdicts": verdicts, "references": numbers, "held_out": _held_out_numbers(held_out)}
