"""Pseudobulk conditions, against a group-by over dense cells."""

import numpy as np
import pandas as pd
import pytest
from cell_cases import NO_ROLES, dense_x, gene_names, make_store, panel_of, random_counts

from causcade.conditions import measure_conditions
from causcade.covariates import cell_cycle_scores

GENES = gene_names(12)
ROLES = pd.DataFrame({"gene_id": ["g008", "g009", "g003"], "role": ["s", "s", "s_control"]})


def treated(rng: np.random.Generator, num_cells: int) -> dict[str, np.ndarray]:
    """Columns of a plate with controls and two drugs in random order; drug Z has one cell."""
    drug = rng.choice(["control", "X", "Y"], num_cells)
    drug[num_cells // 2] = "Z"
    dose = np.where(drug == "control", 0.0, rng.choice([0.05, 5.0], num_cells))
    return {
        "perturbation": drug, "dose": dose, "is_control": drug == "control", "cell_line": rng.choice(["A", "B"], num_cells),
        "mito_fraction": rng.random(num_cells) / 4,
    }  # fmt: skip


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    rng = np.random.default_rng(0)
    return make_store(tmp_path_factory.mktemp("plate") / "p1.zarr", random_counts(rng, 80, 12), **treated(rng, 80))


def measure(store, gene_ids=GENES, min_cells=1, block_cells=9, roles=ROLES):
    return measure_conditions(store, panel_of(gene_ids), roles, min_cells=min_cells, block_cells=block_cells)


def test_mean_and_variance_equal_a_groupby(store):
    result = measure(store)
    cells = pd.DataFrame(dense_x(store, GENES), columns=GENES)
    keys = [store.obs[name].to_numpy() for name in ("perturbation", "dose", "cell_line", "plate")]
    grouped = cells.groupby(keys)
    rows = [tuple(row) for row in result.obs[["perturbation", "dose", "cell_line", "plate"]].itertuples(index=False)]
    assert rows == [tuple(key) for key in grouped.size().index]  # sorted alike
    assert result.obs["n_cells"].tolist() == grouped.size().tolist()
    np.testing.assert_allclose(result.layers["mean"], grouped.mean().to_numpy(), rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(result.layers["var"], grouped.var(ddof=1).fillna(0.0).to_numpy(), rtol=1e-5, atol=1e-7)
    assert result.layers["mean"].dtype == result.layers["var"].dtype == np.float32
    assert result.var["gene"].tolist() == [name.upper() for name in GENES]


def test_covariates_are_means_over_the_cells(store):
    result = measure(store)
    assert list(result.uns["covariates"]) == ["log_counts", "mito_fraction", "s_score"]  # no G2/M gene is listed
    x = dense_x(store, store.var.index)
    table = store.obs.assign(log_counts=np.log1p(store.obs["total_counts"]), s_score=cell_cycle_scores(x, store.var.index, ROLES)["s_score"])
    expected = table.groupby(["perturbation", "dose", "cell_line", "plate"])[["log_counts", "mito_fraction", "s_score"]].mean()
    np.testing.assert_allclose(result.obsm["covariates"], expected.to_numpy(), rtol=1e-5, atol=1e-6)


def test_names_and_columns(store):
    result = measure(store)
    assert result.obs.columns.tolist() == ["condition", "perturbation", "kind", "dose", "cell_line", "plate", "is_control", "n_cells"]
    assert result.obs_names[-1] == result.obs["condition"].iloc[-1] == "control|0|B|p1"
    assert "X|0.05|B|p1" in result.obs_names
    assert result.obs_names.is_unique
    assert result.obs["is_control"].tolist() == (result.obs["perturbation"] == "control").tolist()


@pytest.mark.parametrize("block_cells", [1, 80, 500])
def test_block_size_does_not_matter(store, block_cells):
    first, second = measure(store, block_cells=block_cells), measure(store)
    pd.testing.assert_frame_equal(first.obs, second.obs)
    for name in ("mean", "var"):
        np.testing.assert_allclose(first.layers[name], second.layers[name], rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(first.obsm["covariates"], second.obsm["covariates"], rtol=1e-6)


def test_conditions_of_two_halves_add_up(tmp_path):
    rng = np.random.default_rng(1)
    counts, columns = random_counts(rng, 60, 12), treated(rng, 60)
    whole = measure(make_store(tmp_path / "whole.zarr", counts, **columns))
    sums, squares, sizes = {}, {}, {}
    for number, part in enumerate((slice(0, 23), slice(23, 60))):
        half = measure(make_store(tmp_path / f"{number}.zarr", counts[part], **{name: values[part] for name, values in columns.items()}))
        for name, n, mean, var in zip(
            half.obs_names, half.obs["n_cells"], half.layers["mean"].astype(float), half.layers["var"].astype(float), strict=True
        ):
            sizes[name] = sizes.get(name, 0) + n
            sums[name] = sums.get(name, 0) + n * mean
            squares[name] = squares.get(name, 0) + (n - 1) * var + n * mean**2
    assert {name: int(n) for name, n in sizes.items()} == whole.obs["n_cells"].astype(int).to_dict()
    for row, name in enumerate(whole.obs_names):
        mean = sums[name] / sizes[name]
        np.testing.assert_allclose(whole.layers["mean"][row], mean, rtol=1e-5, atol=1e-6)
        var = (squares[name] - sizes[name] * mean**2) / max(sizes[name] - 1, 1)
        np.testing.assert_allclose(whole.layers["var"][row], var, rtol=1e-4, atol=1e-4)


def test_small_conditions_are_left_out(store, caplog):
    everything = measure(store)
    with caplog.at_level("INFO", logger="causcade"):
        result = measure(store, min_cells=8)
    large = (everything.obs["n_cells"] >= 8).to_numpy()
    assert 0 < large.sum() < len(large)
    assert result.obs_names.tolist() == everything.obs_names[large].tolist()
    np.testing.assert_array_equal(result.layers["mean"], everything.layers["mean"][large])
    np.testing.assert_array_equal(result.obsm["covariates"], everything.obsm["covariates"][large])
    assert f"{(~large).sum()} of {len(large)} conditions have fewer than 8 cells and are left out" in caplog.text
    assert measure(store, min_cells=1000).shape == (0, 12)


def test_one_cell_has_variance_zero(store):
    result = measure(store)
    row = (result.obs["perturbation"] == "Z").to_numpy()
    assert result.obs.loc[row, "n_cells"].tolist() == [1]
    cell = (store.obs["perturbation"] == "Z").to_numpy()
    np.testing.assert_allclose(result.layers["mean"][row], dense_x(store, GENES)[cell], rtol=1e-6)
    assert not result.layers["var"][row].any()


def test_a_gene_that_the_plate_lacks_is_zero(store):
    result = measure(store, gene_ids=["g004", "not_there", "g001"])
    full = measure(store)
    assert not result.layers["mean"][:, 1].any()
    assert not result.layers["var"][:, 1].any()
    np.testing.assert_array_equal(result.layers["mean"][:, [0, 2]], full.layers["mean"][:, [4, 1]])


def test_controls_of_several_kinds_are_one_condition(tmp_path):
    rng = np.random.default_rng(2)
    kinds = np.array(["crispra", "crispri"] * 5)
    result = measure(make_store(tmp_path / "kinds.zarr", random_counts(rng, 10, 12), kind=kinds))
    assert result.obs_names.tolist() == ["control|0|A|p1"]
    assert result.obs["n_cells"].tolist() == [10]


def test_a_plate_without_cells_has_no_condition(tmp_path):
    result = measure(make_store(tmp_path / "empty.zarr", np.zeros((0, 12), dtype=int)), roles=NO_ROLES)
    assert result.shape == (0, 12)


def test_can_be_written_and_read(store, tmp_path):
    from causcade.files import read_anndata, write_anndata

    result = measure(store)
    write_anndata(tmp_path / "c.zarr", result)
    back = read_anndata(tmp_path / "c.zarr")
    np.testing.assert_array_equal(back.layers["var"], result.layers["var"])
    assert back.obs_names.tolist() == result.obs_names.tolist()
    assert list(back.uns["covariates"]) == list(result.uns["covariates"])
