"""Targets of perturbations: drugs, genetic kinds, combinations, the user's table, and what is not known."""

import pandas as pd
import pytest

from causcade.errors import InputError
from causcade.resources import Resolver
from causcade.targets import build_targets, is_target, read_target_table

DRUGS = pd.DataFrame(
    {
        "perturbation": ["Trametinib", "Trametinib", "Vorinostat", "Unused"],
        "target": ["MAP2K2", "MAP2K1", "HDAC1", "TP53"],
        "sign": [-1, -1, -1, 1],
        "source": ["file"] * 4,
    }
)


def labels(**kinds: str) -> pd.DataFrame:
    return pd.DataFrame({"perturbation": list(kinds), "kind": list(kinds.values())}, dtype=object)


def rows(table: pd.DataFrame) -> list[tuple[str, str, int, str]]:
    return list(table[["perturbation", "target", "sign", "source"]].itertuples(index=False, name=None))


@pytest.fixture
def resolver() -> Resolver:
    names = [("KMT2A", "approved", "KMT2A"), ("MLL", "previous", "KMT2A"), ("TP53", "approved", "TP53"), ("p53", "alias", "TP53")]
    table = pd.DataFrame(names, columns=["identifier", "namespace", "gene"])
    return Resolver.from_table(table.assign(gene_id=table["gene"]))


def test_drugs_take_their_targets_from_the_table():
    table = build_targets(labels(Vorinostat="drug", Trametinib="drug"), DRUGS, None)
    assert rows(table) == [
        ("Trametinib", "MAP2K1", -1, "drug_targets"),
        ("Trametinib", "MAP2K2", -1, "drug_targets"),
        ("Vorinostat", "HDAC1", -1, "drug_targets"),
    ]
    assert str(table["sign"].dtype) == "int8"


def test_a_name_with_its_kind_is_that_of_the_gene():
    labels = pd.DataFrame({"perturbation": ["A+B (crispra)", "A (crispri)", "C (drug)"], "kind": ["crispra", "crispri", "crispri"]})
    table = build_targets(labels, DRUGS, None)
    assert table[["perturbation", "target", "sign"]].to_numpy().tolist() == [
        ["A (crispri)", "A", -1], ["A+B (crispra)", "A", 1], ["A+B (crispra)", "B", 1], ["C (drug)", "C (drug)", -1],
    ]  # fmt: skip


@pytest.mark.parametrize(("kind", "sign"), [("knockout", -1), ("crispri", -1), ("crispra", 1)])
def test_genetic_perturbations_are_named_after_their_targets(kind, sign):
    assert rows(build_targets(labels(TP53=kind), DRUGS, None)) == [("TP53", "TP53", sign, "name")]


def test_a_drug_named_like_a_gene_is_no_genetic_perturbation():
    assert rows(build_targets(labels(TP53="drug", Unused="crispri"), DRUGS, None)) == [("Unused", "Unused", -1, "name")]


def test_combinations_act_on_each_gene_once():
    genetic = pd.DataFrame({"perturbation": ["A + B", "A+A", "C+", "D|E"], "kind": "crispra"})
    assert rows(build_targets(genetic, DRUGS, None)) == [
        ("A + B", "A", 1, "name"), ("A + B", "B", 1, "name"), ("A+A", "A", 1, "name"), ("C+", "C", 1, "name"), ("D|E", "D|E", 1, "name"),
    ]  # fmt: skip
    assert rows(build_targets(genetic.iloc[3:], DRUGS, None, separator="|")) == [("D|E", "D", 1, "name"), ("D|E", "E", 1, "name")]


def test_the_users_table_overrides_each_perturbation_that_it_names():
    override = pd.DataFrame({"perturbation": ["Trametinib", "TP53", "Elsewhere"], "target": ["BRAF", "MDM2", "X"], "sign": [-1, 1, 0]})
    table = build_targets(labels(Trametinib="drug", Vorinostat="drug", TP53="crispri"), DRUGS, override)
    assert rows(table) == [("TP53", "MDM2", 1, "table"), ("Trametinib", "BRAF", -1, "table"), ("Vorinostat", "HDAC1", -1, "drug_targets")]


def test_previous_symbols_become_approved_ones_and_unknown_names_stay(resolver):
    override = pd.DataFrame({"perturbation": ["Drug"], "target": ["p53"], "sign": [-1]})
    table = build_targets(labels(MLL="crispri", Drug="drug", Novel="knockout"), DRUGS, override, resolver=resolver)
    assert rows(table) == [("Drug", "TP53", -1, "table"), ("MLL", "KMT2A", -1, "name"), ("Novel", "Novel", -1, "name")]


def test_ambiguous_names_are_told_and_left_alone(caplog):
    table = pd.DataFrame({"identifier": ["TRAP", "TRAP"], "namespace": "alias", "gene": ["ACP5", "TRAPPC2"], "gene_id": ["E1", "E2"]})
    override = pd.DataFrame({"perturbation": ["A"], "target": ["TRAP"], "sign": [0]})
    found = build_targets(labels(A="drug"), DRUGS, override, resolver=Resolver.from_table(table))
    assert rows(found) == [("A", "TRAP", 0, "table")]
    assert "1 names stand for several genes and are left as they are: TRAP" in caplog.text


