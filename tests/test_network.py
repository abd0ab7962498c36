from dataclasses import replace

import networkx
import numpy as np
import pandas as pd
import pytest
from screens import make_screen

from causcade.causal import EdgeWeights
from causcade.config import NetworkConfig
from causcade.errors import InputError
from causcade.network import COLUMNS, build_network, edge_stability, log2_effect, write_network
from causcade.responses import aggregate, build_responses

SCREEN = make_screen()
EDGES = SCREEN.edges
SETTINGS = NetworkConfig()


@pytest.fixture(scope="module")
def responses():
    return build_responses(SCREEN.conditions, SCREEN.baselines, SCREEN.targets)


def weights(seed):
    rng = np.random.default_rng(seed)
    weight = (rng.normal(size=len(EDGES)) * (rng.random(len(EDGES)) < 0.5)).astype(np.float32)
    return EdgeWeights(weight, weight * rng.uniform(1, 3, len(EDGES)).astype(np.float32))


@pytest.fixture(scope="module")
def fits():
    return {"main": weights(0), "noprior": weights(1), "boot0": weights(1), "boot1": weights(2)}


@pytest.fixture(scope="module")
def table(fits, responses):
    return build_network(EDGES, fits, responses, SETTINGS)


def test_columns_and_order_are_those_of_the_candidates(table, fits):
    assert list(table.columns) == COLUMNS
    assert table[["regulator", "target"]].equals(EDGES[["regulator", "target"]])
    np.testing.assert_array_equal(table["weight"], fits["main"].weight)
    np.testing.assert_array_equal(table["weight_no_prior"], fits["noprior"].weight)


@pytest.mark.parametrize(("score", "name"), [("weight", "main"), ("weight_no_prior", "noprior")])
def test_score_sign_and_effect_are_of_the_chosen_fit(fits, responses, score, name):
    table = build_network(EDGES, fits, responses, NetworkConfig(score=score))
    np.testing.assert_array_equal(table["score"], np.abs(fits[name].score))
    np.testing.assert_array_equal(table["sign"], np.sign(fits[name].weight))
    scored = table[table["score"] > 0]
    assert sorted(scored["rank"]) == list(range(1, len(scored) + 1))
    assert scored.sort_values("rank")["score"].is_monotonic_decreasing
    assert table["rank"].dtype == "Int32"
    assert table.loc[table["score"] == 0, "rank"].isna().all()
    assert 0 < len(scored) < len(EDGES)


def test_where_nothing_is_learnt_no_edge_has_a_rank(responses, tmp_path):
    nothing = EdgeWeights(np.zeros(len(EDGES), np.float32), np.zeros(len(EDGES), np.float32))
    table = build_network(EDGES, {"main": nothing, "noprior": nothing}, responses, SETTINGS)
    assert table["rank"].isna().all()
    write_network(table, tmp_path, SETTINGS)
    assert (tmp_path / "edges.tsv").read_text() == "source\ttarget\tweight\n"
    assert pd.read_parquet(tmp_path / "edges.parquet").equals(table)


def test_effect_is_the_derivative_of_log2_counts():
    """One log2 unit of the regulator, by brute force through x = log1p(m)."""
    source_m, target_m, weight, step = 0.8, 5.0, 0.37, 1e-6
    change_x = weight * (np.log1p(source_m * 2**step) - np.log1p(source_m))
    target_after = np.expm1(np.log1p(target_m) + change_x)
    expected = np.log2(target_after / target_m) / step
    found = log2_effect(np.array([weight]), np.log1p([source_m]), np.log1p([target_m]))
    assert found[0] == pytest.approx(expected, rel=1e-4)


def test_effect_is_unknown_where_a_gene_is_not_expressed():
    found = log2_effect(np.ones(3), np.array([0.0, 1.0, 1.0]), np.array([1.0, 0.005, 1.0]))
    assert np.isnan(found).tolist() == [True, True, False]


def test_stability_counts_bootstraps_with_the_edge_on_top_and_its_sign():
    score = np.zeros(200, np.float32)
    score[:4] = [9, -8, 7, 6]
    boots = [EdgeWeights(score, score), EdgeWeights(-score, -score), EdgeWeights(np.zeros_like(score), np.zeros_like(score))]
    sign = np.sign(score).astype(np.int8)
    assert edge_stability(sign, boots)[:5].tolist() == pytest.approx([1 / 3, 1 / 3, 0, 0, 0])
    assert np.isnan(edge_stability(sign, [])).all()


