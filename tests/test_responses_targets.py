import pandas as pd
import pytest

from causcade.errors import InputError
from causcade.responses import list_targets

GENES = pd.DataFrame({"gene": ["TP53", "MYC", "KRAS"], "gene_id": ["E1", "E2", "E3"]})


def kinds(*rows):
    return pd.DataFrame(rows, columns=["perturbation", "kind"])


def table(*rows):
    return pd.DataFrame(rows, columns=["perturbation", "target", "sign"])


def test_genetic_perturbations_are_named_after_their_targets():
    links, unmeasured = list_targets(kinds(("TP53+MYC", "crispri"), ("KRAS", "crispra"), ("MYC + NONE", "knockout")), table(), GENES)
    assert links.values.tolist() == [["KRAS", 2, 1], ["MYC + NONE", 1, -1], ["TP53+MYC", 0, -1], ["TP53+MYC", 1, -1]]
    assert unmeasured.values.tolist() == [["MYC + NONE", "NONE", -1]]


def test_the_table_overrides_names_of_every_kind():
    links, _ = list_targets(kinds(("TP53", "knockout"), ("MYC", "knockout")), table(("TP53", "KRAS", 1)), GENES)
    assert links.values.tolist() == [["MYC", 1, -1], ["TP53", 2, 1]]


def test_a_drug_without_rows_has_no_target_and_a_name_is_no_target_of_a_drug():
    links, unmeasured = list_targets(kinds(("MYC", "drug")), table(("other", "KRAS", -1)), GENES)
    assert links.empty
    assert unmeasured.empty


def test_ids_are_understood_repeats_are_one_link_and_contradictions_have_no_sign():
    links, _ = list_targets(kinds(("d", "drug")), table(("d", "E1", -1), ("d", "TP53", -1), ("d", "MYC", 1), ("d", "MYC", -1)), GENES)
    assert links.values.tolist() == [["d", 0, -1], ["d", 1, 0]]


def test_messages():
    with pytest.raises(InputError, match=r"expected one of drug, knockout, crispri, crispra, found \['magic'\]"):
        list_targets(kinds(("d", "magic")), table(), GENES)
    with pytest.raises(InputError, match=r"column sign: expected -1, 0 or 1, found \[5\]"):
        list_targets(kinds(("d", "drug")), table(("d", "MYC", 5)), GENES)
