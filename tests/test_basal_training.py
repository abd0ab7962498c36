"""The fit of the decoder: planted maps, early stopping, seeds, order of batches, going on after a stop."""

import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from basal_cases import control_cells, planted

import causcade.basal.training as training
from causcade.basal.decoder import BasalDecoder, read_decoder, write_decoder
from causcade.basal.training import epoch_batches, fit_basal, split_wells
from causcade.config import BasalConfig
from causcade.errors import InputError
from causcade.stopping import Stopped

SETTINGS = BasalConfig(hidden=8, max_epochs=60, patience=5, batch_cells=32, learning_rate=0.02)


@pytest.fixture(scope="module")
def fitted():
    return fit_basal(planted(), SETTINGS, seed=0)


def equal(first, second):
    state = second.decoder.state_dict()
    return all(torch.equal(value, state[name]) for name, value in first.decoder.state_dict().items()) and first.metrics == second.metrics


def test_learns_a_planted_linear_map(fitted):
    assert len(fitted.test) == 80  # two of ten wells
    assert fitted.metrics[fitted.best_epoch]["held_out_mse"] < 0.02 * fitted.metrics[0]["constant_mse"]
    z = torch.tensor([[2.0, 2.0, 2.0], [7.0, 2.0, -3.0]])
    with torch.no_grad():
        change = (fitted.decoder(z)[1] - fitted.decoder(z)[0]).numpy()
    slope = np.random.default_rng(0)
    slope.normal(2.0, 5.0, size=(400, 3))
    expected = np.array([5.0, 0.0, -5.0]) @ slope.normal(scale=0.2, size=(3, 6))
    np.testing.assert_allclose(change[:5], expected[:5], atol=0.15)


def test_recorded_errors_are_those_of_the_held_out_cells(fitted):
    cells = planted()
    x = cells.expression(np.arange(400)).toarray().astype(np.float64)
    with torch.no_grad():
        error = (fitted.decoder(torch.from_numpy(cells.z_ND)).numpy() - x) ** 2
    assert fitted.metrics[fitted.best_epoch]["held_out_mse"] == pytest.approx(error[fitted.test].mean(), rel=1e-5)
    constant = ((x[fitted.test] - x[fitted.train].mean(axis=0)) ** 2).mean()
    assert fitted.metrics[0]["constant_mse"] == pytest.approx(constant, rel=1e-4)


def test_the_best_epoch_is_kept_and_training_stops_early():
    # No signal: what is learnt is noise, so the held-out error rises.
    cells = replace(planted(num_cells=60, seed=1), z_ND=np.random.default_rng(5).normal(size=(60, 3)).astype(np.float32))
    settings = SETTINGS.model_copy(update={"patience": 3, "learning_rate": 0.05})
    fit = fit_basal(cells, settings, seed=0)
    errors = [line["held_out_mse"] for line in fit.metrics]
    assert len(errors) < SETTINGS.max_epochs
    assert fit.best_epoch == int(np.argmin(errors)) == len(errors) - 1 - 3
    assert [line["epoch"] for line in fit.metrics] == list(range(len(errors)))
    again = fit_basal(cells, settings.model_copy(update={"max_epochs": fit.best_epoch + 1}), seed=0)
    assert equal(replace(fit, metrics=again.metrics), again)


