"""Covariates of cells: the design matrix, cell-cycle scores, and which columns are independent."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from causcade.covariates import (
    Covariates,
    CycleScores,
    cell_cycle_scores,
    design,
    dropped_reasons,
    independent_columns,
)
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


@pytest.mark.parametrize("rows", [np.arange(4), np.array([0, 2, 3]), np.array([1]), np.arange(0)])
def test_blocks_of_a_plate_equal_the_design_of_their_cells(obs, rows):
    terms = ["donor", "log_counts", "is_fresh", "s_score", "plate", "passage"]
    scores = {"s_score": np.linspace(0, 1, len(rows))}
    c_BK, names = Covariates(obs, terms).block(rows, scores)
    expected, expected_names = design(obs.iloc[rows], scores, terms)
    assert names == expected_names
    np.testing.assert_array_equal(c_BK, expected)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pd.array([True, False, True, True], dtype="boolean"), {"term": [1, 0, 1, 1]}),
        (pd.array([3, 4, 5, 3], dtype="Int64"), {"term": [3, 4, 5, 3]}),
        (np.array([True, False, True, True], dtype=object), {"term=False": [0, 1, 0, 0], "term=True": [1, 0, 1, 1]}),
        (pd.Categorical([2, 10, 2, 2]), {"term=10": [0, 1, 0, 0], "term=2": [1, 0, 1, 1]}),
        (pd.Categorical([False, True, True, True]), {"term=False": [1, 0, 0, 0], "term=True": [0, 1, 1, 1]}),
        (pd.array(["b", "a", "b", "b"], dtype="string"), {"term=a": [0, 1, 0, 0], "term=b": [1, 0, 1, 1]}),
        (np.array(["2", 2, 10, 10], dtype=object), {"term=10": [0, 0, 1, 1], "term=2": [1, 1, 0, 0]}),
        (pd.to_datetime(["2024-05-01", "2024-05-02", "2024-05-01", "2024-05-01"]),
         {"term=2024-05-01 00:00:00": [1, 0, 1, 1], "term=2024-05-02 00:00:00": [0, 1, 0, 0]}),
    ],
    ids=["boolean", "Int64", "object bool", "number as category", "bool as category", "string", "mixed", "date"],
)  # fmt: skip
def test_columns_of_any_kind(obs, values, expected):
    c_BK, names = design(obs.assign(term=values), {}, ["term"])
    assert names == ["intercept", *expected]
    np.testing.assert_array_equal(c_BK[:, 1:].T, list(expected.values()))


def test_unknown_term_is_an_error_that_lists_the_columns(obs):
    with pytest.raises(InputError, match=r"covariates\.terms: expected an obs column of the cells, found 'dnor'\. Use one of log_counts, .*, donor"):
        design(obs, {}, ["dnor"])


@pytest.mark.parametrize(("term", "value"), [("plate", None), ("mito_fraction", np.nan), ("mito_fraction", np.inf)])
def test_missing_and_infinite_values_are_errors(obs, term, value):
    obs.loc["c", term] = value
    with pytest.raises(InputError) as error:
        design(obs, {}, [term])
    assert str(error.value) == (
        f"covariates.terms: expected a number or one of a few texts in {term!r} for each cell, found 1 missing or infinite. "
        "Leave the term out, or mend the column."
    )


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


def test_scores_without_any_gene_are_absent():
    x = sp.csr_matrix(np.ones((3, 2), dtype=np.float32))
    assert cell_cycle_scores(x, pd.Index(["a", "b"]), pd.DataFrame({"gene_id": ["gone"], "role": ["s"]})) == {}


def test_scores_of_the_scored_genes_alone_are_the_same():
    rng = np.random.default_rng(4)
    x = sp.csr_matrix(rng.random((20, 40)).astype(np.float32) * (rng.random((20, 40)) < 0.3))
    genes = pd.Index([f"g{number}" for number in range(40)])
    roles = pd.DataFrame({"gene_id": [f"g{number}" for number in (3, 9, 1, 22, 30, 8)], "role": ["s", "s", "s_control", "g2m", "g2m_control", "g2m"]})
    chosen = np.flatnonzero(genes.isin(roles["gene_id"]))
    everything, few = CycleScores(genes, roles)(x), CycleScores(genes[chosen], roles)(x[:, chosen])
    for name in ("s_score", "g2m_score"):
        np.testing.assert_array_equal(everything[name], few[name])


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


# ---- several plates: sums joined by name, and what is collinear over all of them


def summed(plates: list[pd.DataFrame], terms: list[str]) -> tuple[np.ndarray, list[str]]:
    """C'C over plates whose columns differ, as the moments do it: the intercept first, then numbers, then levels."""
    parts = [design(obs, {}, terms) for obs in plates]
    names = sorted({name for _, found in parts for name in found}, key=lambda name: (name != "intercept", "=" in name, name))
    scc_KK = np.zeros((len(names), len(names)))
    for c_BK, found in parts:
        index = [names.index(name) for name in found]
        scc_KK[np.ix_(index, index)] += c_BK.T @ c_BK
    return scc_KK, names


def assert_same_fit(plates: list[pd.DataFrame], terms: list[str]) -> dict[str, str]:
    """The kept columns explain what all columns do, none of them is superfluous, and all others have a reason; returns those."""
    scc_KK, names = summed(plates, terms)
    keep = independent_columns(scc_KK)
    everything, order = design(pd.concat(plates, ignore_index=True), {}, terms)
    everything = everything[:, [order.index(name) for name in names]]
    np.testing.assert_allclose(everything.T @ everything, scc_KK)
    y = np.random.default_rng(0).normal(size=len(everything))
    fits = [c @ np.linalg.lstsq(c, y, rcond=None)[0] for c in (everything, everything[:, keep])]
    np.testing.assert_allclose(*fits, atol=1e-9)
    scaled = everything / np.sqrt(np.maximum(np.diag(scc_KK), 1e-300))
    assert keep.sum() == np.linalg.matrix_rank(scaled[:, keep]) == np.linalg.matrix_rank(scaled)
    reasons = dropped_reasons(scc_KK, names)
    assert list(reasons) == [name for name, kept in zip(names, keep, strict=True) if not kept]
    return reasons


