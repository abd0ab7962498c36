import logging

import numpy as np
import pandas as pd
import pytest
from screens import make_baseline, make_conditions, make_screen

from causcade.errors import InputError
from causcade.responses import build_responses
from causcade.responses.conditions import PRIOR_CELLS

GENES = ["A", "B", "C"]
NO_TARGETS = pd.DataFrame({"perturbation": [], "target": [], "sign": []})


def row(drug="d1", line="L1", plate="p1", n=20, dose=1.0, control=False):
    return (drug, "drug", dose, line, plate, n, control)


def small(rows, baselines, *, seed=0, **options):
    rng = np.random.default_rng(seed)
    mean, var = rng.normal(1, 0.3, (len(rows), 3)), rng.uniform(0.1, 0.3, (len(rows), 3))
    plates = sorted({r[4] for r in rows})
    conditions = []
    for plate in plates:
        of_plate = [i for i, r in enumerate(rows) if r[4] == plate]
        conditions.append(make_conditions([rows[i] for i in of_plate], mean[of_plate], var[of_plate], GENES))
    return build_responses(conditions, baselines, options.pop("targets", NO_TARGETS), **options), mean, var


def baseline(rows, seed=9):
    rng = np.random.default_rng(seed)
    return make_baseline(rows, rng.normal(1, 0.3, (len(rows), 3)), rng.uniform(0.001, 0.01, (len(rows), 3)), GENES)


def shrunk_baseline(*stores, num_cells=200):
    """Variance of the mean, with the variance of a cell shrunk towards the mean over all stores; they have equal numbers of cells."""
    own = np.concatenate([store.layers["var"] for store in stores])
    return ((num_cells - 1) * own + PRIOR_CELLS * own.mean(axis=0)) / (num_cells - 1 + PRIOR_CELLS)


def test_difference_and_error_agree_with_a_slow_loop():
    rows = [row("d1", n=12), row("d2", n=30, line="L2"), row("d3", n=2), row("DMSO", control=True)]
    base = baseline([("L1", "p1"), ("L2", "p1")])
    found, mean, var = small(rows, [base])
    assert found.obs["perturbation"].tolist() == ["d1", "d2", "d3"]
    pooled = sum((rows[i][5] - 1) * var[i] for i in range(3)) / sum(rows[i][5] - 1 for i in range(3))
    for i, (line, n) in enumerate([(0, 12), (1, 30), (0, 2)]):
        for g in range(3):
            shrunk = ((n - 1) * var[i, g] + PRIOR_CELLS * pooled[g]) / (n - 1 + PRIOR_CELLS)
            assert found.delta_CG[i, g] == pytest.approx(mean[i, g] - base.X[line, g], abs=1e-6)
            assert found.se_CG[i, g] == pytest.approx(np.sqrt(shrunk / n + shrunk_baseline(base)[line, g]), rel=1e-5)
    assert found.delta_CG.dtype == found.se_CG.dtype == np.float32


def test_line_without_controls_on_its_plate_takes_the_mean_of_its_other_plates(caplog):
    base = [baseline([("L1", "p1")], 1), baseline([("L1", "p2")], 2)]
    with caplog.at_level(logging.WARNING, logger="causcade"):
        found, mean, var = small([row(plate="p3")], base)
    np.testing.assert_allclose(found.delta_CG[0], mean[0] - (base[0].X[0] + base[1].X[0]) / 2, atol=1e-6)
    spread = (base[0].X[0] - base[1].X[0]) ** 2 / 2
    of_mean = shrunk_baseline(*base).mean(axis=0) / 2
    np.testing.assert_allclose(found.se_CG[0] ** 2, var[0] / 20 + of_mean + spread * 1.5, rtol=1e-5)
    assert "no control cells of cell line L1; baseline taken from its 2 other plate(s)" in caplog.text


