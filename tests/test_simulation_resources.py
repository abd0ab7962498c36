"""Simulated resources: each is read here by the rules of its upstream format, independently of the library's parsers."""

import csv
import gzip
import io
import re
from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from causcade.config import SimulationConfig
from causcade.errors import InputError
from causcade.files import sha256_of
from causcade.gene_lists import G2M_GENES, S_GENES
from causcade.resource_catalogue import SIMULATED_FILES
from causcade.simulation import simulate_plan, write_resources
from causcade.simulation.priors import listed_edges

SETTINGS = SimulationConfig()
SEED = 5
UNIPROT = re.compile(r"^[OPQ][0-9][A-Z0-9]{3}[0-9]$")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("resources")
    write_resources(SETTINGS, SEED, path)
    return path


@pytest.fixture(scope="module")
def plan():
    return simulate_plan(SETTINGS, SEED)


@pytest.fixture(scope="module")
def hgnc(folder):
    return pd.read_csv(folder / SIMULATED_FILES["hgnc"], sep="\t", dtype=str, keep_default_na=False)


@pytest.fixture(scope="module")
def approved(hgnc):
    """Approved symbol of each approved or previous symbol."""
    names = dict(zip(hgnc["symbol"], hgnc["symbol"], strict=True))
    return names | {row.prev_symbol: row.symbol for row in hgnc.itertuples() if row.prev_symbol}


def true_pairs(plan):
    symbols = plan.genes["gene"].to_numpy()
    regulator, target, _ = plan.network.edges()
    return set(zip(symbols[regulator], symbols[target], strict=True))


def read_priors(folder, approved):
    """Pairs of approved symbols by database, DoRothEA at levels A to C."""
    collectri = pd.read_csv(folder / SIMULATED_FILES["collectri"])
    dorothea = pd.read_csv(folder / SIMULATED_FILES["dorothea"], sep="\t")
    dorothea = dorothea[dorothea["confidence"].isin(list("ABC"))]
    trrust = pd.read_csv(folder / SIMULATED_FILES["trrust"], sep="\t", header=None)
    named = {"collectri": collectri[["source", "target"]], "dorothea": dorothea[["tf", "target"]], "trrust": trrust[[0, 1]]}
    return {
        name: {(approved[a], approved[b]) for a, b in table.itertuples(index=False) if a in approved and b in approved and a != b}
        for name, table in named.items()
    }


def read_gmt(path):
    rows = [line.split("\t") for line in path.read_text().splitlines()]
    return {row[0]: (row[1], row[2:]) for row in rows}


def test_every_file_is_written_and_equal_seeds_give_equal_bytes(tmp_path, folder):
    assert {path.name for path in folder.iterdir()} == set(SIMULATED_FILES.values())
    other_plates = SETTINGS.model_copy(update={"plates": ["x"]})
    write_resources(other_plates, SEED, tmp_path / "again")
    for name in SIMULATED_FILES.values():
        assert sha256_of(tmp_path / "again" / name) == sha256_of(folder / name), name
    write_resources(SETTINGS, SEED + 1, tmp_path / "other")
    assert sha256_of(tmp_path / "other" / "collectri.csv") != sha256_of(folder / "collectri.csv")


def test_hgnc_has_its_columns_and_every_gene(hgnc, plan, folder):
    assert hgnc.shape[1] == 54
    assert hgnc.columns[[0, 1, 18, 19, 25, 53]].tolist() == ["hgnc_id", "symbol", "entrez_id", "ensembl_gene_id", "uniprot_ids", "gencc"]
    assert set(hgnc["symbol"]) == set(plan.genes["gene"])
    assert set(hgnc["ensembl_gene_id"]) == set(plan.genes["gene_id"])
    assert hgnc["uniprot_ids"].map(lambda value: bool(UNIPROT.match(value))).all()
    for column in ("hgnc_id", "symbol", "entrez_id", "ensembl_gene_id", "uniprot_ids"):
        assert hgnc[column].is_unique, column
    assert hgnc.set_index("symbol").loc["CENPU", "prev_symbol"] == "MLF1IP"
    shared = hgnc[hgnc["alias_symbol"].str.split("|").map(lambda names: "SHAREDALIAS" in names)]
    assert len(shared) == 2
    assert '|SHAREDALIAS"' in (folder / SIMULATED_FILES["hgnc"]).read_text()


@pytest.mark.shared_data
def test_hgnc_header_is_the_upstream_one(shared_data, hgnc):
    with gzip.open(shared_data / "references" / "idmap" / "hgnc_complete_set.txt.gz", "rt") as handle:
        assert handle.readline().rstrip("\n").split("\t") == hgnc.columns.tolist()


