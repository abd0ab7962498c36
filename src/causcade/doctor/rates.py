"""How long a job takes and how much memory: rates that were measured, each with where and when, and the benchmark files of a run of this machine.

`rates.tsv` in this folder is the one place for rates that come with causcade. A job takes `start_s` processor seconds (loading libraries, mostly) and
`per_unit_s` for each unit of what it has to do. What a run on this machine took, as Snakemake wrote it to its `benchmarks/`, takes precedence: per
rule, its seconds over those that the shipped rates give for that same run.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from causcade.doctor.work import MB, Work
from causcade.errors import InputError

__all__ = ["Rate", "Rates", "Recorded", "Seconds", "memory_of", "rate_of", "read_rates", "read_recorded", "seconds_of"]

RATES = Path(__file__).with_name("rates.tsv")
KB_PER_NAME = 1000.0  # bytes of a cell's names, labels and metrics
BYTES_PER_PAIR = 16.0  # two copies of the sums in float64, for half of the square twice (measured: 2.7 GB in all at 14,142 genes)
NOT_RECORDED = ("NA", "-", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """What a job of a rule takes.

    Attributes
    ----------
    rule, unit
        The rule, and what its work is counted in; a rule that counts in one of two units, as the embedding does, has two rates.
    start_s, per_unit_s
        Processor seconds of a job whatever its size, and for each unit.
    base_mb, bytes_per_edge
        Memory of a job whatever its size, and for each edge that it holds.
    source
        What was measured, and where.
    """

    rule: str
    unit: str
    start_s: float
    per_unit_s: float
    base_mb: float
    bytes_per_edge: float
    source: str


Rates = Mapping[tuple[str, str], Rate]
"""Rates by rule and unit."""


class Seconds(NamedTuple):
    """Seconds of one job: of its processors, and by the clock. `is_recorded`: by a run of this machine."""

    processor: float
    wall: float
    is_recorded: bool


class Recorded(NamedTuple):
    """What Snakemake recorded of the jobs of a rule: seconds by the clock, processor seconds, largest memory in MB, each by job."""

    wall: dict[str, float]
    processor: dict[str, float]
    memory_mb: float


def read_rates(path: Path = RATES) -> dict[tuple[str, str], Rate]:
    """Read the rates that come with causcade, by rule and unit.

    Raises
    ------
    InputError
        If a value is missing or no number.
    """
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader((line for line in file if not line.startswith("#")), delimiter="\t")
        found = {}
        for row in rows:
            try:
                numbers = {key: float(row[key]) for key in ("start_s", "per_unit_s", "base_mb", "bytes_per_edge")}
                found[row["rule"], row["unit"]] = Rate(rule=row["rule"], unit=row["unit"], source=row["source"], **numbers)
            except (KeyError, TypeError, ValueError):
                raise InputError(f"{path}: expected numbers for rule {row.get('rule')!r}, found {row}. Restore the file.") from None
    return found


def rate_of(work: Work, rates: Rates) -> Rate | None:
    """Rate of a rule in the unit of its work; None where nobody measured it."""
    return rates.get((work.rule, work.unit))


def _value(text: str) -> float:
    return 0.0 if text in NOT_RECORDED else float(text)


def read_recorded(folder: Path) -> dict[str, Recorded]:
    """Read the benchmark files of a run, by rule: `<rule>.tsv`, or `<rule>/<job>.tsv` for rules of several jobs.

    Processor seconds are sampled by Snakemake and may lack the last of a job; where they are not told, the seconds of the clock stand for them.

    Parameters
    ----------
    folder
        `results/<run>/benchmarks`; nothing is found where it is absent.

    Raises
    ------
    InputError
        If a file is not one of Snakemake's.
    """
    found: dict[str, Recorded] = {}
    for path in sorted(folder.rglob("*.tsv")):
        parts = path.relative_to(folder).with_suffix("").parts
        try:
            with path.open(encoding="utf-8", newline="") as file:
                rows = list(csv.DictReader(file, delimiter="\t"))
            wall = sum(float(row["s"]) for row in rows) / len(rows)
            processor = sum(_value(row.get("cpu_time") or "") for row in rows) / len(rows)
            memory = max(_value(row.get("max_rss") or "") for row in rows)
        except (KeyError, ValueError, ZeroDivisionError, OSError):
            raise InputError(f"{path}: expected a benchmark file of Snakemake (s, max_rss, cpu_time), found another. Remove it.") from None
        rule, job = parts[0], "/".join(parts[1:]) or parts[0]
        before = found.setdefault(rule, Recorded({}, {}, 0.0))
        before.wall[job] = wall
        before.processor[job] = processor or wall
        found[rule] = before._replace(memory_mb=max(before.memory_mb, memory))
    return found


def _shipped(rate: Rate, amount: float, factor: float) -> float:
    return factor * (rate.start_s + rate.per_unit_s * amount)


def seconds_of(
    work: Work,
    rates: Rates,
    recorded: Mapping[str, Recorded],
    then: Iterable[Work] = (),
    *,
    factor: float = 1.0,
) -> dict[str, Seconds] | None:
    """Seconds of each job of a rule; None where nobody measured it.

    Parameters
    ----------
    work
        The jobs.
    rates
        Shipped rates; they are rates of processors, and tell nothing of a GPU.
    recorded
        What a run of this machine took; empty: no such run.
    then
        Work of that run.
    factor
        How much longer this machine takes than the one of the shipped rates.
    """
    rate = rate_of(work, rates)
    if rate is None:
        return None
    plain = {name: _shipped(rate, amount, factor) for name, amount in work.jobs.items()}
    ratios = _recorded_ratios(work, rate, recorded, then, factor)
    if ratios is not None:
        return {name: Seconds(value * ratios[0], value * ratios[1], is_recorded=True) for name, value in plain.items()}
    if work.gpus:
        return None
    return {name: Seconds(value, value / work.threads, is_recorded=False) for name, value in plain.items()}


def _same_rule(work: Work, then: Iterable[Work]) -> Work | None:
    """Work of the rule in another run, where it ran on the same kind of processor."""
    return next((other for other in then if other.rule == work.rule and (other.gpus > 0) == (work.gpus > 0)), None)


def _recorded_ratios(work: Work, rate: Rate, recorded: Mapping[str, Recorded], then: Iterable[Work], factor: float) -> tuple[float, float] | None:
    """Divide recorded seconds, of processors and by the clock, by the processor seconds of the shipped rate for the same jobs."""
    seen, before = recorded.get(work.rule), _same_rule(work, then)
    if seen is None or before is None:
        return None
    names = set(seen.wall) & set(before.jobs)
    # Where no name is shared, as after another cut in shards, the average job stands for all.
    amounts = [before.jobs[name] for name in names] or list(before.jobs.values())
    expected = sum(_shipped(rate, amount, factor) for amount in amounts) / len(amounts)
    jobs = names or set(seen.wall)
    processor, wall = (sum(seconds[name] for name in jobs) / len(jobs) for seconds in (seen.processor, seen.wall))
    return processor / expected, wall / expected


def memory_of(work: Work, rates: Rates, recorded: Mapping[str, Recorded], then: Iterable[Work] = ()) -> float | None:
    """Bytes of memory of the largest job of a rule; None where nobody measured it.

    What a run of this machine needed counts where the job is of the same size.
    """
    rate = rate_of(work, rates)
    if rate is None:
        return None
    plain = MB * (rate.base_mb + work.model_mb) + rate.bytes_per_edge * work.edges + BYTES_PER_PAIR * work.pairs + KB_PER_NAME * work.cells
    seen = recorded.get(work.rule)
    before = _same_rule(work, then)
    if seen is not None and seen.memory_mb > 0 and before is not None and max(before.jobs.values()) >= 0.99 * max(work.jobs.values()):
        return seen.memory_mb * MB
    return plain
