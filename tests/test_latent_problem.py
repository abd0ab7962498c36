from dataclasses import replace

import numpy as np
import pytest
from latent_cases import make_case, make_effects

from causcade.config_latent import LatentConfig
from causcade.latent import make_latent_problem
from causcade.latent.problem import _share_of_one_target
from causcade.responses import edge_null

SETTINGS = LatentConfig()


def effects_of(values, links, **options):
    return make_effects(np.array(values, dtype=float), 0.1, links, **options)


def test_listed_genes_and_weights():
    effects = make_case().effects
    problem = make_latent_problem(effects, SETTINGS)
    assert problem.source_J.tolist() == np.flatnonzero(effects.is_target_DG.any(axis=0)).tolist()
    np.testing.assert_array_equal(problem.weight_DG == 0, effects.is_target_DG)
    np.testing.assert_array_equal(problem.column_G[problem.source_J], np.arange(len(problem.source_J)))
    assert problem.strength_DF.shape == (36, 1)  # twelve different target sets
    assert problem.direct_sd == pytest.approx(0.7 * problem.typical_effect)


def test_no_target_at_all_is_no_problem():
    assert make_latent_problem(effects_of([[1, 0], [0, 1]], []), SETTINGS) is None


def test_typical_effect_is_the_median_of_clear_links_and_one_with_few():
    values = -np.diag([0.5, 0.6, 0.7, 0.8, 0.9])
    links = [(i, i, -1) for i in range(5)]
    assert make_latent_problem(effects_of(values, links), SETTINGS).typical_effect == pytest.approx(0.7)
    assert make_latent_problem(effects_of(values, links[:4]), SETTINGS).typical_effect == 1.0
    doubled = effects_of(values, links)
    doubled = replace(doubled, table=doubled.table.assign(weight=[1, 1, 1, 1, 9]))
    assert make_latent_problem(doubled, SETTINGS).typical_effect == pytest.approx(0.9)


# z of the targets of one perturbation -> which are hidden, in the three ways to take activities
@pytest.mark.parametrize(
    ("z", "auto"), [((5.0, 2.0), (False, False)), ((2.4, 2.0), (True, True)), ((2.7, 2.0), (False, True)), ((-9.0, 0.0), (True, True))]
)
def test_targets_are_hidden_where_none_moves(z, auto):
    effects = effects_of([[-0.1 * value for value in z], [0, 0]], [(0, 0, -1), (0, 1, -1)])
    hidden = [
        make_latent_problem(effects, LatentConfig(activity=way, prune_links=False)).hidden_DG[0].tolist() for way in ("auto", "measured", "hidden")
    ]
    assert hidden == [list(auto), [False, False], [True, True]]


def test_unknown_signs_are_never_hidden_and_knockouts_always():
    effects = effects_of([[0.0, 0.0], [-1, 0]], [(0, 0, 0), (1, 0, -1)])
    assert not make_latent_problem(effects, SETTINGS).hidden_DG.any()
    knocked = make_latent_problem(replace(effects, table=effects.table.assign(kind="knockout")), SETTINGS)
    assert knocked.hidden_DG[:, 0].tolist() == [False, True]
    assert not knocked.seen_DJ[1, 0]
    # the size of such a hit is not fitted; of a drug that is known to act on activity it is
    assert knocked.fixed_DJ[:, 0].tolist() == [False, True]
    assert knocked.fixed_sd == pytest.approx(0.5 * knocked.typical_effect)
    assert not make_latent_problem(effects, LatentConfig(known_kinds=["drug"])).fixed_DJ.any()


def test_links_that_do_not_move_are_dropped_for_drugs_only():
    effects = effects_of([[-1, 0, 0.05], [0, 0, 0]], [(0, 0, -1), (0, 1, -1), (0, 2, 0), (1, 1, -1)])
    problem = make_latent_problem(effects, SETTINGS)
    assert problem.listed_DJ[0].tolist() == [True, False, True]  # the unknown sign cannot be judged
    assert problem.listed_DJ[1].tolist() == [False, True, False]  # nothing else moves there
    assert problem.weight_DG[0].tolist() == [0, 0, 0]
    assert make_latent_problem(effects, LatentConfig(prune_links=False)).listed_DJ[0].tolist() == [True, True, True]
    crispri = replace(effects, table=effects.table.assign(kind="crispri"))
    assert make_latent_problem(crispri, SETTINGS).listed_DJ[0].tolist() == [True, True, True]


