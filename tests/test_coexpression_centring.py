"""What is taken from common genes: a least-squares fit on a sample of the cells."""

import numpy as np
import pandas as pd
import pytest
from cell_cases import NO_ROLES, dense_x, gene_names, make_store, random_counts

from causcade.coexpression import centring
from causcade.coexpression.blocks import Block, Preparation
from causcade.coexpression.centring import Centre, fit_centre, mean_centre, spread_cells
from causcade.coexpression.kernels import KERNEL_CELLS
from causcade.covariates import design

TERMS = ["age", "cell_line", "plate"]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    rng = np.random.default_rng(1)
    counts = random_counts(rng, 80, 40)
    counts[:, 3] = 0
    return make_store(tmp_path_factory.mktemp("centre") / "p.zarr", counts, cell_line=rng.choice(list("ABC"), 80), age=rng.normal(30, 5, 80))


def block_of(store, rows) -> Block:
    (_, counts), *_ = store.iter_counts(store.num_cells)
    return Preparation(store, pd.Index(gene_names(40)), TERMS, NO_ROLES)((rows, counts[rows]))


def test_the_fit_is_by_least_squares_and_kept_where_it_explains_more_than_half(store):
    centre = fit_centre(block_of(store, np.arange(80)), {"age": float(np.ptp(store.obs["age"]))})
    assert centre.names == ("intercept", "age", "cell_line=A", "cell_line=B")  # line C and the plate are explained
    x, (c, names) = dense_x(store, gene_names(40)), design(store.obs, {}, TERMS)
    c = c[:, [names.index(name) for name in centre.names]]
    expected = np.linalg.lstsq(c, x, rcond=None)[0]
    explained = np.square(c @ expected).sum(axis=0) > 0.5 * np.square(x).sum(axis=0)
    np.testing.assert_allclose(centre.beta_LG, np.where(explained, expected, 0.0), rtol=1e-8, atol=1e-10)
    assert explained.any()
    assert not explained.all()


def test_a_number_of_which_the_sample_says_little_is_not_taken(store):
    block = block_of(store, np.arange(80))
    assert fit_centre(block, {"age": 1e4}).names == ("intercept", "cell_line=A", "cell_line=B")


def test_columns_are_found_by_name_whatever_a_block_has(store):
    lines = store.obs["cell_line"].astype(str).to_numpy()
    block = block_of(store, np.flatnonzero(lines == "B"))
    found = Centre(names=("intercept", "cell_line=A", "age", "cell_line=B"), beta_LG=np.zeros((4, 40))).columns(block)
    ages = store.obs["age"].to_numpy()[lines == "B"].astype(np.float32)
    np.testing.assert_array_equal(found, np.column_stack([np.ones(len(ages)), np.zeros(len(ages)), ages, np.ones(len(ages))]))


def test_the_mean_is_taken_from_common_genes(store):
    centre = mean_centre(block_of(store, np.arange(80)))
    x = dense_x(store, gene_names(40))
    assert centre.names == ("intercept",)
    np.testing.assert_allclose(centre.beta_LG, np.where((x > 0).mean(axis=0) > 0.5, x.mean(axis=0), 0.0)[None], rtol=1e-6)


@pytest.mark.parametrize("num_cells", [0, 1, KERNEL_CELLS, KERNEL_CELLS + 1, 10 * KERNEL_CELLS + 7])
def test_the_sample_is_spread_over_all_cells(num_cells):
    cells = np.arange(num_cells) * 3
    sample = spread_cells(cells)
    assert len(sample) == min(num_cells, KERNEL_CELLS)
    assert (np.diff(sample) > 0).all()
    assert set(sample) <= set(cells)
    if num_cells:
        assert (sample[0], sample[-1]) == (cells[0], cells[-1])


def test_a_sample_of_few_cells(monkeypatch):
    monkeypatch.setattr(centring, "KERNEL_CELLS", 5)
    assert spread_cells(np.arange(101)).tolist() == [0, 25, 50, 75, 100]
