"""Several processes for one job: torchrun on one node, and Slurm's srun before it for several.

The process that the workflow starts is replaced, never kept beside: what asks it to stop asks srun or torchrun, which pass it on. On several nodes
the batch script runs on the first one; it tells srun to start one torchrun on each, and all of them meet at the first node's name and a port of the
job's own. What is started is always the command line of this process. This module loads no torch.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from causcade.backend import Backend
from causcade.errors import ConfigError
from causcade.runtime import job_log

__all__ = ["Place", "become_torchrun", "gpus_on_node", "launch", "read_placed", "take_place"]

MEETING_POINT = "CAUSCADE_MEETING_POINT"
SHUTDOWN_S = "600"  # torchrun would kill after 30 s what is writing its state; Slurm has its own limit, and may give more time
FIRST_PORT, NUM_PORTS = 10_000, 20_000  # below those that systems hand out by themselves


class Place(NamedTuple):
    """What one process of a job has: the GPUs of its node, its own threads, and its own log (the first process has that of the job)."""

    gpus: int
    threads: int
    log: Path


def read_placed(parser: argparse.ArgumentParser, stage: str, arguments: Sequence[str] | None) -> dict[str, Any]:
    """Read the command line of a job that may have several processes, and take the place of one of them (:func:`take_place`).

    Parameters
    ----------
    parser
        It has the arguments of the stage alone. Those of every such job are added: `settings` (JSON, `backend` among them), `nodes`, `processes`,
        `gpus`, `threads` and `log`.
    stage
        Section of the configuration that asks for the processes.
    arguments
        By default those of this process.

    Returns
    -------
    Values by name; GPUs, threads and log are those of this process.
    """
    parser.add_argument("--settings", required=True, type=json.loads)
    parser.add_argument("--log", required=True, type=Path)
    asked = ("nodes", "processes", "gpus", "threads")
    for name in asked:
        parser.add_argument(f"--{name}", required=True, type=int)
    given = vars(parser.parse_args(arguments))
    place = take_place(stage, backend=given["settings"]["backend"], log=given["log"], **{name: given[name] for name in asked})
    return given | place._asdict()


def take_place(stage: str, *, nodes: int, processes: int, gpus: int, threads: int, log: str | Path, backend: Backend) -> Place:
    """Start the processes of a job (:func:`launch`), and tell each of them what is its own.

    Parameters
    ----------
    stage, nodes, processes, threads, log
        As for :func:`launch`.
    gpus
        What the job asked for by its resource `gpu`.
    backend
        Setting `backend` of the run.
    """
    gpus = gpus_on_node(nodes, processes, gpus, backend)
    launch(stage, nodes=nodes, processes=processes, gpus=gpus, threads=threads, log=log)
    rank = os.environ.get("RANK", "0")
    return Place(gpus=gpus, threads=max(1, threads // processes), log=Path(log if rank == "0" else f"{log}.{rank}"))


def gpus_on_node(nodes: int, processes: int, gpus: int, backend: Backend) -> int:
    """GPUs that a job asked for on each node: those of its resource `gpu`, or, over several nodes, one for each process."""
    if nodes == 1:
        return gpus
    return 0 if backend == "cpu" else processes


def launch(stage: str, *, nodes: int, processes: int, gpus: int, threads: int, log: str | Path) -> None:
    """Where a job asks for several processes and this is none of them yet, replace this process by what starts them; else do nothing.

    Parameters
    ----------
    stage
        Section of the configuration that asks for them.
    nodes, processes
        Nodes, and processes on each.
    gpus
        GPUs on each node (:func:`gpus_on_node`).
    threads
        Threads of the job on each node.
    log
        Log of the job. It, and exit status 2, tell that several nodes are asked for outside Slurm.
    """
    if "RANK" in os.environ or nodes * processes == 1:
        return
    if nodes > 1 and MEETING_POINT not in os.environ:
        if "SLURM_JOB_ID" not in os.environ or shutil.which("srun") is None:
            with job_log(log):
                raise ConfigError([f"{stage}.nodes: expected 1 outside Slurm, found {nodes}. Use `--profile slurm-gpu`, or write `nodes: 1`."])
        _become_srun(nodes, gpus, threads)
    become_torchrun(processes, nodes)


def become_torchrun(processes: int, nodes: int = 1) -> None:
    """Replace this process by torchrun on this machine, which starts the same command line so many times."""
    # After -- nothing is an option of torchrun, which would take `--log` for one of its own.
    where = ["--standalone"]
    if nodes > 1:
        host, port = os.environ[MEETING_POINT].rsplit(":", 1)
        where = [f"--nnodes={nodes}", f"--node-rank={os.environ['SLURM_NODEID']}", f"--master-addr={host}", f"--master-port={port}"]
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", SHUTDOWN_S)
    launcher = ["-m", "torch.distributed.run", *where, f"--nproc-per-node={processes}", "--"]
    os.execv(sys.executable, [sys.executable, *launcher, *sys.argv])


def _become_srun(nodes: int, gpus: int, threads: int) -> None:
    """Replace this process by srun, which starts the same command line once on each node of the allocation."""
    port = FIRST_PORT + int(os.environ["SLURM_JOB_ID"]) % NUM_PORTS
    os.environ[MEETING_POINT] = f"{socket.gethostname()}:{port}"
    # A step that loses a node ends at once: the others would wait for it.
    step = [f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1", f"--cpus-per-task={threads}", "--export=ALL", "--kill-on-bad-exit=1"]
    if gpus:
        step.append(f"--gpus-per-node={gpus}")
    os.execvp("srun", ["srun", *step, sys.executable, *sys.argv])
