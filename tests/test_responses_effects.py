from dataclasses import replace

import numpy as np
import pytest
from screens import make_screen

from causcade.responses import aggregate, build_responses
from causcade.responses.effects import _fit, _gain, gain_at


@pytest.fixture(scope="module")
def responses():
    screen = make_screen()
    return build_responses(screen.conditions, screen.baselines, screen.targets, recentre=False)


def test_effects_are_the_planted_ones_within_their_errors(responses):
    screen = make_screen()
    effects = aggregate(responses)
    assert effects.table["perturbation"].tolist() == screen.drugs
    z = (effects.effect_DG - screen.effect_DG) / effects.se_DG
    assert abs(z.mean()) < 0.1
    assert 0.7 < z.std() < 1.3
    assert np.median(np.abs(np.log10(effects.table["half_dose"] / 0.3))) < 0.5


def test_the_unit_of_the_doses_does_not_matter(responses):
    micro = aggregate(responses)
    nano = aggregate(replace(responses, obs=responses.obs.assign(dose=responses.obs["dose"] * 1000)))
    np.testing.assert_allclose(nano.effect_DG, micro.effect_DG, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(nano.se_DG, micro.se_DG, rtol=1e-5)
    np.testing.assert_allclose(nano.table["half_dose"], micro.table["half_dose"] * 1000)


def test_weighted_least_squares_against_a_loop():
    rng = np.random.default_rng(0)
    delta, se, gain = rng.normal(size=(5, 3)).astype(np.float32), rng.uniform(0.1, 1, (5, 3)).astype(np.float32), rng.uniform(0.2, 1, 5)
    precision = 1 / se.astype(np.float64) ** 2
    effect, found = _fit(np.stack([precision, precision * delta], axis=1), gain)
    for g in range(3):
        information = sum(gain[c] ** 2 / se[c, g] ** 2 for c in range(5))
        assert effect[g] == pytest.approx(sum(gain[c] * delta[c, g] / se[c, g] ** 2 for c in range(5)) / information, rel=1e-5)
        assert found[g] == pytest.approx(information, rel=1e-5)


def test_gain_is_monotone_and_one_at_the_top_and_without_doses():
    gain = _gain(np.array([0.1, 1.0, 10.0]), 0.3)
    assert (np.diff(gain) > 0).all()
    assert gain[-1] == pytest.approx(1)
    assert _gain(np.array([0.0, np.nan]), 0.3).tolist() == [1, 1]
    assert _gain(np.array([3.0]), 0.3).tolist() == [1]


def test_the_order_of_conditions_changes_nothing(responses):
    order = np.random.default_rng(1).permutation(len(responses.obs))
    shuffled = replace(
        responses, delta_CG=responses.delta_CG[order], se_CG=responses.se_CG[order], obs=responses.obs.iloc[order].reset_index(drop=True)
    )
    np.testing.assert_allclose(aggregate(shuffled).effect_DG, aggregate(responses).effect_DG, rtol=1e-4, atol=1e-6)


def test_variation_between_conditions_inflates_the_errors(responses):
    rng = np.random.default_rng(2)
    noisy = replace(responses, delta_CG=responses.delta_CG + rng.normal(0, 3, responses.delta_CG.shape).astype(np.float32) * responses.se_CG)
    ratio = aggregate(noisy).se_DG / aggregate(responses).se_DG
    assert 2.5 < np.median(ratio) < 4.5


def test_one_condition_of_one_perturbation(responses):
    one = responses.take(np.arange(len(responses.obs)) == 0)
    effects = aggregate(one)
    np.testing.assert_allclose(effects.effect_DG, one.delta_CG, rtol=1e-5)
    np.testing.assert_allclose(effects.se_DG, one.se_CG, rtol=1e-5)


def test_signs_and_targets_are_in_place(responses):
    effects = aggregate(responses)
    screen = make_screen()
    np.testing.assert_array_equal(effects.is_target_DG, screen.direct_DG != 0)
    np.testing.assert_array_equal(effects.sign_DG, np.sign(screen.direct_DG))
    assert effects.num_targets_D.tolist() == [1] * len(screen.drugs)
    assert effects.take(np.array([3, 1])).table["perturbation"].tolist() == ["drug03", "drug01"]


def test_the_range_of_doses_is_told(responses):
    table = aggregate(responses).table
    assert (table["lowest_dose"] == 0.05).all()
    assert (table["top_dose"] == 5.0).all()
    undosed = aggregate(replace(responses, obs=responses.obs.assign(dose=np.nan))).table
    assert undosed[["lowest_dose", "top_dose"]].isna().all(axis=None)


def test_gain_beyond_the_range_goes_on_along_the_curve():
    gain = gain_at(np.array([0.0, 1.0, 10.0, 1e9]), 0.5, 1.0)
    np.testing.assert_allclose(gain, [0.0, 1.0, 10 * 1.5 / 10.5, 1.5], rtol=1e-6)
