"""The CPU kernel against a plain float64 product."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from causcade.coexpression import kernels
from causcade.coexpression.kernels import KERNEL_CELLS, Cuts, HybridGram, choose_cuts, common_shift
from causcade.coexpression.packed import pack

NUM_GENES = 700


def expression(num_cells: int, num_genes: int = NUM_GENES, seed: int = 0) -> sp.csr_matrix:
    """Log-normalised counts whose genes are seen in nearly all cells to nearly none."""
    rng = np.random.default_rng(seed)
    mean_G = np.exp(rng.normal(-2.0, 2.0, num_genes))
    counts = rng.poisson(mean_G * rng.gamma(5.0, 0.2, (num_cells, 1)))
    x = np.log1p(1e4 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1))
    return sp.csr_matrix(x.astype(np.float32))


def product(x: sp.csr_matrix) -> np.ndarray:
    dense = x.toarray().astype(np.float64)
    return pack(dense.T @ dense)


def hybrid(x: sp.csr_matrix, *, block: int = KERNEL_CELLS, **options: object) -> np.ndarray:
    gram = HybridGram(x.getnnz(axis=0) / max(x.shape[0], 1), **options)
    for start in range(0, x.shape[0], block):
        gram.add(x[start : start + block])
    return gram.finish()


def assert_close(found: np.ndarray, x: sp.csr_matrix) -> None:
    """Relative to the sizes of the two genes, as a correlation is."""
    expected = product(x)
    size_G = np.sqrt(np.asarray(x.astype(np.float64).power(2).sum(axis=0)).ravel())
    scale = pack(np.outer(size_G, size_G))
    assert found.shape == expected.shape
    assert found.dtype == np.float64
    np.testing.assert_array_less(np.abs(found - expected), 1e-6 * scale + 1e-12)


@pytest.mark.parametrize(
    "cuts",
    [
        None,
        Cuts(0, 0),
        Cuts(0, 300),
        Cuts(0, NUM_GENES),
        Cuts(90, 90),
        Cuts(90, 400),
        Cuts(256, 512),
        Cuts(NUM_GENES - 1, NUM_GENES),
        Cuts(NUM_GENES, NUM_GENES),
    ],
)
def test_each_way_of_multiplying_gives_the_same_sums(cuts: Cuts | None) -> None:
    x = expression(1300)
    assert_close(hybrid(x, block=700, cuts=cuts, num_threads=2), x)


@pytest.mark.parametrize("num_cells", [0, 1, 2, 511, 512, 513, KERNEL_CELLS])
def test_any_number_of_cells(num_cells: int) -> None:
    x = expression(max(num_cells, 1), num_genes=300)[:num_cells]
    assert_close(hybrid(x, cuts=Cuts(20, 100)), x)


@pytest.mark.parametrize("num_genes", [1, 2, 255, 257])
def test_any_number_of_genes(num_genes: int) -> None:
    x = expression(200, num_genes=num_genes)
    assert_close(hybrid(x), x)
    assert_close(hybrid(x, cuts=Cuts(0, num_genes // 2)), x)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 40), st.integers(0, 40), st.integers(1, 60), st.integers(0, 2**32 - 1))
def test_any_cuts_on_any_cells(first: int, second: int, num_cells: int, seed: int) -> None:
    x = expression(num_cells, num_genes=40, seed=seed)
    assert_close(hybrid(x, block=17, cuts=Cuts(min(first, second), max(first, second))), x)


def test_number_of_threads_changes_no_digit() -> None:
    x = expression(1500)
    results = [hybrid(x, cuts=Cuts(150, 400), num_threads=num_threads) for num_threads in (1, 2, 5)]
    assert np.array_equal(results[0], results[1])
    assert np.array_equal(results[0], results[2])


def test_order_of_entries_within_a_cell_changes_no_digit() -> None:
    x = expression(400)
    shuffled = x.copy()
    for cell in range(x.shape[0]):
        part = slice(x.indptr[cell], x.indptr[cell + 1])
        order = np.random.default_rng(cell).permutation(part.stop - part.start)
        shuffled.indices[part], shuffled.data[part] = x.indices[part][order], x.data[part][order]
    assert np.array_equal(hybrid(x, cuts=Cuts(50, 300)), hybrid(shuffled, cuts=Cuts(50, 300)))


def test_order_of_genes_changes_no_digit() -> None:
    x = expression(600)
    order = np.random.default_rng(1).permutation(NUM_GENES)
    density = x.getnnz(axis=0) + np.linspace(0, 0.4, NUM_GENES)  # no ties: those go by the order of genes
    cuts = Cuts(50, 300)

    def full(matrix: sp.csr_matrix, shares: np.ndarray) -> np.ndarray:
        gram = HybridGram(shares, cuts=cuts)
        gram.add(matrix)
        upper = np.zeros((NUM_GENES, NUM_GENES))
        upper[np.triu_indices(NUM_GENES)] = gram.finish()
        return np.maximum(upper, upper.T)

    assert np.array_equal(full(x, density)[np.ix_(order, order)], full(sp.csr_matrix(x[:, order]), density[order]))


def test_a_gene_in_no_cell_and_a_constant_gene() -> None:
    x = expression(300, num_genes=50).tolil()
    x[:, 7], x[:, 9] = 0, 2.5
    x = sp.csr_matrix(x)
    for cuts in (Cuts(0, 0), Cuts(5, 20), Cuts(50, 50)):
        assert_close(hybrid(x, cuts=cuts), x)


def test_a_mean_far_above_the_spread_costs_no_digits() -> None:
    """Without a shift float32 would leave errors of about 1e-7 of the mean square, 1,600 times the variance here."""
    x = np.full((KERNEL_CELLS, 3), 8.0) + np.random.default_rng(0).normal(0, 0.2, (KERNEL_CELLS, 3))
    matrix = sp.csr_matrix(x.astype(np.float32))
    exact = matrix.toarray().astype(np.float64)
    sums = hybrid(matrix) - pack(np.outer(exact.sum(axis=0), exact.sum(axis=0)) / KERNEL_CELLS)
    centred = exact - exact.mean(axis=0)
    np.testing.assert_allclose(sums, pack(centred.T @ centred), atol=1e-6 * 0.2**2 * KERNEL_CELLS)


@pytest.mark.parametrize("cuts", [None, Cuts(0, 0), Cuts(0, 300), Cuts(90, 400), Cuts(NUM_GENES, NUM_GENES)])
def test_what_is_taken_from_genes_is_put_back(cuts: Cuts | None) -> None:
    x = expression(1300)
    rng = np.random.default_rng(1)
    c_NL = np.column_stack([np.ones(1300), rng.normal(size=1300), np.eye(3)[rng.integers(0, 3, 1300)]])
    beta_LG = rng.uniform(0.5, 1.5, (5, NUM_GENES)) * np.linalg.lstsq(c_NL, x.toarray().astype(np.float64), rcond=None)[0]
    gram = HybridGram(x.getnnz(axis=0) / 1300, beta_LG=beta_LG, cuts=cuts, num_threads=2)
    for start in (0, 700):
        gram.add(x[start : start + 700], c_NL[start : start + 700])
    assert_close(gram.finish(c_NL.T @ x.astype(np.float64), c_NL.T @ c_NL), x)


def test_taking_what_covariates_explain_saves_digits() -> None:
    """Genes that follow a covariate, with little besides: of the sums of x float32 would leave errors of 1e-7 times 400 residual variances."""
    rng = np.random.default_rng(2)
    c_NL = np.column_stack([np.ones(KERNEL_CELLS), rng.normal(size=KERNEL_CELLS)])
    x = 6.0 + 2.0 * c_NL[:, 1:] + rng.normal(0, 0.1, (KERNEL_CELLS, 3))
    matrix = sp.csr_matrix(x.astype(np.float32))
    exact = matrix.toarray().astype(np.float64)
    beta_LG = np.linalg.lstsq(c_NL, exact, rcond=None)[0]
    residual = exact - c_NL @ beta_LG
    gram = HybridGram(np.ones(3), beta_LG=beta_LG)
    gram.add(matrix, c_NL)
    sxc_LG, scc_LL = c_NL.T @ exact, c_NL.T @ c_NL
    sums = gram.finish(sxc_LG, scc_LL) - pack(sxc_LG.T @ np.linalg.solve(scc_LL, sxc_LG))
    np.testing.assert_allclose(sums, pack(residual.T @ residual), atol=1e-6 * 0.1**2 * KERNEL_CELLS)


def test_covariates_and_their_coefficients_go_together() -> None:
    x = expression(9, num_genes=10)
    gram = HybridGram(np.full(10, 0.5), beta_LG=np.zeros((2, 10)))
    with pytest.raises(ValueError, match=r"expected 2 covariates of 9 cells, found an array of shape \(9, 1\)"):
        gram.add(x)
    gram.add(x, np.ones((9, 2)))
    with pytest.raises(ValueError, match="expected sums with the covariates if and only if their coefficients were given"):
        gram.finish()
    with pytest.raises(ValueError, match="if and only if"):
        HybridGram(np.full(10, 0.5)).finish(np.zeros((1, 10)), np.zeros((1, 1)))


def test_cuts_follow_the_density() -> None:
    """Dense data is multiplied, sparse data is scattered, and the cost of the chosen cuts is below that of either extreme."""
    assert choose_cuts(np.ones(2000)) == Cuts(2000, 2000)
    almost_empty = choose_cuts(np.full(2000, 1e-3))
    assert almost_empty.num_multiplied == 0
    assert almost_empty.num_dense < 100
    mixed = choose_cuts(np.sort(np.exp(np.random.default_rng(0).normal(-4, 2, 5000)).clip(0, 1))[::-1])
    assert 0 < mixed.num_multiplied < mixed.num_dense < 5000
    assert choose_cuts(np.zeros(3000)).num_multiplied == 0
    assert choose_cuts(np.ones(0)) == Cuts(0, 0)


def test_cuts_are_the_best_of_a_slow_count(monkeypatch: pytest.MonkeyPatch) -> None:
    density_G = np.sort(np.exp(np.random.default_rng(3).normal(-3, 2, 600)).clip(0, 1))[::-1]

    def slow_cost(cuts: Cuts) -> float:
        total = 0.0
        for high in range(len(density_G)):
            for low in range(high + 1):
                if high < cuts.num_multiplied:
                    total += kernels.COST_MULTIPLY
                elif low < cuts.num_dense:
                    total += kernels.COST_PANEL * density_G[high]
                else:
                    total += kernels.COST_SCATTER * density_G[high] * density_G[low]
        return total

    monkeypatch.setattr(kernels, "NUM_TRIALS", 40)
    chosen = slow_cost(choose_cuts(density_G))
    others = [slow_cost(Cuts(first, second)) for first in range(0, 601, 100) for second in range(first, 601, 100)]
    assert chosen <= 1.02 * min(others)


def test_common_shift_is_the_mean_of_common_genes() -> None:
    x = expression(500, num_genes=60)
    dense = x.toarray().astype(np.float64)
    common = (dense > 0).mean(axis=0) > 0.5
    np.testing.assert_allclose(common_shift(x), np.where(common, dense.mean(axis=0), 0), rtol=1e-6)
    assert common.any()
    assert not common.all()
    assert np.array_equal(common_shift(sp.csr_matrix((0, 4), dtype=np.float32)), np.zeros(4))


def test_a_block_that_is_too_large_or_of_other_genes_is_refused() -> None:
    gram = HybridGram(np.full(10, 0.5))
    with pytest.raises(ValueError, match="expected at most 4096 cells of 10 genes, found a block of shape"):
        gram.add(sp.csr_matrix((KERNEL_CELLS + 1, 10), dtype=np.float32))
    with pytest.raises(ValueError, match="found a block of shape"):
        gram.add(sp.csr_matrix((5, 11), dtype=np.float32))
