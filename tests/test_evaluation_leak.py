"""Leak audit: what the priors know of each reference."""

import pandas as pd
import pytest

from causcade.config import ResourcesConfig
from causcade.evaluation.edges import build_references, code_edges
from causcade.evaluation.leak import leak_table
from causcade.resources import ResourceFile, build_resources

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


LITERATURE_COUNTS = ["num_common_literature", "share_of_reference_literature", "num_pairs_of_common_literature", "num_common_with_literature"]


def test_common_publications_and_the_pairs_that_rest_on_them():
    found = audit(PAIRS.assign(literature=["2;9", "4;3", "1", None, "1"]))
    row = found.loc[("string", "any")]
    # A-B cites 2 and 9, A-D 4 and 3, C-D 1, X-Y nothing. Of the priors, A-B (both directions) cites 1, 2, 3, X-Y 5; A-E (4) is outside the universe.
    assert (row["num_reference_literature"], row["num_prior_literature"]) == (5, 4)
    assert row["num_common_literature"] == 3  # 1, 2, 3
    assert row["share_of_reference_literature"] == pytest.approx(3 / 5)
    assert row["num_pairs_of_common_literature"] == 3  # A-B by 2, A-D by 3, C-D by 1, which the prior cites for other pairs
    assert row["num_common_with_literature"] == 1  # A-B by 2: only there both name a publication for the same pair
    assert row["note"] == ""
    row = found.loc[("string", "dorothea")]
    assert row[[*LITERATURE_COUNTS, "note"]].tolist() == [0, 0.0, 0, 0, ""], "both name publications, and share none"


def test_where_one_gives_no_literature_that_is_said_and_no_zero_is_shown():
    given = PAIRS.assign(literature=["2", "", "", "", ""])
    for found, note in (
        (audit(), "the reference gives no literature"),
        (audit(PAIRS.assign(literature="")), "the reference gives no literature"),
        (audit(given, PRIORS.drop(columns="literature")), "the prior gives no literature"),
        (audit(given, PRIORS.assign(literature="")), "the prior gives no literature"),
    ):
        rows = found.loc["string"]
        assert rows[LITERATURE_COUNTS].isna().all(axis=None)
        assert (rows["note"] == note).all()
        assert (rows["num_common_pairs"] > 0).any(), "the pairs are compared all the same"
    assert audit(given).loc[("humap", "collectri"), "note"] == "the reference gives no literature", "one reference may give it and another not"
    silent = audit(given, PRIORS.assign(literature=["1", "2", "", "", ""])).loc[("string", "dorothea")]
    assert silent["note"] == "the prior gives no literature"


def test_without_priors_or_pairs_nothing_is_shared():
    none = audit(priors=PRIORS.iloc[:0])
    assert list(none.index) == [("string", "any"), ("humap", "any")]
    assert (none["num_common_pairs"] == 0).all()
    assert none["enrichment"].isna().all()
    empty = audit(pairs=PAIRS.iloc[:0]).loc[("string", "any")]
    assert empty["num_reference_pairs"] == 0
    assert pd.isna(empty["share_of_reference"])


@pytest.mark.shared_data
def test_complex_portal_and_the_curated_networks_rest_on_few_common_papers(shared_data):
    folder = shared_data / "references"
    files = {
        "hgnc": "idmap/hgnc_complete_set.txt.gz", "collectri": "grn_priors/collectri.csv", "trrust": "grn_priors/trrust_rawdata.human.tsv",
        "complexportal": "complexes/complexportal_obograph_2022-07-11.json.gz",
        "humap": "complexes/humap2_complexes_20200809InOrderMatched.csv",
    }  # fmt: skip
    tables = build_resources({name: ResourceFile(path=folder / file) for name, file in files.items()}, ResourcesConfig())
    edges = code_edges(tables.prior_edges, pd.DataFrame({"gene": sorted(set(tables.prior_edges["regulator"]) | set(tables.prior_edges["target"]))}))
    references = build_references(edges, tables.reference_pairs, tables.reference_universe)
    found = leak_table(edges, references, tables.reference_pairs, tables.reference_universe, tables.prior_edges).set_index(["reference", "prior"])
    row = found.loc[("complexportal", "collectri")]
    assert (row["num_common_pairs"], row["num_reference_literature"], row["num_common_literature"]) == (104, 1_305, 6)
    assert row["enrichment"] > 5
    humap = found.loc["humap"]
    assert humap["num_common_literature"].isna().all()
    assert (humap["note"] == "the reference gives no literature").all()
