"""What the page says of a run on a table of conditions, and of targets that are not measured."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from report_artifacts import make_artifacts
from test_report import Page

from causcade.condition_table import LEFT_OUT
from causcade.condition_table_genes import write_correlation
from causcade.config import Config, ReportConfig
from causcade.files import read_json, write_json, write_parquet
from causcade.report import build_report
from causcade.report.condition_table import condition_table, unit_of
from causcade.report.data import Artifacts
from causcade.report.unmeasured import unmeasured

TABLE = {"path": "t.tsv", "values": "expression", "pseudocount": 0.1}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_artifacts(tmp_path_factory.mktemp("report") / "run")


def targets_of(folder: Path, rows: list[tuple[str, str, bool, bool, int]]) -> None:
    table = pd.DataFrame(rows, columns=["perturbation", "target", "is_measured", "enters", "num_edges"])
    write_parquet(folder / "unmeasured/targets.parquet", table)


def test_a_table_is_named_with_what_stands_in_and_what_is_left_out(run: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(run, tmp_path / "run"))
    for name in ("quality", "embedding", "basal"):
        shutil.rmtree(folder / name)
    num_genes = len(pd.read_parquet(folder / "panel.parquet"))
    write_correlation(folder / "coexpression.zarr", np.eye(num_genes, dtype=np.float32), np.eye(num_genes, dtype=np.float32))
    write_json(folder / "check.json", {"kinds": {}, "num_conditions": 40, "num_controls": 0, "warnings": ["The table has no controls."]})
    write_json(folder / "network/score_choice.json", read_json(folder / "network/score_choice.json") | {"left_out": LEFT_OUT})
    config = Config.model_validate({"run": "t", "condition_table": TABLE, "perturbation": {"kind": "knockout"}}).model_dump(mode="json")
    page = Page(build_report(folder, ReportConfig(), run="t", methods=config))
    quality = page.text("quality")
    assert "This run started from a table, t.tsv: 40 conditions and 0 controls; values are expression on a linear scale" in quality
    assert "The table has no controls." in quality
    assert "partial correlation in control cells it is measured over control cells" in quality
    assert "correlation of the effects of" in page.text("panel")
    assert "Pearson r between perturbations" in page.text("network")
    methods = page.text("methods")
    assert "The median over the conditions of the same plate and cell line is subtracted." in methods
    assert "Covariates C" not in methods
    assert "natural log per natural log" in methods
    assert page.data["unit"] == "natural log"


def test_runs_on_cells_have_no_such_words(run: Path) -> None:
    assert condition_table(Artifacts(run), {}) is None
    assert unit_of({}) == unit_of({"condition_table": {"values": "counts"}}) == "log1p CP10k"
    assert unit_of({"condition_table": {"values": "change"}}) == "unit of the table"


def test_targets_that_are_not_measured_are_named_and_their_edges_marked(run: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(run, tmp_path / "run"))
    edges = pd.read_parquet(folder / "network/edges.parquet")
    added = edges.head(2).assign(regulator="HIDDEN", effect=float("nan"))
    write_parquet(folder / "network/edges.parquet", pd.concat([edges.assign(source_measured=True), added.assign(source_measured=False)]))
    targets_of(
        folder, [("d1", "A", True, True, 0), ("d2", "HIDDEN", False, True, 2), ("d10", "LOST", False, False, 0), ("d2", "LOST", False, False, 0)]
    )
    page = Page(build_report(folder, ReportConfig(), run="t"))
    words = page.text("mask")
    assert "1 of 3 listed targets is not measured and enters the network as a regulator, by curated edges" in words
    assert "HIDDEN: 2 edges; hit by d2" in words
    assert "1 of 3 listed targets stays out of the network" in words
    assert "LOST; hit by d2, d10" in words
    assert [page.data["genes"][code] for code in page.data["not_measured"]] == ["HIDDEN"]
    assert "source_measured" not in page.data["edges"]["extra"]
    assert "One regulator is not measured" in page.text("network")


def test_where_all_targets_are_measured_that_is_said(run: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(run, tmp_path / "run"))
    targets_of(folder, [("d1", "A", True, True, 0)])
    page = Page(build_report(folder, ReportConfig(), run="t"))
    assert "Every one of the 1 listed targets is measured." in page.text("mask")
    assert page.data["not_measured"] == []
    shutil.rmtree(folder / "unmeasured")
    assert unmeasured(Artifacts(folder)) is None
