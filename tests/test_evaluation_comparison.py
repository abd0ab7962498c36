"""Metrics of all rankings on all references and subsets; gains over the nulls."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from evaluation_cases import draw_case, value_of
from sklearn.metrics import average_precision_score, roc_auc_score

from causcade.config import EvaluationConfig
from causcade.evaluation import evaluate
from causcade.evaluation.comparison import INTERVAL_METRICS
from causcade.evaluation.edges import SUBSETS

SETTINGS = EvaluationConfig(bootstrap=60, hubs=10)
CONSTANT = "all scores are equal: the ranking puts no edge before another"


def shuffled(inputs, seed=3):
    """The same inputs with the rows of every table in another order."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(inputs.candidate_edges))
    tables = ("reference_pairs", "reference_universe", "drug_links", "truth_edges")
    return dataclasses.replace(
        inputs,
        candidate_edges=inputs.candidate_edges.iloc[order].reset_index(drop=True),
        scores={name: score[order] for name, score in reversed(inputs.scores.items())},
        raw_correlation=inputs.raw_correlation[order],
        **{name: getattr(inputs, name).sample(frac=1, random_state=seed) for name in tables},
    )


@pytest.fixture(scope="module")
def case():
    return draw_case()


@pytest.fixture(scope="module")
def tables(case):
    return evaluate(case, settings=SETTINGS, seed=1)


def test_values_equal_scikit_learn_on_the_edges_of_the_subset(case, tables):
    edges = case.candidate_edges
    true = {(row.regulator, row.target) for row in case.truth_edges.itertuples()}
    positive = np.array([pair in true for pair in zip(edges["regulator"], edges["target"], strict=True)])
    hit = edges["regulator"].isin(case.drug_links["gene"]).to_numpy()
    no_prior = (edges["sources"] == "coexpression").to_numpy()
    everything = np.ones(len(edges), dtype=bool)
    masks = {"all": everything, "no_prior": no_prior, "no_prior_source_hit": no_prior & hit, "no_prior_source_not_hit": no_prior & ~hit}
    for subset, mask in masks.items():
        for ranking, score in (("causal", np.abs(case.scores["causal"])), ("raw_coexpression", np.abs(case.raw_correlation))):
            key = {"reference": "truth", "ranking": ranking, "subset": subset}
            auprc = average_precision_score(positive[mask], score[mask])
            assert value_of(tables.metrics, metric="auroc", **key) == pytest.approx(roc_auc_score(positive[mask], score[mask]))
            assert value_of(tables.metrics, metric="auprc", **key) == pytest.approx(auprc)
            assert value_of(tables.metrics, metric="lift", **key) == pytest.approx(auprc / positive[mask].mean())


def test_undirected_reference_is_judged_within_its_universe(case, tables):
    edges = case.candidate_edges
    universe = set(case.reference_universe["gene"])
    pairs = {frozenset(pair) for pair in case.reference_pairs[["gene_a", "gene_b"]].itertuples(index=False)}
    inside = (edges["regulator"].isin(universe) & edges["target"].isin(universe)).to_numpy()
    positive = np.array([frozenset(pair) in pairs for pair in zip(edges["regulator"], edges["target"], strict=True)])
    key = {"reference": "string", "ranking": "causal", "subset": "all"}
    assert value_of(tables.metrics, metric="auroc", **key) == pytest.approx(roc_auc_score(positive[inside], np.abs(case.scores["causal"])[inside]))
    row = tables.metrics.query("reference == 'string' and ranking == 'causal' and subset == 'all' and metric == 'auroc'").iloc[0]
    assert (row["num_edges"], row["num_positive"]) == (inside.sum(), positive[inside].sum())
    assert row["prevalence"] == pytest.approx(positive[inside].mean())


def test_a_ranking_that_only_knows_the_prior_scores_high_until_curated_edges_are_removed():
    num_held, judged = 0, 0
    for seed in range(8):
        inputs = draw_case(seed, num_edges=2000, num_true=300, causal_noise=None, curated_percent=90)
        tables = evaluate(inputs, settings=EvaluationConfig(bootstrap=200), seed=0)
        # An undirected reference also counts the reverse of a curated edge, which the prior does not list: there the better direction shows the leak.
        for reference, metric in (("truth", "auroc"), ("string", "better_direction_auroc")):
            for ranking in ("prior", "causal_prior"):
                assert value_of(tables.metrics, reference=reference, ranking=ranking, subset="all", metric=metric) > 0.9
            rows = tables.metrics.query("reference == @reference and subset == 'no_prior' and metric == @metric").set_index("ranking")
            num_held += rows.loc["causal_prior", "low"] <= 0.5 <= rows.loc["causal_prior", "high"]
            judged += 1
            # The prior itself says nothing about edges that no curated source lists.
            assert pd.isna(rows.loc["prior", "value"])
            assert rows.loc["prior", "note"] == CONSTANT
        assert tables.summary["references"]["string"]["known_to_priors"]["share_of_positives"] > 0.85
        assert tables.summary["headline"]["is_result"] is False
    assert num_held >= 0.85 * judged  # 95 % intervals hold chance, but for chance


