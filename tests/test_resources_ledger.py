"""The account of rows."""

import numpy as np
import pandas as pd

from causcade.resources.identifiers import Resolver
from causcade.resources.ledger import Ledger, translate


def test_each_row_is_lost_once_for_the_first_reason():
    ledger = Ledger(5)
    ledger.lose(np.array([True, False, False, False, False]), "first")
    ledger.lose(np.array([True, True, False, False, False]), "second")
    ledger.lose(np.zeros(5, dtype=bool), "never")
    ledger.lose_unresolved(["a", "b", "c", "d", "e"], np.array(["ambiguous", "unknown", "ambiguous", "unknown", "approved"], dtype=object))
    assert ledger.kept.tolist() == [False, False, False, False, True]
    assert ledger.summary("rows") == {
        "unit": "rows",
        "rows_read": 5,
        "rows_kept": 1,
        "lost": {"first": 1, "second": 1, "unknown_id": 1, "ambiguous_id": 1},
        "identifiers_by": {"ambiguous": 1, "approved": 1, "unknown": 1},
        "ambiguous": ["c"],
        "unknown": ["d"],
    }


def test_repeats_of_a_kept_row_are_lost():
    ledger = Ledger(4)
    ledger.lose(np.array([True, False, False, False]), "first")
    ledger.lose_repeated(pd.DataFrame({"a": [1, 1, 1, 2], "b": [5, 6, 7, 8]}), ["a"])
    assert ledger.kept.tolist() == [False, True, False, True], "the first of those that are kept stays"
    assert ledger.summary("rows")["lost"] == {"first": 1, "duplicate": 1}


def test_no_row_and_many_ambiguous_ones():
    assert Ledger(0).summary("rows")["rows_read"] == 0
    ledger = Ledger(80)
    ledger.lose_unresolved([f"x{number:02d}" for number in range(80)], ["ambiguous"] * 80)
    assert ledger.summary("rows")["ambiguous"] == [f"x{number:02d}" for number in range(50)]
    assert ledger.summary("rows")["lost"] == {"ambiguous_id": 80}


def test_translation_with_and_without_a_table():
    table = pd.DataFrame([("OLD", "previous", "NEW", "E1")], columns=["identifier", "namespace", "gene", "gene_id"])
    genes, statuses = translate([" OLD", "x", "OLD"], Resolver.from_table(table))
    assert genes.tolist() == ["NEW", None, "NEW"]
    assert statuses.tolist() == ["previous", "unknown", "previous"]
    genes, statuses = translate([" OLD", ""], None)
    assert genes.tolist() == ["OLD", ""]
    assert statuses.tolist() == ["as_given", "unknown"]
