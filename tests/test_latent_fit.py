import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from latent_cases import make_case, make_effects

from causcade.config_latent import LatentConfig
from causcade.errors import InputError
from causcade.latent import fit_latent, write_latent

SETTINGS = LatentConfig()


@pytest.fixture(scope="module")
def case():
    return make_case(num_unlisted=2)


@pytest.fixture(scope="module")
def fit(case):
    return fit_latent(case.effects, case.edges, SETTINGS)


def test_one_row_per_candidate_in_their_order(case, fit):
    pd.testing.assert_frame_equal(fit.edges[["regulator", "target"]], case.edges[["regulator", "target"]])
    assert not fit.edges[["score", "mediator", "num_perturbations", "num_alone"]].isna().any().any()
    by_class = fit.edges.groupby("identifiability")
    assert by_class["probability"].count().to_dict()["direct"] == (fit.edges["identifiability"] == "direct").sum()
    assert fit.edges.loc[fit.edges["identifiability"] != "direct", "probability"].isna().all()
    assert set(fit.edges.loc[fit.edges["identifiability"] == "direct", "acts_on"]) == {"mrna"}


def test_curated_columns_change_nothing(case, fit):
    rng = np.random.default_rng(0)
    spoilt = case.edges.assign(prior_confidence=rng.random(len(case.edges)), prior_sign=rng.choice([-1, 1], len(case.edges)), sources="collectri")
    pd.testing.assert_frame_equal(fit_latent(case.effects, spoilt, SETTINGS).edges, fit.edges)


def test_perturbations_that_bear_on_a_source(case, fit):
    of_first = fit.edges[fit.edges["regulator"] == "G000"].iloc[0]
    assert of_first["num_perturbations"] == of_first["num_alone"] == case.effects.is_target_DG[:, 0].sum()
    unlisted = fit.edges[fit.edges["identifiability"] == "indirect"]
    assert (unlisted["num_perturbations"] > 0).all()
    assert (fit.edges.loc[fit.edges["identifiability"] == "none", "num_perturbations"] == 0).all()


def test_an_activity_for_each_listed_gene_and_perturbation(case, fit):
    assert len(fit.activities) == 36 * 10
    of_first = fit.activities.query("perturbation == 'd00' and gene == 'G000'").iloc[0]
    assert of_first["is_listed"]
    assert of_first["is_seen"]
    assert of_first["activity"] == pytest.approx(case.effects.effect_DG[0, 0], abs=0.4)
    assert (fit.activities["error"] > 0).all()


def test_a_hit_that_no_list_has_is_an_off_target(case):
    effect_DG = case.effects.effect_DG.copy()
    effect_DG[7, 40] -= 2.0
    fit = fit_latent(replace(case.effects, effect_DG=effect_DG), case.edges, SETTINGS)
    first = fit.off_targets.iloc[0]
    assert (first["perturbation"], first["gene"]) == ("d07", "G040")
    assert -2.2 < first["effect"] < -1.2  # edges and shared responses take some of it
    listed = set(zip(*(np.array(names)[i] for names, i in zip((fit.problem.perturbations, case.effects.genes["gene"]), np.nonzero(case.effects.is_target_DG), strict=True)), strict=True))  # noqa: E501  # fmt: skip
    assert not listed & set(zip(fit.off_targets["perturbation"], fit.off_targets["gene"], strict=True))


def test_fitted_and_propagated_responses(case, fit):
    fitted = fit.fitted()
    assert np.corrcoef(fitted.ravel(), case.effects.effect_DG.ravel())[0, 1] > 0.95
    problem, posterior = fit.parts()
    direct = np.zeros((1, len(problem.source_J)))
    direct[0, 3] = -1.0
    inverse = np.linalg.inv(np.eye(len(problem.source_J)) - posterior.edge_GJ[problem.source_J])
    whole = np.zeros(problem.num_genes)
    activity = inverse @ direct[0]
    whole = posterior.edge_GJ @ activity
    whole[problem.source_J] = activity
    np.testing.assert_allclose(fit.propagate(direct)[0], whole, atol=0.05)  # what six hops leave out
    typical = fit.effect_of_sign()
    assert -1.6 < typical[-1] < -0.8
    assert typical[1] == problem.typical_effect
    assert typical[0] == 0