def test_only_the_true_network_passes(tables):
    """In every leading metric, on the truth and on the undirected reference, also against its nulls and without popular genes."""
    for reference, metrics in {
        "truth": ["auprc", "same_source_auroc", "degree_matched_auprc", "auroc", "direction_accuracy"],
        "string": ["auprc", "same_source_auroc", "degree_matched_auprc", "better_direction_auprc"],
    }.items():
        for metric in metrics:
            rows = tables.metrics.query("reference == @reference and subset == 'no_prior' and metric == @metric").set_index("ranking")
            others = rows.drop(index=["causal", "causal_prior"])
            assert rows.loc["causal", "value"] > 1.3 * others["value"].max(), (reference, metric)
            if metric != "direction_accuracy":
                assert rows.loc["causal", "low"] > others["high"].max(), (reference, metric)
    causal = value_of(tables.metrics, reference="truth", ranking="causal", subset="no_prior", metric="auprc")
    assert causal > 0.95
    gain = tables.gains.query("subset == 'no_prior' and metric == 'auprc'")
    assert (gain["gain_over_edge_null_low"] > 0).all()
    assert (gain["gain_over_label_null_low"] > 0).all()
    assert tables.summary["headline"]["is_result"] is True


def test_intervals_hold_the_value_and_stand_where_they_should(tables):
    metrics = tables.metrics
    with_interval = metrics[metrics["low"].notna()]
    assert set(with_interval["metric"]) == set(INTERVAL_METRICS)
    assert set(with_interval["subset"]) == set(SUBSETS)
    assert (with_interval["low"] <= with_interval["high"]).all()
    chosen = with_interval[with_interval["ranking"].isin(["coexpression", "edge_null0"]) & (with_interval["metric"] != "degree_matched_auprc")]
    assert ((chosen["low"] <= chosen["value"]) & (chosen["value"] <= chosen["high"])).all()


def test_directed_metrics_are_for_the_truth_and_for_rankings_with_a_sign(tables):
    directed = tables.metrics[tables.metrics["metric"].isin(["direction_accuracy", "sign_accuracy"])]
    assert set(directed["reference"]) == {"truth"}
    signed = set(directed.loc[directed["metric"] == "sign_accuracy", "ranking"])
    assert signed.isdisjoint({"partner_rank", "listed_target"})
    assert value_of(tables.metrics, reference="truth", ranking="causal", subset="no_prior", metric="sign_accuracy") == 1
    row = tables.metrics.query("ranking == 'causal' and subset == 'no_prior' and metric == 'direction_accuracy'").iloc[0]
    assert row["value"] > 0.95
    assert 0 < row["num_positive"] < 120


def test_nothing_is_missing_without_a_note(tables):
    metrics = tables.metrics
    assert metrics["value"].dtype == "Float64"
    assert (metrics.loc[metrics["value"].isna(), "note"] != "").all()
    assert (metrics.loc[metrics["value"].notna(), "note"] == "").all()
    assert not np.isinf(metrics["value"].dropna().to_numpy(dtype=float)).any()
    assert set(metrics["subset"]) == set(SUBSETS)


def test_no_positives_one_class_and_an_empty_subset_are_told(case):
    false_pair = pd.DataFrame({"reference": ["humap"], "gene_a": ["GENE00"], "gene_b": ["UNKNOWN"], "score": [1.0]})
    edges = case.candidate_edges
    everything = pd.DataFrame({"reference": "reactome", "gene_a": edges["regulator"], "gene_b": edges["target"], "score": np.nan})
    genes = case.panel["gene"]
    universe = pd.concat([pd.DataFrame({"reference": name, "gene": part}) for name, part in (("humap", genes), ("reactome", genes), ("string", []))])
    inputs = dataclasses.replace(
        case, reference_pairs=pd.concat([case.reference_pairs.iloc[:0], false_pair, everything]), reference_universe=universe, truth_edges=None
    )
    metrics = evaluate(inputs, settings=SETTINGS, seed=0).metrics
    notes = {name: set(part["note"]) for name, part in metrics[metrics["metric"] == "auroc"].groupby("reference")}
    assert notes == {"humap": {"no positive edge"}, "reactome": {"no negative edge"}}
    none = dataclasses.replace(case, drug_links=case.drug_links.iloc[:0])
    metrics = evaluate(none, settings=SETTINGS, seed=0).metrics
    assert set(metrics.loc[metrics["subset"] == "no_prior_source_hit", "note"]) <= {
        "no edge of this subset is in the reference's universe", "no true edge whose reverse is a candidate and not true",
        "no true edge to which this ranking gives a sign",
    }  # fmt: skip


