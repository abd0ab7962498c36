"""The gene panel: votes, consensus, union of sources, cell-cycle genes."""

import numpy as np
import pandas as pd
import pytest
from cell_cases import dense_x, gene_names, make_store, random_counts

from causcade.config import PanelConfig
from causcade.errors import InputError
from causcade.gene_lists import G2M_GENES, S_GENES
from causcade.panel import build_panel, cell_cycle_genes, consensus, plate_votes, source_members, summarise_panel
from causcade.resources import Resolver

SETTINGS = PanelConfig(num_hvg=10, min_cells=1)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    counts = random_counts(np.random.default_rng(0), 120, 60)
    counts[:, 7] = 0  # never expressed
    return make_store(tmp_path_factory.mktemp("plate") / "p1.zarr", counts)


def vote(store, block_cells=16, seed=0, settings=SETTINGS) -> pd.DataFrame:
    return plate_votes(store, settings, seed=seed, block_cells=block_cells, backend="cpu")


def agreed_table(**columns) -> pd.DataFrame:
    size = len(columns["gene_id"])
    base = {"gene": columns["gene_id"], "hvg_rank": np.arange(1.0, size + 1), "num_plates": 1, "num_cells": 50, "mean": 1.0, "is_hvg": False}
    return pd.DataFrame(base | columns)


def test_ranks_follow_scanpys_dispersions(store):
    import anndata
    import scanpy as sc

    votes = vote(store)
    x = dense_x(store, store.var.index).astype(np.float32)
    expressed = x.sum(axis=0) > 0
    data = anndata.AnnData(x[:, expressed], var=pd.DataFrame(index=store.var.index[expressed]))
    sc.pp.highly_variable_genes(data, flavor="seurat", n_top_genes=10)
    table = data.var.rename_axis("gene_id").reset_index().sort_values(["dispersions_norm", "gene_id"], ascending=[False, True])
    assert votes.dropna(subset="rank").sort_values("rank")["gene_id"].tolist() == table["gene_id"].tolist()


def test_votes_count_all_cells(store):
    votes = vote(store)
    x = dense_x(store, store.var.index)
    np.testing.assert_allclose(votes["mean"], x.mean(axis=0), rtol=1e-6, atol=1e-9)
    np.testing.assert_array_equal(votes["num_cells"], (x > 0).sum(axis=0))
    assert votes["rank"].isna().tolist() == (votes["num_cells"] == 0).tolist()
    assert sorted(votes["rank"].dropna()) == list(range(1, 60))


@pytest.mark.parametrize("block_cells", [1, 50, 1000])
def test_votes_do_not_depend_on_block_size(store, block_cells):
    for most in (1000, 40):
        settings = SETTINGS.model_copy(update={"vote_cells": most})
        pd.testing.assert_frame_equal(vote(store, block_cells, settings=settings), vote(store, settings=settings))


def test_a_seeded_sample_is_ranked_on_and_all_cells_are_counted(store):
    few = SETTINGS.model_copy(update={"vote_cells": 40})
    first, second, whole = vote(store, settings=few), vote(store, seed=1, settings=few), vote(store)
    assert first["num_cells"].tolist() == second["num_cells"].tolist() == whole["num_cells"].tolist()
    assert first["mean"].tolist() != second["mean"].tolist()
    x = dense_x(store, store.var.index)
    chosen = np.random.default_rng(0).choice(120, 40, replace=False)
    np.testing.assert_allclose(first["mean"], x[chosen].mean(axis=0), rtol=1e-5, atol=1e-9)


def test_constant_genes_come_last(tmp_path):
    counts = np.random.default_rng(1).poisson(5, (40, 12))
    counts[:, 3] = 9000  # alone in its bin of expression
    votes = vote(make_store(tmp_path / "p.zarr", counts, total_counts=1e5))
    assert votes["rank"].iloc[3] == 12
    flat = vote(make_store(tmp_path / "flat.zarr", np.tile([4, 2, 1], (5, 1))))
    assert flat["rank"].tolist() == [1, 2, 3]  # no gene varies: the order of the ids


def test_plates_that_cannot_vote_rank_nothing(tmp_path):
    for number, counts in enumerate([np.zeros((0, 3), dtype=int), np.array([[1, 2, 3]]), np.zeros((4, 3), dtype=int), np.array([[1, 0], [4, 0]])]):
        votes = vote(make_store(tmp_path / f"{number}.zarr", counts))
        assert votes["rank"].isna().all()
        assert votes["num_cells"].tolist() == (counts > 0).sum(axis=0).tolist()


def votes_of(genes: list[str], ranks: list[float], num_cells: int = 30) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "gene_id": genes,
            "gene": [name.upper() for name in genes],
            "rank": ranks,
            "mean": np.arange(len(genes), dtype=float),
            "num_cells": num_cells,
        }
    )


