"""Bad input through the workflow: configuration mistakes before any job, data mistakes by the job of rule `check`."""

from __future__ import annotations

import re

import anndata
import pytest
import scipy.sparse as sp

from workflow.conftest import make_checkout

pytestmark = pytest.mark.workflow


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """A checkout in which nothing has run."""
    return make_checkout(tmp_path_factory.mktemp("errors") / "work", ["plate1", "plate2"])


def test_configuration_mistakes_come_together_before_any_job(fresh):
    screen = fresh.folder / "screen.yaml"
    original = screen.read_text()
    screen.write_text(original + "\nseed: many\nunknown_key: 1\nmask: {partners: -3}\nperturbation: {targets: nowhere.tsv}\n")
    (fresh.folder / "plates.tsv").write_text("plate\tcounts\nplate1\tdata/plate1.h5ad\nplate1\tdata/gone.h5ad\n")
    done = fresh.snakemake("--dry-run")
    screen.write_text(original)
    assert done.returncode == 2
    for part in ["6 mistakes", "seed", "unknown_key", "mask.partners", "nowhere.tsv", "'plate1' in row 1 already", "data/gone.h5ad, found no file"]:
        assert part in done.stderr, part
    assert "Traceback" not in done.stderr


def write_table(fresh):
    (fresh.folder / "plates.tsv").write_text("plate\tcounts\nplate1\tdata/plate1.h5ad\nplate2\tdata/plate2.h5ad\n")


def test_settings_that_the_screen_does_not_meet_are_told_before_any_long_job(fresh):
    screen = fresh.folder / "screen.yaml"
    original = screen.read_text()
    screen.write_text(original + "\ncovariates: {terms: [log_counts, batch]}\n")
    write_table(fresh)
    done = fresh.snakemake("--nolock", "results/small/check_settings.json")
    screen.write_text(original)
    output = done.stdout + done.stderr
    assert done.returncode == 1
    assert output.count("covariates.terms: expected obs column 'batch' in data/plate1.h5ad, data/plate2.h5ad") == 1


def test_memory_is_asked_for_by_the_cells_of_a_plate(fresh):
    table = fresh.folder / "plates.tsv"
    table.write_text("plate\tcounts\tcells\nplate1\tdata/plate1.h5ad\t8000000\nplate2\tdata/plate2.h5ad\t\n")
    done = fresh.snakemake("--dry-run", "--nolock", "--forceall", "results/small/quality/summary.json")  # whatever the tests before made
    write_table(fresh)
    found = re.findall(r"rule (check_plate|quality|quality_summary):.*?(?:plate=(\w+).*?)?mem_mb=(\d+)", done.stdout + done.stderr, re.DOTALL)
    megabytes = {(rule, plate): int(number) for rule, plate, number in found}
    for rule in ("check_plate", "quality"):
        assert megabytes[rule, "plate1"] - megabytes[rule, "plate2"] == pytest.approx(8000, abs=1)
    assert megabytes["quality_summary", ""] > 8000


def test_lognormalised_data_are_told_by_the_check(fresh):
    path = fresh.folder / "data" / "plate1.h5ad"
    original = path.read_bytes()
    data = anndata.read_h5ad(path)
    scaled = sp.csr_matrix(data.X, dtype="float32").log1p()
    anndata.AnnData(scaled, obs=data.obs, var=data.var).write_h5ad(path)
    write_table(fresh)
    done = fresh.snakemake("--nolock", "results/small/check.json")
    path.write_bytes(original)
    assert done.returncode == 1
    assert (done.stdout + done.stderr).count("expected raw counts (whole numbers from 0)") == 1
    assert not (fresh.folder / "results" / "small" / "check.json").exists()
    assert not (fresh.folder / "results" / "small" / "cells").exists()


def test_a_control_label_that_occurs_nowhere_stops_the_whole_run_with_one_message(fresh):
    screen = fresh.folder / "screen.yaml"
    original = screen.read_text()
    screen.write_text(original + "\nperturbation: {control: [vehicle]}\n")
    write_table(fresh)
    done = fresh.snakemake("--nolock")
    screen.write_text(original)
    output = done.stdout + done.stderr
    assert done.returncode == 1
    assert output.count("expected control cells ('vehicle') on some plate, found none") == 1
    assert "Traceback" not in output
    # A plate that is checked may go on meanwhile, up to what is made of all plates.
    assert not (fresh.folder / "results" / "small" / "panel.parquet").exists()
