"""Identifiers: HGNC's table, the resolver against a slow dictionary, names of a gene axis."""

import gzip
import time

import numpy as np
import pandas as pd
import pytest

from causcade.errors import InputError, ResourceError
from causcade.resources.identifiers import NAMESPACES, Resolver, gene_names, read_hgnc, without_version

HEADER = "hgnc_id\tsymbol\tstatus\talias_symbol\tprev_symbol\tentrez_id\tensembl_gene_id\tuniprot_ids"
ROWS = [
    'HGNC:1\tTP53\tApproved\t"p53|LFS1"\t\t7157\tENSG00000141510\tP04637',
    'HGNC:2\tTLE5\tApproved\tGRG\t"AES|OLDA"\t166\tENSG00000104964\tQ08117',
    "HGNC:3\tGENEA\tApproved\tSHARED\tOLDB\t11\tENSG00000000011\tP10827",
    "HGNC:4\tGENEB\tApproved\tSHARED\t\t12\tENSG00000000012\tP62805",
    "HGNC:5\tGENEC\tApproved\tOLDA\tTWICE\t13\tENSG00000000013\tP62805",
    # OLDB is approved here and the previous symbol of GENEA; TWICE is a previous symbol of two genes.
    "HGNC:6\tOLDB\tApproved\t\tTWICE\t14\t\t",
    "HGNC:7\tGONE\tEntry Withdrawn\t\tGENEA\t15\tENSG00000000015\t",
    "HGNC:8\tDELEC1\tApproved\t\tDEC1\t16\tENSG00000173077\t",
    "HGNC:9\tBHLHE40\tApproved\tDEC1\t\t17\tENSG00000134107\t",
    "HGNC:10\tSEPTIN7\tApproved\t\tSEPT7\t18\tENSG00000122545\t",
]


@pytest.fixture
def hgnc(tmp_path):
    path = tmp_path / "hgnc.txt"
    path.write_text("\n".join([HEADER, *ROWS]) + "\n")
    return path


@pytest.fixture
def resolver(hgnc):
    return Resolver.from_hgnc(hgnc)


def slow_resolve(table, identifier):
    """The rule, said plainly: the first namespace that knows the identifier decides."""
    name = identifier.strip()
    for namespace in NAMESPACES:
        genes = set(table[(table["identifier"] == name) & (table["namespace"] == namespace)]["gene"])
        if len(genes) == 1:
            return genes.pop(), namespace
        if genes:
            return None, "ambiguous"
    return None, "unknown"


def test_hgnc_table_has_one_row_per_identifier_and_gene(hgnc):
    table = read_hgnc(hgnc)
    assert list(table.columns) == ["identifier", "namespace", "gene", "gene_id"]
    assert set(table["namespace"]) == set(NAMESPACES)
    assert table[table["identifier"] == "LFS1"].to_numpy().tolist() == [["LFS1", "alias", "TP53", "ENSG00000141510"]]
    assert table.loc[table["gene"] == "OLDB", "gene_id"].unique().tolist() == ["OLDB"]
    assert "GONE" not in set(table["gene"])
    assert not table.duplicated().any()


def test_compressed_table_is_the_same(hgnc, tmp_path):
    packed = tmp_path / "renamed.txt"
    packed.write_bytes(gzip.compress(hgnc.read_bytes()))
    pd.testing.assert_frame_equal(read_hgnc(packed), read_hgnc(hgnc))


@pytest.mark.parametrize(
    ("identifier", "gene", "status"),
    [
        ("TP53", "TP53", "approved"),
        (" TP53\t", "TP53", "approved"),
        ("p53", "TP53", "alias"),
        ("AES", "TLE5", "previous"),
        ("OLDA", "TLE5", "previous"),
        ("OLDB", "OLDB", "approved"),
        ("DEC1", "DELEC1", "previous"),
        ("SHARED", None, "ambiguous"),
        ("TWICE", None, "ambiguous"),
        ("P62805", None, "ambiguous"),
        ("7157", "TP53", "entrez"),
        ("ENSG00000141510", "TP53", "ensembl"),
        ("ENSG00000141510.18", "TP53", "ensembl"),
        ("P10827-2", "GENEA", "uniprot"),
        ("P10827-PRO_0000025591", "GENEA", "uniprot"),
        ("P62805-2", None, "ambiguous"),
        ("tp53", None, "unknown"),
        ("GONE", None, "unknown"),
        ("TP53.1", None, "unknown"),
        ("", None, "unknown"),
    ],
)
def test_each_rule_of_resolution(resolver, identifier, gene, status):
    row = resolver.resolve([identifier]).iloc[0]
    assert (row["identifier"], row["gene"], row["status"]) == (identifier, gene, status)
    assert (row["gene_id"] is None) == (gene is None)


