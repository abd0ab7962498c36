"""Tables of edges from any tool."""

import gzip

import numpy as np
import pandas as pd
import pytest

from causcade.errors import InputError
from causcade.resources import Resolver
from causcade.score import read_edges, translate, without_repeats

EDGES = pd.DataFrame({"rank": [1, 2], "target": ["B", " C "], "source": ["A", "NA"], "weight": [0.5, -2.0], "pvalue": [0.1, 0.2]})
EXPECTED = [["A", "B", 0.5], ["NA", "C", -2.0]]


def write(path, table=EDGES):
    if path.suffix == ".parquet":
        table.to_parquet(path)
    else:
        table.to_csv(path, sep="," if ".csv" in path.name else "\t", index=False)
    return path


@pytest.mark.parametrize("name", ["e.tsv", "e.txt", "e.csv", "e.tsv.gz", "e.csv.gz", "e.parquet"])
def test_every_format_gives_the_same_edges(tmp_path, name):
    found = read_edges(write(tmp_path / name), number="weight")
    assert found.columns.tolist() == ["source", "target", "weight"]
    assert found.to_numpy().tolist() == EXPECTED, "NA is a name, spaces around a name are not"
    assert read_edges(tmp_path / name).columns.tolist() == ["source", "target"]


def test_categories_regulators_and_a_mark_of_order(tmp_path):
    table = EDGES.rename(columns={"source": "regulator"}).astype({"regulator": "category", "weight": "float32"})
    assert read_edges(write(tmp_path / "e.parquet", table), number="weight").to_numpy().tolist() == EXPECTED
    (tmp_path / "e.csv").write_bytes(b"\xef\xbb\xbfsource,target\nA,B\n")
    assert read_edges(tmp_path / "e.csv").to_numpy().tolist() == [["A", "B"]]
    both = EDGES.assign(regulator="X")
    assert read_edges(write(tmp_path / "b.tsv", both))["source"].tolist() == ["A", "NA"]


def test_an_optional_number(tmp_path):
    path = write(tmp_path / "e.tsv")
    assert "sign" not in read_edges(path, number="sign", is_optional=True)
    assert read_edges(path, number="weight", is_optional=True)["weight"].tolist() == [0.5, -2.0]


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("e.rds", "", r"ending in .tsv, .txt, .csv .* or .parquet, found e.rds"),
        ("e.tsv", "tf\ttarget\tscore\nA\tB\t1\n", r"expected the columns source, target, weight, each once, found tf, target, score\."),
        ("e.tsv", "source,target,weight\nA,B,1\n", r"found source,target,weight\. Name them in the first line"),
        ("e.csv", "source,target,weight,weight \nA,B,1,2\n", r"each once, found source, target, weight, weight"),
        ("e.csv", "source,target,weight\n", r"at least one edge, found a table without rows"),
        ("e.csv", "", r"a whole .csv table with a first line of column names, found: No columns"),
        ("e.csv", "source,target,weight\nA,B,1,2\nA,C,1,2\n", r"a whole .csv table"),
        ("e.csv", "source,target,weight\nA,B,1\nA,C,1,2\n", r"a whole .csv table .* found: .*line 3"),
        ("e.csv", "source,target,weight\nA,B,1\nA, ,1\n", r"a gene in column target, found nothing in row 2 \(1 such rows\)"),
        ("e.csv", "source,target,weight\nA,B,1\nA,C,high\nA,D,\n", r"a finite number in column weight, found 'high' in row 2 \(2 such rows\)"),
        ("e.csv", "source,target,weight\nA,B,inf\n", r"found 'inf' in row 1"),
        ("e.csv", "source,target,weight\nA,B\n", r"found '' in row 1"),
        ("e.parquet", "no parquet", r"a whole .parquet table"),
        ("e.tsv.gz", "no gzip", r"a whole .tsv table"),
    ],
)
def test_what_is_wrong_is_told(tmp_path, name, text, expected):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=expected):
        read_edges(tmp_path / name, number="weight")


