"""Totals without a gene that takes half of the counts: it falls, and the others stay where they are."""

import logging

import numpy as np
import pytest
import scipy.sparse as sp

from causcade.cells import CellStore
from causcade.config import QualityConfig
from causcade.quality import store_plate
from causcade.quality.size_factors import totals_without_dominant

GENES = np.array([f"G{gene}" for gene in range(30)])


def draw(num_cells=60, seed=0):
    """Counts of controls, half of them of gene 0, and of cells in which that gene is gone."""
    rng = np.random.default_rng(seed)
    mean_NG = np.tile(np.r_[300.0, np.full(29, 300 / 29)], (2 * num_cells, 1))
    mean_NG[num_cells:, 0] = 0
    return rng.poisson(mean_NG / mean_NG.sum(axis=1, keepdims=True) * 2000), np.repeat([True, False], num_cells)


def blocks(counts, size):
    return lambda: ((None, sp.csr_matrix(counts[start : start + size])) for start in range(0, len(counts), size))


@pytest.mark.parametrize("size", [7, 1000])
def test_the_other_genes_stay_where_they_are(size, caplog):
    counts, is_control = draw()
    with caplog.at_level(logging.INFO):
        total_N = totals_without_dominant(blocks(counts, size), is_control, GENES)
    np.testing.assert_array_equal(total_N, counts[:, 1:].sum(axis=1))
    assert "left out of the totals, by share of the counts of the controls: G0 (50%)" in caplog.text
    shares = counts[:, 1:] / total_N[:, None]
    assert abs(np.median(shares[60:].mean(axis=0) / shares[:60].mean(axis=0)) - 1) < 0.02
    plain = counts[:, 1:] / counts.sum(axis=1, keepdims=True)
    assert np.median(plain[60:].mean(axis=0) / plain[:60].mean(axis=0)) > 1.9


def test_without_a_dominant_gene_or_controls():
    counts, is_control = draw()
    np.testing.assert_array_equal(totals_without_dominant(blocks(counts[:, 1:], 50), is_control, GENES[1:]), counts[:, 1:].sum(axis=1))
    nobody = np.zeros_like(is_control)
    np.testing.assert_array_equal(totals_without_dominant(blocks(counts, 50), nobody, GENES), counts[:, 1:].sum(axis=1))
    only = np.zeros((3, 30), int)
    only[:, 0] = 5
    assert totals_without_dominant(blocks(only, 2), np.ones(3, bool), GENES).tolist() == [1, 1, 1]


def test_the_store_holds_these_totals(plate_of, tmp_path):
    counts, is_control = draw(num_cells=20)
    plate = plate_of(counts, columns={"drug": np.where(is_control, "DMSO_TF", "down")}, block_cells=9)
    settings = QualityConfig(min_counts=0, min_genes=0, max_mito=1.0, mad=None, size_factors="without_dominant")
    table = store_plate(plate, tmp_path / "p.zarr", settings, columns=[], seed=0)
    np.testing.assert_array_equal(table["total_counts"], counts.sum(axis=1))  # the table of quality control keeps what was counted
    np.testing.assert_array_equal(CellStore(tmp_path / "p.zarr").obs["total_counts"], counts[:, 1:].sum(axis=1))
