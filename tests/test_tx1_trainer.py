import logging
import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from tx1_training_cases import COLLATION, make_model, make_sources

import causcade.tx1.trainer as trainer
from causcade.errors import InputError
from causcade.files import read_json, write_json
from causcade.stopping import Stopped
from causcade.tx1.model import Tx1
from causcade.tx1.objective import loss_factor, squared_errors
from causcade.tx1.optimiser import DecoupledAdamW, rate_factor
from causcade.tx1.parallel import Group
from causcade.tx1.stream import Order, TrainingStream
from causcade.tx1.trainer import TrainingSettings, computes_in_bfloat16, train
from causcade.tx1.training_log import read_records

CPU = torch.device("cpu")
GROUP = Group(0, 1, CPU, "ddp")
SETTINGS = TrainingSettings(steps=12, learning_rate=1e-2, checkpoint_every=5, log_every=1)


@pytest.fixture(scope="module")
def plates(tmp_path_factory):
    return make_sources(tmp_path_factory.mktemp("plates"), {"p1": 60, "p2": 30})


def run(plates, folder, settings=SETTINGS, *, collation=COLLATION, model=None, fingerprint="f", validate=None, batch_cells=16):
    model = model or make_model()
    stream = TrainingStream(plates, replace(collation, mode=settings.mode), batch_cells=batch_cells, seed=0)
    train(model, stream, settings, GROUP, folder=folder, fingerprint=fingerprint, validate=validate)
    return model


def without_times(records):
    return [{name: value for name, value in record.items() if "per_s" not in name and "seconds" not in name} for record in records]


def assert_equal(first, second):
    for (name, ours), theirs in zip(first.state_dict().items(), second.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs), name


def test_the_loop_equals_one_written_out(plates, tmp_path):
    """Without dropout, micro-batches or prefetching, in a few lines."""
    model = run(plates, tmp_path, model=make_model(expression_dropout=0.0), collation=replace(COLLATION, micro_cells=5))
    plain = make_model(expression_dropout=0.0).train()
    optimiser = DecoupledAdamW(plain.parameters(), learning_rate=SETTINGS.learning_rate, weight_decay=SETTINGS.weight_decay)
    losses = []
    for batch in TrainingStream(plates, COLLATION, batch_cells=16, seed=0).steps(0, 12):
        (micro,) = batch.micros
        optimiser.set_rate(rate_factor(batch.step, 12, 1))
        errors = squared_errors(plain(micro.batch, decode=True), 2 * (micro.target_BL - 1) / 49 - 1, micro.batch.is_masked_BL)
        loss = (errors.expression + errors.product) / (2 * micro.num_masked)
        losses.append(float(loss.detach()) * (49 / 2) ** 2)  # in bins
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(plain.parameters(), 1.0)
        optimiser.step()
    np.testing.assert_allclose([record["loss"] for record in read_records(tmp_path / "metrics.jsonl")], losses, rtol=1e-5)
    for (name, ours), theirs in zip(model.state_dict().items(), plain.state_dict().values(), strict=True):
        if not name.endswith("Wqkv.bias"):  # the true gradient of its keys' part is 0
            np.testing.assert_allclose(ours.numpy(), theirs.numpy(), atol=2e-5, err_msg=name)


@pytest.mark.parametrize("mode", ["exact", "compatible"])
def test_equal_seeds_give_equal_bits_and_the_loss_falls(plates, tmp_path, mode):
    settings = replace(SETTINGS, mode=mode, steps=30)
    models = [run(plates, tmp_path / str(number), settings, collation=replace(COLLATION, micro_cells=6)) for number in range(2)]
    assert_equal(*models)
    records = read_records(tmp_path / "0" / "metrics.jsonl")
    assert records[-1]["loss"] < 0.8 * records[0]["loss"]
    assert [record["step"] for record in records] == list(range(1, 31))
    assert {"expression_mse", "product_mse", "gradient_norm", "learning_rate", "epoch", "tokens_per_s", "seconds_left"} <= records[0].keys()
    assert "flop_utilisation" not in records[0]  # the peak of a CPU is not known


