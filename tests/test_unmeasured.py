"""Targets that are not measured: their candidate edges, their place in the effects, and what the latent estimator makes of them."""

import logging
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from latent_cases import make_case

from causcade.config import CausalConfig, LatentConfig, MaskConfig
from causcade.errors import InputError
from causcade.latent import all_candidates, fit_latent, run_latent, write_latent
from causcade.network import add_unmeasured
from causcade.responses import DrugEffects, names_of_unmeasured, responses_for_fit, with_unmeasured
from causcade.unmeasured import EDGE_COLUMNS, find_unmeasured, unmeasured_edges

PANEL = pd.DataFrame({"gene": ["B", "A", "C"], "gene_id": ["ENSG2", "ENSG1", "ENSG3"]})
TARGETS = pd.DataFrame(
    {"perturbation": ["p1", "p2", "p3", "p4"], "target": ["A", "X", "ENSG3", "Y"], "sign": np.int8(-1), "source": "name"},
)
PRIORS = pd.DataFrame(
    {
        "regulator": ["X", "X", "X", "A", "Z"], "target": ["C", "B", "outside", "B", "A"], "sign": np.array([1, -1, 0, 1, 0], np.int8),
        "sources": ["collectri", "trrust", "collectri", "collectri", "collectri"], "confidence": [0.5, 0.25, 0.5, 0.5, 0.5],
    }
)  # fmt: skip


def test_curated_edges_leave_a_target_that_is_not_measured():
    edges = unmeasured_edges(TARGETS, PANEL, PRIORS, MaskConfig())
    assert list(edges.columns) == EDGE_COLUMNS
    assert edges[["regulator", "target", "sources", "prior_confidence", "prior_sign"]].to_numpy().tolist() == [
        ["X", "B", "trrust", 0.25, -1], ["X", "C", "collectri", 0.5, 1],
    ]  # fmt: skip
    assert edges["rank"].isna().all()
    assert not edges["coexpression"].any()


def test_all_and_none():
    every = unmeasured_edges(TARGETS, PANEL, PRIORS, MaskConfig(unmeasured_targets="all"))
    assert every[["regulator", "target"]].to_numpy().tolist() == [[name, gene] for name in "XY" for gene in "BAC"]
    assert every["sources"].tolist() == ["trrust", "", "collectri", "", "", ""]
    assert every["prior_confidence"].tolist() == [0.25, 0, 0.5, 0, 0, 0]
    assert unmeasured_edges(TARGETS, PANEL, PRIORS, MaskConfig(unmeasured_targets="none")).empty


def test_what_enters_and_what_is_only_reported(caplog):
    with caplog.at_level(logging.WARNING):
        table = find_unmeasured(TARGETS, PANEL, unmeasured_edges(TARGETS, PANEL, PRIORS, MaskConfig()))
    assert table["is_measured"].tolist() == [True, False, True, False]
    assert table["enters"].tolist() == [True, True, True, False]
    assert table["num_edges"].tolist() == [0, 2, 0, 0]
    assert "1 listed targets are not measured and enter the network as latent genes: X" in caplog.text
    assert "1 listed targets are not measured and have no candidate edge and stay out of the network: Y" in caplog.text
    assert names_of_unmeasured(table) == ["X"]
    assert names_of_unmeasured(TARGETS) == []


HIDDEN = "G000"


@pytest.fixture(scope="module")
def hidden():
    """A planted screen in which one regulator that perturbations hit is not measured: effects, its targets, and its true edges."""
    case = make_case(num_genes=40, num_drugs=40, num_sources=10)
    keep = case.effects.genes["gene"] != HIDDEN
    effects = case.effects
    panel_only = DrugEffects(
        effect_DG=effects.effect_DG[:, keep], se_DG=effects.se_DG[:, keep], table=effects.table, genes=effects.genes[keep].reset_index(drop=True),
        sign_DG=effects.sign_DG[:, keep], is_target_DG=effects.is_target_DG[:, keep], control_mean_G=effects.control_mean_G[keep],
    )  # fmt: skip
    names = effects.table["perturbation"].to_numpy()
    drug, gene = np.nonzero(effects.is_target_DG)
    symbols = effects.genes["gene"].to_numpy()
    targets = pd.DataFrame({"perturbation": names[drug], "target": symbols[gene], "sign": effects.sign_DG[drug, gene]})
    edges = case.edges[(case.edges["regulator"] != HIDDEN) & (case.edges["target"] != HIDDEN)].reset_index(drop=True)
    added = pd.DataFrame({"regulator": HIDDEN, "target": symbols[1:]})
    is_true = case.weight_GG[1:, 0] != 0
    return with_unmeasured(panel_only, targets, [HIDDEN]), edges, added, is_true


