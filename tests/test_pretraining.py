import json
import os
import signal

import numpy as np
import pandas as pd
import pytest
import torch
from tx1_training_cases import GENES, make_plate, simulated_stores

import causcade.tx1.trainer as trainer
from causcade import pretraining
from causcade.config import PretrainingConfig, SimulationConfig
from causcade.errors import InputError
from causcade.files import read_json
from causcade.model_judging import judge_model
from causcade.pretraining import pretrain
from causcade.stopping import Stopped
from causcade.tx1.checkpoint import DRUG_TABLE, read_checkpoint
from causcade.tx1.sources import StoreCells
from causcade.tx1.vocabulary import Vocabulary

SETTINGS = PretrainingConfig(d_model=16, num_layers=2, num_heads=2, steps=12, batch_cells=16, held_out=0.25, learning_rate=1e-2, checkpoint_every=5)
PUBLISHED = {"model.safetensors", "model_config.yml", "collator_config.yml", "vocab.json"}


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cells")
    return [make_plate(folder / f"{name}.zarr", 120, seed=seed, wells=16) for seed, name in enumerate(("p1", "p2"))]


def run(stores, folder, settings=SETTINGS, **changes):
    return pretrain(stores, settings.model_copy(update=changes), folder / "model", checkpoints=folder / "checkpoints", seed=0, backend="cpu")


def same_weights(first, second):
    states = [read_checkpoint(folder / "model").model.state_dict() for folder in (first, second)]
    return all(torch.equal(states[0][key], states[1][key]) for key in states[1])


def test_a_model_is_written_in_the_published_layout(stores, tmp_path):
    summary = run(stores, tmp_path, steps=40)
    assert {path.name for path in (tmp_path / "model").iterdir()} == PUBLISHED | {"metrics.jsonl", "summary.json"}
    assert not (tmp_path / "checkpoints").exists()
    assert read_json(tmp_path / "model" / "summary.json") == summary
    found = read_checkpoint(tmp_path / "model")
    assert sorted(found.vocabulary.gene_ids) == GENES
    assert (found.shape.d_model, found.shape.num_layers) == (16, 2)
    assert summary["num_cells"] + summary["num_held_out"] == 240
    assert summary["num_held_out"] > 0
    assert {"loss", "held_out_expression_mse", "held_out_product_mse"} <= summary.keys()
    records = [json.loads(line) for line in (tmp_path / "model" / "metrics.jsonl").read_text().splitlines()]
    held = [record["held_out_expression_mse"] for record in records if "held_out_expression_mse" in record]
    assert len(held) == 5
    assert held[-1] < held[0]


def test_equal_seeds_give_equal_weights_whatever_the_order_of_the_plates(stores, tmp_path):
    run(stores, tmp_path / "a")
    run(stores[::-1], tmp_path / "b")
    pretrain(stores, SETTINGS, tmp_path / "c" / "model", checkpoints=tmp_path / "c" / "checkpoints", seed=1, backend="cpu")
    assert same_weights(tmp_path / "a", tmp_path / "b")
    assert not same_weights(tmp_path / "a", tmp_path / "c")


def test_a_stopped_training_goes_on_to_the_same_weights(stores, tmp_path, monkeypatch):
    run(stores, tmp_path / "whole")
    advance = trainer._Trainer.advance

    def interrupted(self, batch, fingerprint):
        if self.step == 7:
            os.kill(os.getpid(), signal.SIGTERM)
        return advance(self, batch, fingerprint)

    monkeypatch.setattr(trainer._Trainer, "advance", interrupted)
    with pytest.raises(Stopped):
        run(stores, tmp_path / "part")
    assert not (tmp_path / "part" / "model").exists()
    monkeypatch.setattr(trainer._Trainer, "advance", advance)
    run(stores, tmp_path / "part", micro_cells=5, checkpoint_every=3)  # how fast it goes is no other training
    first, second = (read_checkpoint(tmp_path / name / "model").model.state_dict() for name in ("whole", "part"))
    assert max(float((first[key] - second[key]).abs().max()) for key in first) < 0.02
    with monkeypatch.context() as patch:
        patch.setattr(trainer._Trainer, "advance", interrupted)
        with pytest.raises(Stopped):
            run(stores, tmp_path / "same")
    run(stores, tmp_path / "same")
    assert same_weights(tmp_path / "whole", tmp_path / "same")


def test_training_further_begins_with_the_weights_of_the_model(stores, tmp_path):
    run(stores, tmp_path / "first")
    summary = run(
        stores, tmp_path / "second", initial=str(tmp_path / "first" / "model"), steps=1, warmup=1.0, held_out=0.0
    )  # the rate of its step is 0
    assert summary["initial"] == str(tmp_path / "first" / "model")
    assert "held_out_expression_mse" not in summary
    how = SETTINGS.model_copy(update={"initial": str(tmp_path / "first" / "model"), "held_out": 0.0})
    assert judge_model(stores, how, tmp_path / "second" / "model", seed=0, backend="cpu") == {}
    assert same_weights(tmp_path / "first", tmp_path / "second")


