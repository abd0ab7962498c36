from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from latent_cases import make_case, make_effects

from causcade.evaluation.edges import code_edges
from causcade.evaluation.rankings import Responses, mean_shift, screened_links
from causcade.evidence.perturbations import deconvolve_targets, edges_by_target, prepare_effects, ridge_between_perturbations, shift_of_target
from causcade.responses import bootstrap, fit_shared_response

CASE = make_case()
TARGET, SOURCE = CASE.places
DATA = prepare_effects(CASE.effects)
COLUMNS = [shift_of_target, deconvolve_targets, ridge_between_perturbations]


def test_preparation_takes_the_shared_response_out():
    shared = fit_shared_response(CASE.effects)
    np.testing.assert_allclose(DATA.rest_DG, CASE.effects.effect_DG - shared.strength_DF @ shared.loading_FG, atol=1e-6)
    for gene in range(5):
        free = ~CASE.effects.is_target_DG[:, gene]
        excess = np.mean(DATA.rest_DG[free, gene] ** 2 - CASE.effects.se_DG[free, gene].astype(float) ** 2)
        assert DATA.tau2_G[gene] == pytest.approx(max(excess, 0), rel=1e-5)


def test_a_target_of_unknown_sign_takes_that_of_its_clear_response_else_inhibition():
    effect = np.zeros((3, 4))
    effect[0, 0], effect[1, 0], effect[2, 1] = 2.0, 0.05, -2.0
    data = prepare_effects(make_effects(effect, 0.1, [(0, 0, 0), (1, 0, 0), (2, 1, 1)]))
    assert data.sign_DG[0, 0] == 1
    assert data.sign_DG[1, 0] == -1
    assert data.sign_DG[2, 1] == 1
    assert not data.sign_DG[:, 2:].any()


def test_shift_equals_a_loop_over_perturbations():
    found = shift_of_target(DATA, TARGET, SOURCE)
    for edge in range(0, len(found), 7):
        total = information = 0.0
        for drug in range(len(DATA.rest_DG)):
            if DATA.is_target_DG[drug, SOURCE[edge]] and not DATA.is_target_DG[drug, TARGET[edge]]:
                weight = 1 / (DATA.variance_DG[drug, TARGET[edge]] + DATA.tau2_G[TARGET[edge]])
                total += DATA.sign_DG[drug, SOURCE[edge]] * DATA.rest_DG[drug, TARGET[edge]] * weight
                information += weight
        assert found[edge] == pytest.approx(total / np.sqrt(information) if information else 0.0)


def test_deconvolution_equals_the_normal_equations_written_out():
    found = deconvolve_targets(DATA, TARGET, SOURCE)
    listed = np.flatnonzero(DATA.is_target_DG.any(axis=0))
    for edge in range(0, len(found), 11):
        gene, source = TARGET[edge], SOURCE[edge]
        if source not in listed:
            assert found[edge] == 0
            continue
        design = DATA.sign_DG[:, listed]
        weight = np.diag(1 / (DATA.variance_DG[:, gene] + DATA.tau2_G[gene]))
        information = design.T @ weight @ design
        inverse = np.linalg.inv(information + 0.5 * np.median(np.diag(information)) * np.eye(len(listed)))
        coefficient = inverse @ design.T @ weight @ DATA.rest_DG[:, gene]
        error = np.sqrt(np.diag(inverse @ information @ inverse))
        place = list(listed).index(source)
        assert found[edge] == pytest.approx(coefficient[place] / error[place], rel=1e-8)


def test_deconvolution_splits_an_effect_among_the_targets_of_a_perturbation():
    """Gene 2 follows gene 0 and not gene 1; the shift cannot tell them apart where they are hit together."""
    effect = np.zeros((6, 3))
    links = []
    for drug in range(6):
        hit = [0, 1] if drug < 3 else [1]
        links += [(drug, gene, -1) for gene in hit]
        effect[drug, hit] = -1.0
        effect[drug, 2] = -1.0 if 0 in hit else 0.0
    rng = np.random.default_rng(0)
    data = prepare_effects(make_effects(effect + rng.normal(0, 0.01, effect.shape), 0.01, links))
    target, source = np.array([2, 2]), np.array([0, 1])
    shift, split = shift_of_target(data, target, source), deconvolve_targets(data, target, source)
    assert shift[1] > 0.7 * shift[0] > 0
    assert 0 < split[1] < 0.5 * split[0]


