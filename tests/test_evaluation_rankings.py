"""Rankings of the candidate edges: names, baselines and the mean shift."""

import numpy as np
import pandas as pd
import pytest

from causcade.errors import InputError
from causcade.evaluation import Responses, name_rankings
from causcade.evaluation.edges import code_edges
from causcade.evaluation.rankings import Ranking, build_rankings, is_null, is_value_only, mean_shift, null_of, screened_links

GENES = ["A", "B", "C", "D"]
PANEL = pd.DataFrame({"gene": GENES})
CANDIDATES = pd.DataFrame({
    "regulator": ["A", "B", "C", "D", "B"], "target": ["B", "A", "D", "C", "C"], "sources": "coexpression",
    "coexpression": [-0.9, 0.2, 0.5, 0.0, 0.1], "rank": pd.array([1, None, 4, 2, 2], dtype="Int32"),
    "prior_confidence": [0.0, 0.6, 0.0, 0.0, 0.9], "prior_sign": np.array([0, -1, 0, 0, 1], dtype=np.int8),
})  # fmt: skip
EDGES = code_edges(CANDIDATES, PANEL)
DRUGS = ["d0", "d1", "d2"]


def draw_responses(seed=0, **change):
    rng = np.random.default_rng(seed)
    values = {"effect_DG": rng.normal(size=(3, 4)), "error_DG": rng.uniform(0.5, 2, size=(3, 4))} | change
    return Responses(perturbations=DRUGS, genes=GENES, **values)


def links_of(*rows):
    return screened_links(pd.DataFrame(rows, columns=["perturbation", "gene", "sign"]), PANEL, DRUGS)


def build(scores, **options):
    return {one.name: one for one in build_rankings(CANDIDATES, EDGES, scores, is_hit_G=np.array([True, False, True, False]), **options)}


def test_fits_get_the_names_of_their_rankings():
    fits = ["main", "noprior", "edgenull0", "labelnull11", "boot7", "drugs1", "line_A549"]
    rankings = name_rankings({fit: np.full(2, float(i)) for i, fit in enumerate(fits)})
    assert {name: value[0] for name, value in rankings.items()} == {
        "causal_prior": 0, "causal": 1, "edge_null0": 2, "label_null11": 3, "causal_boot7": 4,
    }  # fmt: skip


def test_is_null_tells_the_kind():
    assert is_null("edge_null0")
    assert is_null("label_null12", "label")
    assert not is_null("label_null12", "edge")
    assert not is_null("causal")


def test_every_ranking_and_its_sign():
    weight = np.array([1.0, -2.0, 0.0, 0.5, -0.1])
    shift = mean_shift(EDGES, links_of(("d0", "A", -1)), draw_responses())
    scores = {
        "label_null0": -weight,
        "edge_null10": weight,
        "edge_null2": weight,
        "causal_boot1": weight,
        "causal_prior": 2 * weight,
        "causal": weight,
    }
    rankings = build(scores, raw_correlation_E=np.array([0.1, -0.3, 0, 0, 0.2], dtype=np.float32), others=[shift],
                     evidence={"posterior": 3 * weight})  # fmt: skip
    assert list(rankings) == [
        "causal", "causal_prior", "posterior", "coexpression", "raw_coexpression", "partner_rank", "prior", "mask", "listed_target", "mean_shift",
        "edge_null2", "edge_null10", "label_null0", "causal_boot1",
    ]  # fmt: skip
    assert rankings["causal"].score_E.tolist() == [1, 2, 0, 0.5, 0.1]
    assert rankings["causal"].sign_E.tolist() == [1, -1, 0, 1, -1]
    assert rankings["coexpression"].score_E.tolist() == [0.9, 0.2, 0.5, 0.0, 0.1]
    assert rankings["coexpression"].sign_E.tolist() == [-1, 1, 1, 0, 1]
    assert rankings["partner_rank"].score_E.tolist() == [1, 0, 0.25, 0.5, 0.5]
    assert rankings["partner_rank"].sign_E is None
    assert rankings["prior"].score_E.tolist() == [0, 0.6, 0, 0, 0.9]
    assert rankings["prior"].sign_E.tolist() == [0, -1, 0, 0, 1]
    assert rankings["mask"].score_E.tolist() == [1, 2, 1, 2, 4]  # B regulates two genes, C has two regulators
    assert rankings["posterior"].score_E.tolist() == [3, 6, 0, 1.5, pytest.approx(0.3)]
    assert rankings["listed_target"].score_E.tolist() == [1, 0, 1, 0, 0]
    assert rankings["label_null0"].sign_E.tolist() == [-1, 1, 0, -1, 1]