def test_consensus_is_the_slow_count_over_plates():
    votes = {
        "p2": votes_of(["a", "b", "c", "d"], [2, 1, 3, np.nan]),
        "p1": votes_of(["d", "a", "c"], [1, 2, 3]),
        "p3": votes_of(["a", "c", "b"], [3, 1, 2]),
    }
    table = consensus(votes, PanelConfig(num_hvg=2, min_cells=1)).set_index("gene_id")
    assert table["num_plates"].to_dict() == {"a": 2, "b": 2, "c": 1, "d": 1}
    assert table["hvg_rank"].to_dict() == {"a": 2.0, "b": 1.5, "c": 3.0, "d": 1.0}
    assert table["num_cells"].to_dict() == {"a": 90, "b": 60, "c": 90, "d": 60}
    assert table["mean"].to_dict() == pytest.approx({"a": 1 / 3, "b": 1.5, "c": 5 / 3, "d": 1.5})
    assert table.index[table["is_hvg"]].tolist() == ["a", "b"]
    assert table["gene"].tolist() == ["A", "B", "C", "D"]


def test_consensus_does_not_depend_on_the_order_of_plates(tmp_path):
    rng = np.random.default_rng(3)
    votes = {f"p{n}": vote(make_store(tmp_path / f"{n}.zarr", random_counts(rng, 50, 30), gene_names(60)[n : n + 30])) for n in range(4)}
    first = consensus(votes, SETTINGS)
    pd.testing.assert_frame_equal(consensus(dict(reversed(votes.items())), SETTINGS), first)
    assert first["is_hvg"].sum() == 10
    # Genes of one plate only are there, with the votes of that plate.
    assert first.set_index("gene_id")["num_plates"].loc["g000"] in (0, 1)
    assert first["gene_id"].tolist() == gene_names(33)


def test_genes_need_cells_and_a_rank_to_be_highly_variable():
    votes = {"p": pd.concat([votes_of(["a", "b"], [1, 2], 4), votes_of(["c", "d"], [3, np.nan], 5)])}
    table = consensus(votes, PanelConfig(num_hvg=9, min_cells=5))
    assert table.loc[table["is_hvg"], "gene_id"].tolist() == ["c"]
    assert not consensus(votes, PanelConfig(num_hvg=0, min_cells=1))["is_hvg"].any()


def test_no_votes_is_an_error():
    with pytest.raises(InputError, match="panel: expected votes of at least one plate, found none"):
        consensus({}, SETTINGS)


def test_panel_unites_the_sources_and_flags_all_of_them():
    agreed = agreed_table(
        gene_id=["e5", "e4", "e3", "e2", "e1", "e0"], gene=["A", "B", "C", "D", "E", "F"], is_hvg=[True, True, False, False, False, False]
    )
    members = {"tfs": {"B", "C", "gone"}, "hallmarks": {"D"}, "drug_targets": {"A", "E"}}
    panel = build_panel(agreed, members, PanelConfig(sources=["hvg", "tfs", "drug_targets"], min_cells=1))
    assert panel["gene"].tolist() == ["A", "B", "C", "E"]
    assert panel["gene_id"].tolist() == ["e5", "e4", "e3", "e1"]
    assert panel["is_tf"].tolist() == [False, True, True, False]
    assert panel["is_drug_target"].tolist() == [True, False, False, True]
    assert panel["is_hvg"].tolist() == [True, True, False, False]
    assert not panel["is_rbp"].any()
    assert panel.columns.tolist() == [
        "gene_id", "gene", "is_tf", "is_rbp", "is_hallmark", "is_drug_target", "is_hvg", "hvg_rank", "num_plates", "num_cells",
    ]  # fmt: skip
    # A source that is left out adds no gene, but flags those that others bring.
    only = build_panel(agreed, members | {"hallmarks": {"A", "D"}}, PanelConfig(sources=["hvg"], min_cells=1))
    assert only["gene"].tolist() == ["A", "B"]
    assert only["is_hallmark"].tolist() == [True, False]
    without = build_panel(agreed, members, PanelConfig(sources=["tfs", "hallmarks"], min_cells=1))
    assert without["gene"].tolist() == ["B", "C", "D"]


def test_genes_of_too_few_cells_are_left_out_whatever_their_source():
    agreed = agreed_table(gene_id=["a", "b", "c"], num_cells=[20, 19, 21], is_hvg=True)
    panel = build_panel(agreed, {"tfs": {"b"}}, PanelConfig(min_cells=20))
    assert panel["gene"].tolist() == ["a", "c"]


def test_too_few_genes_is_an_error():
    agreed = agreed_table(gene_id=["a", "b"], num_cells=[20, 19], is_hvg=True)
    with pytest.raises(InputError) as error:
        build_panel(agreed, {}, PanelConfig(min_cells=20))
    assert str(error.value) == (
        "panel: expected at least 2 genes that 20 cells express, found 1. Lower `panel: {min_cells: ...}`, or check that the gene ids are human."
    )


