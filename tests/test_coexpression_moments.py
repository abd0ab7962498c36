"""Sums of plates and shards against plain products; the same whatever is read at a time and however cells are shared out."""

import itertools
import weakref
import zipfile
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from cell_cases import NO_ROLES, dense_x, gene_names, make_store, random_counts
from coexpression_cases import GENES, TERMS, assert_same, explicit, make_plates, measure, pooled
from hypothesis import given
from hypothesis import strategies as st

from causcade.coexpression import (
    KERNEL_CELLS,
    Moments,
    add_moments,
    blocks,
    centring,
    measure_moments,
    moments,
    read_moments,
    residual_correlation,
    shard_range,
    sum_options,
    top_partners,
    write_moments,
)
from causcade.coexpression.packed import row_start, unpack
from causcade.covariates import design
from causcade.errors import InputError

SMALL = 16  # cells of a block in these tests, so that a small plate has several


@pytest.fixture
def small_blocks(monkeypatch):
    for module in (blocks, centring, moments):
        monkeypatch.setattr(module, "KERNEL_CELLS", SMALL)


@pytest.fixture(scope="module")
def plates(tmp_path_factory):
    return make_plates(tmp_path_factory.mktemp("plates"))


@pytest.fixture(scope="module")
def total(plates):
    return add_moments(measure(store) for store in plates)


def test_a_number_that_is_large_outside_the_sample_costs_no_digits(tmp_path, small_blocks):
    rng = np.random.default_rng(3)
    rare = np.zeros(200)
    rare[0], rare[1] = 1e-6, 1.0  # the sample has the first of them only
    store = make_store(tmp_path / "p.zarr", random_counts(rng, 200, GENES), rare=rare)
    terms = ["log_counts", "rare"]
    found = measure_moments(store, pd.Index(gene_names(GENES)), terms, NO_ROLES, block_cells=50, backend="cpu")
    x, c = dense_x(store, gene_names(GENES)), design(store.obs, {}, terms)[0]
    np.testing.assert_allclose(residual_correlation(found).correlation_GG, explicit(x, c), atol=1e-6)


def test_sums_equal_plain_products(plates, small_blocks):
    found = measure(plates[1])
    x, c = pooled([plates[1]], gene_names(GENES), TERMS)
    sxx = unpack(found.sxx_upper, GENES)
    np.testing.assert_allclose(sxx, x.T @ x, rtol=1e-6, atol=1e-3)
    np.testing.assert_allclose(np.diag(sxx), np.square(x).sum(axis=0), rtol=1e-13)  # in float64 throughout
    order = [found.covariates.index(name) for name in ("intercept", "log_counts", "mito_fraction", "s_score", "plate=p2")]
    columns = [0, 1, 2, 3, 4]
    np.testing.assert_allclose(found.sxc_GK[:, order], (x.T @ c)[:, columns], rtol=1e-12)
    np.testing.assert_allclose(found.scc_KK[np.ix_(order, order)], (c.T @ c)[np.ix_(columns, columns)], rtol=1e-12)
    assert (found.sxc_GK.dtype, found.num_cells, found.gene_ids) == (np.float64, 90, tuple(gene_names(GENES)))
    assert found.covariates == ("intercept", "age", "log_counts", "mito_fraction", "s_score", "cell_line=A", "cell_line=C", "plate=p2")


@pytest.mark.parametrize("block_cells", [1, 13, 90, 1000])
def test_what_is_read_at_a_time_changes_no_bit(plates, small_blocks, block_cells):
    assert_same(measure(plates[0], block_cells), measure(plates[0], 32), 0)


@pytest.mark.parametrize("threads", [2, 5])
def test_threads_change_no_bit(plates, small_blocks, threads):
    assert_same(measure(plates[0], threads=threads), measure(plates[0]), 0)


def test_a_gene_that_a_plate_lacks_counts_as_zero(plates):
    genes = ["g003", "not_there", "g001"]
    found = measure(plates[0], gene_ids=genes)
    assert found.gene_ids == tuple(genes)
    x = dense_x(plates[0], genes)
    sxx = unpack(found.sxx_upper, 3)
    assert not sxx[1].any()
    np.testing.assert_allclose(sxx, x.T @ x, rtol=1e-6)


