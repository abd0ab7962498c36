"""Short measurements: they measure, and leave nothing behind."""

import subprocess

import pytest

from causcade.doctor import probes
from causcade.doctor.probes import all_reduce, disk_rate, processor_factor
from causcade.doctor.rates import Rate
from causcade.errors import InputError


def test_the_disk_is_measured_and_left_as_it_was(tmp_path):
    found = disk_rate(tmp_path / "results/deep", size_mb=8)
    assert found.written > 0
    assert found.read > 0
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "there").mkdir()
    disk_rate(tmp_path / "there", size_mb=4)
    assert list((tmp_path / "there").iterdir()) == []


def test_a_folder_that_cannot_be_written_to(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="expected a folder to write results to, found Not a directory"):
        disk_rate(tmp_path / "file" / "results")


@pytest.mark.slow
def test_two_processes_sum_on_processors():
    found = all_reduce(0)
    assert (found.backend, found.num_processes, found.problem) == ("gloo", 2, "")
    assert found.rate > 0


def test_sums_that_fail_are_told(monkeypatch):
    monkeypatch.setattr(probes, "_REDUCE", "import sys; sys.exit('no network between us')")
    assert all_reduce(0) == ("gloo", 2, 0.0, "no network between us")


def test_sums_that_hang_are_told(monkeypatch):
    monkeypatch.setattr(probes, "_REDUCE", "import time; time.sleep(60)")
    monkeypatch.setattr(probes, "REDUCE_LIMIT_S", 0.2)
    assert all_reduce(0).problem == "not done within 0.2 s"


def test_the_factor_is_the_mean_of_the_probes():
    rates = {(name, ""): Rate(rule=name, unit="", start_s=1.0, per_unit_s=0.0, base_mb=0.0, bytes_per_edge=0.0, source="here") for name in "ab"}
    factor, found = processor_factor(rates, {"a": lambda: 2.0, "b": lambda: 8.0})
    assert factor == pytest.approx(4.0)
    assert found == {"a": 2.0, "b": 8.0}


@pytest.mark.parametrize("name", ["probe_sparse", "probe_product"])
def test_the_probes_measure(name):
    assert probes.PROBES[name]() > 0


def test_loading_the_libraries_is_measured_in_a_process_of_its_own(monkeypatch):
    monkeypatch.setattr(probes, "START", "sum(range(10**6))")
    assert probes.PROBES["probe_start"]() > 0
    monkeypatch.setattr(probes, "START", "import nothing_of_that_name")
    with pytest.raises(subprocess.CalledProcessError):
        probes.PROBES["probe_start"]()
