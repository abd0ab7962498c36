import numpy as np
import pytest
from screens import make_screen

from causcade.causal import run_fit
from causcade.causal.context import FLOOR, expression_context
from causcade.config import CausalConfig
from causcade.responses import build_responses


def test_the_factor_is_the_derivative_of_x_by_the_log_of_the_mean():
    mean = np.array([0.01, 0.5, 3.0])
    log_mean = np.log(np.expm1(mean))
    slope = (np.log1p(np.exp(log_mean + 1e-6)) - np.log1p(np.exp(log_mean - 1e-6))) / 2e-6
    usual = np.full(3, 1.0)
    expected = (slope + FLOOR) / (1 - np.exp(-1.0) + FLOOR)
    np.testing.assert_allclose(expression_context(mean, usual), expected, rtol=1e-5)


def test_a_line_like_the_others_has_no_context_and_a_gene_that_is_not_expressed_hardly_moves():
    mean = np.array([0.0, 0.3, 5.0])
    assert expression_context(mean, mean).tolist() == [1, 1, 1]
    assert expression_context(np.array([0.0]), np.array([2.0]))[0] == pytest.approx(FLOOR / (1 - np.exp(-2.0) + FLOOR))
    assert np.isfinite(expression_context(np.array([-0.1, 0.0]), np.zeros(2))).all(), "a decoder may predict less than nothing"


def test_a_held_out_line_is_scaled_by_its_context():
    screen = make_screen()
    for baseline, conditions in zip(screen.baselines, screen.conditions, strict=True):  # gene 0 is hardly expressed in line A549
        here = (baseline.obs["cell_line"] == "A549").to_numpy()
        change = 0.05 - baseline.X[here, 0]
        baseline.X[here, 0] = 0.05
        conditions.layers["mean"][(conditions.obs["cell_line"] == "A549").to_numpy(), 0] += change.mean()
    responses = build_responses(screen.conditions, screen.baselines, screen.targets)
    settings = CausalConfig(learning_rate=0.02, num_steps=30, l1_start=10)
    plain, scaled = (
        run_fit("line_A549", responses, screen.edges, settings.model_copy(update={"context": kind}), seed=0).held_out
        for kind in ("none", "expression")
    )
    ratio = (scaled["predicted"] / plain["predicted"]).groupby(plain["gene"]).median()
    of_line = [np.mean([b.X[(b.obs["cell_line"] == line).to_numpy()][0] for b in screen.baselines], axis=0) for line in ("A549", "HepG2")]
    np.testing.assert_allclose(ratio[screen.genes], expression_context(*of_line), rtol=1e-4)
    assert ratio["G000"] < 0.2
    np.testing.assert_array_equal(scaled["training_mean"], plain["training_mean"])
