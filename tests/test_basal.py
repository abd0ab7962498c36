"""The basal decoder and the baseline: planted maps, early stopping, seeds, slow means."""

import json
from dataclasses import replace

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from cell_cases import dense_x, gene_names, make_store, panel_of, random_counts

from causcade.basal import BasalDecoder, ControlCells, baseline, collect_controls, fit_basal, read_decoder, write_basal
from causcade.config import BasalConfig
from causcade.errors import InputError

SETTINGS = BasalConfig(hidden=8, max_epochs=60, patience=5, batch_cells=32, learning_rate=0.02)
GENES = gene_names(6)


def planted(num_cells: int = 400, noise: float = 0.05, seed: int = 0, num_wells: int = 10) -> ControlCells:
    """x = 3 + A z + noise for six genes; the last gene is constant."""
    rng = np.random.default_rng(seed)
    z = rng.normal(2.0, 5.0, size=(num_cells, 3))
    x = 3.0 + z @ rng.normal(scale=0.2, size=(3, 6)) + rng.normal(scale=noise, size=(num_cells, 6))
    x[:, 5] = 1.5
    wells = np.array([f"p1|w{number % num_wells}" for number in range(num_cells)])
    return ControlCells(z_ND=z.astype(np.float32), x_NG=sp.csr_matrix(x.astype(np.float32)), well_N=wells)


@pytest.fixture(scope="module")
def fitted():
    return fit_basal(planted(), SETTINGS, seed=0, backend="cpu")


def test_learns_a_planted_linear_map(fitted):
    assert fitted.summary["r2_median"] > 0.98
    assert fitted.summary["total_r2"] > 0.98
    assert fitted.summary["num_cells"] == 400
    assert fitted.summary["num_held_out"] == 80  # two of ten wells
    z = torch.tensor([[2.0, 2.0, 2.0], [7.0, 2.0, -3.0]])
    with torch.no_grad():
        change = (fitted.decoder(z)[1] - fitted.decoder(z)[0]).numpy()
    slope = np.random.default_rng(0)
    slope.normal(2.0, 5.0, size=(400, 3))
    expected = np.array([5.0, 0.0, -5.0]) @ slope.normal(scale=0.2, size=(3, 6))
    np.testing.assert_allclose(change[:5], expected[:5], atol=0.15)


def test_r2_is_what_the_decoder_leaves_of_held_out_cells(fitted):
    cells = planted()
    # The held-out wells are those on which the recorded error is reproduced.
    held_mse = fitted.metrics[fitted.summary["best_epoch"]]["held_out_mse"]
    with torch.no_grad():
        error = (fitted.decoder(torch.from_numpy(cells.z_ND)).numpy() - cells.x_NG.toarray()) ** 2
    wells = np.unique(cells.well_N)
    pairs = {(a, b): error[np.isin(cells.well_N, [a, b])].mean() for a in wells for b in wells if a < b}
    (first, second), value = min(pairs.items(), key=lambda item: abs(item[1] - held_mse))
    assert value == pytest.approx(held_mse, rel=1e-5)
    held = np.isin(cells.well_N, [first, second])
    x = cells.x_NG.toarray().astype(np.float64)
    constant = ((x[held] - x[~held].mean(axis=0)) ** 2)[:, :5]
    r2 = 1 - error[held][:, :5].sum(axis=0) / constant.sum(axis=0)  # the constant gene has none
    assert fitted.summary["r2_median"] == pytest.approx(np.median(r2), rel=1e-4)
    assert fitted.summary["r2_quartiles"] == pytest.approx(np.quantile(r2, [0.25, 0.5, 0.75]).tolist(), rel=1e-4)
    assert fitted.metrics[0]["constant_mse"] == pytest.approx(constant.sum() / (held.sum() * 6), rel=1e-4)


def test_the_best_epoch_is_kept_and_training_stops_early():
    # No signal: what is learnt is noise, so the held-out error rises.
    cells = planted(num_cells=60, seed=1)
    shuffled = replace(cells, z_ND=np.random.default_rng(5).normal(size=(60, 3)).astype(np.float32))
    fit = fit_basal(shuffled, SETTINGS.model_copy(update={"patience": 3, "learning_rate": 0.05}), seed=0, backend="cpu")
    errors = [line["held_out_mse"] for line in fit.metrics]
    assert len(errors) < SETTINGS.max_epochs
    assert fit.summary["best_epoch"] == int(np.argmin(errors)) == len(errors) - 1 - 3
    assert [line["epoch"] for line in fit.metrics] == list(range(len(errors)))
    again = fit_basal(
        shuffled, SETTINGS.model_copy(update={"max_epochs": fit.summary["best_epoch"] + 1, "learning_rate": 0.05}), seed=0, backend="cpu"
    )
    for name, value in again.decoder.state_dict().items():
        torch.testing.assert_close(fit.decoder.state_dict()[name], value, rtol=0, atol=0)


