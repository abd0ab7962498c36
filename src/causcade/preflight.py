"""What the jobs of a run ask of a Slurm cluster, against what it has: all mistakes together, before anything is submitted.

A job that no node can take waits in Slurm's queue for ever; a wrong partition or account is told job by job, in the middle of a run. So the requests
are compared with the cluster first (:mod:`causcade.cluster`), and Slurm is asked for its own opinion of one job of each kind (`sbatch --test-only`,
which submits nothing). Requests come from the workflow, which this module knows nothing of.
"""

from __future__ import annotations

import importlib.util
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from causcade.cluster import Cluster, Partition, SilentError, answer_of, look_at_cluster
from causcade.errors import ConfigError

__all__ = ["Request", "check_requests", "cpu_build_of_torch", "mistakes_of", "request_of"]

PROFILE = "slurm-gpu/profile.yaml"
GPUS_PER_NODE = re.compile(r"--gpus-per-node[= ](?:[\w.-]+:)?(\d+)")
OTHER_CLUSTER = ("cluster", "clusters", "slurm_cluster")
SHARED_STAGES = ("basal", "causal", "pretraining")  # whose GPUs are those of `processes`


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What the jobs of one rule ask for, on each node: GPUs, processors, memory in MB, and time in minutes; None: not said.

    `extra` is what else its submission says; `elsewhere`: it goes to another cluster, which this one does not know.
    """

    rule: str
    partition: str | None = None
    account: str | None = None
    nodes: int = 1
    gpus: int = 0
    gpu_model: str | None = None
    cpus: int = 1
    memory_mb: int = 0
    minutes: int = 0
    over_nodes: bool = False
    processes: int = 1
    extra: tuple[str, ...] = ()
    elsewhere: bool = False


def request_of(rule: str, resources: Mapping[str, Any], threads: int) -> Request:
    """Read the resources of a job, in the words of Snakemake's Slurm plugin."""

    def number(name: str, default: int = 0) -> int:
        value = resources.get(name)
        return int(value) if isinstance(value, (int, float)) else default

    def text(name: str) -> str | None:
        value = resources.get(name)
        return None if value in (None, "") else str(value)

    extra = text("slurm_extra") or ""
    per_node = GPUS_PER_NODE.search(extra)
    options = [f"--{name}={value}" for name in ("constraint", "qos") if (value := text(name)) is not None]
    return Request(
        rule=rule, partition=text("slurm_partition"), account=text("slurm_account"), nodes=number("nodes", 1), gpu_model=text("gpu_model"),
        gpus=int(per_node.group(1)) if per_node else number("gpu"), cpus=number("cpus_per_task", threads), memory_mb=number("mem_mb"),
        minutes=number("runtime"), over_nodes=text("mpi") is not None, processes=number("processes", 1),
        extra=(*shlex.split(GPUS_PER_NODE.sub("", extra)), *options), elsewhere=any(text(name) for name in OTHER_CLUSTER),
    )  # fmt: skip


def mistakes_of(requests: Iterable[Request], cluster: Cluster, partition_file: Mapping[str, Any] | None = None) -> list[str]:
    """Return every request that the cluster cannot meet, as a sentence that says what to write instead.

    Parameters
    ----------
    requests
        What the rules of the run ask for.
    cluster
        What there is.
    partition_file
        Limits by partition, from which the plugin chooses where a request names none; None: there is no such file.
    """
    requests = list(requests)
    mistakes = [
        f"{name} in the partition file: expected one of the cluster's partitions ({_listed(cluster.partitions)}), found another name. Correct it."
        for name in partition_file or {}
        if name not in cluster.partitions
    ]
    mistakes += _account_mistakes(requests, cluster)
    mistakes += [
        f"{request.rule}: expected one GPU for each of its {request.processes} processes, found {request.gpus} asked for. `processes` in the "
        f"configuration decides: correct it there, and take `gpu` of {request.rule} out of `set-resources`."
        for request in requests
        if request.processes > 1 and request.gpus not in (0, request.processes)
    ]
    by_partition: dict[str | None, list[Request]] = {}
    for request in requests:
        by_partition.setdefault(request.partition, []).append(request)
    for name, asked in by_partition.items():
        if name is None and partition_file is not None:
            mistakes += [
                f"{request.rule}: expected a named partition for a stage over several nodes, found none (the partition file cannot choose one). "
                f"Write `set-resources: {{{request.rule}: {{slurm_partition: NAME}}}}` in {PROFILE}."
                for request in asked
                if request.over_nodes
            ]
            continue
        partition = next((found for found in cluster.partitions.values() if (found.is_default if name is None else found.name == name)), None)
        if partition is None:
            mistakes.append(_wrong_partition(name, asked, cluster))
        elif not partition.is_up:
            mistakes.append(
                f"slurm_partition: expected a partition that takes jobs, found {partition.name}, which is down. Write another in {PROFILE}."
            )
        else:
            mistakes += _too_much(asked, partition, cluster)
    return mistakes


