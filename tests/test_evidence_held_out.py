import numpy as np
import pytest
from latent_cases import make_case

from causcade.evidence.held_out import best_edges, network_sizes, predict_held_out
from causcade.evidence.perturbations import prepare_effects
from causcade.responses import drug_folds, hold_out_drugs

CASE = make_case()
TARGET, SOURCE = CASE.places
WEIGHT = CASE.weight_GG[TARGET, SOURCE]


@pytest.fixture(scope="module")
def fold():
    return hold_out_drugs(CASE.effects, drug_folds(CASE.effects, 2, np.random.default_rng(0))[0])


def means(fold, columns):
    training, held_out = fold
    table = predict_held_out(prepare_effects(training), held_out, columns, TARGET, SOURCE)
    assert list(table.columns) == ["column", "num_edges", "perturbation", "pearson"]
    assert len(table) == len(columns) * len(network_sizes(50, len(TARGET))) * len(held_out.table)
    return table.groupby("column")["pearson"].mean()


def test_true_edges_predict_best_then_association_then_chance(fold):
    rng = np.random.default_rng(1)
    reverse = CASE.weight_GG.T[TARGET, SOURCE]
    noisy = WEIGHT + rng.normal(0, 0.4, len(WEIGHT))
    found = means(fold, {"truth": WEIGHT, "noisy": noisy, "reverse": reverse, "random": rng.normal(size=len(WEIGHT)), "nothing": 0 * WEIGHT})
    assert found["truth"] > 0.6
    assert found["truth"] > found["noisy"] > found["random"] + 0.1
    assert found["truth"] > found["reverse"] + 0.3
    assert found["nothing"] == 0


def test_only_the_order_of_edges_counts_not_the_size_or_sign_of_the_values(fold):
    scores = np.abs(WEIGHT) + np.linspace(1e-6, 1e-5, len(WEIGHT))
    found = means(fold, {"a": scores, "b": -(scores**3)})
    assert found["a"] == found["b"]


def test_what_is_held_out_is_not_looked_at_in_training(fold):
    """Weights come from the training perturbations: a network of one true edge predicts only perturbations that reach it."""
    training, held_out = fold
    one = np.where(np.arange(len(WEIGHT)) == np.flatnonzero(WEIGHT)[0], 1.0, 0.0)
    table = predict_held_out(prepare_effects(training), held_out, {"one": one}, TARGET, SOURCE)
    source = SOURCE[one > 0][0]
    reached = set(held_out.table["perturbation"][held_out.is_target_DG[:, source]])
    assert {row.perturbation for row in table.itertuples() if row.pearson != 0} <= reached


def test_sizes_are_those_of_the_panel_and_at_most_all_edges():
    assert network_sizes(50, 1000) == [50, 100, 200]
    assert network_sizes(50, 70) == [50, 70]
    assert network_sizes(50, 3) == [3]


def test_best_edges_go_by_size_leave_out_zeros_and_keep_the_order_of_ties():
    assert best_edges(np.array([0.0, -3.0, 2.0, 2.0, 0.0, 5.0]), 3).tolist() == [5, 1, 2]
    assert best_edges(np.array([0.0, -3.0]), 5).tolist() == [1]
    assert best_edges(np.zeros(4), 2).tolist() == []
