import logging
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import screens
from screens import make_screen
from sklearn.metrics import roc_auc_score

from causcade.causal import fit_causal, responses_for_fit, run_fit, settings_for_fit
from causcade.config import CausalConfig
from causcade.errors import InputError
from causcade.files import write_anndata
from causcade.fits import fit_names
from causcade.responses import ScreenFiles, aggregate, build_responses, read_responses

SCREEN = make_screen()
SETTINGS = CausalConfig(learning_rate=0.02, num_steps=120, l1_start=30, held_out_lines=["A549"])


@pytest.fixture(scope="module")
def responses():
    return build_responses(SCREEN.conditions, SCREEN.baselines, SCREEN.targets)


def auroc(fit):
    """Of the standardised weights, on edges that are not curated."""
    truth = SCREEN.weight_GG[fit.target_C, fit.source_C] != 0
    free = SCREEN.edges["prior_confidence"].to_numpy() == 0
    return roc_auc_score(truth[free], np.abs(fit.score_C)[free])


def test_the_network_is_found_and_nulls_find_none(responses):
    real, edge, label = (auroc(run_fit(name, responses, SCREEN.edges, SETTINGS, seed=0)) for name in ("noprior", "edgenull0", "labelnull0"))
    assert real > 0.9
    assert edge < 0.72
    assert label < 0.8


def test_without_a_network_no_edge_exceeds_its_edge_null(monkeypatch):
    monkeypatch.setattr(screens, "plant", lambda _rng, num_genes, _num_sources: np.zeros((num_genes, num_genes)))
    empty = make_screen(seed=4)
    found = build_responses(empty.conditions, empty.baselines, empty.targets)
    fits = {name: run_fit(name, found, empty.edges, SETTINGS, seed=0) for name in ("noprior", "edgenull0", "edgenull1", "edgenull2")}
    size = {name: np.sort(np.abs(fit.score_C)) for name, fit in fits.items()}
    null = max(size[name][-1] for name in size if name != "noprior")
    assert (size["noprior"] > null).sum() <= 1
    assert np.quantile(size["noprior"], 0.99) < 1, "in standard errors"


def test_nulls_bootstraps_and_noprior_use_no_prior():
    strength = {name: settings_for_fit(name, SETTINGS).prior_strength for name in fit_names(SETTINGS)}
    assert {name for name, value in strength.items() if value > 0} == {"main", "drugs0", "drugs1", "line_A549"}


def test_every_named_fit_has_data(responses):
    for name in fit_names(SETTINGS):
        training, held_out = responses_for_fit(name, responses, SETTINGS, seed=0)
        assert len(training.table) > 0
        assert (held_out is not None) == name.startswith(("drugs", "line_"))
    for name in ("mian", "drugs2", "boot"):
        with pytest.raises(InputError, match=f"fit: expected main, noprior, .* found '{name}'"):
            responses_for_fit(name, responses, SETTINGS, seed=0)


def test_numbered_fits_differ_and_folds_come_from_one_split(responses):
    first, second = (responses_for_fit(f"edgenull{i}", responses, SETTINGS, seed=0)[0] for i in (0, 1))
    assert (first.effect_DG != second.effect_DG).any()
    folds = [set(responses_for_fit(f"drugs{i}", responses, SETTINGS, seed=0)[1].table["perturbation"]) for i in (0, 1)]
    assert folds[0].isdisjoint(folds[1])
    assert folds[0] | folds[1] == set(SCREEN.drugs)


def per_perturbation(table, column):
    centre = lambda part, name: part[name] - part["training_mean"]  # noqa: E731
    return [np.corrcoef(centre(part, column), centre(part, "observed"))[0, 1] for _, part in table.groupby("perturbation")]