def _wrong_partition(name: str | None, asked: Sequence[Request], cluster: Cluster) -> str:
    with_gpus = _listed(partition.name for partition in cluster.partitions.values() if partition.most_gpus)
    found = "none, and the cluster has no default" if name is None else repr(name)
    return (
        f"slurm_partition: expected one of {_listed(cluster.partitions)} (with GPUs: {with_gpus}), found {found} ({_rules(asked)}). "
        f"Write one of them in `default-resources` of {PROFILE}."
    )


def _account_mistakes(requests: Sequence[Request], cluster: Cluster) -> list[str]:
    """Accounts that are not the user's, or that the cluster cannot know."""
    mistakes = []
    for account in sorted({request.account for request in requests if request.account is not None}):
        names = [part for part in re.split(r"[,\s]+", account) if part]
        if not cluster.has_accounting:
            mistakes.append(f"slurm_account: expected none, since this cluster keeps no accounts, found {account!r}. Remove it from {PROFILE}.")
            continue
        known = {name.lower() for name in cluster.accounts or names}
        if wrong := [name for name in names if name.lower() not in known]:
            mistakes.append(
                f"slurm_account: expected one of your accounts ({_listed(cluster.accounts or [])}), found {_listed(wrong)}. Correct it in {PROFILE}."
            )
    if cluster.insists and cluster.accounts == [] and any(request.account is None for request in requests):
        mistakes.append(
            "slurm_account: expected an account, without which this cluster takes no job, found none, and none of yours. Ask whoever runs it for "
            f"one, and write it in `default-resources` of {PROFILE}."
        )
    return mistakes


def _too_much(asked: Sequence[Request], partition: Partition, cluster: Cluster) -> list[str]:
    """List the requests that no node of a partition can meet."""
    mistakes = []
    for request in asked:
        override = f"set-resources: {{{request.rule}: {{"
        nodes = [node for node in partition.nodes if node.num_gpus(request.gpu_model) >= request.gpus]
        if partition.nodes and not nodes:
            mistakes.append(_too_many_gpus(request, partition, cluster))
            continue
        where = f"a node of partition {partition.name}" + (f" with {request.gpus} GPUs" if request.gpus else "")
        most_cpus, most_mb = (max((getattr(node, name) for node in nodes), default=0) for name in ("cpus", "memory_mb"))
        fits = [node for node in nodes if node.cpus >= request.cpus and node.memory_mb >= request.memory_mb]
        if nodes and request.cpus > most_cpus:
            mistakes.append(
                f"{request.rule}: expected at most {most_cpus} processors on {where}, found {request.cpus}. "
                f"Write `set-threads: {{{request.rule}: {most_cpus}}}` in {PROFILE}."
            )
        elif nodes and request.memory_mb > most_mb:
            mistakes.append(
                f"{request.rule}: expected at most {most_mb} MB on {where}, found {request.memory_mb}. Take a partition with larger nodes, or write "
                f"`{override}mem_mb: {most_mb}}}}}` in {PROFILE}."
            )
        elif nodes and not fits:
            mistakes.append(
                f"{request.rule}: expected {request.cpus} processors and {request.memory_mb} MB together on {where}, found no such node. "
                f"Ask for less of one of them in {PROFILE}."
            )
        elif len(fits) < request.nodes:
            mistakes.append(
                f"{request.rule}: expected at most {len(fits)} such nodes in partition {partition.name}, found `nodes: {request.nodes}` in the "
                "configuration. Lower it, or take another partition."
            )
        if partition.max_minutes is not None and request.minutes > partition.max_minutes:
            mistakes.append(
                f"{request.rule}: expected at most {partition.max_minutes} minutes in partition {partition.name}, found {request.minutes}. Take a "
                f"partition for longer jobs, or write `{override}runtime: {partition.max_minutes}}}}}` in {PROFILE}."
            )
    return mistakes