def test_effects_get_a_gene_without_numbers(hidden):
    effects = hidden[0]
    assert effects.genes["gene"].iloc[-1] == HIDDEN
    assert effects.is_measured_G.tolist() == [True] * 39 + [False]
    assert np.isnan(effects.effect_DG[:, -1]).all()
    assert effects.is_target_DG[:, -1].sum() == 4
    assert (effects.sign_DG[effects.is_target_DG[:, -1], -1] == -1).all()
    measured = effects.measured()
    assert len(measured.genes) == 39
    assert measured.measured() is measured
    assert np.isfinite(measured.effect_DG).all()


def test_edges_of_an_unmeasured_source_are_found(hidden, tmp_path):
    effects, edges, added, is_true = hidden
    partial = pd.DataFrame({"partial_correlation": np.random.default_rng(0).normal(0, 0.1, len(edges))})
    both, partial_C = all_candidates(edges, partial, added)
    fit = fit_latent(effects, both, LatentConfig(), partial_C=partial_C)
    write_latent(tmp_path, fit)
    found = pd.read_parquet(tmp_path / "unmeasured_edges.parquet")
    assert len(pd.read_parquet(tmp_path / "edges.parquet")) == len(edges)
    assert not found["source_measured"].any()
    assert (found["acts_on"] == "activity").all()
    assert found.loc[is_true, "probability"].median() > 0.9
    assert found.loc[~is_true, "probability"].median() < 0.3
    # Nothing regulates a gene that nobody reads.
    assert not fit.posterior.inclusion_GJ[-1].any()
    assert np.isfinite(fit.edges["score"]).all()


def test_nulls_and_folds_move_its_links_too(hidden):
    effects, edges, added, _ = hidden
    both, partial_C = all_candidates(edges, pd.DataFrame({"partial_correlation": np.zeros(len(edges))}), added)
    null, _ = responses_for_fit("labelnull0", effects, CausalConfig(), seed=0)
    assert null.is_target_DG[:, -1].sum() == 4
    assert (null.is_target_DG[:, -1] != effects.is_target_DG[:, -1]).any()
    quick = LatentConfig(num_rounds=2, first_sweeps=3, sweeps=2)
    fold = run_latent("drugs0", effects, both, quick, CausalConfig(), seed=0, partial_C=partial_C)
    assert HIDDEN not in set(fold.held_out["gene"])
    assert np.isfinite(fold.held_out[["predicted", "observed", "training_mean"]].to_numpy()).all()
    with pytest.raises(InputError, match="fit line_x: expected responses of conditions"):
        responses_for_fit("line_x", effects, CausalConfig(), seed=0)


def test_a_drug_with_one_target_seen_and_one_not_measured_takes_part(hidden):
    effects = hidden[0]
    measured_hit = int(np.flatnonzero(effects.is_target_DG[:, 0])[0])
    is_target_DG, sign_DG = effects.is_target_DG.copy(), effects.sign_DG.copy()
    is_target_DG[measured_hit, -1], sign_DG[measured_hit, -1] = True, -1
    from causcade.latent import make_latent_problem

    problem = make_latent_problem(replace(effects, is_target_DG=is_target_DG, sign_DG=sign_DG), LatentConfig())
    assert not problem.ambiguous_D.any()
    assert problem.listed_DJ[measured_hit].sum() == 2  # the link to what is not measured is not pruned either


def test_network_gets_the_edges_below_the_others():
    edges = pd.DataFrame({"regulator": ["A"], "target": ["B"], "prior_sign": np.int8(0)})
    evidence = {"main": pd.DataFrame({"regulator": ["A"], "target": ["B"], "latent": np.float32([2]), "ridge": np.float32([1])})}
    added = pd.DataFrame({"regulator": ["X"], "target": ["B"], "prior_sign": np.int8(1)})
    latent = pd.DataFrame({"score": [3.0], "sign": np.int8([-1]), "probability": [0.9], "effect": [-0.5]})
    longer, weights, tables = add_unmeasured(edges, {"weight": np.float32([1])}, evidence, added, {"main": latent})
    assert longer["regulator"].tolist() == ["A", "X"]
    assert np.isnan(weights["weight"]).tolist() == [False, True]
    assert tables["main"]["latent"].tolist() == [2, -3]
    assert np.isnan(tables["main"]["ridge"]).tolist() == [False, True]
    assert add_unmeasured(edges, {}, evidence, added.iloc[:0], {})[0] is edges
    with pytest.raises(InputError, match="latent main: expected 1 edges from targets without measurement, found none"):
        add_unmeasured(edges, {}, evidence, added, {})
