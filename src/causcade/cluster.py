"""What a Slurm cluster has: its partitions, their nodes, and the user's accounts, asked of Slurm itself.

Every question has a time limit, so that nothing hangs where Slurm does not answer.
"""

from __future__ import annotations

import contextlib
import getpass
import re
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from causcade.errors import ConfigError

__all__ = ["Cluster", "Node", "Partition", "SilentError", "answer_of", "look_at_cluster", "read_cluster"]

WAIT_S = 20
PARTITIONS = ("scontrol", "show", "partition", "--oneliner")
NODES = ("sinfo", "--noheader", "--Node", "--format=%R|%N|%c|%m|%G")
SETTINGS = ("scontrol", "show", "config")
ASSOCIATIONS = ("sacctmgr", "--noheader", "--parsable2", "show", "associations")


@dataclass(frozen=True, slots=True)
class Node:
    """A node: its processors, memory in MB, and GPUs by model (``""`` where Slurm knows none)."""

    name: str
    cpus: int
    memory_mb: int
    gpus: Mapping[str, int]

    def num_gpus(self, model: str | None = None) -> int:
        """Count its GPUs, of a model or all."""
        return sum(number for name, number in self.gpus.items() if model is None or name == model)


@dataclass(frozen=True, slots=True)
class Partition:
    """A partition: whether it takes jobs, its time limit in minutes (None: none), its nodes."""

    name: str
    is_up: bool
    is_default: bool
    max_minutes: int | None
    nodes: list[Node] = field(default_factory=list)

    @property
    def most_gpus(self) -> int:
        """GPUs of its largest node."""
        return max((node.num_gpus() for node in self.nodes), default=0)


@dataclass(frozen=True, slots=True)
class Cluster:
    """Partitions by name; whether there is accounting, the user's accounts (None: nobody told), and whether Slurm insists on one."""

    partitions: Mapping[str, Partition]
    has_accounting: bool = False
    accounts: list[str] | None = None
    insists: bool = False


def read_cluster(partitions: str, nodes: str, settings: str, associations: str | None) -> Cluster:
    """Read what Slurm answered.

    Parameters
    ----------
    partitions, nodes, settings
        Output of `scontrol show partition --oneliner`, of `sinfo` in the format of :data:`NODES`, and of `scontrol show config`.
    associations
        Accounts of the user, one in a line, from `sacctmgr`; None: it was not asked, or did not answer.
    """
    by_partition: dict[str, list[Node]] = {}
    for line in nodes.splitlines():
        parts = [part.strip() for part in line.split("|")]
        if len(parts) == 5:
            partition, name, cpus, memory, gres = parts
            by_partition.setdefault(partition, []).append(Node(name, _leading_number(cpus), _leading_number(memory), _gpus_in(gres)))
    found = {}
    for line in partitions.splitlines():
        facts = dict(part.split("=", 1) for part in line.split() if "=" in part)
        if "PartitionName" in facts:
            name, is_up, is_default = facts["PartitionName"], facts.get("State", "UP") == "UP", facts.get("Default") == "YES"
            found[name] = Partition(name, is_up, is_default, _minutes_in(facts.get("MaxTime", "")), by_partition.get(name, []))
    accounts = None if associations is None else sorted({line.strip() for line in associations.splitlines() if line.strip()})
    return Cluster(found, _has_accounting(settings), accounts, insists="associations" in _setting(settings, "AccountingStorageEnforce"))


def _setting(settings: str, name: str) -> str:
    """Value of a setting of Slurm; empty where it is not told."""
    found = re.search(rf"^{name}\s*=\s*(.*)$", settings, re.MULTILINE)
    return found.group(1) if found else ""


def _has_accounting(settings: str) -> bool:
    return "slurmdbd" in _setting(settings, "AccountingStorageType")


def _leading_number(text: str) -> int:
    """Read a number that may be followed by a sign, as in `64+`."""
    found = re.match(r"\d+", text)
    return int(found.group()) if found else 0


def _gpus_in(gres: str) -> dict[str, int]:
    """Read the GPUs of a node by model from its generic resources: `gpu:h200:8(S:0-1)`, `gpu:4,shard:8`, `(null)`."""
    found: dict[str, int] = {}
    for model, number in re.findall(r"(?:^|,)gpu(?::([^:,()]+))?:(\d+)(?=[,(]|$)", gres):
        found[model] = found.get(model, 0) + int(number)
    return found


def _minutes_in(time: str) -> int | None:
    """Read a time limit of Slurm (`2-00:00:00`, `12:00:00`, `30:00`, `90`) in minutes; None where there is none."""
    found = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", time)
    if found is None:
        return None
    days, first, second, third = (None if part is None else int(part) for part in found.groups())
    if days is not None or third is not None:
        return (days or 0) * 1440 + (first or 0) * 60 + (second or 0)
    return first  # minutes, with or without seconds


class SilentError(Exception):
    """Slurm did not answer; the message says how."""


def answer_of(command: Sequence[str]) -> str:
    """Output of a command of Slurm."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S, check=False)
    except FileNotFoundError:
        raise SilentError(f"found no `{command[0]}`") from None
    except subprocess.TimeoutExpired:
        raise SilentError(f"found no answer of `{command[0]}` within {WAIT_S} s") from None
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())
        raise SilentError(f"found `{shlex.join(command)}` failing: {said}")
    return done.stdout


def look_at_cluster() -> Cluster:
    """Ask Slurm for its partitions, nodes and accounts.

    Raises
    ------
    ConfigError
        If it does not answer.
    """
    try:
        partitions, nodes, settings = answer_of(PARTITIONS), answer_of(NODES), answer_of(SETTINGS)
    except SilentError as error:
        remedy = "Run Snakemake where Slurm's commands work (a login node; `sinfo` shows it), or use `--profile profiles/local`."
        raise ConfigError([f"executor slurm: expected Slurm to answer, {error}. {remedy}"], "the profile") from None
    associations = None
    if _has_accounting(settings):
        with contextlib.suppress(SilentError):  # that it does not answer is no reason to hold jobs back
            associations = answer_of([*ASSOCIATIONS, f"user={getpass.getuser()}", "format=account"])
    return read_cluster(partitions, nodes, settings, associations)
