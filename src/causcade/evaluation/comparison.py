"""Every metric of every ranking on every reference and subset, with intervals and curves.

Missing values are never silent: where a metric is not defined, `value` is missing (nullable) and `note` says why.

Legend of axes: E candidate edges, T targets, B resamplings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from causcade.evaluation.cells import CONSTANT_NOTE, Field, Views, curves_of, make_field, measure, resample, sort_edges, view_edges
from causcade.evaluation.edges import BoolArray, CodedEdges, FloatArray, Reference, select_edges
from causcade.evaluation.matching import degree_strata, draw_keys, match_negatives
from causcade.evaluation.rankings import Ranking, is_value_only
from causcade.evaluation.resampling import MIN_VALID_SHARE, interval, resample_targets

__all__ = ["CONSTANT_NOTE", "INTERVAL_METRICS", "NUM_TOP", "Comparison", "compare_rankings"]

CURVE_SUBSETS = ("no_prior", "all")
INTERVAL_METRICS = (
    "auprc", "same_source_auroc", "auroc", "degree_matched_auprc", "degree_matched_auroc", "better_direction_auprc", "better_direction_auroc",
)  # fmt: skip
NUM_TOP = 100
COLUMNS = [
    "reference", "ranking", "subset", "metric", "value", "low", "high", "num_positive", "num_edges", "prevalence", "base_rate", "note",
]  # fmt: skip
Key = tuple[str, str, str, str]  # reference, ranking, subset, metric


@dataclass(slots=True)
class Comparison:
    """What :func:`compare_rankings` found.

    `metrics` and `curves` are the tables to write. `value` holds the defined values, with a ranking of equal scores at its chance level: as a null
    it found nothing, which is what a good null does. `draws` holds the resampled values [B] behind the intervals, of the same resamplings for all
    rankings. Fits on resampled perturbations and nulls of evidence columns stand in
    `value` only.
    """

    metrics: pd.DataFrame = field(default_factory=pd.DataFrame)
    curves: pd.DataFrame = field(default_factory=pd.DataFrame)
    value: dict[Key, float] = field(default_factory=dict)
    draws: dict[Key, FloatArray] = field(default_factory=dict)


def _fields(edges: CodedEdges, references: Sequence[Reference], subsets: Mapping[str, BoolArray], rng: np.random.Generator) -> list[Field]:
    """Edges of every reference and subset, with their degree-matched negatives: the same for all rankings."""
    stratum_E, key_E = degree_strata(edges), draw_keys(edges, rng)
    found = []
    for reference in references:
        for subset, in_subset_E in subsets.items():
            chosen_E = select_edges(edges, reference, subset, in_subset_E)
            matched_E = match_negatives(stratum_E, key_E, reference.is_positive_E, chosen_E)
            found.append(make_field(edges, reference, subset, chosen_E, matched_E))
    return found


@dataclass(slots=True, kw_only=True)
class _Found:
    """What one ranking gives on one field."""

    rows: list[dict[str, Any]]
    draws: dict[str, FloatArray] = field(default_factory=dict)
    curves: dict[str, tuple[FloatArray, FloatArray]] = field(default_factory=dict)


def _add_intervals(views: Views, rows: list[dict[str, Any]], target_row_E: Any, weight_TB: Any) -> dict[str, FloatArray]:
    """Put `low` and `high` into the rows; return the resampled values."""
    defined = {row["metric"]: row for row in rows if row["metric"] in INTERVAL_METRICS and row["defined"] is not None}
    if weight_TB.shape[1] == 0 or not defined:
        return {}
    draws = resample(views, target_row_E, weight_TB, defined)
    for metric, row in defined.items():
        limits = interval(draws[metric])
        if limits is None:
            row["note"] = row["note"] or f"no interval: fewer than {MIN_VALID_SHARE:.0%} of the resamplings hold both classes"
        elif row["value"] is not None:
            row["low"], row["high"] = limits
    return {metric: draws[metric] for metric in defined}


def compare_rankings(
    edges: CodedEdges,
    rankings: Sequence[Ranking],
    references: Sequence[Reference],
    subsets: Mapping[str, BoolArray],
    *,
    num_resamplings: int,
    rng: np.random.Generator,
    num_top: int = NUM_TOP,
    num_threads: int = 1,
) -> Comparison:
    """Compute all metrics, intervals and curves. Each ranking is sorted once.

    Parameters
    ----------
    edges, rankings, references, subsets
        What to compare, all in the row order of the candidate edges.
    num_resamplings
        Resamplings of targets for 95 % intervals; 0 for no intervals.
    rng
        Draws the resamplings and the degree-matched negatives. Both go by the names of genes, so the order of edges does not matter.
    num_top
        Edges that count for `top_precision`.
    num_threads
        References and subsets that are worked on side by side; it changes no result.

    Returns
    -------
    Comparison
        `metrics` has reference, ranking, subset, metric, value, low, high, num_positive (true edges that the metric counts), num_edges,
        prevalence, base_rate (what a random order gives), note.
    """
    target_name_E = np.asarray(edges.gene_G, dtype=str)[np.unique(edges.target_E)]
    row_G = np.zeros(edges.num_genes, dtype=np.int32)
    row_G[np.unique(edges.target_E)] = np.argsort(np.argsort(target_name_E))
    target_row_E = row_G[edges.target_E]
    weight_TB = resample_targets(target_name_E.size, num_resamplings, rng)
    fields = _fields(edges, references, subsets, rng)
    result, rows, curves = Comparison(), [], []

    def examine(one: Field) -> _Found:
        views = view_edges(ranked, one)
        found = _Found(rows=measure(views, num_top))
        if not is_value_only(ranked.ranking.name):
            found.draws = _add_intervals(views, found.rows, target_row_E, weight_TB)
            found.curves = curves_of(views) if one.subset in CURVE_SUBSETS else {}
        return found

    with ThreadPoolExecutor(max_workers=num_threads) as pool:
        for ranking in rankings:
            ranked = sort_edges(edges, ranking)
            for one, found in zip(fields, pool.map(examine, fields), strict=True):
                name, subset = one.reference.name, one.subset
                key = {"reference": name, "ranking": ranking.name, "subset": subset}
                result.value |= {(name, ranking.name, subset, row["metric"]): row["defined"] for row in found.rows if row["defined"] is not None}
                result.draws |= {(name, ranking.name, subset, metric): draw_B for metric, draw_B in found.draws.items()}
                curves += [pd.DataFrame({**key, "curve": curve, "x": x, "y": y}) for curve, (x, y) in found.curves.items()]
                rows += [] if is_value_only(ranking.name) else [{**key, **row} for row in found.rows]
    result.metrics, result.curves = _metrics_frame(rows), _curves_frame(curves)
    return result


def _metrics_frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=COLUMNS)
    types = dict.fromkeys(("value", "low", "high", "prevalence", "base_rate"), "Float64") | dict.fromkeys(("num_positive", "num_edges"), "int64")
    return table.astype(types)


def _curves_frame(parts: list[pd.DataFrame]) -> pd.DataFrame:
    if parts:
        return pd.concat(parts, ignore_index=True)
    types = dict.fromkeys(("reference", "ranking", "subset", "curve"), str) | dict.fromkeys(("x", "y"), np.float64)
    return pd.DataFrame({name: pd.Series(dtype=dtype) for name, dtype in types.items()})
