"""The stage around a TX1 model: which cells, what is told of them, and where a killed job goes on. The model itself is tested in test_tx1_*."""

import numpy as np
import pandas as pd
import pytest
import torch
from cell_cases import NO_ROLES, make_store

from causcade.cells import CellStore
from causcade.config import EmbeddingConfig
from causcade.embedding.genes import mean_embeddings, read_sums
from causcade.embedding.tx1 import Place, devices_of, embed_plate
from causcade.errors import InputError
from causcade.files import read_anndata, write_anndata
from causcade.tx1 import Checkpoint, CollatorSettings, ModelShape, Tx1, Vocabulary, embed_store, write_checkpoint
from causcade.tx1.embedded import EmbedSettings
from causcade.tx1.shape import DrugShape

GENES = [f"ENSG{number:011d}" for number in range(30)]
KNOWN = GENES[:24]


def make_model(drugs: bool = False) -> Checkpoint:
    vocabulary = Vocabulary.from_genes(KNOWN, drug=drugs)
    shape = ModelShape(vocab_size=vocabulary.size, d_model=16, num_layers=2, num_heads=2, drugs=DrugShape(num_drugs=3, num_bits=8) if drugs else None)
    names = {"<pad>": 0, "DMSO_TF": 1, "Drug": 2} if drugs else None
    model = Tx1(shape, seed=0).eval()
    if drugs:
        with torch.no_grad():
            model.state_dict()["model.chem_encoder.embedding.weight"][1:] = torch.randn(2, 8, generator=torch.Generator().manual_seed(0))
    return Checkpoint(model=model, shape=shape, collator=CollatorSettings(use_drug_token=drugs), vocabulary=vocabulary, drug_ids=names, name="tiny")


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> CellStore:
    """40 cells; c3 has no gene that the model knows, c5 none at all."""
    counts = np.random.default_rng(0).poisson(1.0, (40, 30))
    counts[3, :24] = 0
    counts[5] = 0
    drugs = np.where(np.arange(40) < 20, "control", "Drug")
    path = tmp_path_factory.mktemp("plate") / "p1.zarr"
    return make_store(path, counts, GENES, is_control=np.arange(40) < 20, perturbation=drugs)


@pytest.fixture
def job(tmp_path, store):
    def run(checkpoint=None, *, genes=False, control=("DMSO_TF",), **settings):
        folder = tmp_path / "model"
        write_checkpoint(folder, checkpoint or make_model())
        place = Place([str(folder / "model.safetensors")], str(tmp_path / "shards"), str(tmp_path / "genes.npz") if genes else None)
        how = EmbeddingConfig(source="tx1", gene_embeddings=genes, **settings)
        return embed_plate(store, how, place, seed=0, backend="cpu", control=control, roles=NO_ROLES, block_cells=16)

    return run


def test_controls_or_all_cells_are_embedded_and_empty_ones_are_left_out(job, store, tmp_path):
    controls, every = job(), job(cells="all")
    assert controls.obs["row"].tolist() == [row for row in range(20) if row not in (3, 5)]
    assert every.obs["row"].tolist() == [row for row in range(40) if row not in (3, 5)]
    assert every.obs_names.tolist() == store.obs.index[every.obs["row"]].tolist()
    np.testing.assert_allclose(every.X[:18], controls.X, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(every.X, axis=1), 1, atol=1e-5)
    write_anndata(tmp_path / "z.zarr", every)
    np.testing.assert_array_equal(read_anndata(tmp_path / "z.zarr").X, every.X)
    assert every.obs.columns.tolist()[-4:] == ["row", "log_counts", "s_score", "g2m_score"]


def test_what_is_told_of_the_model_and_of_its_share_of_the_counts(job, store):
    checkpoint = make_model()
    facts = job(cells="all").uns["embedding"]
    (_, counts), *_ = store.iter_counts(40)
    covered = counts[:, :24].sum() / counts.sum()
    assert facts["covered"] == pytest.approx(covered)
    assert (facts["source"], facts["mode"], facts["num_vocabulary"]) == ("tx1", "exact", 24)
    assert (facts["num_cells"], facts["num_empty"]) == (40, 2)
    assert facts["num_parameters"] == sum(parameter.numel() for parameter in checkpoint.model.parameters())