def test_a_symbol_of_the_form_of_an_isoform_is_not_shortened_to_another_symbol(tmp_path):
    table = pd.DataFrame([("H2AC11", "approved", "H2AC11", "ENSG1")], columns=["identifier", "namespace", "gene", "gene_id"])
    assert Resolver.from_table(table).resolve(["H2AC11-1", "H2AC11"])["status"].tolist() == ["unknown", "approved"]


def test_resolver_equals_slow_reference_on_random_tables():
    rng = np.random.default_rng(0)
    names = [f"N{number}" for number in range(30)]
    for _ in range(20):
        genes = rng.integers(0, 12, 60)
        table = pd.DataFrame({"identifier": rng.choice(names, 60), "namespace": rng.choice(NAMESPACES, 60), "gene": [f"G{gene}" for gene in genes]})
        table["gene_id"] = "E" + table["gene"]
        asked = rng.choice([*names, "other"], 100)
        found = Resolver.from_table(table).resolve(asked)
        expected = [slow_resolve(table, identifier) for identifier in asked]
        assert list(zip(found["gene"], found["status"], strict=True)) == expected
        shuffled = Resolver.from_table(table.sample(frac=1, random_state=1)).resolve(asked)
        pd.testing.assert_frame_equal(found, shuffled)


def test_empty_input_and_empty_table(resolver):
    assert len(resolver.resolve([])) == 0
    empty = pd.DataFrame(columns=["identifier", "namespace", "gene", "gene_id"])
    assert Resolver.from_table(empty).resolve(["TP53", "P10827-2"])["status"].tolist() == ["unknown", "unknown"]


def test_every_gene_of_an_identifier(resolver):
    assert resolver.every_gene("DEC1") == {"DELEC1", "BHLHE40"}
    assert resolver.every_gene("nothing") == set()


def test_another_table_is_refused_with_what_to_do(tmp_path, hgnc):
    path = tmp_path / "other.txt"
    path.write_text("symbol\tname\nTP53\ttumor protein\n")
    with pytest.raises(ResourceError, match=r"other.txt: expected the columns symbol, prev_symbol.*found symbol, name .*hgnc_complete_set"):
        read_hgnc(path)
    with pytest.raises(ResourceError, match="expected the columns identifier, namespace, gene, gene_id, found identifier"):
        Resolver.from_table(read_hgnc(hgnc)[["identifier"]])
    with pytest.raises(ResourceError, match="found 'strange'"):
        Resolver.from_table(read_hgnc(hgnc).assign(namespace="strange"))
    path.write_text(HEADER + "\n")
    with pytest.raises(ResourceError, match="expected approved genes, found none"):
        read_hgnc(path)


def test_without_version_keeps_names_that_end_in_numbers():
    given = ["ENSG00000141510.18", " ENSG00000141510 ", "AC008770.3", "ENSG00000182378.15_PAR_Y", "ENSMUSG00000059552.14"]
    expected = ["ENSG00000141510", "ENSG00000141510", "AC008770.3", "ENSG00000182378.15_PAR_Y", "ENSMUSG00000059552"]
    assert without_version(given).tolist() == expected


def test_names_of_ensembl_ids(resolver):
    ids = ["ENSG00000141510.18", "ENSG00000104964", "ENSG00000999999", "ENSG00000999998", "ENSG00000999997"]
    symbols = ["anything", "AES", "NOVEL1", "", "TP53"]
    names = gene_names(ids, symbols, resolver)
    # The last one is called TP53 by the input, but its id is not TP53's: the row with the right id keeps the name.
    assert names["gene"].tolist() == ["TP53", "TLE5", "NOVEL1", "ENSG00000999998", "ENSG00000999997"]
    assert names["gene_id"].tolist() == ["ENSG00000141510", *ids[1:]]


def test_an_old_id_takes_the_approved_symbol_of_its_label(resolver):
    names = gene_names(["ENSG00000999999"], ["AES"], resolver)
    assert names.to_numpy().tolist() == [["ENSG00000999999", "TLE5"]]