def test_priors_have_the_recall_and_noise_asked_for(folder, plan, approved):
    pairs, truth = read_priors(folder, approved), true_pairs(plan)
    union = set().union(*pairs.values())
    assert len(union & truth) / len(truth) == pytest.approx(SETTINGS.prior_recall, abs=0.01)
    assert 1 - len(union & truth) / len(union) == pytest.approx(SETTINGS.prior_noise, abs=0.01)
    assert len(pairs["collectri"]) > len(pairs["dorothea"])
    assert len(pairs["collectri"]) > len(pairs["trrust"])
    assert len(pairs["collectri"] & pairs["trrust"]) > 0.5 * len(pairs["trrust"])
    tfs = set(plan.genes.loc[plan.genes["kind"] == "tf", "gene"])
    assert np.mean([regulator in tfs for regulator, _ in union]) > 0.95


@pytest.mark.parametrize(("recall", "noise"), [(0.0, 0.5), (1.0, 0.0), (0.2, 1.0), (0.5, 0.5)])
def test_listed_edges_at_the_ends_of_the_settings(recall, noise):
    plan = simulate_plan(SETTINGS.model_copy(update={"prior_recall": recall, "prior_noise": noise}), 0)
    edges = listed_edges(plan)
    assert not edges.duplicated(["regulator", "target"]).any()
    assert (edges["regulator"] != edges["target"]).all()
    num_edges = plan.network.weight.nnz
    assert edges["is_true"].sum() == (round(recall * num_edges) if noise < 1 else 0)
    known = set(zip(*plan.network.edges()[:2], strict=True))
    assert [(a, b) in known for a, b in zip(edges["regulator"], edges["target"], strict=True)] == edges["is_true"].tolist()
    if len(edges):
        assert (~edges["is_true"]).mean() == pytest.approx(noise, abs=0.01)


def test_more_noise_than_pairs_is_refused():
    plan = simulate_plan(SimulationConfig(num_genes=100, num_tfs=5, prior_recall=1.0, prior_noise=0.95), 0)
    with pytest.raises(InputError, match=r"simulation\.prior_noise: expected at most \d+ false edges .* Lower `prior_noise`"):
        listed_edges(plan)


def test_signs_mostly_agree_with_the_network(folder, plan):
    collectri = pd.read_csv(folder / SIMULATED_FILES["collectri"])
    assert list(collectri.columns) == ["source", "target", "weight", "PMID"]
    assert set(collectri["weight"]) == {-1, 1}
    symbols = plan.genes["gene"].to_numpy()
    regulator, target, weight = plan.network.edges()
    sign = dict(zip(zip(symbols[regulator], symbols[target], strict=True), np.sign(weight), strict=True))
    known = [(stated, sign[a, b]) for a, b, stated in collectri[["source", "target", "weight"]].itertuples(index=False) if (a, b) in sign]
    assert np.mean([stated == true for stated, true in known]) > 0.85


def test_priors_have_their_oddities(folder, plan, hgnc):
    collectri = pd.read_csv(folder / SIMULATED_FILES["collectri"], dtype=str, keep_default_na=False)
    assert (collectri["source"] == collectri["target"]).sum() == 1
    assert (collectri["source"] == "AP1").any()
    assert {"SIMLOST1", "SHAREDALIAS"} <= set(collectri["target"])
    assert (collectri["PMID"] == "").any()
    assert collectri["PMID"].str.fullmatch(r"(\d+(;\d+)*)?").all()
    dorothea = pd.read_csv(folder / SIMULATED_FILES["dorothea"], sep="\t")
    assert list(dorothea.columns) == ["tf", "confidence", "target", "mor"]
    assert set(dorothea["confidence"]) == set("ABCDE")
    assert set(dorothea["mor"]) == {-1.0, 1.0}
    trrust = pd.read_csv(folder / SIMULATED_FILES["trrust"], sep="\t", header=None, dtype=str)
    assert set(trrust[2]) == {"Activation", "Repression", "Unknown"}
    modes = trrust.groupby([0, 1])[2].agg(set)
    assert modes.map(lambda found: {"Activation", "Repression"} <= found).sum() == 1
    assert (modes.map(len) > 1).sum() > 1
    assert (trrust[1] == "1-Dec").any()
    previous = set(hgnc["prev_symbol"]) - {""}
    assert set(dorothea["tf"]).union(dorothea["target"]) & previous
    assert not set(collectri["target"]) & previous


def read_string(folder):
    with gzip.open(folder / SIMULATED_FILES["string_info"], "rt") as handle:
        info = pd.read_csv(handle, sep="\t")
    with gzip.open(folder / SIMULATED_FILES["string"], "rt") as handle:
        links = pd.read_csv(handle, sep=" ")
    return info, links


