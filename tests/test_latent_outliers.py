from dataclasses import replace

import numpy as np
import pytest
from latent_cases import make_effects

from causcade.config_latent import LatentConfig
from causcade.latent import estimate, make_latent_problem, score_edges
from causcade.latent.outliers import outlier_penalty

SETTINGS = LatentConfig(num_rounds=3)
NUM_GENES, NUM_DRUGS = 60, 24


def fitted(num_outliers, *, repeated=False):
    """Two perturbations hit each gene, one (or four) G000, which moves G030 to G034; outliers are anywhere in the others."""
    rng = np.random.default_rng(0)
    effect_DG = rng.normal(0, 0.05, (NUM_DRUGS, NUM_GENES))
    hit_D = np.arange(NUM_DRUGS) // 2
    hit_D[:4] = 0 if repeated else [0, 20, 20, 20]
    effect_DG[np.arange(NUM_DRUGS), hit_D] -= 1
    effect_DG[np.ix_(np.flatnonzero(hit_D == 0), np.arange(30, 35))] -= 0.5
    anywhere = rng.permutation((NUM_DRUGS - 4) * 25)[:num_outliers]
    effect_DG[4 + anywhere // 25, 35 + anywhere % 25] += rng.choice([-0.5, 0.5], num_outliers)
    effect_DG[4 + rng.permutation(20)[:5], np.arange(30, 35)] += 0.5 * (num_outliers > 0)
    problem = make_latent_problem(make_effects(effect_DG, 0.05, [(d, int(hit_D[d]), -1) for d in range(NUM_DRUGS)]), SETTINGS)
    problem = replace(problem, strength_DF=problem.strength_DF[:, :0])
    return problem, estimate(problem, SETTINGS)


def test_an_edge_on_one_response_is_worth_what_outliers_leave_of_it():
    few, many = fitted(0), fitted(80)
    edges = (np.arange(30, 35), 0)
    assert min(case[1].inclusion_GJ[edges].min() for case in (few, many)) > 0.9  # the normal model is sure of both
    (few_GJ, few_share), (many_GJ, many_share) = outlier_penalty(*few), outlier_penalty(*many)
    assert few_share < 0.001 < 0.01 < many_share
    assert (few[1].log_odds_GJ + few_GJ)[edges].min() > 3
    assert (many[1].log_odds_GJ + many_GJ)[edges].max() < 2
    assert max(few_GJ.max(), many_GJ.max()) <= 0


def test_an_edge_that_several_perturbations_show_stays():
    problem, posterior = fitted(80, repeated=True)
    penalty_GJ, _ = outlier_penalty(problem, posterior)
    assert (posterior.log_odds_GJ + penalty_GJ)[30:35, 0].min() > 5


def test_only_the_probability_knows_outliers():
    problem, posterior = fitted(80)
    target_C, source_C = np.array([30, 41, 42]), problem.source_J[[0, 5, 6]]
    scores = score_edges(problem, posterior, target_C, source_C)
    assert scores.outlier_share > 0.01
    assert (scores.probability_C <= scores.inclusion_C).all()


def test_without_strong_responses_there_are_no_outliers():
    problem = make_latent_problem(make_effects(np.random.default_rng(0).normal(0, 0.05, (6, 10)), 0.1, [(0, 0, -1)]), SETTINGS)
    penalty_GJ, share = outlier_penalty(problem, estimate(problem, SETTINGS))
    assert not penalty_GJ.any()
    assert share == pytest.approx(0.0)


def test_what_the_error_of_a_knockouts_size_leaves_is_no_outlier():
    """The hit was of another size than it is taken for; were that known to the full, what is left would look like outliers."""
    problem, posterior = fitted(80)
    response_T = np.array([0.35, 0.4, 0.45, 0.5, 0.55])
    effect_DG = problem.effect_DG.copy()
    effect_DG[0, 30:35] = -response_T
    activity_DJ = posterior.activity_DJ.copy()
    activity_DJ[0, 0] = -1.3
    fixed_DJ = np.zeros_like(problem.fixed_DJ)
    fixed_DJ[0, 0] = True
    posterior = replace(posterior, activity_DJ=activity_DJ)
    known, unsure = (
        outlier_penalty(replace(problem, effect_DG=effect_DG, fixed_DJ=fixed_DJ, fixed_sd=sd), posterior)[0][30:35, 0] for sd in (1e-6, 0.5)
    )
    assert (unsure >= known).all()
    assert (unsure - known).max() > 1