def test_source_members_and_summary():
    gene_sets = pd.DataFrame({"collection": ["tfs", "hallmarks", "reactome", "tfs"], "gene_set": "x", "gene": ["A", "B", "C", "D"]})
    members = source_members(gene_sets, pd.DataFrame({"target": ["E", "E", "A"]}))
    assert members == {"tfs": {"A", "D"}, "rbps": set(), "hallmarks": {"B"}, "drug_targets": {"A", "E"}}
    panel = build_panel(agreed_table(gene_id=["A", "B", "Z"], is_hvg=[False, False, True]), members, PanelConfig(min_cells=1))
    assert summarise_panel(panel, ["p2", "p1"]) == {
        "num_genes": 3,
        "by_source": {"hvg": 1, "tfs": 1, "rbps": 0, "hallmarks": 1, "drug_targets": 1},
        "plates_voted": ["p1", "p2"],
    }


@pytest.fixture(scope="module")
def cycling() -> pd.DataFrame:
    """A table of 600 genes; ten of each phase are among them, one of them not expressed."""
    rng = np.random.default_rng(5)
    names = [*S_GENES[:10], *G2M_GENES[:10], *(f"other{number}" for number in range(580))]
    table = agreed_table(gene_id=[f"id_{name}" for name in names], gene=names, mean=rng.random(600))
    table.loc[0, "num_cells"] = 0
    return table.sort_values("gene_id", ignore_index=True)


def test_cell_cycle_genes_and_controls_of_similar_expression(cycling):
    roles = cell_cycle_genes(cycling, None, seed=0)
    of = {role: set(group) for role, group in roles.groupby("role")["gene_id"]}
    assert of["s"] == {f"id_{name}" for name in S_GENES[1:10]}
    assert of["g2m"] == {f"id_{name}" for name in G2M_GENES[:10]}
    listed = of["s"] | of["g2m"] | {f"id_{S_GENES[0]}"}
    assert not (of["s_control"] | of["g2m_control"]) & listed
    assert not roles.duplicated().any()
    # Slow reference of the bins: 25 equal groups by the mean of the expressed genes.
    ordered = cycling[cycling["num_cells"] > 0].sort_values("mean")["gene_id"].tolist()
    bin_of = {gene: position * 25 // len(ordered) for position, gene in enumerate(ordered)}
    for role in ("s", "g2m"):
        assert {bin_of[gene] for gene in of[f"{role}_control"]} == {bin_of[gene] for gene in of[role]}


def test_control_genes_are_fixed_by_the_seed(cycling):
    # 3,000 genes in 25 bins: more candidates per bin than are drawn.
    many = pd.concat(
        [cycling] + [cycling[20:].assign(gene_id=cycling["gene_id"][20:] + f"_{n}", gene=cycling["gene"][20:] + f"_{n}") for n in range(4)]
    )
    first, second, other = (cell_cycle_genes(many, None, seed=seed) for seed in (0, 0, 1))
    pd.testing.assert_frame_equal(first, second)
    shuffled = cell_cycle_genes(many.sample(frac=1, random_state=0), None, seed=0)
    pd.testing.assert_frame_equal(shuffled, first)
    assert set(first["gene_id"]) != set(other["gene_id"])


def test_a_phase_with_fewer_than_two_genes_is_left_out(cycling, caplog):
    few = cycling[~cycling["gene"].isin(S_GENES[2:])]
    with caplog.at_level("WARNING", logger="causcade"):
        roles = cell_cycle_genes(few, None, seed=0)
    assert set(roles["role"]) == {"g2m", "g2m_control"}
    assert "cell cycle: 1 of the S genes are in the data; the S score is left out" in caplog.text
    empty = cell_cycle_genes(cycling[~cycling["gene"].isin([*S_GENES, *G2M_GENES])], None, seed=0)
    assert empty.columns.tolist() == ["gene_id", "role"]
    assert len(empty) == 0


def test_listed_genes_are_found_under_their_approved_symbols(cycling):
    # MLF1IP is CENPU today.
    names = pd.DataFrame({"identifier": ["MLF1IP", "CENPU"], "namespace": ["previous", "approved"], "gene": "CENPU", "gene_id": "CENPU"})
    table = pd.concat([cycling, agreed_table(gene_id=["id_CENPU"], gene=["CENPU"])], ignore_index=True)
    assert "id_CENPU" not in set(cell_cycle_genes(table, None, seed=0).query("role == 's'")["gene_id"])
    assert "id_CENPU" in set(cell_cycle_genes(table, Resolver.from_table(names), seed=0).query("role == 's'")["gene_id"])
