"""The causal ranking beside its nulls, and its spread over resampled perturbations."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from evaluation_cases import draw_case, value_of
from scipy import stats

from causcade.config import EvaluationConfig
from causcade.evaluation import evaluate
from causcade.evaluation.comparison import Comparison
from causcade.evaluation.gains import evidence_gains_table, gains_table

SETTINGS = EvaluationConfig(bootstrap=60, hubs=10)


@pytest.fixture(scope="module")
def case():
    return draw_case()


@pytest.fixture(scope="module")
def tables(case):
    rng = np.random.default_rng(8)
    boots = {f"causal_boot{i}": case.scores["causal"] + 0.25 * rng.normal(size=len(case.candidate_edges)) for i in range(1, 4)}
    return evaluate(dataclasses.replace(case, scores={**case.scores, **boots}), settings=SETTINGS, seed=1)


def test_gains_are_causal_minus_nulls(tables):
    for metric in ("auroc", "auprc", "same_source_auroc", "direction_accuracy"):
        key = {"reference": "truth", "subset": "no_prior", "metric": metric}
        value = {name: value_of(tables.metrics, ranking=name, **key) for name in ("causal", "edge_null0", "edge_null1", "label_null0")}
        row = tables.gains.query("reference == 'truth' and subset == 'no_prior' and metric == @metric").iloc[0]
        nulls = [value["edge_null0"], value["edge_null1"]]
        assert row["value"] == pytest.approx(value["causal"])
        assert (row["edge_null_mean"], row["edge_null_max"]) == (pytest.approx(np.mean(nulls)), pytest.approx(max(nulls)))
        assert row["gain_over_edge_null"] == pytest.approx(value["causal"] - np.mean(nulls))
        assert row["gain_over_edge_null_max"] == pytest.approx(value["causal"] - max(nulls))
        assert row["gain_over_label_null"] == pytest.approx(value["causal"] - value["label_null0"])


def test_gains_without_nulls_are_missing(case):
    inputs = dataclasses.replace(case, scores={"causal": case.scores["causal"]})
    gains = evaluate(inputs, settings=EvaluationConfig(bootstrap=0), seed=0).gains
    assert gains["gain_over_edge_null"].isna().all()
    assert gains.loc[gains["metric"] == "auroc", "value"].notna().all()


def test_the_interval_of_a_gain_is_that_of_paired_resamplings():
    rng = np.random.default_rng(0)
    keys = {name: ("truth", name, "no_prior", "auprc") for name in ("causal", "edge_null0", "edge_null1")}
    draws = {keys[name]: rng.normal(level, 0.1, 200) for name, level in (("causal", 0.5), ("edge_null0", 0.2), ("edge_null1", 0.3))}
    metrics = pd.DataFrame({"reference": ["truth"], "ranking": ["causal"], "subset": ["no_prior"], "metric": ["auprc"]})
    value = {keys["causal"]: 0.5, keys["edge_null0"]: 0.2, keys["edge_null1"]: 0.3}
    row = gains_table(Comparison(metrics=metrics, value=value, draws=draws), list(keys)).iloc[0]
    difference = draws[keys["causal"]] - (draws[keys["edge_null0"]] + draws[keys["edge_null1"]]) / 2
    assert row["gain_over_edge_null"] == pytest.approx(0.25)
    assert (row["gain_over_edge_null_low"], row["gain_over_edge_null_high"]) == pytest.approx(tuple(np.percentile(difference, [2.5, 97.5])))
    assert pd.isna(row["gain_over_label_null_low"])


def test_resampled_fits_give_the_spread_over_perturbations_and_no_rankings(case, tables):
    plain = evaluate(case, settings=SETTINGS, seed=1)
    pd.testing.assert_frame_equal(plain.metrics, tables.metrics)
    found = tables.drug_bootstrap.set_index(["reference", "subset", "metric"])
    row = found.loc[("truth", "no_prior", "auprc")]
    assert row["num_fits"] == 3
    assert row["value"] == pytest.approx(value_of(tables.metrics, reference="truth", ranking="causal", subset="no_prior", metric="auprc"))
    assert row["mean"] < row["value"]
    assert row["value"] - row["low"] == pytest.approx(stats.t.ppf(0.975, 2) * row["sd"])
    lift = found.loc[("truth", "no_prior", "lift")]
    assert lift["high"] - lift["value"] == pytest.approx(stats.t.ppf(0.975, 2) * lift["sd"])
    assert (tables.drug_bootstrap["low"].dropna() >= 0).all()
    is_bounded = ~tables.drug_bootstrap["metric"].isin(["lift", "early_precision_ratio"])
    assert (tables.drug_bootstrap.loc[is_bounded, "high"].dropna() <= 1).all()
    spread = tables.summary["references"]["truth"]["causal_over_perturbations"]["auprc"]
    assert (spread["low"], spread["num_fits"]) == (pytest.approx(row["low"]), 3)


@pytest.mark.parametrize("num_fits", [0, 1])
def test_fewer_than_two_resampled_fits_have_no_spread(case, num_fits):
    boots = {f"causal_boot{i}": case.scores["causal"] for i in range(num_fits)}
    inputs = dataclasses.replace(case, scores={**case.scores, **boots})
    table = evaluate(inputs, settings=EvaluationConfig(bootstrap=0), seed=1).drug_bootstrap
    assert (table["num_fits"] == num_fits)[table["value"].notna()].all()
    assert table["low"].isna().all()
    assert set(table.loc[table["value"].notna(), "note"]) == {"fewer than two resampled fits"}


def test_evidence_columns_stand_beside_their_own_nulls(case):
    rng = np.random.default_rng(3)
    names = ("ridge_edge_null0", "ridge_edge_null1", "ridge_label_null0", "b_edge_null0")
    draws = {name: rng.normal(size=len(case.candidate_edges)) for name in names}
    evidence = {"ridge": case.scores["causal"], "b": draws["b_edge_null0"]}
    found = evaluate(dataclasses.replace(case, evidence=evidence, evidence_nulls=draws), settings=SETTINGS, seed=1)
    assert not set(draws) & (set(found.metrics["ranking"]) | set(found.curves["ranking"]) | set(found.hub_tests["ranking"]))
    assert (found.metrics["ranking"] == "ridge").any()
    assert set(found.evidence_gains["evidence"]) == {"ridge", "b"}
    # The same values as rankings of their own have the same numbers.
    key = {"reference": "truth", "subset": "no_prior", "metric": "auprc"}
    row = found.evidence_gains.query("evidence == 'ridge' and reference == 'truth' and subset == 'no_prior' and metric == 'auprc'").iloc[0]
    renamed = evaluate(dataclasses.replace(case, evidence={f"c{i}": value for i, value in enumerate(draws.values())}), settings=SETTINGS, seed=1)
    nulls = [value_of(renamed.metrics, ranking=f"c{i}", **key) for i in range(3)]
    assert row["value"] == pytest.approx(value_of(found.metrics, ranking="ridge", **key))
    assert (row["edge_null_mean"], row["edge_null_max"]) == (pytest.approx(np.mean(nulls[:2])), pytest.approx(max(nulls[:2])))
    assert row["gain_over_edge_null"] == pytest.approx(row["value"] - np.mean(nulls[:2]))
    assert row["gain_over_label_null"] == pytest.approx(row["value"] - nulls[2])
    other = found.evidence_gains.query("evidence == 'b'")
    assert other["label_null_mean"].isna().all()
    assert (other.loc[other["value"].notna(), "gain_over_edge_null"] == 0).all()


def test_without_nulls_of_evidence_the_table_is_empty(tables):
    assert tables.evidence_gains.empty
    assert "gain_over_edge_null" in evidence_gains_table(Comparison(metrics=tables.metrics), ["causal", "edge_null0"]).columns