@pytest.mark.parametrize("num_drugs", [36, 8])
def test_ridge_equals_least_squares_with_a_penalty(num_drugs):
    effects = CASE.effects.take(np.arange(num_drugs))
    data = prepare_effects(effects)
    found = ridge_between_perturbations(data, TARGET, SOURCE)
    sd = np.sqrt((data.rest_DG**2).mean(axis=0))
    scaled = data.rest_DG / np.where(sd > 0, sd, 1)
    for gene, edges in list(edges_by_target(TARGET))[::5]:
        rows = ~data.is_target_DG[:, gene]
        source = scaled[np.ix_(rows, SOURCE[edges])]
        # As ordinary least squares with one more row for each penalised coefficient.
        penalty = np.sqrt(rows.sum()) * np.eye(len(edges))
        slow = np.linalg.lstsq(np.vstack([source, penalty]), np.concatenate([scaled[rows, gene], np.zeros(len(edges))]), rcond=None)[0]
        np.testing.assert_allclose(found[edges], slow, atol=1e-8)


@pytest.mark.parametrize("column", COLUMNS)
def test_edges_are_found_with_their_sign_and_the_order_of_edges_does_not_matter(column):
    value = column(DATA, TARGET, SOURCE)
    weight = CASE.weight_GG[TARGET, SOURCE]
    best = np.argsort(-np.abs(value))[:30]
    assert (weight[best] != 0).mean() > 3 * (weight != 0).mean()
    assert (np.sign(value[best]) == np.sign(weight[best]))[weight[best] != 0].mean() > 0.85
    order = np.random.default_rng(0).permutation(len(value))
    np.testing.assert_allclose(column(DATA, TARGET[order], SOURCE[order]), value[order], atol=1e-10)


@pytest.mark.parametrize("column", COLUMNS)
def test_a_perturbation_of_weight_two_counts_twice(column):
    """With the preparation given: it finds its own shared response either way."""
    rows = np.array([0, 0, *range(1, 36)])
    doubled = replace(DATA, **{name: getattr(DATA, name)[rows] for name in ("rest_DG", "variance_DG", "weight_DG", "is_target_DG", "sign_DG")})
    weight_DG = DATA.weight_DG.copy()
    weight_DG[0] = 2
    np.testing.assert_allclose(column(replace(DATA, weight_DG=weight_DG), TARGET, SOURCE), column(doubled, TARGET, SOURCE), atol=1e-8)


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("what", ["nothing listed", "one perturbation", "nothing measured", "constant", "bootstrap"])
def test_poor_data_give_finite_numbers(column, what):
    effects = CASE.effects
    match what:
        case "nothing listed":
            effects = replace(effects, is_target_DG=np.zeros_like(effects.is_target_DG), sign_DG=np.zeros_like(effects.sign_DG))
        case "one perturbation":
            effects = effects.take(np.array([0]))
        case "nothing measured":
            effects = replace(effects, se_DG=np.full_like(effects.se_DG, np.inf))
        case "constant":
            effects = replace(effects, effect_DG=np.zeros_like(effects.effect_DG))
        case _:
            effects = bootstrap(effects, np.random.default_rng(0))
    value = column(prepare_effects(effects), TARGET, SOURCE)
    assert np.isfinite(value).all()
    if what in ("nothing measured", "constant"):
        assert not value.any()


def test_the_shift_agrees_with_the_baseline_of_the_evaluation_where_nothing_is_taken_out():
    """No shared response, no unexplained variance, and perturbations that hit the target left out: the same statistic."""
    genes = CASE.effects.genes
    bare = replace(DATA, rest_DG=CASE.effects.effect_DG.astype(float), tau2_G=np.zeros(50), variance_DG=CASE.effects.se_DG.astype(float) ** 2)
    hit = DATA.is_target_DG
    error = np.where(hit, np.inf, CASE.effects.se_DG)
    measured = Responses(
        perturbations=CASE.effects.table["perturbation"].tolist(), genes=genes["gene"].tolist(), effect_DG=CASE.effects.effect_DG, error_DG=error
    )
    drug, gene = np.nonzero(hit)
    links = pd.DataFrame({"perturbation": np.array(measured.perturbations)[drug], "target": genes["gene"].to_numpy()[gene], "sign": -1})
    ranking = mean_shift(code_edges(CASE.edges, genes), screened_links(links, genes, measured.perturbations), measured)
    np.testing.assert_allclose(np.abs(shift_of_target(bare, TARGET, SOURCE)), ranking.score_E, rtol=1e-5)
