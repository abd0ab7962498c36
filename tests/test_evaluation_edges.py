"""Candidate edges, references and subsets as arrays."""

import numpy as np
import pandas as pd
import pytest

from causcade.errors import InputError
from causcade.evaluation.edges import SUBSETS, build_references, build_subsets, code_edges, select_edges

PANEL = pd.DataFrame({"gene": ["D", "B", "A", "C"]})
CANDIDATES = pd.DataFrame({
    "regulator": ["A", "B", "A", "C", "D"], "target": ["B", "A", "C", "D", "A"],
    "sources": ["coexpression", "coexpression;collectri", "dorothea", "coexpression", None],
})  # fmt: skip
PAIRS = pd.DataFrame({"reference": ["string", "string", "custom"], "gene_a": ["A", "A", "C"], "gene_b": ["B", "Z", "D"], "score": [1.0, 2.0, np.nan]})
UNIVERSE = pd.DataFrame({"reference": ["string"] * 3 + ["custom"] * 2, "gene": ["A", "B", "C", "C", "D"]})
NO_PAIRS, NO_UNIVERSE = PAIRS.iloc[:0], UNIVERSE.iloc[:0]


def test_edges_are_indices_with_their_reverse_and_curated_sources():
    edges = code_edges(CANDIDATES, PANEL)
    assert edges.gene_G == ["D", "B", "A", "C"]
    assert edges.source_E.tolist() == [2, 1, 2, 3, 0]
    assert edges.target_E.tolist() == [1, 2, 3, 0, 2]
    assert edges.reverse_E.tolist() == [1, 0, -1, -1, -1]
    assert edges.is_curated_E.tolist() == [False, True, True, False, False]
    assert (edges.num_edges, edges.num_genes) == (5, 4)


def test_edges_of_the_prior_table_are_curated_even_if_their_sources_do_not_say_so():
    prior = pd.DataFrame({"regulator": ["C", "Z", "B"], "target": ["D", "A", "C"]})
    assert code_edges(CANDIDATES, PANEL, prior).is_curated_E.tolist() == [False, True, True, True, False]


def test_a_pair_is_curated_if_either_direction_is():
    # A -> B and its reverse B -> A (curated) are candidates; of D -> A only the reverse is curated, and it is no candidate.
    prior = pd.DataFrame({"regulator": ["A"], "target": ["D"]})
    assert code_edges(CANDIDATES, PANEL).is_pair_curated_E.tolist() == [True, True, True, False, False]
    assert code_edges(CANDIDATES, PANEL, prior).is_pair_curated_E.tolist() == [True, True, True, False, True]


def test_prior_free_edges_of_an_undirected_reference_hold_no_reverse_of_a_curated_one():
    edges = code_edges(CANDIDATES, PANEL)
    truth = pd.DataFrame({"regulator": ["A"], "target": ["B"], "weight": [1.0]})
    everything = pd.DataFrame({"reference": "string", "gene": list("ABCD")})
    directed, undirected = build_references(edges, PAIRS[PAIRS["reference"] == "string"], everything, truth)
    subsets = build_subsets(edges, np.zeros(4, dtype=bool))
    chosen = {name: [select_edges(edges, one, name, mask).tolist() for one in (directed, undirected)] for name, mask in subsets.items()}
    assert chosen["no_prior"] == [[True, False, False, True, True], [False, False, False, True, True]]
    assert chosen["no_prior_source_not_hit"] == chosen["no_prior"]
    assert chosen["all"] == [[True] * 5, [True] * 5]


def test_undirected_reference_takes_both_directions_and_leaves_out_unknown_genes():
    edges = code_edges(CANDIDATES, PANEL)
    custom, string = sorted(build_references(edges, PAIRS, UNIVERSE), key=lambda one: one.name)
    assert string.is_positive_E.tolist() == [True, True, False, False, False]
    assert string.is_eligible_E.tolist() == [True, True, True, False, False]  # D is outside the universe: left out, no negative
    assert (string.num_pairs, string.num_pairs_in_candidates, string.is_directed) == (2, 1, False)
    assert (string.num_genes_in_panel, custom.num_genes_in_panel) == (3, 2)
    assert custom.is_positive_E.tolist() == [False, False, False, True, False]


