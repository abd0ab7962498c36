"""Blocks of one size from buffers of any, and threads that keep the order."""

import itertools
import threading

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from cell_cases import NO_ROLES, dense_x, gene_names, make_store, random_counts
from coexpression_cases import ROLES
from hypothesis import given
from hypothesis import strategies as st

from causcade.coexpression import blocks
from causcade.coexpression.blocks import Preparation, anchored_counts, in_order, read_ahead
from causcade.coexpression.dense import PRECISIONS, DenseGram
from causcade.covariates import cell_cycle_scores, design


@given(st.lists(st.integers(0, 30), max_size=12), st.integers(0, 40))
def test_blocks_end_at_multiples_of_the_kernel_size(sizes, offset):
    counts = sp.csr_matrix(np.arange(2 * sum(sizes)).reshape(-1, 2))
    edges = np.cumsum([0, *sizes])
    buffers = [(np.arange(start, stop), counts[start:stop]) for start, stop in itertools.pairwise(edges)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "KERNEL_CELLS", 16)
        found = list(anchored_counts(buffers, offset))
    cuts = [0, *(cut for cut in range(1, sum(sizes)) if (cut + offset) % 16 == 0), *([sum(sizes)] if sum(sizes) else [])]
    assert [rows.tolist() for rows, _ in found] == [list(range(start, stop)) for start, stop in itertools.pairwise(cuts)]
    assert all((counts[rows] != block).nnz == 0 for rows, block in found)


def test_read_ahead_keeps_the_order_and_draws_one_ahead():
    drawn: list[int] = []

    def numbers():
        for number in range(5):
            drawn.append(number)
            yield number

    ahead = read_ahead(numbers())
    assert next(ahead) == 0
    assert list(ahead) == [1, 2, 3, 4]
    assert drawn == [0, 1, 2, 3, 4]
    assert list(read_ahead(iter([]))) == []


@pytest.mark.parametrize("num_workers", [1, 3])
def test_results_come_in_order_and_few_wait(num_workers):
    started: list[int] = []
    lock = threading.Lock()

    def work(number: int) -> int:
        with lock:
            started.append(number)
        return number * number

    results = in_order(work, iter(range(20)), num_workers)
    assert next(results) == 0
    assert len(started) <= num_workers + 1
    assert [0, *results] == [number * number for number in range(20)]


@pytest.mark.parametrize("through", [read_ahead, lambda items: in_order(lambda item: item, items, 2)])
def test_an_error_on_a_thread_reaches_the_caller(through):
    def broken():
        yield 1
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        list(through(broken()))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_prepared_block_holds_the_values_as_multiplied_and_their_products(tmp_path, precision):
    counts = random_counts(np.random.default_rng(1), 30, 40)
    store = make_store(tmp_path / "p.zarr", counts, age=np.arange(30.0), cell_line=list("AB") * 15)
    genes, terms = ["g030", "absent", "g004", "g039"], ["age", "cell_line", "s_score"]
    rows = np.arange(7, 29)
    (_, stored), *_ = store.iter_counts(30)
    kernel = DenseGram(4, precision=precision, beta_LG=np.array([[0, 0, 0, 5.0]]))
    block = Preparation(store, pd.Index(genes), terms, ROLES)((rows, stored[rows]), kernel.rounded)
    x = kernel.rounded(sp.csr_matrix(dense_x(store, genes)[rows].astype(np.float32))).toarray().astype(np.float64)
    np.testing.assert_array_equal(block.x_BG.toarray(), x)
    assert block.x_BG.dtype == np.float32
    assert block.x_BG.has_sorted_indices
    everything = dense_x(store, store.var.index)[rows]
    c, names = design(store.obs.iloc[rows], cell_cycle_scores(everything, store.var.index, ROLES), terms)
    assert block.names == names
    np.testing.assert_allclose(block.sxc_KG, c.T @ x, rtol=1e-12)
    np.testing.assert_allclose(block.scc_KK, c.T @ c, rtol=1e-13)


def test_scores_without_genes_bring_no_column(tmp_path):
    store = make_store(tmp_path / "p.zarr", random_counts(np.random.default_rng(1), 5, 3))
    part = next(iter(store.iter_counts(5)))
    assert Preparation(store, pd.Index(gene_names(3)), ["s_score"], NO_ROLES)(part).names == ["intercept"]
