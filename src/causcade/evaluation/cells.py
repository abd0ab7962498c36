"""Every metric of one ranking on one reference and subset of edges, and its resampled values.

| metric | what | random order |
| --- | --- | --- |
| auprc, auroc, lift | all edges of the subset; lift is AUPRC / prevalence | prevalence, 0.5, 1 |
| same_source_auroc, same_target_auroc | only positives against negatives of the same source (target) | 0.5 |
| degree_matched_auprc, degree_matched_auroc | against negatives of equal degrees (:mod:`causcade.evaluation.matching`) | 1 / 11, 0.5 |
| better_direction_auprc, better_direction_auroc | undirected references: each pair of genes once, with its better direction | prevalence, 0.5 |
| early_precision, early_precision_ratio | precision among as many edges as there are positives; divided by the prevalence | prevalence, 1 |
| top_precision | precision among the first `num_top` edges | prevalence |
| direction_accuracy, sign_accuracy | directed references only | 0.5 |

All but the two better_direction metrics score an edge as it is.

Legend of axes: E candidate edges, T targets, B resamplings.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from causcade.evaluation import metrics
from causcade.evaluation.edges import BoolArray, CodedEdges, FloatArray, IntArray, Reference
from causcade.evaluation.matching import MATCHED_BASE_RATE
from causcade.evaluation.rankings import Ranking
from causcade.evaluation.resampling import weighted_auroc_auprc, weighted_grouped_auroc

__all__ = ["CONSTANT_NOTE", "Field", "SortedEdges", "Views", "curves_of", "make_field", "measure", "resample", "sort_edges", "view_edges"]

CONSTANT_NOTE = "all scores are equal: the ranking puts no edge before another"
HALF = 0.5
NEGATIVE, POSITIVE = 1, 2
CodeArray = npt.NDArray[np.int32]  # half the memory traffic of int64


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """The edges on which rankings are compared: one reference and one subset."""

    reference: Reference
    subset: str
    class_E: npt.NDArray[np.int8]  # 0 where the edge does not take part, 1 negative, 2 positive
    pair_class_E: npt.NDArray[np.int8]  # the same with each unordered pair once
    matched_E: FloatArray  # how often each edge counts among degree-matched ones
    num_edges: int
    num_positive: int


def make_field(edges: CodedEdges, reference: Reference, subset: str, chosen_E: BoolArray, matched_E: FloatArray) -> Field:
    """Code the edges that take part by their class. Of a pair with both directions, the one whose source comes first by name stands for it."""
    class_E = np.where(chosen_E, np.where(reference.is_positive_E, POSITIVE, NEGATIVE), 0).astype(np.int8)
    place_G = np.argsort(np.argsort(np.asarray(edges.gene_G, dtype=str)))
    row = np.flatnonzero((edges.reverse_E >= 0) & (place_G[edges.source_E] > place_G[edges.target_E]))
    pair_class_E = class_E.copy()
    pair_class_E[row[class_E[edges.reverse_E[row]] > 0]] = 0
    return Field(
        reference=reference, subset=subset, class_E=class_E, pair_class_E=pair_class_E, matched_E=matched_E, num_edges=int(chosen_E.sum()),
        num_positive=int((class_E == POSITIVE).sum()),
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class _Order:
    """Rows of the edges in one order, with their levels and, where edges are sorted by it first, their source or target."""

    row_E: CodeArray
    level_E: CodeArray
    group_E: CodeArray | None = None

    @classmethod
    def of(cls, order_E: IntArray, level_E: IntArray, group_E: IntArray | None = None) -> _Order:
        """Put levels and groups, given by row, into an order."""
        group = None if group_E is None else group_E[order_E].astype(np.int32)
        return cls(row_E=order_E.astype(np.int32), level_E=level_E[order_E].astype(np.int32), group_E=group)

    def take(self, mask_E: BoolArray) -> _Order:
        """Keep a part of the edges."""
        return _Order(row_E=self.row_E[mask_E], level_E=self.level_E[mask_E], group_E=None if self.group_E is None else self.group_E[mask_E])


@dataclass(frozen=True, slots=True, kw_only=True)
class SortedEdges:
    """One ranking, sorted once for all fields."""

    edges: CodedEdges
    ranking: Ranking
    level_E: IntArray
    plain: _Order
    by_source: _Order
    by_target: _Order
    better: _Order  # by the better of the two directions


def sort_edges(edges: CodedEdges, ranking: Ranking) -> SortedEdges:
    """Sort a ranking; see :class:`SortedEdges`."""
    order = metrics.sort_ranking(ranking.score_E, edges)
    best_level_E, best_order_E = metrics.better_direction(order.level_E, edges.reverse_E)
    return SortedEdges(
        edges=edges, ranking=ranking, level_E=order.level_E, plain=_Order.of(order.order_E, order.level_E),
        by_source=_Order.of(order.by_source_E, order.level_E, edges.source_E), by_target=_Order.of(order.by_target_E, order.level_E, edges.target_E),
        better=_Order.of(best_order_E, best_level_E),
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class _View:
    """The edges of one field in one order."""

    order: _Order
    is_positive_E: BoolArray
    often_E: FloatArray | None = None

    @property
    def runs(self) -> metrics.TieRuns:
        """Runs of equal scores."""
        return metrics.tie_runs(self.order.level_E, self.is_positive_E, self.often_E)


@dataclass(frozen=True, slots=True, kw_only=True)
class Views:
    """One ranking on one field, in every order that a metric needs."""

    ranked: SortedEdges
    field: Field
    plain: _View
    by_source: _View
    by_target: _View
    matched: _View
    better: _View | None  # for undirected references
    runs: metrics.TieRuns  # of `plain`


def view_edges(ranked: SortedEdges, field: Field) -> Views:
    """Filter a sorted ranking to the edges of a field."""

    def view(order: _Order, classes_E: npt.NDArray[np.int8] = field.class_E) -> _View:
        class_E = classes_E[order.row_E]
        mask_E = class_E > 0
        return _View(order=order.take(mask_E), is_positive_E=class_E[mask_E] == POSITIVE)

    plain = view(ranked.plain)
    often_E = field.matched_E[plain.order.row_E]
    counts_E = often_E > 0
    matched = _View(order=plain.order.take(counts_E), is_positive_E=plain.is_positive_E[counts_E], often_E=often_E[counts_E])
    return Views(
        ranked=ranked, field=field, plain=plain, by_source=view(ranked.by_source), by_target=view(ranked.by_target), matched=matched,
        better=None if field.reference.is_directed else view(ranked.better, field.pair_class_E), runs=plain.runs,
    )  # fmt: skip


def _why_undefined(field: Field) -> str:
    num_edges, num_positive = field.num_edges, field.num_positive
    if field.reference.num_genes_in_panel == 0:
        return "no gene of the reference's universe is in the panel"
    if field.class_E.size == 0:
        return "there are no candidate edges"
    if num_edges == 0:
        return "no edge of this subset is in the reference's universe"
    if num_positive == 0:
        return "no positive edge"
    return "no negative edge" if num_positive == num_edges else ""


def _row(metric: str, value: float | None, field: Field, *, base_rate: float | None, note: str) -> dict[str, Any]:
    num_edges, num_positive = field.num_edges, field.num_positive
    return {
        "metric": metric, "value": value, "defined": value, "num_positive": num_positive, "num_edges": num_edges,
        "prevalence": num_positive / num_edges if num_edges else None, "base_rate": base_rate, "note": "" if value is not None else note,
    }  # fmt: skip


def _areas(prefix: str, runs: metrics.TieRuns, field: Field, *, base_rate: float | None, note: str) -> list[dict[str, Any]]:
    rows = [
        _row(f"{prefix}auprc", metrics.average_precision(runs), field, base_rate=base_rate, note=note),
        _row(f"{prefix}auroc", metrics.auroc(runs), field, base_rate=HALF, note=note),
    ]
    return _without_order(rows) if len(runs.positive_R) == 1 else rows


def _without_order(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Take the values of a ranking that puts no edge before another away; `defined` keeps them: they are what chance gives."""
    return [row | {"value": None, "note": CONSTANT_NOTE if row["defined"] is not None else row["note"]} for row in rows]


