"""Covariates of cells: the design matrix, cell-cycle scores, and which columns are independent."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from causcade.covariates import cell_cycle_scores, design, independent_columns
from causcade.errors import InputError


@pytest.fixture
def obs() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "total_counts": [100.0, 2000.0, 0.0, 77.0],
            "mito_fraction": [0.0, 0.125, 0.2, 0.05],
            "plate": ["p2", "p1", "p2", "p10"],
            "donor": pd.Categorical(["x", "y", "x", "y"], categories=["y", "x", "unused"]),
            "passage": [3, 4, 5, 3],
            "is_fresh": [True, False, True, True],
        },
        index=list("abcd"),
    )


def slow_design(obs: pd.DataFrame, numeric: list[str], text: list[str]) -> dict[str, list[float]]:
    columns = {"intercept": [1.0] * len(obs)}
    for term in numeric:
        columns[term] = [float(np.float32(obs[term].iloc[row])) for row in range(len(obs))]
    for term in text:
        for level in sorted(set(map(str, obs[term]))):
            columns[f"{term}={level}"] = [1.0 if str(obs[term].iloc[row]) == level else 0.0 for row in range(len(obs))]
    return columns


def test_design_equals_a_loop_over_cells(obs):
    c_BK, names = design(obs, {}, ["mito_fraction", "passage", "is_fresh", "plate", "donor"])
    expected = slow_design(obs, ["mito_fraction", "passage", "is_fresh"], ["plate", "donor"])
    assert names == list(expected)
    assert c_BK.dtype == np.float64
    np.testing.assert_array_equal(c_BK, np.array(list(expected.values())).T)


def test_levels_that_do_not_occur_have_no_column_and_repeated_terms_count_once(obs):
    _, names = design(obs, {}, ["donor", "donor"])
    assert names == ["intercept", "donor=x", "donor=y"]


def test_log_counts_and_scores(obs):
    scores = {"s_score": np.array([0.1, 0.2, 0.3, 0.4])}
    c_BK, names = design(obs, scores, ["log_counts", "s_score", "g2m_score"])
    assert names == ["intercept", "log_counts", "s_score"]  # the other phase has no genes in the data
    np.testing.assert_array_equal(c_BK[:, 1], np.log1p(obs["total_counts"].to_numpy()).astype(np.float32))
    np.testing.assert_array_equal(c_BK[:, 2], scores["s_score"].astype(np.float32))


def test_no_terms_and_no_cells(obs):
    c_BK, names = design(obs, {}, [])
    assert names == ["intercept"]
    assert c_BK.shape == (4, 1)
    c_BK, names = design(obs.iloc[:0], {}, ["plate", "passage"])
    assert names == ["intercept", "passage"]
    assert c_BK.shape == (0, 2)


def test_unknown_term_is_an_error_that_lists_the_columns(obs):
    with pytest.raises(InputError, match=r"covariates\.terms: expected an obs column of the cells, found 'dnor'\. Use one of log_counts, .*, donor"):
        design(obs, {}, ["dnor"])


@pytest.mark.parametrize(("term", "value"), [("plate", None), ("mito_fraction", np.nan), ("mito_fraction", np.inf)])
def test_missing_and_infinite_values_are_errors(obs, term, value):
    obs.loc["c", term] = value
    with pytest.raises(InputError, match=rf"expected a value of '{term}' for each cell, found 1 missing or infinite\. Leave the term out, or fill"):
        design(obs, {}, [term])


def test_cell_cycle_scores_equal_differences_of_means():
    rng = np.random.default_rng(0)
    x = rng.random((5, 6)).astype(np.float32) * (rng.random((5, 6)) < 0.5)
    genes = pd.Index(["a", "b", "c", "d", "e", "f"])
    roles = pd.DataFrame(
        {"gene_id": ["f", "b", "gone", "a", "c", "gone", "lost"], "role": ["s", "s", "s", "s_control", "s_control", "g2m", "g2m_control"]}
    )
    scores = cell_cycle_scores(sp.csr_matrix(x), genes, roles)
    assert list(scores) == ["s_score"]  # no G2/M gene is in the data
    expected = [(row[5] + row[1]) / 2 - (row[0] + row[2]) / 2 for row in x.astype(np.float64)]
    np.testing.assert_allclose(scores["s_score"], expected, atol=1e-12)


def test_scores_without_control_genes_are_plain_means():
    x = sp.csr_matrix(np.array([[1.0, 2.0]], dtype=np.float32))
    roles = pd.DataFrame({"gene_id": ["a", "b"], "role": ["g2m", "g2m"]})
    assert cell_cycle_scores(x, pd.Index(["a", "b"]), roles)["g2m_score"] == pytest.approx([1.5])


def kept_names(c_BK: np.ndarray, names: list[str]) -> list[str]:
    return [name for name, kept in zip(names, independent_columns(c_BK.T @ c_BK), strict=True) if kept]


def test_plates_nested_in_lines_are_dropped_in_order():
    # Line A is on plates 1 and 2, line B on plate 3: B is what the plates leave, and the last level of each term is what the intercept leaves.
    obs = pd.DataFrame({"cell_line": list("AAAABB"), "plate": ["1", "1", "2", "2", "3", "3"], "total_counts": 1.0})
    c_BK, names = design(obs, {}, ["cell_line", "plate"])
    assert kept_names(c_BK, names) == ["intercept", "cell_line=A", "plate=1"]


def test_independent_columns_find_the_rank_whatever_the_scale():
    rng = np.random.default_rng(1)
    free = rng.normal(size=(50, 3)) * np.array([1e-4, 1.0, 1e5])
    made = free @ rng.normal(size=(3, 2))
    keep = independent_columns(np.column_stack([free, made, np.zeros(50)]).T @ np.column_stack([free, made, np.zeros(50)]))
    assert keep.tolist() == [True, True, True, False, False, False]


def test_a_small_share_of_its_own_keeps_a_column():
    rng = np.random.default_rng(2)
    column = rng.normal(size=2000)
    near = column + 1e-3 * rng.normal(size=2000)  # leaves 1e-6 of its square sum
    same = column + 1e-6 * rng.normal(size=2000)  # leaves 1e-12
    for other, expected in ((near, True), (same, False)):
        c_BK = np.column_stack([column, other])
        assert independent_columns(c_BK.T @ c_BK)[1] == expected


def test_no_columns():
    assert independent_columns(np.zeros((0, 0))).tolist() == []
