"""Hubs and their enrichment."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from causcade.evaluation import hubs
from causcade.evaluation.edges import code_edges
from causcade.evaluation.rankings import Ranking

NUM_GENES = 30
GENES = [f"G{i:02d}" for i in range(NUM_GENES)]


def draw_edges(seed=0, num_edges=400):
    rng = np.random.default_rng(seed)
    pairs = np.array([(s, t) for s in range(25) for t in range(NUM_GENES) if s != t])  # the last five genes regulate nothing
    source, target = pairs[rng.choice(len(pairs), num_edges, replace=False)].T
    panel = pd.DataFrame({"gene": GENES, "is_tf": rng.random(NUM_GENES) < 0.3, "is_drug_target": rng.random(NUM_GENES) < 0.4})
    table = pd.DataFrame({"regulator": np.array(GENES)[source], "target": np.array(GENES)[target], "sources": "coexpression"})
    return table, panel, rng.normal(size=num_edges) ** 2


def test_degrees_equal_a_loop_over_the_best_tenth():
    table, panel, score = draw_edges()
    found, _ = hubs.hub_tables(code_edges(table, panel), panel, [Ranking(name="causal", score_E=score)], 8)
    best = table.iloc[np.argsort(-score)[:40]]
    for kind, column in (("out", "regulator"), ("in", "target")):
        top = found[(found["ranking"] == "causal") & (found["kind"] == kind)]
        assert top["position"].tolist() == list(range(1, 9))
        count = best[column].value_counts()
        assert top["degree"].tolist() == sorted(count.tolist(), reverse=True)[:8]
        assert [count[gene] for gene in top["gene"]] == top["degree"].tolist()
        marked = panel.set_index("gene").loc[top["gene"]]
        assert top["is_tf"].tolist() == marked["is_tf"].tolist()
        assert top["is_drug_target"].tolist() == marked["is_drug_target"].tolist()


def test_the_mask_counts_all_candidate_edges():
    table, panel, _ = draw_edges(1)
    found, tests = hubs.hub_tables(code_edges(table, panel), panel, [], 50)
    out = found[found["kind"] == "out"].set_index("gene")["degree"]
    assert out.to_dict() == table["regulator"].value_counts().to_dict()
    assert set(found["ranking"]) == {"mask"}
    # The background of the out-degree is the regulators only: all of them are hubs here, and nothing is enriched.
    row = tests[tests["test"] == "tf_out"].iloc[0]
    assert (row["num_hubs"], row["num_background"], row["hits"], row["p_value"]) == (25, 25, row["num_marked"], 1.0)


def test_p_values_equal_fisher():
    table, panel, score = draw_edges(2)
    found, tests = hubs.hub_tables(code_edges(table, panel), panel, [Ranking(name="causal", score_E=score)], 6)
    for test, kind, column, mark in (("tf_out", "out", "regulator", "is_tf"), ("target_in", "in", "target", "is_drug_target")):
        row = tests[(tests["ranking"] == "causal") & (tests["test"] == test)].iloc[0]
        background = panel[panel["gene"].isin(table[column])]
        is_hub = background["gene"].isin(found[(found["ranking"] == "causal") & (found["kind"] == kind)]["gene"])
        counts = pd.crosstab(is_hub, background[mark]).reindex(index=[True, False], columns=[True, False], fill_value=0).to_numpy()
        assert row["hits"] == counts[0, 0]
        assert row["p_value"] == pytest.approx(stats.fisher_exact(counts, alternative="greater").pvalue)
        assert row["expected"] == pytest.approx(6 * background[mark].mean())


def test_planted_hubs_are_found_and_a_null_finds_none():
    table, panel, score = draw_edges(3)
    panel["is_tf"] = np.arange(NUM_GENES) < 6
    planted = score + 20 * (table["regulator"].isin(GENES[:6])).to_numpy()
    rankings = [Ranking(name="causal", score_E=planted), Ranking(name="edge_null0", score_E=score)]
    _, tests = hubs.hub_tables(code_edges(table, panel), panel, rankings, 6)
    tests = tests[tests["test"] == "tf_out"].set_index("ranking")
    assert tests.loc["causal", "hits"] == 6
    assert tests.loc["causal", "p_value"] < 1e-4
    assert tests.loc["edge_null0", "p_value"] > 0.05


def test_ties_at_the_cut_share_the_places_that_are_left():
    np.testing.assert_allclose(hubs.edge_share_at_cut(np.array([3.0, 1, 2, 2, 2, 0]), 2), [1, 0, 1 / 3, 1 / 3, 1 / 3, 0])
    np.testing.assert_array_equal(hubs.edge_share_at_cut(np.array([1.0, 2.0]), 5), [1, 1])
    np.testing.assert_array_equal(hubs.edge_share_at_cut(np.array([1.0, 2.0]), 0), [0, 0])


def test_the_order_of_edges_does_not_matter():
    table, panel, score = draw_edges(4)
    score = np.round(score, 1)  # ties
    order = np.random.default_rng(9).permutation(len(table))
    first = hubs.hub_tables(code_edges(table, panel), panel, [Ranking(name="causal", score_E=score)], 10)
    second = hubs.hub_tables(code_edges(table.iloc[order], panel), panel, [Ranking(name="causal", score_E=score[order])], 10)
    for one, other in zip(first, second, strict=True):
        pd.testing.assert_frame_equal(one, other)


def test_no_candidate_edges_have_no_hubs():
    table, panel, _ = draw_edges()
    found, tests = hubs.hub_tables(code_edges(table.iloc[:0], panel), panel, [Ranking(name="causal", score_E=np.zeros(0))], 5)
    assert found.empty
    assert (tests["num_hubs"] == 0).all()
    assert (tests["p_value"] == 1).all()


def test_mask_and_best_null_stand_beside_every_ranking():
    table, panel, score = draw_edges(6)
    rng = np.random.default_rng(0)
    names = ["causal", "edge_null0", "edge_null1"]
    _, tests = hubs.hub_tables(code_edges(table, panel), panel, [Ranking(name=name, score_E=rng.random(len(score))) for name in names], 6)
    for test, part in tests.groupby("test"):
        hits = part.set_index("ranking")["hits"]
        assert (part["mask_hits"] == hits["mask"]).all(), test
        assert (part["edge_null_hits"] == max(hits["edge_null0"], hits["edge_null1"])).all()
        assert part["label_null_hits"].isna().all()
