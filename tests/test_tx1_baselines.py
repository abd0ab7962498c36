from itertools import pairwise

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from tx1_training_cases import COLLATION, VOCABULARY, make_sources

import causcade.tx1.baselines as baselines
from causcade.tx1.baselines import Bins, bins_of, fit_low_rank, mean_bins
from causcade.tx1.stream import cut_batch


def make_low_rank(num_cells=300, num_genes=40, rank=2, *, seed=0, noise=0.3, share=0.7):
    """Entries of a low-rank matrix of which a part is seen, above 0 so that none is a stored zero."""
    rng = np.random.default_rng(seed)
    whole = 20 + rng.normal(size=(num_cells, rank)) @ rng.normal(size=(rank, num_genes)) * 3 + rng.normal(size=num_genes) * 2
    return whole + rng.normal(size=whole.shape) * noise, rng.random(whole.shape) < share


def as_bins(values, is_seen):
    return sp.csr_matrix(np.where(is_seen, values, 0).astype(np.float32))


def test_bins_are_those_of_the_genes_by_cell(tmp_path):
    (source,) = make_sources(tmp_path, {"p1": 12})
    cells = source.read(0, 12)
    micros = cut_batch(cells, cells.key_B, COLLATION)
    found = bins_of(micros, VOCABULARY.size, num_special=1)
    expected = {True: np.zeros((12, VOCABULARY.size)), False: np.zeros((12, VOCABULARY.size))}
    row = 0
    for micro in micros:
        for cell in range(len(micro.batch.gene_BL)):
            for place in range(1, micro.batch.lengths[cell]):
                masked = bool(micro.batch.is_masked_BL[cell, place])
                expected[masked][row, int(micro.batch.gene_BL[cell, place])] = float(micro.target_BL[cell, place])
            row += 1
    np.testing.assert_array_equal(found.masked.toarray(), expected[True])
    np.testing.assert_array_equal(found.visible.toarray(), expected[False])


def test_means_are_over_cells_that_express_a_gene_and_drawn_to_the_overall_mean():
    bins = sp.csr_matrix(np.array([[2.0, 0, 10], [4, 0, 0]], dtype=np.float32))
    overall = 16 / 3
    np.testing.assert_allclose(mean_bins(bins), [(6 + overall) / 3, overall, (10 + overall) / 2])
    np.testing.assert_array_equal(mean_bins(sp.csr_matrix((2, 3), dtype=np.float32)), np.zeros(3))


def conditional_mean(model, visible, genes):
    """Told by the joint normal distribution of all genes of one cell, from its covariance matrix."""
    loading, mean = model.loading_VD.double().numpy(), model.mean_V.double().numpy()
    covariance = loading @ loading.T + model.noise * np.eye(len(mean))
    seen = visible.indices
    return mean[genes] + covariance[np.ix_(genes, seen)] @ np.linalg.solve(covariance[np.ix_(seen, seen)], visible.data - mean[seen])


def test_told_bins_are_conditional_expectations():
    values, is_seen = make_low_rank(30)
    model = fit_low_rank(as_bins(values, is_seen), 3, seed=0, iterations=2)
    is_asked = ~is_seen
    is_asked[4] = False  # nothing is asked of one cell, nothing known of another
    is_seen[7], is_asked[7] = False, True
    told = model.predict(Bins(as_bins(values, is_seen), as_bins(values, is_asked)))
    expected = [conditional_mean(model, as_bins(values, is_seen)[row], np.flatnonzero(is_asked[row])) for row in range(30)]
    np.testing.assert_allclose(told, np.concatenate(expected), rtol=2e-4)


def test_a_planted_low_rank_is_found_and_beats_the_mean():
    values, is_seen = make_low_rank()
    bins = Bins(as_bins(values, is_seen), as_bins(values, ~is_seen))
    model = fit_low_rank(bins.visible, 2, seed=0, iterations=20)
    error = np.square(model.predict(bins) - bins.masked.data).mean()
    assert np.square(mean_bins(bins.visible)[bins.masked.indices] - bins.masked.data).mean() > 10
    assert error < 0.3**2 * 1.3
    assert model.noise == pytest.approx(0.3**2, rel=0.15)


def test_rounds_of_fitting_never_make_the_training_cells_less_likely():
    values, is_seen = make_low_rank(60, noise=1.0)
    bins = as_bins(values, is_seen)

    def log_likelihood(model):
        loading = model.loading_VD.double().numpy()
        total = 0.0
        for row in range(bins.shape[0]):
            genes = bins[row].indices
            covariance = loading[genes] @ loading[genes].T + model.noise * np.eye(len(genes))
            residual = bins[row].data - model.mean_V.double().numpy()[genes]
            total -= 0.5 * (np.linalg.slogdet(covariance)[1] + residual @ np.linalg.solve(covariance, residual))
        # the ridge is a standard normal prior on loadings
        return total - 0.5 * np.square(loading).sum()

    found = [log_likelihood(fit_low_rank(bins, 2, seed=0, iterations=number)) for number in range(6)]
    assert all(after >= before - 0.05 for before, after in pairwise(found))


def test_more_dimensions_than_cells_or_genes_are_cut():
    values, is_seen = make_low_rank(5, 4)
    assert fit_low_rank(as_bins(values, is_seen), 9, seed=0, iterations=1).loading_VD.shape == (4, 4)
    assert torch.isfinite(fit_low_rank(as_bins(values, is_seen), 9, seed=0).loading_VD).all()


def test_dimensions_are_cut_to_what_fits_into_memory(monkeypatch, caplog):
    values, is_seen = make_low_rank(30)
    monkeypatch.setattr(baselines, "MOST_MOMENTS", 40 * 9 // 2)
    with caplog.at_level("INFO"):
        assert fit_low_rank(as_bins(values, is_seen), 8, seed=0, iterations=1).loading_VD.shape == (40, 3)
    assert "the low-rank model has 3 dimensions and not 8: more do not fit into memory for 40 genes" in caplog.text