def test_drugs_come_from_a_table_of_structures_and_new_ones_are_added(stores, tmp_path):
    pytest.importorskip("rdkit")
    table = pd.DataFrame({"perturbation": ["DrugA", "control"], "smiles": ["CCO", "CS(C)=O"]})
    table.to_csv(tmp_path / "smiles.tsv", sep="\t", index=False)
    run(stores, tmp_path / "first", drugs=True, smiles=str(tmp_path / "smiles.tsv"))
    first = read_checkpoint(tmp_path / "first" / "model")
    assert first.drug_ids == {"<pad>": 0, "DrugA": 1, "control": 2}
    assert first.shape.drugs.num_bits == 2048
    pd.DataFrame({"perturbation": ["DrugZ"], "smiles": ["c1ccccc1"]}).to_csv(tmp_path / "more.csv", index=False)
    summary = run(stores, tmp_path / "second", drugs=True, smiles=str(tmp_path / "more.csv"), initial=str(tmp_path / "first" / "model"))
    second = read_checkpoint(tmp_path / "second" / "model")
    assert second.drug_ids == {"<pad>": 0, "DrugA": 1, "control": 2, "DrugZ": 3}
    assert summary["num_drugs"] == 3
    assert len(second.model.state_dict()[DRUG_TABLE]) == 4
    run(stores, tmp_path / "third", initial=str(tmp_path / "second" / "model"), steps=2)  # and on without drugs
    assert read_checkpoint(tmp_path / "third" / "model").shape.drugs is None


def test_further_cells_come_from_folders_with_the_numbers_of_a_vocabulary(stores, tmp_path, monkeypatch):
    read_with = []

    class Further(StoreCells):
        """Stands in for the reader of the folders, which tests of its own hold."""

        def __init__(self, folder, vocabulary, drug_ids):
            read_with.append((str(folder), vocabulary, drug_ids))
            super().__init__(stores[0], vocabulary, np.arange(30))
            self.name = str(folder)

    monkeypatch.setattr(pretraining, "MdsCells", Further)
    vocabulary = Vocabulary.from_genes([*GENES, "ENSG00000009999"])
    vocabulary.to_json(tmp_path / "vocab.json")
    run(stores, tmp_path, mds=["a/train", "b/train"], vocabulary=str(tmp_path / "vocab.json"), steps=2)
    assert read_with == [("a/train", vocabulary, None), ("b/train", vocabulary, None)]
    assert read_checkpoint(tmp_path / "model").vocabulary == vocabulary


def test_a_training_does_not_go_on_with_other_code(stores, tmp_path, monkeypatch, caplog):
    def stopped(*_, **__):
        raise Stopped("stopped")

    with monkeypatch.context() as patch:
        patch.setattr(pretraining, "write_checkpoint", stopped)
        with pytest.raises(Stopped):
            run(stores, tmp_path, steps=2)
    monkeypatch.setattr(pretraining, "code_digest", lambda _stage: "of another version")
    run(stores, tmp_path, steps=2)
    assert "the checkpoint (step 2) is of other data, settings or code" in caplog.text


def test_a_table_without_structures_is_refused(stores, tmp_path):
    pd.DataFrame({"drug": ["A"], "smiles": ["C"]}).to_csv(tmp_path / "smiles.csv", index=False)
    with pytest.raises(InputError, match=r"smiles\.csv: expected columns perturbation and smiles, found no perturbation\. Name them so\."):
        run(stores, tmp_path, drugs=True, smiles=str(tmp_path / "smiles.csv"))


def test_only_control_cells_are_taken_where_it_is_asked(stores, tmp_path):
    summary = run(stores, tmp_path, cells="controls", steps=2)
    assert summary["num_cells"] + summary["num_held_out"] == sum(int(store.obs["is_control"].sum()) for store in stores)


def test_no_cells_are_an_error(tmp_path):
    store = make_plate(tmp_path / "p1.zarr", 8)
    store.obs["is_control"] = False
    with pytest.raises(
        InputError, match=r"pretraining: expected cells to train on, found none\. Check the filters of `quality` and `pretraining\.cells`\."
    ):
        run([store], tmp_path, cells="controls")


@pytest.mark.slow
def test_a_simulated_screen_is_learned_better_than_by_means_of_genes_and_by_a_pca(tmp_path):
    """The demo's screen and model, trained as in the demo: minutes on two cores."""
    stores = simulated_stores(tmp_path, SimulationConfig())
    torch.set_num_threads(2)
    try:
        run(stores, tmp_path, PretrainingConfig())
        summary = judge_model(stores, PretrainingConfig(), tmp_path / "model", seed=0, backend="cpu")
    finally:
        torch.set_num_threads(1)
    for name in ("gene_mean", "low_rank"):
        assert summary[f"over_{name}"]["high"] < 0
    judged = {(record["embedding"], record["label"]): record for record in summary["separability"]}
    record = judged["tx1", "cell_line"]
    assert record["accuracy"] > max(0.9, record["permuted_high"]), record
