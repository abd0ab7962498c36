"""The one rule by which signs are merged, against a slow reading of it."""

import numpy as np
import pandas as pd
import pytest

from causcade.signs import agreed_sign, merge_signs


def slow_sign(signs):
    stated = {sign for sign in signs if sign}
    return stated.pop() if len(stated) == 1 else 0


def test_merging_equals_slow_reference_in_any_order():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"drug": rng.choice(list("AB"), 80), "gene": rng.choice(list("VWXYZ"), 80), "sign": rng.choice([-1, 0, 0, 1], 80)})
    table["note"] = "same"
    merged = merge_signs(table, ["drug", "gene"])
    expected = {pair: slow_sign(rows["sign"]) for pair, rows in table.groupby(["drug", "gene"])}
    assert {(row.drug, row.gene): row.sign for row in merged.itertuples()} == expected
    assert list(merged.columns) == ["drug", "gene", "sign", "note"]
    assert merged["sign"].dtype == "int8"
    pd.testing.assert_frame_equal(merge_signs(table.sample(frac=1, random_state=1), ["drug", "gene"]), merged)


@pytest.mark.parametrize(("signs", "expected"), [([0], 0), ([1], 1), ([0, -1], -1), ([1, -1], 0), ([1, 1, -1], 0), ([0, 0], 0)])
def test_each_case(signs, expected):
    assert merge_signs(pd.DataFrame({"gene": "A", "sign": signs}), ["gene"])["sign"].tolist() == [expected]


def test_no_row():
    empty = merge_signs(pd.DataFrame({"gene": pd.Series(dtype=object), "sign": pd.Series(dtype="int8"), "source": pd.Series(dtype=object)}), ["gene"])
    assert list(empty.columns) == ["gene", "sign", "source"]
    assert len(empty) == 0


def test_counts_and_flags():
    assert agreed_sign([0, 2, 0, 3], [0, 0, 1, 1]).tolist() == [0, 1, -1, 0]
    assert agreed_sign([], []).dtype == "int8"
