"""Edges beyond the edge null: counts beside a slow search, and fits of a screen with and without a network."""

import numpy as np
import pytest
from screens import make_screen

from causcade.causal import fit_causal
from causcade.config import CausalConfig
from causcade.evaluation.beyond_null import beyond_null_verdict, num_beyond_null
from causcade.responses import aggregate, build_responses, edge_null

SETTINGS = CausalConfig(learning_rate=0.02, num_steps=60, l1_start=20, prior_strength=0.0)


def slow(score, nulls):
    best = (0, None)
    for threshold in sorted({abs(value) for value in score if value}, reverse=True):
        num = sum(abs(value) >= threshold for value in score)
        expected = (1 + sum(abs(value) >= threshold for null in nulls for value in null)) / len(nulls)
        if expected <= 0.1 * num:
            best = (num, threshold)
    return best


@pytest.mark.parametrize("shift", [0.0, 2.0, 6.0])
def test_counts_are_those_of_a_slow_search(shift):
    rng = np.random.default_rng(0)
    score = np.round(rng.normal(size=300), 1)
    score[:60] += shift
    nulls = [np.round(rng.normal(size=300), 1) for _ in range(3)]
    found, expected = num_beyond_null(score, nulls), slow(score, nulls)
    assert found[0] == expected[0]
    assert found[1] == expected[1] or found[1] == pytest.approx(expected[1])
    assert (found[0] > 30) == (shift > 5)


def test_too_few_edges_and_no_scores_are_no_result():
    none = np.zeros(50)
    assert num_beyond_null(none, [none]) == (0, None)
    few = none.copy()
    few[:9] = 5.0
    assert num_beyond_null(few, [none]) == (0, None), "one edge of the null could still come"
    few[9] = np.nan
    few[10] = -5.0
    assert num_beyond_null(few, [none]) == (10, 5.0)
    assert beyond_null_verdict({"causal": few})["answer"] == "not testable"


def fits(*, has_network):
    screen = make_screen(num_genes=40, num_drugs=24, num_sources=8, num_candidates=10, has_network=has_network)
    effects = aggregate(build_responses(screen.conditions, screen.baselines, screen.targets))
    data = {"causal": effects} | {f"edge_null{i}": edge_null(effects, np.random.default_rng([i, 5])) for i in range(3)}
    return {name: fit_causal(part, screen.edges, SETTINGS, seed=0).score_C for name, part in data.items()}


def test_a_screen_without_a_network_exceeds_nothing():
    verdict = beyond_null_verdict(fits(has_network=False))
    assert verdict["answer"] == "no"
    assert verdict["sentence"].startswith("Nothing exceeds the edge null (3 draws): at every threshold more than a tenth")


def test_a_screen_with_one_does():
    verdict = beyond_null_verdict(fits(has_network=True))
    assert verdict["answer"] == "yes"
    assert verdict["numbers"]["num_edges"] >= 20
    assert "candidate edges score beyond the edge null (3 draws)" in verdict["sentence"]