def test_held_out_perturbations_are_predicted_from_their_targets(responses):
    fit = run_fit("drugs0", responses, SCREEN.edges, SETTINGS, seed=0)
    assert set(fit.held_out["perturbation"]).isdisjoint(fit.perturbations)
    assert fit.held_out.groupby("perturbation")["gene"].nunique().eq(59).all()
    targets = SCREEN.targets.rename(columns={"target": "gene"})
    assert fit.held_out.merge(targets, on=["perturbation", "gene"]).empty, "that a listed target moves is no prediction of the network"
    assert np.median(per_perturbation(fit.held_out.assign(predicted=fit.held_out["predicted"] + fit.held_out["training_mean"]), "predicted")) > 0.6


def test_a_held_out_line_is_predicted_from_the_others(responses):
    fit = run_fit("line_A549", responses, SCREEN.edges, SETTINGS, seed=0)
    assert np.median(per_perturbation(fit.held_out, "predicted")) > 0.8
    training = aggregate(responses.take((responses.obs["cell_line"] == "HepG2").to_numpy()))
    first = fit.held_out[fit.held_out["perturbation"] == SCREEN.drugs[0]]
    is_target = first["gene"].to_numpy() == SCREEN.targets.set_index("perturbation")["target"][SCREEN.drugs[0]]
    assert not is_target.any()
    mean = pd.Series(training.effect_DG.mean(axis=0), SCREEN.genes)
    np.testing.assert_allclose(first["training_mean"], mean[first["gene"]], rtol=1e-5)


def test_without_any_target_all_weights_are_zero_and_a_warning_says_why(responses, caplog):
    untargeted = replace(responses, links=responses.links.iloc[:0])
    for name in ("main", "edgenull0", "boot0", "labelnull0", "drugs0", "line_A549"):
        caplog.clear()
        with caplog.at_level(logging.WARNING, logger="causcade"):
            fit = run_fit(name, untargeted, SCREEN.edges, SETTINGS, seed=0)
        assert not fit.weight_C.any()
        assert len(fit.weight_C) == len(SCREEN.edges)
        assert fit.held_out.empty
        assert "no edge can be learnt and every weight is 0" in caplog.text


def test_unknown_targets_can_be_learnt(responses):
    without = responses.links["perturbation"] != "drug03"
    partly = replace(responses, links=responses.links[without])
    fit = fit_causal(partly, SCREEN.edges, SETTINGS.model_copy(update={"unknown_targets": "learn"}), seed=0)
    learnt = fit.direct_effects().query("perturbation == 'drug03'").set_index("gene")["direct_effect"]
    assert learnt.abs().idxmax() == SCREEN.genes[3]
    assert "drug03" not in fit_causal(partly, SCREEN.edges, SETTINGS, seed=0).perturbations


def test_one_perturbation(responses):
    one = responses.take((responses.obs["perturbation"] == "drug00").to_numpy())
    fit = fit_causal(one, SCREEN.edges, SETTINGS, seed=0)
    assert fit.perturbations == ["drug00"]
    assert np.isfinite(fit.score_C).all()
    assert fit.strength_DF.shape == (1, 0)


def test_conditions_of_two_cells_give_a_finite_fit_of_larger_errors(responses):
    few = [plate.copy() for plate in SCREEN.conditions]
    rng = np.random.default_rng(0)
    for plate in few:
        treated = ~plate.obs["is_control"].to_numpy(bool)
        plate.obs["n_cells"] = np.where(treated, 2, plate.obs["n_cells"])
        plate.layers["mean"] = plate.layers["mean"] + treated[:, None] * rng.normal(0, 0.27, plate.shape)
        plate.layers["var"] = plate.layers["var"] * rng.chisquare(1, plate.shape)
    sparse = build_responses(few, SCREEN.baselines, SCREEN.targets)
    fit = fit_causal(sparse, SCREEN.edges, SETTINGS.model_copy(update={"prior_strength": 0.0}), seed=0)
    assert np.isfinite(fit.score_C).all()
    assert np.median(aggregate(sparse).se_DG) > 2 * np.median(aggregate(responses).se_DG)
    assert auroc(fit) > 0.8


