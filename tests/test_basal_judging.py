"""What a decoder is said to have learned: R2 of genes, and what it adds over the plain mean, beside slow sums."""

import numpy as np
import pandas as pd
import pytest
import torch
from basal_cases import control_cells, dense, planted
from cell_cases import panel_of

from causcade.basal.judging import judge_decoder
from causcade.basal.training import fit_basal
from causcade.config import BasalConfig

SETTINGS = BasalConfig(hidden=8, max_epochs=30, patience=5, batch_cells=32, learning_rate=0.02)
PANEL = panel_of([f"g{number}" for number in range(6)])


def judged(cells, settings=SETTINGS):
    fit = fit_basal(cells, settings, seed=0)
    return fit, judge_decoder(fit, cells, PANEL)


def test_r2_is_what_the_decoder_leaves_of_held_out_cells():
    cells = planted()
    fit, found = judged(cells)
    x, test, train = dense(cells).astype(np.float64), fit.test, fit.train
    error = (fit.decoder(torch.from_numpy(cells.z_ND)).numpy() - x)[test] ** 2
    constant = (x[test] - x[train].mean(axis=0)) ** 2
    r2 = 1 - error.sum(axis=0)[:5] / constant.sum(axis=0)[:5]  # the constant gene has none
    np.testing.assert_allclose(found.genes["r2"], [*r2, np.nan], rtol=1e-5)
    np.testing.assert_allclose(found.genes["mean"], x[test].mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(found.genes["variance"], x[test].var(axis=0, ddof=1), atol=1e-9)
    assert found.genes["gene"].tolist() == PANEL["gene"].tolist()
    assert found.summary["r2_median"] == pytest.approx(np.median(r2), rel=1e-5)
    assert found.summary["r2_quartiles"] == pytest.approx(np.quantile(r2, [0.25, 0.5, 0.75]).tolist(), rel=1e-5)
    assert found.summary["total_r2"] == pytest.approx(1 - error[:, :5].sum() / constant[:, :5].sum(), rel=1e-5)
    assert (found.summary["num_cells"], found.summary["num_held_out"]) == (400, 80)
    assert min(found.summary["r2_median"], found.summary["total_r2"]) > 0.98


def lines_that_differ(slope: float):
    """Two lines, far apart; within a line, z says something of x (`slope`) or nothing."""
    rng = np.random.default_rng(1)
    group = rng.integers(0, 2, 400)
    z = rng.normal(size=(400, 2)) + 4 * group[:, None]
    x = 2.0 + np.stack([group * step for step in (1, -1, 0.5, 0.7, 1.2, -0.4)], axis=1) + rng.normal(scale=0.3, size=(400, 6))
    x += slope * (z - 4 * group[:, None])[:, :1]
    return control_cells(z, x, np.arange(400) % 8, group)


def test_what_lines_differ_in_is_not_what_the_decoder_adds():
    fit, found = judged(lines_that_differ(0.0))
    over = found.summary["over_plain_mean"]
    assert found.summary["total_r2"] > 0.3, "lines differ, which z tells"
    assert over["cells_r2"] < 0.02, "the mean of each line knows that too"
    cells = lines_that_differ(0.0)
    x, f = dense(cells).astype(np.float64), fit.decoder(torch.from_numpy(cells.z_ND)).numpy()
    plain, decoder, noise, error, grouped = [], [], [], 0.0, 0.0
    for line in (0, 1):
        train, test = (rows[cells.group_N[rows] == line] for rows in (fit.train, fit.test))
        held = x[test].mean(axis=0)
        plain.append(((held - x[train].mean(axis=0)) ** 2).mean())
        decoder.append(((held - f[train].mean(axis=0)) ** 2).mean())
        noise.append((x[test].var(axis=0, ddof=1) / len(test)).mean())
        error += ((x[test] - f[test]) ** 2).sum(axis=0)
        grouped += ((x[test] - x[train].mean(axis=0)) ** 2).sum(axis=0)
    assert over["plain_mse"] == pytest.approx(np.mean(plain), rel=1e-5)
    assert over["decoder_mse"] == pytest.approx(np.mean(decoder), rel=1e-4)
    assert over["noise_mse"] == pytest.approx(np.mean(noise), rel=1e-5)
    assert over["num_better"] == int((np.array(decoder) < np.array(plain)).sum())
    assert (over["num_groups"], over["num_held_out"]) == (2, len(fit.test))
    assert over["cells_r2"] == pytest.approx(1 - error.sum() / grouped.sum(), rel=1e-4, abs=1e-5)
    np.testing.assert_allclose(found.genes["r2_over_plain_mean"], 1 - error / grouped, rtol=1e-4, atol=1e-5)


def test_what_cells_of_a_line_differ_in_is():
    _, found = judged(lines_that_differ(0.5))
    assert found.summary["over_plain_mean"]["cells_r2"] > 0.5


def test_without_a_second_well_nothing_is_said_of_the_plain_mean():
    cells = lines_that_differ(0.0)
    one_each = control_cells(cells.z_ND, dense(cells), cells.group_N, cells.group_N)
    _, found = judged(one_each)
    assert found.summary["over_plain_mean"] is None
    assert found.genes["r2_over_plain_mean"].isna().all()
    _, of_one = judged(planted(1))
    assert of_one.summary["r2_median"] is None
    assert of_one.summary["total_r2"] is None
    assert isinstance(of_one.genes, pd.DataFrame)
