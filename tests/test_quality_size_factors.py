"""Size factors: a gene that takes half of the counts falls, and the others stay where they are."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from causcade.cells import CellStore
from causcade.config import QualityConfig
from causcade.quality import store_plate
from causcade.quality.size_factors import size_factors


def draw(num_cells=60, num_genes=30, seed=0):
    """Counts of controls and of cells in which gene 0, half of the counts of a control, is gone."""
    rng = np.random.default_rng(seed)
    mean_G = np.r_[300.0, np.full(num_genes - 1, 300 / (num_genes - 1))]
    mean_NG = np.tile(mean_G, (2 * num_cells, 1))
    mean_NG[num_cells:, 0] = 0
    counts = rng.poisson(mean_NG / mean_NG.sum(axis=1, keepdims=True) * 2000)
    label = np.repeat(["control", "down"], num_cells)
    obs = pd.DataFrame({"perturbation": label, "dose": 0.0, "cell_line": "A", "is_control": label == "control", "total_counts": counts.sum(axis=1)})
    return counts, obs


def blocks(counts, size):
    return ((slice(start, start + size), sp.csr_matrix(counts[start : start + size])) for start in range(0, len(counts), size))


@pytest.mark.parametrize("size", [7, 1000])
def test_effective_totals_leave_the_other_genes_alone(size):
    counts, obs = draw()
    factor_N = size_factors(blocks(counts, size), obs)
    assert (factor_N[:60] == 1).all()
    np.testing.assert_allclose(factor_N[60:], 2, rtol=0.02)
    shares = counts / (obs["total_counts"].to_numpy() * factor_N)[:, None]
    ratio_G = shares[60:, 1:].mean(axis=0) / shares[:60, 1:].mean(axis=0)
    assert abs(np.median(ratio_G) - 1) < 0.02
    # The median ratio itself, from a slow double loop.
    plain = counts / obs["total_counts"].to_numpy()[:, None]
    expected = np.median([plain[60:, g].mean() / plain[:60, g].mean() for g in range(1, 30)])
    np.testing.assert_allclose(factor_N[-1], expected)


def test_lines_have_their_own_reference_and_small_conditions_none():
    counts, obs = draw()
    obs.loc[100:, "cell_line"] = "B"  # no controls there: its own mean is the reference
    factor_N = size_factors(blocks(counts, 50), obs)
    np.testing.assert_allclose(factor_N[100:], 1)
    np.testing.assert_allclose(factor_N[60:100], 2, rtol=0.02)
    few = size_factors(blocks(counts[:65], 50), obs[:65])
    assert (few == 1).all()
    assert (size_factors(blocks(counts[:, :5], 50), obs) == 1).all()  # too few genes for a median
    assert size_factors([], obs[:0]).shape == (0,)


def test_the_store_holds_effective_totals(plate_of, tmp_path):
    counts, obs = draw(num_cells=20)
    plate = plate_of(counts, columns={"drug": np.where(obs["is_control"], "DMSO_TF", "down")}, block_cells=9)
    open_settings = {"min_counts": 0, "min_genes": 0, "max_mito": 1.0, "mad": None}
    table = store_plate(plate, tmp_path / "p.zarr", QualityConfig(**open_settings, size_factors="median_ratio"), columns=[], seed=0)
    stored = CellStore(tmp_path / "p.zarr").obs["total_counts"].to_numpy()
    np.testing.assert_array_equal(table["total_counts"], counts.sum(axis=1))  # the table of quality control keeps what was counted
    np.testing.assert_array_equal(stored[:20], counts[:20].sum(axis=1))
    np.testing.assert_allclose(stored[20:] / counts[20:].sum(axis=1), 2, rtol=0.05)
