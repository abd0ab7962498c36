"""Rates of jobs: as shipped, and as a run of this machine took."""

import pytest

from causcade.doctor.rates import Rate, memory_of, read_rates, read_recorded, seconds_of
from causcade.doctor.work import Work
from causcade.errors import InputError

RATE = Rate(rule="a", unit="cells", start_s=2.0, per_unit_s=0.01, base_mb=100.0, bytes_per_edge=10.0, source="here")
RATES = {("a", "cells"): RATE}
WORK = Work(rule="a", stage="s", jobs={"p1": 100.0, "p2": 300.0}, unit="cells", threads=2)
HEAD = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"


def write_benchmark(path, seconds, processor="NA", memory="NA"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{HEAD}{seconds}\t0:00:00\t{memory}\t0\t0\t0\t0\t0\t0\t{processor}\n")


def test_shipped_rates_are_a_start_and_a_rate():
    assert seconds_of(WORK, RATES, {}) == {"p1": (3.0, 1.5, False), "p2": (5.0, 2.5, False)}
    assert seconds_of(WORK, RATES, {}, factor=2.0)["p1"] == (6.0, 3.0, False)
    assert seconds_of(WORK, {}, {}) is None


def test_nothing_is_told_of_a_gpu_that_nobody_measured():
    from dataclasses import replace

    assert seconds_of(replace(WORK, gpus=1), RATES, {}) is None


def test_a_run_of_this_machine_takes_precedence(tmp_path):
    write_benchmark(tmp_path / "a/p1.tsv", 6.0, 9.0, 250.0)
    write_benchmark(tmp_path / "a/p2.tsv", 10.0, 15.0, 300.0)
    write_benchmark(tmp_path / "b.tsv", 4.0)
    recorded = read_recorded(tmp_path)
    assert recorded["a"] == ({"p1": 6.0, "p2": 10.0}, {"p1": 9.0, "p2": 15.0}, 300.0)
    assert recorded["b"] == ({"b": 4.0}, {"b": 4.0}, 0.0)  # where Snakemake has sampled nothing, the clock stands for the processor
    assert seconds_of(WORK, RATES, recorded, [WORK]) == {"p1": (9.0, 6.0, True), "p2": (15.0, 10.0, True)}
    assert memory_of(WORK, RATES, recorded, [WORK]) == 300e6


def test_more_to_do_is_scaled_from_the_run(tmp_path):
    from dataclasses import replace

    write_benchmark(tmp_path / "a/p1.tsv", 6.0, 9.0)
    write_benchmark(tmp_path / "a/p2.tsv", 10.0, 15.0)
    later = replace(WORK, jobs={"p1": 100.0, "p2": 300.0, "p3": 800.0})
    assert seconds_of(later, RATES, read_recorded(tmp_path), [WORK])["p3"] == (30.0, 20.0, True)


def test_a_run_on_processors_tells_nothing_of_gpus(tmp_path):
    from dataclasses import replace

    write_benchmark(tmp_path / "a/p1.tsv", 6.0)
    assert seconds_of(replace(WORK, gpus=1), RATES, read_recorded(tmp_path), [WORK]) is None
    assert seconds_of(replace(WORK, gpus=1), RATES, read_recorded(tmp_path), [replace(WORK, gpus=1)])["p1"].is_recorded


def test_jobs_under_other_names_count_on_average(tmp_path):
    write_benchmark(tmp_path / "a/p1_1of2.tsv", 4.0, 8.0)
    write_benchmark(tmp_path / "a/p1_2of2.tsv", 4.0, 8.0)
    assert seconds_of(WORK, RATES, read_recorded(tmp_path), [WORK])["p1"] == (6.0, 3.0, True)  # 8 s where 4 s were expected


def test_memory_grows_with_what_a_job_holds():
    work = Work(rule="a", stage="s", jobs={"p": 1.0}, unit="cells", pairs=1e6, edges=1e6, cells=1e6, model_mb=50.0)
    assert memory_of(work, RATES, {}) == 150e6 + 16e6 + 10e6 + 1e9
    assert memory_of(work, {}, {}) is None


def test_the_shipped_table_says_where_each_rate_is_from():
    rates = read_rates()
    assert len(rates) > 40
    assert all(rate.source and rate.start_s >= 0 and rate.per_unit_s >= 0 for rate in rates.values())


def test_a_damaged_table_and_a_foreign_file_are_errors(tmp_path):
    (tmp_path / "rates.tsv").write_text("rule\tunit\tstart_s\tper_unit_s\tbase_mb\tbytes_per_edge\tsource\na\tcells\tfast\t0\t0\t0\there\n")
    with pytest.raises(InputError, match="expected numbers for rule 'a'"):
        read_rates(tmp_path / "rates.tsv")
    (tmp_path / "b.tsv").write_text("plate\tcounts\np1\tx\n")
    with pytest.raises(InputError, match=r"b\.tsv: expected a benchmark file of Snakemake"):
        read_recorded(tmp_path)
