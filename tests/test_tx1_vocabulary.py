"""Vocabulary: reading, building, looking genes up, and what is said of a wrong one."""

import json

import numpy as np
import pytest

from causcade.errors import InputError
from causcade.tx1.vocabulary import Vocabulary, without_version

GENES = [f"ENSG{number:011d}" for number in (30, 10, 20)]


@pytest.mark.shared_data
@pytest.mark.parametrize(("case", "drug"), [("base", None), ("chem", 208)])
def test_a_published_file_is_read_and_written_back(shared_data, tmp_path, case, drug):
    path = shared_data / "tx1_parity" / case / "vocab.json"
    tokens = json.loads(path.read_text())
    vocabulary = Vocabulary.from_json(path)
    assert vocabulary.tokens == tokens
    assert (vocabulary.pad, vocabulary.cls, vocabulary.drug, vocabulary.size) == (0, 1, drug, len(tokens))
    assert all(tokens[gene] == number for gene, number in zip(vocabulary.gene_ids, vocabulary.gene_tokens, strict=True))
    assert not any(gene.startswith("<") for gene in vocabulary.gene_ids)
    vocabulary.to_json(tmp_path / "vocab.json")
    assert (tmp_path / "vocab.json").read_text().strip() == path.read_text().strip()
    # the same genes get the same numbers (the published vocabularies have another number of junk tokens only in these small files)
    built = Vocabulary.from_genes(reversed(vocabulary.gene_ids))
    assert built.columns(vocabulary.gene_ids).tolist() == vocabulary.gene_tokens.tolist()


@pytest.mark.parametrize("num_genes", [1, 60, 61, 62, 125])
def test_built_like_the_published_ones(num_genes):
    genes = [f"ENSG{number:011d}" for number in range(num_genes)]
    names = list(Vocabulary.from_genes([*genes[::-1], genes[0] + ".7"]).tokens)
    assert names[: 3 + num_genes] == ["<pad>", "<cls>", "<eoc>", *genes]
    assert names[3 + num_genes :] == [f"<junk{number}>" for number in range(len(names) - 3 - num_genes)]
    assert len(names) % 64 == 0
    assert len(names) - 64 < 3 + num_genes
    with_drug = Vocabulary.from_genes(genes, drug=True)
    assert list(with_drug.tokens) == [*names, "<drug>"]
    assert with_drug.drug == len(names)


def test_columns_ignore_versions_and_never_take_a_special_token_for_a_gene():
    vocabulary = Vocabulary.from_genes(GENES)
    given = [GENES[0] + ".12", "ENSG99999999999", " " + GENES[1], "<pad>", "<cls>", GENES[1] + ".1", "nan", GENES[2] + ".3_PAR_Y"]
    np.testing.assert_array_equal(vocabulary.columns(given), [5, -1, 3, -1, -1, 3, -1, -1])
    assert vocabulary.columns([]).shape == (0,)
    assert vocabulary.columns([]).dtype == np.int64


def test_only_ensembl_versions_are_stripped():
    given = ["ENSG00000141510.18", "ENSMUSG00000059552.3", "AC008770.3", "ENSG00000002586.20_PAR_Y", "TP53"]
    assert without_version(given).tolist() == ["ENSG00000141510", "ENSMUSG00000059552", "AC008770.3", "ENSG00000002586.20_PAR_Y", "TP53"]


def test_a_packaged_vocabulary_without_the_drug_token_gets_it():
    vocabulary = Vocabulary.from_genes(GENES)
    assert vocabulary.drug is None
    assert vocabulary.with_drug().drug == 64
    assert vocabulary.with_drug(70).size == 71
    with_drug = Vocabulary.from_genes(GENES, drug=True)
    assert with_drug.with_drug() is with_drug
    assert vocabulary.with_drug() == with_drug
    assert "3 genes, 65 tokens, with a drug token" in repr(with_drug)
    with pytest.raises(InputError, match=r"expected a number of its own for each token, found 1 for <cls> and <drug>"):
        vocabulary.with_drug(1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "found no JSON"),
        ("[1]", "found a list"),
        ("{}", "expected the tokens <pad> and <cls>, found no <pad> and no <cls> \\(but nothing\\)"),
        ('{"<pad>": 0, "ENSG1": 1}', "found no <cls> \\(but <pad>, ENSG1\\)"),
        ('{"<pad>": 0, "<cls>": 1, "ENSG1": "2"}', "expected a whole number from 0 for each token, found 'ENSG1': '2'"),
        ('{"<pad>": 0, "<cls>": 1, "ENSG1": -2}', "found 'ENSG1': -2"),
        ('{"<pad>": 0, "<cls>": 1, "ENSG1": true}', "found 'ENSG1': True"),
        ('{"<pad>": 0, "<cls>": 1, "ENSG1": 1}', "found 1 for <cls> and ENSG1"),
        ('{"<pad>": 0, "<cls>": 1, "<eoc>": 2}', "expected genes \\(Ensembl ids\\), found special tokens only"),
    ],
)
def test_what_is_no_vocabulary_is_told(tmp_path, text, message):
    path = tmp_path / "vocab.json"
    path.write_text(text)
    with pytest.raises(InputError, match=rf"vocab\.json: .*{message}"):
        Vocabulary.from_json(path)


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(InputError, match=r"vocab\.json: expected a JSON object .*found no such file\. Fetch the whole folder of the model again\."):
        Vocabulary.from_json(tmp_path / "vocab.json")