def test_identifiability_counts_the_perturbations_that_hit_or_move_the_regulator(responses, fits):
    one = replace(responses, links=responses.links[responses.links["target"] == 3])
    table = build_network(EDGES, fits, one, SETTINGS)
    effects = aggregate(one)
    moving = dict(zip(effects.genes["gene"], (np.abs(effects.effect_DG / effects.se_DG) >= 5).sum(axis=0), strict=True))
    expected = ["direct" if gene == "G003" else "indirect" if moving[gene] >= 2 else "none" for gene in table["regulator"]]
    assert table["identifiability"].tolist() == expected
    assert {"direct", "indirect"} <= set(expected)
    assert table.loc[table["regulator"] == "G003", "num_perturbations"].unique().tolist() == [len(one.links)]


@pytest.mark.parametrize(
    ("size", "num_moving", "expected"), [(6, 0, "none"), (6, 1, "none"), (6, 2, "indirect"), (4, 2, "none"), (-6, 2, "indirect")]
)
def test_a_regulator_that_none_hits_needs_two_perturbations_that_move_it(responses, fits, monkeypatch, size, num_moving, expected):
    effects = aggregate(responses)
    standardised = np.zeros_like(effects.effect_DG)
    standardised[:num_moving] = size
    made = replace(effects, effect_DG=standardised * effects.se_DG)
    monkeypatch.setattr("causcade.network.aggregate", lambda responses: made)
    table = build_network(EDGES, fits, replace(responses, links=responses.links.iloc[:0]), SETTINGS)
    assert set(table["identifiability"]) == {expected}
    assert not table["num_perturbations"].any()


def test_missing_fits_and_lengths_are_told(fits, responses):
    with pytest.raises(InputError, match="expected the fits main and noprior, found main"):
        build_network(EDGES, {"main": fits["main"]}, responses, SETTINGS)
    short = fits | {"noprior": EdgeWeights(np.zeros(3, np.float32), np.zeros(3, np.float32))}
    with pytest.raises(InputError, match=rf"fit noprior: expected {len(EDGES)} edges, found 3"):
        build_network(EDGES, short, responses, SETTINGS)


def test_exports_hold_the_best_edges(table, tmp_path):
    write_network(table, tmp_path, NetworkConfig(num_export=40))
    best = table[table["score"] > 0].nsmallest(40, "rank")
    tsv = pd.read_csv(tmp_path / "edges.tsv", sep="\t")
    assert list(tsv.columns) == ["source", "target", "weight"]
    np.testing.assert_allclose(tsv["weight"], best["effect"], atol=1e-6)
    graph = networkx.read_graphml(tmp_path / "network.graphml")
    assert set(graph.edges) == set(zip(best["regulator"], best["target"], strict=True))
    row = best.iloc[0]
    assert graph.edges[row["regulator"], row["target"]]["weight"] == pytest.approx(row["effect"], abs=1e-6)
    assert pd.read_parquet(tmp_path / "edges.parquet").equals(table)


def test_regulons_split_by_sign(table, tmp_path):
    write_network(table, tmp_path, NetworkConfig(num_export=40))
    best = table[table["score"] > 0].nsmallest(40, "rank")
    lines = [line.split("\t") for line in (tmp_path / "regulons.gmt").read_text().splitlines()]
    found = {(line[0], gene) for line in lines for gene in line[2:]}
    assert found == {(f"{r}_{'up' if s > 0 else 'down'}", t) for r, t, s in zip(best["regulator"], best["target"], best["sign"], strict=True)}


def test_equal_tables_write_equal_bytes(table, tmp_path):
    for name in ("a", "b"):
        write_network(table, tmp_path / name, SETTINGS)
    for file in ("edges.parquet", "edges.tsv", "network.graphml", "regulons.gmt"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file


def test_nothing_to_export_gives_empty_files(table, tmp_path):
    write_network(table.assign(score=0.0), tmp_path, SETTINGS)
    assert (tmp_path / "edges.tsv").read_text() == "source\ttarget\tweight\n"
    assert (tmp_path / "regulons.gmt").read_text() == ""
    assert not networkx.read_graphml(tmp_path / "network.graphml").edges
