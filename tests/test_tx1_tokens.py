"""Tokens: the published collation bit by bit, a slow reference for every option, and what the exact mode promises."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from causcade.errors import InputError
from causcade.tx1.shape import CollatorSettings
from causcade.tx1.tokens import bin_counts, collate, num_expressed, sum_repeated
from causcade.tx1.vocabulary import Vocabulary

CLS, DRUG = 1, 900


def slow_bins(values, num_bins=51, *, right=False):
    """Bins of one cell by torch.quantile and torch.bucketize."""
    values = torch.as_tensor(np.asarray(values, dtype=np.float32))
    if not len(values):
        return values.numpy()
    used = values[values != 0] if (values <= 0).any() else values
    if not len(used):
        return np.full(len(values), 0 if right else 1, dtype=np.float32)
    edges = torch.quantile(used, torch.linspace(0, 1, num_bins - 1))
    bins = torch.bucketize(values, edges, right=right)
    bins[values == 0] = 0 if (values <= 0).any() else bins[values == 0]
    return (bins + (0 if right else 1)).to(torch.float32).numpy()


def slow_tokens(row, token_F, options, *, is_exact, cap):
    """Tokens, values and raw counts of one cell that is short enough, or whose last genes go."""
    specials = [CLS, DRUG] if options.use_drug_token else [CLS]
    kept = [column for column in row.indices if token_F[column] >= 0 and (row[0, column] != 0 or not is_exact)]
    genes = specials + [int(token_F[column]) for column in kept]
    raw = [options.pad_value] * len(specials) + [float(row[0, column]) for column in kept]
    first = len(specials) if is_exact else options.keep_first
    values = np.array(raw, dtype=np.float32)
    if options.do_binning:
        values[first:] = slow_bins(values[first:], options.num_bins, right=options.right_binning)
    elif options.log_transform:
        values[first:] = np.log1p(values[first:] / (values[first:].sum() + 1e-9) * options.target_sum)
    return genes[:cap], values[:cap], raw[:cap]


def random_cells(rng, num_cells=9, num_columns=60, *, share=0.4, zeros=0.0):
    """CSR counts, some with stored zeros, and tokens of the columns (some have none)."""
    matrix = sp.csr_matrix((rng.poisson(3, (num_cells, num_columns)) + 1.0) * (rng.random((num_cells, num_columns)) < share))
    matrix.data[rng.random(matrix.nnz) < zeros] = 0
    tokens = np.where(rng.random(num_columns) < 0.8, rng.permutation(num_columns) + 3, -1)
    return matrix.astype(np.float32), tokens


# published collation -------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.shared_data
def test_bins_equal_the_published_ones(shared_data):
    with np.load(shared_data / "tx1_parity" / "binning.npz") as data:
        num_bins = int(data["n_bins"])
        parts = np.split(np.arange(len(data["values"])), np.cumsum(data["lengths"])[:-1])
        assert len(parts) == len(data["lengths"])
        for part in parts:
            values = data["values"][part]
            np.testing.assert_array_equal(bin_counts(values, num_bins=num_bins), data["binned_left"][part])
            np.testing.assert_array_equal(bin_counts(values, num_bins=num_bins, right=True), data["binned_right"][part])


@pytest.mark.shared_data
@pytest.mark.parametrize(
    ("case", "name", "drugs"),
    [("base", "collated_infer", False), ("chem", "collated_infer", True), ("chem", "collated_infer_nochem", False), ("base", "collated_train", False),
     ("chem", "collated_train", True)],
)  # fmt: skip
def test_compatible_mode_equals_the_published_collation(shared_data, case, name, drugs):
    folder = shared_data / "tx1_parity" / case
    with np.load(folder / "counts.npz") as data, np.load(folder / f"{name}.npz") as expected:
        counts = sp.csr_matrix((data["data"], data["indices"], data["indptr"]), shape=tuple(data["shape"]))
        if name.endswith("nochem"):
            with np.load(folder / "infer_nochem_cells.npz") as cells:
                counts = counts[cells["cell_index"]]
        vocabulary = Vocabulary.from_json(folder / "vocab.json")
        options = CollatorSettings(max_length=64, sampling=False, keep_first=2 if case == "chem" else 1, use_drug_token=drugs)
        drug_B = expected["drug_ids"] if drugs else None
        tokens = vocabulary.columns(data["gene_ids"])
        found = collate(counts, tokens, options, mode="compatible", drug_B=drug_B, drug_id=vocabulary.drug)
        np.testing.assert_array_equal(found.batch.gene_BL, expected["gene"])
        np.testing.assert_array_equal(found.raw_BL, expected["expr_raw"])
        np.testing.assert_array_equal(found.target_BL, expected["expr_target"])
        np.testing.assert_array_equal(found.batch.is_real_BL, expected["key_padding_mask"])
        np.testing.assert_array_equal(np.where(expected["gen_mask"], options.mask_value, found.batch.value_BL), expected["expr"])
        assert found.batch.lengths == tuple(expected["key_padding_mask"].sum(axis=1))
        if drugs:
            np.testing.assert_array_equal(found.batch.drug_B, expected["drug_ids"])
        for tensor, kind in zip(found.batch[:3], (torch.int64, torch.float32, torch.bool), strict=True):
            assert tensor.dtype == kind


def test_compatible_mode_shortens_the_longest_cell_by_a_gene_where_there_is_a_drug():
    counts = sp.csr_matrix(np.array([[1, 2, 3, 4], [1, 2, 0, 0]], dtype=np.float32))
    options = CollatorSettings(sampling=False, use_drug_token=True, keep_first=2)
    found = collate(counts, np.arange(3, 7), options, mode="compatible", drug_id=DRUG)
    assert found.batch.gene_BL.tolist() == [[CLS, DRUG, 3, 4, 5], [CLS, DRUG, 3, 4, 0]]
    alone = collate(counts[1], np.arange(3, 7), options, mode="compatible", drug_id=DRUG)
    assert alone.batch.gene_BL.tolist() == [[CLS, DRUG, 3]]
    exact = collate(counts, np.arange(3, 7), options, drug_id=DRUG)
    assert exact.batch.gene_BL.tolist() == [[CLS, DRUG, 3, 4, 5, 6], [CLS, DRUG, 3, 4, 0, 0]]


def test_compatible_mode_leaves_the_first_gene_unbinned_where_the_drug_is_off():
    counts = sp.csr_matrix(np.array([[70, 2, 3, 4]], dtype=np.float32))
    options = CollatorSettings(keep_first=2)
    values = collate(counts, np.arange(3, 7), options, mode="compatible").batch.value_BL[0]
    assert values.tolist() == [-2, 70, *slow_bins([2, 3, 4])]
    assert collate(counts, np.arange(3, 7), options).batch.value_BL[0].tolist() == [-2, *slow_bins([70, 2, 3, 4])]
    one = sp.csr_matrix(np.array([[9, 0, 0, 0]], dtype=np.float32))  # the published code fails here
    assert collate(one, np.arange(3, 7), options, mode="compatible").batch.value_BL[0].tolist() == [-2, 9]


# against the slow reference -------------------------------------------------------------------------------------------------------------------------

floats = st.floats(0, 5000, width=32)
whole = st.integers(0, 30).map(float)
large = st.integers(1000, 2_000_000).map(float)


@settings(max_examples=150, deadline=None)
@given(
    values=st.one_of(*(st.lists(kind, min_size=1, max_size=150) for kind in (whole, large, floats, st.integers(-2, 9).map(float)))),
    num_bins=st.sampled_from([3, 12, 51]),
    right=st.booleans(),
)
def test_bins_equal_quantiles_of_torch(values, num_bins, right):
    np.testing.assert_array_equal(bin_counts(np.array(values), num_bins=num_bins, right=right), slow_bins(values, num_bins, right=right))


@pytest.mark.parametrize("scale", [1.0, 40.0, 3000.0])
@pytest.mark.parametrize("size", [1, 2, 49, 50, 51, 1000, 4000])
def test_bins_of_whole_cells_equal_quantiles_of_torch(size, scale):
    rng = np.random.default_rng(size)
    for _ in range(10):
        values = np.ceil(rng.lognormal(0, 1.2, size) * scale).astype(np.float32)
        np.testing.assert_array_equal(bin_counts(values), slow_bins(values))
        transformed = np.log1p(values * np.float32(1e4 / values.sum()))
        np.testing.assert_array_equal(bin_counts(transformed), slow_bins(transformed))


@pytest.mark.parametrize("mode", ["exact", "compatible"])
@pytest.mark.parametrize(
    "options",
    [
        CollatorSettings(),
        CollatorSettings(num_bins=12, right_binning=True),
        CollatorSettings(do_binning=False),
        CollatorSettings(do_binning=False, log_transform=True),
        CollatorSettings(keep_first=3),
        CollatorSettings(use_drug_token=True, keep_first=2, sampling=False),
        CollatorSettings(use_drug_token=True, pad_value=-3.0, sampling=False),
        CollatorSettings(max_length=12, sampling=False),
    ],
    ids=["plain", "right", "raw", "log", "keep 3", "drug", "drug, keep 1", "truncated"],
)
def test_each_option_equals_a_loop_over_cells(mode, options):
    if mode == "exact" and options.max_length == 12:  # it samples, always
        options = replace(options, max_length=1000)
    counts, tokens = random_cells(np.random.default_rng(1), zeros=0.2)
    drugs = np.arange(9) if options.use_drug_token else None
    found = collate(counts, tokens, options, mode=mode, drug_B=drugs, drug_id=DRUG)
    longest = max(len(slow_tokens(row, tokens, replace(options, use_drug_token=False), is_exact=mode == "exact", cap=None)[0]) for row in counts)
    cap = options.max_length if mode == "exact" else min(options.max_length, longest)
    for place, cell in enumerate(found.rows):
        genes, values, raw = slow_tokens(counts[cell], tokens, options, is_exact=mode == "exact", cap=cap)
        length = found.batch.lengths[place]
        assert found.batch.gene_BL[place, :length].tolist() == genes
        np.testing.assert_allclose(found.batch.value_BL[place, :length], values, rtol=1e-6 if options.log_transform else 0)
        np.testing.assert_array_equal(found.raw_BL[place, :length], np.float32(raw))
        assert found.batch.is_real_BL[place].tolist() == [True] * length + [False] * (found.batch.gene_BL.shape[1] - length)
        assert (found.batch.gene_BL[place, length:] == options.pad_id).all()
        for padded in (found.batch.value_BL, found.raw_BL, found.target_BL):
            assert (padded[place, length:] == options.pad_value).all()


@pytest.mark.parametrize("kind", [np.uint16, np.uint32, np.int64, np.float32, np.float64])
def test_counts_of_any_stored_type(kind):
    counts, tokens = random_cells(np.random.default_rng(2))
    expected, found = (collate(matrix, tokens, CollatorSettings()) for matrix in (counts, counts.astype(kind)))
    np.testing.assert_array_equal(found.batch.value_BL, expected.batch.value_BL)
    np.testing.assert_array_equal(found.raw_BL, expected.raw_BL)


# what the exact mode promises -----------------------------------------------------------------------------------------------------------------------


def rows_of(found):
    """Each cell's tokens with value and raw count, as a set."""
    batch = found.batch
    return [
        set(zip(batch.gene_BL[b, :n].tolist(), batch.value_BL[b, :n].tolist(), found.raw_BL[b, :n].tolist(), strict=True))
        for b, n in enumerate(batch.lengths)
    ]


