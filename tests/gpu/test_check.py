"""The script that compares GPU paths with the CPU, tried with both sides on the CPU."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
import check
from check import FAILED, OK, PATHS, Outcome, Place, Row, Skipped, main, run_path

torch.set_num_threads(1)  # the data is tiny: threads that wait for each other would cost more than they do
CPU = Place("cpu", is_small=True)
QUICK = [
    "sums of products, float32", "sums of products, fp16_split", "sums of products, tf32", "coexpression of plates",
    "attention, mixed lengths, bfloat16", "TX1, gradients in bfloat16, width of 70M", "tokens and embedding, bfloat16",
    "pre-training, one process, float32", "basal decoder", "causal module", "latent estimator", "AUROC", "joins of tables (cuDF)",
]  # fmt: skip
IN_SCANPY = [
    "quality metrics (rapids-singlecell)", "highly variable genes (rapids-singlecell)", "PCA (rapids-singlecell)",
    "neighbours and UMAP (rapids-singlecell, cuML)", "random forests (cuML)",
]  # fmt: skip
WITHOUT = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("pydantic", "zarr", "anndata", "scanpy", "snakemake", "cupy", "pyreadr"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
import importlib.util
found = importlib.util.find_spec
def find(name):
    try:
        return found(name)
    except ModuleNotFoundError:
        return None
importlib.util.find_spec = find
sys.argv[0] = sys.argv[1]
import runpy
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.parametrize("name", QUICK)
def test_a_path_agrees_with_itself(name):
    row = run_path(name, CPU)
    assert row.status == OK, row
    assert row.outcome.cpu_rate > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", [*IN_SCANPY, "pre-training, DDP"])
def test_a_slow_path_agrees_with_itself(name):
    row = run_path(name, CPU)
    assert row.status == OK, row


def test_all_paths_have_names_of_their_own():
    assert set(QUICK) | set(IN_SCANPY) <= set(PATHS)


def fails(place):
    raise RuntimeError("the device\nis gone")


def skips(place):
    raise Skipped("not installed: cudf")


def lacks(place):
    import nothing_of_that_name.inside  # noqa: F401


def test_whatever_happens_is_a_status(monkeypatch):
    outcomes = {
        "good": lambda place: Outcome(0.1, 0.2, 1.0, 2.0, "cells"), "bad": lambda place: Outcome(0.3, 0.2),
        "infinite": lambda place: Outcome(float("nan"), 0.2), "fails": fails, "skips": skips, "lacks": lacks,
    }  # fmt: skip
    monkeypatch.setattr(check, "PATHS", outcomes)
    found = {name: run_path(name, CPU) for name in outcomes}
    assert {name: row.status for name, row in found.items()} == {
        "good": OK, "bad": FAILED, "infinite": FAILED, "fails": FAILED, "skips": "not installed: cudf",
        "lacks": "not installed: nothing_of_that_name",
    }  # fmt: skip
    assert found["fails"].note == "RuntimeError: the device is gone"
    lines = check.table(list(found.values()))
    assert lines[2] == "| good | ok | 1.0e-01 | 2e-01 | 1 cells/s | 2 cells/s |"
    assert lines[5] == "| fails | FAILED (RuntimeError: the device is gone) |  |  |  |  |"


def test_the_exit_status_tells_of_failures(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(check, "PATHS", {"good": lambda place: Outcome(0.0, 0.0), "skips": skips})
    assert main(["--device", "cpu", "--output", str(tmp_path / "table.md")]) == 0
    assert "| skips | not installed: cudf |" in (tmp_path / "table.md").read_text()
    monkeypatch.setattr(check, "PATHS", {"bad": lambda place: Outcome(1.0, 0.0)})
    assert main(["--device", "cpu"]) == 1
    assert main(["--device", "cpu", "--only", "nothing"]) == 0
    assert "both sides on the CPU" in capsys.readouterr().out


def test_without_a_gpu_nothing_passes(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main([]) == 2
    out = capsys.readouterr().out
    assert out.count("| no GPU |") == len(PATHS)
    assert "expected a GPU that torch can use, found none" in out


def test_differences_are_relative_and_never_pass_by_accident():
    assert check.relative([1.0, 2.0], [1.0, 4.0]) == 0.5
    assert check.relative([1.0, float("nan")], [1.0, 1.0]) == float("inf")
    assert check.relative([1.0], [1.0, 1.0]) == float("inf")
    assert Row("a", OK).outcome is None


@pytest.mark.slow
def test_it_runs_where_little_is_installed(tmp_path):
    import subprocess

    (tmp_path / "without.py").write_text(WITHOUT)
    command = [sys.executable, str(tmp_path / "without.py"), check.__file__, "--device", "cpu"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = {line.split(" | ")[0].removeprefix("| "): line.split(" | ")[1] for line in done.stdout.splitlines() if line.startswith("| ")}
    assert rows["causal module"] == rows["latent estimator"] == rows["basal decoder"] == "not installed: pydantic"
    assert rows["PCA (rapids-singlecell)"] == "not installed: anndata"
    for name in (
        "sums of products, float32",
        "tokens and embedding, bfloat16",
        "pre-training, one process, float32",
        "attention, mixed lengths, bfloat16",
    ):
        assert rows[name] == OK