def test_all_scores_equal_have_no_value_but_count_as_chance_among_nulls(case):
    flat = dataclasses.replace(case, scores={**case.scores, "edge_null0": np.zeros(len(case.candidate_edges))})
    del flat.scores["edge_null1"]
    tables = evaluate(flat, settings=SETTINGS, seed=0)
    rows = tables.metrics[(tables.metrics["ranking"] == "edge_null0") & tables.metrics["metric"].isin(["auroc", "auprc", "same_source_auroc"])]
    assert rows["value"].isna().all()
    assert (rows["note"] == CONSTANT).all()
    gain = tables.gains.query("reference == 'truth' and subset == 'no_prior'").set_index("metric")
    assert gain.loc["auroc", "edge_null_max"] == 0.5
    assert gain.loc["lift", "edge_null_max"] == pytest.approx(1)


def test_the_order_of_rows_does_not_matter(case, tables):
    other = evaluate(shuffled(case), settings=SETTINGS, seed=1)
    for name in ("metrics", "curves", "gains", "hubs", "hub_tests", "held_out"):
        pd.testing.assert_frame_equal(getattr(tables, name), getattr(other, name), check_exact=False, atol=1e-12)


def test_monotone_transformations_change_no_ranking(case, tables):
    inputs = dataclasses.replace(case, scores={name: np.sign(score) * score**2 * 7 for name, score in case.scores.items()})
    pd.testing.assert_frame_equal(evaluate(inputs, settings=SETTINGS, seed=1).metrics, tables.metrics)


def test_equal_seeds_give_equal_intervals_and_other_seeds_others(case, tables):
    pd.testing.assert_frame_equal(evaluate(case, settings=SETTINGS, seed=1).metrics, tables.metrics)
    other = evaluate(case, settings=SETTINGS, seed=2).metrics
    assert not other["low"].equals(tables.metrics["low"])
    is_drawn = other["metric"].str.startswith("degree_matched")
    pd.testing.assert_series_equal(other["value"][~is_drawn], tables.metrics["value"][~is_drawn])
    assert not other["value"][is_drawn].equals(tables.metrics["value"][is_drawn])  # the negatives are drawn by the seed


def test_curves_are_for_all_and_no_prior(tables):
    sizes = tables.curves.groupby(["reference", "ranking", "subset", "curve"]).size()
    assert sizes.max() <= 200
    assert set(tables.curves["subset"]) == {"all", "no_prior"}
    assert set(tables.curves["curve"]) == {"roc", "pr"}
    assert tables.curves[["x", "y"]].to_numpy().min() >= 0
    assert tables.curves[["x", "y"]].to_numpy().max() <= 1


def test_threads_change_nothing(case, tables):
    other = evaluate(case, settings=SETTINGS, seed=1, num_threads=3)
    for name in ("metrics", "curves", "gains"):
        pd.testing.assert_frame_equal(getattr(other, name), getattr(tables, name))


def test_a_reference_without_a_gene_in_the_panel_is_told(case):
    strangers = pd.DataFrame({"reference": ["humap"], "gene_a": ["X"], "gene_b": ["Y"], "score": [1.0]})
    universe = pd.DataFrame({"reference": "humap", "gene": ["X", "Y"]})
    inputs = dataclasses.replace(case, reference_pairs=strangers, reference_universe=universe, truth_edges=None)
    tables = evaluate(inputs, settings=SETTINGS, seed=0)
    assert tables.metrics["value"].isna().all()
    assert set(tables.metrics["note"]) == {"no gene of the reference's universe is in the panel"}
    assert tables.summary["references"]["humap"]["num_genes_in_panel"] == 0


def test_one_positive_has_values_and_says_why_it_has_no_interval(case):
    edges = case.candidate_edges
    one = edges[edges["sources"] == "coexpression"].iloc[[0]]
    inputs = dataclasses.replace(case, truth_edges=pd.DataFrame({"regulator": one["regulator"], "target": one["target"], "weight": 1.0}))
    metrics = evaluate(inputs, settings=EvaluationConfig(bootstrap=200), seed=0).metrics
    row = metrics.query("reference == 'truth' and ranking == 'causal' and subset == 'no_prior' and metric == 'auroc'").iloc[0]
    assert 0 <= row["value"] <= 1
    assert pd.isna(row["low"])
    assert row["note"] == "no interval: fewer than 90% of the resamplings hold both classes"
    assert metrics.loc[metrics["value"].isna(), "note"].ne("").all()


def test_evidence_columns_are_rankings_of_their_own(case):
    posterior = np.abs(case.scores["causal"]) ** 3
    metrics = evaluate(dataclasses.replace(case, evidence={"posterior": posterior}), settings=EvaluationConfig(bootstrap=0), seed=0).metrics
    key = {"reference": "truth", "subset": "no_prior", "metric": "auprc"}
    assert value_of(metrics, ranking="posterior", **key) == pytest.approx(value_of(metrics, ranking="causal", **key))


def test_every_ranking_is_shown(tables):
    assert tables.metrics["ranking"].drop_duplicates().tolist() == [
        "causal", "causal_prior", "coexpression", "raw_coexpression", "partner_rank", "prior", "mask", "listed_target", "mean_shift", "ridge",
        "edge_null0", "edge_null1", "label_null0",
    ]  # fmt: skip
    assert tables.metrics["subset"].iloc[0] == "no_prior"
    assert tables.metrics["metric"].tolist()[:2] == ["auprc", "same_source_auroc"]
