import numpy as np
import pandas as pd
import pytest
from tx1_training_cases import VOCABULARY, make_plate, make_shape

from causcade.config import PretrainingConfig
from causcade.files import read_json
from causcade.model_judging import judge_model, line_question, most_dosed, treated_question
from causcade.pretraining import pretrain
from causcade.training_cells import Split, wells_of
from causcade.tx1.checkpoint import Checkpoint
from causcade.tx1.model import Tx1
from causcade.tx1.separability import balanced_votes
from causcade.tx1.shape import CollatorSettings


class Store:
    def __init__(self, **obs):
        self.obs = pd.DataFrame(obs)


@pytest.fixture(scope="module")
def model():
    shape = make_shape()
    return Checkpoint(model=Tx1(shape, seed=0), shape=shape, collator=CollatorSettings(), vocabulary=VOCABULARY, drug_ids=None, name="random")


@pytest.fixture(scope="module")
def screen(tmp_path_factory):
    """Two plates of 16 wells (w00 to w03 are controls); w03, w07 and w15 are kept back."""
    folder = tmp_path_factory.mktemp("cells")
    stores = [make_plate(folder / f"{name}.zarr", 320, seed=seed, wells=16) for seed, name in enumerate(("p1", "p2"))]
    held = [store.obs["well"].isin(["w03", "w07", "w15"]).to_numpy() for store in stores]
    return stores, Split([np.flatnonzero(~one) for one in held], [np.flatnonzero(one) for one in held])


def test_a_trained_model_is_judged_on_the_wells_that_it_did_not_see(screen, tmp_path):
    stores, _ = screen
    how = PretrainingConfig(d_model=16, num_layers=1, num_heads=2, steps=20, batch_cells=16, held_out=0.25, learning_rate=1e-2)
    pretrain(stores, how, tmp_path / "model", checkpoints=tmp_path / "checkpoints", seed=0, backend="cpu")
    trained = read_json(tmp_path / "model" / "summary.json")
    found = judge_model(stores, how, tmp_path / "model", seed=0, backend="cpu")
    for name in ("held_out_expression_mse", "held_out_product_mse"):
        assert found[name] == pytest.approx(trained[name])
    for name in ("gene_mean", "low_rank"):
        assert found[f"over_{name}"]["difference"] == pytest.approx(found["held_out_expression_mse"] - found[f"{name}_mse"], rel=1e-3)
    judged = {(record["embedding"], record["label"]): record for record in found["separability"]}
    assert set(judged) == {(embedding, label) for embedding in ("tx1", "pca") for label in ("cell_line", "treated")}
    assert judged["pca", "cell_line"]["accuracy"] > 0.9
    assert judged["tx1", "treated"]["num_wells"] == found["num_held_out_wells"]  # there are no doses: all wells are judged
    assert judge_model(stores[::-1], how, tmp_path / "model", seed=0, backend="cpu") == found


def test_the_highest_dose_is_that_over_all_plates():
    stores = [
        Store(perturbation=["A", "A", "B", "control"], dose=[0.5, 5.0, 1.0, 0.0]),
        Store(perturbation=["B", "A", "C"], dose=[10.0, 5.0, np.nan]),
    ]
    assert [found.tolist() for found in most_dosed(stores)] == [[False, True, False, True], [True, True, True]]
    assert most_dosed([Store(perturbation=["A", "B"])])[0].all()  # no doses: all cells


def test_treated_cells_and_controls_are_asked_for_within_plate_and_line(model, screen):
    stores, split = screen
    question = treated_question(model, stores, split, seed=0)
    assert {name: one.shape[1] for name, (one, _) in question.embeddings.items()} == {"tx1": 16, "pca": 16}
    kinds = pd.Series(question.query.labels).groupby(question.query.wells).unique()
    assert {name: list(labels) for name, labels in kinds.items()} == {
        f"{plate}/{well}": [kind] for plate in ("p1", "p2") for well, kind in (("w03", "control"), ("w07", "treated"), ("w15", "treated"))
    }
    assert set(question.reference.groups) == {"p1", "p2"}
    obs = pd.concat(store.obs.iloc[rows] for store, rows in zip(stores, split.training, strict=True))
    assert sorted(question.reference.wells) == sorted(wells_of(obs))  # fewer than would be drawn: all
    wells = pd.Series(question.reference.wells)
    for reference, query in question.embeddings.values():
        assert len(reference) == len(wells)
        assert len(query) == len(question.query.labels)
        assert abs(reference[wells.str.startswith("p1").to_numpy()].mean(axis=0)).max() < 1e-5
    told = balanced_votes(question.embeddings["pca"][0], question.reference, question.embeddings["pca"][1], question.query, permutations=50)
    assert told.accuracy > max(0.6, told.permuted_high)


def test_as_many_cells_of_either_kind_are_drawn(model, screen):
    question = treated_question(model, *screen, seed=0, num_cells=(40, 10))
    for part, num in ((question.reference, 40), (question.query, 10)):
        assert dict(zip(*np.unique(part.labels, return_counts=True), strict=True)) == {"control": num, "treated": num}


def test_cells_of_a_plate_and_line_without_training_cells_are_not_judged(model, screen):
    stores, split = screen
    of_line = (stores[1].obs["cell_line"] == "A").to_numpy()
    first, second = split.training
    question = treated_question(model, stores, Split([first, second[~of_line[second]]], split.held_out), seed=0)
    num = sum(map(len, split.held_out)) - of_line[split.held_out[1]].sum()
    assert len(question.query.labels) == len(question.query.wells) == num
    assert all(len(query) == num for _, query in question.embeddings.values())


def test_nothing_is_asked_where_no_control_or_no_cell_is_kept_back(model, screen):
    stores, split = screen
    treated = [rows[~store.obs["is_control"].to_numpy()[rows]] for store, rows in zip(stores, split.held_out, strict=True)]
    assert treated_question(model, stores, Split(split.training, treated), seed=0) is None
    assert line_question(model, stores, Split(split.training, [rows[:0] for rows in treated]), seed=0) is None
