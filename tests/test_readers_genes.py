"""Ids and symbols of genes, features of one gene, and which features are genes."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from causcade.config import InputConfig
from causcade.errors import InputError
from causcade.readers.genes import gene_table, merge_genes, select_features, strip_version


@pytest.mark.parametrize(
    ("identifier", "expected"),
    [
        ("ENSG00000141510.18", "ENSG00000141510"), ("ENSG00000141510", "ENSG00000141510"), ("ENSMUSG00000059552.14", "ENSMUSG00000059552"),
        ("ENSG00000182378.14_PAR_Y", "ENSG00000182378_PAR_Y"), ("TP53", "TP53"), ("AC008770.3", "AC008770.3"), ("HLA-A.1", "HLA-A.1"), ("", ""),
        ("ENSA.1", "ENSA.1"),
    ],
)  # fmt: skip
def test_versions_of_ensembl_ids(identifier, expected):
    assert strip_version(identifier) == expected


def test_features_of_one_gene_are_summed():
    keys, summing = merge_genes(pd.Index(["A", "B", "A", "C"]))
    assert keys.tolist() == ["A", "B", "C"]
    np.testing.assert_array_equal(np.array([[1, 2, 3, 4]]) @ summing.toarray(), [[4, 2, 4]])
    keys, summing = merge_genes(pd.Index(["A", "B"]))
    assert keys.tolist() == ["A", "B"]
    assert summing is None


def test_sums_beyond_single_precision_are_exact():
    _, summing = merge_genes(pd.Index(["A", "A"]))
    counts = sp.csr_matrix(np.array([[2**24, 1]], dtype=np.float32))
    assert (counts @ summing).toarray().tolist() == [[2**24 + 1]]


@given(keys=st.lists(st.sampled_from("ABCDE"), max_size=12), seed=st.integers(0, 99))
@settings(max_examples=50, deadline=None)
def test_summing_equals_a_loop(keys, seed):
    counts = np.random.default_rng(seed).poisson(2, (3, len(keys)))
    distinct, summing = merge_genes(pd.Index(keys, dtype=object))
    expected = {key: sum((counts[:, i] for i, other in enumerate(keys) if other == key), np.zeros(3)) for key in keys}
    found = counts if summing is None else sp.csr_matrix(counts) @ summing
    assert distinct.tolist() == list(expected)
    for position, key in enumerate(distinct):
        np.testing.assert_array_equal(
            np.asarray(found[:, [position]].todense() if sp.issparse(found) else found[:, [position]]).ravel(), expected[key]
        )


VAR = pd.DataFrame({"id": ["ENSG1.1", None, ""], "name": ["A", "B", None]}, index=["x ", "y", "z"])


def test_ids_and_symbols_from_columns_and_from_the_index(caplog):
    assert gene_table(VAR, InputConfig(), "f").to_dict("list") == {"gene_id": ["x", "y", "z"], "symbol": ["x", "y", "z"]}
    found = gene_table(VAR, InputConfig(gene_id="id"), "f", symbol="name")
    assert found.to_dict("list") == {"gene_id": ["ENSG1", "y", "z"], "symbol": ["A", "B", "z"]}
    assert "f: 2 of 3 genes have nothing in var column 'id' and keep their name" in caplog.text
    assert gene_table(VAR, InputConfig(gene_symbol="id"), "f", symbol="name")["symbol"].tolist() == ["ENSG1.1", "y", "z"]
    with pytest.raises(InputError, match=r"f: expected var column 'no' \(input.gene_id\), found id, name. Name one that is there, or null"):
        gene_table(VAR, InputConfig(gene_id="no"), "f")


def features(**columns):
    num = len(next(iter(columns.values())))
    return pd.DataFrame(columns, index=[f"f{i}" for i in range(num)])


def test_only_gene_expression_is_taken(caplog):
    caplog.set_level("INFO", logger="causcade")
    var = features(feature_types=["Gene Expression", "Antibody Capture", "Custom", "Gene Expression", "Antibody Capture"])
    kept, selected = select_features(var, InputConfig(), "f")
    assert kept.tolist() == [0, 3]
    assert selected.index.tolist() == ["f0", "f3"]
    assert "f: 2 features are Gene Expression; left out: 2 of Antibody Capture, 1 of Custom" in caplog.text
    with pytest.raises(InputError) as error:
        select_features(var[1:3], InputConfig(), "f")
    assert str(error.value) == (
        "f: expected features of type 'Gene Expression', found 1 of Antibody Capture, 1 of Custom. Name the file that holds gene expression."
    )


def test_all_features_are_told_by_none():
    kept, selected = select_features(features(feature_types=["Gene Expression"] * 2), InputConfig(), "f")
    assert kept is None
    assert len(selected) == 2
    assert select_features(features(x=[1, 2]), InputConfig(), "f")[0] is None
    assert select_features(features(feature_types=np.zeros(0, dtype=object)), InputConfig(), "f")[0] is None


def test_probes_outside_the_filtered_set_are_left_out(caplog):
    caplog.set_level("INFO", logger="causcade")
    kept, _ = select_features(features(filtered_probes=[True, False, True]), InputConfig(), "f")
    assert kept.tolist() == [0, 2]
    assert "f: 1 probes are not in the filtered set and are left out" in caplog.text


TWO = {"genome": ["hg19", "mm10", "hg19", ""], "feature_types": ["Gene Expression"] * 3 + ["Antibody Capture"]}


def test_one_genome_of_several_has_to_be_named():
    var = features(**TWO, name=["hg19_A", "mm10___B", "hg19_C", "CD3"]).set_axis(["hg19_E1", "mm10___E2", "hg19_E3", "CD3"])
    with pytest.raises(InputError) as error:
        select_features(var, InputConfig(), "f")
    assert str(error.value) == "f: expected one genome, found hg19, mm10. Set `input: {genome: NAME}` to one of them."
    kept, selected = select_features(var, InputConfig(genome="mm10"), "f")
    assert kept.tolist() == [1]
    assert (selected.index.tolist(), selected["name"].tolist()) == (["E2"], ["B"])
    assert select_features(var, InputConfig(genome="hg19"), "f")[1]["name"].tolist() == ["A", "C"]
    with pytest.raises(InputError, match=r"f: expected genome 'hg38' \(input.genome\), found hg19, mm10. Name one that is there."):
        select_features(var, InputConfig(genome="hg38"), "f")


def test_a_prefix_that_not_all_names_have_is_part_of_the_name():
    var = features(genome=["hg19"] * 2, name=["hg19_A", "B"])
    assert select_features(var, InputConfig(), "f")[1]["name"].tolist() == ["hg19_A", "B"]


def test_a_genome_that_selects_nothing_is_told(caplog):
    assert select_features(features(x=[1]), InputConfig(genome="hg19"), "f")[0] is None
    assert "f: the file names no genome, so that input.genome (hg19) selects nothing" in caplog.text
