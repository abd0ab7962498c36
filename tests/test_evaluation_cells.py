"""Metrics of one ranking on one reference and subset, against scikit-learn and loops; what cannot be judged says why."""

import numpy as np
import pytest
from evaluation_cases import code_random_edges
from sklearn.metrics import average_precision_score, roc_auc_score

from causcade.evaluation import cells, matching
from causcade.evaluation.edges import Reference
from causcade.evaluation.rankings import Ranking
from causcade.evaluation.resampling import resample_targets


def make_reference(edges, positive, *, eligible=None, is_directed=False, num_genes_in_panel=30):
    return Reference(
        name="custom", is_directed=is_directed, is_positive_E=positive, is_eligible_E=np.ones(len(positive), bool) if eligible is None else eligible,
        true_sign_E=np.where(positive, 1, 0).astype(np.int8), num_pairs=9, num_pairs_in_candidates=9, num_genes_in_panel=num_genes_in_panel,
    )  # fmt: skip


def make_views(seed=0, *, num_edges=500, num_levels=30, share=0.06, positive=None, chosen=None, score=None, **options):
    rng = np.random.default_rng(seed)
    edges = code_random_edges(seed, num_genes=30, num_edges=num_edges)
    score = rng.integers(0, num_levels, num_edges).astype(float) if score is None else score
    # As in an undirected reference, both directions of a pair are positive or none.
    both = rng.random((30, 30)) < share
    both |= both.T
    positive = both[edges.source_E, edges.target_E] if positive is None else positive
    chosen = rng.random(num_edges) < 0.8 if chosen is None else chosen
    keys = matching.draw_keys(edges, rng)
    matched = matching.match_negatives(matching.degree_strata(edges), keys, positive, chosen)
    field = cells.make_field(edges, make_reference(edges, positive, **options), "all", chosen, matched)
    return cells.view_edges(cells.sort_edges(edges, Ranking(name="causal", score_E=score)), field), score, positive, chosen, matched


def measured(views, num_top=20):
    return {row["metric"]: row for row in cells.measure(views, num_top)}


@pytest.mark.parametrize("num_levels", [2, 30, 100_000])
def test_degree_matched_areas_equal_scikit_learn_with_weights(num_levels):
    views, score, positive, _, matched = make_views(1, num_levels=num_levels)
    rows = measured(views)
    assert rows["degree_matched_auroc"]["value"] == pytest.approx(roc_auc_score(positive, score, sample_weight=matched))
    assert rows["degree_matched_auprc"]["value"] == pytest.approx(average_precision_score(positive, score, sample_weight=matched))
    assert rows["degree_matched_auprc"]["base_rate"] == pytest.approx(1 / 11)
    assert rows["degree_matched_auprc"]["num_positive"] == (matched[positive] > 0).sum()
    assert rows["degree_matched_auprc"]["num_edges"] == (matched > 0).sum()


@pytest.mark.parametrize("num_levels", [2, 30, 100_000])
def test_the_better_direction_equals_a_loop(num_levels):
    views, score, positive, chosen, _ = make_views(2, num_levels=num_levels)
    edges = views.ranked.edges
    row = {pair: i for i, pair in enumerate(zip(edges.source_E.tolist(), edges.target_E.tolist(), strict=True))}
    pairs = {}  # the reverse gives its score whether or not it is in the subset; the pair counts once
    for (s, t), i in row.items():
        if chosen[i]:
            pairs[frozenset((s, t))] = (positive[i], max(score[i], score[row[t, s]] if (t, s) in row else -np.inf))
    truth, best = map(np.array, zip(*pairs.values(), strict=True))
    rows = measured(views)
    assert len(pairs) < chosen.sum() - 20
    assert rows["better_direction_auroc"]["value"] == pytest.approx(roc_auc_score(truth, best))
    assert rows["better_direction_auprc"]["value"] == pytest.approx(average_precision_score(truth, best))
    assert (rows["better_direction_auprc"]["num_edges"], rows["better_direction_auprc"]["num_positive"]) == (len(pairs), truth.sum())
    assert rows["better_direction_auprc"]["base_rate"] == pytest.approx(truth.mean())
    assert rows["auroc"]["value"] == pytest.approx(roc_auc_score(positive[chosen], score[chosen]))  # as it is, beside it


def test_directed_references_have_no_better_direction():
    names = measured(make_views(3, is_directed=True)[0])
    assert not any(name.startswith("better_direction") for name in names)
    assert "direction_accuracy" in names


