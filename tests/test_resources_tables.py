"""All tables at once: checks before parsing, accounts, absent resources, the simulated files, and equal bytes."""

import pandas as pd
import pytest

from causcade.config import ResourcesConfig, SimulationConfig
from causcade.errors import ResourceError
from causcade.files import read_json, sha256_of
from causcade.resource_catalogue import CATALOGUE, SIMULATED_FILES
from causcade.resources import ResourceFile, build_resources, target_rows, write_tables
from causcade.simulation import write_resources

TABLES = ("identifiers", "prior_edges", "reference_pairs", "reference_universe", "gene_sets", "drug_targets")
SETTINGS = ResourcesConfig()


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("simulated")
    write_resources(SimulationConfig(num_genes=200, num_tfs=20, num_drugs=12), 0, folder)
    return {name: ResourceFile(path=folder / file, version="simulated", licence="simulated") for name, file in SIMULATED_FILES.items()}


def assert_consistent(tables):
    """What holds for the tables of any set of files."""
    for name, entry in tables.manifest.items():
        assert len(entry["sha256"]) == 64
        if name not in {"string_info", "reactome_relations"}:
            assert entry["rows_read"] == entry["rows_kept"] + sum(entry["lost"].values()), name
    approved = set(tables.identifiers["gene"])
    edges, pairs = tables.prior_edges, tables.reference_pairs
    used = set(edges["regulator"]) | set(edges["target"]) | set(pairs["gene_a"]) | set(pairs["gene_b"])
    used |= set(tables.gene_sets["gene"]) | set(tables.drug_targets["target"]) | set(tables.reference_universe["gene"])
    assert used <= approved
    assert (edges["regulator"] != edges["target"]).all()
    assert not edges.duplicated(["regulator", "target"]).any()
    assert not pairs.duplicated(["reference", "gene_a", "gene_b"]).any()
    assert (pairs["gene_a"] < pairs["gene_b"]).all()
    for reference, group in pairs.groupby("reference"):
        universe = set(tables.reference_universe.loc[tables.reference_universe["reference"] == reference, "gene"])
        assert set(group["gene_a"]) | set(group["gene_b"]) <= universe


def test_all_tables_from_simulated_files(simulated):
    tables = build_resources(simulated, SETTINGS)
    assert_consistent(tables)
    assert set(tables.manifest) == {name for name, entry in CATALOGUE.items() if not entry.is_optional}
    assert set(tables.reference_pairs["reference"]) == {"string", "complexportal", "humap", "reactome"}
    cites = tables.reference_pairs["literature"].ne("").groupby(tables.reference_pairs["reference"]).mean()
    assert cites["complexportal"] > 0.8
    assert (cites.drop("complexportal") == 0).all(), "their files name no publications"
    assert set(tables.gene_sets["collection"]) == {"tfs", "rbps", "hallmarks", "reactome"}
    assert tables.manifest["collectri"]["lost"]["pseudo_tf"] > 0
    assert tables.manifest["trrust"]["lost"]["excel_damaged"] > 0
    assert tables.manifest["tfs"]["lost"] == {"unknown_id": 2}
    assert set(tables.prior_edges["sources"].str.split(";").explode()) == {"collectri", "dorothea", "trrust"}
    assert tables.prior_edges["confidence"].between(0, 1).all()
    assert all(entry["identifiers"] == "hgnc" for entry in tables.manifest.values())
    assert tables.drug_targets["perturbation"].str.strip().equals(tables.drug_targets["perturbation"])


def test_equal_files_give_equal_bytes_in_any_order_of_resources(simulated, tmp_path):
    write_tables(build_resources(simulated, SETTINGS), tmp_path / "one")
    write_tables(build_resources(dict(reversed(simulated.items())), SETTINGS), tmp_path / "two")
    for name in [*(f"{table}.parquet" for table in TABLES), "manifest.json"]:
        assert sha256_of(tmp_path / "one" / name) == sha256_of(tmp_path / "two" / name), name
    tables = build_resources(simulated, SETTINGS)
    for name in TABLES:
        pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "one" / f"{name}.parquet"), getattr(tables, name))
    assert read_json(tmp_path / "one" / "manifest.json") == tables.manifest


def test_without_any_resource_the_tables_are_empty_and_typed(simulated, tmp_path):
    empty, full = build_resources({}, SETTINGS), build_resources(simulated, SETTINGS)
    assert empty.manifest == {}
    for name in TABLES:
        assert len(getattr(empty, name)) == 0
        assert getattr(empty, name).dtypes.to_dict() == getattr(full, name).dtypes.to_dict(), name
    write_tables(empty, tmp_path)
    assert list(pd.read_parquet(tmp_path / "prior_edges.parquet").columns) == list(full.prior_edges.columns)