@pytest.mark.parametrize(("stop", "optimiser"), [(1, "muon"), (5, "adamw"), (11, "muon")])
def test_a_stopped_training_goes_on_as_if_undisturbed_to_the_last_bit(plates, tmp_path, monkeypatch, stop, optimiser):
    collation, settings = replace(COLLATION, micro_cells=6), replace(SETTINGS, optimiser=optimiser)
    whole = run(plates, tmp_path / "whole", settings, collation=collation)
    advance = trainer._Trainer.advance

    def interrupted(self, batch, fingerprint):
        if self.step == stop:
            os.kill(os.getpid(), signal.SIGTERM if stop % 2 else signal.SIGUSR1)
        return advance(self, batch, fingerprint)

    monkeypatch.setattr(trainer._Trainer, "advance", interrupted)
    with pytest.raises(Stopped, match=rf"stopped at step {stop} of 12 and its state is saved\. Run again to go on from there\."):
        run(plates, tmp_path / "part", settings, collation=collation)
    monkeypatch.setattr(trainer._Trainer, "advance", advance)
    before = signal.getsignal(signal.SIGTERM)
    resumed = run(plates, tmp_path / "part", settings, collation=collation)
    assert signal.getsignal(signal.SIGTERM) == before
    assert_equal(resumed, whole)
    assert without_times(read_records(tmp_path / "part" / "metrics.jsonl")) == without_times(read_records(tmp_path / "whole" / "metrics.jsonl"))


def test_a_training_that_was_killed_goes_on_from_its_last_checkpoint(plates, tmp_path, monkeypatch):
    whole = run(plates, tmp_path / "whole")
    advance = trainer._Trainer.advance

    def dying(self, batch, fingerprint):
        if self.step == 8:
            raise KeyboardInterrupt
        return advance(self, batch, fingerprint)

    monkeypatch.setattr(trainer._Trainer, "advance", dying)
    with pytest.raises(KeyboardInterrupt):
        run(plates, tmp_path / "part")
    monkeypatch.setattr(trainer._Trainer, "advance", advance)
    assert read_json(tmp_path / "part" / "state" / "state.json")["step"] == 5
    assert_equal(run(plates, tmp_path / "part"), whole)
    assert [record["step"] for record in read_records(tmp_path / "part" / "metrics.jsonl")] == list(range(1, 13))


def test_a_state_of_another_training_is_kept_aside_and_training_begins_anew(plates, tmp_path, caplog):
    run(plates, tmp_path, replace(SETTINGS, steps=3))
    with caplog.at_level(logging.WARNING):
        found = run(plates, tmp_path, fingerprint="another", model=make_model(d_model=32))
    assert "the checkpoint (step 3) is of other data, settings or code" in caplog.text
    assert read_json(tmp_path / "state-other" / "state.json")["step"] == 3
    assert_equal(found, run(plates, tmp_path / "fresh", model=make_model(d_model=32)))
    assert [record["step"] for record in read_records(tmp_path / "metrics.jsonl")] == list(range(1, 13))


@pytest.mark.parametrize("optimiser", ["adamw", "muon"])
def test_out_of_memory_halves_the_micro_batches_and_goes_on(plates, tmp_path, monkeypatch, caplog, optimiser):
    settings = replace(SETTINGS, optimiser=optimiser, steps=4)
    expected = run(plates, tmp_path / "whole", settings, model=make_model(expression_dropout=0.0))
    forward, tried = Tx1.forward, []

    def limited(self, batch, **options):
        tried.append(len(batch.gene_BL))
        found = forward(self, batch, **options)
        if tried[-1] > 5:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return found

    monkeypatch.setattr(Tx1, "forward", limited)
    found = run(plates, tmp_path / "part", settings, model=make_model(expression_dropout=0.0))
    assert tried[:2] == [16, 8]
    assert max(tried[2:]) == 4  # once halved, they stay so
    assert caplog.text.count("going on with half as many") == 2
    for name, value in found.state_dict().items():
        if not name.endswith("Wqkv.bias"):  # the true gradient of its keys' part is 0
            torch.testing.assert_close(value, expected.state_dict()[name], atol=1e-4, rtol=0, msg=name)
    errors = [[record["loss"] for record in read_records(tmp_path / name / "metrics.jsonl")] for name in ("whole", "part")]
    np.testing.assert_allclose(*errors, rtol=1e-4)


