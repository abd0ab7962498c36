"""What a machine has, as far as a run can use it: versions, processors, memory, GPUs with their driver and libraries, and what will not run on it."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from importlib import metadata
from typing import Any, NamedTuple

from causcade import __version__
from causcade.config import Config
from causcade.doctor.work import GIB

__all__ = ["Gpus", "describe_gpus", "describe_machine", "find_gpus", "what_runs"]

OPTIONAL = {
    "rapids_singlecell": "GPU quality control, panel and map",
    "cupy": "rapids-singlecell",
    "cudf": "RAPIDS",
    "cuml": "RAPIDS: neighbours, UMAP",
    "dask_cuda": "several GPUs in quality control",
    "skmisc": "scikit-misc: only for panel.flavor seurat_v3",
    "huggingface_hub": "models of the Hugging Face hub by name",
    "rdkit": "only for new drugs of a TX1 model",
    "tensorboard": "only for curves of pre-training",
    "chromium": "only for the browser tests",
}
RAPIDS_PYTHON = (3, 12)
DRIVER_LIMIT_S = 20
PANDAS_TEXTS = 3  # the version of pandas from which texts are of its own kind
INFER_STRING = "PANDAS_FUTURE_INFER_STRING"


class Gpus(NamedTuple):
    """GPUs that torch can use, by name; why there are none; and the driver and CUDA that stand behind them."""

    names: list[str]
    why_none: str
    driver: str | None
    cuda: str | None


def find_gpus() -> Gpus:
    """Look for GPUs as torch sees them, and for the driver that `nvidia-smi` tells."""
    driver = None
    if shutil.which("nvidia-smi"):
        asked = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        try:
            said = subprocess.run(asked, capture_output=True, text=True, timeout=DRIVER_LIMIT_S, check=True).stdout
            driver = next(iter(said.split()), None)
        except (OSError, subprocess.SubprocessError):
            driver = "nvidia-smi fails: the driver does not answer"
    if importlib.util.find_spec("torch") is None:
        return Gpus([], "torch is not installed", driver, None)
    import torch

    cuda = torch.version.cuda
    names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    if names:
        return Gpus(names, "", driver, cuda)
    if cuda is None:
        return Gpus([], f"torch {torch.__version__} is built for CPUs", driver, cuda)
    return Gpus([], "torch finds no driver or no device" if driver is None else "torch cannot use the device that the driver shows", driver, cuda)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def describe_machine() -> list[str]:
    """Say what this machine has beside GPUs: Python, processors, memory, packages."""
    import psutil

    memory = psutil.virtual_memory()
    lines = [
        f"causcade {__version__}, python {platform.python_version()}, {platform.platform()}",
        f"processors: {os.cpu_count()}, memory: {memory.total / GIB:.0f} GiB ({memory.available / GIB:.0f} GiB free)",
    ]
    absent = "not installed. Run `make install`, or `pip install -e .`"
    lines += [f"{name}: {_version(name) or absent}" for name in ("snakemake", "anndata", "zarr", "scanpy", "torch")]
    lines += _pandas_in_words()
    for name, use in OPTIONAL.items():
        there = shutil.which(name) is not None if name == "chromium" else importlib.util.find_spec(name) is not None
        lines.append(f"{name}: {'installed' if there else 'not installed'} ({use})")
    lines.append(f"sbatch: {'found' if shutil.which('sbatch') else 'not found; the slurm-gpu profile needs it'}")
    return lines


def _pandas_in_words() -> list[str]:
    """Warn of pandas 3 with its own texts, with which causcade has not been run."""
    version = _version("pandas") or "0"
    if int(version.split(".")[0]) < PANDAS_TEXTS or os.environ.get(INFER_STRING) == "0":
        return []
    return [f"warning: pandas {version} makes texts of its own kind, with which causcade has not been run. Run `export {INFER_STRING}=0` first."]


def describe_gpus(gpus: Gpus) -> list[str]:
    """Say what GPUs there are, and the versions that they need."""
    lines = [f"GPUs: {', '.join(gpus.names)}" if gpus.names else f"GPUs: none that torch can use ({gpus.why_none}); everything runs on the CPU"]
    if gpus.driver is not None:
        lines.append(f"driver: {gpus.driver}")
    if not gpus.names:
        return lines
    import torch

    read_version: Any = torch.cuda.nccl.version  # untyped
    nccl = ".".join(map(str, read_version())) if torch.distributed.is_nccl_available() else "not built in"
    half = "yes" if torch.cuda.is_bf16_supported() else "no"
    lines.append(f"CUDA of torch: {gpus.cuda}, NCCL: {nccl}, bfloat16: {half}")
    lines.append(f"GPU memory: {', '.join(f'{torch.cuda.mem_get_info(number)[1] / GIB:.0f} GiB' for number in range(len(gpus.names)))}")
    if importlib.util.find_spec("cupy") is not None:
        lines.append(_cupy_works())
    return lines


def _cupy_works() -> str:
    """Say whether cupy can compute on the GPU; its errors are of many kinds."""
    done = subprocess.run(
        [sys.executable, "-c", "import cupy; print(cupy.__version__, int(cupy.arange(10).sum()))"], capture_output=True, text=True, check=False
    )
    if done.returncode == 0 and done.stdout.split()[-1:] == ["45"]:
        return f"cupy {done.stdout.split()[0]}: computes"
    return f"cupy: installed, and fails ({(done.stderr.strip().splitlines() or ['no message'])[-1]})"


def what_runs(config: Config, gpus: Gpus) -> list[str]:
    """Say which parts of a run compute where on this machine, and which do not run."""
    has_rapids = importlib.util.find_spec("rapids_singlecell") is not None
    lines = []
    if gpus.names and config.backend != "cpu":
        lines.append("on the GPU here: coexpression, pretraining, embedding (tx1), basal, causal, latent")
        if has_rapids:
            lines.append("on the GPU here, by rapids-singlecell: quality, panel, embedding map")
        else:
            lines.append("on the CPU here, since rapids-singlecell is not installed (envs/gpu.yaml): quality, panel, embedding map")
    elif config.backend == "gpu":
        lines.append(f"will not run here: stages that compute on a GPU; `backend: gpu` insists on one ({gpus.why_none}). Write `auto` or `cpu`")
    else:
        lines.append("on the CPU here: every stage; nothing that a run makes needs a GPU")
    if not gpus.names:
        lines.append("will not run here: rapids-singlecell, RAPIDS, NCCL between GPUs, bfloat16 attention kernels (they need an NVIDIA GPU)")
    if sys.version_info < RAPIDS_PYTHON:
        lines.append("note: rapids-singlecell needs Python 3.12 or newer (envs/gpu.yaml)")
    return lines
