"""Configuration and files together, before any job."""

import pytest
from screen_files import make_plate, write_config, write_screen

from causcade.errors import ConfigError
from causcade.files import sha256_of
from causcade.resource_catalogue import CATALOGUE, SIMULATED_FILES
from causcade.tx1.hub import DRUG_FILE, REQUIRED
from causcade.validation import load_config, merge, model_files, read_yaml, resource_files


def mistakes_of(function, *arguments, **keys):
    with pytest.raises(ConfigError) as error:
        function(*arguments, **keys)
    return error.value.mistakes


def test_merging_is_by_section_and_replaces_the_rest():
    base = {"a": {"x": 1, "y": [1, 2]}, "b": None, "c": 3}
    over = {"a": {"y": [3]}, "b": {"z": 1}, "c": {"w": 2}}
    assert merge(base, over) == {"a": {"x": 1, "y": [3]}, "b": {"z": 1}, "c": {"w": 2}}
    assert base == {"a": {"x": 1, "y": [1, 2]}, "b": None, "c": 3}
    assert merge(base, {}) == base


def test_merging_equals_that_of_the_workflow():
    update_config = pytest.importorskip("snakemake.utils").update_config
    base = {"a": {"x": 1, "y": {"z": 2}}, "b": None, "c": 3}
    over = {"a": {"y": {"z": 5}}, "b": {"z": 1}, "d": None}
    expected = {"a": {"x": 1, "y": {"z": 2}}, "b": None, "c": 3}
    update_config(expected, over)
    assert merge(base, over) == expected


def test_files_that_are_no_configuration(tmp_path):
    path = tmp_path / "config.yaml"
    assert mistakes_of(read_yaml, path) == [f"{path}: expected a configuration file, found none (No such file or directory). Correct the path."]
    path.write_text("")
    assert read_yaml(path) == {}
    path.write_text("- a\n- b\n")
    assert mistakes_of(read_yaml, path) == [f"{path}: expected keys and values, found list. Begin with `run: my_screen`."]
    path.write_text("run: mine\nplates: [a\n")
    (mistake,) = mistakes_of(read_yaml, path)
    assert mistake == f"{path}, line 3: expected YAML, found expected ',' or ']', but got '<stream end>'. Correct the line."
    path.write_bytes("run: ä".encode("latin-1"))
    (mistake,) = mistakes_of(read_yaml, path)
    assert mistake.startswith(f"{path}: expected YAML in UTF-8, found another encoding (")


