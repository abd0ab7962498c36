"""Publications in one form."""

import pandas as pd

from causcade.resources.literature import join_runs, pubmed_ids


def test_ids_are_different_sorted_numbers():
    assert pubmed_ids(" 30; CollecTRI:4;30;;x;1724219e;PPR5;٣") == "30;4"
    assert pubmed_ids("") == pubmed_ids(";") == ""


def test_texts_are_joined_within_runs_of_equal_keys():
    rows = pd.DataFrame({"a": list("XXXY"), "b": list("PPQP"), "literature": ["1", "", "2;3", "4"]})
    assert join_runs(rows, ["a", "b"], "literature") == ["1;", "2;3", "4"]
    assert join_runs(rows.iloc[:0], ["a", "b"], "literature") == []
