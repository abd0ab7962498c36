"""Parsers of prior regulons: each upstream form, each oddity in a file of a few lines, and the counts of the real files."""

import gzip

import pandas as pd
import pytest

from causcade.errors import ResourceError
from causcade.resources import parse_collectri, parse_dorothea, parse_trrust


def write(path, text):
    path.write_text(text)
    return path


def test_collectri_rows_as_they_are(tmp_path):
    path = write(tmp_path / "c.csv", "source,target,weight,PMID\nMYC,TERT,1,1;2\nAP1,JUN,-1,\nMYC,MYC,1.0,3\n")
    rows = parse_collectri(path)
    assert rows.to_numpy().tolist() == [["MYC", "TERT", 1, "1;2"], ["AP1", "JUN", -1, ""], ["MYC", "MYC", 1, "3"]]
    assert rows["sign"].dtype == "int8"


def test_collectri_default_activation_is_no_sign(tmp_path):
    header = "source,target,weight,TF.category,resources,PMID,sign.decision\n"
    rows = parse_collectri(write(tmp_path / "c.csv", header + "A,B,1,dbTF,x,1,default activation\nA,C,1,dbTF,x,2,PMID\nA,D,-1,dbTF,x,2,regulon\n"))
    assert rows["sign"].tolist() == [0, 1, -1]


def test_collectri_without_literature_column(tmp_path):
    assert parse_collectri(write(tmp_path / "c.csv", "source,target,weight\nA,B,1\n"))["literature"].tolist() == [""]


def test_raw_tables_of_omnipath_are_read_too(tmp_path):
    titles = "source\ttarget\tsource_genesymbol\ttarget_genesymbol\tis_stimulation\tis_inhibition\treferences\tdorothea_level\n"
    path = write(tmp_path / "c.tsv", titles + "P1\tP2\tA\tB\tTrue\tTrue\tCollecTRI:5;TRRUST:6\tA;D\n")
    columns = ["regulator", "target", "sign", "is_positive", "is_negative", "literature"]
    assert parse_collectri(path).to_dict("records") == [dict(zip(columns, ["A", "B", 0, True, True, "CollecTRI:5;TRRUST:6"], strict=True))]
    assert parse_dorothea(path)["level"].tolist() == ["A"]
    with pytest.raises(ResourceError, match="expected the levels A, B, C, D, E, found ''"):
        parse_dorothea(write(tmp_path / "d.tsv", titles + "P1\tP2\tA\tB\tTrue\tFalse\t\t\n"))


def test_collectri_sign_must_be_a_number(tmp_path):
    with pytest.raises(ResourceError, match="expected a number in the column of signs, found 'up'"):
        parse_collectri(write(tmp_path / "c.csv", "source,target,weight,PMID\nA,B,up,1\n"))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("d.tsv", "tf\tconfidence\ttarget\tmor\nA\tE\tB\t-1.0\nC\tA\tD\t1\n"),
        ("d.csv", "source,confidence,target,weight\nA,E,B,-0.2\nC,A,D,1.0\n"),
    ],
)
def test_dorothea_forms_read_alike(tmp_path, name, text):
    rows = parse_dorothea(write(tmp_path / name, text))
    assert rows.to_numpy().tolist() == [["A", "B", "E", -1], ["C", "D", "A", 1]]
    (tmp_path / "packed").write_bytes(gzip.compress(text.encode()))
    pd.testing.assert_frame_equal(parse_dorothea(tmp_path / "packed"), rows)


def test_dorothea_rda_under_any_name_equals_its_tsv(tmp_path):
    pyreadr = pytest.importorskip("pyreadr")
    table = pd.DataFrame({"tf": ["A", "C"], "confidence": ["E", "A"], "target": ["B", "D"], "mor": [-1.0, 1.0]})
    pyreadr.write_rdata(str(tmp_path / "d.rda"), table, df_name="dorothea_hs")
    expected = parse_dorothea(write(tmp_path / "d.tsv", table.to_csv(sep="\t", index=False)))
    pd.testing.assert_frame_equal(parse_dorothea(tmp_path / "d.rda"), expected)
    (tmp_path / "renamed").write_bytes(gzip.compress((tmp_path / "d.rda").read_bytes()))
    pd.testing.assert_frame_equal(parse_dorothea(tmp_path / "renamed"), expected)


