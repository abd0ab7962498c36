import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from screens import make_screen

from causcade import causal_job, launching
from causcade.causal import read_fit, run_fit
from causcade.config import CausalConfig
from causcade.files import write_anndata, write_parquet
from causcade.responses import ScreenFiles

ROOT = Path(__file__).parents[1]
SCREEN = make_screen()
SETTINGS = CausalConfig(learning_rate=0.02, num_steps=60, l1_start=20, batch_perturbations=10)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    for name, plates in (("conditions", SCREEN.conditions), ("baselines", SCREEN.baselines)):
        for number, plate in enumerate(plates):
            write_anndata(folder / name / f"p{number}.zarr", plate)
    write_parquet(folder / "targets.parquet", SCREEN.targets)
    write_parquet(folder / "edges.parquet", SCREEN.edges)
    return folder


def command(folder, fit, name="noprior", *, processes=1, threads=1, **settings):
    stores = [word for kind in ("conditions", "baselines") for word in (f"--{kind}", *sorted(map(str, (folder / kind).iterdir())))]
    section = SETTINGS.model_dump() | settings
    words = [name, *stores, "--targets", folder / "targets.parquet", "--edges", folder / "edges.parquet"]
    words += ["--settings", json.dumps({"causal": section, "seed": 0, "backend": "cpu"}), "--model", fit / "model.safetensors"]
    words += ["--held-out", fit / "held_out.parquet", "--checkpoint", fit / "state.pt", "--log", fit / "fit.log"]
    return [*map(str, words), "--nodes", "1", "--processes", str(processes), "--gpus", "0", "--threads", str(threads)]


def start(*arguments, **options):
    script = [sys.executable, str(ROOT / "workflow_scripts/causal.py")]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    environment = {key: value for key, value in os.environ.items() if key not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    return subprocess.Popen([*script, *command(*arguments, **options)], cwd=ROOT, env=environment, **quiet)


def finish(process):
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors


def same(found, expected, *, rtol):
    scale = np.abs(expected.weight_C).max()
    for name in ("weight_C", "direct_S", "loading_FG", "tau_G", "nuisance_weight_N"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=rtol, atol=rtol * scale, err_msg=name)


def test_two_processes_give_the_fit_of_one(folder, tmp_path):
    finish(start(folder, tmp_path, processes=2, threads=2))
    two = read_fit(tmp_path)
    conditions, baselines = ([str(path) for path in sorted((folder / kind).iterdir())] for kind in ("conditions", "baselines"))
    one = run_fit("noprior", ScreenFiles(conditions, baselines, SCREEN.targets), SCREEN.edges, SETTINGS, seed=0)
    same(two, one, rtol=1e-3)
    assert np.corrcoef(two.weight_C, one.weight_C)[0, 1] > 1 - 1e-8
    assert [record["step"] for record in two.metrics] == list(range(60))
    assert not (tmp_path / "state.pt").exists()
    assert (tmp_path / "fit.log.1").exists()
    assert "finished" in (tmp_path / "fit.log").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_a_fit_asked_to_stop_saves_its_state_within_half_a_minute_and_goes_on(folder, tmp_path, processes):
    options = {"processes": processes, "threads": processes, "num_steps": 1500, "l1_start": 20}
    finish(start(folder, tmp_path / "whole", **options))
    process = start(folder, tmp_path / "stopped", **options)
    log = tmp_path / "stopped" / "fit.log"
    while not (log.exists() and "step 50:" in log.read_text()):
        time.sleep(0.05)
        assert process.poll() is None
    asked = time.monotonic()
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=60)
    assert time.monotonic() - asked < 30
    assert process.returncode != 0
    assert "stopped after step" in log.read_text()
    assert (tmp_path / "stopped" / "state.pt").exists()
    finish(start(folder, tmp_path / "stopped", **options))
    assert "resumed from step" in log.read_text()
    whole, resumed = (read_fit(tmp_path / name) for name in ("whole", "stopped"))
    for name in ("weight_C", "direct_S", "loading_FG", "information_C"):
        np.testing.assert_array_equal(getattr(resumed, name), getattr(whole, name), err_msg=name)
    assert [record["step"] for record in resumed.metrics] == list(range(1500))


def test_each_process_is_told_its_part(folder, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(launching, "launch", lambda stage, **how: asked.append((stage, how["nodes"], how["processes"], how["gpus"], how["threads"])))
    monkeypatch.delenv("RANK", raising=False)
    job = causal_job.read_arguments(command(folder, tmp_path, processes=4, threads=8))
    assert asked.pop() == ("causal", 1, 4, 0, 8)
    assert (job.fit, job.threads, job.log) == ("noprior", 2, tmp_path / "fit.log")
    assert [Path(path).name for path in job.conditions] == ["p0.zarr", "p1.zarr"]
    assert job.cells == []
    monkeypatch.setenv("RANK", "3")
    assert causal_job.read_arguments(command(folder, tmp_path, processes=4, threads=8)).log == tmp_path / "fit.log.3"
