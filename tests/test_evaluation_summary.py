"""Headline and verdicts: what the numbers mean, in plain sentences."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
from evaluation_cases import draw_case, value_of

from causcade.config import EvaluationConfig
from causcade.evaluation import evaluate
from causcade.evaluation.verdicts import NOT_A_RESULT, held_out_baseline_verdict, held_out_verdict, hub_verdict

SETTINGS = EvaluationConfig(bootstrap=80, hubs=10)


def verdicts_of(inputs, *, reference="truth", settings=SETTINGS):
    summary = evaluate(inputs, settings=settings, seed=0).summary
    json.dumps(summary, allow_nan=False)
    return summary, {one["key"]: one for one in summary["verdicts"] if one["reference"] in (reference, None)}


@pytest.mark.parametrize("num", [1, 2, 3])
def test_a_verdict_on_a_null_says_how_many_draws_there_were(num):
    inputs = draw_case()
    rng = np.random.default_rng(0)
    scores = {name: score for name, score in inputs.scores.items() if "edge_null" not in name}
    scores |= {f"edge_null{i}": rng.normal(size=len(inputs.candidate_edges)) for i in range(num)}
    summary, verdicts = verdicts_of(dataclasses.replace(inputs, scores=scores), settings=EvaluationConfig(bootstrap=20, hubs=10))
    words = "one draw" if num == 1 else f"best of {num} draws"
    assert f"beats its edge null (responses permuted gene by gene), {words}: AUROC" in verdicts["edge_null"]["sentence"]
    assert {found["num_draws"] for found in verdicts["edge_null"]["numbers"].values()} == {num}
    assert f"({words})" in summary["headline"]["sentence"]
    assert "draw" not in verdicts["coexpression"]["sentence"]
    assert "num_draws" not in verdicts["coexpression"]["numbers"]["auprc"]


def test_a_true_network_beats_everything_and_says_by_how_much():
    inputs = draw_case()
    tables = evaluate(inputs, settings=SETTINGS, seed=0)
    summary, verdicts = verdicts_of(inputs)
    for key in ("edge_null", "label_null", "coexpression", "mean_shift", "ridge", "listed_target", "held_out"):
        assert verdicts[key]["answer"] == "yes", verdicts[key]["sentence"]
        assert NOT_A_RESULT not in verdicts[key]["sentence"]
    found = verdicts["coexpression"]["numbers"]["auprc"]
    key = {"reference": "truth", "subset": "no_prior", "metric": "auprc"}
    assert found["causal"] == pytest.approx(value_of(tables.metrics, ranking="causal", **key))
    assert found["other"] == pytest.approx(value_of(tables.metrics, ranking="coexpression", **key))
    assert found["low"] <= found["difference"] <= found["high"]
    assert f"AUPRC {found['causal']:.3f} against {found['other']:.3f}" in verdicts["coexpression"]["sentence"]
    assert "the causal ranking beats coexpression" in verdicts["coexpression"]["sentence"]
    assert summary["headline"]["is_result"] is True
    assert summary["headline"]["reference"] == "truth"
    assert summary["headline"]["sentence"].endswith("The edge null (best of 2 draws) does not reach this.")


def test_both_nulls_of_a_good_model_stand_beside_it():
    tables = evaluate(draw_case(), settings=SETTINGS, seed=0)
    for reference in ("truth", "string"):
        shown = tables.summary["references"][reference]["no_prior"]
        for null in ("edge_null0", "edge_null1", "label_null0"):
            for metric in ("auprc", "same_source_auroc", "degree_matched_auprc", "auroc"):
                low, high = shown[null][metric]["interval"]
                assert low <= high < shown["causal"][metric]["interval"][0], (reference, null, metric)
        curves = tables.curves.query("reference == @reference and subset == 'no_prior'")
        assert {"causal", "edge_null0", "edge_null1", "label_null0"} <= set(curves["ranking"])


@pytest.mark.parametrize("seed", range(3))
def test_noise_beats_nothing_and_is_declared_no_result(seed):
    summary, verdicts = verdicts_of(draw_case(seed, causal_noise=None))
    for key in ("edge_null", "coexpression"):
        assert verdicts[key]["answer"] == "no"
        assert "does not beat" in verdicts[key]["sentence"]
    assert verdicts["edge_null"]["sentence"].endswith(NOT_A_RESULT)
    assert NOT_A_RESULT not in verdicts["coexpression"]["sentence"]
    assert summary["headline"]["is_result"] is False
    assert summary["headline"]["sentence"].endswith(NOT_A_RESULT)


def test_what_the_edge_null_also_reaches_is_not_a_result_however_high():
    inputs = draw_case()
    rng = np.random.default_rng(0)
    reached = inputs.scores["causal"] + 0.01 * rng.normal(size=len(inputs.candidate_edges))
    summary, verdicts = verdicts_of(dataclasses.replace(inputs, scores={**inputs.scores, "edge_null1": reached}))
    assert verdicts["edge_null"]["answer"] == "no"
    assert verdicts["edge_null"]["numbers"]["auprc"]["opponent"] == "edge_null1"  # the best null counts, not the mean
    assert verdicts["coexpression"]["answer"] == "yes"
    assert summary["headline"]["is_result"] is False


def test_one_metric_alone_is_not_enough():
    # The ten best edges are true, the rest is upside down: AUPRC above coexpression, AUROC below.
    inputs = draw_case(5)
    score = 1 / (1 + np.abs(inputs.scores["causal"]))
    best = np.argsort(-np.abs(inputs.scores["causal"]) * (inputs.candidate_edges["sources"] == "coexpression"))[:25]
    score[best] += 5
    scores = {**inputs.scores, "causal": score, "edge_null0": inputs.candidate_edges["coexpression"].to_numpy()}
    summary, verdicts = verdicts_of(dataclasses.replace(inputs, scores=scores))
    assert verdicts["coexpression"]["answer"] == "no"
    assert verdicts["coexpression"]["numbers"]["auprc"]["low"] > 0
    assert "it fails on AUROC" in verdicts["coexpression"]["sentence"]
    auroc = verdicts["edge_null"]["numbers"]["auroc"]
    assert summary["headline"]["is_result"] is False
    assert summary["headline"]["sentence"].endswith(
        f"It is above its edge null (best of 2 draws) in AUPRC but not clearly in AUROC ({auroc['causal']:.3f} against {auroc['other']:.3f}). "
        f"{NOT_A_RESULT}"
    )


def test_a_ranking_of_equal_scores_is_said_to_say_nothing():
    inputs = draw_case()
    summary, _ = verdicts_of(dataclasses.replace(inputs, scores={"causal": np.zeros(len(inputs.candidate_edges))}))
    assert summary["headline"]["is_result"] is False
    assert summary["headline"]["sentence"] == "The causal ranking gives every candidate edge the same score, so it says nothing about the network."


def test_without_nulls_it_cannot_be_told():
    inputs = draw_case()
    summary, verdicts = verdicts_of(dataclasses.replace(inputs, scores={"causal": inputs.scores["causal"]}, responses=None, held_out={}))
    for key in ("edge_null", "label_null", "mean_shift", "ridge", "held_out", "held_out_baselines"):
        assert verdicts[key]["answer"] == "not testable"
        assert "cannot be told" in verdicts[key]["sentence"]
    assert summary["headline"]["is_result"] is None
    assert "not yet a result" in summary["headline"]["sentence"]


def test_without_resamplings_the_sentence_says_that_there_is_no_interval():
    _, verdicts = verdicts_of(draw_case(), settings=EvaluationConfig(bootstrap=0))
    assert verdicts["coexpression"]["answer"] == "yes"
    assert "no interval" in verdicts["coexpression"]["sentence"]


def test_without_truth_the_references_lead_and_every_one_is_judged():
    inputs = draw_case(with_truth=False)
    pairs = pd.concat([inputs.reference_pairs, inputs.reference_pairs.assign(reference="humap")])
    outside = pd.DataFrame({"reference": ["complexportal"], "gene": ["Z"]})
    universe = pd.concat([inputs.reference_universe, inputs.reference_universe.assign(reference="humap"), outside])
    summary, _ = verdicts_of(dataclasses.replace(inputs, reference_pairs=pairs, reference_universe=universe))
    assert summary["headline"]["reference"] == "string"
    assert list(summary["references"]) == ["string", "complexportal", "humap"]
    assert summary["references"]["complexportal"]["num_edges"] == 0
    asked = {one["reference"] for one in summary["verdicts"]}
    assert asked == {"string", "humap", "complexportal", None}


def test_no_reference_at_all_is_said():
    inputs = draw_case(with_truth=False)
    summary, _ = verdicts_of(dataclasses.replace(inputs, reference_pairs=inputs.reference_pairs.iloc[:0]))
    assert summary["headline"]["reference"] is None
    assert "No reference can judge" in summary["headline"]["sentence"]


def test_held_out_numbers_are_means_over_perturbations():
    inputs = draw_case()
    tables = evaluate(inputs, settings=SETTINGS, seed=0)
    part = tables.held_out[tables.held_out["predictor"] == "causal"]
    found = tables.summary["held_out"]["causal"]
    assert found["pearson"] == pytest.approx(part["pearson"].mean())
    assert found["fits"]["drugs0"]["pearson_centred"] == pytest.approx(part["pearson_centred"].mean())
    assert found["num_perturbations"] == 3
    assert tables.summary["held_out"]["zero"]["pearson"] is None


def held_out_frame(with_causal, without):
    rows = [("drugs0", f"d{i}", name, value) for name, values in (("causal_plus_training_mean", with_causal), ("training_mean", without))
            for i, value in enumerate(values)]  # fmt: skip
    return pd.DataFrame(rows, columns=["fit", "perturbation", "predictor", "pearson"]).astype({"pearson": "Float64"})


def test_held_out_verdict_needs_more_than_a_lucky_perturbation():
    assert held_out_verdict(held_out_frame([0.5, 0.6, 0.55], [0.3, 0.4, 0.3]))["answer"] == "yes"
    lucky = held_out_verdict(held_out_frame([0.9, 0.1, 0.1], [0.1, 0.12, 0.12]))
    assert lucky["answer"] == "no"
    assert lucky["numbers"]["difference"] > 0
    assert "does not add" in lucky["sentence"]
    assert held_out_verdict(held_out_frame([0.9], [0.1]))["answer"] == "not testable"


def test_simple_predictions_from_the_same_targets_have_to_be_beaten_in_turn():
    model, ridge, mean = [0.5, 0.6, 0.55, 0.5], [0.3, 0.4, 0.3, 0.31], [0.1, 0.2, None, 0.2]
    rows = [("drugs0", f"d{i}", name, value) for name, values in (("causal_plus_training_mean", model), ("target_ridge", ridge),
            ("same_target_mean", mean)) for i, value in enumerate(values)]  # fmt: skip
    table = pd.DataFrame(rows, columns=["fit", "perturbation", "predictor", "pearson"]).astype({"pearson": "Float64"})
    verdict = held_out_baseline_verdict(table)
    assert verdict["answer"] == "yes"
    difference = np.array(model) - np.array(ridge)
    found = verdict["numbers"]["target_ridge"]
    assert (found["difference"], found["standard_error"]) == pytest.approx((difference.mean(), difference.std(ddof=1) / 2))
    assert verdict["numbers"]["same_target_mean"]["num_perturbations"] == 3
    assert "ridge regression on the targets: mean Pearson 0.538 against 0.328 on 4 perturbations" in verdict["sentence"]
    better = table.assign(pearson=table["pearson"] + (table["predictor"] == "target_ridge") * 0.3)
    assert held_out_baseline_verdict(better)["answer"] == "no"
    lines = held_out_baseline_verdict(table.assign(fit="line_A549"))
    assert lines["answer"] == "not testable"
    assert "fewer than two are comparable" in lines["sentence"]


def test_held_out_lines_are_no_held_out_perturbations():
    drugs = held_out_frame([0.5, 0.6, 0.55], [0.3, 0.4, 0.3])
    lines = held_out_frame([0.9, 0.9, 0.9], [0.1, 0.1, 0.1]).assign(fit="line_A549")
    assert held_out_verdict(pd.concat([drugs, lines])) == held_out_verdict(drugs)
    assert held_out_verdict(lines)["answer"] == "not testable"


def test_hubs_count_only_beyond_mask_and_nulls():
    names = ["mask", "causal", "edge_null0"]
    tests = pd.DataFrame({"ranking": names, "test": "tf_out", "num_hubs": 50, "hits": [15, 30, 24], "p_value": [0.01, 1e-9, 1e-5]})
    assert hub_verdict(tests, "tf_out")["answer"] == "yes"
    below = hub_verdict(tests.assign(hits=[15, 24, 24]), "tf_out")
    assert below["answer"] == "no"
    assert "does not go beyond" in below["sentence"]
    assert below["numbers"]["rivals"] == {"mask": 15, "edge_null0": 24}
    assert hub_verdict(tests.assign(p_value=0.2), "tf_out")["answer"] == "no"