def plate_of(name: str, num: int, seed: int, **columns: object) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    lines = rng.choice(["A", "B", "C"], num)
    return pd.DataFrame({"total_counts": rng.integers(100, 900, num), "plate": name, "cell_line": lines, "age": rng.normal(40, 9, num)}).assign(
        **columns
    )


def test_a_level_that_is_on_one_plate_only():
    plates = [plate_of("p1", 30, 1), plate_of("p2", 20, 2), plate_of("p3", 10, 3)]
    plates[1].loc[:4, "cell_line"] = "rare"
    assert assert_same_fit(plates, ["age", "cell_line", "plate"]) == {"cell_line=rare": "reference level", "plate=p3": "reference level"}
    plates[1]["cell_line"] = "alone"  # the line and its plate are one and the same
    assert assert_same_fit(plates, ["cell_line", "plate"]) == {
        "cell_line=alone": "reference level",
        "plate=p2": "explained by 3 levels of cell_line",
        "plate=p3": "explained by 3 levels of cell_line, plate=p1",
    }


@pytest.mark.parametrize("value", [0.0, 3.7, 1e6, True])
def test_a_constant_number(value):
    plates = [plate_of("p1", 30, 1, dose=value), plate_of("p2", 20, 2, dose=value)]
    reasons = assert_same_fit(plates, ["dose", "age", "plate"])
    assert reasons == {"dose": "0 in every cell" if value == 0 else "constant", "plate=p2": "reference level"}


def test_a_text_with_one_level_is_constant():
    assert assert_same_fit([plate_of("p1", 30, 1)], ["plate", "age"]) == {"plate=p1": "constant"}


def test_a_number_far_from_zero_that_hardly_varies_counts_as_constant():
    plates = [plate_of("p1", 30, 1, day=20_240_000.0 + np.arange(30) % 3)]
    scc_KK, names = summed(plates, ["day"])
    assert dropped_reasons(scc_KK, names) == {"day": "constant"}
    plates = [plate_of("p1", 30, 1, day=np.arange(30) % 3)]
    assert dropped_reasons(*summed(plates, ["day"])) == {}


def test_a_number_that_is_constant_on_each_plate_is_judged_over_all_of_them():
    plates = [plate_of("p1", 30, 1, humidity=0.4), plate_of("p2", 20, 2, humidity=0.6), plate_of("p3", 9, 3, humidity=0.45)]
    for obs in plates:
        assert dropped_reasons(*summed([obs], ["humidity"])) == {"humidity": "constant"}
    assert assert_same_fit(plates, ["humidity"]) == {}
    # Beside the plates it says nothing new: numbers come first, so that a plate goes.
    assert assert_same_fit(plates, ["humidity", "plate"]) == {
        "plate=p2": "explained by humidity, plate=p1",
        "plate=p3": "explained by humidity, plate=p1",
    }


def test_a_plate_level_is_no_covariate_of_its_plate_but_of_all():
    plates = [plate_of("p1", 30, 1), plate_of("p2", 20, 2)]
    for obs in plates:
        assert set(dropped_reasons(*summed([obs], ["plate"])).values()) == {"constant"}
    assert dropped_reasons(*summed(plates, ["plate"])) == {"plate=p2": "reference level"}


def test_booleans_numbers_and_texts_mix():
    plates = []
    for number in range(3):
        obs = plate_of(f"p{number}", 40, number)
        rng = np.random.default_rng(number + 10)
        obs["is_fresh"] = rng.random(40) < 0.5
        obs["is_old"] = ~obs["is_fresh"]
        obs["years"] = obs["age"].astype(np.float32) * 2 + 1
        obs["donor"] = pd.Categorical(rng.choice(["x", "y"], 40))
        obs["both"] = obs["donor"].astype(str) + obs["is_fresh"].map({True: "+", False: "-"})
        plates.append(obs)
    assert assert_same_fit(plates, ["log_counts", "is_fresh", "is_old", "age", "years", "donor", "both", "plate", "cell_line"]) == {
        "is_old": "explained by is_fresh",
        "years": "explained by age",
        "both=y+": "explained by is_fresh, both=x+",
        "both=y-": "explained by is_fresh, both=x-",
        "cell_line=C": "reference level",
        "donor=x": "explained by 2 levels of both",
        "donor=y": "explained by 2 levels of both",
        "plate=p2": "reference level",
    }


def test_many_explaining_columns_are_counted():
    rng = np.random.default_rng(5)
    numbers = {f"n{number}": rng.normal(size=200) for number in range(8)}
    obs = plate_of("p1", 200, 1, **numbers).assign(zsum=sum(column.astype(np.float32).astype(np.float64) for column in numbers.values()))
    c_BK, names = design(obs, {}, [*numbers, "zsum"])
    assert dropped_reasons(c_BK.T @ c_BK, names) == {"zsum": "explained by n0, n1, n2, n3, n4 and 3 more"}


def test_the_order_of_plates_changes_no_reason():
    plates = [plate_of(f"p{number}", 20 + number, number, humidity=number / 4) for number in range(4)]
    first = dropped_reasons(*summed(plates, ["humidity", "plate", "cell_line"]))
    assert dropped_reasons(*summed(plates[::-1], ["humidity", "plate", "cell_line"])) == first
