import anndata
import numpy as np
import pandas as pd
import pytest

from causcade.coexpression.moments import Moments, write_moments
from causcade.coexpression.packed import pack
from causcade.errors import InputError
from causcade.files import write_anndata
from causcade.latent.cells import covariance_within_conditions, partial_correlation, partial_table

GENES = [f"ENSG{g}" for g in range(5)]


def write_plate(folder, name, x, condition, *, kept, genes=GENES):
    """Sums and conditions of cells x [N, G]; conditions that are not kept are missing in the store."""
    moments = Moments(
        sxx_upper=pack(x.T @ x), sxc_GK=x.sum(axis=0)[:, None], scc_KK=np.array([[float(len(x))]]), covariates=("intercept",), num_cells=len(x),
        gene_ids=tuple(genes),
    )  # fmt: skip
    write_moments(folder / f"{name}.npz", moments)
    names = [value for value in np.unique(condition) if value in kept]
    obs = pd.DataFrame({"n_cells": [int((condition == value).sum()) for value in names]}, index=[str(value) for value in names])
    mean = np.array([x[condition == value].mean(axis=0) for value in names], dtype=np.float32).reshape(len(names), len(genes))
    store = anndata.AnnData(
        obs=obs, var=pd.DataFrame({"gene": [gene.lower() for gene in genes]}, index=genes), layers={"mean": mean}, shape=(len(names), len(genes))
    )
    write_anndata(folder / f"{name}.zarr", store)
    return folder / f"{name}.npz", folder / f"{name}.zarr"


def test_covariance_is_that_around_the_means_of_conditions(tmp_path):
    rng = np.random.default_rng(0)
    plates, centred, lost = [], [], 0
    for name, kept in (("p1", (0, 1, 2)), ("p2", (0, 2))):  # on the second plate one condition is too small
        condition = rng.integers(0, 3, 60)
        x = rng.normal(size=(60, 5)) @ rng.normal(size=(5, 5)) + 3.0 * condition[:, None]
        plates.append(write_plate(tmp_path, name, x, condition, kept=kept))
        for value in range(3):
            centred.append(x[condition == value] - x[condition == value].mean(axis=0))
            lost += 1
    found, genes = covariance_within_conditions(plates)
    together = np.concatenate(centred)
    assert genes["gene_id"].tolist() == GENES
    np.testing.assert_allclose(found, together.T @ together / (120 - lost), rtol=1e-5, atol=1e-5)


def test_plates_of_two_panels_are_told(tmp_path):
    x, condition = np.random.default_rng(0).normal(size=(10, 5)), np.zeros(10, int)
    plates = [write_plate(tmp_path, "p1", x, condition, kept=(0,)), write_plate(tmp_path, "p2", x, condition, kept=(0,), genes=GENES[::-1])]
    with pytest.raises(InputError, match=r"p2\.zarr: expected the 5 genes of the panel, found another axis"):
        covariance_within_conditions(plates)
    with pytest.raises(InputError, match="expected sums of at least one plate, found none"):
        covariance_within_conditions([])


def test_one_cell_in_each_condition_is_told(tmp_path):
    x = np.random.default_rng(0).normal(size=(4, 5))
    with pytest.raises(InputError, match="expected conditions of several cells, found one cell in each"):
        covariance_within_conditions([write_plate(tmp_path, "p1", x, np.arange(4), kept=(0, 1, 2, 3))])


def test_partial_correlation_against_regressions():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(5000, 4)) @ rng.normal(size=(4, 4))
    covariance = np.cov(x.T)
    value = partial_correlation(covariance, np.array([0, 1]), np.array([1, 3]), shrinkage=0.0)
    for k, (a, b) in enumerate([(0, 1), (1, 3)]):
        rest = [g for g in range(4) if g not in (a, b)]
        centred = x - x.mean(axis=0)
        left = [centred[:, g] - centred[:, rest] @ np.linalg.lstsq(centred[:, rest], centred[:, g], rcond=None)[0] for g in (a, b)]
        assert value[k] == pytest.approx(np.corrcoef(*left)[0, 1], abs=1e-8)


def test_partial_correlation_of_a_constant_gene_is_zero():
    covariance = np.diag([1.0, 0.0, 2.0])
    covariance[0, 2] = covariance[2, 0] = 0.5
    value = partial_correlation(covariance, np.array([0, 0]), np.array([1, 2]))
    assert value[0] == 0
    assert 0.2 < value[1] < 0.36


def test_a_matrix_that_is_no_covariance_is_told():
    with pytest.raises(InputError, match="found a matrix that is not positive"):
        partial_correlation(np.array([[1.0, 2.0], [2.0, 1.0]]), np.array([0]), np.array([1]))


def test_the_covariance_is_not_changed():
    covariance = np.cov(np.random.default_rng(0).normal(size=(3, 50)))
    before = covariance.copy()
    partial_correlation(covariance, np.array([0]), np.array([1]))
    np.testing.assert_array_equal(covariance, before)


def test_table_of_candidate_edges(tmp_path):
    x = np.random.default_rng(0).normal(size=(200, 5)) @ np.random.default_rng(1).normal(size=(5, 5))
    plate = write_plate(tmp_path, "p1", x, np.zeros(200, int), kept=(0,))
    edges = pd.DataFrame({"regulator": ["ensg3", "ensg0"], "target": ["ensg1", "ensg4"], "sources": "collectri"})
    table = partial_table([plate], edges)
    expected = partial_correlation(np.cov(x.T), np.array([1, 4]), np.array([3, 0]))
    assert table["regulator"].tolist() == ["ensg3", "ensg0"]
    np.testing.assert_allclose(table["partial_correlation"], expected, rtol=1e-4)
