"""Partners against full sorts."""

import numpy as np
import pytest
from cell_cases import gene_names
from hypothesis import given
from hypothesis import strategies as st

from causcade.coexpression import partners, top_partners


def slow_partners(correlation: np.ndarray, genes: list[str], num_partners: int) -> list[tuple[str, str, float, int]]:
    rows = []
    for gene in range(len(genes)):
        if correlation[gene, gene] == 0:
            continue
        others = [other for other in range(len(genes)) if other != gene and correlation[other, other] > 0]
        others.sort(key=lambda other: (-abs(correlation[gene, other]), other))
        rows.extend((genes[gene], genes[other], float(correlation[gene, other]), rank) for rank, other in enumerate(others[:num_partners], start=1))
    return rows


@st.composite
def correlations_with_ties(draw):
    num = draw(st.integers(1, 9))
    values = draw(st.lists(st.sampled_from([-1.0, -0.5, 0.0, 0.25, 0.5]), min_size=num * num, max_size=num * num))
    square = np.array(values, dtype=np.float32).reshape(num, num)
    matrix = np.triu(square, 1) + np.triu(square, 1).T + np.eye(num, dtype=np.float32)
    for gene in draw(st.lists(st.integers(0, num - 1), max_size=2)):
        matrix[gene] = matrix[:, gene] = 0.0
    return matrix


def random_correlation(num: int) -> np.ndarray:
    x = np.random.default_rng(num).normal(size=(50, num))
    matrix = np.corrcoef(x, rowvar=False).astype(np.float32)
    matrix[4] = matrix[:, 4] = 0.0
    return matrix


@given(correlations_with_ties(), st.integers(1, 10))
def test_top_partners_equal_a_full_sort_with_ties(correlation, num_partners):
    genes = gene_names(len(correlation))
    before = correlation.copy()
    table = top_partners(correlation, genes, num_partners)
    assert list(table.itertuples(index=False, name=None)) == slow_partners(correlation, genes, num_partners)
    assert [str(kind) for kind in table.dtypes] == ["object", "object", "float32", "int32"]
    np.testing.assert_array_equal(correlation, before)


@pytest.mark.parametrize("num_partners", [1, 5, 39, 1000])
def test_top_partners_over_several_row_blocks(monkeypatch, num_partners):
    monkeypatch.setattr(partners, "PARTNER_ROWS", 7)
    correlation = random_correlation(40)
    table = top_partners(correlation, gene_names(40), num_partners)
    assert list(table.itertuples(index=False, name=None)) == slow_partners(correlation, gene_names(40), num_partners)
    assert "g004" not in set(table["gene"]) | set(table["partner"])
