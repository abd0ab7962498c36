"""Responses that are measured from the prediction for the treated cells themselves (`own_cell`)."""

import anndata
import numpy as np
import pandas as pd
import pytest
from screens import make_screen

from causcade.errors import InputError
from causcade.files import write_anndata
from causcade.responses import ScreenFiles, build_responses
from causcade.responses.baselines import has_own, lines_of, own_of, read_lines, read_own

SCREEN = make_screen(num_genes=12, num_drugs=10, num_sources=4, num_candidates=3)


def with_own(lines, conditions):
    """Baselines of a plate with those of its conditions, in another order than these."""
    rng = np.random.default_rng(1)
    treated = conditions[rng.permutation(conditions.n_obs)]
    columns = ["cell_line", "plate", "n_cells", "perturbation", "dose"]
    own = anndata.AnnData(
        treated.layers["mean"] * 0.9, obs=treated.obs[columns].assign(is_control=False), var=lines.var,
        layers={"var": treated.layers["var"] / treated.obs["n_cells"].to_numpy()[:, None] * 0.5},
    )  # fmt: skip
    of_lines = anndata.AnnData(
        lines.X, obs=lines.obs.assign(perturbation="", dose=0.0, is_control=True), var=lines.var, layers={"var": lines.layers["var"]}
    )
    return anndata.concat([of_lines, own], merge="same")


BASELINES = [with_own(lines, conditions) for lines, conditions in zip(SCREEN.baselines, SCREEN.conditions, strict=True)]


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    found = {"conditions": [], "baseline": []}
    for name, stores in (("conditions", SCREEN.conditions), ("baseline", BASELINES)):
        for number, store in enumerate(stores):
            path = folder / name / f"p{number + 1}.zarr"
            write_anndata(path, store)
            found[name].append(str(path))
    return found


def test_each_condition_is_measured_from_its_own_prediction():
    found = build_responses(SCREEN.conditions, BASELINES, SCREEN.targets, recentre=False)
    mean = np.concatenate([store.layers["mean"] for store in SCREEN.conditions])
    np.testing.assert_allclose(found.delta_CG, 0.1 * mean, rtol=1e-5, atol=1e-6)
    # The error is that of x - f(z) over the cells; no error of controls enters.
    of_lines = build_responses(SCREEN.conditions, SCREEN.baselines, SCREEN.targets, recentre=False)
    assert (found.se_CG < 0.75 * of_lines.se_CG).all()
    assert found.obs.equals(of_lines.obs)
    np.testing.assert_allclose(found.control_mean_G, of_lines.control_mean_G, rtol=1e-6)


def test_files_give_what_is_in_memory(paths):
    screen = ScreenFiles(paths["conditions"], paths["baseline"], SCREEN.targets)
    expected = build_responses(SCREEN.conditions, BASELINES, SCREEN.targets)
    found = list(screen.plates())
    assert pd.concat([part.obs for part in found], ignore_index=True).equals(expected.obs)
    np.testing.assert_allclose(np.concatenate([part.delta_CG for part in found]), expected.delta_CG, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(np.concatenate([part.se_CG for part in found]), expected.se_CG, rtol=1e-4)


def test_the_two_kinds_of_rows_are_told_apart(paths):
    assert has_own(paths["baseline"][0])
    lines, own = read_lines(paths["baseline"][0]), read_own(paths["baseline"][0])
    assert (lines.n_obs, own.n_obs) == (2, 60)
    np.testing.assert_array_equal(lines.X, SCREEN.baselines[0].X)
    np.testing.assert_array_equal(own.layers["var"], own_of(BASELINES[0]).layers["var"])
    assert lines_of(SCREEN.baselines[0]) is SCREEN.baselines[0]
    assert own_of(SCREEN.baselines[0]) is None


def test_a_condition_without_its_prediction_is_an_error():
    short = [BASELINES[0][:-1], BASELINES[1]]
    with pytest.raises(InputError, match=r"basal/baseline of plate p1: expected the mean prediction over the 40 cells .* found one over 0 cells"):
        build_responses(SCREEN.conditions, short, SCREEN.targets)
    other = BASELINES[1].copy()
    other.obs["n_cells"] += 1
    with pytest.raises(InputError, match=r"plate p2: .* found one over 41 cells\. Rerun the stage `basal`"):
        build_responses(SCREEN.conditions, [BASELINES[0], other], SCREEN.targets)


def test_lines_without_controls_are_left_out_as_with_the_other_baselines():
    no_controls = [store[(store.obs["cell_line"] != "HepG2") | ~store.obs["is_control"]] for store in BASELINES]
    found = build_responses(SCREEN.conditions, no_controls, SCREEN.targets)
    assert set(found.obs["cell_line"]) == {"A549"}
