"""Compiled preparation of blocks against log_normalise and dense products."""

import numpy as np
import pytest
import scipy.sparse as sp

from causcade.cells import log_normalise
from causcade.coexpression.preparation import SMALL_COUNTS, covariate_products, panel_expression


def some_counts(num_cells: int, num_genes: int, kind: type = np.uint16) -> sp.csr_matrix:
    rng = np.random.default_rng(3)
    dense = rng.poisson(rng.choice([0.0, 0.3, 3.0, 2.0 * SMALL_COUNTS], (num_cells, num_genes)))
    return sp.csr_matrix(dense.astype(kind))


@pytest.mark.parametrize("kind", [np.uint16, np.uint32, np.uint64, np.int64, np.float32])
@pytest.mark.parametrize("order", ["plate", "shuffled"])
def test_expression_equals_log_normalise_then_columns(kind, order):
    counts = some_counts(25, 600, kind)  # more genes than one digit of the sort holds
    totals = np.asarray(counts.sum(axis=1), dtype=np.float64).ravel()
    totals[3] = 0.0
    rng = np.random.default_rng(4)
    genes = np.sort(rng.choice(600, 500, replace=False)) if order == "plate" else rng.choice(600, 500, replace=False)
    position = np.full(600, -1)
    position[genes[:499]] = np.arange(1, 500)  # gene 0 of the panel is not on the plate
    x = panel_expression(counts, totals, position, 500)
    expected = log_normalise(counts, totals).toarray()[:, genes[:499]]
    np.testing.assert_array_equal(x.toarray(), np.concatenate([np.zeros((25, 1)), expected], axis=1))
    assert x.dtype == np.float32
    assert (np.diff(x.indices) > 0)[np.setdiff1d(np.arange(x.nnz - 1), x.indptr[1:-1] - 1)].all()


def test_counts_whose_columns_are_not_sorted():
    counts = some_counts(9, 30)
    shuffled = sp.csr_matrix((counts.data, counts.indices, counts.indptr), shape=counts.shape, copy=True)
    for cell in range(9):
        row = slice(shuffled.indptr[cell], shuffled.indptr[cell + 1])
        shuffled.indices[row], shuffled.data[row] = shuffled.indices[row][::-1].copy(), shuffled.data[row][::-1].copy()
    shuffled.has_sorted_indices = False
    totals = np.full(9, 100.0)
    first, second = (panel_expression(part, totals, np.arange(30), 30) for part in (counts, shuffled))
    np.testing.assert_array_equal(first.indices, second.indices)
    np.testing.assert_array_equal(first.data, second.data)


@pytest.mark.parametrize(("num_cells", "num_genes", "panel"), [(0, 5, 5), (1, 1, 1), (3, 5, 0), (4, 3, 70_000)])
def test_expression_at_the_boundaries(num_cells, num_genes, panel):
    counts = some_counts(num_cells, num_genes)
    position = np.full(num_genes, -1) if panel == 0 else panel - 1 - np.arange(num_genes)
    totals = np.full(num_cells, 50.0)
    x = panel_expression(counts, totals, position, panel)
    assert x.shape == (num_cells, panel)
    assert x.nnz == (0 if panel == 0 else counts.nnz)
    if panel:
        np.testing.assert_array_equal(x[:, position].toarray(), log_normalise(counts, totals).toarray())
    assert (np.diff(x.indices) > 0).sum() >= x.nnz - num_cells - 1


def test_products_with_covariates_equal_dense_products():
    x = sp.csr_matrix(np.log1p(some_counts(40, 30).toarray()).astype(np.float32))
    rng = np.random.default_rng(5)
    c = np.column_stack([np.ones(40), rng.normal(size=40), np.eye(3)[rng.integers(0, 3, 40)], np.zeros(40)])
    sxc_KG = covariate_products(x, c)
    dense = x.toarray().astype(np.float64)
    np.testing.assert_allclose(sxc_KG, c.T @ dense, rtol=1e-13, atol=1e-13)
    empty = covariate_products(sp.csr_matrix((0, 4), dtype=np.float32), np.ones((0, 1)))
    assert empty.tolist() == [[0.0] * 4]
