"""The choice of CPU or GPU."""

import importlib.util

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