@given(st.integers(0, 50 * KERNEL_CELLS), st.integers(1, 60))
def test_shards_hold_each_cell_once_and_end_between_blocks(num_cells, num_shards):
    ranges = [shard_range(num_cells, shard, num_shards) for shard in range(num_shards)]
    assert ranges[0][0] == 0
    assert ranges[-1][1] == num_cells
    assert all(before[1] == after[0] for before, after in itertools.pairwise(ranges))
    assert all(first <= last and (first % KERNEL_CELLS == 0 or first == num_cells) for first, last in ranges)
    lengths = [-(-(last - first) // KERNEL_CELLS) for first, last in ranges]
    assert max(lengths) - min(lengths) <= 1


def test_shards_of_a_small_or_empty_plate_and_wrong_shards():
    assert [shard_range(KERNEL_CELLS + 1, shard, 3) for shard in range(3)] == [(0, 0), (0, KERNEL_CELLS), (KERNEL_CELLS, KERNEL_CELLS + 1)]
    assert shard_range(0, 1, 2) == (0, 0)
    for shard in (-1, 2):
        with pytest.raises(ValueError, match=f"expected a shard from 0 to 1, found {shard}"):
            shard_range(10, shard, 2)


@pytest.mark.parametrize("num_shards", [1, 2, 5, 9])
def test_shards_add_up_to_the_plate(plates, small_blocks, num_shards):
    ranges = [shard_range(90, shard, num_shards) for shard in range(num_shards)]
    whole = measure(plates[0])
    added = add_moments(measure(plates[0], first=first, last=last) for first, last in ranges)
    assert_same(added, whole, 0 if num_shards == 1 else 1e-14)  # only the order of additions in float64 differs
    first, second = residual_correlation(added), residual_correlation(whole)
    np.testing.assert_allclose(first.correlation_GG, second.correlation_GG, rtol=0, atol=0.5e-7)  # equal to the seven decimals that float32 holds
    partners = [top_partners(result.correlation_GG, gene_names(GENES), 10) for result in (first, second)]
    pd.testing.assert_frame_equal(partners[0][["gene", "partner", "rank"]], partners[1][["gene", "partner", "rank"]])


def test_a_shard_is_centred_as_its_plate(plates, small_blocks, monkeypatch):
    seen = []

    class Kernel(moments.HybridGram):
        def __init__(self, density_G, *, beta_LG, num_threads):
            seen.append(beta_LG)
            super().__init__(density_G, beta_LG=beta_LG, num_threads=num_threads)

    monkeypatch.setattr(moments, "HybridGram", Kernel)
    for first in (0, 32, 90):
        measure(plates[0], first=first)
    assert seen[0].any()
    np.testing.assert_array_equal(seen[1], seen[0])
    np.testing.assert_array_equal(seen[2], seen[0])


@pytest.mark.parametrize(("first", "last"), [(-1, 5), (5, 4), (0, 91)])
def test_a_range_outside_the_plate_is_an_error(plates, first, last):
    with pytest.raises(ValueError, match=f"expected cells within 0 to 90, found {first} to {last}"):
        measure(plates[0], first=first, last=last)


# Rounding of x averages out over cells; there are 270 of them here, so that these bounds are looser than those of docs/performance.md.
@pytest.mark.parametrize(("precision", "bound"), [("float32", 2e-6), ("fp16_split", 2e-6), ("tf32", 1e-3), ("fp16", 1e-3)])
def test_what_a_gpu_multiplies_is_what_the_covariates_see(plates, small_blocks, monkeypatch, precision, bound):
    monkeypatch.setattr(moments, "torch_device", lambda backend: "cpu:0")  # the kernel of the GPU, on the CPU
    parts = [measure(store, precision=precision, threads=3) for store in plates]
    assert_same(parts[0], measure(plates[0], precision=precision, threads=1, block_cells=7), 0)
    x, c = pooled(plates, gene_names(GENES), TERMS)
    result = residual_correlation(add_moments(parts))
    np.testing.assert_allclose(result.correlation_GG, explicit(x, c), rtol=0, atol=bound)
    assert not result.correlation_GG[5].any()


def test_the_cpu_takes_float32_whatever_the_precision(plates):
    assert_same(measure(plates[0], precision="fp16"), measure(plates[0]), 0)


def test_plates_in_another_order_round_otherwise_in_float64_only(plates):
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


def test_addition_leaves_its_parts_alone_and_takes_paths(plates, tmp_path):
    parts = [measure(store) for store in plates]
    before = [part.sxx_upper.copy() for part in parts]
    total = add_moments(parts)
    for part, sxx_upper in zip(parts, before, strict=True):
        np.testing.assert_array_equal(part.sxx_upper, sxx_upper)
    for number, part in enumerate(parts):
        write_moments(tmp_path / f"{number}.npz", part)
    assert_same(add_moments([tmp_path / "0.npz", str(tmp_path / "1.npz"), parts[2]]), total, 0)
    assert_same(add_moments([total]), total, 0)


def test_addition_holds_one_part_at_a_time(total):
    alive: list[weakref.ref[np.ndarray]] = []

    def parts():
        for _ in range(4):
            assert not any(reference() is not None for reference in alive)
            part = replace(total, sxx_upper=total.sxx_upper.copy())
            alive.append(weakref.ref(part.sxx_upper))
            yield part
            del part

    np.testing.assert_allclose(add_moments(parts()).sxx_upper, 4 * total.sxx_upper, rtol=1e-15)


def test_round_trip_is_exact_packed_and_its_bytes_are_repeatable(total, tmp_path):
    write_moments(tmp_path / "a.npz", total)
    write_moments(tmp_path / "b.npz", total)
    assert_same(read_moments(tmp_path / "a.npz"), total, 0)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    with np.load(tmp_path / "a.npz") as data:
        assert data["sxx_upper"].shape == (GENES * (GENES + 1) // 2,)
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}


def test_a_plate_without_cells_adds_nothing(total, tmp_path):
    empty = measure(make_store(tmp_path / "empty.zarr", np.zeros((0, GENES), dtype=int), age=np.zeros(0)))
    assert (empty.num_cells, empty.covariates) == (0, ())
    write_moments(tmp_path / "empty.npz", empty)
    assert_same(add_moments([tmp_path / "empty.npz", total]), total, 0)


def test_one_cell(tmp_path):
    found = measure(make_store(tmp_path / "one.zarr", np.array([[3, 0, 1]]), total_counts=10.0), terms=[], gene_ids=gene_names(3))
    x = dense_x(make_store(tmp_path / "again.zarr", np.array([[3, 0, 1]]), total_counts=10.0), gene_names(3))
    np.testing.assert_allclose(unpack(found.sxx_upper, 3), x.T @ x, rtol=1e-6)
    assert found.sxx_upper[row_start(1, 3)] == 0


def test_mismatched_panels_are_an_error(total):
    other = replace(total, gene_ids=tuple(reversed(total.gene_ids)))
    with pytest.raises(InputError, match=r"moments: expected plates with one gene panel, found two\. Delete the older moments"):
        add_moments([total, other])


def test_a_number_on_one_plate_and_text_on_another_is_an_error(plates, tmp_path):
    other = make_store(tmp_path / "text.zarr", random_counts(np.random.default_rng(7), 20, GENES), age="old")
    with pytest.raises(InputError, match=r"expected 'age' to be a number on every plate or text on every plate, found both\. Make the column alike"):
        add_moments([measure(plates[0]), measure(other)])


def test_no_plates_and_unknown_terms_are_errors(plates):
    with pytest.raises(InputError, match="moments: expected sums of at least one plate, found none"):
        add_moments([])
    with pytest.raises(InputError, match=r"covariates\.terms: expected an obs column of the cells, found 'donor'"):
        measure_moments(plates[0], pd.Index(["g001"]), ["donor"], pd.DataFrame({"gene_id": [], "role": []}), block_cells=8, backend="cpu")


def test_moments_are_of_the_type_that_is_documented(total):
    assert isinstance(total, Moments)
    assert total.sxx_upper.dtype == total.sxc_GK.dtype == total.scc_KK.dtype == np.float64


def test_options_of_a_job_are_keywords_of_the_measurement(plates):
    settings = {"backend": "cpu", "input.block_cells": 7, "coexpression.precision": "tf32", "covariates": {}}
    options = sum_options(settings, 2)
    assert options == {"block_cells": 7, "backend": "cpu", "threads": 2, "precision": "tf32"}
    no_roles = pd.DataFrame({"gene_id": [], "role": []})
    assert measure_moments(plates[0], pd.Index(["g001"]), [], no_roles, **options).num_cells == plates[0].num_cells
