"""Where to compute. One place chooses between CPU and GPU; the code that runs is the same."""

from __future__ import annotations

import importlib.util
import logging
from typing import Any, Literal

from causcade.errors import InputError

__all__ = ["Backend", "require_flavor", "single_cell", "torch_device"]

logger = logging.getLogger(__name__)

Backend = Literal["auto", "cpu", "gpu"]


def torch_device(backend: Backend) -> str:
    """Torch device of a backend: ``"cuda"`` or ``"cpu"``.

    Raises
    ------
    InputError
        If a GPU is asked for and torch sees none.
    """
    if backend == "cpu":
        return "cpu"
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if backend == "gpu":
        raise InputError("backend: expected a GPU (`backend: gpu`), found none that torch can use. Run `causcade doctor`, or write `backend: auto`.")
    return "cpu"


def single_cell(backend: Backend) -> Any:
    """`scanpy`, or `rapids_singlecell` where a GPU is used and it is installed: the two share an interface.

    On a GPU without rapids-singlecell the step runs in scanpy, and the log says so.
    """
    if torch_device(backend) == "cuda":
        if importlib.util.find_spec("rapids_singlecell") is not None:
            import rapids_singlecell

            return rapids_singlecell
        logger.warning("a GPU is there but rapids-singlecell is not installed: this step runs in scanpy on the CPU")
    import scanpy

    return scanpy


def require_flavor(flavor: str) -> None:
    """Check that what a flavour of highly variable genes needs is installed: scanpy and rapids-singlecell fit `seurat_v3` with scikit-misc.

    Raises
    ------
    InputError
        If it is not.
    """
    if flavor == "seurat_v3" and importlib.util.find_spec("skmisc") is None:
        raise InputError(
            "panel.flavor: expected the package scikit-misc for `seurat_v3` (its local regression), found it not installed. "
            "Run `pip install 'causcade[seurat-v3]'`, or write `panel: {flavor: seurat}`."
        )
