"""The workflow on a real Slurm: jobs get their GPUs; one that is cancelled, or has too little time or memory, is tried again and ends as it should.

One run serves most tests. In it a training runs into its time limit, a fit is cancelled, and the jobs on plates have too little memory at first.
"""

from __future__ import annotations

import filecmp
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from workflow.conftest import SIMULATION, Checkout

from slurm.conftest import Record, SlurmCheckout, wait_until

pytestmark = [pytest.mark.slurm, pytest.mark.usefixtures("pretended_gpus")]

TRAINING_STEPS, FIT_STEPS = 200, 1000
MEMORY = "quality:mem_mb=200 * attempt ** 4"  # of the first attempt, less than Python and its packages take
# Fits that nothing here looks at are left out; the training takes two processes, so that torchrun is between Slurm and it.
CHANGES = {
    "backend: cpu": "backend: auto",  # so that GPUs are asked for
    "steps: 6,": f"steps: {TRAINING_STEPS}, checkpoint_every: 100000, processes: 2,",
    "num_steps: 20, edge_nulls: 1, label_nulls: 1, bootstraps: 1, drug_folds: 2": (
        f"num_steps: {FIT_STEPS}, edge_nulls: 0, label_nulls: 0, bootstraps: 0, drug_folds: 0"
    ),
}
# Of the rules that ask for any, with this configuration.
GPUS = {"coexpression_moments": 1, "evidence_controls": 1, "pretraining": 2, "model_judging": 1, "embedding": 1, "basal": 1, "causal": 1, "latent": 1}


@dataclass(frozen=True)
class Disturbed:
    """A finished run in which jobs were disturbed on the way, and what snakemake said."""

    checkout: SlurmCheckout
    run: Path
    output: str


