"""Bad input through the workflow: configuration mistakes before any job, data mistakes by the job of rule `check`."""

from __future__ import annotations

import anndata
import pytest
import scipy.sparse as sp

from workflow.conftest import make_checkout

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("interruption")]


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
    for part in ["5 mistakes", "seed", "unknown_key", "mask.partners", "nowhere.tsv", "'plate1' in row 1 already"]:
        assert part in done.stderr, part
    assert "Traceback" not in done.stderr


def test_lognormalised_data_are_told_by_the_check(fresh):
    path = fresh.folder / "data" / "plate1.h5ad"
    data = anndata.read_h5ad(path)
    scaled = sp.csr_matrix(data.X, dtype="float32").log1p()
    anndata.AnnData(scaled, obs=data.obs, var=data.var).write_h5ad(path)
    (fresh.folder / "plates.tsv").write_text("plate\tcounts\nplate1\tdata/plate1.h5ad\nplate2\tdata/plate2.h5ad\n")
    done = fresh.snakemake("--nolock", "results/small/check.json")
    assert done.returncode == 1
    assert "expected raw counts (whole numbers from 0)" in done.stdout + done.stderr
    assert not (fresh.folder / "results" / "small" / "check.json").exists()
    assert not (fresh.folder / "results" / "small" / "cells").exists()
