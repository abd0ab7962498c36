"""Reference pairs against a slow reference; universes; each reason for which rows are lost."""

import gzip
import itertools

import numpy as np
import pandas as pd
import pytest

from causcade.errors import ResourceError
from causcade.resources import Resolver
from causcade.resources.references import complexportal_reference, humap_reference, member_pairs, reactome_reference, string_reference


def resolver_of(names):
    kinds = {name: "uniprot" if name[1:2].isdigit() else "previous" if name.startswith("OLD") else "approved" for name in names}
    rows = [(name, kinds[name], gene, f"E-{gene}") for name, genes in names.items() for gene in genes.split()]
    return Resolver.from_table(pd.DataFrame(rows, columns=["identifier", "namespace", "gene", "gene_id"]))


PROTEINS = {"P00001": "A", "P00002": "B", "P00003": "C", "P00004": "D", "P00005": "H1 H2", "A": "A", "B": "B", "C": "C", "D": "D", "OLDA": "A"}


def slow_pairs(sets, genes, scores, choices):
    best = {}
    for i, j in itertools.permutations(range(len(genes)), 2):
        together = sets[i] == sets[j] and (choices[i] == 0 or choices[i] != choices[j])
        if together and genes[i] < genes[j]:
            best[genes[i], genes[j]] = max(best.get((genes[i], genes[j]), -1.0), scores[i])
    return best


def test_member_pairs_equal_slow_reference_in_any_order():
    rng = np.random.default_rng(0)
    for _ in range(20):
        num = int(rng.integers(0, 60))
        sets = np.array([f"S{number}" for number in rng.integers(0, 6, num)], dtype=object)
        genes = np.array([f"G{number:02d}" for number in rng.integers(0, 20, num)], dtype=object)
        by_set = {f"S{number}": float(number) for number in range(6)}
        scores, choices = np.array([by_set[name] for name in sets]), rng.integers(0, 3, num)
        table = member_pairs(sets, genes, scores, choices)
        found = {(a, b): score for a, b, score in table.drop(columns="literature").itertuples(index=False)}
        assert found == slow_pairs(sets, genes, scores, choices)
        assert list(found) == sorted(found)
        order = rng.permutation(num)
        pd.testing.assert_frame_equal(member_pairs(sets[order], genes[order], scores[order], choices[order]), table)


def test_pairs_of_nothing_and_of_one_member():
    for num in (0, 1):
        table = member_pairs(np.array(["S"] * num, dtype=object), np.array(["G"] * num, dtype=object), np.zeros(num))
        assert len(table) == 0
        assert list(table.columns) == ["gene_a", "gene_b", "score", "literature"]


def test_literature_of_a_pair_is_that_of_all_sets_that_hold_it():
    sets, genes = np.array(list("XXYYYZZ"), dtype=object), np.array(list("BAABCAB"), dtype=object)
    cited = np.array(["3;1"] * 2 + ["10;3"] * 3 + [""] * 2, dtype=object)
    table = member_pairs(sets, genes, np.zeros(7), literature=cited)
    assert table[["gene_a", "gene_b", "literature"]].to_numpy().tolist() == [["A", "B", "1;10;3"], ["A", "C", "10;3"], ["B", "C", "10;3"]]
    order = np.random.default_rng(0).permutation(7)
    pd.testing.assert_frame_equal(member_pairs(sets[order], genes[order], np.zeros(7), literature=cited[order]), table)
    assert (member_pairs(sets, genes, np.zeros(7))["literature"] == "").all()


