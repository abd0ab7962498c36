"""Candidate edges against a slow double loop, and every rule of the mask by itself."""

import numpy as np
import pandas as pd
import pytest
import zarr

from causcade import mask
from causcade.config import MaskConfig
from causcade.errors import InputError
from causcade.mask import build_mask, mask_summary

PRIOR_COLUMNS = ["regulator", "target", "sign", "sources", "confidence"]
NO_PRIORS = pd.DataFrame(columns=PRIOR_COLUMNS)
NO_PARTNERS = pd.DataFrame(columns=["gene", "partner", "correlation", "rank"])


def top_partners(correlation, genes, num):
    """Partners of each gene by |r|, slowly."""
    rows = []
    for g, gene in enumerate(genes):
        others = sorted((p for p in range(len(genes)) if p != g), key=lambda p: -abs(correlation[g, p]))
        rows += [(gene, genes[p], correlation[g, p], rank) for rank, p in enumerate(others[:num], start=1)]
    return pd.DataFrame(rows, columns=["gene", "partner", "correlation", "rank"])


def screen(num_genes, seed=0):
    """A symmetric matrix, its partners, and curated edges, some outside the panel."""
    rng = np.random.default_rng(seed)
    genes = [f"G{number:03d}" for number in rng.permutation(num_genes)]
    upper = np.triu(rng.uniform(-1, 1, (num_genes, num_genes)), 1)
    correlation = (upper + upper.T).astype(np.float32)
    names = [*genes, "outside1", "outside2"]
    priors = pd.DataFrame({"regulator": rng.choice(names, 3 * num_genes), "target": rng.choice(names, 3 * num_genes)}).drop_duplicates()
    priors["sign"] = rng.choice([-1, 0, 1], len(priors)).astype("int8")
    priors["sources"] = rng.choice(["collectri", "dorothea;trrust", "trrust"], len(priors))
    priors["confidence"] = rng.uniform(0.1, 0.9, len(priors)).round(3)
    return genes, correlation, top_partners(correlation, genes, 5), priors


def slow_mask(partners, correlation, priors, genes, settings):
    """The rule, pair by pair."""
    ranked = {(row.partner, row.gene): row.rank for row in partners.itertuples() if row.rank <= settings.partners}
    coexpressed = set(ranked) | ({(target, regulator) for regulator, target in ranked} if settings.symmetric else set())
    curated = {(row.regulator, row.target): row for row in priors.itertuples()}
    rows = []
    for t, target in enumerate(genes):
        for r, regulator in enumerate(genes):
            edge = (regulator, target)
            if r == t or (edge not in coexpressed and edge not in curated):
                continue
            sources = (["coexpression"] if edge in coexpressed else []) + (curated[edge].sources.split(";") if edge in curated else [])
            prior = (curated[edge].confidence, curated[edge].sign) if edge in curated else (0.0, 0)
            rows.append((regulator, target, float(correlation[t, r]), ranked.get(edge), ";".join(sorted(sources)), *prior))
    return rows


def as_rows(edges):
    return [(*row[:3], None if pd.isna(row[3]) else row[3], *row[4:]) for row in edges.itertuples(index=False, name=None)]


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("num", [1, 3, 5, 50])
@pytest.mark.parametrize("rows_per_block", [1, 7, 512])
def test_mask_equals_slow_double_loop(monkeypatch, symmetric, num, rows_per_block):
    monkeypatch.setattr(mask, "ROWS_PER_BLOCK", rows_per_block)
    genes, correlation, partners, priors = screen(25)
    settings = MaskConfig(partners=num, symmetric=symmetric)
    edges = build_mask(partners, correlation, priors, genes, settings)
    assert as_rows(edges) == slow_mask(partners, correlation, priors, genes, settings)
    assert edges.dtypes.astype(str).tolist() == ["object", "object", "float64", "Int32", "object", "float64", "int8"]


def test_array_zarr_and_function_give_the_same(tmp_path):
    genes, correlation, partners, priors = screen(20)
    settings = MaskConfig(partners=3)
    expected = build_mask(partners, correlation, priors, genes, settings)
    stored = zarr.create_array(tmp_path / "r.zarr", shape=correlation.shape, chunks=(8, 20), dtype="f4")
    stored[:] = correlation
    pd.testing.assert_frame_equal(build_mask(partners, stored, priors, genes, settings), expected)
    pd.testing.assert_frame_equal(
        build_mask(partners, lambda targets, regulators: correlation[targets, regulators], priors, genes, settings), expected
    )


def test_order_of_rows_does_not_matter():
    genes, correlation, partners, priors = screen(20)
    for symmetric in (False, True):
        settings = MaskConfig(partners=4, symmetric=symmetric)
        expected = build_mask(partners, correlation, priors, genes, settings)
        shuffled = build_mask(partners.sample(frac=1, random_state=1), correlation, priors.sample(frac=1, random_state=2), genes, settings)
        pd.testing.assert_frame_equal(shuffled, expected)


