"""A small checkout with a small screen, run once; each test looks at what a change would rerun.

The screen is drawn by the simulator but enters by the front door: a plate table and local resource files, as a user's data do.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import anndata
import pytest
from filelock import FileLock

REPOSITORY = Path(__file__).parents[2]
PARTS = ["Snakefile", "rules", "workflow_scripts", "config", "profiles", "envs", "src"]
SIMULATION = "{num_genes: 120, num_tfs: 12, num_drugs: 24, num_cell_lines: 2, cells_per_well: 16, plates: [plate1, plate2, plate3]}"
SCREEN = """
run: small
backend: cpu
plates: plates.tsv
input: {{tables: [{{path: "data/{{plate}}_wells.tsv", of: sample}}]}}
quality: {{mad: null}}
panel: {{min_cells: 5}}
pretraining: {{d_model: 16, num_layers: 1, num_heads: 2, steps: 6, batch_cells: 8, cells: controls}}
embedding: {{source: tx1}}
basal: {{hidden: 8, max_epochs: 3}}
conditions: {{min_cells: 2}}
causal: {{num_steps: 20, edge_nulls: 1, label_nulls: 1, bootstraps: 1, drug_folds: 2}}
evaluation: {{bootstrap: 20}}
resources:
{resources}
"""


@dataclass(frozen=True)
class Checkout:
    """A copy of the workflow in a folder of its own."""

    folder: Path

    def snakemake(self, *arguments: str, timeout: float = 600) -> subprocess.CompletedProcess[str]:
        """Run snakemake there with the local profile and the screen's configuration."""
        return subprocess.run(
            self.command(*arguments), cwd=self.folder, env=self.environment(), capture_output=True, text=True, timeout=timeout, check=False
        )

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "snakemake", "--profile", "profiles/local", "--configfile", "screen.yaml", *arguments]

    def environment(self) -> dict[str, str]:
        return os.environ | {"PYTHONPATH": str(self.folder / "src"), "OMP_NUM_THREADS": "1"}

    def jobs(self, *arguments: str) -> dict[str, int]:
        """Jobs that a run would start now, by rule, without `all`."""
        done = self.snakemake("--dry-run", "--quiet", "reason", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        table = re.search(r"^job +count\n-+ +-+\n(.*?)^total", done.stdout + done.stderr, re.MULTILINE | re.DOTALL)
        if table is None:
            assert "Nothing to be done" in done.stdout + done.stderr
            return {}
        counts = {name: int(number) for name, number in (line.split() for line in table.group(1).splitlines())}
        counts.pop("all", None)
        return counts

    def planned(self, *arguments: str) -> list[tuple[str, dict[str, str]]]:
        """Jobs that a run would start now, each as its rule and its wildcards, without `all`."""
        done = self.snakemake("--dry-run", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        found = []
        for block in re.split(r"^(?:local)?rule ", done.stdout + done.stderr, flags=re.MULTILINE)[1:]:
            wildcards = re.search(r"^ +wildcards: (.*)$", block, re.MULTILINE)
            pairs = wildcards.group(1).split(", ") if wildcards else []
            found.append((block.split(":", 1)[0], dict(pair.split("=", 1) for pair in pairs)))
        return [job for job in found if job[0] != "all"]


def copy_workflow(folder: Path) -> None:
    """Copy rules, scripts and library to a new folder."""
    folder.mkdir(parents=True)
    for part in PARTS:
        source = REPOSITORY / part
        if source.is_dir():
            # with what is compiled already, numba's kernels above all, but not with what another process is just compiling
            shutil.copytree(source, folder / part, ignore=shutil.ignore_patterns("*.egg-info", "*.pyc.*", "*.tmp.*"))
        else:
            shutil.copy(source, folder / part)


def make_checkout(folder: Path, plates: list[str]) -> Checkout:
    """Copy the workflow to `folder`, draw the screen, and write its configuration."""
    copy_workflow(folder)
    checkout = Checkout(folder)
    (folder / "draw.yaml").write_text(f"simulation: {SIMULATION}\n")
    drawn = subprocess.run(
        [sys.executable, "-m", "causcade.cli", "simulate", "data", "--config", "draw.yaml"],
        cwd=folder,
        env=checkout.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert drawn.returncode == 0, drawn.stderr
    write_plates(checkout, plates)
    for plate in (folder / "data").glob("*.h5ad"):
        wells = anndata.read_h5ad(plate, backed="r").obs["sample"].unique()
        (folder / "data" / f"{plate.stem}_wells.tsv").write_text("sample\trow\n" + "".join(f"{well}\tA\n" for well in wells))
    from causcade.resource_catalogue import SIMULATED_FILES

    resources = "\n".join(f"  {name}: {{path: data/resources/{file}}}" for name, file in SIMULATED_FILES.items())
    (folder / "screen.yaml").write_text(SCREEN.format(resources=resources))
    return checkout


def write_plates(checkout: Checkout, plates: list[str]) -> None:
    rows = "".join(f"{plate}\tdata/{plate}.h5ad\n" for plate in plates)
    (checkout.folder / "plates.tsv").write_text("plate\tcounts\n" + rows)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Checkout:
    """A checkout whose run on two plates is finished; the processes of pytest-xdist run it once, and each takes a copy."""
    base = tmp_path_factory.getbasetemp()
    shared = base if worker_id == "master" else base.parent
    with FileLock(shared / "finished.lock"):
        if not (shared / "finished").exists():
            checkout = make_checkout(tmp_path_factory.mktemp("running") / "work", ["plate1", "plate2"])
            done = checkout.snakemake()
            assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
            checkout.folder.rename(shared / "finished")
        return Checkout(shutil.copytree(shared / "finished", tmp_path_factory.mktemp("checkout") / "work", symlinks=True))


@pytest.fixture
def changing(finished: Checkout) -> Callable[[str], Path]:
    """Hand out files that a test may change; they are put back afterwards."""
    kept: dict[Path, bytes] = {}

    def take(name: str) -> Path:
        path = finished.folder / name
        kept[path] = path.read_bytes()
        return path

    yield take
    for path, content in kept.items():
        path.write_bytes(content)
