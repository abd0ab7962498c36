"""OmniPath's raw interactions: flags, complexes, datasets, levels, and what is said of other tables."""

import pytest

from causcade.errors import ResourceError
from causcade.resources import combine_priors
from causcade.resources.omnipath import is_omnipath, parse_omnipath

TITLES = ["source", "target", "source_genesymbol", "target_genesymbol", "is_directed", "is_stimulation", "is_inhibition", "references"]


def write(path, rows, titles=TITLES, end="\n"):
    path.write_bytes(end.join(["\t".join(titles), *("\t".join(row) for row in rows), ""]).encode())
    return path


def row(source, target, names=("A", "B"), flags=("True", "False"), references=""):
    return [source, target, *names, "True", *flags, references]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_signs_complexes_and_missing_symbols(tmp_path, end):
    rows = [
        row("P01106", "O14746", ("MYC", "TERT"), ("True", "False"), "CollecTRI:1;TRRUST:2"),
        row("P04637", "P38936", ("TP53", "CDKN1A"), ("False", "True")),
        row("P04637", "P38936", ("TP53", "CDKN1A"), ("1", "1")),
        row("P04637", "Q00987", ("TP53", ""), ("0", "0")),
        row("COMPLEX:P01100_P05412", "P05231", ("FOS_JUN", "IL6")),
        row("COMPLEX:P01100_P05412", "P05231", ("COMPLEX:FOS_JUN", "IL6")),
    ]
    found = parse_omnipath(write(tmp_path / "o.tsv", rows, end=end), "collectri")
    assert found["regulator"].tolist() == ["MYC", "TP53", "TP53", "TP53", "COMPLEX:FOS_JUN", "COMPLEX:FOS_JUN"]
    assert found["target"].tolist() == ["TERT", "CDKN1A", "CDKN1A", "Q00987", "IL6", "IL6"]
    assert found["sign"].tolist() == [1, -1, 0, 0, 1, 1]
    assert found[["is_positive", "is_negative"]].to_numpy()[:4].tolist() == [[True, False], [False, True], [True, True], [False, False]]
    assert found["literature"][0] == "CollecTRI:1;TRRUST:2"
    assert set(found["level"]) == {""}


def test_without_symbols_accessions_are_taken(tmp_path):
    path = write(tmp_path / "o.tsv", [["P1", "P2", "1", "0"], ["COMPLEX:P1_P2", "P3", "1", "0"]], ["source", "target", *TITLES[5:7]])
    found = parse_omnipath(path, "collectri")
    assert found[["regulator", "target", "literature"]].to_numpy().tolist() == [["P1", "P2", ""], ["COMPLEX:P1_P2", "P3", ""]]


def test_only_rows_of_the_dataset_and_the_best_level(tmp_path):
    titles = [*TITLES, "collectri", "dorothea", "dorothea_level"]
    rows = [
        [*row("P1", "P2"), "True", "True", "A;D"],
        [*row("P3", "P4", ("C", "D")), "False", "True", "D;B"],
        [*row("P5", "P6"), "True", "False", ""],
    ]
    path = write(tmp_path / "o.tsv", rows, titles)
    assert parse_omnipath(path, "collectri")["regulator"].tolist() == ["A", "A"]
    assert parse_omnipath(path, "dorothea")["level"].tolist() == ["A", "B"]


def test_a_table_without_rows(tmp_path):
    assert len(parse_omnipath(write(tmp_path / "o.tsv", []), "collectri")) == 0


def test_other_tables_are_told(tmp_path):
    assert is_omnipath("source\ttarget\tis_stimulation\tis_inhibition\r")
    assert not is_omnipath("source\ttarget\tweight")
    with pytest.raises(ResourceError, match=r"expected the columns source, target, is_stimulation, is_inhibition, found source, .*"):
        parse_omnipath(write(tmp_path / "o.tsv", [["P1", "P2", "A", "B"]], TITLES[:4]), "collectri")
    with pytest.raises(ResourceError, match="expected True or False in the column is_inhibition, found 'maybe'"):
        parse_omnipath(write(tmp_path / "o.tsv", [row("P1", "P2", flags=("True", "maybe"))]), "collectri")


def test_both_signs_of_one_row_are_kept_as_such(tmp_path):
    rows = [row("P1", "P2", ("A", "B"), ("True", "True"), "CollecTRI:7"), row("COMPLEX:P1_P3", "P2", ("A_C", "B")), row("P3", "P2", ("C", "B"))]
    edges, accounts = combine_priors({"collectri": write(tmp_path / "o.tsv", rows)}, None, ("A",))
    columns = ["regulator", "target", "sign", "num_positive", "num_negative", "literature", "confidence"]
    assert edges[columns].to_numpy().tolist() == [["A", "B", 0, 1, 1, "7", 0.7], ["C", "B", 1, 1, 0, "", 0.5]]
    assert accounts["collectri"]["lost"] == {"pseudo_tf": 1}