def processes_of(script: str, checkout: Checkout) -> list[psutil.Process]:
    """Processes of a workflow script in a checkout: those that torchrun started, and torchrun itself."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.cwd() == str(checkout.folder) and any(part.endswith(f"workflow_scripts/{script}.py") for part in process.cmdline()[1:]):
                found.append(process)
        except psutil.Error:
            continue
    return found


def hold(script: str, checkout: Checkout) -> None:
    """Let a job stand still, so that it is in the middle of its work when Slurm ends it; Slurm wakes it up to tell it so."""
    held = processes_of(script, checkout)
    assert held, script
    for process in held:
        process.suspend()


def release(checkout: Checkout) -> None:
    """Let nothing stand still for ever where a test has failed."""
    for script in ("pretraining", "causal"):
        for process in processes_of(script, checkout):
            process.resume()


def is_filled(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


@pytest.fixture(scope="module")
def disturbed(slurm_checkout) -> Disturbed:
    checkout = slurm_checkout("disturbed")
    screen = checkout.folder / "screen.yaml"
    text = screen.read_text()
    for before, after in CHANGES.items():
        assert before in text
        text = text.replace(before, after)
    screen.write_text(text)
    run = checkout.folder / "results" / "small"
    checkpoints = run / "checkpoints"
    snakemake = checkout.start("--set-resources", MEMORY)
    try:
        assert wait_until(lambda: is_filled(checkpoints / "pretraining" / "small" / "metrics.jsonl"), snakemake), checkout.output()
        hold("pretraining", checkout)
        (training,) = checkout.of_rule("pretraining")
        subprocess.run(["scontrol", "update", f"JobId={training.number}", "TimeLimit=1"], check=True)

        assert wait_until((checkpoints / "causal" / "main.pt").is_file, snakemake), checkout.output()
        hold("causal", checkout)
        (fit,) = checkout.of_rule("causal", "main")
        subprocess.run(["scancel", str(fit.number)], check=True)
        release(checkout)  # of the other fits
        snakemake.wait(timeout=900)
    finally:
        release(checkout)
        if snakemake.poll() is None:
            snakemake.terminate()
            snakemake.wait(timeout=120)
    assert snakemake.returncode == 0, checkout.output()[-6000:]
    return Disturbed(checkout, run, checkout.output())


def states(records: list[Record]) -> list[str]:
    return [record.state for record in records]


def test_a_job_gets_the_gpus_that_its_rule_asks_for_on_one_node_and_sees_them(disturbed):
    finished = [record for record in disturbed.checkout.records() if record.state == "COMPLETED"]
    assert finished
    for record in finished:
        assert record.gpus == GPUS.get(record.rule, 0), record.rule
        assert record.fields["NumNodes"] == "1", record.rule
    assert {record.rule for record in finished} >= set(GPUS)
    for log, number in [("pretraining", 2), ("pretraining.log.1", 2), ("basal", 1), ("causal/main", 1), ("embedding/plate1", 1)]:
        path = disturbed.run / "logs" / (log if ".log" in log else f"{log}.log")
        told = re.search(r"GPUs: asked (\d+), visible (\d+) \(CUDA_VISIBLE_DEVICES=([\d,]+)\)", path.read_text())
        assert told, path.read_text()
        assert (int(told.group(1)), int(told.group(2)), len(told.group(3).split(","))) == (number, number, number)


def test_every_deliverable_is_there(disturbed):
    for name in ("report/index.html", "network/edges.parquet", "evaluation/summary.json", "cascades/summary.parquet", "manifest.json"):
        assert is_filled(disturbed.run / name), name
    assert not list(disturbed.run.rglob(".writing-*"))


def test_a_job_without_enough_memory_is_tried_again_with_more(disturbed):
    for plate in ("plate1", "plate2"):
        first, second = disturbed.checkout.of_rule("quality", plate)
        assert (first.memory_mb, second.memory_mb) == (200, 3200)
        assert first.state not in ("COMPLETED", "RUNNING")
        assert second.state == "COMPLETED"


def test_a_training_that_ran_out_of_time_went_on_where_it_was(disturbed, tmp_path):
    records = disturbed.checkout.of_rule("pretraining")
    assert states(records) == ["TIMEOUT", "COMPLETED"]
    resumed = re.search(r"resumed from step (\d+) of (\d+)", (disturbed.run / "logs" / "pretraining.log").read_text())
    assert 0 < int(resumed.group(1)) < TRAINING_STEPS == int(resumed.group(2))
    assert not (disturbed.run / "checkpoints" / "pretraining" / "small").exists()

    # The model is that of a training that nothing disturbs, on this machine and without Slurm.
    alone = Checkout(shutil.copytree(disturbed.checkout.folder, tmp_path / "work", symlinks=True, ignore=shutil.ignore_patterns(".snakemake")))
    for name in ("pretraining", "pins/pretraining.json"):
        path = alone.folder / "results" / "small" / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    done = alone.snakemake("--rerun-triggers", "mtime", "--", "pretraining")
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert "resumed" not in (alone.folder / "results" / "small" / "logs" / "pretraining.log").read_text()
    weights = Path("pretraining") / "small" / "model.safetensors"
    assert filecmp.cmp(disturbed.run / weights, alone.folder / "results" / "small" / weights, shallow=False)


def test_a_cancelled_fit_went_on_where_it_was_and_the_network_is_that_of_an_undisturbed_one(disturbed):
    checkout, run = disturbed.checkout, disturbed.run
    assert states(checkout.of_rule("causal", "main")) == ["CANCELLED", "COMPLETED"]
    resumed = re.search(r"resumed from step (\d+) of (\d+)", (run / "logs" / "causal" / "main.log").read_text())
    assert 0 < int(resumed.group(1)) < FIT_STEPS == int(resumed.group(2))
    assert not (run / "checkpoints" / "causal" / "main.pt").exists()

    edges = (run / "network" / "edges.parquet").read_bytes()
    last = checkout.records()[-1].number
    (run / "causal" / "main" / "model.safetensors").unlink()
    # Snakemake misses a file only where it is asked for.
    done = checkout.snakemake("results/small/causal/main/model.safetensors", "results/small/network/edges.parquet")
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert sorted(record.rule for record in checkout.records(since=last)) == ["causal", "evidence", "network"]
    assert "resumed" not in (run / "logs" / "causal" / "main.log").read_text()
    assert (run / "network" / "edges.parquet").read_bytes() == edges


def test_after_a_change_of_one_plate_only_what_depends_on_it_is_submitted(disturbed):
    checkout = disturbed.checkout
    path = checkout.folder / "data" / "plate1.h5ad"
    code = f"""
import yaml
from causcade.config import SimulationConfig
from causcade.simulation import simulate_plate
simulate_plate(SimulationConfig(**yaml.safe_load({SIMULATION!r})), 1, "plate1", {str(path)!r})
"""
    subprocess.run([sys.executable, "-c", code], check=True, env=checkout.environment())
    last = checkout.records()[-1].number
    done = checkout.snakemake("--until", "coexpression")
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    submitted = sorted(f"{record.rule} {record.wildcards}".strip() for record in checkout.records(since=last))
    assert submitted == sorted(["check_plate plate1", "quality plate1", "coexpression_moments plate1", "coexpression"])
