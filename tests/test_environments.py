"""The environments in envs/ agree with pyproject.toml and with each other: versions are chosen in one place."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
ENVS = ROOT / "envs"
LOCKS = {"cpu": ENVS / "locks/cpu-py311.txt", "gpu": ENVS / "locks/gpu-py312.txt"}
EXTRAS = {"cpu": ["dev"], "gpu": ["fast", "tx1", "seurat-v3"]}


def lines_of(path):
    return [line.strip() for line in path.read_text().splitlines() if line.strip() and not line.startswith("#")]


def pins(name):
    found = [Requirement(line) for line in lines_of(LOCKS[name]) if not line.startswith("-")]
    return {canonicalize_name(requirement.name): str(requirement.specifier) for requirement in found}


def wanted(*extras):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return [Requirement(line) for line in project["dependencies"] + [line for extra in extras for line in project["optional-dependencies"][extra]]]


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_holds_one_version_of_all_that_causcade_needs(name):
    locked = pins(name)
    assert all(re.fullmatch(r"==[^,*]+", specifier) for specifier in locked.values())
    for requirement in wanted(*EXTRAS[name]):
        version = locked[canonicalize_name(requirement.name)].removeprefix("==")
        assert requirement.specifier.contains(version, prereleases=True), requirement


def test_the_gpu_lock_follows_from_what_was_chosen():
    locked = pins("gpu")
    for requirement in map(Requirement, lines_of(ENVS / "gpu.in")):
        assert requirement.specifier.contains(locked[canonicalize_name(requirement.name)].removeprefix("==")), requirement
    rapids = {name: version for name, version in locked.items() if name.endswith("-cu13") and version.startswith("==2")}
    assert {re.match(r"==(26\.10)\.|==(2\.\d+\.\d+)$", version) is not None for version in rapids.values()} == {True}
    assert not [name for name in locked if name.endswith("-cu12")]  # one CUDA in an environment


def test_conda_and_containers_take_the_lock():
    conda = yaml.safe_load((ENVS / "gpu.yaml").read_text())
    (pip,) = [part["pip"] for part in conda["dependencies"] if isinstance(part, dict)]
    assert conda["variables"] == {"PANDAS_FUTURE_INFER_STRING": "0"}  # docs/gpu.md says why
    assert pip == ["-r locks/gpu-py312.txt", "-e .."]
    for name in ("gpu.Dockerfile", "gpu.def"):
        text = (ENVS / name).read_text()
        assert "pip install --no-cache-dir -r /opt/causcade/envs/locks/gpu-py312.txt" in text
        assert "pip install --no-cache-dir --no-deps -e /opt/causcade" in text
        assert "PANDAS_FUTURE_INFER_STRING=0" in text
        assert re.search(r"^F(ROM|rom:) python:3\.12-slim-bookworm$", text, re.MULTILINE), name


def test_the_conda_file_of_a_cpu_holds_what_causcade_needs():
    listed = yaml.safe_load((ENVS / "cpu.yaml").read_text())["dependencies"]
    (pip,) = [part["pip"] for part in listed if isinstance(part, dict)]
    for line in pip:
        Requirement(line)  # Snakemake copies the file elsewhere: a path in it would not be found
    names = {canonicalize_name(re.split(r"[ =<>]", line)[0]) for line in [*(part for part in listed if isinstance(part, str)), *pip]}
    renamed = {"torch": "pytorch-cpu", "snakemake": "snakemake-minimal"}
    assert {renamed.get(requirement.name, canonicalize_name(requirement.name)) for requirement in wanted()} <= names
