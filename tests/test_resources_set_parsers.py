"""Parsers of gene sets and of targets of drugs."""

import pandas as pd
import pytest

from causcade.errors import ResourceError
from causcade.resources import parse_drug_targets, parse_gene_list, parse_gmt, parse_rbps


def test_gmt_rows_in_order(tmp_path):
    (tmp_path / "s.gmt").write_bytes(b"SET1\thttp://x\tA\tB\t\r\nEMPTY\tnone\r\nSET2\t\tA\r\n")
    assert parse_gmt(tmp_path / "s.gmt", "hallmarks").to_numpy().tolist() == [["SET1", "http://x", "A"], ["SET1", "http://x", "B"], ["SET2", "", "A"]]


def test_a_list_is_no_gmt_and_a_gmt_is_no_list(tmp_path):
    (tmp_path / "s").write_text("A\nB\n")
    with pytest.raises(
        ResourceError, match=r"expected a set, a description and genes separated by tabs, found 'A' in line 1. Use a gmt file for `hallmarks`"
    ):
        parse_gmt(tmp_path / "s", "hallmarks")
    (tmp_path / "s").write_text("A\nSET\tx\tB\n")
    with pytest.raises(ResourceError, match="expected one gene symbol per line, found 'SET"):
        parse_gene_list(tmp_path / "s", "tfs")


def test_list_with_windows_ends(tmp_path):
    (tmp_path / "tfs").write_bytes(b"AC008770.3\r\nZNF10\r\n\r\n")
    assert parse_gene_list(tmp_path / "tfs", "tfs")["identifier"].tolist() == ["AC008770.3", "ZNF10"]


@pytest.mark.parametrize("name", ["GO_RNA_BINDING", "GOMF_RNA_BINDING"])
def test_rbps_from_their_set_or_a_list(tmp_path, name):
    (tmp_path / "c5").write_text(f"GO_OTHER\tx\tC\n{name}\tx\tA\tB\n")
    (tmp_path / "list").write_text("A\nB\n")
    assert parse_rbps(tmp_path / "c5")["identifier"].tolist() == parse_rbps(tmp_path / "list")["identifier"].tolist() == ["A", "B"]


def test_gmt_without_the_set_of_rbps_is_refused(tmp_path):
    (tmp_path / "c5").write_text("GO_OTHER\tx\tC\n")
    with pytest.raises(ResourceError, match=r"expected the set GO_RNA_BINDING or GOMF_RNA_BINDING, found 1 other sets \(GO_OTHER, ...\)"):
        parse_rbps(tmp_path / "c5")


TAHOE = pd.DataFrame(
    {
        "drug": ["Erdafitinib ", "Talc", "Bisoprolol", "Triamcinolone", "Resveratrol", "Vilanterol"],
        "targets": ["FGFR1, FGFR2,WNV NS2B-NS3", None, "ADRB1", "NR3C1", "SIRT1", "ADRB2"],
        "moa-broad": ["inhibitor/antagonist", "unclear", "inhibitor/antagonist", "unclear", "unclear", "activator/agonist"],
        # Upstream calls the blocker bisoprolol an "Adrenoceptor agonist" in the fine column: the broad one wins.
        "moa-fine": ["EGFR/ERBB inhibitor", "unclear", "Adrenoceptor agonist", "Glucocorticoid receptor agonist", "unclear", "Adrenoceptor agonist"],
    }
)
EXPECTED = [
    ["Erdafitinib", "FGFR1", -1, "tahoe"],
    ["Erdafitinib", "FGFR2", -1, "tahoe"],
    ["Erdafitinib", "WNV NS2B-NS3", -1, "tahoe"],
    ["Talc", "", 0, "tahoe"],
    ["Bisoprolol", "ADRB1", -1, "tahoe"],
    ["Triamcinolone", "NR3C1", 1, "tahoe"],
    ["Resveratrol", "SIRT1", 0, "tahoe"],
    ["Vilanterol", "ADRB2", 1, "tahoe"],
]


