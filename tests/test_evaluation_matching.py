"""Degree-matched negatives."""

import numpy as np
import pandas as pd
import pytest
from evaluation_cases import code_random_edges
from sklearn.metrics import roc_auc_score

from causcade.evaluation import matching
from causcade.evaluation.edges import code_edges


def by_hand(stratum, key, positive, inside):
    """Weights by loops: in each stratum the ten negatives per positive that come first in the drawn order."""
    weight = np.zeros(len(stratum))
    for one in np.unique(stratum):
        members = [i for i in range(len(stratum)) if stratum[i] == one and inside[i]]
        wanted = 10 * sum(positive[i] for i in members)
        negatives = sorted((i for i in members if not positive[i]), key=lambda i: key[i])
        for i in negatives[:wanted]:
            weight[i] = wanted / min(wanted, len(negatives))
        for i in members:
            if positive[i]:
                weight[i] = 1.0 if negatives else 0.0
    return weight


@pytest.mark.parametrize(("seed", "num_strata", "share"), [(0, 5, 0.03), (1, 40, 0.1), (2, 1, 0.02), (3, 200, 0.3)])
def test_weights_equal_a_loop(seed, num_strata, share):
    rng = np.random.default_rng(seed)
    stratum, key = rng.integers(0, num_strata, 600), rng.permutation(600)
    positive, inside = rng.random(600) < share, rng.random(600) < 0.8
    found = matching.match_negatives(stratum, key, positive, inside)
    np.testing.assert_allclose(found, by_hand(stratum, key, positive, inside))
    assert not found[~inside].any()
    for one in np.unique(stratum):  # exactly ten to one in every stratum, or nothing
        here = stratum == one
        assert found[here & ~positive].sum() == pytest.approx(10 * found[here & positive].sum())


def test_strata_group_edges_by_both_degrees():
    edges = code_random_edges(0, num_genes=40, num_edges=900)
    stratum = matching.degree_strata(edges)
    out, incoming = np.bincount(edges.source_E, minlength=40)[edges.source_E], np.bincount(edges.target_E, minlength=40)[edges.target_E]
    for degree, group in ((out, stratum // 20), (incoming, stratum % 20)):
        assert group.max() < 20
        order = np.argsort(degree, kind="stable")
        assert (np.diff(group[order]) >= 0).all()  # groups follow the degree
        assert all(len(set(group[degree == one])) == 1 for one in set(degree))  # equal degrees stay together


def test_popular_genes_alone_are_worth_nothing_against_matched_negatives():
    # Positives lie at genes of high degree and nowhere in particular among them: a product of degrees finds them, matching takes that away.
    rng = np.random.default_rng(3)
    num_genes = 200
    popular = rng.gamma(1.0, 1.0, num_genes)
    chance = np.outer(popular, popular)
    np.fill_diagonal(chance, 0)
    target, source = np.divmod(rng.choice(num_genes**2, 8000, replace=False, p=(chance / chance.sum()).ravel()), num_genes)
    genes = np.array([f"G{i:03d}" for i in range(num_genes)])
    table = pd.DataFrame({"regulator": genes[source], "target": genes[target], "sources": "coexpression"})
    edges = code_edges(table, pd.DataFrame({"gene": genes}))
    degree = np.bincount(source, minlength=num_genes)[source] * np.bincount(target, minlength=num_genes)[target]
    positive = rng.random(8000) < 0.2 * (degree / degree.max()) ** 0.7
    weight = matching.match_negatives(matching.degree_strata(edges), matching.draw_keys(edges, rng), positive, np.ones(8000, dtype=bool))
    assert roc_auc_score(positive, degree) > 0.6
    assert roc_auc_score(positive, degree, sample_weight=weight) == pytest.approx(0.5, abs=0.03)


def test_the_draw_goes_by_names_and_by_the_seed():
    edges = code_random_edges(1, num_genes=30, num_edges=400)
    turned = code_random_edges(1, num_genes=30, num_edges=400, order=np.random.default_rng(9).permutation(400))
    names = [dict(zip(zip(one.source_E, one.target_E, strict=True), matching.draw_keys(one, np.random.default_rng(5)), strict=True))
             for one in (edges, turned)]  # fmt: skip
    assert names[0] == names[1]
    assert sorted(names[0].values()) == list(range(400))
    assert not np.array_equal(matching.draw_keys(edges, np.random.default_rng(5)), matching.draw_keys(edges, np.random.default_rng(6)))


def test_no_edges_no_positives_no_negatives():
    none = np.zeros(0, dtype=np.int64)
    assert matching.match_negatives(none, none, none.astype(bool), none.astype(bool)).size == 0
    edges = code_random_edges(2, num_genes=30, num_edges=0)
    assert matching.degree_strata(edges).size == matching.draw_keys(edges, np.random.default_rng(0)).size == 0
    stratum, everything = np.zeros(5, dtype=np.int64), np.ones(5, dtype=bool)
    assert not matching.match_negatives(stratum, np.arange(5), ~everything, everything).any()
    assert not matching.match_negatives(stratum, np.arange(5), everything, everything).any()