def test_without_a_resolver_ids_lose_their_version_and_nothing_else():
    override = pd.DataFrame({"perturbation": ["A", "B", "B"], "target": ["ENSG00000141510.18", "AC008770.3", "p53"], "sign": [0, 0, 0]})
    table = build_targets(labels(A="drug", B="drug"), DRUGS, override)
    assert rows(table) == [("A", "ENSG00000141510", 0, "table"), ("B", "AC008770.3", 0, "table"), ("B", "p53", 0, "table")]


def test_a_target_is_a_name_or_else_an_id():
    genes = pd.DataFrame({"gene": ["TP53", "E2", "X", "Y"], "gene_id": ["E1", "E2", "E3", "X"]}, index=[7, 3, 5, 1])
    assert is_target(genes, pd.DataFrame({"target": ["E1", "E2", "unheard"]})).to_dict() == {7: True, 3: True, 5: False, 1: False}
    assert is_target(genes, pd.DataFrame({"target": ["X"]})).tolist() == [False, False, True, False], "the name comes before the id"
    assert not is_target(genes, pd.DataFrame({"target": []})).any()


def test_one_pair_has_one_row_and_opposite_signs_are_unknown(resolver):
    override = pd.DataFrame({"perturbation": ["P", "P", "Q", "Q"], "target": ["TP53", "p53", "TP53", "p53"], "sign": [1, -1, 0, 1]})
    table = build_targets(labels(P="drug", Q="drug"), DRUGS, override, resolver=resolver)
    assert rows(table) == [("P", "TP53", 0, "table"), ("Q", "TP53", 1, "table")]


def test_perturbations_without_a_target_are_named(caplog):
    with caplog.at_level("WARNING", logger="causcade"):
        table = build_targets(labels(Mystery="drug", Vorinostat="drug", Odd=""), DRUGS, None)
    assert table["perturbation"].tolist() == ["Vorinostat"]
    assert "2 of 3 perturbations have no known target: Mystery, Odd" in caplog.text


def test_nothing_listed_gives_an_empty_table_with_its_columns():
    table = build_targets(labels(), DRUGS, None)
    assert table.columns.tolist() == ["perturbation", "target", "sign", "source"]
    assert len(table) == 0


def test_the_order_of_the_input_does_not_matter():
    screen = labels(Trametinib="drug", Vorinostat="drug", TP53="crispri")
    pd.testing.assert_frame_equal(build_targets(screen, DRUGS, None), build_targets(screen.iloc[::-1], DRUGS.iloc[::-1], None))


@pytest.mark.parametrize(("suffix", "separator"), [(".tsv", "\t"), (".txt", "\t"), (".csv", ",")])
def test_text_tables(tmp_path, suffix, separator):
    path = tmp_path / f"targets{suffix}"
    lines = [("perturbation", "target", "sign"), (" Drug ", "TP53", "-1"), ("007", "NA", "+1"), ("Drug", "MDM2 ", "0")]
    path.write_text("".join(separator.join(line) + "\n" for line in lines))
    table = read_target_table(path)
    assert list(table.itertuples(index=False, name=None)) == [("Drug", "TP53", -1), ("007", "NA", 1), ("Drug", "MDM2", 0)]
    assert str(table["sign"].dtype) == "int8"


def test_parquet_table_without_signs(tmp_path):
    pd.DataFrame({"target": ["TP53"], "perturbation": ["Drug"], "note": ["x"]}).to_parquet(tmp_path / "t.parquet")
    assert list(read_target_table(tmp_path / "t.parquet").itertuples(index=False, name=None)) == [("Drug", "TP53", 0)]


def test_incomplete_rows_are_left_out_and_counted(tmp_path, caplog):
    path = tmp_path / "t.tsv"
    path.write_text("perturbation\ttarget\tsign\nDrug\t\t\nDrug\tTP53\t1\n")
    with caplog.at_level("WARNING", logger="causcade"):
        assert len(read_target_table(path)) == 1
    assert "1 of 2 rows lack the perturbation or the target and are left out" in caplog.text


@pytest.mark.parametrize(("text", "found"), [("2", "'2'"), ("inhibitor", "'inhibitor'"), ("", "an empty field"), ("-0.5", "'-0.5'")])
def test_bad_signs(tmp_path, text, found):
    path = tmp_path / "t.csv"
    path.write_text(f"perturbation,target,sign\nDrug,TP53,1\nDrug,MDM2,{text}\n")
    with pytest.raises(InputError) as error:
        read_target_table(path)
    assert str(error.value) == (
        f"{path}: expected signs -1, 0 or 1, found {found}. Write -1 for an inhibitor, 1 for an activator, 0 where it is not known."
    )


def test_missing_file_columns_and_formats(tmp_path):
    with pytest.raises(
        InputError, match=r"gone\.tsv: expected the table of perturbation\.targets, found no file\. Correct the path, or set it to null"
    ):
        read_target_table(tmp_path / "gone.tsv")
    (tmp_path / "t.tsv").write_text("drug\tgene\na\tb\n")
    with pytest.raises(InputError, match=r"expected columns perturbation, target and sign, found drug, gene\. Add perturbation and target\."):
        read_target_table(tmp_path / "t.tsv")
    (tmp_path / "t.xlsx").write_text("")
    with pytest.raises(InputError, match=r"expected a table ending in \.tsv, \.csv or \.parquet, found \.xlsx\. Rename or convert it\."):
        read_target_table(tmp_path / "t.xlsx")
