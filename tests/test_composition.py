import numpy as np
import pytest
from latent_cases import make_effects

from causcade.responses.composition import composition_profile, fit_composition, without_composition


def screen(rng, strength_D, *, num_genes=300, moved=0.6, level=1.0, links=()):
    """Most genes follow one regulator, by weights of either sign; all follow the total."""
    profile = -np.expm1(-level)
    follows_G = np.where(rng.random(num_genes) < moved, rng.choice([1, 1, -1], num_genes) * rng.uniform(0.2, 0.8, num_genes), 0.0)
    effect_DG = np.linspace(-1, 1, len(strength_D))[:, None] * follows_G + np.outer(strength_D, np.full(num_genes, profile))
    effects = make_effects(effect_DG + rng.normal(0, 0.04, effect_DG.shape), 0.04, list(links))
    effects.control_mean_G[:] = level
    return effects


@pytest.mark.parametrize("moved", [0.0, 0.6])
def test_strength_is_found_although_most_genes_move(moved):
    strength_D = np.array([-0.15, 0.0, 0.1])
    effects = screen(np.random.default_rng(0), strength_D, moved=moved)
    np.testing.assert_allclose(fit_composition(effects), strength_D, atol=0.03)
    if moved:
        assert abs(np.median(effects.effect_DG[0]) / 0.632 - -0.15) > 0.03  # where the median is misled
    rest = without_composition(effects)
    np.testing.assert_allclose(fit_composition(rest), 0, atol=0.02)


def test_too_few_genes_tell_nothing_and_targets_and_gaps_do_not_count():
    assert (fit_composition(screen(np.random.default_rng(1), np.array([0.3, 0.3]), num_genes=99)) == 0).all()
    effects = screen(np.random.default_rng(1), np.array([0.1, 0.1]), moved=0.0, num_genes=100, links=[(0, 0, -1)])
    effects.effect_DG[0, 0], effects.effect_DG[1, 5] = -50, np.nan
    assert (fit_composition(effects) == 0).all()


def test_values_on_another_scale_have_no_profile():
    effects = screen(np.random.default_rng(2), np.array([0.1]))
    effects.control_mean_G[:3] = [np.inf, np.nan, 0.0]
    np.testing.assert_allclose(composition_profile(effects)[:4], [0, 0, 0, 1 - np.exp(-1)])
    effects.control_mean_G[:] = np.inf
    np.testing.assert_array_equal(without_composition(effects).effect_DG, effects.effect_DG)