def test_rankings_without_optional_inputs():
    assert set(build({"causal": np.ones(5)})) == {"causal", "coexpression", "partner_rank", "prior", "mask", "listed_target"}


@pytest.mark.parametrize(("scores", "message"), [
    ({}, r"expected causal and any of .*, found nothing"),
    ({"causal_prior": np.ones(5)}, r"found causal_prior\. Name the fits with `name_rankings`"),
    ({"causal": np.ones(5), "boot0": np.ones(5)}, r"causal_boot<i>, found boot0, causal"),
    ({"causal": np.ones(4)}, r"ranking causal: expected one score for each of 5 candidate edges, found shape \(4,\)"),
    ({"causal": np.array([1, 2, np.nan, np.nan, 0])}, r"ranking causal: expected numbers, found NaN in 2 edges"),
])  # fmt: skip
def test_wrong_scores_are_told(scores, message):
    with pytest.raises(InputError, match=message):
        build(scores)


def test_links_are_reduced_to_the_screen_with_one_sign():
    rows = [("d1", "A", -1), ("d0", "A", -1), ("d0", "A", 0), ("d0", "B", 1), ("d0", "B", -1), ("d0", "C", 0), ("d9", "A", 1), ("d0", "Z", 1)]
    links = links_of(*rows)
    assert links.to_numpy().tolist() == [["d0", "A", -1], ["d0", "B", 0], ["d0", "C", 0], ["d1", "A", -1]]
    everything = screened_links(pd.DataFrame({"perturbation": ["d9"], "gene": ["A"], "sign": [1]}), PANEL, None)
    assert everything["perturbation"].tolist() == ["d9"]


def test_links_may_name_ensembl_ids():
    panel = PANEL.assign(gene_id=[f"ENSG{i}" for i in range(4)])
    links = pd.DataFrame({"perturbation": ["d0", "d0", "d1"], "target": ["ENSG2", "A", "C"], "sign": [-1, 1, 0]})
    assert screened_links(links, panel, DRUGS).to_numpy().tolist() == [["d0", "A", 1], ["d0", "C", -1], ["d1", "C", 0]]


@pytest.mark.parametrize("name", ["causal", "edge_null3", "mask", "coexpression"])
def test_evidence_needs_a_name_of_its_own(name):
    with pytest.raises(InputError, match=rf"expected names that no other ranking has, found {name}\. Rename"):
        build({"causal": np.ones(5)}, evidence={name: np.ones(5)})


def test_evidence_takes_the_place_of_the_plain_ranking_of_that_name_but_not_beside_it():
    ridge = Ranking(name="ridge", score_E=np.ones(5))
    assert "ridge" in build({"causal": np.ones(5)}, evidence={"ridge": np.ones(5)})
    with pytest.raises(InputError, match="found ridge"):
        build({"causal": np.ones(5)}, evidence={"ridge": np.ones(5)}, others=[ridge])


@pytest.mark.parametrize(
    ("name", "column", "kind"), [("ridge_edge_null0", "ridge", "edge"), ("a_b_label_null12", "a_b", "label"), ("edge_null0", None, None)]
)
def test_nulls_of_columns_are_told_from_those_of_the_network(name, column, kind):
    assert null_of(name) == (None if column is None else (column, kind))
    assert is_value_only(name) is (column is not None)
    assert is_null(name) is (column is None)


