from dataclasses import replace

import numpy as np
import pytest
from screens import make_screen

from causcade.responses import aggregate, build_responses, fit_shared_response


@pytest.fixture(scope="module")
def effects():
    screen = make_screen()
    return aggregate(build_responses(screen.conditions, screen.baselines, screen.targets))


def test_a_planted_stress_response_is_found(effects):
    rng = np.random.default_rng(0)
    strength, loading = rng.gamma(2, 0.5, len(effects.table)), rng.normal(0, 0.5, len(effects.genes))
    stressed = replace(effects, effect_DG=(effects.effect_DG * 0.3 + np.outer(strength, loading)).astype(np.float32))
    found = fit_shared_response(stressed)
    assert np.corrcoef(found.strength_DF[:, 0], strength)[0, 1] > 0.95
    assert np.corrcoef(found.loading_FG[0], loading)[0, 1] > 0.95
    np.testing.assert_allclose(np.sqrt((found.strength_DF**2).mean(axis=0)), 1, rtol=1e-6)


@pytest.mark.parametrize(("num", "num_factors"), [(1, 0), (7, 0), (8, 1), (19, 1), (20, 2)])
def test_number_of_factors(effects, num, num_factors):
    found = fit_shared_response(effects.take(np.arange(num)))
    assert found.strength_DF.shape == (num, num_factors)
    assert found.loading_FG.shape == (num_factors, len(effects.genes))


def test_the_entries_of_listed_targets_take_no_part(effects):
    wild = np.where(effects.is_target_DG, 1e3, effects.effect_DG).astype(np.float32)
    found = fit_shared_response(replace(effects, effect_DG=wild))
    assert np.abs(found.loading_FG).max() < 10


def test_no_response_gives_a_finite_factor(effects):
    found = fit_shared_response(replace(effects, effect_DG=np.zeros_like(effects.effect_DG)))
    assert np.isfinite(found.strength_DF).all()
    assert not found.loading_FG.any()