def test_tahoe_table_as_parquet_and_as_text(tmp_path):
    TAHOE.to_parquet(tmp_path / "drugs")
    rows = parse_drug_targets(tmp_path / "drugs")
    assert rows[["perturbation", "identifier", "sign", "source"]].to_numpy().tolist() == EXPECTED
    assert rows["sign"].dtype == "int8"
    TAHOE.to_csv(tmp_path / "drugs.tsv", sep="\t", index=False)
    assert parse_drug_targets(tmp_path / "drugs.tsv")[list(rows.columns)].to_numpy().tolist() == rows.to_numpy().tolist()


def test_tahoe_table_without_mechanisms_has_no_signs(tmp_path):
    TAHOE[["drug", "targets"]].to_parquet(tmp_path / "drugs")
    assert (parse_drug_targets(tmp_path / "drugs")["sign"] == 0).all()


@pytest.mark.parametrize("form", ["tsv", "csv", "parquet"])
def test_a_table_of_ones_own(tmp_path, form):
    table = pd.DataFrame({"perturbation": [" drug A ", "B"], "target": ["TP53", "MYC "], "sign": [-1, 1]})
    path = tmp_path / f"own.{form}"
    table.to_parquet(path) if form == "parquet" else table.to_csv(path, sep="\t" if form == "tsv" else ",", index=False)
    rows = parse_drug_targets(path)
    assert rows[["perturbation", "identifier", "sign", "source"]].to_numpy().tolist() == [["drug A", "TP53", -1, "table"], ["B", "MYC", 1, "table"]]


def test_own_table_without_sign_and_with_strange_ones(tmp_path):
    path = tmp_path / "own.csv"
    path.write_text("perturbation,target\nA,TP53\n")
    assert parse_drug_targets(path)["sign"].tolist() == [0]
    path.write_text("perturbation,target,sign\nA,TP53,inhibitor\n")
    with pytest.raises(ResourceError, match="expected a sign of -1, 0 or 1, found 'inhibitor'"):
        parse_drug_targets(path)
    path.write_text("perturbation,target,sign\n,TP53,1\n")
    with pytest.raises(ResourceError, match="expected a perturbation in every row, found an empty one"):
        parse_drug_targets(path)
    path.write_text("drug,gene\nA,TP53\n")
    with pytest.raises(ResourceError, match=r"expected the columns perturbation, target, found drug, gene .*drug_metadata.parquet"):
        parse_drug_targets(path)


def test_damaged_parquet_is_told(tmp_path):
    TAHOE.to_parquet(tmp_path / "drugs")
    (tmp_path / "cut").write_bytes((tmp_path / "drugs").read_bytes()[:200])
    with pytest.raises(ResourceError, match=r"expected a whole parquet file, found one that cannot be read .*Fetch it again"):
        parse_drug_targets(tmp_path / "cut")


@pytest.mark.shared_data
def test_real_sets_have_their_known_counts(shared_data):
    folder = shared_data / "references"
    assert len(parse_gene_list(folder / "gene_sets" / "TF_names_v_1.01.txt", "tfs")) == 1_639
    hallmarks = parse_gmt(folder / "gene_sets" / "h.all.v7.0.symbols.gmt", "hallmarks")
    assert (hallmarks["gene_set"].nunique(), hallmarks["identifier"].nunique()) == (50, 4_384)
    rbps = parse_rbps(folder / "gene_sets" / "c5.mf.v7.0.symbols.gmt")["identifier"]
    assert len(rbps) == 1_922
    assert set(rbps) == set(parse_rbps(folder / "gene_sets" / "rbp_GO_RNA_BINDING_c5mf_v7.0.derived.txt")["identifier"])
    drugs = parse_drug_targets(folder / "tahoe" / "drug_metadata.parquet")
    assert drugs["perturbation"].nunique() == 379
    assert (drugs["identifier"] == "").sum() == 115
    assert (drugs[drugs["identifier"] != ""].groupby("perturbation").size() > 1).sum() == 123
    signs = drugs[drugs["identifier"] != ""].drop_duplicates("perturbation").set_index("perturbation")["sign"]
    assert signs["Bortezomib"] == -1
    assert signs["Vilanterol"] == 1