def test_mean_shift_equals_a_loop():
    responses = draw_responses(3)
    rows = [("d0", "A", -1), ("d1", "A", 1), ("d2", "A", -1), ("d1", "B", 1), ("d1", "C", -1), ("d2", "C", -1)]
    ranking = mean_shift(EDGES, links_of(*rows), responses)
    for row, (source, target) in enumerate(zip(CANDIDATES["regulator"], CANDIDATES["target"], strict=True)):
        terms = [(sign, DRUGS.index(drug)) for drug, gene, sign in rows if gene == source]
        if not terms:
            assert ranking.score_E[row] == ranking.sign_E[row] == 0
            continue
        column = GENES.index(target)
        precision = np.array([responses.error_DG[d, column] ** -2 for _, d in terms])
        shift = sum(sign * responses.effect_DG[d, column] * p for (sign, d), p in zip(terms, precision, strict=True)) / precision.sum()
        assert ranking.score_E[row] == pytest.approx(abs(shift) * np.sqrt(precision.sum()))
        assert ranking.sign_E[row] == np.sign(shift)
    assert (ranking.score_E > 0).sum() == 4  # D is hit by nothing


def test_mean_shift_uses_links_of_known_sign_if_there_are_any():
    responses = draw_responses(4)
    both = mean_shift(EDGES, links_of(("d0", "A", -1), ("d1", "A", 0)), responses)
    known = mean_shift(EDGES, links_of(("d0", "A", -1)), responses)
    np.testing.assert_array_equal(both.score_E, known.score_E)
    np.testing.assert_array_equal(both.sign_E, known.sign_E)
    unknown = mean_shift(EDGES, links_of(("d0", "A", 0)), responses)
    np.testing.assert_array_equal(unknown.score_E, known.score_E)
    assert not unknown.sign_E.any()  # one drug of unknown sign: a shift, but no sign


def test_entries_that_were_not_measured_have_no_weight():
    responses = draw_responses(5)
    error_DG = responses.error_DG.copy()
    error_DG[1] = [np.inf, 0.0, np.nan, np.inf]
    effect_DG = responses.effect_DG.copy()
    effect_DG[1] = np.nan
    partly = mean_shift(EDGES, links_of(("d0", "A", -1), ("d1", "A", -1), ("d1", "B", -1)), draw_responses(5, effect_DG=effect_DG, error_DG=error_DG))
    alone = mean_shift(EDGES, links_of(("d0", "A", -1)), responses)
    np.testing.assert_allclose(partly.score_E, alone.score_E)


def test_responses_are_matched_by_name_not_by_place():
    responses = draw_responses(6)
    links = links_of(("d0", "A", -1), ("d1", "B", 1))
    turned = Responses(perturbations=DRUGS[::-1], genes=["Z", *GENES[::-1]], effect_DG=np.insert(responses.effect_DG[::-1, ::-1], 0, 9.0, axis=1),
                       error_DG=np.insert(responses.error_DG[::-1, ::-1], 0, 1.0, axis=1))  # fmt: skip
    np.testing.assert_allclose(mean_shift(EDGES, links, turned).score_E, mean_shift(EDGES, links, responses).score_E)


def test_no_links_give_no_shift():
    assert not mean_shift(EDGES, links_of(), draw_responses()).score_E.any()


def test_wrong_responses_are_told():
    with pytest.raises(InputError, match=r"expected effect_DG of shape \(3, 4\) \(perturbations, genes\), found \(4, 3\)"):
        draw_responses(effect_DG=np.zeros((4, 3)))
    short = Responses(perturbations=DRUGS, genes=GENES[1:], effect_DG=np.zeros((3, 3)), error_DG=np.ones((3, 3)))
    with pytest.raises(InputError, match=r"expected every target of the candidate edges, found no gene 'A'"):
        mean_shift(EDGES, links_of(("d0", "A", 1)), short)
    with pytest.raises(InputError, match=r"expected finite effects where the error is finite"):
        mean_shift(EDGES, links_of(("d0", "A", 1)), draw_responses(effect_DG=np.full((3, 4), np.nan)))
