from dataclasses import replace

import networkx
import numpy as np
import pandas as pd
import pytest
from evidence_cases import make_latent
from screens import make_screen

from causcade.config import NetworkConfig
from causcade.errors import InputError
from causcade.network import FIRST_COLUMNS, LAST_COLUMNS, build_network, edge_stability, log2_effect, reach, write_network
from causcade.responses import aggregate, build_responses

SCREEN = make_screen()
EDGES = SCREEN.edges
SETTINGS = NetworkConfig()
EVIDENCE = ["latent", "deconvolution", "aggregate"]


@pytest.fixture(scope="module")
def effects():
    return aggregate(build_responses(SCREEN.conditions, SCREEN.baselines, SCREEN.targets))


def values(seed):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=len(EDGES)) * (rng.random(len(EDGES)) < 0.5)).astype(np.float32)


@pytest.fixture(scope="module")
def weights():
    return {"weight": values(0), "weight_no_prior": values(1)}


def make_evidence(seed):
    latent = make_latent(EDGES, seed)
    columns = {name: values(10 * seed + i) for i, name in enumerate(["weight", "weight_no_prior", "deconvolution", "aggregate"], 3)}
    return latent[["regulator", "target"]].assign(
        latent=latent["score"] * latent["sign"], **columns, probability=latent["probability"], latent_weight=latent["effect"]
    )


@pytest.fixture(scope="module")
def evidence():
    return {"main": make_evidence(0), "boot0": make_evidence(0), "boot1": make_evidence(2), "edgenull0": make_evidence(3).head(2)}


@pytest.fixture(scope="module")
def table(weights, evidence, effects):
    return build_network(EDGES, weights, evidence, effects, "latent")


def test_columns_and_order_are_those_of_the_candidates(table, weights, evidence):
    assert list(table.columns) == [*FIRST_COLUMNS, *EVIDENCE, "latent_weight", *LAST_COLUMNS]
    assert table[["regulator", "target"]].equals(EDGES[["regulator", "target"]])
    for name, weight in weights.items():
        np.testing.assert_array_equal(table[name], weight)
    for name in (*EVIDENCE, "probability", "latent_weight"):
        np.testing.assert_array_equal(table[name], evidence["main"][name])


@pytest.mark.parametrize("score", ["weight", "weight_no_prior", "deconvolution", "aggregate"])
def test_score_rank_and_sign_are_of_the_chosen_column(weights, evidence, effects, score):
    table = build_network(EDGES, weights, evidence, effects, score)
    np.testing.assert_array_equal(table["score"], np.abs(evidence["main"][score]))
    np.testing.assert_array_equal(table["sign"], np.sign(evidence["main"][score]))
    scored = table[table["score"] > 0]
    assert sorted(scored["rank"]) == list(range(1, len(scored) + 1))
    assert scored.sort_values("rank")["score"].is_monotonic_decreasing
    assert table["rank"].dtype == "Int32"
    assert table.loc[table["score"] == 0, "rank"].isna().all()
    assert 0 < len(scored) < len(EDGES)


def expected_effect(weight, sign, effects):
    place = {gene: i for i, gene in enumerate(effects.genes["gene"])}
    source, target = ([place[gene] for gene in EDGES[column]] for column in ("regulator", "target"))
    full = log2_effect(weight, effects.control_mean_G[source], effects.control_mean_G[target])
    return np.where((np.sign(weight) == sign) & (sign != 0), full, np.nan)


def test_the_effect_is_that_of_the_latent_weight_else_of_the_weight_without_prior_and_agrees_in_sign(table, weights, evidence, effects):
    latent = evidence["main"]["latent_weight"].to_numpy()
    weight = np.where(np.isnan(latent), weights["weight_no_prior"], latent)
    np.testing.assert_allclose(table["effect"], expected_effect(weight, table["sign"].to_numpy(), effects), rtol=1e-5)
    known = table["effect"].notna()
    assert 0 < known.sum() < len(table)
    assert (np.sign(table.loc[known, "effect"]) == table.loc[known, "sign"]).all()


def test_the_effect_of_a_score_that_is_a_weight_is_of_that_weight(weights, evidence, effects):
    own = {"main": evidence["main"].assign(weight=weights["weight"] * 3), "boot0": evidence["boot0"].drop(columns="weight")}
    table = build_network(EDGES, weights, own, effects, "weight")
    np.testing.assert_allclose(table["effect"], expected_effect(weights["weight"], np.sign(weights["weight"]), effects), rtol=1e-5)


def test_without_a_latent_fit_there_is_no_probability(weights, evidence, effects):
    bare = evidence["main"].drop(columns=["latent", "probability", "latent_weight"])
    table = build_network(EDGES, weights, {"main": bare}, effects, "deconvolution")
    assert table["probability"].isna().all()
    assert "latent" not in table


def test_where_nothing_is_learnt_no_edge_has_a_rank(weights, evidence, effects, tmp_path):
    nothing = {"main": evidence["main"].assign(latent=0.0)}
    table = build_network(EDGES, weights, nothing, effects, "latent")
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


def test_stability_counts_bootstraps_with_the_edge_on_top_and_its_sign(table, evidence):
    score = np.zeros(200)
    score[:4] = [9, -8, 7, 6]
    sign = np.sign(score).astype(np.int8)
    assert edge_stability(sign, [score, -score, 0 * score])[:5].tolist() == pytest.approx([1 / 3, 1 / 3, 0, 0, 0])
    assert np.isnan(edge_stability(sign, [])).all()
    boots = [np.sign(evidence[name]["latent"]) for name in ("boot0", "boot1")]
    np.testing.assert_allclose(table["sign_stability"], np.mean([boot == table["sign"] for boot in boots], axis=0))
    assert table["sign_stability"].min() == 0.5


