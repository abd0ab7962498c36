import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tx1_training_cases import make_plate
from tx1_two_processes import BY_MUON, SETTINGS, train_once

from causcade.errors import InputError
from causcade.tx1.parallel import Group, open_group
from causcade.tx1.training_log import read_records

ALONE = Group(0, 1, torch.device("cpu"), "ddp")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Results of two processes, with DDP and with FSDP2, and of one."""
    folder = tmp_path_factory.mktemp("parallel")
    for number, num_cells in enumerate((30, 22)):
        make_plate(folder / f"p{number}.zarr", num_cells, seed=number)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), *filter(None, [environment.get("PYTHONPATH")])])
    script = Path(__file__).with_name("tx1_two_processes.py")
    processes = [
        subprocess.Popen([sys.executable, script, folder], env=environment | {"RANK": rank, "LOCAL_RANK": rank}, stderr=subprocess.PIPE, text=True)
        for rank in ("0", "1")
    ]
    for process in processes:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
    torch.save(train_once(folder, "alone", ALONE), folder / "alone.pt")
    torch.save(train_once(folder, "alone_muon", ALONE, settings=BY_MUON), folder / "alone_muon.pt")
    return folder


def largest_difference(first, second):
    """Over all parameters but the keys' biases, whose true gradient is 0: Adam makes its rounding large."""
    found = 0.0
    for name, ours in first.items():
        theirs = second[name]
        if name.endswith("Wqkv.bias"):
            size = len(ours) // 3
            ours, theirs = (torch.cat([value[:size], value[2 * size :]]) for value in (ours, theirs))
        found = max(found, float((ours - theirs).abs().max()))
    return found


@pytest.mark.parametrize(("kind", "one"), [("ddp", "alone"), ("fsdp", "alone"), ("muon", "alone_muon")])
def test_two_processes_equal_one_on_the_same_cells(folder, kind, one):
    alone, two = (torch.load(folder / f"{name}.pt") for name in (one, kind))
    assert alone.keys() == two.keys()
    first, second = (read_records(folder / name / "metrics.jsonl") for name in (one, kind))
    assert [record["step"] for record in first] == [record["step"] for record in second]
    for name in ("loss", "expression_mse", "product_mse", "held_out_expression_mse", "held_out_product_mse"):
        values = ([record[name] for record in records if name in record] for records in (first, second))
        np.testing.assert_allclose(*values, rtol=1e-5, err_msg=name)
    assert first[0]["loss"] == pytest.approx(second[0]["loss"], rel=1e-6)
    assert first[0]["gradient_norm"] == pytest.approx(second[0]["gradient_norm"], rel=1e-6)
    assert largest_difference(alone, two) < 2e-5  # eight steps of up to 1e-2


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_one_process_goes_on_from_a_state_of_two(folder, kind, tmp_path):
    state = tmp_path / "p"
    shutil.copytree(folder / kind, state)
    for plate in folder.glob("p*.zarr"):
        shutil.copytree(plate, tmp_path / plate.name)
    found = train_once(tmp_path, "p", ALONE, settings=SETTINGS)  # nothing is left to do: what it reads is what was trained
    assert largest_difference(found, torch.load(folder / f"{kind}.pt")) == 0.0


def test_a_process_alone_needs_nothing_of_it(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    with open_group("cpu") as group:
        assert (group.rank, group.size, group.is_first, group.is_sharded) == (0, 1, True, False)
        model = torch.nn.Linear(2, 2)
        assert group.wrap(model, []) is model
        assert group.sums(1.5, 2) == [1.5, 2.0]
        assert group.largest(3) == 3
        assert group.gathered("a") == ["a"]
        group.wait()


def test_more_processes_than_gpus_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for name, value in (("RANK", "2"), ("WORLD_SIZE", "4"), ("LOCAL_RANK", "2")):
        monkeypatch.setenv(name, value)
    with (
        pytest.raises(InputError, match=r"expected at most one process for each GPU, found 2 GPUs for process 3\. Lower `processes`"),
        open_group("gpu"),
    ):
        pass
