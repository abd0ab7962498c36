"""The job of rule `basal`: its command line, several processes, and a stop."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from basal_cases import GENES, write_plate
from cell_cases import panel_of

from causcade import basal_job, launching
from causcade.basal.decoder import read_decoder
from causcade.basal.stage import fit_plates, remove, write_fit
from causcade.config import BasalConfig
from causcade.files import read_json, read_parquet, write_json, write_parquet

ROOT = Path(__file__).parents[1]
SECTION = BasalConfig(hidden=5, max_epochs=4, batch_cells=8, learning_rate=0.02).deciding()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    write_json(folder / "roll.json", {name: write_plate(folder, name, seed=seed) for seed, name in enumerate(["p1", "p2"])})
    write_parquet(folder / "panel.parquet", panel_of(GENES))
    return folder


def command(folder, fit, *, processes=1, threads=1, **section):
    words = [folder / "roll.json", "--panel", folder / "panel.parquet", "--model", fit / "model.safetensors", "--pin", fit / "pin.json"]
    words += ["--settings", json.dumps({"basal": SECTION | section, "seed": 0, "backend": "cpu"}), "--fingerprint", "abc"]
    words += ["--checkpoints", fit / "checkpoints", "--block-cells", 50, "--log", fit / "fit.log"]
    return [*map(str, words), "--nodes", "1", "--processes", str(processes), "--gpus", "0", "--threads", str(threads)]


def start(*arguments, **options):
    environment = {key: value for key, value in os.environ.items() if key not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    script = [sys.executable, str(ROOT / "workflow_scripts/basal.py"), *command(*arguments, **options)]
    return subprocess.Popen(script, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def finish(process):
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors


def fit_here(folder, checkpoints, **section):
    settings = {"basal": SECTION | section, "seed": 0}
    return fit_plates(read_json(folder / "roll.json"), read_parquet(folder / "panel.parquet"), settings, checkpoints, block_cells=7)


def test_two_processes_give_the_fit_of_one(folder, tmp_path):
    finish(start(folder, tmp_path, processes=2, threads=2))
    fit, cells = fit_here(folder, tmp_path / "own")
    decoder, gene_ids = read_decoder(tmp_path / "model.safetensors")
    assert gene_ids == GENES
    expected = fit.decoder.state_dict()
    for name, value in decoder.state_dict().items():
        torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-5)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    for found, one in zip(lines, fit.metrics, strict=True):
        assert found == pytest.approx(one, rel=1e-5)
    summary = read_json(tmp_path / "summary.json")
    assert (summary["plates"], summary["num_cells"], summary["best_epoch"]) == (["p1", "p2"], cells.num_cells, fit.best_epoch)
    assert read_parquet(tmp_path / "genes.parquet")["gene_id"].tolist() == GENES
    assert read_json(tmp_path / "pin.json") == {"fingerprint": "abc"}
    assert not (tmp_path / "checkpoints").exists()
    assert (tmp_path / "fit.log.1").exists()


def test_files_of_a_fit_are_the_same_bytes_again(folder, tmp_path):
    panel = read_parquet(folder / "panel.parquet")
    for name in ("a", "b"):
        fit, cells = fit_here(folder, tmp_path / name / "checkpoints")
        write_fit(tmp_path / name, fit, cells, panel, ["p1", "p2"])
        remove(tmp_path / name / "checkpoints")
        assert {path.name for path in (tmp_path / name).iterdir()} == {"model.safetensors", "metrics.jsonl", "genes.parquet", "summary.json"}
    for name in ("model.safetensors", "metrics.jsonl", "summary.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_a_fit_asked_to_stop_saves_its_state_and_goes_on(folder, tmp_path, processes):
    options = {"processes": processes, "threads": processes, "max_epochs": 60, "patience": 60}
    finish(start(folder, tmp_path / "whole", **options))
    process = start(folder, tmp_path / "stopped", **options)
    while not (tmp_path / "stopped" / "checkpoints" / "state.pt").exists():
        time.sleep(0.02)
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=60)
    log = tmp_path / "stopped" / "fit.log"
    assert "basal: stopped after step" in log.read_text()
    assert process.returncode != 0
    finish(start(folder, tmp_path / "stopped", **options))
    assert "resumed from step" in log.read_text()
    whole, resumed = (read_decoder(tmp_path / name / "model.safetensors")[0].state_dict() for name in ("whole", "stopped"))
    for name, value in whole.items():
        np.testing.assert_array_equal(resumed[name], value, err_msg=name)
    assert (tmp_path / "whole" / "metrics.jsonl").read_bytes() == (tmp_path / "stopped" / "metrics.jsonl").read_bytes()


def test_several_processes_become_torchrun(folder, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(launching, "launch", lambda stage, **options: asked.append((stage, options["processes"], options["nodes"])))
    monkeypatch.delenv("RANK", raising=False)
    job = basal_job.read_arguments(command(folder, tmp_path, processes=4, threads=8))
    assert asked == [("basal", 4, 1)]
    assert (job.threads, job.processes, job.gpus, job.block_cells, job.log) == (2, 4, 0, 50, tmp_path / "fit.log")
    monkeypatch.setenv("RANK", "3")
    assert basal_job.read_arguments(command(folder, tmp_path, processes=4, threads=8)).log == tmp_path / "fit.log.3"
