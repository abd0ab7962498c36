"""Which program takes the place of a job that asks for several processes."""

import os
import socket
import sys

import pytest

from causcade import launching
from causcade.launching import Place, gpus_on_node, launch, take_place

PATIENCE = "TORCH_ELASTIC_SHUTDOWN_TIMEOUT"


class Replaced(Exception):
    """The process would be another program now."""


@pytest.fixture(autouse=True)
def replaced(monkeypatch):
    def replace(program, command):
        raise Replaced(program, command)

    for name in ("RANK", "SLURM_JOB_ID", "SLURM_NODEID", launching.MEETING_POINT):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(PATIENCE, "1")  # so that it is put back as it was
    monkeypatch.delenv(PATIENCE)
    monkeypatch.setattr(launching.os, "execv", replace)
    monkeypatch.setattr(launching.os, "execvp", replace)
    monkeypatch.setattr(launching.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(sys, "argv", ["train.py", "roll.json", "--log", "a.log"])


def started(tmp_path, nodes, processes, gpus=0, threads=4):
    with pytest.raises(Replaced) as found:
        launch("causal", nodes=nodes, processes=processes, gpus=gpus, threads=threads, log=tmp_path / "a.log")
    program, command = found.value.args
    assert program == command[0]
    return command


def test_one_process_and_one_of_several_go_on(monkeypatch, tmp_path):
    launch("causal", nodes=1, processes=1, gpus=1, threads=1, log=tmp_path / "a.log")
    monkeypatch.setenv("RANK", "3")
    launch("causal", nodes=2, processes=4, gpus=4, threads=1, log=tmp_path / "a.log")


def test_several_processes_of_one_node_are_started_by_torchrun(tmp_path):
    command = started(tmp_path, 1, 3)
    assert command[0] == sys.executable
    assert command[1:] == ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=3", "--", "train.py", "roll.json", "--log", "a.log"]
    assert os.environ[PATIENCE] == "600"


def test_on_several_nodes_srun_starts_a_torchrun_on_each(monkeypatch, tmp_path):
    monkeypatch.setenv("SLURM_JOB_ID", "20007")
    command = started(tmp_path, 2, 4, gpus=4, threads=8)
    assert command[0] == "srun"
    assert {"--nodes=2", "--ntasks=2", "--ntasks-per-node=1", "--cpus-per-task=8", "--gpus-per-node=4"} <= set(command)
    assert command[-5:] == [sys.executable, "train.py", "roll.json", "--log", "a.log"]
    # in a task of that step the meeting point is there
    monkeypatch.setenv("SLURM_NODEID", "1")
    command = started(tmp_path, 2, 4)
    options = ["--nnodes=2", "--node-rank=1", f"--master-addr={socket.gethostname()}", "--master-port=10007", "--nproc-per-node=4"]
    assert command[1:] == ["-m", "torch.distributed.run", *options, "--", "train.py", "roll.json", "--log", "a.log"]


def test_several_nodes_without_slurm_are_told_in_one_line(tmp_path, capsys):
    with pytest.raises(SystemExit) as found:
        launch("causal", nodes=2, processes=1, gpus=0, threads=1, log=tmp_path / "a.log")
    assert found.value.code == 2
    assert "causal.nodes: expected 1 outside Slurm, found 2" in capsys.readouterr().err
    assert "expected 1 outside Slurm" in (tmp_path / "a.log").read_text()


def test_gpus_of_a_node():
    assert gpus_on_node(1, 4, 3, "auto") == 3
    assert gpus_on_node(2, 4, 0, "auto") == 4
    assert gpus_on_node(2, 4, 0, "cpu") == 0


def test_each_process_knows_its_place(tmp_path, monkeypatch):
    given = {"nodes": 2, "processes": 4, "gpus": 0, "threads": 8, "log": tmp_path / "a.log"}
    for rank, log in (("0", "a.log"), ("5", "a.log.5")):
        monkeypatch.setenv("RANK", rank)
        assert take_place("causal", backend="auto", **given) == Place(gpus=4, threads=2, log=tmp_path / log)