def test_without_any_target_nothing_is_claimed(case, caplog):
    effects = make_effects(case.effects.effect_DG, 0.05, [])
    fit = fit_latent(effects, case.edges, SETTINGS)
    assert (fit.edges["score"] == 0).all()
    assert fit.edges["probability"].isna().all()
    assert list(fit.edges.columns) == list(fit_latent(case.effects, case.edges, LatentConfig(num_rounds=1, first_sweeps=1)).edges.columns)
    assert fit.activities.empty
    assert "no perturbation has a known target in the panel: no edge can be learnt" in caplog.text
    with pytest.raises(InputError, match=r"expected a fit, found one without listed targets\. Give a table"):
        fit.fitted()


def test_partial_correlations_of_another_mask_are_told(case):
    with pytest.raises(
        InputError, match=r"expected \d+ finite numbers, one for each candidate edge, found the shape \(3,\) and 1 that are not finite"
    ):
        fit_latent(case.effects, case.edges, SETTINGS, partial_C=[0.1, np.nan, 0.2])


def test_an_empty_mask_is_told(case):
    with pytest.raises(InputError, match="candidate edges: expected at least one, found none"):
        fit_latent(case.effects, case.edges.iloc[:0], SETTINGS)


def test_a_target_that_is_its_own_candidate_is_no_edge(case):
    own = pd.DataFrame({"regulator": ["G000"], "target": ["G000"]})
    fit = fit_latent(case.effects, pd.concat([case.edges, own], ignore_index=True), LatentConfig(num_rounds=1))
    last = fit.edges.iloc[-1]
    assert last["probability"] == last["effect"] == last["sign"] == 0
    assert last["score"] > 0


def test_noise_alone_gives_no_sure_edges():
    rng = np.random.default_rng(0)
    case = make_case()
    effects = make_effects(rng.normal(0, 0.1, (36, 50)) - 1.0 * case.effects.is_target_DG, 0.1, [(d, d % 12, -1) for d in range(36)])
    fit = fit_latent(effects, case.edges, SETTINGS)
    assert (fit.edges["probability"] > 0.5).sum() <= 2


def test_files(fit, tmp_path):
    write_latent(tmp_path, fit)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "edges.parquet"), fit.edges)
    assert len(pd.read_parquet(tmp_path / "activities.parquet")) == len(fit.activities)
    assert list(pd.read_parquet(tmp_path / "held_out.parquet").columns) == list(fit.held_out.columns)
    assert json.loads((tmp_path / "summary.json").read_text())["num_listed_genes"] == 10


def test_a_hub_hit_on_its_activity_alone_keeps_its_links_beside_followers_listed_by_mistake():
    """Two drugs act on the activity of G000, whose own mRNA stays; each also lists a gene that follows it, and the next drugs hit other sources."""
    rng = np.random.default_rng(0)
    weight_GG = np.zeros((40, 40))
    weight_GG[10:22, 0] = rng.choice([-1, 1], 12) * rng.uniform(0.4, 0.7, 12)
    weight_GG[10:12, 0] = 0.6
    for source in range(1, 7):
        weight_GG[rng.permutation(np.arange(10, 40))[:5], source] = rng.choice([-1, 1], 5) * rng.uniform(0.4, 0.7, 5)
    direct_DG = np.zeros((14, 40))
    direct_DG[[0, 1], 0] = [-1.0, -1.3]
    direct_DG[np.arange(2, 14), np.arange(12) % 6 + 1] = -rng.uniform(0.8, 1.4, 12)
    effect_DG = direct_DG @ np.linalg.inv(np.eye(40) - weight_GG).T
    effect_DG[:2, 0] = 0
    links = [(0, 0, -1), (0, 10, -1), (1, 0, -1), (1, 11, -1), *((d, (d - 2) % 6 + 1, -1) for d in range(2, 14))]
    effects = make_effects(effect_DG + rng.normal(0, 0.05, effect_DG.shape), 0.05, links)
    target, source = (index.ravel() for index in np.indices((40, 40)))
    names, other = effects.genes["gene"].to_numpy(), target != source
    fit = fit_latent(effects, pd.DataFrame({"regulator": names[source[other]], "target": names[target[other]]}), LatentConfig())
    of_hub = fit.edges[fit.edges["regulator"] == "G000"].set_index("target")
    true = names[np.flatnonzero(weight_GG[:, 0])]
    assert of_hub.loc[true, "probability"].median() > 0.9
    assert (of_hub["num_perturbations"] == 2).all()
    assert (of_hub["acts_on"] == "activity").all()
    hits = fit.activities[fit.activities["is_listed"] & fit.activities["perturbation"].isin(["d00", "d01"])]
    assert (hits["gene"] == "G000").sum() == 2
    assert not hits.loc[hits["gene"] == "G000", "is_seen"].any()
