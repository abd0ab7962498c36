"""What a further plate costs a run that is finished: jobs and time, for the stages that take sums over cells.

    python benchmarks/added_plate.py

A simulated screen is drawn outside of the run and enters by a plate table, as a user's data do. The targets are the coexpression partners and the
conditions of every plate: quality control, panel, sums and conditions, without what is fitted to them later, which costs the same for any change of
the sums. First all plates but the last are run, then the last is added. The jobs are told from the timings that each of them writes, not from a plan.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
import yaml

from causcade.config import SimulationConfig
from causcade.resource_catalogue import SIMULATED_FILES
from causcade.simulation import simulate_plate, write_resources

__all__ = ["main"]

REPOSITORY = Path(__file__).parents[1]
RUN = "added_plate"
SEED = 0
SIMULATION = {"num_genes": 700, "num_tfs": 60, "num_drugs": 72, "num_cell_lines": 3, "cells_per_well": 90}
PER_PLATE = {"check_plate", "quality", "coexpression_moments", "conditions"}


def draw(folder: Path, plates: list[str]) -> None:
    """Draw the screen, and write the configuration of the run."""
    settings = SimulationConfig(plates=plates, **SIMULATION)
    write_resources(settings, SEED, folder / "data" / "resources")
    for plate in plates:
        simulate_plate(settings, SEED, plate, folder / "data" / f"{plate}.h5ad")
    resources = {name: {"path": f"data/resources/{file}"} for name, file in SIMULATED_FILES.items()}
    (folder / "screen.yaml").write_text(yaml.safe_dump({"run": RUN, "plates": "plates.tsv", "resources": resources}))
    (folder / "config").symlink_to(REPOSITORY / "config")


def run(folder: Path, plates: list[str], cores: int) -> dict[str, object]:
    """Run the workflow on some plates; wall time (s), and of each rule the number of jobs, their summed wall and processor time (s), their plates."""
    (folder / "plates.tsv").write_text("plate\tcounts\n" + "".join(f"{plate}\tdata/{plate}.h5ad\n" for plate in plates))
    targets = [f"results/{RUN}/partners.parquet", *(f"results/{RUN}/conditions/{plate}.zarr" for plate in plates)]
    timings = folder / "results" / RUN / "benchmarks"
    before = {path: path.stat().st_mtime_ns for path in timings.rglob("*.tsv")}
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile"), "--directory", str(folder)]
    command += ["--profile", str(REPOSITORY / "profiles" / "local"), "--configfile", str(folder / "screen.yaml"), "--cores", str(cores), *targets]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "src")}
    start = time.monotonic()
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
    wall_s = time.monotonic() - start
    if done.returncode != 0:
        raise SystemExit(done.stdout[-4000:] + done.stderr[-4000:])
    jobs: dict[str, list[str]] = collections.defaultdict(list)
    job_s: dict[str, float] = collections.defaultdict(float)
    cpu_s: dict[str, float] = collections.defaultdict(float)
    for path in sorted(timings.rglob("*.tsv")):
        if before.get(path) != path.stat().st_mtime_ns:
            rule = path.relative_to(timings).with_suffix("").parts[0]
            jobs[rule].append(path.stem if path.parent != timings else "")
            timing = pd.read_csv(path, sep="\t").iloc[0]
            job_s[rule] += float(timing["s"])
            cpu_s[rule] += float(timing["cpu_time"])
    return {
        "plates": len(plates),
        "wall_s": round(wall_s, 1),
        "job_s": round(sum(job_s.values()), 1),
        "cpu_s": round(sum(cpu_s.values()), 1),
        "jobs": {rule: len(names) for rule, names in jobs.items()},
        "job_s_by_rule": {rule: round(seconds, 1) for rule, seconds in job_s.items()},
        "cpu_s_by_rule": {rule: round(seconds, 1) for rule, seconds in cpu_s.items()},
        "job_plates": {rule: [name for name in names if name] for rule, names in jobs.items() if any(names)},
    }


def check(added: dict[str, object], plate: str) -> None:
    """Fail unless the added plate is the only one that anything was done for."""
    if added["job_plates"] != {rule: [plate] for rule in sorted(PER_PLATE)}:
        raise SystemExit(f"expected jobs of plate {plate} alone, of the rules {sorted(PER_PLATE)}; found {added['job_plates']}")


def show(title: str, result: dict[str, object]) -> None:
    """Print the jobs of a run."""
    print(
        f"\n{title}: {result['wall_s']} s, {sum(result['jobs'].values())} jobs of together {result['job_s']} s, {result['cpu_s']} s of processor time"
    )
    for rule, number in result["jobs"].items():
        names = result["job_plates"].get(rule, [])
        print(f"  {rule:<24}{number:>4} jobs {result['job_s_by_rule'][rule]:>7} s  {names[0] if len(names) == 1 else ''}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plates", type=int, default=14, help="plates of the finished run (default 14)")
    parser.add_argument("--cores", type=int, default=2, help="processors (default 2)")
    parser.add_argument("--output", type=Path, default=REPOSITORY / "benchmarks" / "results" / "added_plate.json")
    arguments = parser.parse_args()
    plates = [f"plate{number}" for number in range(1, arguments.plates + 2)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        draw(folder, plates)
        full = run(folder, plates[:-1], arguments.cores)
        show(f"{arguments.plates} plates from the start", full)
        added = run(folder, plates, arguments.cores)
        show("one plate added", added)
    check(added, plates[-1])
    ratios = {f"ratio_{key}": round(added[key] / full[key], 4) for key in ("wall_s", "job_s", "cpu_s")}
    print(f"\nadded plate / first {arguments.plates}: " + ", ".join(f"{key.removeprefix('ratio_')} {value:.3f}" for key, value in ratios.items()))
    result = {
        "python": platform.python_version(),
        "cores": arguments.cores,
        "simulation": SIMULATION,
        "full": full,
        "added": added,
    } | ratios
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
