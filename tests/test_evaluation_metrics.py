"""Metrics of rankings, against scikit-learn and against loops."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from causcade.evaluation import metrics
from causcade.evaluation.edges import CodedEdges

CASES = [("distinct", 0, 10_000), ("many ties", 1, 7), ("two levels", 2, 2)]


def make_edges(source, target, num_genes):
    source, target = np.asarray(source), np.asarray(target)
    row = {(s, t): i for i, (s, t) in enumerate(zip(source.tolist(), target.tolist(), strict=True))}
    reverse = np.array([row.get((t, s), -1) for s, t in zip(source.tolist(), target.tolist(), strict=True)], dtype=np.int64)
    names = [f"g{i:03d}" for i in range(num_genes)]
    none = np.zeros(len(source), dtype=bool)
    return CodedEdges(gene_G=names, source_E=source, target_E=target, reverse_E=reverse, is_curated_E=none, is_pair_curated_E=none)


def draw_edges(rng, num_genes, num_edges):
    pairs = np.array([(s, t) for s in range(num_genes) for t in range(num_genes) if s != t])
    chosen = pairs[rng.choice(len(pairs), num_edges, replace=False)]
    return make_edges(chosen[:, 0], chosen[:, 1], num_genes)


def runs_of(score, positive):
    edges = make_edges(np.zeros(len(score), dtype=int), np.arange(1, len(score) + 1), len(score) + 1)
    order = metrics.sort_ranking(np.asarray(score, dtype=float), edges)
    return metrics.tie_runs(order.level_E[order.order_E], np.asarray(positive)[order.order_E])


@pytest.mark.parametrize(("_name", "seed", "num_levels"), CASES)
def test_global_metrics_equal_scikit_learn(_name, seed, num_levels):
    rng = np.random.default_rng(seed)
    score, positive = rng.integers(0, num_levels, 400).astype(float), rng.random(400) < 0.2
    runs = runs_of(score, positive)
    assert metrics.auroc(runs) == pytest.approx(roc_auc_score(positive, score), abs=1e-12)
    assert metrics.average_precision(runs) == pytest.approx(average_precision_score(positive, score), abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=1, max_size=25))
def test_early_precision_is_the_mean_over_orders_within_ties(rows):
    score, positive = np.array([row[0] for row in rows], dtype=float), np.array([row[1] for row in rows])
    value = metrics.early_precision(runs_of(score, positive))
    num = int(positive.sum())
    if num in (0, len(rows)):
        assert value is None
        return
    # By hand: all above the cut, and the mean of the tie at the cut for the places that are left.
    cut = np.sort(score)[::-1][num - 1]
    above, tied = score > cut, score == cut
    expected = (positive[above].sum() + (num - above.sum()) * positive[tied].mean()) / num
    assert value == pytest.approx(expected, abs=1e-12)


def test_precision_at_any_number_is_the_mean_over_orders_within_ties():
    runs = runs_of([3, 2, 2, 2, 1], [True, True, False, False, True])
    assert [metrics.precision_at(runs, num) for num in (1, 2, 4, 5)] == pytest.approx([1, (1 + 1 / 3) / 2, 2 / 4, 3 / 5])
    assert metrics.precision_at(runs, 6) is metrics.precision_at(runs, 0) is None


@pytest.mark.parametrize(("_name", "seed", "num_levels"), CASES)
def test_weights_of_edges_equal_scikit_learn(_name, seed, num_levels):
    rng = np.random.default_rng(seed)
    level, positive, weight = np.sort(rng.integers(0, num_levels, 300)), rng.random(300) < 0.3, rng.integers(0, 4, 300).astype(float)
    runs = metrics.tie_runs(level, positive, weight)
    assert metrics.auroc(runs) == pytest.approx(roc_auc_score(positive, -level, sample_weight=weight))
    assert metrics.average_precision(runs) == pytest.approx(average_precision_score(positive, -level, sample_weight=weight))


def test_the_better_direction_is_the_better_level_of_the_two():
    edges = make_edges([0, 1, 0], [1, 0, 2], 3)
    level, order = metrics.better_direction(np.array([2, 0, 1]), edges.reverse_E)
    assert level.tolist() == [0, 0, 1]
    assert order.tolist() == [0, 1, 2]
    assert metrics.better_direction(np.zeros(0, dtype=int), np.zeros(0, dtype=int))[1].size == 0


@pytest.mark.parametrize(("_name", "seed", "num_levels"), CASES)
@pytest.mark.parametrize("end", ["source_E", "target_E"])
def test_grouped_auroc_equals_a_double_loop(end, _name, seed, num_levels):
    rng = np.random.default_rng(seed)
    edges = draw_edges(rng, 12, 90)
    score, positive, inside = rng.integers(0, num_levels, 90).astype(float), rng.random(90) < 0.3, rng.random(90) < 0.8
    won = pairs = 0.0
    counted = set()
    group = getattr(edges, end)
    for p in np.flatnonzero(positive & inside):
        for n in np.flatnonzero(~positive & inside):
            if group[p] == group[n]:
                pairs += 1
                won += (score[p] > score[n]) + 0.5 * (score[p] == score[n])
                counted.add(group[p])
    order = metrics.sort_ranking(score, edges)
    row = {"source_E": order.by_source_E, "target_E": order.by_target_E}[end]
    row = row[inside[row]]
    value, num_groups = metrics.grouped_auroc(group[row], order.level_E[row], positive[row])
    assert value == pytest.approx(won / pairs, abs=1e-12)
    assert num_groups == len(counted)


def test_grouped_auroc_ignores_what_separates_groups():
    # Every edge of source 0 outranks every edge of source 1, and only source 0 has mostly positives: high overall, chance within sources.
    edges = make_edges([0, 0, 0, 1, 1, 1], [2, 3, 4, 2, 3, 4], 5)
    score, positive = np.array([9.0, 9, 9, 1, 1, 1]), np.array([True, True, False, False, False, True])
    order = metrics.sort_ranking(score, edges)
    row = order.by_source_E
    assert metrics.grouped_auroc(edges.source_E[row], order.level_E[row], positive[row]) == (0.5, 2)
    assert metrics.auroc(metrics.tie_runs(order.level_E[order.order_E], positive[order.order_E])) > 0.6


@pytest.mark.parametrize(("_name", "seed", "num_levels"), CASES)
def test_direction_accuracy_equals_a_loop(_name, seed, num_levels):
    rng = np.random.default_rng(seed)
    edges = draw_edges(rng, 12, 110)
    score, positive, inside = rng.integers(0, num_levels, 110).astype(float), rng.random(110) < 0.3, rng.random(110) < 0.9
    place = {(s, t): i for i, (s, t) in enumerate(zip(edges.source_E.tolist(), edges.target_E.tolist(), strict=True))}
    won = []
    for (s, t), i in place.items():
        j = place.get((t, s))
        if positive[i] and inside[i] and j is not None and inside[j] and not positive[j]:
            won.append(1.0 if score[i] > score[j] else 0.5 if score[i] == score[j] else 0.0)
    value, num = metrics.direction_accuracy(metrics.sort_ranking(score, edges).level_E, positive, inside, edges.reverse_E)
    assert (value, num) == (pytest.approx(np.mean(won)), len(won))
    assert len(won) > 5


def test_direction_accuracy_has_no_value_where_both_directions_are_true():
    edges = make_edges([0, 1], [1, 0], 2)
    assert metrics.direction_accuracy(np.array([0, 1]), np.array([True, True]), np.array([True, True]), edges.reverse_E) == (None, 0)


def test_sign_accuracy_counts_signed_true_edges_only():
    sign = np.array([1, -1, 0, 1, 1], dtype=np.int8)
    truth = np.array([1, 1, 1, 0, -1], dtype=np.int8)
    assert metrics.sign_accuracy(sign, truth, np.ones(5, dtype=bool)) == (pytest.approx(1 / 3), 3)
    assert metrics.sign_accuracy(sign, truth, np.array([True, False, True, True, False])) == (1.0, 1)
    assert metrics.sign_accuracy(np.zeros(5, dtype=np.int8), truth, np.ones(5, dtype=bool)) == (None, 0)


@pytest.mark.parametrize("positive", [[], [True, True], [False]])
def test_one_class_has_no_value(positive):
    runs = runs_of(np.arange(len(positive), dtype=float), np.array(positive, dtype=bool))
    assert metrics.auroc(runs) is metrics.average_precision(runs) is metrics.early_precision(runs) is None
    assert metrics.roc_curve(runs)[0].size == metrics.pr_curve(runs)[0].size == 0


def test_curves_are_short_monotone_and_keep_the_top():
    rng = np.random.default_rng(5)
    score = rng.normal(size=20_000)
    positive = rng.random(20_000) < 1 / (1 + np.exp(5 - 2 * score))
    runs = runs_of(score, positive)
    x, y = metrics.roc_curve(runs)
    assert x.size == y.size <= 200
    assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
    assert (np.diff(x) >= 0).all()
    assert (np.diff(y) >= 0).all()
    assert np.trapezoid(y, x) == pytest.approx(metrics.auroc(runs), abs=2e-3)
    recall, precision = metrics.pr_curve(runs)
    assert recall.size <= 200
    assert (np.diff(recall) >= 0).all()
    assert (recall[-1], precision[-1]) == (1, pytest.approx(positive.mean()))
    # The left end: the best edge is the first point, and half of the points lie below a recall of one half.
    assert precision[0] == positive[np.argmax(score)]
    assert (recall < 0.5).mean() >= 0.5
    # Each point is a true point of the curve.
    order = np.argsort(-score)
    true = np.cumsum(positive[order])
    every = {(round(r, 12), round(p, 12)) for r, p in zip(true / true[-1], true / np.arange(1, 20_001), strict=True)}
    assert {(round(r, 12), round(p, 12)) for r, p in zip(recall, precision, strict=True)} <= every


def test_small_curves_keep_every_point():
    recall, precision = metrics.pr_curve(runs_of([3, 2, 2, 1], [True, False, True, False]))
    np.testing.assert_allclose(recall, [0.5, 1, 1])
    np.testing.assert_allclose(precision, [1, 2 / 3, 0.5])