def test_a_gene_that_never_moves_beside_different_ones_that_do_is_a_source():
    moves = [[0, -1, 0, 0], [0, 0, -1, 0], [0, 0, -1, 0], [0, 0, 0, -1]]
    links = [(0, 0, -1), (0, 1, -1), (1, 0, -1), (1, 2, -1), (2, 2, -1), (3, 3, -1)]
    problem = make_latent_problem(effects_of(moves, links), SETTINGS)
    assert problem.source_J.tolist() == [0, 1, 2, 3]
    assert not problem.listed_DJ[:, 0].any()
    assert problem.quiet_DJ[:, 0].tolist() == [True, True, False, False]
    assert problem.sign_DJ[:, 0].tolist() == [-1, -1, 0, 0]
    assert not problem.ambiguous_D.any()
    # one link, or always beside the same gene, or it moves elsewhere: the links are dropped
    assert make_latent_problem(effects_of(moves, links[2:]), SETTINGS).source_J.tolist() == [1, 2, 3][1:]
    same = make_latent_problem(effects_of(moves, [(1, 0, -1), (1, 2, -1), (2, 0, -1), (2, 2, -1)]), SETTINGS)
    assert same.source_J.tolist() == [2]
    assert not same.quiet_DJ.any()
    also = make_latent_problem(effects_of([*moves, [-1, 0, 0, 0]], [*links[2:], (4, 0, -1)]), SETTINGS)
    assert not also.quiet_DJ.any()
    assert also.ambiguous_D.tolist() == [False, True, False, False, False]


def test_what_was_not_measured_has_no_weight():
    case = make_case()
    effect, error = case.effects.effect_DG.copy(), case.effects.se_DG.copy()
    effect[3, 20], error[4, 21], error[5, 22] = np.nan, np.inf, 0.0
    problem = make_latent_problem(replace(case.effects, effect_DG=effect, se_DG=error), SETTINGS)
    assert (problem.weight_DG[[3, 4, 5], [20, 21, 22]] == 0).all()
    assert np.isfinite(problem.effect_DG).all()
    assert np.isfinite(problem.strength_DF).all()


def test_an_edge_null_keeps_the_targets():
    effects = make_case().effects
    null = make_latent_problem(edge_null(effects, np.random.default_rng(0)), SETTINGS)
    assert null.typical_effect == pytest.approx(make_latent_problem(effects, SETTINGS).typical_effect)


@pytest.mark.parametrize(("num_sets", "num_factors"), [(7, 0), (8, 1), (19, 1), (20, 2)])
def test_shared_factors_by_the_number_of_different_target_sets(num_sets, num_factors):
    effects = make_effects(np.random.default_rng(0).normal(0, 1, (40, 30)), 0.1, [(d, d % num_sets, -1) for d in range(40)])
    assert make_latent_problem(effects, SETTINGS).strength_DF.shape == (40, num_factors)


def test_which_perturbations_are_left_to_the_fit_and_which_wait():
    # clear; clear beside one that does not move; nothing moves; unknown sign; no target
    values = np.array([[-1.0, 0.0], [-1.0, 0.0], [0.0, 0.0], [-1.0, 0.0], [0.0, 0.0]])
    effects = effects_of(values, [(0, 0, -1), (1, 0, -1), (1, 1, -1), (2, 0, -1), (3, 0, 0)])
    problem = make_latent_problem(effects, SETTINGS)
    assert problem.undecided_D.tolist() == [True, True, True, False, False]
    assert problem.ambiguous_D.tolist() == [False, True, False, False, False]
    assert not make_latent_problem(effects, LatentConfig(activity="measured")).undecided_D.any()
    knocked = replace(effects, table=effects.table.assign(kind="knockout"))
    assert not make_latent_problem(knocked, SETTINGS).undecided_D.any()


def test_what_composition_does_is_taken_out():
    rng = np.random.default_rng(0)
    values = rng.normal(0, 0.03, (2, 150))
    values[0] += -0.2 * -np.expm1(-1.0)
    values[0, 0] = -1.0
    problem = make_latent_problem(make_effects(values, 0.03, [(0, 0, -1)]), SETTINGS)
    np.testing.assert_allclose(problem.composition_D, [-0.2, 0.0], atol=0.02)
    np.testing.assert_allclose(problem.effect_DG + np.outer(problem.composition_D, problem.profile_G), values, atol=1e-6)


def test_a_shared_factor_is_not_the_effect_of_one_target():
    is_target = np.zeros((12, 3), bool)
    is_target[:3, 0] = is_target[5:8, 1] = is_target[9, 2] = True
    one, weight = np.ones(12), np.ones(12)
    assert _share_of_one_target(np.where(is_target[:, 0], 3.0, 0.0), is_target, weight) == pytest.approx(1.0)
    assert _share_of_one_target(is_target[:, 2].astype(float), is_target, weight) < 0.2  # one perturbation alone may have a strong one
    assert _share_of_one_target(one, is_target, weight) == 0.0
    mixed = np.arange(12.0)
    groups = [mixed[is_target[:, 1]], mixed[~is_target[:, 1]]]
    between = sum(len(group) * (group.mean() - mixed.mean()) ** 2 for group in groups)
    only = is_target & np.array([False, True, False])
    assert _share_of_one_target(mixed, only, weight) == pytest.approx(between / ((mixed - mixed.mean()) ** 2).sum())
    drawn_twice = np.append(mixed, mixed[6])
    twice = _share_of_one_target(drawn_twice, np.vstack([only, only[6]]), np.ones(13))
    assert _share_of_one_target(mixed, only, np.where(np.arange(12) == 6, 2.0, 1.0)) == pytest.approx(twice)