def test_equal_seeds_give_equal_weights_and_the_global_generator_is_left_alone():
    settings = SETTINGS.model_copy(update={"max_epochs": 2})
    torch.manual_seed(123)
    expected = torch.rand(1)
    torch.manual_seed(123)
    first, second, other = (fit_basal(planted(100), settings, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(torch.rand(1), expected)
    assert equal(first, second)
    assert first.metrics != other.metrics


def test_each_epoch_has_every_cell_once_in_an_order_of_its_own():
    rows = np.arange(5, 20_005)
    first, second = (list(epoch_batches(rows, 300, np.random.default_rng([0, epoch]))) for epoch in (0, 1))
    assert [len(batch) for batch in first] == [300] * 66 + [200]
    for batches in (first, second):
        np.testing.assert_array_equal(np.sort(np.concatenate(batches)), rows)
    assert not np.array_equal(first[0], second[0])
    # A batch is drawn from the whole of the cells, not from one place.
    assert all(np.ptp(batch) > 15_000 for batch in first)
    assert len(np.unique(first[0] // training.RUN_CELLS)) > 150


def test_held_out_wells_leave_their_lines_another_well():
    well = np.repeat(np.arange(10), 6)
    group = np.concatenate([np.tile([0, 1], 15), np.tile([2, 3], 3), np.tile([4, 5], 12)])  # plates of five wells, of one, and of four
    for seed in range(20):
        train, test = split_wells(well, group, seed)
        assert len(test) == 12
        assert not set(well[train]) & set(well[test])
        assert set(group[train]) == set(group), "no line loses its only well"
    # Where every well is the only one of its plate, some are held out all the same.
    train, test = split_wells(np.repeat(np.arange(5), 4), np.repeat(np.arange(5), 4), 0)
    assert (len(train), len(test)) == (16, 4)


def test_one_control_well_is_said(caplog):
    with caplog.at_level("WARNING", logger="causcade"):
        fit = fit_basal(planted(50, num_wells=1), SETTINGS.model_copy(update={"max_epochs": 1}), seed=0)
    assert "there is one control well only: early stopping holds out cells of it, not a well" in caplog.text
    assert len(fit.test) == 10


def test_one_control_cell_predicts_itself(caplog):
    with caplog.at_level("WARNING", logger="causcade"):
        fit = fit_basal(planted(1), SETTINGS, seed=0)
    assert "judged on the cell it is fitted on" in caplog.text
    cell = planted(1)
    np.testing.assert_allclose(fit.decoder(torch.from_numpy(cell.z_ND)), cell.expression(np.arange(1)).toarray(), atol=0.2)


def test_a_diverging_fit_is_an_error():
    broken = replace(planted(40), z_ND=np.full((40, 3), np.nan, np.float32))
    with pytest.raises(InputError, match=r"basal: expected an error that falls, found nan\. Lower `basal: \{learning_rate: \.\.\.\}`"):
        fit_basal(broken, SETTINGS, seed=0)


@pytest.mark.parametrize("stop_at", [3, 10])  # amid the first epoch, and at the end of one
def test_a_stopped_fit_goes_on_as_if_it_had_not_been(tmp_path, monkeypatch, caplog, stop_at):
    cells, settings = planted(), SETTINGS.model_copy(update={"max_epochs": 4})
    whole = fit_basal(cells, settings, seed=0)
    taken = 0
    advance = training._Trainer.advance

    def counted(self, rows):
        nonlocal taken
        taken += 1
        if taken == stop_at:
            signal.raise_signal(signal.SIGUSR1)
        advance(self, rows)

    monkeypatch.setattr(training._Trainer, "advance", counted)
    with pytest.raises(Stopped, match="basal: stopped after step"):
        fit_basal(cells, settings, seed=0, checkpoint=tmp_path / "state.pt", fingerprint="a")
    assert taken == stop_at
    resumed = fit_basal(cells, settings, seed=0, checkpoint=tmp_path / "state.pt", fingerprint="a")
    assert taken == 4 * 10  # no step is taken twice
    assert equal(whole, resumed)
    with caplog.at_level("WARNING", logger="causcade"):
        anew = fit_basal(cells, settings, seed=0, checkpoint=tmp_path / "state.pt", fingerprint="b")
    assert "of other data or settings; the fit starts anew" in caplog.text
    assert equal(whole, anew)


def test_round_trip(fitted, tmp_path):
    genes = ["g,1", "g2", "g3", "g4", "g5", "g6"]
    write_decoder(tmp_path / "model.safetensors", fitted.decoder, genes)
    decoder, gene_ids = read_decoder(tmp_path / "model.safetensors")
    assert gene_ids == genes
    z = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(decoder(z), fitted.decoder(z))
    assert not any(parameter.requires_grad for parameter in decoder.parameters())
    first = (tmp_path / "model.safetensors").read_bytes()
    write_decoder(tmp_path / "model.safetensors", fitted.decoder, genes)
    assert (tmp_path / "model.safetensors").read_bytes() == first


def test_an_untrained_decoder_predicts_its_bias():
    decoder = BasalDecoder(3, 4, 2)
    assert torch.equal(decoder(torch.randn(5, 3)), decoder.linear.bias.expand(5, 2))


def test_cells_without_counts_are_fitted():
    cells = control_cells(np.random.default_rng(0).normal(size=(20, 2)), np.zeros((20, 3)), np.arange(20) % 4)
    fit = fit_basal(cells, SETTINGS.model_copy(update={"max_epochs": 1}), seed=0)
    assert fit.metrics[0]["constant_mse"] == 0.0