def test_equal_seeds_give_equal_weights_and_the_global_generator_is_left_alone():
    settings = SETTINGS.model_copy(update={"max_epochs": 2})
    torch.manual_seed(123)
    expected = torch.rand(1)
    torch.manual_seed(123)
    first, second, other = (fit_basal(planted(100), settings, seed=seed, backend="cpu") for seed in (3, 3, 4))
    assert torch.equal(torch.rand(1), expected)
    state = second.decoder.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in first.decoder.state_dict().items())
    assert first.metrics == second.metrics
    assert first.metrics != other.metrics


def test_one_control_well_is_said(caplog):
    with caplog.at_level("WARNING", logger="causcade"):
        fit = fit_basal(planted(50, num_wells=1), SETTINGS.model_copy(update={"max_epochs": 1}), seed=0, backend="cpu")
    assert "there is one control well only: early stopping holds out cells of it, not a well" in caplog.text
    assert fit.summary["num_held_out"] == 10


def test_one_control_cell_predicts_itself(caplog):
    with caplog.at_level("WARNING", logger="causcade"):
        fit = fit_basal(planted(1), SETTINGS, seed=0, backend="cpu")
    assert "judged on the cell it is fitted on" in caplog.text
    assert fit.summary["r2_median"] is None
    np.testing.assert_allclose(fit.decoder(torch.from_numpy(planted(1).z_ND)).detach(), planted(1).x_NG.toarray(), atol=0.2)


def test_a_diverging_fit_is_an_error():
    cells = planted(40)
    broken = replace(cells, z_ND=np.full_like(cells.z_ND, np.nan))
    with pytest.raises(InputError, match=r"basal: expected an error that falls, found nan\. Lower `basal: \{learning_rate: \.\.\.\}`"):
        fit_basal(broken, SETTINGS, seed=0, backend="cpu")


