"""Every metric of every ranking on every reference and subset, with intervals, curves and gains over the nulls.

Missing values are never silent: where a metric is not defined, `value` is missing (nullable) and `note` says why.

Legend of axes: E candidate edges, T targets, B resamplings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from causcade.evaluation import metrics
from causcade.evaluation.edges import BoolArray, CodedEdges, FloatArray, IntArray, Reference
from causcade.evaluation.rankings import Ranking, is_null
from causcade.evaluation.resampling import MIN_VALID_SHARE, interval, resample_targets, weighted_auroc_auprc

__all__ = ["Comparison", "compare_rankings", "gains_table"]

INTERVAL_SUBSETS = ("all", "no_prior")  # intervals and curves for these only
INTERVAL_METRICS = ("auroc", "auprc")
CONSTANT_NOTE = "all scores are equal: the ranking puts no edge before another"
Key = tuple[str, str, str, str]  # reference, ranking, subset, metric


@dataclass(slots=True)
class Comparison:
    """What :func:`compare_rankings` found.

    `metrics` and `curves` are the tables to write. `value` holds the defined values, with a ranking of equal scores at its chance level: as a null
    it found nothing, which is what a good null does. `draws` holds the resampled values [B] behind the intervals, of the same resamplings for all
    rankings.
    """

    metrics: pd.DataFrame = field(default_factory=pd.DataFrame)
    curves: pd.DataFrame = field(default_factory=pd.DataFrame)
    value: dict[Key, float] = field(default_factory=dict)
    draws: dict[Key, FloatArray] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cell:
    """One ranking on one reference and subset."""

    edges: CodedEdges
    ranking: Ranking
    order: metrics.SortedRanking
    reference: Reference
    in_subset_E: BoolArray  # eligible and in the subset

    def sorted_rows(self, order_E: IntArray) -> IntArray:
        """Rows of this cell, in the given order."""
        return order_E[self.in_subset_E[order_E]]


def _why_undefined(num_positive: int, num_edges: int) -> str:
    if num_edges == 0:
        return "no edge of this subset is in the reference's universe"
    if num_positive == 0:
        return "no positive edge"
    return "no negative edge" if num_positive == num_edges else ""


def _global_metrics(runs: metrics.TieRuns, prevalence: float) -> dict[str, float | None]:
    auprc = metrics.average_precision(runs)
    lift = None if auprc is None else auprc / prevalence
    return {"auroc": metrics.auroc(runs), "auprc": auprc, "lift": lift, "early_precision": metrics.early_precision(runs)}


def _grouped(cell: _Cell, end_E: IntArray, order_E: IntArray) -> float | None:
    row = cell.sorted_rows(order_E)
    return metrics.grouped_auroc(end_E[row], cell.order.level_E[row], cell.reference.is_positive_E[row])[0]


def _directed_metrics(cell: _Cell) -> dict[str, tuple[float | None, int, str]]:
    """Compute direction and sign accuracy: value, true edges that count, and the reason where none does; directed references only."""
    reference = cell.reference
    if not reference.is_directed:
        return {}
    direction = metrics.direction_accuracy(cell.order.level_E, reference.is_positive_E, cell.in_subset_E, cell.edges.reverse_E)
    found = {"direction_accuracy": (*direction, "no true edge whose reverse is a candidate and not true")}
    if cell.ranking.sign_E is not None:
        sign = metrics.sign_accuracy(cell.ranking.sign_E, reference.true_sign_E, cell.in_subset_E)
        found["sign_accuracy"] = (*sign, "no true edge to which this ranking gives a sign")
    return found


def _rows_of_cell(cell: _Cell, runs: metrics.TieRuns) -> list[dict[str, Any]]:
    """Compute the rows of one cell, before intervals; `defined` keeps the chance value of a constant ranking, whose `value` is missing."""
    num_edges, num_positive = int(cell.in_subset_E.sum()), int(runs.num_positive)
    prevalence = num_positive / num_edges if num_edges else None
    why = _why_undefined(num_positive, num_edges)
    values = _global_metrics(runs, prevalence or 0.0)
    values["same_source_auroc"] = _grouped(cell, cell.edges.source_E, cell.order.by_source_E)
    values["same_target_auroc"] = _grouped(cell, cell.edges.target_E, cell.order.by_target_E)
    found = []
    for metric, value in values.items():
        end = "source" if metric == "same_source_auroc" else "target"
        note = "" if value is not None else why or f"no {end} with both a positive and a negative edge"
        found.append((metric, value, num_positive, note))
    found += [(metric, value, num, "" if value is not None else note) for metric, (value, num, note) in _directed_metrics(cell).items()]
    base = {"num_edges": num_edges, "prevalence": prevalence}
    is_constant = len(runs.positive_R) == 1
    return [
        {"metric": metric, "value": None if is_constant and metric != "sign_accuracy" else value, "defined": value, "num_positive": num, **base,
         "note": CONSTANT_NOTE if is_constant and value is not None and metric != "sign_accuracy" else note}
        for metric, value, num, note in found
    ]  # fmt: skip


def _add_intervals(cell: _Cell, rows: list[dict[str, Any]], target_row_E: IntArray, weight_TB: FloatArray) -> dict[str, FloatArray]:
    """Put `low` and `high` into the rows of AUROC and AUPRC; return the resampled values."""
    defined = [row for row in rows if row["metric"] in INTERVAL_METRICS and row["defined"] is not None]
    if weight_TB.shape[1] == 0 or not defined:
        return {}
    index = cell.sorted_rows(cell.order.order_E)
    draws = dict(zip(
        INTERVAL_METRICS,
        weighted_auroc_auprc(cell.order.level_E[index], cell.reference.is_positive_E[index], target_row_E[index], weight_TB),
        strict=True,
    ))  # fmt: skip
    for row in defined:
        limits = interval(draws[row["metric"]])
        if limits is None:
            row["note"] = row["note"] or f"no interval: fewer than {MIN_VALID_SHARE:.0%} of the resamplings hold both classes"
        elif row["value"] is not None:
            row["low"], row["high"] = limits
    return draws


def _curves_of_cell(key: Mapping[str, str], runs: metrics.TieRuns) -> list[pd.DataFrame]:
    found = []
    for name, curve in (("roc", metrics.roc_curve), ("pr", metrics.pr_curve)):
        x, y = curve(runs)
        found.append(pd.DataFrame({**key, "curve": name, "x": x, "y": y}))
    return found


def compare_rankings(
    edges: CodedEdges,
    rankings: Sequence[Ranking],
    references: Sequence[Reference],
    subsets: Mapping[str, BoolArray],
    *,
    num_resamplings: int,
    rng: np.random.Generator,
) -> Comparison:
    """Compute all metrics, intervals and curves.

    Parameters
    ----------
    edges, rankings, references, subsets
        What to compare, all in the row order of the candidate edges.
    num_resamplings
        Resamplings of targets for 95 % intervals; 0 for no intervals.
    rng
        Draws the resamplings. Targets are drawn in the order of their names, so the order of edges does not matter.

    Returns
    -------
    Comparison
        `metrics` has reference, ranking, subset, metric, value, low, high, num_positive (true edges that the metric counts), num_edges,
        prevalence, note.
    """
    target_name_E = np.asarray(edges.gene_G, dtype=str)[edges.target_E]
    names, target_row_E = np.unique(target_name_E, return_inverse=True)
    weight_TB = resample_targets(names.size, num_resamplings, rng)
    result, rows, curves = Comparison(), [], []
    for ranking in rankings:
        order = metrics.sort_ranking(ranking.score_E, edges)
        for reference in references:
            for subset, mask_E in subsets.items():
                cell = _Cell(edges=edges, ranking=ranking, order=order, reference=reference, in_subset_E=reference.is_eligible_E & mask_E)
                index = cell.sorted_rows(order.order_E)
                runs = metrics.tie_runs(order.level_E[index], reference.is_positive_E[index])
                key = {"reference": reference.name, "ranking": ranking.name, "subset": subset}
                found = _rows_of_cell(cell, runs)
                if subset in INTERVAL_SUBSETS:
                    curves += _curves_of_cell(key, runs)
                    for metric, draw_B in _add_intervals(cell, found, target_row_E, weight_TB).items():
                        result.draws[(reference.name, ranking.name, subset, metric)] = draw_B
                rows += [{**key, **row} for row in found]
    for row in rows:
        if row["defined"] is not None:
            result.value[(row["reference"], row["ranking"], row["subset"], row["metric"])] = row["defined"]
    result.metrics, result.curves = _metrics_frame(rows), _curves_frame(curves)
    return result


def _metrics_frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    columns = ["reference", "ranking", "subset", "metric", "value", "low", "high", "num_positive", "num_edges", "prevalence", "note"]
    table = pd.DataFrame(rows, columns=columns)
    types = dict.fromkeys(("value", "low", "high", "prevalence"), "Float64") | dict.fromkeys(("num_positive", "num_edges"), "int64")
    return table.astype(types)


def _curves_frame(parts: list[pd.DataFrame]) -> pd.DataFrame:
    filled = [part for part in parts if len(part)]
    if filled:
        return pd.concat(filled, ignore_index=True)
    types = dict.fromkeys(("reference", "ranking", "subset", "curve"), str) | dict.fromkeys(("x", "y"), np.float64)
    return pd.DataFrame({name: pd.Series(dtype=dtype) for name, dtype in types.items()})


def gains_table(comparison: Comparison, null_names: Sequence[str]) -> pd.DataFrame:
    """Put the causal ranking beside its nulls: what is left when the machinery's own contribution is taken off.

    A null whose scores are all equal counts at chance level.

    Parameters
    ----------
    comparison
        From :func:`compare_rankings`.
    null_names
        Names of all rankings; the nulls are picked out.

    Returns
    -------
    pandas.DataFrame
        reference, subset, metric, value, {edge,label}_null_{mean,max}, gain_over_{edge,label}_null (value - mean), gain_over_{edge,label}_null_max
        (value - max); missing where there is no such null or the metric is not defined.
    """
    rows = []
    causal = comparison.metrics[comparison.metrics["ranking"] == "causal"]
    for reference, subset, metric in causal[["reference", "subset", "metric"]].itertuples(index=False):
        value = comparison.value.get((reference, "causal", subset, metric))
        row: dict[str, Any] = {"reference": reference, "subset": subset, "metric": metric, "value": value}
        for kind in ("edge", "label"):
            keys = [(reference, name, subset, metric) for name in null_names if is_null(name, kind)]
            nulls = [comparison.value[key] for key in keys if key in comparison.value]
            mean, top = (float(np.mean(nulls)), max(nulls)) if nulls else (None, None)
            row |= {f"{kind}_null_mean": mean, f"{kind}_null_max": top}
            row[f"gain_over_{kind}_null"] = None if value is None or mean is None else value - mean
            row[f"gain_over_{kind}_null_max"] = None if value is None or top is None else value - top
        rows.append(row)
    kinds = [f"{kind}_null_{what}" for kind in ("edge", "label") for what in ("mean", "max")]
    gains = [f"gain_over_{kind}_null{end}" for end in ("", "_max") for kind in ("edge", "label")]
    numbers = ["value", *kinds, *gains]
    return pd.DataFrame(rows, columns=["reference", "subset", "metric", *numbers]).astype(dict.fromkeys(numbers, "Float64"))