def test_no_memory_for_one_cell_is_told(plates, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(Tx1, "forward", fail)
    message = r"expected memory for micro-batches of up to \d+ tokens .* on cpu, found too little\. Lower `pretraining\.micro_cells`"
    for mode in ("exact", "compatible"):  # where means of micro-batches are averaged, cutting would change the result
        with pytest.raises(InputError, match=message):
            run(plates, tmp_path / mode, replace(SETTINGS, mode=mode))


def test_a_damaged_state_is_told(plates, tmp_path):
    run(plates, tmp_path)
    state = tmp_path / "state"
    part = next(state.glob("*.distcp"))
    data = part.read_bytes()
    part.write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match=r"state: expected a whole checkpoint, found .*distcp missing or of another size\. Delete the folder"):
        run(plates, tmp_path)
    write_json(state / "state.json", read_json(state / "state.json") | {"files": {part.name: part.stat().st_size}})
    with pytest.raises(InputError, match=r"state: expected a whole checkpoint, found a damaged part"):
        run(plates, tmp_path)
    (state / "state.json").write_text("{")
    with pytest.raises(InputError, match=r"found no readable state\.json"):
        run(plates, tmp_path)


def test_a_gradient_that_is_not_finite_stops_before_the_step_is_taken(plates, tmp_path):
    model = make_model()
    with torch.no_grad():
        model.model.expression_decoder.out_proj.bias.fill_(float("nan"))
    with pytest.raises(InputError, match=r"expected a finite gradient, found one of norm nan at step 1\. Lower `pretraining\.learning_rate`"):
        run(plates, tmp_path, model=model)
    assert not (tmp_path / "state").exists()


def test_steps_without_a_masked_gene_change_nothing(tmp_path, caplog):
    from cell_cases import make_store
    from tx1_training_cases import VOCABULARY

    from causcade.tx1.sources import StoreCells

    store = make_store(tmp_path / "p1.zarr", np.eye(4, dtype=int), [*VOCABULARY.gene_ids[:4]])  # one gene in each cell
    with caplog.at_level(logging.WARNING):
        found = run([StoreCells(store, VOCABULARY, np.arange(4))], tmp_path, batch_cells=2)
    assert_equal(found, make_model())
    assert "step 1 has no masked gene" in caplog.text


def test_the_model_is_judged_when_it_is_time_and_at_the_end(plates, tmp_path):
    seen = []

    def validate(model):
        seen.append(model.training)
        return {"held_out_expression_mse": 2.0}

    run(plates, tmp_path, replace(SETTINGS, validate_every=5), validate=validate)
    records = read_records(tmp_path / "metrics.jsonl")
    assert [record["step"] for record in records if "held_out_expression_mse" in record] == [5, 10, 12]
    assert len(seen) == 3


def test_sums_of_micro_batches_equal_one_batch(plates):
    """Gradients of a step cut in micro-batches, in exact mode."""
    model = make_model(expression_dropout=0.0)
    gradients = []
    for micro_cells in (None, 3):
        model.zero_grad()
        (batch,) = TrainingStream(plates, replace(COLLATION, micro_cells=micro_cells), batch_cells=16, seed=0).steps(0, 1)
        for micro in batch.micros:
            errors = squared_errors(model(micro.batch, decode=True), micro.target_BL, micro.batch.is_masked_BL)
            factor = loss_factor(micro.num_masked, total=batch.num_masked, num_micro=len(batch.micros), num_processes=1, mode="exact")
            ((errors.expression + errors.product) * factor).backward()
        gradients.append(torch.cat([value.grad.flatten() for value in model.parameters()]))
    assert float((gradients[0] - gradients[1]).norm() / gradients[0].norm()) < 1e-5


def test_precision_follows_the_device_unless_it_is_set():
    assert computes_in_bfloat16("auto", torch.device("cuda"))
    assert not computes_in_bfloat16("auto", CPU)
    assert computes_in_bfloat16("bfloat16", CPU)
    assert not computes_in_bfloat16("float32", torch.device("cuda"))


def test_it_trains_in_bfloat16(plates, tmp_path):
    run(plates, tmp_path, replace(SETTINGS, precision="bfloat16", steps=30))
    records = read_records(tmp_path / "metrics.jsonl")
    assert records[-1]["loss"] < 0.8 * records[0]["loss"]


def test_the_order_counts_epochs():
    assert Order([30, 10], seed=0, batch_cells=8).epochs(10) == 2.0