def test_identifiability_counts_the_perturbations_that_hit_or_move_the_regulator(weights, evidence, effects):
    only = np.arange(len(effects.genes)) == 3
    one = replace(effects, is_target_DG=effects.is_target_DG & only, sign_DG=effects.sign_DG * only)
    table = build_network(EDGES, weights, evidence, one, "latent")
    moving = dict(zip(effects.genes["gene"], (np.abs(effects.effect_DG / effects.se_DG) >= 5).sum(axis=0), strict=True))
    expected = ["direct" if gene == "G003" else "indirect" if moving[gene] >= 2 else "none" for gene in table["regulator"]]
    assert table["identifiability"].tolist() == expected
    assert {"direct", "indirect"} <= set(expected)
    assert table.loc[table["regulator"] == "G003", "num_perturbations"].unique().tolist() == [one.is_target_DG.sum()]
    hit = table["regulator"] == "G003"
    assert table.loc[hit, "hops"].eq(0).all()
    assert (table.loc[hit, "num_bearing"] == table.loc[hit, "num_perturbations"]).all()
    best = table.nsmallest(max(1, round(0.01 * len(table))), "rank")
    first = set(best.loc[best["regulator"] == "G003", "target"]) - {"G003"}
    assert set(table.loc[table["hops"] == 1, "regulator"]) == first & set(table["regulator"])
    assert table["hops"].dtype == "Int8"


@pytest.mark.parametrize(
    ("size", "num_moving", "expected"), [(6, 0, "none"), (6, 1, "none"), (6, 2, "indirect"), (4, 2, "none"), (-6, 2, "indirect")]
)
def test_a_regulator_that_none_hits_needs_two_perturbations_that_move_it(weights, evidence, effects, size, num_moving, expected):
    standardised = np.zeros_like(effects.effect_DG)
    standardised[:num_moving] = size
    made = replace(effects, effect_DG=standardised * effects.se_DG, is_target_DG=np.zeros_like(effects.is_target_DG))
    table = build_network(EDGES, weights, evidence, made, "latent")
    assert set(table["identifiability"]) == {expected}
    assert not table["num_perturbations"].any()
    assert table["hops"].isna().all()


def test_reach_is_the_shortest_way_from_a_target():
    """0 -> 1 -> 2 -> 3 and 4 -> 2; perturbations hit 0 (twice) and 4; 5 is on a circle that nothing reaches."""
    is_target = np.zeros((3, 7), bool)
    is_target[[0, 1], 0], is_target[2, 4] = True, True
    hops, num = reach(is_target, np.array([1, 2, 3, 2, 5, 6]), np.array([0, 1, 2, 4, 6, 5]))
    assert hops.tolist() == [0, 1, 1, 2, 0, -1, -1]
    assert num.tolist() == [2, 2, 1, 1, 1, 0, 0]
    path = np.arange(9)
    far, _ = reach(np.arange(10)[None] == 0, path + 1, path)
    assert far.tolist() == [0, 1, 2, 3, 4, 5, 6, -1, -1, -1]


def test_missing_fits_columns_and_lengths_are_told(weights, evidence, effects):
    with pytest.raises(InputError, match="expected the evidence of the fit main, and weight and weight_no_prior, found boot0, and weight"):
        build_network(EDGES, {"weight": weights["weight"]}, {"boot0": evidence["boot0"]}, effects, "latent")
    with pytest.raises(InputError, match=rf"weight_no_prior: expected {len(EDGES)} edges, found 3"):
        build_network(EDGES, weights | {"weight_no_prior": np.zeros(3)}, evidence, effects, "latent")
    with pytest.raises(InputError, match=rf"boot0: expected {len(EDGES)} edges, found 5"):
        build_network(EDGES, weights, evidence | {"boot0": evidence["boot0"].head(5)}, effects, "latent")
    with pytest.raises(InputError, match="expected a column of the evidence of main, found ridge"):
        build_network(EDGES, weights, evidence, effects, "ridge")


def test_exports_hold_the_best_edges(table, tmp_path):
    write_network(table, tmp_path, NetworkConfig(num_export=40))
    best = table[(table["score"] > 0) & table["effect"].notna()].nsmallest(40, "rank")
    tsv = pd.read_csv(tmp_path / "edges.tsv", sep="\t")
    assert list(tsv.columns) == ["source", "target", "weight"]
    np.testing.assert_allclose(tsv["weight"], best["effect"], atol=1e-6)
    graph = networkx.read_graphml(tmp_path / "network.graphml")
    assert set(graph.edges) == set(zip(best["regulator"], best["target"], strict=True))
    row = best.iloc[0]
    assert graph.edges[row["regulator"], row["target"]]["weight"] == pytest.approx(row["effect"], abs=1e-6)
    assert "probability" in graph.edges[row["regulator"], row["target"]] or np.isnan(row["probability"])
    assert pd.read_parquet(tmp_path / "edges.parquet").equals(table)


def test_regulons_split_by_sign(table, tmp_path):
    write_network(table, tmp_path, NetworkConfig(num_export=40))
    best = table[(table["score"] > 0) & table["effect"].notna()].nsmallest(40, "rank")
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
