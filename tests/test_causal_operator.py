import numpy as np
import pytest
import torch
from pattern_cases import CPU, dense, random_pattern

from causcade.causal.operator import Pattern, low_rank_values, neumann_sum
from causcade.errors import InputError


@pytest.mark.parametrize("num_hops", [0, 1, 2, 6])
def test_value_and_gradients_agree_with_dense_autograd(num_hops):
    pattern = random_pattern()
    generator = torch.Generator().manual_seed(0)
    values = (0.3 * torch.randn(pattern.num_edges, generator=generator, dtype=torch.float64)).requires_grad_()
    direct = torch.randn(12, 5, generator=generator, dtype=torch.float64).requires_grad_()
    weights = torch.randn(12, 5, generator=generator, dtype=torch.float64)
    matrix, term, expected = dense(pattern, values), direct, direct
    for _ in range(num_hops):
        term = matrix @ term
        expected = expected + term
    wanted = torch.autograd.grad((weights * expected**2).sum(), [values, direct], allow_unused=True)
    found = neumann_sum(values, direct, pattern, num_hops)
    torch.testing.assert_close(found, expected)
    given = torch.autograd.grad((weights * found**2).sum(), [values, direct])
    torch.testing.assert_close(given[0], wanted[0] if wanted[0] is not None else torch.zeros_like(values))
    torch.testing.assert_close(given[1], wanted[1])


def test_a_long_series_is_the_inverse():
    pattern = random_pattern()
    values = 0.1 * torch.randn(pattern.num_edges, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    direct = torch.eye(12, dtype=torch.float64)
    inverse = torch.linalg.inv(torch.eye(12, dtype=torch.float64) - dense(pattern, values))
    torch.testing.assert_close(neumann_sum(values, direct, pattern, 200), inverse)


def test_low_rank_values_and_gradients_agree_with_dense_autograd():
    pattern = random_pattern()
    generator = torch.Generator().manual_seed(2)
    left, right = (torch.randn(12, 3, generator=generator, dtype=torch.float64).requires_grad_() for _ in range(2))
    expected = (left @ right.T)[pattern.target_E, pattern.source_E]
    found = low_rank_values(left, right, pattern)
    torch.testing.assert_close(found, expected)
    wanted = torch.autograd.grad((expected**3).sum(), [left, right])
    given = torch.autograd.grad((found**3).sum(), [left, right])
    for a, b in zip(given, wanted, strict=True):
        torch.testing.assert_close(a, b)


def test_no_edges_and_no_perturbations():
    empty = Pattern(np.zeros(0, np.int64), np.zeros(0, np.int64), 4, CPU)
    direct = torch.randn(4, 2)
    torch.testing.assert_close(neumann_sum(torch.zeros(0), direct, empty, 3), direct)
    assert neumann_sum(torch.zeros(random_pattern().num_edges), torch.zeros(12, 0), random_pattern(), 3).shape == (12, 0)


@pytest.mark.parametrize(
    ("target", "source"),
    [([0, 0], [1, 1]), ([1, 0], [0, 1]), ([0], [0]), ([0], [7]), ([-1], [0])],
    ids=["repeated", "order", "self", "range", "negative"],
)
def test_damaged_edges_are_refused(target, source):
    with pytest.raises(InputError, match="expected distinct gene pairs of the panel, sorted by target and source"):
        Pattern(np.array(target), np.array(source), 4, CPU)