def test_string_pairs_universe_and_losses(tmp_path):
    links = ["p1 p2 900", "p2 p1 900", "p3 p1 650", "p1 p3 650", "p4 p1 800", "p1 p5 800", "p6 p2 950", "p2 p6 950", "p1 p6 990", "p1 unheard 999"]
    (tmp_path / "links").write_text("protein1 protein2 combined_score\n" + "\n".join(links) + "\n")
    names = {"p1": "A", "p2": "B", "p3": "C", "p4": "unheard", "p5": "P00005", "p6": "OLDA"}
    (tmp_path / "info").write_text("#string_protein_id\tpreferred_name\n" + "".join(f"{a}\t{b}\n" for a, b in names.items()))
    found = string_reference(tmp_path / "links", tmp_path / "info", resolver_of(PROTEINS), 700)
    # A-B is there as p1-p2 (0.9) and as p6-p2 (0.95): one pair, the best score.
    assert found.pairs.to_numpy().tolist() == [["A", "B", 0.95, ""]]
    assert found.universe == ["A", "B", "C"], "C has a link below the cut-off, so that STRING can speak of it"
    assert found.account["lost"] == {"unknown_id": 2, "ambiguous_id": 1, "self_loop": 1, "below_cutoff": 2, "duplicate": 3}
    assert found.account["ambiguous"] == ["P00005"]
    assert found.account["rows_read"] == found.account["rows_kept"] + sum(found.account["lost"].values())


def test_string_without_hgnc_uses_its_own_names(tmp_path):
    (tmp_path / "links").write_text("protein1 protein2 combined_score\np1 p2 900\n")
    (tmp_path / "info").write_text("#string_protein_id\tpreferred_name\np1\tZ\np2\tB\n")
    assert string_reference(tmp_path / "links", tmp_path / "info", None, 0).pairs.to_numpy().tolist() == [["B", "Z", 0.9, ""]]


def test_complexportal_pairs_universe_and_losses(tmp_path):
    rows = ["CPX-1\tP00001|P00002-2|CHEBI:1", "CPX-2\tP00003|P00003-PRO_0000000001", "CPX-3\t[P00001,P00003]|P00004", "CPX-4\tP00005|P00009|CPX-99"]
    (tmp_path / "c").write_text("complex_ac\tparticipants\n" + "\n".join(rows) + "\n")
    found = complexportal_reference(tmp_path / "c", resolver_of(PROTEINS))
    assert found.pairs[["gene_a", "gene_b"]].to_numpy().tolist() == [["A", "B"], ["A", "D"], ["C", "D"]], "alternatives A and C are no pair"
    assert found.pairs["score"].isna().all()
    assert found.universe == ["A", "B", "C", "D"]
    assert found.account["lost"] == {"unknown_complex": 1, "non_protein": 1, "unknown_id": 1, "ambiguous_id": 1, "duplicate": 1, "single_gene": 1}


def test_complexportal_pairs_cite_what_their_complexes_cite(tmp_path):
    rows = ["CPX-1\tP00001|P00002\t7;5", "CPX-2\tP00002|P00001|P00003\t6;5", "CPX-3\tP00003|P00004\t"]
    (tmp_path / "c").write_text("complex_ac\tparticipants\tliterature\n" + "\n".join(rows) + "\n")
    pairs = complexportal_reference(tmp_path / "c", resolver_of(PROTEINS)).pairs
    assert pairs.drop(columns="score").to_numpy().tolist() == [["A", "B", "5;6;7"], ["A", "C", "5;6"], ["B", "C", "5;6"], ["C", "D", ""]]


def test_humap_pairs_take_the_best_class(tmp_path):
    rows = ["x1,3,P00001 P00002,B A", "x2,1,P00002 P00001,A B", "x3,5,P00001 P00004,A D", "x4,2,P00003,C"]
    (tmp_path / "h").write_text("HuMAP2_ID,Confidence,Uniprot_ACCs,genenames\n" + "\n".join(rows) + "\n")
    found = humap_reference(tmp_path / "h", resolver_of(PROTEINS), 3)
    assert found.pairs.to_numpy().tolist() == [["A", "B", 1.0, ""]]
    assert found.universe == ["A", "B", "C", "D"]
    assert found.account["lost"] == {"below_cutoff": 2, "single_gene": 1}
    assert humap_reference(tmp_path / "h", resolver_of(PROTEINS), 5).pairs["score"].tolist() == [1.0, 0.2]