def test_a_line_without_any_control_is_left_out_of_a_fit_with_a_warning(caplog):
    lone = [baseline[baseline.obs["cell_line"].to_numpy() == "HepG2"].copy() for baseline in SCREEN.baselines]
    with caplog.at_level(logging.WARNING, logger="causcade"):
        fit = fit_causal(build_responses(SCREEN.conditions, lone, SCREEN.targets), SCREEN.edges, SETTINGS, seed=0)
    assert "cell line A549 has no control cells on any plate; 90 conditions dropped" in caplog.text
    assert auroc(fit) > 0.8


def test_one_control_cell_for_each_line_gives_a_finite_fit():
    lone = [baseline.copy() for baseline in SCREEN.baselines]
    for baseline in lone:
        baseline.obs["n_cells"], baseline.layers["var"] = 1, np.zeros(baseline.shape)
    assert np.isfinite(fit_causal(build_responses(SCREEN.conditions, lone, SCREEN.targets), SCREEN.edges, SETTINGS, seed=0).score_C).all()


def test_off_target_mass_stays_small_with_support_on_the_neighbourhood(responses):
    fit = fit_causal(responses, SCREEN.edges, SETTINGS.model_copy(update={"support": "neighbourhood", "prior_strength": 0.0}), seed=0)
    on, off = (np.abs(fit.direct_S[mask]).sum() for mask in (fit.direct_is_target_S, ~fit.direct_is_target_S))
    assert off / on == pytest.approx(fit.metrics[-1]["off_target_mass"], rel=1e-4)
    assert 0 < off / on < 0.2
    assert auroc(fit) > 0.85


def test_no_edges_is_an_error(responses):
    with pytest.raises(InputError, match="expected at least one, found none"):
        fit_causal(responses, SCREEN.edges.iloc[:0], SETTINGS, seed=0)


def test_a_prior_moves_curated_edges_only_a_little_ahead(responses):
    main, noprior = (run_fit(name, responses, SCREEN.edges, SETTINGS, seed=0) for name in ("main", "noprior"))
    curated = SCREEN.edges["prior_confidence"].to_numpy() > 0
    assert np.abs(main.weight_C[curated]).sum() > np.abs(noprior.weight_C[curated]).sum()
    assert abs(auroc(main) - auroc(noprior)) < 0.05


def test_the_order_of_candidates_is_the_order_of_weights(responses):
    order = np.random.default_rng(0).permutation(len(SCREEN.edges))
    shuffled = fit_causal(responses, SCREEN.edges.iloc[order], SETTINGS, seed=0)
    np.testing.assert_array_equal(shuffled.weight_C, fit_causal(responses, SCREEN.edges, SETTINGS, seed=0).weight_C[order])


def test_effects_or_responses_give_the_same_fit(responses):
    settings = SETTINGS.model_copy(update={"num_steps": 5})
    fits = [fit_causal(data, SCREEN.edges, settings, seed=0) for data in (responses, aggregate(responses))]
    np.testing.assert_array_equal(fits[0].weight_C, fits[1].weight_C)
    assert isinstance(fits[0].held_out, pd.DataFrame)


def test_files_read_plate_by_plate_give_the_same_fit(tmp_path):
    paths = []
    for name, plates in (("conditions", SCREEN.conditions), ("baselines", SCREEN.baselines)):
        for number, plate in enumerate(plates):
            write_anndata(tmp_path / name / f"p{number}.zarr", plate)
        paths.append([str(path) for path in sorted((tmp_path / name).iterdir())])
    settings = SETTINGS.model_copy(update={"num_steps": 5})
    for name in ("noprior", "edgenull0", "line_A549"):
        screens = ScreenFiles(*paths, SCREEN.targets), read_responses(*paths, SCREEN.targets)
        found, expected = (run_fit(name, screen, SCREEN.edges, settings, seed=0) for screen in screens)
        np.testing.assert_allclose(found.weight_C, expected.weight_C, atol=1e-5)
        pd.testing.assert_frame_equal(found.held_out, expected.held_out, atol=1e-5)
