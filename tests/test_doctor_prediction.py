"""The schedule, and the sums of the table."""

import pytest

from causcade.doctor.prediction import Machine, predict, schedule
from causcade.doctor.rates import Rate, Seconds
from causcade.doctor.work import Work

FIRST = Work(rule="a", stage="one", jobs={"p1": 1.0, "p2": 1.0, "p3": 1.0}, unit="u", disk=5.0)
SECOND = Work(rule="b", stage="two", jobs={"b": 2.0}, unit="u", after=("a",), threads=2, gpus=2, flops=8.0)
RATES = {(rule, "u"): Rate(rule=rule, unit="u", start_s=1.0, per_unit_s=2.0, base_mb=1.0, bytes_per_edge=0.0, source="here") for rule in "ab"}


def of(*works):
    return {work.rule: {name: Seconds(3.0 * work.threads, 3.0, is_recorded=False) for name in work.jobs} for work in works}


@pytest.mark.parametrize(
    ("cores", "num_jobs", "expected"),
    [(1, 1, 3 * 3 + 6), (2, 2, 6 + 3), (3, 3, 3 + 3), (3, 1, 9 + 3), (0, 100, 6)],
)
def test_jobs_start_when_processors_are_free_and_inputs_are_there(cores, num_jobs, expected):
    machine = Machine(cores=cores, num_jobs=num_jobs, has_gpus=False)
    assert schedule([FIRST, SECOND], of(FIRST, SECOND), machine) == expected


def test_the_workflow_takes_its_own_time_for_each_job():
    assert schedule([FIRST], of(FIRST), Machine(cores=1, num_jobs=1, has_gpus=False), overhead_s=0.5) == 10.5


def test_the_table_sums_what_is_measured_and_names_what_is_not():
    found = predict([FIRST, SECOND], RATES, Machine(cores=2, num_jobs=2, has_gpus=True))
    one, two = found.lines
    assert (one.num_jobs, one.processor_s, one.wall_s, one.gpu_s, one.disk) == (3, 9.0, 6.0, 0.0, 5.0)
    assert (two.processor_s, two.wall_s, two.gpu_s, two.flops) == (None, None, None, 8.0)
    assert (found.processor_s, found.wall_s, found.unknown) == (9.0, 6.0, ["two"])


def test_a_told_rate_gives_the_time_on_gpus():
    found = predict([FIRST, SECOND], RATES, Machine(cores=2, num_jobs=2, has_gpus=True), gpu_seconds={"b": 20.0})
    assert found.lines[1].wall_s == 10.0  # by two GPUs
    assert (found.gpu_s, found.unknown, found.wall_s) == (20.0, [], 16.0)


def test_without_gpus_processors_do_it():
    found = predict([FIRST, SECOND], RATES, Machine(cores=2, num_jobs=2, has_gpus=False, factor=2.0))
    assert found.lines[1].processor_s == 2 * (1.0 + 2.0 * 2.0)
    assert found.lines[1].gpu_s == 0.0
    assert found.wall_s == 12.0 + 5.0
