"""The torch kernel against a plain float64 product, and the rounding of its inputs."""

import numpy as np
import pytest
import scipy.sparse as sp
from test_coexpression_kernels import assert_close, expression

from causcade.coexpression import dense
from causcade.coexpression.dense import PRECISIONS, DenseGram, Precision, round_to
from causcade.coexpression.kernels import Cuts, HybridGram, common_shift
from causcade.coexpression.packed import pack, unpack

# Largest error of a correlation that the settings name for each precision (config: coexpression.precision).
BOUNDS: dict[Precision, float] = {"float32": 1e-6, "tf32": 3e-4, "fp16_split": 1e-5, "fp16": 3e-4}


def summed(x: sp.csr_matrix, block: int = 1000, **options: object) -> np.ndarray:
    gram = DenseGram(x.shape[1], **options)
    for start in range(0, x.shape[0], block):
        gram.add(x[start : start + block])
    return gram.finish()


@pytest.mark.parametrize("tile", [64, 300, 5000])
def test_equals_the_float64_product(monkeypatch: pytest.MonkeyPatch, tile: int) -> None:
    monkeypatch.setattr(dense, "TILE_GENES", tile)
    x = expression(2500, num_genes=300)
    assert_close(summed(x), x)


@pytest.mark.parametrize("num_cells", [0, 1, 7])
def test_few_cells(num_cells: int) -> None:
    x = expression(10, num_genes=20)[:num_cells]
    assert_close(summed(x, block=3), x)


def test_equals_the_cpu_kernel() -> None:
    x = expression(1500, num_genes=400)
    gram = HybridGram(x.getnnz(axis=0) / x.shape[0], cuts=Cuts(30, 200))
    gram.add(x)
    size_G = np.sqrt(np.asarray(x.power(2).sum(axis=0)).ravel())
    np.testing.assert_array_less(np.abs(summed(x, block=1500) - gram.finish()), 1e-6 * pack(np.outer(size_G, size_G)) + 1e-12)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_correlations_stay_within_the_stated_bound(precision: Precision) -> None:
    """Numbers are rounded as a GPU would take them; sums of genes come from the same rounded numbers."""
    x = expression(6000, num_genes=250, seed=4)
    exact = x.toarray().astype(np.float64)
    keep = exact.std(axis=0) > 0
    gram = DenseGram(x.shape[1], precision=precision)
    rounded = sp.vstack([gram.rounded(x[:4096]), gram.rounded(x[4096:])], format="csr")
    for start in (0, 4096):
        gram.add(rounded[start : start + 4096])
    sums_G = np.asarray(rounded.astype(np.float64).sum(axis=0)).ravel()
    covariance = unpack(gram.finish(), x.shape[1]) - np.outer(sums_G, sums_G) / x.shape[0]
    covariance = covariance[np.ix_(keep, keep)]
    sd = np.sqrt(np.diag(covariance))
    error = np.abs(covariance / np.outer(sd, sd) - np.corrcoef(exact[:, keep], rowvar=False))
    assert error.max() <= BOUNDS[precision]
    if precision in ("tf32", "fp16"):
        assert error.max() > BOUNDS["fp16_split"]  # the rounding is really there


@pytest.mark.parametrize(("precision", "bits"), [("tf32", 11), ("fp16", 11), ("fp16_split", 22)])
def test_rounding_keeps_so_many_binary_digits(precision: Precision, bits: int) -> None:
    values = np.random.default_rng(0).uniform(0.05, 10, 100_000).astype(np.float32)
    found = round_to(values, precision)
    assert found.dtype == np.float32
    relative = np.abs(found.astype(np.float64) - values) / values
    assert 2.0 ** -(bits + 3) < relative.max() <= 2.0**-bits
    assert np.array_equal(round_to(found, precision), found)
    assert np.array_equal(round_to(np.zeros(3, dtype=np.float32), precision), np.zeros(3))