def test_damaged_or_other_rda_is_told(tmp_path):
    pyreadr = pytest.importorskip("pyreadr")
    pyreadr.write_rdata(str(tmp_path / "d.rda"), pd.DataFrame({"tf": ["A"] * 500, "x": ["B"] * 500}), df_name="other")
    with pytest.raises(ResourceError, match=r"expected the columns tf, confidence, target, mor, found tf, x .*Use dorothea_hs.rda"):
        parse_dorothea(tmp_path / "d.rda")
    (tmp_path / "cut.rda").write_bytes((tmp_path / "d.rda").read_bytes()[:60])
    with pytest.raises(ResourceError, match="expected an R data file with one table, found one that cannot be read"):
        parse_dorothea(tmp_path / "cut.rda")
    with pytest.raises(ResourceError, match="expected the columns tf, confidence, target, mor, found hello"):
        parse_dorothea(write(tmp_path / "text.rda", "hello\n"))
    with pytest.raises(ResourceError, match="found none"):
        parse_dorothea(tmp_path / "nothing.rda")


def test_dorothea_level_must_be_known(tmp_path):
    with pytest.raises(ResourceError, match="expected the levels A, B, C, D, E, found 'A;D'"):
        parse_dorothea(write(tmp_path / "d.tsv", "tf\tconfidence\ttarget\tmor\nA\tA;D\tB\t1\n"))


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_trrust_rows_of_either_line_end(tmp_path, end):
    lines = ["AR\t7-Sep\tRepression\t16281084", "TP53\tCDKN1A\tUnknown\t1;2", "TP53\tCDKN1A\tActivation\t1724219e"]
    (tmp_path / "t.tsv").write_bytes(end.join([*lines, ""]).encode())
    rows = parse_trrust(tmp_path / "t.tsv")
    assert rows["sign"].tolist() == [-1, 0, 1]
    assert rows["target"].tolist() == ["7-Sep", "CDKN1A", "CDKN1A"]
    assert rows["literature"].tolist() == ["16281084", "1;2", "1724219e"]


def test_recoded_or_titled_trrust_is_refused(tmp_path):
    with pytest.raises(ResourceError, match="expected the modes Activation, Repression, Unknown, found '1'"):
        parse_trrust(write(tmp_path / "t.tsv", "A\tB\t1\t5\n"))
    with pytest.raises(ResourceError, match="found 'mode'"):
        parse_trrust(write(tmp_path / "t.tsv", "tf\ttarget\tmode\tpmid\nA\tB\tUnknown\t5\n"))
    with pytest.raises(ResourceError, match=r"found 1 field\(s\) in the first line"):
        parse_trrust(write(tmp_path / "t.tsv", "A,B,Unknown,5\n"))


@pytest.mark.shared_data
def test_real_priors_have_their_published_counts(shared_data):
    folder = shared_data / "references" / "grn_priors"
    collectri = parse_collectri(folder / "collectri.csv")
    assert (len(collectri), collectri["regulator"].nunique(), collectri["target"].nunique()) == (43_178, 1_186, 6_692)
    assert collectri["sign"].value_counts().to_dict() == {1: 37_326, -1: 5_852}
    assert (collectri["literature"] == "").sum() == 185
    trrust = parse_trrust(folder / "trrust_rawdata.human.tsv")
    assert len(trrust) == 9_396
    assert len(trrust.drop_duplicates(["regulator", "target"])) == 8_427
    assert trrust["sign"].value_counts().to_dict() == {0: 4_325, 1: 3_149, -1: 1_922}
    export = parse_dorothea(folder / "dorothea_decoupler.csv")
    assert export["level"].value_counts().to_dict() == {"A": 6_080, "B": 9_033, "C": 17_162}
    assert len(export) == 32_275


@pytest.mark.shared_data
def test_real_dorothea_rda_equals_its_tsv(shared_data):
    folder = shared_data / "references" / "grn_priors"
    rda = parse_dorothea(folder / "dorothea_hs.rda")
    assert len(rda) == 454_504
    assert rda["level"].value_counts().to_dict() == {"A": 5_434, "B": 974, "C": 6_815, "D": 15_863, "E": 425_418}
    pd.testing.assert_frame_equal(rda, parse_dorothea(folder / "dorothea_hs.tsv.gz"))
