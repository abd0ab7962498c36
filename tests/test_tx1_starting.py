from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from tx1_training_cases import GENES, make_shape

from causcade.errors import InputError
from causcade.tx1.checkpoint import DRUG_TABLE, read_checkpoint, write_checkpoint
from causcade.tx1.shape import CollatorSettings
from causcade.tx1.starting import further_model, inform, new_model
from causcade.tx1.vocabulary import Vocabulary

BITS = {"DrugA": np.array([1.0, 0, 1, 0]), "DrugB": np.array([0, 1.0, 1, 0])}


def make(fingerprints=None, seed=0, genes=GENES):
    return new_model(make_shape(), Vocabulary.from_genes(genes), CollatorSettings(), name="small", seed=seed, fingerprints=fingerprints)


def test_a_new_model_has_the_genes_and_no_drugs():
    start = make(genes=[*GENES, "ENSG00000000001.4", "ENSG00000000099"])
    assert len(start.vocabulary.gene_ids) == 31
    assert start.shape.vocab_size == start.vocabulary.size == len(start.model.state_dict()["model.gene_encoder.embedding.weight"])
    assert start.drug_ids is None
    assert start.shape.drugs is None
    assert not start.collator.use_drug_token


def test_a_new_model_with_drugs_starts_from_their_fingerprints(tmp_path):
    start = make(BITS)
    table = start.model.state_dict()[DRUG_TABLE]
    assert start.drug_ids == {"<pad>": 0, "DrugA": 1, "DrugB": 2}
    np.testing.assert_array_equal(table.numpy(), [[0, 0, 0, 0], BITS["DrugA"], BITS["DrugB"]])
    assert start.vocabulary.drug == start.vocabulary.size - 1
    assert start.collator.use_drug_token
    assert start.collator.keep_first == 2
    write_checkpoint(tmp_path, start)
    assert read_checkpoint(tmp_path).drug_ids == start.drug_ids