def test_names_of_symbols_become_approved_and_get_ensembl_ids(resolver):
    names = gene_names(["AES", "TP53", "p53", "SHARED", "OLDB", "unheard"], None, resolver)
    assert names["gene"].tolist() == ["TLE5", "TP53", "p53", "SHARED", "OLDB", "unheard"]
    assert names["gene_id"].tolist() == ["ENSG00000104964", "ENSG00000141510", "p53", "SHARED", "OLDB", "unheard"]


def test_a_name_that_two_equal_rows_want_goes_to_neither(resolver):
    names = gene_names(["p53", "LFS1", "GRG"], None, resolver)
    assert names["gene"].tolist() == ["p53", "LFS1", "TLE5"]
    assert names["gene_id"].tolist() == ["p53", "LFS1", "ENSG00000104964"]


def test_weaker_evidence_does_not_take_a_contested_name(resolver):
    ids = ["ENSG00000141510", "P04637", "p53"]
    assert gene_names(ids, ["", "", "TP53"], resolver)["gene"].tolist() == ids


def test_names_without_a_table():
    names = gene_names(["E1.2", "ENSG00000141510.18", "E3", "E4"], ["A", "B", "A", None], None)
    assert names["gene"].tolist() == ["E1.2", "B", "E3", "E4"]
    assert names["gene_id"].tolist() == ["E1.2", "ENSG00000141510", "E3", "E4"]
    assert gene_names(["A", "B"], None, None).to_numpy().tolist() == [["A", "A"], ["B", "B"]]


def test_versions_stay_where_they_tell_two_rows_apart():
    names = gene_names(["ENSG00000000001.1", "ENSG00000000001.2"], None, None)
    assert names["gene_id"].tolist() == ["ENSG00000000001.1", "ENSG00000000001.2"]


def test_a_symbol_that_is_the_id_of_another_row_is_not_given():
    assert gene_names(["E1", "FOO"], ["FOO", None], None)["gene"].tolist() == ["E1", "FOO"]


def test_names_and_ids_are_always_unique(resolver):
    rng = np.random.default_rng(1)
    pool = [
        "TP53",
        "p53",
        "LFS1",
        "AES",
        "OLDA",
        "GRG",
        "TLE5",
        "SHARED",
        "GENEA",
        "OLDB",
        "ENSG00000141510",
        "ENSG00000141510.2",
        "P04637",
        "166",
        "x",
        "y",
    ]
    for _ in range(200):
        ids = rng.permutation(pool)[: rng.integers(1, len(pool))].tolist()
        names = gene_names(ids, rng.choice(pool, len(ids)).tolist(), resolver)
        assert names["gene"].is_unique, ids
        assert names["gene_id"].is_unique, ids


def test_a_bad_axis_is_refused():
    with pytest.raises(
        InputError, match=r"expected each id once, found 'A' again \(1 repeated in all\). Choose a column of unique ids in `input.gene_id`"
    ):
        gene_names(["A", "B", "A"], None, None)
    with pytest.raises(InputError, match="found an empty one"):
        gene_names(["A", " "], None, None)
    with pytest.raises(InputError, match=r"expected one symbol per id \(2\), found 1"):
        gene_names(["A", "B"], ["x"], None)


@pytest.mark.shared_data
def test_real_table(shared_data):
    references = shared_data / "references"
    table = read_hgnc(references / "idmap" / "hgnc_complete_set.txt.gz")
    counts = table["namespace"].value_counts()
    assert counts["approved"] == 43_882
    assert counts["ensembl"] == 41_244
    assert table.loc[table["namespace"] == "uniprot", "gene"].nunique() == 20_299
    resolver = Resolver.from_table(table)
    atlas = pd.read_parquet(references / "tahoe" / "gene_metadata.parquet")
    started = time.perf_counter()
    names = gene_names(atlas["ensembl_id"], atlas["gene_symbol"], resolver)
    assert time.perf_counter() - started < 5, "62,710 ids should take well under a second"
    assert names["gene"].is_unique
    assert names["gene_id"].tolist() == atlas["ensembl_id"].tolist()
    assert (names["gene"] != names["gene_id"]).sum() > 41_000
    found = resolver.resolve(["ENSG00000230417", "P62805", "AES", "CTGF", "ZAK"])
    assert found["status"].tolist() == ["ambiguous", "ambiguous", "previous", "previous", "alias"]
    assert found["gene"].tolist()[2:] == ["TLE5", "CCN2", "MAP3K20"]
