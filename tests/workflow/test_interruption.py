"""A killed job leaves no half-written artifact, and the results after it equal those of an undisturbed run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
import zarr

from workflow.conftest import Checkout, make_checkout

pytestmark = pytest.mark.workflow

KILLS = 6
# Times, dates and machine facts differ between any two runs.
VARIABLE = {"manifest.json", "report/index.html"}


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


def kill_one_job(process: subprocess.Popen) -> str | None:
    """Kill a running workflow script and everything below it; its name, or None if none ran."""
    for child in psutil.Process(process.pid).children(recursive=True):
        try:
            line = " ".join(child.cmdline())
        except psutil.Error:
            continue
        if ".snakemake/scripts/" in line and "python" in line.split()[0]:
            child.send_signal(signal.SIGKILL)
            return line
    return None


def run_and_kill(checkout: Checkout, delay_s: float) -> str | None:
    process = subprocess.Popen(
        checkout.command("--rerun-incomplete"),
        cwd=checkout.folder,
        env=checkout.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    killed = None
    try:
        deadline = time.monotonic() + delay_s
        while process.poll() is None and killed is None:
            time.sleep(0.05)
            if time.monotonic() > deadline:
                killed = kill_one_job(process)
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
        num_killed += run_and_kill(checkout, delay_s=7.0 + 3.7 * number) is not None
        for path in artifacts(run):
            read_whole(path)
    assert num_killed >= 4
    done = checkout.snakemake()
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]

    expected = finished.folder / "results" / "small"
    names = {str(path.relative_to(expected)) for path in artifacts(expected)}
    assert {str(path.relative_to(run)) for path in artifacts(run)} == names
    for name in sorted(names - VARIABLE):
        assert_same(read_whole(expected / name), read_whole(run / name), name)
    assert not list(run.rglob(".writing-*"))