def _grouped(view: _View, field: Field, end: str, why: str) -> dict[str, Any]:
    group_E = np.asarray(view.order.group_E)
    value, _ = metrics.grouped_auroc(group_E, view.order.level_E, view.is_positive_E)
    return _row(f"same_{end}_auroc", value, field, base_rate=HALF, note=why or f"no {end} with both a positive and a negative edge")


def _matched(view: _View, field: Field, why: str) -> list[dict[str, Any]]:
    note = why or "no positive has a negative of equal degrees"
    rows = _areas("degree_matched_", view.runs, field, base_rate=MATCHED_BASE_RATE, note=note)
    num_edges = view.is_positive_E.size
    size = {"num_positive": int(view.is_positive_E.sum()), "num_edges": num_edges, "prevalence": MATCHED_BASE_RATE if num_edges else None}
    return [one | size for one in rows]


def _better(view: _View | None, field: Field, why: str) -> list[dict[str, Any]]:
    if view is None:
        return []
    num_positive, num_pairs = int(view.is_positive_E.sum()), view.is_positive_E.size
    share = num_positive / num_pairs if num_pairs else None
    size = {"num_positive": num_positive, "num_edges": num_pairs, "prevalence": share}
    return [row | size for row in _areas("better_direction_", view.runs, field, base_rate=share, note=why)]