@pytest.mark.parametrize("use_drug_token", [False, True])
def test_a_long_cell_is_sampled_the_same_in_any_batch_and_order(use_drug_token):
    counts, tokens = random_cells(np.random.default_rng(3), 8, 80, share=0.7)
    keys = np.random.default_rng(4).integers(0, 1 << 63, 8).astype(np.uint64)
    options = CollatorSettings(max_length=10, use_drug_token=use_drug_token)

    def run(rows, columns=slice(None), seed=0):
        part = counts[rows][:, columns]
        part.sort_indices()
        return rows_of(collate(part, tokens[columns], options, keys_B=keys[rows], seed=seed, drug_id=DRUG))

    whole = run(np.arange(8))
    assert all(len(cell) == 10 for cell in whole)
    assert all((CLS, -2.0, -2.0) in cell for cell in whole)
    assert [run(np.array([cell]))[0] for cell in range(8)] == whole
    order = np.random.default_rng(5).permutation(8)
    assert run(order) == [whole[cell] for cell in order]
    assert run(np.arange(8), np.random.default_rng(6).permutation(80)) == whole
    assert run(np.arange(8), seed=1) != whole
    # values come from all genes of the cell, not from the sample
    full = rows_of(collate(counts, tokens, replace(options, max_length=1000), keys_B=keys, drug_id=DRUG))
    assert all(part <= cell for part, cell in zip(whole, full, strict=True))


