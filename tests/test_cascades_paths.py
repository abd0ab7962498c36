import itertools

import numpy as np
import pytest
from scipy import sparse

from causcade.cascades import best_paths


def brute_force(matrix, direct, num_hops):
    """Every path without repeats, by permutations."""
    found = []
    for hops in range(1, num_hops + 1):
        for genes in itertools.permutations(range(len(matrix)), hops + 1):
            effect = direct[genes[0]] * np.prod([matrix[b, a] for a, b in itertools.pairwise(genes)])
            if effect:
                found.append((genes, effect))
    return sorted(found, key=lambda path: -abs(path[1]))


@pytest.fixture(scope="module")
def network():
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(7, 7)) * (rng.random((7, 7)) < 0.5)
    np.fill_diagonal(matrix, 0)
    return matrix, np.array([1.0, 0, -2.0, 0, 0, 0, 0])


@pytest.mark.parametrize("num_hops", [1, 2, 4])
def test_a_wide_beam_finds_what_brute_force_finds(network, num_hops):
    matrix, direct = network
    expected = brute_force(matrix, direct, num_hops)[:15]
    found = best_paths(sparse.csr_matrix(matrix), direct, num_hops=num_hops, num_paths=15, beam=10_000)
    np.testing.assert_allclose([path.effect for path in found], [effect for _, effect in expected])
    assert [path.genes for path in found] == [genes for genes, _ in expected]


def test_a_narrow_beam_gives_true_paths(network):
    matrix, direct = network
    every = dict(brute_force(matrix, direct, 4))
    for path in best_paths(sparse.csr_matrix(matrix), direct, num_hops=4, num_paths=5, beam=2):
        assert every[path.genes] == pytest.approx(path.effect)


def test_no_gene_twice_in_a_cycle():
    ring = sparse.csr_matrix(np.array([[0, 0.9], [0.9, 0]]))
    assert [path.genes for path in best_paths(ring, np.array([1.0, 0]), num_hops=5, num_paths=9)] == [(0, 1)]


def test_equal_effects_have_a_fixed_order():
    star = np.zeros((4, 4))
    star[1:, 0] = 0.5
    assert [path.genes for path in best_paths(sparse.csr_matrix(star), np.array([1.0, 0, 0, 0]), num_hops=2, num_paths=2)] == [(0, 1), (0, 2)]


def test_nothing_to_find():
    assert best_paths(sparse.csr_matrix((3, 3)), np.ones(3), num_hops=3, num_paths=3) == []
    assert best_paths(sparse.csr_matrix(np.ones((3, 3))), np.zeros(3), num_hops=3, num_paths=3) == []