@pytest.mark.parametrize("absent", [name for name in CATALOGUE if name not in {"string_info", "hgnc"}])
def test_an_absent_resource_takes_only_its_own_rows(simulated, absent):
    full = build_resources(simulated, SETTINGS)
    tables = build_resources({name: file for name, file in simulated.items() if name != absent}, SETTINGS)
    assert absent not in tables.manifest
    assert absent not in set(tables.reference_pairs["reference"]) | set(tables.reference_universe["reference"]) | set(tables.gene_sets["collection"])
    assert absent not in set(tables.prior_edges["sources"].str.split(";").explode())
    if absent not in {"collectri", "dorothea", "trrust"}:
        pd.testing.assert_frame_equal(tables.prior_edges, full.prior_edges)
    rest = full.reference_pairs[full.reference_pairs["reference"] != absent].reset_index(drop=True)
    pd.testing.assert_frame_equal(tables.reference_pairs, rest)
    assert (len(tables.drug_targets) == 0) == (absent == "drug_targets")


def test_without_hgnc_symbols_are_taken_as_they_are_and_the_manifest_says_so(simulated):
    tables = build_resources({name: file for name, file in simulated.items() if name != "hgnc"}, SETTINGS)
    assert len(tables.identifiers) == 0
    assert all(entry["identifiers"] == "as_given" for entry in tables.manifest.values())
    assert set(tables.reference_pairs["reference"]) == {"string", "reactome"}
    for name in ("complexportal", "humap"):
        assert set(tables.manifest[name]["lost"]) <= {"needs_hgnc", "non_protein", "unknown_complex"}
        assert tables.manifest[name]["rows_kept"] == 0
    assert tables.manifest["tfs"]["lost"] == {}


def test_settings_decide_the_cut_offs(simulated):
    loose = ResourcesConfig(dorothea_levels=["A", "B", "C", "D", "E"], string_min_score=0, humap_max_confidence=5, reactome_max_genes=10_000)
    before, after = build_resources(simulated, SETTINGS), build_resources(simulated, loose)
    pairs = [tables.reference_pairs["reference"].value_counts() for tables in (before, after)]
    for reference in ("string", "humap", "reactome"):
        assert pairs[1][reference] > pairs[0][reference]
        assert not {"below_cutoff", "too_large_pathway"} & set(after.manifest[reference]["lost"])
    assert pairs[1]["complexportal"] == pairs[0]["complexportal"]
    assert len(after.prior_edges) > len(before.prior_edges)
    pd.testing.assert_frame_equal(after.reference_universe, before.reference_universe)


def test_checksums_are_checked_before_anything_is_parsed(simulated):
    path = simulated["trrust"].path
    right = sha256_of(path)
    assert build_resources({"trrust": ResourceFile(path=path, sha256=right)}, SETTINGS).manifest["trrust"]["sha256"] == right
    with pytest.raises(
        ResourceError, match=rf"expected sha256 {'0' * 64}, found {right}\. Fetch `trrust` again.*write `resources.trrust.sha256: {right}`"
    ):
        build_resources({"trrust": ResourceFile(path=path, sha256="0" * 64)}, SETTINGS)


def test_wrong_names_and_absent_files_are_told(simulated, tmp_path):
    with pytest.raises(ResourceError, match=r"expected the names hgnc, .* found biogrid"):
        build_resources({"biogrid": simulated["string"]}, SETTINGS)
    with pytest.raises(ResourceError, match="expected `string_info` beside `string`"):
        build_resources({"string": simulated["string"]}, SETTINGS)
    with pytest.raises(ResourceError, match=r"nothing: expected the file of resource `tfs`, found none.*write `tfs: null`"):
        build_resources({"tfs": ResourceFile(path=tmp_path / "nothing")}, SETTINGS)


def test_leaves_need_the_hierarchy(simulated):
    settings = ResourcesConfig(reactome_pathways="leaves")
    with pytest.raises(ResourceError, match=r"expected `reactome_relations` beside `reactome` .*write `reactome_pathways: all`"):
        build_resources({"reactome": simulated["reactome"]}, settings)
    assert len(build_resources({"tfs": simulated["tfs"]}, settings).gene_sets) > 0


