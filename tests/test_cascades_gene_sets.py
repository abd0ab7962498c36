import numpy as np
import pandas as pd
import pytest
from scipy import stats

from causcade.cascades import enriched_sets

GENES = [f"G{i}" for i in range(100)]


def sets(**members):
    rows = [("hallmarks", name, gene) for name, genes in members.items() for gene in genes]
    return pd.DataFrame(rows, columns=["collection", "gene_set", "gene"])


def response(*genes):
    values = np.zeros(100)
    values[list(genes)] = np.linspace(2, 1, len(genes))
    return values


def test_counts_and_p_values_agree_with_fisher():
    table = enriched_sets(response(*range(10))[None], ["d"], GENES, sets(A=GENES[5:25], B=GENES[:6], C=GENES[50:70]), num_top=10)
    for row in table.itertuples():
        members = {"A": set(range(5, 25)), "B": set(range(6))}[row.gene_set]
        hits = len(members & set(range(10)))
        square = [[hits, 10 - hits], [len(members) - hits, 90 - len(members) + hits]]
        assert row.hits == hits
        assert row.p_value == pytest.approx(stats.fisher_exact(square, alternative="greater").pvalue)
        assert row.expected == pytest.approx(len(members) * 10 / 100)
    assert table["gene_set"].tolist() == ["B", "A"], "sorted by p; C has no hit"


def test_the_false_discovery_rate_counts_every_tested_set():
    members = {f"S{i}": GENES[20 + 5 * i : 25 + 5 * i] for i in range(9)} | {"HIT": GENES[:5]}
    table = enriched_sets(response(*range(5))[None], ["d"], GENES, sets(**members), num_top=5)
    assert table["gene_set"].tolist() == ["HIT"]
    assert table["fdr"][0] == pytest.approx(10 * table["p_value"][0])


def test_small_sets_lists_of_factors_and_foreign_genes_are_left_out():
    tfs = sets(TF=GENES[:10]).assign(collection="tfs")
    table = enriched_sets(response(*range(10))[None], ["d"], GENES, pd.concat([tfs, sets(SMALL=GENES[:4], OWN=[*GENES[:6], "NONE"])]), num_top=10)
    assert table[["gene_set", "size"]].values.tolist() == [["OWN", 6]]


def test_zeros_are_no_responders_and_nothing_gives_an_empty_table():
    columns = ["perturbation", "collection", "gene_set", "hits", "size", "expected", "p_value", "fdr"]
    few = enriched_sets(response(0, 1)[None], ["d"], GENES, sets(A=GENES[:10]), num_top=50)
    assert few["expected"].tolist() == [0.2]
    assert list(enriched_sets(np.zeros((1, 100)), ["d"], GENES, sets(A=GENES[:10]), num_top=50).columns) == columns
    assert list(enriched_sets(np.zeros((0, 100)), [], GENES, sets(), num_top=50).columns) == columns