def test_classes_of_humap_3_are_scaled_to_its_six(tmp_path):
    (tmp_path / "h").write_text("HuMAP3_ID,ComplexConfidence,Uniprot_ACCs,genenames\nx1,1,P00001 P00002,A B\nx2,6,P00001 P00003,A C\n")
    pairs = humap_reference(tmp_path / "h", resolver_of(PROTEINS), 6, name="humap3").pairs
    assert pairs["score"].round(6).tolist() == [1.0, 0.166667]


def test_pairs_of_humap_universe_and_losses(tmp_path):
    rows = ["P00001 P00002 0.9", "P00002 P00001 0.95", "P00003 P00001 0.2", "P00001 P00001-2 0.9", "P00004 P00009 0.9", "P00005 P00002 0.9"]
    (tmp_path / "p").write_text("".join(row.replace(" ", "\t") + "\n" for row in rows))
    found = humap_reference(tmp_path / "p", resolver_of(PROTEINS), 3, name="humap3", min_probability=0.5)
    assert found.pairs[["gene_a", "gene_b"]].to_numpy().tolist() == [["A", "B"]]
    assert found.pairs["score"].round(6).tolist() == [0.95]
    assert found.universe == ["A", "B", "C"], "C has an improbable pair; D's only partner is unknown"
    assert found.account["lost"] == {"unknown_id": 1, "ambiguous_id": 1, "below_cutoff": 1, "self_loop": 1, "duplicate": 1}
    assert found.account["identifiers_by"] == {"ambiguous": 1, "uniprot": 5, "unknown": 1}
    assert len(humap_reference(tmp_path / "p", resolver_of(PROTEINS), 3, min_probability=0.0).pairs) == 2
    without = humap_reference(tmp_path / "p", None, 3)
    assert (len(without.pairs), without.universe, without.account["lost"]) == (0, [], {"needs_hgnc": 6})


def test_accessions_need_hgnc(tmp_path):
    (tmp_path / "h").write_text("HuMAP2_ID,Confidence,Uniprot_ACCs,genenames\nx1,3,P00001 P00002,A B\n")
    found = humap_reference(tmp_path / "h", None, 3)
    assert (len(found.pairs), found.universe) == (0, [])
    assert found.account["lost"] == {"needs_hgnc": 2}


def test_reactome_size_limit_counts_genes_and_keeps_sets(tmp_path):
    (tmp_path / "r").write_text("Small\tR-HSA-1\tA\tB\tgag\nLarge\tR-HSA-2\tA\tB\tC\tOLDA\tC\nOne\tR-HSA-3\tD\n")
    found = reactome_reference(tmp_path / "r", resolver_of(PROTEINS), 2)
    assert found.pairs[["gene_a", "gene_b"]].to_numpy().tolist() == [["A", "B"]]
    assert found.universe == ["A", "B", "C", "D"]
    assert found.members.groupby("gene_set")["gene"].agg(list).to_dict() == {"Small": ["A", "B"], "Large": ["A", "B", "C"], "One": ["D"]}
    assert found.account["lost"] == {"unknown_id": 1, "old_name": 1, "duplicate": 1, "single_gene": 1, "too_large_pathway": 3}
    assert len(reactome_reference(tmp_path / "r", resolver_of(PROTEINS), 3).pairs) == 3


def test_leaves_of_reactome_alone_make_pairs(tmp_path):
    (tmp_path / "r").write_text("Above\tR-HSA-1\tA\tB\tC\nLeaf\tR-HSA-2\tA\tB\nNew\tR-HSA-3\tC\tD\n")
    (tmp_path / "h").write_text("R-HSA-1\tR-HSA-2\nR-BTA-2\tR-BTA-3\n")
    found = reactome_reference(tmp_path / "r", resolver_of(PROTEINS), 100, relations=tmp_path / "h")
    assert found.pairs[["gene_a", "gene_b"]].to_numpy().tolist() == [["A", "B"]]
    assert found.account["lost"] == {"not_in_hierarchy": 2, "parent_pathway": 3}
    everything = reactome_reference(tmp_path / "r", resolver_of(PROTEINS), 100)
    assert len(everything.pairs) == 4
    assert found.universe == everything.universe == ["A", "B", "C", "D"]
    pd.testing.assert_frame_equal(found.members, everything.members)
    (tmp_path / "h").write_text("R-BTA-1\tR-BTA-2\n")
    with pytest.raises(ResourceError, match=r"expected the hierarchy of the pathways of `reactome`, found none of them \(R-HSA-1, ...\)"):
        reactome_reference(tmp_path / "r", resolver_of(PROTEINS), 100, relations=tmp_path / "h")