def _precisions(runs: metrics.TieRuns, field: Field, num_top: int, why: str) -> list[dict[str, Any]]:
    early = metrics.early_precision(runs)
    rows = [_row("early_precision", early, field, base_rate=None, note=why)]
    prevalence = rows[0]["prevalence"]
    ratio = None if early is None else early / prevalence
    few = why or f"fewer than {num_top} edges"
    rows.append(_row("early_precision_ratio", ratio, field, base_rate=1.0, note=why))
    rows.append(_row("top_precision", metrics.precision_at(runs, num_top), field, base_rate=prevalence, note=few))
    rows[0]["base_rate"] = prevalence
    return rows


def _directed(views: Views) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Direction and sign accuracy with the true edges that count."""
    field, ranked = views.field, views.ranked
    reference, chosen_E = field.reference, field.class_E > 0
    value, num = metrics.direction_accuracy(ranked.level_E, reference.is_positive_E, chosen_E, ranked.edges.reverse_E)
    note = "no true edge whose reverse is a candidate and not true"
    direction = [_row("direction_accuracy", value, field, base_rate=HALF, note=note) | {"num_positive": num}]
    if ranked.ranking.sign_E is None:
        return direction, []
    value, num = metrics.sign_accuracy(ranked.ranking.sign_E, reference.true_sign_E, chosen_E)
    note = "no true edge to which this ranking gives a sign"
    return direction, [_row("sign_accuracy", value, field, base_rate=HALF, note=note) | {"num_positive": num}]


def measure(views: Views, num_top: int) -> list[dict[str, Any]]:
    """All metrics of one ranking on one field, those that lead first.

    Parameters
    ----------
    views
        From :func:`view_edges`.
    num_top
        Edges that count for `top_precision`.

    Returns
    -------
    list of dict
        metric, value (None where not defined, or where all scores are equal), defined (the chance value in the latter case), num_positive,
        num_edges, prevalence, base_rate (what a random order gives), note (why there is no value).
    """
    field, runs = views.field, views.runs
    why = _why_undefined(field)
    auprc, auroc = _areas("", runs, field, base_rate=field.num_positive / field.num_edges if field.num_edges else None, note=why)
    lift = _row("lift", None if auprc["defined"] is None else auprc["defined"] / auprc["prevalence"], field, base_rate=1.0, note=why)
    same_source, same_target = _grouped(views.by_source, field, "source", why), _grouped(views.by_target, field, "target", why)
    others = [same_source, lift, *_precisions(runs, field, num_top, why), same_target]
    signs: list[dict[str, Any]] = []
    if field.reference.is_directed:
        directions, signs = _directed(views)
        others += directions
    if len(runs.positive_R) == 1:
        others = _without_order(others)
    matched = _matched(views.matched, field, why)
    return [auprc, others[0], *matched, auroc, *_better(views.better, field, why), *others[1:], *signs]


def resample(views: Views, target_row_E: CodeArray, weight_TB: npt.NDArray[np.uint8], metric_names: Iterable[str]) -> dict[str, FloatArray]:
    """Resampled values [B] of AUPRC and AUROC (plain, degree-matched, better direction) and of the same-source AUROC, as far as they are named.

    Parameters
    ----------
    views
        From :func:`view_edges`.
    target_row_E
        Row of `weight_TB` of each candidate edge.
    weight_TB
        From :func:`causcade.evaluation.resampling.resample_targets`.
    metric_names
        Metrics that are wanted; those that have no resampled value are passed over.
    """
    wanted = set(metric_names)
    draws: dict[str, FloatArray] = {}
    for prefix, view in (("", views.plain), ("degree_matched_", views.matched), ("better_direction_", views.better)):
        if view is not None and f"{prefix}auroc" in wanted:
            target_E = target_row_E[view.order.row_E]
            auroc_B, auprc_B = weighted_auroc_auprc(view.order.level_E, view.is_positive_E, target_E, weight_TB, view.often_E)
            draws |= {f"{prefix}auroc": auroc_B, f"{prefix}auprc": auprc_B}
    if "same_source_auroc" in wanted:
        view = views.by_source
        group_E, target_E = np.asarray(view.order.group_E), target_row_E[view.order.row_E]
        draws["same_source_auroc"] = weighted_grouped_auroc(group_E, view.order.level_E, view.is_positive_E, target_E, weight_TB)
    return draws


def curves_of(views: Views) -> dict[str, tuple[FloatArray, FloatArray]]:
    """Points of the ROC and of the precision-recall curve, by name; empty where they are not defined."""
    found = {"roc": metrics.roc_curve(views.runs), "pr": metrics.pr_curve(views.runs)}
    return {name: points for name, points in found.items() if np.size(points[0])}