def test_string_is_symmetric_and_mostly_named(folder, plan, approved):
    info, links = read_string(folder)
    assert info.columns.tolist() == ["#string_protein_id", "preferred_name", "protein_size", "annotation"]
    assert links.columns.tolist() == ["protein1", "protein2", "combined_score"]
    assert links["combined_score"].between(150, 999).all()
    assert links["protein1"].str.startswith("9606.ENSP").all()
    forward = set(links.itertuples(index=False, name=None))
    assert forward == {(b, a, score) for a, b, score in forward}
    assert (links["protein1"] != links["protein2"]).all()
    name = dict(zip(info["#string_protein_id"], info["preferred_name"], strict=True))
    assert {approved[value] for value in name.values()} == set(plan.genes["gene"])
    assert len(set(links["protein1"]) - set(name)) == 1


def test_string_is_enriched_for_edges_of_the_network(folder, plan, approved):
    info, links = read_string(folder)
    name = {protein: approved[symbol] for protein, symbol in info[["#string_protein_id", "preferred_name"]].itertuples(index=False)}
    strong = {frozenset((name[a], name[b])) for a, b, score in links.itertuples(index=False) if score >= 700 and a in name and b in name}
    connected = {frozenset(pair) for pair in true_pairs(plan)}
    recall = len(strong & connected) / len(connected)
    num_pairs = plan.network.num_genes * (plan.network.num_genes - 1) / 2
    assert 0.08 < recall < 0.4
    assert recall > 20 * len(strong) / num_pairs
    assert 0.1 < len(strong & connected) / len(strong) < 0.7, "a reference must neither be the network nor know nothing of it"


def test_complextab_has_its_columns_and_participants(folder, hgnc):
    text = (folder / SIMULATED_FILES["complexportal"]).read_text().splitlines()
    rows = [line.split("\t") for line in text]
    assert {len(row) for row in rows} == {19}
    assert rows[0][0] == "#Complex ac"
    assert rows[0][18] == "Expanded participant list"
    participants = [token for row in rows[1:] for token in row[4].split("|")]
    assert all(re.fullmatch(r".+\(\d+\)", token) for token in participants)
    for kind in (r"CHEBI:", r"URS\w+_9606", r"CPX-\d+", r"\[\w+,\w+\]", r"\w+-2\(", r"\w+-PRO_\d+"):
        assert any(re.match(kind, token) for token in participants), kind
    expanded = [token for row in rows[1:] for token in row[18].split("|")]
    assert not any(token.startswith(("CHEBI", "URS", "CPX")) for token in expanded)
    accessions = set(hgnc["uniprot_ids"])
    plain = {re.sub(r"(-\w+)?\(\d+\)$", "", token) for token in expanded if not token.startswith("[")}
    assert plain <= accessions
    nested = next(row for row in rows[1:] if "CPX-90001(1)" in row[4])
    assert len(nested[18].split("|")) > len(nested[4].split("|"))


def test_most_complexes_cite_publications_and_some_of_them_are_those_of_a_prior(folder, hgnc):
    rows = [line.split("\t") for line in (folder / SIMULATED_FILES["complexportal"]).read_text().splitlines()[1:]]
    cited = [set(re.findall(r"pubmed:(\d+)\(see-also\)", row[8])) for row in rows]
    assert all("complex portal:CPX-" in row[8] for row in rows)
    assert 0.8 < np.mean([bool(ids) for ids in cited]) < 1
    collectri = pd.read_csv(folder / SIMULATED_FILES["collectri"], dtype=str, keep_default_na=False)
    by_pair = {frozenset((row.source, row.target)): set(row.PMID.split(";")) for row in collectri.itertuples()}
    symbol_of = dict(zip(hgnc["uniprot_ids"], hgnc["symbol"], strict=True))
    num_listed = num_shared = 0
    for row, ids in zip(rows, cited, strict=True):
        members = {symbol_of.get(re.sub(r"(-\w+)?\(\d+\)$", "", token)) for token in row[4].split("|")}
        of_edges = set().union(*(by_pair.get(frozenset(pair), set()) for pair in combinations(members - {None}, 2)))
        num_listed += bool(of_edges)
        num_shared += bool(ids & of_edges)
    assert 0.3 < num_shared / num_listed < 1


@pytest.mark.shared_data
def test_complextab_header_is_the_upstream_one(shared_data, folder):
    upstream = (shared_data / "references" / "complexes" / "complextab_sample" / "9606.tsv").read_text().splitlines()[0]
    assert (folder / SIMULATED_FILES["complexportal"]).read_text().splitlines()[0] == upstream