def test_precision_at_the_top_and_early_precision_ratio():
    views, score, positive, chosen, _ = make_views(4, num_levels=100_000)
    rows, order = measured(views), np.flatnonzero(chosen)[np.argsort(-score[chosen])]
    num = positive[chosen].sum()
    assert rows["top_precision"]["value"] == pytest.approx(positive[order[:20]].mean())
    assert rows["early_precision"]["value"] == pytest.approx(positive[order[:num]].mean())
    assert rows["early_precision_ratio"]["value"] == pytest.approx(positive[order[:num]].mean() / positive[chosen].mean())
    assert (rows["early_precision"]["base_rate"], rows["early_precision_ratio"]["base_rate"]) == (pytest.approx(positive[chosen].mean()), 1)
    few = measured(views, num_top=1000)["top_precision"]
    assert (few["value"], few["note"]) == (None, "fewer than 1000 edges")


def test_resampled_values_equal_scikit_learn_with_weights():
    views, score, positive, chosen, matched = make_views(5)
    edges, rng = views.ranked.edges, np.random.default_rng(0)
    weight_TB = resample_targets(30, 6, rng)
    draws = cells.resample(views, edges.target_E.astype(np.int32), weight_TB, measured(views))
    assert set(draws) == {
        "auprc", "auroc", "same_source_auroc", "degree_matched_auprc", "degree_matched_auroc", "better_direction_auprc", "better_direction_auroc",
    }  # fmt: skip
    for column in range(6):
        weight = weight_TB[edges.target_E, column].astype(float)
        assert draws["auroc"][column] == pytest.approx(roc_auc_score(positive, score, sample_weight=weight * chosen))
        assert draws["degree_matched_auprc"][column] == pytest.approx(average_precision_score(positive, score, sample_weight=weight * matched))
        won = pairs = 0.0
        for p in np.flatnonzero(positive & chosen):
            for n in np.flatnonzero(~positive & chosen & (edges.source_E == edges.source_E[p])):
                pairs += weight[p] * weight[n]
                won += weight[p] * weight[n] * ((score[p] > score[n]) + 0.5 * (score[p] == score[n]))
        assert draws["same_source_auroc"][column] == pytest.approx(won / pairs)


def test_those_that_lead_come_first():
    assert [row["metric"] for row in cells.measure(make_views(6)[0], 20)][:5] == [
        "auprc", "same_source_auroc", "degree_matched_auprc", "degree_matched_auroc", "auroc",
    ]  # fmt: skip


NONE = np.zeros(500, dtype=bool)


@pytest.mark.parametrize(("change", "note"), [
    ({"positive": NONE}, "no positive edge"),
    ({"positive": ~NONE}, "no negative edge"),
    ({"chosen": NONE}, "no edge of this subset is in the reference's universe"),
    ({"chosen": NONE, "num_genes_in_panel": 0}, "no gene of the reference's universe is in the panel"),
    ({"num_edges": 0, "positive": NONE[:0], "chosen": NONE[:0]}, "there are no candidate edges"),
])  # fmt: skip
def test_what_cannot_be_judged_says_why(change, note):
    rows = cells.measure(make_views(**change)[0], 20)
    assert all(row["value"] is None and row["defined"] is None for row in rows)
    assert {row["note"] for row in rows} == {note}
    assert cells.curves_of(make_views(**change)[0]) == {}


def test_one_positive_is_enough_for_a_value_and_too_few_for_an_interval():
    positive = NONE.copy()
    positive[7] = True
    views, score, *_ = make_views(7, positive=positive, chosen=~NONE)
    rows = measured(views)
    assert rows["auroc"]["value"] == pytest.approx(roc_auc_score(positive, score))
    assert rows["early_precision"]["value"] is not None
    draws = cells.resample(views, views.ranked.edges.target_E.astype(np.int32), resample_targets(30, 200, np.random.default_rng(0)), ["auroc"])
    assert 0.25 < np.isnan(draws["auroc"]).mean() < 0.5  # its target is not drawn in 1/e of the resamplings


def test_equal_scores_have_no_value_but_a_chance_level():
    rows = cells.measure(make_views(8, score=np.ones(500))[0], 20)
    assert all(row["value"] is None and row["note"] == cells.CONSTANT_NOTE for row in rows)
    level = {row["metric"]: row["defined"] for row in rows}
    assert (level["auroc"], level["degree_matched_auroc"], level["same_source_auroc"], level["lift"]) == (0.5, 0.5, 0.5, pytest.approx(1))
    assert level["degree_matched_auprc"] == pytest.approx(1 / 11)