def test_absent_truncated_and_strange_files_are_told(tmp_path):
    with pytest.raises(InputError, match=r"none\.tsv: expected a table of edges, found no file"):
        read_edges(tmp_path / "none.tsv")
    whole = gzip.compress(("source\ttarget\n" + "".join(f"A{i}\tB{i * 7919}\n" for i in range(2000))).encode())
    (tmp_path / "cut.tsv.gz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "latin.tsv").write_bytes("source\ttarget\nA\tB\xe9\n".encode("latin-1"))
    for name in ("cut.tsv.gz", "latin.tsv"):
        with pytest.raises(InputError, match=r"expected a whole \.tsv table"):
            read_edges(tmp_path / name)


def resolver():
    rows = [
        ("TP53", "approved", "TP53", "ENSG1"), ("P53", "alias", "TP53", "ENSG1"), ("MYC", "approved", "MYC", "ENSG2"),
        ("ENSG00000000002", "ensembl", "MYC", "ENSG2"), ("TWO", "alias", "TP53", "ENSG1"), ("TWO", "alias", "MYC", "ENSG2"),
    ]  # fmt: skip
    return Resolver.from_table(pd.DataFrame(rows, columns=["identifier", "namespace", "gene", "gene_id"]))


def test_names_are_translated_and_never_guessed():
    table = pd.DataFrame({"source": ["P53", "TWO", "GENE1", "ODD"], "target": ["ENSG00000000002.4", "MYC", "P53", "odd2"], "weight": 1.0})
    found, account, messages = translate(table, {"GENE1": "GENE1", "ODD": "ENSG9"}, resolver())
    assert found["source"].tolist() == ["TP53", "TWO", "GENE1", "ENSG9"]
    assert found["target"].tolist() == ["MYC", "MYC", "TP53", "odd2"]
    assert account == {"num_names": 7, "num_known": 5, "num_translated": 3, "num_ambiguous": 1, "num_unknown": 1}
    assert messages == [
        "3 of 7 gene names were translated (ENSG00000000002.4 to MYC, ODD to ENSG9, P53 to TP53)",
        "1 gene names stand for several genes and were left as they are (TWO)",
        "1 of 7 gene names are not known and were left as they are (odd2)",
    ]
    assert translate(table, {"P53": "P53"}, resolver())[0]["source"].tolist()[0] == "P53", "a name that the run knows stands"


def test_without_a_vocabulary_names_stand():
    table = pd.DataFrame({"source": ["P53"], "target": ["G1"]})
    found, account, messages = translate(table, {}, None)
    assert found.to_numpy().tolist() == [["P53", "G1"]]
    assert (account["num_unknown"], messages) == (2, [])


def test_repeated_rows_against_a_slow_reference():
    rng = np.random.default_rng(0)
    names = np.array(list("ABCDE"))
    table = pd.DataFrame({"source": names[rng.integers(0, 5, 200)], "target": names[rng.integers(0, 5, 200)], "weight": rng.integers(-3, 4, 200)})
    best, signs = {}, {}
    for source, target, weight in table.itertuples(index=False):
        if source != target:
            old = best.get((source, target))
            best[source, target] = weight if old is None or (abs(weight), weight) > (abs(old), old) else old
            signs.setdefault((source, target), set()).add(np.sign(weight))
    found, account, messages = without_repeats(table, "weight")
    assert {(one.source, one.target): one.weight for one in found.itertuples()} == best
    num_self = int((table["source"] == table["target"]).sum())
    contradicting = sum({-1, 1} <= one for one in signs.values())
    assert account == {
        "num_rows": 200, "num_self": num_self, "num_repeated": 200 - num_self - len(best), "num_contradicting": contradicting,
    }  # fmt: skip
    assert messages == [
        f"{num_self} edges of a gene to itself were left out",
        f"{200 - num_self - len(best)} rows repeat a pair; of each pair the row with the largest |weight| was kept; the rows of "
        f"{contradicting} pairs differ in sign",
    ]
    pairs, _, messages = without_repeats(table[["source", "target"]])
    assert set(pairs.itertuples(index=False, name=None)) == set(best)
    assert messages[1].endswith("rows repeat a pair; each pair counts once")


def test_unique_edges_stay_as_they_are():
    table = pd.DataFrame({"source": ["B", "A"], "target": ["A", "B"], "weight": [0.0, 1.0]})
    found, account, messages = without_repeats(table, "weight")
    pd.testing.assert_frame_equal(found, table)
    assert (account["num_repeated"], account["num_contradicting"], messages) == (0, 0, [])
