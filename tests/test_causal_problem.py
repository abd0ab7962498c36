from dataclasses import replace

import numpy as np
import pytest
from screens import make_screen

from causcade.causal.problem import make_problem
from causcade.config import CausalConfig
from causcade.errors import InputError
from causcade.responses import aggregate, build_responses, gene_positions

SETTINGS = CausalConfig()
SCREEN = make_screen()


@pytest.fixture(scope="module")
def effects():
    return aggregate(build_responses(SCREEN.conditions, SCREEN.baselines, SCREEN.targets))


def hide(effects, drugs):
    """Let some perturbations act on activity: the mRNA of their target does not move."""
    rows = np.isin(effects.table["perturbation"], drugs)[:, None] & effects.is_target_DG
    return replace(effects, effect_DG=np.where(rows, 0, effects.effect_DG).astype(np.float32))


def test_candidates_keep_their_place_among_the_edges(effects):
    problem = make_problem(effects, SCREEN.edges, SETTINGS)
    target_C, source_C = gene_positions(SCREEN.edges, effects.genes)
    np.testing.assert_array_equal(problem.target_E[problem.candidate_place_C], target_C)
    np.testing.assert_array_equal(problem.source_E[problem.candidate_place_C], source_C)
    np.testing.assert_array_equal(problem.confidence_E[problem.candidate_place_C], SCREEN.edges["prior_confidence"])
    assert problem.confidence_E.sum() == SCREEN.edges["prior_confidence"].sum(), "nuisance edges have no prior"


def test_nuisance_edges_are_all_other_pairs_from_listed_targets(effects):
    with_nuisance = make_problem(effects, SCREEN.edges, SETTINGS)
    without = make_problem(effects, SCREEN.edges, SETTINGS.model_copy(update={"nuisance_edges": False}))
    pairs = lambda p: set(zip(p.target_E.tolist(), p.source_E.tolist(), strict=True))  # noqa: E731
    hit = np.flatnonzero(effects.is_target_DG.any(axis=0)).tolist()
    assert pairs(with_nuisance) == pairs(without) | {(t, s) for s in hit for t in range(60) if t != s}
    assert len(without.target_E) == len(SCREEN.edges)


def test_typical_effect_is_the_median_of_clear_direct_effects(effects):
    found = make_problem(effects, SCREEN.edges, SETTINGS).typical_effect
    direct = -effects.effect_DG[effects.is_target_DG]
    assert found == pytest.approx(np.median(direct[direct > 3 * effects.se_DG[effects.is_target_DG]]), rel=1e-6)
    assert make_problem(effects.take(np.arange(4)), SCREEN.edges, SETTINGS).typical_effect == 1.0, "too few links to tell"


def test_a_target_that_does_not_move_is_hidden_and_starts_at_the_typical_effect(effects):
    problem = make_problem(hide(effects, ["drug03"]), SCREEN.edges, SETTINGS)
    drug = problem.perturbations.index("drug03")
    assert np.flatnonzero(problem.is_hidden_GD.any(axis=0)).tolist() == [drug]
    entry = problem.support_drug_S == drug
    np.testing.assert_allclose(problem.start_S[entry], -problem.typical_effect, rtol=1e-6)


def test_one_seen_target_makes_all_targets_of_the_perturbation_seen(effects):
    is_target, sign = effects.is_target_DG.copy(), effects.sign_DG.copy()
    is_target[3, 40], sign[3, 40] = True, -1
    both = replace(effects, is_target_DG=is_target, sign_DG=sign)
    assert not make_problem(both, SCREEN.edges, SETTINGS).is_hidden_GD[:, 3].any()


def test_a_target_of_unknown_sign_is_never_hidden_and_its_prior_is_wide_around_zero(effects):
    unsigned = replace(hide(effects, ["drug03"]), sign_DG=np.where(np.arange(30)[:, None] == 3, 0, effects.sign_DG).astype(np.int8))
    problem = make_problem(unsigned, SCREEN.edges, SETTINGS)
    entry = problem.support_drug_S == 3
    assert not problem.is_hidden_GD.any()
    assert problem.anchor_S[entry].tolist() == [0]
    np.testing.assert_allclose(problem.anchor_precision_S[entry], 1 / (1.49 * problem.typical_effect**2), rtol=1e-5)


def test_perturbations_without_a_target(effects):
    known = (np.arange(30) != 3)[:, None]
    partly = replace(effects, is_target_DG=effects.is_target_DG & known, sign_DG=effects.sign_DG * known)
    assert "drug03" not in make_problem(partly, SCREEN.edges, SETTINGS).perturbations
    learn = make_problem(partly, SCREEN.edges, SETTINGS.model_copy(update={"unknown_targets": "learn"}))
    assert (learn.support_drug_S == learn.perturbations.index("drug03")).sum() == 60
    none = replace(effects, is_target_DG=np.zeros_like(effects.is_target_DG), sign_DG=np.zeros_like(effects.sign_DG))
    assert make_problem(none, SCREEN.edges, SETTINGS) is None


def test_neighbourhood_support_is_targets_and_their_candidate_targets(effects):
    problem = make_problem(effects, SCREEN.edges, SETTINGS.model_copy(update={"support": "neighbourhood"}))
    target = SCREEN.genes[int(np.flatnonzero(SCREEN.direct_DG[0])[0])]
    expected = {target} | set(SCREEN.edges.loc[SCREEN.edges["regulator"] == target, "target"])
    assert {SCREEN.genes[g] for g in problem.support_gene_S[problem.support_drug_S == 0]} == expected
    assert problem.anchor_precision_S[~problem.support_is_target_S].max() == 0


def test_messages(effects):
    with pytest.raises(InputError, match="candidate edges: expected at least one, found none"):
        make_problem(effects, SCREEN.edges.iloc[:0], SETTINGS)
    with pytest.raises(InputError, match=r"candidate edges, regulator: expected genes of the panel, found \['NONE'\]"):
        make_problem(effects, SCREEN.edges.assign(regulator="NONE"), SETTINGS)
    with pytest.raises(InputError, match="expected each pair of genes once"):
        make_problem(effects, SCREEN.edges.iloc[[0, 0]], SETTINGS)
