"""GPUs of a job: how many a stage asks for, and whether the job sees as many.

How many is decided in one place, by the configuration: none where `backend` is cpu, one for each process of a stage that torchrun starts, one for the
other stages that compute on a GPU. The rules ask for that number, a profile may override it, and a job that was given another number of GPUs than it
has processes, or that sees fewer than it asked for, stops. This module is light: the Snakefile uses it each time it is parsed.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import socket
from pathlib import Path

from causcade.backend import Backend
from causcade.config import Config
from causcade.errors import InputError

__all__ = ["check_gpus", "gpus_of", "has_gpu_device", "listed_gpus", "nodes_of", "placement", "processes_of", "threads_beside_gpus"]

logger = logging.getLogger("causcade")

TORCH_STAGES = frozenset({"coexpression", "embedding", "basal", "causal", "latent", "pretraining", "model_judging"})
RAPIDS_STAGES = frozenset({"quality", "panel", "embedding_map"})
VISIBLE = "CUDA_VISIBLE_DEVICES"
THREADS_OF_GPU = 8  # which make its tokens
DRIVER_FILES = (Path("/dev/nvidiactl"), Path("/dev/kfd"), Path("/dev/dxg"))  # of NVIDIA, of AMD, and of either under WSL


def processes_of(config: Config, stage: str) -> int:
    """Return the processes of a stage on each of its nodes: what its section says in `processes`, else one."""
    return int(getattr(getattr(config, stage, None), "processes", 1))


def nodes_of(config: Config, stage: str) -> int:
    """Return the nodes that a stage is spread over: what its section says in `nodes`, else one."""
    return int(getattr(getattr(config, stage, None), "nodes", 1))


def gpus_of(config: Config, stage: str, *, has_rapids: bool | None = None) -> int:
    """GPUs that a job of a stage asks for on each node; 0 where it would not compute on one.

    Parameters
    ----------
    config
        Configuration of the run.
    stage
        Name of the stage; `embedding_map` is the map of the embedding.
    has_rapids
        Whether rapids-singlecell is installed where jobs run, without which some stages compute on the CPU; None: as it is here. With
        `backend: gpu` they ask all the same, since their jobs then insist on one.

    Returns
    -------
    int
        One for each process (:func:`processes_of`).
    """
    if config.backend == "cpu" or stage not in TORCH_STAGES | RAPIDS_STAGES:
        return 0
    if stage == "embedding" and config.embedding.source != "tx1":
        return 0
    if stage == "basal" and config.basal.baseline == "control_mean":
        return 0
    if stage in RAPIDS_STAGES and config.backend == "auto":
        is_there = importlib.util.find_spec("rapids_singlecell") is not None if has_rapids is None else has_rapids
        return 1 if is_there else 0
    return processes_of(config, stage)


def placement(config: Config, stage: str) -> dict[str, int | str]:
    """Resources that put the jobs of a stage on GPUs and nodes, as Snakemake's Slurm plugin reads them.

    On one node that is `gpu`, and `nodes`, without which Slurm may gather the GPUs from several. Over several nodes the plugin leaves the start to
    the job (`mpi`), and would multiply `gpu` by the tasks; so the GPUs of each node are asked for in Slurm's own words.
    """
    gpus, nodes = gpus_of(config, stage), nodes_of(config, stage)
    if nodes == 1:
        return {"gpu": gpus, "nodes": 1}
    return {"gpu": 0, "nodes": nodes, "tasks": nodes, "mpi": "srun", "slurm_extra": f"--gpus-per-node={gpus}" if gpus else ""}


def has_gpu_device() -> bool:
    """Whether a driver of GPUs that torch computes on runs on this machine, and none is hidden; torch is not loaded for it."""
    return any(path.exists() for path in DRIVER_FILES) and listed_gpus() != 0


def threads_beside_gpus(config: Config, stage: str, *, may_have_gpus: bool) -> int:
    """Threads of a job of a stage: eight for each GPU that it asks for, which make its tokens; else one for each process.

    Parameters
    ----------
    config, stage
        As for :func:`gpus_of`.
    may_have_gpus
        Whether there may be GPUs where it runs.
    """
    return processes_of(config, stage) * (THREADS_OF_GPU if may_have_gpus and gpus_of(config, stage) else 1)


def listed_gpus() -> int | None:
    """GPUs that `CUDA_VISIBLE_DEVICES` lists; None where it is not set, as on a machine without a scheduler."""
    value = os.environ.get(VISIBLE)
    if value is None:
        return None
    names = [name.strip() for name in value.split(",") if name.strip()]
    # -1, and what Slurm writes for a job without GPUs, end the list
    return next((place for place, name in enumerate(names) if name in ("-1", "NoDevFiles")), len(names))


def _gpus_of_torch() -> tuple[int | None, str]:
    """GPUs that torch can use and their names; None, and why, where it was built without them."""
    import torch

    if torch.version.cuda is None and torch.version.hip is None:
        return None, f"torch {torch.__version__} is built for CPUs"
    number = torch.cuda.device_count()
    return number, ", ".join(torch.cuda.get_device_name(place) for place in range(number)) or "none"


def check_gpus(asked: int, backend: Backend, *, processes: int = 1) -> None:
    """Write to the log which GPUs a job asked for, sees and uses; stop it where it cannot have what it asked for.

    Slurm tells a job its GPUs by `CUDA_VISIBLE_DEVICES`. In a job of Slurm, and with `backend: gpu` everywhere, fewer than asked for are an error.
    Outside Slurm `backend: auto` asks for GPUs where there may be none, and the log says so.

    Parameters
    ----------
    asked
        GPUs that the job asked for on this node; 0: nothing is looked at.
    backend
        Setting `backend` of the run.
    processes
        Processes on this node, of which each takes one GPU.

    Raises
    ------
    InputError
        If fewer GPUs are visible than were asked for, or their number is not that of the processes.
    """
    if asked == 0:
        return
    if processes not in (1, asked):
        raise InputError(
            f"resources.gpu: expected one GPU for each of the {processes} processes, found {asked}. `processes` in the configuration decides: "
            "correct it there, and take `gpu` out of `set-resources` of the profile and out of `--resources`."
        )
    listed = listed_gpus()
    how = f"{VISIBLE}={os.environ[VISIBLE]}" if listed is not None else f"{VISIBLE} is not set"
    usable, names = (None, "backend: cpu") if backend == "cpu" else _gpus_of_torch()
    seen = min(number for number in (listed, usable) if number is not None) if (listed, usable) != (None, None) else 0
    used = names if usable else f"none ({names})" if usable is None else "none"
    logger.info("GPUs: asked %d, visible %d (%s), used: %s", asked, seen, how, used)
    is_strict = backend == "gpu" or "SLURM_JOB_ID" in os.environ
    if is_strict and backend == "gpu" and usable is None:
        seen = 0
    if is_strict and seen < asked:
        reason = f"; {names}" if usable is None and backend != "cpu" else ""
        raise InputError(
            f"GPUs of this job: expected {asked}, found {seen} on {socket.gethostname()} ({how}{reason}). Run `nvidia-smi` and `causcade doctor` "
            "there; where it has none to give, ask for fewer (`processes` in the configuration), or write `backend: cpu`."
        )
    if backend == "auto" and usable is None and listed:
        logger.warning("%s: this job holds GPUs and computes on the CPU. Install envs/gpu.yaml, or write `backend: cpu`.", names)
