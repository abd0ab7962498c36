"""Leak audit: what the priors know of each reference."""

import pandas as pd
import pytest

from causcade.evaluation.edges import build_references, code_edges
from causcade.evaluation.leak import leak_table

PANEL = pd.DataFrame({"gene": list("ABCDE")})
CANDIDATES = pd.DataFrame({"regulator": list("ABACE"), "target": list("BADDA"), "sources": "coexpression"})
PAIRS = pd.DataFrame({"reference": ["string"] * 4 + ["humap"], "gene_a": list("AACXB"), "gene_b": list("BDDYC")})
UNIVERSE = pd.DataFrame({"reference": ["string"] * 6 + ["humap"] * 2, "gene": list("ABCDXY") + list("BC")})
PRIORS = pd.DataFrame({
    "regulator": list("BADAX"), "target": list("ABAEY"), "sources": ["collectri", "collectri;trrust", "trrust", "trrust", "dorothea"],
    "literature": ["1;2", "3", "", "4", "5"],
})  # fmt: skip


def audit(pairs=PAIRS, priors=PRIORS):
    edges = code_edges(CANDIDATES, PANEL, priors)
    references = build_references(edges, pairs, UNIVERSE)
    return leak_table(edges, references, pairs, UNIVERSE, priors).set_index(["reference", "prior"])


def test_pairs_are_counted_without_direction_in_the_universe_of_the_reference():
    found = audit()
    assert list(found.index) == [(reference, prior) for reference in ("string", "humap") for prior in ("any", "collectri", "dorothea", "trrust")]
    # string: A-B, A-D, C-D, X-Y of 6 genes. Priors in its universe: A-B (both directions), A-D, X-Y; A-E is not.
    row = found.loc[("string", "any")]
    assert (row["num_reference_pairs"], row["num_prior_pairs"], row["num_common_pairs"]) == (4, 3, 3)
    assert (row["share_of_reference"], row["share_of_prior"]) == (0.75, 1.0)
    assert row["expected"] == pytest.approx(4 * 3 / 15)
    assert row["enrichment"] == pytest.approx(3 / 0.8)
    assert found.loc[("string", "collectri"), "num_common_pairs"] == 1
    assert found.loc[("string", "trrust"), "num_common_pairs"] == 2
    assert found.loc[("string", "dorothea"), "num_common_pairs"] == 1
    assert found.loc[("humap", "any"), "num_common_pairs"] == 0


def test_positive_candidate_edges_that_a_prior_lists_in_either_direction():
    row = audit().loc[("string", "any")]
    # Positive candidates: A-B, B-A, A-D, C-D. D -> A is curated, so that A -> D counts.
    assert (row["num_positive_edges"], row["num_positive_curated"], row["share_of_positives"]) == (4, 3, 0.75)


def test_common_literature_needs_both_tables_to_give_it():
    without = audit()
    assert without["num_common_literature"].isna().all()
    assert (without["note"] == "the reference gives no literature").all()
    row = audit(PAIRS.assign(literature=["2;9", "4", None, "7", "1"])).loc[("string", "any")]
    assert (row["num_common_literature"], row["num_common_with_literature"], row["note"]) == (1, 1, "")  # 2; A-E is outside the universe


def test_without_priors_or_pairs_nothing_is_shared():
    none = audit(priors=PRIORS.iloc[:0])
    assert list(none.index) == [("string", "any"), ("humap", "any")]
    assert (none["num_common_pairs"] == 0).all()
    assert none["enrichment"].isna().all()
    empty = audit(pairs=PAIRS.iloc[:0]).loc[("string", "any")]
    assert empty["num_reference_pairs"] == 0
    assert pd.isna(empty["share_of_reference"])
