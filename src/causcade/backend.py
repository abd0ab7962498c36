"""Where to compute. One place chooses between CPU and GPU; the code that runs is the same."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
from collections.abc import Iterator
from typing import Any, Literal

from causcade.errors import InputError

__all__ = ["Backend", "gpu_cluster", "require_flavor", "single_cell", "torch_device", "uses_rapids"]

logger = logging.getLogger(__name__)

Backend = Literal["auto", "cpu", "gpu"]

POOL_SHARE = 0.8
"""Share of a GPU's memory that a pool takes at once; the rest is for CUDA itself and for the process that starts the workers."""


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


def uses_rapids(backend: Backend) -> bool:
    """Whether single-cell steps run in rapids-singlecell: a GPU is used and it is installed.

    On a GPU without rapids-singlecell they run in scanpy, and the log says so.
    """
    if torch_device(backend) != "cuda":
        return False
    if importlib.util.find_spec("rapids_singlecell") is not None:
        return True
    logger.warning("a GPU is there but rapids-singlecell is not installed: this step runs in scanpy on the CPU")
    return False


def single_cell(backend: Backend) -> Any:
    """`scanpy`, or `rapids_singlecell` where a GPU is used and it is installed: the two share an interface."""
    if uses_rapids(backend):
        import rapids_singlecell

        return rapids_singlecell
    import scanpy

    return scanpy


@contextlib.contextmanager
def gpu_cluster(backend: Backend, *, oversubscribe: bool = False) -> Iterator[int]:
    """Let Dask compute on the GPUs of this machine, one worker process each, while the block runs; without GPUs nothing is started.

    Parameters
    ----------
    backend
        Where to compute.
    oversubscribe
        False: each GPU takes a pool of memory, and workers talk over UCX where it is installed. True: memory is managed by the driver, which moves
        what does not fit to the host, and workers talk over TCP. UCX cannot send managed memory well, so the two are never mixed.

    Yields
    ------
    int
        Number of workers; 1 where none is started.

    Raises
    ------
    InputError
        If rapids-singlecell is installed but dask-cuda is not.
    """
    if not uses_rapids(backend):
        yield 1
        return
    if importlib.util.find_spec("dask_cuda") is None:
        raise InputError(
            "backend: expected dask-cuda beside rapids-singlecell, found it not installed. Install envs/gpu.yaml, or write `backend: cpu`."
        )
    import distributed
    from dask_cuda import LocalCUDACluster

    connect: Any = distributed.Client  # untyped
    options: dict[str, Any] = {"protocol": "tcp", "rmm_managed_memory": True}
    if not oversubscribe:
        has_ucx = importlib.util.find_spec("distributed_ucxx") is not None
        options = {"protocol": "ucx" if has_ucx else "tcp", "rmm_pool_size": POOL_SHARE}
    with LocalCUDACluster(threads_per_worker=1, **options) as cluster, connect(cluster) as client:
        client.wait_for_workers(len(cluster.workers))
        client.run(_cupy_takes_from_the_pool)
        logger.info(
            "%d GPU worker(s) over %s, %s", len(cluster.workers), options["protocol"], "managed memory" if oversubscribe else "pool of memory"
        )
        yield len(cluster.workers)


def _cupy_takes_from_the_pool() -> None:
    """Let cupy allocate through RMM; runs in each worker."""
    import cupy
    from rmm.allocators.cupy import rmm_cupy_allocator

    cupy.cuda.set_allocator(rmm_cupy_allocator)


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