def test_tf32_rounds_to_nearest_ties_to_even() -> None:
    step = 2.0**-10
    values = np.array([1 + 0.49 * step, 1 + 0.5 * step, 1 + 0.51 * step, 1 + 1.5 * step, -1 - 0.51 * step], dtype=np.float32)
    assert round_to(values, "tf32").tolist() == [1, 1, 1 + step, 1 + 2 * step, -1 - step]


def test_float32_is_left_alone() -> None:
    values = np.array([1.2345678], dtype=np.float32)
    assert round_to(values, "float32") is values


@pytest.mark.parametrize("precision", PRECISIONS)
def test_rounding_a_block_twice_changes_nothing(precision: Precision) -> None:
    x = expression(500, num_genes=80)
    gram = DenseGram(80, precision=precision)
    once = gram.rounded(x)
    assert np.array_equal(gram.rounded(once).data, once.data)
    assert np.abs(once.data - x.data).max() <= {"float32": 0.0, "fp16_split": 2e-6}.get(precision, 4e-3)


def test_the_setting_of_torch_is_put_back() -> None:
    import torch

    before = torch.get_float32_matmul_precision()
    summed(expression(5, num_genes=5), precision="tf32")
    assert torch.get_float32_matmul_precision() == before


@pytest.mark.parametrize("tile", [64, 5000])
def test_what_is_taken_from_genes_is_put_back(monkeypatch: pytest.MonkeyPatch, tile: int) -> None:
    monkeypatch.setattr(dense, "TILE_GENES", tile)
    x = expression(900, num_genes=300)
    rng = np.random.default_rng(1)
    c_NL = np.column_stack([np.ones(900), rng.normal(size=900), np.eye(3)[rng.integers(0, 3, 900)]])
    beta_LG = rng.uniform(0.5, 1.5, (5, 300)) * np.linalg.lstsq(c_NL, x.toarray().astype(np.float64), rcond=None)[0]
    gram = DenseGram(300, beta_LG=beta_LG)
    for start in (0, 500):
        gram.add(gram.rounded(x[start : start + 500]), c_NL[start : start + 500])
    assert_close(gram.finish(c_NL.T @ x.astype(np.float64), c_NL.T @ c_NL), x)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_one_coefficient_for_a_column_of_ones_is_a_shift(precision: Precision) -> None:
    x = expression(300, num_genes=50)
    first, second = DenseGram(50, precision=precision), DenseGram(50, precision=precision, beta_LG=common_shift(x)[None].astype(np.float64))
    rounded = second.rounded(x)
    assert np.array_equal(first.rounded(x).data, rounded.data)
    first.add(rounded)
    second.add(rounded, np.ones((300, 1)))
    np.testing.assert_allclose(second.finish(np.asarray(rounded.astype(np.float64).sum(axis=0)), np.array([[300.0]])), first.finish(), rtol=1e-12)


def test_covariates_and_their_coefficients_go_together() -> None:
    with pytest.raises(ValueError, match="expected one coefficient for each gene with numbers in fp16, found 2"):
        DenseGram(3, precision="fp16", beta_LG=np.zeros((2, 3)))
    x = sp.csr_matrix((5, 3), dtype=np.float32)
    with pytest.raises(ValueError, match="expected covariates of the cells if and only if"):
        DenseGram(3, beta_LG=np.zeros((2, 3))).add(x)
    with pytest.raises(ValueError, match="expected covariates of the cells if and only if"):
        DenseGram(3).add(x, np.ones((5, 1)))
    with pytest.raises(ValueError, match="expected sums with the covariates if and only if"):
        DenseGram(3, beta_LG=np.zeros((2, 3))).finish()


def test_a_block_of_other_genes_is_refused() -> None:
    with pytest.raises(ValueError, match="expected 3 genes, found a block of shape"):
        DenseGram(3).add(sp.csr_matrix((5, 4), dtype=np.float32))