def test_round_trip(fitted, tmp_path):
    genes = ["g,1", *GENES[1:]]
    write_basal(tmp_path, fitted, genes)
    decoder, gene_ids = read_decoder(tmp_path / "model.safetensors")
    assert gene_ids == genes
    z = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(decoder(z), fitted.decoder(z))
    assert [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == fitted.metrics
    first = (tmp_path / "model.safetensors").read_bytes()
    write_basal(tmp_path, fitted, genes)
    assert (tmp_path / "model.safetensors").read_bytes() == first


@pytest.fixture(scope="module")
def plate(tmp_path_factory):
    """A plate whose controls are scattered over lines A, B and D; line C has none, D has one."""
    rng = np.random.default_rng(2)
    line = rng.choice(["A", "B", "C"], 70)
    is_control = (rng.random(70) < 0.5) & (line != "C")
    line[10], is_control[10] = "D", True
    well = rng.choice(["w1", "w2"], 70)
    store = make_store(tmp_path_factory.mktemp("plate") / "p1.zarr", random_counts(rng, 70, 6), cell_line=line, is_control=is_control, well=well)
    rows = np.sort(rng.permutation(np.union1d(np.flatnonzero(is_control), np.arange(20))))  # controls and some others
    obs = store.obs.iloc[rows][["cell_line", "plate", "well", "is_control"]].assign(row=rows)
    return store, anndata.AnnData(rng.normal(size=(len(rows), 3)).astype(np.float32), obs=obs)


def test_matched_control_is_the_mean_prediction(plate, fitted):
    store, embedding = plate
    result = baseline(store, embedding, fitted.decoder, panel_of(GENES), block_cells=9)
    assert result.obs["cell_line"].tolist() == ["A", "B", "D"]
    assert result.obs_names.tolist() == ["A|p1", "B|p1", "D|p1"]
    for row, line in enumerate(["A", "B", "D"]):
        cells = [
            number
            for number in range(embedding.n_obs)
            if embedding.obs["is_control"].iloc[number] and embedding.obs["cell_line"].iloc[number] == line
        ]
        predictions = [fitted.decoder(torch.from_numpy(embedding.X[[number]])).numpy()[0].astype(np.float64) for number in cells]
        np.testing.assert_allclose(result.X[row], np.mean(predictions, axis=0), rtol=1e-5, atol=1e-5)
        assert result.obs["n_cells"].iloc[row] == len(cells)


def test_control_mean_is_the_plain_mean_and_var_its_squared_standard_error(plate, fitted):
    store, embedding = plate
    result = baseline(store, embedding, None, panel_of(GENES), block_cells=9)
    x = dense_x(store, GENES)
    for row, line in enumerate(["A", "B", "D"]):
        cells = x[(store.obs["is_control"] & (store.obs["cell_line"] == line)).to_numpy()]
        np.testing.assert_allclose(result.X[row], cells.mean(axis=0), rtol=1e-6)
        expected = cells.var(axis=0, ddof=1) / len(cells) if len(cells) > 1 else np.zeros(6)
        np.testing.assert_allclose(result.layers["var"][row], expected, rtol=1e-5, atol=1e-9)
    decoded = baseline(store, embedding, fitted.decoder, panel_of(GENES), block_cells=9)
    np.testing.assert_array_equal(decoded.layers["var"], result.layers["var"])


@pytest.mark.parametrize("block_cells", [1, 70, 500])
def test_baseline_does_not_depend_on_block_size(plate, fitted, block_cells):
    first, second = (baseline(*plate, fitted.decoder, panel_of(GENES), block_cells=size) for size in (block_cells, 9))
    np.testing.assert_allclose(first.X, second.X, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(first.layers["var"], second.layers["var"], rtol=1e-6, atol=1e-9)


def test_a_gene_that_the_plate_lacks_has_baseline_zero(plate):
    result = baseline(*plate, None, panel_of(["g002", "not_there"]), block_cells=9)
    assert not result.X[:, 1].any()
    assert not result.layers["var"][:, 1].any()


def test_a_plate_without_controls_has_no_baseline(plate, fitted):
    store, embedding = plate
    treated = embedding[~embedding.obs["is_control"].to_numpy()].copy()
    result = baseline(store, treated, fitted.decoder, panel_of(GENES), block_cells=9)
    assert result.shape == (0, 6)
    assert result.layers["var"].shape == (0, 6)


def collect(plates, max_cells=1000, seed=0, block_cells=9):
    return collect_controls(plates, pd.Index(GENES), max_cells=max_cells, seed=seed, block_cells=block_cells)


def test_collect_controls_pairs_embedding_and_expression(plate):
    store, embedding = plate
    cells = collect([plate, plate])
    rows = [number for number in range(embedding.n_obs) if embedding.obs["is_control"].iloc[number]]
    x = dense_x(store, GENES)[embedding.obs["row"].to_numpy()[rows]]
    np.testing.assert_array_equal(cells.z_ND, np.concatenate([embedding.X[rows]] * 2))
    np.testing.assert_array_equal(cells.x_NG.toarray(), np.concatenate([x] * 2).astype(np.float32))
    assert cells.well_N.tolist() == [f"p1|{name}" for name in embedding.obs["well"].iloc[rows]] * 2


@pytest.mark.parametrize("max_cells", [1, 7, 30])
def test_a_sample_has_the_size_that_was_asked_for(plate, max_cells):
    cells = collect([plate, plate, plate], max_cells)
    assert len(cells.z_ND) == cells.x_NG.shape[0] == len(cells.well_N) == max_cells
    again, other = collect([plate, plate, plate], max_cells, block_cells=50), collect([plate, plate, plate], max_cells, seed=1)
    np.testing.assert_array_equal(cells.z_ND, again.z_ND)
    np.testing.assert_array_equal(cells.x_NG.toarray(), again.x_NG.toarray())
    assert not np.array_equal(cells.z_ND, other.z_ND)
    everything = collect([plate]).z_ND
    assert all((everything == row).all(axis=1).any() for row in cells.z_ND)


def test_no_control_cells_is_an_error(plate):
    store, embedding = plate
    treated = embedding[~embedding.obs["is_control"].to_numpy()].copy()
    with pytest.raises(InputError, match=r"basal: expected control cells, found none on any plate\. Check `perturbation\.control`"):
        collect([(store, treated)])


def test_nan_in_the_embedding_of_a_control_cell_is_told(plate, fitted):
    store, embedding = plate
    broken = embedding.copy()
    first = int(np.flatnonzero(broken.obs["is_control"].to_numpy())[3])
    broken.X[first, 1] = np.nan
    message = (
        rf"embedding of plate p1: expected finite values, found NaN or infinity in 1 of \d+ control cells \(the first: {broken.obs_names[first]}\)"
    )
    with pytest.raises(InputError, match=message):
        collect([(store, broken)])
    with pytest.raises(InputError, match=message):
        baseline(store, broken, fitted.decoder, panel_of(GENES), block_cells=9)
    assert np.isfinite(baseline(store, broken, None, panel_of(GENES), block_cells=9).X).all(), "the plain mean needs no embedding"
    treated = embedding.copy()
    treated.X[~treated.obs["is_control"].to_numpy()] = np.nan
    np.testing.assert_array_equal(collect([(store, treated)]).z_ND, collect([plate]).z_ND)


def test_an_untrained_decoder_predicts_its_bias():
    decoder = BasalDecoder(3, 4, 2)
    assert torch.equal(decoder(torch.randn(5, 3)), decoder.linear.bias.expand(5, 2))