def test_a_key_twice_is_told(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("input:\n  layer: a\nrun: mine\ninput:\n  gene_id: b\n")
    assert mistakes_of(read_yaml, path) == [f"{path}, line 4: expected YAML, found the key 'input' twice in one section. Correct the line."]


def test_a_good_screen_is_valid(tmp_path):
    config = load_config(read_yaml(write_screen(tmp_path, {"P1": make_plate()})), check_files=True)
    assert config.run == "mine"


def test_five_mistakes_of_five_kinds_are_told_together(tmp_path):
    path = write_screen(tmp_path, {"P1": make_plate()})
    (tmp_path / "plates.tsv").write_text(f"plate\tcounts\nP1\t{tmp_path}/P1.h5ad\nP2\t{tmp_path}/none.h5ad\n")
    wrong = "0" * 64
    path = write_config(
        tmp_path,
        panel={"num_hvgs": 100},
        quality={"min_counts": "few"},
        resources={"hgnc": {"path": str(tmp_path / "hgnc.tsv"), "sha256": wrong}, "trrust": {"path": str(tmp_path / "none.tsv")}},
        perturbation={"targets": str(tmp_path / "targets.tsv")},
        mask={"partners": 1000},
    )
    expected = [
        "quality.min_counts: expected a whole number, found 'few'. Correct the value; config/config.yaml says what it means.",
        "panel.num_hvgs: unknown key. Did you mean `num_hvg`? config/config.yaml lists every key.",
        "mask.partners: expected at most `coexpression.partners` (100), found 1000; write `coexpression: {partners: 1000}`.",
        f"{tmp_path / 'plates.tsv'}: expected counts of plate 'P2' at {tmp_path}/none.h5ad, found no file. Correct column counts, or remove the row.",
        f"perturbation.targets: expected a table at {tmp_path / 'targets.tsv'}, found no file. Correct the path, or write null.",
        f"resources.hgnc.sha256: expected {wrong}, found {sha256_of(tmp_path / 'hgnc.tsv')} for {tmp_path / 'hgnc.tsv'}. "
        "Fetch the file again, or correct the checksum.",
        f"resources.trrust.path: expected a file at {tmp_path / 'none.tsv'}, found none. "
        "Correct the path, or remove it to fetch the resource from its address.",
    ]
    assert mistakes_of(load_config, read_yaml(path), check_files=True) == expected
    assert mistakes_of(load_config, read_yaml(path), check_files=False) == expected[:3]


def test_mistakes_of_the_plate_table_are_among_them(tmp_path):
    (tmp_path / "plates.tsv").write_text("plate\tcounts\nP1\ta.h5ad\nP1\tb.h5ad\n")
    found = mistakes_of(load_config, {"run": 5, "plates": str(tmp_path / "plates.tsv")}, check_files=True)
    table = tmp_path / "plates.tsv"
    assert [sentence.split(": ")[0] for sentence in found] == ["run", str(table), f"{table}, row 2", str(table)]
    assert found[1] == f"{table}: expected counts of plate 'P1' at a.h5ad, found no file. Correct column counts, or remove the row."


def test_absent_tables_of_the_input_are_among_them(tmp_path):
    """One of each plate where the path holds its name; whatever else is wrong with the section."""
    path = write_screen(tmp_path, {"P1": make_plate(), "P2": make_plate()})
    (tmp_path / "cells_P1.csv").write_text("cell,batch\n")
    tables = [{"path": f"{tmp_path}/cells_{{plate}}.csv"}, {"path": f"{tmp_path}/wells.tsv", "off": "sample"}]
    path = write_config(tmp_path, input={"tables": tables, "gene_table": f"{tmp_path}/genes.parquet"})
    assert mistakes_of(load_config, read_yaml(path), check_files=True) == [
        "input.tables.1.off: unknown key. Remove it, or correct its spelling; config/config.yaml lists every key.",
        f"input.tables.0.path: expected a table at {tmp_path}/cells_P2.csv, found no file. Correct the path, or remove the table.",
        f"input.tables.1.path: expected a table at {tmp_path}/wells.tsv, found no file. Correct the path, or remove the table.",
        f"input.gene_table: expected a table at {tmp_path}/genes.parquet, found no file. Correct the path, or write null.",
    ]
    for name in ("cells_P2.csv", "wells.tsv", "genes.parquet"):
        (tmp_path / name).touch()
    assert len(mistakes_of(load_config, read_yaml(path), check_files=True)) == 1


@pytest.mark.parametrize("section", [5, {"tables": 5}, {"tables": [5, {"path": 5}, {}]}, {"gene_table": 5}])
def test_tables_of_a_wrong_type_are_skipped(section):
    assert all("expected a table at" not in mistake for mistake in mistakes_of(load_config, {"input": section}, check_files=True))


def test_what_is_right_of_a_configuration_is_kept():
    with pytest.raises(ConfigError) as error:
        load_config({"run": "r", "plates": "none.tsv", "seed": "one", "mask": {"partner": 3}}, check_files=False)
    assert error.value.wrong == {"seed", "mask.partner"}
    assert (error.value.rest.run, error.value.rest.plates, error.value.rest.seed) == ("r", "none.tsv", 0)


def test_a_right_checksum(tmp_path):
    path = write_screen(tmp_path, {"P1": make_plate()})
    entry = {"path": str(tmp_path / "hgnc.tsv"), "sha256": sha256_of(tmp_path / "hgnc.tsv")}
    path = write_config(tmp_path, resources={"hgnc": entry})
    assert load_config(read_yaml(path), check_files=True).resources.hgnc.sha256 == entry["sha256"]


@pytest.mark.parametrize(
    "raw",
    [{"perturbation": 5}, {"resources": [1]}, {"plates": 7}, {"resources": {"hgnc": "file"}}, {"plates": "p", "resources": {"hgnc": {"path": 3}}}],
)
def test_sections_of_a_wrong_type_stop_no_other_check(raw):
    assert mistakes_of(load_config, raw, check_files=True)


def test_resources_of_the_simulated_screen_are_its_own_files():
    config = load_config({}, check_files=True)
    assert resource_files(config) == {name: f"results/simulated/simulation/resources/{file}" for name, file in SIMULATED_FILES.items()}


def test_a_local_path_wins_over_the_address_and_null_leaves_out():
    raw = {"run": "r", "plates": "p", "resources": {"hgnc": {"url": "https://example.org/x", "path": "x.tsv"}, "trrust": None}}
    found = resource_files(load_config(raw, check_files=False))
    assert found["hgnc"] == "x.tsv"
    assert found["string"] == CATALOGUE["string"].url
    assert set(CATALOGUE) - set(found) == {"trrust"} | {name for name, entry in CATALOGUE.items() if entry.is_optional}


def make_model_folder(folder):
    folder.mkdir(parents=True)
    for name in REQUIRED:
        (folder / name).touch()
    return folder


def test_folders_of_models_and_files_of_embeddings_are_among_them(tmp_path):
    half, whole = make_model_folder(tmp_path / "half"), make_model_folder(tmp_path / "whole")
    (half / "vocab.json").unlink()
    path = write_screen(tmp_path, {"P1": make_plate(), "P2": make_plate()})
    training = {"smiles": str(tmp_path / "smiles.tsv"), "mds": [str(half)]}
    path = write_config(tmp_path, embedding={"source": "tx1", "model": str(half)}, pretraining={"initial": str(tmp_path / "gone")} | training)
    assert mistakes_of(load_config, read_yaml(path), check_files=True) == [
        f"pretraining.initial: {tmp_path}/gone: expected a folder or a name on the Hugging Face hub (owner/name:size), found no such folder. "
        "Correct the path.",
        f"embedding.model: {half}: expected {', '.join(REQUIRED)}, found no vocab.json. Copy the whole folder.",
        f"pretraining.smiles: expected a table at {tmp_path}/smiles.tsv, found no file. Correct the path, or remove the table.",
        f"pretraining.mds.0: expected a folder with index.json at {half}, found none. Name each folder of shards, such as `DATA/train`.",
    ]
    path = write_config(tmp_path, pretraining={"vocabulary": str(half / "vocab.json")})
    assert mistakes_of(load_config, read_yaml(path), check_files=True) == [
        f"pretraining.vocabulary: expected a vocab.json at {half}/vocab.json, found no file. Correct the path, or write null."
    ]
    path = write_config(tmp_path, embedding={"source": "tx1", "model": str(whole)}, pretraining={"initial": "tahoebio/Tahoe-x1:70m"})
    load_config(read_yaml(path), check_files=True)
    path = write_config(tmp_path, embedding={"source": "precomputed", "path": f"{tmp_path}/emb_{{plate}}.txt"})
    (tmp_path / "emb_P1.txt").touch()
    assert mistakes_of(load_config, read_yaml(path), check_files=True) == [
        f"embedding.path: expected an embedding at {tmp_path}/emb_P2.txt, found no file. Correct the path, or write null.",
        f"embedding.path: expected a file as npy, parquet, h5ad or zarr, found {tmp_path}/emb_P1.txt. Convert it, or correct its name.",
    ]
    path = write_config(tmp_path, embedding={"source": "pca", "model": str(half), "path": "gone.npy"})  # of another source
    load_config(read_yaml(path), check_files=True)


def test_files_of_a_model(tmp_path):
    folder = make_model_folder(tmp_path / "model")
    assert model_files(str(folder)) == [f"{folder}/{name}" for name in REQUIRED]
    (folder / DRUG_FILE).touch()
    assert model_files(str(folder))[-1] == f"{folder}/{DRUG_FILE}"
    assert model_files(None) == model_files("tahoebio/Tahoe-x1:70m") == []
