import numpy as np
import pytest
import torch
from pattern_cases import CPU, dense, of_matrix, random_pattern

from causcade.causal.spectral import SpectralProbe, exact_radius, log_growth


def radius_of(matrix, *, calls=1, seed=0):
    pattern, values = of_matrix(matrix)
    probe = SpectralProbe(len(matrix), torch.Generator().manual_seed(seed), CPU)
    for _ in range(calls):
        radius = probe.measure(pattern, values)
    return radius


def test_radius_of_complex_dominant_eigenvalues():
    angle = 2.2
    matrix = np.zeros((6, 6))
    matrix[:2, :2] = 0.8 * np.array([[0.001 + np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix[2:, 2:] = np.triu(np.random.default_rng(0).normal(0, 0.3, (4, 4)), k=1)
    rotation = matrix - np.diag(np.diag(matrix))  # the pattern has no diagonal
    ring = np.roll(np.eye(3), 1, axis=0) * 0.7
    expected = np.abs(np.linalg.eigvals(ring)).max()
    assert np.iscomplex(np.linalg.eigvals(ring)).any()
    assert radius_of(ring, calls=3) == pytest.approx(expected, rel=1e-3)
    assert radius_of(rotation, calls=5) == pytest.approx(np.abs(np.linalg.eigvals(rotation)).max(), rel=1e-2)


def test_radius_of_a_negative_two_cycle_of_unequal_weights():
    matrix = np.array([[0.0, -2.0, 0.0], [0.5, 0.0, 0.0], [0.3, 0.0, 0.0]])
    assert radius_of(matrix, calls=2) == pytest.approx(np.abs(np.linalg.eigvals(matrix)).max(), rel=1e-3)


@pytest.mark.parametrize("seed", range(3))
def test_radius_of_random_networks(seed):
    pattern = random_pattern(num_genes=40, share=0.2, seed=seed)
    values = 0.3 * torch.randn(pattern.num_edges, generator=torch.Generator().manual_seed(seed))
    probe = SpectralProbe(40, torch.Generator().manual_seed(seed), CPU)
    found = probe.measure(pattern, values, num_steps=500)
    assert found == pytest.approx(np.abs(np.linalg.eigvals(dense(pattern, values).numpy())).max(), rel=0.03)


def test_radius_of_a_feed_forward_network_is_zero_and_the_probe_recovers():
    chain = np.diag([0.5, 0.5, 0.5], k=-1)
    pattern, values = of_matrix(chain)
    probe = SpectralProbe(4, torch.Generator().manual_seed(0), CPU)
    assert probe.measure(pattern, values) == 0.0
    cycle, cycle_values = of_matrix(chain + 0.5 * np.eye(4, k=3))
    assert probe.measure(cycle, cycle_values) == pytest.approx(0.5, rel=1e-3)


def true_radius(matrix):
    return np.abs(np.linalg.eigvals(matrix)).max()


def sparse_network(num_genes, seed):
    """A network of which ARPACK is asked; its dominant eigenvalues are complex."""
    pattern = random_pattern(num_genes=num_genes, share=0.05, seed=seed)
    return pattern, 0.3 * torch.randn(pattern.num_edges, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("seed", range(3))
def test_arpack_finds_complex_dominant_eigenvalues_and_power_steps_agree(seed):
    pattern, values = sparse_network(150, seed)
    eigenvalues = np.linalg.eigvals(dense(pattern, values).numpy())
    dominant = eigenvalues[np.abs(eigenvalues).argmax()]
    assert exact_radius(pattern, values) == pytest.approx(abs(dominant), rel=1e-3)
    probe = SpectralProbe(150, torch.Generator().manual_seed(seed), CPU)
    assert probe.measure(pattern, values, num_steps=500) == pytest.approx(abs(dominant), rel=0.03)


def test_the_dominant_eigenvalues_of_such_networks_are_complex():
    pattern, values = sparse_network(150, 1)
    eigenvalues = np.linalg.eigvals(dense(pattern, values).numpy())
    assert abs(eigenvalues[np.abs(eigenvalues).argmax()].imag) > 0.1


@pytest.mark.parametrize("num_genes", [3, 200])
def test_arpack_finds_a_negative_two_cycle(num_genes):
    matrix = np.zeros((num_genes, num_genes))
    matrix[0, 1], matrix[1, 0], matrix[2, 0] = -2.0, 0.5, 0.3
    pattern, values = of_matrix(matrix)
    assert exact_radius(pattern, values) == pytest.approx(true_radius(matrix), rel=1e-3)
    assert true_radius(matrix) == pytest.approx(1.0)


def test_equal_first_vectors_give_equal_digits():
    pattern, values = sparse_network(150, 0)
    start = torch.randn(150, 1, generator=torch.Generator().manual_seed(0))
    assert exact_radius(pattern, values, start_G1=start) == exact_radius(pattern, values, start_G1=start)


@pytest.mark.parametrize("num_genes", [4, 200])
def test_a_network_without_cycles_or_edges_has_no_radius(num_genes):
    chain = np.diag(np.full(num_genes - 1, 0.5), k=-1)
    assert not exact_radius(*of_matrix(chain)) > 0.35, "eigenvalues of a long chain are ill conditioned"
    assert not exact_radius(*of_matrix(np.zeros((num_genes, num_genes)))) > 0


def test_growth_and_its_gradient_agree_with_dense_autograd():
    pattern = random_pattern(num_genes=10, share=0.4, seed=2)
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(pattern.num_edges, generator=generator, dtype=torch.float64).requires_grad_()
    vector = torch.randn(10, 1, generator=generator, dtype=torch.float64)
    vector = vector / vector.norm()
    expected = torch.linalg.matrix_power(dense(pattern, values), 5).matmul(vector).norm().log() / 5
    found = log_growth(values, vector, pattern, 5)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(torch.autograd.grad(found, values)[0], torch.autograd.grad(expected, values)[0])


def test_the_gradient_falls_on_the_edges_of_the_cycle():
    matrix = np.array([[0.0, -2.0, 0.0], [0.5, 0.0, 0.0], [0.3, 0.0, 0.0]])
    pattern, values = of_matrix(matrix)
    probe = SpectralProbe(3, torch.Generator().manual_seed(0), CPU)
    probe.measure(pattern, values)
    gradient = torch.autograd.grad(log_growth(values.requires_grad_(), probe.vector_G1, pattern, 100), values)[0]
    np.testing.assert_allclose(gradient.numpy(), [0.5 / -2.0, 0.5 / 0.5, 0.0], atol=0.02)
