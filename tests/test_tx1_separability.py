import numpy as np
import pytest
import scipy.sparse as sp

from causcade.tx1.separability import Labelled, expression_pca, less_group_means, linear_probe, separability
from causcade.tx1.separability import balanced_votes as votes_of


def make_clouds(num=60, distance=8.0, seed=0, shares=(0.5, 0.5)):
    rng = np.random.default_rng(seed)
    label = rng.choice(len(shares), num, p=shares)
    return rng.normal(size=(num, 3)) + distance * label[:, None], np.array(["a", "b", "c"])[label]


def balanced_votes(reference, labels, query, query_labels, **options):
    """Accuracy, standard error and number of cells, where each cell is a well of its own."""
    cells = [Labelled(values, np.arange(len(values))) for values in (labels, query_labels)]
    found = votes_of(reference, cells[0], query, cells[1], **options)
    return found.accuracy, found.standard_error, found.num_cells


def test_clouds_apart_are_told_and_one_cloud_is_chance():
    reference, labels = make_clouds()
    query, query_labels = make_clouds(seed=1)
    accuracy, error, num = balanced_votes(reference, labels, query, query_labels)
    assert (accuracy, error, num) == (1.0, 0.0, 60)
    reference, labels = make_clouds(2000, 0.0)
    accuracy, error, num = balanced_votes(reference, labels, *make_clouds(2000, 0.0, seed=1))
    assert abs(accuracy - 0.5) < 4 * error
    assert error == pytest.approx(0.5 / 2000**0.5, rel=0.05)


def test_a_common_label_is_not_guessed_for_its_frequency():
    reference, labels = make_clouds(3000, 0.0, shares=(0.95, 0.05))
    query, query_labels = make_clouds(3000, 0.0, seed=1, shares=(0.95, 0.05))
    accuracy, error, _ = balanced_votes(reference, labels, query, query_labels)
    assert abs(accuracy - 0.5) < 4 * error


def slow_votes(reference, labels, query, query_labels, neighbours):
    right = {label: [] for label in np.unique(query_labels)}
    counts = {label: (labels == label).sum() for label in np.unique(labels)}
    for point, truth in zip(query, query_labels, strict=True):
        near = np.argsort(np.square(reference - point).sum(axis=1))[:neighbours]
        votes = {label: sum(labels[near] == label) / counts[label] for label in counts}
        right[truth].append(max(votes, key=votes.get) == truth)
    return np.mean([np.mean(values) for values in right.values()])


def test_votes_equal_those_counted_one_by_one():
    reference, labels = make_clouds(100, 1.0, shares=(0.2, 0.5, 0.3))
    query, query_labels = make_clouds(80, 1.0, seed=1, shares=(0.3, 0.3, 0.4))
    accuracy, _, _ = balanced_votes(reference, labels, query, query_labels, neighbours=7)
    assert accuracy == pytest.approx(slow_votes(reference, labels, query, query_labels, 7))


def test_one_label_and_unknown_labels_are_left_out():
    reference, labels = make_clouds()
    query, query_labels = make_clouds(seed=1)
    accuracy, _, num = balanced_votes(reference, labels, query, np.where(query_labels == "a", "z", query_labels))
    assert np.isnan(accuracy)
    assert num == (query_labels == "b").sum()
    pair, wells = (reference, query), np.arange(60) % 6
    (record,) = separability({"x": pair}, "line", Labelled(labels, wells), Labelled(query_labels, wells))
    by_chance = record.pop("permuted_accuracy"), record.pop("permuted_high")
    assert 0.4 < by_chance[0] < 0.6
    assert by_chance[0] < by_chance[1] <= 1.0  # a cloud is told as a whole
    about = {"accuracy": 1.0, "standard_error": 0.0, "probe_accuracy": 1.0, "chance": 0.5, "num_cells": 60, "num_wells": 6}
    assert record == {"embedding": "x", "label": "line"} | about
    same = Labelled(np.full(60, "a"), wells)
    assert separability({"x": pair}, "same", same, same) == []