def test_too_few_known_counts_are_an_error(job):
    with pytest.raises(InputError, match=r"p1\.zarr: expected at least 99% of the counts in genes of the model's vocabulary"):
        job(min_covered=0.99)


def test_settings_reach_the_model(job, store):
    plain = job(normalise=False)
    expected = embed_store(store, np.arange(20), make_model(), EmbedSettings(normalise=False)).z_ND
    np.testing.assert_allclose(plain.X, np.delete(expected, [3, 5], axis=0), atol=1e-5)
    assert job(storage="float16").X.dtype == np.float16
    assert not np.allclose(job(max_length=5, normalise=False).X, plain.X, atol=1e-3)
    for speed in ({"batch_tokens": 40}, {"shard_cells": 7}, {"batch_tokens": 1, "shard_cells": 3}):
        np.testing.assert_allclose(job(normalise=False, **speed).X, plain.X, atol=1e-5)


def test_sums_of_genes_are_means_over_all_plates(job, store, tmp_path):
    job(genes=True, cells="all")
    sums = read_sums(tmp_path / "genes.npz")
    panel = pd.DataFrame({"gene_id": GENES[:2], "gene": ["A", "B"]})
    table = mean_embeddings([sums, sums], panel)  # two equal plates
    whole = embed_store(store, np.arange(40), make_model(), EmbedSettings(gene_embeddings=True))
    assert table["gene_id"].tolist() == KNOWN
    assert table["gene"].tolist()[:3] == ["A", "B", ""]
    assert table["num_cells"].tolist() == (2 * whole.gene_cells_G).tolist()
    np.testing.assert_allclose(table[[f"e{n}" for n in range(16)]].to_numpy(), whole.gene_mean_GD, atol=1e-5)


def test_plates_of_different_genes_add_up():
    from causcade.embedding.genes import GeneSums

    first = GeneSums(np.array([[2.0], [6.0], [0.0]]), np.array([1, 2, 0]), np.array(["a", "b", "d"]))
    second = GeneSums(np.array([[1.0], [5.0]]), np.array([1, 5]), np.array(["b", "c"]))
    table = mean_embeddings([first, second], pd.DataFrame({"gene_id": ["a"], "gene": ["A"]}))
    assert table.to_dict("list") == {
        "gene_id": ["a", "b", "c"],
        "gene": ["A", "", ""],
        "num_cells": [1, 3, 5],
        "e0": [2.0, pytest.approx(7 / 3), 1.0],
    }


def test_drugs_are_passed_on_and_controls_by_their_own_label(job):
    model = make_model(drugs=True)
    named = job(model, cells="all", normalise=False)
    unnamed = job(model, cells="all", normalise=False, control=["vehicle"])
    treated = ~named.obs["is_control"].to_numpy()
    np.testing.assert_allclose(named.X[treated], unnamed.X[treated], atol=1e-5)
    assert np.abs(named.X[~treated] - unnamed.X[~treated]).max() > 1e-3
    compatible = job(model, cells="all", normalise=False, mode="compatible")
    assert np.abs(named.X[treated] - compatible.X[treated]).max() > 1e-3  # the published embeddings know no drugs


def test_a_killed_job_goes_on_after_its_last_shard(job, tmp_path, caplog):
    whole = job(shard_cells=8)
    (tmp_path / "shards" / "shard-00001.npz").unlink()
    with caplog.at_level("INFO", logger="causcade"):
        again = job(shard_cells=8)
    assert "2 of 3 shards are embedded already" in caplog.text
    np.testing.assert_array_equal(again.X, whole.X)


def test_a_computer_without_gpus_has_one_device():
    assert devices_of("cpu") == ["cpu"]
