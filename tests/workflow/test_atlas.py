"""The whole atlas as a graph of jobs, planned in seconds."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from causcade.config import Config
from causcade.plates import read_plate_table
from causcade.resource_catalogue import CATALOGUE
from workflow.conftest import REPOSITORY

pytestmark = pytest.mark.workflow

MOST_SECONDS = 20
SHARD_CELLS = 2_000_000
PLATES = REPOSITORY / "config/plates/tahoe100m.tsv"
PARTS = ["Snakefile", "rules", "workflow_scripts", "config", "profiles", "envs", "slurm-gpu"]


@pytest.fixture(scope="module")
def atlas(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the workflow, and placeholders of the plates and of the resources."""
    folder = tmp_path_factory.mktemp("atlas")
    for part in PARTS:
        (folder / part).symlink_to(REPOSITORY / part)
    for plate in read_plate_table(PLATES):
        (folder / plate.counts).parent.mkdir(parents=True, exist_ok=True)
        (folder / plate.counts).write_text(f"placeholder of {plate.name}\n")
    used = [name for name in CATALOGUE if getattr(Config().resources, name) is not None]
    for name in used:
        (folder / name).write_text("placeholder\n")
    (folder / "here.yaml").write_text("resources:\n" + "".join(f"  {name}: {{path: {name}, url: null}}\n" for name in used))
    return folder


def test_the_atlas_is_planned_within_seconds(atlas):
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--profile", "slurm-gpu", "--configfile", "config/tahoe100m.yaml", "here.yaml"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, cwd=atlas, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said[-4000:]
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime  # wall time would be that of whatever else runs here
    assert seconds < MOST_SECONDS
    jobs = {name: int(number) for name, number in re.findall(r"^(\w+) +(\d+)$", said, re.MULTILINE)}
    assert jobs["quality"] == jobs["embedding"] == 14
    assert jobs["coexpression_moments_shard"] == sum(-(-plate.num_cells // SHARD_CELLS) for plate in read_plate_table(PLATES))
    assert jobs["total"] > 150


def test_what_is_planned_is_light_to_read(atlas):
    """The Snakefile is read again in each job: nothing that takes long to load is loaded for it."""
    code = (
        "import sys; sys.argv = ['snakemake', '--dry-run', '--profile', 'none', '--workflow-profile', 'none', '--cores', '1', '--quiet', 'all',"
        " '--configfile', 'config/tahoe100m.yaml', 'here.yaml']\nfrom snakemake.cli import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "print([name for name in ('torch', 'scanpy', 'anndata', 'numba', 'sklearn', 'zarr') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=atlas, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1:] == ["[]"], done.stdout + done.stderr
