"""Ridge regression between perturbations."""

import numpy as np
import pytest
from evaluation_cases import code_random_edges

from causcade.evaluation.rankings import Responses
from causcade.evaluation.ridge import ridge_between_perturbations


def draw(seed=0, num_drugs=12, num_genes=30):
    rng = np.random.default_rng(seed)
    effect = rng.normal(size=(num_drugs, num_genes)) * rng.uniform(0.5, 3, num_genes)
    return Responses(
        perturbations=[f"d{i}" for i in range(num_drugs)], genes=[f"G{i:03d}" for i in range(num_genes)], effect_DG=effect,
        error_DG=np.ones_like(effect),
    )  # fmt: skip


def test_coefficients_equal_one_regression_per_target():
    responses, edges = draw(), code_random_edges(0, num_genes=30, num_edges=200)
    z = responses.effect_DG - responses.effect_DG.mean(axis=0)
    z /= z.std(axis=0)
    penalty = np.trace(z @ z.T) / len(z)
    ranking = ridge_between_perturbations(edges, responses)
    for source, target, score, sign in zip(edges.source_E, edges.target_E, ranking.score_E, ranking.sign_E, strict=True):
        others = np.delete(np.arange(30), target)
        coefficient = np.linalg.solve(z[:, others].T @ z[:, others] + penalty * np.eye(29), z[:, others].T @ z[:, target])
        expected = coefficient[np.searchsorted(others, source)]
        assert score == pytest.approx(abs(expected), rel=1e-8, abs=1e-12)
        assert sign == np.sign(expected)


def test_a_planted_regulation_ranks_first():
    rng = np.random.default_rng(1)
    responses, edges = draw(1, num_drugs=60), code_random_edges(1, num_genes=30, num_edges=300)
    effect = responses.effect_DG / responses.effect_DG.std(axis=0)
    source, target = edges.source_E[17], edges.target_E[17]
    effect[:, target] = -effect[:, source] + 0.3 * rng.normal(size=60)
    planted = Responses(perturbations=responses.perturbations, genes=responses.genes, effect_DG=effect, error_DG=responses.error_DG)
    ranking = ridge_between_perturbations(edges, planted)
    # The reverse edge, if it is a candidate, has the same correlation.
    assert set(np.argsort(-ranking.score_E)[:2]) >= {17}
    assert ranking.sign_E[17] == -1


def test_what_was_not_measured_or_does_not_vary_scores_nothing():
    responses, edges = draw(2), code_random_edges(2, num_genes=30, num_edges=300)
    error = responses.error_DG.copy()
    error[:, 4] = np.inf
    effect = responses.effect_DG.copy()
    effect[:, 4], effect[:, 5] = np.nan, 1.0
    partly = Responses(perturbations=responses.perturbations, genes=responses.genes, effect_DG=effect, error_DG=error)
    ranking = ridge_between_perturbations(edges, partly)
    assert np.isfinite(ranking.score_E).all()
    dead = np.isin(edges.source_E, [4, 5]) | np.isin(edges.target_E, [4, 5])
    assert not ranking.score_E[dead].any()
    assert ranking.score_E[~dead].all()


def test_genes_are_matched_by_name():
    responses, edges = draw(3), code_random_edges(3, num_genes=30, num_edges=100)
    turned = Responses(
        perturbations=responses.perturbations, genes=responses.genes[::-1], effect_DG=responses.effect_DG[:, ::-1], error_DG=responses.error_DG
    )
    np.testing.assert_allclose(ridge_between_perturbations(edges, turned).score_E, ridge_between_perturbations(edges, responses).score_E)


@pytest.mark.parametrize("num_drugs", [0, 1, 2])
def test_too_few_perturbations_have_no_ridge(num_drugs):
    assert ridge_between_perturbations(code_random_edges(4, num_genes=30, num_edges=50), draw(num_drugs=num_drugs)) is None


def test_constant_responses_have_no_ridge():
    responses = draw(5)
    flat = Responses(
        perturbations=responses.perturbations, genes=responses.genes, effect_DG=np.ones_like(responses.effect_DG), error_DG=responses.error_DG
    )
    assert ridge_between_perturbations(code_random_edges(5, num_genes=30, num_edges=50), flat) is None