def test_seeds_decide_the_weights():
    first, second, other = (make(seed=seed).model.state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not torch.equal(first["model.flag_encoder.weight"], other["model.flag_encoder.weight"])


def test_a_model_that_is_trained_further_is_the_same_model():
    initial = make(BITS)
    further = further_model(initial, name="further", seed=5)
    assert further.drug_ids == initial.drug_ids
    ours, theirs = further.model.state_dict(), initial.model.state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    assert ours[DRUG_TABLE].data_ptr() != theirs[DRUG_TABLE].data_ptr()


def test_new_drugs_get_rows_after_the_known_ones_which_keep_what_they_learned(tmp_path):
    initial = make(BITS)
    with torch.no_grad():
        initial.model.state_dict()[DRUG_TABLE][1:] += 0.5
    further = further_model(initial, name="further", seed=0, fingerprints={"DrugC": np.ones(4), "DrugA": np.zeros(4)})
    table = further.model.state_dict()[DRUG_TABLE].numpy()
    assert further.drug_ids == {"<pad>": 0, "DrugA": 1, "DrugB": 2, "DrugC": 3}
    np.testing.assert_array_equal(table[:3], initial.model.state_dict()[DRUG_TABLE].numpy())
    np.testing.assert_array_equal(table[3], np.ones(4))
    assert torch.equal(further.model.state_dict()["model.chem_encoder.fc.weight"], initial.model.state_dict()["model.chem_encoder.fc.weight"])
    write_checkpoint(tmp_path, further)
    assert read_checkpoint(tmp_path).shape.drugs.num_drugs == 4


def test_a_model_without_drugs_learns_of_drugs(tmp_path):
    initial = make()
    further = further_model(initial, name="further", seed=0, fingerprints=BITS)
    assert further.vocabulary.drug == initial.vocabulary.size
    assert further.shape.vocab_size == initial.shape.vocab_size + 1
    ours, theirs = further.model.state_dict(), initial.model.state_dict()
    assert all(torch.equal(ours[key][: len(theirs[key])], theirs[key]) for key in theirs)
    assert float(ours["model.gene_encoder.embedding.weight"][-1].abs().sum()) > 0
    assert further.collator.keep_first == 2
    write_checkpoint(tmp_path, further)
    assert read_checkpoint(tmp_path).drug_ids == {"<pad>": 0, "DrugA": 1, "DrugB": 2}


def test_fingerprints_of_another_length_are_refused():
    with pytest.raises(InputError, match=r"expected fingerprints of 4 bits as those of small, found 2\. Compute them so\."):
        further_model(make(BITS), name="further", seed=0, fingerprints={"DrugC": np.ones(2)})


def test_the_model_that_is_gone_on_from_stays_as_it_is():
    initial = make()
    before = {key: value.clone() for key, value in initial.model.state_dict().items()}
    further = further_model(initial, name="further", seed=0)
    with torch.no_grad():
        further.model.model.flag_encoder.weight.add_(1)
    assert all(torch.equal(before[key], value) for key, value in initial.model.state_dict().items())
    assert replace(initial, name="x").shape == further.shape


def make_bins(start, num_cells=200, seed=0):
    """Bins of two groups of genes, each of which goes up and down together; the last three genes are never seen."""
    rng = np.random.default_rng(seed)
    factor = rng.normal(size=(num_cells, 2))
    group = np.arange(27) % 2
    values = np.clip(25 + 8 * factor[:, group] + rng.normal(size=(num_cells, 27)), 1, 50)
    bins = np.zeros((num_cells, start.vocabulary.size), dtype=np.float32)
    bins[:, start.vocabulary.gene_tokens[:27]] = values
    return sp.csr_matrix(bins), group


def test_an_informed_model_begins_with_genes_that_go_together_near_each_other():
    start, plain = make(), make()
    bins, group = make_bins(start)
    inform(start.model, bins, 51, seed=0)
    before, after = (part.model.state_dict()["model.gene_encoder.embedding.weight"] for part in (plain, start))
    tokens = torch.from_numpy(start.vocabulary.gene_tokens)
    cosine = torch.corrcoef(after[tokens[:27]]).numpy()
    same = group[:, None] == group[None, :]
    np.fill_diagonal(same, False)
    assert cosine[same].mean() > cosine[group[:, None] != group[None, :]].mean() + 0.3
    untouched = np.setdiff1d(np.arange(len(before)), tokens[:27])
    assert torch.equal(before[untouched], after[untouched])
    assert float(after[tokens[:27]].std()) == pytest.approx(float(before[tokens].std()), rel=0.6)


def test_an_informed_model_tells_values_apart_from_the_start():
    start, plain = make(), make()
    inform(start.model, make_bins(start)[0], 51, seed=0)
    values = torch.tensor([10.0, 40.0])
    with torch.no_grad():
        apart = [float((part.model.eval().model.expression_encoder(values)).diff(dim=0).norm()) for part in (plain, start)]
    assert apart[0] < 0.1  # the norm takes the size away
    assert apart[1] > 1.0


def test_being_informed_depends_on_the_seed_and_changes_no_other_parameter():
    models = [make() for _ in range(3)]
    bins, _ = make_bins(models[0])
    for start, seed in zip(models, (0, 0, 1), strict=True):
        inform(start.model, bins, 51, seed=seed)
    first, second, other = (start.model.state_dict() for start in models)
    plain = make().model.state_dict()
    changed = {key for key in plain if not torch.equal(plain[key], first[key])}
    assert changed == {
        f"model.{key}" for key in ("gene_encoder.embedding.weight", "expression_encoder.linear1.weight", "expression_encoder.linear1.bias")
    }
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not any(torch.equal(first[key], other[key]) for key in changed)


def test_without_cells_to_learn_from_only_the_values_are_spread():
    start = make()
    inform(start.model, sp.csr_matrix((0, start.vocabulary.size), dtype=np.float32), 51, seed=0)
    assert torch.equal(
        start.model.state_dict()["model.gene_encoder.embedding.weight"], make().model.state_dict()["model.gene_encoder.embedding.weight"]
    )
