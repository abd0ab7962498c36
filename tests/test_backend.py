"""The choice of CPU or GPU."""

import contextlib
import importlib.util
import sys
import types

import pytest
import torch

from causcade import backend
from causcade.errors import InputError


@pytest.mark.parametrize(
    ("has_gpu", "asked", "device"),
    [(False, "cpu", "cpu"), (False, "auto", "cpu"), (True, "cpu", "cpu"), (True, "auto", "cuda"), (True, "gpu", "cuda")],
)
def test_devices(monkeypatch, has_gpu, asked, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    assert backend.torch_device(asked) == device


def test_a_gpu_that_is_not_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError) as error:
        backend.torch_device("gpu")
    expected = "backend: expected a GPU (`backend: gpu`), found none that torch can use. Run `causcade doctor`, or write `backend: auto`."
    assert str(error.value) == expected


def test_a_flavour_without_its_package(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError) as error:
        backend.require_flavor("seurat_v3")
    assert str(error.value) == (
        "panel.flavor: expected the package scikit-misc for `seurat_v3` (its local regression), found it not installed. "
        "Run `pip install 'causcade[seurat-v3]'`, or write `panel: {flavor: seurat}`."
    )
    backend.require_flavor("seurat")


def test_scanpy_on_a_cpu():
    import scanpy

    assert backend.single_cell("cpu") is scanpy


@pytest.mark.skipif(importlib.util.find_spec("rapids_singlecell") is not None, reason="rapids-singlecell is installed")
def test_a_gpu_without_rapids_is_told(monkeypatch, caplog):
    import scanpy

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert backend.single_cell("auto") is scanpy
    assert "rapids-singlecell is not installed: this step runs in scanpy on the CPU" in caplog.text


@pytest.fixture
def pretended(monkeypatch):
    """A machine with two GPUs, rapids-singlecell, dask-cuda and UCX, all pretended; what they are asked is noted."""
    asked = {"installed": {"rapids_singlecell", "dask_cuda", "distributed_ucxx"}, "closed": 0}

    class Cluster(contextlib.AbstractContextManager):
        workers = range(2)

        def __init__(self, **options):
            asked["options"] = options

        def __exit__(self, *error):
            asked["closed"] += 1

    class Client(contextlib.AbstractContextManager):
        def __init__(self, cluster):
            assert isinstance(cluster, Cluster)

        def wait_for_workers(self, number):
            asked["waited"] = number

        def run(self, function):
            asked["run"] = function

        def __exit__(self, *error):
            asked["closed"] += 1

    find_spec = importlib.util.find_spec
    ours = {"rapids_singlecell", "dask_cuda", "distributed_ucxx"}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: (name in asked["installed"] or None) if name in ours else find_spec(name))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setitem(sys.modules, "dask_cuda", types.SimpleNamespace(LocalCUDACluster=Cluster))
    monkeypatch.setitem(sys.modules, "distributed", types.SimpleNamespace(Client=Client))
    return asked


@pytest.mark.parametrize(
    ("oversubscribe", "has_ucx", "expected"),
    [
        (False, True, {"protocol": "ucx", "rmm_pool_size": 0.8}),
        (False, False, {"protocol": "tcp", "rmm_pool_size": 0.8}),
        (True, True, {"protocol": "tcp", "rmm_managed_memory": True}),
        (True, False, {"protocol": "tcp", "rmm_managed_memory": True}),
    ],
)
def test_a_cluster_of_gpus_never_mixes_ucx_and_managed_memory(pretended, oversubscribe, has_ucx, expected):
    if not has_ucx:
        pretended["installed"].discard("distributed_ucxx")
    with backend.gpu_cluster("auto", oversubscribe=oversubscribe) as num_workers:
        assert num_workers == 2
        assert pretended["closed"] == 0
    assert pretended["options"] == expected | {"threads_per_worker": 1}
    assert pretended["waited"] == 2
    assert pretended["closed"] == 2  # client and cluster


def test_workers_let_cupy_take_from_the_pool(pretended, monkeypatch):
    with backend.gpu_cluster("gpu"):
        pass
    told = []
    cupy = types.SimpleNamespace(cuda=types.SimpleNamespace(set_allocator=told.append))
    for name, module in {"cupy": cupy, "rmm": types.ModuleType("rmm"), "rmm.allocators": types.ModuleType("rmm.allocators")}.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setitem(sys.modules, "rmm.allocators.cupy", types.SimpleNamespace(rmm_cupy_allocator="from RMM"))
    pretended["run"]()
    assert told == ["from RMM"]


def test_no_cluster_without_a_gpu_or_without_rapids(pretended):
    with backend.gpu_cluster("cpu") as num_workers:
        assert num_workers == 1
    pretended["installed"].discard("rapids_singlecell")
    with backend.gpu_cluster("auto") as num_workers:
        assert num_workers == 1
    assert "options" not in pretended


def test_rapids_without_dask_cuda(pretended):
    pretended["installed"].discard("dask_cuda")
    with pytest.raises(InputError) as error, backend.gpu_cluster("gpu"):
        pass
    assert str(error.value) == (
        "backend: expected dask-cuda beside rapids-singlecell, found it not installed. Install envs/gpu.yaml, or write `backend: cpu`."
    )
