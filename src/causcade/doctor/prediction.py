"""What a run will take, stage by stage: processor time, time by the clock, GPU-hours, memory, disk.

Time by the clock is that of a schedule: jobs start in the order of the rules, as soon as all jobs that they wait for are done and processors are
free. Nothing waits in a queue there, and storage is as fast as it was where the rates were measured.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from causcade.doctor.rates import Rates, Recorded, Seconds, memory_of, seconds_of
from causcade.doctor.work import Work

__all__ = ["Machine", "Prediction", "StageLine", "predict", "schedule"]

HOUR_S = 3600.0
OVERHEAD = "snakemake"
"""Name of the rate of what Snakemake itself takes for a job."""


class Machine(NamedTuple):
    """What runs the jobs.

    Attributes
    ----------
    cores
        Processors that all jobs share; 0: each job has its own, as on a cluster.
    num_jobs
        Most jobs at a time.
    has_gpus
        Whether jobs that ask for GPUs get them.
    factor
        How much longer a processor takes than the one of the shipped rates.
    """

    cores: int
    num_jobs: int
    has_gpus: bool
    factor: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StageLine:
    """A line of the table; None where nobody measured it.

    Attributes
    ----------
    stage
        Its name.
    num_jobs
        Jobs of all its rules.
    amount, unit
        What the rule of that name has to do, over all jobs; of a stage without such a rule, the one that takes longest.
    processor_s, wall_s
        Processor seconds, and seconds by the clock if the stage ran alone.
    gpu_s
        Seconds of GPUs: of each job, times its GPUs; 0 where it uses none.
    memory, disk
        Bytes: memory of the largest job, disk of what stays.
    flops
        Floating-point operations of the jobs that would run on GPUs.
    is_recorded
        Whether all of its time comes from a run of this machine.
    """

    stage: str
    num_jobs: int
    amount: float
    unit: str
    processor_s: float | None
    wall_s: float | None
    gpu_s: float | None
    memory: float | None
    disk: float
    flops: float
    is_recorded: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """The table, and its totals; sums leave out what is not measured (`unknown`: names of those stages)."""

    lines: list[StageLine]
    processor_s: float
    wall_s: float
    gpu_s: float
    memory: float
    disk: float
    unknown: list[str]


def schedule(works: Sequence[Work], seconds: Mapping[str, Mapping[str, Seconds]], machine: Machine, overhead_s: float = 0.0) -> float:
    """Seconds by the clock until the last job is done.

    Parameters
    ----------
    works
        Rules in an order in which they can run; those without seconds take no time, and nothing waits for a rule that is not among them.
    seconds
        Of each job, by rule and job.
    machine
        What runs them.
    overhead_s
        Seconds that the workflow takes for each job.
    """
    finished: dict[str, float] = {}
    cores = machine.cores or 1 << 30
    running: list[tuple[float, int, int]] = []  # end, number, cores
    numbers, free, now = itertools.count(), cores, 0.0
    waiting = [(work, name) for work in works for name in work.jobs]
    left = {work.rule: len(work.jobs) for work in works}
    owner: dict[int, str] = {}
    while waiting or running:
        started = []
        for place, (work, name) in enumerate(waiting):
            needed = min(work.threads, cores)
            if len(running) >= machine.num_jobs or free < 1:
                break
            if needed > free or any(left.get(rule) for rule in work.after):
                continue
            found = seconds.get(work.rule, {}).get(name)
            took = 0.0 if found is None else found.wall * work.threads / needed
            number = next(numbers)
            heapq.heappush(running, (now + took + overhead_s, number, needed))
            owner[number] = work.rule
            free -= needed
            started.append(place)
        for place in reversed(started):
            waiting.pop(place)
        if not running:
            break
        now, number, needed = heapq.heappop(running)
        free += needed
        left[owner[number]] -= 1
        finished[owner[number]] = now
    return max(finished.values(), default=0.0)


def predict(
    works: Sequence[Work],
    rates: Rates,
    machine: Machine,
    *,
    recorded: Mapping[str, Recorded] | None = None,
    then: Sequence[Work] = (),
    gpu_seconds: Mapping[str, float] | None = None,
) -> Prediction:
    """Predict what a run takes.

    Parameters
    ----------
    works
        Its jobs.
    rates
        Shipped rates.
    machine
        What runs them.
    recorded, then
        Benchmark files of a run of this machine, and its jobs.
    gpu_seconds
        Seconds of all jobs of a rule on one GPU, where its rate was told.
    """
    works = [work if machine.has_gpus else replace(work, gpus=0) for work in works]
    told = gpu_seconds or {}
    seconds: dict[str, dict[str, Seconds]] = {}
    for work in works:
        found = seconds_of(work, rates, recorded or {}, then, factor=machine.factor)
        if found is None and work.gpus and work.rule in told and work.amount > 0:
            found = {name: Seconds(0.0, told[work.rule] * amount / work.amount / work.gpus, is_recorded=False) for name, amount in work.jobs.items()}
        if found is not None:
            seconds[work.rule] = found
    overhead_s = rates[OVERHEAD, ""].start_s * machine.factor if (OVERHEAD, "") in rates else 0.0
    lines = [
        _line(stage, [work for work in works if work.stage == stage], seconds, rates, recorded or {}, then, machine, overhead_s)
        for stage in dict.fromkeys(work.stage for work in works)
    ]
    return Prediction(
        lines=lines,
        processor_s=sum(one.processor for of_rule in seconds.values() for one in of_rule.values()) + overhead_s * sum(len(w.jobs) for w in works),
        wall_s=schedule(works, seconds, machine, overhead_s),
        gpu_s=sum(line.gpu_s or 0.0 for line in lines),
        memory=max((line.memory or 0.0 for line in lines), default=0.0),
        disk=sum(line.disk for line in lines),
        unknown=[line.stage for line in lines if line.wall_s is None],
    )


def _line(
    stage: str,
    works: list[Work],
    seconds: Mapping[str, Mapping[str, Seconds]],
    rates: Rates,
    recorded: Mapping[str, Recorded],
    then: Sequence[Work],
    machine: Machine,
    overhead_s: float,
) -> StageLine:
    # the stage's namesake, or else what takes longest
    largest = max(works, key=lambda work: (work.rule == stage, sum(one.processor for one in seconds.get(work.rule, {}).values())))
    is_known = all(work.rule in seconds for work in works)
    on_gpu = [work for work in works if work.gpus]
    gpu_s = None if any(work.rule not in seconds for work in on_gpu) else sum(
        work.gpus * one.wall for work in on_gpu for one in seconds[work.rule].values()
    )  # fmt: skip
    memory = [memory_of(work, rates, recorded, then) for work in works]
    found = [one for work in works for one in seconds.get(work.rule, {}).values()]
    return StageLine(
        stage=stage,
        num_jobs=sum(len(work.jobs) for work in works),
        amount=largest.amount,
        unit=largest.unit,
        processor_s=sum(one.processor for one in found) if is_known else None,
        wall_s=schedule(works, seconds, machine, overhead_s) if is_known else None,
        gpu_s=gpu_s,
        memory=None if None in memory else max((value for value in memory if value is not None), default=0.0),
        disk=sum(work.disk for work in works),
        flops=sum(work.flops for work in on_gpu),
        is_recorded=bool(found) and all(one.is_recorded for one in found),
    )
