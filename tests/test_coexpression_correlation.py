"""Residual correlation from sums against explicit least-squares residuals."""

import numpy as np
import pandas as pd
import pytest
import zarr
from cell_cases import NO_ROLES, dense_x, gene_names, make_store, random_counts
from coexpression_cases import GENES, ROLES, TERMS, explicit, make_plates, measure, pooled

from causcade.coexpression import add_moments, correlation, measure_moments, residual_correlation, write_coexpression
from causcade.errors import InputError

EXACT = 1e-6  # largest accepted error of a correlation
REAL_TERMS = ["log_counts", "plate", "cell_line", "donor"]


@pytest.fixture(scope="module")
def plates(tmp_path_factory):
    return make_plates(tmp_path_factory.mktemp("plates"))


@pytest.fixture(scope="module")
def total(plates):
    return add_moments(measure(store) for store in plates)


def test_residual_correlation_equals_explicit_residuals(plates, total):
    result = residual_correlation(total)
    x, c = pooled(plates, gene_names(GENES), TERMS)
    np.testing.assert_allclose(result.correlation_GG, explicit(x, c), rtol=0, atol=EXACT)
    np.testing.assert_allclose(result.raw_correlation_GG, explicit(x, np.ones((len(x), 1))), rtol=0, atol=EXACT)
    np.testing.assert_allclose(result.mean_G, x.mean(axis=0), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(result.sd_G, x.std(axis=0), rtol=1e-10, atol=1e-12)
    residual = x - c @ np.linalg.lstsq(c, x, rcond=1e-10)[0]
    np.testing.assert_allclose(result.residual_sd_G, residual.std(axis=0), rtol=1e-8, atol=1e-9)
    for matrix in (result.correlation_GG, result.raw_correlation_GG):
        assert matrix.dtype == np.float32
        np.testing.assert_array_equal(matrix, matrix.T)


@pytest.mark.parametrize("rows", [1, 7, 40, 100])
def test_blocks_of_rows_change_nothing_that_float32_holds(monkeypatch, total, rows):
    expected = residual_correlation(total)
    monkeypatch.setattr(correlation, "ROWS", rows)
    found = residual_correlation(total)
    np.testing.assert_allclose(found.correlation_GG, expected.correlation_GG, rtol=0, atol=6e-8)
    np.testing.assert_allclose(found.raw_correlation_GG, expected.raw_correlation_GG, rtol=0, atol=6e-8)


def test_collinear_covariates_are_named_in_order(total):
    result = residual_correlation(total)
    assert result.covariates == ["intercept", "age", "log_counts", "mito_fraction", "s_score", "cell_line=A", "cell_line=B", "plate=p1"]
    assert result.dropped_covariates == ["cell_line=C", "plate=p2", "plate=p3"]
    assert result.dropped_reasons == {
        "cell_line=C": "reference level",
        "plate=p2": "explained by cell_line=B, plate=p1",
        "plate=p3": "explained by cell_line=B",
    }
    assert result.num_cells == 270


def test_adjustment_matters(total):
    # Line C has twice the counts: what the covariates explain must not be left in the residuals.
    result = residual_correlation(total)
    assert np.abs(result.correlation_GG - result.raw_correlation_GG).max() > 0.1


@pytest.fixture(scope="module")
def screen(tmp_path_factory):
    """Two plates of 4,500 cells and 700 genes seen in 1 to 100 % of cells; expression depends on every covariate."""
    stores = []
    for plate in ("p1", "p2"):
        rng = np.random.default_rng(ord(plate[1]))
        num = 4500
        numbers = rng.normal(size=(num, 6)) @ np.triu(np.ones((6, 6)))  # correlated with each other
        line, donor, well = rng.choice(list("ABCD"), num), rng.choice(["x", "y", "z"], num), rng.choice(["w1", "w2", "w3"], num)
        levels = np.column_stack([pd.get_dummies(value).to_numpy(dtype=float) for value in (line, donor, well)])
        effects = np.random.default_rng(9).normal(scale=0.15, size=(numbers.shape[1] + levels.shape[1] + 3, 700))
        latent = np.column_stack([numbers, levels, rng.normal(size=(num, 3))]) @ effects
        depth = rng.lognormal(0, 0.4, (num, 1))
        counts = rng.poisson(depth * np.exp(np.linspace(-4.5, 3.5, 700) + latent))
        columns = {f"number{k}": 10.0 ** (k - 2) * (numbers[:, k] + k) for k in range(6)}
        stores.append(
            make_store(
                tmp_path_factory.mktemp("screen") / f"{plate}.zarr", counts, plate=plate, cell_line=line, donor=donor, well=well,
                mito_fraction=rng.beta(2, 30, num), **columns,
            )
        )  # fmt: skip
    return stores


def test_a_screen_with_eighteen_mixed_covariates(screen):
    terms = ["log_counts", "mito_fraction", "s_score", *(f"number{k}" for k in range(6)), "plate", "cell_line", "donor", "well"]
    roles = ROLES.assign(gene_id=["g500", "g510", "g520", "g530", "g540"])
    panel = gene_names(700)[::-1]
    parts = [measure_moments(store, pd.Index(panel), terms, roles, block_cells=1000, backend="cpu", threads=2) for store in screen]
    result = residual_correlation(add_moments(parts))
    x, c = pooled(screen, panel, terms, roles)
    assert (len(result.covariates), len(result.dropped_covariates)) == (18, 4)  # intercept, 9 numbers, 12 levels of 4 terms less one each
    np.testing.assert_allclose(result.correlation_GG, explicit(x, c), rtol=0, atol=EXACT)
    np.testing.assert_allclose(result.raw_correlation_GG, explicit(x, np.ones((len(x), 1))), rtol=0, atol=EXACT)


@pytest.mark.shared_data
def test_real_counts_of_stimulated_cells(shared_data, tmp_path):
    import anndata

    data = anndata.read_h5ad(shared_data / "cells" / "kang_muscat_counts.h5ad")
    is_stimulated = (data.obs["group_id"] == "stim").to_numpy()
    stores = [
        make_store(
            tmp_path / f"{name}.zarr", data.X[part].toarray().astype(np.int64), [*data.var_names], plate=name,
            cell_line=data.obs["cluster_id"].to_numpy(dtype=str)[part], donor=data.obs["sample_id"].to_numpy(dtype=str)[part],
        )
        for name, part in (("stim", is_stimulated), ("ctrl", ~is_stimulated))
    ]  # fmt: skip
    panel = sorted(data.var_names)
    parts = [measure_moments(store, pd.Index(panel), REAL_TERMS, NO_ROLES, block_cells=256, backend="cpu") for store in stores]
    result = residual_correlation(add_moments(parts))
    x, c = pooled(stores, panel, REAL_TERMS, NO_ROLES)
    np.testing.assert_allclose(result.correlation_GG, explicit(x, c), rtol=0, atol=EXACT)
    np.testing.assert_allclose(result.raw_correlation_GG, explicit(x, np.ones((len(x), 1))), rtol=0, atol=EXACT)


@pytest.mark.shared_data
def test_real_counts_of_a_targeted_screen(shared_data, tmp_path):
    import anndata

    data = anndata.read_h5ad(shared_data / "cells" / "schraivogel_tapseq_counts.h5ad")
    counts = data.X.toarray().astype(np.int64)
    lane = np.array([name.split("-", 1)[0] for name in data.obs_names])
    target = data.obs["target"].to_numpy(dtype=str)
    guides = data.obs["n_guides"].to_numpy(dtype=np.float64)
    store = make_store(tmp_path / "p.zarr", counts, [*data.var_names], cell_line=lane, target=target, n_guides=guides)
    panel, terms = [*data.var_names], ["log_counts", "n_guides", "cell_line", "target"]
    result = residual_correlation(measure_moments(store, pd.Index(panel), terms, NO_ROLES, block_cells=4096, backend="cpu"))
    x, c = pooled([store], panel, terms, NO_ROLES)
    np.testing.assert_allclose(result.correlation_GG, explicit(x, c), rtol=0, atol=EXACT)
    np.testing.assert_allclose(result.raw_correlation_GG, explicit(x, np.ones((len(x), 1))), rtol=0, atol=EXACT)


def test_float32_rounding_is_relative_to_the_variance(tmp_path):
    # x of gene 0 is about 8.5 with sd 0.002: a float32 sum of squares would be wrong by more than its variance.
    rng = np.random.default_rng(5)
    counts = np.column_stack([50_000 + rng.integers(-200, 200, 3000), 100 + rng.integers(-9, 9, 3000)])
    counts[:, 1] += (counts[:, 0] - 50_000) // 40
    store = make_store(tmp_path / "tight.zarr", counts, total_counts=1e5)
    result = residual_correlation(measure(store, 1000, [], gene_names(2)))
    x = dense_x(store, gene_names(2))
    assert x[:, 0].mean() > 1000 * x[:, 0].std()
    assert result.raw_correlation_GG[0, 1] == pytest.approx(np.corrcoef(x, rowvar=False)[0, 1], rel=0, abs=EXACT)


def test_genes_that_do_not_vary_get_zeros_and_no_nan(total, tmp_path):
    result = residual_correlation(total)
    for matrix in (result.correlation_GG, result.raw_correlation_GG):
        assert np.isfinite(matrix).all()
        assert not matrix[5].any()
        assert not matrix[:, 5].any()
        assert np.diag(matrix)[4] == 1.0
    # Expressed, equal in all cells: constant too.
    flat = make_store(tmp_path / "flat.zarr", np.tile([3, 5], (30, 1)))
    constant = residual_correlation(measure(flat, 7, [], gene_names(2)))
    assert constant.sd_G.tolist() == [0.0, 0.0]
    assert not constant.correlation_GG.any()


def test_a_gene_that_the_covariates_explain_is_constant_in_the_residuals(tmp_path):
    counts = np.random.default_rng(6).poisson(20, (60, 3))
    counts[:30, 0], counts[30:, 0] = 7, 19
    store = make_store(tmp_path / "explained.zarr", counts, total_counts=100.0, cell_line=["A"] * 30 + ["B"] * 30)
    result = residual_correlation(measure(store, 16, ["cell_line"], gene_names(3)))
    assert result.sd_G[0] > 0.1
    assert result.residual_sd_G[0] == 0.0
    assert not result.correlation_GG[0].any()
    assert result.raw_correlation_GG[0, 0] == 1.0


def test_too_few_cells_are_errors(tmp_path):
    counts = random_counts(np.random.default_rng(8), 3, GENES)
    one = measure(make_store(tmp_path / "one.zarr", counts[:1], age=1.0))
    with pytest.raises(InputError, match=r"coexpression: expected more cells than covariates, found 1 cells and 1 covariates\. Give more cells"):
        residual_correlation(one)
    three = measure(make_store(tmp_path / "three.zarr", counts, age=[1.0, 2.0, 4.0], cell_line=list("AAB")))
    with pytest.raises(InputError, match="found 3 cells and 3 covariates"):
        residual_correlation(three)
    with pytest.raises(InputError, match="found 0 cells and 0 covariates"):
        residual_correlation(measure(make_store(tmp_path / "none.zarr", counts[:0], age=np.zeros(0))))


def test_two_cells_without_covariates_correlate_fully(tmp_path):
    counts = np.array([[1, 5, 3], [4, 1, 3]])
    result = residual_correlation(measure(make_store(tmp_path / "two.zarr", counts, total_counts=10.0), 1, [], gene_names(3)))
    np.testing.assert_allclose(result.correlation_GG, [[1, -1, 0], [-1, 1, 0], [0, 0, 0]], rtol=0, atol=EXACT)


@pytest.mark.parametrize("rows", [7, 1024])
def test_write_coexpression(monkeypatch, total, tmp_path, rows):
    monkeypatch.setattr(correlation, "ROWS", rows)
    result = residual_correlation(total)
    write_coexpression(tmp_path / "coexpression.zarr", result)
    group = zarr.open_group(str(tmp_path / "coexpression.zarr"), mode="r")
    np.testing.assert_array_equal(group["correlation"][:], result.correlation_GG)
    np.testing.assert_array_equal(group["raw_correlation"][:], result.raw_correlation_GG)
    np.testing.assert_array_equal(group["residual_sd"][:], result.residual_sd_G)
    assert group["correlation"].dtype == np.float32
    names = ("num_cells", "covariates", "dropped_covariates", "dropped_reasons")
    assert dict(group.attrs) == {name: getattr(result, name) for name in names}
