"""Which column ranks the network: decided by held-out perturbations and by bootstrap stability, never by a reference.

1. Held-out perturbations (:mod:`causcade.evidence.held_out`), those of folds and those that bootstraps did not draw: mean Pearson correlation of each
   column over perturbations and sizes of network.
2. Columns whose mean is within one standard error of the best, by differences on the same perturbations and fits, count as equal.
   Where the mean of the best is within two standard errors of 0, no column predicts anything, and all count as equal.
3. Of these, those count whose best edges are at least half as stable as those of the most stable: share of the best edges that are among the best of
   a bootstrap with the same sign, mean over bootstraps and sizes. Stability is asked for and not maximised: a simple statistic changes little with
   the perturbations whether it is right or wrong.
4. The first of latent, aggregate, weight_no_prior, deconvolution, mean_shift, ridge that is left.

`weight` (curated edges enter its penalty) and the partial correlations (no perturbation enters, so neither test is one) are shown and not eligible;
nor, where no perturbation has a listed target, are `ridge` and `aggregate`: an association has no direction, and no network is claimed from it.

Axes: C candidate edges.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from causcade.errors import InputError
from causcade.evidence.fits import COLUMNS
from causcade.evidence.held_out import best_edges, network_sizes

__all__ = ["ELIGIBLE", "choose_score", "overlap_of_best"]

ELIGIBLE = ("latent", "aggregate", "weight_no_prior", "deconvolution", "mean_shift", "ridge")  # first choice first
FROM_TARGETS = ("deconvolution", "mean_shift")
NEEDS_TARGETS = ("aggregate", "ridge")
LEAST_STABILITY = 0.5  # of that of the most stable column
NOT_ELIGIBLE = {
    "weight": "curated edges enter its penalty",
    "partial_correlation": "no perturbation enters it",
    "partial_within": "no perturbation enters it",
}

Float64 = npt.NDArray[np.float64]


def overlap_of_best(value_C: Float64, other_C: Float64, num: int) -> float:
    """Share of the `num` best edges that are among the `num` best of another fit, with the same sign."""
    best, other = best_edges(value_C, num), best_edges(other_C, num)
    common = np.intersect1d(best, other, assume_unique=True)
    return float((np.sign(value_C[common]) == np.sign(other_C[common])).sum() / max(num, 1))


def choose_score(asked: str, main: pd.DataFrame, boots: Sequence[pd.DataFrame], held_out: pd.DataFrame, *, num_genes: int) -> dict[str, Any]:
    """Choose the column that ranks the network.

    Parameters
    ----------
    asked
        `network.score`: a column, or auto.
    main
        `evidence/main.parquet`.
    boots
        Those of the bootstraps.
    held_out
        Tables of held-out predictions of all folds and bootstraps together: fit, column, num_edges, perturbation, pearson.
    num_genes
        Genes of the panel.

    Returns
    -------
    dict
        score, asked, reason (a sentence) and columns: by name, is_eligible, why_not, held_out (mean Pearson), behind_best (difference to the best
        eligible column), standard_error (of that), num_perturbations, stability; None where it is not known.

    Raises
    ------
    InputError
        If the column that is asked for is not there.
    """
    present = [name for name in COLUMNS if name in main.columns]
    if asked != "auto" and asked not in present:
        raise InputError(f"network.score: expected auto or one of {', '.join(present)}, found {asked}. Write `network: {{score: auto}}`.")
    is_hit = any((main[name] != 0).any() for name in FROM_TARGETS if name in present)
    eligible = [name for name in ELIGIBLE if name in present and (main[name] != 0).any() and (is_hit or name not in NEEDS_TARGETS)]
    predicted = _predicted(held_out)
    means = {name: float(predicted[name].mean()) for name in present if name in predicted}
    best = max((name for name in eligible if name in means), key=lambda name: means[name], default=None)
    # Where each source is hit by one perturbation, those that are held out hit sources of which the others say nothing.
    is_blind = best is not None and not _predicts(predicted[best])
    best = None if is_blind else best
    found: dict[str, dict[str, Any]] = {}
    for name in present:
        row = {"is_eligible": name in eligible, "why_not": "" if name in eligible else _why_not(main, name)}
        found[name] = row | _against(predicted, name, best) | {"stability": _stability(name, main, boots, num_genes)}
    score, reason = (asked, "the configuration asks for it") if asked != "auto" else _decide(eligible, found, best, is_blind=is_blind)
    return {"asked": asked, "score": score, "reason": f"{score}: {reason}.", "columns": found}


def _why_not(main: pd.DataFrame, name: str) -> str:
    if name in NOT_ELIGIBLE:
        return NOT_ELIGIBLE[name]
    return "no perturbation has a listed target" if name in NEEDS_TARGETS and (main[name] != 0).any() else "it says nothing of any edge"


def _predicted(held_out: pd.DataFrame) -> pd.DataFrame:
    """Mean Pearson over sizes, [(fit, perturbation), columns]; the W of folds stands for `weight_no_prior` as well."""
    if held_out.empty:
        return pd.DataFrame()
    table = held_out.groupby(["fit", "perturbation", "column"])["pearson"].mean().unstack("column")
    if "weight" in table:
        table["weight_no_prior"] = table["weight"].fillna(table.get("weight_no_prior", np.nan))
    return table


def _against(predicted: pd.DataFrame, name: str, best: str | None) -> dict[str, Any]:
    if name not in predicted or best is None:
        return {"held_out": None, "behind_best": None, "standard_error": None, "num_perturbations": 0}
    # The same perturbation in several fits counts once.
    difference = (predicted[best] - predicted[name]).dropna().groupby("perturbation").mean().to_numpy(np.float64)
    error = float(difference.std(ddof=1) / np.sqrt(len(difference))) if len(difference) > 1 else None
    return {
        "held_out": float(predicted[name].mean()), "behind_best": float(difference.mean()), "standard_error": error,
        "num_perturbations": len(difference),
    }  # fmt: skip


def _stability(name: str, main: pd.DataFrame, boots: Sequence[pd.DataFrame], num_genes: int) -> float | None:
    values = [boot[name].to_numpy(np.float64) for boot in boots if name in boot.columns]
    if not values:
        return None
    own_C, sizes = main[name].to_numpy(np.float64), network_sizes(num_genes, len(main))
    return float(np.mean([overlap_of_best(own_C, value_C, num) for value_C in values for num in sizes]))


def _predicts(pearson: pd.Series) -> bool:
    """Whether the mean over perturbations is more than two of its standard errors above 0; also with one perturbation, whose error is not known."""
    mean_H = pearson.dropna().groupby("perturbation").mean().to_numpy(np.float64)
    return len(mean_H) < 2 or bool(mean_H.mean() > 2 * mean_H.std(ddof=1) / np.sqrt(len(mean_H)))


def _decide(eligible: Sequence[str], found: Mapping[str, Mapping[str, Any]], best: str | None, *, is_blind: bool) -> tuple[str, str]:
    if not eligible:
        return "weight_no_prior" if "weight_no_prior" in found else next(iter(found)), "no column says anything of any edge"
    tied = [name for name in eligible if best is None or _is_tied(found[name], best == name)]
    known = {name: found[name]["stability"] for name in tied if found[name]["stability"] is not None}
    stable = [name for name in tied if name in known and known[name] >= LEAST_STABILITY * max(known.values())] if known else tied
    score = stable[0]
    if is_blind:
        words = "no column predicts held-out perturbations"
    elif best is None:
        words = "no perturbation was held out"
    elif len(tied) == 1:
        words = f"it predicts held-out perturbations best (mean Pearson {found[score]['held_out']:.3f})"
    else:
        words = (
            f"it is among the columns that predict held-out perturbations equally well ({', '.join(tied)}; mean Pearson "
            f"{found[score]['held_out']:.3f}, the best has {found[best]['held_out']:.3f})"
        )
    if len(tied) > 1 and known:
        words += f", and of these the first that is stable enough over bootstraps ({known[score]:.2f}, the most stable has {max(known.values()):.2f})"
    elif len(tied) > 1:
        words += ", and the first of these"
    return score, words


def _is_tied(row: Mapping[str, Any], is_best: bool) -> bool:  # noqa: FBT001
    if is_best:
        return True
    return row["behind_best"] is not None and row["standard_error"] is not None and row["behind_best"] <= row["standard_error"]