def test_order_of_the_panel_only_orders_the_edges():
    genes, correlation, partners, priors = screen(20)
    order = np.random.default_rng(3).permutation(20)
    settings = MaskConfig(partners=4)
    one = build_mask(partners, correlation, priors, genes, settings)
    two = build_mask(partners, correlation[np.ix_(order, order)], priors, [genes[position] for position in order], settings)
    pair = ["target", "regulator"]
    pd.testing.assert_frame_equal(one.sort_values(pair, ignore_index=True), two.sort_values(pair, ignore_index=True))
    position = {gene: number for number, gene in enumerate(genes)}
    keys = [(position[row.target], position[row.regulator]) for row in one.itertuples()]
    assert keys == sorted(set(keys))


def test_the_partner_regulates_the_gene():
    partners = pd.DataFrame({"gene": ["A"], "partner": ["B"], "correlation": [-0.5], "rank": [1]})
    edges = build_mask(partners, None, NO_PRIORS, ["A", "B"], MaskConfig())
    assert as_rows(edges) == [("B", "A", -0.5, 1, "coexpression", 0.0, 0)]
    both = build_mask(partners, None, NO_PRIORS, ["A", "B"], MaskConfig(symmetric=True))
    assert as_rows(both) == [("B", "A", -0.5, 1, "coexpression", 0.0, 0), ("A", "B", -0.5, None, "coexpression", 0.0, 0)]


def test_self_edges_are_dropped_wherever_they_come_from():
    partners = pd.DataFrame({"gene": ["A", "A"], "partner": ["A", "B"], "correlation": [1.0, 0.5], "rank": [1, 2]})
    priors = pd.DataFrame([("B", "B", 1, "trrust", 0.6), ("A", "B", 1, "trrust", 0.6)], columns=PRIOR_COLUMNS)
    edges = build_mask(partners, np.eye(2), priors, ["A", "B"], MaskConfig())
    assert list(zip(edges["regulator"], edges["target"], strict=True)) == [("B", "A"), ("A", "B")]


def test_a_constant_gene_has_curated_edges_of_correlation_zero():
    priors = pd.DataFrame([("A", "B", -1, "collectri", 0.7), ("B", "A", 1, "trrust", 0.6)], columns=PRIOR_COLUMNS)
    matrix = np.array([[1.0, np.nan], [np.nan, np.nan]])
    for lookup in (matrix, lambda targets, regulators: matrix[targets, regulators]):
        edges = build_mask(NO_PARTNERS, lookup, priors, ["A", "B"], MaskConfig())
        assert as_rows(edges) == [("B", "A", 0.0, None, "trrust", 0.6, 1), ("A", "B", 0.0, None, "collectri", 0.7, -1)]


def test_without_correlation_curated_edges_say_nothing_of_it():
    priors = pd.DataFrame([("A", "B", -1, "collectri", 0.7)], columns=PRIOR_COLUMNS)
    assert build_mask(NO_PARTNERS, None, priors, ["A", "B"], MaskConfig())["coexpression"].isna().all()


def test_the_matrix_is_read_only_where_curated_edges_need_it():
    class Watched:
        shape = (2_000, 2_000)
        reads: list[slice]

        def __init__(self):
            self.reads = []

        def __getitem__(self, rows):
            self.reads.append(rows)
            return np.zeros((rows.stop - rows.start, 2_000))

    genes = [f"G{number}" for number in range(2_000)]
    priors = pd.DataFrame([("G5", "G1999", 1, "trrust", 0.6), ("G7", "G1", 1, "trrust", 0.6)], columns=PRIOR_COLUMNS)
    partners = pd.DataFrame({"gene": ["G1"], "partner": ["G7"], "correlation": [0.5], "rank": [1]})
    watched = Watched()
    build_mask(partners, watched, priors, genes, MaskConfig())
    assert watched.reads == [slice(1_536, 2_000)], "G7 > G1 is a partner already, so that its block is not read"


def test_nothing_to_regulate_is_told():
    with pytest.raises(
        InputError, match=r"expected coexpression partners or curated edges among the 2 genes of the panel, found neither\. Set a prior"
    ):
        build_mask(NO_PARTNERS, None, NO_PRIORS, ["A", "B"], MaskConfig())
    outside = pd.DataFrame([("X", "Y", 1, "trrust", 0.6), ("A", "A", 1, "trrust", 0.6)], columns=PRIOR_COLUMNS)
    for genes in ([], ["A"]):
        with pytest.raises(InputError, match="found neither"):
            build_mask(NO_PARTNERS, None, outside, genes, MaskConfig())


