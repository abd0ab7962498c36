"""The gene panel: votes, consensus, union of sources, cell-cycle genes."""

import importlib.util

import numpy as np
import pandas as pd
import pytest
from cell_cases import dense_x, make_store, random_counts
from cell_cases import gene_names as made_names

from causcade.config import PanelConfig, ResourcesConfig
from causcade.errors import InputError
from causcade.gene_lists import G2M_GENES, S_GENES
from causcade.panel import build_panel, cell_cycle_genes, consensus, plate_votes, source_members, summarise_panel
from causcade.resources import Resolver, ResourceFile, build_resources, gene_names

FLAVORS = ["seurat", "cell_ranger", "seurat_v3"]
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
    base = {"gene": columns["gene_id"], "hvg_rank": np.arange(1.0, size + 1), "num_plates": 0, "num_cells": 50, "mean": 1.0}
    return pd.DataFrame(base | {"plates_voted": "p1;p2", "plates_silent": ""} | columns)


@pytest.mark.parametrize(
    ("flavor", "statistic"), [("seurat", "dispersions_norm"), ("cell_ranger", "dispersions_norm"), ("seurat_v3", "variances_norm")]
)
def test_ranks_follow_scanpys_statistic(store, flavor, statistic):
    import anndata
    import scanpy as sc

    votes = vote(store, settings=SETTINGS.model_copy(update={"flavor": flavor}))
    x = dense_x(store, store.var.index).astype(np.float32)
    if flavor == "seurat_v3":
        x = next(store.iter_counts(store.num_cells))[1].toarray().astype(np.float32)
    expressed = x.sum(axis=0) > 0
    data = anndata.AnnData(x[:, expressed], var=pd.DataFrame(index=store.var.index[expressed]))
    sc.pp.highly_variable_genes(data, flavor=flavor, n_top_genes=10)
    table = data.var.rename_axis("gene_id").reset_index().sort_values([statistic, "gene_id"], ascending=[False, True])
    assert votes.dropna(subset="rank").sort_values("rank")["gene_id"].tolist() == table["gene_id"].tolist()


def test_flavours_differ_and_share_the_rest(store):
    tables = [vote(store, settings=SETTINGS.model_copy(update={"flavor": flavor})) for flavor in FLAVORS]
    assert len({tuple(table["rank"].dropna()) for table in tables}) == 3
    for table in tables[1:]:
        pd.testing.assert_frame_equal(table.drop(columns="rank"), tables[0].drop(columns="rank"))


def test_a_flavour_without_its_package_is_an_error_that_names_it(store, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "skmisc" else found(name, *rest))
    with pytest.raises(InputError) as error:
        vote(store, settings=SETTINGS.model_copy(update={"flavor": "seurat_v3"}))
    assert str(error.value).startswith("panel.flavor: expected the package scikit-misc for `seurat_v3`")


def test_cells_that_a_flavour_cannot_take_are_an_error(tmp_path):
    few = make_store(tmp_path / "few.zarr", np.array([[1, 2, 5], [2, 1, 5], [3, 2, 5]]))
    with pytest.raises(InputError) as error:
        vote(few, settings=SETTINGS.model_copy(update={"flavor": "seurat_v3"}))
    assert str(error.value) == (
        f"{tmp_path / 'few.zarr'}: expected genes whose means and variances `panel.flavor: seurat_v3` can group or follow, found some that it cannot "
        "(2 genes vary, fewer than 20). Write `panel: {flavor: seurat}`, or filter the cells more strictly."
    )
    two = make_store(tmp_path / "two.zarr", np.array([[1, 2], [2, 1], [3, 2]]))
    with pytest.raises(InputError, match=r"two\.zarr: expected genes whose means and variances `panel\.flavor: cell_ranger` can group or follow"):
        vote(two, settings=SETTINGS.model_copy(update={"flavor": "cell_ranger"}))
    # All genes of one mean: there is nothing that a curve of variance over mean could follow.
    alike = make_store(tmp_path / "alike.zarr", np.eye(40, dtype=int) * 3)
    with pytest.raises(InputError, match=r"alike\.zarr: expected genes whose means and variances `panel\.flavor: seurat_v3` can group or follow"):
        vote(alike, settings=SETTINGS.model_copy(update={"flavor": "seurat_v3"}))


