"""The stage: its files, and mistakes in its inputs."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
from evaluation_cases import draw_case

from causcade.config import EvaluationConfig
from causcade.errors import InputError
from causcade.evaluation import evaluate, write_evaluation

SETTINGS = EvaluationConfig(bootstrap=20, hubs=5)
FILES = [
    "curves.parquet", "drug_bootstrap.parquet", "evidence_gains.parquet", "gains.parquet", "held_out.parquet", "hub_tests.parquet", "hubs.parquet",
    "leak.parquet", "metrics.parquet", "summary.json",
]  # fmt: skip


def test_files_hold_the_tables_and_equal_seeds_give_equal_bytes(tmp_path):
    tables = evaluate(draw_case(), settings=SETTINGS, seed=0)
    write_evaluation(tables, tmp_path / "first")
    write_evaluation(evaluate(draw_case(), settings=SETTINGS, seed=0), tmp_path / "second")
    assert sorted(path.name for path in (tmp_path / "first").iterdir()) == FILES
    for name in FILES:
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes(), name
    read = pd.read_parquet(tmp_path / "first" / "metrics.parquet")
    columns = ["reference", "ranking", "subset", "metric", "value", "low", "high", "num_positive", "num_edges", "prevalence", "base_rate", "note"]
    assert list(read.columns) == columns
    pd.testing.assert_frame_equal(read, tables.metrics, check_dtype=False)
    assert read["value"].isna().sum() == tables.metrics["value"].isna().sum()
    summary = json.loads((tmp_path / "first" / "summary.json").read_text())
    assert set(summary) == {"headline", "verdicts", "references", "held_out", "score", "settings"}
    assert summary["settings"] == {"bootstrap": 20, "hubs": 5, "top": 100, "hub_edge_share": 0.1, "seed": 0}


def test_an_empty_mask_is_written_too(tmp_path):
    case = draw_case()
    empty = dataclasses.replace(
        case, candidate_edges=case.candidate_edges.iloc[:0], scores={"causal": np.zeros(0)}, raw_correlation=None, held_out={}
    )  # fmt: skip
    tables = evaluate(empty, settings=SETTINGS, seed=0)
    write_evaluation(tables, tmp_path)
    assert tables.metrics["value"].isna().all()
    assert (tables.metrics["note"] != "").all()
    assert tables.summary["headline"]["reference"] is None


def test_hubs_stand_beside_those_of_the_mask_and_of_every_null():
    tables = evaluate(draw_case(), settings=SETTINGS, seed=0)
    rankings = ["mask", "causal", "causal_prior", "coexpression", "edge_null0", "edge_null1", "label_null0"]
    assert tables.hub_tests["ranking"].drop_duplicates().tolist() == rankings
    assert tables.hubs["ranking"].drop_duplicates().tolist() == rankings
    assert tables.hubs.groupby(["ranking", "kind"]).size().eq(5).all()


def test_drug_targets_may_name_their_gene_target():
    case = draw_case()
    renamed = dataclasses.replace(case, drug_links=case.drug_links.rename(columns={"gene": "target"}).assign(source="x"))
    pd.testing.assert_frame_equal(evaluate(renamed, settings=SETTINGS, seed=0).metrics, evaluate(case, settings=SETTINGS, seed=0).metrics)


def test_only_screened_perturbations_bear_on_a_source():
    case = draw_case()
    unscreened = pd.DataFrame({"perturbation": ["other"], "gene": ["GENE59"], "sign": [-1]})
    more = dataclasses.replace(case, drug_links=pd.concat([case.drug_links, unscreened]))
    pd.testing.assert_frame_equal(evaluate(more, settings=SETTINGS, seed=0).metrics, evaluate(case, settings=SETTINGS, seed=0).metrics)


def test_weights_of_another_mask_are_refused():
    case = draw_case()
    with pytest.raises(InputError, match=r"ranking edge_null0: expected one score for each of 1500 candidate edges, found shape \(3,\)"):
        evaluate(dataclasses.replace(case, scores={**case.scores, "edge_null0": np.ones(3)}), settings=SETTINGS, seed=0)
