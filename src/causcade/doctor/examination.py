"""The text of `causcade doctor`, put together from what the other modules of this package find."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from causcade.config import Config, parse_config
from causcade.devices import nodes_of
from causcade.doctor import gpu_probes
from causcade.doctor.machine import Gpus, describe_gpus, describe_machine, find_gpus, what_runs
from causcade.doctor.prediction import Machine, Prediction, predict
from causcade.doctor.probes import all_reduce, disk_rate, processor_factor
from causcade.doctor.profile import GPU_RULES, Profile, read_profile
from causcade.doctor.rates import Rates, Recorded, read_rates, read_recorded
from causcade.doctor.sizes import Sizes, sizes_of
from causcade.doctor.table import arithmetic, bytes_in_words, duration, table
from causcade.doctor.work import GIB, Work, works_of
from causcade.embedding_cost import cost_in_words
from causcade.errors import InputError
from causcade.files import read_json
from causcade.plates import Plate, list_plates
from causcade.validation import merge

__all__ = ["examine"]

MOST_JOBS = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class _Measured:
    """What times are worked out from: the shipped rates, and a run of this machine."""

    rates: Rates
    recorded: dict[str, Recorded]
    then: list[Work]
    folder: Path | None


def examine(
    config: Config,
    rate: float | None = None,
    *,
    profile: str | None = None,
    measured: Path | None = None,
    measure: bool = False,
    atlas: Config | None = None,
) -> str:
    """Text of `causcade doctor`: the machine, then what the configuration will need on it, or where a profile sends its jobs.

    Parameters
    ----------
    config
        The configuration.
    rate
        Measured floating-point operations a second of the model that embeds cells, for its time on one GPU.
    profile
        Name or path of a Snakemake profile; disk and sums over processes are then measured too.
    measured
        Folder of a finished run of this machine (`results/<run>`) whose benchmark files tell how fast it is; None: that of this run, if it is there.
    measure
        Whether to measure for some seconds how fast this processor is and, where there is one, a GPU.
    atlas
        Configuration of the full atlas, for what it would take beside this run.

    Raises
    ------
    InputError
        If a plate, the profile or the folder of a run cannot be read.
    """
    gpus = find_gpus()
    lines = [*describe_machine(), *describe_gpus(gpus), *what_runs(config, gpus)]
    chosen = None if profile is None else read_profile(profile)
    free = _free(config)
    lines.append(f"disk: {free / GIB:.0f} GiB free at {config.results}")
    if chosen is not None:
        lines += [*_disk_in_words(config), _reduce_in_words(gpus)]
    if not config.has_cells:
        lines += ["", f"run {config.run}: a table of conditions; its time and memory are not predicted, since no rate was measured for such a run"]
        return "\n".join(lines)
    plates = list_plates(config)
    sizes = sizes_of(config, plates)
    works = works_of(config, sizes)
    lines += ["", *_run_in_words(config, plates, sizes), *_disk_of_run(config, sizes, works)]
    lines += cost_in_words(config, round(sizes.num_cells), sizes.genes_per_cell, _counted_controls(config, sizes), rate)
    if sum(work.disk for work in works) + _shards(sizes, works) > free:
        lines.append(f"warning: that is more disk than is free at {config.results}. Set `results` to a larger disk.")
    if not works:
        return "\n".join(lines)
    known = _what_was_measured(config, measured, works, has_gpus=bool(gpus.names))
    factor, told = _factor(known.rates, measure=measure)
    machine = _machine(chosen, gpus, config, factor)
    lines += ["", *_profile_in_words(chosen, config, works), *told]
    on_gpu: dict[str, float] = gpu_probes.measure(config, sizes) if measure and gpus.names and config.backend != "cpu" else {}
    lines += _gpu_rates_in_words(on_gpu)
    on_gpu |= {} if rate is None else {"embedding": rate}
    seconds = gpu_probes.gpu_seconds(works, sizes, on_gpu)
    found = predict(works, known.rates, machine, recorded=known.recorded, then=known.then, gpu_seconds=seconds)
    lines += [*_where_from(known, machine), *table(found, sizes)]
    if machine.has_gpus:
        lines += arithmetic(found, config, gpus.names)
    if found.unknown:
        plain = predict(works, known.rates, machine._replace(has_gpus=False), recorded=known.recorded, then=known.then)
        lines.append(f"the same without GPUs: {duration(plain.processor_s)} of processor time, {duration(plain.wall_s)} by the clock")
    lines += _both_choices(config, sizes, known, machine)
    if atlas is not None:
        lines += _atlas_in_words(atlas, known.rates, factor)
    return "\n".join(lines)


def _free(config: Config) -> int:
    folder = Path(config.results)
    return shutil.disk_usage(next(place for place in (folder, *folder.absolute().parents) if place.exists())).free


def _disk_in_words(config: Config) -> list[str]:
    found = disk_rate(Path(config.results))
    cached = "read from memory" if found.is_cached else "read after asking the system to forget it, which it may not do wholly"
    return [f"disk rate: {found.written / 1e6:,.0f} MB/s written to the end, {found.read / 1e6:,.0f} MB/s {cached} (100 MB, removed again)"]


def _reduce_in_words(gpus: Gpus) -> str:
    found = all_reduce(len(gpus.names))
    of = f"{found.num_processes} GPU(s)" if gpus.names else f"{found.num_processes} processes on processors, since there is no GPU for NCCL"
    if found.problem:
        return f"sums over processes ({found.backend}, {of}): FAIL ({found.problem}); training on several GPUs will not run"
    return f"sums over processes ({found.backend}, {of}): right, {found.rate / 1e9:,.2f} GB/s to and from each"


def _counted_controls(config: Config, sizes: Sizes) -> int | None:
    has_counted = config.is_simulated or (Path(config.results) / config.run / "check.json").is_file()
    return round(sizes.num_controls) if has_counted else None


def _run_in_words(config: Config, plates: Sequence[Plate], sizes: Sizes) -> list[str]:
    genes = f"{sizes.num_cells:,.0f} cells, up to {sizes.num_genes} genes in the panel"
    if config.is_simulated:
        return [f"run {config.run}: the simulated screen, {len(plates)} plates, about {genes}"]
    absent = [plate for plate in plates if not Path(plate.counts).exists()]
    told = len(sizes.shapes) - (len(plates) - len(absent))
    where = f"{len(absent)} not there" + (f", the plate table tells the cells of {told}" if told else "")
    lines = [f"run {config.run}: {len(plates)} plates ({where}), {genes}"]
    if len(sizes.shapes) < len(plates):
        lines.append(f"warning: the size of {len(plates) - len(sizes.shapes)} plate(s) is not known; what follows leaves them out")
    return lines + [f"assumed: {sentence}" for sentence in sizes.assumed if sizes.shapes]


def _shards(sizes: Sizes, works: Sequence[Work]) -> float:
    """Bytes that the sums of shards take until they are added up."""
    number = sum(len(work.jobs) for work in works if work.rule == "coexpression_moments_shard")
    return number * 4.0 * sizes.num_genes * (sizes.num_genes + 1)


def _disk_of_run(config: Config, sizes: Sizes, works: Sequence[Work]) -> list[str]:
    if not works:
        return []
    by_stage: dict[str, float] = {}
    lines_disk = 0.0
    for work in works:
        if work.rule.startswith("coexpression_lines"):
            lines_disk += work.disk
        else:
            by_stage[work.stage] = by_stage.get(work.stage, 0.0) + work.disk
    parts = ", ".join(f"{stage} {bytes_in_words(size)}" for stage, size in by_stage.items() if size > 0.005 * sum(by_stage.values()))
    lines = [f"it needs about {bytes_in_words(sum(by_stage.values()))} of disk: {parts}"]
    if shards := _shards(sizes, works):
        lines.append(
            f"and up to {bytes_in_words(shards)} more until the shards of plates above {config.coexpression.shard_cells:,} cells are added up"
        )
    if config.coexpression.per_line:
        lines.append(f"and {bytes_in_words(lines_disk)} for {sizes.num_lines} cell lines, since coexpression.per_line is on")
    return lines


def _what_was_measured(config: Config, folder: Path | None, works: list[Work], *, has_gpus: bool = False) -> _Measured:
    """Rates, and the benchmark files of a run: the one that was named, or an earlier one of this run.

    Without a manifest, as after a run that was stopped, it is taken to be of this configuration and of the GPUs that are here.
    """
    rates = read_rates()
    place = Path(config.results) / config.run if folder is None else folder
    recorded = read_recorded(place / "benchmarks")
    if not recorded:
        if folder is not None:
            raise InputError(f"{folder}: expected a run with files benchmarks/*.tsv, found none. Give a folder such as results/simulated.")
        return _Measured(rates=rates, recorded={}, then=[], folder=None)
    manifest = place / "manifest.json"
    then = works if has_gpus else [_on_processors(work) for work in works]
    if manifest.is_file():
        value: dict[str, Any] = read_json(manifest)
        # a run of another version may lack keys, or have others; what is the same now is taken from it
        known = {key: section for key, section in value["config"].items() if key in Config.model_fields}
        earlier = parse_config(merge(config.model_dump(mode="json"), known))
        then = works_of(earlier, sizes_of(earlier))
        if value.get("device", {}).get("kind") == "cpu":
            then = [_on_processors(work) for work in then]
    elif folder is not None:
        raise InputError(f"{manifest}: expected what the run was made from, found no file. Let the run finish (`snakemake`), or name another.")
    return _Measured(rates=rates, recorded=recorded, then=then, folder=place)


def _on_processors(work: Work) -> Work:
    from dataclasses import replace

    return replace(work, gpus=0)


def _factor(rates: Rates, *, measure: bool) -> tuple[float, list[str]]:
    if not measure:
        return 1.0, []
    factor, found = processor_factor(rates)
    parts = ", ".join(f"{name.removeprefix('probe_')} {value:.2f}" for name, value in found.items())
    return factor, [f"measured now: a processor of this machine takes {factor:.2f} times as long as that of the shipped rates ({parts})"]


def _machine(profile: Profile | None, gpus: Gpus, config: Config, factor: float) -> Machine:
    if profile is not None and profile.is_cluster:
        return Machine(cores=0, num_jobs=profile.num_jobs or MOST_JOBS, has_gpus=bool(profile.gpus(config)), factor=factor)
    cores = (profile.cores if profile is not None else None) or os.cpu_count() or 1
    return Machine(cores=cores, num_jobs=cores, has_gpus=bool(gpus.names) and config.backend != "cpu", factor=factor)


def _profile_in_words(profile: Profile | None, config: Config, works: Sequence[Work]) -> list[str]:
    if profile is None:
        return []
    jobs = "as many jobs at a time as it likes" if profile.num_jobs is None else f"{profile.num_jobs} jobs at a time"
    if not profile.is_cluster:
        return [f"profile {profile.path}: jobs run on this machine, {profile.cores} processors"]
    asked = [f"{key} {value}" for key, value in profile.defaults.items()]
    lines = [f"profile {profile.path}: jobs go to {profile.executor}, {jobs}; each asks for {', '.join(asked) or 'what its rule says'}"]
    there = {work.rule for work in works}
    gpus = {rule: number for rule, number in profile.gpus(config).items() if rule in there}
    if gpus:
        lines.append("it asks for GPUs for " + ", ".join(f"{rule} ({number})" for rule, number in gpus.items()))
    else:
        lines.append("it asks for no GPU")
    if profile.partitions:
        lines.append("it chooses among partitions: " + ", ".join(f"{name} ({number} GPUs a node)" for name, number in profile.partitions.items()))
        most = max(profile.partitions.values())
        each = {rule: number // nodes_of(config, GPU_RULES[rule]) for rule, number in gpus.items()}
        lines += [
            f"will not run there: {rule} asks for {number} GPUs of a node, which has {most} at most" for rule, number in each.items() if number > most
        ]
    if profile.executor == "slurm" and shutil.which("sbatch") is None:
        lines.append("will not run from here: sbatch is not found on this machine; start Snakemake on a login node of the cluster")
    return lines


def _gpu_rates_in_words(rates: gpu_probes.GpuRates) -> list[str]:
    units = {"embedding": ("embedding", 1e12, "TFLOP/s"), "sums": ("sums of products", 1.0, "cells/s")}
    said = [f"{units[name][0]} {value / units[name][1]:,.4g} {units[name][2]}" for name, value in rates.items()]
    return [f"measured now, on one GPU, without reading cells: {', '.join(said)}"] if said else []


def _where_from(known: _Measured, machine: Machine) -> list[str]:
    where = "each job with processors of its own" if machine.cores == 0 else f"{machine.cores} processors"
    lines = [f"what it will take, on {where}, without waiting in a queue and without downloads:"]
    lines.append("(processor times by rates measured on two cores of an x86-64 machine, src/causcade/doctor/rates.tsv)")
    if known.folder is not None:
        lines.append(f"(stages with a star: as {known.folder} took on this machine)")
    return lines


def _both_choices(config: Config, sizes: Sizes, known: _Measured, machine: Machine) -> list[str]:
    """Compare embedding the controls only with embedding all cells."""
    if config.embedding.source != "tx1" or config.is_simulated:
        return []
    lines = []
    for cells in ("controls", "all"):
        other = config.model_copy(update={"embedding": config.embedding.model_copy(update={"cells": cells})})
        works = [work for work in works_of(other, sizes) if work.rule == "embedding"]
        found = predict(works, known.rates, machine._replace(has_gpus=False), recorded=known.recorded, then=known.then)
        lines.append(f"`embedding: {{cells: {cells}}}`: {_in_words(found)} for the embedding, on processors alone")
    return lines


def _in_words(found: Prediction) -> str:
    return f"{duration(found.processor_s)} of processor time, {bytes_in_words(found.disk)} of disk"


def _atlas_in_words(atlas: Config, rates: Rates, factor: float) -> list[str]:
    """Say what the full atlas would take, with controls embedded and with all cells."""
    sizes = sizes_of(atlas)
    machine = Machine(cores=0, num_jobs=MOST_JOBS, has_gpus=False, factor=factor)
    lines = [f"the full atlas ({sizes.num_cells:,.0f} cells, {sizes.num_genes:,} genes) on processors alone, by the same rates; never run:"]
    for cells in ("controls", "all"):
        other = atlas.model_copy(update={"embedding": atlas.embedding.model_copy(update={"cells": cells})})
        found = predict(works_of(other, sizes), rates, machine)
        lines.append(f"  embedding of {cells}: {_in_words(found)}, {bytes_in_words(found.memory)} of memory for the largest job")
    return ["", *lines]
