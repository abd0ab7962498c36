import numpy as np
import pandas as pd
import pytest

from causcade.coexpression import Moments, write_moments
from causcade.coexpression.packed import pack
from causcade.errors import InputError
from causcade.evidence import partial
from causcade.evidence.partial import partial_correlation, partial_in_controls

NUM = 30


def draw(rng, num_cells=400):
    x = rng.normal(size=(num_cells, NUM))
    for gene in range(1, NUM):
        x[:, gene] += 0.6 * x[:, gene - 1]
    return x + 2


def test_equals_the_correlation_of_residuals():
    """Two genes regressed on all others, by least squares; a shrinkage of next to nothing."""
    x = draw(np.random.default_rng(0))
    x -= x.mean(axis=0)
    target, source = np.array([3, 5, 9, 20]), np.array([2, 8, 8, 4])
    found = partial_correlation(np.corrcoef(x.T).astype(np.float32), target, source, shrinkage=1e-7)
    for edge in range(4):
        pair = [target[edge], source[edge]]
        others = np.delete(x, pair, axis=1)
        rest = x[:, pair] - others @ np.linalg.lstsq(others, x[:, pair], rcond=None)[0]
        assert found[edge] == pytest.approx(np.corrcoef(rest.T)[0, 1], abs=1e-5)


def test_equals_the_inverse_in_float64_and_has_no_direction():
    correlation = np.corrcoef(draw(np.random.default_rng(1), 20).T)  # fewer cells than genes: only the shrinkage makes it invertible
    target, source = np.nonzero(~np.eye(NUM, dtype=bool))
    inverse = np.linalg.inv(correlation + 0.05 * np.eye(NUM))
    expected = -inverse / np.sqrt(np.outer(np.diag(inverse), np.diag(inverse)))
    found = partial_correlation(correlation.astype(np.float32), target, source)
    np.testing.assert_allclose(found, expected[target, source], atol=1e-4)
    square = np.zeros((NUM, NUM))
    square[target, source] = found
    np.testing.assert_array_equal(square, square.T)


def test_a_constant_gene_has_none():
    correlation = np.corrcoef(draw(np.random.default_rng(2)).T).astype(np.float32)
    correlation[4], correlation[:, 4] = 0, 0
    found = partial_correlation(correlation, np.array([4, 5, 6]), np.array([3, 4, 5]))
    assert found[:2].tolist() == [0, 0]
    assert found[2] != 0


def test_no_correlations_are_told():
    with pytest.raises(InputError, match="expected finite correlations"):
        partial_correlation(np.full((3, 3), np.nan, np.float32), np.array([0]), np.array([1]))
    with pytest.raises(InputError, match="not positive definite"):
        partial_correlation(np.full((3, 3), -5, np.float32), np.array([0]), np.array([1]))


def sums(x, plate):
    names = ("intercept", f"plate={plate}")
    covariates = np.ones((len(x), 2))
    return Moments(
        sxx_upper=pack(x.T @ x), sxc_GK=x.T @ covariates, scc_KK=covariates.T @ covariates, covariates=names, num_cells=len(x),
        gene_ids=tuple(f"ENSG{i}" for i in range(NUM)),
    )  # fmt: skip


def test_plates_are_added_and_their_differences_taken_out(tmp_path):
    rng = np.random.default_rng(3)
    parts = {"p1": draw(rng), "p2": draw(rng, 300) + rng.normal(size=NUM)}
    paths = [tmp_path / f"{name}.npz" for name in parts]
    for path, (name, x) in zip(paths, parts.items(), strict=True):
        write_moments(path, sums(x, name))
    genes = pd.DataFrame({"gene": [f"G{i}" for i in range(NUM)], "gene_id": [f"ENSG{i}" for i in range(NUM)]})
    edges = pd.DataFrame({"regulator": ["G1", "G7", "G0"], "target": ["G2", "G3", "G29"]})
    centred = np.concatenate([x - x.mean(axis=0) for x in parts.values()])
    expected = partial_correlation(np.corrcoef(centred.T).astype(np.float32), np.array([2, 3, 29]), np.array([1, 7, 0]))
    table = partial_in_controls(paths, edges, genes)
    assert list(table.columns) == ["regulator", "target", "partial_correlation"]
    np.testing.assert_allclose(table["partial_correlation"], expected, atol=1e-5)
    assert partial_in_controls(paths[::-1], edges, genes).equals(table)


def test_too_few_controls_say_nothing(tmp_path, caplog):
    write_moments(tmp_path / "p.npz", sums(draw(np.random.default_rng(0), 2), "p"))
    genes = pd.DataFrame({"gene": [f"G{i}" for i in range(NUM)]})
    with caplog.at_level("WARNING", logger="causcade"):
        table = partial_in_controls([tmp_path / "p.npz"], pd.DataFrame({"regulator": ["G0"], "target": ["G1"]}), genes)
    assert table["partial_correlation"].tolist() == [0]
    assert "2 control cells are too few" in caplog.text


def test_only_control_cells_are_summed(monkeypatch):
    class Store:
        obs = pd.DataFrame({"is_control": [False, True, False, True, True]})

    asked = {}
    monkeypatch.setattr(partial, "measure_rows", lambda *given, **named: asked.update(named))
    partial.measure_controls(Store(), pd.Index(["a"]), [], pd.DataFrame(), {"block_cells": 7, "backend": "cpu", "threads": 1, "precision": "float32"})
    assert asked["cells"].tolist() == [1, 3, 4]
    assert (asked["first"], asked["last"], asked["block_cells"]) == (0, 3, 7)
