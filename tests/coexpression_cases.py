"""Plates for tests of coexpression, and correlations of explicit least-squares residuals."""

from pathlib import Path

import numpy as np
import pandas as pd
from cell_cases import dense_x, gene_names, make_store, random_counts

from causcade.cells import CellStore
from causcade.coexpression import Moments, measure_moments
from causcade.covariates import cell_cycle_scores, design

GENES = 40
TERMS = ["log_counts", "mito_fraction", "s_score", "plate", "cell_line", "age"]
ROLES = pd.DataFrame({"gene_id": ["g030", "g031", "g032", "g020", "g021"], "role": ["s", "s", "s", "s_control", "s_control"]})


def make_plates(folder: Path) -> list[CellStore]:
    """Three plates: line B is on plate 3 only, where it is alone, so plates and lines are collinear; age follows the line on plate 1."""
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


def measure(store: CellStore, block_cells: int = 32, terms: list[str] = TERMS, gene_ids: list[str] | None = None, **settings: object) -> Moments:
    """Sums of a plate of :func:`make_plates`, on the CPU."""
    ids = pd.Index(gene_ids or gene_names(GENES))
    return measure_moments(store, ids, terms, ROLES, block_cells=block_cells, **{"backend": "cpu", **settings})


def explicit(x_NG: np.ndarray, c_NK: np.ndarray) -> np.ndarray:
    """Correlation of the least-squares residuals; rows of constant genes are zero."""
    residual = x_NG - c_NK @ np.linalg.lstsq(c_NK, x_NG, rcond=1e-10)[0]
    residual[:, residual.std(axis=0) < 1e-6 * np.maximum(np.abs(x_NG).max(axis=0), 1e-30)] = 0.0
    with np.errstate(invalid="ignore"):
        return np.nan_to_num(np.corrcoef(residual, rowvar=False))


def pooled(stores: list[CellStore], gene_ids: list[str], terms: list[str], roles: pd.DataFrame = ROLES) -> tuple[np.ndarray, np.ndarray]:
    """x and the design matrix of all cells at once."""
    x_NF = [dense_x(store, store.var.index) for store in stores]
    scores = [cell_cycle_scores(x, store.var.index, roles) for x, store in zip(x_NF, stores, strict=True)]
    obs = pd.concat([store.obs for store in stores], ignore_index=True)
    joined = {name: np.concatenate([part[name] for part in scores]) for name in scores[0]}
    return np.concatenate([dense_x(store, gene_ids) for store in stores]), design(obs, joined, terms)[0]


def assert_same(first: Moments, second: Moments, tolerance: float) -> None:
    """Two sums are equal, to a relative tolerance (0: to the bit)."""
    assert (first.covariates, first.num_cells, first.gene_ids) == (second.covariates, second.num_cells, second.gene_ids)
    for name in ("sxx_upper", "sxc_GK", "scc_KK"):
        a, b = getattr(first, name), getattr(second, name)
        if tolerance == 0:
            np.testing.assert_array_equal(a, b, err_msg=name)
        else:
            np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * np.abs(b).max(initial=0), err_msg=name)
