"""A killed job leaves no half-written artifact, and the results after it equal those of an undisturbed run."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
import yaml
import zarr

from causcade.config import SimulationConfig
from causcade.simulation import simulate_plate
from workflow.conftest import SIMULATION, Checkout, make_checkout, write_plates

pytestmark = pytest.mark.workflow

KILLS = 4
# Times, dates and machine facts differ between any two runs.
VARIABLE = {"manifest.json", "report/index.html", "pretraining/small/metrics.jsonl"}


def read_whole(path: Path) -> object:
    """Content of an artifact; fails on a half-written one."""
    match path.suffix:
        case ".parquet":
            return pd.read_parquet(path)
        case ".json":
            return json.loads(path.read_text())
        case ".npz":
            with np.load(path) as data:
                return {name: data[name] for name in data}
        case ".zarr":
            group = zarr.open_group(str(path), mode="r")
            return {name: item[...] for name, item in group.members(max_depth=None) if isinstance(item, zarr.Array)}
        case _:
            return path.read_bytes()


def artifacts(folder: Path) -> list[Path]:
    """Artifacts of a run, stores as a whole, without logs, timings and checkpoints."""
    found = []
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        inside = any(part.endswith(".zarr") for part in parts[:-1])
        if inside or parts[0] in ("logs", "benchmarks", "checkpoints") or any(part.startswith(".writing-") for part in parts):
            continue
        if path.suffix == ".zarr" or path.is_file():
            found.append(path)
    return found


def assert_same(left: object, right: object, name: str) -> None:
    if isinstance(left, pd.DataFrame):
        pd.testing.assert_frame_equal(left, right)
    elif isinstance(left, dict) and any(isinstance(value, np.ndarray) for value in left.values()):
        assert left.keys() == right.keys(), name
        for key, value in left.items():
            np.testing.assert_array_equal(value, right[key], err_msg=f"{name}: {key}")
    else:
        assert left == right, name


def kill_one_job(process: subprocess.Popen, script: str = "", number: signal.Signals = signal.SIGKILL) -> str | None:
    """Kill a running workflow script (`quality`; any by default), or send it another signal; its command, or None if none ran."""
    for child in psutil.Process(process.pid).children(recursive=True):
        try:
            parts = child.cmdline()
        except psutil.Error:
            continue
        program = next((part for part in parts[1:3] if part.endswith(f"{script}.py")), "")
        if ("/scripts/" in program or program.startswith("workflow_scripts/")) and "python" in parts[0]:
            child.send_signal(number)
            return " ".join(parts)
    return None


def run_and_kill(
    checkout: Checkout, *arguments: str, script: str = "", is_time: Callable[[float], bool], number: signal.Signals = signal.SIGKILL
) -> str | None:
    """Run the workflow, and kill one job once it is time (told by the seconds since the start); the command of the job, or None if none ran."""
    process = subprocess.Popen(
        checkout.command("--rerun-incomplete", *arguments),
        cwd=checkout.folder,
        env=checkout.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    killed = None
    try:
        start = time.monotonic()
        while process.poll() is None and killed is None:
            time.sleep(0.05)
            if is_time(time.monotonic() - start):
                killed = kill_one_job(process, script, number)
        process.wait(timeout=600)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    return killed


def test_killed_jobs_leave_nothing_half_written_and_the_results_are_equal(finished, tmp_path):
    checkout = make_checkout(tmp_path / "work", ["plate1", "plate2"])
    run = checkout.folder / "results" / "small"
    num_killed = 0
    for number in range(KILLS):
        num_killed += run_and_kill(checkout, is_time=lambda elapsed_s, delay_s=7.0 + 6.0 * number: elapsed_s > delay_s) is not None
        for path in artifacts(run):
            read_whole(path)
    assert num_killed >= 3
    done = checkout.snakemake()
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]

    expected = finished.folder / "results" / "small"
    names = {str(path.relative_to(expected)) for path in artifacts(expected)}
    assert {str(path.relative_to(run)) for path in artifacts(run)} == names
    for name in sorted(names - VARIABLE):
        assert_same(read_whole(expected / name), read_whole(run / name), name)
    assert not list(run.rglob(".writing-*"))


def shards_of(jobs: list[tuple[str, dict[str, str]]]) -> set[str]:
    """Shards among planned jobs."""
    return {wildcards["shard"] for rule, wildcards in jobs if rule == "coexpression_moments_shard"}


def test_a_killed_job_costs_its_plate_or_its_shard_and_shards_change_no_result(finished, tmp_path):
    checkout = Checkout(shutil.copytree(finished.folder, tmp_path / "work", symlinks=True))
    run, screen = checkout.folder / "results" / "small", checkout.folder / "screen.yaml"
    shards = run / "moments" / "shards" / "plate1"
    sums = ("--until", "coexpression")
    # three times the 4,096 cells at which shards may be cut, so that three shards all have cells
    settings = SimulationConfig(**yaml.safe_load(SIMULATION) | {"cells_per_well": 260})
    simulate_plate(settings, 0, "plate1", checkout.folder / "data" / "plate1.h5ad")
    whole = screen.read_text().replace("mad: null", "mad: null, min_counts: 201")
    screen.write_text(whole + "\ncoexpression: {shard_cells: 4000}\n")

    # in the middle of a plate's quality control: it is done again, and no other's
    assert run_and_kill(checkout, *sums, script="quality", is_time=lambda _: (run / "cells" / ".writing-plate1.zarr").exists())
    left = checkout.planned(*sums)
    assert len([rule for rule, _ in left if rule == "quality"]) == 1
    assert shards_of(left) == {"1", "2", "3"}

    # in the middle of a shard: the shards that are done are kept
    assert run_and_kill(checkout, *sums, script="coexpression_moments", is_time=lambda _: any(shards.glob("?of3.npz")))
    done = {path.name[0] for path in shards.glob("?of3.npz")}
    left = checkout.planned(*sums)
    assert done
    assert shards_of(left) == {"1", "2", "3"} - done
    assert {rule for rule, _ in left} <= {"coexpression_moments_shard", "coexpression_moments_sum", "coexpression_moments", "coexpression"}
    finish = checkout.snakemake("--rerun-incomplete", *sums)
    assert finish.returncode == 0, finish.stdout[-4000:] + finish.stderr[-4000:]
    assert not shards.parent.exists()

    # sums of shards are gone by now; that is no reason to measure them again
    write_plates(checkout, ["plate1", "plate2", "plate3"])
    assert {wildcards.get("plate") for _, wildcards in checkout.planned(*sums)} == {None, "plate3"}
    write_plates(checkout, ["plate1", "plate2"])

    of_shards = {name: read_whole(run / name) for name in ("partners.parquet", "moments/plate1.npz")}
    screen.write_text(whole)
    assert sorted(rule for rule, _ in checkout.planned(*sums)) == ["coexpression", "coexpression_moments"]
    finish = checkout.snakemake("--rerun-incomplete", *sums)
    assert finish.returncode == 0, finish.stdout[-4000:] + finish.stderr[-4000:]
    assert_same(of_shards["partners.parquet"], read_whole(run / "partners.parquet"), "partners.parquet")
    in_one = read_whole(run / "moments" / "plate1.npz")
    assert in_one["num_cells"] > 2 * 4096
    for name in ("sxx_upper", "sxc", "scc"):
        np.testing.assert_allclose(of_shards["moments/plate1.npz"][name], in_one[name], rtol=1e-12, err_msg=name)


def test_a_training_that_is_asked_to_stop_goes_on_where_it_was(finished, tmp_path):
    checkout = Checkout(shutil.copytree(finished.folder, tmp_path / "work", symlinks=True))
    run, screen = checkout.folder / "results" / "small", checkout.folder / "screen.yaml"
    screen.write_text(screen.read_text().replace("steps: 6,", "steps: 60, checkpoint_every: 1000,"))
    state = run / "checkpoints" / "pretraining" / "small"
    target = ("--nolock", "pretraining")
    first = run_and_kill(
        checkout,
        *target,
        script="pretraining",
        is_time=lambda _: (state / "metrics.jsonl").exists() and (state / "metrics.jsonl").stat().st_size > 0,
        number=signal.SIGTERM,
    )
    assert first
    told = (run / "logs" / "pretraining.log").read_text()
    assert "SIGTERM: the job stops after this step and saves its state" in told
    assert (state / "state").is_dir()
    assert not (run / "pretraining" / "small" / "model.safetensors").exists()
    done = checkout.snakemake(*target)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert "resumed from step" in (run / "logs" / "pretraining.log").read_text()
    assert json.loads((run / "pretraining" / "small" / "summary.json").read_text())["steps"] == 60
    assert not state.exists()
