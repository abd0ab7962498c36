from dataclasses import replace

import numpy as np
import pytest
from latent_cases import Case, make_case, make_effects
from screens import make_edges

from causcade.config_latent import LatentConfig
from causcade.latent import make_latent_problem
from causcade.latent.estimate import estimate
from causcade.latent.mediators import _Regression, bent, find_alternatives, weigh_alternatives

SETTINGS = LatentConfig(num_rounds=3)


def mediated_case(*, seed: int = 0, num_genes: int = 40) -> Case:
    """Genes 0 and 1 regulate gene 2, which no drug hits and which regulates genes 5 to 24; gene 3 regulates genes 25 to 34 itself."""
    rng = np.random.default_rng(seed)
    weight_GG = np.zeros((num_genes, num_genes))
    weight_GG[2, 0], weight_GG[2, 1] = 0.7, -0.6
    weight_GG[5:25, 2] = rng.choice([-1, 1], 20) * rng.uniform(0.5, 0.8, 20)
    weight_GG[25:35, 3] = 0.6
    direct_DG = np.zeros((24, num_genes))
    direct_DG[np.arange(24), [0, 1, 3, 4] * 6] = -rng.uniform(0.8, 1.6, 24)
    effect_DG = direct_DG @ np.linalg.inv(np.eye(num_genes) - weight_GG).T + rng.normal(0, 0.03, (24, num_genes))
    effects = make_effects(effect_DG, 0.03, [(d, [0, 1, 3, 4][d % 4], -1) for d in range(24)])
    return Case(effects, make_edges(rng, weight_GG, [f"G{g:03d}" for g in range(num_genes)], 35), weight_GG)


@pytest.fixture(scope="module")
def fitted():
    case = mediated_case()
    problem = make_latent_problem(case.effects, SETTINGS)
    return case, problem, estimate(problem, SETTINGS)


def test_a_path_through_an_unlisted_gene_is_told_from_edges(fitted):
    case, problem, posterior = fitted
    column = problem.column_G
    assert posterior.inclusion_GJ[5:25, [column[0], column[1]]].mean() > 0.9  # as edges, they explain all there is
    target_C, source_C = case.places
    found = weigh_alternatives(find_alternatives(problem, posterior, target_C, source_C), source_C, posterior.edge_GJ.shape)
    is_candidate_G = np.zeros(len(column), bool)
    is_candidate_G[target_C[source_C == 2]] = True
    behind = np.flatnonzero(is_candidate_G[5:25]) + 5
    assert len(behind) >= 15
    assert found.direct_GJ[np.ix_(behind, [column[0], column[1]])].mean() < 0.1
    assert found.direct_GJ[2, [column[0], column[1]]].min() > 0.5  # of the edges into the mediator others could be the mediators
    assert found.direct_GJ[25:35, column[3]].mean() > 0.9  # one source alone: no path is better
    from_mediator = (source_C == 2) & np.isin(target_C, behind)
    assert found.mediator_C[from_mediator].mean() > 0.8
    assert found.mediator_C[source_C < 2].max() == 0
    assert int(np.argmax(found.share_G)) == 2


def test_evidence_is_that_of_the_normal_model():
    rng = np.random.default_rng(0)
    columns, value, weight = rng.normal(size=(12, 5)), rng.normal(size=12), rng.uniform(0.5, 2, 12)
    model = _Regression(columns, np.zeros((12, 5)), weight, value, 0.3, 3)

    def log_density(chosen):
        covariance = np.diag(1 / weight) + 0.3 * columns[:, chosen] @ columns[:, chosen].T
        return -0.5 * value @ np.linalg.solve(covariance, value) - 0.5 * np.linalg.slogdet(covariance)[1]

    none = log_density([])
    keep = np.array([True, False, True])
    assert model.evidence(keep) == pytest.approx(log_density([0, 2]) - none)
    assert model.evidence(np.zeros(3, bool)) == 0
    np.testing.assert_allclose(model.evidence_with(keep, np.array([1, 0])), [log_density([0, 2, 4]) - none, log_density([0, 2, 3]) - none])
    np.testing.assert_allclose(model.evidence_with(np.zeros(3, bool), np.array([1])), [log_density([4]) - none])


def test_alternatives_drop_all_that_is_shared_or_one_of_it(fitted):
    case, problem, posterior = fitted
    found = find_alternatives(problem, posterior, *case.places)
    target_C, source_C = case.places
    np.testing.assert_array_equal(found.target_O, target_C[found.edge_O])
    np.testing.assert_array_equal(found.mediator_O, source_C[found.edge_O])
    assert (problem.column_G[found.mediator_O] < 0).all()
    called = posterior.inclusion_GJ > 0.3
    for row in np.random.default_rng(0).choice(len(found.edge_O), 20):
        dropped = found.column_R[found.row_R == row]
        shared = np.flatnonzero(called[found.target_O[row]] & called[found.mediator_O[row]])
        assert set(dropped) <= set(shared)
        assert len(dropped) in (1, len(shared))


def test_further_evidence_shifts_the_balance(fitted):
    case, problem, posterior = fitted
    target_C, source_C = case.places
    found, shape = find_alternatives(problem, posterior, target_C, source_C), posterior.edge_GJ.shape
    plain = weigh_alternatives(found, source_C, shape)
    for_edges = weigh_alternatives(found, source_C, shape, bonus_GJ=np.full(shape, 3.0))
    for_mediators = weigh_alternatives(found, source_C, shape, bonus_C=np.full(len(source_C), 3.0))
    assert for_edges.mediator_C.sum() < plain.mediator_C.sum() < for_mediators.mediator_C.sum()


def test_nothing_to_compare():
    case = make_case(num_genes=20, num_drugs=10, num_sources=5)
    problem = make_latent_problem(case.effects, SETTINGS)
    posterior = estimate(problem, LatentConfig(num_rounds=1, first_sweeps=2))
    nothing = replace(posterior, inclusion_GJ=np.zeros_like(posterior.inclusion_GJ))
    target_C, source_C = case.places
    found = find_alternatives(problem, nothing, target_C, source_C)
    mediation = weigh_alternatives(found, source_C, posterior.edge_GJ.shape)
    assert len(found.edge_O) == 0
    assert (mediation.direct_GJ == 1).all()
    assert (mediation.mediator_C == 0).all()


def test_evidence_that_is_doubted_is_bent_beyond_four():
    np.testing.assert_allclose(bent(np.array([-100.0, -4.0, -1.0, 0.0, 3.0, 4.0, 9.0])), [-20, -4, -1, 0, 3, 4, 6])


def test_doubted_evidence_leaves_both_explanations_nearer_to_even(fitted):
    case, problem, posterior = fitted
    target_C, source_C = case.places
    found = find_alternatives(problem, posterior, target_C, source_C)
    plain, doubted = (weigh_alternatives(found, source_C, posterior.edge_GJ.shape, doubted=way) for way in (False, True))
    compared = (plain.direct_GJ < 0.999) & (plain.direct_GJ > 1e-12)
    assert compared.sum() > 5
    low = compared & (plain.direct_GJ < 0.05)
    assert (doubted.direct_GJ[low] > plain.direct_GJ[low]).all()
    assert np.median(doubted.direct_GJ[low]) < 0.3
