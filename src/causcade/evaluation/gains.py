"""The causal ranking beside its nulls, and how much its scores vary with the perturbations that were screened.

Legend of axes: B resamplings of target genes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from causcade.evaluation.comparison import Comparison
from causcade.evaluation.edges import FloatArray
from causcade.evaluation.rankings import is_drug_bootstrap, is_null, null_of
from causcade.evaluation.resampling import interval

__all__ = ["drug_bootstrap_table", "evidence_gains_table", "gains_table"]

KINDS = ("edge", "label")
MIN_BOOTSTRAPS = 2
LEVEL = 0.975
UNBOUNDED = ("lift", "early_precision_ratio")  # all other metrics end at 1


def _mean_draws(comparison: Comparison, keys: Sequence[tuple[str, str, str, str]]) -> FloatArray | None:
    """Mean [B] over rankings of their resampled values; None where one has none."""
    found = [comparison.draws.get(key) for key in keys]
    known = [draw_B for draw_B in found if draw_B is not None]
    return np.mean(known, axis=0) if known and len(known) == len(found) else None


def _gain(comparison: Comparison, key: tuple[str, str, str], names: Sequence[str], kind: str) -> dict[str, float | None]:
    reference, subset, metric = key
    keys = [(reference, name, subset, metric) for name in names if is_null(name, kind)]
    keys = [one for one in keys if one in comparison.value]
    value = comparison.value.get((reference, "causal", subset, metric))
    nulls = [comparison.value[one] for one in keys]
    mean, top = (float(np.mean(nulls)), max(nulls)) if nulls else (None, None)
    own_B, null_B = comparison.draws.get((reference, "causal", subset, metric)), _mean_draws(comparison, keys)
    low, high = (None if own_B is None or null_B is None else interval(own_B - null_B)) or (None, None)
    return {
        f"{kind}_null_mean": mean, f"{kind}_null_max": top,
        f"gain_over_{kind}_null": None if value is None or mean is None else value - mean,
        f"gain_over_{kind}_null_low": low, f"gain_over_{kind}_null_high": high,
        f"gain_over_{kind}_null_max": None if value is None or top is None else value - top,
    }  # fmt: skip


def gains_table(comparison: Comparison, names: Sequence[str]) -> pd.DataFrame:
    """Put the causal ranking beside its nulls: what is left when the machinery's own contribution is taken off.

    A null whose scores are all equal counts at chance level.

    Parameters
    ----------
    comparison
        From :func:`causcade.evaluation.comparison.compare_rankings`.
    names
        Names of all rankings; the nulls are picked out.

    Returns
    -------
    pandas.DataFrame
        reference, subset, metric, value, {edge,label}_null_{mean,max}, gain_over_{edge,label}_null (value - mean) with its 95 % interval over target
        genes (`_low`, `_high`; the same resampled genes for the network and its nulls), gain_over_{edge,label}_null_max (value - max); missing where
        there is no such null or the metric is not defined.
    """
    rows = []
    causal = comparison.metrics[comparison.metrics["ranking"] == "causal"]
    for reference, subset, metric in causal[["reference", "subset", "metric"]].itertuples(index=False):
        value = comparison.value.get((reference, "causal", subset, metric))
        row: dict[str, Any] = {"reference": reference, "subset": subset, "metric": metric, "value": value}
        for kind in KINDS:
            row |= _gain(comparison, (reference, subset, metric), names, kind)
        rows.append(row)
    numbers = ["value", *(f"{kind}_null_{what}" for kind in KINDS for what in ("mean", "max"))]
    numbers += [f"gain_over_{kind}_null{end}" for kind in KINDS for end in ("", "_low", "_high", "_max")]
    return pd.DataFrame(rows, columns=["reference", "subset", "metric", *numbers]).astype(dict.fromkeys(numbers, "Float64"))


def evidence_gains_table(comparison: Comparison, names: Sequence[str]) -> pd.DataFrame:
    """Put each evidence column beside its own nulls: the same machinery on the same permuted data.

    Parameters
    ----------
    comparison
        From :func:`causcade.evaluation.comparison.compare_rankings`, with the rankings `<column>_edge_null<i>` and `<column>_label_null<i>`.
    names
        Names of all rankings; the nulls are picked out.

    Returns
    -------
    pandas.DataFrame
        reference, subset, metric, evidence (the column), value, {edge,label}_null_{mean,max}, gain_over_{edge,label}_null (value - mean); missing
        where there is no such null or the metric is not defined.
    """
    nulls: dict[str, dict[str, list[str]]] = {}
    for name in names:
        of = null_of(name)
        if of is not None:
            nulls.setdefault(of[0], {kind: [] for kind in KINDS})[of[1]].append(name)
    rows: list[dict[str, Any]] = []
    judged = comparison.metrics[comparison.metrics["ranking"].isin(nulls)]
    for reference, column, subset, metric in judged[["reference", "ranking", "subset", "metric"]].itertuples(index=False):
        value = comparison.value.get((reference, column, subset, metric))
        row: dict[str, Any] = {"reference": reference, "subset": subset, "metric": metric, "evidence": column, "value": value}
        for kind in KINDS:
            found = [comparison.value.get((reference, name, subset, metric)) for name in nulls[column][kind]]
            known = [one for one in found if one is not None]
            if known:
                row |= {f"{kind}_null_mean": float(np.mean(known)), f"{kind}_null_max": max(known)}
                row[f"gain_over_{kind}_null"] = None if value is None else value - float(np.mean(known))
        rows.append(row)
    numbers = ["value", *(name for kind in KINDS for name in (f"{kind}_null_mean", f"{kind}_null_max", f"gain_over_{kind}_null"))]
    return pd.DataFrame(rows, columns=["reference", "subset", "metric", "evidence", *numbers]).astype(dict.fromkeys(numbers, "Float64"))


def drug_bootstrap_table(comparison: Comparison, names: Sequence[str]) -> pd.DataFrame:
    """How much each score of the causal ranking varies when whole perturbations are resampled and the model is fitted anew.

    The interval is value +- t * sd, with sd over the fits and t the 97.5 % point of Student's distribution with (fits - 1) degrees of freedom: with
    few fits percentiles mean nothing. It is centred on the value of the fit to all perturbations, since a resampling holds fewer different ones
    (63 %) and scores lower; and cut at the ends of the metric's range.

    Parameters
    ----------
    comparison
        From :func:`causcade.evaluation.comparison.compare_rankings`, with the rankings `causal_boot<i>`.
    names
        Names of all rankings; the resampled fits are picked out.

    Returns
    -------
    pandas.DataFrame
        reference, subset, metric, value, num_fits, mean, sd, low, high, note.
    """
    boots = [name for name in names if is_drug_bootstrap(name)]
    rows = []
    causal = comparison.metrics[comparison.metrics["ranking"] == "causal"]
    for reference, subset, metric in causal[["reference", "subset", "metric"]].itertuples(index=False):
        value = comparison.value.get((reference, "causal", subset, metric))
        found = [comparison.value.get((reference, name, subset, metric)) for name in boots]
        known = [one for one in found if one is not None]
        row: dict[str, Any] = {"reference": reference, "subset": subset, "metric": metric, "value": value, "num_fits": len(known)}
        note = "the metric is not defined here" if value is None else "" if len(known) >= MIN_BOOTSTRAPS else "fewer than two resampled fits"
        if value is not None and len(known) >= MIN_BOOTSTRAPS:
            mean, spread = float(np.mean(known)), float(np.std(known, ddof=1))
            reach = float(stats.t.ppf(LEVEL, len(known) - 1)) * spread
            most = np.inf if metric in UNBOUNDED else 1.0
            row |= {"mean": mean, "sd": spread, "low": max(value - reach, 0.0), "high": min(value + reach, most)}
        rows.append(row | {"note": note})
    numbers = ["value", "mean", "sd", "low", "high"]
    columns = ["reference", "subset", "metric", "value", "num_fits", "mean", "sd", "low", "high", "note"]
    return pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(numbers, "Float64") | {"num_fits": "int64"})
