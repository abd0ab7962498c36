"""What the doctor says of a machine."""

import subprocess
import types

import pytest

from causcade.config import Config
from causcade.doctor import machine
from causcade.doctor.machine import Gpus, describe_gpus, describe_machine, find_gpus, what_runs

NONE = Gpus([], "torch 2 is built for CPUs", None, None)


def test_versions_and_processors():
    text = "\n".join(describe_machine())
    assert "processors:" in text
    assert "torch: 2" in text


@pytest.mark.parametrize(
    ("version", "variable", "warns"), [("2.3.3", None, False), ("3.0.6", None, True), ("3.0.6", "0", False), ("3.0.6", "1", True)]
)
def test_pandas_with_texts_of_its_own_is_warned_of(monkeypatch, version, variable, warns):
    monkeypatch.setattr(machine, "_version", lambda name: version)
    monkeypatch.delenv(machine.INFER_STRING, raising=False)
    if variable is not None:
        monkeypatch.setenv(machine.INFER_STRING, variable)
    assert any("export PANDAS_FUTURE_INFER_STRING=0" in line for line in describe_machine()) == warns


def test_a_machine_without_gpus_says_what_will_not_run():
    assert describe_gpus(NONE) == ["GPUs: none that torch can use (torch 2 is built for CPUs); everything runs on the CPU"]
    text = "\n".join(what_runs(Config(), NONE))
    assert "on the CPU here: every stage" in text
    assert "will not run here: rapids-singlecell" in text
    assert "`backend: gpu` insists on one (torch 2 is built for CPUs)" in "\n".join(what_runs(Config(backend="gpu"), NONE))


@pytest.mark.parametrize("has_rapids", [True, False])
def test_a_machine_with_gpus_says_where_stages_run(monkeypatch, has_rapids):
    monkeypatch.setattr(machine.importlib.util, "find_spec", lambda name: object() if has_rapids else None)
    text = "\n".join(what_runs(Config(), Gpus(["H200"], "", "580", "13.0")))
    assert "on the GPU here: coexpression" in text
    assert ("by rapids-singlecell: quality" in text) == has_rapids
    assert ("since rapids-singlecell is not installed" in text) != has_rapids


@pytest.mark.parametrize(("said", "driver"), [("580.95.05\n580.95.05\n", "580.95.05"), (None, "nvidia-smi fails: the driver does not answer")])
def test_the_driver_is_asked(monkeypatch, said, driver):
    def run(*arguments, **keys):
        if said is None:
            raise subprocess.CalledProcessError(9, "nvidia-smi")
        return types.SimpleNamespace(stdout=said)

    monkeypatch.setattr(machine.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(machine.subprocess, "run", run)
    found = find_gpus()
    assert found.driver == driver
    assert f"driver: {driver}" in describe_gpus(found)