def test_errors_are_those_between_wells_and_labels_of_wells_are_permuted_whole():
    """Wells differ as much as labels do, so that only a few of them could be told by chance."""
    rng = np.random.default_rng(0)
    wells = np.repeat(np.arange(8), 50)
    labels, at = np.where(wells % 2 == 0, "a", "b"), rng.normal(size=(16, 3))[:, None] * 10
    reference, query = ((rng.normal(size=(8, 50, 3)) + at[part]).reshape(400, 3) for part in (slice(8), slice(8, 16)))
    found = votes_of(reference, Labelled(labels, wells), query, Labelled(labels, wells + 8), permutations=200)
    assert found.num_wells == 8
    assert found.standard_error > 3 * np.sqrt(0.25 / 400)  # what cells taken one by one would give
    assert found.permuted_high > 0.7  # few wells are told by chance
    assert 0.35 < found.permuted_accuracy < 0.65


def test_labels_are_permuted_within_groups():
    """In the first group every well has label a, in the second b: a permutation that keeps to the groups changes nothing."""
    z, labels = make_clouds(400, 2.0)
    wells = np.arange(400) % 40 + np.where(labels == "a", 0, 100)
    query = (z, Labelled(labels, wells))
    apart = votes_of(z, Labelled(labels, wells, labels), *query, permutations=20)
    assert (apart.permuted_P == apart.accuracy).all()
    together = votes_of(z, Labelled(labels, wells, np.where(wells % 2 == 0, "p1", "p2")), *query, permutations=20)
    assert together.permuted_P.std() > 0
    assert together.permuted_high < apart.accuracy
    assert np.isnan(votes_of(z, Labelled(labels, wells), *query).permuted_high)


def test_group_means_are_those_of_the_reference():
    rng = np.random.default_rng(0)
    reference, query = rng.normal(size=(30, 4)).astype(np.float32), rng.normal(size=(20, 4)).astype(np.float32)
    groups, query_groups = np.array(["p/a", "q/a", "p/b"])[rng.integers(0, 3, 30)], np.array(["p/b", "p/a"])[rng.integers(0, 2, 20)]
    found = less_group_means(reference, groups, query, query_groups)
    for z, names, got in ((reference, groups, found[0]), (query, query_groups, found[1])):
        expected = [row - reference[groups == name].mean(axis=0) for row, name in zip(z, names, strict=True)]
        np.testing.assert_allclose(got, expected, atol=1e-6)
        assert got.dtype == np.float32


def test_a_linear_probe_finds_a_label_in_a_direction_of_little_variance():
    rng = np.random.default_rng(0)
    labels = rng.choice(["a", "b"], 400, p=[0.8, 0.2])
    z = np.column_stack([np.where(labels == "b", 0.1, 0.0) + rng.normal(size=400) * 0.02, rng.normal(size=(400, 2)) * 50, np.zeros(400)])
    split = (z[:200], labels[:200], z[200:], labels[200:])
    assert linear_probe(*split) > 0.95
    assert balanced_votes(*split)[0] < 0.7
    assert abs(linear_probe(z[:200], labels[:200], z[200:], rng.permutation(labels[200:])) - 0.5) < 0.15
    assert np.isnan(linear_probe(z[:200], np.full(200, "a"), z[200:], labels[200:]))


def test_the_projection_is_a_pca_of_log_counts():
    rng = np.random.default_rng(0)
    counts = rng.poisson(rng.gamma(1.0, 3.0, (1, 12)) * rng.gamma(2.0, 1.0, (50, 12)))
    counts[:, 3] = 0
    first, second = expression_pca(sp.csr_matrix(counts[:40]), sp.csr_matrix(counts[40:]), 3, seed=0)
    x = np.log1p(1e4 * counts / counts.sum(axis=1, keepdims=True))
    mean = x[:40].mean(axis=0)
    _, _, axes = np.linalg.svd(x[:40] - mean)
    for found, expected in ((first, (x[:40] - mean) @ axes[:3].T), (second, (x[40:] - mean) @ axes[:3].T)):
        np.testing.assert_allclose(np.abs(found), np.abs(expected), atol=1e-3)
    assert expression_pca(sp.csr_matrix(counts[:40]), sp.csr_matrix(counts[40:]), 99, seed=0)[0].shape == (
        40,
        (counts[:40].sum(axis=0) > 0).sum() - 1,
    )