def test_a_pair_outside_the_universe_is_not_positive():
    edges = code_edges(CANDIDATES, PANEL)
    universe = pd.DataFrame({"reference": ["string"], "gene": ["A"]})
    (string,) = build_references(edges, PAIRS[PAIRS["reference"] == "string"], universe)
    assert not string.is_positive_E.any()
    assert not string.is_eligible_E.any()


def test_truth_is_directed_and_signed():
    truth = pd.DataFrame({"regulator": ["A", "A", "D", "B", "C"], "target": ["B", "C", "C", "A", "Z"], "weight": [-2.0, 1.0, 1.0, 0.0, 3.0]})
    (reference,) = build_references(code_edges(CANDIDATES, PANEL), NO_PAIRS, NO_UNIVERSE, truth)
    assert reference.is_directed
    assert reference.is_positive_E.tolist() == [True, False, True, False, False]  # B -> A has weight 0
    assert reference.true_sign_E.tolist() == [-1, 0, 1, 0, 0]
    assert (reference.num_pairs, reference.num_pairs_in_candidates) == (4, 2)


def test_references_come_in_a_fixed_order():
    names = ["zoo", "reactome", "humap", "string", "complexportal"]
    universe = pd.DataFrame({"reference": names, "gene": "A"})
    truth = pd.DataFrame({"regulator": ["A"], "target": ["B"], "weight": [1.0]})
    references = build_references(code_edges(CANDIDATES, PANEL), NO_PAIRS, universe, truth)
    assert [one.name for one in references] == ["truth", "string", "complexportal", "humap", "reactome", "zoo"]


def test_subsets_split_the_edges_without_a_curated_source_by_whether_the_source_is_hit():
    edges = code_edges(CANDIDATES, PANEL)
    subsets = build_subsets(edges, np.array([False, False, True, False]))  # A is hit
    assert tuple(subsets) == SUBSETS
    assert subsets["all"].all()
    assert subsets["no_prior"].tolist() == [True, False, False, True, True]
    assert subsets["no_prior_source_hit"].tolist() == [True, False, False, False, False]
    assert subsets["no_prior_source_not_hit"].tolist() == [False, False, False, True, True]


def test_no_candidate_edges():
    edges = code_edges(CANDIDATES.iloc[:0], PANEL)
    assert edges.num_edges == edges.reverse_E.size == edges.is_curated_E.size == 0
    assert not build_references(edges, PAIRS, UNIVERSE)[0].is_positive_E.size


@pytest.mark.parametrize(("change", "message"), [
    ({"regulator": ["Z", "B", "A", "C", "D"]}, r"found the edge Z -> B with a gene outside it\. Rerun the mask stage"),
    ({"regulator": ["B", "B", "A", "C", "D"]}, r"expected no self edges"),
    ({"regulator": ["D", "B", "A", "C", "D"], "target": ["A", "A", "C", "D", "A"]}, r"each ordered pair once, found duplicates"),
])  # fmt: skip
def test_wrong_candidates_are_told(change, message):
    with pytest.raises(InputError, match=message):
        code_edges(CANDIDATES.assign(**change), PANEL)


def test_missing_columns_double_genes_and_missing_universe_are_told():
    with pytest.raises(InputError, match=r"candidate_edges: expected columns regulator, target, sources, found no sources"):
        code_edges(CANDIDATES.drop(columns="sources"), PANEL)
    with pytest.raises(InputError, match=r"panel: expected unique genes, found 'B' twice"):
        code_edges(CANDIDATES, pd.DataFrame({"gene": ["D", "B", "A", "C", "B"]}))
    with pytest.raises(InputError, match=r"reference_universe: expected genes of each reference, found none for custom"):
        build_references(code_edges(CANDIDATES, PANEL), PAIRS, UNIVERSE[UNIVERSE["reference"] == "string"])
