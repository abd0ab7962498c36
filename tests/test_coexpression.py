"""Residual coexpression from sums, against explicit least-squares residuals and full sorts."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from cell_cases import NO_ROLES, dense_x, gene_names, make_store, random_counts
from hypothesis import given
from hypothesis import strategies as st

from causcade.coexpression import (
    Moments,
    add_moments,
    measure_moments,
    read_moments,
    residual_correlation,
    top_partners,
    write_coexpression,
    write_moments,
)
from causcade.covariates import cell_cycle_scores, design
from causcade.errors import InputError

GENES = 40
TERMS = ["log_counts", "mito_fraction", "s_score", "plate", "cell_line", "age"]
ROLES = pd.DataFrame({"gene_id": ["g030", "g031", "g032", "g020", "g021"], "role": ["s", "s", "s", "s_control", "s_control"]})
EXACT = 2e-7  # largest accepted error of a correlation: its own rounding to float32 and that of the products within blocks


@pytest.fixture(scope="module")
def plates(tmp_path_factory):
    """Three plates: line B is on plate 3 only, where it is alone, so plates and lines are collinear; age follows the line on plate 1."""
    folder = tmp_path_factory.mktemp("plates")
    stores = []
    for number, lines in enumerate(["AC", "AC", "B"], start=1):
        rng = np.random.default_rng(number)
        counts = random_counts(rng, 90, GENES)
        counts[:, 5] = 0  # never expressed
        line = rng.choice(list(lines), 90)
        age = np.where(line == "A", 1.0, 2.0) if number == 1 else rng.normal(30.0, 4.0, 90)
        counts[line == "C"] *= 2
        stores.append(make_store(folder / f"{number}.zarr", counts, plate=f"p{number}", cell_line=line, age=age, mito_fraction=rng.random(90) / 5))
    return stores


@pytest.fixture(scope="module")
def total(plates):
    return add_moments(measure(store) for store in plates)


def measure(store, block_cells=32, terms=TERMS, gene_ids=None) -> Moments:
    return measure_moments(store, pd.Index(gene_ids or gene_names(GENES)), terms, ROLES, block_cells=block_cells, backend="cpu")


def explicit(x_NG: np.ndarray, c_NK: np.ndarray) -> np.ndarray:
    """Correlation of the least-squares residuals; rows of constant genes are zero."""
    residual = x_NG - c_NK @ np.linalg.lstsq(c_NK, x_NG, rcond=1e-10)[0]
    residual[:, residual.std(axis=0) < 1e-6 * np.maximum(np.abs(x_NG).max(axis=0), 1e-30)] = 0.0
    with np.errstate(invalid="ignore"):
        return np.nan_to_num(np.corrcoef(residual, rowvar=False))


def pooled(stores, gene_ids, terms, roles=ROLES) -> tuple[np.ndarray, np.ndarray]:
    """x and the design matrix of all cells at once."""
    x_NF = [dense_x(store, store.var.index) for store in stores]
    scores = [cell_cycle_scores(x, store.var.index, roles) for x, store in zip(x_NF, stores, strict=True)]
    obs = pd.concat([store.obs for store in stores], ignore_index=True)
    joined = {name: np.concatenate([part[name] for part in scores]) for name in scores[0]}
    return np.concatenate([dense_x(store, gene_ids) for store in stores]), design(obs, joined, terms)[0]


def assert_same(first: Moments, second: Moments, tolerance: float) -> None:
    assert (first.covariates, first.num_cells, first.gene_ids) == (second.covariates, second.num_cells, second.gene_ids)
    for name in ("sxx_GG", "sxc_GK", "scc_KK"):
        a, b = getattr(first, name), getattr(second, name)
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * np.abs(b).max(), err_msg=name)


def test_residual_correlation_equals_explicit_residuals(plates, total):
    result = residual_correlation(total)
    x, c = pooled(plates, gene_names(GENES), TERMS)
    np.testing.assert_allclose(result.correlation_GG, explicit(x, c), atol=EXACT)
    np.testing.assert_allclose(result.raw_correlation_GG, explicit(x, np.ones((len(x), 1))), atol=EXACT)
    np.testing.assert_allclose(result.mean_G, x.mean(axis=0), rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(result.sd_G, x.std(axis=0), rtol=1e-6, atol=1e-9)
    residual = x - c @ np.linalg.lstsq(c, x, rcond=1e-10)[0]
    np.testing.assert_allclose(result.residual_sd_G, residual.std(axis=0), rtol=1e-5, atol=1e-9)


def test_collinear_covariates_are_named_in_order(total):
    result = residual_correlation(total)
    assert result.covariates == ["intercept", "age", "log_counts", "mito_fraction", "s_score", "cell_line=A", "cell_line=B", "plate=p1"]
    assert result.dropped_covariates == ["cell_line=C", "plate=p2", "plate=p3"]
    assert result.num_cells == 270


def test_adjustment_matters(total):
    # Line C has twice the counts: what the covariates explain must not be left in the residuals.
    result = residual_correlation(total)
    assert np.abs(result.correlation_GG - result.raw_correlation_GG).max() > 0.1


@pytest.mark.shared_data
def test_real_counts(shared_data, tmp_path):
    import anndata

    data = anndata.read_h5ad(shared_data / "cells" / "kang_muscat_counts.h5ad")
    counts = data.X.toarray().astype(np.int64)
    genes = [*data.var_names]
    is_stimulated = (data.obs["group_id"] == "stim").to_numpy()
    stores = [
        make_store(
            tmp_path / f"{name}.zarr", counts[part], genes, plate=name,
            cell_line=data.obs["cluster_id"].to_numpy(dtype=str)[part], donor=data.obs["sample_id"].to_numpy(dtype=str)[part],
        )
        for name, part in (("stim", is_stimulated), ("ctrl", ~is_stimulated))
    ]  # fmt: skip
    panel = sorted(genes)[::4]
    terms = ["log_counts", "plate", "cell_line", "donor"]
    parts = [measure_moments(store, pd.Index(panel), terms, NO_ROLES, block_cells=256, backend="cpu") for store in stores]
    x, c = pooled(stores, panel, terms, NO_ROLES)
    np.testing.assert_allclose(residual_correlation(add_moments(parts)).correlation_GG, explicit(x, c), atol=EXACT)


@pytest.mark.parametrize("block_cells", [1, 13, 90, 1000])
def test_block_size_changes_rounding_only(plates, block_cells):
    assert_same(measure(plates[0], block_cells), measure(plates[0], 32), 1e-6)
    first, second = (residual_correlation(measure(plates[0], size)) for size in (block_cells, 32))
    np.testing.assert_allclose(first.correlation_GG, second.correlation_GG, atol=EXACT)


def test_plate_order_changes_rounding_of_float64_only(plates):
    parts = [measure(store) for store in plates]
    assert_same(add_moments(parts), add_moments(parts[::-1]), 1e-14)


def test_split_into_plates_does_not_matter(tmp_path):
    rng = np.random.default_rng(4)
    counts, line = random_counts(rng, 80, GENES), rng.choice(["A", "B"], 80)
    whole = measure(make_store(tmp_path / "all.zarr", counts, cell_line=line, age=np.arange(80.0)))
    halves = [
        measure(make_store(tmp_path / f"{number}.zarr", counts[part], cell_line=line[part], age=np.arange(80.0)[part]))
        for number, part in enumerate((slice(0, 11), slice(11, 80)))
    ]
    assert_same(add_moments(halves), whole, 1e-6)


def test_float32_rounding_is_relative_to_the_variance(tmp_path):
    # x of gene 0 is about 8.5 with sd 0.002: a float32 sum of squares would be wrong by more than its variance.
    rng = np.random.default_rng(5)
    counts = np.column_stack([50_000 + rng.integers(-200, 200, 3000), 100 + rng.integers(-9, 9, 3000)])
    counts[:, 1] += (counts[:, 0] - 50_000) // 40
    store = make_store(tmp_path / "tight.zarr", counts, total_counts=1e5)
    result = residual_correlation(measure(store, 1000, [], gene_names(2)))
    x = dense_x(store, gene_names(2))
    assert x[:, 0].mean() > 1000 * x[:, 0].std()
    assert result.raw_correlation_GG[0, 1] == pytest.approx(np.corrcoef(x, rowvar=False)[0, 1], abs=1e-5)


def test_sums_are_symmetric_and_without_mean_equal_plain_products(plates):
    moments = measure(plates[1])
    x = dense_x(plates[1], gene_names(GENES))
    np.testing.assert_array_equal(moments.sxx_GG, moments.sxx_GG.T)
    np.testing.assert_allclose(moments.sxx_GG, x.T @ x, rtol=1e-6, atol=1e-3)


def test_genes_that_do_not_vary_have_no_partners_and_no_nan(plates, total, tmp_path):
    result = residual_correlation(total)
    for matrix in (result.correlation_GG, result.raw_correlation_GG):
        assert np.isfinite(matrix).all()
        assert not matrix[5].any()
        assert not matrix[:, 5].any()
        assert np.diag(matrix)[4] == 1.0
    partners = top_partners(result.correlation_GG, gene_names(GENES), GENES)
    assert "g005" not in set(partners["gene"]) | set(partners["partner"])
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


def test_a_gene_that_a_plate_lacks_counts_as_zero(plates):
    genes = ["g003", "not_there", "g001"]
    moments = measure(plates[0], gene_ids=genes)
    assert moments.gene_ids == tuple(genes)
    assert not moments.sxx_GG[1].any()
    x = dense_x(plates[0], genes)
    np.testing.assert_allclose(moments.sxx_GG, x.T @ x, rtol=1e-6)


def test_round_trip_is_exact_and_its_bytes_are_repeatable(total, tmp_path):
    write_moments(tmp_path / "a.npz", total)
    write_moments(tmp_path / "b.npz", total)
    back = read_moments(tmp_path / "a.npz")
    assert_same(back, total, 0.0)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    with np.load(tmp_path / "a.npz") as data:
        assert data["sxx_upper"].shape == (GENES * (GENES + 1) // 2,)  # packed


def test_a_plate_without_cells_adds_nothing(plates, total, tmp_path):
    empty = measure(make_store(tmp_path / "empty.zarr", np.zeros((0, GENES), dtype=int), age=np.zeros(0)))
    assert (empty.num_cells, empty.covariates) == (0, ())
    write_moments(tmp_path / "empty.npz", empty)
    assert_same(add_moments([read_moments(tmp_path / "empty.npz"), total]), total, 0.0)


def test_mismatched_panels_are_an_error(total):
    other = replace(total, gene_ids=tuple(reversed(total.gene_ids)))
    with pytest.raises(InputError, match=r"moments: expected plates with one gene panel, found two\. Delete the older moments"):
        add_moments([total, other])


def test_a_number_on_one_plate_and_text_on_another_is_an_error(plates, tmp_path):
    other = make_store(tmp_path / "text.zarr", random_counts(np.random.default_rng(7), 20, GENES), age="old")
    with pytest.raises(InputError, match=r"expected 'age' to be a number on every plate or text on every plate, found both\. Make the column alike"):
        add_moments([measure(plates[0]), measure(other)])


def test_no_plates_and_too_few_cells_are_errors(tmp_path):
    with pytest.raises(InputError, match="moments: expected sums of at least one plate, found none"):
        add_moments([])
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
    np.testing.assert_allclose(result.correlation_GG, [[1, -1, 0], [-1, 1, 0], [0, 0, 0]], atol=1e-6)


def slow_partners(correlation: np.ndarray, genes: list[str], num_partners: int) -> list[tuple[str, str, float, int]]:
    rows = []
    for gene in range(len(genes)):
        if correlation[gene, gene] == 0:
            continue
        others = [other for other in range(len(genes)) if other != gene and correlation[other, other] > 0]
        others.sort(key=lambda other: (-abs(correlation[gene, other]), other))
        rows.extend((genes[gene], genes[other], float(correlation[gene, other]), rank) for rank, other in enumerate(others[:num_partners], start=1))
    return rows


@st.composite
def correlations_with_ties(draw):
    num = draw(st.integers(1, 9))
    values = draw(st.lists(st.sampled_from([-1.0, -0.5, 0.0, 0.25, 0.5]), min_size=num * num, max_size=num * num))
    square = np.array(values, dtype=np.float32).reshape(num, num)
    matrix = np.triu(square, 1) + np.triu(square, 1).T + np.eye(num, dtype=np.float32)
    for gene in draw(st.lists(st.integers(0, num - 1), max_size=2)):
        matrix[gene] = matrix[:, gene] = 0.0
    return matrix


@given(correlations_with_ties(), st.integers(1, 10))
def test_top_partners_equal_a_full_sort_with_ties(correlation, num_partners):
    genes = gene_names(len(correlation))
    table = top_partners(correlation, genes, num_partners)
    assert list(table.itertuples(index=False, name=None)) == slow_partners(correlation, genes, num_partners)
    assert [str(kind) for kind in table.dtypes] == ["object", "object", "float32", "int32"]


def test_top_partners_over_several_row_blocks(monkeypatch, total):
    monkeypatch.setattr("causcade.coexpression.PARTNER_ROWS", 7)
    correlation = residual_correlation(total).correlation_GG
    table = top_partners(correlation, gene_names(GENES), 5)
    assert list(table.itertuples(index=False, name=None)) == slow_partners(correlation, gene_names(GENES), 5)


def test_write_coexpression(total, tmp_path):
    import zarr

    result = residual_correlation(total)
    write_coexpression(tmp_path / "coexpression.zarr", result)
    group = zarr.open_group(str(tmp_path / "coexpression.zarr"), mode="r")
    np.testing.assert_array_equal(group["correlation"][:], result.correlation_GG)
    np.testing.assert_array_equal(group["raw_correlation"][:], result.raw_correlation_GG)
    np.testing.assert_array_equal(group["residual_sd"][:], result.residual_sd_G)
    assert group["correlation"].dtype == np.float32
    assert dict(group.attrs) == {"num_cells": 270, "covariates": result.covariates, "dropped_covariates": result.dropped_covariates}
