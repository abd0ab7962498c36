"""Verdicts: one question, an answer ("yes", "no", "not testable"), a sentence that says it plainly, and its numbers.

A ranking is compared on the edges that no curated source lists. The answer is "yes" only if the lower end of the 95 % interval of the difference is
above 0 for both AUROC and AUPRC; differences are taken resampling by resampling, on the same resampled targets (without resamplings, the difference
itself has to be above 0, and the sentence says that there is no interval). Among several draws of a null, the best one of each metric counts, and the
sentence says out of how many: the interval covers the resampling of genes, not the spread between draws. A score that the edge null reaches as well
is declared not a result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from causcade.evaluation.comparison import Comparison
from causcade.evaluation.rankings import is_null
from causcade.evaluation.resampling import interval

__all__ = [
    "METRIC_WORDS", "NOT_A_RESULT", "OPPONENTS", "Opponent", "held_out_baseline_verdict", "held_out_verdict", "hub_verdict", "lost_metrics",
    "num_draws", "ranking_verdict",
]  # fmt: skip

NOT_A_RESULT = "A score that its edge null also reaches is not a result."
METRIC_WORDS = {"auroc": "AUROC", "auprc": "AUPRC"}
PREDICTOR_WORDS = {"same_target_mean": "the mean of perturbations that share a target", "target_ridge": "ridge regression on the targets"}
MIN_PAIRS = 2
HUB_WORDS = {
    "tf_out": "transcription factors among the genes with most outgoing edges",
    "target_in": "drug targets among the genes with most incoming edges",
}
MAX_P_VALUE = 0.05
NORMAL_95 = 1.96  # standard errors of a two-sided 95 % interval


@dataclass(frozen=True, slots=True)
class Opponent:
    """Whom the causal ranking has to beat: the name of a ranking, or a kind of null (edge_null, label_null)."""

    key: str
    words: str

    def members(self, names: Sequence[str]) -> list[str]:
        """Names of the rankings that this opponent stands for."""
        return [name for name in names if name == self.key or (is_null(name) and is_null(name, self.key.removesuffix("_null")))]


OPPONENTS = (
    Opponent("edge_null", "its edge null (responses permuted gene by gene)"),
    Opponent("label_null", "its label null (targets permuted among perturbations)"),
    Opponent("coexpression", "coexpression"),
    Opponent("mean_shift", "the mean shift of the target"),
    Opponent("ridge", "ridge regression between perturbations"),
    Opponent("listed_target", "the list of targeted genes alone"),
)


def _difference(comparison: Comparison, reference: str, rivals: Sequence[str], metric: str) -> dict[str, Any] | None:
    """Causal minus its best rival on no_prior, with the interval of the difference; None if either is not defined."""
    value = {name: comparison.value.get((reference, name, "no_prior", metric)) for name in ("causal", *rivals)}
    defined = {name: number for name, number in value.items() if number is not None}
    causal = defined.pop("causal", None)
    if causal is None or not defined:
        return None
    best = max(defined, key=lambda name: defined[name])
    draws = [comparison.draws.get((reference, name, "no_prior", metric)) for name in ("causal", best)]
    limits = None if draws[0] is None or draws[1] is None else interval(draws[0] - draws[1])
    low, high = limits or (None, None)
    found = {"causal": causal, "opponent": best, "other": defined[best], "difference": causal - defined[best], "low": low, "high": high}
    return found | {"num_draws": len(defined)} if is_null(best) else found


def _is_beaten(found: dict[str, Any]) -> bool:
    return bool((found["difference"] if found["low"] is None else found["low"]) > 0)


def lost_metrics(numbers: dict[str, Any]) -> list[str]:
    """Metrics in which the causal ranking does not beat its opponent, from the `numbers` of a verdict."""
    return [metric for metric, found in numbers.items() if not _is_beaten(found)]


def num_draws(numbers: dict[str, Any]) -> str:
    """Words on how many draws of a null were compared, from the `numbers` of a verdict; empty for any other opponent."""
    num = max((found.get("num_draws", 0) for found in numbers.values()), default=0)
    return f"best of {num} draws" if num > 1 else "one draw" if num else ""


def _words(metric: str, found: dict[str, Any]) -> str:
    ending = "no interval" if found["low"] is None else f"95 % interval {found['low']:+.3f} to {found['high']:+.3f}"
    return f"{METRIC_WORDS[metric]} {found['causal']:.3f} against {found['other']:.3f} (difference {found['difference']:+.3f}, {ending})"


def ranking_verdict(comparison: Comparison, reference: str, opponent: Opponent, names: Sequence[str]) -> dict[str, Any]:
    """Judge the causal ranking against one opponent, on the edges of one reference without a curated source.

    Parameters
    ----------
    comparison
        From :func:`causcade.evaluation.comparison.compare_rankings`.
    reference
        Name of the reference.
    opponent
        One of `OPPONENTS`.
    names
        Names of all rankings.

    Returns
    -------
    dict
        key, reference, question, answer, sentence, numbers (by metric: causal, opponent, other, difference, low, high; for a null also
        num_draws).
    """
    verdict = {"key": opponent.key, "reference": reference, "question": f"Does the causal ranking beat {opponent.words} on {reference}?"}
    rivals = opponent.members(names)
    differences = {metric: _difference(comparison, reference, rivals, metric) for metric in METRIC_WORDS}
    numbers = {metric: found for metric, found in differences.items() if found is not None}
    if len(numbers) < len(METRIC_WORDS):
        why = "the edges without a curated source lack positives or negatives" if rivals else "no such ranking was given"
        sentence = f"On {reference}, whether the causal ranking beats {opponent.words} cannot be told: {why}."
        return verdict | {"answer": "not testable", "sentence": sentence, "numbers": {}}
    lost = [METRIC_WORDS[metric] for metric in lost_metrics(numbers)]
    words = ", ".join(filter(None, (opponent.words, num_draws(numbers))))
    sentence = (
        f"On {reference}, without curated edges, the causal ranking {'does not beat' if lost else 'beats'} {words}: "
        f"{'; '.join(_words(metric, found) for metric, found in numbers.items())}"
    )
    sentence += f"; it fails on {lost[0]}." if len(lost) == 1 else "."
    if lost and opponent.key == "edge_null":
        sentence += f" {NOT_A_RESULT}"
    return verdict | {"answer": "no" if lost else "yes", "sentence": sentence, "numbers": numbers}


def held_out_verdict(held_out: pd.DataFrame) -> dict[str, Any]:
    """Judge whether the causal prediction adds to the training mean, perturbation by perturbation (plain Pearson, paired, normal interval).

    Fits that hold out a cell line take no part: they have seen every perturbation in other lines.
    """
    question = "Does the causal prediction add to the mean training response on held-out perturbations?"
    verdict = {"key": "held_out", "reference": None, "question": question}
    unseen = held_out[~held_out["fit"].astype(str).str.startswith("line_")]
    table = unseen.pivot(index=["fit", "perturbation"], columns="predictor", values="pearson")
    table = table.reindex(columns=["causal_plus_training_mean", "training_mean"])
    pairs = table.dropna().to_numpy(dtype=np.float64)
    if len(pairs) < 2:
        sentence = "Whether the causal prediction adds to the mean training response cannot be told: fewer than two perturbations were held out."
        return verdict | {"answer": "not testable", "sentence": sentence, "numbers": {"num_perturbations": len(pairs)}}
    difference = pairs[:, 0] - pairs[:, 1]
    mean, error = float(difference.mean()), float(difference.std(ddof=1) / np.sqrt(len(pairs)))
    answer = "yes" if mean - NORMAL_95 * error > 0 else "no"
    with_causal, without = float(pairs[:, 0].mean()), float(pairs[:, 1].mean())
    better = int((difference > 0).sum())
    sentence = (
        f"On {len(pairs)} held-out perturbations, the causal prediction {'adds' if answer == 'yes' else 'does not add'} to the mean training "
        f"response: mean Pearson {with_causal:.3f} with it against {without:.3f} without (difference {mean:+.3f}, standard error {error:.3f}; "
        f"better on {better})."
    )
    numbers = {
        "causal_plus_training_mean": with_causal, "training_mean": without, "difference": mean, "standard_error": error,
        "num_perturbations": len(pairs), "num_better": better,
    }  # fmt: skip
    return verdict | {"answer": answer, "sentence": sentence, "numbers": numbers}


def held_out_baseline_verdict(held_out: pd.DataFrame) -> dict[str, Any]:
    """Judge whether the causal prediction beats the simple ones that know the same targets: paired, plain Pearson, normal interval, each in turn."""
    question = "Does the causal prediction beat simple predictions from the same targets on held-out perturbations?"
    verdict = {"key": "held_out_baselines", "reference": None, "question": question}
    unseen = held_out[~held_out["fit"].astype(str).str.startswith("line_")]
    table = unseen.pivot(index=["fit", "perturbation"], columns="predictor", values="pearson")
    table = table.reindex(columns=["causal_plus_training_mean", *PREDICTOR_WORDS])
    numbers: dict[str, Any] = {}
    for name in PREDICTOR_WORDS:
        pairs = table[["causal_plus_training_mean", name]].dropna().to_numpy(dtype=np.float64)
        if len(pairs) >= MIN_PAIRS:
            difference = pairs[:, 0] - pairs[:, 1]
            numbers[name] = {
                "causal_plus_training_mean": float(pairs[:, 0].mean()), "other": float(pairs[:, 1].mean()), "difference": float(difference.mean()),
                "standard_error": float(difference.std(ddof=1) / np.sqrt(len(pairs))), "num_perturbations": len(pairs),
            }  # fmt: skip
    if not numbers:
        sentence = "Whether the causal prediction beats simple predictions from the same targets cannot be told: fewer than two are comparable."
        return verdict | {"answer": "not testable", "sentence": sentence, "numbers": numbers}
    lost = [name for name, one in numbers.items() if one["difference"] - NORMAL_95 * one["standard_error"] <= 0]
    words = [
        f"{PREDICTOR_WORDS[name]}: mean Pearson {one['causal_plus_training_mean']:.3f} against {one['other']:.3f} on {one['num_perturbations']} "
        f"perturbations (standard error of the difference {one['standard_error']:.3f})"
        for name, one in numbers.items()
    ]
    sentence = f"The causal prediction {'does not beat' if lost else 'beats'} simple predictions from the same targets. Against {'; '.join(words)}."
    return verdict | {"answer": "no" if lost else "yes", "sentence": sentence, "numbers": numbers}


def hub_verdict(hub_tests: pd.DataFrame, test: str) -> dict[str, Any]:
    """Judge whether the causal hubs hold more marked genes than the mask and every null, and than chance (p < 0.05)."""
    rows = hub_tests[hub_tests["test"] == test].set_index("ranking")
    causal = rows.loc["causal"]
    rivals = {str(name): int(hits) for name, hits in rows["hits"].items() if name == "mask" or is_null(str(name))}
    best = max(rivals, key=lambda name: rivals[name])
    hits, num_hubs, p_value = int(causal["hits"]), int(causal["num_hubs"]), float(causal["p_value"])
    answer = "yes" if hits > rivals[best] and p_value < MAX_P_VALUE else "no"
    sentence = (
        f"Among {num_hubs} hubs there are {hits} {HUB_WORDS[test].split(' among ')[0]} (hypergeometric p {p_value:.2g}); the mask alone gives "
        f"{rivals['mask']}, the best of mask and nulls ({best}) {rivals[best]}. "
        f"This {'goes' if answer == 'yes' else 'does not go'} beyond what mask, nulls and chance give."
    )
    return {
        "key": test, "reference": None, "question": f"Are there more {HUB_WORDS[test]} than mask, nulls and chance give?", "answer": answer,
        "sentence": sentence, "numbers": {"hits": hits, "num_hubs": num_hubs, "p_value": p_value, "rivals": rivals},
    }  # fmt: skip
