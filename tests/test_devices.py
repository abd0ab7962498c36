"""GPUs that stages ask for, and what a job says of those it sees."""

import logging

import pytest

from causcade import devices
from causcade.config import Config
from causcade.devices import check_gpus, gpus_of, has_gpu_device, listed_gpus, placement, threads_beside_gpus
from causcade.errors import InputError


@pytest.fixture(autouse=True)
def outside_slurm(monkeypatch):
    for name in ("SLURM_JOB_ID", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def torch_with(monkeypatch):
    """Make torch see so many GPUs; None: it is built without."""

    def set_to(number):
        found = (None, "torch 2 is built for CPUs") if number is None else (number, ", ".join(["H200"] * number) or "none")
        monkeypatch.setattr(devices, "_gpus_of_torch", lambda: found)

    return set_to


def config(**sections):
    return Config.model_validate(sections)


def test_no_gpu_is_asked_for_where_none_is_used():
    for stage in ("causal", "coexpression", "embedding", "quality", "pretraining"):
        assert gpus_of(config(backend="cpu"), stage) == 0
    assert gpus_of(config(backend="gpu"), "mask") == 0
    assert gpus_of(config(embedding={"source": "pca"}), "embedding") == 0
    assert gpus_of(config(basal={"baseline": "control_mean"}), "basal") == 0
    assert gpus_of(config(), "quality", has_rapids=False) == 0


def test_one_gpu_for_each_process_and_one_for_a_plate():
    assert gpus_of(config(causal={"processes": 4}), "causal") == 4
    assert gpus_of(config(), "causal") == gpus_of(config(), "coexpression") == gpus_of(config(), "embedding") == 1
    assert gpus_of(config(), "quality", has_rapids=True) == 1
    assert gpus_of(config(backend="gpu"), "panel", has_rapids=False) == 1, "a job that insists on a GPU asks for it"


def test_on_one_node_gpus_stay_together():
    assert placement(config(causal={"processes": 8}), "causal") == {"gpu": 8, "nodes": 1}
    assert placement(config(backend="cpu"), "causal") == {"gpu": 0, "nodes": 1}


def test_over_several_nodes_the_gpus_of_each_are_asked_for():
    several = {"gpu": 0, "nodes": 2, "tasks": 2, "mpi": "srun"}
    assert placement(config(causal={"processes": 4, "nodes": 2}), "causal") == several | {"slurm_extra": "--gpus-per-node=4"}
    assert placement(config(backend="cpu", causal={"nodes": 2}), "causal") == several | {"slurm_extra": ""}


@pytest.mark.parametrize(("value", "number"), [("0,3", 2), ("0", 1), ("", 0), ("NoDevFiles", 0), ("GPU-5ab,MIG-77", 2), ("1,-1,2", 1)])
def test_gpus_that_the_environment_lists(monkeypatch, value, number):
    assert listed_gpus() is None
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    assert listed_gpus() == number


def test_the_log_says_what_was_asked_for_seen_and_used(monkeypatch, caplog, torch_with):
    caplog.set_level(logging.INFO, "causcade")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    torch_with(2)
    check_gpus(2, "gpu", processes=2)
    assert caplog.messages == ["GPUs: asked 2, visible 2 (CUDA_VISIBLE_DEVICES=2,3), used: H200, H200"]
    caplog.clear()
    check_gpus(2, "cpu")
    assert caplog.messages == ["GPUs: asked 2, visible 2 (CUDA_VISIBLE_DEVICES=2,3), used: none (backend: cpu)"]
    caplog.clear()
    check_gpus(0, "gpu")
    assert not caplog.messages


def test_torch_without_gpus_computes_on_the_cpu_and_warns(monkeypatch, caplog, torch_with):
    caplog.set_level(logging.INFO, "causcade")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    torch_with(None)
    check_gpus(1, "auto")
    told, warning = caplog.messages
    assert told == "GPUs: asked 1, visible 1 (CUDA_VISIBLE_DEVICES=0), used: none (torch 2 is built for CPUs)"
    assert "computes on the CPU" in warning
    with pytest.raises(InputError, match=r"expected 1, found 0 .*torch 2 is built for CPUs"):
        check_gpus(1, "gpu")


def test_a_job_of_slurm_that_sees_fewer_gpus_stops(monkeypatch, torch_with):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    torch_with(1)
    with pytest.raises(InputError, match=r"expected 2, found 1 on .* \(CUDA_VISIBLE_DEVICES is not set\)"):
        check_gpus(2, "auto", processes=2)
    torch_with(None)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with pytest.raises(InputError, match=r"expected 2, found 1 .*CUDA_VISIBLE_DEVICES=0"):
        check_gpus(2, "auto", processes=2)


def test_outside_slurm_auto_takes_what_is_there(monkeypatch, caplog, torch_with):
    caplog.set_level(logging.INFO, "causcade")
    torch_with(0)
    check_gpus(1, "auto")
    assert caplog.messages == ["GPUs: asked 1, visible 0 (CUDA_VISIBLE_DEVICES is not set), used: none"]
    with pytest.raises(InputError, match="expected 1, found 0"):
        check_gpus(1, "gpu")


def test_another_number_of_gpus_than_processes_is_refused(torch_with):
    torch_with(4)
    with pytest.raises(InputError, match="one GPU for each of the 2 processes, found 4"):
        check_gpus(4, "auto", processes=2)


def test_gpus_of_this_machine_are_told_by_the_files_of_their_drivers(tmp_path, monkeypatch):
    monkeypatch.setattr(devices, "DRIVER_FILES", (tmp_path / "nvidiactl", tmp_path / "kfd"))
    assert not has_gpu_device()
    (tmp_path / "kfd").touch()
    assert has_gpu_device()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert not has_gpu_device()


def test_threads_are_for_gpus_only_where_there_may_be_some():
    spread = config(pretraining={"processes": 2})
    assert threads_beside_gpus(spread, "pretraining", may_have_gpus=True) == 16
    assert threads_beside_gpus(spread, "pretraining", may_have_gpus=False) == 2
    assert threads_beside_gpus(config(backend="cpu"), "basal", may_have_gpus=True) == 1