def _too_many_gpus(request: Request, partition: Partition, cluster: Cluster) -> str:
    """Say what a request for GPUs should be instead."""
    most = max((node.num_gpus(request.gpu_model) for node in partition.nodes), default=0)
    found = f"{request.gpus} GPU{'s' * (request.gpus > 1)}" + (f" of model {request.gpu_model}" if request.gpu_model else "")
    if not most:
        models = sorted({model for node in partition.nodes for model in node.gpus if model})
        others = _listed(other.name for other in cluster.partitions.values() if other.most_gpus)
        what = f"one of the models {_listed(models)}" if request.gpu_model and models else f"no GPU in partition {partition.name}, which has none"
        remedy = (
            "Correct `gpu_model`" if request.gpu_model and models else f"Take a partition with GPUs ({others}) in {PROFILE}, or write `backend: cpu`"
        )
        return f"{request.rule}: expected {what}, found {found} asked for. {remedy}."
    remedy = f"write `set-resources: {{{request.rule}: {{gpu: {most}}}}}` in {PROFILE}"
    if request.rule in SHARED_STAGES:
        remedy = f"write `{request.rule}: {{processes: {most}}}` in the configuration, and `nodes` for more"
    return (
        f"{request.rule}: expected at most {most} GPUs on a node of partition {partition.name}, found {found} asked for. Take a partition "
        f"with larger nodes, or {remedy}."
    )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def _rules(requests: Sequence[Request]) -> str:
    """Name the rules that ask, some of them where there are many."""
    names = list(dict.fromkeys(request.rule for request in requests))
    return f"rule {names[0]}" if len(names) == 1 else f"{len(names)} rules, such as {names[0]}"


def _refusals(requests: Iterable[Request], options: Sequence[str]) -> list[str]:
    """Slurm's own opinion of one job of each partition, account and further options."""
    found = []
    kinds: dict[tuple[str | None, str | None, tuple[str, ...]], Request] = {}
    for request in requests:
        kinds.setdefault((request.partition, request.account, request.extra), request)
    for request in kinds.values():
        command = ["sbatch", "--test-only", f"--nodes={request.nodes}", f"--cpus-per-task={request.cpus}", *request.extra, *options]
        command += [f"--partition={request.partition}"] if request.partition else []
        command += [f"--account={request.account}"] if request.account else []
        command += [f"--time={request.minutes}"] if request.minutes else []
        command += [f"--mem={request.memory_mb}"] if request.memory_mb else []
        how = "gpus-per-node" if request.over_nodes else "gpus"
        command += [f"--{how}={request.gpu_model + ':' if request.gpu_model else ''}{request.gpus}"] if request.gpus else []
        try:
            answer_of([*command, "--wrap=true"])
        except SilentError as error:
            found.append(f"a job of rule {request.rule}: expected Slurm to take it, {error}. Correct what it names in {PROFILE}.")
    return found


def check_requests(requests: Iterable[Request], *, partition_file: str | Path | None = None, options: Sequence[str] = ()) -> None:
    """Compare what the jobs ask for with the cluster that Slurm describes.

    Parameters
    ----------
    requests
        What the rules of the run ask for; equal ones are looked at once.
    partition_file
        File of the partitions' limits (`slurm-partition-config`).
    options
        What else is given to each submission, such as a QOS.

    Raises
    ------
    ConfigError
        With every mistake, or because Slurm does not answer.
    """
    requests = [request for request in dict.fromkeys(requests) if not request.elsewhere]
    limits = None
    if partition_file is not None:
        limits = (yaml.safe_load(Path(partition_file).read_text(encoding="utf-8")) or {}).get("partitions", {})
    named = [request for request in requests if request.partition is not None or limits is None]
    mistakes = mistakes_of(requests, look_at_cluster(), limits) or _refusals(named, options)
    if mistakes:
        raise ConfigError(list(dict.fromkeys(mistakes)), "what the jobs ask of Slurm")


def cpu_build_of_torch() -> str | None:
    """Version of the torch that is installed here, if it is built for CPUs; else None. Torch is not loaded for it."""
    spec = importlib.util.find_spec("torch")
    file = Path(spec.origin).with_name("version.py") if spec is not None and spec.origin is not None else None
    if file is None or not file.is_file():
        return None
    text = file.read_text(encoding="utf-8")
    built_for = re.findall(r"^(?:cuda|hip)\b[^=\n]*=\s*(.*)$", text, re.MULTILINE)
    version = re.search(r"^__version__\s*=\s*['\"](.*)['\"]", text, re.MULTILINE)
    return version.group(1) if version and built_for and all(value.strip() == "None" for value in built_for) else None
