"""Baselines of a plate beside slow means: those of lines, and those of conditions from their own cells."""

import anndata
import numpy as np
import pytest
import torch
from basal_cases import GENES, write_embedding, write_plate
from cell_cases import NO_ROLES, dense_x, panel_of

from causcade.basal.baselines import measure_baselines
from causcade.basal.cells import Embedding
from causcade.basal.decoder import BasalDecoder
from causcade.cells import CellStore
from causcade.conditions import measure_conditions
from causcade.errors import InputError

PANEL = panel_of(GENES)


@pytest.fixture(scope="module")
def decoder():
    generator = torch.Generator().manual_seed(0)
    decoder = BasalDecoder(3, 4, 6)
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return decoder


@pytest.fixture(scope="module")
def plate(tmp_path_factory):
    return write_plate(tmp_path_factory.mktemp("plate"), embed_all=True)


def measure(plate, decoder, baseline="matched_control", block_cells=9, panel=PANEL):
    with CellStore(plate["cells"]) as store:
        return measure_baselines(store, Embedding(plate["embedding"]), decoder, panel, baseline=baseline, block_cells=block_cells)


def cells_of(plate):
    """Table, x and embedding of all cells."""
    store, embedding = CellStore(plate["cells"]), anndata.read_zarr(plate["embedding"])
    return store.obs.reset_index(drop=True), dense_x(store, GENES), embedding.X


def predict(decoder, z):
    with torch.no_grad():
        return decoder(torch.from_numpy(z)).double().numpy()


def test_matched_control_is_the_mean_prediction(plate, decoder):
    obs, x, z = cells_of(plate)
    result = measure(plate, decoder)
    assert result.obs["cell_line"].tolist() == ["A", "B", "D"]
    assert result.obs_names.tolist() == ["A|p1", "B|p1", "D|p1"]
    assert result.obs.columns.tolist() == ["cell_line", "plate", "n_cells"]
    for row, line in enumerate(["A", "B", "D"]):
        cells = (obs["is_control"] & (obs["cell_line"] == line)).to_numpy()
        np.testing.assert_allclose(result.X[row], predict(decoder, z[cells]).mean(axis=0), rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(result.layers["mean"][row], x[cells].mean(axis=0), rtol=1e-6)
        assert result.obs["n_cells"].iloc[row] == cells.sum()


def test_control_mean_is_the_plain_mean_and_var_its_squared_standard_error(plate, decoder):
    obs, x, _ = cells_of(plate)
    result = measure(plate, None, "control_mean")
    np.testing.assert_array_equal(result.X, result.layers["mean"])
    for row, line in enumerate(["A", "B", "D"]):
        cells = x[(obs["is_control"] & (obs["cell_line"] == line)).to_numpy()]
        expected = cells.var(axis=0, ddof=1) / len(cells) if len(cells) > 1 else np.zeros(6)
        np.testing.assert_allclose(result.layers["var"][row], expected, rtol=1e-5, atol=1e-9)
    np.testing.assert_array_equal(measure(plate, decoder).layers["var"], result.layers["var"])


def test_own_cell_is_the_mean_prediction_over_the_cells_of_each_condition(plate, decoder):
    obs, x, z = cells_of(plate)
    result = measure(plate, decoder, "own_cell")
    lines = result[result.obs["is_control"].to_numpy()]
    assert lines.obs_names.tolist() == result.obs_names[:3].tolist() == ["A|p1", "B|p1", "D|p1"]
    np.testing.assert_array_equal(lines.X, measure(plate, decoder).X)
    own = result[~result.obs["is_control"].to_numpy()]
    with CellStore(plate["cells"]) as store:
        conditions = measure_conditions(store, PANEL, NO_ROLES, min_cells=1, block_cells=50)
    treated = conditions[~conditions.obs["is_control"].to_numpy()]
    assert own.obs_names.tolist() == treated.obs_names.tolist()
    assert own.obs["n_cells"].tolist() == treated.obs["n_cells"].tolist()
    np.testing.assert_allclose(own.layers["mean"], treated.layers["mean"], rtol=1e-6)
    for row, (drug, dose, line) in enumerate(own.obs[["perturbation", "dose", "cell_line"]].itertuples(index=False)):
        cells = ((obs["perturbation"] == drug) & (obs["dose"] == dose) & (obs["cell_line"] == line) & ~obs["is_control"]).to_numpy()
        predicted = predict(decoder, z[cells])
        np.testing.assert_allclose(own.X[row], predicted.mean(axis=0), rtol=1e-5, atol=1e-5)
        expected = (x[cells] - predicted).var(axis=0, ddof=1) / cells.sum() if cells.sum() > 1 else np.zeros(6)
        np.testing.assert_allclose(own.layers["var"][row], expected, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("baseline", ["matched_control", "own_cell"])
@pytest.mark.parametrize("block_cells", [1, 500])
def test_baselines_do_not_depend_on_block_size(plate, decoder, baseline, block_cells):
    first, second = (measure(plate, decoder, baseline, size) for size in (block_cells, 9))
    np.testing.assert_allclose(first.X, second.X, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(first.layers["var"], second.layers["var"], rtol=1e-6, atol=1e-9)


def test_a_gene_that_the_plate_lacks_has_baseline_zero(plate):
    result = measure(plate, None, "control_mean", panel=panel_of(["g002", "not_there"]))
    assert not result.X[:, 1].any()
    assert not result.layers["var"][:, 1].any()


def test_a_plate_without_controls_has_no_baseline(plate, decoder, tmp_path):
    embedding = anndata.read_zarr(plate["embedding"])
    treated = ~embedding.obs["is_control"].to_numpy()
    write_embedding(tmp_path / "treated.zarr", embedding.X[treated], embedding.obs[treated])
    result = measure({**plate, "embedding": str(tmp_path / "treated.zarr")}, decoder)
    assert result.shape == (0, 6)
    assert result.layers["var"].shape == (0, 6)


def test_embeddings_of_controls_only_are_not_enough_for_own_cell(plate, decoder, tmp_path):
    embedding = anndata.read_zarr(plate["embedding"])
    control = embedding.obs["is_control"].to_numpy()
    write_embedding(tmp_path / "controls.zarr", embedding.X[control], embedding.obs[control])
    only = {**plate, "embedding": str(tmp_path / "controls.zarr")}
    np.testing.assert_allclose(measure(only, decoder).X, measure(plate, decoder).X, rtol=1e-6)
    with pytest.raises(InputError, match=r"for `basal\.baseline: own_cell`, found 0\. Write `embedding: \{cells: all\}`"):
        measure(only, decoder, "own_cell")


def test_nan_in_an_embedding_is_told_where_it_is_needed(plate, decoder, tmp_path):
    embedding = anndata.read_zarr(plate["embedding"])
    z = embedding.X.copy()
    z[int(np.flatnonzero(embedding.obs["is_control"].to_numpy())[0])] = np.nan
    write_embedding(tmp_path / "broken.zarr", z, embedding.obs)
    broken = {**plate, "embedding": str(tmp_path / "broken.zarr")}
    with pytest.raises(InputError, match="expected finite values, found NaN or infinity in cell"):
        measure(broken, decoder)
    assert np.isfinite(measure(broken, None, "control_mean").X).all(), "the plain mean needs no embedding"
