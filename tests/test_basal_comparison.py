"""What each baseline leaves of the response: planted effects, and baselines that explain a known share of them away."""

import anndata
import numpy as np
import pytest
from screens import make_baseline, make_conditions

from causcade.basal.comparison import compare_baselines
from causcade.files import write_anndata

NUM_GENES, NUM_CELLS, SD = 200, 50, 0.4


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """One plate, a line, twelve drugs; predictions for treated cells explain half of the effect away."""
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("run")
    genes = [f"G{number}" for number in range(NUM_GENES)]
    base, effect = rng.uniform(1, 2, NUM_GENES), rng.normal(scale=0.3, size=(12, NUM_GENES))
    effect -= np.median(effect, axis=0)
    noise = rng.normal(scale=SD / NUM_CELLS**0.5, size=effect.shape)
    rows = [(f"drug{number:02d}", "drug", 1.0, "A", "p1", NUM_CELLS, False) for number in range(12)]
    conditions = make_conditions(rows, base + effect + noise, np.full(effect.shape, SD**2), genes)
    variance = np.full((1, NUM_GENES), SD**2 / 400)
    control = base + rng.normal(scale=SD / 20, size=(1, NUM_GENES))
    lines = make_baseline([("A", "p1")], control, variance, genes, 400)
    lines.X = control + 0.2  # the decoder is wrong by a constant
    lines.layers["mean"] = control
    lines.obs = lines.obs.assign(perturbation="", dose=0.0)
    own = anndata.AnnData(
        base + 0.2 + 0.5 * effect, obs=conditions.obs[["cell_line", "plate", "n_cells", "perturbation", "dose"]].assign(is_control=False),
        var=lines.var, layers={"var": np.full(effect.shape, SD**2 / NUM_CELLS), "mean": conditions.layers["mean"]},
    )  # fmt: skip
    both = anndata.concat([lines, own], merge="same")
    both.obs["is_control"] = [True] + [False] * 12
    for name, store in (("conditions", conditions), ("lines", lines), ("both", both)):
        write_anndata(folder / name / "p1.zarr", store)
    return {name: [str(folder / name / "p1.zarr")] for name in ("conditions", "lines", "both")}, float((effect**2).mean())


def test_what_is_left_of_planted_effects(stores):
    paths, square = stores
    found = compare_baselines(paths["conditions"], paths["both"], "own_cell").set_index("baseline")
    assert found.index.tolist() == ["control_mean", "matched_control", "own_cell"]
    assert found["is_chosen"].tolist() == [False, False, True]
    assert set(found["num_conditions"]) == {12}
    np.testing.assert_allclose(found["square"], [square, square + 0.04, square / 4 + 0.04], rtol=0.05)
    np.testing.assert_allclose(found["square_centred"], [square, square, square / 4], rtol=0.1)
    assert found.loc["control_mean", ["left", "left_centred"]].tolist() == [1.0, 1.0]
    # Baselines of a line cancel where the median over its conditions is subtracted.
    assert found.loc["matched_control", "left_centred"] == pytest.approx(1.0, abs=1e-4)
    assert found.loc["own_cell", "left_centred"] == pytest.approx(0.25, abs=0.03)


def test_only_what_the_run_has_is_compared(stores):
    paths, _ = stores
    for chosen, names in (("control_mean", ["control_mean"]), ("matched_control", ["control_mean", "matched_control"])):
        assert compare_baselines(paths["conditions"], paths["lines"], chosen)["baseline"].tolist() == names