def test_optional_resources_are_tables_like_the_others(simulated, tmp_path):
    (tmp_path / "h").write_text(simulated["humap"].path.read_text().replace("HuMAP2_ID,Confidence", "HuMAP3_ID,ComplexConfidence"))
    ids = [line.split("\t")[1] for line in simulated["reactome"].path.read_text().splitlines()]
    (tmp_path / "r").write_text("".join(f"R-HSA-1\t{name}\n" for name in ids))
    optional = {"humap3": ResourceFile(path=tmp_path / "h"), "reactome_relations": ResourceFile(path=tmp_path / "r")}
    tables = build_resources(simulated | optional, ResourcesConfig(reactome_pathways="leaves"))
    plain = build_resources(simulated, SETTINGS)
    pairs = {name: rows[["gene_a", "gene_b"]].to_numpy().tolist() for name, rows in tables.reference_pairs.groupby("reference")}
    assert pairs["humap3"] == pairs["humap"]
    assert len(pairs["reactome"]) == (plain.reference_pairs["reference"] == "reactome").sum(), "all are leaves here"
    assert len(tables.manifest["reactome_relations"]["sha256"]) == 64


def test_identifiers_of_another_species_are_told(simulated, tmp_path):
    (tmp_path / "t").write_text("Trp53\nMyc\n")
    with pytest.raises(ResourceError, match=r"expected identifiers of human genes, found none that HGNC knows \(Myc, Trp53, ...\).*`tfs: null`"):
        build_resources({"hgnc": simulated["hgnc"], "tfs": ResourceFile(path=tmp_path / "t")}, SETTINGS)
    assert len(build_resources({"tfs": ResourceFile(path=tmp_path / "t")}, SETTINGS).gene_sets) == 2, "without HGNC nothing can be said"


def test_manifest_tells_where_a_file_came_from(simulated):
    file = ResourceFile(path=simulated["tfs"].path, url="https://example.org/tfs", version="1.01", licence="none")
    entry = build_resources({"tfs": file}, SETTINGS).manifest["tfs"]
    assert (entry["url"], entry["version"], entry["licence"], entry["bytes"]) == ("https://example.org/tfs", "1.01", "none", file.path.stat().st_size)
    assert entry["unit"] == "set members"


def test_manifest_tells_the_settings_of_a_resource(simulated):
    manifest = build_resources(simulated, SETTINGS).manifest
    assert manifest["dorothea"]["settings"] == {"dorothea_levels": ["A", "B", "C"]}
    assert manifest["reactome"]["settings"] == {"reactome_pathways": "all", "reactome_max_genes": 100}
    assert "settings" not in manifest["tfs"]


def test_a_gene_is_in_a_set_once(tmp_path):
    (tmp_path / "tfs").write_text("B\nA\nB\n")
    tables = build_resources({"tfs": ResourceFile(path=tmp_path / "tfs")}, SETTINGS)
    assert tables.gene_sets.to_numpy().tolist() == [["tfs", "tfs", "A"], ["tfs", "tfs", "B"]]
    assert tables.manifest["tfs"]["lost"] == {"duplicate": 1}


def test_contradicting_signs_of_a_target_are_unknown(tmp_path):
    path = tmp_path / "own.csv"
    path.write_text("perturbation,target,sign\nA,X,1\nA,X,-1\nA,Y,0\nA,Y,-1\nB,X,1\nB,,0\n")
    targets, account = target_rows(path, None)
    assert targets.to_numpy().tolist() == [["A", "X", 0, "table"], ["A", "Y", -1, "table"], ["B", "X", 1, "table"]]
    assert account["lost"] == {"no_target": 1, "duplicate": 2}


@pytest.mark.shared_data
def test_all_tables_from_real_files(shared_data, benchmark_of_resources):
    files = {name: file for name, file in benchmark_of_resources.FILES.items() if not CATALOGUE[name].is_optional}
    tables = build_resources({name: ResourceFile(path=shared_data / "references" / file) for name, file in files.items()}, SETTINGS)
    assert_consistent(tables)
    lost = {name: tables.manifest[name]["lost"] for name in files if name != "string_info"}
    assert lost["tfs"] == {"unknown_id": 4}
    assert lost["drug_targets"] == {"no_target": 115, "unknown_id": 1}, "WNV NS2B-NS3 is no human gene"
    assert lost["dorothea"]["below_cutoff"] == 15_863 + 425_418
    assert tables.drug_targets["perturbation"].nunique() == 264
    assert tables.drug_targets["target"].nunique() == 279
    assert "MAP3K20" in set(tables.drug_targets["target"]), "ZAK is its old name"
    assert 40_000 < len(tables.prior_edges) < 52_000