def test_every_gene_is_sampled_equally_often_and_independently_of_the_others():
    counts = sp.csr_matrix(np.ones((4000, 20), dtype=np.float32))
    found = collate(counts, np.arange(3, 23), CollatorSettings(max_length=6), seed=7)
    is_taken = np.zeros((4000, 20))
    np.put_along_axis(is_taken, found.batch.gene_BL[:, 1:].numpy() - 3, 1, axis=1)
    assert is_taken.sum(axis=1).tolist() == [5] * 4000
    assert abs(is_taken.mean(axis=0) - 0.25).max() < 5 * np.sqrt(0.25 * 0.75 / 4000)
    pairs = is_taken.T @ is_taken / 4000
    expected = 5 * 4 / (20 * 19)
    assert abs(pairs[~np.eye(20, dtype=bool)] - expected).max() < 5 * np.sqrt(expected / 4000)


def test_compatible_sampling_keeps_the_first_positions():
    counts, tokens = random_cells(np.random.default_rng(8), 6, 80, share=0.7)
    options = CollatorSettings(max_length=10, keep_first=3)
    found = collate(counts, tokens, options, mode="compatible")
    whole = collate(counts, tokens, replace(options, max_length=1000), mode="compatible")
    np.testing.assert_array_equal(found.batch.gene_BL[:, :3], whole.batch.gene_BL[:, :3])
    assert all(part <= cell for part, cell in zip(rows_of(found), rows_of(whole), strict=True))
    assert found.batch.lengths == (10,) * 6


