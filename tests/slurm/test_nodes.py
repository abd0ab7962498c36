"""A training and a fit over two nodes: every process has its number, sees its own GPUs, and the result is that of one node."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from screens import make_screen
from workflow.conftest import REPOSITORY

from causcade.causal import read_fit, run_fit
from causcade.config import CausalConfig
from causcade.files import write_anndata, write_parquet
from causcade.responses import ScreenFiles
from slurm.conftest import SlurmCheckout

pytestmark = [pytest.mark.slurm, pytest.mark.usefixtures("pretended_gpus")]

PLAIN, SPREAD = "pretraining: {d_model", "pretraining: {nodes: 2, processes: 2, d_model"
SETTINGS = CausalConfig(learning_rate=0.02, num_steps=40, l1_start=20, batch_perturbations=10)


@pytest.fixture(scope="module")
def trained(slurm_checkout) -> SlurmCheckout:
    """A checkout whose model was trained by two processes on each of two nodes."""
    checkout = slurm_checkout("nodes", ("plate1",))
    roll = "results/small/pretraining/roll.json"
    prepared = subprocess.run(
        [sys.executable, "-m", "snakemake", "--profile", "profiles/local", "--configfile", "screen.yaml", "--", roll],
        cwd=checkout.folder, env=checkout.environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert prepared.returncode == 0, prepared.stdout + prepared.stderr
    screen = checkout.folder / "screen.yaml"
    text = screen.read_text().replace("backend: cpu", "backend: auto")
    assert PLAIN in text
    screen.write_text(text.replace(PLAIN, SPREAD))
    done = checkout.snakemake("--rerun-triggers", "mtime", "--", "pretraining")
    screen.write_text(text)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return checkout


def test_each_node_has_its_gpus_and_its_processes(trained):
    (record,) = trained.of_rule("pretraining")
    assert (record.state, record.fields["NumNodes"], record.fields["NumTasks"]) == ("COMPLETED", "2", "2")
    assert "gres/gpu=4" in record.fields["TRES"] or record.gpus == 4
    logs = [trained.folder / "results/small/logs" / name for name in ("pretraining.log", *(f"pretraining.log.{rank}" for rank in (1, 2, 3)))]
    nodes = [re.search(r"Slurm job \d+ on (\w+)", path.read_text()).group(1) for path in logs]
    assert nodes == ["gpu0", "gpu0", "gpu1", "gpu1"]
    for path in logs:
        assert "GPUs: asked 2, visible 2 (CUDA_VISIBLE_DEVICES=" in path.read_text()


def test_the_model_of_two_nodes_is_that_of_one(trained):
    model = trained.folder / "results/small/pretraining/small/model.safetensors"
    two = load_file(model)
    (trained.folder / "results/small/pins/pretraining.json").unlink()
    model.unlink()
    command = [sys.executable, "-m", "snakemake", "--profile", "profiles/local", "--configfile", "screen.yaml", "--rerun-triggers", "mtime"]
    done = subprocess.run([*command, "--", "pretraining"], cwd=trained.folder, env=trained.environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    one = load_file(model)
    assert set(one) == set(two)
    # The bias of the keys changes no attention: its gradient is rounding, which AdamW scales up.
    for name, value in ((name, value) for name, value in one.items() if not name.endswith("Wqkv.bias")):
        np.testing.assert_allclose(two[name], value, rtol=1e-3, atol=1e-4, err_msg=name)


def test_a_fit_over_two_nodes_is_that_of_one_process(cluster, tmp_path):
    screen = make_screen()
    for name, plates in (("conditions", screen.conditions), ("baselines", screen.baselines)):
        for number, plate in enumerate(plates):
            write_anndata(tmp_path / name / f"p{number}.zarr", plate)
    write_parquet(tmp_path / "targets.parquet", screen.targets)
    write_parquet(tmp_path / "edges.parquet", screen.edges)
    stores = {name: sorted(map(str, (tmp_path / name).iterdir())) for name in ("conditions", "baselines")}
    settings = json.dumps({"causal": SETTINGS.model_dump(), "seed": 0, "backend": "auto"})
    words = ["noprior", "--conditions", *stores["conditions"], "--baselines", *stores["baselines"], "--settings", settings]
    paths = {"targets": "targets.parquet", "edges": "edges.parquet", "model": "fit/model.safetensors", "held-out": "fit/held_out.parquet"}
    for name, path in (paths | {"checkpoint": "state.pt", "log": "fit.log"}).items():
        words += [f"--{name}", str(tmp_path / path)]
    words += ["--nodes", "2", "--processes", "1", "--gpus", "0", "--threads", "1"]
    # As Snakemake's plugin leaves it to a job over several nodes: the batch script itself, without a step and most of Slurm's variables.
    script = tmp_path / "job.sh"
    bare = "unset SLURM_NNODES SLURM_JOB_NODELIST SLURM_NTASKS"
    script.write_text(f'#!/bin/bash\n{bare}\ncd {REPOSITORY}\nexec {sys.executable} workflow_scripts/causal.py "$@"\n')
    asked = ["--nodes=2", "--ntasks=2", "--cpus-per-task=1", "--gpus-per-node=1", "--mem=4000", "--time=10", f"--output={tmp_path}/job.out"]
    done = subprocess.run(["sbatch", "--wait", *asked, str(script), *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + Path(tmp_path / "job.out").read_text()
    one = run_fit("noprior", ScreenFiles(stores["conditions"], stores["baselines"], screen.targets), screen.edges, SETTINGS, seed=0)
    two = read_fit(tmp_path / "fit")
    assert "on gpu1" in (tmp_path / "fit.log.1").read_text()
    scale = np.abs(one.weight_C).max()
    np.testing.assert_allclose(two.weight_C, one.weight_C, rtol=1e-3, atol=1e-3 * scale)
    assert np.corrcoef(two.weight_C, one.weight_C)[0, 1] > 1 - 1e-8
