import numpy as np
import pytest
import torch

from causcade.causal.operator import Pattern
from causcade.causal.penalties import HIERARCHY_RANGE, l1_ball_threshold, source_factor


@pytest.mark.parametrize("radius", [0.0, 0.5, 3.0])
def test_the_threshold_brings_the_sum_to_the_radius(radius):
    size = torch.rand(40, generator=torch.Generator().manual_seed(0))
    threshold = l1_ball_threshold(size, radius)
    assert float((size - threshold).clamp_min(0).sum()) == pytest.approx(radius, abs=1e-5)


def test_inside_the_ball_nothing_is_taken():
    assert l1_ball_threshold(torch.tensor([0.1, 0.2]), 0.3001) == 0.0
    assert l1_ball_threshold(torch.zeros(0), 0.0) == 0.0
    assert l1_ball_threshold(torch.zeros(3), 0.0) == 0.0


def pattern_of(num_genes=6):
    target, source = np.nonzero(~np.eye(num_genes, dtype=bool))
    return Pattern(target, source, num_genes, torch.device("cpu"))


def test_regulators_with_many_clear_edges_are_penalised_less():
    pattern = pattern_of()
    z = torch.where(pattern.source_E == 2, 3.0, 0.0)
    factor = source_factor(z, pattern, 0.5)
    typical = 5 / 30
    share = (5 + 20 * typical) / 25
    assert factor[pattern.source_E == 2].unique().tolist() == pytest.approx([1 + 0.5 * np.log(typical / share)])
    assert (factor[pattern.source_E != 2] > 1).all()
    assert (source_factor(z, pattern, 0.0) == 1).all()
    assert (source_factor(torch.zeros_like(z), pattern, 0.5) == 1).all()
    assert set(source_factor(z, pattern, 100.0).tolist()) <= set(HIERARCHY_RANGE)