def test_line_without_any_control_is_dropped_with_a_warning(caplog):
    with caplog.at_level(logging.WARNING, logger="causcade"):
        found, _, _ = small([row(), row("d2", line="L9")], [baseline([("L1", "p1")])])
    assert found.obs["cell_line"].tolist() == ["L1"]
    assert "cell line L9 has no control cells on any plate; 1 conditions dropped" in caplog.text


def test_nothing_left_is_an_error():
    with pytest.raises(InputError, match=r"expected treated conditions with controls .* Check `perturbation.control`"):
        small([row(line="L9")], [baseline([("L1", "p1")])])
    with pytest.raises(InputError, match="expected at least one plate"):
        build_responses([], [], NO_TARGETS)


def test_other_genes_are_an_error():
    other = make_baseline([("L1", "p1")], np.ones((1, 2)), np.ones((1, 2)), ["A", "B"])
    with pytest.raises(InputError, match="expected the same 3 genes in the same order"):
        small([row()], [other])


@pytest.mark.parametrize(("num_drugs", "is_zero"), [(7, False), (8, True)])
def test_recentring_needs_eight_perturbations(num_drugs, is_zero):
    found, _, _ = small([row(f"d{i}") for i in range(num_drugs)], [baseline([("L1", "p1")])])
    assert np.allclose(np.median(found.delta_CG, axis=0), 0, atol=1e-6) == is_zero


def test_recentring_counts_perturbations_not_conditions():
    found, _, _ = small([row("d1", dose=float(i + 1)) for i in range(12)], [baseline([("L1", "p1")])])
    assert not np.allclose(np.median(found.delta_CG, axis=0), 0, atol=1e-3)


def test_single_cells_and_genes_without_counts_have_a_finite_positive_error():
    conditions = make_conditions([row(n=1), row("d2", n=20)], np.zeros((2, 3)), np.array([[0.0, 0, 0], [0.2, 0.1, 0]]), GENES)
    base = make_baseline([("L1", "p1")], np.zeros((1, 3)), np.zeros((1, 3)), GENES)
    found = build_responses([conditions], [base], NO_TARGETS)
    assert np.isfinite(found.se_CG).all()
    assert (found.se_CG > 0).all()
    assert (found.se_CG[0] > found.se_CG[1]).all()


def test_one_control_cell_is_an_uncertain_baseline_and_not_a_certain_one():
    conditions = make_conditions([row(n=1000), row(n=1000, line="L2")], np.ones((2, 3)), np.full((2, 3), 0.2), GENES)
    many = make_baseline([("L1", "p1")], np.ones((1, 3)), np.full((1, 3), 0.2 / 100), GENES, num_cells=100)
    one = make_baseline([("L2", "p1")], np.ones((1, 3)), np.zeros((1, 3)), GENES, num_cells=1)
    found = build_responses([conditions], [many, one], NO_TARGETS)
    np.testing.assert_allclose(found.se_CG**2, [[0.2 / 1000 + 0.2 / 100] * 3, [0.2 / 1000 + 0.2] * 3], rtol=1e-5)


def test_noise_free_effects_are_recovered_at_the_top_dose():
    screen = make_screen()
    found = build_responses(screen.conditions, screen.baselines, screen.targets, recentre=False)
    top = found.obs["dose"] == 5.0
    truth = pd.DataFrame(screen.effect_DG, index=screen.drugs).loc[found.obs.loc[top, "perturbation"]].to_numpy()
    z = (found.delta_CG[top.to_numpy()] - truth) / found.se_CG[top.to_numpy()]
    assert 0.9 < z.std() < 1.1


def test_take_keeps_the_links_of_what_is_left():
    screen = make_screen(num_drugs=4)
    found = build_responses(screen.conditions, screen.baselines, screen.targets)
    part = found.take((found.obs["perturbation"] == "drug01").to_numpy())
    assert part.perturbations == ["drug01"]
    assert part.links["perturbation"].tolist() == ["drug01"]
