"""What a run was made with: the resolved configuration, versions, commit, device, seeds, and the identity of each input."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from causcade import __version__
from causcade.backend import torch_device
from causcade.config import Config
from causcade.files import sha256_of

__all__ = ["MAX_HASHED_BYTES", "build_manifest", "commit_of", "identity"]

# Larger inputs are told by size and time of change: hashing 300 GB would cost more than many a stage.
MAX_HASHED_BYTES = 1 << 30
PACKAGES = (
    "anndata",
    "numpy",
    "pandas",
    "pyarrow",
    "pydantic",
    "rdkit",
    "safetensors",
    "scanpy",
    "scikit-learn",
    "scipy",
    "snakemake",
    "torch",
    "zarr",
    "rapids-singlecell",
)


def identity(path: str | Path) -> dict[str, Any]:
    """Size and SHA-256 of a file; size and time of change of what is larger than 1 GiB; number and size of the files of a folder."""
    path = Path(path)
    if path.is_dir():
        files = [item for item in path.rglob("*") if item.is_file()]
        return {"num_files": len(files), "bytes": sum(item.stat().st_size for item in files)}
    status = path.stat()
    if status.st_size > MAX_HASHED_BYTES:
        return {"bytes": status.st_size, "changed": int(status.st_mtime)}
    return {"bytes": status.st_size, "sha256": sha256_of(path)}


def commit_of(folder: str | Path) -> str | None:
    """Commit of a checkout, with ``+changes`` where files differ from it; None outside a checkout or without git."""
    try:
        head = subprocess.run(["git", "-C", str(folder), "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        changed = subprocess.run(
            ["git", "-C", str(folder), "status", "--porcelain", "--untracked-files=no"], capture_output=True, text=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return head + ("+changes" if changed.strip() else "")


def _versions() -> dict[str, str]:
    found = {"causcade": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def build_manifest(config: Config, inputs: list[str], folder: str | Path) -> dict[str, Any]:
    """Return `manifest.json`.

    Parameters
    ----------
    config
        The resolved configuration.
    inputs
        Files that the run read.
    folder
        Checkout of the workflow.
    """
    import torch

    device = torch_device(config.backend)
    name = torch.cuda.get_device_name() if device == "cuda" else platform.processor() or platform.machine()
    return {
        "config": config.model_dump(mode="json"),
        "versions": _versions(),
        "commit": commit_of(folder),
        "device": {"kind": device, "name": name, "num_cpus": os.cpu_count(), "system": platform.platform()},
        "seeds": {"seed": config.seed},
        "inputs": {str(path): identity(path) for path in sorted(set(inputs))},
    }
