"""Patterns of edges for tests of the causal module's operator and of its spectral radius."""

import numpy as np
import torch

from causcade.causal.operator import Pattern

CPU = torch.device("cpu")


def random_pattern(num_genes=12, share=0.3, seed=0):
    rng = np.random.default_rng(seed)
    present = rng.random((num_genes, num_genes)) < share
    np.fill_diagonal(present, False)
    target, source = np.nonzero(present)
    return Pattern(target, source, num_genes, CPU)


def dense(pattern, values):
    return torch.zeros(pattern.num_genes, pattern.num_genes, dtype=values.dtype).index_put((pattern.target_E, pattern.source_E), values)


def of_matrix(matrix):
    target, source = np.nonzero(matrix)
    return Pattern(target, source, len(matrix), CPU), torch.tensor(matrix[target, source], dtype=torch.float32)