def test_inputs_that_do_not_fit_are_told():
    genes, correlation, partners, priors = screen(10)
    settings = MaskConfig(partners=3)
    with pytest.raises(InputError, match=r"expected genes of the panel, found the pair .*Rerun the stage `coexpression`"):
        build_mask(partners.assign(partner="elsewhere"), correlation, priors, genes, settings)
    with pytest.raises(InputError, match=r"found the pair G\d+, None"):
        build_mask(partners.assign(partner=[None, *partners["partner"][1:]]), correlation, priors, genes, settings)
    with pytest.raises(InputError, match=r"partners: expected each pair once, found G\d+ and G\d+ again"):
        build_mask(pd.concat([partners, partners]), correlation, priors, genes, settings)
    with pytest.raises(InputError, match="prior_edges: expected each pair once"):
        build_mask(partners, correlation, pd.concat([priors, priors]), genes, settings)
    with pytest.raises(InputError, match=r"expected a matrix of the 10 genes of the panel, found the shape \(9, 9\)"):
        build_mask(partners, correlation[:9, :9], priors, genes, settings)
    with pytest.raises(InputError, match="panel: expected each gene once"):
        build_mask(partners, correlation, priors, [*genes, genes[0]], settings)
    with pytest.raises(InputError, match=r"partners: expected the columns gene, partner, correlation, rank, found gene .*missing: partner"):
        build_mask(partners[["gene"]], correlation, priors, genes, settings)
    with pytest.raises(InputError, match=r"expected one value for each of \d+ edges, found an array of shape \(2,\)"):
        build_mask(partners, lambda targets, regulators: np.zeros(2), priors, genes, settings)


@pytest.mark.parametrize("symmetric", [False, True])
def test_summary_equals_slow_counts(symmetric):
    genes, correlation, partners, priors = screen(25)
    edges = build_mask(partners, correlation, priors, genes, MaskConfig(partners=4, symmetric=symmetric))
    summary = mask_summary(edges, priors, genes)
    rows = list(edges.itertuples())
    inside = [row for row in priors.itertuples() if {row.regulator, row.target} <= set(genes)]
    num_self = sum(row.regulator == row.target for row in inside)
    outside = [row for row in priors.itertuples() if row.regulator != row.target and not {row.regulator, row.target} <= set(genes)]
    per_target = edges.groupby("target").size()
    assert summary == {
        "num_edges": len(rows),
        "num_pairs_unordered": len({frozenset((row.regulator, row.target)) for row in rows}),
        "fraction_of_all": len(rows) / (25 * 24),
        "by_source": {
            source: sum(source in row.sources.split(";") for row in rows) for source in ("coexpression", "collectri", "dorothea", "trrust")
        },
        "only_curated": sum("coexpression" not in row.sources for row in rows),
        "only_coexpression": sum(row.sources == "coexpression" for row in rows),
        "curated_in_panel": len(inside) - num_self,
        "curated_outside_panel": len(outside),
        "by_database": {
            name: {
                "num_edges": sum(name in row.sources.split(";") and row.regulator != row.target for row in priors.itertuples()),
                "num_in_panel": sum(name in row.sources.split(";") for row in rows),
                "num_coexpressed": sum({name, "coexpression"} <= set(row.sources.split(";")) for row in rows),
            }
            for name in ("collectri", "dorothea", "trrust")
        },
        "num_regulators": edges["regulator"].nunique(),
        "num_targets": edges["target"].nunique(),
        "regulators_per_target": {"median": float(per_target.median()), "max": int(per_target.max())},
    }
    assert summary["only_curated"] + summary["by_source"]["coexpression"] == summary["num_edges"]


def test_summary_counts_no_self_edge_as_outside():
    priors = pd.DataFrame([("A", "A", 1, "trrust", 0.6), ("X", "X", 1, "trrust", 0.6), ("A", "X", 1, "trrust", 0.6), ("A", "B", 1, "trrust", 0.6)])
    priors.columns = PRIOR_COLUMNS
    summary = mask_summary(build_mask(NO_PARTNERS, None, priors, ["A", "B"], MaskConfig()), priors, ["A", "B"])
    assert (summary["curated_in_panel"], summary["curated_outside_panel"]) == (1, 1)
    assert summary["by_database"] == {"trrust": {"num_edges": 2, "num_in_panel": 1, "num_coexpressed": 0}}


@pytest.mark.shared_data
def test_real_priors_in_a_panel_of_the_atlas(shared_data):
    from causcade.resources import Resolver, combine_priors

    folder = shared_data / "references"
    resolver = Resolver.from_hgnc(folder / "idmap" / "hgnc_complete_set.txt.gz")
    priors, _ = combine_priors({"trrust": folder / "grn_priors" / "trrust_rawdata.human.tsv"}, resolver, ("A",))
    genes = sorted(set(priors["regulator"]) | set(priors["target"]))
    edges = build_mask(NO_PARTNERS, lambda targets, regulators: np.zeros(len(targets)), priors, genes, MaskConfig())
    assert len(edges) == len(priors)
    assert mask_summary(edges, priors, genes)["by_source"] == {"trrust": len(priors)}