def test_humap_lists_are_in_different_order(folder, hgnc, approved):
    rows = list(csv.DictReader(io.StringIO((folder / SIMULATED_FILES["humap"]).read_text())))
    assert list(rows[0]) == ["HuMAP2_ID", "Confidence", "Uniprot_ACCs", "genenames"]
    assert {row["Confidence"] for row in rows} == set("12345")
    symbol_of = dict(zip(hgnc["uniprot_ids"], hgnc["symbol"], strict=True))
    num_shuffled = 0
    for row in rows:
        by_accession = [symbol_of[accession] for accession in row["Uniprot_ACCs"].split()]
        by_name = [approved[name] for name in row["genenames"].split()]
        assert sorted(by_accession) == sorted(by_name)
        num_shuffled += by_accession != by_name
    assert num_shuffled > len(rows) / 2
    assert any(len(row["genenames"].split()) == 1 for row in rows)


def test_reactome_has_a_parent_that_is_too_large_and_tokens_that_are_no_genes(folder, plan):
    pathways = read_gmt(folder / SIMULATED_FILES["reactome"])
    assert all(re.fullmatch(r"R-HSA-\d+", number) for number, _ in pathways.values())
    assert len({number for number, _ in pathways.values()}) == len(pathways)
    sizes = [len(genes) for _, genes in pathways.values()]
    assert max(sizes) > 100
    assert np.median(sizes) < 30
    listed = {gene for _, genes in pathways.values() for gene in genes}
    assert listed - set(plan.genes["gene"]) == {"gag", "miR-224", "5S rRNA"}
    small = {frozenset(pair) for _, genes in pathways.values() if len(genes) <= 100 for pair in combinations(genes, 2)}
    connected = {frozenset(pair) for pair in true_pairs(plan)}
    num_pairs = plan.network.num_genes * (plan.network.num_genes - 1) / 2
    assert len(small & connected) / len(connected) > 3 * len(small) / num_pairs


def test_gene_lists(folder, plan):
    text = (folder / SIMULATED_FILES["tfs"]).read_bytes().decode()
    assert text.count("\r\n") == text.count("\n")
    assert set(plan.genes.loc[plan.genes["kind"] == "tf", "gene"]) < set(text.split())
    functions = read_gmt(folder / SIMULATED_FILES["rbps"])
    assert len(functions["GO_RNA_BINDING"][1]) == 41
    assert set(functions) > {"GO_RNA_BINDING"}
    hallmarks = read_gmt(folder / SIMULATED_FILES["hallmarks"])
    assert hallmarks["HALLMARK_E2F_TARGETS"][1] == list(S_GENES)
    assert hallmarks["HALLMARK_G2M_CHECKPOINT"][1] == list(G2M_GENES)
    assert all(len(genes) >= 10 and url.startswith("http") for url, genes in hallmarks.values())


def test_drug_table_is_that_of_tahoe_and_agrees_with_the_drugs(folder, plan, approved):
    table = pd.read_parquet(folder / SIMULATED_FILES["drug_targets"]).set_index("drug")
    assert not any(name.endswith(" ") for name in table.index)
    assert "DMSO_TF" not in table.index
    assert set(table["moa-broad"]) == {"inhibitor/antagonist", "activator/agonist", "unclear"}
    assert table["targets"].isna().sum() == 3
    assert table["targets"].str.contains("WNV NS2B-NS3", regex=False).sum() == 1
    for drug in plan.drugs:
        row = table.loc[drug.name]
        if row["targets"] is None:
            continue
        listed = [approved[name] for name in row["targets"].split(", ") if name in approved]
        assert listed == plan.genes["gene"].iloc[list(drug.targets)].tolist()
        expected = {"inhibitor/antagonist": {-1.0}, "activator/agonist": {1.0}, "unclear": {-1.0, 1.0}}[row["moa-broad"]]
        assert set(np.sign(drug.effects)) <= expected


@pytest.mark.shared_data
def test_drug_table_has_the_upstream_columns(shared_data, folder):
    upstream = pd.read_parquet(shared_data / "references" / "tahoe" / "drug_metadata.parquet")
    table = pd.read_parquet(folder / SIMULATED_FILES["drug_targets"])
    assert table.columns.tolist() == upstream.columns.tolist()
    assert set(table["moa-broad"]) == set(upstream["moa-broad"])


def test_smallest_screen_has_all_resources(tmp_path):
    write_resources(SimulationConfig(num_genes=100, num_tfs=5, num_drugs=2), 0, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(SIMULATED_FILES.values())