def test_the_length_cap_counts_every_token():
    counts = sp.csr_matrix(np.ones((1, 9), dtype=np.float32))
    for max_length, length in ((9, 9), (10, 10), (11, 11), (12, 11)):
        found = collate(counts, np.arange(3, 12), CollatorSettings(max_length=max_length, use_drug_token=True), drug_id=DRUG)
        assert found.batch.gene_BL.shape == (1, length)


def test_cells_without_genes_are_left_out_and_told():
    counts = sp.csr_matrix(np.array([[0, 0, 0], [1, 0, 5], [0, 0, 7], [0, 2, 0]], dtype=np.float32))
    tokens = np.array([3, 4, -1])
    for mode in ("exact", "compatible"):
        found = collate(counts, tokens, CollatorSettings(use_drug_token=True), mode=mode, drug_B=np.array([9, 8, 7, 6]), drug_id=DRUG)
        assert found.rows.tolist() == [1, 3]
        assert found.batch.drug_B.tolist() == [8, 6]
        none = collate(counts[[0, 2]], tokens, CollatorSettings(), mode=mode)
        assert none.rows.tolist() == []
        assert none.batch.gene_BL.shape == (0, 0)
        assert none.batch.lengths == ()
        assert collate(counts[:0], tokens, CollatorSettings(), mode=mode).batch.gene_BL.shape == (0, 0)


def test_the_default_key_is_the_row_whichever_cells_are_left_out():
    counts, tokens = random_cells(np.random.default_rng(9), 5, 80, share=0.7)
    emptied = counts.copy()
    emptied.data[emptied.indptr[1] : emptied.indptr[2]] = 0
    options = CollatorSettings(max_length=10)
    whole = rows_of(collate(counts, tokens, options))
    assert rows_of(collate(emptied, tokens, options)) == [whole[cell] for cell in (0, 2, 3, 4)]


def test_stored_zeros_are_genes_in_compatible_mode_only():
    counts = sp.csr_matrix((np.array([4.0, 0.0, 2.0, 0.0]), np.array([0, 1, 2, 1]), np.array([0, 3, 4])), shape=(2, 3))
    tokens = np.arange(3, 6)
    assert num_expressed(counts, tokens).tolist() == [2, 0]
    assert num_expressed(counts, tokens, mode="compatible").tolist() == [3, 1]
    assert collate(counts, tokens, CollatorSettings()).batch.gene_BL.tolist() == [[1, 3, 5]]
    found = collate(counts, tokens, CollatorSettings(), mode="compatible")
    assert found.batch.gene_BL.tolist() == [[1, 3, 4, 5], [1, 4, 0, 0]]
    assert found.batch.value_BL.tolist() == [[-2, 50, 1, 1], [-2, 1, -2, -2]]


def test_columns_of_one_gene_are_summed():
    rng = np.random.default_rng(10)
    counts, _ = random_cells(rng, 6, 30)
    tokens = np.array([-1, 9, 5, 9, 7, 5, 9, 4, -1, 8] * 3)
    found = collate(counts, tokens, CollatorSettings())
    distinct = [9, 5, 7, 4, 8]
    summed = np.stack([counts.toarray()[:, tokens == token].sum(axis=1) for token in distinct], axis=1)
    expected = collate(sp.csr_matrix(summed), np.array(distinct), CollatorSettings())
    for one, other in zip((*found.batch[:3], found.raw_BL), (*expected.batch[:3], expected.raw_BL), strict=True):
        np.testing.assert_array_equal(one, other)
    same, same_tokens = sum_repeated(counts, np.arange(30))
    assert same is counts
    assert same_tokens.tolist() == list(range(30))


def test_a_drug_token_needs_its_number():
    counts, tokens = random_cells(np.random.default_rng(11))
    with pytest.raises(InputError, match=r"expected <drug> in the vocabulary, found none\. Add it"):
        collate(counts, tokens, CollatorSettings(use_drug_token=True))
    found = collate(counts, tokens, CollatorSettings(use_drug_token=True), drug_id=DRUG)
    assert found.batch.drug_B.tolist() == [0] * len(found.rows)
    assert collate(counts, tokens, CollatorSettings(), drug_id=DRUG).batch.drug_B is None
