"""The command line."""

import subprocess
import sys

import anndata
import numpy as np
import pandas as pd
import pytest
from count_files import write_shard
from screen_files import GENES, make_plate, write_config, write_screen

import causcade
from causcade import doctor
from causcade.cli import main
from causcade.config import Config
from causcade.config_files import config_schema, config_yaml
from causcade.errors import ConfigError
from causcade.plates import read_plate_table


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Run outside of the repository: the shipped config/config.yaml is not there unless a test writes it."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


def run(capsys, *arguments):
    status = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_version(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"causcade {causcade.__version__}\n"


def test_the_command_is_installed_and_exits_with_2(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "causcade.cli", "validate", str(tmp_path / "none.yaml")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stdout == ""
    path = tmp_path / "none.yaml"
    assert done.stderr == (
        "causcade: 1 mistake in the configuration:\n"
        f"  1. {path}: expected a configuration file, found none (No such file or directory). Correct the path.\n"
    )


def test_a_good_screen_is_valid(capsys, tmp_path):
    path = write_screen(tmp_path, {"P1": make_plate(), "P2": make_plate(labels=["DMSO_TF", "DrugC"], lines=["A"])})
    assert run(capsys, "validate", path) == (0, f"{path}: valid (2 plates, 32 cells, 3 perturbations)\n", "")


def test_the_simulated_screen_is_valid(capsys, tmp_path):
    (tmp_path / "config.yaml").write_text(config_yaml())
    assert run(capsys, "validate", tmp_path / "config.yaml") == (0, f"{tmp_path / 'config.yaml'}: valid (the simulated screen, 3 plates)\n", "")


def test_the_shipped_configuration_lies_below(capsys, tmp_path):
    (tmp_path / "here" / "config").mkdir()
    (tmp_path / "here" / "config" / "config.yaml").write_text("simulation: {plates: [a, b]}\n")
    (tmp_path / "mine.yaml").write_text("seed: 1\n")
    assert run(capsys, "validate", tmp_path / "mine.yaml")[1].endswith("valid (the simulated screen, 2 plates)\n")
    assert run(capsys, "validate", "config/config.yaml")[1].endswith("valid (the simulated screen, 2 plates)\n")


def test_five_mistakes_are_five_lines_and_status_2(capsys, tmp_path):
    write_screen(tmp_path, {"P1": make_plate()})
    with (tmp_path / "plates.tsv").open("a") as handle:
        handle.write(f"P2\t{tmp_path}/none.h5ad\n")
    wrong = "0" * 64
    path = write_config(
        tmp_path,
        panell={},
        seed="one",
        resources={"hgnc": {"path": str(tmp_path / "hgnc.tsv"), "sha256": wrong}, "tfs": {"path": str(tmp_path / "none.txt")}},
    )
    status, out, err = run(capsys, "validate", path)
    assert status == 2
    assert out == ""
    lines = err.splitlines()
    assert lines[0] == "causcade: 5 mistakes in the configuration:"
    assert [line.split(". ", 1)[1].split(": ")[0] for line in lines[1:]] == [
        "seed", "panell", str(tmp_path / "plates.tsv"), "resources.hgnc.sha256", "resources.tfs.path",
    ]  # fmt: skip


def test_mistakes_of_all_plates_are_told_together(capsys, tmp_path):
    log = make_plate()
    log.X = np.log1p(log.X)
    path = write_screen(tmp_path, {"P1": log, "P2": make_plate(), "P3": make_plate(genes=list("abcde"))})
    data = (tmp_path / "P2.h5ad").read_bytes()
    (tmp_path / "P2.h5ad").write_bytes(data[: len(data) // 2])
    status, _, err = run(capsys, "validate", path)
    assert status == 2
    lines = err.splitlines()
    assert lines[0] == "causcade: 3 mistakes in the data:"
    assert "P1.h5ad: expected raw counts" in lines[1]
    assert (
        "P2.h5ad: expected counts (h5ad, AnnData zarr, 10x h5, an mtx folder or Tahoe parquet), found a file that cannot be opened: it is truncated"
        in lines[2]
    )
    assert "P3.h5ad: expected human gene ids or symbols, found none that HGNC knows among 5 (such as a, b, c)." in lines[3]


def test_mistakes_of_configuration_and_data_are_told_together(capsys, tmp_path):
    write_screen(tmp_path, {"P1": make_plate(), "P2": make_plate(genes=list("abcde"))})
    with (tmp_path / "plates.tsv").open("a") as handle:
        handle.write(f"P3\t{tmp_path}/none.h5ad\nP1\t{tmp_path}/P1.h5ad\n")
    (tmp_path / "targets.tsv").write_text("drug\tgene\n")
    path = write_config(tmp_path, seed="one", perturbation={"control": ["DMSO"], "targets": str(tmp_path / "targets.tsv")})
    status, _, err = run(capsys, "validate", path)
    assert status == 2
    lines = err.splitlines()
    assert lines[0] == "causcade: 6 mistakes in the configuration and the data:"
    parts = ["seed", "none.h5ad", "'P1' in row 1 already", "expected columns perturbation, target and sign", "P2.h5ad: expected human", "('DMSO')"]
    assert all(part in line for part, line in zip(parts, lines[1:], strict=True))


def test_data_are_left_alone_where_the_way_to_read_them_is_wrong(capsys, tmp_path):
    path = write_screen(tmp_path, {"P1": make_plate()}, perturbation={"controls": ["DMSO"]}, covariates={"terms": ["batch"]})
    status, _, err = run(capsys, "validate", path)
    assert status == 2
    assert err.splitlines()[0] == "causcade: 1 mistake in the configuration:"


def test_settings_that_the_data_do_not_meet(capsys, tmp_path):
    path = write_screen(
        tmp_path,
        {"P1": make_plate()},
        covariates={"terms": ["batch"]},
        embedding={"source": "precomputed", "obsm": "X_tx"},
        causal={"held_out_lines": ["Z"]},
    )
    status, _, err = run(capsys, "validate", path)
    assert status == 2
    assert [line.split(". ", 1)[1].split(":")[0] for line in err.splitlines()[1:]] == [
        "covariates.terms", "embedding.obsm", "causal.held_out_lines",
    ]  # fmt: skip


def test_mistakes_of_the_screen_are_told_one_by_one(capsys, tmp_path):
    path = write_screen(tmp_path, {"P1": make_plate(lines=["A"]), "P2": make_plate(labels=["DrugA"], lines=["B", "C"])})
    status, _, err = run(capsys, "validate", path)
    assert status == 2
    assert err.splitlines()[0] == "causcade: 2 mistakes in the data:"
    assert "2. plate P2: expected control cells of line 'C' there or on another plate, found none anywhere." in err


def test_a_control_label_that_occurs_nowhere(capsys, tmp_path):
    path = write_screen(tmp_path, {"P1": make_plate()}, perturbation={"control": ["DMSO"]})
    status, _, err = run(capsys, "validate", path)
    assert status == 2
    assert "expected control cells ('DMSO') on some plate, found none. The most frequent labels are DMSO_TF, DrugA, DrugB." in err


def test_an_obs_column_that_is_missing(capsys, tmp_path):
    path = write_screen(tmp_path, {"P1": make_plate()}, input={"columns": {"perturbation": "compound"}})
    status, _, err = run(capsys, "validate", path)
    assert status == 2
    assert "expected obs column 'compound' (input.columns.perturbation), found drug, cell_line, drugname_drugconc, sample." in err


def test_controls_of_another_plate_are_a_warning(capsys, tmp_path):
    path = write_screen(tmp_path, {"P1": make_plate(), "P2": make_plate(labels=["DrugA"])})
    status, out, _ = run(capsys, "validate", path)
    assert status == 0
    assert out.startswith("warning: plate P2: no control cells of line 'A'; controls of the line's other plates supply the baseline\n")


def test_a_damaged_gene_table_does_not_hide_the_other_mistakes(capsys, tmp_path):
    path = write_screen(tmp_path, {"P1": make_plate()}, input={"columns": {"cell_line": "line"}})
    (tmp_path / "hgnc.tsv").write_text("no\ttable\n")
    status, _, err = run(capsys, "validate", path)
    assert status == 2
    assert err.splitlines()[0] == "causcade: 2 mistakes in the data:"
    assert "hgnc.tsv" in err
    assert "expected obs column 'line'" in err


def test_debug_shows_the_traceback(tmp_path):
    with pytest.raises(ConfigError):
        main(["--debug", "validate", str(tmp_path / "none.yaml")])


def test_a_plate_table_is_printed_and_can_be_used(capsys, tmp_path):
    data = make_plate(plate=np.repeat(["P2", "P1 ", "P1"], 8))
    data.write_h5ad(tmp_path / "all.h5ad")
    status, out, _ = run(capsys, "plates", tmp_path / "all.h5ad")
    assert status == 0
    assert out == f"plate\tcounts\nP1\t{tmp_path}/all.h5ad\nP2\t{tmp_path}/all.h5ad\n"
    (tmp_path / "plates.tsv").write_text(out)
    assert [plate.num_sharing for plate in read_plate_table(tmp_path / "plates.tsv")] == [2, 2]
    assert run(capsys, "validate", write_config(tmp_path, resources={"hgnc": None}))[0] == 0


def test_plates_of_parquet_shards_and_of_a_table(capsys, tmp_path):
    """The column may be in the file or in a table; each plate can then be looked at by itself."""
    counts = np.random.default_rng(0).poisson(2, (24, 5))
    genes = pd.DataFrame({"token_id": range(3, 8), "ensembl_id": [f"ENSG{i}" for i in range(1, 6)], "gene_symbol": GENES})
    genes.to_csv(tmp_path / "genes.tsv", sep="\t", index=False)
    (tmp_path / "shards").mkdir()
    drugs, wells = np.tile(["DMSO_TF", "DrugA"], 12).tolist(), np.repeat(["w1", "w2", "w3"], 8).tolist()
    dose = [f"[({drug!r}, {0.0 if drug == 'DMSO_TF' else 0.5}, 'uM')]" for drug in drugs]
    write_shard(
        tmp_path / "shards" / "a.parquet", counts, drug=drugs, sample=wells, drugname_drugconc=dose, cell_line=["A"] * 24,
        BARCODE_SUB_LIB_ID=[f"c{i}" for i in range(24)], plate=np.repeat(["P2", "P1", "P1"], 8).tolist(),
    )  # fmt: skip
    (tmp_path / "wells.csv").write_text("sample,batch\nw1,x\nw2,y\nw3,y\n")
    section = {"gene_table": str(tmp_path / "genes.tsv"), "tables": [{"path": str(tmp_path / "wells.csv"), "of": "sample"}]}
    shards = tmp_path / "shards"
    path = write_config(tmp_path, input=section, resources={"hgnc": None}, covariates={"terms": ["batch"]})
    status, out, _ = run(capsys, "plates", shards, "--config", path)
    assert (status, out) == (0, f"plate\tcounts\nP1\t{shards}\nP2\t{shards}\n")
    (tmp_path / "plates.tsv").write_text(out)
    assert run(capsys, "validate", path) == (0, f"{path}: valid (2 plates, 24 cells, 1 perturbations)\n", "")
    path = write_config(tmp_path, input=section | {"columns": {"plate": "batch"}})
    assert run(capsys, "plates", shards, "--config", path)[1] == f"plate\tcounts\nx\t{shards}\ny\t{shards}\n"


def test_an_absent_table_is_told_once(capsys, tmp_path):
    path = write_screen(tmp_path, {"P1": make_plate(), "P2": make_plate()}, input={"tables": [{"path": str(tmp_path / "no.csv")}]})
    status, _, err = run(capsys, "validate", path)
    assert status == 2
    assert err.splitlines()[0] == "causcade: 1 mistake in the configuration:"
    assert f"input.tables.0.path: expected a table at {tmp_path / 'no.csv'}, found no file. Correct the path, or remove the table." in err


def test_a_plate_column_of_a_configuration(capsys, tmp_path):
    make_plate(donor=np.repeat(["stim101", "ctrl101", "ctrl107"], 8)).write_h5ad(tmp_path / "all.h5ad")
    (tmp_path / "mine.yaml").write_text("input: {columns: {plate: {column: donor, pattern: '(\\d+)$'}}}\n")
    _, out, _ = run(capsys, "plates", tmp_path / "all.h5ad", "--config", tmp_path / "mine.yaml")
    assert [line.split("\t")[0] for line in out.splitlines()] == ["plate", "101", "107"]
    status, _, err = run(capsys, "plates", tmp_path / "all.h5ad")
    assert status == 2
    assert "expected obs column 'plate' (input.columns.plate)" in err


def test_generated_files_are_written(capsys, tmp_path):
    status, out, _ = run(capsys, "config", tmp_path / "new")
    assert status == 0
    assert out == f"wrote {tmp_path / 'new' / 'config.yaml'} and {tmp_path / 'new' / 'schema.json'}\n"
    assert (tmp_path / "new" / "config.yaml").read_text() == config_yaml()
    assert (tmp_path / "new" / "schema.json").read_text() == config_schema()


def test_a_simulated_screen_in_a_folder_is_a_screen_of_ones_own(capsys, tmp_path):
    (tmp_path / "small.yaml").write_text(
        "simulation: {plates: [p1], num_genes: 100, num_tfs: 10, num_drugs: 2, num_cell_lines: 1, cells_per_well: 5}\n"
    )
    status, out, _ = run(capsys, "simulate", tmp_path / "screen", "--config", tmp_path / "small.yaml")
    assert status == 0
    assert out == f"{tmp_path / 'screen'}: 1 plates, plates.tsv, resources/, truth/\n"
    (plate,) = read_plate_table(tmp_path / "screen" / "plates.tsv")
    assert anndata.read_h5ad(plate.counts).n_obs > 0
    hgnc = {"hgnc": {"path": str(tmp_path / "screen" / "resources" / "hgnc_complete_set.txt")}}
    path = write_config(tmp_path, plates=str(tmp_path / "screen" / "plates.tsv"), resources=hgnc)
    assert run(capsys, "validate", path)[0] == 0


def test_doctor_prints_what_it_found(capsys, monkeypatch):
    def examine(config, rate, *, profile, measured, measure, atlas):
        return f"{config.run} {rate} {profile} {measured} {measure}"

    monkeypatch.setattr(doctor, "examine", examine)
    assert run(capsys, "doctor") == (0, f"{Config().run} None None None False\n", "")
    told = run(capsys, "doctor", "--tflops", "2.5", "--profile", "slurm-gpu", "--measured", "results/mine", "--measure")
    assert told == (0, f"{Config().run} {2.5e12} slurm-gpu results/mine True\n", "")


def test_doctor_takes_one_configuration(capsys, tmp_path):
    status, _, error = run(capsys, "doctor", tmp_path / "a.yaml", "--configfile", tmp_path / "b.yaml")
    assert status == 2
    assert "doctor: expected one configuration, found" in error


@pytest.mark.parametrize("arguments", [[], ["nothing"], ["validate"]])
def test_wrong_usage_is_status_2(arguments):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
