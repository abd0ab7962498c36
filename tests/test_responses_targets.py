import pandas as pd
import pytest

from causcade.errors import InputError
from causcade.responses import list_targets

GENES = pd.DataFrame({"gene": ["TP53", "MYC", "KRAS"], "gene_id": ["E1", "E2", "E3"]})


def table(*rows):
    return pd.DataFrame(rows, columns=["perturbation", "target", "sign"])


def test_targets_get_their_place_and_the_others_are_listed():
    links, unmeasured = list_targets(["b", "a"], table(("b", "KRAS", 1), ("a", "MYC", -1), ("a", "NONE", -1), ("other", "TP53", -1)), GENES)
    assert links.values.tolist() == [["a", 1, -1], ["b", 2, 1]]
    assert unmeasured.values.tolist() == [["a", "NONE", -1]]


def test_a_name_is_no_target_only_the_table_counts():
    links, unmeasured = list_targets(["MYC"], table(("other", "KRAS", -1)), GENES)
    assert links.empty
    assert unmeasured.empty


def test_ids_are_understood_repeats_are_one_link_and_contradictions_have_no_sign():
    links, _ = list_targets(["d"], table(("d", "E1", -1), ("d", "TP53", 0), ("d", "MYC", 1), ("d", "MYC", -1)), GENES)
    assert links.values.tolist() == [["d", 0, -1], ["d", 1, 0]]


def test_a_sign_that_is_none_is_told():
    with pytest.raises(InputError, match=r"column sign: expected -1, 0 or 1, found \[5\]"):
        list_targets(["d"], table(("d", "MYC", 5)), GENES)