@pytest.mark.parametrize("flavor", FLAVORS)
@pytest.mark.parametrize("block_cells", [1, 50, 1000])
def test_votes_do_not_depend_on_block_size(store, block_cells, flavor):
    for most in (1000, 40):
        settings = SETTINGS.model_copy(update={"vote_cells": most, "flavor": flavor})
        pd.testing.assert_frame_equal(vote(store, block_cells, settings=settings), vote(store, settings=settings), check_exact=True)


def test_a_seeded_sample_is_ranked_on_and_all_cells_are_counted(store):
    few = SETTINGS.model_copy(update={"vote_cells": 40})
    first, second, whole = vote(store, settings=few), vote(store, seed=1, settings=few), vote(store)
    assert first["num_cells"].tolist() == second["num_cells"].tolist() == whole["num_cells"].tolist()
    assert first["mean"].tolist() != second["mean"].tolist()
    x = dense_x(store, store.var.index)
    chosen = np.random.default_rng(0).choice(120, 40, replace=False)
    np.testing.assert_allclose(first["mean"], x[chosen].mean(axis=0), rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("flavor", FLAVORS)
def test_constant_genes_have_no_rank(tmp_path, flavor):
    settings = SETTINGS.model_copy(update={"flavor": flavor})
    counts = np.random.default_rng(1).poisson(np.linspace(1, 9, 300), (40, 300))
    counts[:, 3] = 9000  # alone in its bin of expression
    votes = vote(make_store(tmp_path / "p.zarr", counts, total_counts=1e6), settings=settings)
    assert np.flatnonzero(votes["rank"].isna()).tolist() == [3]
    assert sorted(votes["rank"].dropna()) == list(range(1, 300))
    flat = vote(make_store(tmp_path / "flat.zarr", np.tile([4, 2, 1], (5, 1))), settings=settings)
    assert flat["rank"].isna().all()


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
    table = consensus(votes, PanelConfig(num_hvg=2)).set_index("gene_id")
    assert table["num_plates"].to_dict() == {"a": 2, "b": 2, "c": 1, "d": 1}
    assert table["hvg_rank"].to_dict() == {"a": 2.0, "b": 1.5, "c": 3.0, "d": 1.0}
    assert table["num_cells"].to_dict() == {"a": 90, "b": 60, "c": 90, "d": 60}
    assert table["mean"].to_dict() == pytest.approx({"a": 1 / 3, "b": 1.5, "c": 5 / 3, "d": 1.5})
    assert table["gene"].tolist() == ["A", "B", "C", "D"]
    assert set(table["plates_voted"]) == {"p1;p2;p3"}
    assert set(table["plates_silent"]) == {""}


def test_plates_that_rank_no_gene_are_silent():
    votes = {"p2": votes_of(["a", "b"], [np.nan, np.nan]), "p1": votes_of(["a", "b"], [2, 1]), "p0": votes_of([], [])}
    table = consensus(votes, SETTINGS)
    assert set(table["plates_voted"]) == {"p1"}
    assert set(table["plates_silent"]) == {"p0;p2"}


def test_consensus_does_not_depend_on_the_order_of_plates(tmp_path):
    rng = np.random.default_rng(3)
    votes = {f"p{n}": vote(make_store(tmp_path / f"{n}.zarr", random_counts(rng, 50, 30), made_names(60)[n : n + 30])) for n in range(4)}
    first = consensus(votes, SETTINGS)
    again = consensus(dict(reversed(votes.items())), SETTINGS)
    pd.testing.assert_frame_equal(again, first, check_exact=True)
    members = {"tfs": {"g000", "g001", "g032"}}
    settings = PanelConfig(num_genes=9, num_hvg=10, min_cells=1)
    pd.testing.assert_frame_equal(build_panel(again, members, settings), build_panel(first, members, settings), check_exact=True)
    # Genes of one plate only are there, with the votes of that plate.
    assert first.set_index("gene_id")["num_plates"].loc["g000"] in (0, 1)
    assert first["gene_id"].tolist() == made_names(33)


def test_no_votes_is_an_error():
    with pytest.raises(InputError, match="panel: expected votes of at least one plate, found none"):
        consensus({}, SETTINGS)


def test_panel_unites_the_sources_and_flags_all_of_them():
    agreed = agreed_table(gene_id=["e5", "e4", "e3", "e2", "e1", "e0"], gene=["A", "B", "C", "D", "E", "F"], num_plates=[2, 2, 0, 0, 0, 0])
    members = {"tfs": {"B", "C", "gone"}, "hallmarks": {"D"}, "drug_targets": {"A", "E"}}
    panel = build_panel(agreed, members, PanelConfig(num_genes=None, sources=["hvg", "tfs", "drug_targets"], min_cells=1))
    assert panel["gene"].tolist() == ["A", "B", "C", "E"]
    assert panel["gene_id"].tolist() == ["e5", "e4", "e3", "e1"]
    assert panel["is_tf"].tolist() == [False, True, True, False]
    assert panel["is_drug_target"].tolist() == [True, False, False, True]
    assert panel["is_hvg"].tolist() == [True, True, False, False]
    assert not panel["is_rbp"].any()
    assert panel.columns.tolist() == [
        "gene_id", "gene", "is_tf", "is_rbp", "is_hallmark", "is_drug_target", "is_hvg", "hvg_rank", "num_plates", "num_cells",
    ]  # fmt: skip
    # A source that is left out adds no gene, but flags those that others bring; no gene enters as a highly variable one without that source.
    only = build_panel(agreed, members | {"hallmarks": {"A", "D"}}, PanelConfig(sources=["hvg"], min_cells=1))
    assert only["gene"].tolist() == ["A", "B"]
    assert only["is_hallmark"].tolist() == [True, False]
    without = build_panel(agreed, members, PanelConfig(sources=["tfs", "hallmarks"], min_cells=1))
    assert without["gene"].tolist() == ["B", "C", "D"]
    assert not without["is_hvg"].any()


def random_agreed(seed: int, num_genes: int = 200) -> tuple[pd.DataFrame, dict[str, set[str]]]:
    rng = np.random.default_rng(seed)
    names = [f"g{number:03d}" for number in range(num_genes)]
    ranks = np.where(rng.random(num_genes) < 0.1, np.nan, rng.integers(1, 40, num_genes))
    agreed = agreed_table(
        gene_id=names,
        hvg_rank=ranks,
        num_plates=np.where(np.isnan(ranks), 0, rng.integers(0, 4, num_genes)),
        num_cells=rng.integers(10, 40, num_genes),
    )
    members = {
        source: set(rng.choice(names, size, replace=False)) for source, size in {"tfs": 20, "rbps": 15, "hallmarks": 30, "drug_targets": 5}.items()
    }
    return agreed, members


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("num_genes", [2, 40, 60, 61, 120, 400])
def test_highly_variable_genes_fill_up_to_the_size(seed, num_genes, caplog):
    agreed, members = random_agreed(seed)
    settings = PanelConfig(num_genes=num_genes, min_cells=20)
    # Slow reference: take the lists, then gene after gene, best first, until the panel is full.
    expressed = agreed[agreed["num_cells"] >= 20]
    listed = set(expressed["gene"]) & set().union(*members.values())
    rows = sorted(expressed[expressed["num_plates"] > 0].itertuples(), key=lambda row: (-row.num_plates, row.hvg_rank, row.gene_id))
    wanted, variable = set(listed), set()
    for row in rows:
        if len(wanted) >= num_genes:
            break
        wanted.add(row.gene)
        variable.add(row.gene)
    with caplog.at_level("WARNING", logger="causcade"):
        panel = build_panel(agreed.sample(frac=1, random_state=seed), members, settings)
    assert set(panel["gene"]) == wanted
    assert set(panel.loc[panel["is_hvg"], "gene"]) == variable
    if num_genes <= len(listed):
        assert len(panel) == len(listed)
    assert ("the lists alone hold" in caplog.text) == (num_genes < len(listed))


def test_without_a_size_so_many_highly_variable_genes_enter_as_a_plate_votes_for():
    agreed, members = random_agreed(7)
    panel = build_panel(agreed, members, PanelConfig(num_genes=None, num_hvg=30, min_cells=20))
    expressed = agreed[agreed["num_cells"] >= 20].sort_values(["num_plates", "hvg_rank", "gene_id"], ascending=[False, True, True])
    assert set(panel.loc[panel["is_hvg"], "gene"]) == set(expressed["gene"].head(30))
    none = build_panel(agreed, members, PanelConfig(num_genes=None, num_hvg=0, min_cells=20))
    assert not none["is_hvg"].any()
    assert set(none["gene"]) == set(expressed["gene"]) & set().union(*members.values())


def test_genes_of_too_few_cells_are_left_out_whatever_their_source():
    agreed = agreed_table(gene_id=["a", "b", "c"], num_cells=[20, 19, 21], num_plates=1)
    panel = build_panel(agreed, {"tfs": {"b"}}, PanelConfig(min_cells=20))
    assert panel["gene"].tolist() == ["a", "c"]


def test_genes_that_no_plate_votes_for_are_not_highly_variable():
    agreed = agreed_table(gene_id=["a", "b", "c", "d"], num_plates=[1, 1, 0, 0], hvg_rank=[1, 2, 3, np.nan])
    for num_genes in (4, None):
        assert build_panel(agreed, {}, PanelConfig(num_genes=num_genes))["gene"].tolist() == ["a", "b"]


def test_too_few_genes_is_an_error():
    agreed = agreed_table(gene_id=["a", "b"], num_cells=[20, 19], num_plates=1)
    with pytest.raises(InputError) as error:
        build_panel(agreed, {}, PanelConfig(min_cells=20))
    assert str(error.value) == (
        "panel: expected at least 2 genes that 20 cells express, found 1. Lower `panel: {min_cells: ...}`, or check that the gene ids are human."
    )


def test_source_members():
    gene_sets = pd.DataFrame({"collection": ["tfs", "hallmarks", "reactome", "tfs"], "gene_set": "x", "gene": ["A", "B", "C", "D"]})
    members = source_members(gene_sets, pd.DataFrame({"target": ["E", "E", "A"]}))
    assert members == {"tfs": {"A", "D"}, "rbps": set(), "hallmarks": {"B"}, "drug_targets": {"A", "E"}}


def test_summary_counts_sources_and_overlaps():
    agreed = agreed_table(
        gene_id=list("ABCDEFZ"), num_cells=[50, 50, 50, 50, 50, 3, 50], num_plates=[1, 0, 0, 0, 0, 1, 1], plates_voted="p1;p2", plates_silent="p3"
    )
    members = {"tfs": {"A", "D", "F", "gone"}, "rbps": {"E"}, "hallmarks": {"A", "B"}, "drug_targets": {"E", "A"}}
    settings = PanelConfig(num_genes=6, sources=["hvg", "tfs", "hallmarks", "drug_targets"])
    panel = build_panel(agreed, members, settings)
    assert panel["gene"].tolist() == ["A", "B", "D", "E", "Z"]
    assert summarise_panel(panel, agreed, members, settings) == {
        "num_genes": 5,
        "num_wanted": 6,
        "sources": ["hvg", "tfs", "hallmarks", "drug_targets"],
        "in_data": {"hvg": 3, "tfs": 3, "rbps": 1, "hallmarks": 2, "drug_targets": 2},
        "by_source": {"hvg": 2, "tfs": 2, "rbps": 1, "hallmarks": 2, "drug_targets": 2},
        # E is an RNA-binding protein too, but that source is not in use.
        "only": {"hvg": 1, "tfs": 1, "rbps": 0, "hallmarks": 1, "drug_targets": 1},
        "overlaps": {
            "hvg": {"tfs": 1, "rbps": 0, "hallmarks": 1, "drug_targets": 1},
            "tfs": {"hvg": 1, "rbps": 0, "hallmarks": 1, "drug_targets": 1},
            "rbps": {"hvg": 0, "tfs": 0, "hallmarks": 0, "drug_targets": 1},
            "hallmarks": {"hvg": 1, "tfs": 1, "rbps": 0, "drug_targets": 1},
            "drug_targets": {"hvg": 1, "tfs": 1, "rbps": 1, "hallmarks": 1},
        },
        "num_listed": 4,
        "num_filled": 1,
        "plates_voted": ["p1", "p2"],
        "plates_silent": ["p3"],
    }


@pytest.mark.parametrize("seed", range(3))
def test_counts_of_the_summary_add_up(seed):
    agreed, members = random_agreed(seed)
    settings = PanelConfig(num_genes=80)
    panel = build_panel(agreed, members, settings)
    summary = summarise_panel(panel, agreed, members, settings)
    assert summary["num_genes"] == summary["num_listed"] + summary["num_filled"] == 80
    assert summary["only"]["hvg"] == summary["num_filled"]
    assert summary["plates_silent"] == []
    sets = {source: set(panel["gene"]) & names for source, names in members.items()} | {"hvg": set(panel.loc[panel["is_hvg"], "gene"])}
    for one, genes in sets.items():
        others = set().union(*(names for other, names in sets.items() if other != one))
        assert summary["by_source"][one] == len(genes)
        assert summary["only"][one] == len(genes - others)
        assert summary["overlaps"][one] == {other: len(genes & names) for other, names in sets.items() if other != one}


@pytest.mark.shared_data
def test_the_atlas_panel_has_the_announced_size(shared_data):
    """Real lists and the real gene table of Tahoe-100M; the votes of its 14 plates are simulated."""
    references = shared_data / "references"
    files = {
        "hgnc": "idmap/hgnc_complete_set.txt.gz", "tfs": "gene_sets/TF_names_v_1.01.txt", "rbps": "gene_sets/c5.mf.v7.0.symbols.gmt",
        "hallmarks": "gene_sets/h.all.v7.0.symbols.gmt", "drug_targets": "tahoe/drug_metadata.parquet",
    }  # fmt: skip
    tables = build_resources({name: ResourceFile(path=references / path) for name, path in files.items()}, ResourcesConfig())
    genes = pd.read_parquet(references / "tahoe/gene_metadata.parquet")
    names = gene_names(genes["ensembl_id"].tolist(), genes["gene_symbol"].tolist(), Resolver.from_table(tables.identifiers))
    assert len(names) == 62_710
    members = source_members(tables.gene_sets, tables.drug_targets)
    votes = simulated_votes(names, set().union(*members.values()), num_plates=14)
    settings = PanelConfig()
    agreed = consensus(votes, settings)
    panel = build_panel(agreed, members, settings)
    summary = summarise_panel(panel, agreed, members, settings)
    assert len(panel) == 14_142
    expressed = set(agreed.loc[agreed["num_cells"] >= settings.min_cells, "gene"])
    listed = set().union(*members.values()) & expressed
    assert listed <= set(panel["gene"]) <= expressed
    # Of 1,635 TFs, 1,912 RNA-binding proteins, 4,370 hallmark genes and 279 targets with an approved symbol, the table has all but three.
    assert summary["in_data"] | {"hvg": 0} == {"hvg": 0, "tfs": 1633, "rbps": 1912, "hallmarks": 4369, "drug_targets": 279}
    assert len(set().union(*members.values()) & set(names["gene"])) == 7214
    assert summary["num_listed"] + summary["num_filled"] == 14_142
    assert summary["num_filled"] > 5000
    assert summary["plates_voted"] == sorted(votes)


def simulated_votes(names: pd.DataFrame, known: set[str], *, num_plates: int) -> dict[str, pd.DataFrame]:
    """Votes of plates that share most of what is variable; genes of the lists are expressed more often than the many without a name."""
    rng = np.random.default_rng(0)
    gene = names["gene"].to_numpy(dtype=str)
    shift = np.where(np.isin(gene, list(known)), 6.0, np.where(np.char.startswith(gene, "ENSG"), 0.0, 3.0))
    level = rng.normal(shift, 3.0)  # log of the number of cells, of 7 million, that express the gene
    variability = rng.normal(size=len(gene))
    votes = {}
    for number in range(num_plates):
        num_cells = rng.poisson(np.exp(np.clip(level + rng.normal(0, 0.3, len(gene)), -10, 15)))
        score = np.where(num_cells > 70, variability + rng.normal(0, 0.5, len(gene)), -np.inf)  # else not seen among 100,000 cells
        rank = np.full(len(gene), np.nan)
        order = np.argsort(-score)[: np.count_nonzero(score > -np.inf)]
        rank[order] = np.arange(1, len(order) + 1)
        ids = names["gene_id"].to_numpy(dtype=str)
        votes[f"plate{number + 1}"] = pd.DataFrame({"gene_id": ids, "gene": gene, "rank": rank, "mean": num_cells / 7e6, "num_cells": num_cells})
    return votes


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