@pytest.mark.shared_data
def test_real_references(shared_data):
    folder = shared_data / "references"
    resolver = Resolver.from_hgnc(folder / "idmap" / "hgnc_complete_set.txt.gz")
    ppi, complexes = folder / "ppi", folder / "complexes"
    string = string_reference(ppi / "9606.protein.physical.links.v12.0.min700.partial.txt.gz", ppi / "9606.protein.info.v12.0.txt.gz", resolver, 700)
    pairs = set(zip(string.pairs["gene_a"], string.pairs["gene_b"], strict=True))
    assert {("MDM2", "TP53"), ("MAX", "MYC"), ("E2F1", "RB1")} <= pairs
    assert ("CDKN1A", "TP53") not in pairs
    assert 57_500 < len(pairs) <= 58_471
    with gzip.open(ppi / "9606.protein.physical.links.v12.0.min700.partial.excluded_proteins.tsv.gz", "rt") as handle:
        excluded = pd.read_csv(handle, sep="\t")
    names = pd.read_csv(ppi / "9606.protein.info.v12.0.txt.gz", sep="\t", usecols=[0, 1]).set_axis(["protein", "symbol"], axis=1)
    hidden = set(resolver.resolve(names.loc[names["protein"].isin(set(excluded.iloc[:, 0])), "symbol"].tolist())["gene"].dropna())
    assert {"PSMA1", "JUN", "POLR2B"} <= hidden
    assert not hidden & set(string.universe), "proteins whose links the partial file lacks are outside its universe"
    portal = complexportal_reference(complexes / "complexportal_9606_participants_2022-07-11.derived.tsv.gz", resolver)
    assert 12_400 < len(portal.pairs) < 13_000
    graph = complexportal_reference(complexes / "complexportal_obograph_2022-07-11.json.gz", resolver)
    pd.testing.assert_frame_equal(graph.pairs.drop(columns="literature"), portal.pairs.drop(columns="literature"))
    assert (graph.pairs["literature"] != "").mean() > 0.95
    assert not portal.pairs["literature"].any()
    humap = humap_reference(complexes / "humap2_complexes_20200809InOrderMatched.csv", resolver, 3)
    assert 13_800 < len(humap.pairs) <= 14_132
    assert 9_950 < len(humap.universe) <= 10_033
    (path,) = complexes.glob("hu.MAP3.0_complexes_*.csv")
    humap3 = humap_reference(path, resolver, 3, name="humap3")
    assert 70_000 < len(humap3.pairs) <= 72_500
    reactome = reactome_reference(folder / "reactome" / "ReactomePathways.gmt", resolver, 100)
    hierarchy = folder / "reactome" / "ReactomePathwaysRelation.r85plus.txt"
    leaves = reactome_reference(folder / "reactome" / "ReactomePathways.gmt", resolver, 100, relations=hierarchy)
    assert 0 < len(leaves.pairs) < len(reactome.pairs)
    assert reactome.members["gene_set"].nunique() > 2_700
    assert {"gag", "miR-224"}.isdisjoint(reactome.universe)
    assert {"XK", "PNP", "MT-RNR2", "OCA2"}.isdisjoint(gene for name, gene in reactome.members.itertuples(index=False) if "nfluenza" in name), (
        "NA, NP, HN and P of viruses are no human genes"
    )
    for reference in (string, portal, humap, humap3, reactome, leaves):
        assert (reference.pairs["gene_a"] < reference.pairs["gene_b"]).all()
        assert not reference.pairs.duplicated(["gene_a", "gene_b"]).any()
        assert set(reference.pairs["gene_a"]) | set(reference.pairs["gene_b"]) <= set(reference.universe)
